"""Reference adapter `memory`: a source and a partner that live in this process, and keep every rule of the contract.

It exists so that the conformance suite has something that passes, and as the shortest example to begin from. The other side is a
`Board`: rows that a source has, batches that a partner got. Nothing is written to disk; two adapters on one board see the same.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
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
    Page,
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


class Board:
    """What stands on the other side: a source's rows, and a partner's letter boxes."""

    def __init__(self) -> None:
        self.rows: list[SourceRecord | RowResult] = []
        self.reported: list[RowResult] = []
        self.delivered: dict[str, SealedBatch] = {}
        self.effects: dict[str, int] = {}
        self.inbox: list[SealedBatch] = []
        self.reply: Callable[[SealedBatch], bytes] = _plain_reply
        self.answer = b'{"type":"chengxin-exchange/answer/1"}'
        self.delay_s = 0.0
        self.down = False

    def reach(self) -> None:
        """Raises AdapterError while the other side is down."""
        if self.down:
            raise AdapterError("UNAVAILABLE", "对方没有应答", transient=True)


def _plain_reply(sealed: SealedBatch) -> bytes:
    rows = sum(1 for part in sealed.parts for chunk in part.read() for _ in chunk.splitlines())
    return json.dumps({"accepted": sealed.batch, "rows": rows}).encode()


class Memory:
    """A source and a partner in this process."""

    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"resume", "withdrawals", "report", "counts", "encode", "decode", "deliver", "collect", "ask", "reply", "idempotent"}
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
            self._board.reach()
            await asyncio.sleep(0)
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
        rows = [row for row in self._board.rows if isinstance(row, SourceRecord) and row.as_of.astimezone(UTC).date() == day]
        found = []
        for dataset in sorted({row.dataset for row in rows}):
            ids = sorted(f"{row.record_id}|{row.version}" for row in rows if row.dataset == dataset)
            found.append(Counts(dataset=dataset, day=day, rows=len(ids), digest=sha256("\n".join(ids).encode()).hexdigest()))
        return found

    # --- partner ------------------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> bytes:
        """One JSON object a line, members in the order of the record; what does not fit is refused, never cut."""
        lines = []
        for number, row in enumerate(rows, 1):
            for name, value in row.fields.items():
                if isinstance(value, str) and len(value) > self._config.longest:
                    raise AdapterError("SCHEMA_LENGTH", "内容超过对方字段长度", transient=False, place=f"{number}:{name}")
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

    async def deliver(self, sealed: SealedBatch) -> bytes | None:
        """Put the batch into the partner's box; twice is once."""
        await asyncio.sleep(self._board.delay_s)
        self._board.reach()
        if sealed.batch not in self._board.delivered:
            self._board.delivered[sealed.batch] = sealed
            self._board.effects[sealed.batch] = self._board.effects.get(sealed.batch, 0) + 1
        return self._board.reply(sealed)

    def read_reply(self, reply: bytes) -> Sequence[RowResult]:
        """What the partner says of each row; a word that we do not know is held."""
        try:
            said = json.loads(reply)
            return tuple(_result(row) for row in said["rows"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise AdapterError("SCHEMA_LINE", "对方的回执不是本格式", transient=False) from error

    async def collect(self, after: str | None) -> AsyncIterator[IncomingBatch]:
        """Batches in our box, in the order in which they came."""
        at = _position(after, len(self._board.inbox))
        while at < len(self._board.inbox):
            self._board.reach()
            await asyncio.sleep(0)
            batch = self._board.inbox[at]
            at += 1
            yield IncomingBatch(
                batch=batch.batch,
                manifest=batch.manifest,
                manifest_note=batch.manifest_note,
                checkpoint=batch.checkpoint,
                parts=batch.parts,
                cursor=f"row:{at}",
            )

    async def ask(self, question: bytes, deadline: Instant) -> bytes:
        """The partner's answer, never late."""
        left = (deadline - datetime.now(UTC)).total_seconds()
        try:
            async with asyncio.timeout(max(left, 0)):
                await asyncio.sleep(self._board.delay_s)
                self._board.reach()
                return self._board.answer
        except TimeoutError as error:
            raise AdapterError("UNAVAILABLE", "对方未在时限内回答", transient=True) from error

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


def _position(cursor: str | None, size: int) -> int:
    if cursor is None:
        return 0
    kind, _, number = cursor.partition(":")
    if kind != "row" or not number.isascii() or not number.isdigit() or int(number) > size:
        raise AdapterError("CURSOR_UNKNOWN", "游标不是此线路给出的", transient=False)
    return int(number)


def _no_fraction(text: str) -> Iterator[object]:
    raise ValueError(text)
