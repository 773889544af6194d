"""Run a request once, however often it is sent under the same `Idempotency-Key` (api.md §9).

Rules: a key belongs to one caller and one request for a day: the same request gets the first answer again, another one is refused, and
while the first is running nobody runs it a second time. A request that fails is forgotten, so that it can be sent again; an anonymous
caller has no keys, for nobody could tell whose they are. What is kept is the answer as it was given, sealed under the key that the caller
alone has: an answer may name what only its holder may know (the id of a receipt). Only answers that say what was made are run this
way, never ones that show data. This story must not know what a request does.
"""

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from typing import NamedTuple

import msgspec

from gateway.core.callers.caller import Caller
from gateway.core.errors import ErrorItem, IdempotencyInProgress, IdempotencyMismatch, InvalidParameter, StoreError
from gateway.services import Services
from gateway.store import answered
from gateway.store.suites import NONCE, open_under, seal_under

MOST_KEPT = 65_536
"""Bytes of an answer: it names what was made."""
_LABEL = "idempotency"
_ENCODER = msgspec.json.Encoder()
_HEADERS = msgspec.json.Decoder(tuple[tuple[str, str], ...])


class Outcome(NamedTuple):
    """An answer as it is kept."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


async def run_once(
    services: Services, caller: Caller, key: str | None, request: bytes, run: Callable[[], Awaitable[Outcome]]
) -> tuple[Outcome, bool]:
    """The answer, and whether it is one that was given before; without a key the request simply runs.

    `request`: everything that makes the request what it is, in one form (a boundary of multipart is no part of it). Raises
    InvalidParameter, IdempotencyMismatch, IdempotencyInProgress.
    """
    if key is None:
        return await run(), False
    if not (1 <= len(key) <= 64 and all("!" <= each <= "~" for each in key)):
        raise _unfit("应为 1 至 64 个可见的 ASCII 字符")
    if not caller.app:
        raise _unfit("没有凭证的请求不能使用此请求头")
    digest = _digest(caller.org or "", caller.app, key)
    asked = _digest(caller.purpose, sha256(request).hexdigest())
    secret = sha256(f"{_LABEL}:{_digest(caller.app, key)}:{key}".encode()).digest()
    turn = secrets.token_hex(16)
    async with services.store.transaction() as tx:
        held = await answered.take(tx, digest, asked, turn, services.clock())
    if held is not None:
        if held.request != asked:
            raise IdempotencyMismatch
        if held.status is None:
            raise IdempotencyInProgress
        headers, body = (open_under(secret, _LABEL, digest.encode(), each) for each in (held.headers, held.body))
        if headers is None or body is None:
            raise StoreError("a kept answer was changed", code="value-altered")
        return Outcome(held.status, _HEADERS.decode(headers), body), True
    try:
        outcome = await run()
    except BaseException:
        with suppress(StoreError):  # then the lease ends it
            async with services.store.transaction() as tx:
                await answered.give_up(tx, digest, turn)
        raise
    if len(outcome.body) > MOST_KEPT:
        raise ValueError("an answer that is kept names what was made, and is no data")
    async with services.store.transaction() as tx:
        headers, body = (
            seal_under(secret, _LABEL, digest.encode(), each, nonce=secrets.token_bytes(NONCE), suite=services.settings.crypto_suite)
            for each in (_ENCODER.encode(outcome.headers), outcome.body)
        )
        await answered.keep(tx, digest, turn, services.clock(), status=outcome.status, headers=headers, body=body)
    return outcome, False


def _digest(*parts: str) -> str:
    return sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


def _unfit(detail: str) -> InvalidParameter:
    return InvalidParameter(detail, errors=(ErrorItem("format", detail, parameter="Idempotency-Key"),))
