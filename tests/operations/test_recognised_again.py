"""What a named person confirmed has its effect only as it read then (PIPL 24): a new epoch says nothing else under the same version."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.core.errors import StoreError
from gateway.core.exchange.records import Basis
from gateway.core.records.model import RecordId
from gateway.operations.receive_batch import Received
from gateway.operations.recognise import decide
from gateway.store import held_agreements, recognitions, records
from gateway.store.tables import confirmations
from gateway.store.tables import records as record_rows
from tests.administrators import hand
from tests.ledger import check_ledger
from tests.operations.confirming import confirm
from tests.operations.publishing import PENALTIES as DATASET
from tests.region import AGREEMENT, Cities, Forger, recognising, rid, two_cities

OTHER = {"CF_NR_FK": "999.000000", "CF_NR": "吊销许可证件。"}


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The one that confirms is on each kind of database in turn."""
    return ("", "") if request.param == "sqlite" else ("", str(request.getfixturevalue("pg_database")))


@pytest.fixture
async def cities(databases: tuple[str, str], tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that recognise penalties."""
    async with two_cities(tmp_path, databases, change=lambda text: recognising(text, (DATASET, "penalty"))) as both:
        yield both


async def forger_of(cities: Cities) -> Forger:
    """Tonghua, saying what it likes under the agreement that Baishan holds."""
    held = (await held_agreements.held_agreements(cities.baishan.store.reads))[AGREEMENT][-1]
    return Forger(cities, agreement=held.agreement)


async def decision(cities: Cities, number: int) -> tuple[str, str | None]:
    """Reason and effect of the decision about a penalty."""
    found = (await recognitions.decisions(cities.baishan.store.reads, [rid(number)]))[rid(number)]
    return found.reason, found.effect


async def fine(cities: Cities, number: int) -> Any:
    """What a penalty amounts to here."""
    (held,) = await records.load(cities.baishan.store.reads, ids=[RecordId(rid(number))])
    return str(held.raw.open()["fine_amount"])


async def yes(cities: Cities, number: int) -> tuple[str, str | None]:
    """A named person confirms."""
    decided = await confirm(cities.baishan, rid(number), by=hand(), basis="《示例条例》第一条")
    return decided.reason, decided.effect


def codes(received: Received) -> list[str]:
    """The codes of the feedback, in order of its lines."""
    return [json.loads(line)["code"] for line in received.feedback.splitlines()]


CONFIRMED = ("recognised", "procurement-limit")
WAITS = ("awaiting_confirmation", None)


async def test_a_new_epoch_does_not_change_what_was_confirmed(cities: Cities):
    """Another content under a confirmed version is SEQ_VERSION, in values or in clear; the same content stands; a higher version asks."""
    forger = await forger_of(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 6)))
    for number in range(1, 6):
        assert await decision(cities, number) == WAITS
        assert await yes(cities, number) == CONFIRMED
    amount = await fine(cities, 1)
    replaces = forger.anew()
    lines = [
        forger.penalty(1, values=OTHER),
        forger.penalty(2),
        forger.penalty(3, basis=(Basis(text="《示例条例》第九条", uri=None, item=None),)),
        forger.penalty(4, v=2, values=OTHER),
        forger.penalty(5, publish_until="2026-12-31"),
    ]
    swapped = await forger.send(forger.seal(lines, replaces=replaces, snapshot="last"))
    assert (swapped.result, codes(swapped)) == ("partial", ["SEQ_VERSION", "DUP_SAME", "SEQ_VERSION", "SEQ_VERSION"])
    assert [json.loads(line)["i"] for line in swapped.feedback.splitlines()] == [0, 1, 2, 4]
    assert [await decision(cities, number) for number in (1, 2, 3, 4, 5)] == [CONFIRMED, CONFIRMED, CONFIRMED, WAITS, CONFIRMED]
    assert (await fine(cities, 1), await fine(cities, 4) == amount) == (amount, False)
    amended = await forger.post(forger.penalty(1, v=2, op="amend", values=OTHER))
    assert (amended.result, await decision(cities, 1), await fine(cities, 1) == amount) == ("applied", WAITS, False)
    await check_ledger(cities.baishan)


async def test_a_withdrawn_version_does_not_come_back_as_another(cities: Cities):
    """What an epoch left out, or a line withdrew, needs a higher version in the next one; no old confirmation holds for that."""
    forger = await forger_of(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 8)))
    for number in (1, 2):
        assert await yes(cities, number) == CONFIRMED
    await forger.post(forger.withdrawal(2, op="retract", reason="corrected"))
    replaces = forger.anew()
    lines = [forger.penalty(number, v=2) for number in range(2, 8)]
    swapped = await forger.send(forger.seal(lines, replaces=replaces, snapshot="last"))
    assert (swapped.result, codes(swapped)[0]) == ("partial", "SEQ_VERSION"), "2 was withdrawn as version 2, 1 is left out"
    replaces = forger.anew()
    lines = [forger.penalty(1, values=OTHER), *(forger.penalty(number, v=3) for number in range(2, 8))]
    swapped = await forger.send(forger.seal(lines, replaces=replaces, snapshot="last"))
    assert codes(swapped) == ["SEQ_VERSION", *["DUP_SAME"] * 5]
    assert [await decision(cities, number) for number in (1, 2)] == [("withdrawn", None), WAITS]
    await check_ledger(cities.baishan)


async def test_a_confirmation_is_of_the_content(cities: Cities):
    """Whatever way other content came under the version, it waits for a person again, who may confirm it, once."""
    forger = await forger_of(cities)
    await forger.post(forger.penalty(1))
    assert await yes(cities, 1) == CONFIRMED
    with pytest.raises(StoreError, match="confirmed already"):
        await yes(cities, 1)
    other = sa.update(record_rows).where(record_rows.c.record_id == rid(1)).values(content_digest=b"another" * 4)
    async with cities.baishan.store.transaction() as tx:
        await tx.execute(other)
        await decide(cities.baishan, tx, [rid(1)])
    assert await decision(cities, 1) == WAITS
    assert await yes(cities, 1) == CONFIRMED
    with pytest.raises(StoreError, match="confirmed already"):
        await yes(cities, 1)
    kept = await cities.baishan.store.reads.all(sa.select(confirmations.c.version, confirmations.c.content))
    assert ([row.version for row in kept], len({bytes(row.content) for row in kept})) == ([1, 1], 2)
