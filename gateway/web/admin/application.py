"""The administrators' API as an ASGI application, on a listener of its own: a desk behind a door of its own.

Rules: limits of a target, encodings and odd paths are judged as at the front door; every error is a problem with the code of the story; a
signature that is not believed is told in one wording, whatever is wrong with it. Nobody's browser is served here: no HEAD, no OPTIONS.
This room must not open anything itself.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import Final

import msgspec

from gateway.core.errors import AdminError, GatewayError, RequestError, StoreError
from gateway.services import Services
from gateway.settings import Settings
from gateway.web.access_log import Noting
from gateway.web.admin.desk import Desk
from gateway.web.admin.routes import ROUTES
from gateway.web.asgi import Message, Receive, Scope, Send
from gateway.web.edge import AnswerTornError, check_target, request_ids
from gateway.web.incoming import LAST, Incoming
from gateway.web.negotiation import PROBLEM
from gateway.web.problems import Refusal, headers_of, problem_of
from gateway.web.replies import NO_STORE, Header, Reply
from gateway.web.telemetry import UNMATCHED, Meter, log, where

STATUS: Final = {
    "admin-signature": 401,
    "role-missing": 403,
    "admin-unconfirmed": 403,
    "operator-needed": 403,
    "NOT_FOUND": 404,
    "proposal-unknown": 404,
    "policy-unknown": 404,
    "admin-unknown": 404,
    "app-unknown": 404,
    "key-unknown": 404,
    "grant-unknown": 404,
    "record-unknown": 404,
    "subject-unknown": 404,
    "key-label": 404,
    "approval-conflict": 409,
    "approval-stale": 409,
    "approval-missing": 409,
    "proposal-state": 409,
    "not-narrow-only": 409,
    "store-conflict": 409,
    "record-state": 409,
    "record-foreign": 409,
    "stream-moved": 409,
    "shred-organisation": 409,
    "key-taken": 409,
    "key-twice": 409,
    "key-state": 409,
    "grant-twice": 409,
    "grant-state": 409,
    "role-conflict": 409,
    "agreement-differs": 409,
    "confirmed-already": 409,
    "confirmation-stale": 409,
    "release-other": 409,
    "retention-number": 409,
    "confirmation-needs": 422,
}
"""Codes of stories over HTTP; another code of a policy or an administrator is 422, of the store 503, which says to ask again later: what
whoever asks can mend stands here."""

ACCEPT_SIGNATURE: Final = (
    b'cx=("@method" "@target-uri" "content-type" "content-digest");created;expires;nonce;keyid;alg="ed25519";tag="cx-admin"'
)
FIELDS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
UNBELIEVED: Final = "the request bears no signature of a live administrator, or one that was used before"


class AdminDoor:
    """The ASGI application of the administrators' listener: it knows no path of the public one, and the public one none of it."""

    def __init__(self, desk: Desk, *, origin: str, meter: Meter) -> None:
        self._desk = desk
        self._origin = origin
        self._meter = meter
        self._ids = request_ids()
        self.noting: Noting | None = None
        """Told of every answer, for the access log."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._desk.live(receive, send)
            return
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1000, "reason": ""})
            return
        request_id = next(self._ids)
        began, seen, size = perf_counter(), 0, 0
        coming = Incoming(receive)

        async def sending(message: Message) -> None:
            nonlocal seen, size
            if message["type"] == "http.response.start":
                seen = message["status"]
                message["headers"] = [*message["headers"], *FIELDS, (b"request-id", request_id)]
                if not await coming.leaves_nothing(scope):
                    message["headers"].append(LAST)
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            check_target(scope)
            await self._desk.answer(scope, coming, sending)
        except Exception as error:  # noqa: BLE001 - the last place that can turn a fault into a problem without data
            if seen:
                raise AnswerTornError from None
            await self._problem(error, request_id.decode())(scope, coming, sending)
        finally:
            route, took = scope.get("path_template") or UNMATCHED, perf_counter() - began
            self._meter.count(route, scope["method"], seen, took)
            if self.noting is not None:
                self.noting(scope["method"], route, seen, size, request_id, took)

    def _problem(self, error: Exception, request_id: str) -> Reply:
        """The problem answer of an exception: the story's own code and sentence, which name no value."""
        if isinstance(error, AdminError) and error.code == "admin-signature":
            document = _document(401, "credentials-invalid", UNBELIEVED, request_id)
            return _reply(401, document, (b"accept-signature", ACCEPT_SIGNATURE))
        if isinstance(error, RequestError) or not isinstance(error, GatewayError):
            plain = problem_of(error, origin=self._origin, request_id=request_id, trace_id=request_id, language="en")
            if plain.status >= 500:
                self._meter.event(f"problem-{plain.code}")
                log.error("problem", code=plain.code, error=type(error).__name__, at=where(error), request_id=request_id)
            said = error.detail if isinstance(error, RequestError) and error.detail.isascii() and error.detail else plain.detail
            more = headers_of(error, plain.code, plain.status, origin=self._origin) if isinstance(error, Refusal) else {}
            fields = [(name.lower().encode(), value.encode()) for name, value in more.items()]
            document = _document(plain.status, plain.code, said, request_id)
            return _reply(plain.status, document | ({"errors": plain.errors} if plain.errors else {}), *fields)
        status = STATUS.get(error.code) or (503 if isinstance(error, StoreError) else 422)
        document = _document(status, error.code, error.detail, request_id)
        document |= {name: value for name, value in (("hint", error.hint), ("place", error.place)) if value}
        return _reply(status, document)


def _document(status: int, code: str, detail: str, request_id: str) -> dict[str, object]:
    return {
        "type": f"about:blank#{code}",
        "title": code,
        "status": status,
        "code": code,
        "detail": detail,
        "instance": f"urn:request:{request_id}",
    }


def _reply(status: int, document: dict[str, object], *more: Header) -> Reply:
    return Reply(status, [(b"content-type", PROBLEM.encode()), NO_STORE, *more], msgspec.json.encode(document))


def build(settings: Settings, opening: Callable[[], AbstractAsyncContextManager[Services]], *, meter: Meter | None = None) -> AdminDoor:
    """The ASGI application of the administrators' listener; `opening` runs in its lifespan."""
    meter = meter or Meter()
    origin = settings.admin_base.rstrip("/")
    desk = Desk(ROUTES, opening, origin=origin, meter=meter, trusted_proxies=settings.trusted_proxies)
    return AdminDoor(desk, origin=origin, meter=meter)
