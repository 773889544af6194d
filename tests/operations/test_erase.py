"""Erasing: by a key custodian, a record or all of a subject; done only when nothing is left in exits, copies, index and dump."""

import json

import pytest
import sqlalchemy as sa

from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import AdminError, StoreError
from gateway.core.records.model import RecordId
from gateway.operations import answer_lists, keep_log
from gateway.operations.build_lists import settle_lists
from gateway.operations.erase import Erased, erase
from gateway.operations.finish_erasures import finish_erasures
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import match_jobs, records, transparency
from gateway.store.subjects import subject_by_key
from gateway.store.tables import erasures, metadata
from tests.administrators import Admin, enrolled
from tests.operations.publishing import TAX, ask, code, ids, put, read, violation
from tests.region import followed

CODE = code(7719)
NAME, OTHER = "通化市鸾翔澜沧药业有限公司", "通化市旁邻商贸有限公司"


async def erased(services: Services, admin: Admin, target: str) -> Erased:
    """Erase as a key custodian does."""
    by = await admin.acts("record.erase", target=target, reason="request")
    return await erase(services, target, reason="request", by=by)


async def dump(services: Services) -> str:
    """Every row of every table as text, bytes in hexadecimal digits."""
    lines: list[str] = []
    for table in metadata.sorted_tables:
        async with services.store.transaction() as tx:
            rows = await tx.all(sa.select(table))
        lines += [" ".join(bytes(each).hex() if isinstance(each, bytes | memoryview) else str(each) for each in row) for row in rows]
    return "\n".join(lines)


def holds(text: str, *words: str) -> set[str]:
    """Those of these words that a dump holds, plain or in bytes."""
    return {word for word in words if word in text or word.encode().hex() in text or json.dumps(word).strip('"').encode().hex() in text}


async def two(services: Services) -> list[str]:
    """Two firms on the black list, in versions and log; their records."""
    made = ids(await put(services, TAX, violation(CODE, NAME, "通鸾税〔2026〕7719号"), violation(code(3), OTHER, "通邻税〔2026〕2号")))
    await settle(services)
    await settle_lists(services)
    await keep_log.settle_log(services)
    return made


async def test_nothing_of_a_record_is_left(town: Services):
    """After its erasure no row of any table says anything of it; the record beside it stands, and the log has its opaque end."""
    gone, stays = await two(town)
    words = NAME, CODE, "通鸾税〔2026〕7719号"
    assert holds(await dump(town), *words) == set(words)
    admin = await enrolled(town, "kang", "key-custodian")
    assert await erased(town, admin, gone) == Erased(target=gone, records=1)
    assert await finish_erasures(town) == 0, "the readers have not followed"
    await followed(town)
    assert holds(await dump(town), *words) == set()
    row = await town.store.reads.one(sa.select(erasures))
    assert row is not None
    assert (row.record_id, row.done_at is not None) == (gone, True)
    page = read(await answer_lists.listings(town, "tax-violations", PUBLIC, ask()))
    assert [item["id"] for item in page["items"]] == [stays]
    states = await transparency.states(town.store.reads, [gone, stays])
    assert {record_id: state.op for record_id, state in states.items()} == {gone: "erase", stays: "list"}


async def test_what_was_withdrawn_before_has_its_end_in_the_log_too(small: Services):
    """A record withdrawn first and erased later: `remove`, then `erase`, each once, however often the log is looked through."""
    gone, _ = await two(small)
    await withdraw(small, gone, reason="revoked", actor="test")
    await followed(small)
    admin = await enrolled(small, "kang", "key-custodian")
    await erased(small, admin, gone)
    for _ in range(2):
        await followed(small)
    head = await transparency.head(small.store.reads, 2026)
    assert head is not None
    entries = [json.loads(body) for body in await transparency.entries(small.store.reads, 2026, 0, head.size)]
    assert [(entry["op"], entry["c"] is None) for entry in entries if entry["rid"] == gone] == [
        ("list", False),
        ("remove", True),
        ("erase", True),
    ]


async def test_all_of_a_subject(small: Services):
    """Every record of an organisation goes with its keys and names; nobody finds it any more."""
    await two(small)
    await put(small, TAX, violation(CODE, NAME, "通鸾税〔2026〕7720号"))
    await settle(small)
    subject = await subject_by_key(small.store.reads, "uscc", CODE, "legal")
    assert subject is not None
    admin = await enrolled(small, "kang", "key-custodian")
    assert (await erased(small, admin, subject.subject_id)).records == 2
    await followed(small)
    assert await subject_by_key(small.store.reads, "uscc", CODE, "legal") is None
    assert holds(await dump(small), NAME, CODE) == set()


async def test_who_may_and_what_cannot_be(small: Services):
    """Key custodians only; a record once; a partner's is erased where it was made; unknown ids are told so."""
    gone, stays = await two(small)
    admin = await enrolled(small, "kang", "key-custodian")
    operator = await enrolled(small, "ou", "operator")
    with pytest.raises(AdminError, match="role-missing"):
        await erased(small, operator, gone)
    await erased(small, admin, gone)
    async with small.store.transaction() as tx:
        from gateway.store.tables import records as rows

        await tx.execute(sa.update(rows).where(rows.c.record_id == stays).values(issuer="credit.baishan.example"))
    for target, code_ in (
        (gone, "record-unknown"),
        ("rec_nobody", "record-unknown"),
        ("sub_nobody", "subject-unknown"),
        (stays, "record-foreign"),
    ):
        with pytest.raises(StoreError, match=code_):
            await erased(small, admin, target)
    assert (await records.load(small.store.reads, ids=[RecordId(stays)]))[0].state == "in_force"


async def test_results_of_match_jobs_go(small: Services):
    """A result made before the erasure may hold the record: it is gone with it; one made later stays."""
    gone, _ = await two(small)
    now = small.clock()
    async with small.store.transaction() as tx:
        await match_jobs.add(tx, "a" * 64, now, owner="", rows=1, asked=b"{}", upload=b"x")
        work = await match_jobs.take(tx, "turn", now)
        assert work is not None
        await match_jobs.finish(tx, work, now, state="done", done=1, result=b"sealed")
    admin = await enrolled(small, "kang", "key-custodian")
    await erased(small, admin, gone)
    await followed(small)
    row = await match_jobs.result_of(small.store.reads, "a" * 64)
    assert row is not None
    assert (row.state, row.result) == ("expired", None)


async def test_tokens_leave_the_file_of_the_index(small: Services):
    """A name that was taken out of the token index is in its file until the pieces are merged; then in none."""

    def left() -> bool:
        return any(b"ebrafish" in path.read_bytes() for path in small.settings.data_path.glob("gateway.db*"))

    for number in range(30):
        async with small.store.transaction() as tx:
            await tx.execute(sa.text(f"INSERT INTO names_fts (rowid, tokens) VALUES ({number + 10}, 'common w{number}')"))
    async with small.store.transaction() as tx:
        await tx.execute(sa.text("INSERT INTO names_fts (rowid, tokens) VALUES (1, 'zebrafish common')"))
    async with small.store.transaction() as tx:
        await tx.execute(sa.text("INSERT INTO names_fts (names_fts, rowid, tokens) VALUES ('delete', 1, 'zebrafish common')"))
    assert await small.store.forget()
    assert left(), "taken out, and still there"
    gone, _ = await two(small)
    admin = await enrolled(small, "kang", "key-custodian")
    await erased(small, admin, gone)
    await followed(small)
    assert not left()
