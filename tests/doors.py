"""Apps at the doors, for tests: registered straight into the store, calling over a real socket."""

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
from msgspec import Struct

from gateway.core.callers import api_keys
from gateway.core.callers.grants import Grant, GrantBasis
from gateway.services import Services
from gateway.store import apps, clients, developer_keys
from gateway.store import grants as grant_rows
from gateway.store.apps import Organisation
from tests.callers import Key, assertion, proof
from tests.house import CENTRE

ORIGIN = "http://127.0.0.1:8000"
"""As the settings of the tests say, wherever the server really listens."""
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PENALTIES, REGISTRATIONS = "administrative-penalties", "registrations"


def a_grant(app: str, name: str, dataset: str = PENALTIES, purposes: tuple[str, ...] = ("dept.supervision",), **other: Any) -> Grant:
    """A grant for the whole city and years."""
    said: dict[str, Any] = {
        "id": name,
        "org": CENTRE,
        "app": app,
        "dataset": dataset,
        "purposes": purposes,
        "regions": ("220500",),
        "from_": date(2025, 1, 1),
        "until": date(2035, 12, 31),
        "basis": GrantBasis(document="测试函〔2026〕1号", sha256="0" * 64),
    }
    return Grant(**(said | other))


async def register(
    services: Services,
    key: Key | None,
    *,
    tier: str = "department",
    datasets: tuple[str, ...] = (PENALTIES,),
    introspects: bool = False,
    uploads: bool = False,
) -> str:
    """An app of the credit centre with its key and grants; its id."""
    async with services.store.transaction() as tx:
        if await apps.organisation(tx, CENTRE) is None:
            await apps.add_organisation(tx, Organisation(org=CENTRE, name="测试局", kind="department", region="220500"), "test")
        app = await apps.add_app(tx, org=CENTRE, name="试", unit="一科", tier=tier, introspects=introspects, by="test", uploads=uploads)
        if key is not None:
            await apps.add_key(
                tx, thumbprint=key.thumbprint, app=app, kid=key.thumbprint, alg=key.alg, members=key.jwk, state="active", by="test"
            )
        for dataset in datasets:
            name = f"g-{app[4:16]}-{dataset}"
            await grant_rows.propose(tx, a_grant(app, name, dataset), personal=True, by="test")
            await grant_rows.approve(tx, name, "test2")
    return app


async def developer(services: Services, **other: Any) -> tuple[str, str]:
    """An app of tier developer with an API key: id and key."""
    app = await register(services, None, tier="developer", datasets=())
    text = api_keys.make_key("test", os.urandom(38))
    key = api_keys.read_key(text)
    words: dict[str, Any] = {"mode": "test", "scopes": (), "networks": (), "expires_on": date(2035, 1, 1)} | other
    async with services.store.transaction() as tx:
        await developer_keys.add(tx, key_id=key.key_id, app=app, mac=api_keys.mac_of(services.doors.pepper, key), by="test", **words)
    return app, text


async def a_token(services: Services, app: str, key: Key, *, lifetime_s: int = 600) -> str:
    """A bound token without going through the door."""
    token = clients.draw(os.urandom)
    async with services.store.transaction() as tx:
        found = await apps.find(tx, app)
        assert found is not None
        access = [(grant.dataset, purpose) for grant in await grant_rows.active(tx, app) for purpose in grant.purposes]
        await clients.keep(
            tx, token, app=app, org=found.org, tier=found.tier, jkt=key.thumbprint, credential=key.thumbprint, access=access,
            lifetime=timedelta(seconds=lifetime_s),
        )  # fmt: skip
    return token


class Program(Struct, kw_only=True):
    """A department's program at a server: knows its key, and learns the server's nonce."""

    client: httpx.Client
    app: str
    key: Key
    now: datetime | None = None
    """The server's clock; None: the real one."""
    nonce: str | None = None
    token: str = ""

    @property
    def at(self) -> datetime:
        """Now, as the server counts."""
        return self.now or datetime.now(UTC)

    def form(self, **other: str | None) -> dict[str, str]:
        """A right token request, but for `other` names; None removes one."""
        said = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion(self.app, self.key, ORIGIN, self.at),
        }
        return {name: value for name, value in (said | other).items() if value is not None}

    def prove(self, method: str, path: str, token: str | None = None, **other: Any) -> str:
        """A right proof, with the nonce that was last heard of."""
        return proof(self.key, method, ORIGIN + path.partition("?")[0], self.at, token, **({"nonce": self.nonce} | other))

    def post(self, path: str, form: Mapping[str, str], **headers: str) -> httpx.Response:
        """Post a form; a nonce in the answer is kept."""
        answer = self.client.post(path, data=dict(form), headers=headers)
        self.nonce = answer.headers.get("dpop-nonce", self.nonce)
        return answer

    def ask_token(self, **other: str | None) -> httpx.Response:
        """Ask for a token, a second time when a nonce is wanted."""
        answer = self.post("/oauth/token", self.form(**other), DPoP=self.prove("POST", "/oauth/token"))
        if answer.json().get("error") == "use_dpop_nonce":
            answer = self.post("/oauth/token", self.form(**other), DPoP=self.prove("POST", "/oauth/token"))
        if answer.status_code == 200:
            self.token = answer.json()["access_token"]
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask with token and proof, a second time when a nonce is wanted."""
        for _ in range(2):
            said = {"Authorization": f"DPoP {self.token}", "DPoP": self.prove("GET", path, self.token)} | headers
            answer = self.client.get(path, headers=said)
            if answer.status_code != 401 or "use_dpop_nonce" not in answer.headers["www-authenticate"]:
                break
            self.nonce = answer.headers["dpop-nonce"]
        return answer
