"""Read the timeline of a subject: what happened to those of its records that the caller may see now (api.md §7.2).

Rules: a subject of which nothing is shown is the one 404; nothing is told of a record that is not shown. A bound caller pays for the
records that a page names. A walk is of one state of the records, newest event first.
"""

from gateway.core.callers.caller import Caller
from gateway.core.publication import timeline
from gateway.core.publication.timeline import Event
from gateway.core.records.model import SubjectId
from gateway.operations import owing, pages, walking
from gateway.operations.answer_query import shown_subject
from gateway.operations.answering import DOCUMENT, ENCODER, begin
from gateway.operations.asking import Answer, Ask
from gateway.operations.filtering import Plan
from gateway.operations.reaching import owed_of
from gateway.operations.row_forms import Form
from gateway.services import Services
from gateway.store import disputes
from gateway.store.conditions import Condition

_FORM = Form(columns=(), fields=(), flat=False, trailer=False, count="none", facets=())
_SHAPE = "timeline"


async def read_timeline(services: Services, subject: str, caller: Caller, ask: Ask) -> Answer:
    """A page of events.

    Raises UsccInvalid, NotFound, PolicyExpired, InvalidParameter for a limit that is none.
    """
    limit = pages.limit_of(ask.params.get("limit"))
    scene = await begin(services, caller, ask.language)
    row = await shown_subject(scene, subject)
    position = ask.pages.position(scene.forms.tag)
    snapshot, version = walking.snapshot_of(scene), scene.head.version
    at: Event | None = None
    if position is not None:
        snapshot, version = position.snapshot, str(position.keys[0])
        at = Event(*(str(key) for key in position.keys[1:]))
    fixed = (Condition(column="subject_id", op="eq", values=(row.subject_id,)),) if scene.public else ()
    plan = Plan(conditions=fixed, predicates=(), order=(), sorting=(), listing=False)
    source = walking.source_of(scene, SubjectId(row.subject_id))
    bodies = [body async for step in walking.everything(source, plan, snapshot=snapshot) for body in step]
    documents = {document["id"]: (document, body) for document, body in zip(map(DOCUMENT.decode, bodies), bodies, strict=True)}
    states = await disputes.states(services.store.reads, list(documents))
    found = timeline.events(
        [document for document, _ in documents.values()], {record: timeline.objections_of(each) for record, each in states.items()}
    )
    back = position is not None and position.back
    if back:
        before = [each for each in found if at is None or each[0] > at]
        page, ahead, behind = before[-limit:], True, len(before) > limit
    else:
        after = [each for each in found if at is None or each[0] < at]
        page, ahead, behind = after[:limit], len(after) > limit, at is not None
    named = dict.fromkeys(event.record for event, _ in page)
    await owing.pay(scene, owed_of(scene.forms), _SHAPE, [documents[record][1] for record in named])
    return pages.page_answer(
        scene,
        ask,
        _FORM,
        [ENCODER.encode(timeline.event_document(event, document, scene.origin)) for event, document in page],
        version=version,
        snapshot=snapshot,
        first=_keys(page[0][0]) if page and behind else None,
        last=_keys(page[-1][0]) if page and ahead else None,
    )


def _keys(event: Event) -> tuple[str, str, str]:
    return event.at, event.record, event.event
