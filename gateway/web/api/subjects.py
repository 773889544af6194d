"""Subjects: search, one, its records; offers while typing; a code's arithmetic (api.md §7.2, §7.4)."""

from typing import Final

from litestar.params import FromPath
from msgspec import structs

from gateway.operations import answer_query
from gateway.operations.read_timeline import read_timeline
from gateway.web.api import shapes
from gateway.web.api.common import (
    CASE_REF,
    CURSOR,
    DATASET,
    EXAMPLE_PAGE,
    KIND,
    PAGE_LIMIT,
    PAGE_PROBLEMS,
    PAGING,
    PURPOSE,
    REGION,
    SORT,
    SUBJECT,
    Q,
)
from gateway.web.asked import answer_alike, begin, without_suffix
from gateway.web.describe import TABLE_MEDIA, AnyRequest, Described, Parameter, path
from gateway.web.replies import Reply

_SUBJECT: Final = {
    "id": "sub_2222222222222222222222222a",
    "uscc": "91220502XXT00002X2",
    "name": "通化市示例药业有限公司",
    "former_names": [],
    "kind": "enterprise",
    "kind_label": "企业",
    "region": "220502",
    "region_label": "东昌区",
    "industry": "C27",
    "status": "active",
    "status_label": "存续",
    "established_on": "2016-05-11",
    "treatments": {},
    "record_counts": {"licence": 12, "penalty": 1},
    "marks": [],
    "seq": 88102,
    "policy_version": 42,
    "links": {
        "self": "https://h/v1/subjects/91220502XXT00002X2",
        "records": "https://h/v1/subjects/91220502XXT00002X2/records",
        "timeline": "https://h/v1/subjects/91220502XXT00002X2/timeline",
    },
}
EXAMPLE_RECORD: Final = {
    "id": "rec_2222222222222222222222222a",
    "dataset": "administrative-penalties",
    "kind": "penalty",
    "kind_label": "行政处罚",
    "subject": {
        "id": "sub_2222222222222222222222222a",
        "uscc": "91220502XXT00002X2",
        "name": "通化市示例药业有限公司",
        "kind": "enterprise",
        "kind_label": "企业",
        "uri": "https://h/v1/subjects/91220502XXT00002X2",
    },
    "document_number": "通市监罚〔2026〕12号",
    "decision_date": "2026-03-02",
    "severity": "general",
    "severity_label": "一般",
    "region": "220502",
    "region_label": "东昌区",
    "published_from": "2026-03-09",
    "publish_until": "2027-03-08",
    "period_rule": "order36-general",
    "basis": [{"text": "《中华人民共和国行政处罚法》第四十八条", "uri": None}],
    "source": {"name": "通化市市场监督管理局（示例）", "uscc": "11220500XXT0001181", "received_at": "2026-03-06T02:11:00Z"},
    "marks": [],
    "fields": {"penalty_type": "fine", "fine_amount": "1.200000"},
    "treatments": {"facts": "redact"},
    "seq": 88102,
    "policy_version": 42,
    "links": {
        "self": "https://h/v1/records/rec_2222222222222222222222222a",
        "history": "https://h/v1/subjects/91220502XXT00002X2/timeline",
        "policy": "https://h/v1/policies/42/matrix?dataset=administrative-penalties",
    },
}

SUBJECTS = Described(
    operation_id="searchSubjects",
    tag="主体",
    summary="查找主体",
    description="Search organisations by name or code, or walk them by id. With `q` the order is relevance.",
    takes=(
        Q,
        structs.replace(KIND, example="enterprise"),
        REGION,
        Parameter(name="industry", text="行业代码。Industry.", schema={"type": "string", "maxLength": 400}, example="C27"),
        Parameter(name="status", text="存续状态。Status.", schema={"type": "string", "maxLength": 400}, example="active"),
        Parameter(name="list", text="在此名单上。On this list.", schema={"type": "string", "maxLength": 400}, example="tax-violations"),
        *(each for each in PAGING if each is not SORT),  # by relevance or by id, never otherwise
    ),
    open_filters=True,
    gives=shapes.SubjectPage,
    items=True,
    media=TABLE_MEDIA,
    problems=PAGE_PROBLEMS,
    example={"items": [_SUBJECT | {"matched_on": "name", "highlight": [[3, 7]]}], **EXAMPLE_PAGE},
)


@path("/v1/subjects", SUBJECTS, suffixes=True)
async def search(request: AnyRequest) -> Reply:
    """Search and walk subjects."""
    asked = await begin(request, SUBJECTS)
    return asked.reply(await answer_query.find_subjects(asked.services, asked.caller, asked.ask()))


SUBJECT_ONE = Described(
    operation_id="getSubject",
    tag="主体",
    summary="一个主体",
    description="An organisation or household by code or id. Case, width and blanks are folded; the canonical address stands in Link. "
    "The code of a subject that was merged or renumbered leads to its successor (308); by its id its own document stays.",
    takes=(SUBJECT, PURPOSE, CASE_REF),
    gives=shapes.Subject,
    moves=308,
    problems=("uscc-invalid", "purpose-missing"),
    example=_SUBJECT,
)


@path("/v1/subjects/{subject:str}", SUBJECT_ONE)
async def one(request: AnyRequest, subject: FromPath[str]) -> Reply:
    """One subject; the public lane answers most of these before they come here."""
    asked = await begin(request, SUBJECT_ONE, any_code=True)
    return asked.reply(await answer_query.subject_document(asked.services, without_suffix(subject), asked.caller, asked.language))


SUBJECT_RECORDS = Described(
    operation_id="listSubjectRecords",
    tag="主体",
    summary="一个主体的记录",
    description="Records about one subject, as the caller may see them now.",
    takes=(SUBJECT, KIND, DATASET, *PAGING),
    open_filters=True,
    gives=shapes.RecordPage,
    items=True,
    media=TABLE_MEDIA,
    problems=(*PAGE_PROBLEMS, "uscc-invalid"),
    example={"items": [EXAMPLE_RECORD], **EXAMPLE_PAGE},
)


@path("/v1/subjects/{subject:str}/records", SUBJECT_RECORDS, suffixes=True)
async def records(request: AnyRequest, subject: FromPath[str]) -> Reply:
    """The records of one subject."""
    return await answer_alike(
        request,
        SUBJECT_RECORDS,
        lambda asked: answer_query.subject_records(asked.services, subject, asked.caller, asked.ask()),
        any_code=True,
    )


TIMELINE = Described(
    operation_id="getSubjectTimeline",
    tag="主体",
    summary="一个主体的时间线",
    description="What happened to those of its records that are public now, newest first: published, amended, objection_marked, "
    "objection_closed.",
    takes=(SUBJECT, PAGE_LIMIT, CURSOR, PURPOSE, CASE_REF),
    gives=shapes.EventPage,
    problems=(*PAGE_PROBLEMS, "uscc-invalid"),
    example={
        "items": [
            {
                "at": "2026-03-08T16:00:00Z",
                "event": "published",
                "event_label": "公示",
                "record": "rec_2222222222222222222222222a",
                "dataset": "administrative-penalties",
                "kind": "penalty",
                "kind_label": "行政处罚",
                "uri": "https://h/v1/records/rec_2222222222222222222222222a",
            }
        ],
        **EXAMPLE_PAGE,
    },
)


@path("/v1/subjects/{subject:str}/timeline", TIMELINE)
async def timeline(request: AnyRequest, subject: FromPath[str]) -> Reply:
    """What happened to the records of one subject."""
    asked = await begin(request, TIMELINE, any_code=True)
    return asked.reply(await read_timeline(asked.services, subject, asked.caller, asked.ask()))


SUGGEST = Described(
    operation_id="suggest",
    tag="主体",
    summary="输入提示",
    description="At most ten offers for what has been typed; public organisations only.",
    takes=(
        Parameter(
            name="q",
            text="已输入的文字。What has been typed.",
            schema={"type": "string", "minLength": 1, "maxLength": 128},
            required=True,
            example="示例",
        ),
        Parameter(name="kind", text="提示的种类。Kind of offers.", schema={"type": "string", "enum": ["subject", "field", "dataset"]}),
        Parameter(name="limit", text="条数 1–10。", schema={"type": "integer", "minimum": 1, "maximum": 10, "default": 10}),
        PURPOSE,
        CASE_REF,
    ),
    gives=shapes.Suggestions,
    problems=("invalid-parameter",),
    example={
        "items": [
            {
                "kind": "subject",
                "text": "通化市示例药业有限公司",
                "id": "sub_2222222222222222222222222a",
                "uscc": "91220502XXT00002X2",
                "matched_on": "name",
            }
        ],
        "policy_version": 42,
    },
)


@path("/v1/suggest", SUGGEST)
async def suggest(request: AnyRequest) -> Reply:
    """Offers while somebody types."""
    asked = await begin(request, SUGGEST)
    return asked.reply(await answer_query.suggest(asked.services, asked.caller, asked.ask()))


VALIDATE = Described(
    operation_id="validateUscc",
    tag="校验",
    summary="校验统一社会信用代码",
    description="Arithmetic only (GB 32100-2015): no data is asked, always 200.",
    takes=(Parameter(name="code", where="path", text="要校验的代码。The code.", example="9I220502XXT00002X2"),),
    gives=shapes.CodeCheck,
    example={
        "code": "9I220502XXT00002X2",
        "valid": False,
        "checks": {"length": "ok", "alphabet": "failed", "structure": "not_run", "check_digit": "not_run", "inner_check_digit": "not_run"},
        "parts": {"department": "9", "category": None, "division": "220502", "organisation_code": "XXT00002X"},
        "suggestions": [{"code": "91220502XXT00002X2", "reason": "letter"}],
    },
)


@path("/v1/validate/uscc/{code:str}", VALIDATE)
async def validate(request: AnyRequest, code: FromPath[str]) -> Reply:
    """What arithmetic says of a code."""
    asked = await begin(request, VALIDATE, any_code=True)
    return asked.reply(await answer_query.validate_uscc(asked.services, code, asked.language))


HANDLERS: Final = (search, one, records, timeline, suggest, validate)
