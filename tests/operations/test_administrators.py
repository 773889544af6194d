"""Administrators: invited once, enrolled with their own key, believed for one fresh act, never with two hats that exclude each other."""

import json
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from gateway.core.callers.administrators import Administrator, dependence, read_roles
from gateway.core.errors import AdminError, RoleMissing, SettingsError, StoreError
from gateway.core.signing import Ed25519Signer
from gateway.operations import act_as
from gateway.operations import manage_administrators as managing
from gateway.services import Services
from gateway.settings import Clock
from gateway.store import administrators as rows
from gateway.store import audit
from tests.administrators import Admin, enrolled, proof_of
from tests.commands import chengxin, process
from tests.house import a_gateway, settings_of, write_settings

NOW = "2026-06-01T00:00:00Z"


@pytest.fixture
async def services(store_url: str, tmp_path: Path) -> AsyncIterator[Services]:
    """An open gateway on each database."""
    async with a_gateway(tmp_path, database=store_url, CHENGXIN_NOW=NOW) as services:
        yield services


async def causes(services: Services) -> list[object]:
    """Causes of refused acts, in order, as the audit has them."""
    found = await audit.after(services.store.reads, 0, 1000)
    return [(row.detail or {}).get("cause") for row in found if row.act == "admin.refused"]


async def test_an_invitation_is_enrolled_once(services: Services) -> None:
    """The code works once, is stored as a digest, and the act of the new administrator is believed."""
    invited = await managing.invite_admin(services, name="wang", unit="审批科", roles=["author"], person="wang-1", by="office:test")
    assert invited.expires_at == services.clock() + timedelta(minutes=15)
    signer = Ed25519Signer(act_as.key_name(services.settings.party, "wang"), os.urandom(32))
    proof = proof_of(services, signer, invited.code, "wang")
    done = await managing.enrol_admin(services, code=invited.code, public=signer.verifier.public, proof=proof)
    assert done.roles == ("author",)
    with pytest.raises(AdminError, match="invitation-invalid"):
        await managing.enrol_admin(services, code=invited.code, public=signer.verifier.public, proof=proof)
    by = await Admin("wang", signer, services).acts("policy.propose", digest="x")
    assert (by.name, by.unit, by.roles) == ("wang", "审批科", frozenset({"author"}))
    assert by.evidence is not None
    assert signer.verifier.verify(by.evidence.signed, by.evidence.signature)
    held = msgspec.json.encode(await services.store.reads.all(rows._ALL.with_only_columns(rows.administrators.c.person)), enc_hook=tuple)
    assert b"wang" not in held
    assert invited.code not in str(await audit.after(services.store.reads, 0, 1000))


async def test_an_old_or_wrong_code_enrols_nobody(services: Services) -> None:
    """After fifteen minutes, and for a code of nobody, there is one answer and an audit line."""
    invited = await managing.invite_admin(services, name="wang", unit="u", roles=["author"], person="wang-1", by="office:test")
    signer = Ed25519Signer(act_as.key_name(services.settings.party, "wang"), os.urandom(32))
    late = msgspec.structs.replace(services, clock=Clock(fixed=services.clock() + timedelta(minutes=15)))
    for held, code in ((late, invited.code), (services, "a" * 32)):
        with pytest.raises(AdminError, match="invitation-invalid"):
            await managing.enrol_admin(held, code=code, public=signer.verifier.public, proof=proof_of(held, signer, code, "wang"))
    assert await managing.list_admins(services) == []
    assert (await causes(services)) == [None, None]


async def test_enrolment_proves_possession(services: Services) -> None:
    """A statement signed with another key than the one to be enrolled is refused, and so is one about another code."""
    invited = await managing.invite_admin(services, name="wang", unit="u", roles=["author"], person="wang-1", by="office:test")
    named = act_as.key_name(services.settings.party, "wang")
    mine, other = Ed25519Signer(named, os.urandom(32)), Ed25519Signer(named, os.urandom(32))
    for proof in (proof_of(services, other, invited.code, "wang"), proof_of(services, mine, "b" * 32, "wang")):
        with pytest.raises(AdminError, match="admin-signature"):
            await managing.enrol_admin(services, code=invited.code, public=mine.verifier.public, proof=proof)


async def test_a_key_serves_one_account(services: Services) -> None:
    """The key of another administrator, also of a retired one, and our own signing keys are refused."""
    first = await enrolled(services, "first", "author")
    await managing.retire_admin(services, "first", by="office:test")
    invited = await managing.invite_admin(services, name="second", unit="u", roles=["approver"], person="second-1", by="office:test")
    named = act_as.key_name(services.settings.party, "second")
    again = Ed25519Signer(named, first.signer._seed)
    with pytest.raises(AdminError, match="key-taken"):
        await managing.enrol_admin(
            services, code=invited.code, public=again.verifier.public, proof=proof_of(services, again, invited.code, "second")
        )
    ours = Ed25519Signer(named, services.signers.keys[0].signer._seed)  # type: ignore[attr-defined]  # the private half, on purpose
    with pytest.raises(AdminError, match="key-taken"):
        await managing.enrol_admin(
            services, code=invited.code, public=ours.verifier.public, proof=proof_of(services, ours, invited.code, "second")
        )


@pytest.mark.parametrize(
    ("roles", "code"),
    [
        (["auditor", "operator"], "role-conflict"),
        (["key-custodian", "approver"], "role-conflict"),
        (["king"], "role-unknown"),
        ([], "role-unknown"),
    ],
)
def test_roles_that_exclude_each_other_are_refused(roles: list[str], code: str) -> None:
    """An auditor is nothing else, a key custodian does not approve, and there are seven roles."""
    with pytest.raises(AdminError) as refused:
        read_roles(roles)
    assert refused.value.code == code


async def test_whom_an_operator_alone_brought_in_is_nobodys_second_pair_of_eyes(services: Services) -> None:
    """Two accounts that one operator invited are no four eyes before somebody else has confirmed them."""
    operator = await enrolled(services, "op", "operator")
    puppet = await enrolled(services, "op2", "operator", by=await operator.acts("a"), confirmed=False)
    other = await enrolled(services, "ap2", "approver", by=await operator.acts("b"), confirmed=False)
    (await puppet.acts("c")).require("operator")
    for role in ("approver", "privacy-officer"):
        with pytest.raises(AdminError, match=r"admin-unconfirmed" if role == "approver" else "role-missing"):
            (await other.acts("d")).require(role)
    ids = {line.name: line.key_id for line in await managing.list_admins(services)}
    for giver in (other, puppet):
        with pytest.raises(AdminError):
            await managing.confirm_admin(services, "ap2", key_id=ids["ap2"], by=await giver.acts("e"))


async def test_another_approver_confirms_after_comparing_the_key(services: Services) -> None:
    """The inviting operator does not confirm; a wrong key id is told; the first approver is the office's to confirm."""
    operator = await enrolled(services, "op", "operator", "approver")
    first = await enrolled(services, "first", "approver", by=await operator.acts("a"))
    newcomer = await enrolled(services, "second", "auditor", by=await operator.acts("b"), confirmed=False)
    key_id = next(line.key_id for line in await managing.list_admins(services) if line.name == "second")
    with pytest.raises(AdminError, match="admin-unconfirmed"):
        (await newcomer.acts("c")).require("auditor")
    for giver, said, code in ((operator, key_id, "approval-conflict"), (first, f"{key_id}0", "key-unknown")):
        with pytest.raises(AdminError) as refused:
            await managing.confirm_admin(services, "second", key_id=said, by=await giver.acts("d"))
        assert refused.value.code == code
    done = await managing.confirm_admin(services, "second", key_id=key_id, by=await first.acts("e"))
    assert done.confirmed_by == "admin:first"
    (await newcomer.acts("f")).require("auditor")
    told = [row for row in await audit.after(services.store.reads, 0, 1000) if row.act == "admin.confirm"]
    assert [row.target for row in told] == ["admin/first", "admin/second"]


async def test_a_second_account_of_one_person_is_seen(services: Services) -> None:
    """Conflicting roles are refused over all accounts of a person, however the name is written; a retired account frees them."""
    await enrolled(services, "li", "approver", person="TH-17/4")
    with pytest.raises(AdminError, match="role-conflict"):
        await managing.invite_admin(services, name="li.2", unit="x", roles=["key-custodian"], person="th.174", by="office:test")
    with pytest.raises(AdminError, match="admin-name"):
        await managing.invite_admin(services, name="li", unit="x", roles=["author"], person="li-1", by="office:test")
    with pytest.raises(AdminError, match="role-conflict"):
        await managing.invite_admin(services, name="li.3", unit="x", roles=["auditor"], person="TH174", by="office:test")
    await managing.retire_admin(services, "li", by="office:test")
    await managing.invite_admin(services, name="li.2", unit="x", roles=["key-custodian"], person="Th17-4", by="office:test")


@pytest.mark.parametrize("person", ["", "17", "李四", "lisi", "No. 17 李", "220599198001010013", "x" * 64 + "1", "ＴＨ１７"])
async def test_a_person_is_a_reference_and_no_name(services: Services, person: str) -> None:
    """Who stands behind an account is always said, by a number of the authority's own."""
    with pytest.raises(AdminError, match="admin-person"):
        await managing.invite_admin(services, name="li", unit="x", roles=["author"], person=person, by="office:test")


async def test_after_the_first_operator_invitations_are_signed(services: Services) -> None:
    """Whoever holds the data directory brings in the first; then an operator signs, and nobody else."""
    operator = await enrolled(services, "op", "operator")
    author = await enrolled(services, "au", "author", by=await operator.acts("admin.invite"))
    with pytest.raises(AdminError, match="operator-needed"):
        await managing.invite_admin(services, name="x.y", unit="u", roles=["author"], person="x.y-1", by="office:test")
    with pytest.raises(RoleMissing):
        await managing.invite_admin(services, name="x.y", unit="u", roles=["author"], person="x.y-1", by=await author.acts("admin.invite"))
    with pytest.raises(RoleMissing):
        await managing.retire_admin(services, "op", by=await author.acts("admin.retire"))
    await managing.retire_admin(services, "au", by=await author.acts("admin.retire"))
    with pytest.raises(AdminError, match="admin-unknown"):
        await managing.retire_admin(services, "nobody", by=await operator.acts("admin.retire"))
    assert [(line.name, line.invited_by, line.retired_at is None) for line in await managing.list_admins(services)] == [
        ("au", ("op",), False),
        ("op", (), True),
    ]


async def test_a_statement_counts_once_for_its_act(services: Services) -> None:
    """Replayed, for other arguments, another act, another gateway, too old, by another key, retired: refused, alike, and audited."""
    one, two = await enrolled(services, "one", "author"), await enrolled(services, "two", "author")
    arguments = {"digest": "x"}

    def sign(signer: Ed25519Signer = one.signer, by: str = "one") -> act_as.SignedAct:
        return act_as.sign_act(services, signer, act="a", arguments=arguments, by=by)

    texts = set()

    async def refuse(
        signed: act_as.SignedAct, act: str = "a", arguments: dict[str, object] | None = None, held: Services = services
    ) -> None:
        with pytest.raises(AdminError) as error:
            await act_as.by_statement(held, signed, act=act, arguments={"digest": "x"} if arguments is None else arguments)
        assert error.value.code == "admin-signature"
        texts.add(error.value.code)

    signed = sign()
    await act_as.by_statement(services, signed, act="a", arguments=arguments)
    await refuse(signed)
    await refuse(sign(), act="b")
    await refuse(sign(), arguments={"digest": "y"})
    await refuse(sign(two.signer))
    await refuse(sign(by="nobody"))
    changed = sign()
    await refuse(act_as.SignedAct(statement=msgspec.structs.replace(changed.statement, by="two"), signature=changed.signature))
    for seconds in (-61, 61):
        await refuse(sign(), held=msgspec.structs.replace(services, clock=Clock(fixed=services.clock() + timedelta(seconds=seconds))))
    await managing.retire_admin(services, "one", by="office:test")
    await refuse(sign())
    assert await causes(services) == [
        "replayed", "other-act", "other-act", "signature", "unknown", "signature", "stale", "stale", "retired",
    ]  # fmt: skip


def admin(name: str, **words: object) -> Administrator:
    """An administrator made of words."""
    values: dict[str, object] = {"unit": name, "roles": frozenset(), "key_id": name, "person": name, **words}
    return Administrator(name=name, **values)  # type: ignore[arg-type]  # words of a test


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (admin("a"), admin("a"), "same account"),
        (admin("a", person="p"), admin("b", person="p"), "same person"),
        (admin("a", key_id="k"), admin("b", key_id="k"), "same key"),
        (admin("a", public=b"k"), admin("b", public=b"k"), "same key"),
        (admin("a", unit="审批科"), admin("b", unit=" 审批科。"), "same unit"),
        (admin("a", brought_in_by=frozenset({"b"})), admin("b"), "brought the other in"),
        (admin("a"), admin("b", brought_in_by=frozenset({"c", "a"})), "brought the other in"),
        (admin("a"), admin("b"), None),
    ],
)
def test_two_pairs_of_eyes(one: Administrator, other: Administrator, why: str | None) -> None:
    """Account, person, key, unit and who brought whom in decide whether two administrators are independent."""
    found = dependence(one, other)
    assert found == why if why is None else why in str(found)


async def test_nobody_else_reads_a_private_key(services: Services, tmp_path: Path) -> None:
    """A key file has mode 0400 or 0600, or is not read; a key of another name or a damaged one is refused; PEM is taken."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    one = await enrolled(services, "one", "author")
    path = one.key_file(tmp_path)
    assert act_as.read_key_file(path, one.signer.name).vkey == one.signer.vkey
    for mode in (0o440, 0o604, 0o500, 0o700):
        path.chmod(mode)
        with pytest.raises(SettingsError, match="key-readable"):
            act_as.read_key_file(path, one.signer.name)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="key-use"):
        act_as.read_key_file(path, "other")
    with pytest.raises(SettingsError, match="key-missing"):
        act_as.read_key_file(tmp_path / "none", one.signer.name)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for key, good in ((ed25519.Ed25519PrivateKey.generate(), True), (ec.generate_private_key(ec.SECP256R1()), False)):
        path.write_bytes(key.private_bytes(*form))
        if good:
            assert act_as.read_key_file(path, "n").verifier.public == key.public_key().public_bytes_raw()  # type: ignore[union-attr]
        else:
            with pytest.raises(SettingsError, match="key-invalid"):
                act_as.read_key_file(path, "n")
    path.write_bytes(b"\xff\x00")
    with pytest.raises(SettingsError, match="key-invalid"):
        act_as.read_key_file(path, "n")


async def test_the_store_gives_a_name_once(services: Services) -> None:
    """Two open invitations for one name enrol one administrator."""
    codes = [
        (await managing.invite_admin(services, name="wang", unit="u", roles=["author"], person="wang-1", by="office:test")).code
        for _ in range(2)
    ]
    for code, error in zip(codes, (None, (AdminError, StoreError)), strict=True):
        signer = Ed25519Signer(act_as.key_name(services.settings.party, "wang"), os.urandom(32))
        proof = proof_of(services, signer, code, "wang")
        if error is None:
            await managing.enrol_admin(services, code=code, public=signer.verifier.public, proof=proof)
        else:
            with pytest.raises(error):
                await managing.enrol_admin(services, code=code, public=signer.verifier.public, proof=proof)


def test_the_command_line_brings_administrators_in(tmp_path: Path) -> None:
    """invite-admin prints a code, enrol-admin makes the key with mode 0400, list-admins shows it, an operator retires."""
    settings = write_settings(tmp_path)
    settings_of(settings)

    def run(*arguments: str, code: int = 0) -> str:
        one = process if "enrol-admin" in arguments else chengxin  # the mode of a key file is the process's own
        done = one(tmp_path, "--settings", str(settings), *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    run("init")
    for name, role in (("op.one", "operator"), ("au.one", "author")):
        signing = ["--as", "op.one", "--key", "op.one.key"] if name != "op.one" else []
        code = json.loads(
            run("key", "invite-admin", "--name", name, "--unit", name, "--role", role, "--person", f"{name}-1", *signing, "--json")
        )["code"]
        run("key", "enrol-admin", "--code", code, "--key", f"{name}.key")
        assert (tmp_path / f"{name}.key").stat().st_mode & 0o777 == 0o400
    assert "operator-needed" in run("key", "invite-admin", "--name", "x.y", "--unit", "u", "--role", "author", "--person", "x-1", code=1)
    assert "key-use" in run("key", "retire-admin", "op.one", "--as", "op.one", "--key", "au.one.key", code=1)
    run("key", "retire-admin", "au.one", "--as", "op.one", "--key", "op.one.key")
    assert [line["retired_at"] is None for line in json.loads(run("key", "list-admins", "--json"))] == [True, False]
