"""Seal what changed for a line: rows out of Views, a part in the partner's own format, committed before a byte leaves.

A part out, in this order, and what a crash at each point means:
1. changes after the stream's cursor; is the line approved and in force today? View of the line's tier and purpose, within its regions,
   kinds and fields; an unchanged view is not sent again, a record that may no longer be shown is withdrawn from the partner that got it
   (a crash: nothing has happened yet)
2. the adapter encodes; a row that the format cannot carry is left out by its code, and withdrawn if the partner has an older word of it
3. head, manifest, notes, part and cursor are committed in one transaction (a crash before it: nothing was sent)
`deliver_rows` does the rest.

A partner whose adapter cannot withdraw is told nothing: of every dataset a record may have to leave. When a line has ended, only
withdrawals go, and the cursor stays. This story must not change a record, and it never skips a number.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.adapter_contract import AdapterError, Row
from gateway.core.disclosure.plans import Plan, PlanSet, Policies
from gateway.core.disclosure.row_rules import Attributes, fields_of_rule
from gateway.core.disclosure.views import view
from gateway.core.errors import StoreError
from gateway.core.exchange.lines import Line, LineDataset
from gateway.core.exchange.manifests import Head
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.parts import seal_part
from gateway.core.exchange.wire import SHA256, digest_text
from gateway.core.records.model import DatasetId, Record, RecordId, Value
from gateway.core.records.periods import legal_day
from gateway.operations.lines import LARGEST_PART, as_bytes, thought
from gateway.operations.partners import exchange_signers
from gateway.operations.pseudonym_keys import pseudonyms_for
from gateway.operations.record_access import treatments_of
from gateway.services import Services
from gateway.store import audit, changes, ledger, line_numbers, line_rows, lines, outbox, records
from gateway.store.changes import Change
from gateway.store.ledger import SentRecord
from gateway.store.line_rows import SaidRow
from gateway.store.outbox import OutStream
from gateway.store.store import Transaction

CHANGES_A_PASS: Final = 5_000
SERIES: Final = re.compile(r"[0-9A-Za-z_.-]{1,16}", re.ASCII)
MOST_SERIES: Final = 16
LAST_NUMBER: Final = 999
LINE_NUMBERS: Final = "LINE_NUMBERS"
"""Code of a line whose files of today are all numbered."""
AWAITS_PERSON: Final = "CONFIRM"
"""Code of a batch that a person has to let go."""
NO_WITHDRAWALS: Final = "NO_WITHDRAWALS"
_OP_OF_STATE: Final[Mapping[str, str]] = {"retracted": "retract", "repaired": "repair", "expired": "expire", "erased": "erase"}
_REASON_OF: Final[Mapping[str, str]] = {
    "retract": "no_longer_public",
    "repair": "repaired",
    "expire": "expired",
    "erase": "erased",
}
_TELLS: Final = frozenset({"assert", "amend"})


class Sealing(Struct, frozen=True, kw_only=True):
    """What one pass over the changes came to."""

    batches: int = 0
    rows: int = 0
    not_sent: Mapping[str, int] = {}
    """Records of which nothing could be said, by code."""
    more: bool = False


_NOTHING: Final = Sealing()


async def seal_rows(
    services: Services, line: Line, stream: str, terms: LineDataset, carrier: Any, *, only_withdrawals: bool = False
) -> Sealing:
    """Seal the next part of a stream, if there is something to say.

    Raises AdapterError for a guest that fails as a whole, StoreError, SettingsError key-missing.
    """
    now = services.clock()
    mode = line.standing(now)
    if mode == "nothing" or "withdrawals" not in carrier.capabilities:
        return _NOTHING
    out = await outbox.out_stream(services.store.reads, stream)
    if out is not None and out.stopped:
        return _NOTHING
    return await _Pass(services, line, stream, terms, carrier, out, now, only_withdrawals=only_withdrawals or mode == "withdrawals").run()


class _Said(Struct, frozen=True, kw_only=True):
    """One row with what the ledger keeps of it."""

    row: Row
    kept: SaidRow
    subject: str | None = None
    """Of persons and households: whom the audit names."""
    told: bool = False
    """The partner has an older word of it."""


class _Pass:
    """One pass over the changes after the cursor."""

    def __init__(
        self,
        services: Services,
        line: Line,
        stream: str,
        terms: LineDataset,
        carrier: Any,
        out: OutStream | None,
        now: datetime,
        *,
        only_withdrawals: bool,
    ) -> None:
        self.services = services
        self.line = line
        self.stream = stream
        self.terms = terms
        self.carrier = carrier
        self.out = out
        self.now = now
        self.only_withdrawals = only_withdrawals
        self.policies: Policies = services.policies.current()
        self.dataset = self.policies.catalogue.datasets.get(DatasetId(terms.dataset))
        self.plans: PlanSet | None = self.policies.plan_set(terms.dataset, line.terms.tier, line.terms.purpose)
        fields = self.dataset.fields if self.dataset is not None else {}
        self.wires = {field.wire_name: name for name, field in fields.items()}
        # without a plan nothing may be shown any more: everything that was sent is withdrawn
        self.plan = digest_text(f"{self.plans.hash if self.plans is not None else None}|{line.digest}".encode())
        self.not_sent: dict[str, int] = {}

    @property
    def head(self) -> Head:
        """Where the stream stands; the beginning of epoch 1 before its first batch."""
        if self.out is not None:
            return self.out.head
        return Head(stream=self.stream, epoch=1, seq=0, tree=CompactRange(SHA256), manifest_digest=None)

    async def run(self) -> Sealing:
        """Read what changed, and seal a part of it, or only move the cursor."""
        reads = self.services.store.reads
        start = self.out.cursor if self.out is not None and self.out.plan == self.plan else 0
        position = start
        while True:
            found = await changes.after(reads, position, CHANGES_A_PASS)
            to = found[-1].seq if found else position
            more = len(found) == CHANGES_A_PASS
            said = await self._rows(await self._touched(found))
            if said or not (self.only_withdrawals and more):
                break
            position = to  # only withdrawals: look on, for the cursor stays
        most = self.line.terms.rows
        for at in range(0, len(said), most):
            last = at + most >= len(said)
            rows = await self._seal(said[at : at + most], to if last and not self.only_withdrawals else start)
            if rows:  # what is left of these comes with the next pass, where what was sealed now is unchanged
                return Sealing(batches=1, rows=rows, not_sent=self.not_sent, more=more or not last)
        if not self.only_withdrawals and (self.out is None or (to, self.plan) != (self.out.cursor, self.out.plan)):
            async with self.services.store.transaction() as tx:  # nothing to say of these: only the cursor goes on
                await outbox.move_cursor(tx, self.out, self.head, cursor=to, plan=self.plan)
        return Sealing(not_sent=self.not_sent, more=more and not self.only_withdrawals)

    async def _touched(self, found: Sequence[Change]) -> dict[str, Change | None]:
        """Records that changed, with the last change, and records whose view time alone may have ended."""
        touched: dict[str, Change | None] = {change.record_id: change for change in found if change.dataset == self.terms.dataset}
        for record_id in await ledger.sent_due(self.services.store.reads, self.stream, self.now, CHANGES_A_PASS):
            touched.setdefault(record_id, None)
        return touched

    async def _rows(self, touched: Mapping[str, Change | None]) -> list[_Said]:
        reads = self.services.store.reads
        ids = [RecordId(record_id) for record_id in touched]
        if not ids:
            return []
        columns = frozenset() if self.plans is None else self.plans.columns.union(*map(_gated, self.plans.plans.values()))
        texts = frozenset() if self.plans is None else self.plans.whole_texts
        held = {record.record_id: record for record in await records.load(reads, ids=ids, fields=columns, texts=texts)}
        sent = await ledger.sent_records(reads, self.stream, ids)
        before = await line_rows.said_before(reads, self.stream, list(sent))
        return await asyncio.to_thread(self._said, touched, held, sent, before)

    def _said(
        self,
        touched: Mapping[str, Change | None],
        held: Mapping[RecordId, Record],
        sent: Mapping[str, SentRecord],
        before: Mapping[str, dict[str, Value]],
    ) -> list[_Said]:
        found: list[_Said] = []
        for record_id, change in touched.items():
            record = held.get(RecordId(record_id))
            if record is not None and record.issuer is not None:
                continue  # of another city: it does not travel on
            said = self._one(record_id, record, change, sent.get(record_id), before.get(record_id))
            if said is not None:
                found.append(said)
        return found

    def _one(
        self, record_id: str, record: Record | None, change: Change | None, sent: SentRecord | None, before: dict[str, Value] | None
    ) -> _Said | None:
        if sent is not None and sent.op == "erase":
            return None
        told = sent is not None and sent.op in _TELLS
        shown = self._shown(record) if record is not None else None
        if shown is None:
            erases = record is None or record.state == "erased"
            if sent is None or not (told or erases):
                return None
            return self._withdrawal(record_id, record, change, sent, before)
        if self.only_withdrawals or record is None:
            return None
        fields, until = shown
        view_digest = self.services.store.vault.digest("exchange-view", msgspec.json.encode(fields))[:16]
        if told and sent is not None and sent.refused is None and sent.view_digest == view_digest:
            return None
        v = max((sent.v if sent is not None else 0) + 1, record.version)
        op = "amend" if told and sent is not None and (sent.refused is None or sent.op == "amend") else "assert"
        at = change.at if change is not None else self.now
        row = Row(rid=record_id, v=v, op=op, dataset=self.terms.dataset, reason=None, at=at, fields=fields, sent=before)
        kept = SaidRow(record_id=record_id, v=v, op=op, fields=fields, view_digest=view_digest, valid_until=until)
        return _Said(row=row, kept=kept, subject=record.subject_id if record.kind != "legal" else None, told=told)

    def _shown(self, record: Record) -> tuple[dict[str, Value], datetime | None] | None:
        """What the line lets us say of a record today; None when nothing."""
        plan = self.plans.plans.get(record.kind) if self.plans is not None else None
        reach = Attributes(grant_regions=self.terms.regions)  # the line is the grant
        names = pseudonyms_for(self.services.store.vault, self.line.terms.partner, self.line.terms.purpose, self.now)
        seen = view(record, plan, self.policies, self.now, reach, keyed=names) if plan is not None else None
        if seen is None:
            return None
        code = (
            "LAW_PERSON"
            if seen.kind != "legal" and (self.line.terms.persons is None or self.line.terms.tier == "pboc")
            else "SCOPE_KIND"
            if seen.kind not in self.terms.subject_kinds
            else None
            if self.terms.in_region(seen.region)
            else "SCOPE_REGION"
        )
        if code is not None:
            self._leave_out(code)
            return None
        return {name: seen.fields.get(self.wires.get(name, "")) for name in self.terms.fields}, seen.valid_until

    def _leave_out(self, code: str) -> None:
        self.not_sent[code] = self.not_sent.get(code, 0) + 1

    def _withdrawal(
        self, record_id: str, record: Record | None, change: Change | None, sent: SentRecord, before: dict[str, Value] | None
    ) -> _Said:
        op = _OP_OF_STATE.get(record.state, "retract") if record is not None else "erase"
        if record is not None and record.state == "in_force" and change is None:
            op = "expire"  # nothing was decided: time has ended its view
        reason = change.reason if change is not None and change.op == op and change.reason else _REASON_OF[op]
        v = max(sent.v + 1, record.version if record is not None else 1)
        at = change.at if change is not None else self.now
        row = Row(rid=record_id, v=v, op=op, dataset=self.terms.dataset, reason=reason, at=at, fields={}, sent=before)
        return _Said(row=row, kept=SaidRow(record_id=record_id, v=v, op=op, fields={}, view_digest=b""), told=True)

    # --- encoding and committing ---

    async def _seal(self, said: Sequence[_Said], cursor: int) -> int:
        """Encode and commit; how many rows, none when no row is left that the format can carry."""
        said, data = await self._encoded(said)
        if not said:
            return 0
        counts: dict[str, int] = {}
        for each in said:
            counts[each.row.op] = counts.get(each.row.op, 0) + 1
        plan = self.plans.hash if self.plans is not None else None
        sealed = seal_part(
            self.head,
            self.line,
            data,
            counts,
            exchange_signers(self.services, self.now),
            sender=self.services.signers.party,
            schema=f"{self.terms.dataset}/1.0",
            policy_version=self.policies.version,
            created=self.now,
            plan=plan,
        )
        series = await self._series(data)
        async with self.services.store.transaction() as tx:
            again = (await lines.approved(tx)).get(self.line.id)
            mode = again.standing(tx.now) if again is not None else "nothing"
            tells = any(each.row.op in _TELLS for each in said)
            if again is None or again.digest != self.line.digest or mode == "nothing" or (mode == "withdrawals" and tells):
                raise StoreError("the line has changed meanwhile", code="stream-moved", place=self.stream)
            await line_rows.commit_part(
                tx,
                self.out,
                sealed,
                [each.kept for each in said],
                cursor=cursor,
                plan=self.plan,
                code=AWAITS_PERSON if self.line.terms.confirms and tells else None,
            )
            if series:
                await self._number(tx, series, sealed.head.seq)
            erased = [each.row.rid for each in said if each.row.op == "erase"]
            if erased:
                await line_rows.forget(tx, self.stream, erased)
                await lines.drop_replies(tx, self.line.id)
            await audit.write(
                tx,
                "gateway",
                "line.seal",
                f"batch/{sealed.manifest.id}",
                {
                    "rows": len(said),
                    "counts": counts,
                    "digest": sealed.digest,
                    "policy_version": self.policies.version,
                    "policy_plan": plan,
                },
                subjects=[each.subject for each in said if each.subject is not None] or None,
                given=audit.Given(
                    org=self.line.terms.org,
                    purpose=self.line.terms.purpose,
                    dataset=self.terms.dataset,
                    plan_hash=plan,
                    policy_version=self.policies.version,
                    treatments=None if self.plans is None else treatments_of([self.plans]),
                ),
            )
        return len(said)

    async def _series(self, data: bytes) -> tuple[str, ...]:
        """The series in which the files of a part are numbered, for a partner that wants them so.

        Raises AdapterError.
        """
        if "numbers" not in self.carrier.capabilities:
            return ()
        given: Any = await thought(self.carrier.numbers, data)
        if not isinstance(given, list | tuple) or not all(isinstance(each, str) and SERIES.fullmatch(each) for each in given):
            raise AdapterError("ADAPTER_FAILED", "适配器给出的不是编号序列", transient=False)
        return tuple(dict.fromkeys(given))[:MOST_SERIES]

    async def _number(self, tx: Transaction, series: Sequence[str], seq: int) -> None:
        """A number for each file of the batch, of the day of its manifest.

        Raises AdapterError LINE_NUMBERS when the day has no more: then the batch is not written, and comes tomorrow.
        """
        taken = await line_numbers.take(tx, self.line.terms.partner, legal_day(self.now), series, stream=self.stream, seq=seq)
        if max(taken.values()) > LAST_NUMBER:
            raise AdapterError(LINE_NUMBERS, "当日文件序号已用完", transient=True, place=self.stream)

    async def _encoded(self, said: Sequence[_Said]) -> tuple[list[_Said], bytes]:
        """The part, without the rows that the format refuses; of such the partner is told that what it has is not true any more.

        Raises AdapterError when it refuses what no row of its own explains.
        """
        kept = list(said)
        data = await self._try(kept)
        if data is not None:
            return kept, data
        kept = []
        for each in said:
            if await self._try([each]) is not None:
                kept.append(each)
            elif each.told and each.row.op in _TELLS:
                last = await self._instead(each)
                kept += [last] if last is not None else []
        if not kept:
            return [], b""
        data = await self._try(kept, last=True)
        return kept, data or b""

    async def _instead(self, each: _Said) -> _Said | None:
        """A withdrawal in place of a word that cannot be carried."""
        row = msgspec.structs.replace(each.row, op="retract", reason="corrected", fields={})
        last = _Said(row=row, kept=SaidRow(record_id=row.rid, v=row.v, op="retract", fields={}, view_digest=b""), told=True)
        return last if await self._try([last]) is not None else None

    async def _try(self, said: Sequence[_Said], *, last: bool = False) -> bytes | None:
        """The bytes of these rows; None when the format refuses one of them, whose code is counted if it stands alone."""
        try:
            return as_bytes(await thought(self.carrier.encode, [each.row for each in said]), LARGEST_PART)
        except AdapterError as error:
            if last or error.transient or not error.code.startswith(("SCHEMA_", "SCOPE_", "LAW_", "SUBJ_")):
                raise
            if len(said) == 1:
                self._leave_out(error.code)
            return None


def _gated(plan: Plan) -> frozenset[str]:
    """What the territory of a plan asks of a record."""
    return frozenset() if plan.rows is None else fields_of_rule(plan.rows)
