"""Commands that change which policy is in force.

`policy propose`, `approve`, `activate`, `rollback`, `confirm`, `withdraw`, `refuse`, `proposals`.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from gateway.commands.office import FOLDER, OUT, WORDS, Hand, Office, as_json, office, signed
from gateway.console import show

if TYPE_CHECKING:
    from gateway.operations.activate_policy import Activation
    from gateway.operations.approve_policy import ApprovedLine
    from gateway.operations.propose_policy import ProposalLine, Proposed
    from gateway.operations.weigh_policy import EffectFigures
    from gateway.services import Services


class Instant(click.ParamType[datetime]):
    """An RFC 3339 instant with its zone."""

    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The instant in UTC."""
        try:
            instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("an instant like 2026-07-01T00:00:00+08:00", param, ctx)
        if instant.tzinfo is None:
            self.fail("an instant needs its zone: 2026-07-01T00:00:00+08:00", param, ctx)
        return instant.astimezone(UTC).replace(microsecond=0)


@click.command("propose")
@click.argument("folder", type=FOLDER)
@signed
@as_json
@office
def policy_propose(office: Office, hand: Hand, folder: Path, as_json: bool) -> None:
    """Check a folder, and propose it against what is in force; tells whose approvals it takes."""
    from gateway.core.disclosure.policy import files_digest
    from gateway.operations.change_policy import read_folder
    from gateway.operations.propose_policy import propose

    files = read_folder(folder)
    done = office.act(hand, "policy.propose", {"digest": files_digest(files)}, lambda services, by: propose(services, files, by=by))
    show(done, as_json=as_json, text=lambda: _proposed(done))


@click.command("approve")
@click.argument("proposal", type=click.IntRange(min=1))
@click.option("--at", type=Instant(), default=None, metavar="INSTANT", help="Only for an activation at that instant.")
@click.option("--public-fields", default=None, help="What the public newly sees, each as dataset.field; else it is asked for.")
@click.option("--basis", default=None, help="Legal basis, where more is shown of persons.")
@signed
@as_json
@office
def policy_approve(
    office: Office, hand: Hand, proposal: int, at: datetime | None, public_fields: str | None, basis: str | None, as_json: bool
) -> None:
    """Read what a proposal changes, and sign it as a second person."""
    import asyncio

    from gateway.operations import act_as, approve_policy

    async def told() -> "ApprovedLine":
        async with office.services() as services:
            signer = act_as.read_key_file(hand.key, act_as.key_name(services.settings.party, hand.name))
            found = await approve_policy.to_approve(services, proposal, approver=hand.name, activate_at=at)
            if not as_json:
                click.echo("\n".join([f"proposal {proposal}, version {found.version}, by {found.author}", *_effect(found.effect)]))
            typed = public_fields
            if typed is None and found.effect.public_fields and not as_json:
                typed = click.prompt("Type the fields that the public newly sees, separated by spaces")
            fields = sorted((typed or "").replace(",", " ").split())
            # what was read stays what is signed: approving compares version, parent and effect again
            said = approve_policy.timed(services, found.approval)
            arguments = {"proposal": proposal, "approval": said.digest().hex(), "public_fields": fields, "basis": basis}
            act = act_as.sign_act(services, signer, act="policy.approve", arguments=arguments, by=hand.name)
            by = await act_as.by_statement(services, act, act="policy.approve", arguments=arguments)
            return await approve_policy.approve(
                services, proposal, said=said, signature=signer.sign(said.digest()), public_fields=fields, basis=basis, by=by
            )

    done = asyncio.run(told())
    show(
        done,
        as_json=as_json,
        text=lambda: [f"{done.by} approves proposal {proposal}: {done.state}" + _lacking(done.missing)],
    )


@click.command("activate")
@click.argument("what", metavar="PROPOSAL")
@click.option(
    "--at", type=Instant(), default=None, metavar="INSTANT", help="Not now, but then; everything is checked again at that moment."
)
@click.option("--narrow-only", is_flag=True, help="One person, at once: only what is provably narrower; to be confirmed within 24 hours.")
@click.option("--initial", is_flag=True, help="The first activation of an empty store: PROPOSAL is a folder, and nobody signs.")
@click.option("--as", "admin", default=None, metavar="ADMIN", help="The administrator who acts.")
@click.option("--key", "key_file", type=OUT, default=None, metavar="FILE", help="The administrator's own private key.")
@as_json
@office
def policy_activate(
    office: Office,
    what: str,
    at: datetime | None,
    narrow_only: bool,
    initial: bool,
    admin: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Put a proposal into force, now or at an instant; or with --initial a folder, in a store that has no policy yet."""
    from gateway.operations.activate_policy import activate
    from gateway.operations.change_policy import activate_initial

    if initial:
        if admin or key_file or at or narrow_only:
            raise click.UsageError("--initial stands alone: nobody signs it, and it is at once")
        folder = Path(what)
        first = office.run(lambda services: activate_initial(services, folder, by=office.actor))
        show(
            first,
            as_json=as_json,
            text=lambda: [f"policy version {first.version}: {'activated' if first.first else 'in force already'} ({first.digest})"],
        )
        return
    if not what.isdigit():
        raise click.UsageError("a folder is activated with --initial only; a later change needs a proposal and a second person's approval")
    if admin is None or key_file is None:
        raise click.UsageError("an activation is signed: give --as ADMIN --key FILE")
    proposal = int(what)
    done = office.act(
        Hand(admin, key_file),
        "policy.activate",
        {"proposal": proposal, "at": at, "narrow_only": narrow_only},
        lambda services, by: activate(services, proposal, by=by, at=at, narrow_only=narrow_only),
    )
    show(done, as_json=as_json, text=lambda: _activated(done))


@click.command("rollback")
@click.argument("version", type=click.IntRange(min=1))
@signed
@as_json
@office
def policy_rollback(office: Office, hand: Hand, version: int, as_json: bool) -> None:
    """An old version again: at once if it widens nothing, else a proposal that waits for approval."""
    from gateway.operations.activate_policy import rollback

    done = office.act(hand, "policy.rollback", {"version": version}, lambda services, by: rollback(services, version, by=by))
    show(done, as_json=as_json, text=lambda: _activated(done))


@click.command("confirm")
@click.argument("proposal", type=click.IntRange(min=1))
@signed
@as_json
@office
def policy_confirm(office: Office, hand: Hand, proposal: int, as_json: bool) -> None:
    """A second person's yes to what one person has put into force."""
    from gateway.operations.activate_policy import confirm

    done = office.act(hand, "policy.confirm", {"proposal": proposal}, lambda services, by: confirm(services, proposal, by=by))
    show(done, as_json=as_json, text=lambda: [f"proposal {proposal}: confirmed"])


@click.command("withdraw")
@click.argument("proposal", type=click.IntRange(min=1))
@signed
@as_json
@office
def policy_withdraw(office: Office, hand: Hand, proposal: int, as_json: bool) -> None:
    """The author takes a proposal back."""
    from gateway.operations.propose_policy import withdraw

    done = office.act(hand, "policy.withdraw", {"proposal": proposal}, lambda services, by: withdraw(services, proposal, by=by))
    show(done, as_json=as_json, text=lambda: [f"proposal {proposal}: {done.state}"])


@click.command("refuse")
@click.argument("proposal", type=click.IntRange(min=1))
@click.option("--reason", required=True, type=WORDS)
@signed
@as_json
@office
def policy_refuse(office: Office, hand: Hand, proposal: int, reason: str, as_json: bool) -> None:
    """An officer ends a proposal, with a reason."""
    from gateway.operations.propose_policy import refuse

    done = office.act(
        hand,
        "policy.refuse",
        {"proposal": proposal, "reason": reason},
        lambda services, by: refuse(services, proposal, reason=reason, by=by),
    )
    show(done, as_json=as_json, text=lambda: [f"proposal {proposal}: {done.state}"])


@click.command("proposals")
@click.argument("proposal", type=click.IntRange(min=1), required=False)
@as_json
@office
def policy_proposals(office: Office, proposal: int | None, as_json: bool) -> None:
    """Every proposal, or one, with all that happened to it and who signed."""
    from gateway.operations.propose_policy import list_proposals
    from gateway.operations.propose_policy import show as show_one

    async def told(services: "Services") -> "list[ProposalLine]":
        return await list_proposals(services) if proposal is None else [await show_one(services, proposal)]

    found = office.run(told)
    show(found, as_json=as_json, text=lambda: [line for one in found for line in _history(one)])


def _proposed(done: "Proposed") -> list[str]:
    return [
        f"proposal {done.proposal}: version {done.version} ({done.digest}) against version {done.parent or 'none'}",
        *_effect(done.effect),
    ]


def _effect(effect: "EffectFigures") -> list[str]:
    cells = ", ".join(f"{name} {one['widened']} wider {one['narrowed']} narrower" for name, one in effect.cells.items())
    return [
        "it widens: a second person approves" if effect.widens else "provably narrower: nothing widens",
        f"cells: {cells or '-'}; rights: {effect.rights_gained} gained {effect.rights_lost} lost; else: {effect.others}",
        *effect.changes,
        *(f"NEW TO THE PUBLIC: {name}" for name in effect.public_fields),
        f"needs: {', '.join(effect.needs) or 'nobody'}",
    ]


def _lacking(missing: tuple[str, ...]) -> str:
    return f"; missing: {', '.join(missing)}" if missing else ""


def _activated(done: "Activation") -> list[str]:
    when = f" at {done.activate_at:%Y-%m-%dT%H:%M:%SZ}" if done.activate_at else ""
    then = ""
    if done.confirmation:
        then = f"; `chengxin policy confirm {done.proposal}` by a second person within 24 hours"
    elif done.state == "proposed":
        then = f"; it widens: `chengxin policy approve {done.proposal}` by a second person, then `policy activate {done.proposal}`"
    return [f"proposal {done.proposal}, version {done.version}: {done.state}{when}{then}"]


def _history(one: "ProposalLine") -> list[str]:
    return [
        f"proposal {one.proposal}: version {one.version} ({one.digest}), {one.kind} by {one.author}: {one.state}",
        *(
            f"  {event.at:%Y-%m-%dT%H:%M:%SZ} {event.event} by {event.by}" + (f" ({event.key_id})" if event.key_id else "")
            for event in one.events
        ),
    ]


COMMANDS = (
    policy_propose,
    policy_approve,
    policy_activate,
    policy_rollback,
    policy_confirm,
    policy_withdraw,
    policy_refuse,
    policy_proposals,
)
"""Commands of the group `policy`."""
