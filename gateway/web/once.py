"""`Idempotency-Key` on a POST: its field read, the first answer given again as it was (api.md §9).

A handler hands over what makes its request what it is, and how to run it:

    return await once(asked, mapping_and_rows, run)

Rules: the field stands once or is refused; a repeated answer says so in `Idempotent-Replay`. This room must not keep anything itself.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from gateway.core.errors import BadRequest
from gateway.operations.run_once import Outcome, run_once
from gateway.web.asked import Asked
from gateway.web.describe import Parameter
from gateway.web.parameters import canonical_query
from gateway.web.replies import Reply

IDEMPOTENCY_KEY: Final = Parameter(
    name="Idempotency-Key",
    where="header",
    text="幂等键，1 至 64 个可见 ASCII 字符，保存 24 小时；须有凭证。Repeats of a request get its first answer; needs a credential.",
    schema={"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[!-~]{1,64}$"},
    example="2026-11-04-suppliers-1",
)
ONCE_PROBLEMS: Final = ("invalid-parameter", "idempotency-mismatch", "idempotency-in-progress")
"""What a path with this field may answer beside its own."""
REPLAYED: Final = (b"idempotent-replay", b"true")


async def once(asked: Asked, request: bytes, run: Callable[[], Awaitable[Reply]]) -> Reply:
    """The reply of `run`, or the one that this request got before under its key.

    Raises BadRequest, InvalidParameter, IdempotencyMismatch, IdempotencyInProgress.
    """
    fields = [value for name, value in asked.scope["headers"] if name == b"idempotency-key"]
    if len(fields) > 1:
        raise BadRequest("Idempotency-Key 请求头只能出现一次。")
    key = fields[0].strip().decode("latin-1") if fields else None

    async def outcome() -> Outcome:
        reply = await run()
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in reply.headers if name != b"content-length")
        return Outcome(reply.status, headers, reply.body)

    whole = "\n".join((asked.scope["method"], asked.path, canonical_query(asked.params))).encode() + b"\n" + request
    made, again = await run_once(asked.services, asked.caller, key, whole, outcome)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in made.headers]
    return Reply(made.status, [*headers, REPLAYED] if again else headers, made.body)
