"""What goes on beside the answers of a process: readers of the change log, lists, jobs, audit, policies, alarms, exchange.

Each work is done again and again, with a pause between. A round that fails ends nothing: it is counted by its code, what nobody foresaw is
told in the log by kind and place, without values, and the next round tries again. Who does a thing first where several processes run is
settled in the store. This file must not decide anything.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Final

from gateway.core.audit.log import ROWS_A_CHECKPOINT
from gateway.core.errors import GatewayError
from gateway.core.records.periods import legal_day
from gateway.core.transparency.monitoring import Memory
from gateway.log_client import ask_witness
from gateway.operations import alarms, keep_log, match_jobs, reissue_lists, render_public, verify_log
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
from gateway.services import Services
from gateway.web import telemetry
from gateway.web.access_log import AccessLog
from gateway.web.edge import FrontDoor
from gateway.web.exchange_meter import ExchangeMeter
from gateway.web.telemetry import Meter, log

READER_STEP: Final = 500
"""Changes a step of the reader: between two steps requests are answered."""
BACK_OFF_S: Final = 5.0
"""After what nobody foresaw, where a work would else be tried again at once."""
TIDY_LOOK_S: Final = 60.0
"""How often it is looked in how many pieces the names index stands."""
AUDIT_LOOK_S: Final = 0.5
"""How often it is looked whether a checkpoint of the audit log is due, whether keys were exchanged, and which signing keys there are."""
POLICY_POLL_S: Final = 1.0
"""How often scheduled versions, open confirmations and alarms are looked at."""
REVIEWS_LOOK_S: Final = 60.0
RETENTION_LOOK_S: Final = 60.0
RETENTION_PAUSE_S: Final = 0.1
"""Between two stretches of the daily look for what was kept long enough: nobody waits for it."""
EXCHANGE_LOOK_S: Final = 60.0
WITHDRAWALS_LOOK_S: Final = 10.0
"""How often it is looked whether what was withdrawn has left every exit, and what was erased every copy."""
ENDS_LOOK_S: Final = 60.0
"""How often it is looked which rows of versions end at midnight, shortly before it."""
LATER: Final = ("joserfc.jwk", "joserfc.jws", "gateway.core.disclosure.redaction", "structlog", "jinja2", "httpx", "tenacity")
"""What proofs are checked with, what only texts that come in need (a hundred patterns), what writes the first line of a log, what makes
pages, what asks witnesses, what says when a partner is tried again."""
LATER_S: Final = 1.0
"""How long after its start a process loads these, on a thread."""


def works_of(services: Services, meter: Meter, door: FrontDoor, access: AccessLog | None, partners: ExchangeMeter) -> list[Work]:
    """Everything that the settings let this process do beside its answers; each runs until it is cancelled."""
    settings = services.settings
    overdue: dict[str, int] = {}
    kept: dict[str, int] = {}
    again = partial(_again_and_again, meter)
    poll = settings.reader_poll_s
    works: list[Work] = [
        partial(again, "reader", partial(read_round, services, meter, Standstill()), poll, fault_s=BACK_OFF_S),
        partial(again, "lists", partial(follow_round, services, meter, Standstill()), poll, fault_s=BACK_OFF_S),
        partial(again, "match-jobs", partial(job_round, services, meter, Standstill()), poll, fault_s=BACK_OFF_S),
        partial(again, "names", partial(_tidy_names, services, meter), TIDY_LOOK_S, first_s=TIDY_LOOK_S),
        partial(again, "lists-ends", partial(_prepare_ends, services, meter), ENDS_LOOK_S),
        partial(again, "policies", partial(_keep_policies, services, meter), POLICY_POLL_S),
        partial(again, "reviews", partial(_measure_reviews, services, meter, overdue), REVIEWS_LOOK_S),
        partial(again, "retention", partial(_keep_retention, services, meter, kept), RETENTION_LOOK_S),
        partial(again, "withdrawals", partial(_finish_withdrawals, services, meter), WITHDRAWALS_LOOK_S),
        partial(_clear_unfinished, services),
        partial(_keep_audit, services, meter, access),
        partial(keep_signers, services),
        partial(_keep_alarms, services, meter, partial(_conditions, services, door, access, overdue, kept)),
        _load_later,
    ]
    if settings.lists_build_s:
        every = float(settings.lists_build_s)
        works.append(partial(again, "lists", partial(_build_lists, services, meter), every, retry_s=min(every, BACK_OFF_S)))
    if settings.log_poll_s:
        works.append(partial(again, "log", partial(_keep_log, services, meter), settings.log_poll_s))
    if every := settings.log_monitor_s:
        works.append(partial(again, "log", partial(_monitor_log, services, meter, Memory()), every, first_s=every))
    if settings.exchange_poll_s:
        rounds = partial(_exchange, services, meter), partial(_fetch_batches, services, meter)
        works.append(partial(lead, services, Candidate(), rounds, lambda code: meter.event(f"exchange-{code}")))
    if settings.metrics_port:
        works.append(partial(again, "exchange", partial(_measure_exchange, services, Measuring(), partners), EXCHANGE_LOOK_S))
    return works


async def _again_and_again(
    meter: Meter,
    name: str,
    once: Callable[[], Awaitable[None]],
    pause_s: float,
    *,
    first_s: float = 0.0,
    retry_s: float | None = None,
    fault_s: float | None = None,
) -> None:
    """One work, round after round, until it is cancelled; `name` says in events and in the log whose faults they are.

    Pauses in seconds: before the first round, after one that did not come to its end (`retry_s`), and after a fault that nobody foresaw.
    """
    retry_s = pause_s if retry_s is None else retry_s
    await asyncio.sleep(first_s)
    while True:
        pause = pause_s
        try:
            await once()
        except GatewayError as error:  # locked, moved by another process, no policy or key yet: the next round tries again
            meter.event(f"{name}-{error.code}")
            pause = retry_s
        except Exception as error:  # noqa: BLE001 - a work outlives any fault of one record, list or partner; metrics and readiness show it
            meter.event(f"{name}-failed")
            log.error(f"{name}-failed", error=type(error).__name__, at=telemetry.where(error))
            pause = retry_s if fault_s is None else fault_s
        await asyncio.sleep(pause)


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


async def _tidy_names(services: Services, meter: Meter) -> None:
    """Put the names index together where it fell to pieces; beside the reader, which waits for no more than a step of it."""
    if await tidy_names(services):
        meter.event("names-tidied")


async def _prepare_ends(services: Services, meter: Meter) -> None:
    """Shortly before midnight find out what leaves the versions at it; what was not prepared ends all the same."""
    meter.event("lists-ends-prepared", await prepare_ends(services))


async def _clear_unfinished(services: Services) -> None:
    """Take away files that a killed process has left half made."""
    clear_unfinished(services)


async def _build_lists(services: Services, meter: Meter) -> None:
    """Build new versions of lists and datasets."""
    meter.event("lists-built", len(await build(services)))


async def _keep_log(services: Services, meter: Meter) -> None:
    """Enter what happened to public listings, sign the head, ask witnesses."""
    while (done := await keep_log.enter(services)) is not None:
        meter.event("log-entries", done.entries)
        await asyncio.sleep(0)
    meter.event("log-signed", len(await keep_log.sign_heads(services)))
    await keep_log.have_witnessed(services, ask_witness)


async def _monitor_log(services: Services, meter: Meter, memory: Memory) -> None:
    """Verify the transparency log and hold what is public against it; whole at the start and once a day."""
    done = await verify_log.watch(services, memory)
    meter.event("log-verified")
    meter.event("log-differences", len(done.differences))


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


async def keep_signers(services: Services) -> None:
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
    await keep_policies(services)
    failed = await alarms.tell_failures(services)
    if failed:
        meter.event("treatment-failed", failed)


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
    await _keep_partners(services, meter, lambda: collect_batches(services, apart, paced=True), apart.end)


async def _exchange(services: Services, meter: Meter) -> None:
    """Keep the exchange alive: partners' keys, batches that are due, recognition."""
    rounds = Rounds(PATIENCE)
    await _keep_partners(services, meter, lambda: rounds.run(services), rounds.end)


async def _keep_partners(
    services: Services, meter: Meter, once: Callable[[], Awaitable[Troubles]], end: Callable[[], Awaitable[None]]
) -> None:
    """What keeps partners, every `exchange_poll_s` until it is cancelled; what went wrong with one is counted by its code."""

    async def counted_once() -> None:
        for code in (await once()).values():
            meter.event(f"exchange-{code.lower().replace('_', '-')}")

    try:
        await _again_and_again(meter, "exchange", counted_once, services.settings.exchange_poll_s)
    finally:
        await end()


async def _finish_withdrawals(services: Services, meter: Meter) -> None:
    """Look whether what was erased is gone, and tell partners whose records have left every exit; also where nothing is ever sent."""
    meter.event("erasures-done", await finish_erasures(services))
    meter.event("withdrawals-acknowledged", await acknowledge(services))


async def _measure_exchange(services: Services, measuring: Measuring, partners: ExchangeMeter) -> None:
    """How the exchange with every partner stands, and what was counted of it."""
    partners.show(await measuring.look(services))


async def _measure_reviews(services: Services, meter: Meter, overdue: dict[str, int]) -> None:
    """How many texts wait for reviewers, how long, and how many are overdue."""
    found = await measure(services)
    meter.queue([(each.dataset, each.records, each.oldest_s, each.overdue) for each in found])
    overdue.update(dict.fromkeys(overdue, 0) | {each.dataset: each.overdue for each in found})


async def _keep_retention(services: Services, meter: Meter, kept: dict[str, int]) -> None:
    """Look once a day for records that were kept long enough, and count them each time; erased they are by people."""
    while await look(services):  # None: another process looks; should it end, one of us goes on the next time
        meter.event("retention-looked")
        await asyncio.sleep(RETENTION_PAUSE_S)
    known = dict.fromkeys(map(str, services.policies.current().catalogue.datasets), 0)
    kept.update(dict.fromkeys(kept, 0) | known | {each.dataset: each.records for each in await counted(services)})
    meter.kept_long_enough({name: records for name, records in kept.items() if records})
