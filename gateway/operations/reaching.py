"""Which rows one caller reaches, as the store asks it: the reaches of its forms, each with the territory of its plans (policy.md §6, §12).

Rules: what a caller reaches follows from its grants and plans alone, and is worked out once for equal grants; the public reaches what is
rendered, and has no gates here. A gate asks for fields that the plans may not show, so those are loaded beside them. This room
must not decide what a plan shows.
"""

from datetime import datetime

from gateway.core.disclosure.narrowing import territory
from gateway.core.disclosure.obligations import Obligations, strictest
from gateway.core.disclosure.plans import Plan
from gateway.core.disclosure.row_rules import RowRule, fields_of_rule
from gateway.core.errors import ObligationFailed
from gateway.core.publication.forms import Forms
from gateway.core.records.catalogue import Licence
from gateway.core.records.model import SubjectKind
from gateway.store.row_gates import Reach

Gates = tuple[Reach, ...]


def gates_of(forms: Forms) -> Gates:
    """The parts of the records that a caller reaches; empty: nothing."""
    known: Gates | None = forms.remembered.get("gates")
    if known is None:
        known = forms.remembered["gates"] = tuple(_gates(forms))
    return known


def _gates(forms: Forms) -> list[Reach]:
    found: dict[tuple[str, RowRule | None, object], list[SubjectKind]] = {}
    for dataset, reaches in forms.reaches.items():
        for reach in reaches:
            for kind, plan in reach.plan_set.plans.items():
                found.setdefault((dataset, territory(plan, reach.attributes), reach.attributes), []).append(kind)
    return [
        Reach(dataset=dataset, kinds=tuple(kinds), rule=rule, attributes=attributes)  # type: ignore[arg-type]  # as put in above
        for (dataset, rule, attributes), kinds in found.items()
    ]


def plans_of(forms: Forms, dataset: str | None = None) -> list[Plan]:
    """Every plan under which a caller may be shown something (of one dataset, or of all)."""
    if not forms.reaches:
        held = [each for name, each in forms.plan_sets.items() if dataset in (None, name)]
    else:
        held = [reach.plan_set for name, reaches in forms.reaches.items() if dataset in (None, name) for reach in reaches]
    return [plan for each in held for plan in each.plans.values()]


def gated_by(plan: Plan) -> frozenset[str]:
    """What its own rows are chosen by, shown or not."""
    return frozenset() if plan.rows is None else fields_of_rule(plan.rows)


def columns_of(forms: Forms, dataset: str | None = None) -> frozenset[str]:
    """What is selected for a caller and decrypted: what its plans show, and what its gates ask for; nothing else leaves the database."""
    key = ("columns-of", dataset)
    known: frozenset[str] | None = forms.remembered.get(key)
    if known is None:
        found = {name for plan in plans_of(forms, dataset) for name in (*plan.columns, *gated_by(plan))}
        for gate in gates_of(forms):
            if gate.rule is not None and dataset in (None, gate.dataset):
                found |= fields_of_rule(gate.rule)
        known = forms.remembered[key] = frozenset(found)
    return known


def texts_of(forms: Forms) -> frozenset[str]:
    """The texts that are opened for a caller: those of which its plans show more than what is publishable."""
    known: frozenset[str] | None = forms.remembered.get("texts-of")
    if known is None:
        known = forms.remembered["texts-of"] = frozenset(name for plan in plans_of(forms) for name in plan.whole_texts)
    return known


def ends_of(forms: Forms, datasets: tuple[str, ...] | None = None, kinds: tuple[SubjectKind, ...] | None = None) -> tuple[datetime, ...]:
    """When the grounds of the plans over these datasets (None: all) and kinds end, the first one first."""
    key = ("ends", datasets, kinds)
    known: tuple[datetime, ...] | None = forms.remembered.get(key)
    if known is None:
        plans = [plan for plan in plans_of(forms) if datasets is None or plan.dataset in datasets]
        ends = {plan.valid_until for plan in plans if plan.valid_until is not None and (kinds is None or plan.kind in kinds)}
        known = forms.remembered[key] = tuple(sorted(ends))
    return known


def owed_of(forms: Forms, datasets: tuple[str, ...] | None = None, kinds: tuple[SubjectKind, ...] | None = None) -> Obligations:
    """What an answer over these datasets (None: all) and kinds owes: of each obligation the strictest."""
    key = ("owed", datasets, kinds)
    known: Obligations | None = forms.remembered.get(key)
    if known is None:
        plans = [plan for plan in plans_of(forms) if datasets is None or plan.dataset in datasets]
        owed = (plan.obligations for plan in plans if kinds is None or plan.kind in kinds)
        known = forms.remembered[key] = strictest(owed, tuple(forms.licences))
    return known


def terms_of(forms: Forms, datasets: tuple[str, ...] | None = None) -> Licence | None:
    """The licence under which an answer over these datasets (None: all) stands.

    Raises ObligationFailed for one that stands nowhere: then nothing may be shown.
    """
    named = owed_of(forms, datasets).license
    if named is None:
        return None
    if named not in forms.licences:
        raise ObligationFailed
    return forms.licences[named]


def licence_of(forms: Forms, datasets: tuple[str, ...] | None = None) -> str | None:
    """Its address.

    Raises ObligationFailed.
    """
    terms = terms_of(forms, datasets)
    return None if terms is None else terms.url
