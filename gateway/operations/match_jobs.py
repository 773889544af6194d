"""Match a whole file with the register: taken in, worked on behind the answers, given out for a day (api.md §7.6).

Rules: whoever sends a job is answered as everybody is: it runs for longer than a credential is believed, so it may not stand under one. A
job belongs to the app that sent it; an anonymous one to whoever holds its id. Nothing of a file stands in clear; the upload is erased
with the end of the work, the result a day later. A worker begins a job anew when another died over it: there is no half result. What is
matched, and how, is the business of `match_names`.
"""

import asyncio
import csv
import io
import secrets
from base64 import b32encode
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, structs

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import BodyInvalid, BodyTooLarge, Conflict, ErrorItem, GatewayError, JobExpired, NotFound, StoreError
from gateway.core.publication.columns import Column
from gateway.core.publication.flat import BOM
from gateway.core.publication.labels import label
from gateway.core.publication.matching import DEFAULT_THRESHOLD, LOWEST
from gateway.operations.answering import begin
from gateway.operations.asking import Language
from gateway.operations.match_names import Outcome, Question, most_queries, outcomes
from gateway.operations.read_table import Cell, Table
from gateway.operations.table_files import About, XlsxFile, file_of
from gateway.services import Services
from gateway.store import match_jobs
from gateway.store.match_jobs import State, Work, digest_of
from gateway.store.suites import NONCE

MOST_ROWS: Final = 100_000
MOST_ROWS_PUBLIC: Final = 1000
MOST_CHARACTERS_PUBLIC: Final = 1_000_000
CHARACTERS_A_ROW: Final = 1000
MOST_OPEN: Final = 2
"""Jobs that one app may have waiting or running."""
STEP: Final = 20
"""Queries that are looked at together: between two steps requests are answered."""
TELL_EVERY: Final = 200
"""Rows after which it is written down how far a job is."""
ADDED: Final = ("match_status", "match_uscc", "match_name", "match_score", "match_reason")
ResultFormat = Literal["csv", "xlsx", "ndjson"]

_Name = Annotated[str, Meta(min_length=1, max_length=200)]


class ColumnMapping(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which column of the file says what."""

    name: _Name | None = None
    uscc: _Name | None = None
    registration_number: _Name | None = None
    address: _Name | None = None
    region: _Name | None = None


class JobAsked(Struct, frozen=True, kw_only=True):
    """How a file is matched."""

    mapping: ColumnMapping
    threshold: Annotated[float, Meta(ge=LOWEST, le=1)] = DEFAULT_THRESHOLD
    language: Language = "zh-CN"
    form: ResultFormat = "csv"
    """In which the file came; what was found is offered in the same."""
    marked: bool = False
    """Whether its text began with the mark of UTF-8, or was GB18030: without that mark Excel would not read what comes back, which is UTF-8
    always, as it read what was sent."""


class Job(Struct, frozen=True, kw_only=True):
    """What is told of a job."""

    id: str
    state: State
    rows: int
    done: int
    form: ResultFormat


class _Result(Struct, frozen=True):
    columns: list[str]
    rows: list[list[Cell]]
    dataset_version: str
    policy_version: int
    marked: bool = False


_OTHER_SEPARATORS: Final = frozenset(";；，\t|")
_PACK: Final = msgspec.msgpack.Encoder()
_TABLE: Final = msgspec.msgpack.Decoder(Table)
_RESULT: Final = msgspec.msgpack.Decoder(_Result)
_ASKED: Final = msgspec.json.Decoder(JobAsked)
_JSON: Final = msgspec.json.Encoder()


def most_rows(caller: Caller) -> int:
    """How many rows a file of this caller may have.

    Raises NotPermitted for who asks about itself alone.
    """
    most_queries(caller)
    return MOST_ROWS_PUBLIC if caller.tier == "public" else MOST_ROWS


def charged_rows(caller: Caller, table: Table) -> int:
    """How many rows a file is priced as: its own, or a row for every thousand characters, for what is kept of it is its text.

    Raises BodyTooLarge for more text than a caller without a credential may leave here.
    """
    characters = sum(len(cell) for row in table.rows for cell in row if isinstance(cell, str))
    if caller.tier == "public" and characters > MOST_CHARACTERS_PUBLIC:
        raise BodyTooLarge
    return max(len(table.rows), -(-characters // CHARACTERS_A_ROW))


def check(table: Table, mapping: ColumnMapping) -> None:
    """Whether a mapping fits a table.

    Raises BodyInvalid with the place.
    """
    named = {field: column for field, column in _named(mapping).items() if column is not None}
    if not any(field != "region" for field in named):
        raise _invalid("/mapping", "至少要有 name、uscc、registration_number、address 之一")
    for field, column in named.items():
        if column not in table.columns:
            raise _invalid(
                f"/mapping/{field}",
                "文件中没有这一列；表头只有一列，请用英文逗号分隔"
                if len(table.columns) == 1 and not _OTHER_SEPARATORS.isdisjoint(table.columns[0])
                else "文件中没有这一列",
            )
    if not set(ADDED).isdisjoint(table.columns):
        raise _invalid("/file", "列名不得与结果列相同")


async def submit(services: Services, caller: Caller, table: Table, asked: JobAsked) -> Job:
    """Keep a file for the workers.

    Raises Conflict while two jobs of this app have not ended.
    """
    owner = _owner(caller)
    if owner and await match_jobs.waiting_of(services.store.reads, owner) >= MOST_OPEN:
        raise Conflict("已有两个任务未结束；请等它们结束，或先取消一个。")
    job = f"job_{_base32(services.random(16))}"
    digest = digest_of(job)
    upload = await asyncio.to_thread(_sealed, services, digest, "upload", table)
    async with services.store.transaction() as tx:
        await match_jobs.expire(tx, services.clock())
        await match_jobs.add(tx, digest, services.clock(), owner=owner, rows=len(table.rows), asked=_JSON.encode(asked), upload=upload)
    return Job(id=job, state="queued", rows=len(table.rows), done=0, form=asked.form)


async def show(services: Services, caller: Caller, job: str) -> Job:
    """How far a job is.

    Raises NotFound for another's too, JobExpired.
    """
    row = await match_jobs.shown(services.store.reads, digest_of(job))
    if row is None or row.owner != _owner(caller):
        raise NotFound
    if row.state == "expired":
        raise JobExpired(next_url=f"{services.settings.public_origin.rstrip('/')}/v1/match-jobs")
    return Job(id=job, state=row.state, rows=row.rows, done=row.done, form=_ASKED.decode(row.asked).form)


async def cancel(services: Services, caller: Caller, job: str) -> Job:
    """End a job and erase what it holds.

    Raises as `show` does.
    """
    shown = await show(services, caller, job)
    async with services.store.transaction() as tx:
        await match_jobs.cancel(tx, digest_of(job))
    return structs.replace(shown, state="cancelled")


async def result(services: Services, caller: Caller, job: str, form: ResultFormat) -> bytes:
    """The file with what was found beside each row.

    Raises NotFound while there is none, JobExpired.
    """
    await show(services, caller, job)
    digest = digest_of(job)
    row = await match_jobs.result_of(services.store.reads, digest)
    if row is None or row.result is None:
        raise NotFound
    body = await asyncio.to_thread(match_jobs.opened, services.store, digest, "result", bytes(row.result))
    found = await asyncio.to_thread(_RESULT.decode, body)
    if form == "xlsx":
        return await _xlsx(services, found)
    return await asyncio.to_thread(_csv if form == "csv" else _ndjson, found)


def state_label(state: str, language: Language) -> str:
    """The word for a state."""
    return label("job_state", state, language) or state


# --- the work ----------------------------------------------------------------------------------------------------------


async def work(services: Services) -> bool:
    """One job to its end, if one waits; whether there was one.

    Raises GatewayError where it must be tried again: the job waits for the next round.
    """
    now = services.clock()
    if not await match_jobs.anything(services.store.reads, now):
        return False
    async with services.store.transaction() as tx:
        await match_jobs.expire(tx, now)
        taken = await match_jobs.take(tx, secrets.token_hex(16), now)
    if taken is None:
        return False
    try:
        found = await _matched(services, taken)
        if found is not None:
            sealed = await asyncio.to_thread(_sealed, services, taken.digest, "result", found)
            async with services.store.transaction() as tx:
                await match_jobs.finish(tx, taken, services.clock(), state="done", done=taken.rows, result=sealed)
    except (GatewayError, asyncio.CancelledError):
        with suppress(StoreError):  # then the lease ends it
            async with services.store.transaction() as tx:
                await match_jobs.give_back(tx, taken)
        raise
    except Exception:
        async with services.store.transaction() as tx:
            await match_jobs.finish(tx, taken, services.clock(), state="failed", done=0, result=None)
        raise
    return True


async def dates(services: Services) -> list[str | None]:
    """The moments from which `work` finds something to do though nothing was committed."""
    return await match_jobs.next_dates(services.store.reads)


async def _matched(services: Services, taken: Work) -> _Result | None:
    """All rows with what was found; None: the turn was lost, or the job was ended meanwhile."""
    body = await asyncio.to_thread(match_jobs.opened, services.store, taken.digest, "upload", taken.upload)
    table = await asyncio.to_thread(_TABLE.decode, body)
    asked = _ASKED.decode(taken.asked)
    places = {field: table.columns.index(column) for field, column in _named(asked.mapping).items() if column is not None}
    rows: list[list[Cell]] = []
    said = 0
    version, policy = "", 0
    for start in range(0, len(table.rows), STEP):
        scene = await begin(services, PUBLIC, asked.language)
        scene.effort.take_your_time()
        version, policy = scene.head.version, scene.forms.version
        some = table.rows[start : start + STEP]
        questions = [_question(row, places) for row in some]
        fit = [each for each in questions if each is not None]
        found = iter(await outcomes(scene, fit, limit=1, threshold=asked.threshold))
        told = [next(found) if each is not None else Outcome(status="invalid", errors=("length",)) for each in questions]
        rows += [[*row, *_cells(each)] for row, each in zip(some, told, strict=True)]
        await asyncio.sleep(0)
        if len(rows) - said >= TELL_EVERY:
            said = len(rows)
            async with services.store.transaction() as tx:
                if not await match_jobs.go_on(tx, taken, said, services.clock()):
                    return None
    return _Result([*table.columns, *ADDED], rows, version, policy, asked.marked)


def _question(row: list[Cell], places: Mapping[str, int]) -> Question | None:
    """A row as a question; None: a cell is longer than anything that could be asked."""
    said = {field: str(cell).strip() for field, place in places.items() if (cell := row[place]) is not None}
    if region := said.pop("region", ""):
        coded = len(region) == 6 and region.isascii() and region.isdigit() and region[0] != "0"
        said.setdefault("region" if coded else "address", region)
    try:
        return msgspec.convert({field: text for field, text in said.items() if text}, Question)
    except msgspec.ValidationError:
        return None


def _cells(outcome: Outcome) -> list[Cell]:
    """What is told of a row: who is meant where that is sure, else why not; a best guess is named with its score."""
    best = outcome.candidates[0] if outcome.candidates else None
    if best is None:
        return [outcome.status, None, None, None, "|".join(outcome.errors) or None]
    told = {name: getattr(best.features, name) for name in best.features.__struct_fields__}
    said = {name: value for name, value in told.items() if value is not None and value is not False}
    reason = "|".join(name if value is True else f"{name}={value}" for name, value in said.items())
    return [outcome.status, best.document.get("uscc"), best.document.get("name"), best.score, reason or None]


# --- files -------------------------------------------------------------------------------------------------------------


def _text(value: Cell) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _csv(found: _Result) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(found.columns)
    writer.writerows([_text(cell) for cell in row] for row in found.rows)
    return (BOM if found.marked else b"") + out.getvalue().encode()


def _ndjson(found: _Result) -> bytes:
    return b"".join(_JSON.encode(dict(zip(found.columns, row, strict=True))) + b"\n" for row in found.rows)


async def _xlsx(services: Services, found: _Result) -> bytes:
    """Every cell as text, so that a formula stays the text that it is."""
    columns = [Column(name) for name in found.columns]
    about = About(title="match", versions={"dataset_version": found.dataset_version, "policy_version": str(found.policy_version)})

    async def steps() -> AsyncIterator[list[dict[str, str]]]:
        for start in range(0, len(found.rows), 1000):
            some = found.rows[start : start + 1000]
            yield [{name: _text(cell) for name, cell in zip(found.columns, row, strict=True) if cell not in (None, "")} for row in some]

    made = file_of(lambda path: XlsxFile(path, columns, about), lambda rows: rows, steps(), services.settings.data_path, personal=True)
    return b"".join([piece async for piece in made])


# --- shared parts ------------------------------------------------------------------------------------------------------


def _sealed(services: Services, digest: str, what: Literal["upload", "result"], value: Any) -> bytes:
    nonce, suite = secrets.token_bytes(NONCE), services.settings.crypto_suite
    return match_jobs.sealed(services.store, digest, what, _PACK.encode(value), nonce, suite)


def _owner(caller: Caller) -> str:
    return sha256(f"{caller.org or ''}\0{caller.app}".encode()).hexdigest() if caller.app else ""


def _named(mapping: ColumnMapping) -> dict[str, str | None]:
    return {field: getattr(mapping, field) for field in mapping.__struct_fields__}


def _base32(drawn: bytes) -> str:
    return b32encode(drawn).decode().rstrip("=").lower()


def _invalid(pointer: str, detail: str) -> BodyInvalid:
    return BodyInvalid(detail, errors=(ErrorItem("invalid", detail, pointer=pointer),))
