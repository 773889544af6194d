"""Running servers: signing keys that are made and revoked count without a restart, and a partner has two bodies on their way at a time."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import httpx

from gateway.core.exchange import notes
from gateway.operations.manage_agreements import own_keys, take_keys
from gateway.operations.manage_keys import list_keys, revoke_key, write_key
from tests.region import PENALTIES, Cities, Forger, Line, posted_of
from tests.web.two_served import Served, two_served

JSON = {"content-type": "application/json"}


async def signed_with(answer: httpx.Response) -> set[str]:
    """Key ids under a signed document."""
    return {line.key_id.hex() for line in notes.parse(answer.json()["note"]).lines}


def key_ids(served: Served, use: str) -> list[str]:
    """Key ids of Baishan's keys of a use, in order of their beginning."""
    return [line.vkey.split("+")[1] for line in list_keys(served.bs.settings, served.bs.clock()) if line.use == use]


async def post(served: Served, forger: Forger, number: int) -> httpx.Response:
    """One more batch of Tonghua's, over HTTP."""
    batch = forger.seal([forger.penalty(number)])
    body = posted_of(batch.document.body, batch.document.note, batch.checkpoint, {part.name: part.data for part in batch.parts})
    return await served.to_bs.post(f"/streams/{PENALTIES}/batches", content=body, headers=JSON)


async def test_a_running_server_signs_with_the_keys_that_lie_there(tmp_path: Path, store_url: str):
    """A successor signs as soon as it is good, and a revoked key signs nothing more, while the server runs; partners are told."""
    async with two_served(tmp_path, ("", store_url)) as served:
        forger = Forger(Cities(served.th, served.bs, Line()))
        (old,) = key_ids(served, "exchange")
        assert await signed_with(await post(served, forger, 1)) == {old}
        write_key(served.bs.settings, "exchange", number=2, not_before=served.bs.clock() - timedelta(minutes=1))
        await asyncio.sleep(1.2)
        new = key_ids(served, "exchange")[-1]
        assert new != old
        assert await signed_with(await post(served, forger, 2)) == {new}
        assert (await take_keys(served.th, await own_keys(served.bs), by="test")).serial == 2
        vkey = next(line.vkey for line in list_keys(served.bs.settings, served.bs.clock()) if f"+{new}+" in line.vkey)
        await revoke_key(served.bs, vkey, reason="测试", by="test")
        await asyncio.sleep(1.2)
        assert await signed_with(await post(served, forger, 3)) == {old}
        said = json.loads((await served.to_bs.get("/keys")).json()["body"])["keys"]
        assert {key["vkey"] for key in said if key["revoked_at"]} == {vkey}


async def test_two_bodies_at_a_time(tmp_path: Path):
    """A third body of one partner is answered 429 with Retry-After while two are on their way; afterwards it is taken."""
    async with two_served(tmp_path) as served:
        forger = Forger(Cities(served.th, served.bs, Line()))
        go_on = asyncio.Event()
        path = f"/streams/{PENALTIES}/batches"

        async def slow() -> httpx.Response:
            batch = forger.seal([forger.penalty(1)], advance=False)
            body = posted_of(batch.document.body, batch.document.note, batch.checkpoint, {part.name: part.data for part in batch.parts})
            request = served.to_bs.build_request("POST", path, content=body, headers=JSON)
            signed = next(served.to_bs.auth.sync_auth_flow(request))  # type: ignore[union-attr]  # it signs

            async def dripping():
                yield body[:10]
                await go_on.wait()
                yield body[10:]

            dripped = httpx.Request("POST", signed.url, headers=signed.headers, content=dripping())
            return await served.to_bs.send(dripped, auth=None)

        first, second = asyncio.create_task(slow()), asyncio.create_task(slow())
        await asyncio.sleep(0.5)
        refused = await post(served, Forger(forger.cities), 1)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate-limit")
        assert int(refused.headers["retry-after"]) >= 1
        go_on.set()
        answers = await asyncio.gather(first, second)
        # whose body is whole first is taken; both hold the same place of the stream
        assert sorted(answer.status_code for answer in answers) == [200, 409], [answer.text for answer in answers]
        assert (await served.to_bs.get("/streams")).json()["items"][0]["seq"] == 1
