"""The administrators' API: a listener of its own, every request signed once for itself, and one answer to whoever is not believed."""

import asyncio
import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.app import create_admin_app, create_app
from gateway.core.disclosure.approval import read_approval
from gateway.core.signing import Ed25519Signer
from gateway.operations.keep_audit import checkpoint, head_path
from gateway.operations.manage_administrators import retire_admin
from gateway.operations.verify_audit import verify_folder
from gateway.services import Services, open_services
from gateway.store import audit, holds
from gateway.web.admin.application import STATUS as STATUSES
from gateway.web.admin.routes import ROUTES, document
from tests.administrators import Admin, enrolled
from tests.callers import Key
from tests.commands import chengxin, environment, process
from tests.house import CENTRE, PLAIN, make, settings_of, write_settings
from tests.operations.changing import BASE, NARROW, write_folder
from tests.operations.publishing import person_number
from tests.web.serving import raw, serving

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BASE_URL = "https://admin.tonghua.example"
STATUS = "/admin/v1/policy/status"
ROLLBACK = "/admin/v1/policy/rollback"
_COVERED = ("@method", "@target-uri")
_WITH_BODY = (*_COVERED, "content-type", "content-digest")


def crafted(
    signer: Ed25519Signer,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    components: tuple[str, ...] | None = None,
    origin: str = BASE_URL,
    at: int = 0,
    lives: int = 60,
    label: str = "cx",
    digest: str | None = None,
    **changed: object,
) -> dict[str, str]:
    """Signed header fields, made by hand as RFC 9421 says, with whatever a test spoils."""
    components = (_WITH_BODY if body else _COVERED) if components is None else components
    headers = {}
    if body:
        headers["content-type"] = "application/json"
        headers["content-digest"] = digest or f"sha-256=:{b64encode(hashlib.sha256(body).digest()).decode()}:"
    created = int(NOW.timestamp()) + at
    parameters: dict[str, object] = {
        "created": created,
        "expires": created + lives,
        "nonce": urlsafe_b64encode(os.urandom(16)).decode().rstrip("="),
        "keyid": f"{signer.name}+{signer.key_id.hex()}",
        "alg": "ed25519",
        "tag": "cx-admin",
    } | changed
    said = "".join(
        f";{name}={value}" if isinstance(value, int) else f';{name}="{value}"' for name, value in parameters.items() if value is not None
    )
    input_ = "(" + " ".join(f'"{name}"' for name in components) + ")" + said
    values = {"@method": method, "@target-uri": origin + path, "@authority": "x", **headers}
    base = "\n".join([*(f'"{name}": {values[name]}' for name in components), f'"@signature-params": {input_}'])
    headers["signature-input"] = f"{label}={input_}"
    headers["signature"] = f"{label}=:{b64encode(signer.sign(base.encode())).decode()}:"
    return headers


class AdminHouse:
    """A served administrators' API with everybody enrolled, on the small policy."""

    def __init__(self, services: Services, client: httpx.AsyncClient, admins: dict[str, Admin]) -> None:
        self.services = services
        self.client = client
        self.admins = admins

    async def call(self, name: str, method: str, path: str, value: object = None, **spoilt: Any) -> httpx.Response:
        """A request signed by hand."""
        body = b"" if value is None else json.dumps(value).encode()
        headers = crafted(self.admins[name].signer, method, path, body, **spoilt)
        return await self.client.request(method, path, content=body or None, headers=headers)

    async def causes(self) -> list[tuple[str, object]]:
        """Whose requests were refused, and why, as the audit has it."""
        rows = await audit.after(self.services.store.reads, 0, 10_000)
        return [(row.actor, (row.detail or {})["cause"]) for row in rows if row.act == "admin.refused"]


@pytest.fixture
async def house(store_url: str, tmp_path: Path) -> AsyncIterator[AdminHouse]:
    """The API on each database."""
    more = f'admin_port = 9443\nadmin_origin = "{BASE_URL}"'
    path = write_settings(tmp_path, database=store_url, policies=write_folder(tmp_path / "rules", NARROW), more=more)
    settings = settings_of(path, CHENGXIN_NOW="2026-06-01T00:00:00Z")
    await make(settings)
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(open_services(settings))
        names = ("author", "approver", "auditor", "operator", "privacy-officer", "key-custodian")
        admins = {name: await enrolled(services, name, name) for name in names if name != "operator"}
        admins["operator"] = await enrolled(services, "operator", "operator")
        origin = await stack.enter_async_context(serving(create_admin_app(settings)))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=origin, timeout=20, verify=PLAIN))
        yield AdminHouse(services, client, admins)


async def test_a_policy_changes_over_the_api(house: AdminHouse) -> None:
    """check, propose, approve, activate, rollback, confirm: as on the command line, each signed."""
    folder = {"files": {path: text.decode() for path, text in BASE.items()}}
    assert (await house.call("author", "POST", "/admin/v1/policy/check", folder)).json()["ok"]
    assert (await house.call("author", "POST", "/admin/v1/policy/test", folder)).json()["ok"]
    made = (await house.call("author", "POST", "/admin/v1/policy/proposals", folder)).json()
    assert (made["proposal"], made["effect"]["needs"]) == (2, ["approver"])
    one = f"/admin/v1/policy/proposals/{made['proposal']}"
    assert (await house.call("author", "POST", one + "/activate", {})).json()["code"] == "approval-missing"
    found = (await house.call("approver", "GET", one + "/approval")).json()
    said = read_approval(json.dumps(found["approval"]).encode())
    assert said.digest().hex() == found["sign"]
    signature = b64encode(house.admins["approver"].signer.sign(said.digest())).decode()
    body = {"approval": found["approval"], "signature": signature, "public_fields": ["notices.fine"]}
    wrong = await house.call("approver", "POST", one + "/approve", body | {"public_fields": []})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "approval-fields")
    assert (await house.call("approver", "POST", one + "/approve", body)).json()["state"] == "approved"
    assert (await house.call("author", "POST", one + "/activate", {})).json()["state"] == "active"
    back = (await house.call("author", "POST", "/admin/v1/policy/rollback", {"version": 1})).json()
    assert (back["state"], back["confirmation"]) == ("active", True)
    confirmed = await house.call("approver", "POST", f"/admin/v1/policy/proposals/{back['proposal']}/confirm")
    assert confirmed.json()["unconfirmed_since"] is None
    status = (await house.call("privacy-officer", "GET", STATUS)).json()
    assert (status["version"], [row["proposal"] for row in status["proposals"]]) == (1, [])
    assert (await house.call("author", "GET", "/admin/v1/policy/diff?a=2&b=active")).json()["widens"] is False
    explained = await house.call("author", "GET", "/admin/v1/policy/explain?dataset=notices&tier=public&field=fine")
    assert explained.json()[0]["field"] == "fine"
    assert (await house.call("author", "GET", "/admin/v1/policy/preview?tier=public")).status_code == 200
    history = (await house.call("author", "GET", one)).json()["events"]
    assert [event["event"] for event in history][:4] == ["checked", "proposed", "approval", "approved"]


async def test_whoever_is_not_believed_gets_one_answer(house: AdminHouse) -> None:
    """Unsigned, replayed, altered, too old, of the future, wrong tag, label, algorithm, origin, path or key: the same 401, each audited."""
    key, other = house.admins["author"].signer, house.admins["approver"].signer
    body = b'{"version": 1}'
    post = "/admin/v1/policy/rollback"
    good = crafted(key, "GET", STATUS)
    assert (await house.client.get(STATUS, headers=good)).status_code == 200
    stranger = Ed25519Signer(key.name, os.urandom(32))
    twice = crafted(key, "GET", STATUS)
    second = crafted(key, "GET", STATUS, label="other")
    cases: list[tuple[str, str, bytes, dict[str, str], str]] = [
        ("GET", STATUS, b"", {}, "sig-http"),
        ("GET", STATUS, b"", good, "replayed"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, tag="cx-read"), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, tag=None), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, label="sig1"), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, components=("@method",)), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, components=("@target-uri",)), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, components=("@method", "@authority")), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, at=-121), "time-expired"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, at=61), "time-expired"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, at=-70, lives=5), "time-expired"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, lives=3600), "time-expired"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, expires=None), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, created=None), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, nonce=None), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, nonce="short"), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, alg=None), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, alg="hmac-sha256"), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, keyid=f"{other.name}+{other.key_id.hex()}"), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, keyid="nobody+00000000"), "sig-unknown-key"),
        ("GET", STATUS, b"", crafted(stranger, "GET", STATUS), "sig-unknown-key"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS, origin="https://other.example"), "sig-http"),
        ("GET", STATUS, b"", crafted(key, "GET", STATUS + "?x=1"), "sig-http"),
        ("GET", STATUS + "?x=1", b"", crafted(key, "GET", STATUS), "sig-http"),
        ("POST", STATUS, b"", crafted(key, "GET", STATUS), "sig-http"),
        ("GET", STATUS, b"", {name: f"{twice[name]}, {second[name]}" for name in twice}, "sig-http"),
        ("GET", "/v1/nowhere", b"", {}, "sig-http"),
        ("POST", post, b'{"version": 2}', crafted(key, "POST", post, body), "sig-content-digest"),
        ("POST", post, body, crafted(key, "POST", post), "sig-content-digest"),
        ("POST", post, body, crafted(key, "POST", post, body, components=_COVERED), "sig-content-digest"),
        ("POST", post, body, crafted(key, "POST", post, body, components=(*_COVERED, "content-digest")), "sig-content-digest"),
        ("POST", post, body, crafted(key, "POST", post, body, digest="sha-512=:AAAA:"), "sig-content-digest"),
        ("POST", post, body, crafted(key, "POST", post, body) | {"content-type": "text/plain"}, "sig-http"),
    ]  # fmt: skip
    bodies = set()
    for method, path, content, headers, _ in cases:
        answer = await house.client.request(method, path, content=content or None, headers=headers)
        assert answer.status_code == 401, (method, path, headers)
        assert answer.headers["accept-signature"].startswith('cx=("@method"')
        bodies.add(json.dumps({name: value for name, value in answer.json().items() if name != "instance"}))
    assert len(bodies) == 1
    assert "credentials-invalid" in bodies.pop()
    assert [cause for _, cause in await house.causes()] == [cause for *_, cause in cases]


async def test_a_retired_administrator_is_nobody(house: AdminHouse) -> None:
    """From the next request on."""
    assert (await house.call("author", "GET", STATUS)).status_code == 200
    await retire_admin(house.services, "author", by="office:test")
    assert (await house.call("author", "GET", STATUS)).status_code == 401
    assert await house.causes() == [("admin:author", "retired")]


async def test_roles_are_asked(house: AdminHouse) -> None:
    """An auditor reads the audit and nothing else, nobody else reads it; who has no role for an act is 403 and changes nothing."""
    paths = [(route.method, route.path) for route in ROUTES if route.takes is None and "{" not in route.path]
    for method, path in paths:
        answer = await house.call("auditor", method, path)
        assert (answer.status_code == 200) == (path in ("/admin/v1/audit", "/admin/v1/openapi.json")), path
    rows = (await house.call("auditor", "GET", "/admin/v1/audit?act=policy.activate&limit=5")).json()["rows"]
    assert [row["act"] for row in rows] == ["policy.activate"]
    assert (await house.call("author", "GET", "/admin/v1/audit")).json()["code"] == "role-missing"
    invitation = {"name": "x.y", "unit": "u", "roles": ["approver"], "person": "TH-0418"}
    for name in ("author", "approver", "privacy-officer"):
        answer = await house.call(name, "POST", "/admin/v1/administrators/invite", invitation)
        assert (answer.status_code, answer.json()["code"]) == (403, "role-missing")
    invited = await house.call("operator", "POST", "/admin/v1/administrators/invite", invitation)
    assert len(invited.json()["code"]) == 32
    both = {"name": "x.z", "unit": "u", "roles": ["auditor", "author"], "person": "TH-0419"}
    refused = await house.call("operator", "POST", "/admin/v1/administrators/invite", both)
    assert (refused.status_code, refused.json()["code"]) == (409, "role-conflict")
    assert (await house.call("operator", "POST", "/admin/v1/administrators/author/retire")).json()["retired_at"] is not None
    folder = {"files": {path: text.decode() for path, text in BASE.items()}}
    assert (await house.call("operator", "POST", "/admin/v1/policy/proposals", folder)).status_code == 403


async def test_what_is_sent_wrong_is_told(house: AdminHouse) -> None:
    """Signed requests to no path, with another method, unknown parameters, wrong bodies: coded problems, and no 5xx."""
    cases: list[tuple[str, str, object, int, str]] = [
        ("GET", "/admin/v1/nowhere", None, 404, "not-found"),
        ("GET", "/v1/subjects", None, 404, "not-found"),
        ("GET", "/metrics", None, 404, "not-found"),
        ("POST", STATUS, None, 405, "method-not-allowed"),
        ("GET", STATUS + "?x=1", None, 400, "unknown-parameter"),
        ("GET", "/admin/v1/policy/proposals/99", None, 404, "proposal-unknown"),
        ("GET", "/admin/v1/policy/proposals/x", None, 404, "not-found"),
        ("GET", "/admin/v1/policy/proposals/99999999999999999999", None, 404, "not-found"),
        ("POST", ROLLBACK, {"version": "one"}, 400, "body-invalid"),
        ("POST", ROLLBACK, {"version": 1, "more": 2}, 400, "body-invalid"),
        ("POST", ROLLBACK, {"version": 99}, 404, "policy-unknown"),
        ("POST", "/admin/v1/policy/check", {"files": {"../x.toml": ""}}, 422, "policy-parse"),
        ("GET", "/admin/v1/policy/diff?a=../../rules&b=active", None, 400, "invalid-parameter"),
        ("GET", "/admin/v1/policy/explain?dataset=none", None, 422, "policy-S10"),
        ("GET", "/admin/v1/policy/proposals/1/approval?activate_at=today", None, 400, "invalid-parameter"),
    ]
    for method, path, value, status, code in cases:
        answer = await house.call("author", method, path, value)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path
        assert answer.headers["content-type"] == "application/problem+json"
    for path, field, status in ((ROLLBACK, '"x"', 412), (ROLLBACK, "*", 412), ("/admin/v1/policy/nowhere", "*", 404)):
        body = b'{"version": 1}'
        headers = crafted(house.admins["approver"].signer, "POST", path, body) | {"if-match": field}
        assert (await house.client.post(path, content=body, headers=headers)).status_code == status, "under a condition nothing is done"
    nul = await house.call("key-custodian", "POST", "/admin/v1/keys/renew-deks", {"scope": "org:\0"})
    assert (nul.status_code, nul.json()["code"]) == (400, "body-invalid"), "no database is asked for it"
    day = await house.call("author", "GET", "/admin/v1/policy/preview?at=9999-12-31")
    assert (day.status_code, day.json()["code"]) == (422, "policy-S10")
    digits = {"files": {path: text.decode() for path, text in BASE.items()} | {"tiers.toml": "x = " + "9" * 5000}}
    number = await house.call("author", "POST", "/admin/v1/policy/check", digits)
    assert (number.status_code, [error["code"] for error in number.json()["errors"]]) == (200, ["policy-parse"])
    big = b'{"version": %s}' % (b"1" * 100)
    answer = await house.client.post(ROLLBACK, content=big, headers=crafted(house.admins["author"].signer, "POST", ROLLBACK, big))
    assert answer.status_code == 400


async def test_what_the_asker_can_mend_is_no_fault_of_ours(house: AdminHouse) -> None:
    """A label, subject or record that an act cannot be done to is 4xx: 503 would say to try the same again."""
    cases = [
        ("/admin/v1/keys/rotate-label", {"label": "nonsense"}, 404, "key-label"),
        ("/admin/v1/subjects/shred", {"subject": "sub_nobody", "reason": "request"}, 404, "subject-unknown"),
        ("/admin/v1/erasures", {"target": "sub_nobody", "reason": "request"}, 404, "subject-unknown"),
        ("/admin/v1/erasures", {"target": "rec_nobody", "reason": "request"}, 404, "record-unknown"),
    ]
    for path, body, status, code in cases:
        answer = await house.call("key-custodian", "POST", path, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path
    assert [STATUSES[code] for code in ("record-state", "record-foreign", "shred-organisation", "stream-moved")] == [409] * 4


async def test_a_body_that_is_missing_is_asked_for(house: AdminHouse) -> None:
    """Where a path takes JSON and nothing came, it says so, and what to send where there is nothing to say."""
    answer = await house.call("key-custodian", "POST", "/admin/v1/keys/reencrypt")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
    assert "application/json, {} where" in answer.json()["detail"]
    assert (await house.call("key-custodian", "POST", "/admin/v1/keys/reencrypt", {})).status_code == 200


async def test_a_wrong_body_is_told_with_its_place(house: AdminHouse) -> None:
    """Which member is missing, unknown or of another kind, by its pointer, and nothing that was sent."""
    cases: list[tuple[dict[str, object], dict[str, str]]] = [
        ({"subject": "sub_x"}, {"pointer": "/reason", "code": "required", "detail": "a required member is missing"}),
        ({"subject": "sub_x", "reason": "因为"}, {"pointer": "/reason", "code": "invalid", "detail": "the type or value does not fit"}),
        ({"subject": 1, "reason": "request"}, {"pointer": "/subject", "code": "invalid", "detail": "the type or value does not fit"}),
    ]
    for body, told in cases:
        answer = await house.call("key-custodian", "POST", "/admin/v1/subjects/shred", body)
        assert (answer.status_code, answer.json()["errors"]) == (400, [told])
        assert "因为" not in answer.text


async def test_a_folder_is_sent_as_it_lies(house: AdminHouse) -> None:
    """Pages to read stand in a folder and are passed over, as on the command line; of what does not belong there the file is named."""
    files = {path: text.decode() for path, text in BASE.items()}
    check = "/admin/v1/policy/check"
    plain = (await house.call("author", "POST", check, {"files": files})).json()
    with_pages = {**files, "README.md": "# Rules", "tests/README.md": "# Cases"}
    assert (await house.call("author", "POST", check, {"files": with_pages})).json() == plain
    for more, place, hint in (
        ({"datasets/notes.txt": ""}, "datasets/notes.txt", "only *.toml"),
        ({"tiers.toml": "#" * (2 * 2**20 + 1)}, "tiers.toml", "2 MiB"),
    ):
        answer = await house.call("author", "POST", check, {"files": {**files, **more}})
        assert (answer.status_code, answer.json()["code"], answer.json()["place"]) == (422, "policy-parse", place)
        assert hint in answer.json()["hint"]
    assert "tiers.toml" in (await house.call("author", "POST", check, {"files": {}})).json()["hint"]


@pytest.mark.parametrize("query", ["from_day=2026-11-31", "to_day=20261130", "from_day=", "kind=looked", "after=2026-13-01/x/1"])
async def test_an_auditor_who_asks_wrongly_is_told(house: AdminHouse, query: str) -> None:
    """A day or kind that is none finds no row; told as an empty page it would read as if nobody had looked."""
    answer = await house.call("auditor", "GET", f"/admin/v1/audit?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-parameter")
    assert query.partition("=")[0] in answer.json()["detail"]


async def test_apps_and_keys_over_the_api(house: AdminHouse) -> None:
    """Register, issue, suspend, resume, revoke: as on the command line; a second person may not be the first, and a role is asked."""
    developer = {"org": CENTRE, "org_name": "测试局", "kind": "department", "region": "220500", "name": "试", "tier": "developer"}
    assert (await house.call("author", "POST", "/admin/v1/apps", developer)).json()["code"] == "role-missing"
    made = (await house.call("operator", "POST", "/admin/v1/apps", developer)).json()
    one = f"/admin/v1/apps/{made['app']}"
    issued = (await house.call("operator", "POST", one + "/api-keys", {"days": 30})).json()
    assert issued["key"].startswith("cxk_")
    assert issued["key"] not in (await house.call("operator", "GET", one)).text
    assert [each["app"] for each in (await house.call("operator", "GET", "/admin/v1/apps")).json()] == [made["app"]]
    assert (await house.call("operator", "POST", one + "/suspend")).json()["state"] == "suspended"
    assert (await house.call("operator", "POST", one + "/resume")).json()["state"] == "active"
    key_id = issued["key"].split("_")[2]
    assert (await house.call("operator", "POST", f"/admin/v1/credentials/{key_id}/revoke")).json()["revoked"]
    office = (await house.call("operator", "POST", "/admin/v1/apps", developer | {"tier": "department", "name": "办"})).json()
    key = Key("ES256", seed=9)
    its = f"/admin/v1/apps/{office['app']}"
    await house.call("operator", "POST", its + "/suspend")
    asked = (await house.call("operator", "POST", its + "/resume")).json()
    assert (asked["state"], asked["resume_by"]) == ("suspended", "operator")
    assert (await house.call("approver", "POST", its + "/approve")).json()["state"] == "active"
    added = await house.call("operator", "POST", f"/admin/v1/apps/{office['app']}/keys", {"key": key.public_pem.decode()})
    assert added.status_code == 200, added.text
    for name, path, value, status in (
        ("operator", "/admin/v1/apps/app_nobody/suspend", None, 404),
        ("operator", "/admin/v1/apps", developer | {"more": 1}, 400),
        ("operator", "/admin/v1/grants", {"text": "id = 1"}, 422),
        ("approver", "/admin/v1/grants/nothing/approve", {"digest": "0" * 64}, 404),
        ("operator", "/admin/v1/grants/nothing/revoke", None, 404),
    ):
        answer = await house.call(name, "POST", path, value)
        assert answer.status_code == status, (path, answer.text)
    assert (await house.call("operator", "GET", "/admin/v1/grants")).json() == []


async def test_policies_that_are_sent_are_looked_at(house: AdminHouse) -> None:
    """check, test and diff of files in the body, on a day of one's choice; explain and preview by grant, day and audience."""
    wide = {path: text.decode() for path, text in BASE.items()}
    sent = {"files": wide, "at": "2001-01-01"}
    assert not (await house.call("author", "POST", "/admin/v1/policy/check", sent)).json()["ok"]
    assert (await house.call("author", "POST", "/admin/v1/policy/test", sent)).json()["code"] == "policy-S10"
    found = (await house.call("author", "POST", "/admin/v1/policy/diff", {"a": "active", "b": wide})).json()
    assert (found["widens"], found["b"]["name"], found["public_fields"]) == (True, "files", ["notices.fine"])
    assert (await house.call("author", "POST", "/admin/v1/policy/diff", {"a": wide, "b": 1})).json()["widens"] is False
    for value, code in (({"b": "../rules"}, "invalid-parameter"), ({"b": {"../x.toml": ""}}, "policy-parse"), ({"c": 1}, "body-invalid")):
        assert (await house.call("author", "POST", "/admin/v1/policy/diff", value)).json()["code"] == code
    where = "/admin/v1/policy/explain?dataset=notices"
    mine = (await house.call("author", "GET", where + "&tier=subject")).json()
    assert sorted(mine) == ["cells", "who_may_see"]
    nothing = await house.call("author", "GET", where + f"&tier=department&purpose=dept.supervision&org={CENTRE}")
    assert (nothing.status_code, nothing.json()["code"]) == (404, "grant-unknown")
    assert (await house.call("author", "GET", f"/admin/v1/policy/preview?tier=department&org={CENTRE}")).json() == []
    twins = (await house.call("author", "GET", "/admin/v1/policy/preview?tier=public&dataset=notices&at=2026-06-01")).json()
    assert {twin["dataset"] for twin in twins} == {"notices"}
    later = (await house.call("author", "GET", "/admin/v1/policy/preview?tier=public&dataset=notices&at=2027-06-01")).json()
    assert later != twins
    assert (await house.call("author", "GET", "/admin/v1/policy/preview?tier=public&at=today")).json()["code"] == "invalid-parameter"


async def test_signing_keys_over_the_api(house: AdminHouse) -> None:
    """Whoever works here sees public halves; a key custodian makes a successor, which waits a day."""
    before = (await house.call("author", "GET", "/admin/v1/keys")).json()
    assert {line["use"] for line in before} >= {"exchange", "http", "audit"}
    assert "PRIVATE" not in json.dumps(before)
    assert (await house.call("operator", "POST", "/admin/v1/keys", {"use": "http"})).json()["code"] == "role-missing"
    made = (await house.call("key-custodian", "POST", "/admin/v1/keys", {"use": "http"})).json()
    assert (made["use"], made["state"]) == ("http", "waiting")
    assert len((await house.call("author", "GET", "/admin/v1/keys")).json()) == len(before) + 1
    agreed = (await house.call("key-custodian", "POST", "/admin/v1/keys", {"use": "agreement", "algorithm": "sm2"})).json()
    assert (agreed["use"], agreed["state"]) == ("agreement", "good"), "it counts by the version that pins it"
    assert (await house.call("key-custodian", "POST", "/admin/v1/keys", {"use": "http", "algorithm": "sm2"})).json()["code"] == "key-use"
    assert (await house.call("key-custodian", "POST", "/admin/v1/keys", {"use": "juggling"})).json()["code"] == "body-invalid"
    rows = await audit.after(house.services.store.reads, 0, 10_000)
    assert [row.actor for row in rows if row.act == "key.new"] == ["admin:key-custodian"] * 2


async def test_the_trail_leaves_as_one_archive(house: AdminHouse, tmp_path: Path) -> None:
    """An auditor takes the folder home as a tar file that verifies by itself; that it left is a row, and nothing of it stays here."""
    await checkpoint(house.services)
    days = {"from_day": "2026-06-01", "to_day": "2026-06-01"}
    answer = await house.call("auditor", "POST", "/admin/v1/audit/export", days)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-tar")
    assert answer.headers["content-disposition"] == 'attachment; filename="audit-2026-06-01-2026-06-01.tar"'
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path)
    checked = await verify_folder(tmp_path / "audit-2026-06-01-2026-06-01")
    assert checked.ok
    assert checked.rows > 5
    text = (tmp_path / "audit-2026-06-01-2026-06-01" / "rows.ndjson").read_bytes()
    (tmp_path / "audit-2026-06-01-2026-06-01" / "rows.ndjson").write_bytes(text.replace(b"admin.enrol", b"admin.other", 1))
    assert not (await verify_folder(tmp_path / "audit-2026-06-01-2026-06-01")).ok
    rows = (await house.call("auditor", "GET", "/admin/v1/audit?act=audit.export")).json()["rows"]
    assert [row["actor"] for row in rows] == ["admin:auditor"]
    assert not list(house.services.settings.data_path.glob("audit-export-*"))
    assert (await house.call("author", "POST", "/admin/v1/audit/export", days)).json()["code"] == "role-missing"
    assert (await house.call("auditor", "POST", "/admin/v1/audit/export", {"from_day": "June"})).json()["code"] == "body-invalid"


async def test_the_trail_is_verified_over_the_api(house: AdminHouse) -> None:
    """Whole or for some days, and against a checkpoint that was kept."""
    await checkpoint(house.services)
    kept = head_path(house.services).read_text()
    whole = (await house.call("auditor", "POST", "/admin/v1/audit/verify", {"checkpoint": [kept]})).json()
    assert (whole["ok"], whole["unsealed"]) == (True, 0)
    assert whole["checkpoints"] > 1, "every act of administration so far has one"
    none = (await house.call("auditor", "POST", "/admin/v1/audit/verify", {"from_day": "2030-01-01", "to_day": "2030-01-02"})).json()
    assert (none["ok"], none["rows"]) == (True, 0)
    wrong = await house.call("auditor", "POST", "/admin/v1/audit/verify", {"checkpoint": ["nothing"]})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "audit-checkpoint")
    assert (await house.call("operator", "POST", "/admin/v1/audit/verify", {})).json()["code"] == "role-missing"


ENROL = "/admin/v1/administrators/enrol"


async def test_a_person_enrols_over_the_api(house: AdminHouse) -> None:
    """With the code of an invitation, signed with the key that is enrolled; the code works once."""
    invitation = {"name": "zhao", "unit": "another unit", "roles": ["author"], "person": "TH-0417"}
    invited = (await house.call("operator", "POST", "/admin/v1/administrators/invite", invitation)).json()
    mine = Ed25519Signer(invited["key_name"], os.urandom(32))
    body = json.dumps({"code": invited["code"], "key": mine.vkey}).encode()
    done = await house.client.post(ENROL, content=body, headers=crafted(mine, "POST", ENROL, body))
    assert done.status_code == 200, done.text
    assert (done.json()["name"], done.json()["roles"]) == ("zhao", ["author"])
    assert (await house.client.get(STATUS, headers=crafted(mine, "GET", STATUS))).status_code == 200
    again = await house.client.post(ENROL, content=body, headers=crafted(mine, "POST", ENROL, body))
    assert again.status_code == 401
    rows = await audit.after(house.services.store.reads, 0, 10_000)
    row = next(row for row in rows if row.actor == "admin:zhao" and row.act == "admin.enrol")
    assert sorted(row.detail or {}) == ["key", "roles", "signature"]
    assert await house.causes() == [("admin:unknown", "invitation-invalid")]


async def test_an_enrolment_that_is_not_believed_is_told_like_any_other(house: AdminHouse) -> None:
    """Another code, key, name, signature, body or no body: the one 401, audited, and counted against the network."""
    invitation = {"name": "zhao", "unit": "another unit", "roles": ["author"], "person": "TH-0417"}
    invited = (await house.call("operator", "POST", "/admin/v1/administrators/invite", invitation)).json()
    mine, other = (Ed25519Signer(invited["key_name"], os.urandom(32)) for _ in range(2))
    misnamed = Ed25519Signer(invited["key_name"] + "2", os.urandom(32))
    known = house.admins["author"].signer

    def said(key: str, code: str = invited["code"], **more: object) -> bytes:
        return json.dumps({"code": code, "key": key, **more}).encode()

    good = said(mine.vkey)
    cases: list[tuple[bytes, dict[str, str], str]] = [
        (good, {}, "sig-http"),
        (b"", crafted(mine, "POST", ENROL), "first-words"),
        (b"{", crafted(mine, "POST", ENROL, b"{"), "first-words"),
        (said(mine.vkey, more=1), crafted(mine, "POST", ENROL, said(mine.vkey, more=1)), "first-words"),
        (said("x" * 256, "y" * 64) + b" " * 4096, {}, "first-words"),
        (good, crafted(other, "POST", ENROL, good), "sig-unknown-key"),
        (said(other.vkey), crafted(mine, "POST", ENROL, said(other.vkey)), "sig-unknown-key"),
        (said("no key"), crafted(mine, "POST", ENROL, said("no key")), "sig-format"),
        (good, crafted(mine, "POST", ENROL, good, tag="cx-read"), "sig-http"),
        (good, crafted(mine, "POST", ENROL, good, at=-130), "time-expired"),
        (good, crafted(mine, "POST", ENROL, good, components=_COVERED), "sig-content-digest"),
        (good, crafted(mine, "POST", ENROL, good, origin="https://other.example"), "sig-http"),
        (said(mine.vkey, "a" * 32), crafted(mine, "POST", ENROL, said(mine.vkey, "a" * 32)), "invitation-invalid"),
        (said(misnamed.vkey), crafted(misnamed, "POST", ENROL, said(misnamed.vkey)), "key-name"),
        (said(known.vkey), crafted(known, "POST", ENROL, said(known.vkey)), "key-name"),
    ]
    strange = (await house.client.post("/admin/v1/nowhere")).json()
    bodies = {json.dumps({name: value for name, value in strange.items() if name != "instance"})}
    for content, headers, _ in cases:
        answer = await house.client.post(ENROL, content=content or None, headers={"content-type": "application/json", **headers})
        assert (answer.status_code, "accept-signature" in answer.headers) == (401, True), headers
        bodies.add(json.dumps({name: value for name, value in answer.json().items() if name != "instance"}))
    assert len(bodies) == 1
    assert [cause for _, cause in await house.causes()] == ["sig-http", *(cause for *_, cause in cases)]
    unsigned = {"content": good, "headers": {"content-type": "application/json"}}
    for _ in range(30):  # one a second is forgotten meanwhile, hence many at once
        answers = await asyncio.gather(*(house.client.post(ENROL, **unsigned) for _ in range(16)))
        if answers[-1].status_code == 429:
            break
    signed = house.client.post(ENROL, content=good, headers=crafted(mine, "POST", ENROL, good))
    *_, tired = await asyncio.gather(*(house.client.post(ENROL, **unsigned) for _ in range(8)), signed)
    assert (tired.status_code, tired.json()["code"]) == (429, "quota-exceeded")
    assert int(tired.headers["retry-after"]) >= 1
    assert (await house.call("author", "GET", STATUS)).status_code == 200  # nobody else is kept out


async def test_a_flood_of_strangers_does_not_fill_the_audit(house: AdminHouse) -> None:
    """Sixty lines a minute; the rest is counted."""
    began = time.monotonic() // 60
    for _ in range(70):
        assert (await house.client.get(STATUS)).status_code == 401
    assert 60 <= len(await house.causes()) <= (62 if time.monotonic() // 60 == began else 70)  # another minute has sixty of its own


async def test_streams_are_held_and_tried_again_over_the_api(house: AdminHouse) -> None:
    """An operator ends a hold and makes due what waits, signed into the audit; who has no such role changes nothing."""
    stream, sender = "tonghua-baishan-2026.honours", "credit.baishan.example"
    async with house.services.store.transaction() as tx:
        await holds.put(tx, sender, stream, by="test", reason="x")
    path, why = f"/admin/v1/exchange/streams/{stream}/release", {"reason": "已核对"}
    lift = why | {"what": "hold"}
    assert (await house.call("author", "POST", path, lift)).status_code == 403
    assert (await house.call("operator", "POST", path, lift | {"reason": ""})).status_code == 400
    assert await holds.hold_on(house.services.store.reads, sender, stream) is not None
    answer = await house.call("operator", "POST", path, lift)
    assert (answer.status_code, answer.json()) == (200, {"stream": stream, "what": "lifted"})
    (row,) = [each for each in await audit.after(house.services.store.reads, 0, 10_000) if each.act == "stream.lift"]
    assert {"key", "signature", "reason", "held_by"} <= set(row.detail or {})
    for method, value in ((path, lift), (path.replace("release", "hold"), why)):
        answer = await house.call("operator", "POST", method, value)
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    answer = await house.call("operator", "POST", "/admin/v1/exchange/retry", {"all": True})
    assert answer.json() == {"batches": 0, "partners": []}
    assert (await house.call("operator", "POST", "/admin/v1/exchange/retry", {})).status_code == 404


async def test_the_listeners_share_no_path(house: AdminHouse) -> None:
    """The public listener answers every administrators' path as one that does not exist, signed or not."""
    async with (
        serving(create_app(house.services.settings)) as origin,
        httpx.AsyncClient(base_url=origin, timeout=20, verify=PLAIN) as client,
    ):
        for route in ROUTES:
            path = re.sub(r"{[a-z]+}", "1", route.path)
            headers = crafted(house.admins["author"].signer, route.method, path)
            assert (await client.request(route.method, path, headers=headers)).status_code == 404, path
        assert (await raw(origin, b"GET /admin/v1/../v1/problems HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")).status == 404


def test_the_document_tells_every_operation() -> None:
    """Each route stands in the document with its body, its answer and the command that it mirrors."""
    made = document()
    operations = {(method.upper(), path) for path, held in made["paths"].items() for method in held}
    assert operations == {(route.method, route.path) for route in ROUTES}
    names = [operation["operationId"] for held in made["paths"].values() for operation in held.values()]
    assert len(set(names)) == len(names)
    assert json.loads(msgspec.json.encode(made))["openapi"] == "3.1.0"


def test_serve_and_call(tmp_path: Path) -> None:
    """`chengxin serve` opens both listeners, `admin call` signs; both processes end together."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        port, admin_port = one.getsockname()[1], two.getsockname()[1]
    settings = write_settings(tmp_path, port=port, policies=write_folder(tmp_path / "rules", NARROW), more=f"admin_port = {admin_port}")

    def run(*arguments: str, code: int = 0) -> str:
        done = chengxin(tmp_path, *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    house = ["--settings", str(settings)]
    run(*house, "init")
    def invited(name: str) -> dict[str, str]:
        told: dict[str, str] = json.loads(
            run(*house, "key", "invite-admin", "--name", name, "--unit", name, "--role", name, "--person", f"{name}-1", "--json")
        )
        return told

    for name in ("author", "approver"):
        run(*house, "key", "enrol-admin", "--code", invited(name)["code"], "--key", f"{name}.key")
    guest = invited("auditor")
    server = subprocess.Popen([sys.executable, "-m", "gateway", *house, "serve"], cwd=tmp_path, env=environment())
    try:
        base = f"http://127.0.0.1:{admin_port}/admin/v1/policy"
        for _ in range(300):
            try:
                httpx.get(base, verify=PLAIN)
                break
            except httpx.TransportError:
                time.sleep(0.2)
        settings.rename(tmp_path / "elsewhere.toml")  # the client needs no settings
        author, approver = (["--as", name, "--key", f"{name}.key"] for name in ("author", "approver"))
        status = process(tmp_path, "admin", "call", "GET", f"{base}/status", *author)
        assert (status.returncode, json.loads(status.stdout)["version"]) == (0, 1)
        (tmp_path / "files.json").write_text(json.dumps({"files": {path: text.decode() for path, text in BASE.items()}}))
        assert json.loads(run("admin", "call", "POST", f"{base}/proposals", "--body", "files.json", *author))["proposal"] == 2
        (tmp_path / "approval.json").write_text(run("admin", "call", "GET", f"{base}/proposals/2/approval", *approver))
        signing = ["--body", "approval.json", "--sign-approval", "--public-fields", "notices.fine"]
        assert json.loads(run("admin", "call", "POST", f"{base}/proposals/2/approve", *signing, *approver))["state"] == "approved"
        enrol = ["admin", "enrol", f"http://127.0.0.1:{admin_port}", "--name", guest["key_name"], "--code", guest["code"]]
        assert json.loads(run(*enrol, "--key", "auditor.key"))["name"] == "auditor"
        run(*enrol, "--key", "auditor.key", code=1)
        (tmp_path / "days.json").write_text('{"from_day": "2020-01-01", "to_day": "2099-12-31"}')
        auditor = ["--body", "days.json", "--as", "auditor", "--key", "auditor.key", "--out", "trail.tar"]
        run("admin", "call", "POST", f"http://127.0.0.1:{admin_port}/admin/v1/audit/export", *auditor)
        with tarfile.open(tmp_path / "trail.tar") as archive:
            archive.extractall(tmp_path)
        assert "rows in" in run("verify", "audit", "audit-2020-01-01-2099-12-31")
        (tmp_path / "now.json").write_text("{}")
        run("admin", "call", "POST", f"{base}/proposals/2/activate", "--body", "now.json", *author)
        run("admin", "call", "POST", f"{base}/proposals/2/activate", "--body", "now.json", *author, code=1)
        began = time.monotonic()
        while httpx.get(f"http://127.0.0.1:{port}/v1/datasets", verify=PLAIN).headers["policy-version"] != "2":
            assert time.monotonic() - began < 5
            time.sleep(0.1)
    finally:
        server.terminate()
        server.wait(30)
    for _ in range(100):
        try:
            httpx.get(base, verify=PLAIN)
            time.sleep(0.1)
        except httpx.TransportError:
            break
    else:
        raise AssertionError("the administrators' listener lives on")


async def test_what_was_kept_long_enough_over_the_api(house: AdminHouse):
    """The list is for whoever works there, the act for key custodians; a number that is too small is a conflict."""
    assert (await house.call("operator", "GET", "/admin/v1/retention")).json() == {
        "looked_on": None, "datasets": [], "items": [], "next": None,
    }  # fmt: skip
    assert (await house.call("operator", "GET", "/admin/v1/retention?after=x")).json()["code"] == "invalid-parameter"
    said = {"dataset": "notices", "until": "2026-05-31", "records": 0, "dry_run": False}
    assert (await house.call("operator", "POST", "/admin/v1/retention/erasures", said)).json()["code"] == "role-missing"
    assert (await house.call("auditor", "GET", "/admin/v1/retention")).json()["code"] == "role-missing"
    done = await house.call("key-custodian", "POST", "/admin/v1/retention/erasures", said)
    assert done.json() == {
        "dataset": "notices", "until": "2026-05-31", "dry_run": False, "looked_on": None, "records": 0, "oldest": None, "rules": {},
        "staying": 0, "stay": [],
    }  # fmt: skip
    late = await house.call("key-custodian", "POST", "/admin/v1/retention/erasures", said | {"until": "2026-06-01"})
    assert (late.status_code, late.json()["code"]) == (422, "retention-day")
    unsaid = await house.call("key-custodian", "POST", "/admin/v1/retention/erasures", {"dataset": "notices", "until": "2026-05-31"})
    assert (unsaid.status_code, unsaid.json()["code"]) == (409, "retention-number")


async def test_who_looked_at_a_subject(house: AdminHouse) -> None:
    """A privacy officer asks with the number in the body; nobody else is told, no error repeats it, and the asking stands in the trail."""
    number, path = person_number(1), "/admin/v1/audit/about"
    body = {"subject": {"kind": "natural", "id_no": number}}
    for name in ("author", "approver", "auditor", "operator", "key-custodian"):
        answer = await house.call(name, "POST", path, body)
        assert (answer.status_code, answer.json()["code"], number in answer.text) == (403, "role-missing", False), name
    assert (await house.call("privacy-officer", "POST", path, body)).json() == {"rows": [], "next": None}
    (row,) = (await house.call("privacy-officer", "POST", path, {**body, "limit": 1, "from_day": "2026-06-01"})).json()["rows"]
    assert (row["act"], row["org"], row["case"]) == ("audit.about", house.services.settings.org, None)
    assert "privacy-officer" not in str(row)
    wrong = [{}, {"code": number}, {"subject": {"kind": "natural", "id_no": number[:-1]}}, {**body, "after": "x"}, {**body, "limit": 0}]
    for each in wrong:
        answer = await house.call("privacy-officer", "POST", path, each)
        assert (answer.status_code, number[:-1] in answer.text) == (400, False), each
    assert (await house.call("privacy-officer", "GET", f"{path}?code=x")).status_code in (404, 405)
