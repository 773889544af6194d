"""Why a cell is as it is: class, rule with file and line, each step of the meet, treatment, rights, grounds, and what would show more.

Rules: it shows rules, never values; an unclassified field is named to administrators alone (S2); a reason given to the person
concerned says in plain Chinese what is withheld and by which law. This room must not look at a record.
"""

from collections.abc import Callable, Collection
from typing import Literal

from msgspec import Struct

from gateway.core.disclosure.obligations import Obligations
from gateway.core.disclosure.plans import Plan, PlanSet, Policies, Reasons
from gateway.core.disclosure.row_language import written
from gateway.core.disclosure.tiers import OPEN_PURPOSE, TIER_ORDER, TIERS
from gateway.core.disclosure.treatments import (
    DROP,
    Clear,
    Drop,
    Exists,
    Generalise,
    Keep,
    Pseudonym,
    Redact,
    Surname,
    Treatment,
    describe,
    leq,
    rank,
)
from gateway.core.errors import PolicyError
from gateway.core.records.model import SUBJECT_KINDS, Capability, DatasetId, FieldClass, SubjectKind

Narrow = Callable[[PlanSet], PlanSet]
"""How a grant narrows a plan set."""


class Reveal(Struct, frozen=True, kw_only=True):
    """A change of grant, purpose or tier under which the cell shows more."""

    change: Literal["grant", "purpose", "tier"]

    tier: str
    tier_label: str
    purpose: str
    purpose_label: str
    treatment: str


class Explanation(Struct, frozen=True, kw_only=True, rename={"class_": "class"}):
    """One cell, explained."""

    dataset: str
    field: str
    label: str
    tier: str
    purpose: str
    kind: str
    grant: str | None
    """The grant under which an organisation would see it; None: as the rules stand."""
    class_: FieldClass
    class_label: str
    rule: str | None
    file: str
    line: int | None
    steps: tuple[str, ...]
    treatment: str
    capabilities: tuple[Capability, ...]
    obligations: Obligations | None
    """What is owed for seeing it; None: no rule shows anything."""
    rows: str | None
    """Which rows the plan reaches, in the words of the gate language; None: all that its gates leave open."""
    basis: tuple[str, ...]
    reveals: tuple[Reveal, ...]
    """What would show more, the smallest change first; empty: nothing in this policy does."""
    reason: str
    """The same in one Chinese sentence."""


class HiddenField(Struct, frozen=True, kw_only=True, rename={"class_": "class"}):
    """A field that a plan hides or masks, and why."""

    field: str
    label: str
    class_: FieldClass
    treatment: str
    reason: str
    basis: tuple[str, ...]


def explain(
    policies: Policies,
    *,
    dataset: str,
    tier: str,
    purpose: str,
    kind: str,
    field: str,
    narrow: Narrow | None = None,
    grant: str | None = None,
) -> Explanation:
    """Why this field of this kind of subject is shown to this tier and purpose as it is; a cell without a rule is dropped.

    For `open.read` every tier reads the public's plans.
    `narrow` gives the plans as the grant of that id narrows them.

    Raises PolicyError policy-S10 for a dataset, tier, purpose, kind or field that stands nowhere.
    """
    held = policies.catalogue.datasets.get(DatasetId(dataset))
    names: Collection[str]
    for names, name, what in (
        (policies.catalogue.datasets, dataset, "dataset"),
        (TIERS, tier, "tier"),
        (policies.purposes, purpose, "purpose"),
        (SUBJECT_KINDS, kind, "kind of subject"),
        (held.fields if held is not None else (), field, "field"),
    ):
        if name not in names:
            raise PolicyError(f"there is no {what} {name}", code="policy-S10", hint=f"one of {', '.join(names)}")
    subject: SubjectKind = next(each for each in SUBJECT_KINDS if each == kind)
    plan_set = policies.public(dataset) if purpose == OPEN_PURPOSE else policies.plan_set(dataset, tier, purpose)
    ruled = plan_set.plans.get(subject) if plan_set is not None else None
    plan = narrow(plan_set).plans.get(subject) if plan_set is not None and narrow is not None else ruled
    cell = plan.reasons[field] if plan is not None else _no_rule(policies, dataset, field, subject)
    reveals = _reveals(policies, dataset, subject, field, cell.treatment, tier)
    if ruled is not None and ruled.reasons[field].treatment != cell.treatment:
        reveals = (_without_grant(policies, tier, purpose, ruled.reasons[field].treatment), *reveals)
    return Explanation(
        dataset=dataset,
        field=field,
        label=cell.label,
        tier=tier,
        purpose=purpose,
        kind=kind,
        grant=grant,
        class_=cell.class_,
        class_label=cell.class_label,
        rule=cell.rule,
        file=cell.file,
        line=cell.line,
        steps=cell.steps,
        treatment=describe(cell.treatment),
        capabilities=cell.capabilities,
        obligations=plan.obligations if plan is not None else None,
        rows=None if plan is None or plan.rows is None else written(plan.rows),
        basis=cell.basis,
        reveals=reveals,
        reason=sentence(cell),
    )


def hidden_fields(plan: Plan, *, administrator: bool = False) -> dict[str, HiddenField]:
    """What is done to each field that this plan does not show clear, why, and by which law; unclassified ones for administrators only."""
    return {
        name: HiddenField(
            field=name,
            label=cell.label,
            class_=cell.class_,
            treatment=describe(cell.treatment),
            reason=sentence(cell),
            basis=cell.withheld_basis,
        )
        for name, cell in plan.reasons.items()
        if not isinstance(cell.treatment, Clear) and (administrator or cell.class_ != "U")
    }


def _no_rule(policies: Policies, dataset: str, field: str, kind: SubjectKind) -> Reasons:
    described = policies.catalogue.datasets[DatasetId(dataset)].fields[field]
    class_ = described.classes.get(kind, "U")
    info = policies.classes[class_]
    return Reasons(
        label=described.label,
        class_=class_,
        class_label=info.label,
        withheld=info.reason,
        withheld_basis=tuple(basis.text for basis in info.basis),
        rule=None,
        file=f"datasets/{dataset}.toml",
        line=None,
        steps=("no rule covers this tier, purpose and kind: drop",),
        treatment=DROP,
        capabilities=(),
        basis=(),
    )


def done(treatment: Treatment, *, reviewed: bool = False) -> str:
    """What a treatment does, in Chinese; `reviewed`: to a text that waits for a reviewer in any case."""
    if isinstance(treatment, Drop):
        return "不提供"
    if isinstance(treatment, Exists):
        return "只说明有无"
    if isinstance(treatment, Surname):
        return "只显示姓氏（个体工商户只显示所在县区）"
    if isinstance(treatment, Keep):
        ends = [f"前{treatment.first}位" if treatment.first else "", f"后{treatment.last}位" if treatment.last else ""]
        return f"只显示{'和'.join(end for end in ends if end)}，其余以固定数目的星号代替"
    if isinstance(treatment, Generalise):
        return "只显示概略值"
    if isinstance(treatment, Pseudonym):
        return "以仅供本接收方使用的假名代替"
    if isinstance(treatment, Redact):
        who = "第三人的个人信息" if treatment.profile == "third_parties" else "其中的个人信息"
        waits = "全部文本均待人工审核后显示" if reviewed else "未能确认无个人信息的，待人工审核后显示"
        return f"显示脱敏文本，{who}以占位符代替" + (f"；{waits}" if treatment.hold else "")
    return "明文显示"


def sentence(cell: Reasons) -> str:
    """Why a cell is as it is, in one Chinese sentence."""
    if isinstance(cell.treatment, Clear):
        return f"{cell.label}：明文显示。依据{'、'.join(cell.basis)}。" if cell.basis else f"{cell.label}：明文显示。"
    law = f"（{'、'.join(cell.withheld_basis)}）" if cell.withheld_basis else ""
    rule = f"规则 {cell.rule}。" if cell.rule is not None else "没有规则允许显示。"
    return f"{cell.label}：{done(cell.treatment, reviewed=cell.reviewed)}。{cell.class_label}：{cell.withheld}{law}。{rule}"


def _reveals(policies: Policies, dataset: str, kind: SubjectKind, field: str, now: Treatment, tier: str) -> tuple[Reveal, ...]:
    """The plans that show more of this cell: nearest tier first, then the least that is shown."""
    found = []
    for (of, other, purpose), held in policies.plan_sets.items():
        plan = held.plans.get(kind)
        if of != dataset or plan is None:
            continue
        there = plan.reasons[field].treatment
        if there != now and leq(now, there):
            found.append(
                (
                    0 if other == tier else 1 if (tier, other) in TIER_ORDER else 2,
                    rank(there),
                    TIERS.index(other),
                    Reveal(
                        change="purpose" if other == tier else "tier",
                        tier=other,
                        tier_label=policies.tiers[other].label,
                        purpose=purpose,
                        purpose_label=policies.purposes[purpose].label,
                        treatment=describe(there),
                    ),
                )
            )
    return tuple(reveal for *_, reveal in sorted(found, key=lambda each: each[:3]))


def _without_grant(policies: Policies, tier: str, purpose: str, treatment: Treatment) -> Reveal:
    """What the rule would show if no grant narrowed it."""
    return Reveal(
        change="grant",
        tier=tier,
        tier_label=policies.tiers[tier].label,
        purpose=purpose,
        purpose_label=policies.purposes[purpose].label,
        treatment=describe(treatment),
    )
