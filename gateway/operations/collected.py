"""What is built in versions: every list and dataset that the public sees, and in which form its rows stand in files.

Rules: rows are of the public plan and of nothing else, for whoever asks; a field that bulk output or deltas leave out stands in no
version; natural persons never do. The `ground` names plans and definition, so that versions of before a policy are known by it. This room
must not read a record.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from gateway.core.disclosure.plans import Policies
from gateway.core.errors import NotFound
from gateway.core.publication import flat
from gateway.core.publication.columns import Column, typed
from gateway.core.publication.forms import Forms, kind_of_form, without
from gateway.core.publication.listings import LISTED_FIELDS
from gateway.core.publication.version_formats import Sheet, formats_for
from gateway.core.publication.versions import Version
from gateway.core.records.catalogue import ListDef
from gateway.core.records.model import DatasetId, SubjectKind

_ENCODER = msgspec.json.Encoder(order="sorted")
NEVER: SubjectKind = "natural"


class Collection(Struct, frozen=True, kw_only=True):
    """A list or a dataset."""

    id: str
    """`lists/…` or `datasets/…`."""
    what: str
    """Id of the list or dataset."""
    dataset: str
    listing: ListDef | None
    title: str

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats of its files."""
        return formats_for(self.listing.polarity if self.listing is not None else None)


def collections_of(policies: Policies, forms: Forms) -> tuple[Collection, ...]:
    """Every list, then every dataset, of which this plan set sees something; remembered with its forms."""
    found: tuple[Collection, ...] | None = forms.remembered.get("collections")
    if found is not None:
        return found
    known = policies.catalogue
    lists = [
        Collection(id=f"lists/{name}", what=name, dataset=each.dataset, listing=each, title=each.label)
        for name, each in sorted(known.lists.items())
        if each.dataset in forms.plan_sets
    ]
    datasets = [
        Collection(id=f"datasets/{name}", what=name, dataset=name, listing=None, title=known.datasets[DatasetId(name)].label)
        for name in sorted(forms.plan_sets)
    ]
    forms.remembered["collections"] = found = (*lists, *datasets)
    return found


def collection_of(policies: Policies, forms: Forms, collection_id: str) -> Collection:
    """One of them.

    Raises NotFound.
    """
    found = next((each for each in collections_of(policies, forms) if each.id == collection_id), None)
    if found is None:
        raise NotFound
    return found


def ground_of(forms: Forms, collection: Collection) -> str:
    """A name for all that decides which rows stand in a version and in what form; remembered with the forms."""
    found: str | None = forms.remembered.get(("ground", collection.id))
    if found is None:
        held = forms.plan_sets[collection.dataset]
        said = _ENCODER.encode([held.hash, None if collection.listing is None else msgspec.to_builtins(collection.listing)])
        forms.remembered["ground", collection.id] = found = sha256(said).hexdigest()
    return found


def left_out(forms: Forms, dataset: str) -> Mapping[SubjectKind, frozenset[str]]:
    """Of each kind the fields that pages may show and versions do not."""
    form = forms.by_dataset[dataset]
    return {
        kind: form.withheld.get(kind, frozenset()) | form.silent.get(kind, frozenset())
        for kind in form.withheld.keys() | form.silent.keys()
    }


def given(forms: Forms, dataset: str) -> Mapping[SubjectKind, Mapping[str, str]]:
    """Of each kind the fields that versions show, with their treatments."""
    out = left_out(forms, dataset)
    found: dict[SubjectKind, Mapping[str, str]] = {}
    for kind, plan in forms.plan_sets[dataset].plans.items():
        if kind == NEVER:
            continue
        names = [step.field for step in plan.steps] + ([] if plan.summary is None else ["summary"])
        found[kind] = {name: plan.treatments.get(name, "clear") for name in names if name not in out.get(kind, frozenset())}
    return found


def columns_of(forms: Forms, collection: Collection) -> tuple[Column, ...]:
    """The flat columns of its files, with their types."""
    shown = given(forms, collection.dataset)
    held = forms.plan_sets[collection.dataset]
    names = {name for fields in shown.values() for name in fields}
    fields = [name for name in (*held.described, "summary") if name in names]
    treated = [name for name in fields if any(each.get(name, "clear") != "clear" for each in shown.values())]
    listed = collection.listing is not None
    columns = flat.record_columns(shown=fields, treated=treated, listing=listed, promoted=LISTED_FIELDS if listed else ())
    return typed((*(column for column in columns if column not in ("policy_version", "salt")), "salt"), (held,))


def row_of(document: dict[str, Any], out: Mapping[SubjectKind, frozenset[str]]) -> dict[str, Any] | None:
    """A rendered document as versions have it; None: its subject stands in none."""
    kind = kind_of_form(document["subject"]["kind"])
    return None if kind == NEVER else without(document, out.get(kind, frozenset()))


def sheet_of(collection: Collection, version: Version, origin: str) -> Sheet:
    """What files of a version say beside its rows."""
    listing = collection.listing
    return Sheet(
        version=version.name,
        columns=version.names,
        collection=collection.id,
        rows=version.rows,
        title=collection.title,
        program=collection.title if listing is None else listing.legal_basis[0].text,
        source_url=f"{origin}/v1/{collection.id}",
    )
