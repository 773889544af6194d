"""The legality gate: no live basis, no publication (domain notes, 9).

A record of a dataset may reach the public tier only while the catalogue item that its dataset points to, and the list it is a listing
of, rest on a law in force; a listing of no list rests on nothing. This room must not decide who sees what: it says yes or no, and which
laws.
"""

from collections.abc import Iterable
from datetime import date
from typing import Final

from msgspec import Struct

from gateway.core.records.catalogue import Catalogue
from gateway.core.records.model import BasisRef, Dataset

LISTED: Final = frozenset({"blacklist", "redlist"})
"""Categories whose records are listings: without a list that is built from them they have no ground."""


class Legality(Struct, frozen=True, kw_only=True):
    """Whether a dataset may be published on a day, the grounds in force, and the code of what is missing."""

    live: bool
    basis: tuple[BasisRef, ...] = ()
    code: str | None = None
    """LAW_CATALOGUE: no item in an edition in force; LAW_BASIS: no law in force under it."""


def in_force(basis: Iterable[BasisRef], on: date) -> tuple[BasisRef, ...]:
    """Those of the grounds that are in force on a day."""
    return tuple(each for each in basis if (each.from_ is None or each.from_ <= on) and (each.until is None or on <= each.until))


def legality(dataset: Dataset, catalogue: Catalogue, on: date) -> Legality:
    """Whether records of this dataset have a live basis on a day."""
    edition = catalogue.editions.get(dataset.catalogue.edition)
    item = catalogue.items.get((dataset.catalogue.edition, dataset.catalogue.item))
    if edition is None or item is None or item.category != dataset.category or not edition.in_force(on):
        return Legality(live=False, code="LAW_CATALOGUE")
    basis = in_force(item.basis, on)
    if not basis:
        return Legality(live=False, code="LAW_BASIS")
    listing = catalogue.list_of(dataset.id)
    if listing is None and dataset.category in LISTED:
        return Legality(live=False, code="LAW_BASIS")
    if listing is not None:
        own = in_force(listing.legal_basis, on)
        if not own:
            return Legality(live=False, code="LAW_BASIS")
        basis += tuple(each for each in own if each not in basis)
    return Legality(live=True, basis=basis)


def last_day(dataset: Dataset, catalogue: Catalogue) -> date | None:
    """The last day on which the edition, the item and the list of a dataset can all have a law in force; None: no end is known."""
    edition = catalogue.editions.get(dataset.catalogue.edition)
    item = catalogue.items.get((dataset.catalogue.edition, dataset.catalogue.item))
    listing = catalogue.list_of(dataset.id)
    ends = [edition.until if edition is not None else None]
    ends += [_last_of(held) for held in (item.basis if item is not None else (), listing.legal_basis if listing is not None else ())]
    return min((end for end in ends if end is not None), default=None)


def _last_of(basis: Iterable[BasisRef]) -> date | None:
    """The last day of the ground that ends last; None where one has no end, or where there is none."""
    ends = [each.until for each in basis]
    return None if not ends or None in ends else max(end for end in ends if end is not None)
