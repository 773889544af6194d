"""One round of everything that keeps an exchange alive without a person: keys, batches, recognition.

Rules: partners' keys documents are fetched where the line can fetch them, at most every ten minutes; batches are sealed and delivered as
their schedule says; recognition follows the change log and the clock. A partner that cannot be reached, or misbehaves, delays its own
streams only. This story must not decide anything that the stories it calls do not decide.
"""

from datetime import datetime, timedelta

from gateway.adapter_contract import AdapterError
from gateway.core.errors import GatewayError, NoActivePolicy
from gateway.core.exchange.agreements import Held
from gateway.core.exchange.notes import read_envelope
from gateway.operations.manage_agreements import take_keys
from gateway.operations.partners import line_to, streams_from
from gateway.operations.recognise import follow, review, review_stream
from gateway.operations.send_batch import send_batch
from gateway.services import Services
from gateway.store import held_agreements, inbox

FETCH_KEYS_EVERY = timedelta(minutes=10)


class Rounds:
    """What is remembered from round to round in one process: when each partner's keys were asked for, and the policy last seen."""

    __slots__ = ("_asked", "_policy")

    def __init__(self) -> None:
        self._asked: dict[str, datetime] = {}
        self._policy = 0

    async def run(self, services: Services) -> dict[str, str]:
        """One round; stream or partner → code of what did not go well.

        Raises StoreError when the store cannot be used.
        """
        troubles: dict[str, str] = {}
        try:
            await services.policies.fresh()
        except NoActivePolicy:
            return troubles
        for partner, held in (await self._partners(services)).items():
            code = await self._fetch_keys(services, held, partner)
            if code is not None:
                troubles[partner] = code
        for stream in await streams_from(services.store.reads, services.signers.party, services.clock()):
            try:
                (sent,) = await send_batch(services, stream=stream.name)
            except GatewayError as error:
                troubles[stream.name] = error.code
            else:
                if sent.state in ("waiting", "stopped"):
                    troubles[stream.name] = sent.code or sent.state
        if services.policies.version != self._policy:
            for row in await inbox.in_streams_all(services.store.reads):
                await review_stream(services, row.stream, row.sender)
            self._policy = services.policies.version
        while await follow(services):
            pass
        await review(services)
        return troubles

    async def _partners(self, services: Services) -> dict[str, Held]:
        """The newest agreement with each partner that both have signed and that has not ended."""
        now, ours = services.clock(), services.signers.party
        found: dict[str, Held] = {}
        for versions in (await held_agreements.held_agreements(services.store.reads)).values():
            for held in versions:
                if held.complete and ours in held.agreement.parties and not held.standing(now).ended:
                    found[held.agreement.other(ours)] = held
        return found

    async def _fetch_keys(self, services: Services, held: Held, partner: str) -> str | None:
        """Ask for the partner's keys document when it is time; the code of what went wrong."""
        now = services.clock()
        asked = self._asked.get(partner)
        if asked is not None and now - asked < FETCH_KEYS_EVERY:
            return None
        self._asked[partner] = now
        try:
            async with line_to(services, held, partner) as line:
                if "keys" not in line.capabilities:
                    return None
                fetch = getattr(line, "keys", None)
                document = await fetch() if fetch is not None else b""
            await take_keys(services, read_envelope(document), by=f"partner/{partner}")
        except AdapterError as error:
            return error.code
        except GatewayError as error:
            return error.code
        except Exception as error:  # noqa: BLE001  # a guest may raise anything; the other partners must not wait for it
            return type(error).__name__
        return None
