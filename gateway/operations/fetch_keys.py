"""Fetch a partner's keys document over its lines: every ten minutes, and once a minute at most when an unknown key was used.

Rules: a party has one keys document, whichever agreement's line brings it; where a line fails the next is asked, and beside one that is
silent too. Whoever misses a key, or holds a document that is over, is not content with a line that brings nothing new. What comes is
believed by `take_keys` alone; a line that cannot fetch keys, or over which none lie, is left alone; whatever goes wrong is told as a code
and delays nothing else. When a partner was last asked, and whether somebody asks just now, is remembered per process. This story must not
decide which keys are good.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, TypeVar

from gateway.adapter_contract import AdapterError
from gateway.core.errors import ExchangeError, GatewayError
from gateway.core.exchange.agreements import Held
from gateway.core.exchange.documents import decode_keys, valid_until
from gateway.core.exchange.notes import read_envelope
from gateway.operations.apart import LETTING_GO, PATIENCE, Troubles
from gateway.operations.manage_agreements import agreement_with, take_keys
from gateway.operations.partners import LONGEST_CALL, agreed_lines, line_name, line_to
from gateway.services import Services
from gateway.store import held_agreements
from gateway.store.store import moment

EVERY: Final = timedelta(minutes=10)
UNKNOWN_EVERY: Final = timedelta(minutes=1)
NEW_KEY: Final = frozenset({"SIG_UNKNOWN_KEY", "SIG_ALG_MISSING"})
"""What a key that we do not know yet looks like: also where a known one of the other algorithm has signed beside it."""
NO_KEYS: Final = "no-keys"
"""The line cannot fetch them, or they do not lie there."""
NOTHING_NEW: Final = "nothing-new"
"""The line has brought what is held."""
QUIET: Final = frozenset({None, NO_KEYS, NOTHING_NEW})
"""What is no trouble."""
T = TypeVar("T")


async def fetch_keys(
    services: Services, lines: Sequence[Held], partner: str, *, every: timedelta = EVERY, newer: bool = False
) -> Troubles:
    """Ask for the partner's keys document if it is time, until a line has served; partner and agreement → what went wrong over its line.

    `newer`: a line that brings what is held has not served.
    """
    now = services.clock()
    if not services.paces.due(f"keys/{partner}", now, every):
        return {}
    services.paces.did(f"keys/{partner}", now)
    answered = services.asking_for_keys[partner] = asyncio.Event()
    try:
        content = frozenset({None}) if newer or await _over(services, partner, now) else frozenset({None, NOTHING_NEW})
        return await _ask_over(services, lines, partner, content)
    finally:
        answered.set()
        if services.asking_for_keys.get(partner) is answered:
            del services.asking_for_keys[partner]


async def _over(services: Services, partner: str, now: datetime) -> bool:
    """Whether the document that is held has ended: its successor lies somewhere."""
    row = await held_agreements.latest_keys(services.store.reads, partner)
    return row is not None and valid_until(decode_keys(row.body)) <= now


async def _ask_over(services: Services, lines: Sequence[Held], partner: str, content: Collection[str | None]) -> Troubles:
    """Over one line after the other, until one has said what contents us."""
    troubles: Troubles = {}
    waiting = sorted(lines, key=lambda held: not held.standing(services.clock()).active)
    running: dict[asyncio.Task[str | None], str] = {}
    try:
        while waiting or running:
            if waiting:
                held = waiting.pop(0)
                running[asyncio.create_task(_ask(services, held, partner))] = line_name(held, partner)
            patience = PATIENCE.total_seconds() if waiting else None
            back, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            codes = {running.pop(task): _code(task) for task in back}
            troubles |= {name: code for name, code in codes.items() if code is not None and code not in QUIET}
            if any(code in content for code in codes.values()):
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
            try:
                document = await fetch(row.digest if row is not None else None)
            except AdapterError as error:
                if error.code == "NOT_FOUND" and "publish" in line.capabilities:
                    return NO_KEYS  # the partner has laid none into this folder
                raise
        if not document:
            return NOTHING_NEW
        taken = await take_keys(services, read_envelope(document), by=f"partner/{partner}")
    except AdapterError as error:
        return error.code
    except GatewayError as error:
        return error.code
    except TimeoutError:
        return "UNAVAILABLE"
    except Exception as error:  # noqa: BLE001  # a guest may raise anything; the other partners must not wait for it
        return type(error).__name__
    return NOTHING_NEW if taken.party != partner or (row is not None and taken.serial <= row.serial) else None


async def with_newer_keys(services: Services, party: str, attempt: Callable[[], Awaitable[T]], *, waits: bool = True) -> T:
    """What `attempt` gives; when it fails at a key that we do not know, once more if the party's keys document has changed meanwhile.

    Where somebody is asking the party already, his answer is waited for, ten seconds at most; not without `waits`: whoever is nobody yet
    could have as many wait as he likes. Raises what the attempt raises.
    """
    began = services.clock()
    try:
        return await attempt()
    except ExchangeError as error:
        if error.code not in NEW_KEY or not await _newer(services, party, began, waits=waits):
            raise
    return await attempt()


async def _newer(services: Services, party: str, began: datetime, *, waits: bool) -> bool:
    reads = services.store.reads
    lines = [held for held, partner in await agreed_lines(services) if partner == party]
    if not lines:  # an agreement that is over may still be asked about
        held = await agreement_with(reads, services.signers.party, party, services.clock())
        lines = [held] if held is not None else []
    before = await held_agreements.latest_keys(reads, party)
    since = began.replace(microsecond=0)  # what has come meanwhile may be what the attempt missed
    known = before.serial if before is not None and moment(before.first_seen) < since else 0
    await fetch_keys(services, lines, party, every=UNKNOWN_EVERY, newer=True)
    after = await held_agreements.latest_keys(reads, party)
    asking = services.asking_for_keys.get(party)
    if (after is None or after.serial == known) and asking is not None and waits:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await asking.wait()
        after = await held_agreements.latest_keys(reads, party)
    return after is not None and after.serial != known
