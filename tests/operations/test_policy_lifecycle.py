"""From proposal to force: who may say yes to what, what one person may do alone, and what happens when something moves meanwhile."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from gateway.core.callers.administrators import Evidence
from gateway.core.disclosure.approval import Approval
from gateway.core.errors import AdminError, GatewayError, PolicyError, RoleMissing
from gateway.core.signing import Ed25519Verifier
from gateway.operations import activate_policy, alarms, approve_policy, propose_policy
from gateway.operations.activate_policy import keep_policies
from gateway.operations.change_policy import status
from gateway.store import audit, proposals
from gateway.store import policies as policy_rows
from tests.commands import chengxin, process
from tests.house import write_settings
from tests.operations.changing import (
    BASE,
    NARROW,
    NARROW_WITH_RIGHT,
    NARROWER,
    NOW,
    PERSONAL,
    RED,
    UNTESTED,
    Office,
    an_office,
    bent,
    write_folder,
)


@pytest.fixture
async def office(store_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """An office on each database."""
    async with an_office(tmp_path, store_url) as opened:
        await activate_policy.confirm(opened.services, 1, by=await opened.by("approver"))
        yield opened


async def refused(code: str, story: object) -> GatewayError:
    """The error of a story that must be refused with this code."""
    with pytest.raises(GatewayError) as error:
        await story  # type: ignore[misc]  # a coroutine
    assert error.value.code == code, str(error.value)
    return error.value


async def test_what_widens_takes_a_second_person(office: Office) -> None:
    """A widening waits for an approver; then the author may activate it, and all that was signed can be verified."""
    await office.narrow()
    made = await office.propose(BASE)
    assert (made.effect.widens, made.effect.public_fields, made.effect.needs) == (True, ("notices.fine",), ("approver",))
    await refused("approval-missing", office.activate(made.proposal))
    await refused("not-narrow-only", office.activate(made.proposal, narrow_only=True))
    assert (await office.approve(made.proposal)).state == "approved"
    done = await office.activate(made.proposal)
    assert (done.state, done.confirmation, done.approvals, done.version) == ("active", False, ("approver",), 1)
    assert await office.in_force() == 1
    history = await proposals.events(office.services.store.reads, made.proposal)
    assert [event.event for event in history] == ["checked", "proposed", "approval", "approved", "activated"]
    for event in history:
        if event.evidence is not None:
            key = Ed25519Verifier("any", office.admins[event.by].signer.verifier.public)
            assert key.verify(event.evidence.signed, event.evidence.signature)
    activations = await policy_rows.activations(office.services.store.reads)
    assert [(one.version, one.from_version, one.reason, one.approvals) for one in activations] == [
        (1, None, "initial", ()),
        (2, 1, "narrow-only", ()),
        (1, 2, "propose", ("approver",)),
    ]
    acts = [row.act for row in await audit.after(office.services.store.reads, 0, 1000) if row.act.startswith("policy.")]
    assert acts == [
        "policy.activate",
        "policy.confirm",
        "policy.propose",
        "policy.activate",
        "policy.propose",
        "policy.approve",
        "policy.activate",
    ]


async def test_nobody_approves_what_is_his_own(office: Office) -> None:
    """The author, the same person under another account, the same unit, whom the author brought in, and the wrong role are refused."""
    await office.narrow()
    made = await office.propose(BASE)
    await office.add("both", "author", "approver")
    await office.add("twin", "approver", person="AUTHOR-1")
    await office.add("desk", "approver", unit="UNIT of author")
    op = await office.add("op", "operator", "author")
    await office.add("puppet", "approver", by=await op.acts("admin.invite"))
    for name in ("twin", "desk"):
        await refused("approval-conflict", office.approve(made.proposal, name))
    await refused("role-missing", office.approve(made.proposal, "author"))
    await propose_policy.withdraw(office.services, made.proposal, by=await office.by("author"))
    mine = await office.propose(BASE, by="both")
    await refused("approval-conflict", office.approve(mine.proposal, "both"))
    await propose_policy.refuse(office.services, mine.proposal, reason="no", by=await office.by("approver"))
    puppets = await office.propose(BASE, by="op")
    await refused("approval-conflict", office.approve(puppets.proposal, "puppet"))
    assert (await office.approve(puppets.proposal)).state == "approved"


async def test_persons_take_the_privacy_officer_and_a_basis(office: Office) -> None:
    """A wider cell about persons needs an approver and, another person, the privacy officer with a basis."""
    made = await office.propose(PERSONAL)
    assert made.effect.needs == ("approver", "privacy-officer")
    assert (await office.approve(made.proposal)).missing == ("privacy-officer",)
    await refused("approval-missing", office.activate(made.proposal))
    await refused("reason-missing", office.approve(made.proposal, "privacy-officer"))
    assert (await office.approve(made.proposal, "privacy-officer", basis="政务数据共享条例 第十条")).state == "approved"
    await office.activate(made.proposal)
    assert await office.in_force() == 2


async def test_one_person_with_two_roles_is_one_pair_of_eyes(office: Office) -> None:
    """An approver who is privacy officer too fills one of the two roles, not both."""
    await office.add("chief", "approver", "privacy-officer")
    made = await office.propose(PERSONAL)
    assert (await office.approve(made.proposal, "chief", basis="x")).missing == ("privacy-officer",)
    assert (await office.approve(made.proposal)).missing == ()


async def test_red_lines_take_privacy_and_legal_officer(office: Office) -> None:
    """A looser red line needs three persons."""
    made = await office.propose(RED)
    assert made.effect.needs == ("approver", "privacy-officer", "legal-officer")
    await office.approve(made.proposal)
    await office.approve(made.proposal, "privacy-officer", basis="x")
    await refused("approval-missing", office.activate(made.proposal))
    assert (await office.approve(made.proposal, "legal-officer")).missing == ()
    await office.activate(made.proposal)


async def test_fields_new_to_the_public_are_typed(office: Office) -> None:
    """None, another, or one too many is refused."""
    await office.narrow()
    made = await office.propose(BASE)
    for fields in ((), ("notices.name",), ("notices.fine", "notices.name")):
        await refused("approval-fields", office.approve(made.proposal, fields=fields))
    await office.approve(made.proposal, fields=("notices.fine",))


async def test_an_approval_is_about_one_change(office: Office) -> None:
    """Another effect, parent, version or name, a time not of now, another key: refused; and a forged row in the store does not count."""
    await office.narrow()
    made = await office.propose(BASE)
    found = await approve_policy.to_approve(office.services, made.proposal, approver="approver")
    key = office.admins["approver"].signer

    async def approve(said: Approval, signature: bytes | None = None) -> None:
        signature = key.sign(said.digest()) if signature is None else signature
        await approve_policy.approve(
            office.services, made.proposal, said=said, signature=signature, public_fields=("notices.fine",), by=await office.by("approver")
        )

    for changed in ({"version": "0" * 64}, {"parent": None}, {"effect": "0" * 64}, {"approver": "author"}, {"type": "x"}):
        await refused("approval-stale", approve(msgspec.structs.replace(found.approval, **changed)))  # type: ignore[arg-type]
    for seconds in (-61, 61):
        late = msgspec.structs.replace(found.approval, time=found.approval.time + timedelta(seconds=seconds))
        await refused("admin-signature", approve(late))
    await refused("admin-signature", approve(found.approval, office.admins["author"].signer.sign(found.approval.digest())))
    await refused("admin-signature", approve(found.approval, b"\0" * 64))
    forged = Evidence(kind="approval", signed=found.approval.digest(), signature=b"\1" * 64, key_id="k")
    async with office.services.store.transaction() as tx:
        detail = {"approval": msgspec.json.encode(found.approval).decode()}
        await proposals.tell(tx, made.proposal, "approval", "approver", detail, forged, state="approved")
    await refused("approval-missing", office.activate(made.proposal))


async def test_a_retired_approver_counts_no_more(office: Office) -> None:
    """An approval is believed as long as whoever gave it is."""
    from gateway.operations.manage_administrators import retire_admin

    await office.narrow()
    made = await office.propose(BASE)
    await office.approve(made.proposal)
    await retire_admin(office.services, "approver", by="office:test")
    await refused("approval-missing", office.activate(made.proposal))


async def test_what_moves_makes_it_stale(office: Office) -> None:
    """After another activation an open proposal is stale, approved or not, and says so."""
    await office.narrow()
    first, second = await office.propose(BASE), await office.propose(PERSONAL)
    await office.approve(first.proposal)
    await office.approve(second.proposal)
    await office.activate(first.proposal)
    assert await office.state(second.proposal) == "stale"
    await refused("approval-stale", office.approve(second.proposal, "privacy-officer", basis="x"))
    await refused("approval-stale", office.activate(second.proposal))
    again = await office.propose(PERSONAL)
    assert (await office.approve(again.proposal)).missing == ("privacy-officer",)


async def test_one_person_narrows_at_once_and_it_stays(office: Office) -> None:
    """Provably narrower: in force at once, queued; after 24 hours it alarms and stays; a second person's confirmation clears it."""
    await refused("approval-missing", office.activate((await office.propose(NARROW)).proposal))
    done = await office.activate(2, narrow_only=True)
    assert (done.confirmation, done.state, await office.in_force()) == (True, "active", 2)
    office.clock.move(hours=23, minutes=59)
    await keep_policies(office.services)
    assert await alarms.standing(office.services) == []
    office.clock.move(minutes=1)
    for _ in range(2):
        await keep_policies(office.services)
    standing = await alarms.standing(office.services)
    assert [(one.kind, one.target) for one in standing] == [("policy-unconfirmed", "proposal/2")]
    told = await status(office.services)
    assert [one.kind for one in told.alarms] == ["policy-unconfirmed"]
    assert [one.unconfirmed_since for one in told.proposals] == [NOW]
    assert await office.in_force() == 2
    await refused("role-missing", activate_policy.confirm(office.services, 2, by=await office.by("author")))
    await office.add("twin", "approver", person="author-1")
    await refused("approval-conflict", activate_policy.confirm(office.services, 2, by=await office.by("twin")))
    await activate_policy.confirm(office.services, 2, by=await office.by("approver"))
    await refused("proposal-state", activate_policy.confirm(office.services, 2, by=await office.by("approver")))
    assert await alarms.standing(office.services) == []
    acts = [row.act for row in await audit.after(office.services.store.reads, 0, 1000) if row.act.startswith(("alarm.", "policy.confirm"))]
    assert acts == ["policy.confirm", "alarm.raise", "policy.confirm", "alarm.clear"]


async def test_the_first_activation_waits_for_a_confirmation(store_url: str, tmp_path: Path) -> None:
    """What whoever holds the data directory put into force is queued too."""
    async with an_office(tmp_path, store_url) as office:
        await _confirm_the_first(office)


async def _confirm_the_first(office: Office) -> None:
    office.clock.move(hours=25)
    await keep_policies(office.services)
    assert [one.target for one in await alarms.standing(office.services)] == ["proposal/1"]
    await activate_policy.confirm(office.services, 1, by=await office.by("approver"))
    assert await alarms.standing(office.services) == []


async def test_narrowing_again_hides_no_open_confirmation(office: Office) -> None:
    """A second narrowing by one person leaves the first in the queue; a version with approvals ends both."""
    await office.narrow(NARROW)
    office.clock.move(hours=20)
    await office.narrow(NARROWER)
    office.clock.move(hours=5)
    await keep_policies(office.services)
    assert [one.target for one in await alarms.standing(office.services)] == ["proposal/2"]
    made = await office.propose(BASE)
    await office.approve(made.proposal)
    await office.activate(made.proposal)
    assert await alarms.standing(office.services) == []
    assert await proposals.pending(office.services.store.reads) == []


async def test_a_right_more_is_no_narrowing(office: Office) -> None:
    """A version that narrows cells and adds one capability is a widening."""
    made = await office.propose(NARROW_WITH_RIGHT)
    assert made.effect.widens
    await refused("not-narrow-only", office.activate(made.proposal, narrow_only=True))


async def test_a_schedule_is_checked_again_at_its_moment(office: Office) -> None:
    """At the instant the version comes into force, once, with the approvals for that instant."""
    await office.narrow()
    made = await office.propose(BASE)
    at = office.clock.now + timedelta(hours=2)
    await office.approve(made.proposal, at=at)
    await refused("approval-missing", office.activate(made.proposal))
    await refused("approval-missing", office.activate(made.proposal, at=at + timedelta(hours=1)))
    await refused("schedule-time", office.activate(made.proposal, at=office.clock.now))
    assert (await office.activate(made.proposal, at=at)).state == "scheduled"
    office.clock.move(hours=1)
    await keep_policies(office.services)
    assert await office.in_force() == 2
    office.clock.move(hours=1)
    for _ in range(2):
        await keep_policies(office.services)
    assert await office.in_force() == 1
    assert len(await policy_rows.activations(office.services.store.reads)) == 3
    assert await office.state(made.proposal) == "active"


async def test_a_schedule_that_fails_leaves_the_old_and_alarms(office: Office) -> None:
    """What came into force meanwhile makes it stale at its moment; a retired approver makes it lack approval."""
    from gateway.operations.manage_administrators import retire_admin

    await office.narrow()
    at = office.clock.now + timedelta(hours=2)
    made = await office.propose(BASE)
    await office.approve(made.proposal)
    await office.activate(made.proposal, at=at)
    await office.narrow(NARROWER)
    office.clock.move(hours=2)
    await keep_policies(office.services)
    assert (await office.in_force(), await office.state(made.proposal)) == (3, "stale")
    again = await office.propose(BASE)
    await office.approve(again.proposal)
    await office.activate(again.proposal, at=office.clock.now + timedelta(hours=2))
    await retire_admin(office.services, "approver", by="office:test")
    office.clock.move(hours=2)
    await keep_policies(office.services)
    assert (await office.in_force(), await office.state(again.proposal)) == (3, "refused")
    assert [(one.kind, one.target, one.detail["code"]) for one in await alarms.standing(office.services)] == [
        ("policy-schedule-failed", "proposal/3", "approval-stale"),
        ("policy-schedule-failed", "proposal/5", "approval-missing"),
    ]


async def test_a_basis_that_ends_stops_a_schedule(office: Office) -> None:
    """The version is compiled as the law stands on that day: a ground over by then refuses it."""
    ending = bent("from = 2021-07-15 }", "from = 2021-07-15, until = 2026-06-10 }", files=NARROW)
    made = await office.propose(ending)
    await office.approve(made.proposal)
    await office.approve(made.proposal, "privacy-officer", basis="x")
    await office.activate(made.proposal, at=office.clock.now + timedelta(days=20))
    office.clock.move(days=20)
    await keep_policies(office.services)
    assert (await office.in_force(), await office.state(made.proposal)) == (1, "refused")
    assert [one.kind for one in await alarms.standing(office.services)] == ["policy-schedule-failed"]


async def test_a_rollback_is_a_new_activation(office: Office) -> None:
    """Back to what is narrower at once, back to what is wider with approval; a field added since stays hidden."""
    wider = bent(r"\nfine = ", '\nnew_field = { label = "新字段", type = "string", length = 20, class = "O", query = ["filter"] }\nfine = ')
    made = await office.propose(wider)
    assert made.effect.public_fields == ("notices.new_field",)
    await office.approve(made.proposal)
    await office.approve(made.proposal, "privacy-officer", basis="x")
    await office.activate(made.proposal)
    back = await activate_policy.rollback(office.services, 1, by=await office.by("approver"))
    assert (back.state, back.confirmation, await office.in_force()) == ("active", True, 1)
    policies = await office.services.policies.fresh()
    assert all("new_field" not in held.shown for held in policies.plan_sets.values())
    forth = await activate_policy.rollback(office.services, 2, by=await office.by("author"))
    assert (forth.state, await office.in_force()) == ("proposed", 1)
    await refused("approval-missing", office.activate(forth.proposal))
    await office.approve(forth.proposal)
    await office.approve(forth.proposal, "privacy-officer", basis="x")
    await office.activate(forth.proposal)
    assert await office.in_force() == 2
    await refused("policy-unknown", activate_policy.rollback(office.services, 99, by=await office.by("author")))


async def test_only_what_passes_every_check_is_proposed(office: Office) -> None:
    """A folder with a fault becomes no version; what is in force, and what is proposed already, neither."""
    faulty = bent(r'basis = \["cf48", "xxgk"\]', 'basis = ["nowhere"]')
    with pytest.raises(PolicyError, match="policy-S"):
        await office.propose(faulty)
    await refused("policy-tests", office.propose(UNTESTED))
    await refused("policy-tests", office.propose({path: text for path, text in NARROW.items() if not path.startswith("tests/")}))
    await refused("approval-conflict", office.propose(BASE))
    await office.propose(NARROW)
    await refused("approval-conflict", office.propose(NARROW))
    with pytest.raises(RoleMissing):
        await office.propose(NARROWER, by="approver")


async def test_withdrawn_and_refused_are_over(office: Office) -> None:
    """Only the author withdraws; an officer refuses with a reason; neither comes back."""
    await office.add("second", "author")
    made = await office.propose(PERSONAL)
    await refused("approval-conflict", propose_policy.withdraw(office.services, made.proposal, by=await office.by("second")))
    await propose_policy.withdraw(office.services, made.proposal, by=await office.by("author"))
    again = await office.propose(PERSONAL)
    await refused("reason-missing", propose_policy.refuse(office.services, again.proposal, reason=" ", by=await office.by("legal-officer")))
    with pytest.raises(RoleMissing):
        await propose_policy.refuse(office.services, again.proposal, reason="x", by=await office.by("author"))
    await propose_policy.refuse(office.services, again.proposal, reason="太宽", by=await office.by("legal-officer"))
    assert [await office.state(one.proposal) for one in (made, again)] == ["withdrawn", "refused"]
    for one in (made, again):
        await refused("proposal-state", office.activate(one.proposal))
        await refused("proposal-state", office.approve(one.proposal))
    await refused("proposal-unknown", office.activate(99))


async def test_an_auditor_and_an_operator_change_nothing(office: Office) -> None:
    """Roles that neither write nor approve are refused everywhere."""
    await office.add("aud", "auditor")
    await office.add("op", "operator")
    made = await office.propose(NARROW)
    for name in ("aud", "op"):
        by = office.by
        for story in (
            propose_policy.propose(office.services, NARROWER, by=await by(name)),
            activate_policy.activate(office.services, made.proposal, narrow_only=True, by=await by(name)),
            activate_policy.rollback(office.services, 1, by=await by(name)),
            activate_policy.confirm(office.services, 1, by=await by(name)),
            propose_policy.refuse(office.services, made.proposal, reason="x", by=await by(name)),
        ):
            with pytest.raises(RoleMissing):
                await story


async def test_an_act_without_believed_signature_is_none(office: Office) -> None:
    """A signature by another administrator's key under one's name is refused before any story."""
    office.admins["approver"].signer = office.admins["author"].signer
    with pytest.raises(AdminError, match="admin-signature"):
        await office.by("approver")


def test_the_command_line_changes_a_policy(tmp_path: Path) -> None:
    """propose, approve with the typed fields, activate, rollback, status and proposals, from the shell."""
    settings = write_settings(tmp_path, policies=write_folder(tmp_path / "rules", NARROW))

    def run(*arguments: str, code: int = 0, typed: str = "") -> str:
        one = process if typed else chengxin  # what is typed reaches a real process
        done = one(tmp_path, "--settings", str(settings), *arguments, typed=typed)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    run("init")
    signing = {}
    for name in ("author", "approver"):
        invited = json.loads(run("key", "invite-admin", "--name", name, "--unit", name, "--role", name, "--person", f"{name}-1", "--json"))
        run("key", "enrol-admin", "--code", invited["code"], "--key", f"{name}.key")
        signing[name] = ["--as", name, "--key", f"{name}.key"]
    wide = str(write_folder(tmp_path / "wide", BASE))
    assert "approver" in run("policy", "propose", wide, *signing["author"])
    assert "approval-missing" in run("policy", "activate", "2", *signing["author"], code=1)
    assert "approval-fields" in run("policy", "approve", "2", *signing["approver"], typed="notices.x\n", code=1)
    assert "NEW TO THE PUBLIC: notices.fine" in run("policy", "approve", "2", *signing["approver"], typed="notices.fine\n")
    assert json.loads(run("policy", "activate", "2", *signing["author"], "--json"))["state"] == "active"
    assert "confirm 3" in run("policy", "rollback", "1", *signing["author"])
    assert json.loads(run("policy", "status", "--json"))["version"] == 1
    run("policy", "confirm", "3", *signing["approver"])
    assert [one["state"] for one in json.loads(run("policy", "proposals", "--json"))] == ["active", "superseded", "superseded"]
    run("policy", "activate", wide, code=2)
    run("policy", "activate", "2", code=2)
