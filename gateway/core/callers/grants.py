"""Grants: what one app of one organisation may use a dataset for, where, on which themes, and until when (policy.md §4, §12).

Rules: a grant narrows; it can never show more than the rule. It names its legal document by digest. For `partner`, `supervisor` and
`pboc` the grant is the agreement in force. This room must not know who approved it.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated

from msgspec import Meta, Struct, structs

from gateway.core.disclosure.treatments import TreatmentSpec


class GrantBasis(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The legal document behind a grant: its number and the digest of its text."""

    document: Annotated[str, Meta(min_length=1, max_length=200)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z", max_length=64)]


class Grant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """One grant, as its file says it; approvals stand in the store."""

    id: Annotated[str, Meta(pattern="^[a-z][a-z0-9_.-]{0,62}\\Z", max_length=63)]
    org: Annotated[str, Meta(min_length=18, max_length=18)]
    app: Annotated[str, Meta(min_length=1, max_length=64)]
    dataset: Annotated[str, Meta(min_length=1, max_length=63)]
    purposes: Annotated[tuple[str, ...], Meta(min_length=1, max_length=16)]
    regions: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)]
    """Division codes of two, four or six digits' reach, written with six: `220500` is the whole city."""
    themes: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    from_: date
    until: date
    """Last day."""
    basis: GrantBasis
    ceilings: Mapping[str, TreatmentSpec] = {}
    """Field → the most that it may be shown as; only ever narrower than the rule."""

    def live(self, day: date) -> bool:
        """Whether it holds on this legal day."""
        return self.from_ <= day <= self.until

    def keeping(self, purposes: tuple[str, ...]) -> "Grant":
        """The same grant for some of its purposes only."""
        return self if purposes == self.purposes else structs.replace(self, purposes=purposes)
