"""One round of everything that keeps an exchange alive without a person: keys, batches, recognition.

Rules: partners' keys documents are fetched where the line can fetch them, at most every ten minutes; batches are sealed and delivered as
their schedule says; recognition follows the change log and the clock. A partner that cannot be reached, or misbehaves, delays its own
streams only. This story must not decide anything that the stories it calls do not decide.
"""

from datetime import datetime, timedelta

from gateway.core.errors import GatewayError, NoActivePolicy
from gateway.operations import alarms
from gateway.operations.end_agreement import end_agreements
from gateway.operations.fetch_keys import fetch_keys
from gateway.operations.keep_lines import keep_lines
from gateway.operations.kept_inquiries import keep_questions
from gateway.operations.line_reports import line_conditions
from gateway.operations.partners import partners_of, stream_at, streams_from
from gateway.operations.receive_batch import resume_waiting
from gateway.operations.recognise import follow, review, review_stream
from gateway.operations.send_batch import send_batch
from gateway.operations.tell_partners import hear_partners, tell_partners
from gateway.operations.watch_exchange import conditions
from gateway.services import Services
from gateway.store import inbox

LOOK_EVERY = timedelta(minutes=1)
CLEAR_EVERY = timedelta(hours=1)


class Rounds:
    """What one process remembers: under which policy and agreement each stream was last decided about, what alarms were told, and when."""

    __slots__ = ("_cleared", "_decided", "_looked", "_told")

    def __init__(self) -> None:
        self._cleared: datetime | None = None
        self._looked: datetime | None = None
        self._told: dict[tuple[str, str], bool] = {}
        self._decided: dict[tuple[str, str], tuple[int, str]] = {}

    async def run(self, services: Services) -> dict[str, str]:
        """One round; stream or partner → code of what did not go well.

        Raises StoreError when the store cannot be used.
        """
        troubles: dict[str, str] = {}
        try:
            await services.policies.fresh()
        except NoActivePolicy:
            return troubles
        for partner, held in (await partners_of(services)).items():
            code = await fetch_keys(services, held, partner)
            if code is not None:
                troubles[partner] = code
        await end_agreements(services)
        for told in await tell_partners(services):
            if told.code is not None:
                troubles[told.party] = told.code
        troubles |= await hear_partners(services)
        await resume_waiting(services)
        for stream in await streams_from(services.store.reads, services.signers.party, services.clock()):
            try:
                (sent,) = await send_batch(services, stream=stream.name)
            except GatewayError as error:
                troubles[stream.name] = error.code
            else:
                if sent.code is not None:  # to wait for who fetches, or looks into a folder, is no trouble
                    troubles[stream.name] = sent.code
        for run in await keep_lines(services):
            if run.code is not None:
                troubles[run.stream] = run.code
        await self._decide_anew(services)
        while await follow(services):
            pass
        await review(services)
        now = services.clock()
        if self._looked is None or now - self._looked >= LOOK_EVERY:
            self._looked = now
            await alarms.keep(services, [*await conditions(services), *await line_conditions(services)], self._told)
        if self._cleared is None or now - self._cleared >= CLEAR_EVERY:
            self._cleared = now
            await keep_questions(services)
        return troubles

    async def _decide_anew(self, services: Services) -> None:
        """Decide about everything that a stream has told, where our policy or the text of its agreement is another than before."""
        for row in await inbox.in_streams_all(services.store.reads):
            stream = await stream_at(services.store.reads, row.stream, row.sender, services.clock())
            under = services.policies.version, stream.governing.agreement.digest if stream is not None else ""
            if self._decided.get((row.sender, row.stream)) != under:
                await review_stream(services, row.stream, row.sender)
                self._decided[row.sender, row.stream] = under
