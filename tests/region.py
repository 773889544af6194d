"""Two cities that exchange: Tonghua sends, Baishan receives, and a forger who signs real batches of Tonghua as a test wants them.

Everything is real: stores on disk, keys, agreements signed by both, batches sealed by the core. Only the line between the cities is short:
`Direct` gives the posted bytes to the other city's story, and can lose, delay or break them.
"""

import base64
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import httpx
import msgspec
from msgspec import Struct

from adapters.file_drop import FileDrop, FileDropConfig
from gateway.adapter_contract import CONTRACT_VERSION, AdapterError, IncomingBatch, SealedBatch
from gateway.adapter_loading import Adapters
from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes, records, sealing, wire
from gateway.core.exchange.agreements import Agreement, StreamRules, read_agreement, rules_of, signed_form
from gateway.core.exchange.manifests import Head, Replaced
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.records import SealedLine
from gateway.core.exchange.sealing import Sealed
from gateway.core.message_signing import sign_request
from gateway.core.signing import Ed25519Signer
from gateway.operations import keep_log, receive_batch
from gateway.operations.acknowledge import acknowledge
from gateway.operations.finish_erasures import finish_erasures
from gateway.operations.manage_agreements import Side, agreements, base_url, countersign, filled, offer, own_keys, take, take_keys
from gateway.operations.receive_batch import Received, receive_posted
from gateway.operations.reissue_lists import follow as follow_lists
from gateway.operations.render_public import settle
from gateway.operations.report_exchange import report_exchange
from gateway.operations.set_up import shipped_policies
from gateway.operations.take_receipt import keep_feedback, take_receipt
from gateway.services import Services, open_services
from gateway.settings import Clock
from gateway.store import given_receipts
from tests.house import make, settings_of, write_settings

TONGHUA, BAISHAN = "credit.tonghua.example", "credit.baishan.example"
AGREEMENT = "tonghua-baishan-2026"
PENALTIES = f"{AGREEMENT}.administrative-penalties"
HONOURS = f"{AGREEMENT}.honours"
NOW = "2026-06-02T02:30:00Z"
MARKET = "11220500XXT0001181"


def payload_of(line: SealedLine) -> bytes:
    """What the leaf of a sealed line is the hash of."""
    return wire.unb64u(json.loads(line.data)["p"], "SCHEMA_LINE")


def template() -> str:
    """The shipped agreement."""
    return (shipped_policies() / "agreements" / f"{AGREEMENT}.toml").read_text(encoding="utf-8")


def recognising(text: str, *entries: tuple[str, str]) -> str:
    """An agreement's text in which these datasets and categories are recognised, and nothing else."""
    said = ", ".join(f'{{ dataset = "{dataset}", category = "{category}", freshness_h = 48 }}' for dataset, category in entries)
    start = text.index("recognition = [")
    return text[:start] + f"recognition = [{said}]" + text[text.index("\n", start) :]


class Direct:
    """A partner line without a network: what either city posts, the other's story gets."""

    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"native", "deliver", "idempotent", "withdrawals", "keys", "collect", "acknowledge", "receipts"}
    )

    class Config(Struct, frozen=True, kw_only=True):
        """What every line is given."""

        base_url: str
        allow_private: bool = False

    def __init__(self, there: "Line", base_url: str = "") -> None:
        self.there = there
        self.base_url = base_url

    async def keys(self, held: str | None = None) -> bytes:
        """The keys document of the city at the other end."""
        return await self.there.keys(self.base_url, held)

    async def deliver(self, sealed: SealedBatch) -> bytes | None:
        """Carry the batch over, as the line is set."""
        return await self.there.carry(sealed)

    async def collect(self, after: str | None) -> AsyncIterator[IncomingBatch]:
        """What lies ready for whoever fetches; the cursor is the number of batches."""
        for number, batch in enumerate(self.there.fetched[int(after or 0) :], int(after or 0) + 1):
            yield msgspec.structs.replace(batch, cursor=str(number))

    async def acknowledge(self, stream: str, no: int, receipt: bytes, feedback: bytes) -> None:
        """Bring the sender a receipt."""
        sender = self.there.cities[self.base_url]
        assert self.there.receiver is not None
        if feedback:
            await keep_feedback(sender, BAISHAN, stream, no, feedback)
        await take_receipt(sender, BAISHAN, stream, receipt)
        self.there.brought.append((stream, no))

    async def receipts(self, stream: str, after: int) -> AsyncIterator[tuple[int, bytes, bytes]]:
        """The receipts that the receiver gave after a number."""
        assert self.there.receiver is not None
        if self.there.unheard:
            self.there.unheard -= 1
            raise AdapterError("UNAVAILABLE", "断线", transient=True)
        if not self.there.lose_before:
            given = {each.no: each for each in await given_receipts.receipts_of(self.there.receiver.store.reads, TONGHUA, stream)}
            for no in range(after + 1, max(given, default=0) + 1):
                if no not in given:
                    raise AdapterError("SEQ_CLOSED", "对方已丢失此回执", transient=False)
                yield no, notes.envelope(given[no].document), given[no].feedback

    async def close(self) -> None:
        """Nothing is held."""

    def _never(self, *_: object) -> Any:
        raise AssertionError("a capability that this line has not")

    encode = decode = read_reply = ask = counts = check = _never


class Line:
    """How the way to the other city behaves."""

    def __init__(self) -> None:
        self.receiver: Services | None = None
        self.carried: list[SealedBatch] = []
        self.lose_before = 0
        """So many batches never arrive."""
        self.lose_after = 0
        """So many batches arrive, and their receipts do not come back."""
        self.unheard = 0
        """So often it does not say which receipts it gave."""
        self.with_feedback = True
        self.cities: dict[str, Services] = {}
        """Who answers for keys, by base URL."""
        self.fetched: list[IncomingBatch] = []
        """What a receiver finds that fetches."""
        self.brought: list[tuple[str, int]] = []
        """Receipts that were brought to the sender."""
        self.asked = 0
        """How often anybody was asked for keys."""
        self.drop: dict[str, Any] = {}
        """Settings of the real `file_drop`, where both cities share a folder."""

    async def keys(self, base_url: str, held: str | None) -> bytes:
        """The keys document of a city, unless it is the one held."""
        self.asked += 1
        document = await own_keys(self.cities[base_url])
        return b"" if wire.digest_text(document.body) == held else notes.envelope(document)

    def join(self, sender: Services, receiver: Services) -> None:
        """Both ends."""
        self.receiver = receiver
        self.cities = {base_url(one): one for one in (sender, receiver)}

    async def carry(self, sealed: SealedBatch) -> bytes | None:
        """One delivery."""
        self.carried.append(sealed)
        if self.lose_before:
            self.lose_before -= 1
            raise AdapterError("UNAVAILABLE", "断线", transient=True)
        assert self.receiver is not None
        sender, _, rest = sealed.batch.partition("/x/")
        stream = rest.rsplit("/", 2)[0]
        receiver = self.receiver if sender == TONGHUA else next(one for one in self.cities.values() if one.signers.party == TONGHUA)
        try:
            answered = await receive_posted(receiver, stream, posted(sealed))
        except ExchangeError as error:
            raise AdapterError(error.code, "refused", transient=False) from error
        if self.lose_after:
            self.lose_after -= 1
            raise AdapterError("UNAVAILABLE", "断线", transient=True, outcome_unknown=True)
        said = json.loads(answered.body)
        if not self.with_feedback or "body" not in said:
            return answered.body
        no = json.loads(said["body"])["no"]
        given = await given_receipts.receipt(receiver.store.reads, sender, stream, no)
        assert given is not None
        return json.dumps({"receipt": said, "feedback": given.feedback.decode()}).encode()

    def adapters(self) -> Adapters:
        """What a city is given instead of the installed adapters."""
        line = self

        class Bound(Direct):
            def __init__(self, config: Any, tools: Any) -> None:
                super().__init__(line, config.base_url)

        class Dropped(FileDrop):
            def __init__(self, config: Any, tools: Any) -> None:
                super().__init__(msgspec.convert(msgspec.to_builtins(config) | line.drop, FileDropConfig), tools)

        return Adapters({"https_partner": lambda: Bound, "file_drop": lambda: Dropped})


def posted(sealed: SealedBatch, parts: Mapping[str, bytes] | None = None) -> bytes:
    """A batch as it is posted, all parts inline."""
    inline = {part.name: b"".join(part.read()) for part in sealed.parts} if parts is None else dict(parts)
    return posted_of(sealed.manifest, sealed.manifest_note.decode(), sealed.checkpoint.decode(), inline)


def posted_of(manifest: bytes, note: str, checkpoint: str, parts: Mapping[str, bytes]) -> bytes:
    """The body of POST batches."""
    return json.dumps(
        {
            "manifest": {"body": manifest.decode(), "note": note},
            "checkpoint": checkpoint,
            "parts": {name: base64.b64encode(data).decode() for name, data in parts.items()},
        },
        ensure_ascii=False,
    ).encode()


class SignedBy(httpx.Auth):
    """Signs every request as a city does for its partners, with its `http` key and at its moment."""

    requires_request_body = True

    def __init__(self, signer: Ed25519Signer, now: datetime, **changed: Any) -> None:
        self.signer = signer
        self.now = now
        self.changed = changed
        """What is signed otherwise: `tag`, `url`, `nonce`, `method`."""

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:
        """The request with its signature."""
        body = request.content
        said: dict[str, Any] = {
            "method": request.method,
            "url": str(request.url),
            "tag": "cx-read" if request.method == "GET" else "cx-write",
            "nonce": wire.b64u(os.urandom(16)),
            **self.changed,
        }
        media = request.headers.get("content-type", "application/json")
        for name, value in sign_request(self.signer, body=body, content_type=media, now=self.now, **said):
            request.headers[name] = value
        yield request


def signed_by(services: Services, **changed: Any) -> SignedBy:
    """Requests of this city."""
    signer = services.signers.signing("http", services.clock())
    assert isinstance(signer, Ed25519Signer)
    return SignedBy(signer, services.clock(), **changed)


def _in_baishan(text: str) -> str:
    return text.replace('region = "220500"\norg = "11220500XXT0001181"', 'region = "220600"\norg = "11220600XXT0001186"')


@asynccontextmanager
async def a_city(
    folder: Path, party: str, *, database: str = "", now: str = NOW, port: int = 8000, new: bool = True, policies: Path | None = None
) -> AsyncIterator[Services]:
    """One gateway with keys, tables and the shipped policies, if no others are given; one that is not `new` is opened as it stands."""
    change = _in_baishan if party == BAISHAN else str
    path = write_settings(folder, database=database, party=party, port=port, policies=policies, change=change)
    settings = settings_of(path, CHENGXIN_NOW=now)
    if new:
        await make(settings)
    async with open_services(settings) as services:
        yield services


class Cities(Struct):
    """Both cities and the line between them."""

    tonghua: Services
    baishan: Services
    line: Line

    def at(self, moment: datetime) -> "Cities":
        """The same cities at another moment."""
        clock = Clock(fixed=moment)
        moved = []
        for services in (self.tonghua, self.baishan):
            services.store.clock = clock
            moved.append(msgspec.structs.replace(services, clock=clock))
        self.line.join(*moved)
        return Cities(moved[0], moved[1], self.line)

    @property
    def now(self) -> datetime:
        """The moment at which both stand."""
        return self.tonghua.clock()


@asynccontextmanager
async def two_cities(folder: Path, databases: tuple[str, str] = ("", ""), *, change: Callable[[str], str] = str) -> AsyncIterator[Cities]:
    """Two cities with an agreement in force; `change` edits the template before it is signed.

    On SQLite they agree once for all whose text is the same, and each test has copies of both.
    """
    text = change(template())
    if databases == ("", ""):
        if text not in _AGREED:
            pattern = Path(tempfile.mkdtemp(dir=_PATTERNS.name))
            async with _two_cities(pattern, databases, text):
                pass
            _AGREED[text] = pattern
        for name in ("th", "bs"):
            shutil.copytree(_AGREED[text] / name, folder / name)
    async with _two_cities(folder, databases, text, agreed=databases == ("", "")) as cities:
        yield cities


_PATTERNS = tempfile.TemporaryDirectory(prefix="cities")
_AGREED: dict[str, Path] = {}
"""Pairs of cities as they agreed, by the text; copied, never opened again."""


@asynccontextmanager
async def _two_cities(folder: Path, databases: tuple[str, str], text: str, *, agreed: bool = False) -> AsyncIterator[Cities]:
    async with (
        a_city(folder / "th", TONGHUA, database=databases[0], new=not agreed) as ours,
        a_city(folder / "bs", BAISHAN, database=databases[1], port=8001, new=not agreed) as theirs,
    ):
        line = Line()
        ours = msgspec.structs.replace(ours, adapters=line.adapters())
        theirs = msgspec.structs.replace(theirs, adapters=line.adapters())
        line.join(ours, theirs)
        if not agreed:
            await agree(ours, theirs, text)
        yield Cities(ours, theirs, line)


@asynccontextmanager
async def agreed_at(folder: Path, ports: tuple[int, int]) -> AsyncIterator[tuple[Services, Services]]:
    """Two new cities at these ports, in folders that stay, which have agreed on the shipped text."""
    async with (
        a_city(folder / "th", TONGHUA, now=NOW, port=ports[0]) as tonghua,
        a_city(folder / "bs", BAISHAN, now=NOW, port=ports[1]) as baishan,
    ):
        await agree(tonghua, baishan, template())
        yield tonghua, baishan


async def agree(ours: Services, theirs: Services, text: str) -> None:
    """Offer, countersign, take back; exchange keys documents."""
    sides = {
        one.signers.party: Side(base_url=base_url(one), agreement_keys=(one.signers.signing("agreement", one.clock()).vkey,))
        for one in (ours, theirs)
    }
    toml = filled(text, sides).encode()
    signed = await countersign(theirs, await offer(ours, toml, by="test"), toml, by="test")
    await take(ours, signed, by="test")
    for one, other in ((ours, theirs), (theirs, ours)):
        await take_keys(one, await own_keys(other), by="test")
    for one in (ours, theirs):
        assert {each.state for each in await agreements(one)} == {"active"}


async def followed(services: Services) -> int:
    """Let everything of a city follow its change log, and tell partners what can be told then; how many lines that were."""
    await settle(services)
    while await follow_lists(services, at_once=True):
        pass
    await keep_log.settle_log(services)
    await finish_erasures(services)
    return await acknowledge(services)


async def held_batch(services: Services, stream: str = PENALTIES) -> str:
    """The batch to a city that waits for a person, as `exchange status` names it."""
    (name,) = {each.held_batch for each in await report_exchange(services) if each.stream == stream and each.direction == "in"}
    return name or "none"


async def news(cities: Cities, stream: str = PENALTIES) -> list[str]:
    """What Baishan tells Tonghua in later receipts, once everything there has followed: the codes, in order of the lines."""
    reads = cities.baishan.store.reads
    before = len(await given_receipts.receipts_of(reads, TONGHUA, stream))
    await followed(cities.baishan)
    given = (await given_receipts.receipts_of(reads, TONGHUA, stream))[before:]
    assert all(json.loads(each.document.body)["kind"] == "later" for each in given)
    lines = [json.loads(line) for each in given for line in each.feedback.splitlines()]
    return [line["code"] for line in sorted(lines, key=lambda line: line["i"])]


# --- a forger with Tonghua's keys -------------------------------------------------------------------------------------


def rid(number: int) -> str:
    """A record id of the forger."""
    bits = number.to_bytes(16, "big") + b"\0" * 4  # zero bytes fill up whole groups
    return "rec_" + base64.b32encode(bits).decode().lower()[:26]


class Forger:
    """Signs real batches as Tonghua: in order, or replayed, skipped, truncated, back-dated, with another key."""

    def __init__(self, cities: Cities, *, dataset: str = "administrative-penalties", agreement: Agreement | None = None) -> None:
        self.cities = cities
        self.services = cities.tonghua
        self.agreement = agreement or self._agreement()
        self.rules: StreamRules = rules_of(self.agreement, dataset, TONGHUA)
        self.suite = wire.SUITES[self.rules.terms.wire.suite]
        self.head = Head(stream=self.rules.stream, epoch=1, seq=0, tree=CompactRange(self.suite), manifest_digest=None)
        self.signers = [cities.tonghua.signers.signing("exchange", cities.now)]

    def _agreement(self) -> Agreement:
        sides = {
            one.signers.party: Side(base_url=base_url(one), agreement_keys=(one.signers.signing("agreement", one.clock()).vkey,))
            for one in (self.cities.tonghua, self.cities.baishan)
        }
        return read_agreement(signed_form(filled(template(), sides).encode())[0])

    def penalty(self, number: int, *, v: int = 1, op: str = "assert", values: Mapping[str, Any] | None = None, **clear: Any) -> SealedLine:
        """A line about a penalty of firm `number`."""
        from tests.operations.publishing import code

        fields: dict[str, Any] = {
            "CF_XDR_MC": f"通化市测试{number}商贸有限公司",
            "CF_XDR_LB": "legal",
            "CF_XDR_SHXYM": code(number),
            "CF_WSH": f"通示罚〔2026〕{number}号",
            "CF_WFXW": "超范围经营",
            "CF_SY": "超出登记的经营范围从事经营活动。",
            "CF_YJ": "《示例条例》第一条",
            "CF_CFLB": "fine",
            "CF_NR": "罚款。",
            "CF_NR_FK": "1.200000",
            "CF_JDRQ": "2026-03-02",
            "CF_YXQ": "2099-12-31",
            "CF_SXYZCD": "general",
            "CF_CFJG": "通化市市场监督管理局（示例）",
            "CF_CFJGDM": MARKET,
            "CF_SJLY": "通化市市场监督管理局（示例）",
            "CF_SJLYDM": MARKET,
            **(values or {}),
        }
        said = records.statement(
            self.rules,
            rid=rid(number),
            category="penalty",
            region="220500",
            subject_kind="legal",
            authority=MARKET,
            authority_name="通化市市场监督管理局（示例）",
            decided_on="2026-03-02",
            publish_until=date(2027, 3, 1),
            dispute=False,
            basis=(records.Basis(text="《示例条例》第一条", uri=None, item=None),),
            trust="signed",
        )
        said = msgspec.structs.replace(said, **{"v": v, "op": op, "at": wire.instant(self.cities.now), **clear})
        named = [field.name for field in self.rules.terms.fields]
        listed = [(name, fields.get(name)) for name in named] + [(name, value) for name, value in fields.items() if name not in named]
        return records.seal_statement(said, listed, os.urandom(32), self.suite)

    def withdrawal(self, number: int, *, v: int = 2, op: str = "repair", reason: str | None = "repaired", **clear: Any) -> SealedLine:
        """A line that takes it back."""
        said = records.withdrawal(self.rules, rid=rid(number), v=v, op=op, reason=reason or "", at=self.cities.now)  # type: ignore[arg-type]  # as above
        return records.seal_withdrawal(msgspec.structs.replace(said, reason=reason, **clear), self.suite)

    def raw(self, line: SealedLine, disclosures: Sequence[str] | None = None, **members: Any) -> SealedLine:
        """The same line with members of its payload put in or replaced, or with other disclosures."""
        payload = json.dumps(json.loads(payload_of(line)) | members, ensure_ascii=False, separators=(",", ":")).encode()
        shown = json.loads(line.data)["d"] if disclosures is None else list(disclosures)
        data = json.dumps({"p": wire.b64u(payload), "d": shown}, separators=(",", ":")).encode() + b"\n"
        return msgspec.structs.replace(line, data=data, leaf=leaf_hash(payload, self.suite))

    def seal(
        self,
        lines: Sequence[SealedLine],
        *,
        advance: bool = True,
        created: datetime | None = None,
        head: Head | None = None,
        replaces: Replaced | None = None,
        snapshot: Literal["none", "part", "last"] = "none",
        edit: Callable[[dict[str, Any]], None] | None = None,
        lines_a_part: int = 4000,
        compress: bool = True,
    ) -> Sealed:
        """The next batch; `edit` changes the manifest before it is signed."""
        sealed = sealing.seal(
            head or self.head,
            lines,
            self.rules,
            self.signers,
            policy_version=1,
            created=created or self.cities.now,
            replaces=replaces,
            snapshot=snapshot,
            lines_a_part=lines_a_part,
            compress=compress,
        )
        if edit is not None:
            said = json.loads(sealed.document.body)
            edit(said)
            body = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
            context = wire.batch_id(said["sender"], said["stream"], said["epoch"], said["seq"])
            document = notes.sign_document("manifest", context, body, self.signers)
            sealed = msgspec.structs.replace(sealed, document=document, digest=wire.digest_text(body))
            sealed = msgspec.structs.replace(sealed, head=msgspec.structs.replace(sealed.head, manifest_digest=sealed.digest))
        if advance:
            self.head = sealed.head
        return sealed

    def anew(self) -> Replaced:
        """Begin the next epoch; what its first batch says that it replaces."""
        old = self.head
        self.head = Head(stream=old.stream, epoch=old.epoch + 1, seq=0, tree=CompactRange(self.suite), manifest_digest=None)
        return Replaced(origin=wire.origin(TONGHUA, old.stream, old.epoch), size=old.tree.size, root=wire.b64(old.tree.root()))

    async def send(self, sealed: Sealed, parts: Mapping[str, bytes] | None = None) -> Received:
        """Give a batch to Baishan's story."""
        inline = {part.name: part.data for part in sealed.parts} if parts is None else parts
        return await receive_batch.receive_batch(
            self.cities.baishan, stream=self.rules.stream, document=sealed.document, checkpoint=sealed.checkpoint, parts=inline
        )

    async def post(self, *lines: SealedLine) -> Received:
        """Seal the next batch of these lines and send it."""
        return await self.send(self.seal(lines))


def another_signer(name: str = f"{TONGHUA}/x") -> Ed25519Signer:
    """A key of the same name that nobody trusts."""
    return Ed25519Signer(name, bytes(range(32)))


def resign(sealed: Sealed, signers: Sequence[Ed25519Signer]) -> SignedDocument:
    """The same manifest under other keys."""
    text = notes.parse(sealed.document.note).text
    return SignedDocument(sealed.document.body, notes.sign(text, signers))


def days(count: float) -> timedelta:
    """Some days."""
    return timedelta(days=count)


def utc(text: str) -> datetime:
    """An instant."""
    return datetime.fromisoformat(text).astimezone(UTC)
