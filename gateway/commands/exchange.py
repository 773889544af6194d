"""Commands about what travels between partners: `exchange …`. Keys travel as files: one JSON document with body and signature lines."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from gateway.commands.office import FILE, OUT, WORDS, Hand, Office, as_json, office, signable, signed, write_whole
from gateway.console import say, show, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.callers.administrators import Administrator
    from gateway.core.exchange.notes import SignedDocument
    from gateway.operations.findings import Finding
    from gateway.operations.hold_stream import Released
    from gateway.operations.list_overdue import Overdue
    from gateway.operations.recognise import Decided
    from gateway.operations.report_exchange import StreamReport
    from gateway.operations.send_batch import Sent
    from gateway.services import Services

out = click.option("--out", "path", required=True, type=OUT, metavar="FILE.json", help="Where to write the signed document.")

reason = click.option("--reason", "why", required=True, type=WORDS, help="Stands in the audit trail.")


def written(path: Path, document: "SignedDocument", what: str) -> None:
    """Write a signed document and say so."""
    from gateway.core.exchange.notes import envelope

    write_whole(path, envelope(document))
    say(f"{what}: {path}")


@click.group()
def exchange() -> None:
    """What travels under agreements: send, status, keys, confirmations."""


@exchange.command("send")
@click.option("--stream", default=None, help="One stream; else all of ours.")
@click.option("--no-delivery", is_flag=True, help="Seal only; another process delivers.")
@click.option("--now", "at_once", is_flag=True, help="Deliver what waits without waiting for its next attempt.")
@as_json
@office
def exchange_send(office: Office, stream: str | None, no_delivery: bool, at_once: bool, as_json: bool) -> None:
    """Seal what changed for every stream, deliver it, check the receipts; exit 1 when a stream has stopped."""
    from gateway.core.errors import ExchangeError
    from gateway.operations.apart import side_by_side
    from gateway.operations.keep_lines import keep_lines
    from gateway.operations.line_reports import as_sent
    from gateway.operations.send_batch import send_batch

    async def story(services: "Services") -> "list[Sent]":
        async def over_lines() -> "list[Sent]":
            line = None if stream is None else stream.partition(".")[0]
            runs = await keep_lines(services, line=line, direction="out", deliver=not no_delivery, at_once=at_once)
            return [await as_sent(services, run) for run in runs if stream in (None, run.stream)]

        agreed = send_batch(services, stream=stream, deliver=not no_delivery, at_once=at_once)
        report = [sent for some in await side_by_side((agreed, over_lines())) for sent in some]
        if stream is not None and not report:
            raise ExchangeError("no stream of ours that is in force has this name", code="NOT_FOUND", place=stream)
        return report

    report = office.run(story)
    show(report, as_json=as_json, text=lambda: _sent_lines(report))
    if any(sent.state == "stopped" for sent in report):
        raise SystemExit(1)


def _sent_lines(report: "Sequence[Sent]") -> list[str]:
    return table(
        [
            (one.stream, one.partner, one.sealed, one.lines, one.delivered, one.waiting, one.state, one.code, one.seq, one.size)
            for one in report
        ],
        ("stream", "to", "sealed", "lines", "acknowledged", "waiting", "state", "code", "seq", "size"),
    )


@exchange.command("status")
@as_json
@office
def exchange_status(office: Office, as_json: bool) -> None:
    """Every stream of either direction: head, what waits, what is overdue, what has stopped."""
    from gateway.operations.line_reports import line_streams
    from gateway.operations.report_exchange import report_exchange

    async def story(services: "Services") -> "list[StreamReport]":
        return [*await report_exchange(services), *await line_streams(services)]

    report = office.run(story)
    show(report, as_json=as_json, text=lambda: _stream_lines(report))


def _stream_lines(report: "Sequence[StreamReport]") -> list[str]:
    return table(
        [
            (
                one.direction,
                one.stream,
                one.partner,
                one.seq,
                one.size,
                one.root,
                one.state,
                one.unread,
                one.waiting,
                one.overdue,
                one.as_of,
                one.held_since,
                one.held_batch,
                one.in_effect,
            )
            for one in report
        ],
        (
            "way", "stream", "partner", "seq", "size", "root", "state", "unread", "waiting", "overdue", "as of", "held since", "held batch",
            "measures",
        ),
    )


@exchange.command("overdue")
@click.option("--partner", default=None, help="One partner; else all.")
@as_json
@office
def exchange_overdue(office: Office, partner: str | None, as_json: bool) -> None:
    """Partners that owe acknowledgements of withdrawals and erasures, or answers about rows, by count and age; exit 1 when there is one."""
    from gateway.core.errors import ExchangeError
    from gateway.operations.list_overdue import is_told, list_overdue

    async def story(services: "Services") -> "list[Overdue]":
        if partner is not None and not await is_told(services, partner):
            raise ExchangeError("nothing goes to a partner of this name", code="NOT_FOUND", place=partner)
        return await list_overdue(services, partner=partner)

    found = office.run(story)
    show(found, as_json=as_json, text=lambda: _overdue_lines(found))
    if found:
        raise SystemExit(1)


def _overdue_lines(found: "Sequence[Overdue]") -> list[str]:
    if not found:
        return ["nothing is overdue"]
    return table(
        [
            (one.partner, one.stream, one.what, one.lines, one.since, one.age_h, one.agreed_h, "2×" if one.escalated else "", one.stops,
             one.stopped)
            for one in found
        ],
        ("partner", "stream", "what", "lines", "since", "hours", "agreed", "escalated", "stops", "stopped"),
    )


@exchange.command("doctor")
@click.option("--no-lines", is_flag=True, help="Look at what is here alone; ask no partner's line.")
@as_json
@office
def exchange_doctor(office: Office, no_lines: bool, as_json: bool) -> None:
    """What is wrong and what to do, in Chinese and English: keys, disk, agreements, streams, lines; exit 1 when something is."""
    from gateway.operations.doctor import examine
    from gateway.operations.line_reports import line_findings

    async def story(services: "Services") -> "list[Finding]":
        told = await line_findings(services, ask=not no_lines)
        found = await examine(services, lines=not no_lines)
        if told:  # who has lines needs no agreement
            found = [each for each in found if (each.code, each.where) != ("agreement-none", "gateway")]
        return [*found, *told]

    found = office.run(story)
    show(found, as_json=as_json, text=lambda: [line for each in found for line in _finding_lines(each)])
    if not all(each.ok for each in found):
        raise SystemExit(1)


def _finding_lines(found: "Finding") -> list[str]:
    lines = [f"{'✓' if found.ok else '✗'} {found.where}: {found.zh} · {found.en}"]
    if not found.ok:
        lines.append(f"    [{found.code}] {found.remedy_zh} · {found.remedy_en}")
    return lines


@exchange.command("pull")
@click.argument("partner", required=False)
@as_json
@office
def exchange_pull(office: Office, partner: str | None, as_json: bool) -> None:
    """Fetch what partners, or one, have for us under each agreement, by line or folder, and answer with receipts; exit 1 when one fails."""
    from gateway.core.errors import ExchangeError
    from gateway.operations.collect_batches import collect_batches, fetched_frozen, fetches_from
    from gateway.operations.keep_lines import keep_lines
    from gateway.operations.lines import approved_lines

    async def story(services: "Services") -> dict[str, str]:
        lines = [line.id for line in await approved_lines(services, "in") if line.terms.partner == partner]
        if partner is not None and not lines and not await fetches_from(services, partner):
            raise ExchangeError("nothing is fetched from a partner of this name", code="NOT_FOUND", place=partner)
        found = dict(await collect_batches(services, partner=partner)) | await fetched_frozen(services, partner)
        for line in lines if partner is not None else (None,):
            runs = await keep_lines(services, line=line, direction="in", at_once=True)
            found |= {run.line: run.code for run in runs if run.code is not None}
        return found

    troubles = office.run(story)
    show(troubles, as_json=as_json, text=lambda: [f"{where}: {code}" for where, code in troubles.items()] or ["all well"])
    if troubles:
        raise SystemExit(1)


@exchange.command("release")
@click.argument("stream")
@click.option("--what", type=click.Choice(["hold", "batch", "frozen"]), required=True, help="What is released; it is signed.")
@click.option("--batch", help="EPOCH/SEQ of the held batch, as `exchange status` tells it; signed, too.")
@reason
@signed
@office
def exchange_release(office: Office, stream: str, what: Any, batch: str | None, why: str, hand: Hand) -> None:
    """End a hold on a stream, apply its held batch, or agree, as one of two persons, that a frozen one goes on with a new epoch."""
    from gateway.operations.hold_stream import release_stream

    if what == "batch" and batch is None:
        raise click.UsageError("name the batch that is meant: --what batch --batch EPOCH/SEQ")
    if what != "batch" and batch is not None:
        raise click.UsageError("a hold and a fork have no batch: leave --batch out")
    told = {"stream": stream, "what": what, "batch": batch, "reason": why}

    async def story(services: "Services", by: "Administrator") -> "Released":
        return await release_stream(services, stream, what=what, batch=batch, by=by, reason=why)

    done = office.act(hand, "exchange.release", told, story)
    said = {"asked": "noted: a second person has to agree", "released": "released: a new epoch will be taken", "lifted": "held no longer"}
    if done.what == "refused":
        say(f"{stream}: batch {batch} is not applied ({done.code}): its sender has to begin a new epoch")
        raise SystemExit(1)
    say(f"{stream}: {said.get(done.what, done.what)}")


@exchange.command("hold")
@click.argument("stream")
@reason
@signable
@office
def exchange_hold(office: Office, stream: str, why: str, hand: Hand | None) -> None:
    """Hold a stream of either direction, or a line, until `exchange release`: nothing but what withdraws takes effect, or goes."""
    from gateway.operations.hold_stream import hold_stream

    told = {"stream": stream, "reason": why}
    held = office.by_hand(hand, "exchange.hold", told, lambda services, by: hold_stream(services, stream, by=by, reason=why))
    before = f"; sealed before and not acknowledged: {held.waiting}" if held.waiting else ""
    say(f"{held.stream}: held ({held.direction}, {held.partner}){before}")


@exchange.command("retry")
@click.argument("stream", required=False)
@click.option("--all", "every", is_flag=True, help="Every stream and line.")
@signable
@as_json
@office
def exchange_retry(office: Office, stream: str | None, every: bool, hand: Hand | None, as_json: bool) -> None:
    """Make due what waits for its next attempt, and close breakers; a server tries it in its next round, `send` and `pull` at once."""
    from gateway.operations.hold_stream import retry

    if every == (stream is not None):
        raise click.UsageError("name a stream, or give --all")
    told = {"stream": stream, "all": every}
    done = office.by_hand(hand, "exchange.retry", told, lambda services, by: retry(services, stream=stream, every=every, by=by))
    show(done, as_json=as_json, text=lambda: [f"due now: {done.batches} batches; {', '.join(done.partners) or 'no partner'}"])


@exchange.command("refuse")
@click.argument("stream")
@click.option("--batch", required=True, help="EPOCH/SEQ of the held batch, as `exchange status` tells it; it is signed.")
@reason
@signed
@office
def exchange_refuse(office: Office, stream: str, batch: str, why: str, hand: Hand) -> None:
    """Refuse the held batch of a stream to us; its sender has to begin a new epoch."""
    from gateway.operations.decide_held import decide_held

    told = {"stream": stream, "batch": batch, "reason": why}

    async def story(services: "Services", by: "Administrator") -> None:
        await decide_held(services, stream, batch=batch, apply=False, by=by, reason=why)

    office.act(hand, "exchange.refuse", told, story)
    say(f"{stream}: batch {batch} refused")


@exchange.command("epoch")
@click.argument("stream")
@reason
@office
def exchange_epoch(office: Office, stream: str, why: str) -> None:
    """Begin a new epoch of a stream of ours: everything it covers is sealed again, from the first entry."""
    from gateway.operations.begin_epoch import begin_epoch

    epoch = office.run(lambda services: begin_epoch(services, stream, by=office.actor, reason=why))
    say(f"{stream}: epoch {epoch} begins")


@exchange.command("resync")
@click.argument("stream")
@click.option("--because", type=click.Choice(["too_late", "lost_state", "fork_released"]), required=True, help="What the sender is told.")
@office
def exchange_resync(office: Office, stream: str, because: Any) -> None:
    """Ask the sender of a stream to us for a new epoch."""
    from gateway.operations.release_frozen import ask_for_epoch

    office.run(lambda services: ask_for_epoch(services, stream, reason=because, by=office.actor))
    say(f"{stream}: asked")


@exchange.command("came-back")
@click.argument("stream", required=False)
@click.option("--last", type=int, help="With STREAM: its sender cannot show it, and its office says that it has no later receipt of ours.")
@reason
@as_json
@office
def exchange_came_back(office: Office, stream: str | None, last: int | None, why: str, as_json: bool) -> None:
    """After this gateway was brought back from an older copy: purge what partners told, or one STREAM, and have it told anew.

    `backup restore` has done so already. Asks senders for our last receipts; exit 1 where one has not shown it: a server goes on asking.
    """
    from gateway.operations.come_back import came_back_from_copy, find_all_places, go_on_from

    if last is not None and stream is None:
        raise click.UsageError("name the stream of which it is the last receipt")

    async def story(services: "Services") -> dict[str, str]:
        if stream is not None and last is not None:
            await go_on_from(services, stream, last, by=office.actor, reason=why)
            return {stream: "purged"}
        marked = await came_back_from_copy(services, by=office.actor, reason=why, stream=stream)
        troubles = await find_all_places(services)
        return {name: troubles.get(name, "purged") for name in marked}

    found = office.run(story)
    show(found, as_json=as_json, text=lambda: [f"{name}: {said}" for name, said in found.items()] or ["no partner sends us anything"])
    if any(said != "purged" for said in found.values()):
        raise SystemExit(1)


@exchange.command("keys")
@out
@office
def exchange_keys(office: Office, path: Path) -> None:
    """Write our signed keys document, for a partner without a line to us."""
    from gateway.operations.manage_agreements import own_keys

    written(path, office.run(own_keys), "our keys")


@exchange.command("maintenance")
@click.option("--from", "begins", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]), help="When it begins (UTC); now, if not given.")
@click.option("--until", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]), help="When it is over (UTC).")
@click.option("--text", default="", help="Read by the other office.")
@click.option("--over", is_flag=True, help="It is over.")
@office
def exchange_maintenance(office: Office, begins: Any, until: Any, text: str, over: bool) -> None:
    """Tell partners in our keys document when we take nothing, or (--over) that we do again."""
    from gateway.core.exchange.documents import Maintenance
    from gateway.operations.manage_agreements import announce_maintenance

    if over == (until is not None):
        raise click.UsageError("give --until, or --over")

    def said(now: Any) -> Maintenance | None:
        if over:
            return None
        first, last = begins or now, until
        return Maintenance(from_=f"{first:%Y-%m-%dT%H:%M:%SZ}", until=f"{last:%Y-%m-%dT%H:%M:%SZ}", text=text)

    office.run(lambda services: announce_maintenance(services, said(services.clock()), by=office.actor))
    say("announced" if not over else "over")


@exchange.command("take-keys")
@click.argument("document", type=FILE)
@office
def exchange_take_keys(office: Office, document: Path) -> None:
    """Believe a partner's keys document under the keys that our agreement pins."""
    from gateway.core.exchange.notes import read_envelope
    from gateway.operations.manage_agreements import take_keys

    keys = office.run(lambda services: take_keys(services, read_envelope(document.read_bytes()), by=office.actor))
    say(f"{keys.party}: serial {keys.serial}")


@exchange.command("evidence")
@click.argument("stream")
@out
@office
def exchange_evidence(office: Office, stream: str, path: Path) -> None:
    """Write down both sides of a fork, of a partner's stream or of its receipts for ours, as the partner signed them."""
    from gateway.operations.export_evidence import export_evidence

    write_whole(path, office.run(lambda services: export_evidence(services, stream)))
    say(f"evidence: {path}")


@exchange.command("awaiting")
@click.option("--after", default="", metavar="RECORD", help="Those behind this one; 500 are shown at a time.")
@as_json
@office
def exchange_awaiting(office: Office, after: str, as_json: bool) -> None:
    """Partners' adverse records that have no effect here until `exchange confirm`, each with the version and digest that it takes."""
    from gateway.operations.await_confirmation import awaiting

    found = office.run(lambda services: awaiting(services, after=after))
    rows = [(one.record, one.version, one.digest, one.dataset, one.category, one.partner, one.since) for one in found]
    show(found, as_json=as_json, text=lambda: table(rows, ("record", "version", "digest", "dataset", "category", "partner", "since")))


@exchange.command("confirm")
@click.argument("record")
@click.option("--version", type=int, required=True, help="Of the record, as it was read; `exchange awaiting` shows it.")
@click.option("--digest", required=True, help="Of what it says, as `exchange awaiting` shows it.")
@click.option("--basis", required=True, help="The legal ground of the measure here.")
@signed
@as_json
@office
def exchange_confirm(office: Office, record: str, version: int, digest: str, basis: str, hand: Hand, as_json: bool) -> None:
    """Confirm, as a named person, that a partner's adverse record has an effect here."""
    from gateway.operations.recognise import confirm

    told = {"record": record, "version": version, "digest": digest, "basis": basis}

    async def story(services: "Services", by: "Administrator") -> "Decided":
        return await confirm(services, record, version=version, digest=digest, by=by, basis=basis)

    decided = office.act(hand, "exchange.confirm", told, story)
    show(decided, as_json=as_json, text=lambda: [f"{decided.record_id}: {decided.consequence} ({decided.reason})"])
