"""The numbers of an agreement's `limits` hold on both sides: what we seal fits them, and what does not fit them is not taken."""

import json
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange import sealing
from gateway.core.exchange.admitting import check_size
from gateway.core.exchange.agreements import Agreement, Limits, rules_of
from gateway.core.exchange.manifests import Head, read_manifest
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.records import SealedLine
from gateway.core.exchange.sealing import Sealed
from gateway.core.exchange.wire import b64u
from gateway.operations.admit_batch import Admission, Passed
from gateway.operations.answer_batch import BatchRefused
from gateway.operations.apply_batch import apply_batch
from gateway.operations.send_batch import send_batch
from gateway.store import held_agreements
from tests.core.exchange.test_agreements import KEYS, made, terms
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_exchange_waiting import states
from tests.region import AGREEMENT, NOW, PENALTIES, TONGHUA, Cities, Forger, two_cities, utc

KIB = 1024


def lines(count: int, size: int = 40 * KIB) -> list[SealedLine]:
    """Lines of a size of which a tenth says something: they compress some ten times."""
    data = b'{"p":"' + b64u(random.Random(1).randbytes(size // 15) + b"x" * (size * 41 // 60)).encode() + b'","d":[]}\n'
    return [SealedLine(rid=f"rec_{number}", v=1, op="assert", data=data, leaf=bytes(32)) for number in range(count)]


def agreed(**limits: int) -> Agreement:
    """An agreement with these limits."""
    return made(terms(limits={"lines": 1000, "error_permille": 50, **limits}))


def sealed(agreement: Agreement, some: list[SealedLine]) -> Sealed:
    """What fits into one batch of it."""
    rules = rules_of(agreement, "penalties", TONGHUA)
    head = Head(stream=rules.stream, epoch=1, seq=0, tree=CompactRange(), manifest_digest=None)
    fits = sealing.fitting(some, agreement.terms.limits)
    return sealing.seal(head, some[:fits], rules, [KEYS[TONGHUA]], policy_version=1, created=utc(NOW))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"lines": 7}, (7, 1)),
        ({"lines": 300, "parts": 1}, (153, 1)),
        ({"parts": 2, "part_bytes": 128 * KIB}, (6, 2)),
        ({"parts": 3, "part_bytes_raw": 200 * KIB}, (12, 3)),
    ],
)
def test_what_is_sealed_fits(limits: Mapping[str, int], expected: tuple[int, int]):
    """Lines, parts and their sizes: so much as fits goes into one batch, no line more is taken, and nothing of it is over a bound."""
    agreement, some = agreed(**limits), lines(300)
    batch = sealed(agreement, some)
    assert (batch.manifest.lines, len(batch.parts)) == expected
    check_size(read_manifest(batch.document.body), agreement.terms.limits)
    rules = rules_of(agreement, "penalties", TONGHUA)
    head = Head(stream=rules.stream, epoch=1, seq=0, tree=CompactRange(), manifest_digest=None)
    with pytest.raises(ExchangeError) as caught:
        sealing.seal(head, some[: batch.manifest.lines + 1], rules, [KEYS[TONGHUA]], policy_version=1, created=utc(NOW))
    assert caught.value.code == "SIZE_LINES"


def test_a_part_is_not_compressed_further_than_agreed():
    """Where compression would go beyond the ratio the part goes as it is."""
    plain, packed = sealed(agreed(ratio=2), lines(2)), sealed(agreed(ratio=100), lines(2))
    assert [part.name for part in plain.parts] == ["1-1-000.ndjson"]
    assert [part.name for part in packed.parts] == ["1-1-000.ndjson.gz"]
    check_size(plain.manifest, Limits(ratio=2))


@pytest.mark.parametrize(
    ("limits", "code_of"),
    [
        (Limits(lines=2), "SIZE_LINES"),
        (Limits(parts=1), "SIZE_PARTS"),
        (Limits(part_bytes=100), "SIZE_BYTES"),
        (Limits(part_bytes_raw=50 * KIB), "SIZE_BYTES"),
        (Limits(ratio=2), "SIZE_RATIO"),
    ],
)
def test_what_does_not_fit_is_not_taken(limits: Limits, code_of: str):
    """Each bound is looked at in the manifest, before anything is read."""
    rules = rules_of(agreed(), "penalties", TONGHUA)
    head = Head(stream=rules.stream, epoch=1, seq=0, tree=CompactRange(), manifest_digest=None)
    batch = sealing.seal(head, lines(4), rules, [KEYS[TONGHUA]], policy_version=1, created=utc(NOW), lines_a_part=2)
    with pytest.raises(ExchangeError) as caught:
        check_size(batch.manifest, limits)
    assert caught.value.code == code_of


def test_a_part_has_room_for_a_line():
    """Parts that cannot hold one line of 128 KiB are agreed by nobody."""
    for name in ("part_bytes", "part_bytes_raw"):
        with pytest.raises(ExchangeError) as caught:
            agreed(**{name: 128 * KIB - 1})
        assert (caught.value.code, caught.value.place) == ("SIZE_BYTES", "limits")


# --- between two cities -----------------------------------------------------------------------------------------------


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities with an agreement of narrow limits."""
    narrow = "limits = { lines = 3, error_permille = 900, parts = 1, part_bytes = 131072, part_bytes_raw = 131072, batch_s = 30 }"
    async with two_cities(tmp_path, change=lambda text: text.replace("limits = { lines = 100000, error_permille = 50 }", narrow)) as both:
        yield both


async def forger_of(cities: Cities) -> Forger:
    """One who knows the agreement."""
    (held,) = (await held_agreements.held_agreements(cities.baishan.store.reads))[AGREEMENT]
    return Forger(cities, agreement=held.agreement)


async def test_more_than_a_batch_may_have_goes_in_several(cities: Cities):
    """What was sealed within the limits is applied by the other side, batch after batch."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in range(1, 8)]
    made_here = ids(await put(cities.tonghua, DATASET, *rows))
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    assert (sent.sealed, sent.lines, sent.state) == (3, len(made_here), "acked")
    await check_ledger(cities.baishan)


async def test_a_batch_has_its_time(cities: Cities):
    """A batch that takes longer than `batch_s` is answered SIZE_TIME, at whatever step, and nothing of it is written."""
    forger = await forger_of(cities)
    batch = forger.seal([forger.penalty(1)])
    parts = {part.name: part.data for part in batch.parts}

    async def admitted() -> tuple[Admission, Passed]:
        admission = Admission(cities.baishan, PENALTIES, batch.document, batch.checkpoint, parts, None)
        passed = await admission.run()
        assert isinstance(passed, Passed)
        return admission, passed

    admission, passed = await admitted()
    before = admission.deadline
    admission.deadline = 0.0
    for story in (apply_batch(admission, passed), _verified(admission, passed)):
        with pytest.raises(BatchRefused) as caught:
            await story
        assert caught.value.code == "SIZE_TIME"
    assert await states(cities, 1) == [None]
    again, passed = await admitted()
    assert 0 < again.deadline - before < 30, "so many seconds from when each began"
    assert (await apply_batch(again, passed)).result == "applied"
    assert await states(cities, 1) == ["assert"]


async def _verified(admission: Admission, passed: Passed) -> object:
    return await admission._verify(admission.services.store.reads, passed.manifest, None)  # step 9 alone


async def test_the_agreed_share_of_errors(tmp_path: Path):
    """More rejected lines than `error_permille` says hold the batch; just as many do not."""
    for permille, result in ((834, "partial"), (833, "held")):
        folder = tmp_path / str(permille)
        change = f"error_permille = {permille} }}"
        async with two_cities(folder, change=lambda text, to=change: text.replace("error_permille = 50 }", to)) as cities:
            forger = await forger_of(cities)
            bad = [forger.penalty(number, region="220600") for number in range(1, 21)]
            good = [forger.penalty(number) for number in range(31, 35)]
            received = await forger.post(*bad, *good)
            assert received.result == result, json.dumps(permille)
