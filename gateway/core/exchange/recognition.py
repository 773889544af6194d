"""Mutual recognition 互认: whether a record issued elsewhere has an effect here (exchange.md §13).

One decision table, first row that fits. The source is right about facts, the local authority about measures. A negative effect is never
automatic: it needs a named person's confirmation of this very version. Taking information away never increases a benefit, and a dispute
never adds a burden. The decision keeps all its inputs and is made again whenever one of them changes.

This room must not publish, list or count; it only says what follows.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Literal

from msgspec import Struct

from gateway.core.records.model import NEGATIVE_CATEGORIES, POSITIVE_CATEGORIES
from gateway.core.records.periods import end_instant

Reason = Literal[
    "withdrawn",
    "no_agreement",
    "not_covered",
    "person_no_basis",
    "vouched_source",
    "disputed",
    "expired",
    "stale",
    "no_measure",
    "local_negative",
    "recognised",
    "awaiting_confirmation",
]
Consequence = Literal["none", "lift", "suspend", "task", "measure"]
"""What follows: nothing, an effect in place is lifted, or suspended, a person is asked, or the local measure applies."""


class RecognisedRecord(Struct, frozen=True, kw_only=True):
    """What we hold of a record that a partner asserted."""

    rid: str
    v: int
    op: str
    """Of the last line that took effect."""
    in_force: bool
    dataset: str
    category: str
    kind: str
    trust: str
    dispute: bool
    publish_until: date | None
    """Earliest last day shown, by the partner and by our own periods; None: no end."""
    period_known: bool
    """Our own periods could be computed."""

    @property
    def negative(self) -> bool:
        """It burdens its subject."""
        return self.category in NEGATIVE_CATEGORIES

    @property
    def positive(self) -> bool:
        """It benefits its subject."""
        return self.category in POSITIVE_CATEGORIES


class Terms(Struct, frozen=True, kw_only=True):
    """What the agreement says at this moment."""

    agreement: str
    version: int
    state: str
    in_scope: bool
    covered: bool
    """There is a `recognition` entry for dataset and category."""
    freshness_h: int
    persons: bool
    """The agreement has a basis for people and households (§14)."""
    ends: datetime
    as_of: datetime | None
    """`created` of the latest applied batch of the stream."""


class LocalMeasure(Struct, frozen=True, kw_only=True):
    """What the local catalogue attaches to a category."""

    id: str
    live: bool
    """Its basis is in force today."""
    cap: date | None = None
    """Last day on which it may apply."""
    basis: str = ""
    """The grounds that are in force, as they are cited."""


class Confirmation(Struct, frozen=True, kw_only=True):
    """A named person's yes to the effect of one version of one negative record."""

    rid: str
    v: int
    by: str
    basis: str
    at: datetime


class Inputs(Struct, frozen=True, kw_only=True):
    """Everything a decision rests on; stored with it."""

    record: RecognisedRecord
    terms: Terms
    measure: LocalMeasure | None
    serious_here: bool
    """The subject stands on a local list of serious violations."""
    confirmation: Confirmation | None
    now: datetime
    turns_at: datetime | None = None
    """The next moment at which one of our own inputs turns by itself: a listing here ends or begins, a measure comes into force, a period
    opens, another version of the agreement takes effect."""


class Recognition(Struct, frozen=True, kw_only=True):
    """The decision, its reason, and until when it holds."""

    effect: str | None
    consequence: Consequence
    reason: Reason
    until: date | None
    inputs: Inputs


def recognise(inputs: Inputs) -> Recognition:
    """Whether and how a record from elsewhere takes effect here: the first row of the table that fits."""
    record, terms, measure = inputs.record, inputs.terms, inputs.measure
    if not record.in_force or record.op not in ("assert", "amend"):
        return _none(inputs, "withdrawn", "lift")
    if terms.state != "active" or not terms.in_scope:
        return _none(inputs, "no_agreement", "lift")
    if not terms.covered:
        return _none(inputs, "not_covered")
    if record.kind != "legal" and not terms.persons:
        return _none(inputs, "person_no_basis")
    if record.negative and record.trust != "signed":
        return _none(inputs, "vouched_source")
    if record.dispute:
        return _none(inputs, "disputed", "suspend")
    if not record.period_known or (record.publish_until is not None and end_instant(record.publish_until) <= inputs.now):
        return _none(inputs, "expired", "lift")
    if terms.as_of is None or inputs.now - terms.as_of > timedelta(hours=terms.freshness_h):
        return _none(inputs, "stale", "suspend")
    if measure is None or not measure.live or (measure.cap is not None and end_instant(measure.cap) <= inputs.now):
        return _none(inputs, "no_measure")
    if record.positive and inputs.serious_here:
        return _none(inputs, "local_negative", "suspend")
    if record.negative and not _confirmed(inputs):
        return _none(inputs, "awaiting_confirmation", "task")
    return Recognition(effect=measure.id, consequence="measure", reason="recognised", until=_until(inputs), inputs=inputs)


def _none(inputs: Inputs, reason: Reason, consequence: Consequence = "none") -> Recognition:
    return Recognition(effect=None, consequence=consequence, reason=reason, until=None, inputs=inputs)


def _confirmed(inputs: Inputs) -> bool:
    yes = inputs.confirmation
    return (
        yes is not None
        and (yes.rid, yes.v) == (inputs.record.rid, inputs.record.v)
        and bool(yes.by.strip())
        and bool(yes.basis.strip())
        and yes.at <= inputs.now
    )


def _until(inputs: Inputs) -> date | None:
    last_of_agreement = (inputs.terms.ends.astimezone(UTC) + timedelta(hours=8) - timedelta(microseconds=1)).date()
    days = (inputs.record.publish_until, last_of_agreement, inputs.measure.cap if inputs.measure else None)
    return min(day for day in days if day is not None)


def benefit(decision: Recognition) -> int:
    """How much a decision favours the subject: a positive effect 1, a negative one -1, else 0."""
    if decision.effect is None:
        return 0
    return -1 if decision.inputs.record.negative else 1 if decision.inputs.record.positive else 0


def next_review(decision: Recognition) -> datetime | None:
    """The next moment at which time alone may change the decision: an end, staleness, or a turn of our own inputs."""
    turns = [] if decision.inputs.turns_at is None else [decision.inputs.turns_at]
    if decision.effect is None:
        return min(turns, default=None)
    moments = [*turns, decision.inputs.terms.ends]
    if decision.until is not None:
        moments.append(end_instant(decision.until))
    if decision.inputs.terms.as_of is not None:
        moments.append(decision.inputs.terms.as_of + timedelta(hours=decision.inputs.terms.freshness_h))
    return min(moments)
