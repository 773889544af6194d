"""One round of everything that keeps an exchange alive without a person: keys, batches, recognition.

Rules: everything of ours is sealed and decided first, then each agreement's line, and each line that signs nothing, is reached by itself;
keys documents are fetched where a line can fetch them, at most every ten minutes; batches are delivered as their schedule says; recognition
follows the change log and the clock. A line that cannot be reached, does not come back, or misbehaves, delays the streams of its own
agreement only, in the rounds that follow too. This story must not decide anything that the stories it calls do not decide.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

from gateway.core.errors import GatewayError, NoActivePolicy, SettingsError
from gateway.core.exchange.agreements import Held
from gateway.core.paces import Paces
from gateway.operations import alarms
from gateway.operations.apart import Apart, Errand, Troubles
from gateway.operations.begin_anew import anew_due, ask_anew, go_on_after_end
from gateway.operations.come_back import find_places, places_due, purge_marked
from gateway.operations.compare_heads import BEHIND, awaits_answer, compare_heads
from gateway.operations.end_agreement import end_agreements
from gateway.operations.fetch_keys import fetch_keys
from gateway.operations.keep_lines import keep_lines
from gateway.operations.keep_uploads import forget_uploads
from gateway.operations.kept_inquiries import keep_questions
from gateway.operations.line_reports import line_conditions
from gateway.operations.lines import approved_lines
from gateway.operations.partners import agreed_lines, line_name, stream_at, streams_from
from gateway.operations.receive_batch import resume_waiting
from gateway.operations.recognise import follow, review, review_stream
from gateway.operations.send_batch import send_batch
from gateway.operations.tell_partners import Letter, hear_partner, letters_due, partners_to_hear, tell_partner
from gateway.operations.watch_exchange import conditions
from gateway.services import Services
from gateway.store import early_feedback, inbox

LOOK_EVERY = timedelta(minutes=1)
CLEAR_EVERY = timedelta(hours=1)


async def _send(services: Services, stream: str, troubles: dict[str, str], *, deliver: bool) -> None:
    try:
        (sent,) = await send_batch(services, stream=stream, deliver=deliver)
    except GatewayError as error:
        troubles[stream] = error.code
        return
    if sent.code is not None:  # to wait for who fetches, or looks into a folder, is no trouble
        troubles[stream] = sent.code


async def _deliver(services: Services, streams: Sequence[str]) -> Troubles:
    """Every stream of ours under one agreement, in order; what the partner is asked about first is sealed before any of it leaves."""
    troubles: Troubles = {}
    for found in await streams_from(services.store.reads, services.signers.party, services.clock()):
        if found.name in streams and awaits_answer(services, found):
            if await compare_heads(services, found) not in (None, BEHIND):
                break  # it cannot be asked now: each attempt to deliver asks again
            await _send(services, found.name, troubles, deliver=False)
    for stream in streams:
        await _send(services, stream, troubles, deliver=True)
    return troubles


async def _tell(services: Services, waiting: Sequence[Letter]) -> Troubles:
    """What one agreement has to tell its partner."""
    told = await tell_partner(services, waiting)
    return {line_name(waiting[0].held, each.party): each.code for each in told if each.code is not None}


async def _keep(services: Services, line: str) -> Troubles:
    """One line that signs nothing."""
    return {run.stream: run.code for run in await keep_lines(services, line=line) if run.code is not None}


async def _errands(services: Services, to: Mapping[str, list[str]]) -> dict[str, Errand]:
    """What is due to others, and waits for nobody: `to` names our streams under each agreement."""
    errands: dict[str, Errand] = {}
    for agreement, waiting in (await letters_due(services)).items():
        errands[f"tell/{agreement}"] = partial(_tell, services, waiting)
    for held, known in await partners_to_hear(services):
        errands[f"hear/{held.agreement.id}"] = partial(hear_partner, services, held, known)
    for line in await approved_lines(services):
        errands[f"line/{line.id}"] = partial(_keep, services, line.id)
    lines: dict[str, list[Held]] = {}
    agreed = await agreed_lines(services)
    for held, partner in agreed:
        lines.setdefault(partner, []).append(held)
    for agreement, (held, streams) in (await anew_due(services, agreed)).items():
        errands[f"anew/{agreement}"] = partial(ask_anew, services, held, held.agreement.other(services.signers.party), streams)
    for agreement, (held, streams) in (await places_due(services, agreed)).items():
        errands[f"place/{agreement}"] = partial(find_places, services, held, held.agreement.other(services.signers.party), streams)
    for partner, those in lines.items():
        errands[f"keys/{partner}"] = partial(fetch_keys, services, those, partner)
    return errands | {f"to/{agreement}": partial(_deliver, services, streams) for agreement, streams in to.items()}


class Rounds:
    """What one process remembers: under which policy and agreement each stream was last decided about, what alarms were told, and when.

    Without `patience` a round waits for every line.
    """

    __slots__ = ("_apart", "_decided", "_paces", "_told")

    def __init__(self, patience: timedelta | None = None) -> None:
        self._apart = Apart(patience)
        self._paces = Paces()
        self._told: dict[tuple[str, str], bool] = {}
        self._decided: dict[tuple[str, str], tuple[int, str]] = {}

    async def run(self, services: Services) -> dict[str, str]:
        """One round; stream, line, or partner and agreement → code of what did not go well.

        Raises StoreError when the store cannot be used.
        """
        troubles: dict[str, str] = {}
        try:
            await services.policies.fresh()
        except NoActivePolicy:
            return troubles
        for story in (end_agreements, go_on_after_end, purge_marked, resume_waiting):
            try:
                await story(services)
            except SettingsError as error:  # no key that is good now: effects end and people are told all the same
                troubles["gateway"] = error.code
        to: dict[str, list[str]] = {}
        for stream in await streams_from(services.store.reads, services.signers.party, services.clock()):
            to.setdefault(stream.governing.agreement.id, []).append(stream.name)
            if not awaits_answer(services, stream):  # else its errand asks first, and seals then
                await _send(services, stream.name, troubles, deliver=False)
        await self._decide_anew(services)
        while await follow(services):
            pass
        await review(services)
        troubles |= await self._apart.round(await _errands(services, to))
        while await follow(services):
            pass
        now = services.clock()
        if self._paces.due("look", now, LOOK_EVERY):
            self._paces.did("look", now)
            await alarms.keep(services, [*await conditions(services), *await line_conditions(services)], self._told)
        if self._paces.due("clear", now, CLEAR_EVERY):
            self._paces.did("clear", now)
            await keep_questions(services)
            await forget_uploads(services)
            async with services.store.transaction() as tx:
                await early_feedback.purge(tx)
        return troubles

    async def end(self) -> None:
        """Leave off what is still under way."""
        await self._apart.end()

    async def _decide_anew(self, services: Services) -> None:
        """Decide about everything that a stream has told, where our policy or the text of its agreement is another than before."""
        for row in await inbox.in_streams_all(services.store.reads):
            stream = await stream_at(services.store.reads, row.stream, row.sender, services.clock())
            under = services.policies.version, stream.governing.agreement.digest if stream is not None else ""
            if self._decided.get((row.sender, row.stream)) != under:
                await review_stream(services, row.stream, row.sender)
                self._decided[row.sender, row.stream] = under
