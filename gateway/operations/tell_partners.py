"""Bring partners what we have signed about agreements, versions, notices, inventories, and hear what they have (exchange.md §10).

Rules: notices go first and at once, then versions from the second on, then inventories; each until the partner has taken it, on the
schedule of batches, over a line that can `tell`. From whom we fetch, we also hear: such a partner may not be able to reach us. Every other
partner is heard once after a start: a house that was brought back from a copy has perhaps said something since, and no longer knows it.
Whatever comes is believed by its signatures alone. A partner that fails delays itself only, and a letter that it refuses no other letter.
This story must not sign anything.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec
from msgspec import Struct

from gateway.adapter_contract import AdapterError
from gateway.core.callers.administrators import Administrator, Role
from gateway.core.errors import ExchangeError, GatewayError
from gateway.core.exchange import notes
from gateway.core.exchange.agreements import Held, in_force
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import digest_text
from gateway.operations.backing_off import due, pause
from gateway.operations.end_agreement import end_agreements
from gateway.operations.four_eyes import actor, proof
from gateway.operations.partners import LONGEST_CALL, line_name, line_to, one_of_two
from gateway.operations.take_documents import take_document
from gateway.services import Services
from gateway.store import agreement_ends, audit, held_agreements, told_documents
from gateway.store.store import moment

HEAR_EVERY: Final = timedelta(minutes=10)
ONCE: Final = timedelta.max
"""Whoever reaches us is asked until it has answered, and then no more before the next start."""


class Letter(Struct, frozen=True, kw_only=True):
    """One signed document of ours for one partner."""

    party: str
    what: str
    document: SignedDocument
    held: Held
    """Under which the line to the partner stands."""
    attempts: int = 0
    """So often it was not taken."""

    @property
    def digest(self) -> str:
        """Of body and note."""
        return digest_text(self.document.body + b"\0" + self.document.note.encode())


class Told(Struct, frozen=True, kw_only=True):
    """What an attempt came to."""

    party: str
    what: str
    code: str | None
    """Why the partner has not taken it; None: it has."""


async def letters(services: Services) -> list[Letter]:
    """Everything signed by us that partners should have, in the order in which it goes."""
    reads, ours, now = services.store.reads, services.signers.party, services.clock()
    notices: list[Letter] = []
    versions_: list[Letter] = []
    inventories: list[Letter] = []
    for agreement_id, versions in (await held_agreements.held_agreements(reads)).items():
        governing = in_force(versions, now) or next((one for one in versions if one.complete), None)
        if governing is None or ours not in governing.agreement.parties:
            continue  # a first version travels as a file
        partner = governing.agreement.other(ours)
        for row in await held_agreements.notices_of(reads, agreement_id, ours):
            what = f"agreement-state/{agreement_id}/{row.serial}"
            notices.append(Letter(party=partner, what=what, document=SignedDocument(row.body, row.note), held=governing))
        for held in versions:
            agreement = held.agreement
            if agreement.version > 1 and ours in held.signed and not held.standing(now).ended:
                what = f"agreement/{agreement_id}/{agreement.version}"
                versions_.append(Letter(party=partner, what=what, document=SignedDocument(agreement.body, held.note), held=governing))
        made = await agreement_ends.inventory(reads, agreement_id, ours)
        if made is not None and made.note:
            what = f"inventory/{agreement_id}"
            inventories.append(Letter(party=partner, what=what, document=SignedDocument(made.body, made.note), held=governing))
    return [*notices, *versions_, *inventories]


async def tell_partners(services: Services, *, at_once: bool = False) -> list[Told]:
    """Bring what has not been taken yet and is due; `at_once` does not wait for the schedule.

    Raises StoreError when the store cannot be used.
    """
    return [told for waiting in (await letters_due(services, at_once=at_once)).values() for told in await tell_partner(services, waiting)]


async def letters_due(services: Services, *, at_once: bool = False) -> dict[str, list[Letter]]:
    """What the partner of each agreement should be brought now, in the order in which it goes."""
    found: dict[str, list[Letter]] = {}
    held = await told_documents.everything(services.store.reads)
    for letter in await letters(services):
        row = held.get((letter.party, letter.what))
        if row is not None and row.digest == letter.digest:
            again = moment(row.next_attempt_at) if row.next_attempt_at is not None else None
            if row.told_at is not None or not (at_once or due(again, services.clock())):
                continue
            letter = msgspec.structs.replace(letter, attempts=row.attempts)
        found.setdefault(letter.held.agreement.id, []).append(letter)
    return found


async def tell_partner(services: Services, waiting: Sequence[Letter]) -> list[Told]:
    """Bring the partner of an agreement its letters, until one does not arrive.

    Raises StoreError when the store cannot be used.
    """
    done: list[Told] = []
    arrives = True
    for letter in waiting:
        code, refused = await _tell(services, letter) if arrives else ("UNAVAILABLE", False)
        if code == NO_LINE:
            continue
        arrives = code is None or refused  # else what comes next would not arrive either
        async with services.store.transaction() as tx:
            await told_documents.note(
                tx,
                letter.party,
                letter.what,
                letter.digest,
                told=code is None,
                attempts=letter.attempts + 1,
                code=code,
                next_attempt_at=None if code is None else tx.now + pause(letter.attempts),
            )
        done.append(Told(party=letter.party, what=letter.what, code=code))
    return done


SEND: Final[tuple[Role, ...]] = ("operator", "approver")


async def send_letters(services: Services, *, by: Administrator | str) -> tuple[list[Told], dict[str, str]]:
    """Bring what waits and hear what there is, at once, because a person asks; what went wrong with hearing, by partner and agreement.

    What has ended, perhaps by a notice that came over the line, is carried out first: its inventory goes along.

    Raises RoleMissing.
    """
    if isinstance(by, Administrator):
        by.require(*SEND)
    async with services.store.transaction() as tx:
        await audit.write(tx, actor(by), "agreement.send", "agreement/*", proof(by))
    await end_agreements(services)
    return await tell_partners(services, at_once=True), await hear_partners(services, at_once=True)


NO_LINE: Final = "no-line"
"""The line cannot tell: the offices exchange files, or the partner hears from us."""


async def _tell(services: Services, letter: Letter) -> tuple[str | None, bool]:
    """Why a letter was not taken, and whether the partner has refused it: an end behind it may be taken all the same."""
    try:
        async with asyncio.timeout(LONGEST_CALL.total_seconds()), line_to(services, letter.held, letter.party) as line:
            tell = getattr(line, "tell", None) if "tell" in line.capabilities else None
            if tell is None:
                return NO_LINE, False
            async with one_of_two(services, letter.party):
                await tell(notes.envelope(letter.document))
    except AdapterError as error:
        return error.code, error.code == "RATE_LIMIT" or not (error.transient or error.code in ("UNAVAILABLE", "CONFIG"))
    except GatewayError as error:
        return error.code, False
    except TimeoutError:
        return "UNAVAILABLE", False
    except Exception as error:  # noqa: BLE001  # a guest may raise anything; the other partners must not wait for it
        return type(error).__name__, False
    return None, False


async def hear_partners(services: Services, *, at_once: bool = False) -> dict[str, str]:
    """Ask partners what they keep for us of agreements, as often as is due; partner and agreement → what went wrong.

    Raises StoreError when the store cannot be used.
    """
    troubles: dict[str, str] = {}
    for heard in await partners_to_hear(services, at_once=at_once):
        troubles |= await hear_partner(services, *heard)
    return troubles


async def partners_to_hear(services: Services, *, at_once: bool = False) -> list[tuple[Held, Mapping[str, str]]]:
    """The agreements whose partner is to be asked now, each with what we know of all versions with that partner: it tells of all."""
    found: list[tuple[Held, Mapping[str, str]]] = []
    now, ours = services.clock(), services.signers.party
    known = await held_agreements.held_agreements(services.store.reads)
    for versions in known.values():
        held = in_force(versions, now)
        if held is None or ours not in held.agreement.parties:
            continue
        partner = held.agreement.other(ours)
        key = f"hear/{held.agreement.id}"
        fetches = any(stream.from_ == partner and stream.wire.delivery == "pull" for stream in held.agreement.terms.streams)
        wanted = fetches or services.paces.due(_answered(held), now, ONCE)
        if not at_once and not (wanted and services.paces.due(key, now, HEAR_EVERY)):
            continue
        services.paces.did(key, now)
        with_it = [one for those in known.values() for one in those if partner in one.agreement.parties]
        found.append((held, await _known(services, with_it, partner)))
    return found


async def hear_partner(services: Services, held: Held, known: Mapping[str, str]) -> dict[str, str]:
    """Hear one partner about one agreement; both of them → code of what did not go well.

    Raises StoreError when the store cannot be used.
    """
    partner = held.agreement.other(services.signers.party)
    code = await _hear(services, held, partner, known)
    if code is None:
        services.paces.did(_answered(held), services.clock())
        return {}
    return {line_name(held, partner): code}


def _answered(held: Held) -> str:
    return f"heard/{held.agreement.id}"


async def _known(services: Services, versions: Sequence[Held], partner: str) -> Mapping[str, str]:
    """What we know of each version: its state, and of an end whether the partner's inventory has come."""
    known: dict[str, str] = {}
    for held in versions:
        state = held.standing(services.clock()).state
        if state in ("terminated", "expired"):
            other = await agreement_ends.inventory(services.store.reads, held.agreement.id, partner)
            state = state if other is not None else "active"
        known[f"{held.agreement.id}/{held.agreement.version}"] = state
    return known


async def _hear(services: Services, held: Held, partner: str, known: Mapping[str, str]) -> str | None:
    refused: str | None = None
    try:
        async with asyncio.timeout(LONGEST_CALL.total_seconds()), line_to(services, held, partner) as line:
            hear = getattr(line, "hear", None) if "hear" in line.capabilities else None
            found = await hear(known) if hear is not None else ()
        for document in found:
            try:
                await take_document(services, notes.read_envelope(document), by=f"partner/{partner}")
            except ExchangeError as error:
                refused = refused or error.code  # an end may stand behind it
    except AdapterError as error:
        return error.code
    except GatewayError as error:
        return error.code
    except TimeoutError:
        return "UNAVAILABLE"
    except Exception as error:  # noqa: BLE001  # as above
        return type(error).__name__
    return refused
