"""What becomes of statements: the semantics of `accept`, states, disputes, erasure; on both databases."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.core.disclosure.redaction import REDACTOR
from gateway.core.errors import StoreError
from gateway.core.records.model import Admitted, LifeDates, Period, Redaction
from gateway.settings import Clock
from gateway.store import changes, records
from gateway.store.records import Outcome
from gateway.store.store import Store
from gateway.store.tables import record_versions
from gateway.store.tables import records as record_rows
from tests.store.checks import check_store
from tests.store.samples import PENALTIES, REGISTRATIONS, forever, no_texts, penalty, registration

ACTOR = "ingest:ing_test"
PARTNER = "credit.baishan.example"


@pytest.fixture
async def accept(store: Store) -> Any:
    """Accepts statements in one transaction and checks the whole store afterwards."""

    async def run(*admitted: Admitted, dataset: Any = PENALTIES, texts: Any = None, actor: str = ACTOR) -> list[Outcome]:
        async with store.transaction() as tx:
            outcomes = await records.accept(tx, admitted, texts or no_texts(len(admitted)), dataset, actor=actor, period_of=forever)
        await check_store(store)
        return outcomes

    return run


def results(outcomes: Sequence[Outcome]) -> list[tuple[str, str | None, int | None]]:
    return [(outcome.result, outcome.code, outcome.version) for outcome in outcomes]


async def the_record(store: Store, outcome: Outcome, fields: frozenset[str] | None = None) -> Any:
    assert outcome.record_id is not None
    return (await records.load(store.reads, ids=[outcome.record_id], fields=fields))[0]


async def test_statement_becomes_record(store: Store, accept: Any) -> None:
    """What was said is what is loaded: values, dates, texts, envelope; and one row of the log says so."""
    texts = [{"facts": Redaction(strict="当事人〔姓名1〕", third_parties="当事人", residual=0, redactor=REDACTOR)}]
    said = penalty()
    (outcome,) = await accept(said, texts=texts)
    assert (outcome.result, outcome.version, outcome.seq, outcome.place) == ("accepted", 1, 1, "f.csv!R2")
    record = await the_record(store, outcome)
    assert dict(record.raw.open()) == dict(said.values.open())
    assert record.texts["facts"].strict == "当事人〔姓名1〕"
    assert record.dates == LifeDates(decision=date(2026, 5, 6), first_publication_here=date(2026, 6, 1))
    assert (record.state, record.trust, record.region, record.issuer, record.severity) == ("in_force", "signed", "220502", None, "general")
    assert (record.authority_code, record.sender) == ("11220502XXT0000001", "11220502XXT0000001")
    assert record.received_at == datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
    (change,) = await changes.after(store.reads, 0, 10)
    assert (change.seq, change.op, change.actor, change.version, change.record_id) == (1, "assert", ACTOR, 1, outcome.record_id)


async def test_first_publication_is_the_legal_day(store_url: str, open_store: Callable[..., Any]) -> None:
    """At 17:00 UTC it is tomorrow in Tonghua, and that day the clock starts."""
    store = await open_store(store_url, clock=Clock(fixed=datetime(2026, 6, 30, 17, 0, tzinfo=UTC)))
    async with store.transaction() as tx:
        (outcome,) = await records.accept(tx, [penalty()], no_texts(1), PENALTIES, actor=ACTOR, period_of=forever)
    assert (await the_record(store, outcome)).dates.first_publication_here == date(2026, 7, 1)


async def test_same_again_is_unchanged(store: Store, accept: Any) -> None:
    """The same words under the same business key change nothing and write no row of the log."""
    first, second = await accept(penalty(1), penalty(2))
    again = await accept(penalty(2), penalty(1))
    assert results(again) == [("unchanged", "DUP_SAME", 1)] * 2
    assert [outcome.record_id for outcome in again] == [second.record_id, first.record_id]
    assert await changes.head(store.reads) == 2


async def test_other_words_are_a_new_version(store: Store, accept: Any) -> None:
    """Another value under the same business key amends; the old version stays with who said it, and the first publication holds."""
    (first,) = await accept(penalty(1, fine_amount="2.000000"))
    (second,) = await accept(penalty(1, fine_amount="3.000000"), actor="ingest:later")
    assert results([second]) == [("accepted", None, 2)]
    assert second.record_id == first.record_id
    record = await the_record(store, second)
    assert record.raw.open()["fine_amount"] == "3.000000"
    assert record.corrected_since == datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
    assert record.dates.first_publication_here == date(2026, 6, 1)
    (old,) = await store.reads.all(sa.select(record_versions))
    assert (old.version, old.op, old.actor) == (1, "assert", ACTOR)
    assert b"2.000000" in old.clear
    assert [(change.op, change.version) for change in await changes.of_record(store.reads, first.record_id)] == [
        ("assert", 1),
        ("amend", 2),
    ]


async def test_repeats_in_one_chunk_are_told_in_order(store: Store, accept: Any) -> None:
    """Within a chunk the same words again are unchanged and other words amend, each in its turn."""
    outcomes = await accept(
        penalty(1, fine_amount="1"),
        penalty(2),
        penalty(1, fine_amount="1"),
        penalty(1, fine_amount="2"),
        penalty(1, fine_amount="1"),
        penalty(2),
    )
    assert results(outcomes) == [
        ("accepted", None, 1),
        ("accepted", None, 1),
        ("unchanged", "DUP_SAME", 1),
        ("accepted", None, 2),
        ("accepted", None, 3),
        ("unchanged", "DUP_SAME", 1),
    ]
    assert (await the_record(store, outcomes[0])).raw.open()["fine_amount"] == "1"


async def test_subject_is_found_by_any_key(store: Store, accept: Any) -> None:
    """Records about one organisation meet at one subject, by whichever key; a key it did not have is learnt."""
    await accept(registration(1), dataset=REGISTRATIONS)
    (by_org,) = await accept(penalty(1, keys=(("org_code", "XXT000001"), ("reg_no", "220500000000001"))))
    (by_reg,) = await accept(penalty(2, keys=(("reg_no", "220500000000001"),)))
    subject = await records.subject_by_key(store.reads, "uscc", "91220502XXT0000001", "legal")
    assert subject is not None
    assert {(await the_record(store, outcome)).subject_id for outcome in (by_org, by_reg)} == {subject.subject_id}
    assert subject.head_seq == 3
    assert await records.subject_by_id(store.reads, subject.subject_id) == subject
    assert await records.subject_by_key(store.reads, "uscc", "91220502XXT0000001", "natural") is None


@pytest.mark.parametrize(
    "keys",
    [
        (("uscc", "91220502XXT0000001"), ("org_code", "XXT000002")),
        (("uscc", "91220502XXT0000009"), ("org_code", "XXT000001")),
    ],
    ids=["two subjects", "a second code for one subject"],
)
async def test_conflicting_keys_are_held(store: Store, accept: Any, keys: tuple[tuple[str, str], ...]) -> None:
    """Keys that lead to two subjects, or give a subject a second code, are not decided by us: held, nothing learnt."""
    await accept(registration(1), registration(2), dataset=REGISTRATIONS)
    (held,) = await accept(penalty(7, keys=keys))
    assert results([held]) == [("held", "SUBJ_CONFLICT", 1)]
    record = await the_record(store, held)
    assert (record.state, record.hold_code, record.dates.first_publication_here) == ("held", "SUBJ_CONFLICT", None)
    assert await records.subject_by_key(store.reads, "uscc", "91220502XXT0000009", "legal") is None


async def test_conflicting_amendment_teaches_nothing(store: Store, accept: Any) -> None:
    """A record said again with a code that belongs to somebody else is held; codes that came along are not believed."""
    await accept(registration(1), registration(2), dataset=REGISTRATIONS)
    await accept(penalty(1))
    keys = (("uscc", "91220502XXT0000001"), ("org_code", "XXT000002"), ("reg_no", "220500000000009"))
    assert results(await accept(penalty(1, keys=keys, fine_amount="8"))) == [("held", "SUBJ_CONFLICT", 2)]
    assert await records.subject_by_key(store.reads, "reg_no", "220500000000009", "legal") is None


async def test_held_statement_said_better_is_released(store: Store, accept: Any) -> None:
    """A held record said without the doubt comes into force, and is published from that day."""
    (held,) = await accept(penalty(1, hold_code="SCHEMA_ENUM", hold_field="severity"))
    assert (held.result, held.code, held.field) == ("held", "SCHEMA_ENUM", "severity")
    assert results(await accept(penalty(1, hold_code="SCHEMA_ENUM"))) == [("unchanged", "SCHEMA_ENUM", 1)]
    (free,) = await accept(penalty(1))
    assert results([free]) == [("accepted", None, 2)]
    record = await the_record(store, free)
    assert (record.state, record.hold_code, record.dates.first_publication_here) == ("in_force", None, date(2026, 6, 1))
    assert record.corrected_since is None
    assert [change.op for change in await changes.of_record(store.reads, free.record_id)] == ["hold", "release"]


async def test_amendment_in_doubt_takes_the_record_back_into_hold(store: Store, accept: Any) -> None:
    """A record in force whose new words are in doubt is held."""
    (first,) = await accept(penalty(1))
    (held,) = await accept(penalty(1, hold_code="LAW_PERIOD"))
    assert results([held]) == [("held", "LAW_PERIOD", 2)]
    assert [change.op for change in await changes.of_record(store.reads, first.record_id)] == ["assert", "hold"]


async def test_amendment_never_moves_a_record_to_another_subject(store: Store, accept: Any) -> None:
    """The same decision about somebody else is refused while the record stands, and a new record once it was withdrawn."""
    (first,) = await accept(penalty(1))
    moved = penalty(1, keys=(("uscc", "91220502XXT0000077"),), uscc="91220502XXT0000077")
    assert results(await accept(moved)) == [("rejected", "SEQ_STATE", None)]
    async with store.transaction() as tx:
        await records.set_state(tx, first.record_id, state="retracted", op="retract", reason="corrected", actor="clerk")
    (second,) = await accept(moved)
    assert results([second]) == [("accepted", None, 1)]
    assert second.record_id != first.record_id
    assert (await the_record(store, first)).state == "retracted"
    assert results(await accept(moved)) == [("unchanged", "DUP_SAME", 1)]


async def test_partner_and_city_do_not_overwrite_each_other(store: Store, accept: Any) -> None:
    """A partner's record has its own id: another's id is refused, the same decision from elsewhere is held, ours is never held for it."""
    (ours,) = await accept(penalty(1))
    theirs = {"issuer": PARTNER, "record_id": "rec_partnerpartnerpartnerpar1"}
    assert results(await accept(penalty(1, issuer=PARTNER, record_id=ours.record_id, fine_amount="9"))) == [
        ("rejected", "SCOPE_OWNER", None)
    ]
    (doubled,) = await accept(penalty(1, **theirs))
    assert results([doubled]) == [("held", "DUP_OTHER_SOURCE", 1)]
    assert results(await accept(penalty(1, record_id=theirs["record_id"]))) == [("rejected", "SCOPE_OWNER", None)]
    assert results(await accept(penalty(1, fine_amount="5"))) == [("accepted", None, 2)]
    record = await the_record(store, doubled)
    assert (record.issuer, record.raw.open()["fine_amount"]) == (PARTNER, "2.000000")


async def test_partner_record_id_decides(store: Store, accept: Any) -> None:
    """A partner amends by record id even when the business key changes; a second id under a live business key is held (DUP_KEY)."""
    one, two = "rec_aaaaaaaaaaaaaaaaaaaaaaaaaa", "rec_bbbbbbbbbbbbbbbbbbbbbbbbbb"
    await accept(penalty(1, issuer=PARTNER, record_id=one))
    renamed = penalty(1, issuer=PARTNER, record_id=one, document_number="通市罚〔2026〕100号")
    assert results(await accept(renamed)) == [("accepted", None, 2)]
    (doubled,) = await accept(penalty(1, issuer=PARTNER, record_id=two, document_number="通市罚〔2026〕100号"))
    assert results([doubled]) == [("held", "DUP_KEY", 1)]
    again = penalty(1, issuer=PARTNER, record_id=two, document_number="通市罚〔2026〕100号")
    assert results(await accept(again)) == [("unchanged", "DUP_KEY", 1)]
    assert results(await accept(penalty(1, issuer=PARTNER, record_id=one, op="withdraw", reason="corrected"))) == [("withdrawn", None, 3)]
    assert results(await accept(again)) == [("accepted", None, 2)]
    assert (await the_record(store, doubled)).state == "in_force"
    (free,) = await accept(penalty(1, issuer=PARTNER, record_id="rec_cccccccccccccccccccccccccc"))
    assert results([free]) == [("accepted", None, 1)]


async def test_source_withdraws_and_says_it_again(store: Store, accept: Any) -> None:
    """A source's own withdrawal takes effect at once; the same words from it bring the record back as a new version."""
    (first,) = await accept(penalty(1))
    (gone,) = await accept(penalty(1, op="withdraw", reason="revoked"))
    assert results([gone]) == [("withdrawn", None, 2)]
    assert (await the_record(store, first)).state == "retracted"
    assert results(await accept(penalty(1, op="withdraw", reason="revoked"))) == [("withdrawn", "SEQ_STATE", None)]
    assert results(await accept(penalty(3, op="withdraw", reason="revoked"))) == [("withdrawn", "SEQ_STATE", None)]
    (back,) = await accept(penalty(1))
    assert results([back]) == [("accepted", None, 3)]
    log = await changes.of_record(store.reads, first.record_id)
    assert [(change.op, change.reason) for change in log] == [("assert", None), ("retract", "revoked"), ("assert", None)]


@pytest.mark.parametrize(
    ("reason", "state", "op"),
    [
        ("repaired", "repaired", "repair"),
        ("expired", "expired", "expire"),
        ("no_longer_public", "retracted", "retract"),
        ("something new", "retracted", "retract"),
        (None, "retracted", "retract"),
    ],
)
async def test_reason_of_a_withdrawal_gives_the_state(store: Store, accept: Any, reason: str | None, state: str, op: str) -> None:
    """A withdrawal takes effect whatever its reason; known reasons give their own state."""
    (first,) = await accept(penalty(1))
    await accept(penalty(1, op="withdraw", reason=reason))
    assert (await the_record(store, first)).state == state
    assert (await changes.of_record(store.reads, first.record_id))[-1].op == op


async def test_repaired_record_comes_back_only_when_the_repair_is_revoked(store: Store, accept: Any) -> None:
    """The next full upload must not undo a repair: the same words are unchanged, others refused, until the repair is revoked."""
    (first,) = await accept(penalty(1))
    async with store.transaction() as tx:
        await records.set_state(tx, first.record_id, state="repaired", op="repair", reason="repaired", actor="clerk")
    assert results(await accept(penalty(1))) == [("unchanged", "SEQ_STATE", 2)]
    assert results(await accept(penalty(1, fine_amount="7"))) == [("rejected", "SEQ_STATE", None)]
    with pytest.raises(StoreError, match="record-state"):
        async with store.transaction() as tx:
            await records.set_state(tx, first.record_id, state="in_force", op="assert", reason=None, actor="clerk")
    (back,) = await accept(penalty(1, reason="repair_revoked"))
    assert results([back]) == [("accepted", None, 3)]
    assert (await the_record(store, back)).state == "in_force"


@pytest.mark.parametrize(("state", "op", "reason"), [("retracted", "retract", "objection_upheld"), ("expired", "expire", "expired")])
async def test_same_words_do_not_undo_a_decision_made_here(store: Store, accept: Any, state: Any, op: str, reason: str) -> None:
    """What a person here withdrew stays withdrawn when the old file comes again; corrected words bring it back."""
    (first,) = await accept(penalty(1))
    async with store.transaction() as tx:
        await records.set_state(tx, first.record_id, state=state, op=op, reason=reason, actor="clerk")
    assert results(await accept(penalty(1))) == [("unchanged", "SEQ_STATE", 2)]
    assert (await the_record(store, first)).state == state
    assert results(await accept(penalty(1, fine_amount="1.500000"))) == [("accepted", None, 3)]


async def test_states_follow_each_other_only_as_allowed(store: Store, accept: Any) -> None:
    """A state that does not follow from the present one is refused, and nothing is written."""
    (first,) = await accept(penalty(1))
    async with store.transaction() as tx:
        seq = await records.set_state(
            tx,
            first.record_id,
            state="retracted",
            op="retract",
            reason="revoked",
            actor="clerk",
            dates=LifeDates(decision=date(2026, 5, 6), revoked=date(2026, 6, 1)),
        )
    assert seq == 2
    record = await the_record(store, first)
    assert (record.state, record.version, record.changed_seq, record.dates.revoked) == ("retracted", 2, 2, date(2026, 6, 1))
    for state, op in (("retracted", "retract"), ("repaired", "repair"), ("expired", "expire"), ("in_force", "amend"), ("erased", "erase")):
        with pytest.raises(StoreError) as refused:
            async with store.transaction() as tx:
                await records.set_state(tx, first.record_id, state=state, op=op, reason=None, actor="clerk")  # type: ignore[arg-type]
        assert refused.value.code == "record-state"
    with pytest.raises(StoreError) as unknown:
        async with store.transaction() as tx:
            await records.set_state(tx, "rec_zz", state="expired", op="expire", reason=None, actor="clerk")  # type: ignore[arg-type]
    assert unknown.value.code == "record-unknown"
    assert await changes.head(store.reads) == 2
    await check_store(store)


async def test_hold_and_release_by_a_person(store: Store, accept: Any) -> None:
    """A person may hold a record and release it; the log names both."""
    (first,) = await accept(penalty(1))
    async with store.transaction() as tx:
        await records.set_state(tx, first.record_id, state="held", op="hold", reason=None, actor="clerk", hold_code="LAW_BASIS")
    assert (await the_record(store, first)).hold_code == "LAW_BASIS"
    async with store.transaction() as tx:
        await records.set_state(
            tx,
            first.record_id,
            state="in_force",
            op="release",
            reason=None,
            actor="other",
            period=Period(state="open", first_day=date(2026, 5, 6), last_day=date(2026, 8, 5), rule="order36-minor"),
        )
    record = await the_record(store, first)
    assert (record.state, record.hold_code) == ("in_force", None)
    (row,) = await store.reads.all(sa.select(record_rows.c.publish_until, record_rows.c.period_rule))
    assert tuple(row) == ("2026-08-05", "order36-minor")
    assert [change.actor for change in await changes.of_record(store.reads, first.record_id)] == [ACTOR, "clerk", "other"]
    await check_store(store)


async def test_dispute_is_marked_and_unmarked(store: Store, accept: Any) -> None:
    """An objection marks the record since an instant; an amendment by its source does not take the mark away."""
    (first,) = await accept(penalty(1))
    since = datetime(2026, 6, 1, 1, 0, tzinfo=UTC)
    async with store.transaction() as tx:
        await records.mark_dispute(tx, first.record_id, since, "clerk")
    await accept(penalty(1, fine_amount="4"))
    assert (await the_record(store, first)).dispute_since == since
    for wrong in (since, datetime(2026, 6, 2, tzinfo=UTC)):
        with pytest.raises(StoreError, match="record-state"):
            async with store.transaction() as tx:
                await records.mark_dispute(tx, first.record_id, wrong, "clerk")
    async with store.transaction() as tx:
        await records.mark_dispute(tx, first.record_id, None, "clerk")
    assert (await the_record(store, first)).dispute_since is None
    assert [change.op for change in await changes.of_record(store.reads, first.record_id)] == ["assert", "dispute", "amend", "undispute"]
    await check_store(store)


async def test_partner_says_that_a_record_is_disputed(store: Store, accept: Any) -> None:
    """A partner's mark comes and goes with its own statements."""
    rid = "rec_aaaaaaaaaaaaaaaaaaaaaaaaaa"
    since = datetime(2026, 5, 30, tzinfo=UTC)
    (first,) = await accept(penalty(1, issuer=PARTNER, record_id=rid, dispute_since=since))
    assert (await the_record(store, first)).dispute_since == since
    await accept(penalty(1, issuer=PARTNER, record_id=rid))
    assert (await the_record(store, first)).dispute_since is None


async def test_load_takes_what_is_asked_for(store: Store, accept: Any) -> None:
    """Loading by subject, dataset, state and page; only the fields asked for are there."""
    outcomes = await accept(*(penalty(number) for number in range(1, 8)))
    await accept(registration(1), dataset=REGISTRATIONS)
    async with store.transaction() as tx:
        await records.set_state(tx, outcomes[0].record_id, state="repaired", op="repair", reason="repaired", actor="clerk")
    subject = await records.subject_by_key(store.reads, "uscc", "91220502XXT0000001", "legal")
    assert subject is not None
    both = await records.load(store.reads, subject=subject.subject_id)
    assert {record.dataset for record in both} == {PENALTIES.id, REGISTRATIONS.id}
    some = await records.load(store.reads, subject=subject.subject_id, dataset=PENALTIES.id, fields=frozenset({"name", "facts"}))
    assert [set(record.raw.open()) for record in some] == [{"name", "facts"}]
    assert [dict(record.raw.open()) for record in await records.load(store.reads, ids=[outcomes[1].record_id], fields=frozenset())] == [{}]
    in_force = await records.load(store.reads, dataset=PENALTIES.id, states=("in_force",), fields=frozenset())
    assert len(in_force) == 6
    assert len(await records.load(store.reads, states=("in_force", "repaired"), fields=frozenset())) == 8
    paged, after = [], None
    while page := await records.load(store.reads, dataset=PENALTIES.id, after=after, limit=3, fields=frozenset({"document_number"})):
        paged += page
        after = page[-1].record_id
    assert [record.record_id for record in paged] == sorted(str(outcome.record_id) for outcome in outcomes)
    assert await records.load(store.reads, ids=[]) == []


async def test_load_inside_a_transaction_sees_what_it_wrote(store: Store) -> None:
    """A story that goes on in its transaction reads its own records, keys included."""
    async with store.transaction() as tx:
        (outcome,) = await records.accept(tx, [penalty(1)], no_texts(1), PENALTIES, actor=ACTOR, period_of=forever)
        (inside,) = await records.load(tx, ids=[outcome.record_id])
        assert inside.raw.open()["legal_representative"] == "赵某甲"
        assert await records.load(store.reads, ids=[outcome.record_id]) == []


async def test_candidates_of_expiry_are_found_by_their_stored_end(store: Store) -> None:
    """Only records in force whose stored end is past are candidates; without a day all in force are."""

    def until(admitted: Admitted, dates: LifeDates) -> Period:
        ends = {"general": date(2026, 5, 31), "serious": date(2026, 6, 1), "minor": None}
        return Period(state="open", first_day=dates.decision, last_day=ends[str(admitted.severity)])

    async with store.transaction() as tx:
        said = [
            penalty(1, severity="general"),
            penalty(2, severity="serious"),
            penalty(3, severity="minor"),
            penalty(4, severity="general"),
        ]
        outcomes = await records.accept(tx, said, no_texts(4), PENALTIES, actor=ACTOR, period_of=until)
        await records.set_state(tx, outcomes[3].record_id, state="retracted", op="retract", reason="revoked", actor="clerk")
    found = await records.period_candidates(store.reads, date(2026, 6, 1))
    assert [record.record_id for record in found] == [outcomes[0].record_id]
    assert len(await records.period_candidates(store.reads, None)) == 3
    assert len(await records.period_candidates(store.reads, None, limit=2)) == 2


async def test_household_is_found_by_its_name(store: Store, accept: Any) -> None:
    """A trade name finds an individual business and identifies none: two may bear it, and then it finds nobody."""

    def household(number: int) -> Admitted:
        return penalty(number, kind="individual_business", keys=(("uscc", f"92220502XXT{number:07d}"), ("name", "东昌区顺昌小吃店")))

    await accept(household(1))
    subject = await records.subject_by_key(store.reads, "name", "东昌区顺昌小吃店", "individual_business")
    assert subject == await records.subject_by_key(store.reads, "uscc", "92220502XXT0000001", "individual_business")
    assert subject is not None
    outcomes = await accept(household(2), household(1))
    assert results(outcomes) == [("accepted", None, 1), ("unchanged", "DUP_SAME", 1)]
    assert await records.subject_by_key(store.reads, "name", "东昌区顺昌小吃店", "individual_business") is None
    assert len(await records.subjects_by_name(store.reads, "东昌区顺昌小吃店")) == 2
    assert await records.subject_by_key(store.reads, "name", "东昌区顺昌小吃店", "natural") is None


async def test_statement_without_keys_has_a_subject_of_its_own(store: Store, accept: Any) -> None:
    """Who cannot be identified is not joined with anybody, and an amendment stays with the same subject."""
    one, two = await accept(penalty(1, keys=()), penalty(2, keys=()))
    assert (await the_record(store, one)).subject_id != (await the_record(store, two)).subject_id
    assert results(await accept(penalty(1, keys=(), fine_amount="6"))) == [("accepted", None, 2)]


async def test_erased_record_says_nothing_any_more(store: Store, accept: Any) -> None:
    """After erasure there remain id, version, op and time; the same statement is a new record with a new id."""
    (first,) = await accept(penalty(1))
    await accept(penalty(1, fine_amount="3"))
    (gone,) = await accept(penalty(1, op="erase"))
    assert gone.result == "withdrawn"
    assert await records.load(store.reads, ids=[first.record_id]) == []
    (bare,) = await records.load(store.reads, ids=[first.record_id], states=("erased",))
    assert (bare.version, bare.state, dict(bare.raw.open()), bare.authority_code) == (3, "erased", {}, None)
    assert [change.op for change in await changes.of_record(store.reads, first.record_id)] == ["assert", "amend", "erase"]
    (new,) = await accept(penalty(1))
    assert new.record_id != first.record_id
    for wrong in ("erased", "in_force"):
        with pytest.raises(StoreError, match="record-state"):
            async with store.transaction() as tx:
                if wrong == "erased":
                    await records.erase(tx, first.record_id, actor="clerk")
                else:
                    await records.set_state(tx, first.record_id, state="in_force", op="assert", reason=None, actor="clerk")
    assert results(await accept(penalty(9, op="erase"))) == [("withdrawn", "SEQ_STATE", None)]


async def test_erased_id_of_a_partner_is_closed(store: Store, accept: Any) -> None:
    """After an erasure every statement under that id is refused (SEQ_ERASED)."""
    rid = "rec_aaaaaaaaaaaaaaaaaaaaaaaaaa"
    await accept(penalty(1, issuer=PARTNER, record_id=rid))
    await accept(penalty(1, issuer=PARTNER, record_id=rid, op="erase"))
    for op in ("upsert", "withdraw", "erase"):
        assert results(await accept(penalty(1, issuer=PARTNER, record_id=rid, op=op))) == [("rejected", "SEQ_ERASED", None)]


async def test_erasing_a_person_leaves_the_others(store: Store, accept: Any) -> None:
    """Erasing a subject takes all its records and keys; other subjects' records stay readable."""
    keys = (("id_no", "220599199001010011"),)
    mine = await accept(penalty(1, kind="natural", keys=keys), penalty(2, kind="natural", keys=keys))
    (other,) = await accept(penalty(3, kind="natural", keys=(("id_no", "220599199001010022"),)))
    subject = await records.subject_by_key(store.reads, "id_no", "220599199001010011", "natural")
    assert subject is not None
    async with store.transaction() as tx:
        assert await records.erase_subject(tx, subject.subject_id, actor="clerk") == 2
    await check_store(store)
    assert await records.subject_by_key(store.reads, "id_no", "220599199001010011", "natural") is None
    assert await records.load(store.reads, ids=[outcome.record_id for outcome in mine]) == []
    assert (await the_record(store, other)).raw.open()["facts"] == "当事人赵某甲电话见卷"
    with pytest.raises(StoreError, match="subject-unknown"):
        async with store.transaction() as tx:
            await records.erase_subject(tx, "sub_zz", actor="clerk")  # type: ignore[arg-type]


async def test_accepting_nothing_is_nothing(store: Store, accept: Any) -> None:
    """An empty chunk gives no outcome and no change."""
    assert await accept() == []
    assert await changes.head(store.reads) == 0


async def test_one_file_says_one_thing_about_one_record(store: Store) -> None:
    """With `once`, what the same actor was the last to say is not amended by it: in one chunk or the next, but by the next file."""

    async def say(actor: str, *amounts: str) -> list[tuple[str, str | None, int | None]]:
        async with store.transaction() as tx:
            said = [penalty(1, fine_amount=amount) for amount in amounts]
            return results(await records.accept(tx, said, no_texts(len(said)), PENALTIES, actor=actor, period_of=forever, once=True))

    assert await say("ingest:1", "1", "2", "1") == [("accepted", None, 1), ("rejected", "DUP_KEY", None), ("unchanged", "DUP_SAME", 1)]
    assert await say("ingest:1", "3") == [("rejected", "DUP_KEY", None)]
    assert await say("ingest:2", "3", "4") == [("accepted", None, 2), ("rejected", "DUP_KEY", None)]
    await check_store(store)


async def test_words_that_nobody_signs_for_change_no_signed_record(store: Store, accept: Any) -> None:
    """A vouched file neither amends nor withdraws what an authority said; the authority may sign it, a partner trust its own less."""
    (signed,) = await accept(penalty(1))
    assert results(await accept(penalty(1, trust="vouched", sender=None, officer=None))) == [("unchanged", "DUP_SAME", 1)]
    assert results(await accept(penalty(1, trust="vouched", fine_amount="0"))) == [("rejected", "DUP_OTHER_SOURCE", None)]
    for op in ("withdraw", "erase"):
        assert results(await accept(penalty(1, trust="vouched", op=op, reason="revoked"))) == [("rejected", "SCOPE_OWNER", None)]
    record = await the_record(store, signed)
    assert (record.state, record.trust, record.version) == ("in_force", "signed", 1)
    rid = "rec_aaaaaaaaaaaaaaaaaaaaaaaaaa"
    await accept(penalty(3, issuer=PARTNER, record_id=rid))
    assert results(await accept(penalty(3, issuer=PARTNER, record_id=rid, trust="vouched"))) == [("accepted", None, 2)]
    (vouched,) = await accept(penalty(2, trust="vouched"))
    assert results(await accept(penalty(2))) == [("accepted", None, 2)]
    record = await the_record(store, vouched)
    assert (record.trust, record.corrected_since) == ("signed", None)


CITY, DISTRICT, CENTRE = "11220500XXT0000001", "11220502XXT0000002", "11220500XXT0000003"


@pytest.mark.parametrize("trust", ["signed", "vouched"])
async def test_one_authoritys_word_is_not_for_another_to_rewrite(store: Store, accept: Any, trust: str) -> None:
    """Where a record is known by its subject alone: another sender changes nothing of it, nor takes it back, whatever state it is in."""

    def said(sender: str, **changes: Any) -> Admitted:
        return registration(1, **({"sender": sender, "officer": "钱某乙", "trust": "signed"} | changes))

    (ours,) = await accept(said(CITY, trust=trust), dataset=REGISTRATIONS)
    assert results(await accept(said(DISTRICT), dataset=REGISTRATIONS)) == [("unchanged", "DUP_SAME", 1)]
    assert results(await accept(said(DISTRICT, name="通化改名商贸有限公司"), dataset=REGISTRATIONS)) == [("rejected", "SCOPE_OWNER", None)]
    for op in ("withdraw", "erase"):
        assert results(await accept(said(DISTRICT, op=op, reason="revoked"), dataset=REGISTRATIONS)) == [("rejected", "SCOPE_OWNER", None)]
    record = await the_record(store, ours)
    assert (record.state, record.sender, record.version) == ("in_force", CITY, 1)
    assert record.raw.open()["name"] == "通化示例1商贸有限公司"
    centre = said(CENTRE, status="注销", speaks_for=frozenset({CITY, DISTRICT}))
    assert results(await accept(centre, dataset=REGISTRATIONS)) == [("accepted", None, 2)]


async def test_release_by_a_person_is_not_undone_by_the_same_words(store: Store, accept: Any) -> None:
    """What a person released stays in force when the doubtful words come again."""
    (held,) = await accept(penalty(1, hold_code="SCHEMA_ENUM"))
    async with store.transaction() as tx:
        await records.set_state(tx, held.record_id, state="in_force", op="release", reason=None, actor="clerk")
    assert results(await accept(penalty(1, hold_code="SCHEMA_ENUM"))) == [("unchanged", "DUP_SAME", 2)]
