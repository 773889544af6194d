"""Grants of partners, the province and the bank: worth what an agreement in force says, as long as it is in force."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.callers.caller import Caller
from gateway.core.callers.grants import Grant
from gateway.core.errors import AdminError, ExchangeError, NotPermitted
from gateway.core.exchange.access import kept
from gateway.operations import manage_apps, manage_grants
from gateway.operations.identify_caller import Presented, identify_caller
from gateway.operations.issue_token import look_at, next_nonce
from gateway.operations.manage_agreements import change_state, take_notice
from gateway.services import Services
from gateway.store import grants as grant_rows
from gateway.store import held_agreements
from gateway.store.credentials import agreements_for
from tests.administrators import Admin, enrolled
from tests.callers import Key, proof
from tests.doors import ORIGIN, a_grant, a_token
from tests.region import AGREEMENT, Cities, recognising, two_cities

THEIRS = "11220600XXT0001186"
PENALTIES = "administrative-penalties"
GRANT = """\
id = "{id}"
org = "{org}"
app = "{app}"
dataset = "{dataset}"
purposes = {purposes}
regions = ["{region}"]
from = {since}
until = {until}
basis = {{ document = "通示协〔2026〕1号", sha256 = "{sha}" }}
"""


def with_query(text: str) -> str:
    """The shipped template, with a mutual query about penalties."""
    terms = '\nquery = { levels = [1], datasets = ["administrative-penalties"], per_day = 9, per_officer_day = 9, per_subject_day = 9 }'
    text = text.replace('purposes = ["exchange.batch", "mutual.recognition"]', 'purposes = ["exchange.batch", "mutual.query"]' + terms)
    return recognising(text)


class Doors:
    """Two cities with an agreement, and the office of the first one."""

    def __init__(self, cities: Cities, operator: Admin, approver: Admin) -> None:
        self.cities, self.operator, self.approver = cities, operator, approver
        self.key = Key("ES256", seed=5)

    @property
    def services(self) -> Services:
        """The city that is asked."""
        return self.cities.tonghua

    async def app(self, tier: str = "partner", org: str = THEIRS, region: str = "220600") -> str:
        """An app of the other city's operating body."""
        line = await manage_apps.new_app(
            self.services,
            org=org,
            org_name="白山市示例中心",
            kind=tier,
            region=region,
            name="互查平台",
            unit="一科",
            tier=tier,
            introspects=False,
            by=await self.operator.acts("app.register"),
        )
        return line.app

    async def propose(self, app: str, **other: str) -> manage_grants.GrantLine:
        """A grant out of its file."""
        said = {
            "id": f"g-{len(await grant_rows.everything(self.services.store.reads))}",
            "org": THEIRS,
            "app": app,
            "dataset": PENALTIES,
            "purposes": '["mutual.query"]',
            "region": "220500",
            "since": "2026-06-01",
            "until": "2027-05-31",
            "sha": "0" * 64,
        } | other
        return await manage_grants.propose_grant(
            self.services, GRANT.format(**said).encode(), by=await self.operator.acts("grant.propose", id=said["id"])
        )

    async def granted(self, app: str) -> manage_grants.GrantLine:
        """The same, approved where that is needed."""
        line = await self.propose(app)
        if line.state == "active":
            return line
        by = await self.approver.acts("grant.approve")
        return await manage_grants.approve_grant(self.services, line.id, digest=line.digest, by=by)

    async def called(self, token: str, services: Services | None = None) -> Caller:
        """Who a request with this token is."""
        on = self.services if services is None else services
        shown = proof(self.key, "GET", ORIGIN + "/v1/me", on.clock(), token, nonce=next_nonce(on))
        presented = Presented(
            path="/v1/me", authorization=(f"DPoP {token}",), proofs=(shown,), purpose="mutual.query", case_ref="案-2026-1"
        )
        return await identify_caller(on, presented)


@pytest.fixture
async def doors(tmp_path: Path, store_url: str) -> AsyncIterator[Doors]:
    """An agreement with a mutual query; the asked city on each kind of database."""
    async with two_cities(tmp_path, (store_url, ""), change=with_query) as cities:
        operator = await enrolled(cities.tonghua, "olga", "operator")
        approver = await enrolled(cities.tonghua, "anna", "approver", by=await operator.acts("x"))
        yield Doors(cities, operator, approver)


async def refused(place: str, story: Any) -> None:
    """The grant is refused, and this is what is wrong with it."""
    with pytest.raises(AdminError) as error:
        await story
    assert (error.value.code, error.value.place) == ("grant-invalid", place)


async def test_a_grant_says_no_more_than_the_agreement(doors: Doors) -> None:
    """Organisation, tier, dataset, purpose, regions and dates: each only inside an agreement in force."""
    app = await doors.app()
    assert (await doors.propose(app)).state in ("proposed", "active")
    for place, other in (
        ("purposes", {"dataset": "honours"}),
        ("purposes", {"purposes": '["mutual.recognition"]'}),
        ("purposes", {"purposes": '["exchange.batch"]', "region": "220600"}),
        ("until", {"until": "2029-01-01"}),
        ("until", {"since": "2025-12-31"}),
    ):
        await refused(place, doors.propose(app, **other))
    stranger = await doors.app(org="11220500XXT000126U")
    await refused("org", doors.propose(stranger, org="11220500XXT000126U"))


async def test_a_department_reads_what_a_neighbour_tells_of_measures(doors: Doors) -> None:
    """A department is granted the neighbour's division for the measures that an agreement brings, and for nothing else."""
    ours = "11220500XXT0001181"
    app = await doors.app("department", ours, "220500")
    said = {"org": ours, "dataset": "measures", "purposes": '["dept.supervision"]', "region": "220600"}
    assert (await doors.propose(app, **said)).state in ("active", "proposed")
    for other in ({"dataset": "honours"}, {"region": "220700"}):
        with pytest.raises(AdminError) as caught:
            await doors.propose(app, **(said | other))
        assert (caught.value.code, caught.value.place) == ("grant-invalid", "regions")


async def test_without_an_agreement_nothing_is_granted(doors: Doors) -> None:
    """Suspended by either side: no new grant, no approval of one that was proposed before."""
    app = await doors.app()
    await change_state(doors.services, AGREEMENT, "suspended", reason="x", by="test")
    await refused("org", doors.propose(app))


async def test_the_end_of_an_agreement_ends_access(doors: Doors) -> None:
    """A token in use is worth nothing once the agreement is suspended, by us or by them, and again something when it is resumed."""
    services = doors.services
    app = await doors.app()
    line = await doors.granted(app)
    assert line.state == "active"
    token = await a_token(services, app, doors.key)
    caller = await doors.called(token)
    assert (caller.tier, caller.purpose, [grant.id for grant in caller.grants]) == ("partner", "mutual.query", [line.id])
    await change_state(services, AGREEMENT, "suspended", reason="x", by="test")
    with pytest.raises(NotPermitted):
        await doors.called(token)
    looked = await look_at(services, token)
    assert looked is None or looked.access == ()
    assert (await manage_grants.show_grant(services, line.id)).state == "unagreed"
    with pytest.raises(AdminError) as caught:
        await change_state(services, AGREEMENT, "active", reason="x", by="test")
    assert caught.value.code == "operator-needed", "whoever holds the data directory may stop, and only signed it goes on"
    await change_state(services, AGREEMENT, "active", reason="x", by=await doors.operator.acts("agreement.state"))
    assert (await doors.called(token)).grants
    notice = await change_state(doors.cities.baishan, AGREEMENT, "terminated", reason="x", by="test")
    await take_notice(services, notice, by="test")
    with pytest.raises(NotPermitted):
        await doors.called(token)
    assert [each.state for each in await manage_grants.list_grants(services)] == ["unagreed"]


async def test_the_life_of_a_grant_is_within_the_agreements(doors: Doors) -> None:
    """After the agreement's last day the grant is worth nothing, whatever it says itself; so it is before both keys are known."""
    services, ours = doors.services, doors.services.settings.party
    agreements = await agreements_for(services.store.reads, "partner")
    grant = a_grant("app_x", "g", org=THEIRS, purposes=("mutual.query",))
    now = services.clock()

    def left(at: Any = now, held: Any = agreements, tier: str = "partner", **other: Any) -> tuple[Grant, ...]:
        return kept([msgspec.structs.replace(grant, **other)], held, tier=tier, ours=ours, at=at)

    assert left() == (grant,)
    assert left(now + timedelta(days=1000)) == ()
    assert left(now - timedelta(days=1000)) == ()
    assert left(held=()) == ()
    assert left(tier="supervisor") == left(tier="pboc") == ()
    assert left(tier="department", held=()) == (grant,)
    assert left(org="11220500XXT000126U") == ()
    assert left(purposes=("mutual.query", "mutual.recognition")) == (grant,)
    (versions,) = agreements
    assert left(held=((msgspec.structs.replace(versions[0], signed=frozenset()),),)) == ()
    assert left(held=((msgspec.structs.replace(versions[0], keys_held=False),),)) == ()


async def test_altered_agreements_give_nothing(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of an agreement that no longer verify are no agreement."""

    async def altered(*_: object) -> None:
        raise ExchangeError("altered", code="SIG_INVALID")

    monkeypatch.setattr(held_agreements, "held_agreements", altered)
    assert await agreements_for(doors.services.store.reads, "partner") == ()
