"""Answer a query: a subject, records, lists and their listings, as this caller may see them now.

Each story reads once what it stands under (`begin`), finds rows in the read model (the public) or live (bound tiers), and gives bytes.
Rules:
- a rendering that is stale is never shown: the answer is then made from the records themselves, with the same bytes.
- absent, hidden, removed, not yet public, someone else's: one 404, found out by the same number of statements.
- an individual household is reached by its exact code, its exact name or its id, and stands in no bulk output but the lists whose
  basis demands it; a natural person is nobody to the public.
- a value shaped like a citizen number is neither looked up nor suggested upon.
No story here returns a Record, or anything that did not pass a View.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, structs

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import ErrorItem, NoActivePolicy, NotFound, PolicyExpired, UsccInvalid
from gateway.core.publication.documents import FOREVER, etag, notice
from gateway.core.publication.subjects import SUCCEEDED
from gateway.core.records.identifiers import check_uscc, looks_like_citizen_number, normalise_code, suggest_uscc, uscc_is_valid
from gateway.core.records.model import SubjectId
from gateway.operations.answer_lists import listings, lists, one_list
from gateway.operations.answering import (
    DOCUMENT,
    ENCODER,
    MAX_AGE,
    Scene,
    answer,
    begin,
    ended,
    in_language,
    marked,
    refuse_ended,
    validator_of_stored,
)
from gateway.operations.asking import Answer, Ask, Language
from gateway.operations.describe_data import dataset, datasets, dictionary, root, schema, shapes
from gateway.operations.find_subjects import find_subjects
from gateway.operations.live_records import live, live_subject
from gateway.operations.look_up import is_public_organisation, kind_of_code
from gateway.operations.look_up import shown_subject as shown_document
from gateway.operations.owing import pay
from gateway.operations.reaching import owed_of
from gateway.operations.suggest import suggest
from gateway.operations.walk_records import walk_records
from gateway.services import Services
from gateway.store import renderings
from gateway.store.conditions import Condition
from gateway.store.store import Row
from gateway.store.subjects import stored_value

__all__ = [
    "Answer",
    "Ask",
    "dataset",
    "datasets",
    "dictionary",
    "find_subjects",
    "listings",
    "lists",
    "one_list",
    "record",
    "records_page",
    "root",
    "schema",
    "shapes",
    "shown_subject",
    "subject_document",
    "subject_records",
    "suggest",
    "validate_uscc",
]

# --- subjects ----------------------------------------------------------------------------------------------------------


async def subject_document(services: Services, subject: str, caller: Caller, language: Language) -> Answer:
    """One subject by code or id.

    Raises UsccInvalid for what is neither, PolicyExpired, NotFound.
    """
    scene = await begin(services, caller, language)
    row = await _find(scene, subject)
    if scene.public and _true(scene, row):
        if row.body is None:
            raise NotFound
        kept = validator_of_stored(services, scene.forms, row.etag, row.body)
        return await _subject_answer(scene, subject, row.body, kept, row.valid_until)
    made = await live_subject(scene, row)
    if made is None:
        raise NotFound
    body, valid_until = made
    await pay(scene, owed_of(scene.forms), "subject", [body])
    return await _subject_answer(scene, subject, body, None, valid_until)


async def _subject_answer(scene: Scene, asked: str, body: bytes, validator: str | None, valid_until: str) -> Answer:
    if scene.language != "zh-CN":
        body, validator = in_language(body, scene.language), None
    name = asked if asked.startswith("sub_") else normalise_code(asked)
    if name.startswith("92"):  # a household's whole code stands nowhere: it is linked by its opaque id
        name = str(DOCUMENT.decode(body)["links"]["self"]).rpartition("/")[2]
    links: tuple[tuple[str, str], ...] = (("alternate", f"{scene.origin}/subjects/{name}"),)
    if name != asked:
        links = (("canonical", f"{scene.origin}/v1/subjects/{name}"), *links)
    # the validator of a rendering is of its stored bytes; a document made live has the same
    given = answer(scene, marked(scene, body), validator=validator or scene.etag(body), valid_until=valid_until, links=links)
    successor = await _successor(scene, body) if SUCCEEDED in body and not asked.startswith("sub_") else None
    return given if successor is None else structs.replace(given, moved=f"{scene.origin}/v1/subjects/{successor}")


async def _successor(scene: Scene, body: bytes) -> str | None:
    """The code under which a subject goes on: of the last whose document names another, if the caller is shown it.

    None where the name leads nowhere, to a household, in a circle or on for ever: then its own document is the answer.
    """
    if ended(scene, kinds=("legal",)):  # nothing may be shown of whom it would lead to
        return None
    passed: set[str] = set()
    found: str | None = None
    for _ in range(_MOST_SUCCESSORS):
        code = _SUCCESSION.decode(body)
        if not isinstance(code.uscc, str) or code.uscc in passed:
            return None
        passed.add(code.uscc)
        if code.successor_code is None or "successor_code" in code.treatments or not check_uscc(code.successor_code).valid:
            return found
        row = await renderings.subject_by_key(scene.services.store.reads, "uscc", code.successor_code)
        shown = None if row is None or kind_of_code(code.successor_code) != "legal" else await shown_document(scene, row)
        if shown is None:
            return found
        found, body = code.successor_code, shown
    return None


class _Succession(Struct):
    treatments: Mapping[str, str]
    uscc: str | None = None
    successor_code: str | None = None


_SUCCESSION = msgspec.json.Decoder(_Succession)
_MOST_SUCCESSORS = 8


def _true(scene: Scene, row: Row) -> bool:
    """Whether the rendering of a subject may be shown as it stands."""
    return bool(row.plan == scene.forms.tag and row.rendered_seq == row.head_seq and row.valid_until > scene.now_text)


async def _find(scene: Scene, text: str) -> Row:
    """The subject behind a code or id.

    Raises UsccInvalid, PolicyExpired, NotFound.
    """
    reads = scene.services.store.reads
    if text.startswith("sub_"):
        refuse_ended(scene)  # an id does not say of which kind it is
        row = await renderings.subject_by_id(reads, text)
    else:
        code = normalise_code(text)
        if not uscc_is_valid(code):
            raise await _uscc_invalid(scene, text, code)
        refuse_ended(scene, kinds=(kind_of_code(code),))
        row = await renderings.subject_by_key(reads, "uscc", stored_value(scene.services.store.vault, "uscc", code, kind_of_code(code)))
    if row is None:
        raise NotFound
    return row


async def _uscc_invalid(scene: Scene, text: str, code: str) -> UsccInvalid:
    """What is wrong with a code, and which codes may be meant; nothing of that for what looks like a person's number."""
    check = check_uscc(code)
    errors = tuple(
        ErrorItem(name, _CODE_FAULTS.get(name, "不符合编码规则"), parameter="subject")
        for name, state in check.checks.items()
        if state == "failed"
    )
    suggestions: list[dict[str, object]] = []
    if not looks_like_citizen_number(text):
        for suggested, reason in suggest_uscc(text):
            suggestions.append({"code": suggested, "reason": reason, "known": await is_public_organisation(scene, suggested)})
    detail = errors[0].detail if errors else "不是统一社会信用代码。"
    return UsccInvalid(detail, errors=errors, suggestions=tuple(suggestions))


_CODE_FAULTS: Mapping[str, str] = {
    "length": "应为 18 位",
    "alphabet": "含有不使用的字符",
    "structure": "登记管理部门、机构类别或行政区划不符",
    "check_digit": "第 18 位校验码不符",
}


async def shown_subject(scene: Scene, subject: str) -> Row:
    """A subject of which something is shown.

    Raises UsccInvalid, PolicyExpired, NotFound.
    """
    row = await _find(scene, subject)
    hidden = row.body is None if scene.public and _true(scene, row) else await live_subject(scene, row) is None
    if hidden:
        raise NotFound
    return row


async def subject_records(services: Services, subject: str, caller: Caller, ask: Ask) -> Answer:
    """The records of one subject; an unknown subject is the same 404 as one of which nothing is shown."""
    scene = await begin(services, caller, ask.language)
    row = await shown_subject(scene, subject)
    fixed = (Condition(column="subject_id", op="eq", values=(row.subject_id,)),) if scene.public else ()
    return await walk_records(scene, ask, fixed=fixed, subject=SubjectId(row.subject_id), name="records")


# --- records -----------------------------------------------------------------------------------------------------------


class _Of(Struct):
    dataset: str


_DATASET = msgspec.json.Decoder(_Of)


async def record(services: Services, record_id: str, caller: Caller, language: Language) -> Answer:
    """One record by its id.

    Raises NotFound; PolicyExpired instead, where it may lie behind a plan whose grounds have ended.
    """
    scene = await begin(services, caller, language)
    row = await renderings.record_by_id(services.store.reads, record_id)
    nothing = PolicyExpired if ended(scene) else NotFound  # which dataset an id is of is nobody's to know
    if row is None and scene.public:
        raise nothing
    body: bytes | None
    until = FOREVER
    if (
        scene.public
        and row is not None
        and row.version_seq == row.changed_seq
        and row.plan == scene.forms.tag
        and row.valid_from <= scene.now_text < row.valid_until
    ):
        body, until = row.body, row.valid_until
    elif (
        scene.public
        and row is not None
        and row.version_seq is None
        and not row.dirty
        and row.again is None
        and scene.forms.tag in (row.known or "")
    ):
        body = None  # the reader has looked at it: it is not public
    else:  # made at this moment; periods end at legal midnights, past which no answer is kept
        body = (await live(scene, [record_id])).get(record_id)
    if body is None:
        raise nothing
    await pay(scene, owed_of(scene.forms), "record", [body])
    if scene.language != "zh-CN":
        body = in_language(body, scene.language)
    return answer(scene, marked(scene, body), valid_until=until, datasets=(_DATASET.decode(body).dataset,))


async def records_page(services: Services, caller: Caller, ask: Ask) -> Answer:
    """Records across subjects; organisations only for tiers without a personal plan."""
    scene = await begin(services, caller, ask.language)
    fixed = (Condition(column="bulk", op="eq"),) if scene.public else ()
    return await walk_records(scene, ask, fixed=fixed, name="records")


# --- codes -------------------------------------------------------------------------------------------------------------


async def validate_uscc(services: Services, code: str, language: Language) -> Answer:
    """What arithmetic alone says of a code; no data is asked, and no policy needs to be in force."""
    check = check_uscc(code)
    personal = looks_like_citizen_number(code) and not check.valid
    document: dict[str, Any] = {
        "code": None if personal else check.code,
        "valid": check.valid,
        "checks": check.checks,
        "parts": None if personal else check.parts,
        "suggestions": [] if check.valid or personal else [{"code": each, "reason": reason} for each, reason in suggest_uscc(code)],
    }
    if services.settings.demo:
        document["notice"] = notice(language)
    body = ENCODER.encode(document)
    try:
        plan = services.policies.current().hash_of(PUBLIC.plan_tier, PUBLIC.purpose)
    except NoActivePolicy:
        plan = ""
    return Answer(
        body=body,
        etag=etag(services.store.vault.key("etag"), b"validate", body),
        max_age=MAX_AGE,
        policy_version=services.policies.version,
        policy_plan=plan,
        sample=services.settings.demo,
    )
