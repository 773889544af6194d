"""Questions: what may be asked, what is refused, and that a hidden name is refused exactly as one that never existed."""

from collections.abc import Mapping

import pytest

from gateway.core.disclosure.plans import PlanSet
from gateway.core.disclosure.policy import compile_policies
from gateway.core.disclosure.query import FieldInfo, Filter, Query, plan_query
from gateway.core.errors import InvalidParameter, RequestError, UnknownParameter
from tests.core.disclosure.making import DEPARTMENT, PENALTIES, PUBLIC, TODAY, bent, shipped

ENVELOPE: Mapping[str, FieldInfo] = {
    "dataset": FieldInfo(query=frozenset({"filter"})),
    "region": FieldInfo(type="division", query=frozenset({"filter", "facet"})),
    "kind": FieldInfo(type="enum", query=frozenset({"filter"}), values=("penalty", "licence")),
    "published_from": FieldInfo(type="date", query=frozenset({"filter", "sort"})),
    "decision_date": FieldInfo(type="date", query=frozenset({"filter", "sort"})),
    "received_at": FieldInfo(type="instant", query=frozenset({"filter"})),
    "subject.uscc": FieldInfo(),
    "id": FieldInfo(),
    "q": FieldInfo(),
}


def sets(*datasets: str, who: tuple[str, str] = PUBLIC) -> list[PlanSet]:
    """The plan sets that a question is about."""
    found = [shipped().plan_set(dataset, *who) for dataset in datasets or (PENALTIES,)]
    return [held for held in found if held is not None]


def ask(who: tuple[str, str] = PUBLIC, **params: str) -> Query:
    """A question about penalties."""
    return plan_query(params, sets(who=who), ENVELOPE)


def refusal(params: Mapping[str, str], plan_sets: list[PlanSet]) -> RequestError:
    """How a question is refused."""
    with pytest.raises(RequestError) as caught:
        plan_query(params, plan_sets, ENVELOPE)
    return caught.value


# --- what may be asked ------------------------------------------------------------------------------------------------


def test_filters_in_every_form() -> None:
    """Equality, any of, ranges, prefix, contains and null, in the field's own type."""
    query = ask(
        uscc="91220502XXT00002X2",
        penalty_type="fine,confiscation",
        fine_amount__gte="1.5",
        decision_date__lt="2026-06-01",
        document_number__prefix="通市监",
        name__contains="药业",
        confiscated_amount__isnull="true",
        region="220500",
        received_at__gt="2026-03-01T00:00:00Z",
    )
    assert query.filters == (
        Filter(field="uscc", op="eq", values=("91220502XXT00002X2",)),
        Filter(field="penalty_type", op="in", values=("fine", "confiscation")),
        Filter(field="fine_amount", op="gte", values=("1.5",)),
        Filter(field="decision_date", op="lt", values=("2026-06-01",)),
        Filter(field="document_number", op="prefix", values=("通市监",)),
        Filter(field="name", op="contains", values=("药业",)),
        Filter(field="confiscated_amount", op="isnull", values=(True,)),
        Filter(field="region", op="eq", values=("220500",)),
        Filter(field="received_at", op="gt", values=("2026-03-01T00:00:00Z",)),
    )


def test_a_filter_narrows_the_answer_to_the_kinds_that_allow_it() -> None:
    """A name is clear for organisations only: households and persons are not among the rows, not even for a department."""
    assert ask(decision_date__gte="2026-01-01").kinds == ("legal", "individual_business")
    assert ask(name__prefix="通化").kinds == ("legal",)
    assert ask(uscc="91220502XXT00002X2").kinds == ("legal",)
    assert ask(DEPARTMENT, name="某某乙").kinds == ("legal",)
    assert ask(DEPARTMENT, decision_date__gte="2026-01-01").kinds == ("legal", "individual_business", "natural")
    assert ask().kinds == ("legal", "individual_business", "natural"), "the plans themselves decide"


def test_order_size_and_fields() -> None:
    """At most two sort keys, a page of 1 to 100 or all, dotted paths."""
    query = ask(sort="-decision_date,fine_amount", limit="50", fields="id,subject.uscc,fields.facts,fields.summary")
    assert query.sort == (("decision_date", True), ("fine_amount", False))
    assert query.limit == 50
    assert query.fields == ("id", "subject.uscc", "fields.facts", "fields.summary")
    assert ask().limit == 20
    assert ask(limit="all").limit is None


def test_a_question_in_words() -> None:
    """`q` where the path offers it; relevance is then the order."""
    assert ask(q="药业").q == "药业"
    assert refusal({"q": "药业", "sort": "decision_date"}, sets()).code == "invalid-parameter"
    with pytest.raises(UnknownParameter):
        plan_query({"q": "药业"}, sets(), {name: info for name, info in ENVELOPE.items() if name != "q"})


# --- hidden is unknown ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "id_no",
        "legal_representative",
        "legal_representative_id_no",
        "remark",
        "reg_no",
        "effective_until",
        "facts",
        "content",
        "delivered_on",
        "conduct_end",
        "id_no__prefix",
        "facts__contains",
        "remark__isnull",
        "legal_representative__contains",
        "name__gte",
        "category__prefix",
        "fine_amount__contains",
    ],
)
@pytest.mark.parametrize("value", ["000000000000000000", "true", ""])
def test_hidden_and_unheard_of_are_refused_alike(name: str, value: str) -> None:
    """The answers are equal but for the name that the caller sent; no value is repeated."""
    hidden = refusal({name: value}, sets())
    unheard = refusal({"nobody_ever": value}, sets())
    assert type(hidden) is type(unheard) is UnknownParameter
    assert str(hidden).replace(name, "…") == str(unheard).replace("nobody_ever", "…")
    assert [(item.code, item.detail) for item in hidden.errors] == [(item.code, item.detail) for item in unheard.errors]
    assert (hidden.errors[0].parameter, unheard.errors[0].parameter) == (name, "nobody_ever")
    assert value == "" or value not in str(hidden).replace(name, "")


@pytest.mark.parametrize("parameter", ["sort", "fields"])
@pytest.mark.parametrize(
    "name", ["id_no", "legal_representative", "facts", "fields.id_no", "fields.remark", "-remark", "fields.legal_representative"]
)
def test_hidden_names_in_sort_and_fields(parameter: str, name: str) -> None:
    """The same in the parameters that name fields; a redacted text may be chosen, never sorted."""
    hidden, unheard = refusal({parameter: name}, sets()), refusal({parameter: "nobody_ever"}, sets())
    assert str(hidden) == str(unheard)
    assert [(item.code, item.detail, item.parameter) for item in hidden.errors] == [
        (item.code, item.detail, item.parameter) for item in unheard.errors
    ]


def test_nobody_feels_his_way_to_a_person() -> None:
    """Not even a department filters, sorts or searches by what is about persons: whole values are looked up elsewhere."""
    for name in ("id_no", "id_no__prefix", "legal_representative", "legal_representative__contains"):
        assert isinstance(refusal({name: "x"}, sets(who=DEPARTMENT)), UnknownParameter)


def test_fields_of_a_dataset_are_asked_with_one_dataset() -> None:
    """Over several datasets only the envelope is known; naming one brings its fields."""
    several = sets("administrative-penalties", "honours")
    assert isinstance(refusal({"fine_amount__gte": "1"}, several), UnknownParameter)
    assert isinstance(refusal({"fine_amount__gte": "1", "dataset": "honours"}, several), UnknownParameter)
    assert isinstance(refusal({"fine_amount__gte": "1", "dataset": f"{PENALTIES},honours"}, several), UnknownParameter)
    assert plan_query({"fine_amount__gte": "1", "dataset": PENALTIES}, several, ENVELOPE).filters[0].field == "fine_amount"
    assert plan_query({"decision_date__gte": "2026-01-01"}, several, ENVELOPE).filters[0].field == "decision_date"


def test_the_envelope_is_no_way_around_a_plan() -> None:
    """A name that is both envelope and field follows the plan of the dataset in question."""
    files = bent(
        f"datasets/{PENALTIES}.toml",
        ('field.conduct_end = { treatment = "drop" }', 'field.decision_date = { treatment = { do = "generalise", to = "year" } }'),
    )
    held = compile_policies(files, version=1, today=TODAY).public(PENALTIES)
    assert held is not None
    narrowed = plan_query({"decision_date__gte": "2026-01-01"}, [held], ENVELOPE)
    assert narrowed.kinds == ("individual_business",), "clear only in the plan for households"


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "１０"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": "ALL"}, "limit"),
        ({"sort": "decision_date,fine_amount,name"}, "sort"),
        ({"sort": "decision_date,-decision_date"}, "sort"),
        ({"penalty_type": "fine,,warning"}, "penalty_type"),
        ({"penalty_type": "execution"}, "penalty_type"),
        ({"penalty_type": "罚款"}, "penalty_type"),
        ({"uscc": ",".join(["91220502XXT00002X2"] * 51)}, "uscc"),
        ({"document_number": "x" * 201}, "document_number"),
        ({"document_number": ""}, "document_number"),
        ({"decision_date": "2026-02-30"}, "decision_date"),
        ({"decision_date__gte": "2026/01/01"}, "decision_date__gte"),
        ({"decision_date__gte": "20260101"}, "decision_date__gte"),
        ({"fine_amount__lt": "1e9"}, "fine_amount__lt"),
        ({"fine_amount__lt": "01"}, "fine_amount__lt"),
        ({"fine_amount__lt": "NaN"}, "fine_amount__lt"),
        ({"confiscated_amount__isnull": "yes"}, "confiscated_amount__isnull"),
        ({"region": "2205"}, "region"),
        ({"received_at__gt": "2026-03-01T00:00:00"}, "received_at__gt"),
        ({"q": ""}, "q"),
        ({"q": " "}, "q"),
        ({"q": "药" * 129}, "q"),
        ({"fields": ",".join(["id"] * 101)}, "fields"),
        ({"fields": "region,region"}, "fields"),
        ({"fields": "region,"}, "fields"),
        ({"sort": "decision_date,decision_date"}, "sort"),
        ({"sort": ""}, "sort"),
        ({"penalty_type": "fine,warning,fine"}, "penalty_type"),
        ({"document_number__prefix": "通市监,通市监"}, "document_number__prefix"),
    ],
)
def test_broken_bounds(params: dict[str, str], parameter: str) -> None:
    """Each bound is refused as `invalid-parameter`, pointing at the parameter, repeating no value."""
    error = refusal(params, sets())
    assert isinstance(error, InvalidParameter)
    assert error.errors[0].parameter == parameter
    assert all(len(value) < 4 or value not in str(error) for value in params.values())


def test_twenty_filters_are_the_limit() -> None:
    """Twenty pass, one more does not."""
    dates = {f"{name}__{op}": "2026-01-01" for name in ("decision_date", "published_from") for op in ("gte", "gt", "lte", "lt")}
    amounts = {f"{name}__{op}": "1" for name in ("fine_amount", "confiscated_amount") for op in ("gte", "gt", "lte", "lt")}
    others = {"uscc": "91220502XXT00002X2", "penalty_type": "fine", "theme": "food", "severity": "general"}
    params = {**dates, **amounts, **others}
    assert len(plan_query(params, sets(), ENVELOPE).filters) == 20
    assert isinstance(refusal({**params, "region": "220500"}, sets()), InvalidParameter)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "__gte",
        "name__",
        "name__eq",
        "name__in",
        "NAME",
        "name ",
        "name__gte__lt",
        "fields.name",
        "subject.uscc",
        "limit__gte",
        "ｎａｍｅ",
    ],
)
def test_names_that_are_none(name: str) -> None:
    """Whatever else a parameter is called, it is unknown."""
    assert isinstance(refusal({name: "x"}, sets()), UnknownParameter)
