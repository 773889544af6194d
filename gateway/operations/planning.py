"""What may be asked of the values beside a dataset's own fields: the envelope of records, listings and subjects (api.md §6).

Rules: a name stands here only if the caller's documents have it; whether it may filter or sort follows from what it is, and for the
values that a policy may hide (decision date, severity, document number) from the plans. This room decides nothing about rows.
"""

from collections.abc import Mapping, Sequence

from gateway.core.disclosure.plans import FieldInfo
from gateway.core.publication.forms import Forms
from gateway.core.publication.labels import MARKS, STATUSES, SUBJECT_KINDS
from gateway.core.records.model import Capability
from gateway.operations.answering import Scene

_FILTER: frozenset[Capability] = frozenset({"filter"})
_FACET: frozenset[Capability] = frozenset({"filter", "facet"})
_ORDER: frozenset[Capability] = frozenset({"filter", "sort"})
_ALL: frozenset[Capability] = frozenset({"filter", "sort", "facet"})

_RECORD_PATHS = (
    "id", "kind_label", "subject", "subject.id", "subject.uscc", "subject.name", "subject.kind", "subject.kind_label", "subject.uri",
    "severity_label", "region_label", "publish_until", "period_rule", "basis", "source.name", "source.uscc", "source.received_at",
    "source.issuer", "fields", "treatments", "seq", "policy_version", "links", "links.self", "links.history", "links.policy",
)  # fmt: skip
_LISTING_PATHS = ("listing_basis", "measures", "removal_conditions", "remedy")
_SUBJECT_PATHS = (
    "id", "uscc", "name", "former_names", "kind_label", "region_label", "status_label", "established_on", "successor_code", "treatments",
    "record_counts", "marks", "seq", "policy_version", "links", "matched_on", "highlight",
)  # fmt: skip
_FROM_PLANS: Mapping[str, frozenset[Capability]] = {"decision_date": _ORDER, "severity": _ALL, "document_number": _FILTER}


def envelope_of(scene: Scene, *, listing: bool) -> Mapping[str, FieldInfo]:
    """What may be asked of records (or listings) beside their dataset's fields; made once a policy version."""
    known: dict[str, FieldInfo] | None = scene.forms.remembered.get(("envelope", listing))
    if known is None:
        lists = tuple(sorted(scene.policies.catalogue.lists))
        known = scene.forms.remembered["envelope", listing] = _envelope_of(scene.forms, lists, listing=listing)
    return known


def _envelope_of(forms: Forms, lists: tuple[str, ...], *, listing: bool) -> dict[str, FieldInfo]:
    infos = {path: FieldInfo() for path in (*_RECORD_PATHS, *(_LISTING_PATHS if listing else ()))}
    infos["dataset"] = FieldInfo(type="enum", query=_FACET, values=tuple(forms.plan_sets))
    infos["kind"] = FieldInfo(type="enum", query=_FACET, values=forms.categories)
    infos["region"] = FieldInfo(type="division", query=_ALL)
    infos["source"] = FieldInfo(type="string", query=_FACET)
    infos["published_from"] = FieldInfo(type="date", query=_ORDER)
    infos["marks"] = FieldInfo(type="enum", query=_FILTER, values=tuple(MARKS))
    infos["list"] = FieldInfo(type="string", query=_FILTER, values=lists)
    if listing:
        infos["listed_on"] = FieldInfo(type="date", query=_ORDER)
    for name, most in _FROM_PLANS.items():
        asked = [held.asked[name] for held in forms.plan_sets.values() if name in held.asked]
        if asked:
            allowed = most & frozenset(capability for info in asked for capability in info.query)
            kinds = tuple(dict.fromkeys(kind for info in asked for kind in info.kinds))
            infos[name] = FieldInfo(type=asked[0].type, query=allowed, values=asked[0].values, kinds=kinds)
    return infos


def types_of(scene: Scene, datasets: Sequence[str], *, listing: bool) -> dict[str, str]:
    """Type of each name that a filter may bear."""
    types = {name: info.type for name, info in envelope_of(scene, listing=listing).items()}
    if len(datasets) == 1 and datasets[0] in scene.forms.plan_sets:
        described = scene.forms.plan_sets[datasets[0]].described
        types.update({name: field.type for name, field in described.items() if name not in types})
    return types


def subject_envelope(scene: Scene) -> Mapping[str, FieldInfo]:
    """What may be asked of subjects; made once a policy version."""
    known: dict[str, FieldInfo] | None = scene.forms.remembered.get("subject-envelope")
    if known is None:
        known = scene.forms.remembered["subject-envelope"] = _subject_envelope(scene)
    return known


def _subject_envelope(scene: Scene) -> dict[str, FieldInfo]:
    infos = {path: FieldInfo() for path in _SUBJECT_PATHS}
    forms = tuple(form for form in SUBJECT_KINDS if form != "person")
    infos["kind"] = FieldInfo(type="enum", query=_FACET, values=forms)
    infos["region"] = FieldInfo(type="division", query=_FACET)
    infos["industry"] = FieldInfo(type="string", query=_FACET)
    infos["status"] = FieldInfo(type="enum", query=_FACET, values=tuple(STATUSES))
    infos["list"] = FieldInfo(type="enum", query=_FILTER, values=tuple(sorted(scene.policies.catalogue.lists)))
    infos["q"] = FieldInfo()
    return infos
