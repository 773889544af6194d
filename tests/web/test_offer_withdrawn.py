"""An offer that was taken back stays so, whatever the other office signs, until a person here signs the same text again."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.errors import AdminError, ExchangeError
from gateway.operations.agree_wider import approve_wider
from gateway.operations.manage_agreements import agreements, countersign, offer, take
from gateway.operations.take_documents import take_document
from gateway.operations.withdraw_offer import withdraw_offer
from gateway.store.tables import withdrawn_offers
from tests.ledger import check_ledger
from tests.operations.test_agreements import edited
from tests.region import AGREEMENT
from tests.web.test_agreements_over_http import next_version, taken, version
from tests.web.two_served import two_served

TWO = f"agreement/{AGREEMENT}/2"


async def test_signed_after_it_was_taken_back(tmp_path: Path) -> None:
    """The other office signs what we took back: refused by letter and by hand with its code; signed here again it is in force."""
    async with two_served(tmp_path) as served:
        th, bs = served.th, served.bs
        toml = next_version(served, (await agreements(th))[0].digest)
        offered = await offer(bs, toml, by="office:b")
        await withdraw_offer(bs, AGREEMENT, 2, reason="另行商定", by="office:b")
        both = await countersign(th, offered, toml, by="office:a")
        assert await taken(th) == {TWO: "SCOPE_DIGEST"}
        for story in (take, take_document):
            with pytest.raises(ExchangeError) as caught:
                await story(bs, both, by="office:b")
            assert caught.value.code == "SCOPE_DIGEST"
        assert [(each.version, each.state) for each in await agreements(bs)] == [(1, "active")]
        await offer(bs, toml, by="office:b")
        assert await taken(th) == {TWO: None}
        assert await version(bs, 2) == ("active", "")
        for services in (th, bs):
            await check_ledger(services)


async def test_a_signature_of_ours_that_we_do_not_hold(tmp_path: Path) -> None:
    """A text with our signature that is nowhere remembered is refused too; the other office's alone is an offer."""
    async with two_served(tmp_path) as served:
        th, bs = served.th, served.bs
        toml = next_version(served, (await agreements(th))[0].digest)
        offered = await offer(bs, toml, by="office:b")
        await withdraw_offer(bs, AGREEMENT, 2, reason="另行商定", by="office:b")
        async with bs.store.transaction() as tx:  # as after the store was put back from before the offer
            await tx.execute(sa.delete(withdrawn_offers))
        both = await countersign(th, offered, toml, by="office:a")
        with pytest.raises(ExchangeError) as caught:
            await take_document(bs, both, by="office:b")
        assert caught.value.code == "SCOPE_DIGEST"


async def test_the_second_persons_yes_goes_with_the_offer(tmp_path: Path) -> None:
    """Offered again, the same wider text asks for a second person anew."""
    async with two_served(tmp_path) as served:
        bs = served.bs
        toml = edited(next_version(served, (await agreements(bs))[0].digest), 'regions = ["220500"]', 'regions = ["220500", "220600"]')
        for _ in range(2):
            with pytest.raises(AdminError) as caught:
                await offer(bs, toml, by="office:a")
            assert caught.value.code == "approval-missing"
            await approve_wider(bs, AGREEMENT, 2, digest=str(caught.value.hint).rpartition(" ")[2], by="office:b")
            await offer(bs, toml, by="office:a")
            await withdraw_offer(bs, AGREEMENT, 2, reason="另行商定", by="office:a")
        assert [(each.version, each.state) for each in await agreements(bs)] == [(1, "active")]
