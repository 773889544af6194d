"""Apps, keys and grants: who may register what, what needs a second person, and what ends what."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gateway.core.callers import api_keys
from gateway.core.callers.caller import Caller
from gateway.core.callers.proof import nonce_of
from gateway.core.callers.refusals import CredentialRefused
from gateway.core.errors import AdminError, BodyInvalid, GatewayError
from gateway.operations import manage_apps, manage_grants
from gateway.operations.identify_caller import Presented, identify_caller
from gateway.services import Services
from gateway.store import audit, clients
from tests.administrators import Admin, enrolled
from tests.callers import Key, proof
from tests.doors import PENALTIES, a_token, register
from tests.house import CENTRE, a_gateway

GRANT = """\
id = "market-supervision-2026"
org = "{org}"
app = "{app}"
dataset = "{dataset}"
purposes = ["dept.supervision"]
regions = ["220500"]
from = 2026-01-01
until = 2026-12-31
basis = {{ document = "测试函〔2026〕3号", sha256 = "{sha}" }}
{more}
"""


class Office:
    """A gateway with three administrators."""

    def __init__(self, services: Services, operator: Admin, approver: Admin, auditor: Admin) -> None:
        self.services = services
        self.operator, self.approver, self.auditor = operator, approver, auditor

    async def app(self, **other: Any) -> manage_apps.AppLine:
        """A department's app."""
        said: dict[str, Any] = {
            "org": CENTRE,
            "org_name": "测试局",
            "kind": "department",
            "region": "220500",
            "name": "监管平台",
            "unit": "二科",
            "tier": "department",
            "introspects": False,
        }
        return await manage_apps.new_app(self.services, **(said | other), by=await self.operator.acts("app.register"))

    async def acts(self) -> list[str]:
        """Every act in the audit."""
        return [row.act for row in await audit.after(self.services.store.reads, 0, 1000)]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """Operator, approver and auditor of three units."""
    async with a_gateway(tmp_path, CHENGXIN_NOW="2026-06-01T02:30:00Z") as services:
        operator = await enrolled(services, "olga", "operator")
        by = await operator.acts("x")
        approver = await enrolled(services, "anna", "approver", by=by)
        auditor = await enrolled(services, "audrey", "auditor", by=await operator.acts("y"))
        yield Office(services, operator, approver, auditor)


async def second(services: Services, operator: Admin) -> Admin:
    """An approver whom the operator brought in: no second pair of eyes beside that one."""
    return await enrolled(services, "otto", "approver", by=await operator.acts("admin.invite"))


async def refused(code: str, waiting: Any) -> None:
    """The story refuses with this code."""
    with pytest.raises(GatewayError) as error:
        await waiting
    assert error.value.code == code


async def test_an_app_has_a_tier_that_its_organisation_may_have(office: Office) -> None:
    """Fixed at registration; another kind, division or tier for a known organisation is refused."""
    line = await office.app()
    assert (line.tier, line.state, line.org) == ("department", "active", CENTRE)
    await refused("app-tier", office.app(tier="pboc"))
    await refused("app-tier", office.app(kind="company"))
    await refused("app-tier", office.app(kind="friend"))
    await refused("app-tier", office.app(tier="public"))
    await refused("app-invalid", office.app(kind="partner", tier="partner"))
    await refused("app-invalid", office.app(region="999999"))
    await refused("app-invalid", office.app(name="x\ny"))
    await refused("SUBJ_USCC", office.app(org=CENTRE[:-1] + "2"))
    assert len(await manage_apps.list_apps(office.services)) == 1
    with pytest.raises(AdminError, match="role-missing"):
        await manage_apps.suspend_app(office.services, line.app, by=await office.auditor.acts("z"))


async def test_a_key_of_a_tier_that_reaches_persons_needs_two(office: Office, tmp_path: Path) -> None:
    """It is proposed, approved by somebody independent, and only then active; a private key, a short one and a known one are refused."""
    services, app = office.services, (await office.app()).app
    key = Key("ES256", seed=5)
    line = await manage_apps.add_key(services, app, key.public_pem, kid="k-1", by=await office.operator.acts("a"))
    assert (line.state, line.thumbprint, line.kid, line.alg) == ("proposed", key.thumbprint, "k-1", "ES256")
    await refused("role-missing", manage_apps.approve_key(services, key.thumbprint, by=await office.operator.acts("b")))
    for given in (key.pem, Key("PS256", bits=2048).public_pem, b"x", b"{}", b'{"kty":"oct","k":"AAAA"}', b"[" * 9000, key.public_pem * 90):
        await refused("key-refused", manage_apps.add_key(services, app, given, kid=None, by=await office.operator.acts("c")))
    await refused("key-twice", manage_apps.add_key(services, app, key.public_pem, kid=None, by=await office.operator.acts("d")))
    await refused("app-unknown", manage_apps.add_key(services, "app_x", key.public_pem, kid=None, by=await office.operator.acts("e")))
    await refused("key-unknown", manage_apps.approve_key(services, "nobody", by=await office.approver.acts("f")))
    independent = await enrolled(services, "ines", "approver", by=await office.operator.acts("g"))
    await refused("approval-conflict", manage_apps.approve_key(services, key.thumbprint, by=await independent.acts("h")))


def grant_text(app: str, more: str = "", **other: str) -> bytes:
    """A grant file."""
    return GRANT.format(**({"org": CENTRE, "app": app, "dataset": PENALTIES, "sha": "a" * 64, "more": more} | other)).encode()


async def test_a_grant_names_what_is_there(office: Office) -> None:
    """Unknown keys, other organisations, datasets, purposes, divisions, fields and spent dates are refused with the place."""
    services, app = office.services, (await office.app()).app
    good = grant_text(app)
    for place, text in {
        "grant": b"x = [",
        "org": grant_text(app, org="11220502XXT0000001"),
        "dataset": grant_text(app, dataset="no-such"),
        "purposes": good.replace(b"dept.supervision", b"exchange.batch"),
        "regions": good.replace(b'["220500"]', b'["220600"]'),
        "until": good.replace(b"until = 2026-12-31", b"until = 2026-05-31"),
        "ceilings": grant_text(app, more='ceilings = { nothing = "drop" }'),
        "$.basis.sha256": grant_text(app, sha="short"),
    }.items():
        with pytest.raises(AdminError) as error:
            await manage_grants.propose_grant(services, text, by=await office.operator.acts("p"))
        assert (error.value.code, error.value.place) == ("grant-invalid", place)
    for text in (good + b"surplus = 1\n", good + b'id = "twice"\n', good.replace(b"from = 2026-01-01", b'from = "soon"'), b"\xff"):
        await refused("grant-invalid", manage_grants.propose_grant(services, text, by=await office.operator.acts("q")))
    await refused("app-unknown", manage_grants.propose_grant(services, grant_text("app_x"), by=await office.operator.acts("r")))
    line = await manage_grants.propose_grant(services, good, by=await office.operator.acts("s"))
    assert (line.state, line.personal, line.proposed_by) == ("proposed", True, "olga")
    await refused("grant-twice", manage_grants.propose_grant(services, good, by=await office.operator.acts("t")))


async def test_a_ceiling_that_does_not_fit_its_field_is_told(office: Office) -> None:
    """What is left of an amount under the ceiling `surname` is nothing: whoever proposes, approves or lists the grant reads that."""
    app = (await office.app()).app
    text = grant_text(app, more='ceilings = { fine_amount = "surname", facts = "drop", severity = "exists" }')
    line = await manage_grants.propose_grant(office.services, text, by=await office.operator.acts("p"))
    assert line.unfit == ("fine_amount",)
    assert [each.unfit for each in await manage_grants.list_grants(office.services)] == [("fine_amount",)]


async def test_four_eyes_on_a_grant_and_its_end(tmp_path: Path) -> None:
    """The approver is independent of the proposer and names the digest; then the grant lives, until one person ends it."""
    async with a_gateway(tmp_path, CHENGXIN_NOW="2026-06-01T02:30:00Z") as services:
        approver = await enrolled(services, "anna", "approver")
        operator = await enrolled(services, "olga", "operator")
        office = Office(services, operator, approver, approver)
        app = (await office.app()).app
        key = Key("ES256", seed=6)
        await manage_apps.add_key(services, app, key.public_pem, kid=None, by=await operator.acts("a"))
        assert (await manage_apps.approve_key(services, key.thumbprint, by=await approver.acts("b"))).state == "active"
        await refused("key-state", manage_apps.approve_key(services, key.thumbprint, by=await approver.acts("b")))
        line = await manage_grants.propose_grant(services, grant_text(app), by=await operator.acts("c"))
        await refused("approval-stale", manage_grants.approve_grant(services, line.id, digest="0" * 64, by=await approver.acts("d")))
        done = await manage_grants.approve_grant(services, line.id, digest=line.digest, by=await approver.acts("e"))
        assert (done.state, done.approved_by) == ("active", "anna")
        await refused("grant-state", manage_grants.approve_grant(services, line.id, digest=line.digest, by=await approver.acts("f")))
        assert (await manage_grants.revoke_grant(services, line.id, by=await operator.acts("g"))).state == "revoked"
        await refused("grant-unknown", manage_grants.revoke_grant(services, "nothing", by=await operator.acts("h")))
        token = await a_token(services, app, key)
        assert await manage_apps.revoke(services, key.thumbprint, by=await operator.acts("i")) == "key"
        assert await clients.find(services.store.reads, token, services.clock()) is None
        token = await a_token(services, app, key)
        assert (await manage_apps.suspend_app(services, app, by=await approver.acts("j"))).state == "suspended"
        assert await clients.find(services.store.reads, token, services.clock()) is None
        asked = await manage_apps.resume_app(services, app, by=await operator.acts("k"))
        assert (asked.state, asked.resume_by) == ("suspended", "olga")
        await refused("approval-conflict", manage_apps.approve_resume(services, app, by=await (await second(services, operator)).acts("l")))
        assert (await manage_apps.suspend_app(services, app, by=await operator.acts("m"))).resume_by is None
        await refused("app-state", manage_apps.approve_resume(services, app, by=await approver.acts("n")))
        await manage_apps.resume_app(services, app, by=await operator.acts("o"))
        assert (await manage_apps.approve_resume(services, app, by=await approver.acts("p"))).state == "active"
        await refused("app-state", manage_apps.resume_app(services, app, by=await operator.acts("q")))
        developers = (await office.app(tier="developer", name="开发")).app
        await manage_apps.suspend_app(services, developers, by=await operator.acts("r"))
        assert (await manage_apps.resume_app(services, developers, by=await operator.acts("s"))).state == "active"
        assert {
            "app.register", "app.key.add", "app.key.approve", "app.key.revoke", "app.suspend", "app.resume",
            "app.resume.approve",
            "grant.propose", "grant.approve", "grant.revoke",
        } <= set(await office.acts())  # fmt: skip


async def test_an_api_key_is_shown_once_and_ends(office: Office) -> None:
    """Two live ones an app, for a developer only; revoked it is refused; one that stood in a URL is marked, once, and only a real one."""
    services = office.services
    app = (await office.app(tier="developer")).app
    days: dict[str, Any] = {"scopes": ("lists",), "networks": ("203.0.113.0/24",), "days": 30}
    issued = await manage_apps.issue_key(services, app, **days, by=await office.operator.acts("a"))
    assert (issued.line.expires_on, issued.line.scopes, issued.line.networks) == (date(2026, 7, 1), ("lists",), ("203.0.113.0/24",))
    assert issued.key.startswith("cxk_test_")
    secret = api_keys.read_key(issued.key).secret
    assert secret.encode() not in (services.settings.data_path / "gateway.db").read_bytes()
    await manage_apps.issue_key(services, app, **days, by=await office.operator.acts("b"))
    await refused("key-limit", manage_apps.issue_key(services, app, **days, by=await office.operator.acts("c")))
    with pytest.raises(BodyInvalid):
        await manage_apps.issue_key(services, app, **(days | {"days": 400}), by=await office.operator.acts("d"))
    department = (await office.app()).app
    await refused("app-tier", manage_apps.issue_key(services, department, **days, by=await office.operator.acts("e")))

    shown = Presented(authorization=(f"Bearer {issued.key}",), address="203.0.113.9")
    caller = await identify_caller(services, shown)
    assert (caller.tier, caller.app, caller.assurance, caller.scopes) == ("developer", app, "key", ("lists",))
    other = api_keys.make_key("test", b"q" * 38).encode()
    assert not await manage_apps.mark_exposed(services, b"a=1&key=" + other)
    assert await manage_apps.mark_exposed(services, b"a=1&key=" + issued.key.encode() + b"&b=2")
    assert not await manage_apps.mark_exposed(services, issued.key.encode())
    line = await manage_apps.show_app(services, app)
    marked = [one for one in line.api_keys if one.exposed_at is not None]
    assert [one.key_id for one in marked] == [issued.line.key_id]
    assert marked[0].last_used == date(2026, 6, 1)
    assert await manage_apps.revoke(services, issued.line.key_id, by=await office.operator.acts("f")) == "api-key"
    await refused("credentials-invalid", identify_caller(services, shown))
    await refused("key-unknown", manage_apps.revoke(services, "nothing1", by=await office.operator.acts("g")))


@pytest.mark.parametrize("place", ["memory", "database"])
async def test_a_proof_is_believed_once_wherever_used_ids_stand(tmp_path: Path, place: str) -> None:
    """Of two requests of one turn of the loop that show it one is answered, and none after them; who goes on shows it again."""
    async with a_gateway(tmp_path, CHENGXIN_NOW="2026-06-01T02:30:00Z", CHENGXIN_REPLAY_URL=place) as services:
        key, now = Key("ES256", seed=71), services.clock()
        app = await register(services, key, datasets=(PENALTIES,))
        token = await a_token(services, app, key)
        url = services.settings.public_origin.rstrip("/") + "/v1/me"

        def shown() -> Presented:
            made = proof(key, "GET", url, now, token, nonce=nonce_of(services.doors.nonce_key, now))
            return Presented(path="/v1/me", authorization=(f"DPoP {token}",), proofs=(made,), case_ref="测试案1号")

        first, other = shown(), shown()
        asked = [identify_caller(services, each) for each in (first, other, first)]
        one, two, three = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(one, Caller)
        assert one == two == await identify_caller(services, first, again=True)
        assert (one.app, one.tier, one.case_ref) == (app, "department", "测试案1号")
        assert isinstance(three, CredentialRefused)
        assert three.cause == "proof-replayed"
        with pytest.raises(CredentialRefused):
            await identify_caller(services, other)
