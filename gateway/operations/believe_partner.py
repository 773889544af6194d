"""Believe a partner's request: whose `http` key has signed it, just now, for this address and these bytes, and only once (exchange.md §10).

Rules: a key counts for the party whose keys document lists it, and only under an agreement with that party; use and dates of the key are
looked at as for any artefact. A nonce is spent before the body is read, in the database, so that it stays spent when the house is opened
again. A key that we do not know makes us ask for the partner's keys, at most once a minute. Whatever is not believed is an ExchangeError
with the code of exchange.md §8, before anything else about the request is looked at.
This story must not decide what the partner may read.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, Literal

from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreements import Held
from gateway.core.exchange.notes import KnownKey, key_fault
from gateway.core.message_signing import Believed, Message, claimed_key, key_id_of, verify_body, verify_request
from gateway.operations.fetch_keys import with_newer_keys
from gateway.operations.manage_agreements import agreement_with
from gateway.operations.partners import trusted_keys
from gateway.services import Services
from gateway.store.replay import Use

Tag = Literal["cx-read", "cx-write", "cx-query"]
NONCE_KEPT: Final = timedelta(minutes=10)
"""Longer than the 180 seconds for which a request can be believed."""


async def by_request(
    services: Services, message: Message, *, tag: Tag, read_body: Callable[[str, int], Awaitable[bytes]]
) -> tuple[str, bytes]:
    """The party that has signed this request, and its body.

    The body is read once the signature is believed: for that party, which may send so many requests a minute.

    Raises ExchangeError SIG_HTTP, SIG_UNKNOWN_KEY, SIG_KEY_*, SIG_CONTENT_DIGEST, TIME_EXPIRED or TIME_REPLAY; whatever reading raises.
    """
    now = services.clock()
    party = claimed_key(message).partition("/")[0]

    async def attempt() -> tuple[Believed, Held]:
        return await _believe(services, party, message, tag)

    believed, held = await with_newer_keys(services, party, attempt, waits=False)
    if not await services.doors.nonces.use([Use("http", believed.key_id, believed.nonce, now + NONCE_KEPT)], now):
        raise ExchangeError("this request was sent before", code="TIME_REPLAY")
    body = await read_body(party, held.agreement.terms.limits.requests_min)
    verify_body(message, believed, body)
    return party, body


async def _believe(services: Services, party: str, message: Message, tag: Tag) -> tuple[Believed, Held]:
    now = services.clock()
    held, keys = await _keys_of(services, party)
    believed = verify_request(message, keys={name: key.verifier for name, key in keys.items()}, tag=tag, now=now)
    assert held is not None  # noqa: S101  # without an agreement there are no keys
    fault = key_fault(keys[believed.key_id], "http", now, None, held.agreement.skew)
    if fault is not None:
        raise ExchangeError("the key may not sign requests, or not now", code=fault)
    return believed, held


async def _keys_of(services: Services, party: str) -> tuple[Held | None, dict[str, KnownKey]]:
    """The newest agreement with a party, and its keys as requests name them."""
    if party == services.signers.party:
        return None, {}
    held = await agreement_with(services.store.reads, services.signers.party, party, services.clock())
    if held is None:
        return None, {}
    ring, _ = await trusted_keys(services.store.reads, held, party)
    return held, {key_id_of(key.verifier): key for key in ring.keys.values()}
