"""Writing what was decided about the statements of a chunk: sealed values, records, past versions, heads, the log; all in bulk.

Rules: a chunk costs a handful of statements however many rows it has; the number of a change is taken last, right before the rows that
bear it. What is withdrawn goes under a key first. This room decides nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from operator import itemgetter
from typing import Final

import msgspec
from msgspec.structs import replace

from gateway.core.records.model import Admitted, Dataset, LifeDates, Period, RecordId, RecordState, Redaction, SubjectId
from gateway.core.records.periods import legal_day
from gateway.core.records.sealed import is_for_nobody
from gateway.store import purged, withdrawn
from gateway.store.changes import COUNTER
from gateway.store.reads import Row
from gateway.store.reviews import texts_of
from gateway.store.sealing import TABLE, encode_value, scope_of
from gateway.store.statements import Outcome, Statement
from gateway.store.states import CHANGE_COLUMNS, KEEP_VERSIONS, LIVE, decode_dates, period_columns
from gateway.store.store import Transaction, new_ids, stamp
from gateway.store.subjects import NAME, Linker, add_names
from gateway.store.tables import changes, records
from gateway.store.texts import clear_column, seal_column
from gateway.store.vault import pack

PeriodOf = Callable[[Admitted, LifeDates], Period]

# fmt: off
_FIXED_COLUMNS = ("record_id", "subject_id", "dataset", "category", "kind", "business_key", "issuer")
_CONTENT_COLUMNS = (
    "version", "state", "hold_code", "trust", "region", "authority_code", "authority_name", "sender", "officer", "decided_on",
    "severity", "dates", "publish_from", "publish_until", "period_rule", "minor", "sealed_flag", "dispute_since", "corrected_since",
    "clear", "secret", "texts", "sealed_texts", "held_since", "content_digest", "received_at", "changed_at", "changed_seq",
)
_STATE_COLUMNS = ("version", "state", "hold_code", "content_digest", "changed_at", "changed_seq")
# fmt: on

_encode = msgspec.json.Encoder().encode
_first = itemgetter(0)
_NO_DATES: Final = LifeDates()
_NOTHING: Final = (None, None)


class Write:
    """What a statement does to one record."""

    # fmt: off
    __slots__ = ("business_key", "corrected_since", "found", "hold_code", "op", "reason", "record_id", "revived", "state", "statement",
                 "subject_id", "version")

    def __init__(self, statement: Statement, found: Row | None, subject_id: SubjectId, *, state: RecordState, op: str,
                 hold_code: str | None = None, reason: str | None = None) -> None:
        # fmt: on
        self.statement = statement
        self.found = found
        self.subject_id = subject_id
        self.state = state
        self.op = op
        self.hold_code = hold_code
        self.reason = reason
        self.version = 1 if found is None else found.version + 1
        self.record_id = RecordId("") if found is None else RecordId(found.record_id)
        self.business_key = statement.business_key
        self.corrected_since: str | None = None if found is None else found.corrected_since
        self.revived = False
        """It was purged, and is said again: what is fixed of a record is written anew too."""


class Writer:
    """Writes rounds of one chunk."""

    def __init__(self, tx: Transaction, dataset: Dataset, actor: str, period_of: PeriodOf) -> None:
        self._tx = tx
        self._dataset = dataset
        self._actor = actor
        self._period_of = period_of
        self._today = legal_day(tx.now)
        self._lives: dict[tuple[LifeDates, date | None, date | None], tuple[LifeDates, bytes]] = {}
        self._periods: dict[tuple[object, ...], tuple[str | None, str | None, str | None]] = {}
        self._officers: dict[str, str] = {}
        self._public_since: dict[str, date] = {}
        self._received: tuple[datetime, str] = tx.now, tx.now_text

    async def write(
        self, writes: Sequence[Write], rekeyed: Sequence[tuple[str, str]], linker: Linker, outcomes: dict[int, Outcome]
    ) -> None:
        """Write a round, and tell what became of each statement; `rekeyed` are records whose business key changes, key first."""
        tx, dataset_id, now = self._tx, self._dataset.id, self._tx.now_text
        fresh = [write for write in writes if write.found is None]
        drawn = iter(new_ids("rec_", sum(write.statement.admitted.record_id is None for write in fresh), tx.store.random))
        for write in fresh:
            write.record_id = write.statement.admitted.record_id or RecordId(next(drawn))
        live = [write for write in writes if write.state in LIVE]
        texts = await texts_of(tx, live)
        sealed = await self._seal(live, texts)
        if len(live) < len(writes):
            await withdrawn.seal(tx, [write.record_id for write in writes if is_for_nobody(write.state, write.statement.issuer)])
        if len(fresh) < len(writes):
            await tx.execute(KEEP_VERSIONS, {"wanted": [write.record_id for write in writes if write.found is not None]})
        again = [write.record_id for write in writes if write.revived]
        await purged.come_back(tx, again)
        self._public_since = await purged.public_since(tx, again)
        heads: dict[SubjectId, int] = {}
        inserted: list[tuple[object, ...]] = []
        amended: list[tuple[object, ...]] = []
        revived: list[tuple[object, ...]] = []
        ended: list[tuple[object, ...]] = []
        log: list[tuple[object, ...]] = []
        names: list[tuple[str, SubjectId]] = []
        for seq, write in enumerate(writes, await tx.number(COUNTER, len(writes))):
            statement, record_id = write.statement, write.record_id
            heads[write.subject_id] = seq
            log.append((seq, now, record_id, write.subject_id, dataset_id, write.version, write.op, write.reason, self._actor))
            outcomes[statement.index] = _outcome(write, seq)
            if write.state not in LIVE:
                # the digest goes: after its own source withdrew it, the same words bring it back
                ended.append((write.version, write.state, None, b"", now, seq, record_id))
                continue
            admitted = statement.admitted
            row = self._content(write, *sealed.get(statement.index, _NOTHING), texts.get(statement.index), seq)
            if write.found is None or write.revived:
                fixed = (record_id, write.subject_id, dataset_id, admitted.category, admitted.kind, write.business_key, statement.issuer)
                if write.revived:
                    revived.append((*fixed[1:], *row, record_id))
                else:
                    inserted.append(fixed + row)
            else:
                amended.append((*row, record_id))
            if admitted.kind == "individual_business":
                names += [(value, write.subject_id) for key_type, value in admitted.subject_keys if key_type == NAME]
        inserted.sort(key=_first)  # beside each other in two of the five indexes, instead of here and there
        await linker.write(heads)
        await add_names(tx, names)
        await tx.update(records, ("business_key",), "record_id", rekeyed)
        await tx.insert(records, _FIXED_COLUMNS + _CONTENT_COLUMNS, inserted)
        await tx.update(records, _CONTENT_COLUMNS, "record_id", amended)
        await tx.update(records, _FIXED_COLUMNS[1:] + _CONTENT_COLUMNS, "record_id", revived)
        await tx.update(records, _STATE_COLUMNS, "record_id", ended)
        await tx.insert(changes, CHANGE_COLUMNS, log)

    async def _seal(
        self, writes: Sequence[Write], texts: Mapping[int, Mapping[str, Redaction]]
    ) -> dict[int, tuple[bytes | None, bytes | None]]:
        """For each statement with something secret its ciphertexts as one column, and those of its texts as another, by index."""
        year, dataset_id, vault = self._tx.now.year, self._dataset.id, self._tx.vault
        secret = [write for write in writes if write.statement.secret or write.statement.index in texts]
        scopes = [scope_of(write.statement.admitted.kind, write.subject_id, dataset_id, year) for write in secret]
        deks_of = await vault.deks(self._tx, scopes, create=True)
        plain = [
            (deks_of[scope], name, write.record_id, encode_value(value))
            for scope, write in zip(scopes, secret, strict=True)
            for name, value in write.statement.secret.items()
        ]
        ciphertexts = iter(vault.seal_many(TABLE, plain))
        return {
            write.statement.index: (
                pack({name: next(ciphertexts) for name in write.statement.secret}) if write.statement.secret else None,
                seal_column(vault, deks_of[scope], write.record_id, texts.get(write.statement.index, {})),
            )
            for scope, write in zip(scopes, secret, strict=True)
        }

    def _content(
        self, write: Write, secret: bytes | None, sealed_texts: bytes | None, texts: Mapping[str, Redaction] | None, seq: int
    ) -> tuple[object, ...]:
        """The values of `_CONTENT_COLUMNS`."""
        statement, admitted, found = write.statement, write.statement.admitted, write.found
        dates, dates_column = self._dates(write)
        if found is not None and admitted.issuer is None and admitted.dispute_since is None:
            dispute = found.dispute_since  # opened here; the source knows nothing of it
        else:
            dispute = None if admitted.dispute_since is None else stamp(admitted.dispute_since)
        # fmt: off
        return (
            write.version, write.state, write.hold_code, admitted.trust, admitted.region, admitted.authority_code, admitted.authority_name,
            admitted.sender, self._officer(admitted.officer), None if dates.decision is None else dates.decision.isoformat(),
            admitted.severity, dates_column, *self._period(admitted, dates), admitted.minor,
            found is not None and bool(found.sealed_flag), dispute, write.corrected_since, statement.clear, secret,
            clear_column(self._tx.vault, texts) if texts else None, sealed_texts,
            self._tx.now_text if texts and any(each.waiting for each in texts.values()) else None,
            statement.content, self._stamp(admitted.received_at),
            self._tx.now_text, seq,
        )
        # fmt: on

    def _stamp(self, received_at: datetime) -> str:
        if received_at is not self._received[0]:  # one instant for all rows of a file
            self._received = received_at, stamp(received_at)
        return self._received[1]

    def _dates(self, write: Write) -> tuple[LifeDates, bytes]:
        """The source's dates, with what only we know: since when it is public here, and duties fulfilled; and the same as a column."""
        dates = write.statement.admitted.dates
        before = _NO_DATES if write.found is None else decode_dates(write.found.dates)
        first = before.first_publication_here or self._public_since.get(write.record_id)
        if first is None and write.state == "in_force":
            first = self._today
        key = (dates, first, before.obligation_fulfilled)
        known = self._lives.get(key)  # of the rows of a file many have the same dates
        if known is None:
            fulfilled = dates.obligation_fulfilled or before.obligation_fulfilled
            made = replace(dates, first_publication_here=first, obligation_fulfilled=fulfilled)
            known = self._lives[key] = made, _encode(made)
        return known

    def _period(self, admitted: Admitted, dates: LifeDates) -> tuple[str | None, str | None, str | None]:
        key = (admitted.kind, admitted.category, admitted.severity, dates)
        known = self._periods.get(key)
        if known is None:
            known = self._periods[key] = period_columns(self._period_of(admitted, dates))
        return known

    def _officer(self, officer: str | None) -> str | None:
        if officer is None:
            return None
        known = self._officers.get(officer)
        if known is None:
            known = self._officers[officer] = self._tx.vault.blind("officer", "name", officer)
        return known


def _outcome(write: Write, seq: int) -> Outcome:
    admitted = write.statement.admitted
    return Outcome(
        place=admitted.place,
        result="held" if write.hold_code else "accepted" if write.state in LIVE else "withdrawn",
        record_id=write.record_id,
        version=write.version,
        code=write.hold_code,
        field=admitted.hold_field if write.hold_code == admitted.hold_code else None,
        seq=seq,
        revived=write.revived,
    )
