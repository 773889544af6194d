"""The decision table of mutual recognition: each row, its order, and what must hold of every decision."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.exchange.recognition import (
    Confirmation,
    Inputs,
    LocalMeasure,
    RecognisedRecord,
    Recognition,
    Terms,
    benefit,
    next_review,
    recognise,
)

NOW = datetime(2026, 12, 10, 4, 0, tzinfo=UTC)
RID = "rec_aaaqeayeaudaocajbifqydiob4"

HONOUR = RecognisedRecord(
    rid=RID,
    v=1,
    op="assert",
    in_force=True,
    dataset="honours",
    category="redlist",
    kind="legal",
    trust="signed",
    dispute=False,
    publish_until=date(2027, 12, 31),
    period_known=True,
)
TERMS = Terms(
    agreement="tonghua-baishan-2026",
    version=1,
    state="active",
    in_scope=True,
    covered=True,
    freshness_h=48,
    persons=False,
    ends=datetime(2028, 11, 30, 16, 0, tzinfo=UTC),
    as_of=NOW - timedelta(hours=1),
)
MEASURE = LocalMeasure(id="green-channel", live=True)
GOOD = Inputs(record=HONOUR, terms=TERMS, measure=MEASURE, serious_here=False, confirmation=None, now=NOW)
PENALTY = replace(HONOUR, dataset="administrative-penalties", category="penalty")
YES = Confirmation(rid=RID, v=1, by="张三", basis="《示例办法》第一条", at=NOW - timedelta(hours=1))
BAD = replace(GOOD, record=PENALTY, measure=LocalMeasure(id="procurement-limit", live=True), confirmation=YES)


FILING = replace(HONOUR, dataset="agency-filings", category="agency_filing")
LISTING = replace(HONOUR, dataset="tax-violations", category="blacklist")

ROWS = [
    (1, "a withdrawal", replace(GOOD, record=replace(HONOUR, op="repair", in_force=False)), "withdrawn", "lift"),
    (1, "not in force", replace(GOOD, record=replace(HONOUR, in_force=False)), "withdrawn", "lift"),
    (1, "erased", replace(GOOD, record=replace(HONOUR, op="erase", in_force=False)), "withdrawn", "lift"),
    (2, "suspended", replace(GOOD, terms=replace(TERMS, state="suspended")), "no_agreement", "lift"),
    (2, "over", replace(GOOD, terms=replace(TERMS, state="expired")), "no_agreement", "lift"),
    (2, "outside the scope", replace(GOOD, terms=replace(TERMS, in_scope=False)), "no_agreement", "lift"),
    (3, "no entry", replace(GOOD, terms=replace(TERMS, covered=False)), "not_covered", "none"),
    (4, "a person", replace(GOOD, record=replace(HONOUR, kind="natural")), "person_no_basis", "none"),
    (4, "a household", replace(GOOD, record=replace(HONOUR, kind="individual_business")), "person_no_basis", "none"),
    (5, "vouched and negative", replace(BAD, record=replace(PENALTY, trust="vouched")), "vouched_source", "none"),
    (6, "disputed", replace(GOOD, record=replace(HONOUR, dispute=True)), "disputed", "suspend"),
    (6, "disputed and negative", replace(BAD, record=replace(PENALTY, dispute=True)), "disputed", "suspend"),
    (7, "past its last day", replace(GOOD, record=replace(HONOUR, publish_until=date(2026, 12, 9))), "expired", "lift"),
    (7, "not computable", replace(GOOD, record=replace(HONOUR, period_known=False)), "expired", "lift"),
    (8, "too old", replace(GOOD, terms=replace(TERMS, as_of=NOW - timedelta(hours=49))), "stale", "suspend"),
    (8, "never heard", replace(GOOD, terms=replace(TERMS, as_of=None)), "stale", "suspend"),
    (9, "no measure", replace(GOOD, measure=None), "no_measure", "none"),
    (9, "its basis is not in force", replace(GOOD, measure=replace(MEASURE, live=False)), "no_measure", "none"),
    (9, "its last day is over", replace(GOOD, measure=replace(MEASURE, cap=date(2026, 12, 9))), "no_measure", "none"),
    (10, "on a list here", replace(GOOD, serious_here=True), "local_negative", "suspend"),
    (11, "positive", GOOD, "recognised", "measure"),
    (11, "neutral", replace(GOOD, record=FILING), "recognised", "measure"),
    (11, "neutral, on a list here", replace(GOOD, record=FILING, serious_here=True), "recognised", "measure"),
    (12, "unconfirmed", replace(BAD, confirmation=None), "awaiting_confirmation", "task"),
    (12, "an unconfirmed listing", replace(BAD, record=LISTING, confirmation=None), "awaiting_confirmation", "task"),
    (12, "another version", replace(BAD, confirmation=replace(YES, v=2)), "awaiting_confirmation", "task"),
    (12, "another record", replace(BAD, confirmation=replace(YES, rid="rec_aaaaaaaaaaaaaaaaaaaaaaaaaa")), "awaiting_confirmation", "task"),
    (12, "no basis", replace(BAD, confirmation=replace(YES, basis=" ")), "awaiting_confirmation", "task"),
    (12, "no name", replace(BAD, confirmation=replace(YES, by="")), "awaiting_confirmation", "task"),
    (13, "confirmed", BAD, "recognised", "measure"),
    (13, "a confirmed listing", replace(BAD, record=LISTING), "recognised", "measure"),
]
"""Number of the row of exchange.md §13, what it is, the inputs, reason and consequence."""


@pytest.mark.parametrize(("inputs", "reason", "consequence"), [row[2:] for row in ROWS], ids=[f"row {row[0]}: {row[1]}" for row in ROWS])
def test_each_row(inputs: Inputs, reason: str, consequence: str) -> None:
    """Every row of the table gives its own reason and consequence, and keeps its inputs."""
    decision = recognise(inputs)
    assert (decision.reason, decision.consequence) == (reason, consequence)
    assert (decision.effect is None) == (reason != "recognised")
    assert decision.inputs is inputs


def test_no_row_is_without_its_test() -> None:
    """All thirteen rows of the table are there."""
    assert {row[0] for row in ROWS} == set(range(1, 14))


def test_rows_stand_in_order() -> None:
    """With everything wrong at once the first row decides; mended one by one, the next does."""
    wrong = replace(
        BAD,
        record=replace(
            PENALTY, op="retract", in_force=False, kind="natural", trust="vouched", dispute=True, publish_until=date(2026, 1, 1)
        ),
        terms=replace(TERMS, state="terminated", covered=False, as_of=None),
        measure=None,
        confirmation=None,
    )
    reasons = [recognise(wrong).reason]
    for mend in (
        lambda i: replace(i, record=replace(i.record, op="assert", in_force=True)),
        lambda i: replace(i, terms=replace(i.terms, state="active")),
        lambda i: replace(i, terms=replace(i.terms, covered=True)),
        lambda i: replace(i, record=replace(i.record, kind="legal")),
        lambda i: replace(i, record=replace(i.record, trust="signed")),
        lambda i: replace(i, record=replace(i.record, dispute=False)),
        lambda i: replace(i, record=replace(i.record, publish_until=None)),
        lambda i: replace(i, terms=replace(i.terms, as_of=NOW)),
        lambda i: replace(i, measure=BAD.measure),
        lambda i: replace(i, confirmation=YES),
    ):
        wrong = mend(wrong)
        reasons.append(recognise(wrong).reason)
    assert reasons == [
        "withdrawn",
        "no_agreement",
        "not_covered",
        "person_no_basis",
        "vouched_source",
        "disputed",
        "expired",
        "stale",
        "no_measure",
        "awaiting_confirmation",
        "recognised",
    ]


def test_until_is_the_earliest_end() -> None:
    """An effect ends with the publication period, the agreement or the local cap, whichever is first."""
    assert recognise(GOOD).until == date(2027, 12, 31)
    assert recognise(replace(GOOD, record=replace(HONOUR, publish_until=None))).until == date(2028, 11, 30)
    assert recognise(replace(GOOD, measure=replace(MEASURE, cap=date(2027, 1, 31)))).until == date(2027, 1, 31)


def test_review_comes_before_time_changes_anything() -> None:
    """Between now and the next review, time alone does not change the decision; just after it, it does."""
    review = next_review(recognise(GOOD))
    assert review is not None
    assert recognise(replace(GOOD, now=review)).reason == "recognised"
    assert recognise(replace(GOOD, now=review + timedelta(seconds=1))).reason == "stale"


def test_a_turn_of_our_own_inputs_brings_a_review() -> None:
    """Where a listing here ends, or a measure comes into force, the decision is made again then, with or without an effect."""
    turn = NOW + timedelta(hours=5)
    assert next_review(recognise(replace(GOOD, serious_here=True, turns_at=turn))) == turn
    assert next_review(recognise(replace(GOOD, measure=None, turns_at=turn))) == turn
    assert next_review(recognise(replace(GOOD, turns_at=turn))) == turn
    assert next_review(recognise(replace(GOOD, serious_here=True))) is None


kinds = st.sampled_from(["legal", "individual_business", "natural"])
days = st.none() | st.dates(date(2026, 1, 1), date(2030, 1, 1))
instants = st.datetimes(datetime(2026, 1, 1), datetime(2029, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone itself
records = st.builds(
    RecognisedRecord,
    rid=st.just(RID),
    v=st.integers(1, 3),
    op=st.sampled_from(["assert", "amend", "retract", "repair", "expire", "erase"]),
    in_force=st.booleans(),
    dataset=st.just("honours"),
    category=st.sampled_from(["redlist", "penalty", "blacklist", "abnormal", "licence", "agency_filing"]),
    kind=kinds,
    trust=st.sampled_from(["signed", "vouched"]),
    dispute=st.booleans(),
    publish_until=days,
    period_known=st.booleans(),
)
terms = st.builds(
    Terms,
    agreement=st.just("a-b"),
    version=st.just(1),
    state=st.sampled_from(["active", "active", "active", "suspended", "expired", "terminated"]),
    in_scope=st.booleans(),
    covered=st.booleans(),
    freshness_h=st.integers(1, 8760),
    persons=st.booleans(),
    ends=instants,
    as_of=st.none() | instants,
)
measures = st.none() | st.builds(LocalMeasure, id=st.just("m"), live=st.booleans(), cap=days)
confirmations = st.none() | st.builds(
    Confirmation, rid=st.just(RID), v=st.integers(1, 3), by=st.sampled_from(["张三", ""]), basis=st.sampled_from(["依据", ""]), at=instants
)
everything = st.builds(
    Inputs, record=records, terms=terms, measure=measures, serious_here=st.booleans(), confirmation=confirmations, now=instants
)


def poorer(inputs: Inputs) -> list[Inputs]:
    """The same inputs with one piece of information taken away."""
    return [
        replace(inputs, measure=None),
        replace(inputs, confirmation=None),
        replace(inputs, terms=replace(inputs.terms, as_of=None)),
        replace(inputs, terms=replace(inputs.terms, covered=False)),
        replace(inputs, terms=replace(inputs.terms, in_scope=False)),
        replace(inputs, record=replace(inputs.record, period_known=False)),
        replace(inputs, record=replace(inputs.record, in_force=False)),
        replace(inputs, record=replace(inputs.record, trust="vouched")),
    ]


@given(everything)
def test_less_information_never_benefits_more(inputs: Inputs) -> None:
    """Taking information away never increases a benefit: a positive effect never appears by it."""
    before = max(benefit(recognise(inputs)), 0)
    for less in poorer(inputs):
        assert max(benefit(recognise(less)), 0) <= before


@given(everything)
def test_a_dispute_never_burdens(inputs: Inputs) -> None:
    """Adding a dispute never adds a burden."""
    disputed = replace(inputs, record=replace(inputs.record, dispute=True))
    assert benefit(recognise(disputed)) >= min(benefit(recognise(inputs)), 0)
    assert recognise(disputed).effect is None


@given(everything)
def test_negative_effects_need_a_person(inputs: Inputs) -> None:
    """No negative effect without a named person's confirmation of this very version, a signed source and a legal person or a basis."""
    decision = recognise(inputs)
    if decision.effect is not None and inputs.record.negative:
        assert inputs.confirmation is not None
        assert inputs.confirmation.v == inputs.record.v
        assert inputs.confirmation.by
        assert inputs.record.trust == "signed"
    if decision.effect is not None:
        assert inputs.record.kind == "legal" or inputs.terms.persons
        assert decision.until is not None


@given(everything)
def test_decisions_are_repeatable(inputs: Inputs) -> None:
    """The same inputs give the same decision: it can be made again from what was stored."""
    first: Recognition = recognise(inputs)
    assert recognise(first.inputs) == first
