"""What an author supplies: the simulated other side of a line, and how the canned inputs stand there.

Rules: only `connect`, `cut` and what the adapter's capabilities need must be there. A simulation that a line does not have answers False
(or None), and the check that needs it fails until the author simulates the trouble, or names the check in `skips` and says why it cannot
come about.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from json import dumps
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from gateway.adapter_contract import Part, PartnerAdapter, Row, RowResult, SealedBatch, SourceAdapter, SourceRecord, Value

__all__ = ["AT", "CannedRow", "Line", "PartnerLine", "SourceLine", "bytes_of", "canned", "canned_batch", "canned_rows"]

AT = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
"""When every canned row was stated."""
STREAM = "canned-line-2026.canned"
CARRIED = "秘密的内容"
"""Stands in every part of a canned batch, and must stand nowhere else."""


class CannedRow(Struct, frozen=True, kw_only=True):
    """One row that the author puts into the simulated source."""

    record_id: str
    op: Literal["upsert", "withdraw"] = "upsert"
    version: int = 1
    reason: str | None = None
    fields: dict[str, Value]
    readable: bool = True
    """False: the source itself is damaged here."""


class _Canned(Struct, frozen=True, kw_only=True):
    about: str
    rows: tuple[CannedRow, ...]


@cache
def canned(name: str) -> tuple[CannedRow, ...]:
    """The rows of one canned input, from its file in `adapters/canned`."""
    return msgspec.json.decode(files("adapters").joinpath("canned", f"{name}.json").read_bytes(), type=_Canned).rows


def many(number: int) -> tuple[CannedRow, ...]:
    """So many rows, each of its own."""
    said = {"amount": "1.000000", "note": None}
    return tuple(
        CannedRow(
            record_id=f"src-{at}",
            fields={"document_number": f"示罚〔2026〕{at}号", "name": f"通化市示例{at}商贸有限公司", **said},
        )
        for at in range(1, number + 1)
    )


def canned_rows(name: str) -> list[Row]:
    """A canned input as the core would give it to a partner's `encode`."""
    return [
        Row(
            rid=row.record_id,
            v=row.version,
            op="retract" if row.op == "withdraw" else "assert",
            dataset="canned",
            reason=row.reason,
            at=AT,
            fields=dict(row.fields),
        )
        for row in canned(name)
    ]


def canned_batch(number: int, parts: Sequence[bytes] = ()) -> SealedBatch:
    """A batch as the core would give it, of these parts, or of two that no adapter needs to understand."""
    data = list(parts) or [f"{CARRIED} {number}/{part}\n".encode() * 50 for part in range(2)]
    names = [f"1-{number}-{part:03d}.ndjson" for part in range(len(data))]
    digests = [f"sha-256:{sha256(each).hexdigest()}" for each in data]
    manifest = {
        "type": "chengxin-exchange/manifest/1",
        "sender": "credit.tonghua.example",
        "stream": STREAM,
        "epoch": 1,
        "seq": number,
        "created": AT.isoformat().replace("+00:00", "Z"),
        "parts": [{"name": name, "bytes": len(each), "digest": digest} for name, each, digest in zip(names, data, digests, strict=True)],
    }
    return SealedBatch(
        batch=f"credit.tonghua.example/x/{STREAM}/1/{number}",
        manifest=dumps(manifest).encode(),
        manifest_note=f"note {number}\n\n— a b\n".encode(),
        checkpoint=f"checkpoint {number}\n\n— a b\n".encode(),
        parts=tuple(_part(name, each, digest) for name, each, digest in zip(names, data, digests, strict=True)),
    )


def _part(name: str, data: bytes, digest: str) -> Part:
    piece = max(64, len(data) // 100)

    def read() -> Iterator[bytes]:
        for at in range(0, len(data), piece):
            yield data[at : at + piece]

    return Part(name=name, size=len(data), digest=digest, read=read)


def bytes_of(part: Part) -> bytes:
    """The whole of a part."""
    return b"".join(part.read())


class Line(ABC):
    """What both kinds of line have."""

    config: ClassVar[Mapping[str, object]] = {}
    """Settings that the adapter takes."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Settings without which it refuses to start; a secret that it cannot do without is one of them."""

    @abstractmethod
    def connect(self) -> Any:
        """A new adapter on this line as it stands."""

    @abstractmethod
    def cut(self) -> None:
        """From now on the other side cannot be reached."""

    def end(self) -> None:  # noqa: B027  # most lines hold nothing
        """The check is over: let go of servers and folders."""


class SourceLine(Line):
    """A simulated source, with pages of at most three rows."""

    gone_is_transient: ClassVar[bool] = True
    """Whether another try may find a source that was cut; False for a file that is gone."""
    versions: ClassVar[bool] = True
    """Whether the source numbers the versions of its rows."""
    wide: ClassVar[int] = 250
    """How many rows the walk of a large source has; fewer where each takes long."""

    @abstractmethod
    def connect(self) -> SourceAdapter:
        """A new adapter on the source as it stands."""

    @abstractmethod
    def put(self, rows: Sequence[CannedRow]) -> None:
        """The source now has exactly these rows, in this order, all stated at `AT`, of dataset `canned`."""

    @abstractmethod
    def grow(self, rows: Sequence[CannedRow]) -> None:
        """The source has these rows too, after the others."""

    def key(self, record: SourceRecord) -> str:
        """Which canned row a record is; for a source that has no ids of its own, said by its fields."""
        return str(record.record_id)

    def reported(self) -> Sequence[RowResult]:
        """What the source was told of its rows (capability `report`)."""
        return ()

    def dawdle(self, seconds: float) -> bool:
        """From now on the source takes so long for each page; False when such a source is never slow."""
        return False


class PartnerLine(Line):
    """A simulated partner."""

    hostile: ClassVar[Sequence[bytes]] = (
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        b"PK\x03\x04",
        b"\x1f\x8b\x08\x00",
    )
    """Inputs that `decode` and `read_reply` must refuse; the suite adds bombs of its own."""
    too_long: ClassVar[int | None] = 5000
    """A text longer than the partner's columns; None where there is no bound."""
    long: ClassVar[int] = 700
    """How many rows a long reply has; fewer where the partner replies only about rows that it got."""
    foreign: ClassVar[Mapping[str, Value] | None] = None
    """Fields with a word that the partner's lists do not have; None where it has no lists."""

    @abstractmethod
    def connect(self) -> PartnerAdapter:
        """A new adapter to the partner."""

    # --- in the partner's words ---

    def rows(self, name: str) -> list[Row]:
        """A canned input as rows of a dataset that this partner takes."""
        return canned_rows(name)

    def column(self, field: str) -> str:
        """What a canned field is called in what `decode` gives."""
        return field

    def understood(self, part: bytes) -> Sequence[SourceRecord] | None:
        """How the partner itself reads an encoded part, where the adapter only writes; None: nobody does."""
        return None

    def batch(self, number: int) -> SealedBatch:
        """A batch that this line can carry: canned bytes, or for a format of the partner's own an encoded part."""
        adapter = self.connect()
        if "native" in adapter.capabilities or "encode" not in adapter.capabilities:
            return canned_batch(number)
        data = adapter.encode([_numbered(row, number) for row in self.rows("walk")])
        series = adapter.numbers(data) if "numbers" in adapter.capabilities else ()  # type: ignore[attr-defined]  # promised by it
        return msgspec.structs.replace(canned_batch(number, [data]), numbers=dict.fromkeys(series, number))

    # --- what arrives ---

    def arrived(self, batch: str) -> SealedBatch | None:
        """The batch as the partner got it (capability `deliver`)."""
        return None

    def received(self, batch: str) -> Sequence[SourceRecord] | None:
        """The rows of a batch as the partner has them; None where it keeps parts, not rows."""
        return None

    def effects(self, batch: str) -> int:
        """How often the batch had an effect at the partner."""
        return 0

    def everything(self) -> Collection[str] | None:
        """The ids of all batches that had an effect at the partner; None where it cannot tell."""
        return None

    def written(self, batch: str) -> Sequence[str] | None:
        """The names of a batch's files in the order in which the partner could see them; None where it sees no files."""
        return None

    # --- what goes wrong ---

    def lose_replies(self) -> bool | None:
        """From now on batches arrive and their replies are lost."""
        return False

    def redirect(self) -> bool:
        """From now on the partner points elsewhere; False when such a line cannot be redirected."""
        return False

    def followed(self) -> bool:
        """Whether anybody came to where it pointed."""
        return False

    def dawdle(self, seconds: float) -> None:
        """From now on the partner takes so long."""

    def refuse(self) -> bool:
        """From now on the partner answers with a fault of its own (5xx, a broken database)."""
        return False

    def break_off(self) -> bool:
        """From now on a transfer ends in its middle."""
        return False

    def fail_to_keep(self) -> bool:
        """From now on the partner takes everything and fails at the last step, when it would keep it."""
        return False

    def heal(self) -> bool:
        """From now on all is well again; what half arrived lies there still."""
        return False

    def hurried(self) -> PartnerAdapter | None:
        """An adapter that waits half a second at most for the partner; None where its settings have no such bound."""
        return None

    # --- what comes back ---

    def reply_about(self, codes: Sequence[tuple[str, str]]) -> tuple[bytes, Sequence[RowResult]]:
        """A reply of the partner about rows (place, code), and what it must be read as (capability `reply`).

        The codes are 00 accepted, 01 unchanged, 10 rejected, 77 a code that nobody knows; in the partner's own words.
        """
        raise NotImplementedError

    def write_back(self, batch: str, codes: Sequence[tuple[str, str]]) -> bool:
        """Some time after a delivery the partner writes back about rows of it, as in `reply_about` (capability `feedback`)."""
        return False

    def offer(self, batches: Sequence[SealedBatch]) -> None:
        """These batches lie ready on the line (capability `collect`), besides those that were offered before."""
        raise NotImplementedError

    def answer_with(self, answer: bytes) -> None:
        """What the partner answers to a question (capability `ask`)."""
        raise NotImplementedError

    def asked(self) -> Sequence[bytes] | None:
        """The questions that reached the partner, as they came (capability `ask`)."""
        return None

    def answer_later(self, question: str, answer: bytes) -> bool:
        """The partner has this answer now to a question that it could not answer at once (capability `later`)."""
        return False

    def heard(self) -> Sequence[bytes] | None:
        """The signed documents that the partner was told, in their order (capability `tell`)."""
        return None

    def keep(self, version: str, state: str, document: bytes) -> bool:
        """The partner keeps a version of an agreement, `id/version`, for us in this state (capability `hear`)."""
        return False

    def publish_keys(self, document: bytes) -> bool:
        """The partner's keys document is this one (capability `keys`)."""
        return False

    def leave_receipt(self, stream: str, no: int, receipt: bytes, feedback: bytes) -> bool:
        """The partner leaves a receipt for a stream of ours, to be looked for (capability `receipts`)."""
        return False

    def acknowledged(self, stream: str, no: int) -> tuple[bytes, bytes] | None:
        """Receipt and feedback that the partner was brought (capability `acknowledge`)."""
        return None

    def asked_anew(self, stream: str) -> str | None:
        """Why the partner was asked for a new epoch of a stream (capability `resync`)."""
        return None


def _numbered(row: Row, number: int) -> Row:
    """A row of its own for each batch."""
    return msgspec.structs.replace(row, rid=f"{row.rid}-{number}")
