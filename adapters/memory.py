"""Reference adapter `memory`: a source and a partner that live in this process, and keep every rule of the contract.

It exists so that the conformance suite has something that passes, and as the shortest example to begin from. The other side is a
`Board`: rows that a source has, batches that a partner got. Nothing is written to disk; two adapters on one board see the same.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any, ClassVar

from msgspec import Struct

from gateway.adapter_contract import (
    CONTRACT_VERSION,
    AdapterError,
    Counts,
    Diagnostic,
    IncomingBatch,
    Instant,
    LateReply,
    Page,
    Part,
    Row,
    RowResult,
    SealedBatch,
    SourceRecord,
    Tools,
)

__all__ = ["Board", "Memory", "MemoryConfig"]


class MemoryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the line."""

    page: int = 3
    """Rows a page."""
    longest: int = 4000
    """Longest value that the partner's columns take, characters."""
    words: frozenset[str] = frozenset()
    """What the partner's column `kind` takes; empty: anything."""
    patience_s: float = 30.0
    """How long a delivery may wait for the partner, seconds."""


class Board:
    """What stands on the other side: a source's rows, and a partner's letter boxes.

    A batch is written file by file, the manifest last; it has its effect when every file that the manifest names lies there whole.
    """

    def __init__(self) -> None:
        self.rows: list[SourceRecord | RowResult] = []
        self.reported: list[RowResult] = []
        self.files: dict[str, dict[str, bytes]] = {}
        self.delivered: dict[str, SealedBatch] = {}
        self.effects: dict[str, int] = {}
        self.inbox: list[SealedBatch] = []
        self.written_back: list[tuple[str, bytes]] = []
        self.receipts: dict[tuple[str, int], tuple[bytes, bytes]] = {}
        self.epochs: dict[str, str] = {}
        self.left: dict[str, dict[int, tuple[bytes, bytes]]] = {}
        self.documents: dict[str, bytes] = {}
        self.told: list[bytes] = []
        self.agreements: dict[str, tuple[str, bytes]] = {}
        self.later: dict[str, bytes] = {}
        self.asked: list[bytes] = []
        self.reply: Callable[[SealedBatch], bytes] = _plain_reply
        self.answer = b'{"type":"chengxin-exchange/answer/1"}'
        self.keys = b'{"body":"{}","note":""}'
        self.mend()

    def mend(self) -> None:
        """Nothing goes wrong any more."""
        self.delay_s = 0.0
        self.down = self.refuses = self.breaks = self.forgets = self.loses_replies = False
        self.elsewhere: Board | None = None

    def reach(self) -> None:
        """Raises AdapterError while the other side is down, refuses, or points elsewhere."""
        if self.down:
            raise AdapterError("UNAVAILABLE", "对方没有应答", transient=True)
        if self.refuses:
            raise AdapterError("UNAVAILABLE", "对方内部出错", transient=True, place="fault")
        if self.elsewhere is not None:
            raise AdapterError("REDIRECT", "对方指向了别处", transient=False)

    def write(self, batch: str, name: str, data: bytes) -> None:
        """One file of a batch.

        Raises AdapterError when it cannot be written, or the batch not be kept.
        """
        files = self.files.setdefault(batch, {})
        if self.breaks and not files:
            files[name] = data[: len(data) // 2]
            raise AdapterError("UNAVAILABLE", "传输中断", transient=True, place="transfer")
        if self.forgets and name == MANIFEST:
            raise AdapterError("UNAVAILABLE", "对方未能保存", transient=True, place="keep")
        files.pop(name, None)  # the order of a file's last writing counts
        files[name] = data
        if (whole := _whole(batch, files)) is not None and batch not in self.delivered:
            self.delivered[batch] = whole
            self.effects[batch] = self.effects.get(batch, 0) + 1

    def lose(self) -> None:
        """Raises AdapterError while replies are lost."""
        if self.loses_replies:
            raise AdapterError("UNAVAILABLE", "没有收到回执", transient=True, place="reply", outcome_unknown=True)


MANIFEST, NOTE, CHECKPOINT = "manifest.json", "manifest.note", "checkpoint"


def files(sealed: SealedBatch) -> list[tuple[str, bytes]]:
    """The files of a batch, in the order in which they may be seen."""
    parts = [(part.name, b"".join(part.read())) for part in sealed.parts]
    return [*parts, (CHECKPOINT, sealed.checkpoint), (NOTE, sealed.manifest_note), (MANIFEST, sealed.manifest)]


def _whole(batch: str, files: dict[str, bytes]) -> SealedBatch | None:
    """The batch, when every file that its manifest names is there and as long as it says."""
    if not {MANIFEST, NOTE, CHECKPOINT} <= files.keys():
        return None
    said = [(part["name"], part["bytes"], part["digest"]) for part in json.loads(files[MANIFEST])["parts"]]
    if any(len(files.get(name, b"")) != size for name, size, _ in said):
        return None
    parts = tuple(Part(name=name, size=size, digest=digest, read=_reader(files[name])) for name, size, digest in said)
    return SealedBatch(batch=batch, manifest=files[MANIFEST], manifest_note=files[NOTE], checkpoint=files[CHECKPOINT], parts=parts)


def _reader(data: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter((data,))


def _plain_reply(sealed: SealedBatch) -> bytes:
    rows = sum(1 for part in sealed.parts for chunk in part.read() for _ in chunk.splitlines())
    return json.dumps({"accepted": sealed.batch, "rows": rows}).encode()


class Memory:
    """A source and a partner in this process."""

    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"resume", "withdrawals", "report", "counts", "encode", "decode", "deliver", "collect", "ask", "reply", "idempotent"}
        | {"keys", "resync", "acknowledge", "feedback", "receipts", "look", "clear", "publish", "apart", "tell", "hear", "later"}
        | {"numbers", "kept"}
    )
    Config: ClassVar[type[Struct]] = MemoryConfig

    def __init__(self, config: MemoryConfig, tools: Tools | None, board: Board | None = None) -> None:
        self._config = config
        self._tools = tools
        self._board = board if board is not None else Board()

    # --- source -------------------------------------------------------------------------------------------------------

    async def pull(self, since: str | None) -> AsyncIterator[Page]:
        """Pages after a cursor: the number of rows already given."""
        at = _position(since, len(self._board.rows))
        while True:
            await asyncio.sleep(self._board.delay_s)
            self._board.reach()
            found = self._board.rows[at : at + self._config.page]
            at += len(found)
            more = at < len(self._board.rows)
            yield Page(
                records=tuple(row for row in found if isinstance(row, SourceRecord)),
                unreadable=tuple(row for row in found if isinstance(row, RowResult)),
                cursor=f"row:{at}",
                more=more,
            )
            if not more:
                return

    async def report(self, cursor: str, results: Sequence[RowResult]) -> None:
        """Put the results where the source finds them."""
        self._board.reach()
        _position(cursor, len(self._board.rows))
        self._board.reported.extend(results)

    async def counts(self, day: date) -> Sequence[Counts]:
        """Rows of a day by dataset, with a digest over their ids and versions."""
        self._board.reach()
        stated = [row for row in self._board.rows if isinstance(row, SourceRecord)] + self._went()
        rows = [row for row in stated if row.as_of.astimezone(UTC).date() == day]
        found = []
        for dataset in sorted({row.dataset for row in rows}):
            ids = sorted(f"{row.record_id}|{row.version}" for row in rows if row.dataset == dataset)
            found.append(Counts(dataset=dataset, day=day, rows=len(ids), digest=sha256("\n".join(ids).encode()).hexdigest()))
        return found

    def _went(self) -> list[SourceRecord]:
        """The rows of this format that the partner got."""
        found: list[SourceRecord] = []
        for sealed in self._board.delivered.values():
            for part in sealed.parts:
                with suppress(AdapterError):  # a part of another format has no rows for us
                    found += self.decode(b"".join(part.read()))
        return found

    # --- partner ------------------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> bytes:
        """One JSON object a line, members in the order of the record; what does not fit is refused, never cut."""
        lines = []
        for number, row in enumerate(rows, 1):
            for name, value in row.fields.items():
                if isinstance(value, str) and len(value) > self._config.longest:
                    raise AdapterError("SCHEMA_LENGTH", "内容超过对方字段长度", transient=False, place=f"{number}:{name}")
            if self._config.words and row.fields.get("kind", "") not in self._config.words | {"", None}:
                raise AdapterError("SCHEMA_ENUM", "对方的字典没有此项", transient=False, place=f"{number}:kind")
            if row.op not in ("assert", "amend", "retract", "repair", "expire", "erase"):
                raise AdapterError("SCHEMA_ENUM", "对方没有此操作", transient=False, place=str(number))
            line: dict[str, Any] = {
                "rid": row.rid,
                "v": row.v,
                "op": row.op,
                "dataset": row.dataset,
                "reason": row.reason,
                "at": row.at.isoformat(),
                "fields": row.fields,
            }
            lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
        return "".join(line + "\n" for line in lines).encode()

    def decode(self, part: bytes) -> Sequence[SourceRecord]:
        """The rows of a part, as they were written."""
        found = []
        try:
            for number, line in enumerate(part.decode().splitlines(), 1):
                said = json.loads(line, parse_float=_no_fraction, parse_constant=_no_fraction)
                withdraws = said["op"] in ("retract", "repair", "expire")
                found.append(
                    SourceRecord(
                        dataset=said["dataset"],
                        record_id=said["rid"],
                        version=said["v"],
                        reason=said["reason"],
                        op="withdraw" if withdraws else "erase" if said["op"] == "erase" else "upsert",
                        as_of=datetime.fromisoformat(said["at"]),
                        fields=said["fields"],
                        place=f"line {number}",
                    )
                )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise AdapterError("SCHEMA_LINE", "内容不是本格式", transient=False) from error
        return found

    def numbers(self, part: bytes) -> Sequence[str]:
        """The datasets of a part: each has a file of its own."""
        return sorted({record.dataset for record in Memory.decode(self, part)})

    def _check_numbers(self, sealed: SealedBatch) -> None:
        for part in sealed.parts:
            with suppress(AdapterError):  # a part of another format is one file, which bears no number
                missing = set(self.numbers(b"".join(part.read()))) - sealed.numbers.keys()
                if missing:
                    break
        else:
            return
        raise AdapterError("CONFIG", "批次没有文件序号", transient=False)

    async def deliver(self, sealed: SealedBatch) -> bytes | None:
        """Put the batch into the partner's box file by file, the manifest last; twice is once."""
        board = self._board
        self._check_numbers(sealed)
        await self._wait()
        board.reach()
        if sealed.batch not in board.delivered:
            for name, data in files(sealed):
                await asyncio.sleep(0)
                board.write(sealed.batch, name, data)
        board.lose()
        return board.reply(sealed)

    async def _wait(self) -> None:
        """Until the partner takes it, not longer than the settings say."""
        try:
            async with asyncio.timeout(self._config.patience_s):
                await asyncio.sleep(self._board.delay_s)
        except TimeoutError as error:
            raise AdapterError("UNAVAILABLE", "对方未在时限内接收", transient=True, outcome_unknown=True) from error

    def read_reply(self, reply: bytes) -> Sequence[RowResult]:
        """What the partner says of each row; a word that we do not know is held."""
        try:
            said = json.loads(reply)
            return tuple(_result(row) for row in said["rows"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise AdapterError("SCHEMA_LINE", "对方的回执不是本格式", transient=False) from error

    async def collect(self, after: str | None, stream: str | None = None) -> AsyncIterator[IncomingBatch]:
        """Batches in our box, in the order in which they came; of one stream, or of all."""
        await asyncio.sleep(self._board.delay_s)
        self._board.reach()
        at = _position(after, len(self._board.inbox))
        while at < len(self._board.inbox):
            batch = self._board.inbox[at]
            at += 1
            if stream is not None and _address(batch.batch)[0] != stream:
                continue
            yield IncomingBatch(
                batch=batch.batch,
                manifest=batch.manifest,
                manifest_note=batch.manifest_note,
                checkpoint=batch.checkpoint,
                parts=batch.parts,
                cursor=f"row:{at}",
            )

    async def receipts(self, stream: str, after: int) -> AsyncIterator[tuple[int, bytes, bytes]]:
        """Receipts that the partner has left for a stream of ours, in order of number."""
        self._board.reach()
        for no, (receipt, feedback) in sorted(self._board.left.get(stream, {}).items()):
            if no > after:
                await asyncio.sleep(0)
                yield no, receipt, feedback

    async def look(self, stream: str, epoch: int, seq: int, sender: str) -> tuple[bytes, bytes, bytes] | None:
        """Manifest, note and checkpoint as they lie there now."""
        self._board.reach()
        for batch in (*self._board.inbox, *self._board.delivered.values()):
            if batch.batch == f"{sender}/x/{stream}/{epoch}/{seq}":
                return batch.manifest, batch.manifest_note, batch.checkpoint
        return None

    async def clear(self, stream: str, epoch: int, seq: int) -> None:
        """Take a batch of ours out of the partner's box."""
        self._board.reach()
        for batch in [each for each in self._board.delivered if _address(each) == (stream, epoch, seq)]:
            del self._board.delivered[batch], self._board.files[batch]

    async def publish(self, name: str, document: bytes) -> None:
        """Lay a signed document down for everybody."""
        self._board.reach()
        self._board.documents[name] = document

    async def published(self, name: str) -> bytes | None:
        """A signed document as it lies there."""
        self._board.reach()
        return self._board.documents.get(name)

    async def ask(self, question: bytes, deadline: Instant) -> bytes:
        """The partner's answer, never late."""
        left = (deadline - datetime.now(UTC)).total_seconds()
        try:
            async with asyncio.timeout(max(left, 0)):
                await asyncio.sleep(self._board.delay_s)
                self._board.reach()
                self._board.asked.append(question)
                return self._board.answer
        except TimeoutError as error:
            raise AdapterError("UNAVAILABLE", "对方未在时限内回答", transient=True) from error

    async def later(self, question: str) -> bytes:
        """The partner's answer to what it could not answer at once."""
        self._board.reach()
        if (answer := self._board.later.get(question)) is None:
            raise AdapterError("NOT_FOUND", "对方还没有答复", transient=True)
        return answer

    async def tell(self, document: bytes) -> bytes:
        """Bring a signed document."""
        self._board.reach()
        self._board.told.append(document)
        return b""

    async def hear(self, held: Mapping[str, str]) -> Sequence[bytes]:
        """What the partner keeps for us in a state other than the one that we know."""
        self._board.reach()
        return [document for version, (state, document) in self._board.agreements.items() if held.get(version) != state]

    async def feedback(self, after: str | None) -> AsyncIterator[LateReply]:
        """What the partner has written back, in the order of its writing."""
        self._board.reach()
        start = _position(after, len(self._board.written_back))
        for at, (batch, data) in enumerate(self._board.written_back[start:], start + 1):
            await asyncio.sleep(0)
            yield LateReply(cursor=f"row:{at}", data=data, batch=batch)

    async def keys(self, held: str | None) -> bytes:
        """The partner's keys document as it is now; nothing when it is still the one that is held."""
        self._board.reach()
        body = json.loads(self._board.keys)["body"]
        return b"" if held == f"sha-256:{b64encode(sha256(body.encode()).digest()).decode()}" else self._board.keys

    async def acknowledge(self, stream: str, no: int, receipt: bytes, feedback: bytes) -> None:
        """Bring a receipt, its feedback with it."""
        self._board.reach()
        self._board.receipts[stream, no] = (receipt, feedback)

    async def kept(self, stream: str, no: int | None, near: int) -> bytes | None:
        """A receipt that was brought, by its number, or the last."""
        del near
        self._board.reach()
        numbers = [each for of, each in self._board.receipts if of == stream and no in (None, each)]
        return self._board.receipts[stream, max(numbers)][0] if numbers else None

    async def resync(self, stream: str, reason: str) -> None:
        """Ask for a new epoch."""
        self._board.reach()
        self._board.epochs[stream] = reason

    # --- both ---------------------------------------------------------------------------------------------------------

    async def check(self) -> Sequence[Diagnostic]:
        """Whether the other side answers."""
        if self._board.down:
            return [Diagnostic(what="连接", ok=False, message="对方没有应答", remedy="等待对方恢复后再试")]
        return [Diagnostic(what="连接", ok=True, message="可以连接")]

    async def close(self) -> None:
        """Nothing is held."""


_KNOWN: dict[str, Any] = {"00": "accepted", "01": "unchanged", "10": "rejected", "20": "withdrawn"}


def _result(row: dict[str, Any]) -> RowResult:
    result = _KNOWN.get(row["code"], "held")
    return RowResult(place=row["place"], record_id=row.get("rid"), result=result, code=None if row["code"] in _KNOWN else row["code"])


def _address(batch: str) -> tuple[str, int, int]:
    """Stream, epoch and number of a batch."""
    origin, epoch, seq = batch.rsplit("/", 2)
    return origin.partition("/x/")[2], int(epoch), int(seq)


def _position(cursor: str | None, size: int) -> int:
    if cursor is None:
        return 0
    kind, _, number = cursor.partition(":")
    if kind != "row" or not number.isascii() or not number.isdigit() or int(number) > size:
        raise AdapterError("CURSOR_UNKNOWN", "游标不是此线路给出的", transient=False)
    return int(number)


def _no_fraction(text: str) -> Iterator[object]:
    raise ValueError(text)
