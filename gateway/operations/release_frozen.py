"""Let a partner's frozen stream go on: two persons, and a new epoch of the partner's (exchange.md §7).

Rules: the first person asks, another one of another unit agrees, an approver among the two, each signed with an own key; only then may a
new epoch be staged, and only when it is whole is the stream open again. Who asked without a signature, or is an administrator no more, or
of another key, has asked nothing.
Nothing of the forked epoch is applied any more; the evidence stays. This story must not decide who of the two signatures was right.
"""

from typing import Final

from gateway.adapter_contract import AdapterError
from gateway.core.callers.administrators import Administrator, Role
from gateway.core.errors import ExchangeError, NotFound
from gateway.core.exchange.wire import split_stream
from gateway.operations.begin_epoch import Reason
from gateway.operations.four_eyes import actor, proof, refuse_dependent
from gateway.operations.partners import line_to
from gateway.services import Services
from gateway.store import administrators, audit, held_agreements, inbox
from gateway.store.store import Transaction

RELEASE: Final[tuple[Role, ...]] = ("operator", "approver")


async def release_frozen(services: Services, stream: str, *, by: Administrator, reason: str) -> bool:
    """One person more for the release of a frozen stream; true once two have agreed and a new epoch is taken.

    Raises ExchangeError NOT_FOUND when no partner's stream of this name is frozen; RoleMissing; AdminError approval-conflict for no
    second pair of eyes beside who asked.
    """
    by.require(*RELEASE)
    for row in await inbox.in_streams_all(services.store.reads):
        if row.stream == stream and row.frozen is not None:
            async with services.store.transaction() as tx:
                asked_by = await _asker(services, tx, row.sender, stream)
                if asked_by not in (None, by.name):
                    await _second(services, by, asked_by)
                key = by.evidence.key_id if by.evidence is not None else None
                done = await inbox.release(tx, row.sender, stream, by.name, key=key, asked_by=asked_by)
                act = "stream.release" if done else "stream.release-asked"
                said = {"reason": reason, "code": row.frozen, **({"asked_by": asked_by} if done else {}), **proof(by)}
                await audit.write(tx, actor(by), act, f"stream/{row.sender}/{stream}", said)
            return done
    raise ExchangeError("no stream of this name is frozen", code="NOT_FOUND", place=stream)


async def _asker(services: Services, tx: Transaction, sender: str, stream: str) -> str | None:
    """Who asked before, if it is a live administrator who signed it with the key of today."""
    asked = await inbox.release_asked_by(tx, sender, stream)
    row = await administrators.find(services.store.reads, asked[0]) if asked is not None else None
    return row.admin.name if asked is not None and row is not None and row.live and row.admin.key_id == asked[1] else None


async def _second(services: Services, by: Administrator, asked_by: str) -> None:
    """Raises AdminError approval-conflict, RoleMissing when neither of the two is an approver."""
    await refuse_dependent(services, by, asked_by)
    row = await administrators.find(services.store.reads, asked_by)
    if row is None or "approver" not in row.admin.acting:
        by.require("approver")


async def ask_for_epoch(services: Services, stream: str, *, reason: Reason, by: str) -> None:
    """Ask the sender of a stream to us for a new epoch, over its line.

    While a stream is frozen and not released nobody asks: what came would be refused, and its number used up. Raises NotFound for no stream
    to us, ExchangeError for that, for what goes wrong on the line, or for a line that cannot ask.
    """
    reads, now = services.store.reads, services.clock()
    agreement_id, dataset = split_stream(stream)
    for held in reversed((await held_agreements.held_agreements(reads, agreement_id)).get(agreement_id, [])):
        partner = held.agreement.other(services.signers.party)
        if held.complete and not held.standing(now).ended and held.agreement.stream(dataset, partner) is not None:
            await _must_take(services, partner, stream)
            async with line_to(services, held, partner) as line:
                ask = getattr(line, "resync", None) if "resync" in line.capabilities else None
                try:
                    if ask is None:
                        raise AdapterError("UNAVAILABLE", "此线路不能请求新一期数据", transient=False)
                    await ask(stream, reason)
                except AdapterError as error:
                    raise ExchangeError(error.message, code=error.code, place=partner, hint="chengxin exchange doctor") from error
            async with services.store.transaction() as tx:
                await audit.write(tx, by, "stream.resync", f"stream/{partner}/{stream}", {"reason": reason})
            return
    raise NotFound


async def _must_take(services: Services, sender: str, stream: str) -> None:
    for row in await inbox.in_streams_all(services.store.reads):
        if (row.sender, row.stream) == (sender, stream) and row.frozen is not None and row.released_by is None:
            hint = "chengxin exchange release --what frozen, by two persons"
            raise ExchangeError("the stream is frozen, and a new epoch would be refused", code=row.frozen, place=stream, hint=hint)
