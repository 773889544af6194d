"""Which network an anonymous request counts under."""

from typing import Any

import pytest

from gateway.web.networks import NOWHERE, network_of


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    return {
        "client": None if peer is None else (peer, 4711),
        "headers": [(b"x-forwarded-for", each.encode()) for each in forwarded],
    }


def test_an_address_of_version_four_stands_for_itself() -> None:
    """An IPv4 network is a /32."""
    assert network_of(scope("203.0.113.9")) == "203.0.113.9"


@pytest.mark.parametrize("address", ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"])
def test_an_address_of_version_six_counts_with_its_neighbours(address: str) -> None:
    """An IPv6 network is a /64."""
    assert network_of(scope(address)) == "2001:db8:1:2::/64"


def test_a_mapped_address_is_the_one_it_maps() -> None:
    """IPv4 inside IPv6 is not a /64 that everybody shares."""
    assert network_of(scope("::ffff:203.0.113.9")) == "203.0.113.9"


def test_a_client_cannot_choose_its_network() -> None:
    """Without trusted proxies the header means nothing."""
    assert network_of(scope("203.0.113.9", "198.51.100.7")) == "203.0.113.9"


def test_the_caller_is_counted_from_the_right() -> None:
    """Behind n proxies the n-th address from the right is the caller's; what stands further left was written by anybody."""
    said = scope("10.0.0.1", "1.1.1.1, 198.51.100.7", "10.0.0.2")
    assert network_of(said, 1) == "10.0.0.2"
    assert network_of(said, 2) == "198.51.100.7"
    assert network_of(said, 3) == "1.1.1.1"
    assert network_of(said, 4) == "10.0.0.1"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("198.51.100.7:8080", "198.51.100.7"),
        ("[2001:db8::1]:443", "2001:db8::/64"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("1.2.3", "10.0.0.1"),
        ("198.51.100.7; rm", "10.0.0.1"),
        ("[2001:db8::1", "10.0.0.1"),
    ],
)
def test_a_malformed_address_falls_back_to_the_peer(said: str, found: str) -> None:
    """Ports and brackets are understood; anything else is the proxy's own fault and counts under it."""
    assert network_of(scope("10.0.0.1", said), 1) == found


def test_a_peer_without_an_address_has_a_place_of_its_own() -> None:
    """A Unix socket has no address."""
    assert network_of(scope(None)) == NOWHERE
    assert network_of(scope("")) == NOWHERE
