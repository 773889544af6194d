"""The composition root: settings → services → stories → handlers → the ASGI application that a server runs.

`create` is the factory a server calls in each worker: it reads the settings itself, for a worker sees only the environment and
files. The reader of the change log and the private listener live as long as the application.
"""

import asyncio
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import garbage
from gateway import settings as settings_room
from gateway.core.audit.log import ROWS_A_CHECKPOINT
from gateway.core.errors import GatewayError
from gateway.core.records.periods import legal_day
from gateway.core.transparency.monitoring import Memory
from gateway.log_client import ask_witness
from gateway.operations import alarms, keep_log, match_jobs, reissue_lists, render_public, report_health, verify_log
from gateway.operations.acknowledge import acknowledge
from gateway.operations.activate_policy import keep_policies
from gateway.operations.alarms import Condition
from gateway.operations.apart import PATIENCE, Apart, Troubles
from gateway.operations.build_lists import build
from gateway.operations.collect_batches import collect_batches
from gateway.operations.finish_erasures import finish_erasures
from gateway.operations.issue_token import nobodys_key
from gateway.operations.keep_audit import checkpoint, retire
from gateway.operations.keep_exchange import Rounds
from gateway.operations.lead_exchange import Candidate, Work, lead
from gateway.operations.measure_exchange import Measuring
from gateway.operations.prepare_ends import prepare_ends
from gateway.operations.rescore_texts import rescore_texts
from gateway.operations.retention_due import counted, look
from gateway.operations.seal_withdrawn import seal_withdrawn
from gateway.operations.standstill import Standstill
from gateway.operations.tidy_names import tidy_names
from gateway.operations.version_files import clear_unfinished
from gateway.operations.waiting_texts import measure
from gateway.services import Services, open_services
from gateway.settings import Settings
from gateway.store.lane import LaneReads
from gateway.web import application, openapi, telemetry
from gateway.web.access_log import AccessLog
from gateway.web.api import exchange, witness
from gateway.web.api import log as log_room
from gateway.web.api.routes import ROUTES
from gateway.web.application import Opened
from gateway.web.asgi import App
from gateway.web.edge import FrontDoor
from gateway.web.exchange_meter import ExchangeMeter
from gateway.web.lane import PublicLane
from gateway.web.telemetry import Meter, log

if TYPE_CHECKING:
    from gateway.web.admin.application import AdminDoor

BEGIN_S = 0.2
"""How long after its start a worker begins with what goes on beside the answers: whoever waits at the door is answered first."""
READER_STEP = 500
"""Changes a step of the reader: between two steps requests are answered."""
BACK_OFF_S = 5.0
TIDY_LOOK_S = 60.0
"""How often it is looked in how many pieces the names index stands."""
AUDIT_LOOK_S = 0.5
"""How often it is looked whether a checkpoint of the audit log is due, whether keys were exchanged, and which signing keys there are."""
POLICY_POLL_S = 1.0
"""How often scheduled versions, open confirmations and alarms are looked at."""
REVIEWS_LOOK_S = 60.0
RETENTION_LOOK_S = 60.0
RETENTION_PAUSE_S = 0.1
"""Between two stretches of the daily look for what was kept long enough: nobody waits for it."""
EXCHANGE_LOOK_S = 60.0
WITHDRAWALS_LOOK_S = 10.0
"""How often it is looked whether what was withdrawn has left every exit, and what was erased every copy."""
SWITCH_S = 0.001
"""How long the loop keeps the interpreter's lock from a thread that reads for one of its answers; Python would say five times that."""
ENDS_LOOK_S = 60.0
"""How often it is looked which rows of versions end at midnight, shortly before it."""
LATER = ("joserfc.jwk", "joserfc.jws", "gateway.core.disclosure.redaction", "structlog", "jinja2", "httpx", "tenacity")
"""What proofs are checked with, what only texts that come in need (a hundred patterns), what writes the first line of a log, what makes
pages, what asks witnesses, what says when a partner is tried again."""
LATER_S = 1.0
"""How long after its start a process loads these, on a thread."""
PARENT_DEATH = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def create_app(settings: Settings, *, whole_process: bool = False) -> App:
    """The application of one process; nothing is opened before its lifespan starts.

    With `whole_process` nothing else lives in it: what stands at its start (plans, tables, libraries) is never looked through for garbage,
    for hardly any of it is, and a full collection would hold every answer up for some tenths of a second.
    """
    if whole_process:
        gc.disable()
    meter, partners = Meter(), ExchangeMeter()

    @asynccontextmanager
    async def opening() -> AsyncIterator[Opened]:
        async with AsyncExitStack() as stack:
            services = await stack.enter_async_context(open_services(settings))
            with suppress(GatewayError):  # without a policy every data path says so; /readyz too
                await services.policies.refresh()
            if settings.metrics_port:
                _measure(services, meter)
                await stack.enter_async_context(
                    telemetry.private_listener(
                        telemetry.registry_of(meter, partners), settings.metrics_host, settings.metrics_port, tries=settings.workers
                    )
                )
            lane = None
            if services.store.dialect == "sqlite":  # elsewhere a look-up waits for the network: the office lane is as good
                reads = stack.enter_context(closing(LaneReads(services.store, kept_bytes=settings.lane_memory_mb * 2**20)))
                lane = PublicLane(services, reads)
            access = await stack.enter_async_context(_access_log(settings, door))
            overdue: dict[str, int] = {}
            kept: dict[str, int] = {}
            works: list[Work] = [
                partial(_read_changes, services, meter),
                partial(_tidy_names, services, meter),
                partial(_keep_audit, services, meter, access),
                partial(_keep_signers, services),
                partial(_follow_lists, services, meter),
                partial(_prepare_ends, services, meter),
                partial(_build_lists, services, meter),
                partial(_work_on_jobs, services, meter),
                partial(_keep_log, services, meter),
                partial(_monitor_log, services, meter),
                partial(_keep_policies, services, meter),
                partial(_measure_reviews, services, meter, overdue),
                partial(_keep_retention, services, meter, kept),
                partial(_keep_alarms, services, meter, partial(_conditions, services, door, access, overdue, kept)),
                partial(_finish_withdrawals, services, meter),
                _load_later,
            ]
            if settings.exchange_poll_s:
                rounds = partial(_exchange, services, meter), partial(_fetch_batches, services, meter)
                works.append(partial(lead, services, Candidate(), rounds, lambda code: meter.event(f"exchange-{code}")))
            if settings.metrics_port:
                works.append(partial(_measure_exchange, services, meter, partners))
            tasks = [asyncio.create_task(_begin(work, BEGIN_S if whole_process else 0.0)) for work in works]
            if whole_process:
                sys.setswitchinterval(SWITCH_S)
                gc.freeze()
                garbage.seldom()
                gc.enable()
            try:
                yield Opened(services=services, lane=lane)
            finally:
                for task in tasks:
                    task.cancel()
                for task in tasks:
                    with suppress(asyncio.CancelledError):
                        await task
                with suppress(GatewayError):  # told while it ran; the next start seals what is left
                    await services.trail.flush()
                    await checkpoint(services)

    door = application.build(settings, opening, meter=meter, more=(exchange.router, log_room.router, *witness.ROUTERS))
    return door


def create_admin_app(settings: Settings) -> App:
    """The administrators' API of one process, for a listener of its own."""
    from gateway.web.admin import application as admin  # no part of the process that serves the public

    @asynccontextmanager
    async def opening() -> AsyncIterator[Services]:
        async with open_services(settings) as services, _access_log(settings, door):
            watching = asyncio.create_task(_keep_signers(services))
            try:
                yield services
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
                with suppress(GatewayError):
                    await checkpoint(services)

    door = admin.build(settings, opening)
    return door


@asynccontextmanager
async def _access_log(settings: Settings, door: "FrontDoor | AdminDoor") -> AsyncIterator[AccessLog | None]:
    """The access log of a door, while it is open."""
    if settings.access_log == "off":
        yield None
        return
    access = AccessLog(settings)
    async with access.running():
        door.noting = access.note
        try:
            yield access
        finally:
            door.noting = None


def create_admin() -> App:
    """The administrators' API of its worker, with the settings that its environment names."""
    end_with_supervisor()
    telemetry.set_up_logs()
    file = os.environ.get("CHENGXIN_SETTINGS")
    return create_admin_app(settings_room.load(Path(file) if file else None))


def create() -> App:
    """The application of a worker, with the settings that its environment names."""
    end_with_supervisor()
    telemetry.set_up_logs()
    file = os.environ.get("CHENGXIN_SETTINGS")
    return create_app(settings_room.load(Path(file) if file else None), whole_process=True)


def end_with_supervisor() -> None:
    """A worker whose supervisor was killed must not keep the port and serve on unseen (Linux; elsewhere the service manager ends it)."""
    if sys.platform != "linux" or multiprocessing.parent_process() is None:
        return
    ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGTERM)
    if os.getppid() == 1:  # it died before we asked
        raise SystemExit(1)


def openapi_document() -> bytes:
    """The OpenAPI document as every process of this version serves it; `openapi/gateway.json` is a copy."""
    return openapi.encoded(openapi.document(ROUTES))


async def _begin(work: Work, pause_s: float) -> None:
    """One of the works that go on beside the answers, after a pause."""
    if pause_s:
        await asyncio.sleep(pause_s)
    await work()


async def _load_later() -> None:
    """Load what no first answer needs, before the first upload does, and make the key that every app's first token costs a look at."""
    await asyncio.sleep(LATER_S)
    for name in LATER:
        await asyncio.to_thread(import_module, name)
    await asyncio.to_thread(nobodys_key)


async def read_round(services: Services, meter: Meter, still: Standstill) -> None:
    """See policies that another process activated, and follow the change log to its end."""
    if await still.lasts(services):
        return
    await services.policies.refresh()
    while await seal_withdrawn(services):
        meter.event("withdrawn-sealed")
        await asyncio.sleep(0)
    while await rescore_texts(services, limit=READER_STEP):
        meter.event("texts-rescored")
        await asyncio.sleep(0)
    while await render_public.render_public(services, limit=READER_STEP):
        meter.event("reader-step")
        await asyncio.sleep(0)
    still.begins(await render_public.dates(services))


async def follow_round(services: Services, meter: Meter, still: Standstill) -> None:
    """Take out of all versions what left, as far as it is rendered."""
    if await still.lasts(services):
        return
    while await reissue_lists.follow(services):
        meter.event("lists-followed")
        await asyncio.sleep(0)
    still.begins(await reissue_lists.dates(services))


async def job_round(services: Services, meter: Meter, still: Standstill) -> None:
    """Match the files that wait."""
    if await still.lasts(services):
        return
    while await match_jobs.work(services):
        meter.event("match-job")
    still.begins(await match_jobs.dates(services))


async def _read_changes(services: Services, meter: Meter) -> None:
    """Follow the change log: renderings, search and feeds, every `reader_poll_s`."""
    still = Standstill()
    while True:
        pause = services.settings.reader_poll_s
        try:
            await read_round(services, meter, still)
        except GatewayError as error:  # locked, moved by another process, no policy yet: the next round tries again
            meter.event(f"reader-{error.code}")
        except Exception as error:  # noqa: BLE001 - the reader must outlive any fault of one change; readiness and metrics show that it stands
            meter.event("reader-failed")
            log.error("reader-failed", error=type(error).__name__, at=telemetry.where(error))
            pause = BACK_OFF_S
        await asyncio.sleep(pause)


async def _tidy_names(services: Services, meter: Meter) -> None:
    """Put the names index together where it fell to pieces; beside the reader, which waits for no more than a step of it."""
    while True:
        await asyncio.sleep(TIDY_LOOK_S)
        try:
            if await tidy_names(services):
                meter.event("names-tidied")
        except GatewayError as error:  # locked: searches take longer, and nothing else is wrong
            meter.event(f"names-{error.code}")
        except Exception as error:  # noqa: BLE001 - a loop that ended would leave the index in pieces until the next start
            meter.event("names-failed")
            log.error("names-failed", error=type(error).__name__, at=telemetry.where(error))


async def _follow_lists(services: Services, meter: Meter) -> None:
    """Take what leaves out of all versions behind the reader above; never behind a build, which may take its time."""
    still = Standstill()
    while True:
        pause = services.settings.reader_poll_s
        try:
            await follow_round(services, meter, still)
        except GatewayError as error:  # locked, moved by another process, no policy yet: the next round tries again
            meter.event(f"lists-{error.code}")
        except Exception as error:  # noqa: BLE001 - versions must go on whatever one of them meets; what may not be shown is not shown
            meter.event("lists-failed")
            log.error("lists-failed", error=type(error).__name__, at=telemetry.where(error))
            pause = BACK_OFF_S
        await asyncio.sleep(pause)


async def _prepare_ends(services: Services, meter: Meter) -> None:
    """Shortly before midnight find out what leaves the versions at it."""
    while True:
        try:
            meter.event("lists-ends-prepared", await prepare_ends(services))
        except GatewayError as error:  # locked, no policy yet: the next round tries again; what was not prepared ends all the same
            meter.event(f"lists-ends-{error.code}")
        except Exception as error:  # noqa: BLE001 - as above
            meter.event("lists-ends-failed")
            log.error("lists-ends-failed", error=type(error).__name__, at=telemetry.where(error))
        await asyncio.sleep(ENDS_LOOK_S)


async def _build_lists(services: Services, meter: Meter) -> None:
    """Build new versions of lists and datasets, every `lists_build_s`."""
    clear_unfinished(services)
    while services.settings.lists_build_s:
        pause = float(services.settings.lists_build_s)
        try:
            made = await build(services)
            meter.event("lists-built", len(made))
        except GatewayError as error:  # locked, moved by another process, no policy yet: soon again
            meter.event(f"lists-{error.code}")
            pause = min(pause, BACK_OFF_S)
        except Exception as error:  # noqa: BLE001 - one collection that cannot be built must not end the building of all others for good
            meter.event("lists-failed")
            log.error("lists-failed", error=type(error).__name__, at=telemetry.where(error))
            pause = min(pause, BACK_OFF_S)
        await asyncio.sleep(pause)


async def _keep_log(services: Services, meter: Meter) -> None:
    """Enter what happened to public listings, sign the head, ask witnesses, every `log_poll_s`."""
    while services.settings.log_poll_s:
        try:
            while (done := await keep_log.enter(services)) is not None:
                meter.event("log-entries", done.entries)
                await asyncio.sleep(0)
            meter.event("log-signed", len(await keep_log.sign_heads(services)))
            await keep_log.have_witnessed(services, ask_witness)
        except GatewayError as error:  # locked, no policy or key yet, or broken: an alarm stands, the next round tries again
            meter.event(f"log-{error.code}")
        except Exception as error:  # noqa: BLE001 - entries must go on whatever one of them meets; the metrics and the log show it
            meter.event("log-failed")
            log.error("log-failed", error=type(error).__name__, at=telemetry.where(error))
        await asyncio.sleep(services.settings.log_poll_s)


async def _monitor_log(services: Services, meter: Meter) -> None:
    """Verify the transparency log and hold what is public against it, every `log_monitor_s`; whole at the start and once a day."""
    memory = Memory()
    while services.settings.log_monitor_s:
        await asyncio.sleep(services.settings.log_monitor_s)
        try:
            done = await verify_log.watch(services, memory)
            meter.event("log-verified")
            meter.event("log-differences", len(done.differences))
        except GatewayError as error:  # locked, or no policy yet: the next round tries again
            meter.event(f"log-{error.code}")
        except Exception as error:  # noqa: BLE001 - the monitor must outlive any fault; the metrics and the log show it
            meter.event("log-failed")
            log.error("log-failed", error=type(error).__name__, at=telemetry.where(error))


async def _work_on_jobs(services: Services, meter: Meter) -> None:
    """Match the files that wait, one after the other."""
    still = Standstill()
    while True:
        pause = services.settings.reader_poll_s
        try:
            await job_round(services, meter, still)
        except GatewayError as error:  # locked, no policy yet, too slow a query: the next round begins the job anew
            meter.event(f"match-jobs-{error.code}")
        except Exception as error:  # noqa: BLE001 - one file must not end the work on all others; it is told as failed
            meter.event("match-job-failed")
            log.error("match-job-failed", error=type(error).__name__, at=telemetry.where(error))
            pause = BACK_OFF_S
        await asyncio.sleep(pause)


async def _keep_audit(services: Services, meter: Meter, access: AccessLog | None) -> None:
    """Sign the head of the audit log when it is time or enough was written, and delete what has had its time; of the access log too."""
    loop = asyncio.get_running_loop()
    due, retired_on = loop.time() + services.settings.audit_checkpoint_s, None
    while True:
        await asyncio.sleep(AUDIT_LOOK_S)
        with suppress(GatewayError):  # told by the next transaction, which reads the key tables too
            await services.store.refresh_keys()
        if loop.time() < due and services.trail.unsealed < ROWS_A_CHECKPOINT:
            continue
        due = loop.time() + services.settings.audit_checkpoint_s
        try:
            if await checkpoint(services) is not None:
                meter.event("audit-checkpoint")
            today = legal_day(services.clock())
            if retired_on != today:
                meter.event("audit-retired", await retire(services, by="gateway"))
                if access is not None:
                    meter.event("access-log-retired", access.drop_old(services.policies.current().catalogue.retention, today))
                retired_on = today
        except GatewayError as error:
            meter.event(f"audit-{error.code}")
            log.error("audit-unsealed", code=error.code, place=error.place)
        except Exception as error:  # noqa: BLE001 - the trail goes on whatever fails here; the metrics and the log show it
            meter.event("audit-failed")
            log.error("audit-failed", error=type(error).__name__, at=telemetry.where(error))


async def _keep_signers(services: Services) -> None:
    """Sign with the keys that lie in the folder now: one that was revoked signs nothing more, a successor follows when it is good."""
    failing = False
    while True:
        await asyncio.sleep(AUDIT_LOOK_S)
        try:
            if await asyncio.to_thread(services.key_folder.refresh):
                log.info("signing-keys-changed")
            failing = False
        except GatewayError as error:  # being written, or damaged: what was there goes on, and it is looked at again
            if not failing:
                log.error("signing-keys-unread", code=error.code, place=error.place)
            failing = True


async def _keep_policies(services: Services, meter: Meter) -> None:
    """Activate what is scheduled, and alarm about what waits too long and about treatments that broke."""
    while True:
        try:
            await keep_policies(services)
            failed = await alarms.tell_failures(services)
            if failed:
                meter.event("treatment-failed", failed)
        except GatewayError as error:  # locked, or another process was faster: the next round tries again
            meter.event(f"policies-{error.code}")
        except Exception as error:  # noqa: BLE001 - the watch must outlive any fault of one version; the metrics show it
            meter.event("policies-failed")
            log.error("policies-failed", error=type(error).__name__, at=telemetry.where(error))
        await asyncio.sleep(POLICY_POLL_S)


def _conditions(
    services: Services, door: FrontDoor, access: AccessLog | None, overdue: Mapping[str, int], kept: Mapping[str, int]
) -> list[Condition]:
    """What this process sees that is an alarm as long as it is so."""
    limits = door.limits
    return [
        Condition(kind="limits-unreachable", target="limits", bad=limits.alone),
        Condition(kind="audit-unavailable", target="audit", bad=services.trail.failing),
        Condition(kind="access-log-failed", target="access-log", bad=access.failing if access is not None else None),
        *alarms.endings(services),
        *(Condition(kind="texts-overdue", target=name, bad=late > 0, detail={"records": late}) for name, late in overdue.items()),
        *(Condition(kind="retention-over", target=name, bad=over > 0, detail={"records": over}) for name, over in kept.items()),
    ]


async def _keep_alarms(services: Services, meter: Meter, conditions: Callable[[], list[Condition]]) -> None:
    """Raise and end the alarms of this process, and tell of every alarm once: in the log and as figures.

    What cannot be written into the store now is told all the same.
    """
    told = 0
    standing: Sequence[alarms.Alarm] = ()
    said: dict[tuple[str, str], bool] = {}
    unwritten: set[tuple[str, str]] = set()
    meter.gauge("chengxin_alarms", "Alarms that stand", lambda: float(len(standing) + len(unwritten)))
    while True:
        now = conditions()
        bad = {(each.kind, each.target) for each in now if each.bad}
        try:
            await alarms.keep(services, now, said)
            unwritten.clear()
            standing = await alarms.standing(services)
            for alarm in standing:
                if alarm.seq > told:
                    told = alarm.seq
                    meter.event(f"alarm-{alarm.kind}")
                    log.error("alarm", kind=alarm.kind, target=alarm.target, raised_at=alarm.raised_at.isoformat())
        except GatewayError as error:  # locked, or gone: the next round tries again
            meter.event(f"alarms-{error.code}")
            bad -= {key for key, raised in said.items() if raised}
            for kind, target in sorted(bad - unwritten):
                meter.event(f"alarm-{kind}")
                log.error("alarm", kind=kind, target=target, written=False)
            unwritten = bad
        except Exception as error:  # noqa: BLE001 - the watch must outlive any fault; the metrics show it
            meter.event("alarms-failed")
            log.error("alarms-failed", error=type(error).__name__, at=telemetry.where(error))
        await asyncio.sleep(POLICY_POLL_S)


async def _fetch_batches(services: Services, meter: Meter) -> None:
    """Fetch what partners have sealed for us where an agreement says `pull`; a partner may hold back its answer for a while."""
    apart = Apart(PATIENCE)
    await _again_and_again(services, meter, lambda: collect_batches(services, apart, paced=True), apart.end)


async def _exchange(services: Services, meter: Meter) -> None:
    """Keep the exchange alive: partners' keys, batches that are due, recognition; every `exchange_poll_s`."""
    rounds = Rounds(PATIENCE)
    await _again_and_again(services, meter, lambda: rounds.run(services), rounds.end)


async def _again_and_again(
    services: Services, meter: Meter, once: Callable[[], Awaitable[Troubles]], end: Callable[[], Awaitable[None]]
) -> None:
    """What keeps partners, every `exchange_poll_s` until it is cancelled; what went wrong is counted by its code."""
    try:
        while True:
            try:
                for code in (await once()).values():
                    meter.event(f"exchange-{code.lower().replace('_', '-')}")
            except GatewayError as error:  # locked, or moved by another process: the next time tries again
                meter.event(f"exchange-{error.code}")
            except Exception as error:  # noqa: BLE001 - it must outlive any fault of one partner; the metrics show it
                meter.event("exchange-failed")
                log.error("exchange-failed", error=type(error).__name__, at=telemetry.where(error))
            await asyncio.sleep(services.settings.exchange_poll_s)
    finally:
        await end()


async def _finish_withdrawals(services: Services, meter: Meter) -> None:
    """Look whether what was erased is gone, and tell partners whose records have left every exit; also where nothing is ever sent."""
    while True:
        try:
            meter.event("erasures-done", await finish_erasures(services))
            meter.event("withdrawals-acknowledged", await acknowledge(services))
        except GatewayError as error:  # locked, moved by another process, no key that may sign: the next look tries again
            meter.event(f"withdrawals-{error.code}")
        except Exception as error:  # noqa: BLE001 - one record must not keep back the news of all others; the metrics show it
            meter.event("withdrawals-failed")
            log.error("withdrawals-failed", error=type(error).__name__, at=telemetry.where(error))
        await asyncio.sleep(WITHDRAWALS_LOOK_S)


async def _measure_exchange(services: Services, meter: Meter, partners: ExchangeMeter) -> None:
    """How the exchange with every partner stands, and what was counted of it: once a minute."""
    measuring = Measuring()
    while True:
        try:
            partners.show(await measuring.look(services))
        except GatewayError as error:  # the store does not answer: readiness tells
            meter.event(f"exchange-{error.code}")
        except Exception as error:  # noqa: BLE001 - figures must not end for one stream that cannot be read; the metrics show it
            meter.event("exchange-failed")
            log.error("exchange-failed", error=type(error).__name__, at=telemetry.where(error))
        await asyncio.sleep(EXCHANGE_LOOK_S)


async def _measure_reviews(services: Services, meter: Meter, overdue: dict[str, int]) -> None:
    """How many texts wait for reviewers, how long, and how many are overdue: once a minute."""
    while True:
        try:
            found = await measure(services)
            meter.queue([(each.dataset, each.records, each.oldest_s, each.overdue) for each in found])
            overdue.update(dict.fromkeys(overdue, 0) | {each.dataset: each.overdue for each in found})
        except GatewayError as error:  # the store does not answer, or no policy is in force: readiness tells
            meter.event(f"reviews-{error.code}")
        await asyncio.sleep(REVIEWS_LOOK_S)


async def _keep_retention(services: Services, meter: Meter, kept: dict[str, int]) -> None:
    """Look once a day for records that were kept long enough, and count them once a minute; erased they are by people."""
    while True:
        try:
            while await look(services):  # None: another process looks; should it end, one of us goes on the next time
                meter.event("retention-looked")
                await asyncio.sleep(RETENTION_PAUSE_S)
            known = dict.fromkeys(map(str, services.policies.current().catalogue.datasets), 0)
            kept.update(dict.fromkeys(kept, 0) | known | {each.dataset: each.records for each in await counted(services)})
            meter.kept_long_enough({name: records for name, records in kept.items() if records})
        except GatewayError as error:  # locked, or no policy yet: the next time tries again
            meter.event(f"retention-{error.code}")
        except Exception as error:  # noqa: BLE001 - the look must outlive any fault of one record; the metrics show it
            meter.event("retention-failed")
            log.error("retention-failed", error=type(error).__name__, at=telemetry.where(error))
        await asyncio.sleep(RETENTION_LOOK_S)


def _measure(services: Services, meter: Meter) -> None:
    meter.gauge("chengxin_policy_version", "Policy version in force", lambda: float(services.policies.version))
    meter.gauge("chengxin_reader_lag_seconds_bound", "Readiness ends beyond this lag", report_health.LAG.total_seconds)
