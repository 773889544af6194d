import sqlalchemy as sa
from gateway.store.store import Store
from gateway.store.tables import counters
async def test_x(store: Store):
    async with store.transaction() as tx:
        assert await tx.number("changes", 3) == 1
        assert await tx.number("changes", 3) == 4
    assert (await store.reads.one(sa.select(counters.c.value).where(counters.c.name == sa.bindparam("n")), {"n": "changes"})).value == 6
    got=[r async for r in store.reads.stream(sa.select(counters))]
    assert got[0][0].name=="changes"
