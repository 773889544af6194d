"""How a department's program comes in, in the demo: by the real door, with two administrators and the reference client.

Rules: the administrators' keys stand in the demo's folder and are used again at the next start; the program is registered anew each time,
with a key that nobody keeps. This room must not reach past the stories.
"""

import json
from collections.abc import Mapping
from typing import Final

from gateway.core.callers.administrators import Administrator
from gateway.core.records.periods import legal_day
from gateway.core.signing import Ed25519Signer
from gateway.demo.cities import City
from gateway.operations import act_as, manage_apps, manage_grants
from gateway.operations import manage_administrators as administrators
from gateway.reference_client import Client, Key
from gateway.services import Services

APPROVER: Final = ("demo-approver", "approver", "社会信用科")
OPERATOR: Final = ("demo-operator", "operator", "信息中心")
_GRANT: Final = """\
id = "{id}"
org = "{org}"
app = "{app}"
dataset = "{dataset}"
purposes = ["{purpose}"]
regions = ["{region}"]
from = {year}-01-01
until = {year}-12-31
basis = {{ document = "演示函〔2026〕1号", sha256 = "{sha}" }}
"""


class Hand:
    """One administrator of the demo, who signs each act."""

    def __init__(self, services: Services, name: str, signer: Ed25519Signer) -> None:
        self._services = services
        self._name = name
        self._signer = signer

    async def acts(self, act: str, arguments: Mapping[str, object]) -> Administrator:
        """Proven for one act."""
        signed = act_as.sign_act(self._services, self._signer, act=act, arguments=arguments, by=self._name)
        return await act_as.by_statement(self._services, signed, act=act, arguments=arguments)


async def _hand(services: Services, city: City, name: str, role: str, unit: str) -> Hand:
    """An administrator with a key in the demo's folder; invited and enrolled the first time."""
    folder = city.folder / "administrators"
    folder.mkdir(exist_ok=True, mode=0o700)
    signer = administrators.own_key(folder / f"{name}.key", act_as.key_name(services.settings.party, name))
    if all(line.name != name for line in await administrators.list_admins(services)):
        invited = await administrators.invite_admin(services, name=name, unit=unit, roles=[role], person=f"demo-{name}-1", by="demo")
        proof = act_as.sign_act(services, signer, act=administrators.ENROL, arguments=administrators.enrol_arguments(invited.code), by=name)
        await administrators.enrol_admin(services, code=invited.code, public=signer.verifier.public, proof=proof)
    return Hand(services, name, signer)


async def program(services: Services, city: City, dataset: str, purpose: str) -> Client:
    """A program of the city's first department, registered and granted, ready to call."""
    approver = await _hand(services, city, *APPROVER)
    operator = await _hand(services, city, *OPERATOR)  # the last: from now on an operator signs invitations
    who = city.authorities[0]
    app = await manage_apps.new_app(
        services,
        org=who.uscc,
        org_name=who.name,
        kind="department",
        region=city.region,
        name="演示程序",
        unit=None,
        tier="department",
        introspects=False,
        by=await operator.acts("app.register", {"org": who.uscc}),
    )
    key = Key.new()
    line = await manage_apps.add_key(
        services, app.app, json.dumps(key.jwk).encode(), kid=None, by=await operator.acts("app.key.add", {"app": app.app})
    )
    if line.state == "proposed":
        await manage_apps.approve_key(services, line.thumbprint, by=await approver.acts("app.key.approve", {"key": line.thumbprint}))
    text = _GRANT.format(
        id=f"demo-{app.app[4:20]}",
        org=who.uscc,
        app=app.app,
        dataset=dataset,
        purpose=purpose,
        region=city.region,
        year=legal_day(services.clock()).year,
        sha="0" * 64,
    )
    proposed = await manage_grants.propose_grant(services, text.encode(), by=await operator.acts("grant.propose", {"app": app.app}))
    if proposed.state == "proposed":
        said = {"grant": proposed.id, "digest": proposed.digest}
        await manage_grants.approve_grant(services, proposed.id, digest=proposed.digest, by=await approver.acts("grant.approve", said))
    return Client(city.origin, app.app, key, clock=lambda: services.clock().timestamp())
