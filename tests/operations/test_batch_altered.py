"""What is applied of a batch is what was verified, however often its parts are read: a part that is another meanwhile moves nothing."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.core.exchange import batch_lines
from gateway.operations import admit_batch, parts_at_hand
from gateway.operations.answer_batch import BatchRefused
from gateway.store import inbox, records
from tests.region import Cities, Forger, rid, two_cities


class Swapped(Mapping[str, bytes]):
    """Parts on a line that are others after they were read so many times."""

    def __init__(self, good: Mapping[str, bytes], bad: Mapping[str, bytes], reads: int) -> None:
        self.good, self.bad = good, bad
        self.left = dict.fromkeys(good, reads)

    def __getitem__(self, name: str) -> bytes:
        self.left[name] -= 1
        return self.good[name] if self.left[name] >= 0 else self.bad[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.good)

    def __len__(self) -> int:
        return len(self.good)


@pytest.fixture
async def cities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cities]:
    """Two cities; no batch is small enough to be kept in memory between its verification and its judgement."""
    monkeypatch.setattr(batch_lines, "KEPT_BYTES", 1)
    monkeypatch.setattr(admit_batch, "PREPARED", 1)
    async with two_cities(tmp_path) as both:
        yield both


async def test_a_part_that_is_swapped_on_its_line(cities: Cities, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swapped before it is verified, or before it is judged, it is a problem that keeps nothing; the signed lines come in afterwards."""
    forger = Forger(cities)
    sealed = forger.seal([forger.penalty(number) for number in (1, 2, 3)], compress=False)
    values = {"CF_NR_FK": "9.900000"}
    other = forger.seal([forger.penalty(number, values=values) for number in (1, 2, 3)], compress=False, advance=False, head=None)
    good = {part.name: part.data for part in sealed.parts}
    bad = dict(zip(good, [part.data for part in other.parts], strict=True))
    reads = cities.baishan.store.reads
    for times in (1, 2, 3):
        with pytest.raises(BatchRefused) as refused:
            await forger.send(sealed, Swapped(good, bad, times))
        assert refused.value.code == "SIG_PART_DIGEST"
        assert await records.load(reads, ids=[rid(1)]) == []
    with monkeypatch.context() as patched:
        patched.setattr(parts_at_hand, "check_part", lambda *_: None)
        with pytest.raises(BatchRefused) as refused:
            await forger.send(sealed, Swapped(good, bad, 3))
    assert refused.value.code == "SEQ_ROOT", "the leaves alone would tell it too"
    assert await records.load(reads, ids=[rid(1)]) == []
    assert (await forger.send(sealed, Swapped(good, bad, 9))).result == "applied"
    assert len(await records.load(reads, ids=[rid(1)])) == 1


@pytest.mark.parametrize("reads", [0, 1])
async def test_a_staged_part_that_is_another_in_the_store(cities: Cities, monkeypatch: pytest.MonkeyPatch, reads: int) -> None:
    """A part of a staged epoch is held against its manifest each time: where the epoch is verified again, and where it is judged."""
    forger = Forger(cities)
    assert (await forger.post(*(forger.penalty(number) for number in (1, 2, 3)))).result == "applied"
    replaces = forger.anew()
    lines = [forger.penalty(number, v=2) for number in (1, 2, 3)]
    assert (await forger.send(forger.seal(lines[:2], replaces=replaces, snapshot="part"))).result == "quarantined"
    last = forger.seal(lines[2:], snapshot="last")
    before, done = inbox.in_part, []

    async def in_part(source: Any, batch: Any, name: str) -> bytes:
        data = await before(source, batch, name)
        done.append(name)
        return data if len(done) <= reads else data[:-1] + bytes([data[-1] ^ 1])

    with monkeypatch.context() as patched:
        patched.setattr(inbox, "in_part", in_part)
        with pytest.raises(BatchRefused) as refused:
            await forger.send(last)
    assert refused.value.code == "SIG_PART_DIGEST"
    assert len(done) == reads + 1
    assert (await forger.send(last)).result == "applied"
