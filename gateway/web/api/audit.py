"""The signed heads of the audit log, for everybody to keep: who has one can show later that something was cut off."""

from typing import Final

import msgspec

from gateway.core.errors import ErrorItem, InvalidParameter
from gateway.core.exchange.wire import b64
from gateway.operations.keep_audit import published_heads
from gateway.web.api import proof_shapes
from gateway.web.asked import begin
from gateway.web.describe import AnyRequest, Described, Parameter, path
from gateway.web.replies import NO_STORE, Reply

DEFAULT: Final = 20
MOST: Final = 100
_ENCODER: Final = msgspec.json.Encoder()

CHECKPOINTS = Described(
    operation_id="listAuditCheckpoints",
    tag="接口",
    summary="审计日志的签名检查点",
    description="Signed heads of the audit log, newest first: C2SP checkpoints, verified with a key of use `audit` of `/v1/keys`. They say "
    "how long the log is and nothing of what stands in it.",
    takes=(
        Parameter(
            name="limit",
            text="条数。How many.",
            schema={"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT},
            example="2",
        ),
    ),
    gives=proof_shapes.AuditCheckpoints,
    example={
        "items": [
            {
                "number": 17,
                "at": "2026-06-01T02:30:00Z",
                "size": 42,
                "root": "ZNCIiJ+N8E8DSJUJnXcmG1hLJxQUafsRdWc5IgaxycA=",
                "note": "credit.tonghua.example/audit\n42\nZNCIiJ+N8E8DSJUJnXcmG1hLJxQUafsRdWc5IgaxycA=\n\n— …\n",
            }
        ]
    },
)


@path("/v1/audit/checkpoints", CHECKPOINTS)
async def checkpoints(request: AnyRequest) -> Reply:
    """The newest checkpoints."""
    asked = await begin(request, CHECKPOINTS)
    text = asked.params.get("limit", str(DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST):
        raise InvalidParameter(errors=(ErrorItem("invalid", f"应为 1 至 {MOST} 的整数", parameter="limit"),))
    heads, said = await published_heads(asked.services, int(text))
    items = [
        {"number": head.number, "at": head.at, "size": each.size, "root": b64(each.root), "note": head.note}
        for head, each in zip(heads, said, strict=True)
    ]
    headers = [(b"content-type", b"application/json"), (b"content-language", asked.language.encode()), NO_STORE]
    return Reply(200, headers, _ENCODER.encode({"items": items}))


HANDLERS: Final = (checkpoints,)
