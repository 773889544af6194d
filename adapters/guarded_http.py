"""HTTP to one partner's address and nowhere else: what lines over HTTP share.

Rules:
- The name is resolved, every address is checked, and the connection goes to the address that was checked: private, loopback,
  link-local, shared and metadata addresses are refused unless the line says `allow_private`; TLS still asks for the name.
- No redirect is followed; the environment is never asked for a proxy; nothing is retried.
- Time, bytes and rate of each answer are bounded. A request that may have an effect and was sent without an answer is `outcome_unknown`.
"""

import asyncio
import email.utils
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx

from gateway.adapter_contract import AdapterError, Diagnostic

__all__ = ["GuardedHttp", "bounded", "clocks", "is_public"]

SLOWEST_BYTES_S = 1024
SLOWEST_WINDOW_S = 30.0
CLOCK_TOLERANCE_S = 60.0

_SHARED = ip_network("100.64.0.0/10")
_NAT64 = ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], Any]
"""Host and port → addresses as texts: the system's own, unless a test says otherwise."""


@cache
def _everybodys() -> ssl.SSLContext:
    """The context that trusts the public authorities: their certificates are read once in a process, not for every line."""
    return httpx.create_ssl_context(trust_env=False)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one that the whole world may reach, seen through IPv4-mapped and NAT64 forms."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    elif address in _SHARED:
        return False
    return address.is_global and not address.is_multicast


class GuardedHttp:
    """One pool of connections to one partner."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        proxy: str | None = None,
        ca_file: str | None = None,
        allow_private: bool = False,
        resolve: Resolve | None = None,
    ) -> None:
        try:
            url = urlsplit(base_url)
            port = url.port
        except ValueError as error:
            raise AdapterError("CONFIG", "base_url 无法读取", transient=False) from error
        if url.scheme not in ("https", "http") or not url.hostname or url.username or url.query or url.fragment:
            raise AdapterError("CONFIG", "base_url 应为 https://主机/路径", transient=False)
        self._base = base_url.rstrip("/")
        self._scheme = url.scheme
        self._host: str = url.hostname
        self._port = port or (443 if url.scheme == "https" else 80)
        self._proxy = proxy
        self._allow_private = allow_private
        self._resolve = resolve
        verify = _everybodys()
        if ca_file is not None:
            try:
                verify = ssl.create_default_context(cafile=ca_file)
            except (OSError, ssl.SSLError) as error:
                raise AdapterError("CONFIG", "ca_file 无法读取", transient=False) from error
        self._client = httpx.AsyncClient(
            verify=verify,
            proxy=proxy,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(timeout_s),
            limits=httpx.Limits(max_connections=4, max_keepalive_connections=2),
        )

    @asynccontextmanager
    async def answer(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], seconds: float
    ) -> AsyncIterator[httpx.Response]:
        """The beginning of the partner's answer to one request; its body is read with `bounded` before the context ends.

        Raises AdapterError UNAVAILABLE.
        """
        begun = False
        try:
            async with asyncio.timeout(seconds):
                target, extensions = await self._target(path, headers)
                begun = method != "GET"
                async with self._client.stream(
                    method, target, content=body, headers=headers, extensions=extensions, timeout=seconds
                ) as answer:
                    if answer.is_redirect and answer.status_code != httpx.codes.NOT_MODIFIED:
                        raise AdapterError("UNAVAILABLE", "对方要求转到另一地址，未跟随", transient=False, outcome_unknown=begun)
                    yield answer
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise AdapterError("UNAVAILABLE", "无法连接对方", transient=True) from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise AdapterError("UNAVAILABLE", "对方未在时限内回答", transient=True, outcome_unknown=begun) from error
        except httpx.HTTPError as error:
            raise AdapterError("UNAVAILABLE", "连接中断", transient=True, outcome_unknown=begun) from error

    async def close(self) -> None:
        """Let go of the connections; twice is harmless."""
        await self._client.aclose()

    async def _target(self, path: str, headers: dict[str, str]) -> tuple[str, dict[str, Any]]:
        """The URL with the checked address in place of the name; TLS still asks for the name."""
        if self._proxy is not None:
            return self._base + path, {}
        address = (await self.addresses())[0]
        host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
        default = 443 if self._scheme == "https" else 80
        headers["host"] = self._host if self._port == default else f"{self._host}:{self._port}"
        base = urlsplit(self._base)
        return f"{self._scheme}://{host}:{self._port}{base.path}{path}", {"sni_hostname": self._host}

    async def addresses(self) -> list[IPv4Address | IPv6Address]:
        """Every address of the partner's name, all of them allowed.

        Raises AdapterError UNAVAILABLE.
        """
        try:
            if self._resolve is not None:
                found = self._resolve(self._host, self._port)
            else:
                loop = asyncio.get_running_loop()
                found = [entry[4][0] for entry in await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)]
        except OSError as error:
            raise AdapterError("UNAVAILABLE", "对方主机名无法解析", transient=True) from error
        addresses = [ip_address(str(text).partition("%")[0]) for text in dict.fromkeys(found)]
        if not addresses:
            raise AdapterError("UNAVAILABLE", "对方主机名没有地址", transient=True)
        if not self._allow_private and not all(map(is_public, addresses)):
            raise AdapterError("UNAVAILABLE", "对方主机名指向内部地址，已拒绝；确需访问请设置 allow_private", transient=False)
        if self._scheme == "http" and not (self._allow_private and all(address.is_loopback for address in addresses)):
            raise AdapterError("UNAVAILABLE", "明文 http 仅限测试模式下的本机地址", transient=False)
        return addresses


def clocks(said: str | None) -> list[Diagnostic]:
    """How far the partner's clock is from ours, by the date of an answer; nothing where it gives none that can be read."""
    try:
        when = email.utils.parsedate_to_datetime(said) if said else None
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        return []
    apart = abs((datetime.now(UTC) - when).total_seconds())
    near = apart <= CLOCK_TOLERANCE_S
    remedy = None if near else "检查两边的时间同步"
    return [Diagnostic(what="时钟", ok=near, message=f"两边时钟相差约 {apart:.0f} 秒", remedy=remedy)]


async def bounded(answer: httpx.Response, limit: int) -> bytes:
    """The body, at most `limit` bytes and not slower than agreed.

    Raises AdapterError SIZE_BYTES, SIZE_TIME.
    """
    chunks: list[bytes] = []
    size, window, since = 0, 0, monotonic()
    async for chunk in answer.aiter_raw():
        size += len(chunk)
        window += len(chunk)
        if size > limit:
            raise AdapterError("SIZE_BYTES", "对方的回答过大", transient=False)
        chunks.append(chunk)
        if monotonic() - since > SLOWEST_WINDOW_S:
            if window < SLOWEST_BYTES_S * SLOWEST_WINDOW_S:
                raise AdapterError("SIZE_TIME", "对方回答过慢", transient=True)
            window, since = 0, monotonic()
    return b"".join(chunks)
