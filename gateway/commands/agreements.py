"""Commands about agreements with other cities: `agreement …`.

A first version travels between the two offices as a file: one JSON document with body and signature lines; later ones over the line too.
What an administrator does here is signed with `--as` and `--key`; the stories say when it has to be.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rich_click as click

from gateway.commands.exchange import out, written
from gateway.commands.office import FILE, WORDS, Hand, Office, as_json, office, signable
from gateway.console import show, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.callers.administrators import Administrator
    from gateway.core.exchange.notes import SignedDocument
    from gateway.operations.end_agreement import Ended
    from gateway.operations.manage_agreements import AgreementStatus
    from gateway.services import Services

@click.group()
def agreement() -> None:
    """Agreements with other cities: offer, countersign, take, list; suspend, resume, end."""


@agreement.command("check")
@click.argument("file", type=FILE)
@as_json
@office
def agreement_check(office: Office, file: Path, as_json: bool) -> None:
    """Every fault of an agreement file with its place, and what it widens; signs nothing; exit 1 when something is wrong."""
    from gateway.operations.check_agreement import check_agreement

    found = office.run(lambda services: check_agreement(services, file.read_bytes()))
    lines = [f"{fault.code} at {fault.place}: {fault.message}" for fault in found.faults]
    lines += [f"wider: {each.place}: {each.words}" for each in found.wider]
    show(found, as_json=as_json, text=lambda: lines or ["nothing is wrong, and nothing is wider than before"])
    if found.faults:
        raise SystemExit(1)


@agreement.command("approve")
@click.argument("agreement_id", metavar="AGREEMENT")
@click.argument("version", type=int)
@click.option("--digest", required=True, help="Of the text that is approved, as `agreement list` shows it.")
@signable
@as_json
@office
def agreement_approve(
    office: Office, agreement_id: str, version: int, digest: str, hand: Hand | None, as_json: bool
) -> None:
    """The second person's yes to a version that is wider than before."""
    from gateway.operations.agree_wider import approve_wider

    said = {"agreement": agreement_id, "version": version, "digest": digest}
    done = office.by_hand(
        hand, "agreement.approve", said, lambda services, by: approve_wider(services, agreement_id, version, digest=digest, by=by)
    )
    show(done, as_json=as_json, text=lambda: [f"approved: {each.place}: {each.words}" for each in done.wider])


@agreement.command("offer")
@click.argument("file", type=FILE)
@out
@signable
@office
def agreement_offer(office: Office, file: Path, path: Path, hand: Hand | None) -> None:
    """Sign our agreement file first; the document goes to the other office."""
    from gateway.core.exchange.wire import digest_text
    from gateway.operations.manage_agreements import offer

    text = file.read_bytes()
    said = {"file": digest_text(text)}
    document = office.by_hand(hand, "agreement.offer", said, lambda services, by: offer(services, text, by=by))
    written(path, document, "offered, signed by us")


@agreement.command("countersign")
@click.argument("file", type=FILE)
@click.argument("offered", type=FILE, required=False)
@out
@signable
@office
def agreement_countersign(office: Office, file: Path, offered: Path | None, path: Path, hand: Hand | None) -> None:
    """Sign what the other office offered, as a file or over the line, if it says the same as our own FILE."""
    from gateway.core.exchange.notes import read_envelope
    from gateway.core.exchange.wire import digest_text
    from gateway.operations.manage_agreements import countersign

    text = file.read_bytes()
    theirs = read_envelope(offered.read_bytes()) if offered is not None else None
    said = {"file": digest_text(text)}
    document = office.by_hand(hand, "agreement.countersign", said, lambda services, by: countersign(services, theirs, text, by=by))
    written(path, document, "signed by both")


@agreement.command("withdraw")
@click.argument("agreement_id", metavar="AGREEMENT")
@click.argument("version", type=int)
@click.option("--reason", required=True, type=WORDS, help="Stands in the audit trail.")
@signable
@as_json
@office
def agreement_withdraw(office: Office, agreement_id: str, version: int, reason: str, hand: Hand | None, as_json: bool) -> None:
    """Take back an offer of ours that the other side has not signed, so that another text of this version can be taken."""
    from gateway.operations.withdraw_offer import withdraw_offer

    said = {"agreement": agreement_id, "version": version, "reason": reason}
    done = office.by_hand(
        hand, "agreement.withdraw", said, lambda services, by: withdraw_offer(services, agreement_id, version, reason=reason, by=by)
    )
    show(done, as_json=as_json, text=lambda: [f"{done.id} version {done.version} is no longer offered: tell {done.partner}"])


@agreement.command("take")
@click.argument("document", type=FILE)
@signable
@as_json
@office
def agreement_take(office: Office, document: Path, hand: Hand | None, as_json: bool) -> None:
    """Keep what the other office has signed: our offer as it comes back, a later version, a notice, its inventory."""
    from gateway.core.exchange import notes
    from gateway.core.exchange.wire import digest_text
    from gateway.operations.end_agreement import end_agreements
    from gateway.operations.take_documents import Taken, take_document

    text = document.read_bytes()
    read = notes.read_envelope(text)

    async def story(services: "Services", by: "Administrator | str") -> Taken:
        taken = await take_document(services, read, by=by)
        await end_agreements(services)
        return taken

    taken = office.by_hand(hand, "agreement.take", {"document": digest_text(text)}, story)
    show(taken, as_json=as_json, text=lambda: [f"{taken.id} version {taken.version} is {taken.state} since {taken.since}"])


@agreement.command("list")
@as_json
@office
def agreement_list(office: Office, as_json: bool) -> None:
    """Every agreement version that we hold or want, how it stands, and what waits for whom."""
    from gateway.operations.manage_agreements import agreements

    found = office.run(agreements)
    show(found, as_json=as_json, text=lambda: _agreement_lines(found))


@agreement.command("send")
@signable
@as_json
@office
def agreement_send(office: Office, hand: Hand | None, as_json: bool) -> None:
    """Bring partners what we have signed, and hear what they keep for us; exit 1 when one did not take it."""
    from gateway.operations.tell_partners import send_letters

    told, troubles = office.by_hand(hand, "agreement.send", {}, lambda services, by: send_letters(services, by=by))
    lines = [f"{one.what} to {one.party}: {one.code or 'taken'}" for one in told]
    lines += [f"{line}: {code}" for line, code in troubles.items()]
    show({"told": told, "troubles": troubles}, as_json=as_json, text=lambda: lines or ["nothing waits to be sent"])
    if troubles or any(one.code for one in told):
        raise SystemExit(1)


@agreement.command("inventory")
@click.argument("agreement_id", metavar="AGREEMENT")
@as_json
@office
def agreement_inventory(office: Office, agreement_id: str, as_json: bool) -> None:
    """What both sides have done with each other's records at the end, and where theirs is not what we know; exit 1 where it is not."""
    from gateway.operations.end_agreement import show_end

    found = office.run(lambda services: show_end(services, agreement_id))
    show(found, as_json=as_json, text=lambda: _end_lines(found))
    if found.differences:
        raise SystemExit(1)


def _end_lines(found: "Ended") -> list[str]:
    lines = [f"{found.agreement} version {found.version} with {found.partner}: {found.state}"]
    for who, said in (("we", found.ours), (found.partner, found.theirs)):
        lines.append(f"{who}: {'done at ' + said.done_at if said is not None else 'nothing said yet'}")
        streams = said.streams if said is not None else ()
        lines += [f"    {one.origin}: {one.size} entries, {one.held} records {one.action}, root {one.root}" for one in streams]
    return lines + [f"differs: {each.origin}: {each.words}" for each in found.differences]


@agreement.command("state")
@click.argument("agreement_id", metavar="AGREEMENT")
@click.argument("state", type=click.Choice(["suspended", "active", "terminated"]))
@click.option("--reason", required=True, type=WORDS, help="Read by the other office.")
@out
@signable
@office
def agreement_state(office: Office, agreement_id: str, state: Any, reason: str, path: Path, hand: Hand | None) -> None:
    """Suspend, resume or end an agreement, one-sided and at once; the notice goes to the other office."""
    from gateway.operations.end_agreement import end_agreements
    from gateway.operations.manage_agreements import change_state

    to: Literal["suspended", "active", "terminated"] = state

    async def story(services: "Services", by: "Administrator | str") -> "SignedDocument":
        document = await change_state(services, agreement_id, to, reason=reason, by=by)
        await end_agreements(services)
        return document

    document = office.by_hand(hand, "agreement.state", {"agreement": agreement_id, "state": to, "reason": reason}, story)
    written(path, document, f"{agreement_id} is {state}")


def _agreement_lines(found: "Sequence[AgreementStatus]") -> list[str]:
    return table(
        [
            (one.id, one.version, one.state, one.waits_for, one.partner, ", ".join(one.signed_by), one.effective, one.ends, one.digest)
            for one in found
        ],
        ("agreement", "version", "state", "waits for", "with", "signed by", "from", "until", "digest"),
    )
