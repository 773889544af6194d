"""Explanations: every cell says by which rule, line and law it is as it is, and what would show more."""

import pytest

from gateway.commands.policy_tools import explain_lines
from gateway.core.disclosure.explain import explain, hidden_fields
from gateway.core.disclosure.treatments import CLEAR, describe
from gateway.core.errors import PolicyError
from tests.core.disclosure.making import DEPARTMENT, PENALTIES, PUBLIC, line_of, plan_of, shipped, shipped_files

FILE = f"datasets/{PENALTIES}.toml"


def test_a_masked_cell() -> None:
    """The code of a household: its class, the line of the rule, the mask, the right to look it up, and who sees it whole."""
    found = explain(shipped(), dataset=PENALTIES, tier="public", purpose="open.read", kind="individual_business", field="uscc")
    assert (found.class_, found.rule, found.file, found.treatment) == ("P2", "penalties-open-household", FILE, "keep(8,0)")
    assert found.line == line_of(shipped_files(), FILE, "first = 8")
    assert found.steps == ("field.uscc: keep(8,0)",)
    assert found.capabilities == ("lookup",)
    assert found.basis == ("《中华人民共和国行政处罚法》第四十八条",)
    assert {reveal.treatment for reveal in found.reveals} == {"clear"}
    assert [reveal.tier for reveal in found.reveals] == ["subject", *["department"] * 3, *["supervisor"] * 2]
    assert "前8位" in found.reason


def test_a_cell_that_no_rule_covers() -> None:
    """Dropped, and said to be so because there is no rule."""
    found = explain(shipped(), dataset=PENALTIES, tier="public", purpose="open.read", kind="natural", field="name")
    assert (found.rule, found.line, found.treatment) == (None, None, "drop")
    assert {reveal.tier_label for reveal in found.reveals} == {"信息主体本人", "行政机关", "省级平台"}
    assert "没有规则允许显示" in found.reason


def test_an_unclassified_cell() -> None:
    """Nothing reveals it: it must be classified first."""
    found = explain(shipped(), dataset=PENALTIES, tier="department", purpose="dept.supervision", kind="legal", field="remark")
    assert (found.class_, found.treatment, found.reveals) == ("U", "drop", ())


def test_the_rows_of_a_plan_are_told_as_the_policy_file_has_them() -> None:
    """No tree of ours: the words that the administrator wrote; and whoever names what is not there is told what is."""
    found = explain(shipped(), dataset=PENALTIES, tier="department", purpose="dept.supervision", kind="legal", field="name")
    assert found.rows is not None
    assert f"rows = {found.rows}" in shipped_files()[FILE].decode()
    with pytest.raises(PolicyError) as unknown:
        explain(shipped(), dataset=PENALTIES, tier="admin", purpose="open.read", kind="legal", field="name")
    assert unknown.value.hint == "one of public, developer, subject, department, partner, supervisor, pboc"


def test_that_nothing_shows_more_is_said() -> None:
    """In the command's words: an unclassified field waits for a class, another hidden one for another policy."""
    asked = {"dataset": PENALTIES, "tier": "department", "purpose": "dept.supervision", "kind": "legal"}
    told = explain_lines([explain(shipped(), **asked, field="remark")])
    assert told[-1] == "  shows more: nothing before the field has a class: of class U nobody is shown anything"
    told = explain_lines([explain(shipped(), **(asked | {"tier": "subject", "purpose": "self.read"}), field="facts")])
    assert told[-1] == "  shows more: nothing in this policy: no tier, purpose or grant"
    assert "shows more" not in "".join(explain_lines([explain(shipped(), **asked, field="name")]))


def test_every_shipped_cell_explains_itself() -> None:
    """Over the whole matrix: a rule with a line that exists, steps, a sentence, and a treatment equal to the plan's."""
    lines = {path: content.decode().splitlines() for path, content in shipped_files().items()}
    for (dataset, tier, purpose), held in shipped().plan_sets.items():
        for kind, plan in held.plans.items():
            for field, cell in plan.reasons.items():
                found = explain(shipped(), dataset=dataset, tier=tier, purpose=purpose, kind=kind, field=field)
                assert found.line is not None
                assert lines[found.file][found.line - 1].split("=")[0].strip() in ("class", "text", f"field.{field}")
                assert found.treatment == describe(cell.treatment)
                assert found.steps
                assert found.label in found.reason


def test_hidden_fields_name_what_is_withheld_and_the_law() -> None:
    """Each field that is not clear has a Chinese reason with its law; unclassified ones are for administrators."""
    plan = plan_of(PENALTIES, *PUBLIC, "individual_business")
    hidden = hidden_fields(plan)
    assert set(hidden) == {name for name, cell in plan.reasons.items() if cell.treatment != CLEAR and cell.class_ != "U"}
    assert hidden["legal_representative"].reason.startswith("法定代表人：不提供。")
    assert "个人信息保护法" in hidden["legal_representative"].reason
    assert all(found.basis for found in hidden.values())
    assert "remark" in hidden_fields(plan, administrator=True)


def test_the_department_hides_little() -> None:
    """Numbers of persons to their sixth digit, texts redacted of third persons."""
    hidden = hidden_fields(plan_of(PENALTIES, *DEPARTMENT, "natural"))
    assert "前6位" in hidden["id_no"].reason
    assert "第三人" in hidden["facts"].reason
    assert "name" not in hidden


def test_for_what_is_open_to_everybody_every_tier_reads_the_publics_plans() -> None:
    """A department without a purpose of its own is told what the public is told, in whatever else it may see more."""
    cell = {"dataset": PENALTIES, "purpose": "open.read", "kind": "individual_business", "field": "uscc"}
    public = explain(shipped(), tier="public", **cell)
    assert public.treatment == "keep(8,0)"
    for tier in ("developer", "subject", "department", "partner", "supervisor", "pboc"):
        found = explain(shipped(), tier=tier, **cell)
        assert (found.treatment, found.rule, found.capabilities) == (public.treatment, public.rule, public.capabilities)
    assert explain(shipped(), tier="department", **cell).reveals[0].change == "purpose"


@pytest.mark.parametrize("wrong", [{"dataset": "fines"}, {"tier": "king"}, {"purpose": "curiosity"}, {"kind": "cat"}, {"field": "secret"}])
def test_names_that_stand_nowhere(wrong: dict[str, str]) -> None:
    """Refused with the code of the static check."""
    named = {"dataset": PENALTIES, "tier": "public", "purpose": "open.read", "kind": "legal", "field": "name"} | wrong
    with pytest.raises(PolicyError, match="policy-S10"):
        explain(shipped(), **named)
