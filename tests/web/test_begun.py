"""Everything is rendered again, for a feed that begins while the policy stays, and says the same as before."""

from typing import Any

from gateway.operations.render_public import settle
from gateway.store import renderings
from tests.web.city import City, served
from tests.web.test_api import walk


async def again(services: Any) -> None:
    """Walk the second half of the log, as the second piece of a walk does when somebody new may read a feed."""
    async with services.store.transaction() as tx:
        await renderings.put_reader(tx, renderings.RERENDER, (await renderings.reader_state(tx)).position // 2)
    await settle(services)


def test_what_is_rendered_again_counts_once(fresh_city: City) -> None:
    """No record of any subject is counted twice for standing as true already."""
    with served(fresh_city) as server:
        before = walk(server, "/v1/subjects?limit=100")
        fresh_city.run(again)
        after = walk(server, "/v1/subjects?limit=100")
        assert [each["record_counts"] for each in after] == [each["record_counts"] for each in before]
