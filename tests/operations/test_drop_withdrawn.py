"""An offer that was taken back and still lies in the shared folder: it is not taken out of it, and makes room."""

from pathlib import Path

from gateway.operations.collect_batches import collect_batches
from gateway.operations.manage_agreements import agreements, countersign, offer
from gateway.operations.withdraw_offer import withdraw_offer
from gateway.store import held_agreements
from tests.operations.test_agreements import edited, proposal
from tests.operations.test_exchange_drop import dropped, root_of, share
from tests.region import AGREEMENT, two_cities


async def test_a_text_that_was_taken_back_makes_room(tmp_path: Path) -> None:
    """Signed over there afterwards it comes to nothing; the text that both want is laid over it and taken by the other side."""
    async with two_cities(tmp_path / "cities", change=dropped) as cities:
        share(cities, tmp_path / "drop")
        th, bs = cities.tonghua, cities.baishan
        first = (await agreements(bs))[0].digest
        theirs = edited(dropped(proposal(th, bs).decode()).encode(), "version = 1", f'version = 2\nprevious = "{first}"')
        ours = edited(theirs, "lines = 100000", "lines = 1000")
        offered = await offer(bs, ours, by="office:b")
        assert await collect_batches(bs) == {}
        (body,) = root_of(cities).rglob(f"{AGREEMENT}-2.json")
        await withdraw_offer(bs, AGREEMENT, 2, reason="采用对方文本", by="office:b")
        both = await countersign(th, offered, ours, by="office:a")
        body.with_suffix(".note").write_text(both.note)
        assert await collect_batches(bs) == {}
        assert [(each.version, each.state) for each in await agreements(bs)] == [(1, "active")]
        async with th.store.transaction() as tx:  # Tonghua gives it up too
            await held_agreements.drop_version(tx, AGREEMENT, 2)
        await countersign(bs, await offer(th, theirs, by="office:a"), theirs, by="office:b")
        assert await collect_batches(bs) == {}
        assert body.read_bytes() == (await held_agreements.held_agreements(bs.store.reads, AGREEMENT))[AGREEMENT][-1].agreement.body
        assert await collect_batches(th) == {}
        assert (await agreements(th))[-1].state == "active"
