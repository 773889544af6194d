"""Review held texts: list, show, release, edit, refuse (policy.md §13).

Rules: a reviewer is a department caller with the purpose of supervision, for records that its organisation decided or sent and that
its grants of today reach; a decision owes what a look at the record owes (case reference, rows, audit). An administrator is none, and
a partner's record is reviewed where it was made. Only texts that some plan shows on condition of hold wait.
A decision is about exactly the redacted text that was shown: when the record changed meanwhile, it is a conflict. Releasing widens one
record: record, change row, decision and audit stand in one transaction, and every exit follows the change log. No raw text is read
here, and nothing is redacted by a request: an edit puts placeholders over places of the redacted text.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.callers.caller import Caller
from gateway.core.errors import Conflict, InvalidParameter
from gateway.core.records.model import Redaction, SubjectId
from gateway.operations.answering import refuse_ended
from gateway.operations.waiting_texts import desk, pay, reviewer, same_texts, split, waiting_text
from gateway.services import Services
from gateway.store import audit, reviews
from gateway.store.reviews import Held, Put

PLACEHOLDER: Final = "〔隐去〕"
"""What a reviewer puts over a place."""
_MAX_SPANS: Final = 200
_MAX_REASON: Final = 400


class ReviewDecision(Struct, frozen=True, kw_only=True):
    """What became of it."""

    id: str
    decision: str
    decided: int
    """Texts decided by it: more than one with `same_text`."""


async def approve(services: Services, caller: Caller, review: str, *, same_text: bool = False) -> ReviewDecision:
    """Release the text as it was shown; with `same_text` every text of this organisation that reads exactly so.

    Raises NotPermitted, CaseRefMissing, NotFound, RowBudgetSpent, AuditUnavailable, Conflict.
    """
    return await _decide(services, caller, review, lambda text: replace(text, decided="released"), act="approve", same_text=same_text)


async def edit(services: Services, caller: Caller, review: str, spans: Sequence[tuple[int, int]]) -> ReviewDecision:
    """Put placeholders over places of the text, and release what is left.

    Raises NotPermitted, CaseRefMissing, NotFound, RowBudgetSpent, AuditUnavailable, Conflict, InvalidParameter.
    """
    places = sorted(spans)
    if not places or len(places) > _MAX_SPANS or any(first[1] > second[0] for first, second in pairwise(places)):
        raise InvalidParameter("places must be given, in bounds, and not overlap", place="/spans")

    def edited(text: Redaction) -> Redaction:
        if any(not 0 <= start < end <= len(text.strict) for start, end in places):
            raise InvalidParameter("a place lies outside the text", place="/spans")
        pieces: list[str] = []
        at = 0
        for start, end in places:
            pieces += text.strict[at:start], PLACEHOLDER
            at = end
        left = "".join((*pieces, text.strict[at:]))
        return replace(text, strict=left, third_parties=left, decided="released", doubts=())

    return await _decide(services, caller, review, edited, act="edit")


async def refuse(services: Services, caller: Caller, review: str, reason: str) -> ReviewDecision:
    """The text stays held; it is out of the queue until it or the redactor changes.

    Raises NotPermitted, CaseRefMissing, NotFound, RowBudgetSpent, AuditUnavailable, Conflict, InvalidParameter.
    """
    if not reason.strip() or len(reason) > _MAX_REASON:
        raise InvalidParameter("a reason of at most 400 characters is needed", place="/reason")
    return await _decide(services, caller, review, lambda text: replace(text, decided="refused"), act="refuse", reason=reason)


async def _decide(
    services: Services,
    caller: Caller,
    review: str,
    change: Callable[[Redaction], Redaction],
    *,
    act: str,
    same_text: bool = False,
    reason: str | None = None,
) -> ReviewDecision:
    scene = await desk(services, caller)
    org = reviewer(caller)
    record_id, field = split(review)
    actor = f"app:{caller.app}"
    reads = services.store.reads
    held, text = waiting_text(scene, await reviews.one(reads, record_id, gates=scene.gates), field)
    refuse_ended(scene, (held.dataset,))
    others = await same_texts(reads, scene, held, field, text) if same_text else []
    await pay(scene, f"review.{act}", [held, *(each for each, _ in others if each.record_id != record_id)])
    async with services.store.transaction() as tx:
        held, text = waiting_text(scene, await reviews.one(tx, record_id, gates=scene.gates), field)
        chosen: list[tuple[Held, list[str]]] = [(held, [field])]
        if same_text:
            chosen = _together(chosen + await same_texts(tx, scene, held, field, text))
        puts: list[Put] = []
        decided: list[tuple[str, str, Redaction, Redaction]] = []
        for (each, _), was in zip(chosen, await reviews.whole(tx, chosen), strict=True):
            now = {name: change(text) for name, text in was.items()}
            puts.append(Put(held=each, texts={**each.texts, **now}))
            decided += [(each.record_id, name, was[name], text) for name, text in now.items()]
        done = await reviews.put_texts(tx, puts, reason=f"text-{act}", actor=actor)
        if len(done) < len(puts):
            raise Conflict("the record changed meanwhile", hint="look at the text again")
        await reviews.decide(tx, decided, reason=reason, actor=actor)
        for each, fields in chosen:
            await audit.write(
                tx,
                actor,
                f"text.{act}",
                f"record/{each.record_id}",
                {"dataset": each.dataset, "fields": sorted(fields), "org": org, "seq": done[each.record_id], "same_text": same_text},
                subject=None if each.kind == "legal" else SubjectId(each.subject_id),
            )
    return ReviewDecision(id=review, decision=decided[0][3].decided, decided=len(decided))


def _together(chosen: list[tuple[Held, list[str]]]) -> list[tuple[Held, list[str]]]:
    """One entry a record."""
    found: dict[str, tuple[Held, list[str]]] = {}
    for held, fields in chosen:
        found.setdefault(held.record_id, (held, []))[1].extend(fields)
    return list(found.values())
