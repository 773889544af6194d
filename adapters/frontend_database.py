"""Adapter `frontend_database`: the province's exchange database (前置库), for rows out, answers back, and as a source of rows.

One table a dataset; a part is written in one transaction, each row once: (RECID, REC_V) with the same ROW_DIGEST is there already, with
another it is an error. Rows are never updated or deleted; a withdrawal is a row of its own. The other side writes what became of each row
beside it (FK_…), and its counts of a day into the reconciliation table.

As a source it reads in order of (SJC, RECID, REC_V), looks back some minutes for rows that were committed late, and drops what it has seen.
It retries nothing, changes nothing that it reads, and tells no value.
"""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any, ClassVar, NoReturn

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from adapters.frontend_database_format import (
    AnsweredRow,
    Answers,
    FrontendConfig,
    PartRow,
    TableSettings,
    decode_part,
    encode_rows,
    read_answers,
    read_part,
    record_of,
)
from adapters.frontend_database_tables import LOCAL, Database, FoundTable, as_instant, as_text, at_row, insert_new
from adapters.frontend_database_walk import Mark, Walk, open_cursor, write_cursor
from gateway.adapter_contract import (
    CONTRACT_VERSION,
    AdapterError,
    Counts,
    Diagnostic,
    IncomingBatch,
    Instant,
    LateReply,
    Page,
    Row,
    RowResult,
    SealedBatch,
    SourceRecord,
    Tools,
)

__all__ = ["FrontendConfig", "FrontendDatabase"]

ANSWERS_A_REPLY = 500
MOST_SKEW = timedelta(minutes=5)


class FrontendDatabase:
    """A front-end database, to write to and to read from."""

    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: frozenset[str] = frozenset(
        {"encode", "decode", "deliver", "reply", "feedback", "counts", "idempotent", "withdrawals", "resume", "report"}
    )
    Config: ClassVar[type[Struct]] = FrontendConfig

    def __init__(self, config: FrontendConfig, tools: Tools | None) -> None:
        self._config = config
        self._database = Database(config)
        self._inserts: dict[str, sa.Insert] = {}
        if config.profile == "plain":
            self.capabilities = type(self).capabilities - {"withdrawals"}

    # --- formats ------------------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Rows as they will stand in their tables. Raises AdapterError for what a table cannot hold."""
        return encode_rows(rows, self._config)

    def decode(self, part: bytes) -> Sequence[SourceRecord]:
        """The records of one part. Raises AdapterError."""
        return decode_part(part, self._config)

    def read_reply(self, reply: bytes) -> Sequence[RowResult]:
        """What was written back about each row. Raises AdapterError."""
        return read_answers(reply, self._config)

    # --- out ----------------------------------------------------------------------------------------------------------

    async def deliver(self, sealed: SealedBatch) -> bytes | None:
        """Write the rows of a batch in one transaction, and give what is written back about them already."""
        rows = [row for part in sealed.parts for row in read_part(b"".join(part.read())).rows]
        created = _created(sealed.manifest)
        answers = await self._database.run(self._deliver, rows, sealed.batch, created, writes=True)
        return msgspec.json.encode(Answers(rows=tuple(answers)))

    def _deliver(self, connection: sa.Connection, rows: Sequence[PartRow], batch: str, created: datetime) -> list[AnsweredRow]:
        tables = {name: self._database.table(connection, self._settings(name).name) for name in {row.dataset for row in rows}}
        for number, row in enumerate(rows, 1):
            self._write(connection, tables[row.dataset], row, number, batch, created)
        for dataset, found in sorted(tables.items()):
            self._count_sent(connection, dataset, found, created.astimezone(LOCAL).date())
        return self._answers_to(connection, rows, tables)

    def _write(self, connection: sa.Connection, found: FoundTable, row: PartRow, number: int, batch: str, created: datetime) -> None:
        names, settings = self._config.names, self._settings(row.dataset)
        values: dict[str, object] = {names.recid: row.recid, **row.values, names.dfbm: self._config.dfbm, names.sjc: created}
        values[names.syfw] = self._scope(settings)
        if self._config.profile == "exchange":
            values |= {names.rec_v: row.rec_v, names.op: row.op, names.batch: batch, names.digest: row.digest}
            if names.reason in found:
                values[names.reason] = row.reason
        place = f"{settings.name}!{number}"
        with at_row(place):
            bound = found.bound(values)
            key = self._key(found, row.recid, row.rec_v)
            lies = not found.unique_on(self._key_names()) and connection.execute(sa.select(sa.literal(1)).where(*key).limit(1)).first()
            if not lies:
                statement = self._inserts.get(row.dataset)
                if statement is None:  # made once: making it costs more than running it
                    statement = self._inserts[row.dataset] = insert_new(found.table, bound, connection.dialect.name)
                if connection.execute(statement, bound).rowcount:
                    return
            if self._config.profile == "exchange":
                there = (connection.execute(sa.select(found[names.digest]).where(*key))).scalar()
                same = there is not None and str(there).strip() == row.digest
            else:
                columns = [found[column] for column in row.values]
                kept = (connection.execute(sa.select(*columns).where(*key))).first()
                same = kept is not None and [as_text(value) for value in kept] == list(row.values.values())
        if not same:
            raise AdapterError("DUP_KEY", "同一编号和版本已有另一内容", transient=False, place=place)

    def _key(self, found: FoundTable, recid: str, rec_v: int | None) -> list[Any]:
        names = self._config.names
        key = [found[names.recid] == recid]
        return [*key, found[names.rec_v] == rec_v] if self._config.profile == "exchange" else key

    def _key_names(self) -> tuple[str, ...]:
        names = self._config.names
        return (names.recid, names.rec_v) if self._config.profile == "exchange" else (names.recid,)

    def _count_sent(self, connection: sa.Connection, dataset: str, found: FoundTable, day: date) -> None:
        """Our own line of the day in the reconciliation table, as the rows stand now."""
        if self._config.profile == "plain" or self._config.reconciliation is None:
            return
        table = self._database.find(connection, self._config.reconciliation)
        if table is None:
            return
        rows, digest = self._tally(connection, found, day)
        key = (table["DAY"] == _bound_day(table, day), table["DATASET"] == dataset, table["SIDE"] == "sent")
        with at_row(f"{self._config.reconciliation}!{dataset}"):
            values = table.bound({"DAY": day.isoformat(), "DATASET": dataset, "SIDE": "sent", "ROWS_N": rows, "ROWS_DIGEST": digest})
            if not connection.execute(insert_new(table.table, values, connection.dialect.name), values).rowcount:
                connection.execute(sa.update(table.table).where(*key).values(table.bound({"ROWS_N": rows, "ROWS_DIGEST": digest})))

    def _tally(self, connection: sa.Connection, found: FoundTable, day: date) -> tuple[int, str | None]:
        """Number of a day's rows, and SHA-256 over their sorted lines."""
        names, sjc = self._config.names, found[self._config.names.sjc]
        first = datetime.combine(day, time(), LOCAL)
        since, until = (found.bound({names.sjc: moment})[sjc.name] for moment in (first, first + timedelta(days=1)))
        within = (sjc >= since, sjc < until)
        if self._config.profile == "plain":
            return int((connection.execute(sa.select(sa.func.count()).select_from(found.table).where(*within))).scalar_one()), None
        columns = (found[names.recid], found[names.rec_v], found[names.digest])
        told_rows = (connection.execute(sa.select(*columns).where(*within))).all()
        lines = sorted(f"{recid}|{rec_v}|{str(digest or '').strip()}\n" for recid, rec_v, digest in told_rows)
        return len(lines), sha256("".join(lines).encode()).hexdigest()

    # --- what is written back -----------------------------------------------------------------------------------------

    def _answers_to(self, connection: sa.Connection, rows: Sequence[PartRow], tables: dict[str, FoundTable]) -> list[AnsweredRow]:
        found: list[AnsweredRow] = []
        for dataset, table in sorted(tables.items()):
            wanted = {(row.recid, row.rec_v) for row in rows if row.dataset == dataset}
            columns = self._answer_columns(table)
            if columns is None:
                continue
            recid, status = table[self._config.names.recid], table[self._config.names.status]
            ids = sorted({each for each, _ in wanted})
            for at in range(0, len(ids), 200):
                chosen = sa.select(*columns).where(recid.in_(ids[at : at + 200]), status.is_not(None))
                for row in (connection.execute(chosen)).all():
                    answer = _answered(self._settings(dataset).name, row)
                    if answer.status and ((answer.recid, answer.rec_v) in wanted or answer.rec_v is None):
                        found.append(answer)
        return found

    def _answer_columns(self, table: FoundTable) -> "list[Any] | None":
        names = self._config.names
        if names.status not in table:
            return None
        wanted = (names.recid, names.rec_v, names.status, names.code, names.text, names.partner_id, names.answered)
        return [table[name] if name in table else sa.null() for name in wanted]

    async def feedback(self, after: str | None) -> AsyncIterator[LateReply]:
        """What was written back after a cursor, in the order of its time; what was committed late is looked for some minutes back."""
        cursor = open_cursor(after, self._config.tables)
        failed: AdapterError | None = None
        for dataset, settings in sorted(self._config.tables.items()):
            try:
                while True:
                    rows, mark = await self._database.run(self._next_answers, settings, cursor.get(dataset))
                    if not rows or mark is None:
                        break
                    cursor[dataset] = mark
                    answers = tuple(each for each in (_answered(settings.name, row) for row in rows) if each.status)
                    yield LateReply(cursor=write_cursor(cursor), data=msgspec.json.encode(Answers(rows=answers)))
            except AdapterError as error:
                failed = _of_its_table(error, failed)
        if failed is not None:
            raise failed

    def _next_answers(self, connection: sa.Connection, settings: TableSettings, mark: Mark | None) -> tuple[list[Any], Mark | None]:
        names = self._config.names
        table = self._database.table(connection, settings.name)
        columns = self._answer_columns(table)
        if columns is None or names.answered not in table:
            return [], mark
        walk = Walk(
            columns=columns,
            order=(table[names.answered], table[names.recid], *self._versions(table)),
            where=(table[names.status].is_not(None), *self._placed(table, names.answered)),
            said=lambda row: row[2:6],
            tidied=True,
            overlap=timedelta(seconds=self._config.overlap_s),
            page=min(self._config.page_rows, ANSWERS_A_REPLY),
        )
        return walk.next(connection, mark)

    def _placed(self, table: FoundTable, time_column: str) -> list[sa.ColumnElement[bool]]:
        """That a row has a place in the order: time, id and version."""
        ordered = (table[time_column], table[self._config.names.recid], *self._versions(table))
        return [column.is_not(None) for column in ordered]

    def _versions(self, table: FoundTable) -> tuple[Any, ...]:
        return (table[self._config.names.rec_v],) if self._config.profile == "exchange" else ()

    # --- as a source --------------------------------------------------------------------------------------------------

    async def pull(self, since: str | None) -> AsyncIterator[Page]:
        """Pages of rows after a cursor, table by table in order of their datasets."""
        cursor = open_cursor(since, self._config.tables)
        last: Page | None = None
        failed: AdapterError | None = None
        for dataset, settings in sorted(self._config.tables.items()):
            try:
                while True:
                    rows, mark = await self._database.run(self._next_rows, settings, cursor.get(dataset))
                    if not rows or mark is None:
                        break
                    cursor[dataset] = mark
                    if last is not None:
                        yield msgspec.structs.replace(last, more=True)
                    last = self._page(dataset, settings, rows, write_cursor(cursor))
            except AdapterError as error:
                failed = _of_its_table(error, failed)
        if last is not None:  # whoever asks for more is told what is wrong
            yield msgspec.structs.replace(last, more=failed is not None)
        if failed is not None:
            raise failed
        if last is None:
            yield Page(records=(), cursor=write_cursor(cursor), more=False)

    def _next_rows(self, connection: sa.Connection, settings: TableSettings, mark: Mark | None) -> tuple[list[Any], Mark | None]:
        table = self._database.table(connection, settings.name)
        names, exchange = self._config.names, self._config.profile == "exchange"
        beside = [names.recid, names.sjc, *((names.rec_v, names.op, names.reason) if exchange else ())]
        columns = [table[name] if name in table or name != names.reason else sa.null() for name in beside]
        columns += [sa.null()] * (5 - len(columns)) + [table[settings.column(wire)] for wire in settings.fields]
        walk = Walk(
            columns=columns,
            order=(table[names.sjc], table[names.recid], *self._versions(table)),
            where=self._placed(table, names.sjc),
            said=lambda row: tuple(row[3:]),
            overlap=timedelta(seconds=self._config.overlap_s),
            page=self._config.page_rows,
        )
        return walk.next(connection, mark)

    def _page(self, dataset: str, settings: TableSettings, rows: Sequence[Any], cursor: str) -> Page:
        records: list[SourceRecord] = []
        unreadable: list[RowResult] = []
        for row in rows:
            recid, sjc, rec_v, op, reason, *values = row
            place = f"{settings.name}!{recid}:{rec_v}" if rec_v is not None else f"{settings.name}!{recid}"
            at = as_instant(sjc)
            said = str(op).strip() if op is not None else "upsert" if self._config.profile == "plain" else ""
            if said not in ("upsert", "withdraw", "erase") or at is None or not isinstance(recid, str):
                unreadable.append(RowResult(place=place, record_id=None, result="rejected", code="SCHEMA_ENUM", message="OP 或时间不可读"))
                continue
            texts = {settings.column(wire): as_text(value) for wire, value in zip(settings.fields, values, strict=True)}
            reason_text = str(reason).strip() if reason is not None else None
            records.append(
                record_of(
                    dataset, settings, recid=recid, rec_v=rec_v, op=said, reason=reason_text, at=at, values=texts, place=place  # type: ignore[arg-type]
                )
            )  # fmt: skip
        return Page(records=tuple(records), unreadable=tuple(unreadable), cursor=cursor, more=False)

    async def report(self, cursor: str, results: Sequence[RowResult]) -> None:
        """Write beside each row of the source what became of it, in the partner's words."""
        await self._database.run(self._report, results, writes=True)

    def _report(self, connection: sa.Connection, results: Sequence[RowResult]) -> None:
        words = {result: status for status, result in reversed(list(self._config.results.items()))}
        names = self._config.names
        by_table = {settings.name: dataset for dataset, settings in self._config.tables.items()}
        for result in results:
            name, _, rest = result.place.partition("!")
            recid, _, rec_v = rest.rpartition(":") if self._config.profile == "exchange" else (rest, "", "")
            if name not in by_table or (rec_v and not rec_v.isdigit()):
                continue
            table = self._database.table(connection, name)
            if names.status not in table:
                continue
            values = {
                names.status: words.get(result.result, result.result)[:8],
                names.answered: datetime.now(UTC),
                names.code: result.code[:32] if result.code else None,
            }
            with at_row(result.place):
                where = self._key(table, recid, int(rec_v) if rec_v else None)
                known = {name: value for name, value in values.items() if name in table}
                connection.execute(sa.update(table.table).where(*where).values(table.bound(known)))

    # --- both ---------------------------------------------------------------------------------------------------------

    async def counts(self, day: date) -> Sequence[Counts]:
        """What stands in the tables of a day, and what the other side says of it in the reconciliation table."""
        return await self._database.run(self._counts, day)

    def _counts(self, connection: sa.Connection, day: date) -> list[Counts]:
        found: list[Counts] = []
        for dataset, settings in sorted(self._config.tables.items()):
            try:
                table = self._database.table(connection, settings.name)
                rows, digest = self._tally(connection, table, day)
            except AdapterError as error:
                _of_its_table(error, None)  # nothing to count there: `check` and every delivery say why
                continue
            found.append(Counts(dataset=dataset, day=day, rows=rows, digest=digest, side="sent"))
        name = self._config.reconciliation
        theirs = self._database.find(connection, name) if name is not None else None
        if theirs is not None:
            columns = (theirs["DATASET"], theirs["ROWS_N"], theirs["ROWS_DIGEST"])
            chosen = sa.select(*columns).where(theirs["DAY"] == _bound_day(theirs, day), theirs["SIDE"] == "recv")
            for dataset, rows, digest in (connection.execute(chosen)).all():
                said = str(digest).strip() if digest else None
                found.append(Counts(dataset=str(dataset).strip(), day=day, rows=int(rows), digest=said))
        return found

    async def check(self) -> Sequence[Diagnostic]:
        """Whether the database answers, has our tables and columns, and has about our time; never raises."""
        try:
            return await self._database.run(self._looked)
        except AdapterError as error:
            return [Diagnostic(what="连接", ok=False, message=error.message, remedy="检查数据库地址、账号和网络，然后再试")]
        except Exception as error:  # noqa: BLE001  # a check tells; it never raises
            return [Diagnostic(what="连接", ok=False, message=f"检查出错：{type(error).__name__}", remedy="检查配置")]

    def _looked(self, connection: sa.Connection) -> list[Diagnostic]:
        return list(self._findings(connection))

    def _findings(self, connection: sa.Connection) -> Iterator[Diagnostic]:
        yield Diagnostic(what="连接", ok=True, message="可以连接")
        theirs = as_instant((connection.execute(sa.select(sa.func.current_timestamp()))).scalar())
        if connection.dialect.name == "postgresql" and theirs is not None and abs(datetime.now(UTC) - theirs) > MOST_SKEW:
            yield Diagnostic(what="时钟", ok=False, message="数据库的时间与本机相差五分钟以上", remedy="检查两边的时间同步")
        names = self._config.names
        control = [names.recid, names.dfbm, names.sjc, names.syfw]
        if self._config.profile == "exchange":
            control += [names.rec_v, names.op, names.batch, names.digest, names.status, names.answered]
        for _, settings in sorted(self._config.tables.items()):
            found = self._database.find(connection, settings.name)
            if found is None:
                yield Diagnostic(what="表", ok=False, message=f"没有表 {settings.name}", remedy="请对方建表，或更正配置")
                continue
            missing = [name for name in (*control, *map(settings.column, settings.fields)) if name not in found]
            if missing:
                said = f"表 {settings.name} 缺少列 {', '.join(missing)}"
                yield Diagnostic(what="列", ok=False, message=said, remedy="请对方补列，或更正配置")
            else:
                yield Diagnostic(what="表", ok=True, message=f"表 {settings.name} 的列齐全")
                if not found.unique_on(self._key_names()):
                    said = f"表 {settings.name} 没有 {', '.join(self._key_names())} 的主键，同时投递时可能重复"
                    yield Diagnostic(what="表", ok=False, message=said, remedy="请对方建立主键")
                yield from self._timeless(connection, settings, found)
            if settings.scope not in self._config.scopes:
                yield Diagnostic(what="范围", ok=False, message=f"没有范围 {settings.scope} 的对照", remedy="在 scopes 中写明")
        name = self._config.reconciliation
        if name is not None and self._config.profile == "exchange" and self._database.find(connection, name) is None:
            yield Diagnostic(what="对账", ok=False, message=f"没有对账表 {name}", remedy="请对方建表，或把 reconciliation 留空")

    def _timeless(self, connection: sa.Connection, settings: TableSettings, found: FoundTable) -> Iterator[Diagnostic]:
        """Rows and answers without a time, id or version stand in no order, so nobody reads them: a person is told how many there are."""
        names = self._config.names
        kinds: list[tuple[str, str, tuple[sa.ColumnElement[bool], ...]]] = [("行", names.sjc, ())]
        if names.status in found and names.answered in found:
            kinds.append(("反馈", names.answered, (found[names.status].is_not(None),)))
        for what, time_column, where in kinds:
            for column in (time_column, *(self._key_names() if what == "行" else ())):
                missing = sa.select(sa.func.count()).select_from(found.table).where(found[column].is_(None), *where)
                number = connection.execute(missing).scalar_one()
                if number:
                    said = f"表 {settings.name} 有 {number} 条{what}没有 {column}，不会被读取"
                    yield Diagnostic(what="时间列", ok=False, message=said, remedy=f"请对方补填 {column}")

    async def close(self) -> None:
        """Let go of the database; twice is harmless."""
        await self._database.close()

    def collect(self, after: str | None) -> AsyncIterator[IncomingBatch]:
        """Not this line's: it carries no signed batches. Raises AdapterError."""
        _never()

    async def ask(self, question: bytes, deadline: Instant) -> bytes:
        """Not this line's. Raises AdapterError."""
        _never()

    # --- small things -------------------------------------------------------------------------------------------------

    def _settings(self, dataset: str) -> TableSettings:
        settings = self._config.tables.get(dataset)
        if settings is None:
            raise AdapterError("SCOPE_AGREEMENT", "配置中没有该数据集的表", transient=False)
        return settings

    def _scope(self, settings: TableSettings) -> str:
        word = self._config.scopes.get(settings.scope)
        if word is None:
            raise AdapterError("CONFIG", "没有使用范围的对照 (scopes)", transient=False)
        return word


def _answered(table: str, row: Any) -> AnsweredRow:
    recid, rec_v, status, code, text, partner_id, at = row
    return AnsweredRow(
        table=table,
        recid=str(recid),
        rec_v=int(rec_v) if rec_v is not None else None,
        status=str(status).strip(),
        code=_word(code),
        text=_word(text),
        partner_id=_word(partner_id),
        at=as_instant(at),
    )


def _of_its_table(error: AdapterError, before: AdapterError | None) -> AdapterError:
    """The first fault of several tables: what is wrong with one stops no other.

    Raises AdapterError when it is no table's own.
    """
    if error.transient or not (error.code.startswith("SCHEMA_") or error.code == "CURSOR_UNKNOWN"):
        raise error
    return before or error


def _word(value: object) -> str | None:
    return (str(value).strip() or None) if value is not None else None


def _bound_day(table: FoundTable, day: date) -> object:
    return table.bound({"DAY": day.isoformat()})[table["DAY"].name]


def _created(manifest: bytes) -> datetime:
    """When the batch was sealed: the time of its rows."""
    try:
        created = datetime.fromisoformat(json.loads(manifest)["created"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AdapterError("SCHEMA_MANIFEST", "批次清单不可读", transient=False) from error
    if created.tzinfo is None:
        raise AdapterError("SCHEMA_MANIFEST", "批次清单的时间没有时区", transient=False)
    return created


def _never() -> NoReturn:
    raise AdapterError("CONFIG", "此线路没有该功能", transient=False)
