"""What a plan set is told: digests that betray nothing, parts that differ, reasons and moments."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.disclosure.views import Mark, View
from gateway.core.publication.changes import (
    Digests,
    Settled,
    Told,
    changed_parts,
    changed_values,
    removal_reason,
    settled,
    telling,
    values_of_document,
)
from gateway.core.publication.documents import head_bytes, record_head
from gateway.core.records.model import BasisRef, DatasetId, RecordId, SubjectId

NOW = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
NOTHING: frozenset[str] = frozenset()


def a_view(**changes: object) -> View:
    """A view of a penalty."""
    made = View(
        record_id=RecordId("rec_a"),
        subject_id=SubjectId("sub_a"),
        dataset=DatasetId("administrative-penalties"),
        category="penalty",
        kind="legal",
        policy_version=1,
        plan_hash="h",
        fields={"name": "通化市示例药业有限公司", "document_number": "1号", "fine_amount": "1.200000"},
        treatments={},
        region="220502",
        published_from=NOW.date(),
        publish_until=None,
        period_rule="r",
        basis=(BasisRef(law="示例法", article="一"),),
        source_name="示例局",
        source_code=None,
        received_at=NOW,
        marks=(),
        trust="signed",
        issuer=None,
        recognised=None,
        severity="general",
        decision_date=None,
        valid_from=NOW,
        valid_until=None,
    )
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"fields": {"name": "通化市示例药业有限公司", "document_number": "1号", "fine_amount": "2.000000"}}, ["fields.fine_amount"]),
        ({"fields": {"name": "另名", "document_number": "2号"}}, ["document_number", "fields.fine_amount", "subject.name"]),
        ({"marks": (Mark(code="objection_in_progress", since=NOW),)}, ["marks"]),
        ({"publish_until": NOW.date()}, ["publish_until"]),
        ({"region": "220503", "source_name": "另局"}, ["region", "source"]),
        ({}, []),
    ],
)
def test_the_parts_that_differ_are_named(changes: dict[str, object], paths: list[str]) -> None:
    """By digests alone, and the same whether compared as digests or as documents."""
    digests = Digests(b"k" * 32)
    old, new = a_view(), a_view(**changes)
    assert changed_parts(digests.view(old, NOTHING), digests.view(new, NOTHING)) == paths
    before, after = (values_of_document(record_head(each, "http://h").document, NOTHING) for each in (old, new))
    assert changed_values(before, after) == paths
    assert (digests.view(old, NOTHING) == digests.view(new, NOTHING)) is (not paths)


def test_receipt_and_correction_are_of_the_words_that_are_seen() -> None:
    """An amendment that changes nothing told keeps both; one that does brings its own; a later other change brings up no old one."""
    digests = Digests(b"k" * 32)
    later, last = NOW + timedelta(hours=1), NOW + timedelta(hours=2)

    def told(settled_: Settled) -> Told:
        return Told(
            digest=of(settled_.view),
            amended=settled_.amended,
            corrected=settled_.corrected,
            received_at=settled_.received_at,
        )

    def of(view: View) -> bytes:
        return digests.view(view, NOTHING)

    first = settled(a_view(), None, None, of)
    hidden = settled(a_view(received_at=later, marks=(Mark(code="corrected", since=later),)), later, told(first), of)
    assert (hidden.view.marks, hidden.view.received_at, hidden.amended) == ((), NOW, "2026-06-01T03:30:00Z")
    objection = Mark(code="objection_in_progress", since=last)
    disputed = settled(a_view(received_at=later, marks=(objection, Mark(code="corrected", since=later))), later, told(hidden), of)
    assert disputed.view.marks == (objection,)
    amended = a_view(received_at=last, fields={"name": "另名"}, marks=(objection, Mark(code="corrected", since=last)))
    seen = settled(amended, last, told(disputed), of)
    assert seen.view == amended
    again = settled(amended, last, told(seen), of)
    assert again.view == amended
    never = settled(a_view(marks=(Mark(code="corrected", since=later),)), later, None, of)
    assert never.view.marks == ()


def test_a_silent_field_makes_no_change() -> None:
    """A field that is shown but not told moves no digest; its coming and going neither."""
    digests = Digests(b"k" * 32)
    silent = frozenset({"fine_amount"})
    one, two, none = (a_view(fields={"name": "n", "fine_amount": amount}) for amount in ("1", "2", None))
    assert digests.view(one, silent) == digests.view(two, silent) == digests.view(none, silent)
    heads = [record_head(each, "http://h").document for each in (one, two, none)]
    assert len({digests.document(head, head_bytes(head), silent) for head in heads}) == 1


def test_digests_are_keyed() -> None:
    """Without the key nobody can try values against them."""
    assert Digests(b"a" * 32).view(a_view(), NOTHING) != Digests(b"b" * 32).view(a_view(), NOTHING)


@pytest.mark.parametrize(
    ("op", "reason", "said"),
    [
        (None, None, "expired"),
        ("expire", "expired", "expired"),
        ("retract", "corrected", "corrected"),
        ("amend", None, "corrected"),
        ("repair", "repaired", "removed"),
        ("retract", "revoked", "removed"),
        ("retract", "objection_upheld", "removed"),
        ("retract", "no_longer_public", "removed"),
        ("erase", None, "removed"),
        ("hold", None, "removed"),
        ("policy", None, "removed"),
        ("lift", None, "removed"),
    ],
)
def test_three_reasons_are_told(op: str | None, reason: str | None, said: str) -> None:
    """Repaired, revoked and upheld read alike."""
    assert removal_reason(op, reason) == said


@given(st.integers(0, 86_400 * 2))
def test_removals_wait_for_the_next_full_thirty_seconds(offset: int) -> None:
    """Strictly after the moment, and within thirty seconds of it."""
    moment = NOW + timedelta(seconds=offset, microseconds=offset % 1000)
    told = telling(moment)
    assert told.second in (0, 30)
    assert timedelta(0) < told - moment <= timedelta(seconds=30)
