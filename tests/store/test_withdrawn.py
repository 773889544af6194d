"""What a withdrawn record said: under a key in every version, opened for whoever reads, in clear again when it comes back."""

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.core.records.model import Admitted, Redaction, SubjectKind
from gateway.core.records.sealed import is_for_nobody
from gateway.store import records, reviews, rotation
from gateway.store.records import Outcome
from gateway.store.store import Store
from gateway.store.tables import deks, record_versions
from gateway.store.tables import records as record_rows
from gateway.store.vault import dek_id_of, unpack
from tests.store.checks import check_store, everything_in
from tests.store.samples import PENALTIES, forever, penalty

ACTOR = "source"
SHOWN, HELD, WHOM = "超出登记的经营范围经营鸾翔制剂", "澜沧某号仓库", "通化鸾翔药业"
WORDS = ("通市罚〔2026〕1号", "771.900000", "336.100000", "通化甲乙1商贸有限公司", SHOWN, HELD, WHOM)
TEXTS = {
    "facts": Redaction(strict=SHOWN, third_parties=f"{WHOM}{SHOWN}", residual=0, redactor="1"),
    "remark": Redaction(strict=HELD, third_parties=HELD, residual=1, redactor="1", doubts=((0, 2),)),
}
KEYS: dict[SubjectKind, tuple[tuple[str, str], ...]] = {
    "legal": (("uscc", "91220502XXT0000001"),),
    "natural": (("id_no", "220599199001010011"),),
}


async def accept(store: Store, *said: Admitted) -> list[Outcome]:
    async with store.transaction() as tx:
        outcomes = await records.accept(tx, said, [TEXTS] * len(said), PENALTIES, actor=ACTOR, period_of=forever)
    await check_store(store)
    return outcomes


async def twice(store: Store, kind: SubjectKind = "legal", **words: Any) -> str:
    """A penalty that was amended once; its record."""
    await accept(store, penalty(1, kind=kind, keys=KEYS[kind], fine_amount="336.100000", **words))
    (outcome,) = await accept(store, penalty(1, kind=kind, keys=KEYS[kind], fine_amount="771.900000", **words))
    return str(outcome.record_id)


async def put_into(store: Store, record_id: str, state: Any, op: str) -> None:
    async with store.transaction() as tx:
        await records.set_state(tx, record_id, state=state, op=op, reason=None, actor="clerk")  # type: ignore[arg-type]
    await check_store(store)


async def said(store: Store, record_id: str) -> tuple[dict[str, Any], Any]:
    (record,) = await records.load(store.reads, ids=[record_id])  # type: ignore[list-item]
    return dict(record.raw.open()), record.texts


async def in_clear(store: Store) -> set[str]:
    held = await everything_in(store)
    return {word for word in WORDS if word.encode() in held}


async def rows(store: Store, record_id: str) -> Sequence[Any]:
    """The present version and those before it, as they stand."""
    present = await store.reads.all(sa.select(record_rows).where(record_rows.c.record_id == record_id))
    past = sa.select(record_versions).where(record_versions.c.record_id == record_id).order_by(record_versions.c.version)
    return [*present, *(await store.reads.all(past))]


@pytest.mark.parametrize("kind", ["legal", "natural"])
@pytest.mark.parametrize(("state", "op"), [("retracted", "retract"), ("repaired", "repair")])
async def test_a_decision_here_silences_every_version(store: Store, state: str, op: str, kind: SubjectKind):
    """Values, texts that were published and their former versions are in no row; whoever may load the record reads the same as before."""
    record_id = await twice(store, kind)
    before = await said(store, record_id)
    assert await in_clear(store) >= {SHOWN, "771.900000", "336.100000"}
    await put_into(store, record_id, state, op)
    assert await in_clear(store) == set()
    assert await said(store, record_id) == before


async def test_so_does_the_source_itself(store: Store):
    """Withdrawn by its own authority, and by a partner that says it expired; what of ours expired stays, for it is shown still."""
    partner = {"issuer": "credit.baishan.example", "record_id": "rec_partnerpartnerpartnerpar1"}
    await twice(store)
    await accept(store, penalty(1, op="withdraw", reason="revoked"))
    assert await in_clear(store) == set()
    await twice(store, **partner)
    await accept(store, penalty(1, op="withdraw", reason="expired", **partner))
    assert await in_clear(store) == set()
    await accept(store, penalty(1, fine_amount="771.900000"))
    await accept(store, penalty(1, op="withdraw", reason="expired"))
    assert "771.900000" in await in_clear(store)


async def test_it_comes_back_as_it_was(store: Store):
    """Asserted again by a person its row says in clear what it said, byte for byte; what it was meanwhile stays under the key."""
    record_id = await twice(store)
    (before, *_) = await rows(store, record_id)
    await put_into(store, record_id, "retracted", "retract")
    await put_into(store, record_id, "in_force", "assert")
    now, first, second, third = await rows(store, record_id)
    assert (now.clear, now.texts) == (before.clear, before.texts)
    assert set(unpack(now.secret)) == set(unpack(before.secret))
    assert set(unpack(now.sealed_texts)) == set(unpack(before.sealed_texts))
    assert all(b"771.9" not in old.clear and b"336.1" not in old.clear for old in (first, second, third))


async def test_it_comes_back_with_the_words_of_its_source(store: Store):
    """The source says it anew: a version in clear like any other, and a second withdrawal silences that one too."""
    record_id = await twice(store)
    for _ in range(2):
        await accept(store, penalty(1, op="withdraw", reason="revoked"))
        assert await in_clear(store) == set()
        (back,) = await accept(store, penalty(1, fine_amount="771.900000"))
        assert (back.result, back.record_id) == ("accepted", record_id)
        assert (await said(store, record_id))[0]["fine_amount"] == "771.900000"
        assert await in_clear(store) == {*WORDS} - {"336.100000", HELD, WHOM}


async def test_a_text_scored_again_stays_under_the_key(store: Store):
    """Another redactor reads the texts of withdrawn records as well; what it leaves of them is sealed at once."""
    record_id = await twice(store)
    await put_into(store, record_id, "retracted", "retract")
    (held,) = await reviews.with_texts(store.reads, "", 10)
    anew = {name: Redaction(strict=SHOWN, third_parties=SHOWN, residual=0, redactor="2") for name in held.texts}
    async with store.transaction() as tx:
        await reviews.put_texts(tx, [reviews.Put(held=held, texts=anew)], reason="text-rescored", actor="redactor")
    await check_store(store)
    assert await in_clear(store) == set()
    assert {text.strict for text in (await said(store, record_id))[1].values()} == {SHOWN}


async def test_rotation_reaches_it(store: Store):
    """Its ciphertexts are sealed anew under the next data key like all others, and the old key goes."""
    record_id = await twice(store)
    await put_into(store, record_id, "retracted", "retract")
    before = await said(store, record_id)
    old = {row.dek_id for row in await store.reads.all(sa.select(deks.c.dek_id))}
    async with store.transaction() as tx:
        await rotation.retire_deks(tx, "org:")
    async with store.transaction() as tx:
        while not (await rotation.reencrypt(tx, 100))[1]:
            pass
        await rotation.drop_unused(tx)
    await store.refresh_keys()
    for row in await rows(store, record_id):
        assert not old & {dek_id_of(sealed) for column in (row.secret, row.sealed_texts) for sealed in unpack(column).values()}
    assert await said(store, record_id) == before


def test_which_states_these_are():
    """Retracted, repaired, and a partner's that expired; ours that expired is shown to some, one that is held waits."""
    theirs = "credit.baishan.example"
    assert [is_for_nobody(state, theirs) for state in ("in_force", "held", "retracted", "repaired", "expired", "erased")] == [
        False, False, True, True, True, False,
    ]  # fmt: skip
    assert (is_for_nobody("expired", None), is_for_nobody("expired", "")) == (False, False)
