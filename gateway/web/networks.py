"""Where an anonymous request comes from, as far as quotas need it: a network, never kept beyond its bucket.

Rules: an IPv4 address stands for itself, an IPv6 address for its /64; behind our own proxies the caller is the n-th address from the
right of the joined `X-Forwarded-For`, and whatever a client writes further left changes nothing; what is malformed falls back to the
peer. A network is never logged.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final

from gateway.web.asgi import Scope

NOWHERE: Final = "-"
"""A peer without an address: a Unix socket."""
_FORWARDED: Final = b"x-forwarded-for"
_WITH_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


@lru_cache(maxsize=4096)
def network(address: str) -> str | None:
    """The network that an address counts under; None when it is no address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((found, 64), strict=False))


def network_of(scope: Scope, trusted_proxies: int = 0) -> str:
    """The network of a request."""
    return network(address_of(scope, trusted_proxies)) or NOWHERE


def address_of(scope: Scope, trusted_proxies: int = 0) -> str:
    """The address of whoever sent a request, behind our own proxies; empty where there is none."""
    peer = scope.get("client")
    own = str(peer[0]) if peer else ""
    if not trusted_proxies:
        return own
    joined = b",".join(value for name, value in scope["headers"] if name == _FORWARDED)
    hops = joined.split(b",") if joined else []
    if len(hops) < trusted_proxies:
        return own
    said = hops[-trusted_proxies].strip().decode("latin-1")
    match = _WITH_PORT.fullmatch(said)
    found = match[1] or match[2] if match else said
    return found if network(found) is not None else own
