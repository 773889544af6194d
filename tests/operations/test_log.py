"""The transparency log: entries follow what is public, heads are signed and witnessed, and nothing is changed behind its back."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway import witness as program
from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import ExchangeError, NotFound, SettingsError, StoreError
from gateway.core.exchange import notes
from gateway.core.exchange.wire import b64, unb64
from gateway.core.publication.versions import commitment, commitment_of, document_of
from gateway.core.signing import parse_vkey
from gateway.core.transparency import tiles
from gateway.core.transparency.entries import Entry, Place, read_entry
from gateway.core.transparency.witnessing import WitnessRefused, cosigned, write_ask
from gateway.log_client import ask_witness
from gateway.operations import alarms, answer_lists, keep_log, read_log, verify_log, witness_log
from gateway.operations.build_lists import settle_lists
from gateway.operations.manage_keys import new_key, revoke_key
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import lists, transparency
from gateway.store.tables import log_entries, log_heads, log_states, log_tiles, rendered_records
from tests.operations.publishing import (
    MARKET,
    PENALTIES,
    TAX,
    ask,
    at,
    code,
    ids,
    person_number,
    person_penalty,
    put,
    read,
    violation,
)
from tests.operations.test_render_again import change_policy

LATER, NEXT_YEAR = "2026-06-03T03:00:00Z", "2027-01-02T03:00:00Z"
ORIGIN = "credit.tonghua.example/log/2026"


async def three(services: Services) -> list[str]:
    """Three firms on the black list, rendered and entered; their record ids."""
    names = ("通化市澄泉商贸有限公司", "吉林省宝药药材有限公司", "通化市第三示例有限公司")
    rows = [violation(code(number), name, f"通示税〔2026〕{number}号") for number, name in enumerate(names, 2)]
    made = ids(await put(services, TAX, *rows))
    await settle(services)
    await keep_log.settle_log(services)
    return made


async def entries(services: Services, year: int = 2026) -> list[Entry]:
    head = await transparency.head(services.store.reads, year)
    return [read_entry(body) for body in await transparency.entries(services.store.reads, year, 0, head.size if head else 0)]


async def listings(services: Services) -> dict[str, dict[str, object]]:
    page = read(await answer_lists.listings(services, "tax-violations", PUBLIC, ask()))
    return {item["id"]: item for item in page["items"]}


async def proof_of(services: Services, record_id: str) -> dict[str, object]:
    answer = await read_log.proof(services, PUBLIC, "zh-CN", record_id=record_id)
    return dict(json.loads(answer.body))


async def test_what_is_listed_changed_and_taken_down_is_entered(town: Services) -> None:
    """Each listing has an entry with its commitment, a change another, a removal one without; the log verifies against what is public."""
    made = await three(town)
    first = await entries(town)
    assert {entry.rid for entry in first} == set(made)
    assert {(entry.op, entry.v, entry.prev, entry.reason) for entry in first} == {("list", 1, None, None)}
    assert await keep_log.enter(town, at_once=True) is None
    async with at(town, LATER) as later:
        await put(later, TAX, violation(code(2), "通化市澄泉商贸有限公司", "通示税〔2026〕2号", 案件性质="虚开发票"))
        await withdraw(later, made[1], reason="revoked", actor="test")
        await settle(later)
        await keep_log.settle_log(later)
        added = (await entries(later))[3:]
        by_op = {entry.op: entry for entry in added}
        assert set(by_op) == {"amend", "remove"}, added
        assert (by_op["amend"].rid, by_op["amend"].v) == (made[0], 2)
        assert by_op["amend"].prev == f"2026/{[entry.rid for entry in first].index(made[0])}"
        assert {entry.authority for entry in await entries(later)} == {MARKET}
        assert (by_op["remove"].rid, by_op["remove"].c, by_op["remove"].reason) == (made[1], None, "removed")
        found = await verify_log.verify_store(later)
        assert (found.logs, found.listings, found.differences) == ({ORIGIN: 5}, 2, ())


async def test_page_version_and_log_bear_one_commitment(town: Services) -> None:
    """The salt of a page, the row of a version and the entry are about the same bytes, and the proof verifies by itself."""
    made = await three(town)
    await settle_lists(town)
    page = await listings(town)
    version = await lists.current(town.store.reads, "lists/tax-violations")
    assert version is not None
    lines = {document_of(line)["id"]: line async for some in lists.lines_of(town.store.reads, version) for line in some}
    for entry in await entries(town):
        assert entry.c == b64(commitment(lines[entry.rid]))
        assert document_of(lines[entry.rid])["salt"] == page[entry.rid]["salt"]
    said = await proof_of(town, made[0])
    keys = [parse_vkey(key.signer.vkey) for key in town.signers.keys if key.use == "log"]
    shown = verify_log.verify_proof(said, keys, row=lines[made[0]])
    assert (shown.origin, shown.size, shown.entry.rid, shown.row) == (ORIGIN, 3, made[0], True)
    assert said["row"] == lines[made[0]].decode()
    with pytest.raises(ExchangeError) as caught:
        verify_log.verify_proof(said, keys, row=lines[made[1]])
    assert caught.value.code == "SIG_PART_DIGEST"
    assert verify_log.verify_proof(said, keys).row, "the answer's own row is compared, too"
    doubled = lines[made[0]].replace(b'"dataset":', b'"dataset":"other","dataset":', 1)
    for changed, row, code_ in (
        ({"row": str(said["row"]).replace("dataset", "dataset ")}, None, "SIG_PART_DIGEST"),
        ({"index": said["index"] + 1}, None, "SIG_CONTEXT"),
        ({"year": 2025}, None, "SIG_CONTEXT"),
        ({}, doubled, "SCHEMA_LINE"),
    ):
        with pytest.raises(ExchangeError) as caught:
            verify_log.verify_proof(said | changed, keys, row=row)
        assert caught.value.code == code_
    for name, wrong in (
        ("entry", str(said["entry"]).replace('"list"', '"amend"')),
        ("proof", str(said["proof"]).replace("index 0", "index 9")),
    ):
        if said[name] == wrong:
            continue
        with pytest.raises(ExchangeError):
            verify_log.verify_proof(said | {name: wrong}, keys)
    with pytest.raises(ExchangeError) as caught:
        verify_log.verify_proof(said, [])
    assert caught.value.code == "SIG_UNKNOWN_KEY"


async def test_a_proof_outlives_the_record_for_who_has_row_and_salt(small: Services) -> None:
    """After a removal nothing is said by the record's id, while its commitment still leads to its entry, and to when it left."""
    made = await three(small)
    row = str((await proof_of(small, made[0]))["row"]).encode()
    async with at(small, LATER) as later:
        await withdraw(later, made[0], reason="revoked", actor="test")
        await settle(later)
        await keep_log.settle_log(later)
        with pytest.raises(NotFound):
            await proof_of(later, made[0])
        answer = await read_log.proof(later, PUBLIC, "zh-CN", commitment=commitment_of(document_of(row)))
        said = json.loads(answer.body)
        assert (said["row"], said["removed_at"] >= LATER) == (None, True)
        with pytest.raises(NotFound):
            await read_log.proof(later, PUBLIC, "zh-CN", commitment=bytes(32))
        salt = unb64(str(document_of(row)["salt"]).translate(str.maketrans("-_", "+/")) + "==", "SCHEMA_JSON")
    for path in small.settings.data_path.rglob("*"):
        if path.is_file() and path.suffix != ".db-shm":
            assert salt not in path.read_bytes(), path


async def test_a_withdrawn_record_has_no_proof_before_it_is_rendered_again(small: Services) -> None:
    """With the commit of a withdrawal its row is given to nobody, also while the reader has not looked yet."""
    made = await three(small)
    assert (await proof_of(small, made[0]))["row"] is not None
    async with at(small, "2026-06-02T02:40:00Z") as later:
        await withdraw(later, made[0], reason="revoked", actor="test")
        with pytest.raises(NotFound):
            await proof_of(later, made[0])


async def test_of_a_record_that_was_never_public_no_more_is_read_than_of_none(small: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the 404 takes does not say that there is such a record: neither is looked for where no entry is about it."""
    (hidden,) = ids(await put(small, PENALTIES, person_penalty("测试乙", person_number(2), "通示罚〔2026〕9号")))
    await settle(small)
    live, looked = read_log.live, []

    async def looking(scene: Any, wanted: Any, **more: Any) -> Any:
        looked.append(wanted)
        return await live(scene, wanted, **more)

    monkeypatch.setattr(read_log, "live", looking)
    for record_id in (hidden, f"rec_{'a' * 26}"):
        with pytest.raises(NotFound):
            await proof_of(small, record_id)
    assert looked == []


async def test_a_removal_is_entered_when_the_feed_tells_of_it(small: Services) -> None:
    """Not before: the second of an entry would say what the feed keeps back."""
    made = await three(small)
    async with at(small, "2026-06-03T03:00:05Z") as later:
        await withdraw(later, made[0], reason="revoked", actor="test")
        await settle(later)
        before = await keep_log.enter(later)
        assert before is None or before.entries == 0
    async with at(small, "2026-06-03T03:00:31Z") as told:
        done = await keep_log.enter(told)
        assert done is not None
        assert done.entries == 1


FEWER = ("datasets/tax-violations.toml", 'field.remedy = { allow = ["export", "delta"] }', 'field.remedy = { treatment = "drop" }')


async def test_another_policy_amends(small: Services) -> None:
    """What another policy shows otherwise is entered with that reason; a version of the same plans changes nothing."""
    await three(small)
    async with at(small, LATER) as later:
        await change_policy(later, "datasets/tax-violations.toml", "# --- 谁能看到什么", "# --- 谁能看见什么")
        await settle(later)
        await keep_log.settle_log(later)
        assert len(await entries(later)) == 3
        await change_policy(later, *FEWER)
        await settle(later)
        await keep_log.settle_log(later)
        added = (await entries(later))[3:]
        assert {(entry.op, entry.v, entry.reason) for entry in added} == {("amend", 2, "policy")}
        assert len(added) == 3
        assert (await verify_log.verify_store(later)).differences == ()


async def test_a_row_changed_behind_the_logs_back_is_named(small: Services) -> None:
    """A25: edited, dropped or slipped in beside the log: the monitor names the record, an alarm stands, and ends when it is put right."""
    made = await three(small)
    kept = (await small.store.reads.all(sa.select(rendered_records).where(rendered_records.c.record_id == made[0])))[0]
    edited = bytes(kept.listing).replace("澄泉".encode(), "清泉".encode())
    assert edited != kept.listing
    async with small.store.transaction() as tx:
        await tx.execute(sa.update(rendered_records).where(rendered_records.c.record_id == made[0]).values(listing=edited))
        await tx.execute(sa.delete(rendered_records).where(rendered_records.c.record_id == made[1]))
        await tx.execute(sa.delete(log_states).where(log_states.c.record_id == made[2]))
        await tx.execute(
            sa.update(rendered_records).where(rendered_records.c.record_id == made[2]).values(record_id="rec_" + "b" * 25 + "a")
        )
    found = await verify_log.watch(small)
    assert {(each.kind, each.rid) for each in found.differences} == {
        ("changed", made[0]), ("missing", made[1]), ("missing", made[2]), ("unlogged", "rec_" + "b" * 25 + "a"),
    }  # fmt: skip
    assert [each.kind for each in await alarms.standing(small)] == ["log-differs"]
    async with small.store.transaction() as tx:
        await tx.execute(sa.delete(rendered_records).where(rendered_records.c.record_id.in_([made[0], "rec_" + "b" * 25 + "a"])))
    assert {each.kind for each in (await verify_log.watch(small)).differences} == {"missing"}


@pytest.mark.parametrize("what", ["entry", "tile", "tree", "dropped"])
async def test_a_log_that_was_tampered_with_is_found(small: Services, what: str) -> None:
    """An entry, a tile or the root that is not what was signed: the monitor says the log is broken."""
    await three(small)
    async with small.store.transaction() as tx:
        if what == "entry":
            body = bytes((await tx.all(sa.select(log_entries.c.entry).where(log_entries.c.idx == 1)))[0].entry)
            await tx.execute(sa.update(log_entries).where(log_entries.c.idx == 1).values(entry=body.replace(b'"at":"2026', b'"at":"2025')))
        elif what == "tile":
            await tx.execute(sa.update(log_tiles).values(hashes=bytes(96)))
        elif what == "tree":
            await tx.execute(sa.update(log_heads).values(tree=bytes(64)))
        else:
            await tx.execute(sa.delete(log_entries).where(log_entries.c.idx == 2))
    await verify_log.watch(small)
    assert [each.kind for each in await alarms.standing(small)] == ["log-broken"]


async def test_no_head_below_one_that_was_signed(small: Services) -> None:
    """A26: a log put back to an older state is not signed again: the head beside the database is larger. An alarm stands."""
    made = await three(small)
    before = await small.store.reads.all(sa.select(log_heads))
    tiles_before = await small.store.reads.all(sa.select(log_tiles))
    async with at(small, LATER) as later:
        await withdraw(later, made[0], reason="revoked", actor="test")
        await settle(later)
        await keep_log.settle_log(later)
        async with later.store.transaction() as tx:  # a restored backup
            await tx.execute(sa.delete(log_entries).where(log_entries.c.idx == 3))
            await tx.execute(sa.delete(log_tiles))
            await tx.execute(sa.insert(log_tiles), [row._asdict() for row in tiles_before])
            await tx.execute(sa.update(log_heads).values(**{**before[0]._asdict(), "signed_at": "2026-01-01T00:00:00Z"}))
        with pytest.raises(StoreError) as caught:
            await keep_log.sign_heads(later)
        assert caught.value.code == "log-broken"
        assert [each.kind for each in await alarms.standing(later)] == ["log-broken"]


async def test_a_year_ends_and_its_last_head_is_signed(small: Services) -> None:
    """Entries of the next year begin a log of their own, and name the entry of the old one before; without its key nothing is signed."""
    made = await three(small)
    async with at(small, NEXT_YEAR) as later:
        await withdraw(later, made[0], reason="revoked", actor="test")
        await settle(later)
        while await keep_log.enter(later, at_once=True):
            pass
        (entry,) = await entries(later, 2027)
        assert entry.prev is not None
        assert entry.prev.startswith("2026/")
        with pytest.raises(Exception, match="2027"):
            await keep_log.sign_heads(later)
        assert "log-unsigned" in [each.kind for each in await alarms.standing(later)]


async def test_a_key_of_the_log_is_exchanged_within_its_year(small: Services) -> None:
    """A second key signs beside the first as soon as it is there; of a revoked one neither line nor word is left; the log stays whole."""
    await three(small)
    (old,) = keep_log.vkeys_of(small)
    assert (await new_key(small, "log", by="test")).vkey.startswith("credit.tonghua.example/log/2027+"), "first that of the coming year"
    made = (await new_key(small, "log", by="test")).vkey
    small.key_folder.refresh()

    async def heads() -> tuple[set[str], str]:
        (signed,) = await keep_log.sign_heads(small)
        assert await keep_log.sign_heads(small) == [], "once"
        note = (await read_log.checkpoint(small, 2026)).body.decode()
        lines = {line.key_id.hex() for line in notes.parse(note).lines if line.name == ORIGIN}
        return lines, f"{signed.size} {(await read_log.policy_text(small)).body.decode()}"

    assert (await heads())[0] == {vkey.split("+")[1] for vkey in (old, made)}
    await revoke_key(small, old, reason="exposed", by="test")
    small.key_folder.refresh()
    lines, policy = await heads()
    assert lines == {made.split("+")[1]}
    assert (old in policy, made in policy) == (False, True)
    assert (await verify_log.verify_store(small)).differences == ()
    with pytest.raises(SettingsError) as alone:
        await revoke_key(small, made, reason="exposed", by="test")
    assert alone.value.code == "key-missing", "next year's key is none of this log"


async def test_tiles_and_bundles_lead_to_the_head(small: Services) -> None:
    """What is served under a head is exactly what it covers: whole and partial tiles, entries, and nothing beyond."""
    await three(small)
    head = notes.read_checkpoint(notes.parse((await read_log.checkpoint(small, 2026)).body.decode()).text)
    bundle = await read_log.tile(small, 2026, "entries/000.p/3")
    assert len(tiles.read_bundle(bundle.body, 3)) == head.size == 3
    assert len((await read_log.tile(small, 2026, "0/000.p/2")).body) == 64
    for path in ("0/000", "0/000.p/4", "1/000.p/1", "entries/000", "entries/001.p/1", "x"):
        with pytest.raises(NotFound):
            await read_log.tile(small, 2026, path)
    for year in (2025, 2027):
        with pytest.raises(NotFound):
            await read_log.checkpoint(small, year)


@contextmanager
def running(folder: Path, *logs: str) -> Iterator[tuple[str, str]]:
    """The witness program on a real socket: its address and verifier key."""
    folder.mkdir()
    one = program.Witness("witness.example/w1", Ed25519PrivateKey.generate(), list(logs), folder)
    door = program.server(one, "127.0.0.1", 0)
    threading.Thread(target=door.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{door.server_address[1]}", program.vkey(one.name, b"\x04", one.public)
    finally:
        door.shutdown()
        door.server_close()


async def test_heads_are_witnessed_by_the_program(small: Services, tmp_path: Path) -> None:
    """The one-file witness signs our heads as they grow, refuses a head that does not continue, and its absence is told after an hour."""
    made = await three(small)
    (vkey,) = [key.signer.vkey for key in small.signers.keys if key.use == "log"]
    policy = small.settings.log_policy_path
    with running(tmp_path / "w1", vkey) as (url, witness_key):
        policy.write_text(f"witness w1 {witness_key} {url}\nquorum w1\n")
        (done,) = await keep_log.have_witnessed(small, ask_witness)
        assert (done.size, done.witnesses) == (3, ("w1",)), "the head that stands, though it was signed before there was a witness"
        async with at(small, LATER) as later:
            await withdraw(later, made[0], reason="revoked", actor="test")
            await settle(later)
            await keep_log.settle_log(later)
            (done,) = await keep_log.have_witnessed(later, ask_witness)
            assert (done.size, done.witnesses) == (4, ("w1",))
            assert await keep_log.have_witnessed(later, ask_witness) == []
            note = (await read_log.checkpoint(later, 2026)).body.decode()
            assert set(cosigned(note, keep_log.policy_of(later).witnesses)) == {"w1"}
            await withdraw(later, made[1], reason="revoked", actor="test")
            await settle(later)
            await keep_log.settle_log(later)
            (done,) = await keep_log.have_witnessed(later, ask_witness)
            assert (done.size, done.witnesses) == (5, ("w1",))
        status, body = await ask_witness(f"{url}/add-checkpoint", write_ask(0, [], note))
        assert (status, body) == (409, b"5\n")
    async with at(small, "2026-06-03T03:30:00Z") as later:
        await withdraw(later, made[2], reason="revoked", actor="test")
        await settle(later)
        await keep_log.settle_log(later)
        assert [each.witnesses for each in await keep_log.have_witnessed(later, ask_witness)] == [()]
        assert "log-unwitnessed" not in [each.kind for each in await alarms.standing(later)]
    async with at(small, "2026-06-03T04:31:00Z") as later:
        await keep_log.have_witnessed(later, ask_witness)
        assert "log-unwitnessed" in [each.kind for each in await alarms.standing(later)]


async def test_a_witness_that_drips_keeps_nobody_from_signing(small: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers byte by byte without end is left when its time is up; the one beside it has signed meanwhile."""
    monkeypatch.setattr("gateway.log_client.TIMEOUT_S", 1.0)
    await three(small)
    (vkey,) = [key.signer.vkey for key in small.signers.keys if key.use == "log"]

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.1)

    with running(tmp_path / "w1", vkey) as (url, witness_key):
        async with await asyncio.start_server(drip, "127.0.0.1", 0) as slow:
            other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
            slow_key = program.vkey("witness.example/slow", b"\x04", other)
            port = slow.sockets[0].getsockname()[1]
            two = f"witness slow {slow_key} http://127.0.0.1:{port}\nwitness w1 {witness_key} {url}\n"
            small.settings.log_policy_path.write_text(f"{two}group both any slow w1\nquorum both\n")
            (done,) = await keep_log.have_witnessed(small, ask_witness)
    assert (done.size, done.witnesses) == (3, ("w1",))


async def test_this_gateway_is_a_witness_for_others(town: Services) -> None:
    """A head of a log that we know is signed once it continues; our own log and unknown ones are not."""
    from tests.core.transparency.test_witnessing import LOG, head, proof

    (town.settings.data_path / witness_log.LOGS_FILE).write_text(f"log {LOG.vkey}\nquorum none\n")
    if LOG.name.startswith(town.settings.party):  # our own log: never
        with pytest.raises(WitnessRefused) as caught:
            await witness_log.add_checkpoint(town, write_ask(0, [], head(5)))
        assert caught.value.status == 404
    from gateway.core.signing import Ed25519Signer

    origin = "credit.baishan.example/log/2026"
    other = Ed25519Signer(origin, b"\x21" * 32)
    (town.settings.data_path / witness_log.LOGS_FILE).write_text(f"log {other.vkey}\nquorum none\n")
    line = await witness_log.add_checkpoint(town, write_ask(0, [], head(5, other, origin)))
    assert line.startswith("— credit.tonghua.example/witness ")
    await witness_log.add_checkpoint(town, write_ask(5, proof(5, 20), head(20, other, origin)))
    for body, status in ((write_ask(0, [], head(5, other, origin)), 409), (write_ask(20, [], head(5, other, origin)), 400)):
        with pytest.raises(WitnessRefused) as caught:
            await witness_log.add_checkpoint(town, body)
        assert caught.value.status == status
    from hashlib import sha256

    kept = await witness_log.latest(town, sha256(origin.encode()).hexdigest())
    assert kept is not None
    assert kept.startswith(f"{origin}\n20\n")
    assert await witness_log.latest(town, "0" * 64) is None


async def test_an_entry_is_told_by_its_place(small: Services) -> None:
    """One entry by year and index; none beyond the head."""
    await three(small)
    said = json.loads((await read_log.entry(small, PUBLIC, "zh-CN", Place(2026, 1))).body)
    assert (said["op"], said["index"], said["v"]) == ("list", 1, 1)
    with pytest.raises(NotFound):
        await read_log.entry(small, PUBLIC, "zh-CN", Place(2026, 3))
    (described,) = json.loads((await read_log.describe(small, PUBLIC, "zh-CN")).body)["items"]
    assert (described["origin"], described["size"], described["witnessed"]) == (ORIGIN, 3, False)
