"""Records: how a statement becomes one, how its state changes, how it is erased. The only writer of `records` and of the change log.

Rules:
- A statement is told by its business key within (dataset, issuer), a partner's by its own record id: nobody overwrites another's record.
- Said again, it is *unchanged*. Said otherwise, it is a new version; the old one stays with actor and reason. Every change is a version
  and one row of the change log, written in the same transaction.
- What was withdrawn comes back only when it is said anew: after a repair only with reason `repair_revoked`; after a decision here (an
  objection upheld, a retraction, the end of a period) the same words do not bring it back, other words do.
- Words that nobody signs for change nothing that an authority signed for: said again they are unchanged, otherwise refused.
- An amendment never moves a record to another subject (SEQ_STATE): that is a retraction and a new record.
- What is in doubt is *held*: stored, shown to nobody outside, until said better or released by a person.
- Erasing leaves id, version, op and time; a person of whom nothing else is kept loses key, blind indexes and with them every copy.
- What was erased is not said again under its id (SEQ_ERASED), but for what was only purged because an agreement ended: its own sender's
  word makes a next version of it, about whomever it names, as if it were new.

This room must not check identifiers, compute periods or redact: it is told.
"""

import hmac
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from gateway.core.records.model import Admitted, Dataset, LifeDates, Period, Redaction
from gateway.store.accepting import WITHDRAWALS, Accepting
from gateway.store.loading import load, period_candidates
from gateway.store.statements import SAID, Outcome, Preparing, Statement
from gateway.store.states import TRANSITIONS, erase, erase_subject, mark_dispute, mark_recognised, set_state
from gateway.store.store import Transaction
from gateway.store.subjects import subject_by_id, subject_by_key, subjects_by_name
from gateway.store.vault import Vault

__all__ = [
    "TRANSITIONS",
    "WITHDRAWALS",
    "Outcome",
    "accept",
    "erase",
    "erase_subject",
    "load",
    "mark_dispute",
    "mark_recognised",
    "only_repeats",
    "period_candidates",
    "set_state",
    "subject_by_id",
    "subject_by_key",
    "subjects_by_name",
]


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
    preparing = Preparing(tx.vault, dataset)
    statements = [
        Statement(index, each, each.values.open().copy(), redacted, preparing)
        for index, (each, redacted) in enumerate(zip(admitted, texts, strict=True))
    ]
    outcomes: dict[int, Outcome] = {}
    accepting = Accepting(tx, dataset, actor, period_of, once=once)
    # a record is touched once a round: what says something about the same record again waits for the next one
    if statements and _of_different_records(statements):
        await accepting.round(statements, outcomes)
        return [outcomes[index] for index in range(len(statements))]
    rounds: dict[int, list[Statement]] = defaultdict(list)
    seen: dict[tuple[str, str], int] = {}
    for statement in statements:
        key, rid = (statement.issuer, statement.business_key), statement.admitted.record_id
        turn = seen.get(key, 0)
        if rid is not None:
            turn = max(turn, seen.get(("record", rid), 0))
            seen["record", rid] = turn + 1
        seen[key] = turn + 1
        rounds[turn].append(statement)
    for _turn, chosen in sorted(rounds.items()):
        await accepting.round(chosen, outcomes)
    return [outcomes[index] for index in range(len(statements))]


def _of_different_records(statements: Sequence[Statement]) -> bool:
    """Whether no key and no record id stands in two of them; keys of two issuers may be equal, so that is not always seen."""
    ids = [rid for each in statements if (rid := each.admitted.record_id) is not None]
    return len({each.business_key for each in statements}) == len(statements) and len(set(ids)) == len(ids)


def only_repeats(vault: Vault, dataset: Dataset, admitted: Admitted, content_digest: bytes) -> bool:
    """Whether a statement has the values that a record's content digest was made of, whatever else is said about it."""
    statement = Statement(0, admitted, admitted.values.open().copy(), {}, Preparing(vault, dataset))
    return hmac.compare_digest(statement.content[:SAID], content_digest[:SAID])
