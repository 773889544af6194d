"""Plans narrowed by grants: a ceiling never widens, whatever follows from a cell follows again, and who reaches what."""

from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.callers.caller import Caller
from gateway.core.callers.grants import Grant, GrantBasis
from gateway.core.disclosure.narrowing import narrowed, reaches_of, territory
from gateway.core.disclosure.plans import Plan, PlanSet
from gateway.core.disclosure.redaction import REDACTOR
from gateway.core.disclosure.row_rules import NOBODY, Attributes
from gateway.core.disclosure.treatments import Drop, Exists, Generalise, Keep, Redact, Surname, leq
from gateway.core.disclosure.views import view
from gateway.core.publication.forms import forms_for, forms_of
from gateway.core.records.model import Redaction
from tests.core.disclosure.making import DEPARTMENT, NOW, PENALTIES, penalty, shipped

ORG = "11220500XXT0001181"


def grant(name: str = "one", *, regions: tuple[str, ...] = ("220500",), **more: Any) -> Grant:
    """A grant of penalties for supervision."""
    said = {"org": ORG, "app": "app_a", "dataset": PENALTIES, "purposes": ("dept.supervision",)} | more
    basis = GrantBasis(document="通市监函〔2026〕3号", sha256="0" * 64)
    return Grant(**{"id": name, "regions": regions, "from_": date(2026, 1, 1), "until": date(2026, 12, 31), "basis": basis} | said)


def caller(*grants: Grant, **more: Any) -> Caller:
    """A department's app with these grants."""
    said = {"tier": "department", "purpose": "dept.supervision", "purposes": ("dept.supervision",), "org": ORG, "app": "app_a"} | more
    return Caller(**{"credential_kind": "token", "grants": grants} | said)


def supervision() -> PlanSet:
    """What the shipped policies show a department of penalties."""
    held = shipped().plan_set(PENALTIES, *DEPARTMENT)
    assert held is not None
    return held


def shown(plan: Plan) -> dict[str, Any]:
    """Field → treatment, of what is shown."""
    return {name: cell.treatment for name, cell in plan.reasons.items() if not isinstance(cell.treatment, Drop)}


CEILING = st.sampled_from(
    ("drop", "exists", "surname", "clear", Keep(first=4), Keep(first=2, last=2), Generalise(to="year"), Generalise(to=4),
     Redact(profile="strict", hold=True))
)  # fmt: skip
CEILINGS = st.dictionaries(st.sampled_from(sorted(supervision().described)), CEILING, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ceilings=CEILINGS, more=CEILINGS)
def test_no_ceiling_widens_anything(ceilings: dict[str, Any], more: dict[str, Any]) -> None:
    """Cells, rights, columns and texts of a narrowed plan are within those of the plan, and two grants together within each."""
    policies, base = shipped(), supervision()
    one = narrowed(policies, base, (grant(ceilings=ceilings),))
    both = narrowed(policies, base, (grant(ceilings=ceilings), grant("two", ceilings=more)))
    for wide, narrow in ((base, one), (one, both)):
        assert narrow.columns <= wide.columns
        assert set(narrow.shown) <= set(wide.shown)
        for kind, plan in narrow.plans.items():
            over = wide.plans[kind]
            assert set(plan.columns) <= set(over.columns)
            assert set(plan.texts) <= set(over.texts)
            assert (plan.rows, plan.obligations, plan.valid_until) == (over.rows, over.obligations, over.valid_until)
            for name, cell in plan.reasons.items():
                assert leq(cell.treatment, over.reasons[name].treatment)
                assert set(cell.capabilities) <= set(over.reasons[name].capabilities)
                assert plan.capabilities.get(name, frozenset()) <= over.capabilities.get(name, frozenset())


def test_what_follows_from_a_ceiling() -> None:
    """Steps, columns, rights, reasons and hash follow; what takes nothing away is the plan itself, and everything is made once."""
    policies, base = shipped(), supervision()
    held = narrowed(policies, base, (grant(ceilings={"legal_representative": "surname", "fine_amount": "drop"}),))
    plan, wide = held.plans["legal"], base.plans["legal"]
    assert shown(plan)["legal_representative"] == Surname()
    assert plan.treatments["legal_representative"] == "surname"
    assert "fine_amount" not in plan.columns
    assert "fine_amount" not in held.asked
    assert not plan.can("fine_amount", "filter")
    assert plan.reasons["fine_amount"].steps[-1] == "grant one: at most drop → drop"
    assert plan.plan_hash != wide.plan_hash
    assert held.hash != base.hash
    assert narrowed(policies, base, (grant("other", ceilings={"fine_amount": "drop", "legal_representative": "surname"}),)) is held
    assert narrowed(policies, base, (grant(ceilings={"name": "clear"}),)) is base
    assert narrowed(policies, base, (grant(),)) is base
    assert not plan.envelope.decision_date or wide.envelope.decision_date
    assert not narrowed(policies, base, (grant(ceilings={"decision_date": Exists()}),)).plans["legal"].envelope.decision_date


def test_who_reaches_what() -> None:
    """A grant of another app, organisation, purpose or dataset reaches nothing; several reach in order of their ids."""
    policies, base = shipped(), supervision()
    assert reaches_of(policies, caller(), base) == ()
    for foreign in ({"org": "11220502XXT0001189"}, {"app": "app_b"}, {"dataset": "honours"}, {"purposes": ("dept.licensing",)}):
        assert reaches_of(policies, caller(grant(**foreign)), base) == ()
    found = reaches_of(policies, caller(grant("two"), grant("one", regions=("220502",), themes=("food",))), base)
    assert [each.grant for each in found] == ["one", "two"]
    assert found[0].attributes == Attributes(org_id=ORG, grant_regions=("220502",), grant_themes=("food",))


def test_the_first_grant_that_reaches_a_record_shows_it() -> None:
    """Regions decide which; where none reaches, nothing is seen, and without attributes nobody sees anything."""
    policies, base = shipped(), supervision()
    mine = caller(grant("a", regions=("220502",), ceilings={"legal_representative": "surname"}), grant("b", regions=("220503",)))
    seen: dict[str, Any] = {}
    for region in ("220502", "220503", "220521"):
        record = penalty(region=region)
        for reach in reaches_of(policies, mine, base):
            made = view(record, reach.plan_set.plans["legal"], policies, NOW, reach.attributes)
            if made is not None:
                seen[region] = made.fields["legal_representative"]
                break
    assert seen == {"220502": "某某", "220503": "某某甲"}
    assert view(penalty(), base.plans["legal"], policies, NOW) is None
    assert view(penalty(), base.plans["legal"], policies, NOW, NOBODY) is None
    assert view(penalty(), base.plans["legal"], policies, NOW, None) is not None


def test_regions_of_the_grant_bind_whatever_the_rule_says() -> None:
    """An own record outside the regions of the grant stays unseen."""
    policies, base = shipped(), supervision()
    plan = base.plans["legal"]
    assert territory(plan, NOBODY) is not None
    outside = penalty(region="220602", authority_code=ORG)
    assert view(outside, plan, policies, NOW, Attributes(org_id=ORG, grant_regions=("220500",))) is None
    assert view(outside, plan, policies, NOW, Attributes(org_id=ORG, grant_regions=("220600",))) is not None


def test_themes_of_the_grant_bind_whatever_the_rule_says() -> None:
    """A grant for one theme shows no other and nothing without a theme, not even of its own; one without themes shows all."""
    policies, plan = shipped(), supervision().plans["legal"]
    food = Attributes(org_id=ORG, grant_regions=("220500",), grant_themes=("food",))
    every = Attributes(org_id=ORG, grant_regions=("220500",))
    for theme, reached in (("food", True), ("market", False), (None, False)):
        record = penalty(values={"theme": theme}, authority_code=ORG)
        assert (view(record, plan, policies, NOW, food) is not None) == reached, theme
        assert view(record, plan, policies, NOW, every) is not None, theme


@pytest.mark.parametrize("ceiling", ["surname", "drop", Keep(first=2)])
def test_a_text_does_not_name_whom_the_ceiling_hides(ceiling: Any) -> None:
    """Where a grant shows the subject's name less than clear, every text is the one in which the subject is covered too."""
    policies, base = shipped(), supervision()
    plan = narrowed(policies, base, (grant(ceilings={"name": ceiling}),)).plans["natural"]
    texts = {name: cell.treatment for name, cell in plan.reasons.items() if base.described[name].text and name in shown(plan)}
    assert texts
    assert all(isinstance(each, Redact) and each.profile == "strict" for each in texts.values())
    named = Redaction(strict="〔姓名1〕在室内储存烟花爆竹。", third_parties="某某乙在室内储存烟花爆竹。", residual=0, redactor=REDACTOR)
    record = penalty(kind="natural", texts={"facts": named})
    office = Attributes(org_id=ORG, grant_regions=("220500",))
    seen, before = view(record, plan, policies, NOW, office), view(record, base.plans["natural"], policies, NOW, office)
    assert before is not None
    assert before.fields["facts"] == named.third_parties
    assert seen is not None
    assert seen.fields["facts"] == named.strict


def test_forms_of_a_caller() -> None:
    """One form for equal grants; the plan hash is the tier's where nothing is narrowed; several ways are shown side by side."""
    policies = shipped()
    base = forms_of(policies, *DEPARTMENT)
    wide = forms_for(policies, caller(*(grant(f"g.{name}", dataset=name) for name in base.plan_sets)))
    assert wide.plan_hash == base.plan_hash
    assert wide.tag != base.tag
    assert wide.columns([PENALTIES]) == base.columns([PENALTIES])
    assert forms_for(policies, caller(*(grant(f"g.{name}", dataset=name) for name in base.plan_sets))) is wide
    assert forms_for(policies, caller()).plan_sets == {}
    assert forms_for(policies, caller()).plan_hash != base.plan_hash
    two = forms_for(policies, caller(grant("a", ceilings={"fine_amount": "drop"}), grant("b", regions=("220502",))))
    assert "fields_fine_amount" in two.columns([PENALTIES])
    assert "fine_amount" not in two.plan_sets[PENALTIES].asked
    narrow = forms_for(policies, caller(grant("a", ceilings={"fine_amount": "drop"})))
    assert "fields_fine_amount" not in narrow.columns([PENALTIES])
    assert narrow.plan_hash not in (base.plan_hash, two.plan_hash)
    assert two.tag != forms_for(policies, caller(grant("a", ceilings={"fine_amount": "drop"}), grant("b"))).tag


@pytest.mark.parametrize("tier", ["public", "developer"])
def test_open_callers_need_no_grant(tier: Any) -> None:
    """The public and developers share the public's forms."""
    open_caller = Caller(tier=tier, purpose="open.read", purposes=("open.read",))
    assert forms_for(shipped(), open_caller) is forms_of(shipped(), "public", "open.read")
