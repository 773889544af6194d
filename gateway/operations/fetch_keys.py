"""Fetch a partner's keys document over its line: every ten minutes, and once a minute at most when an unknown key was used.

Rules: what comes is believed by `take_keys` alone; a line that cannot fetch keys is left alone; whatever goes wrong is told as a code and
delays nothing else. When a partner was last asked is remembered per process. This story must not decide which keys are good.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

from gateway.adapter_contract import AdapterError
from gateway.core.errors import ExchangeError, GatewayError
from gateway.core.exchange.agreements import Held
from gateway.core.exchange.notes import read_envelope
from gateway.operations.manage_agreements import agreement_with, take_keys
from gateway.operations.partners import LONGEST_CALL, line_to
from gateway.services import Services
from gateway.store import held_agreements

EVERY: Final = timedelta(minutes=10)
UNKNOWN_EVERY: Final = timedelta(minutes=1)
NEW_KEY: Final = frozenset({"SIG_UNKNOWN_KEY", "SIG_ALG_MISSING"})
"""What a key that we do not know yet looks like: also where a known one of the other algorithm has signed beside it."""
T = TypeVar("T")


async def fetch_keys(services: Services, held: Held, partner: str, *, every: timedelta = EVERY) -> str | None:
    """Ask for the partner's keys document if it is time; the code of what went wrong."""
    now = services.clock()
    asked = services.asked_for_keys.get(partner)
    if asked is not None and now - asked < every:
        return None
    services.asked_for_keys[partner] = now
    row = await held_agreements.latest_keys(services.store.reads, partner)
    try:
        async with asyncio.timeout(LONGEST_CALL.total_seconds()), line_to(services, held, partner) as line:
            fetch = getattr(line, "keys", None) if "keys" in line.capabilities else None
            document = await fetch(row.digest if row is not None else None) if fetch is not None else b""
        if document:
            await take_keys(services, read_envelope(document), by=f"partner/{partner}")
    except AdapterError as error:
        return error.code
    except GatewayError as error:
        return error.code
    except TimeoutError:
        return "UNAVAILABLE"
    except Exception as error:  # noqa: BLE001  # a guest may raise anything; the other partners must not wait for it
        return type(error).__name__
    return None


async def with_newer_keys(services: Services, party: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """What `attempt` gives; when it fails at a key that we do not know, once more if the party's keys document has changed meanwhile.

    Raises what the attempt raises.
    """
    try:
        return await attempt()
    except ExchangeError as error:
        if error.code not in NEW_KEY or not await _newer(services, party):
            raise
    return await attempt()


async def _newer(services: Services, party: str) -> bool:
    reads = services.store.reads
    held = await agreement_with(reads, services.signers.party, party, services.clock())
    if held is None:
        return False
    before = await held_agreements.latest_keys(reads, party)
    await fetch_keys(services, held, party, every=UNKNOWN_EVERY)
    after = await held_agreements.latest_keys(reads, party)
    return after is not None and (before is None or before.serial != after.serial)
