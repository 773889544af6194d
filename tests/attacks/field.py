"""Where attacks take place: two cities that have agreed, Baishan served by a process of its own, and who attacks it.

The attacker holds Tonghua's keys, where it is Tonghua that lies, or none. What a table holds is digested before and after.
"""

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.exchange.sealing import Sealed
from gateway.store.tables import in_records
from tests.crash.dying import Child, serving
from tests.house import PLAIN
from tests.region import BAISHAN, NOW, TONGHUA, Cities, Forger, Line, a_city, posted_of, signed_by
from tests.untouched import contents

HOUSEKEEPING = frozenset({"counters", "budgets", "alarms", "meta", "deks", "readers"})
FOLLOWING = ("feed", "rendered_", "names", "list_", "search", "log_", "fts")
"""Tables that follow the change log by themselves, some time after what was accepted before."""
BOOKS = {"in_batches", "in_parts", "in_streams", "receipts", "audit", "audit_partitions", "used_ids"}
"""What a batch that is signed, and of which nothing is applied, may leave: itself, its receipt and the trail."""
MET = BOOKS - {"receipts", "in_streams", "in_batches", "in_parts"}
"""What a request leaves that is refused: that it was one."""


class Answer(Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int
    code: str | None
    result: str | None
    body: bytes


class Attacker(Forger):
    """Sends over HTTP, signed as Tonghua signs its requests."""

    async def hit(self, sealed: Sealed, parts: Mapping[str, bytes] | None = None, **changed: Any) -> Answer:
        """Post a batch; `changed`: `document` or `checkpoint` instead of its own."""
        sealed = msgspec.structs.replace(sealed, **changed)
        inline = {part.name: part.data for part in sealed.parts} if parts is None else parts
        return await self.post_body(posted_of(sealed.document.body, sealed.document.note, sealed.checkpoint, inline))

    async def post_body(self, body: bytes) -> Answer:
        """Post whatever it is."""
        url = f"http://127.0.0.1:{self.cities.baishan.settings.port}/x/v1/streams/{self.rules.stream}/batches"
        async with httpx.AsyncClient(auth=signed_by(self.cities.tonghua), verify=PLAIN, timeout=60) as client:
            answer = await client.post(url, content=body, headers={"content-type": "application/json"})
        said = answer.json()
        if "note" in said:
            receipt = json.loads(said["body"])
            return Answer(status=answer.status_code, code=receipt["code"], result=receipt["result"], body=answer.content)
        return Answer(status=answer.status_code, code=said.get("code"), result=said.get("state"), body=answer.content)


class Field(Struct):
    """Both cities, opened here too, and the process that is attacked."""

    cities: Cities
    attacker: Attacker
    process: Child

    async def of_baishan(self) -> dict[str, str]:
        """Digests of its tables."""
        found = await contents(self.cities.baishan.store, without=HOUSEKEEPING)
        return {name: digest for name, digest in found.items() if not name.startswith(FOLLOWING)}

    async def held(self) -> dict[str, str]:
        """Op of everything it holds of Tonghua."""
        rows = await self.cities.baishan.store.reads.all(sa.select(in_records.c.record_id, in_records.c.op))
        return {row.record_id: row.op for row in rows}


class Ground:
    """Where a test sets its field up, with the process as it wants it."""

    def __init__(self, folder: Path, ports: tuple[int, int], stack: AsyncExitStack) -> None:
        self.folder, self.ports, self.stack = folder, ports, stack

    async def field(self, *, now: str = NOW, pages: int = 0) -> Field:
        """Both cities opened here, and Baishan served by another process."""
        process = serving(self.folder / "bs", self.ports[1], now=now, pages=pages)
        self.stack.callback(process.kill)
        tonghua = await self.stack.enter_async_context(a_city(self.folder / "th", TONGHUA, now=now, port=self.ports[0], new=False))
        baishan = await self.stack.enter_async_context(a_city(self.folder / "bs", BAISHAN, now=now, port=self.ports[1], new=False))
        cities = Cities(tonghua, baishan, Line())
        return Field(cities, Attacker(cities), process)


def refused(answer: Answer, status: int, code: str) -> None:
    """A problem of this code."""
    assert (answer.status, answer.code) == (status, code), answer.body
