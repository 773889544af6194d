"""Lines: what goes to, or comes from, a partner that signs nothing (exchange.md §14, §18), over an adapter with a format of its own.

A line is one-sided: a file of ours, proposed by one person and approved by another of another unit, digest for digest. It names the
partner, the ground, who answers for it, tier and purpose (the View of which is all that leaves), and for each dataset regions, kinds of
subject and the very fields. It can only narrow what the plans show. Only the province and the bank are served so: another city signs an
agreement. Nobody but legal persons is told of without a ground of its own and an assessment, the bank never. This room must not know
which adapter carries a line, or where to: that stands in our settings.
"""

import hashlib
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreed_terms import Hours, LegalText
from gateway.core.exchange.wire import AgreementId, DatasetName, PartyName
from gateway.core.records.divisions import covers
from gateway.core.records.model import SubjectKind
from gateway.core.records.periods import first_instant
from gateway.core.toml import TomlFault, decode

LINE_TIERS = frozenset({"supervisor", "pboc"})
"""Whom a one-sided line may serve: the province and the bank."""
FILE_LIMIT = 64 * 1024
LINGERING = timedelta(days=90)
"""So long after its end a line still carries withdrawals and erasures of what it has told."""


class _Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown members are refused, because an ignored restriction is a lie."""


class LineLevel(_Strict, frozen=True, kw_only=True):
    """Deadlines in hours; 0 for `stop_after_h` means never."""

    withdraw_h: Hours = 24
    erase_h: Hours = 72
    feedback_h: Hours = 24
    stop_after_h: Hours = 0

    def hours(self, what: Literal["withdrawals", "erasures"]) -> int:
        """Within how many hours a partner says that it has carried one out."""
        return self.erase_h if what == "erasures" else self.withdraw_h


class LinePersons(_Strict, frozen=True, kw_only=True):
    """Why natural persons or households may be named on this line at all."""

    basis: Annotated[tuple[LegalText, ...], Meta(min_length=1, max_length=8)]
    assessment: Annotated[str, Meta(min_length=1, max_length=200)]
    """Reference of the impact assessment."""


class LineDataset(_Strict, frozen=True, kw_only=True, rename={"except_": "except"}):
    """One dataset of a line."""

    dataset: DatasetName
    regions: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)]
    except_: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    subject_kinds: Annotated[tuple[SubjectKind, ...], Meta(min_length=1)] = ("legal",)
    fields: Annotated[tuple[str, ...], Meta(min_length=1, max_length=128)]
    """Wire names, in the order in which rows have them: these and no other."""

    def in_region(self, region: str) -> bool:
        """Whether a division is of this line."""
        return any(covers(each, region) for each in self.regions) and not any(covers(each, region) for each in self.except_)


class LineTerms(_Strict, frozen=True, kw_only=True, rename={"from_": "from"}):
    """What the file says."""

    id: AgreementId
    partner: PartyName
    """Host name under which the partner is known here; `[[partners]]` of the settings says which adapter carries the line."""
    org: Annotated[str, Meta(pattern=r"^[0-9A-Z]{18}\Z")]
    title: Annotated[str, Meta(min_length=1, max_length=200)]
    direction: Literal["out", "in"] = "out"
    basis: Annotated[tuple[LegalText, ...], Meta(min_length=1, max_length=8)]
    owner: Annotated[str, Meta(min_length=1, max_length=200)]
    """The office that answers for it."""
    tier: str = ""
    purpose: str = ""
    """Of what goes out: the plans of this tier and purpose."""
    from_: date
    until: date
    """Last day."""
    confirm: bool | None = None
    """A person lets each batch go; null: to the bank yes, to others no."""
    rows: Annotated[int, Meta(ge=1, le=4000)] = 500
    """Rows a batch at most."""
    retention_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    """How long what was sent and received is kept after it is done."""
    sla: LineLevel = LineLevel()
    persons: LinePersons | None = None
    datasets: Annotated[tuple[LineDataset, ...], Meta(min_length=1, max_length=64)]

    @property
    def confirms(self) -> bool:
        """Whether a person lets each batch go."""
        return self.tier == "pboc" if self.confirm is None else self.confirm

    def dataset(self, name: str) -> LineDataset | None:
        """What it says of one dataset."""
        return next((each for each in self.datasets if each.dataset == name), None)


class Line(Struct, frozen=True, kw_only=True):
    """One approved version of a line."""

    version: int
    digest: str
    """`sha-256:` and the digest of the file: what was approved, and what manifests name."""
    terms: LineTerms
    ended: datetime | None
    """When a person has ended it."""

    @property
    def id(self) -> str:
        """Its id."""
        return self.terms.id

    def standing(self, now: datetime) -> Literal["all", "withdrawals", "nothing"]:
        """What it may carry now."""
        begins, ends = first_instant(self.terms.from_), first_instant(self.terms.until + timedelta(days=1))
        over = min(ends, self.ended) if self.ended is not None else ends
        if begins <= now < over:
            return "all"
        return "withdrawals" if over <= now < over + LINGERING else "nothing"

    def streams(self) -> tuple[tuple[str, LineDataset], ...]:
        """Name of the stream of each dataset."""
        return tuple((f"{self.id}.{each.dataset}", each) for each in self.terms.datasets)


def read_terms(text: bytes) -> LineTerms:
    """A line from its TOML text, strictly.

    Raises ExchangeError SCHEMA_TYPE with the place, SIZE_BYTES.
    """
    if len(text) > FILE_LIMIT:
        raise ExchangeError("a line has 64 KiB at most", code="SIZE_BYTES", place="line")
    try:
        return decode(text, LineTerms)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at ")
        raise ExchangeError(what, code="SCHEMA_TYPE", place=place.strip("`") or "line") from None
    except TomlFault as fault:
        raise ExchangeError(fault.detail, code="SCHEMA_TYPE", place="line", hint=fault.hint) from None


def digest_of(text: bytes) -> str:
    """SHA-256 of the file, in hexadecimal digits: what an approval names."""
    return hashlib.sha256(text).hexdigest()


def faults(terms: LineTerms) -> Iterable[tuple[str, str, str]]:
    """(code, place, what) of everything that no line may say, whatever the policies are."""
    if terms.from_ > terms.until:
        yield "SCHEMA_TYPE", "until", "it ends before it begins"
    if len({each.dataset for each in terms.datasets}) != len(terms.datasets):
        yield "SCHEMA_TYPE", "datasets", "a dataset stands twice"
    if terms.direction == "in":
        return
    if terms.tier not in LINE_TIERS:
        yield "SCOPE_AGREEMENT", "tier", "a line without a counter-signature serves the province or the bank; a city signs an agreement"
    for each in terms.datasets:
        if len(set(each.fields)) != len(each.fields):
            yield "SCHEMA_TYPE", f"datasets.{each.dataset}.fields", "a field stands twice"
        if set(each.subject_kinds) == {"legal"}:
            continue
        if terms.tier == "pboc":
            yield "LAW_PERSON", f"datasets.{each.dataset}.subject_kinds", "the bank is told of organisations only"
        elif terms.persons is None:
            yield "LAW_PERSON", f"datasets.{each.dataset}.subject_kinds", "persons and households need a ground and an assessment"
