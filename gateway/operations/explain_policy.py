"""Explain the policies in force to three audiences: administrators, callers, the person concerned (policy.md §10).

Rules: an administrator reads the whole matrix, unclassified fields too, and what an organisation's grants make of it; a caller reads
his own plans alone; the person concerned reads who may see what, for what purpose and by which law. Rules, never values: nothing here
reads a record.
"""

from collections.abc import Sequence

from msgspec import Struct

from gateway.core.callers.caller import BOUND_TIERS, OPEN_PURPOSE, Caller
from gateway.core.callers.grants import Grant
from gateway.core.disclosure.audiences import MatrixRow, SubjectField, matrix_of, who_may_see
from gateway.core.disclosure.explain import Explanation, Narrow, explain
from gateway.core.disclosure.narrowing import narrowed, reaches_of
from gateway.core.disclosure.plans import PlanSet, Policies, digest
from gateway.core.errors import AdminError, InvalidParameter, PolicyError
from gateway.core.records.model import SUBJECT_KINDS, DatasetId
from gateway.core.records.periods import legal_day
from gateway.services import Services
from gateway.store import apps, grants


def explain_cells(
    policies: Policies,
    *,
    dataset: str,
    tier: str,
    purpose: str,
    kind: str | None,
    field: str | None,
    granted: Sequence[Grant] | None = None,
) -> list[Explanation]:
    """Why each field is shown as it is to this tier and purpose, once under each of the grants; it shows rules, never values.

    Raises PolicyError for a dataset, tier, purpose, kind or field that stands nowhere in the policies, AdminError grant-unknown where
    grants are asked for and none is for this dataset and purpose.
    """
    held = policies.catalogue.datasets.get(DatasetId(dataset))
    if held is None:
        raise PolicyError(
            "there is no such dataset", code="policy-S10", field=dataset, hint=f"one of {', '.join(policies.catalogue.datasets)}"
        )
    if field is not None and field not in held.fields:
        raise PolicyError("the dataset has no such field", code="policy-S10", field=field, hint=f"one of {', '.join(held.fields)}")
    kinds = [known for known in SUBJECT_KINDS if kind in (None, known)]
    if not kinds:
        raise PolicyError("there is no such subject kind", code="policy-S10", field=kind, hint=f"one of {', '.join(SUBJECT_KINDS)}")
    names = [field] if field is not None else list(held.fields)
    return [
        explain(policies, dataset=dataset, tier=tier, purpose=purpose, kind=one, field=name, narrow=narrow, grant=grant)
        for grant, narrow in narrowings(policies, granted, dataset=dataset, tier=tier, purpose=purpose)
        for one in kinds
        for name in names
    ]


class ToldSubject(Struct, frozen=True, kw_only=True):
    """Of the subject's own tier: the cells, and who else may see what, in the words meant for the person concerned."""

    cells: list[Explanation]
    who_may_see: list[SubjectField]


async def explained(
    services: Services, *, dataset: str, tier: str, purpose: str | None, kind: str | None, field: str | None, org: str | None
) -> list[Explanation] | ToldSubject:
    """The whole answer of `policy explain`, for whichever audience the tier names, as the grants of an organisation narrow it.

    Raises PolicyError, AdminError grant-unknown.
    """
    policies = await services.policies.fresh()
    why = purpose_of(policies, tier, purpose)
    granted = await grants_of(services, org, tier) if org is not None else None
    cells = explain_cells(policies, dataset=dataset, tier=tier, purpose=why, kind=kind, field=field, granted=granted)
    if tier != "subject":
        return cells
    kinds = dict.fromkeys(cell.kind for cell in cells)
    told = [one for each in kinds for one in who_may_see(policies, dataset=dataset, kind=each) if field in (None, one.field)]
    return ToldSubject(cells=cells, who_may_see=told)


def purpose_of(policies: Policies, tier: str, purpose: str | None) -> str:
    """The purpose asked about: the one named, else the tier's first."""
    return purpose or next((name for name, one in policies.purposes.items() if tier in one.tiers), "open.read")


async def grants_of(services: Services, org: str, tier: str) -> tuple[Grant, ...]:
    """The live grants of an organisation's live apps of a tier, by id."""
    reads, today = services.store.reads, legal_day(services.clock())
    mine = [app for app in await apps.everyone(reads) if app.live and app.org == org and app.tier == tier]
    found = [grant for app in mine for grant in await grants.active(reads, app.app) if grant.live(today)]
    return tuple(sorted(found, key=lambda grant: grant.id))


def narrowings(
    policies: Policies, granted: Sequence[Grant] | None, *, dataset: str, tier: str, purpose: str
) -> list[tuple[str | None, Narrow | None]]:
    """What each grant for a dataset and purpose makes of its plans, by the id of the grant; None: the plans as the rules make them.

    Raises AdminError grant-unknown where grants are asked for and none is for it.
    """
    if granted is None or tier not in BOUND_TIERS or purpose == OPEN_PURPOSE:  # what everybody may see needs no grant
        return [(None, None)]
    found = [(grant.id, _narrow(policies, grant)) for grant in granted if grant.dataset == dataset and purpose in grant.purposes]
    if not found:
        detail = "the organisation has no live grant for this dataset, tier and purpose: it sees nothing"
        raise AdminError(detail, code="grant-unknown", place=dataset, hint="chengxin grant list --org USCC")
    return list(found)


def _narrow(policies: Policies, grant: Grant) -> Narrow:
    return lambda plan_set: narrowed(policies, plan_set, (grant,))


def matrix_for(
    policies: Policies, caller: Caller, dataset: str | None, *, english: bool = False
) -> tuple[tuple[MatrixRow, ...], str]:
    """The rows of the matrix that govern this caller for the purpose of the request, as his grants narrow them; the name of those plans.

    Raises InvalidParameter for a dataset of which this caller sees nothing, as for one that does not exist.
    """
    ruled: Sequence[PlanSet] = [one for one in policies.sets_of(caller.plan_tier, caller.purpose) if dataset in (None, one.dataset)]
    held = [reach.plan_set for one in ruled for reach in reaches_of(policies, caller, one)]
    if dataset is not None and not held:
        raise InvalidParameter("没有这个数据集。", place="dataset")
    return tuple(dict.fromkeys(matrix_of(held, english=english))), digest([one.hash for one in held])
