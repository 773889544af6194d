"""Judging the statements of a chunk: which record each is about, and what it does to it.

Rules: they stand in `store/records.py`. All is decided from what was read at the beginning of a round, in which no record is touched
twice; then the round is written. This room must not open `Unpublished`, check identifiers, compute periods or redact.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from gateway.core.records.model import Admitted, Dataset, RecordId, RecordState, SubjectId
from gateway.store.dialects import among
from gateway.store.purged import purged
from gateway.store.reads import Row
from gateway.store.statements import SAID, Outcome, Statement
from gateway.store.states import BY_RECORD_ID, FOUND, LIVE, erase, retired_key
from gateway.store.store import Transaction
from gateway.store.subjects import Linker
from gateway.store.tables import changes, records
from gateway.store.writing import PeriodOf, Write, Writer

# fmt: off
WITHDRAWALS: Final[Mapping[str, tuple[RecordState, str]]] = {
    "revoked": ("retracted", "retract"), "corrected": ("retracted", "retract"), "objection_upheld": ("retracted", "retract"),
    "no_longer_public": ("retracted", "retract"), "repaired": ("repaired", "repair"), "expired": ("expired", "expire"),
}
# fmt: on
"""Reason of a withdrawal (exchange.md §9) → state and op."""

BY_BUSINESS_KEY = sa.select(*FOUND).where(records.c.dataset == sa.bindparam("of_dataset"), among(records.c.business_key, "wanted"))
BY_BUSINESS_KEY_SAID_BY = BY_BUSINESS_KEY.add_columns(changes.c.actor).join(changes, changes.c.seq == records.c.changed_seq)


STANDING: Final = LIVE | {"expired", "repaired"}
"""States in which what a record says is still its authority's word."""


class Accepting:
    """The acceptance of one chunk."""

    def __init__(self, tx: Transaction, dataset: Dataset, actor: str, period_of: PeriodOf, *, once: bool) -> None:
        self._tx = tx
        self._once = once
        self._dataset = dataset
        self._actor = actor
        self._linker = Linker(tx)
        self._writer = Writer(tx, dataset, actor, period_of)
        self._by_key: dict[tuple[str, str], Row] = {}
        self._elsewhere: dict[str, list[Row]] = {}
        self._by_id: dict[str, Row] = {}
        self._purged: frozenset[str] = frozenset()
        self._rekeyed: list[tuple[str, str]] = []

    async def round(self, statements: Sequence[Statement], outcomes: dict[int, Outcome]) -> None:
        """Decide and write statements of which no two are about one record."""
        await self._find(statements)
        await self._linker.look_up([statement.keys for statement in statements if statement.admitted.op == "upsert"])
        writes: list[Write] = []
        erasures: list[tuple[Statement, RecordId]] = []
        for statement in statements:
            decided = self._decide(statement)
            if isinstance(decided, Write):
                writes.append(decided)
            elif isinstance(decided, Outcome):
                outcomes[statement.index] = decided
            else:
                erasures.append((statement, decided))
        if writes:
            await self._writer.write(writes, self._rekeyed, self._linker, outcomes)
            self._rekeyed = []
        for statement, record_id in erasures:
            seq = await erase(self._tx, record_id, actor=self._actor)
            outcomes[statement.index] = Outcome(place=statement.admitted.place, result="withdrawn", record_id=record_id, seq=seq)
        if erasures:
            self._linker = Linker(self._tx)  # its subjects may have lost their keys

    async def _find(self, statements: Sequence[Statement]) -> None:
        """The records that these statements may be about."""
        self._by_key, self._elsewhere, self._by_id = {}, defaultdict(list), {}
        wanted = {"of_dataset": self._dataset.id, "wanted": [statement.business_key for statement in statements]}
        for row in await self._tx.all(BY_BUSINESS_KEY_SAID_BY if self._once else BY_BUSINESS_KEY, wanted):
            self._by_key[row.issuer, row.business_key] = row
            self._elsewhere[row.business_key].append(row)
        ids = [statement.admitted.record_id for statement in statements if statement.admitted.record_id is not None]
        if ids:
            self._by_id = {row.record_id: row for row in await self._tx.all(BY_RECORD_ID, {"wanted": ids})}
        self._purged = await purged(self._tx, [row.record_id for row in self._by_id.values() if row.state == "erased"])

    # --- decisions ---

    def _decide(self, statement: Statement) -> "Write | Outcome | RecordId":
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
            if found.state == "erased" and (admitted.op != "upsert" or found.record_id not in self._purged):
                return _rejected(admitted, "SEQ_ERASED")
            if _anothers(admitted, found):
                said_before = admitted.op == "upsert" and found.content_digest[:SAID] == statement.content[:SAID]
                return _unchanged(admitted, found, "DUP_SAME") if said_before else _rejected(admitted, "SCOPE_OWNER", found)
            if admitted.op != "upsert" and _weaker(admitted, found):
                return _rejected(admitted, "SCOPE_OWNER", found)
        if admitted.op == "withdraw":
            return self._withdraw(statement, found)
        if admitted.op == "erase":
            return _nothing_to_withdraw(admitted) if found is None else RecordId(found.record_id)
        return self._upsert(statement, found, rival)

    def _withdraw(self, statement: Statement, found: Row | None) -> "Write | Outcome":
        admitted = statement.admitted
        if found is None or found.state not in LIVE:
            return _nothing_to_withdraw(admitted, found)
        state, op = WITHDRAWALS.get(admitted.reason or "", ("retracted", "retract"))  # an unknown reason does not stop a withdrawal
        reason = admitted.reason if admitted.reason in WITHDRAWALS else "no_longer_public"
        return Write(statement, found, SubjectId(found.subject_id), state=state, op=op, reason=reason)

    def _upsert(self, statement: Statement, found: Row | None, rival: Row | None) -> "Write | Outcome":
        admitted = statement.admitted
        subject_id, conflict = self._linker.link(statement.keys)
        hold_code = "SUBJ_CONFLICT" if conflict else admitted.hold_code or self._doubled(statement, rival)
        revived = found is not None and found.state == "erased"  # of what is purged not even whom it was about counts any more
        if found is not None and not revived:
            if found.kind == admitted.kind and (not statement.keys or subject_id == found.subject_id):
                return self._again(statement, found, rival, hold_code)
            if found.state in LIVE or admitted.record_id is not None:
                return _rejected(admitted, "SEQ_STATE", found)
            self._retire(found)  # withdrawn, and said anew about somebody else: that is a new record
            found = None
        if subject_id is None:
            subject_id = self._linker.create(statement.keys, admitted.kind)
        elif not conflict:
            self._linker.extend(subject_id, statement.keys)
        state: RecordState = "held" if hold_code else "in_force"
        write = Write(statement, found, subject_id, state=state, op="hold" if hold_code else "assert", hold_code=hold_code)
        write.revived = revived
        if rival is not None and rival.state in LIVE:
            write.business_key = retired_key(self._tx.vault, statement.business_key, admitted.record_id or "")
        elif rival is not None:
            self._retire(rival)
        return write

    def _doubled(self, statement: Statement, rival: Row | None) -> str | None:
        """Why a partner's statement is held beside another that says the same: ours is never held for a partner's sake."""
        if rival is not None and rival.state in LIVE:
            return "DUP_KEY"
        if statement.issuer and any(
            row.issuer != statement.issuer and row.state == "in_force" for row in self._elsewhere[statement.business_key]
        ):
            return "DUP_OTHER_SOURCE"
        return None

    def _again(self, statement: Statement, found: Row, rival: Row | None, hold_code: str | None) -> "Write | Outcome":
        """A record that is known is said again."""
        admitted = statement.admitted
        was: RecordState = found.state
        said_before = found.content_digest[:SAID] == statement.content[:SAID]
        if _weaker(admitted, found):
            return _unchanged(admitted, found, "DUP_SAME") if said_before else _rejected(admitted, "DUP_OTHER_SOURCE", found)
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
        write = Write(statement, found, subject_id, state=state, op=op, hold_code=hold_code, reason="repair_revoked" if revoked else None)
        if was == "in_force" and not said_before:
            write.corrected_since = self._tx.now_text
        return write

    def _retire(self, found: Row) -> None:
        """A withdrawn record gives its business key to its successor."""
        self._rekeyed.append((retired_key(self._tx.vault, found.business_key, found.record_id), found.record_id))


def _weaker(admitted: Admitted, found: Row) -> bool:
    """Whether nobody signs for these words while an authority signed for those that stand: such words change nothing.

    A partner's own word about its record always counts: its batch is signed, and it may have learnt to trust its source less.
    """
    return admitted.issuer is None and admitted.trust == "vouched" and found.trust == "signed"


def _anothers(admitted: Admitted, found: Row) -> bool:
    """Whether an authority's own word stands, for which the sender of these may not speak: they change nothing of it, nor take it back.

    Where a dataset knows a record by its subject alone, every authority that may send would else rewrite every other's.
    """
    if admitted.sender is None or found.sender is None or found.state not in STANDING:
        return False
    return not {found.sender, found.authority_code}.intersection({admitted.sender, *admitted.speaks_for})


def _rejected(admitted: Admitted, code: str, found: Row | None = None) -> Outcome:
    return Outcome(place=admitted.place, result="rejected", code=code, record_id=None if found is None else RecordId(found.record_id))


def _unchanged(admitted: Admitted, found: Row, code: str) -> Outcome:
    return Outcome(place=admitted.place, result="unchanged", code=code, record_id=RecordId(found.record_id), version=found.version)


def _nothing_to_withdraw(admitted: Admitted, found: Row | None = None) -> Outcome:
    """Acknowledged all the same: there is nothing in force."""
    return Outcome(
        place=admitted.place, result="withdrawn", code="SEQ_STATE", record_id=None if found is None else RecordId(found.record_id)
    )
