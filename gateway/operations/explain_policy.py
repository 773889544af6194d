"""Explain the policies in force to three audiences: administrators, callers, the person concerned (policy.md §10).

Rules: an administrator reads the whole matrix, unclassified fields too, and what an organisation's grants make of it; a caller reads
his own plans alone; the person concerned reads who may see what, for what purpose and by which law. Rules, never values: nothing here
reads a record.
"""

from collections.abc import Sequence

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.audiences import MatrixRow, SubjectField, matrix_of, who_may_see
from gateway.core.disclosure.explain import Explanation, Narrow, explain
from gateway.core.disclosure.plans import PlanSet, Policies
from gateway.core.errors import InvalidParameter, PolicyError
from gateway.core.records.model import SUBJECT_KINDS, DatasetId

__all__ = ["MatrixRow", "SubjectField", "explain_cells", "matrix_for", "purpose_of", "who_may_see"]


def explain_cells(
    policies: Policies, *, dataset: str, tier: str, purpose: str, kind: str | None, field: str | None, narrow: Narrow | None = None
) -> list[Explanation]:
    """Why each field is shown as it is to this tier and purpose; it shows rules, never values.

    Raises PolicyError for a dataset, tier, purpose, kind or field that stands nowhere in the policies.
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
        explain(policies, dataset=dataset, tier=tier, purpose=purpose, kind=one, field=name, narrow=narrow)
        for one in kinds
        for name in names
    ]


def purpose_of(policies: Policies, tier: str, purpose: str | None) -> str:
    """The purpose asked about: the one named, else the tier's first."""
    return purpose or next((name for name, one in policies.purposes.items() if tier in one.tiers), "open.read")


def matrix_for(policies: Policies, caller: Caller, dataset: str | None, narrow: Narrow | None = None) -> tuple[MatrixRow, ...]:
    """The rows of the matrix that govern this caller, for the purpose of the request.

    Raises InvalidParameter for a dataset of which this caller sees nothing, as for one that does not exist.
    """
    held: Sequence[PlanSet] = [one for one in policies.sets_of(caller.plan_tier, caller.purpose) if dataset in (None, one.dataset)]
    if dataset is not None and not held:
        raise InvalidParameter("没有这个数据集。", place="dataset")
    return matrix_of([narrow(one) for one in held] if narrow is not None else held)
