"""Records: how a statement becomes one, how its state changes, how it is erased. The only writer of `records` and of the change log.

Rules:
- A statement is told by its business key within (dataset, issuer), a partner's by its own record id: nobody overwrites another's record.
- Said again, it is *unchanged*. Said otherwise, it is a new version; the old one stays with actor and reason. Every change is a version
  and one row of the change log, written in the same transaction.
- What was withdrawn comes back only when it is said anew: after a repair only with reason `repair_revoked`; after a decision here (an
  objection upheld, a retraction, the end of a period) the same words do not bring it back, other words do.
- An amendment never moves a record to another subject (SEQ_STATE): that is a retraction and a new record.
- What is in doubt is *held*: stored, shown to nobody outside, until said better or released by a person.
- Erasing leaves id, version, op and time; a person of whom nothing else is kept loses key, blind indexes and with them every copy.

This room must not check identifiers, compute periods or redact: it is told.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from gateway.core.errors import StoreError
from gateway.core.records.model import Admitted, Dataset, LifeDates, Period, RecordId, RecordState, Redaction, SubjectId, SubjectKind, Value
from gateway.core.records.periods import legal_day
from gateway.store.changes import COUNTER
from gateway.store.dialects import among
from gateway.store.loading import load, period_candidates
from gateway.store.reads import Row
from gateway.store.sealing import TABLE, clear_fields, encode_value, scope_of, subject_scope
from gateway.store.store import Transaction, new_ids, stamp
from gateway.store.subjects import NAME, Key, Linker, add_names, stored_value, subject_by_id, subject_by_key, subjects_by_name
from gateway.store.tables import changes, deks, record_versions, records, subject_keys, subject_names
from gateway.store.vault import Vault, pack

__all__ = [
    "Outcome", "accept", "erase", "erase_subject", "load", "mark_dispute", "mark_recognised", "period_candidates", "set_state", "subject_by_id",
    "subject_by_key", "subjects_by_name",
]

Result = Literal["accepted", "unchanged", "held", "rejected", "withdrawn"]

WITHDRAWALS: Final[Mapping[str, tuple[RecordState, str]]] = {
    "revoked": ("retracted", "retract"), "corrected": ("retracted", "retract"), "objection_upheld": ("retracted", "retract"),
    "no_longer_public": ("retracted", "retract"), "repaired": ("repaired", "repair"), "expired": ("expired", "expire"),
}
"""Reason of a withdrawal (exchange.md §9) → state and op."""

TRANSITIONS: Final[Mapping[RecordState, Mapping[RecordState, str]]] = {
    "in_force": {"held": "hold", "retracted": "retract", "repaired": "repair", "expired": "expire"},
    "held": {"in_force": "release", "retracted": "retract", "repaired": "repair", "expired": "expire"},
    "retracted": {"in_force": "assert", "held": "hold"},
    "expired": {"in_force": "assert", "held": "hold"},
    "repaired": {"in_force": "assert"},
    "erased": {},
}
"""From which state to which, and the op that does it."""

LIVE: Final = frozenset({"in_force", "held"})


_NO_DATES: Final = LifeDates()


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one statement."""

    place: str
    result: Result
    record_id: RecordId | None = None
    version: int | None = None
    code: str | None = None
    """Why held or rejected; DUP_SAME of what is unchanged, SEQ_STATE of a withdrawal with nothing to withdraw."""
    field: str | None = None
    seq: int | None = None
    """Of the change; None when nothing changed."""


# --- statements -------------------------------------------------------------------------------------------------------

_FOUND = (
    records.c.record_id, records.c.subject_id, records.c.dataset, records.c.kind, records.c.business_key, records.c.issuer, records.c.version,
    records.c.state, records.c.hold_code, records.c.dates, records.c.sealed_flag, records.c.dispute_since, records.c.corrected_since,
    records.c.content_digest,
)
_BY_BUSINESS_KEY = sa.select(*_FOUND).where(records.c.dataset == sa.bindparam("of_dataset"), among(records.c.business_key, "wanted"))
_BY_BUSINESS_KEY_SAID_BY = _BY_BUSINESS_KEY.add_columns(changes.c.actor).join(changes, changes.c.seq == records.c.changed_seq)
_BY_RECORD_ID = sa.select(*_FOUND).where(among(records.c.record_id, "wanted"))

_KEPT = tuple(column.name for column in record_versions.columns if column.name not in ("op", "reason", "actor", "at", "seq"))
_KEEP_VERSIONS = sa.insert(record_versions).from_select(
    [*_KEPT, "op", "reason", "actor", "at", "seq"],
    sa.select(*(records.c[name] for name in _KEPT), changes.c.op, changes.c.reason, changes.c.actor, changes.c.at, changes.c.seq)
    .join(changes, changes.c.seq == records.c.changed_seq).where(among(records.c.record_id, "wanted")),
)
_HEAD_OF_SUBJECT = sa.text("UPDATE subjects SET head_seq = :seq WHERE subject_id = :subject")
_DROP_VERSIONS = sa.delete(record_versions).where(record_versions.c.record_id == sa.bindparam("record"))
_ALL_LEFT = sa.select(records.c.record_id).where(records.c.subject_id == sa.bindparam("subject"), records.c.state != "erased")
_WHAT_IS_LEFT = _ALL_LEFT.limit(1)
_ERASED_COLUMNS = (
    "hold_code", "authority_code", "authority_name", "sender", "officer", "decided_on", "severity", "publish_from", "publish_until",
    "period_rule", "dispute_since", "corrected_since", "secret", "texts",
)
_CHANGE_COLUMNS = ("seq", "at", "record_id", "subject_id", "dataset", "version", "op", "reason", "actor")

_FIXED_COLUMNS = ("record_id", "subject_id", "dataset", "category", "kind", "business_key", "issuer")
_CONTENT_COLUMNS = (
    "version", "state", "hold_code", "trust", "region", "authority_code", "authority_name", "sender", "officer", "decided_on", "severity",
    "dates", "publish_from", "publish_until", "period_rule", "minor", "sealed_flag", "dispute_since", "corrected_since", "clear", "secret",
    "texts", "content_digest", "received_at", "changed_at", "changed_seq",
)
_STATE_COLUMNS = ("version", "state", "hold_code", "content_digest", "changed_at", "changed_seq")

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_encode_key = msgspec.msgpack.Encoder().encode
_decode_dates = msgspec.json.Decoder(LifeDates).decode


# --- accept -----------------------------------------------------------------------------------------------------------


class _Preparing:
    """What preparing the statements of a chunk needs."""

    __slots__ = ("_clear", "_dataset", "business_key", "content", "vault")

    def __init__(self, vault: Vault, dataset: Dataset) -> None:
        self.vault = vault
        self.business_key = vault.digester("business-key")
        self.content = vault.digester("content")
        self._dataset = dataset
        self._clear: dict[SubjectKind, frozenset[str]] = {}

    def clear(self, kind: SubjectKind) -> frozenset[str]:
        """The fields that stand in clear for this kind."""
        found = self._clear.get(kind)
        if found is None:
            found = self._clear[kind] = clear_fields(self._dataset, kind)
        return found


class _Statement:
    """One admitted statement, prepared: what can be said of it without the database."""

    __slots__ = ("admitted", "business_key", "clear", "content", "index", "issuer", "keys", "secret", "texts")

    def __init__(self, index: int, admitted: Admitted, texts: Mapping[str, Redaction], preparing: _Preparing) -> None:
        kind = admitted.kind
        self.index = index
        self.admitted = admitted
        self.texts = texts
        self.issuer = admitted.issuer or ""
        self.business_key = preparing.business_key(_encode_key((admitted.dataset, admitted.business_key)))[:16].hex()
        keys = admitted.subject_keys
        if kind != "legal":
            keys = tuple([(key_type, stored_value(preparing.vault, key_type, value, kind)) for key_type, value in keys if key_type != NAME])
        elif any([key_type == NAME for key_type, _value in keys]):
            keys = tuple([key for key in keys if key[0] != NAME])
        self.keys: tuple[Key, ...] = keys
        in_clear = preparing.clear(kind)
        clear: dict[str, Value] = {}
        secret: dict[str, Value] = {}
        for name, value in admitted.values.open().items():
            if value is None or name in in_clear:
                clear[name] = value
            else:
                secret[name] = value
        self.clear = _encode_sorted(clear)
        self.secret = secret
        self.content = preparing.content(self.clear + _encode_sorted((
            secret, admitted.dates, admitted.category, kind, admitted.trust, admitted.region, admitted.authority_code,
            admitted.authority_name, admitted.severity, admitted.minor, admitted.hold_code, admitted.dispute_since,
        )))


class _Write:
    """What a statement does to one record."""

    __slots__ = ("business_key", "corrected_since", "found", "hold_code", "op", "reason", "record_id", "state", "statement", "subject_id", "version")

    def __init__(self, statement: _Statement, found: Row | None, subject_id: SubjectId, *, state: RecordState, op: str, hold_code: str | None,
                 reason: str | None) -> None:
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


def _retired_key(vault: Vault, business_key: str, record_id: str) -> str:
    """The business key of a record that must not be found by it any more, or not yet."""
    return vault.digest("business-key", f"{business_key}|{record_id}".encode())[:16].hex()


async def accept(
    tx: Transaction,
    admitted: Sequence[Admitted],
    texts: Sequence[Mapping[str, Redaction]],
    dataset: Dataset,
    *,
    actor: str,
    period_of: Callable[[Admitted, LifeDates], Period],
    once: bool = False,
) -> list[Outcome]:
    """Store the statements of one chunk, in a handful of statements however many they are; one outcome each, in order.

    `texts` are the redactions of each statement's text fields. `period_of` may look at kind, category, severity and dates alone. With
    `once`, what this actor was the last to say is not amended by it again (DUP_KEY): one file says one thing about one record.
    Raises StoreError; then nothing of the chunk may be kept.
    """
    preparing = _Preparing(tx.vault, dataset)
    statements = [_Statement(index, each, redacted, preparing) for index, (each, redacted) in enumerate(zip(admitted, texts, strict=True))]
    outcomes: dict[int, Outcome] = {}
    accepting = _Accepting(tx, dataset, actor, period_of, once=once)
    # a record is touched once a round: what says something about the same record again waits for the next one
    rounds: dict[int, list[_Statement]] = defaultdict(list)
    seen: Counter[tuple[str, str]] = Counter()
    for statement in statements:
        marks = [(statement.issuer, statement.business_key)]
        if statement.admitted.record_id is not None:
            marks.append(("record", statement.admitted.record_id))
        turn = max(seen[mark] for mark in marks)
        for mark in marks:
            seen[mark] = turn + 1
        rounds[turn].append(statement)
    for _turn, chosen in sorted(rounds.items()):
        await accepting.round(chosen, outcomes)
    return [outcomes[index] for index in range(len(statements))]


class _Accepting:
    """The acceptance of one chunk."""

    def __init__(
        self, tx: Transaction, dataset: Dataset, actor: str, period_of: Callable[[Admitted, LifeDates], Period], *, once: bool
    ) -> None:
        self._tx = tx
        self._once = once
        self._dataset = dataset
        self._actor = actor
        self._period_of = period_of
        self._today = legal_day(tx.now)
        self._linker = Linker(tx)
        self._periods: dict[tuple[object, ...], tuple[str | None, str | None, str | None]] = {}
        self._officers: dict[str, str] = {}
        self._received: tuple[datetime, str] = tx.now, tx.now_text
        self._by_key: dict[tuple[str, str], Row] = {}
        self._elsewhere: dict[str, list[Row]] = {}
        self._by_id: dict[str, Row] = {}
        self._rekeyed: list[tuple[str, str]] = []

    async def round(self, statements: Sequence[_Statement], outcomes: dict[int, Outcome]) -> None:
        """Decide and write statements of which no two are about one record."""
        await self._find(statements)
        await self._linker.look_up([statement.keys for statement in statements if statement.admitted.op == "upsert"])
        writes: list[_Write] = []
        erasures: list[tuple[_Statement, RecordId]] = []
        for statement in statements:
            decided = self._decide(statement)
            if isinstance(decided, _Write):
                writes.append(decided)
            elif isinstance(decided, Outcome):
                outcomes[statement.index] = decided
            else:
                erasures.append((statement, decided))
        if writes:
            await self._write(writes, outcomes)
        for statement, record_id in erasures:
            seq = await erase(self._tx, record_id, actor=self._actor)
            outcomes[statement.index] = Outcome(place=statement.admitted.place, result="withdrawn", record_id=record_id, seq=seq)
        if erasures:
            self._linker = Linker(self._tx)  # its subjects may have lost their keys

    async def _find(self, statements: Sequence[_Statement]) -> None:
        """The records that these statements may be about."""
        self._by_key, self._elsewhere, self._by_id = {}, defaultdict(list), {}
        wanted = {"of_dataset": self._dataset.id, "wanted": [statement.business_key for statement in statements]}
        for row in await self._tx.all(_BY_BUSINESS_KEY_SAID_BY if self._once else _BY_BUSINESS_KEY, wanted):
            self._by_key[row.issuer, row.business_key] = row
            self._elsewhere[row.business_key].append(row)
        ids = [statement.admitted.record_id for statement in statements if statement.admitted.record_id is not None]
        if ids:
            self._by_id = {row.record_id: row for row in await self._tx.all(_BY_RECORD_ID, {"wanted": ids})}

    # --- decisions ---

    def _decide(self, statement: _Statement) -> "_Write | Outcome | RecordId":
        admitted = statement.admitted
        found = self._by_key.get((statement.issuer, statement.business_key))
        rival: Row | None = None
        if admitted.record_id is not None:
            rival, found = found, self._by_id.get(admitted.record_id)
            if rival is not None and rival.record_id == admitted.record_id:
                rival = None
        if found is not None:
            if found.issuer != statement.issuer or found.dataset != self._dataset.id:
                return _rejected(admitted, "SCOPE_OWNER")
            if found.state == "erased":
                return _rejected(admitted, "SEQ_ERASED")
        if admitted.op == "withdraw":
            return self._withdraw(statement, found)
        if admitted.op == "erase":
            return _nothing_to_withdraw(admitted) if found is None else RecordId(found.record_id)
        return self._upsert(statement, found, rival)

    def _withdraw(self, statement: _Statement, found: Row | None) -> "_Write | Outcome":
        admitted = statement.admitted
        if found is None or found.state not in LIVE:
            return _nothing_to_withdraw(admitted, found)
        state, op = WITHDRAWALS.get(admitted.reason or "", ("retracted", "retract"))  # an unknown reason does not stop a withdrawal
        reason = admitted.reason if admitted.reason in WITHDRAWALS else "no_longer_public"
        return _Write(statement, found, SubjectId(found.subject_id), state=state, op=op, hold_code=None, reason=reason)

    def _upsert(self, statement: _Statement, found: Row | None, rival: Row | None) -> "_Write | Outcome":
        admitted = statement.admitted
        subject_id, conflict = self._linker.link(statement.keys)
        hold_code = "SUBJ_CONFLICT" if conflict else admitted.hold_code or self._doubled(statement, rival)
        if found is not None and (found.kind != admitted.kind or (bool(statement.keys) and subject_id != found.subject_id)):
            if found.state in LIVE or admitted.record_id is not None:
                return _rejected(admitted, "SEQ_STATE", found)
            self._retire(found)  # withdrawn, and said anew about somebody else: that is a new record
            found = None
        if found is not None:
            return self._again(statement, found, rival, hold_code)
        if subject_id is None:
            subject_id = self._linker.create(statement.keys, admitted.kind)
        elif not conflict:
            self._linker.extend(subject_id, statement.keys)
        write = _Write(statement, None, subject_id, state="held" if hold_code else "in_force", op="hold" if hold_code else "assert",
                       hold_code=hold_code, reason=None)
        if rival is not None and rival.state in LIVE:
            write.business_key = _retired_key(self._tx.vault, statement.business_key, admitted.record_id or "")
        elif rival is not None:
            self._retire(rival)
        return write

    def _doubled(self, statement: _Statement, rival: Row | None) -> str | None:
        """Why a partner's statement is held beside another that says the same: ours is never held for a partner's sake."""
        if rival is not None and rival.state in LIVE:
            return "DUP_KEY"
        if statement.issuer and any(row.issuer != statement.issuer and row.state == "in_force" for row in self._elsewhere[statement.business_key]):
            return "DUP_OTHER_SOURCE"
        return None

    def _again(self, statement: _Statement, found: Row, rival: Row | None, hold_code: str | None) -> "_Write | Outcome":
        """A record that is known is said again."""
        admitted = statement.admitted
        was: RecordState = found.state
        same = found.content_digest == statement.content and (was != "held" or found.hold_code == hold_code)
        revoked = admitted.reason == "repair_revoked"
        if was == "repaired" and not revoked:
            return _unchanged(admitted, found, "SEQ_STATE") if same else _rejected(admitted, "SEQ_STATE", found)
        if same and was in LIVE:
            return _unchanged(admitted, found, found.hold_code or "DUP_SAME")
        if same and admitted.issuer is None and was != "repaired":
            return _unchanged(admitted, found, "SEQ_STATE")
        if self._once and was in LIVE and getattr(found, "actor", None) == self._actor:
            return _rejected(admitted, "DUP_KEY", found)
        state: RecordState = "held" if hold_code else "in_force"
        op = "amend" if was == state == "in_force" else "hold" if state == "held" else "release" if was == "held" else "assert"
        subject_id = SubjectId(found.subject_id)
        if hold_code != "SUBJ_CONFLICT":
            self._linker.extend(subject_id, statement.keys)
        if statement.business_key != found.business_key and not (rival is not None and rival.state in LIVE):
            if rival is not None:
                self._retire(rival)
            self._rekeyed.append((statement.business_key, found.record_id))
        write = _Write(statement, found, subject_id, state=state, op=op, hold_code=hold_code, reason="repair_revoked" if revoked else None)
        if was == "in_force":
            write.corrected_since = self._tx.now_text
        return write

    def _retire(self, found: Row) -> None:
        """A withdrawn record gives its business key to its successor."""
        self._rekeyed.append((_retired_key(self._tx.vault, found.business_key, found.record_id), found.record_id))

    # --- writing ---

    async def _write(self, writes: Sequence[_Write], outcomes: dict[int, Outcome]) -> None:
        tx = self._tx
        fresh = [write for write in writes if write.found is None]
        drawn = iter(new_ids("rec_", sum(write.statement.admitted.record_id is None for write in fresh), tx.store.random))
        for write in fresh:
            write.record_id = write.statement.admitted.record_id or RecordId(next(drawn))
        content = [write for write in writes if write.state in LIVE]
        sealed = await self._seal(content)
        if len(fresh) < len(writes):
            await tx.execute(_KEEP_VERSIONS, {"wanted": [write.record_id for write in writes if write.found is not None]})
        first = await tx.number(COUNTER, len(writes))
        heads: dict[SubjectId, int] = {}
        inserted: list[tuple[object, ...]] = []
        amended: list[tuple[object, ...]] = []
        withdrawn: list[tuple[object, ...]] = []
        log: list[tuple[object, ...]] = []
        names: list[tuple[str, SubjectId]] = []
        now = tx.now_text
        dataset_id = self._dataset.id
        for seq, write in enumerate(writes, first):
            admitted = write.statement.admitted
            heads[write.subject_id] = seq
            log.append((seq, now, write.record_id, write.subject_id, dataset_id, write.version, write.op, write.reason, self._actor))
            if write.state not in LIVE:
                # the digest goes: after its own source withdrew it, the same words bring it back
                withdrawn.append((write.version, write.state, None, b"", now, seq, write.record_id))
                outcomes[write.statement.index] = Outcome(place=admitted.place, result="withdrawn", record_id=write.record_id,
                                                          version=write.version, seq=seq)
                continue
            row = self._content(write, sealed.get(write.statement.index), seq)
            if write.found is None:
                inserted.append((write.record_id, write.subject_id, dataset_id, admitted.category, admitted.kind, write.business_key,
                                 write.statement.issuer, *row))
            else:
                amended.append((*row, write.record_id))
            if admitted.kind == "individual_business":
                names += [(value, write.subject_id) for key_type, value in admitted.subject_keys if key_type == NAME]
            outcomes[write.statement.index] = Outcome(
                place=admitted.place, result="held" if write.hold_code else "accepted", record_id=write.record_id, version=write.version,
                code=write.hold_code, field=admitted.hold_field if write.hold_code == admitted.hold_code else None, seq=seq,
            )
        await self._linker.write(heads)
        await add_names(tx, names)
        await tx.update(records, ("business_key",), "record_id", self._rekeyed)
        self._rekeyed = []
        await tx.insert(records, _FIXED_COLUMNS + _CONTENT_COLUMNS, inserted)
        await tx.update(records, _CONTENT_COLUMNS, "record_id", amended)
        await tx.update(records, _STATE_COLUMNS, "record_id", withdrawn)
        await tx.insert(changes, _CHANGE_COLUMNS, log)

    async def _seal(self, writes: Sequence[_Write]) -> dict[int, bytes]:
        """For each statement with something secret its ciphertexts as one column, by index."""
        year = self._tx.now.year
        dataset_id = self._dataset.id
        secret = [
            (scope_of(write.statement.admitted.kind, write.subject_id, dataset_id, year), write) for write in writes if write.statement.secret
        ]
        deks_of = await self._tx.vault.deks(self._tx, [scope for scope, _write in secret], create=True)
        ciphertexts = iter(self._tx.vault.seal_many(TABLE, [
            (deks_of[scope], name, write.record_id, encode_value(value))
            for scope, write in secret for name, value in write.statement.secret.items()
        ]))
        return {write.statement.index: pack({name: next(ciphertexts) for name in write.statement.secret}) for _scope, write in secret}

    def _content(self, write: _Write, secret: bytes | None, seq: int) -> tuple[object, ...]:
        """The values of `_CONTENT_COLUMNS`."""
        admitted, found = write.statement.admitted, write.found
        dates = self._dates(write)
        dispute = admitted.dispute_since
        if dispute is None and found is not None and admitted.issuer is None:
            dispute_text = found.dispute_since  # opened here; the source knows nothing of it
        else:
            dispute_text = None if dispute is None else stamp(dispute)
        return (
            write.version, write.state, write.hold_code, admitted.trust, admitted.region, admitted.authority_code, admitted.authority_name,
            admitted.sender, self._officer(admitted.officer), None if dates.decision is None else dates.decision.isoformat(),
            admitted.severity, _encode(dates), *self._period(admitted, dates), admitted.minor, found is not None and bool(found.sealed_flag),
            dispute_text, write.corrected_since, write.statement.clear, secret, _encode(write.statement.texts) if write.statement.texts else None,
            write.statement.content, self._stamp(admitted.received_at), self._tx.now_text, seq,
        )

    def _stamp(self, received_at: datetime) -> str:
        if received_at is not self._received[0]:  # one instant for all rows of a file
            self._received = received_at, stamp(received_at)
        return self._received[1]

    def _dates(self, write: _Write) -> LifeDates:
        """The source's dates, with what only we know: since when it is public here, and duties fulfilled."""
        dates = write.statement.admitted.dates
        before = _NO_DATES if write.found is None else _decode_dates(write.found.dates)
        first = before.first_publication_here
        if first is None and write.state == "in_force":
            first = self._today
        if first == dates.first_publication_here and before.obligation_fulfilled is None:
            return dates
        return replace(dates, first_publication_here=first, obligation_fulfilled=dates.obligation_fulfilled or before.obligation_fulfilled)

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


def period_columns(period: Period) -> tuple[str | None, str | None, str | None]:
    """First day, last day and rule as the tables hold them."""
    return _day(period.first_day), _day(period.last_day), period.rule


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _rejected(admitted: Admitted, code: str, found: Row | None = None) -> Outcome:
    return Outcome(place=admitted.place, result="rejected", code=code, record_id=None if found is None else RecordId(found.record_id))


def _unchanged(admitted: Admitted, found: Row, code: str) -> Outcome:
    return Outcome(place=admitted.place, result="unchanged", code=code, record_id=RecordId(found.record_id), version=found.version)


def _nothing_to_withdraw(admitted: Admitted, found: Row | None = None) -> Outcome:
    """Acknowledged all the same: there is nothing in force."""
    return Outcome(place=admitted.place, result="withdrawn", code="SEQ_STATE", record_id=None if found is None else RecordId(found.record_id))


# --- single records ---------------------------------------------------------------------------------------------------


async def _one(tx: Transaction, record_id: RecordId) -> Row:
    row = await tx.one(_BY_RECORD_ID, {"wanted": [record_id]})
    if row is None:
        raise StoreError("there is no such record", code="record-unknown", place=record_id, hint="record ids begin with rec_")
    return row


async def _change(tx: Transaction, row: Row, values: Mapping[str, object], *, op: str, reason: str | None, actor: str, keep: bool = True) -> int:
    """One change of one record: its present version is kept, the new one stands, the log says so."""
    if keep:
        await tx.execute(_KEEP_VERSIONS, {"wanted": [row.record_id]})
    seq = await tx.number(COUNTER)
    version = row.version + 1
    await tx.execute(sa.update(records).where(records.c.record_id == row.record_id).values(
        version=version, changed_at=tx.now_text, changed_seq=seq, **values
    ))
    await tx.execute(_HEAD_OF_SUBJECT, {"seq": seq, "subject": row.subject_id})
    await tx.insert(changes, _CHANGE_COLUMNS, [(seq, tx.now_text, row.record_id, row.subject_id, row.dataset, version, op, reason, actor)])
    return seq


async def set_state(
    tx: Transaction,
    record_id: RecordId,
    *,
    state: RecordState,
    op: str,
    reason: str | None,
    actor: str,
    dates: LifeDates | None = None,
    period: Period | None = None,
    hold_code: str | None = None,
) -> int:
    """Put a record into another state by a decision made here; the number of the change.

    `dates` replace the stored ones, `period` the stored period, `hold_code` says why a record is held. Raises StoreError
    `record-unknown`, or `record-state` when this state does not follow from the present one by this op.
    """
    row = await _one(tx, record_id)
    was: RecordState = row.state
    if TRANSITIONS[was].get(state) != op or (was == "repaired" and reason != "repair_revoked"):
        raise StoreError(f"a record that is {was} does not become {state} by {op}", code="record-state", place=record_id)
    values: dict[str, object] = {"state": state, "hold_code": hold_code if state == "held" else None}
    kept = _decode_dates(row.dates) if dates is None else dates
    if state == "in_force" and kept.first_publication_here is None:
        kept = replace(kept, first_publication_here=legal_day(tx.now))
    values["dates"] = _encode(kept)
    if period is not None:
        values["publish_from"], values["publish_until"], values["period_rule"] = period_columns(period)
    return await _change(tx, row, values, op=op, reason=reason, actor=actor)


async def mark_dispute(tx: Transaction, record_id: RecordId, since: datetime | None, actor: str) -> int:
    """Mark a record as disputed since an instant, or (None) take the mark away; the number of the change.

    Raises StoreError `record-unknown`, or `record-state` when the mark is there (or gone) already, or the record is withdrawn.
    """
    row = await _one(tx, record_id)
    if row.state not in LIVE:
        raise StoreError(f"a record that is {row.state} is not disputed", code="record-state", place=record_id)
    if (row.dispute_since is None) == (since is None):
        raise StoreError("the mark is there already, or gone already", code="record-state", place=record_id)
    op = "undispute" if since is None else "dispute"
    return await _change(tx, row, {"dispute_since": None if since is None else stamp(since)}, op=op, reason=None, actor=actor)


_FOLLOW = ("version", "changed_at", "changed_seq")


async def mark_recognised(tx: Transaction, record_ids: Sequence[RecordId], *, lifted: bool, reason: str, actor: str) -> None:
    """Log that the effect of partners' records began here, or was lifted; the decisions themselves stand in `recognitions`."""
    rows = await tx.all(_BY_RECORD_ID, {"wanted": list(record_ids)})
    if not rows:
        return
    await tx.execute(_KEEP_VERSIONS, {"wanted": [row.record_id for row in rows]})
    first = await tx.number(COUNTER, len(rows))
    op = "lift" if lifted else "recognise"
    await tx.update(records, _FOLLOW, "record_id", [(row.version + 1, tx.now_text, seq, row.record_id) for seq, row in enumerate(rows, first)])
    heads = {row.subject_id: seq for seq, row in enumerate(rows, first)}
    await tx.execute(_HEAD_OF_SUBJECT, [{"seq": seq, "subject": subject_id} for subject_id, seq in heads.items()])
    await tx.insert(changes, _CHANGE_COLUMNS, [
        (seq, tx.now_text, row.record_id, row.subject_id, row.dataset, row.version + 1, op, reason, actor) for seq, row in enumerate(rows, first)
    ])


async def erase(tx: Transaction, record_id: RecordId, *, actor: str) -> int:
    """Delete all that a record says, in every version; the number of the change.

    There remain id, dataset, version, op and time. When nothing else is kept about the subject its keys go too, and for a person
    the data key. Raises StoreError `record-unknown`, or `record-state` when it is erased already.
    """
    row = await _one(tx, record_id)
    if row.state == "erased":
        raise StoreError("the record is erased already", code="record-state", place=record_id)
    await tx.execute(_DROP_VERSIONS, {"record": record_id})
    nothing = dict.fromkeys(_ERASED_COLUMNS)
    seq = await _change(tx, row, {
        **nothing, "state": "erased", "business_key": _retired_key(tx.vault, row.business_key, record_id), "dates": b"{}", "clear": b"{}",
        "content_digest": b"", "minor": False, "sealed_flag": False, "trust": "vouched",
    }, op="erase", reason="erased", actor=actor, keep=False)
    tx.shredded = True
    if await tx.one(_WHAT_IS_LEFT, {"subject": row.subject_id}) is None:
        await _shred(tx, SubjectId(row.subject_id))
    return seq


async def erase_subject(tx: Transaction, subject_id: SubjectId, *, actor: str) -> int:
    """Erase every record of a subject, and destroy its data key: every copy of what it encrypted is unreadable. How many records.

    Raises StoreError `subject-unknown`.
    """
    if await subject_by_id(tx, subject_id) is None:
        raise StoreError("there is no such subject", code="subject-unknown", place=subject_id)
    kept = await tx.all(_ALL_LEFT, {"subject": subject_id})
    for row in kept:
        await erase(tx, RecordId(row.record_id), actor=actor)
    await _shred(tx, subject_id)
    return len(kept)


async def _shred(tx: Transaction, subject_id: SubjectId) -> None:
    tx.shredded = True
    await tx.execute(sa.delete(subject_keys).where(subject_keys.c.subject_id == subject_id))
    await tx.execute(sa.delete(subject_names).where(subject_names.c.subject_id == subject_id))
    await tx.execute(sa.delete(deks).where(deks.c.scope == subject_scope(subject_id)))
