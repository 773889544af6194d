"""Twins: a name by its surname, a code by its first signs, a day by its month, sealed beside the whole and recomputed by the receiver."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.exchange import agreements, sd_jwt
from gateway.core.exchange.field_rules import twins_of
from gateway.core.exchange.notes import KeyRing, KnownKey
from gateway.core.exchange.records import read_line
from gateway.core.exchange.wire import SHA256, b64u, sha256
from gateway.core.signing import parse_vkey
from gateway.operations.manage_agreements import base_url, filled
from gateway.operations.send_batch import send_batch
from gateway.operations.show_exchange import own_record
from gateway.store.tables import in_records
from tests.core.exchange.test_agreements import field
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import PENALTIES, Cities, Forger, Side, template, two_cities

TWINS = ("CF_XDR_MC#keep(2,2)", "CF_XDR_SHXYM#keep(4,0)", "CF_JDRQ#generalise(month)")


def with_twins(text: str) -> str:
    """The shipped agreement with three twins."""
    for each, kind in zip(TWINS, ("string", "uscc", "date"), strict=True):
        name, _, twin = each.partition("#")
        start = f'{{ name = "{name}", type = "{kind}", '
        assert start in text
        text = text.replace(start, f'{start}twins = ["{twin}"], ')
    return text


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed on twins."""
    async with two_cities(tmp_path, change=with_twins) as both:
        yield both


def _forger(cities: Cities) -> Forger:
    sides = {
        one.signers.party: Side(base_url=base_url(one), agreement_keys=(one.signers.signing("agreement", one.clock()).vkey,))
        for one in (cities.tonghua, cities.baishan)
    }
    return Forger(cities, agreement=agreements.read_agreement(agreements.signed_form(filled(with_twins(template()), sides).encode())[0]))


@pytest.mark.parametrize(
    ("kind", "twin", "value", "shown"),
    [
        ("person_name", "surname", "王小明", "王某某"),
        ("person_name", "surname", "欧阳明", "欧阳某某"),
        ("person_name", "surname", "阿依古丽·买买提", "某某"),
        ("uscc", "keep(4,0)", "91220502XXT00002X2", "9122**********"),
        ("string", "keep(2,2)", "通化市测试公司", "通化****公司"),
        ("string", "keep(2,2)", "通化公司", "****"),
        ("date", "generalise(month)", "2026-11-04", "2026-11"),
        ("date", "generalise(year)", "2026-11-04", "2026"),
        ("date", "generalise(month)", "2026/11/04", None),
        ("date", "generalise(year)", None, None),
    ],
)
def test_the_treatments_of_the_specification(kind: str, twin: str, value: str | None, shown: str | None):
    """The vectors of wire specification §12."""
    length = 50 if kind in ("person_name", "string") else None
    (made,) = twins_of(field(kind, length=length, twins=[twin]))
    assert made.treat(value) == shown


async def test_twins_are_sealed_checked_and_shown_alone(cities: Cities):
    """What leaves has each twin once; it comes in; a third party is shown the surname's kind of truth and not the whole."""
    made = ids(await put(cities.tonghua, DATASET, penalty(code(1), "通化市测试商贸有限公司", "通示罚〔2026〕1号")))
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.sealed, sent.waiting) == (1, 0)
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)
    token = await own_record(cities.tonghua, PENALTIES, made[0], TWINS, by="test")
    key = parse_vkey(cities.tonghua.signers.signing("export", cities.now).vkey)
    read = sd_jwt.read(token, KeyRing.of("", [KnownKey(verifier=key, use="export")]), now=cities.now)
    assert {each.name: each.value for each in read.disclosed} == {
        TWINS[0]: "通化****公司",
        TWINS[1]: code(1)[:4] + "**********",
        TWINS[2]: "2026-03",
    }
    rows = await cities.baishan.store.reads.all(sa.select(in_records.c.op))
    assert [row.op for row in rows] == ["assert"]


async def test_a_twin_that_is_not_of_its_value(cities: Cities):
    """Another text than the treatment gives is SCHEMA_TWIN; a twin left out is SCHEMA_MISSING; the good line beside them is taken."""
    forger = _forger(cities)
    values = {"CF_XDR_MC": "通化市测试商贸有限公司"}
    right = {TWINS[0]: "通化****公司", TWINS[1]: "9122**********", TWINS[2]: "2026-03"}
    good = forger.penalty(1, values=values | right)
    others = zip(TWINS, ("通化****商店", "9123**********", None), strict=True)
    wrong = [forger.penalty(number, values=values | right | {name: other}) for number, (name, other) in enumerate(others, 2)]
    line = read_line(forger.penalty(9, values=values | right).data.rstrip(b"\n"), SHA256)
    kept = [text for text, data in zip(line.disclosures, line.decoded, strict=True) if json.loads(data)[1] != TWINS[0]]
    short = forger.raw(forger.penalty(9, values=values | right), kept, _sd=sorted(b64u(sha256(each.encode())) for each in kept))
    received = await forger.post(good, *wrong, short)
    assert received.result == "partial"
    told = [json.loads(each) for each in received.feedback.splitlines()]
    assert [each["code"] for each in told] == ["SCHEMA_TWIN"] * 3 + ["SCHEMA_MISSING"]
    assert [each["field"] for each in told] == [*TWINS, TWINS[0]]
