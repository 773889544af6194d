"""Asks witnesses and served logs over HTTP: bounded in time and bytes, never redirected.

The addresses come from the operator's own file or command line, never from a partner. This file must not believe what it is answered:
signatures and proofs are checked by whoever asked.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from gateway.core.errors import ExchangeError
from gateway.operations.verify_log import Fetch

if TYPE_CHECKING:
    import httpx  # with all that it brings it is a tenth of a start; who never asks a witness never needs it

TIMEOUT_S: Final = 20.0
"""Until something comes; of a witness until all of it has come."""
LONGEST_FILE_S: Final = 600.0
TRIES: Final = 4
LONGEST_PAUSE_S: Final = 30.0
MAX_ANSWER: Final = 64 * 1024
MAX_FILE: Final = 2 * 2**30


async def ask_witness(url: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of what a witness answers to `add-checkpoint`.

    Raises OSError when there is no answer, or too much of one.
    """
    import httpx

    try:
        async with (
            asyncio.timeout(TIMEOUT_S),  # heads are signed when it is done: nobody may drip
            httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client,
            client.stream("POST", url, content=body, headers={"content-type": "text/plain; charset=utf-8"}) as response,
        ):
            return response.status_code, await _read(response, MAX_ANSWER)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConnectionError(type(error).__name__) from None


async def _read(response: "httpx.Response", limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            raise ConnectionError("the answer is too long")
    return bytes(body)


@asynccontextmanager
async def fetching(origin: str) -> AsyncIterator[Fetch]:
    """Reads paths below an origin: quietly, one connection, until the end of the block."""
    import httpx

    async with httpx.AsyncClient(base_url=origin, timeout=TIMEOUT_S, trust_env=False) as client:

        async def fetch(path: str) -> bytes:
            fault = ExchangeError("led on and on", code="NOT_FOUND", place=path)
            for _ in range(TRIES):
                try:
                    async with asyncio.timeout(LONGEST_FILE_S), client.stream("GET", path) as response:
                        if response.status_code in (301, 302, 307, 308):
                            path = str(response.headers["location"]).removeprefix(origin)
                            if not path.startswith("/"):
                                raise ExchangeError("led to another place", code="NOT_FOUND", place=path)
                            continue
                        if response.status_code in (429, 503):  # a version that is just being made anew, say
                            fault = ExchangeError(f"answered {response.status_code}", code="UNAVAILABLE", place=path)
                            await asyncio.sleep(_pause(response.headers.get("retry-after", "")))
                            continue
                        if response.status_code != 200:
                            raise ExchangeError(f"answered {response.status_code}", code="NOT_FOUND", place=path)
                        return await _read(response, MAX_FILE)
                except (httpx.HTTPError, OSError) as error:
                    raise ExchangeError(f"no answer: {type(error).__name__}", code="UNAVAILABLE", place=path) from None
            raise fault

        yield fetch


def _pause(said: str) -> float:
    """Seconds until it is tried again, as the server would have it, within reason."""
    return min(float(said), LONGEST_PAUSE_S) if said.isascii() and said.isdigit() else 1.0
