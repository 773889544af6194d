"""Agreements between two served cities: later versions, notices and inventories travel over the line, believed by their signatures."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import pytest
import sqlalchemy as sa

from gateway.core.errors import AdminError, ExchangeError
from gateway.core.exchange import agreements as terms
from gateway.core.exchange import notes
from gateway.core.exchange.documents import Maintenance
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import instant
from gateway.core.signing import Signer
from gateway.operations.collect_batches import collect_batches
from gateway.operations.doctor import examine
from gateway.operations.end_agreement import end_agreements, show_end
from gateway.operations.findings import checked
from gateway.operations.handle_case import repair
from gateway.operations.manage_agreements import agreements, announce_maintenance, change_state, countersign, offer, take_keys
from gateway.operations.partners import line_to
from gateway.operations.send_batch import send_batch
from gateway.operations.tell_partners import hear_partners, tell_partners
from gateway.operations.withdraw_offer import withdraw_offer
from gateway.services import Services
from gateway.store import known_records
from gateway.store.held_agreements import held_agreements
from gateway.store.tables import audit
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import TAX, code, ids, penalty, put
from tests.operations.test_agreements import edited, proposal
from tests.operations.test_exchange_pull_agreements import OTHER, only
from tests.region import AGREEMENT, BAISHAN, PENALTIES, TONGHUA, agree
from tests.web.two_served import Served, two_served

NARROWER = ("lines = 100000", "lines = 1000")


async def version(services: Services, number: int) -> tuple[str, str]:
    """State of a version, and what it waits for."""
    return next((each.state, each.waits_for) for each in await agreements(services) if each.version == number)


def next_version(served: Served, digest: str, *, number: int = 2) -> bytes:
    """The file of the version after."""
    return edited(edited(proposal(served.th, served.bs), "version = 1", f'version = {number}\nprevious = "{digest}"'), *NARROWER)


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem."""
    return answer.status_code, answer.json()["code"]


async def taken(services: Services) -> Mapping[str, str | None]:
    """What was brought to the partner now, and what came of it."""
    return {each.what: each.code for each in await tell_partners(services, at_once=True)}


async def test_a_later_version_is_offered_and_countersigned_over_the_line(tmp_path: Path):
    """202 while a signature is missing, 200 with both; it waits for the right office; hostile offers are refused with their codes."""
    async with two_served(tmp_path) as served:
        th, bs = served.th, served.bs
        first = (await agreements(th))[0]
        toml = next_version(served, first.digest)
        stranger = document(toml, th.signers.signing("exchange", th.clock()))
        refused = await served.to_bs.post("/agreements", content=stranger, headers={"content-type": "application/json"})
        assert problem(refused) == (422, "sig-unknown-key")
        offered = await offer(th, toml, by="office:a")
        assert await taken(th) == {f"agreement/{AGREEMENT}/2": None}
        assert await taken(th) == {}, "each letter once"
        assert await version(bs, 2) == ("offered", "us: countersign")
        assert await version(th, 2) == ("offered", f"{BAISHAN}: countersign")
        items = (await served.to_bs.get("/agreements")).json()["items"]
        assert [(item["id"], item["version"], item["state"]) for item in items] == [(AGREEMENT, 1, "active"), (AGREEMENT, 2, "offered")]
        again = await served.to_bs.post("/agreements", content=notes.envelope(offered), headers={"content-type": "application/json"})
        assert (again.status_code, again.json()["state"]) == (202, "offered")
        await _hostile(served, offered, first.digest)
        with pytest.raises(ExchangeError) as caught:
            await countersign(bs, None, edited(toml, "withdraw_h = 24", "withdraw_h = 12"), by="office:b")
        assert caught.value.code == "SCOPE_DIGEST", "only what our own file says is signed"
        signed = await countersign(bs, None, toml, by="office:b")
        assert await taken(bs) == {f"agreement/{AGREEMENT}/2": None}
        for services in (th, bs):
            assert await version(services, 2) == ("active", "")
            assert await version(services, 1) == ("superseded", "")
            assert [each.code for each in await examine(services, lines=False) if not each.ok] == []
            await check_ledger(services)
        done = await served.to_bs.post("/agreements", content=notes.envelope(signed), headers={"content-type": "application/json"})
        assert (done.status_code, done.json()["state"]) == (200, "active")
        kept = (await served.to_th.get(f"/agreements/{AGREEMENT}/2")).json()
        assert len(notes.parse(kept["note"]).lines) == 2


async def test_two_offers_of_one_version_are_named_and_one_gives_way(tmp_path: Path):
    """Each office keeps its own text and refuses the other's; both doctors say so and what to do; withdrawn, the other's is taken."""
    async with two_served(tmp_path) as served:
        th, bs = served.th, served.bs
        toml = next_version(served, (await agreements(th))[0].digest)
        await offer(th, toml, by="office:a")
        await offer(bs, edited(toml, "lines = 1000", "lines = 999"), by="office:b")
        for services, partner in ((th, BAISHAN), (bs, TONGHUA)):
            assert list((await taken(services)).values()) == ["SCOPE_DIGEST"]
            (found,) = [each for each in await examine(services, lines=False) if each.code == "agreement-crossed"]
            assert (found.ok, found.where) == (False, f"{partner}/{AGREEMENT}")
            assert "agreement withdraw" in str(found.remedy_zh)
            assert "agreement withdraw" in str(found.remedy_en)
        with pytest.raises(AdminError):
            await withdraw_offer(bs, AGREEMENT, 2, reason=" ", by="office:b")
        gone = await withdraw_offer(bs, AGREEMENT, 2, reason="采用对方文本", by="office:b")
        assert (gone.version, gone.partner) == (2, TONGHUA)
        assert await taken(th) == {f"agreement/{AGREEMENT}/2": None}
        await countersign(bs, None, toml, by="office:b")
        await taken(bs)
        for services in (th, bs):
            assert await version(services, 2) == ("active", "")
            assert not [each for each in await examine(services, lines=False) if each.code == "agreement-crossed"]
            with pytest.raises(ExchangeError):
                await withdraw_offer(services, AGREEMENT, 2, reason="x", by="office:b")
            await check_ledger(services)


async def test_the_doctor_asks_the_line_for_maintenance_and_texts(tmp_path: Path):
    """A served city that is in maintenance, holds another text than we do, or not our version: named by the line that it answers on."""
    async with two_served(tmp_path) as served:
        th, bs = served.th, served.bs
        assert [each for each in await examine(th) if not each.ok and each.code != "clock-skew"] == []
        (held,) = (await held_agreements(th.store.reads, AGREEMENT))[AGREEMENT]
        other = msgspec.structs.replace(held.agreement, digest="sha-256:" + "A" * 43 + "=")
        missing = msgspec.structs.replace(held.agreement, terms=msgspec.structs.replace(held.agreement.terms, version=2))
        for agreement, code_ in ((held.agreement, "line"), (other, "SCOPE_DIGEST"), (missing, "SCOPE_AGREEMENT")):
            async with line_to(th, msgspec.structs.replace(held, agreement=agreement), BAISHAN) as line:
                told = [checked(each, "x") for each in await line.check() if each.what.startswith("协议")]
            assert [each.code for each in told] == [code_]
        begins, until = (f"{datetime.now(UTC) + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (-1, 1))
        document = await announce_maintenance(bs, Maintenance(from_=begins, until=until, text="维护"), by="office:b")
        for _ in range(2):
            found = [each for each in await examine(th) if each.code == "partner-maintenance"]
            assert [each.where for each in found] == [f"{BAISHAN}/{AGREEMENT}"], "once, whether or not its keys document is held here"
            assert until in found[0].zh
            await take_keys(th, document, by="office:a")


def document(toml: bytes, signer: Signer) -> bytes:
    """An agreement of this text, signed by one."""
    body, _ = terms.signed_form(toml)
    said = json.loads(body)
    return notes.envelope(notes.sign_document("agreement", f"{said['id']}/{said['version']}", body, [signer]))


async def _hostile(served: Served, offered: SignedDocument, digest: str) -> None:
    """What is no good offer is refused, and nothing of it is kept."""
    signer = served.th.signers.signing("agreement", served.th.clock())
    other = edited(next_version(served, digest), "lines = 1000", "lines = 999")
    third = next_version(served, digest, number=3)
    elsewhere = edited(proposal(served.th, served.bs), f'id = "{AGREEMENT}"', 'id = "another-one"')
    for body, expected in (
        (document(other, signer), (403, "scope-digest")),
        (document(third, signer), (403, "scope-digest")),
        (document(elsewhere, signer), (403, "scope-digest")),
        (document(edited(other, "onward = false", "onward = true"), signer), (400, "schema-enum")),
        (notes.envelope(SignedDocument(offered.body.replace(b'"lines":1000', b'"lines":1001'), offered.note)), (403, "scope-digest")),
    ):
        answer = await served.to_bs.post("/agreements", content=body, headers={"content-type": "application/json"})
        assert problem(answer) == expected, (answer.text, body[:200])
    assert [each.version for each in await agreements(served.bs)] == [1, 2]


async def test_whoever_only_fetches_hears(tmp_path: Path):
    """Pull: a notice, a withdrawal behind what stands still and a later version reach the side that fetches, by its own requests."""
    change = ('delivery = "push"', 'delivery = "pull"')
    at_once = ('tier = "partner"\n', 'tier = "partner"\nconfig = { wait_s = 0 }\n')
    async with two_served(tmp_path, change=lambda text: text.replace(*change).replace(*at_once)) as served:
        th, bs = served.th, served.bs
        rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2)]
        (first,) = ids(await put(th, DATASET, rows[0]))
        await send_batch(th)
        assert await collect_batches(bs) == {}
        assert (await known_records.known(bs.store.reads, [first]))[first].op == "assert"
        (second,) = ids(await put(th, DATASET, rows[1]))
        await send_batch(th, stream=PENALTIES)
        await change_state(th, AGREEMENT, "suspended", reason="测试", by="test")
        await repair(th, first, actor="test", document="示例")
        await send_batch(th, stream=PENALTIES)
        assert await hear_partners(bs, at_once=True) == {}
        assert await version(bs, 1) == ("suspended", f"{TONGHUA}: resume")
        await collect_batches(bs)
        known = await known_records.known(bs.store.reads, [first, second])
        assert {rid: one.op for rid, one in known.items()} == {first: "repair"}, "what stands still is not given, what withdraws is"
        await change_state(th, AGREEMENT, "active", reason="测试", by="test")
        assert await hear_partners(bs, at_once=True) == {}
        assert await collect_batches(bs) == {}
        known = await known_records.known(bs.store.reads, [first, second])
        assert {rid: one.op for rid, one in known.items()} == {first: "repair", second: "assert"}
        digest = (await agreements(th))[0].digest
        toml = edited(edited(next_version(served, digest), *change), *at_once)
        await offer(th, toml, by="office:a")
        assert await hear_partners(bs, at_once=True) == {}
        assert await version(bs, 2) == ("offered", "us: countersign")
        await countersign(bs, None, toml, by="office:b")
        assert await taken(bs) == {f"agreement/{AGREEMENT}/2": None}, "whoever fetches can bring"
        assert (await version(th, 2))[0] == "active"
        for services in (th, bs):
            await check_ledger(services)


async def test_under_two_agreements_a_version_that_is_held_is_not_heard_again(tmp_path: Path):
    """The partner tells over either line of all versions: what is known of the other agreement is not fetched and taken each time."""
    change = ('delivery = "push"', 'delivery = "pull"')
    async with two_served(tmp_path, change=lambda text: text.replace(*change)) as served:
        th, bs = served.th, served.bs
        await agree(th, bs, only(TAX, agreement=OTHER))
        toml = edited(next_version(served, (await agreements(th))[0].digest), *change)
        await offer(th, toml, by="office:a")
        assert await hear_partners(bs, at_once=True) == {}
        await countersign(bs, None, toml, by="office:b")
        assert await taken(bs) == {f"agreement/{AGREEMENT}/2": None}
        about = sa.select(audit.c.act).where(audit.c.target == f"agreement/{AGREEMENT}/2")
        before = len(await bs.store.reads.all(about))
        assert await hear_partners(bs, at_once=True) == {}
        assert len(await bs.store.reads.all(about)) == before


async def test_what_is_refused_keeps_nothing_back(tmp_path: Path):
    """Behind an offer that the other side refuses for good, because it has made another one, the inventory of the end is brought."""
    async with two_served(tmp_path) as served:
        th, bs = served.th, served.bs
        toml = next_version(served, (await agreements(th))[0].digest)
        await offer(th, toml, by="office:a")
        await offer(bs, edited(toml, "lines = 1000", "lines = 999"), by="office:b")
        await change_state(th, AGREEMENT, "terminated", reason="测试", by="test")
        assert await end_agreements(th) == [AGREEMENT]
        told = {f"agreement-state/{AGREEMENT}/1": None, f"agreement/{AGREEMENT}/2": "SCOPE_DIGEST", f"inventory/{AGREEMENT}": None}
        assert await taken(th) == told


async def test_the_end_leaves_two_inventories(tmp_path: Path):
    """Terminated by one side, told to the other, carried out by both: each holds the other's signed inventory, and it fits."""
    async with two_served(tmp_path) as served:
        th, bs = served.th, served.bs
        rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2, 3)]
        ids(await put(th, DATASET, *rows))
        (sent,) = await send_batch(th, stream=PENALTIES, at_once=True)
        assert sent.state == "acked"
        await change_state(bs, AGREEMENT, "terminated", reason="测试", by="test")
        assert await end_agreements(bs) == [AGREEMENT]
        assert await taken(bs) == {f"agreement-state/{AGREEMENT}/1": None, f"inventory/{AGREEMENT}": None}
        assert await end_agreements(th) == [AGREEMENT]
        assert await taken(th) == {f"inventory/{AGREEMENT}": None}
        for services in (th, bs):
            found = await show_end(services, AGREEMENT)
            assert (found.state, found.differences) == ("terminated", ())
            assert found.ours is not None
            assert found.theirs is not None
            await check_ledger(services)
        streams = {one.origin: (one.size, one.held, one.action) for one in (await show_end(th, AGREEMENT)).theirs.streams}  # type: ignore[union-attr]  # seen above
        assert streams == {f"{TONGHUA}/x/{PENALTIES}/1": (3, 3, "purged")}
        shown = await served.to_bs.get(f"/agreements/{AGREEMENT}/inventory")
        assert json.loads(shown.json()["body"])["by"] == BAISHAN
        states = (await served.to_bs.get(f"/agreements/{AGREEMENT}/states")).json()["items"]
        assert [json.loads(one["body"])["state"] for one in states] == ["terminated"]
        altered = shown.json()["body"].replace('"held":3', '"held":0')
        refused = await served.to_th.post("/agreements", json={"body": altered, "note": shown.json()["note"]})
        assert problem(refused) == (422, "sig-invalid")


async def test_an_end_dated_back_still_takes_withdrawals(tmp_path: Path):
    """Ended over the line as of 120 days ago: the repair made afterwards is sealed, brought and acknowledged; a long reason is 400."""
    async with two_served(tmp_path) as served:
        th, bs = served.th, served.bs
        (record_id,) = ids(await put(th, DATASET, penalty(code(1), "通化市测试1商贸有限公司", "通示罚〔2026〕1号")))
        await send_batch(th, stream=PENALTIES, at_once=True)
        agreement = (await held_agreements(bs.store.reads))[AGREEMENT][-1].agreement
        now, signer = bs.clock(), bs.signers.signing("agreement", bs.clock())

        def notice(reason: str) -> bytes:
            said = terms.state_body(agreement, by=BAISHAN, serial=1, state="terminated", from_at=now - timedelta(days=120), reason="测试")
            body = said.replace("测试".encode(), reason.encode())
            return notes.envelope(notes.sign_document("agreement-state", f"{AGREEMENT}/{BAISHAN}/1", body, [signer]))

        headers = {"content-type": "application/json"}
        assert problem(await served.to_th.post("/agreements", content=notice("长" * 501), headers=headers)) == (400, "schema-length")
        taken = await served.to_th.post("/agreements", content=notice("测试"), headers=headers)
        assert (taken.status_code, taken.json()["state"], taken.json()["since"]) == (200, "terminated", instant(now))
        await repair(th, record_id, actor="test", document="示例")
        (sent,) = await send_batch(th, stream=PENALTIES, at_once=True)
        assert (sent.lines, sent.state, sent.waiting) == (1, "acked", 0)
        assert (await known_records.known(bs.store.reads, [record_id]))[record_id].op == "repair"
        await check_ledger(th)
