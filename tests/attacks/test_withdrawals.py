"""Attacks on what must disappear, through HTTP between two houses: A19 versions and states, A24 a lifted recognition, A27 an erasure.

Baishan is served as in production; Tonghua speaks to it over its adapter, and as a forger with Tonghua's keys. Each test has a stream of
its own, so that none depends on another.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import ExchangeError
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.sealing import Sealed
from gateway.core.records.model import RecordId
from gateway.core.signing import parse_vkey
from gateway.core.transparency.entries import read_entry
from gateway.operations import read_log, show_exchange, verify_log
from gateway.operations.build_lists import settle_lists
from gateway.operations.erase import erase
from gateway.operations.list_measures import list_measures
from gateway.operations.list_overdue import list_overdue
from gateway.operations.send_batch import send_batch
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import changes, ledger, outbox, records, transparency
from gateway.store.tables import erasures, out_parts, recognitions
from tests.administrators import enrolled
from tests.house import PLAIN
from tests.ledger import check_ledger
from tests.operations.publishing import TAX, code, ids, put, violation
from tests.operations.test_exchange import honour
from tests.region import (
    AGREEMENT,
    BAISHAN,
    HONOURS,
    NOW,
    PENALTIES,
    TONGHUA,
    Cities,
    Forger,
    Line,
    a_city,
    agreed_at,
    followed,
    posted_of,
    rid,
    signed_by,
)
from tests.web.test_exchange_api import free_port

TAXES = f"{AGREEMENT}.tax-violations"
NAME, DOCUMENT = "通化市鸾翔澜沧药业有限公司", "通鸾澜税〔2026〕7719号"


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Folder and ports of two cities that have agreed; Baishan is served."""
    folder, ports = tmp_path_factory.mktemp("towns"), (free_port(), free_port())

    async def prepare() -> None:
        async with agreed_at(folder, ports):
            pass

    asyncio.run(prepare())
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "--settings", str(folder / "bs" / "chengxin.toml"), "serve"],
        env=os.environ | {"CHENGXIN_NOW": NOW, "CHENGXIN_EXCHANGE_POLL_S": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{ports[1]}/healthz", verify=PLAIN).status_code == httpx.codes.OK:
                break
        except httpx.HTTPError:
            time.sleep(0.05)
    yield folder, ports
    process.terminate()
    process.wait(20)


@pytest.fixture
async def cities(towns: tuple[Path, tuple[int, int]]) -> AsyncIterator[Cities]:
    """Both cities as they stand, opened here with the adapters that are installed."""
    folder, ports = towns
    async with (
        a_city(folder / "th", TONGHUA, port=ports[0], new=False) as ours,
        a_city(folder / "bs", BAISHAN, port=ports[1], new=False) as theirs,
    ):
        await ours.policies.fresh()
        await theirs.policies.fresh()
        yield Cities(ours, theirs, Line())


async def told(services: Services, stream: str) -> str:
    """Seal and deliver over HTTP what there is; the state of the stream."""
    (sent,) = await send_batch(services, stream=stream, at_once=True)
    assert sent.code is None, sent
    return sent.state


# --- A19 --------------------------------------------------------------------------------------------------------------


async def post(cities: Cities, sealed: Sealed) -> tuple[str, list[str]]:
    """Post a forged batch as Tonghua; result and codes of the feedback."""
    body = posted_of(sealed.document.body, sealed.document.note, sealed.checkpoint, {part.name: part.data for part in sealed.parts})
    base = f"{cities.baishan.settings.public_origin}/x/v1/streams/{PENALTIES}"
    async with httpx.AsyncClient(auth=signed_by(cities.tonghua), timeout=30, verify=PLAIN) as client:
        answer = await client.post(f"{base}/batches", content=body, headers={"content-type": "application/json"})
        receipt = json.loads(answer.json()["body"])
        lines = (await client.get(f"{base}/feedback/{receipt['no']}")).content.splitlines()
    return receipt["result"], [json.loads(line)["code"] for line in lines]


async def test_a19_versions_and_states(cities: Cities):
    """A19: v3 → v2 is SEQ_VERSION, repair of the unknown SEQ_STATE, and after an erasure everything is SEQ_ERASED, an erasure too."""
    forger = Forger(cities)
    assert await post(cities, forger.seal([forger.penalty(1, v=3), forger.penalty(2)])) == ("applied", [])
    assert await post(cities, forger.seal([forger.penalty(1, v=2, op="amend")])) == ("partial", ["SEQ_VERSION"])
    assert await post(cities, forger.seal([forger.withdrawal(1, v=2)])) == ("partial", ["SEQ_VERSION"])
    assert await post(cities, forger.seal([forger.withdrawal(77)])) == ("applied", ["SEQ_STATE", "ACK_WITHDRAWN"])
    assert await post(cities, forger.seal([forger.withdrawal(2, op="erase", reason="erased")])) == ("applied", [])
    again = [
        forger.penalty(2, v=9, op="amend"),
        forger.penalty(2, v=9),
        forger.withdrawal(2, v=9),
        forger.withdrawal(2, v=10, op="erase", reason="erased"),
    ]
    assert await post(cities, forger.seal(again)) == ("partial", ["SEQ_ERASED"] * 4)
    held = await records.load(cities.baishan.store.reads, ids=[RecordId(rid(1)), RecordId(rid(2))])
    assert [(each.record_id, each.state) for each in held] == [(rid(1), "in_force")]
    await check_ledger(cities.baishan)


# --- A24 --------------------------------------------------------------------------------------------------------------


async def test_a24_a_recognised_record_is_withdrawn(cities: Cities):
    """A24: the effect is lifted with the batch, the change log says so, and the acknowledgement is back within the agreed hours."""
    (record_id,) = ids(await put(cities.tonghua, "honours", honour(2, "通化市澄泉商贸有限公司")))
    assert await told(cities.tonghua, HONOURS) == "acked"
    reads = cities.baishan.store.reads
    (there,) = await records.load(reads, ids=[RecordId(record_id)])
    assert there.recognised is not None
    assert there.recognised.effect == "green-channel"
    await withdraw(cities.tonghua, record_id, reason="revoked", actor="test")
    assert await told(cities.tonghua, HONOURS) == "acked"
    (there,) = await records.load(reads, ids=[RecordId(record_id)])
    assert (there.state, there.recognised) == ("retracted", None)
    decided = await reads.one(sa.select(recognitions).where(recognitions.c.record_id == record_id))
    assert decided is not None
    assert (decided.effect, decided.reason, decided.consequence) == (None, "withdrawn", "lift")
    ops = [change.op for change in await changes.after(reads, 0, 1000) if change.record_id == record_id]
    assert ops == ["assert", "recognise", "retract", "lift"]
    (taken,) = await list_measures(cities.baishan, record_id)
    assert (taken.code, taken.standing) == ("green-channel", "lifted"), "and its `measures` line is amended"
    about = [change.op for change in await changes.after(reads, 0, 1000) if change.record_id == taken.record_id]
    assert about == ["assert", "amend"]
    assert await ledger.awaits_news(cities.tonghua.store.reads, HONOURS), "not out of every exit yet"
    await followed(cities.baishan)
    await told(cities.tonghua, HONOURS)
    assert not await ledger.awaits_news(cities.tonghua.store.reads, HONOURS)
    assert await list_overdue(cities.tonghua) == []
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


# --- A27 --------------------------------------------------------------------------------------------------------------


def needles(texts: tuple[str, ...]) -> dict[str, bytes]:
    """The texts in every likely encoding, and digests of them."""
    found: dict[str, bytes] = {}
    for text in texts:
        for encoding in ("utf-8", "utf-16-le", "utf-16-be", "gb18030"):
            found[f"{text} {encoding}"] = text.encode(encoding)
        found[f"{text} escaped"] = text.encode("ascii", "backslashreplace")
        found[f"{text} digest"] = sha256(text.encode()).digest()
        found[f"{text} hex"] = sha256(text.encode()).hexdigest().encode()
        for shift in range(3):  # base64 of it, whatever stands before
            coded = base64.b64encode(b"\0" * shift + text.encode())
            found[f"{text} base64 {shift}"] = coded[4 if shift else 0 : -4]
    return found


def found_in(folder: Path, wanted: dict[str, bytes]) -> set[tuple[str, str]]:
    """(file, what) of everything that is found in any file of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    assert any(path.name.startswith("gateway.db") for path in files)
    return {(path.name, what) for path in files for what, needle in wanted.items() if needle in path.read_bytes()}


async def proof_holds(services: Services, record_id: str) -> list[str]:
    """The ops of a record's entries; every one is proved by its own inclusion proof, and the whole log verifies."""
    year = 2026
    head = await transparency.head(services.store.reads, year)
    assert head is not None
    bodies = await transparency.entries(services.store.reads, year, 0, head.size)
    entries = [read_entry(body) for body in bodies]
    keys = [parse_vkey(key.signer.vkey) for key in services.signers.keys if key.use == "log"]
    for entry in entries:
        if entry.rid == record_id and entry.c is not None:
            answer = await read_log.proof(services, PUBLIC, "zh-CN", commitment=base64.b64decode(entry.c))
            assert verify_log.verify_proof(json.loads(answer.body), keys).entry == entry
    assert (await verify_log.verify_store(services)).differences == ()
    return [entry.op for entry in entries if entry.rid == record_id]


@pytest.mark.parametrize("withdrawn_first", [False, True])
async def test_a27_nothing_is_left_of_an_erased_record(cities: Cities, towns: tuple[Path, tuple[int, int]], withdrawn_first: bool):
    """A27: erased here, it is in no file of either house: database, free pages, index, versions, parts, logs; the log still verifies."""
    folder, _ = towns
    ours, theirs = cities.tonghua, cities.baishan
    name, document = (f"{NAME}（{withdrawn_first}）", f"{DOCUMENT}之{int(withdrawn_first)}")
    number = code(7719 + withdrawn_first)
    beside = code(40 + withdrawn_first)
    record_id, other = ids(
        await put(
            ours,
            TAX,
            violation(number, name, document),
            violation(beside, f"通化市旁邻{int(withdrawn_first)}商贸有限公司", f"通邻税〔2026〕{int(withdrawn_first)}号"),
        )
    )
    assert await told(ours, TAXES) == "acked"
    sent = (await ledger.sent_records(ours.store.reads, TAXES, [record_id]))[record_id]
    for services in (ours, theirs):
        await followed(services)
        await settle_lists(services)
    wanted = needles((name, number, document)) | {word: word.encode() for word in ("鸾翔", "澜沧")}  # tokens of the index too
    for house in ("th", "bs"):
        assert {what for _, what in found_in(folder / house, wanted)} >= {f"{text} utf-8" for text in (name, number, document)}, house
    if withdrawn_first:
        await withdraw(ours, record_id, reason="revoked", actor="test")
        await followed(ours)
        await told(ours, TAXES)
    admin = await enrolled(ours, f"kang-{int(withdrawn_first)}", "key-custodian")
    done = await erase(ours, record_id, reason="request", by=await admin.acts("record.erase", target=record_id, reason="request"))
    assert done.records == 1
    assert await told(ours, TAXES) == "acked"
    for services in (ours, theirs):
        await followed(services)
    await told(ours, TAXES)  # takes the later receipts: the acknowledgement of the erasure
    assert not await ledger.awaits_news(ours.store.reads, TAXES)
    for services in (ours, theirs):
        await followed(services)
        row = await services.store.reads.one(sa.select(erasures.c.done_at).where(erasures.c.record_id == record_id))
        assert row is not None
        assert row.done_at is not None, services.signers.party
    for house in ("th", "bs"):
        assert found_in(folder / house, wanted) == set(), house
    ops = await proof_holds(ours, record_id)
    assert ops == (["list", "remove", "erase"] if withdrawn_first else ["list", "erase"])
    (there,) = await records.load(theirs.store.reads, ids=[RecordId(other)])
    assert there.state == "in_force", "the record beside it stands"
    kept = {part.seq for part in await ours.store.reads.all(sa.select(out_parts.c.seq).where(out_parts.c.stream == TAXES))}
    assert sent.seq not in kept
    batch = await outbox.out_batch(ours.store.reads, TAXES, 1, sent.seq)
    assert batch is not None
    with pytest.raises(ExchangeError) as caught:
        await show_exchange.part(ours, BAISHAN, TAXES, read_manifest(batch.document.body).parts[0].name)
    assert caught.value.code == "SEQ_CLOSED", "410: the part that held it is not kept"
    await check_ledger(ours)
    await check_ledger(theirs)
