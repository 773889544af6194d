"""The exchange over the administrators' API: agreements from offer to end, confirmations, held batches; each act signed, and kept so."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.core.exchange.notes import SignedDocument
from gateway.operations.manage_agreements import agreements, countersign
from gateway.operations.report_exchange import report_exchange
from gateway.operations.send_batch import send_batch
from gateway.services import Services
from gateway.store import audit
from gateway.web.admin.application import build
from tests.administrators import Admin, enrolled
from tests.house import PLAIN
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_agreements import edited, proposal
from tests.operations.test_claim_scope import the_forger
from tests.operations.test_exchange_waiting import wrong
from tests.region import AGREEMENT, Cities, recognising, two_cities
from tests.web.serving import serving
from tests.web.test_admin_api import BASE_URL, crafted
from tests.web.test_admin_api import NOW as CRAFTED_AT

ALL = "/admin/v1/agreements"
ONE = f"{ALL}/{AGREEMENT}"


def burdening(text: str) -> str:
    """Penalties are recognised."""
    return recognising(text, (DATASET, "penalty"))


class Desk:
    """Baishan's administrators' API, and Tonghua beside it."""

    def __init__(self, cities: Cities, client: httpx.AsyncClient, admins: dict[str, Admin]) -> None:
        self.cities, self.client, self.admins = cities, client, admins
        self.services = cities.baishan
        self.signature = ""
        """Of the last request, hexadecimal."""

    async def call(self, name: str, method: str, path: str, value: object = None) -> httpx.Response:
        """A request signed by an administrator."""
        body = b"" if value is None else json.dumps(value).encode()
        later = int((self.cities.now - CRAFTED_AT).total_seconds())
        headers = crafted(self.admins[name].signer, method, path, body, at=later)
        self.signature = b64decode(headers["signature"].partition("=:")[2].rstrip(":")).hex()
        return await self.client.request(method, path, content=body or None, headers=headers)

    async def refused(self, name: str, path: str, value: object) -> tuple[int, str]:
        """Status and code of a refusal."""
        answer = await self.call(name, "POST", path, value)
        return answer.status_code, answer.json()["code"]

    async def kept(self, act: str) -> list[tuple[str, str, str]]:
        """Actor, key and signature of every audit line of an act."""
        rows = await audit.after(self.services.store.reads, 0, 10_000)
        return [(row.actor, str((row.detail or {}).get("key")), str((row.detail or {}).get("signature"))) for row in rows if row.act == act]

    def signed(self, name: str) -> tuple[str, str, str]:
        """What has to stand in the audit of the last request."""
        signer = self.admins[name].signer
        return f"admin:{name}", f"{signer.name}+{signer.key_id.hex()}", self.signature


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """Two cities that recognise penalties, and the administrators of one."""
    async with AsyncExitStack() as stack:
        cities = await stack.enter_async_context(two_cities(tmp_path, change=burdening))
        names = ("author", "approver", "auditor", "privacy-officer", "legal-officer", "operator")
        admins = {name: await enrolled(cities.baishan, name, name) for name in names}

        @asynccontextmanager
        async def opening() -> AsyncIterator[Services]:
            yield cities.baishan

        settings = msgspec.structs.replace(cities.baishan.settings, admin_port=9443, admin_origin=BASE_URL)
        origin = await stack.enter_async_context(serving(build(settings, opening)))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=origin, timeout=20, verify=PLAIN))
        yield Desk(cities, client, admins)


def document(answer: httpx.Response) -> SignedDocument:
    """A signed document out of an answer."""
    assert answer.status_code == 200, answer.text
    said = answer.json()
    return SignedDocument(said["body"].encode(), said["note"])


async def next_text(desk: Desk, old: str, new: str) -> str:
    """The file of the next version, with one word changed."""
    held = (await agreements(desk.services))[-1]
    text = burdening(proposal(desk.cities.tonghua, desk.cities.baishan).decode()).encode()
    return edited(edited(text, "version = 1", f'version = {held.version + 1}\nprevious = "{held.digest}"'), old, new).decode()


async def test_an_agreement_is_agreed_and_changed_over_the_api(desk: Desk) -> None:
    """check, offer, take, approve, list, send, withdraw, as on the command line: who has no such role signs nothing."""
    text = await next_text(desk, "lines = 100000", "lines = 1000")
    checked = (await desk.call("author", "POST", "/admin/v1/agreement-checks", {"text": text})).json()
    assert checked == {"faults": [], "wider": []}
    assert (await desk.call("author", "POST", "/admin/v1/agreement-checks", {"text": "id = 1"})).json()["faults"]
    assert await desk.refused("approver", ALL, {"text": text}) == (403, "role-missing")
    assert await desk.refused("auditor", ALL, {"text": text}) == (403, "role-missing")
    offered = document(await desk.call("author", "POST", ALL, {"text": text}))
    assert await desk.kept("agreement.offer") == [desk.signed("author")]
    both = await countersign(desk.cities.tonghua, offered, text.encode(), by="office:b")
    back = {"document": {"body": both.body.decode(), "note": both.note}}
    assert await desk.refused("privacy-officer", "/admin/v1/agreement-documents", back) == (403, "role-missing")
    taken = (await desk.call("operator", "POST", "/admin/v1/agreement-documents", back)).json()
    assert (taken["version"], taken["state"]) == (2, "active")
    assert await desk.kept("agreement.take") == [desk.signed("operator")]
    wider = (await next_text(desk, "lines = 100000", "lines = 1000")).replace("withdraw_h = 24", "withdraw_h = 25")
    assert await desk.refused("author", ALL, {"text": wider}) == (409, "approval-missing")
    waiting = [each for each in (await desk.call("author", "GET", ALL)).json() if each["version"] == 3]
    assert [(each["state"], each["effective"], each["ends"]) for each in waiting] == [("draft", None, None)]
    yes = {"digest": waiting[0]["waits_for"].rpartition(" ")[2]}
    assert await desk.refused("author", f"{ONE}/versions/3/approve", yes) == (403, "role-missing")
    assert await desk.refused("approver", f"{ONE}/versions/3/approve", {"digest": "0"}) == (409, "approval-stale")
    approved = (await desk.call("approver", "POST", f"{ONE}/versions/3/approve", yes)).json()
    assert (approved["asked_by"], approved["approved_by"]) == ("author", "approver")
    assert document(await desk.call("author", "POST", ALL, {"text": wider}))
    assert await desk.refused("author", "/admin/v1/agreement-letters", None) == (403, "role-missing")
    assert await desk.kept("agreement.send") == []
    assert (await desk.call("operator", "POST", "/admin/v1/agreement-letters")).json()["troubles"] == {}
    assert await desk.kept("agreement.send") == [desk.signed("operator")]
    one = f"{ONE}/versions/3/withdraw"
    assert await desk.refused("approver", one, {"reason": "另行商定"}) == (403, "role-missing")
    assert (await desk.call("author", "POST", one, {"reason": "另行商定"})).json()["version"] == 3
    assert await desk.kept("agreement.withdraw") == [desk.signed("author")]
    for number in (2, 3):
        assert await desk.refused("author", f"{ONE}/versions/{number}/withdraw", {"reason": "x"}) == (422, "SCOPE_AGREEMENT")


async def test_an_agreement_stops_and_ends_over_the_api(desk: Desk) -> None:
    """Whoever watches over privacy or law may suspend, only an operator or approver resumes and ends; the inventory follows."""
    stop: dict[str, Any] = {"state": "suspended", "reason": "核查"}
    assert await desk.refused("author", f"{ONE}/state", stop) == (403, "role-missing")
    notice = json.loads(document(await desk.call("legal-officer", "POST", f"{ONE}/state", stop)).body)
    assert (notice["state"], notice["serial"]) == ("suspended", 1)
    assert await desk.refused("legal-officer", f"{ONE}/state", stop | {"state": "active"}) == (403, "role-missing")
    assert document(await desk.call("operator", "POST", f"{ONE}/state", stop | {"state": "active"}))
    assert await desk.kept("agreement.active") == [desk.signed("operator")]
    answer = await desk.call("author", "GET", f"{ONE}/inventory")
    assert (answer.status_code, answer.json()["code"]) == (422, "SCOPE_AGREEMENT")
    assert await desk.refused("legal-officer", f"{ONE}/state", stop | {"state": "terminated"}) == (403, "role-missing")
    assert document(await desk.call("approver", "POST", f"{ONE}/state", stop | {"state": "terminated"}))
    ended = (await desk.call("author", "GET", f"{ONE}/inventory")).json()
    assert (ended["state"], ended["theirs"], ended["ours"]["by"]) == ("terminated", None, desk.services.settings.party)


async def test_a_person_confirms_over_the_api(desk: Desk) -> None:
    """An approver's or legal officer's signed yes gives a penalty its effect, once; the very signature of the request is kept."""
    (record,) = ids(await put(desk.cities.tonghua, DATASET, penalty(code(4), "通化市测试4商贸有限公司", "通示罚〔2026〕4号")))
    await send_batch(desk.cities.tonghua, at_once=True)
    assert (await desk.call("auditor", "GET", "/admin/v1/exchange/records")).status_code == 403
    (shown,) = (await desk.call("author", "GET", "/admin/v1/exchange/records")).json()
    assert (shown["record"], shown["dataset"], shown["version"]) == (record, DATASET, 1)
    assert (await desk.call("author", "GET", f"/admin/v1/exchange/records?after={record}")).json() == []
    read = {"version": shown["version"], "digest": shown["digest"]}
    path, said = f"/admin/v1/exchange/records/{record}/confirm", read | {"basis": "《示例条例》第一条"}
    for name in ("operator", "author", "privacy-officer", "auditor"):
        assert await desk.refused(name, path, said) == (403, "role-missing")
    assert await desk.refused("legal-officer", path, read | {"basis": " "}) == (422, "confirmation-needs")
    assert await desk.refused("legal-officer", path.replace(record, "rec_aaaaaaaaaaaaaaaaaaaaaaaaaa"), said) == (404, "record-unknown")
    for other in ({"version": 2}, {"digest": shown["digest"].replace(shown["digest"][-4:], "0000")}):
        assert await desk.refused("legal-officer", path, said | other) == (409, "confirmation-stale")
    assert (await desk.refused("legal-officer", path, {"basis": "《示例条例》第一条"}))[0] == 400, "what was read is signed too"
    answer = await desk.call("legal-officer", "POST", path, said)
    assert (answer.json()["reason"], answer.json()["effect"]) == ("recognised", "procurement-limit")
    assert await desk.kept("record.confirm") == [desk.signed("legal-officer")]
    assert await desk.refused("approver", path, said) == (409, "confirmed-already")


async def test_a_held_batch_is_refused_over_the_api(desk: Desk) -> None:
    """Signed by an operator; who has another role leaves it waiting, and nothing else is there to refuse."""
    forger = the_forger(desk.cities, burdening)
    await forger.post(forger.penalty(500))
    assert (await forger.send(wrong(forger))).code == "HOLD_RATE"
    path = f"/admin/v1/exchange/streams/{AGREEMENT}.{DATASET}/refuse"
    (name,) = {each.held_batch for each in await report_exchange(desk.cities.baishan) if each.direction == "in" and each.held_batch}
    why = {"reason": "数据不全", "batch": name}
    assert await desk.refused("legal-officer", path, why) == (403, "role-missing")
    release = path.replace("/refuse", "/release")
    assert await desk.refused("operator", release, {"reason": "x", "what": "hold"}) == (409, "release-other")
    assert (await desk.refused("operator", release, {"reason": "x"}))[0] == 400, "what is released is signed"
    assert await desk.refused("operator", path, why | {"batch": "1/77"}) == (409, "release-other")
    assert await desk.refused("operator", release, {"reason": "x", "what": "batch"}) == (409, "release-other")
    for odd in ({}, {"batch": "1"}, {"batch": "01/2"}):
        assert (await desk.refused("operator", path, {"reason": "x", **odd}))[0] == 400, "which batch it is is signed"
    answer = await desk.call("operator", "POST", path, why)
    assert answer.json() == {"stream": f"{AGREEMENT}.{DATASET}", "result": "rejected", "code": "HOLD_REFUSED"}
    assert await desk.kept("batch.refuse") == [desk.signed("operator")]
    assert await desk.refused("operator", path, why) == (404, "NOT_FOUND")
