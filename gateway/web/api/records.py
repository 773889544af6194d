"""Records across subjects, and one record (api.md §7.3)."""

from typing import Final

from litestar.params import FromPath

from gateway.operations import answer_query
from gateway.web.api import shapes
from gateway.web.api.common import CASE_REF, DATASET, EXAMPLE_PAGE, KIND, PAGE_PROBLEMS, PAGING, PURPOSE, RECORD, REGION
from gateway.web.api.subjects import EXAMPLE_RECORD
from gateway.web.asked import answer_alike, begin, without_suffix
from gateway.web.describe import TABLE_MEDIA, AnyRequest, Described, Parameter, path
from gateway.web.replies import Reply

RECORDS = Described(
    operation_id="listRecords",
    tag="记录",
    summary="记录",
    description="Records across subjects. Fields of a dataset filter only together with one `dataset`.",
    takes=(
        DATASET,
        KIND,
        REGION,
        Parameter(
            name="source",
            text="来源机关代码。Source authority.",
            schema={"type": "string", "maxLength": 400},
            example="11220500XXT0001181",
        ),
        Parameter(
            name="decision_date__gte",
            text="决定日期不早于。Decided on or after.",
            schema={"type": "string", "format": "date"},
            example="2026-01-01",
        ),
        *PAGING,
    ),
    open_filters=True,
    gives=shapes.RecordPage,
    items=True,
    media=TABLE_MEDIA,
    problems=PAGE_PROBLEMS,
    example={"items": [EXAMPLE_RECORD], **EXAMPLE_PAGE},
)


@path("/v1/records", RECORDS, suffixes=True)
async def walk(request: AnyRequest) -> Reply:
    """Walk and filter records."""
    return await answer_alike(request, RECORDS, lambda asked: answer_query.records_page(asked.services, asked.caller, asked.ask()))


RECORD_ONE = Described(
    operation_id="getRecord",
    tag="记录",
    summary="一条记录",
    description="One record by its id; a removed one is 404.",
    takes=(RECORD, PURPOSE, CASE_REF),
    gives=shapes.Record,
    problems=("purpose-missing", "case-ref-missing"),
    example=EXAMPLE_RECORD,
)


@path("/v1/records/{record:str}", RECORD_ONE)
async def one(request: AnyRequest, record: FromPath[str]) -> Reply:
    """One record."""
    asked = await begin(request, RECORD_ONE)
    return asked.reply(await answer_query.record(asked.services, without_suffix(record), asked.caller, asked.language))


HANDLERS: Final = (walk, one)
