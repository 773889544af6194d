"""Fetch a partner's keys document over its lines: every ten minutes, and once a minute at most when an unknown key was used.

Rules: a party has one keys document, whichever agreement's line brings it; where a line fails the next is asked, and beside one that is
silent too. What comes is believed by `take_keys` alone; a line that cannot fetch keys is left alone; whatever goes wrong is told as a code
and delays nothing else. When a partner was last asked is remembered per process. This story must not decide which keys are good.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from typing import Final, TypeVar

from gateway.adapter_contract import AdapterError
from gateway.core.errors import ExchangeError, GatewayError
from gateway.core.exchange.agreements import Held
from gateway.core.exchange.notes import read_envelope
from gateway.operations.apart import LETTING_GO, PATIENCE, Troubles
from gateway.operations.manage_agreements import agreement_with, take_keys
from gateway.operations.partners import LONGEST_CALL, agreed_lines, line_name, line_to
from gateway.services import Services
from gateway.store import held_agreements

EVERY: Final = timedelta(minutes=10)
UNKNOWN_EVERY: Final = timedelta(minutes=1)
NEW_KEY: Final = frozenset({"SIG_UNKNOWN_KEY", "SIG_ALG_MISSING"})
"""What a key that we do not know yet looks like: also where a known one of the other algorithm has signed beside it."""
NO_KEYS: Final = "no-keys"
"""The line cannot fetch them."""
T = TypeVar("T")


async def fetch_keys(services: Services, lines: Sequence[Held], partner: str, *, every: timedelta = EVERY) -> Troubles:
    """Ask for the partner's keys document if it is time, until a line has served; partner and agreement → what went wrong over its line."""
    now = services.clock()
    asked = services.asked_for_keys.get(partner)
    if asked is not None and now - asked < every:
        return {}
    services.asked_for_keys[partner] = now
    troubles: Troubles = {}
    waiting = sorted(lines, key=lambda held: not held.standing(now).active)
    running: dict[asyncio.Task[str | None], str] = {}
    try:
        while waiting or running:
            if waiting:
                held = waiting.pop(0)
                running[asyncio.create_task(_ask(services, held, partner))] = line_name(held, partner)
            patience = PATIENCE.total_seconds() if waiting else None
            back, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            codes = {running.pop(task): _code(task) for task in back}
            troubles |= {name: code for name, code in codes.items() if code not in (None, NO_KEYS)}
            if None in codes.values():
                return troubles | dict.fromkeys(running.values(), "UNAVAILABLE")
        return troubles
    finally:
        await _leave_off(running)


def _code(task: asyncio.Task[str | None]) -> str | None:
    return "ADAPTER_FAILED" if task.cancelled() else task.result()  # not by us: a guest has given up the task that called it


async def _leave_off(running: Collection[asyncio.Task[str | None]]) -> None:
    """Whoever is silent still; a guest that does not let go is left behind."""
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=LETTING_GO.total_seconds())


async def _ask(services: Services, held: Held, partner: str) -> str | None:
    """One line; the code of what went wrong."""
    row = await held_agreements.latest_keys(services.store.reads, partner)
    try:
        async with asyncio.timeout(LONGEST_CALL.total_seconds()), line_to(services, held, partner) as line:
            fetch = getattr(line, "keys", None) if "keys" in line.capabilities else None
            if fetch is None:
                return NO_KEYS
            document = await fetch(row.digest if row is not None else None)
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
    lines = [held for held, partner in await agreed_lines(services) if partner == party]
    if not lines:  # an agreement that is over may still be asked about
        held = await agreement_with(reads, services.signers.party, party, services.clock())
        lines = [held] if held is not None else []
    before = await held_agreements.latest_keys(reads, party)
    await fetch_keys(services, lines, party, every=UNKNOWN_EVERY)
    after = await held_agreements.latest_keys(reads, party)
    return after is not None and (before is None or before.serial != after.serial)
