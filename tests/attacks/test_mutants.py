"""From one valid batch a thousand others, each changed in one place: none is accepted, none is answered by a receipt, none does harm."""

import os
import zlib
from pathlib import Path

import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange.sealing import Sealed
from gateway.operations.receive_batch import receive_posted
from gateway.store import changes
from tests.attacks.mutants import Batch, Mutant, mutants
from tests.ledger import check_ledger
from tests.region import PENALTIES, TONGHUA, Cities, Forger, two_cities

AT_LEAST = 500
ONE_IN = 1 if os.environ.get("SOAK") else 10


def batch_of_sealed(sealed: Sealed) -> Batch:
    """A batch as it was sealed, before it is on any line."""
    return Batch(
        manifest=sealed.document.body,
        note=sealed.document.note.encode(),
        checkpoint=sealed.checkpoint.encode(),
        parts={part.name: part.data for part in sealed.parts},
    )


def drawn(batch: Batch, one_in: int = ONE_IN) -> list[list[Mutant]]:
    """All mutants, or one in ten by their names, which do not depend on what is random in a batch.

    By the parts that came out wrong: the right ones are kept, as for any sender whose line breaks, so that two mutants with one wrong part
    each make a whole batch.
    """
    made = list(mutants(batch))
    assert len(made) >= AT_LEAST
    assert len({mutant.name for mutant in made}) == len(made)
    groups: dict[frozenset[str], list[Mutant]] = {}
    for mutant in made:
        if zlib.crc32(mutant.name.encode()) % one_in == 0:
            wrong = frozenset(name for name, data in batch.parts.items() if mutant.batch.parts.get(name) != data)
            groups.setdefault(wrong, []).append(mutant)
    return list(groups.values())


async def accepted(cities: Cities, mutant: Mutant) -> bool:
    """Whether the receiver gave it anything but a problem, or the wish for a part that came out wrong."""
    try:
        answered = await receive_posted(cities.baishan, PENALTIES, mutant.batch.posted(), caller=TONGHUA)
    except ExchangeError:
        return False
    return b'"state":"FETCHING"' not in answered.body


def _sealed(cities: Cities, *, compress: bool) -> tuple[Forger, Sealed]:
    forger = Forger(cities)
    amended = forger.penalty(1, v=2, op="amend", values={"CF_NR": "罚款壹万元。"})
    lines = [forger.penalty(1), forger.penalty(2), amended, forger.withdrawal(2)]
    return forger, forger.seal(lines, lines_a_part=2, compress=compress)


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
async def test_no_mutant_is_accepted(tmp_path: Path, compress: bool):
    """Whatever byte, field, line, order or signature is changed on the way, nothing of it is believed; then the batch itself is."""
    async with two_cities(tmp_path / "first") as cities:
        _, sealed = _sealed(cities, compress=compress)
        groups = drawn(batch_of_sealed(sealed))
    for number, group in enumerate(groups):
        async with two_cities(tmp_path / str(number)) as cities:
            forger = Forger(cities)
            assert [mutant.name for mutant in group if await accepted(cities, mutant)] == []
            assert await changes.head(cities.baishan.store.reads) == 0
            await check_ledger(cities.baishan)
            assert (await forger.send(sealed)).result == "applied"
            assert await changes.head(cities.baishan.store.reads) == 4
            await check_ledger(cities.baishan)
