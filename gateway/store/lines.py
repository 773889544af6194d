"""Lines to partners that sign nothing: their approved files, how each stands, and what came back over it, as it came.

Rules: a file is kept as it was proposed, under the digest that was approved; it is approved, superseded and ended, never changed. What a
partner gives is kept sealed, with our signature that we received just these bytes. This room must not read a file's terms with leniency,
nor know what bytes mean.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.exchange.lines import Line, LineTerms, digest_of, read_terms
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import b64
from gateway.store import batch_parts
from gateway.store.dialects import among, one_of
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction, moment, stamp
from gateway.store.tables import changes, line_counts, line_replies, line_sources, line_states, lines
from gateway.store.vault import dek_id_of

_ALL = sa.select(lines).order_by(lines.c.line_id, lines.c.version)
_ONE = sa.select(lines).where(lines.c.line_id == sa.bindparam("line")).order_by(lines.c.version)
_APPROVED = (
    sa.select(lines.c.line_id, lines.c.version, lines.c.digest, lines.c.file, lines.c.ended_at)
    .where(one_of(lines.c.state, "active", "ended"), lines.c.approved_at.is_not(None))
    .order_by(lines.c.line_id, lines.c.version)
)
_STATE = sa.select(line_states).where(line_states.c.line_id == sa.bindparam("line"))
_COUNTS = sa.select(line_counts).where(line_counts.c.day >= sa.bindparam("since")).order_by(line_counts.c.stream, line_counts.c.day)
_REPLIES = (
    sa.select(line_replies)
    .where(line_replies.c.line_id == sa.bindparam("line"), line_replies.c.data.is_not(None))
    .order_by(line_replies.c.no)
)
_OLD_REPLY = (
    sa.select(line_replies.c.no)
    .where(
        line_replies.c.line_id == sa.bindparam("line"),
        line_replies.c.data.is_not(None),
        line_replies.c.received_at < sa.bindparam("before"),
    )
    .limit(1)
)
_LAST_REPLY = sa.select(sa.func.max(line_replies.c.no).label("no")).where(line_replies.c.line_id == sa.bindparam("line"))
_ERASED_AT = (
    sa.select(sa.func.max(changes.c.at).label("at"))
    .select_from(line_sources.join(changes, changes.c.record_id == line_sources.c.record_id))
    .where(line_sources.c.line_id == sa.bindparam("line"), changes.c.op == "erase")
)
_SOURCES = sa.select(line_sources).where(line_sources.c.line_id == sa.bindparam("line"), among(line_sources.c.source_id, "wanted"))

_read: dict[bytes, LineTerms] = {}
"""Files already read: they never change."""


class LineRow(Struct, frozen=True, kw_only=True):
    """One version of a line, whatever its state."""

    version: int
    digest: str
    terms: LineTerms
    state: str
    proposed_at: datetime
    proposed_by: str
    approved_by: str | None
    ended_at: datetime | None


class LineState(Struct, frozen=True, kw_only=True):
    """How a line fares."""

    failures: int = 0
    code: str | None = None
    closed_until: datetime | None = None
    feedback_cursor: str | None = None
    pull_cursor: str | None = None
    reconciled: str | None = None


def _terms(file: bytes) -> LineTerms:
    found = _read.get(file)
    if found is None:
        if len(_read) > 256:
            _read.clear()
        found = _read[file] = read_terms(file)
    return found


def _row(row: Row) -> LineRow:
    return LineRow(
        version=row.version,
        digest=row.digest,
        terms=_terms(bytes(row.file)),
        state=row.state,
        proposed_at=moment(row.proposed_at),
        proposed_by=row.proposed_by,
        approved_by=row.approved_by,
        ended_at=moment(row.ended_at) if row.ended_at else None,
    )


async def everything(source: Source) -> list[LineRow]:
    """Every version of every line."""
    return [_row(row) for row in await source.all(_ALL)]


async def versions(source: Source, line: str) -> list[LineRow]:
    """Every version of one line, in order."""
    return [_row(row) for row in await source.all(_ONE, {"line": line})]


async def approved(source: Source) -> dict[str, Line]:
    """Of each line the version that was approved last, also when it has ended."""
    return {
        row.line_id: Line(
            version=row.version,
            digest=batch_digest(row.digest),
            terms=_terms(bytes(row.file)),
            ended=moment(row.ended_at) if row.ended_at else None,
        )
        for row in await source.all(_APPROVED)
    }


def batch_digest(hexadecimal: str) -> str:
    """A file's digest as manifests spell it."""
    return "sha-256:" + b64(bytes.fromhex(hexadecimal))


async def propose(tx: Transaction, text: bytes, terms: LineTerms, *, by: str) -> tuple[int, str]:
    """Keep a file as the next version of its line; a proposal that was not decided yet gives way. (version, digest)."""
    known = await versions(tx, terms.id)
    version = known[-1].version + 1 if known else 1
    waits = (lines.c.line_id == terms.id, lines.c.state == "proposed")
    await tx.execute(sa.update(lines).where(*waits).values(state="refused", ended_at=tx.now_text, ended_by=by))
    digest = digest_of(text)
    await tx.execute(
        sa.insert(lines).values(
            line_id=terms.id, version=version, digest=digest, file=text, state="proposed", proposed_at=tx.now_text, proposed_by=by
        )
    )
    return version, digest


async def approve(tx: Transaction, line: str, version: int, by: str) -> None:
    """A proposed version takes the place of the one before."""
    before = (lines.c.line_id == line, lines.c.state == "active")
    await tx.execute(sa.update(lines).where(*before).values(state="superseded"))
    this = (lines.c.line_id == line, lines.c.version == version)
    await tx.execute(sa.update(lines).where(*this).values(state="active", approved_at=tx.now_text, approved_by=by))


async def end(tx: Transaction, line: str, by: str) -> None:
    """Nothing new goes over a line any more, and what waits for approval is refused."""
    values = {"ended_at": tx.now_text, "ended_by": by}
    await tx.execute(sa.update(lines).where(lines.c.line_id == line, lines.c.state == "active").values(state="ended", **values))
    await tx.execute(sa.update(lines).where(lines.c.line_id == line, lines.c.state == "proposed").values(state="refused", **values))


# --- how it fares -----------------------------------------------------------------------------------------------------


async def state_of(source: Source, line: str) -> LineState:
    """How a line fares; as new before its first failure."""
    row = await source.one(_STATE, {"line": line})
    if row is None:
        return LineState()
    return LineState(
        failures=row.failures,
        code=row.code,
        closed_until=moment(row.closed_until) if row.closed_until else None,
        feedback_cursor=row.feedback_cursor,
        pull_cursor=row.pull_cursor,
        reconciled=row.reconciled,
    )


async def put_state(tx: Transaction, line: str, **values: Any) -> None:
    """Change some of it."""
    made = {name: stamp(value) if isinstance(value, datetime) else value for name, value in values.items()}
    if await tx.one(_STATE, {"line": line}) is None:
        await tx.execute(sa.insert(line_states).values(**{"line_id": line, "failures": 0, **made}))
    else:
        await tx.execute(sa.update(line_states).where(line_states.c.line_id == line).values(**made))


# --- what came back ---------------------------------------------------------------------------------------------------


async def next_reply_no(source: Source, line: str) -> int:
    """The number of the next thing that is received over a line."""
    row = await source.one(_LAST_REPLY, {"line": line})
    return 1 + (row.no or 0 if row is not None else 0)


async def keep_reply(
    tx: Transaction, line: str, no: int, data: bytes | None, received: SignedDocument, digest: str, *, about: str | None
) -> None:
    """Keep bytes as they came, sealed, with our note about them; without bytes the note alone."""
    sealed = None
    if data is not None:
        dek = await tx.vault.dek(tx, batch_parts.scope_of(line), create=True)
        sealed = tx.vault.seal(dek, "line_replies", "data", f"{line}/{no}", data)
    await tx.execute(
        sa.insert(line_replies).values(
            line_id=line,
            no=no,
            about=about,
            digest=digest,
            note=received.note,
            data=sealed,
            received_at=tx.now_text,
        )
    )


async def replies(source: Source, line: str) -> list[tuple[Row, bytes]]:
    """Everything of which the bytes are still kept, in order."""
    found = []
    for row in await source.all(_REPLIES, {"line": line}):
        dek_id = dek_id_of(row.data)
        dek = (await source.vault.deks_by_id(source, (dek_id,)))[dek_id]
        found.append((row, source.vault.open(dek, "line_replies", "data", f"{row.line_id}/{row.no}", row.data)))
    return found


async def has_old_replies(source: Source, line: str, before: datetime) -> bool:
    """Whether bytes that were received before a moment are still kept."""
    return await source.one(_OLD_REPLY, {"line": line, "before": stamp(before)}) is not None


async def drop_replies(tx: Transaction, line: str, *, before: datetime | None = None) -> int:
    """Forget the bytes received before a moment, or (an erasure) all; digest and note stay. How many."""
    old = line_replies.c.received_at < stamp(before) if before is not None else sa.true()
    kept = (line_replies.c.line_id == line, line_replies.c.data.is_not(None), old)
    result = await tx.execute(sa.update(line_replies).where(*kept).values(data=None))
    tx.shredded = tx.shredded or bool(result.rowcount)
    return int(result.rowcount)


# --- rows of a line inward --------------------------------------------------------------------------------------------


def source_key(source: Source, line: str, source_id: str) -> str:
    """Under what a source's own id stands here: a keyed digest, for it may be an identity number."""
    return source.vault.digest("line-source", f"{line}|{source_id}".encode()).hex()[:64]


async def source_records(source: Source, line: str, keys: Collection[str]) -> dict[str, tuple[str, int | None]]:
    """Key of a source's id → (our record, the source's own version of its last word)."""
    if not keys:
        return {}
    return {row.source_id: (row.record_id, row.version) for row in await source.all(_SOURCES, {"line": line, "wanted": list(keys)})}


async def erased_at(source: Source, line: str) -> datetime | None:
    """When a record that this line brought was erased last; None: none was."""
    row = await source.one(_ERASED_AT, {"line": line})
    return moment(row.at) if row is not None and row.at else None


async def put_sources(tx: Transaction, line: str, became: Collection[tuple[str, str, int | None]]) -> None:
    """(key, record, version) of rows that were taken."""
    await tx.put(
        line_sources,
        ("line_id", "source_id", "record_id", "version"),
        ("line_id", "source_id"),
        [(line, key, record_id, version) for key, record_id, version in became],
    )


# --- reconciliation ---------------------------------------------------------------------------------------------------


async def put_count(tx: Transaction, stream: str, day: str, *, ours: int, theirs: int | None, same_digest: bool | None) -> None:
    """What a comparison of one day came to; the latest counts."""
    await tx.put(
        line_counts,
        ("stream", "day", "ours", "theirs", "same_digest", "compared_at"),
        ("stream", "day"),
        [(stream, day, ours, theirs, same_digest, tx.now_text)],
    )


async def counts_since(source: Source, day: str) -> list[Row]:
    """What was compared since a day, by stream and day."""
    return await source.all(_COUNTS, {"since": day})
