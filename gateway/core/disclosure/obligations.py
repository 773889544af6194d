"""Obligations: what must be done when a plan is used, attached to it so that they cannot get lost (policy.md §6).

Rules: a closed list; an unknown name or argument does not parse; of an answer over several plans the strictest of each wins; one
that fails at run time means no data. This room says what is owed; the stories do it.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

Audit = Literal["none", "count", "call", "subject"]
AUDITS: Final[tuple[Audit, ...]] = ("none", "count", "call", "subject")
Cache = Literal["public", "private", "no-store"]
CACHES: Final[tuple[Cache, ...]] = ("public", "private", "no-store")
LOOKED_UP: Final = "id_no"
"""The field by which a natural person is looked up: the only one that a budget is spent for."""
LOOKUPS_A_DAY: Final = 200
"""Look-ups a day for an organisation where the rule names no number."""


class Obligations(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The obligations of one rule, and of each plan made from it."""

    audit: Audit = "count"
    """none, count: counters; call: a row a call; subject: a row a call with the subjects' HMACs, before the first byte."""
    case_ref: Literal["none", "required"] = "none"
    rate_class: Annotated[str, Meta(pattern="^[a-z][a-z0-9_.-]{0,62}\\Z", max_length=63)] | None = None
    max_rows: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Most rows a page."""
    max_rows_day: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    """Most rows a day for an organisation; stops page-by-page scraping of persons."""
    min_k: Annotated[int, Meta(ge=5, le=1000)] | None = None
    """Counts below it are not told, others rounded to fives."""
    cache: Cache = "private"
    """public: shared caches may keep an answer, a minute at most; private: the caller's own alone; no-store: nobody."""
    license: Annotated[str, Meta(min_length=1, max_length=63)] | None = None
    """Id of the licence that answers and manifests name; None: nobody is given leave for more than the law gives."""


def strictest(owed: Iterable[Obligations], licences: Sequence[str] = ()) -> Obligations:
    """What an answer over several plans owes: of each obligation the strictest; `licences` are all that there are, the strictest last."""
    every = tuple(owed)
    if not every:
        return Obligations()
    pages = [each.max_rows for each in every if each.max_rows is not None]
    days = [each.max_rows_day for each in every if each.max_rows_day is not None]
    ks = [each.min_k for each in every if each.min_k is not None]
    return Obligations(
        audit=max((each.audit for each in every), key=AUDITS.index),
        case_ref="required" if any(each.case_ref == "required" for each in every) else "none",
        rate_class=next((each.rate_class for each in every if each.rate_class is not None), None),
        max_rows=min(pages, default=None),
        max_rows_day=min(days, default=None),
        min_k=max(ks, default=None),
        cache=max((each.cache for each in every), key=CACHES.index),
        license=_licence([each.license for each in every], licences),
    )


def _licence(named: Sequence[str | None], licences: Sequence[str]) -> str | None:
    """The strictest of some licences; none is stricter than any."""
    known = [name for name in named if name is not None]
    if len(known) < len(named):
        return None
    return max(known, key=lambda name: (licences.index(name) if name in licences else len(licences), name))
