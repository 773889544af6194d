"""Pull rows of a line inward: pages kept as they came and signed as received, then through intake like everything, vouched for by nobody.

Rules:
- What a page brings, its bytes with our note and the line's cursor are committed together; killed anywhere, the next round reads that page
  again and nothing happens twice.
- A row outside the line's datasets, fields, regions or kinds is rejected alone (SCOPE_*), told to the source where it can be.
- Nobody signed for these rows: they change nothing that an authority has said, burden nobody, stand on no list (the gates see to it).
- A withdrawal or erasure names a row by the source's own id: it reaches the record that this very line brought, and no other.
- Of a line that an operator holds, what withdraws takes effect at once; its pages wait, and are read again when the hold is over.
This story must not repair a value.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from gateway.adapter_contract import AdapterError, Page, RowResult, SourceRecord
from gateway.core.errors import RowFault
from gateway.core.exchange.lines import Line, LineDataset
from gateway.core.exchange.wire import MAX_INTEGER
from gateway.core.records.intake import AuthorityInfo, IntakeContext, intake_all
from gateway.core.records.model import Admitted, Dataset, DatasetId, Record, RecordId
from gateway.operations.accept_records import accept_records, redactions
from gateway.operations.lines import LONGEST_CURSOR, guarded, is_sound, keep_received
from gateway.operations.partners import LONGEST_CALL
from gateway.services import Services
from gateway.store import audit, lines, records
from gateway.store.accepting import WITHDRAWALS
from gateway.store.store import Transaction

PAGES_A_ROUND: Final = 50
MOST_ROWS: Final = 10_000
NOTHING_HELD: Final = ""
"""In place of a record: the source took back what it never told, so an older word of it that was committed late says nothing."""
_encode = msgspec.json.Encoder().encode


class Pulled(Struct, frozen=True, kw_only=True):
    """What one round over one line inward came to."""

    pages: int
    taken: Mapping[str, int]
    """Dataset → rows that changed something here."""
    not_taken: Mapping[str, Mapping[str, int]]
    """Dataset → code → rows; `""` for what could not be read."""


class _Round:
    """Numbers of one round."""

    def __init__(self) -> None:
        self.pages = 0
        self.taken: dict[str, int] = {}
        self.not_taken: dict[str, dict[str, int]] = {}

    def add(self, dataset: str, result: RowResult) -> None:
        """Count one row."""
        if result.result in ("rejected", "held"):
            codes = self.not_taken.setdefault(dataset, {})
            codes[result.code or ""] = codes.get(result.code or "", 0) + 1
        elif result.result != "unchanged":
            self.taken[dataset] = self.taken.get(dataset, 0) + 1


async def pull_rows(services: Services, line: Line, carrier: Any, *, only_withdrawals: bool = False) -> Pulled:
    """Take the pages that the source has after the line's cursor, a bounded number a round.

    Raises AdapterError, StoreError.
    """
    done = _Round()
    if only_withdrawals:
        await _look_ahead(services, line, carrier, done)
        return Pulled(pages=0, taken=done.taken, not_taken=done.not_taken)
    while done.pages < PAGES_A_ROUND:
        cursor = (await lines.state_of(services.store.reads, line.id)).pull_cursor
        page = await guarded(_next(carrier, cursor), LONGEST_CALL)
        if page is None or (page.cursor == cursor and not page.records):
            break
        results = await _take(services, line, page, cursor, done)
        done.pages += 1
        if "report" in carrier.capabilities and results:
            await guarded(carrier.report(page.cursor, results), LONGEST_CALL)
        if not page.more:
            break
    return Pulled(pages=done.pages, taken=done.taken, not_taken=done.not_taken)


async def _look_ahead(services: Services, line: Line, carrier: Any, done: _Round) -> None:
    """Of the pages that wait only what withdraws takes effect; the cursor stays."""
    cursor = (await lines.state_of(services.store.reads, line.id)).pull_cursor
    for _ in range(PAGES_A_ROUND):
        page = await guarded(_next(carrier, cursor), LONGEST_CALL)
        if page is None or page.cursor == cursor:
            return
        await _take_back(services, line, page, done)
        if not page.more:
            return
        cursor = page.cursor


async def _take_back(services: Services, line: Line, page: Page, done: _Round) -> None:
    """What a page withdraws or erases of what still stands, in the order of the page: a row that follows one takes nothing back."""
    reads = services.store.reads
    last = {lines.source_key(reads, line.id, each.record_id): each for each in page.records if each.record_id is not None}
    gone = [_Judged(source=each, key=key) for key, each in last.items() if each.op != "upsert"]
    known = await lines.source_records(reads, line.id, [each.key for each in gone if each.key is not None])
    ids = [RecordId(record_id) for record_id, _ in known.values()]
    there = {record.record_id: record for record in await records.load(reads, ids=ids, fields=frozenset())} if ids else {}
    stands = [each for each in gone if each.key in known and _stands(each, there.get(RecordId(known[each.key][0])), known[each.key][1])]
    if not stands:
        return
    async with services.store.transaction() as tx:
        await keep_received(services, tx, line, _encode([page.records, page.unreadable]), about=None)
        for each in stands:
            done.add(each.source.dataset if line.terms.dataset(each.source.dataset) else "", await _withdraw(tx, line, each, known))
        await audit.write(tx, "gateway", "line.take-back", f"line/{line.id}", {"rows": len(stands)})


async def _next(carrier: Any, cursor: str | None) -> Page | None:
    pages = carrier.pull(cursor)
    try:
        async for page in pages:
            if not is_sound(structs.replace(page, records=(), unreadable=()) if isinstance(page, Page) else page, Page):
                raise AdapterError("ADAPTER_FAILED", "适配器给出的不是一页数据", transient=False)
            if len(page.records) + len(page.unreadable) > MOST_ROWS or len(page.cursor) > LONGEST_CURSOR:
                raise AdapterError("ADAPTER_FAILED", "适配器给出的一页过大", transient=False)
            return await asyncio.to_thread(_sound, page)
        return None
    finally:
        closing = getattr(pages, "aclose", None)
        if closing is not None:
            await closing()


def _sound(page: Page) -> Page:
    """The page with its odd rows among what could not be read: a row that the contract does not know stops no other."""
    records = [each for each in page.records if _is_row(each)]
    odd = [RowResult(place=f"#{number}", record_id=None, result="rejected", code="SCHEMA_TYPE")
           for number, each in enumerate(page.records, 1) if not _is_row(each)]  # fmt: skip
    told = [each for each in page.unreadable if is_sound(each, RowResult)]
    odd += [RowResult(place="?", record_id=None, result="rejected", code="SCHEMA_TYPE")] * (len(page.unreadable) - len(told))
    return structs.replace(page, records=tuple(records), unreadable=(*told, *odd))


def _is_row(given: object) -> bool:
    if not is_sound(given, SourceRecord) or not isinstance(given, SourceRecord):
        return False
    return given.version is None or 0 <= given.version <= MAX_INTEGER


class _Judged(Struct, frozen=True, kw_only=True):
    """One row, and what intake says of it."""

    source: SourceRecord
    key: str | None
    admitted: Admitted | None = None
    result: RowResult | None = None


async def _take(services: Services, line: Line, page: Page, cursor: str | None, done: _Round) -> list[RowResult]:
    """Store one page, all of it or nothing."""
    results: list[RowResult] = list(page.unreadable)
    for unreadable in page.unreadable:
        done.add("", unreadable)
    judged = await asyncio.to_thread(_judge, services, line, page)  # long work: others are served meanwhile
    async with services.store.transaction() as tx:
        if (await lines.state_of(tx, line.id)).pull_cursor != cursor:
            return []  # another process has taken it
        if page.records or page.unreadable:
            await keep_received(services, tx, line, _encode([page.records, page.unreadable]), about=None)
        known = await lines.source_records(tx, line.id, [each.key for each in judged if each.key is not None])
        ids = [RecordId(record_id) for record_id, _ in known.values()]
        there = {record.record_id for record in await records.load(tx, ids=ids, fields=frozenset())} if ids else set()
        erased = frozenset(key for key, (record_id, _) in known.items() if record_id != NOTHING_HELD and record_id not in there)
        for run in _runs(judged):
            results += await _store(services, tx, line, run, known, erased, done)
        await lines.put_state(tx, line.id, pull_cursor=page.cursor)
        counted = {"rows": len(page.records), "unreadable": len(page.unreadable)}
        await audit.write(tx, "gateway", "line.pull", f"line/{line.id}", counted)
    return results


def _judge(services: Services, line: Line, page: Page) -> list[_Judged]:
    register = {
        each.uscc: AuthorityInfo(uscc=each.uscc, name=each.name, region=each.region, covers=each.covers)
        for each in services.settings.authorities
    }
    taken = _taken_in(services, line, page.records, register)
    found: list[_Judged] = []
    for source, outcome in zip(page.records, taken, strict=True):
        key = lines.source_key(services.store.reads, line.id, source.record_id) if source.record_id is not None else None
        if source.op != "upsert" and key is not None:
            found.append(_Judged(source=source, key=key))
        elif isinstance(outcome, RowFault):
            told = RowResult(
                place=source.place,
                record_id=source.record_id,
                result="rejected",
                code=outcome.code,
                field=outcome.field,
                version=source.version,
            )
            found.append(_Judged(source=source, key=key, result=told))
        else:
            found.append(_Judged(source=source, key=key, admitted=outcome))
    return found


def _taken_in(
    services: Services, line: Line, sources: Sequence[SourceRecord], register: Mapping[str, AuthorityInfo]
) -> list[Admitted | RowFault]:
    """Rows through intake, those of each dataset together, within what the line may bring."""
    datasets = services.policies.current().catalogue.datasets
    outcomes: dict[int, Admitted | RowFault] = {}
    by_dataset: dict[str, list[int]] = {}
    of_line: dict[str, LineDataset] = {}
    for place, source in enumerate(sources):
        terms = line.terms.dataset(source.dataset)
        if terms is None or DatasetId(source.dataset) not in datasets:
            outcomes[place] = RowFault("SCOPE_AGREEMENT", "此线路不含该数据集")
        elif (stray := next((name for name in source.fields if name not in terms.fields), None)) is not None:
            outcomes[place] = RowFault("SCOPE_FIELD", "此线路不含该字段", field=stray[:64])
        else:
            of_line[source.dataset] = terms
            by_dataset.setdefault(source.dataset, []).append(place)
    for name, places in by_dataset.items():
        context = IntakeContext(
            dataset=datasets[DatasetId(name)],
            authorities=register,
            demo=services.settings.demo,
            now=services.clock(),
            region=services.settings.region,
        )
        for place, outcome in zip(places, intake_all([sources[place] for place in places], context), strict=True):
            outcomes[place] = outcome if isinstance(outcome, RowFault) else _within(outcome, of_line[name])
    return [outcomes[place] for place in range(len(sources))]


def _within(admitted: Admitted, terms: LineDataset) -> Admitted | RowFault:
    if not terms.in_region(admitted.region):
        return RowFault("SCOPE_REGION", "不在此线路的区域内")
    if admitted.op == "upsert" and admitted.kind not in terms.subject_kinds:
        return RowFault("SCOPE_KIND", "此线路不含此类主体")
    return admitted


def _runs(judged: Sequence[_Judged]) -> list[list[_Judged]]:
    """The rows in order, cut where a row has to stand alone or another dataset begins: what one statement of acceptance may take."""
    runs: list[list[_Judged]] = []
    for each in judged:
        alone = each.admitted is None
        if alone or not runs or runs[-1][0].admitted is None or runs[-1][0].source.dataset != each.source.dataset:
            runs.append([each])
        else:
            runs[-1].append(each)
    return runs


async def _store(
    services: Services,
    tx: Transaction,
    line: Line,
    run: Sequence[_Judged],
    known: dict[str, tuple[str, int | None]],
    erased: frozenset[str],
    done: _Round,
) -> list[RowResult]:
    first = run[0]
    name = first.source.dataset if line.terms.dataset(first.source.dataset) is not None else ""
    if first.result is not None:
        done.add(name, first.result)
        return [first.result]
    if first.admitted is None:
        told = await _withdraw(tx, line, first, known)
        done.add(name, told)
        return [told]
    fresh: list[_Judged] = []
    results: list[RowResult] = []
    for each in run:
        version = known[each.key][1] if each.key in known else None
        if version is not None and each.source.version is not None and each.source.version <= version:
            results.append(_told(each, "unchanged", "DUP_SAME"))  # read before
        elif each.key in erased:
            results.append(_told(each, "rejected", "SEQ_ERASED"))
        else:
            fresh.append(each)
            if each.key is not None:  # an older version further down the page is none
                known[each.key] = (known[each.key][0] if each.key in known else NOTHING_HELD, each.source.version)
    if fresh:
        dataset: Dataset = services.policies.current().catalogue.datasets[DatasetId(first.source.dataset)]
        admitted = [each.admitted for each in fresh if each.admitted is not None]
        texts = await asyncio.to_thread(redactions, admitted, dataset)
        outcomes = await accept_records(services, tx, admitted, dataset, actor=f"line/{line.id}", texts=texts)
        became: dict[str, tuple[str, str, int | None]] = {}
        for each, outcome in zip(fresh, outcomes, strict=True):
            results.append(_told(each, outcome.result, outcome.code, outcome.field))
            if each.key is not None and outcome.record_id is not None and outcome.result != "rejected":
                became[each.key] = (each.key, outcome.record_id, each.source.version)
                known[each.key] = (outcome.record_id, each.source.version)
        await lines.put_sources(tx, line.id, list(became.values()))
    for result in results:
        done.add(name, result)
    return results


def _told(each: _Judged, result: Any, code: str | None = None, field: str | None = None) -> RowResult:
    source = each.source
    return RowResult(place=source.place, record_id=source.record_id, result=result, code=code, field=field, version=source.version)


async def _withdraw(tx: Transaction, line: Line, each: _Judged, known: dict[str, tuple[str, int | None]]) -> RowResult:
    """What the source takes back: the record that this line brought, unless an authority has put its own word in its place."""
    found = known.get(each.key or "")
    record_id, version = found or (NOTHING_HELD, None)
    if version is not None and each.source.version is not None and each.source.version <= version:
        return _told(each, "unchanged", "DUP_SAME")
    if record_id == NOTHING_HELD:
        if each.key is not None and each.source.version is not None:
            known[each.key] = (record_id, each.source.version)
            await lines.put_sources(tx, line.id, [(each.key, record_id, each.source.version)])
        return _told(each, "withdrawn", "SEQ_STATE")
    (record,) = await records.load(tx, ids=[RecordId(record_id)], fields=frozenset()) or (None,)
    if record is None or record.state == "erased":
        return _told(each, "withdrawn", "SEQ_STATE")
    if record.trust == "signed" or record.issuer is not None:
        return _told(each, "rejected", "SCOPE_OWNER")
    actor = f"line/{line.id}"
    if each.source.op == "erase":
        await records.erase(tx, record.record_id, actor=actor)
        await lines.drop_replies(tx, line.id)
    elif record.state in ("in_force", "held"):
        said = each.source.reason or ""
        reason = said if said in WITHDRAWALS else "no_longer_public"
        state, op = WITHDRAWALS[reason]
        if records.TRANSITIONS[record.state].get(state) != op:
            (state, op), reason = WITHDRAWALS["no_longer_public"], "no_longer_public"
        await records.set_state(tx, record.record_id, state=state, op=op, reason=reason, actor=actor)
    if each.key is not None:
        known[each.key] = (record_id, each.source.version)
        await lines.put_sources(tx, line.id, [(each.key, record_id, each.source.version)])
    return _told(each, "withdrawn")


def _stands(each: _Judged, record: Record | None, version: int | None) -> bool:
    """Whether there is something left that this row takes back."""
    if record is None or record.trust == "signed" or record.issuer is not None or record.state == "erased":
        return False
    if version is not None and each.source.version is not None and each.source.version <= version:
        return False
    return each.source.op == "erase" or record.state in ("in_force", "held")
