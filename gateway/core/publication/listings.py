"""Lists and their listings: a record that puts its subject on a list (api.md §6.3, §7.8; policy.md §4).

Rules: one list per legal basis, defined in `policies/lists/`. A record lists its subject only when its statement is signed or
comes from a partner, its kind is one the list's basis demands, and a View of it exists: a vouched burdening record lists nobody,
natural persons stand on a list only where its file says so. A listing is the record envelope and what the list adds; it has
no score and no rank. Red lists and blacklists have equal rank. This room must not decide who may see a listing.
"""

from collections.abc import Mapping
from typing import Any

from gateway.core.disclosure.views import View
from gateway.core.publication.documents import Document, Head, basis_document
from gateway.core.publication.labels import label
from gateway.core.records.catalogue import Catalogue, ListDef
from gateway.core.records.model import NEGATIVE_CATEGORIES

LISTED_FIELDS = ("listed_on", "removal_conditions", "remedy")
"""Fields of a record that its listing shows as its own keys."""


def list_for(view: View, catalogue: Catalogue) -> ListDef | None:
    """The list on which this record puts its subject; None when it puts it on none."""
    listing = catalogue.list_of(view.dataset)
    if listing is None or (view.trust == "vouched" and view.category in NEGATIVE_CATEGORIES):
        return None
    return listing if listing.takes(view.kind) else None


def listed_on(head: Head) -> str | None:
    """The day of listing: stated, else the day of the decision."""
    stated = head.document["fields"].get("listed_on")
    return stated if isinstance(stated, str) else head.decision_date


def listing_head(head: Head, listing: ListDef, measures: list[Document]) -> Document:
    """The listing of api.md §6.3 up to its last own key, from the record's head."""
    fields: Mapping[str, Any] = head.document["fields"]
    document = dict(head.document)
    document["fields"] = {name: value for name, value in fields.items() if name not in LISTED_FIELDS}
    document["list"] = listing.id
    document["listed_on"] = listed_on(head)
    document["listing_basis"] = [basis_document(basis) for basis in listing.legal_basis]
    document["measures"] = measures
    document["removal_conditions"] = fields.get("removal_conditions") or listing.removal_conditions
    document["remedy"] = fields.get("remedy")
    return document


def measures_of(view: View, catalogue: Catalogue) -> list[Document]:
    """The local measures that a recognised record has here, with the ground of each."""
    effect = view.recognised.effect if view.recognised is not None else None
    edition = catalogue.datasets[view.dataset].catalogue.edition
    measure = catalogue.measures.get((edition, effect)) if effect else None
    if measure is None:
        return []
    return [{"text": measure.text, "basis": [basis_document(basis) for basis in measure.basis]}]


def list_document(listing: ListDef, *, rows: int | None, seq: int, origin: str, english: bool) -> Document:
    """What a list is: basis, authority, conditions, and how many rows the caller would get."""
    address = f"{origin}/v1/lists/{listing.id}"
    return {
        "id": listing.id,
        "name": listing.title(english=english),
        "polarity": listing.polarity,
        "polarity_label": label("polarity", listing.polarity),
        "dataset": listing.dataset,
        "legal_basis": [basis_document(basis) for basis in listing.legal_basis],
        "authority": {"name": listing.authority.name, "uscc": listing.authority.uscc},
        "entry_conditions": listing.entry_conditions,
        "removal_conditions": listing.removal_conditions,
        "period_rule": listing.period_rule,
        "rows": rows,
        "seq": seq,
        "range_bit": listing.range_bit,
        "authority_lookup_uri": listing.authority_lookup_uri,
        "links": {
            "self": address,
            "listings": f"{address}/listings",
            "changes": f"{origin}/v1/changes?list={listing.id}&since=0",
            "feed": f"{origin}/v1/feeds/{listing.id}.atom",
        },
    }
