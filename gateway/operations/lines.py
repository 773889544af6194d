"""What the stories of lines share: which lines are approved, the adapter that carries one, and what a guest may do to us.

Rules: a line's adapter and its settings stand in `[[partners]]` of our settings, under the partner's name; it is lent nothing but the
sealing of its own files. Whatever a guest raises, however long it takes and however much it gives back is a failure of its line alone:
the line's breaker opens, and other lines go on. This file tells no story.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from gateway.adapter_contract import AdapterError, Diagnostic, RowResult
from gateway.core.errors import GatewayError, SettingsError
from gateway.core.exchange import notes
from gateway.core.exchange.lines import Line
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import digest_text, encode
from gateway.operations.backing_off import LONGEST, pause
from gateway.operations.partners import LineTools, exchange_signers
from gateway.services import Services
from gateway.settings import PartnerSetting
from gateway.store import audit, lines
from gateway.store.lines import LineState
from gateway.store.store import Transaction

T = TypeVar("T")

LONGEST_DELIVERY: Final = timedelta(hours=1)
LONGEST_THOUGHT: Final = timedelta(minutes=2)
"""For what needs no line: encode, decode, read_reply."""
FAILING: Final = 3
"""Failures in a row after which somebody is told; a permanent one counts for as many."""
LARGEST_PART: Final = 64 * 2**20
LARGEST_REPLY: Final = 8 * 2**20
LONGEST_CURSOR: Final = 2**16
"""Characters: what a line has seen of each of its tables."""
MOST_RESULTS: Final = 100_000
MOST_FINDINGS: Final = 1000
_packed = msgspec.msgpack.Encoder().encode
ADAPTER_FAILED: Final = "ADAPTER_FAILED"
"""Code of a guest that did what none may."""
NO_ADDRESS: Final = "none:"
"""For whom a line's requests are signed: nobody; its partner has no key of ours to check them with."""


async def approved_lines(services: Services, direction: Literal["out", "in"] | None = None) -> list[Line]:
    """Every line that was approved, in order of id, also those that have ended."""
    found = await lines.approved(services.store.reads)
    return [line for _, line in sorted(found.items()) if direction in (None, line.terms.direction)]


def setting_of(services: Services, line: Line) -> tuple[str, PartnerSetting]:
    """Which adapter carries a line, and its settings.

    Raises SettingsError line-setting.
    """
    found = next((each for each in services.settings.partners if each.party == line.terms.partner), None)
    if found is None or found.adapter is None:
        raise SettingsError(
            "the settings name no adapter for the partner of this line",
            code="line-setting",
            place=f"partners.{line.terms.partner}",
            hint='[[partners]] party = "…", adapter = "…", config = { … }',
        )
    return found.adapter, found


@asynccontextmanager
async def carrier_of(services: Services, line: Line) -> AsyncIterator[Any]:
    """The adapter of a line, closed at the end.

    Raises SettingsError for a line without one, an adapter that is not installed, settings that it does not take, or one that carries
    record lines: such a partner signs an agreement.
    """
    name, setting = setting_of(services, line)
    tools = LineTools(services, NO_ADDRESS, setting.file_key)
    build = services.adapters.partner if line.terms.direction == "out" else services.adapters.source
    adapter: Any = build(name, setting.config, tools)
    try:
        if line.terms.direction == "out" and ("native" in adapter.capabilities or not {"encode", "deliver"} <= adapter.capabilities):
            raise SettingsError(
                "this adapter has no format of its own: its partners sign agreements",
                code="adapter-contract",
                place=name,
            )
        yield adapter
    finally:
        await guarded(adapter.close(), LONGEST_THOUGHT)


async def guarded(call: Awaitable[T], within: timedelta, *, sent: bool = False) -> T:
    """What a guest gives, in time; whatever else it does is a permanent failure. `sent`: when it is late, nobody knows what took effect.

    Raises AdapterError.
    """
    try:
        async with asyncio.timeout(within.total_seconds()):
            return await call
    except AdapterError:
        raise
    except TimeoutError as error:
        raise AdapterError("UNAVAILABLE", "线路未在时限内答复", transient=True, outcome_unknown=sent) from error
    except GatewayError as error:  # ours, lent to it and passed through
        raise AdapterError(error.code, error.detail, transient=False) from error
    except (Exception, SystemExit) as error:  # a guest may raise anything, or mean to leave
        raise AdapterError(ADAPTER_FAILED, f"适配器异常: {type(error).__name__}", transient=False, outcome_unknown=sent) from error


async def thought(function: Callable[..., T], *said: object) -> T:
    """What a guest works out, in a thread of its own: others are served meanwhile, and it may take no longer than some minutes.

    Raises AdapterError.
    """
    return await guarded(asyncio.to_thread(function, *said), LONGEST_THOUGHT)


def is_sound(given: object, kind: type[Struct]) -> bool:
    """Whether a guest's Struct is what its type says, in texts that can be kept: nobody looked when it was made."""
    if not isinstance(given, kind):
        return False
    try:
        return bool(_decoder(kind).decode(_packed(given)) == given)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        return False


@cache
def _decoder(kind: type[Struct]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def as_results(given: object) -> tuple[RowResult, ...]:
    """What `read_reply` gave, if it is results and not too many.

    Raises AdapterError.
    """
    if not isinstance(given, list | tuple) or len(given) > MOST_RESULTS or not all(is_sound(each, RowResult) for each in given):
        raise AdapterError(ADAPTER_FAILED, "适配器给出的不是逐行结果", transient=False)
    return tuple(given)


async def told_by(guest: Any) -> list[Diagnostic]:
    """What the own check of a guest says of its line.

    Raises AdapterError when it raises, hangs, or gives what are no findings.
    """

    async def asked() -> object:
        return await guest.check()

    given = await guarded(asked(), LONGEST_THOUGHT)
    if not isinstance(given, list | tuple) or len(given) > MOST_FINDINGS or not all(is_sound(each, Diagnostic) for each in given):
        raise AdapterError(ADAPTER_FAILED, "适配器给出的不是检查结果", transient=False)
    return list(given)


def as_bytes(given: object, most: int) -> bytes:
    """Bytes within a bound.

    Raises AdapterError.
    """
    if not isinstance(given, bytes):
        raise AdapterError(ADAPTER_FAILED, "适配器给出的不是字节", transient=False)
    if len(given) > most:
        raise AdapterError("SIZE_BYTES", "适配器给出的内容过大", transient=False)
    return given


# --- breaker ----------------------------------------------------------------------------------------------------------


def is_closed(state: LineState, now: datetime, *, at_once: bool) -> bool:
    """Whether the breaker of a line is open, so that nothing is tried."""
    return not at_once and state.closed_until is not None and now < state.closed_until


async def failed(services: Services, line: Line, error: AdapterError) -> str:
    """Note a failure of a line; a permanent one opens its breaker. The code."""
    state = await lines.state_of(services.store.reads, line.id)
    wait = pause(state.failures) if error.transient else LONGEST
    async with services.store.transaction() as tx:
        failures = state.failures + (1 if error.transient else FAILING)
        await lines.put_state(tx, line.id, failures=failures, code=error.code[:64], closed_until=tx.now + wait)
        if state.code is None or not error.transient:
            await audit.write(tx, "gateway", "line.fail", f"line/{line.id}", {"code": error.code, "transient": error.transient})
    return error.code


async def went_well(services: Services, line: Line) -> None:
    """Close the breaker of a line again."""
    state = await lines.state_of(services.store.reads, line.id)
    if state.failures or state.code:
        async with services.store.transaction() as tx:
            await lines.put_state(tx, line.id, failures=0, code=None, closed_until=None)


# --- what came back ---------------------------------------------------------------------------------------------------


def received_note(services: Services, line: Line, no: int, data: bytes, now: datetime) -> tuple[SignedDocument, str]:
    """Our signature that these bytes were received over a line as its number `no`, and their digest."""
    digest = digest_text(data)
    body = encode({"type": "chengxin-exchange/received/1", "line": line.id, "no": no, "digest": digest, "bytes": len(data)})
    return notes.sign_document("received", f"{line.id}/{no}", body, exchange_signers(services, now)), digest


async def keep_received(services: Services, tx: Transaction, line: Line, data: bytes, *, about: str | None) -> int:
    """Keep bytes as they came, signed as received; their number."""
    no = await lines.next_reply_no(tx, line.id)
    document, digest = received_note(services, line, no, data, tx.now)
    await lines.keep_reply(tx, line.id, no, data, document, digest, about=about)
    return no
