"""The table of attacks and failures, where partners, their services or our own adapters misbehave: real processes, real sockets and files.

What is asked, sent or fetched goes through the command as an operator gives it, or through a server that keeps the exchange by itself.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import sqlalchemy as sa
from msgspec import Struct

from adapters.province_soap_simulator import BOMB, Province, ProvinceServer
from gateway.adapter_loading import Adapters
from gateway.core.exchange.manifests import read_manifest
from gateway.operations import keep_log, reissue_lists
from gateway.operations.build_lists import settle_lists
from gateway.operations.manage_agreements import Side, base_url, countersign, filled, offer, own_keys, take, take_keys
from gateway.operations.manage_lines import approve_line, propose_line
from gateway.operations.render_public import settle
from gateway.operations.send_batch import send_batch
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import fetch_tries, outbox
from gateway.store.tables import in_records, inquiries, line_rows
from tests.asking import with_terms
from tests.commands import chengxin, environment
from tests.crash.commanding import Command
from tests.crash.test_exchange_kill import free_port
from tests.house import PLAIN
from tests.ledger import check_ledger
from tests.operations.line_partner import PROVINCE, line_file, two_persons
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import TAX, code, ids, penalty, put, violation
from tests.region import AGREEMENT, BAISHAN, NOW, PENALTIES, TONGHUA, a_city
from tests.untouched import LEDGER, TRAIL, contents, moved

METADATA = "/latest/meta-data/iam/security-credentials/"
"""What a machine of a cloud tells whoever asks from inside it."""
ASKING = TRAIL | {"inquiries"}
"""What a question leaves that nobody answered: that it was asked."""
LINE = "province.administrative-penalties"
TOKEN = "geheim-令牌-7719"
NAME = "通化市鸾翔澜沧商贸有限公司"
GUEST = '''
import asyncio, json
from pathlib import Path
from msgspec import Struct
from gateway.adapter_contract import CONTRACT_VERSION, IncomingBatch, Part


class Guest:
    contract_version = CONTRACT_VERSION
    capabilities = frozenset({"native", "deliver", "collect"})

    class Config(Struct, frozen=True, kw_only=True):
        root: str

    def __init__(self, config, tools):
        self.root = Path(config.root)

    def _batch(self, mood):
        said = json.loads((self.root / "batch.json").read_text())
        part = (self.root / said["part"]).read_bytes()
        if mood == "wrong bytes":
            part = part[:-1] + bytes([part[-1] ^ 1])
        note = said["note"].rpartition("\\n\\n")[0] + "\\n\\n" if mood in ("unsigned", "endless") else said["note"]
        return IncomingBatch(
            batch=said["batch"], manifest=said["manifest"].encode(), manifest_note=note.encode(), checkpoint=said["checkpoint"].encode(),
            parts=(Part(name=said["part"], size=len(part), digest="", read=lambda: iter([part])),), cursor=mood,
        )

    async def collect(self, after):
        mood = (self.root / "mood").read_text()
        (self.root / "met").write_text(mood)
        if mood == "never comes back":
            await asyncio.sleep(3600)
        while True:
            yield self._batch(mood)
            if mood == "raises":
                raise ZeroDivisionError("a secret value")
            if mood != "endless":
                return

    async def deliver(self, sealed):
        raise AssertionError

    async def close(self):
        return None

    encode = decode = ask = read_reply = counts = check = deliver
'''
"""An adapter that somebody else has written and an operator has installed; how it behaves stands in a file beside what it brings."""


def settings(folder: Path) -> tuple[str, ...]:
    """The settings of a city, as a command is given them."""
    return ("--settings", str(folder / "chengxin.toml"))


def variables(**more: str) -> dict[str, str]:
    """What the processes of these tests have in their environment."""
    return environment(**({"CHENGXIN_NOW": NOW, "CHENGXIN_EXCHANGE_POLL_S": "0"} | more))


async def ended(command: Command) -> tuple[int, str]:
    """Its status and what it said of errors, when it has ended."""
    _, errors = await asyncio.to_thread(command.communicate)
    return int(command.returncode or 0), errors.decode()


async def said_by(folder: Path, *arguments: str, **more: str) -> tuple[int, str]:
    """A command as an operator starts it, in a city: its status, and all that it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *settings(folder), *arguments,
        env=variables(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def served(folder: Path, **more: str) -> asyncio.subprocess.Process:
    """A city as an operator serves it."""
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", *settings(folder), "serve", env=variables(**more))


async def up(client: httpx.AsyncClient) -> bool:
    """Whether somebody answers already."""
    try:
        return (await client.get("/healthz")).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


class Rogue:
    """Whatever listens at a partner's port instead of it."""

    def __init__(self) -> None:
        self.mood = "silent"
        self.elsewhere = 0
        """The port to which it sends whoever follows."""
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.asked += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError), closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            if self.mood == "silent":
                await reader.read()
            elif self.mood == "one byte a second":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n")
                while True:
                    writer.write(b"{")
                    await writer.drain()
                    await asyncio.sleep(1)
            else:
                writer.write(self._said())
                await writer.drain()

    def _said(self) -> bytes:
        if self.mood == "garbage":
            return b"\x00\xff\x1b[2J" * 100
        if self.mood == "another answer":
            body = b'{"body":"{\\"level\\":1,\\"status\\":\\"no_hit\\"}","note":""}'
            return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        to = f"http://127.0.0.1:{self.elsewhere}{METADATA}"
        return f"HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()


@asynccontextmanager
async def rogue_at(port: int) -> AsyncIterator[tuple[Rogue, Rogue]]:
    """A rogue at this port, and what stands where it sends others."""
    rogue, elsewhere = Rogue(), Rogue()
    async with await asyncio.start_server(elsewhere.serve, "127.0.0.1", 0) as second:
        rogue.elsewhere = second.sockets[0].getsockname()[1]
        async with await asyncio.start_server(rogue.serve, "127.0.0.1", port):
            yield rogue, elsewhere


class Houses(Struct):
    """Both cities on disk; nobody is served."""

    folder: Path
    ports: tuple[int, int]
    listed: list[str]
    """Firms on Tonghua's list of tax violators."""

    @property
    def ours(self) -> Path:
        """Tonghua's folder."""
        return self.folder / "th"

    @property
    def theirs(self) -> Path:
        """Baishan's, which fetches with a guest, and has a line to the province."""
        return self.folder / "bs"

    @asynccontextmanager
    async def tonghua(self) -> AsyncIterator[Services]:
        """Tonghua opened here."""
        async with a_city(self.ours, TONGHUA, now=NOW, port=self.ports[0], new=False) as services:
            yield services

    @asynccontextmanager
    async def baishan(self, server: ProvinceServer | None = None) -> AsyncIterator[Services]:
        """Baishan opened here, its settings naming this service of the province."""
        async with a_city(self.theirs, BAISHAN, now=NOW, port=self.ports[1], new=False) as services:
            if server is not None:
                path = self.theirs / "chengxin.toml"
                path.write_text(path.read_text(encoding="utf-8") + _partner(server, self.theirs), encoding="utf-8")
            yield services


def _partner(server: ProvinceServer, folder: Path) -> str:
    token = folder / "token"
    token.write_text(TOKEN, encoding="utf-8")
    token.chmod(0o600)
    return f"""
[[partners]]
party = "{PROVINCE}"
adapter = "province_soap"
[partners.config]
base_url = "{server.origin}"
allow_private = true
token = {{ file = "{token}" }}
dedupe = "business_key"
withdraw = "status_row"
codes = {{ "31" = "rejected" }}
[partners.config.services.administrative-penalties]
path = "/cf"
namespace = "urn:example:sgs"
operation = "putCf"
columns = ["CF_WSH", "CF_XDR_MC", "CF_XDR_SHXYM", "CF_NR_FK", "CF_JDRQ", "CF_ZT"]
key = ["CF_WSH", "CF_XDR_SHXYM"]
status = "CF_ZT"
"""


async def _agree(ours: Services, theirs: Services, guest: Path) -> None:
    sides = {
        one.signers.party: Side(base_url=base_url(one), agreement_keys=(one.signers.signing("agreement", one.clock()).vkey,))
        for one in (ours, theirs)
    }
    toml = filled(with_terms().replace('delivery = "push"', 'delivery = "pull"'), sides)
    odd = toml.replace('adapter = "https_partner"\n', f'adapter = "guest"\nconfig = {{ root = "{guest}" }}\n')
    signed = await countersign(theirs, await offer(ours, toml.encode(), by="test"), odd.encode(), by="test")
    await take(ours, signed, by="test")
    for one, other in ((ours, theirs), (theirs, ours)):
        await take_keys(one, await own_keys(other), by="test")


def _loaded(guest: Path) -> Any:
    """The guest for a process that did not find it when it began."""
    spec = importlib.util.spec_from_file_location("guest", guest / "guest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Guest


async def _lay_ready(services: Services, guest: Path) -> None:
    """What Tonghua has sealed, as the guest brings it."""
    (batch,) = await outbox.waiting_batches(services.store.reads, PENALTIES)
    ((name, data),) = await outbox.out_parts_of(services.store.reads, PENALTIES, batch.epoch, batch.seq)
    (guest / name).write_bytes(data)
    said = {"batch": read_manifest(batch.document.body).id, "manifest": batch.document.body.decode(), "note": batch.document.note}
    (guest / "batch.json").write_text(json.dumps(said | {"checkpoint": batch.checkpoint, "part": name}), encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Houses:
    """Both cities; copied for each test."""
    folder, ports = tmp_path_factory.mktemp("towns"), (free_port(), free_port())
    guest = folder / "guest"
    about = guest / "guest-1.0.dist-info"
    about.mkdir(parents=True)
    (guest / "guest.py").write_text(GUEST, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[gateway.adapters]\nguest = guest:Guest\n")
    houses = Houses(folder, ports, [])

    async def prepare() -> None:
        async with (
            a_city(houses.ours, TONGHUA, now=NOW, port=ports[0]) as tonghua,
            a_city(houses.theirs, BAISHAN, now=NOW, port=ports[1]) as baishan,
        ):
            with_guest = msgspec.structs.replace(baishan, adapters=Adapters({"guest": partial(_loaded, guest)}))
            await _agree(tonghua, with_guest, guest)
            rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2)]
            await put(tonghua, DATASET, *rows)
            await send_batch(tonghua, stream=PENALTIES, deliver=False)
            await _lay_ready(tonghua, guest)
            firms = [violation(code(number), f"通化市测试{number}商贸有限公司", f"通示税〔2026〕{number}号") for number in (3, 4, 5)]
            houses.listed += ids(await put(tonghua, TAX, *firms))
            await settle(tonghua)
            await keep_log.settle_log(tonghua)
            await put(baishan, DATASET, penalty(code(9), NAME, "通示罚〔2026〕9号"))
            zhang, li = await two_persons(baishan)
            text = line_file(org='"11220600XXT0001186"').replace(b'["220500"]', b'["220600", "220500"]')
            done = await propose_line(baishan, text, by=await zhang.acts("line.propose"))
            await approve_line(baishan, done.id, digest=done.digest, by=await li.acts("line.approve"))

    asyncio.run(prepare())
    return houses


@pytest.fixture
def houses(made: Houses, tmp_path: Path) -> Houses:
    """A copy of both."""
    for name in ("th", "bs"):
        shutil.copytree(made.folder / name, tmp_path / name)
    return Houses(tmp_path, made.ports, made.listed)


@pytest.fixture
def guest(made: Houses) -> Path:
    """The folder of the guest."""
    return made.folder / "guest"


@pytest.fixture
def province() -> Iterator[ProvinceServer]:
    """The province's service."""
    server = ProvinceServer(Province(TOKEN))
    server.province.key = ("CF_WSH", "CF_XDR_SHXYM")
    yield server
    server.close()


# --- A22: partners that do not answer, or answer something else ----------------------------------------------------------


async def test_a22_a_partner_that_answers_nothing_anything_or_elsewhere(houses: Houses):
    """A22: every question ends in time as unanswered or invalid, never `no_hit`; no redirect is followed, and nothing else is kept."""
    moods = {
        "silent": "unanswered",
        "garbage": "unanswered",
        "one byte a second": "unanswered",
        "another answer": "invalid",
        "a redirect": "unanswered",
    }
    ask = ("query", "ask", "--uscc", code(1), "--basis", "《示例条例》", "--officer", "o-1", "--deadline", "1")
    async with houses.tonghua() as tonghua, rogue_at(houses.ports[1]) as (rogue, elsewhere):
        before = await contents(tonghua.store)
        for rogue.mood in moods:
            status, errors = await ended(Command(*settings(houses.ours), *ask, "--case", f"示例 {rogue.mood}", variables=variables()))
            assert status == 1, errors
        rows = await tonghua.store.reads.all(sa.select(inquiries.c.status))
        assert (rogue.asked, elsewhere.asked) == (len(moods), 0)
        assert sorted(row.status for row in rows) == sorted(moods.values())
        assert moved(before, await contents(tonghua.store)) <= ASKING


# --- A13: XML ---------------------------------------------------------------------------------------------------------


def _hostile(port: int) -> dict[str, bytes]:
    """What a service may answer, by its name."""
    elsewhere = f"http://127.0.0.1:{port}{METADATA}"
    return {
        "entity bomb": BOMB,
        "external entity": f'<!DOCTYPE a [<!ENTITY x SYSTEM "{elsewhere}">]><a>&x;</a>'.encode(),
        "parameter entity": f'<!DOCTYPE a [<!ENTITY % x SYSTEM "{elsewhere}"> %x;]><a/>'.encode(),
        "dtd": f'<!DOCTYPE a SYSTEM "{elsewhere}"><a/>'.encode(),
        "xinclude": f'<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="{elsewhere}" parse="text"/></a>'.encode(),
        "depth": b"<a>" * 1_000_000,
    }


async def test_a13_hostile_xml_of_a_service_is_no_answer(houses: Houses, province: ProvinceServer):
    """A13: refused; the row waits as if nothing had been said, nothing is fetched, and with a good answer it is accepted once."""
    rogue, send = Rogue(), (*settings(houses.theirs), "exchange", "send", "--now")
    async with houses.baishan(province) as baishan, await asyncio.start_server(rogue.serve, "127.0.0.1", 0) as elsewhere:

        async def results() -> list[str | None]:
            return [row.result for row in await baishan.store.reads.all(sa.select(line_rows.c.result))]

        answers = _hostile(elsewhere.sockets[0].getsockname()[1])
        before: dict[str, str] = {}
        for province.province.body in answers.values():
            assert await ended(Command(*send, variables=variables())) == (0, "")
            now = await contents(baishan.store)
            assert await results() == [None]
            assert moved(before, now) <= TRAIL | {"line_states", "out_batches"}
            before = now
        province.province.body = None
        assert await ended(Command(*send, variables=variables())) == (0, "")
        assert await results() == ["accepted"]
        assert (len(province.province.calls), province.province.taken, rogue.asked) == (len(answers) + 1, 1, 0)


# --- A25: rows changed behind the log's back --------------------------------------------------------------------------


SLIPPED_IN = "rec_" + "b" * 25 + "a"
EDITS = {
    "changed": "UPDATE rendered_records SET listing = CAST(replace(CAST(listing AS TEXT), '测试', '清白') AS BLOB) WHERE record_id = :rid;",
    "missing": "DELETE FROM rendered_records WHERE record_id = :rid;",
    "unlogged": """CREATE TEMP TABLE copy AS SELECT * FROM rendered_records WHERE record_id = :rid;
        UPDATE copy SET record_id = :slipped_in;
        INSERT INTO rendered_records SELECT * FROM copy;""",
}


@pytest.mark.parametrize("kind", EDITS)
async def test_a25_an_operator_changes_a_public_row(houses: Houses, kind: str):
    """A25: the next run of the monitor ends with an error, and names the record and what was done to it; it changes nothing itself."""
    monitor = "verify", "log", "--json"
    assert await ended(Command(*settings(houses.ours), *monitor, variables=variables())) == (0, "")
    edited = {"rid": houses.listed[1], "slipped_in": SLIPPED_IN}
    with closing(sqlite3.connect(houses.ours / "data" / "gateway.db")) as database, database:
        for statement in EDITS[kind].split(";")[:-1]:
            assert database.execute(statement, edited).rowcount != 0
    async with houses.tonghua() as tonghua:
        before = await contents(tonghua.store)
        status, said = await said_by(houses.ours, *monitor)
        found, _ = json.JSONDecoder().raw_decode(said)
        assert (status, [(each["kind"], each["rid"]) for each in found["differences"]]) == (
            1,
            [(kind, SLIPPED_IN if kind == "unlogged" else houses.listed[1])],
        )
        assert moved(before, await contents(tonghua.store)) <= TRAIL


async def test_a25_what_has_just_left_is_no_edit(houses: Houses):
    """Withdrawn, and not entered yet, a listing differs from the served log: looked at again after the next head, it does not."""
    url = f"http://127.0.0.1:{houses.ports[0]}"
    server = await served(houses.ours, CHENGXIN_LOG_POLL_S="0")
    try:
        async with houses.tonghua() as tonghua, httpx.AsyncClient(base_url=url, verify=PLAIN, timeout=60) as client:
            await settle_lists(tonghua)
            await withdraw(tonghua, houses.listed[1], reason="revoked", actor="test")
            await settle(tonghua)
            while await reissue_lists.follow(tonghua, at_once=True):
                pass
            async with asyncio.timeout(60):
                while not await up(client):  # noqa: ASYNC110  # another process
                    await asyncio.sleep(0.1)
            status, said = await said_by(houses.ours, "verify", "log", url, "--patience", "0")
            assert (status, f"missing: {houses.listed[1]}" in said) == (1, True), said
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", *settings(houses.ours), "verify", "log", url, "--patience", "2",
                env=variables(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            assert process.stderr is not None
            assert b"1 differences: looking again in 2 s" in await process.stderr.readline()
            await keep_log.settle_log(tonghua)
            assert await process.wait() == 0, await process.stderr.read()
    finally:
        server.kill()
        await server.wait()


# --- A30: adapters of others ------------------------------------------------------------------------------------------


def installed(guest: Path) -> dict[str, str]:
    """The environment of a process that finds the guest among what is installed."""
    return {"PYTHONPATH": os.pathsep.join([str(guest), *filter(None, [os.environ.get("PYTHONPATH")])])}


async def test_a30_an_adapter_that_brings_what_nobody_signed(houses: Houses, guest: Path):
    """A30: unsigned and changed bytes are refused; one that raises in mid-iteration keeps what it had brought whole, once."""
    codes = {"unsigned": "SIG_FORMAT", "wrong bytes": "SIG_PART_DIGEST", "raises": "ZeroDivisionError", "good": None}
    async with houses.baishan() as baishan:

        async def held() -> int:
            return len(await baishan.store.reads.all(sa.select(in_records.c.record_id)))

        pull = *settings(houses.theirs), "exchange", "pull"
        before = await contents(baishan.store)
        for mood, code_ in codes.items():
            (guest / "mood").write_text(mood)
            status, said = await ended(Command(*pull, variables=variables(**installed(guest))))
            tries = await fetch_tries.failing(baishan.store.reads)
            assert (status, {name: each.code for name, each in tries.items()}) == ((1, {AGREEMENT: code_}) if code_ else (0, {})), said
            assert "secret" not in said
            now = await contents(baishan.store)
            if mood in ("unsigned", "wrong bytes"):
                assert moved(before, now) <= LEDGER | {"fetch_tries"}
            else:
                assert await held() == 2
            if mood == "good":
                assert moved(before, now) <= {"fetch_tries", "line_cursors"}, "it was brought before"
            before = now
        await check_ledger(baishan)


@pytest.mark.parametrize("mood", ["never comes back", "endless"])
async def test_a30_an_adapter_that_never_stops(houses: Houses, guest: Path, province: ProvinceServer, mood: str):
    """A30: while it goes on the server answers, and the line to the province has its row there and its answer kept; nothing is taken."""
    (guest / "mood").write_text(mood)
    (guest / "met").unlink(missing_ok=True)
    origin = f"http://127.0.0.1:{houses.ports[1]}"
    async with houses.baishan(province) as baishan:
        process = await served(houses.theirs, CHENGXIN_EXCHANGE_POLL_S="0.2", **installed(guest))
        accepted = sa.select(line_rows.c.v).where(line_rows.c.result == "accepted")
        try:
            async with asyncio.timeout(60):
                while not ((guest / "met").exists() and await baishan.store.reads.all(accepted)):  # noqa: ASYNC110  # elsewhere
                    await asyncio.sleep(0.1)
            async with httpx.AsyncClient(verify=PLAIN) as client:
                assert (await client.get(f"{origin}/v1", timeout=30)).status_code == httpx.codes.OK
            assert (guest / "met").read_text() == mood
            assert [row["CF_XDR_MC"] for row in province.province.rows] == [NAME]
            assert await baishan.store.reads.all(sa.select(in_records.c.record_id)) == []
        finally:
            process.kill()
            await process.wait()


# --- A29: what is written where people look ------------------------------------------------------------------------------


async def test_a29_what_a_service_says_reaches_no_terminal_and_no_log(houses: Houses, province: ProvinceServer):
    """A29: neither its escape sequences, nor our token, nor a value of the row stands in what commands say or a log keeps."""
    words = f"\u009b31m\u202e{TOKEN} {NAME}"
    province.province.faults = {NAME: ("31", words)}
    async with houses.baishan(province):
        status, heard = await said_by(houses.theirs, "exchange", "send", "--now")
        assert status == 0, heard
        for command in (("line", "report"), ("line", "report", "--json"), ("exchange", "status")):
            shown = await asyncio.to_thread(chengxin, houses.theirs, *settings(houses.theirs), *command, CHENGXIN_NOW=NOW)
            heard += shown.stdout + shown.stderr
        assert "31" in heard, "the code is told"
        assert province.province.calls
        for secret in ("\u009b", "\x1b[3", "\u202e", TOKEN, NAME):
            assert secret not in heard
        for path in (houses.theirs / "data").rglob("*"):
            data = path.read_bytes() if path.is_file() else b""
            assert TOKEN.encode() not in data, path
