"""Claim scope and ownership: a partner speaks only about what its agreement covers, and changes only its own records (A16 to A18, A28).

What is refused leaves nothing but the batch itself, its receipt and the trail: tests compare digests of every table.
"""

import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.disclosure.gates import row_gate
from gateway.core.errors import StoreError
from gateway.core.exchange import agreements, notes
from gateway.core.exchange.agreements import read_agreement, signed_form
from gateway.core.exchange.judging import KnownRecord
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.records import SealedLine
from gateway.core.records.identifiers import citizen_check_character
from gateway.core.records.model import RecordId
from gateway.operations.manage_agreements import Side, base_url, countersign, filled
from gateway.operations.receive_batch import Received
from gateway.operations.recognise import follow
from gateway.operations.send_batch import send_batch
from gateway.operations.take_measures import record_measure
from gateway.settings import AuthoritySetting
from gateway.store import known_records, measures, recognitions, records
from tests.administrators import hand
from tests.ledger import check_ledger
from tests.operations.confirming import confirm
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import TAX, code, household_code, ids, penalty, person_number, put, violation
from tests.operations.test_exchange import honour
from tests.region import AGREEMENT, BAISHAN, HONOURS, MARKET, Cities, Forger, recognising, rid, template, two_cities
from tests.untouched import LEDGER, contents, moved


def narrowed(text: str) -> str:
    """The shipped agreement, in which penalties of a whole city but one county may be told, and nothing be erased."""
    text = text.replace('scope = { regions = ["220500"], except = []', 'scope = { regions = ["220500"], except = ["220581"]', 1)
    return text.replace('"expire", "erase"]', '"expire"]', 1).replace('"retract", "repair"', '"repair"', 1)


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities with that agreement in force."""
    async with two_cities(tmp_path, change=narrowed) as made:
        yield made


def the_forger(cities: Cities, change: Callable[[str], str] = narrowed, **more: Any) -> Forger:
    """One who holds Tonghua's keys, under what was agreed."""
    return Forger(cities, agreement=read_agreement(signed_form(between(cities, change(template())).encode())[0]), **more)


def between(cities: Cities, text: str) -> str:
    """An agreement's text with both sides' keys."""
    sides = {
        one.signers.party: Side(base_url=base_url(one), agreement_keys=(one.signers.signing("agreement", one.clock()).vkey,))
        for one in (cities.tonghua, cities.baishan)
    }
    return filled(text, sides)


def codes(received: Received) -> list[str]:
    """Codes of the feedback, line by line."""
    return [json.loads(line)["code"] for line in received.feedback.splitlines()]


async def refused(cities: Cities, forger: Forger, *lines: SealedLine) -> list[str]:
    """Send these lines, none of which may be taken: their codes. No table but the ledger's has moved."""
    before = await contents(cities.baishan.store)
    received = await forger.post(*lines)
    assert moved(before, await contents(cities.baishan.store)) <= LEDGER
    await check_ledger(cities.baishan)
    counts = json.loads(received.receipt.body)["counts"] if received.receipt else {}
    assert counts["rejected"] + counts["held"] == counts["lines"] == len(lines)
    return codes(received)


# --- A17: regions, authorities, categories, operations, fields ---------------------------------------------------------

ELSEWHERE = [
    "2205", "22050", "2205000", "220600", "220000", "000000", "2205%%", "２２０５００", "22०500", " 220500", "220500\n", "220500\u00a0", "",
    "220599", "220581", "220590",
]  # fmt: skip
"""What `220500` does not cover: a beginning of it, another city, the province, other digits, blanks, unknown ones, the excepted one."""


async def test_regions_are_six_digits_that_the_scope_covers(cities: Cities):
    """A17: a beginning, look-alike digits, blanks, the province, another city, an unknown or an excepted division are outside `220500`."""
    forger = the_forger(cities)
    lines = [forger.penalty(number, region=region) for number, region in enumerate(ELSEWHERE, 1)]
    assert await refused(cities, forger, *lines) == ["SCOPE_REGION"] * len(ELSEWHERE)
    received = await forger.post(*(forger.penalty(40 + number, region=each) for number, each in enumerate(("220500", "220502", "220582"))))
    assert (received.result, codes(received)) == ("applied", [])


async def test_what_a_stream_may_not_say(cities: Cities):
    """A17: another authority, category, operation or field, another issuer or dataset: each its own code, none stored as asserted."""
    forger = the_forger(cities)
    taken = await forger.post(forger.penalty(50))
    assert taken.result == "applied"
    lines = {
        "SCOPE_ISSUER": [forger.penalty(1, iss=BAISHAN), forger.withdrawal(50, iss=BAISHAN)],
        "SCOPE_AUTHORITY": [
            forger.penalty(2, authority="11220600XXT0001186"),
            forger.penalty(3, authority="*"),
            forger.penalty(4, authority=MARKET.lower()),
            forger.penalty(5, values={"CF_CFJGDM": "11220500XXT000134N"}),
        ],
        "SCOPE_CATEGORY": [forger.penalty(6, category="blacklist"), forger.penalty(7, category="measure")],
        "SCOPE_FIELD": [forger.penalty(8, values={"CF_FRDB": "王测试甲"}), forger.penalty(9, values={"BZ": "内部备注"})],
        "SCOPE_OP": [
            forger.withdrawal(50, op="erase", status="erased", reason="erased"),
            forger.withdrawal(50, op="retract", status="retracted", reason="corrected"),
        ],
        "SCHEMA_VERSION": [forger.penalty(10, dataset="honours"), forger.penalty(11, schema="honours/1.0")],
    }
    for expected, said in lines.items():
        assert await refused(cities, forger, *said) == [expected] * len(said), expected
    (held,) = await records.load(cities.baishan.store.reads, ids=[RecordId(rid(50))])
    assert held.state == "in_force"


async def test_a_stream_that_nobody_agreed(cities: Cities):
    """A dataset without a stream, and another text of the agreement: the batch is refused before a line is looked at."""
    forger = the_forger(cities)
    before = await contents(cities.baishan.store)
    other = lambda text: narrowed(text).replace('dataset = "tax-violations"', 'dataset = "commitments"')  # noqa: E731
    unheard = the_forger(cities, other, dataset="commitments")
    received = await unheard.send(unheard.seal([]))
    assert (received.result, received.code) == ("rejected", "SCOPE_AGREEMENT")
    assert moved(before, await contents(cities.baishan.store)) <= LEDGER
    for code_, edit in (
        ("SCOPE_DIGEST", lambda said: said["agreement"].update(digest="sha-256:" + "A" * 43 + "=")),
        ("SCOPE_RECEIVER", lambda said: said.update(receiver="credit.elsewhere.example")),
    ):
        received = await forger.send(forger.seal([forger.penalty(1)], edit=edit, advance=False))
        assert (received.result, received.code) == ("rejected", code_)
        assert moved(before, await contents(cities.baishan.store)) <= LEDGER


# --- A18: whose record it is ------------------------------------------------------------------------------------------


async def test_nobody_speaks_about_the_records_of_others(cities: Cities):
    """A18: our record, another partner's, and one of the same partner's other stream are neither amended, withdrawn nor erased."""
    forger = the_forger(cities)
    (ours,) = ids(await put(cities.baishan, DATASET, penalty(code(77), "通化市某商贸有限公司", "通示罚〔2026〕77号")))
    (honoured,) = ids(await put(cities.tonghua, "honours", honour(2, "通化市澄泉商贸有限公司")))
    await send_batch(cities.tonghua, stream=HONOURS, at_once=True)
    async with cities.baishan.store.transaction() as tx:
        foreign = KnownRecord(
            sender="credit.elsewhere.example", dataset=DATASET, v=1, op="retract", leaf=b"\0" * 32, stream=f"elsewhere.{DATASET}"
        )
        await known_records.put(tx, {rid(61): (foreign, None, "2026-06-02T02:30:00Z")})
    for one in (ours, honoured, rid(61)):
        for line in (
            forger.penalty(1, v=7, rid=one),
            forger.penalty(1, v=7, op="amend", rid=one),
            forger.withdrawal(1, v=7, rid=one),
            forger.withdrawal(1, v=7, op="expire", status="expired", reason="expired", rid=one),
        ):
            assert await refused(cities, forger, line) == ["SCOPE_OWNER"]
    held = await records.load(cities.baishan.store.reads, ids=[RecordId(ours), RecordId(honoured)])
    assert [each.state for each in held] == ["in_force"] * 2


# --- A28: two spellings of one subject --------------------------------------------------------------------------------

LOOK_ALIKES = [
    lambda uscc: "".join(chr(ord(each) + 0xFEE0) for each in uscc),
    lambda uscc: uscc.lower(),
    lambda uscc: uscc.replace("0", "O"),
    lambda uscc: uscc.replace("2", "Z"),
    lambda uscc: uscc.replace("X", "Х"),  # the Cyrillic letter
    lambda uscc: uscc.replace("1", "I"),
    lambda uscc: uscc[:9] + "\u200b" + uscc[9:],
    lambda uscc: uscc + "\u00a0",
    lambda uscc: uscc[:17],
    lambda uscc: uscc[8:17],
]
"""Full width, lower case, letters for digits, Cyrillic, a blank that is not seen, too short: of one code."""


async def test_look_alike_codes_are_refused(cities: Cities):
    """A28: a code that only looks like one is refused on the wire, where everything is canonical already."""
    forger = the_forger(cities)
    lines = [forger.penalty(number, values={"CF_XDR_SHXYM": change(code(1))}) for number, change in enumerate(LOOK_ALIKES, 1)]
    assert set(await refused(cities, forger, *lines)) == {"SUBJ_USCC"}


async def test_a_name_in_another_spelling_is_no_second_subject(cities: Cities):
    """A28: full-width letters, no-break and zero-width blanks in a name make no second subject of the same code."""
    forger = the_forger(cities)
    names = ("通化市测试1商贸有限公司", "通化市测试１商贸有限公司", "通化市\u00a0测试1商贸有限公司", "\u200b通化市测试1商贸有限公司\u3000")
    lines = [
        forger.penalty(number, values={"CF_XDR_SHXYM": code(1), "CF_XDR_MC": name, "CF_WSH": f"通示罚〔2026〕{number}号"})
        for number, name in enumerate(names, 1)
    ]
    await forger.post(*lines)
    held = await records.load(cities.baishan.store.reads, ids=[RecordId(rid(number)) for number in range(1, 5)])
    assert len(held) == len(names)
    assert len({each.subject_id for each in held}) == 1


# --- persons ----------------------------------------------------------------------------------------------------------


async def test_a_person_is_refused_before_anything_is_opened(cities: Cities):
    """A line about a person, a household or an unknown kind is refused before all else, and nothing of its disclosures is kept anywhere."""
    forger = the_forger(cities)
    secret = "王测试丙"
    lines = [
        forger.penalty(1, subject_kind="natural", region="2205", authority="*", values={"CF_XDR_MC": secret, "CF_FRDB": secret}),
        forger.penalty(2, subject_kind="individual_business", values={"CF_XDR_MC": secret, "CF_XDR_SHXYM": household_code(1)}),
        forger.raw(forger.penalty(3, subject_kind="natural", values={"CF_XDR_MC": secret}), ["AAAA"]),
        forger.penalty(4, values={"CF_XDR_MC": secret, "CF_XDR_SHXYM": household_code(1), "CF_XDR_LB": "individual_business"}),
        forger.penalty(5, subject_kind="robot", values={"CF_XDR_MC": secret}),
        forger.penalty(6, subject_kind="natural", category="unheard-of", authority_name="名" * 201, values={"CF_XDR_MC": secret}),
    ]
    assert await refused(cities, forger, *lines) == ["LAW_PERSON"] * 6
    file = Path(cities.baishan.settings.data_dir)
    for each in file.rglob("*.db*"):
        assert secret.encode() not in each.read_bytes()
    sealed = base64.b64encode(secret.encode()).rstrip(b"=")
    assert not any(sealed in each.read_bytes() for each in file.rglob("*.db*"))


def with_persons(text: str) -> str:
    """An agreement with a basis for persons, in a penalties stream that may tell of organisations only."""
    text = text.replace(f'id = "{AGREEMENT}"', 'id = "with-persons-2026"')
    terms = (
        'natural_persons = { allowed = true, datasets = ["administrative-penalties"], fields = ["CF_XDR_ZJHM"], '
        'basis = [{ text = "《示例条例》第九条" }], assessment = "评估〔2026〕1号", route = "direct" }'
    )
    text = text.replace("natural_persons = { allowed = false }", terms)
    kinds = 'subject_kinds = ["legal"]'
    identity = (
        '  { name = "CF_XDR_ZJLX", type = "string", length = 64, required = false },\n'
        '  { name = "CF_XDR_ZJHM", type = "id_no", required = false },\n'
        '  { name = "CF_WSH", '
    )
    text = text.replace('  { name = "CF_WSH", ', identity, 1)
    return text.replace(kinds, 'subject_kinds = ["legal", "natural"]', 1)


async def under_another(cities: Cities, change: Callable[[str], str]) -> Forger:
    """Baishan has signed another agreement too, which our shipped policies would not let Tonghua send under."""
    toml = between(cities, change(template()))
    agreement = read_agreement(signed_form(toml.encode())[0])
    signer = cities.tonghua.signers.signing("agreement", cities.now)
    offered = SignedDocument(agreement.body, notes.sign(agreements.signing_text(agreement), [signer]))
    await countersign(cities.baishan, offered, toml.encode(), by="test")
    return Forger(cities, agreement=agreement)


def a_person(forger: Forger, number: int, id_no: str, publish_until: str = "2027-03-01", **values: Any) -> SealedLine:
    """A line about a person of the division where nobody lives."""
    said = {"CF_XDR_MC": "王测试甲", "CF_XDR_LB": "natural", "CF_XDR_SHXYM": None, "CF_XDR_ZJLX": "身份证", "CF_XDR_ZJHM": id_no}
    return forger.penalty(number, subject_kind="natural", publish_until=publish_until, values=said | values)


async def test_kinds_numbers_minors_and_what_may_not_be_collected(cities: Cities):
    """With a basis for persons, a kind outside the stream, odd numbers, children and prohibited facts are refused still."""
    forger = await under_another(cities, lambda text: with_persons(text).replace('["legal", "natural"]', '["legal"]'))
    assert await refused(cities, forger, forger.penalty(1, subject_kind="natural")) == ["SCOPE_KIND"]
    forger = await under_another(cities, lambda text: with_persons(text).replace("with-persons", "of-persons"))
    good = person_number(7)
    child = "220599" + "20150101" + "007"
    child += citizen_check_character(child)
    wrong = [good[:6] + good[8:17], good[:17] + "x", good[:17] + ("1" if good[17] != "1" else "2"), good + "\u00a0", " " + good]
    wrong.append("".join(chr(ord(each) + 0xFEE0) for each in good))
    lines = [a_person(forger, number, each) for number, each in enumerate(wrong, 1)]
    assert await refused(cities, forger, *lines) == ["SUBJ_ID"] * len(wrong)
    assert await refused(cities, forger, a_person(forger, 20, child)) == ["LAW_MINOR"]
    told = "当事人信仰佛教，个人年收入为12万元。"
    assert await refused(cities, forger, a_person(forger, 21, good, CF_SY=told)) == ["LAW_PROHIBITED"]
    assert await refused(cities, forger, forger.penalty(22, values={"CF_SY": "当事人血型为AB型。"})) == ["LAW_PROHIBITED"]


async def test_a_minor_takes_nobody_elses_warning_away(cities: Cities):
    """Nothing of a minor is published, so that no day is too late; of an adult with the same days it is said that ours apply."""
    forger = await under_another(cities, with_persons)
    minor = "220599" + "20100601" + "007"
    minor += citizen_check_character(minor)
    late = {"publish_until": "2040-01-01", "first_published_on": "2026-03-09"}
    received = await forger.post(a_person(forger, 1, minor, **late), a_person(forger, 2, person_number(7), **late))
    told = [json.loads(line) for line in received.feedback.splitlines()]
    assert [(each["rid"], each["code"], each["severity"]) for each in told] == [(rid(2), "LAW_PERIOD", "warn")]


async def test_ours_apply_to_what_nobody_has_published_yet(cities: Cities):
    """Where the sender names no day of its own publication, ours begins today: a later end is told, an earlier one is not."""
    forger = the_forger(cities)
    received = await forger.post(forger.penalty(1, publish_until="2099-12-31"), forger.penalty(2, publish_until="2026-08-01"))
    told = [json.loads(line) for line in received.feedback.splitlines()]
    assert [(each["rid"], each["code"], each["severity"]) for each in told] == [(rid(1), "LAW_PERIOD", "warn")]


async def test_a_person_feels_the_effect_and_nobody_is_told_a_measure(cities: Cities):
    """With a basis for persons a confirmed penalty of one has its effect here; no measure is written, taken by an officer, or told."""
    forger = await under_another(cities, lambda text: recognising(with_persons(text), (DATASET, "penalty")))
    await forger.post(a_person(forger, 1, person_number(7)), forger.penalty(2))
    for number in (1, 2):
        decided = await confirm(cities.baishan, rid(number), by=hand(), basis="《示例条例》第一条")
        assert (decided.reason, decided.effect) == ("recognised", "procurement-limit")
    taken = await measures.measures_about(cities.baishan.store.reads, [rid(1), rid(2)])
    assert [each.about for each in taken] == [rid(2)], "of the firm beside it there is one"
    bureau = AuthoritySetting(uscc="11220600XXT000142N", name="白山市生态环境局（示例）", region="220600")
    office = msgspec.structs.replace(cities.baishan, settings=msgspec.structs.replace(cities.baishan.settings, authorities=(bureau,)))
    with pytest.raises(StoreError, match="measure-refused"):
        await record_measure(office, rid(1), "focus-supervision", authority=bureau.uscc, by="测试员乙")
    assert (await record_measure(office, rid(2), "focus-supervision", authority=bureau.uscc, by="测试员乙")).about == rid(2)


# --- vouched sources --------------------------------------------------------------------------------------------------


def with_burdens(text: str) -> str:
    """Penalties, listings and honours are all recognised."""
    return recognising(text, (DATASET, "penalty"), (TAX, "blacklist"), ("honours", "redlist"))


async def test_what_nobody_signed_burdens_nobody(tmp_path: Path):
    """A vouched penalty is not published, and no confirmation gives it an effect; the signed one beside it has it."""
    async with two_cities(tmp_path, change=with_burdens) as cities:
        forger = the_forger(cities, with_burdens)
        await forger.post(forger.penalty(1, trust="vouched"), forger.penalty(2))
        for number, reason, effect in ((1, "vouched_source", None), (2, "recognised", "procurement-limit")):
            decided = await confirm(cities.baishan, rid(number), by=hand(), basis="《示例条例》第一条")
            assert (decided.reason, decided.effect) == (reason, effect)
        plans = cities.baishan.policies.current().plan_set(DATASET, "public", "open.read")
        assert plans is not None
        held = {each.record_id: each for each in await records.load(cities.baishan.store.reads, ids=[RecordId(rid(1)), RecordId(rid(2))])}
        gates = [row_gate(held[RecordId(rid(number))], plans.plans["legal"], cities.now) for number in (1, 2)]
        assert gates == ["trust", None]
        assert held[RecordId(rid(1))].recognised is None


async def test_a_vouched_listing_of_ours_takes_no_benefit_away(cities: Cities):
    """A row of our own list that nobody signed suspends no honour: it never produces a negative effect. Signed, it does."""
    (honoured,) = ids(await put(cities.tonghua, "honours", honour(2, "通化市澄泉商贸有限公司")))
    await send_batch(cities.tonghua, stream=HONOURS, at_once=True)
    row = violation(code(2), "通化市澄泉商贸有限公司", "白示税〔2026〕1号")
    for signed, reason in ((False, "recognised"), (True, "local_negative")):
        await put(cities.baishan, TAX, row if not signed else row | {"认定文号": "白示税〔2026〕2号"}, signed=signed)
        while await follow(cities.baishan):
            pass
        decided = await recognitions.decisions(cities.baishan.store.reads, [honoured])
        assert decided[honoured].reason == reason
