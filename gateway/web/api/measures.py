"""Measures that a department takes on account of another city's record 联合奖惩 (exchange.md §8, §13).

Rules: only departments that may send records, in their own name, with a purpose and an officer; what the record's effect here does not
carry is a conflict. Whoever may not gets a 403 before anything is looked up. This room must not decide what may rest on a record.
"""

from typing import Annotated, Final, Literal

import msgspec
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct

from gateway.core.errors import Conflict, NotFound, StoreError
from gateway.operations.take_measures import record_measure
from gateway.operations.take_upload import authority_of
from gateway.web.api.common import PURPOSE
from gateway.web.asked import begin
from gateway.web.bodies import small_body
from gateway.web.describe import AnyRequest, Described, posted
from gateway.web.replies import Reply

MAX_BODY: Final = 4 * 1024
_ENCODER: Final = msgspec.json.Encoder()


class MeasureTaken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a department does, or does no more, on account of a record."""

    record: Annotated[str, Meta(max_length=30)]
    """The record of another city."""
    measure: Annotated[str, Meta(min_length=1, max_length=64)]
    """Its id in the catalogue of the policy in force."""
    officer: Annotated[str, Meta(min_length=1, max_length=32)]
    outcome: Literal["in_effect", "lifted"] = "in_effect"


class MeasureStands(Struct, frozen=True, kw_only=True):
    """How the measure stands, and which city is told of it."""

    id: str
    record: str
    version: int
    measure: str
    outcome: str
    since: str
    partner: str


MEASURES: Final = Described(
    operation_id="takeMeasure",
    tag="记录",
    summary="反馈联合奖惩措施",
    description=(
        "Write down that the calling department takes, or lifts, a measure on account of a record of another city that has an effect here "
        "(互认); one that burdens needs a named person's confirmation first. The city whose record it is is told. Departments whose app "
        "may send records."
    ),
    method="post",
    public=False,
    body=MeasureTaken,
    sends={"record": "rec_2222222222222222222222222a", "measure": "focus-supervision", "officer": "警号-0412"},
    sends_text="原记录、措施与经办人。Record, measure and officer.",
    takes=(PURPOSE,),
    gives=MeasureStands,
    problems=("purpose-missing", "body-invalid", "body-too-large", "unsupported-media-type", "conflict", "audit-unavailable"),
    example={
        "id": "rec_2222222222222222222222222e",
        "record": "rec_2222222222222222222222222a",
        "version": 1,
        "measure": "focus-supervision",
        "outcome": "in_effect",
        "since": "2026-11-20T02:30:00Z",
        "partner": "credit.baishan.example",
    },
)


@posted("/v1/measures", MEASURES)
async def measures(request: AnyRequest) -> Reply:
    """Take or lift a measure."""
    asked = await begin(request, MEASURES)
    authority = await authority_of(asked.services, asked.caller)
    said = await small_body(request, MeasureTaken, most=MAX_BODY)
    try:
        taken = await record_measure(
            asked.services,
            said.record,
            said.measure,
            authority=authority,
            by=said.officer,
            standing=said.outcome,
            actor=f"app/{asked.caller.app}",
        )
    except StoreError as error:
        if error.code == "record-unknown":
            raise NotFound from error
        if error.code != "measure-refused":
            raise
        raise Conflict("该记录在本市没有可据以采取此项措施的效力，或者没有可以解除的措施。") from error
    stands = MeasureStands(
        id=taken.record_id,
        record=taken.about,
        version=taken.v,
        measure=taken.code,
        outcome=taken.standing,
        since=taken.since,
        partner=taken.partner,
    )
    return await asked.kept_by_nobody(_ENCODER.encode(stands))


HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (measures,)
