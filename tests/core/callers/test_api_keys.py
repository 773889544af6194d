"""The form of API keys: made, taken apart, checked before any look-up, kept as an HMAC only."""

import zlib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.callers import api_keys
from gateway.core.callers.refusals import CredentialRefused
from gateway.core.errors import BodyInvalid

PEPPER = b"p" * 32
KEY = api_keys.make_key("live", bytes(range(38)))


@given(st.binary(min_size=38, max_size=38), st.sampled_from(["live", "test"]))
def test_a_made_key_reads_back(drawn: bytes, mode: api_keys.Mode) -> None:
    """Whatever is drawn, the key has the published form and its own check characters."""
    text = api_keys.make_key(mode, drawn)
    assert api_keys.SHAPE.fullmatch(text)
    key = api_keys.read_key(text)
    assert (key.mode, len(key.key_id), len(key.secret)) == (mode, 8, 43)
    assert key.secret not in repr(key)


def test_the_check_is_crc_32_in_six_digits() -> None:
    """CRC-32 of everything before the last underscore, base62, most significant digit first, padded with zeros."""
    body, _, check = KEY.rpartition("_")
    number = 0
    for character in check:
        number = number * 62 + api_keys.ALPHABET.index(character)
    assert number == zlib.crc32(body.encode())
    assert api_keys.base62(0, 6) == "000000"
    assert api_keys.base62(61, 2) == "0z"
    with pytest.raises(ValueError, match="more digits"):
        api_keys.base62(62, 1)


@given(st.integers(0, len(KEY) - 1), st.sampled_from(api_keys.ALPHABET + "_ \n."))
def test_one_altered_character_is_noticed(place: int, character: str) -> None:
    """Form or check characters tell, and no look-up is needed."""
    altered = KEY[:place] + character + KEY[place + 1 :]
    if altered != KEY:
        with pytest.raises(CredentialRefused) as refused:
            api_keys.read_key(altered)
        assert refused.value.cause in ("key-form", "key-check")
        assert refused.value.code == "credentials-invalid"


@pytest.mark.parametrize(
    "text", ["", KEY + "\n", KEY[:-1], KEY + "0", "cxk_prod" + KEY[8:], KEY.replace("_", "-"), KEY.translate({ord("0"): "０"})]
)
def test_another_form_is_no_key(text: str) -> None:
    """Longer, shorter, another mode, full-width digits."""
    with pytest.raises(CredentialRefused):
        api_keys.read_key(text)


def test_the_secret_is_compared_whole() -> None:
    """The right one passes; another secret, another pepper and an id that nobody has do not."""
    key = api_keys.read_key(KEY)
    kept = api_keys.mac_of(PEPPER, key)
    api_keys.check_secret([PEPPER], key, kept)
    for pepper, other, cause in ((b"q" * 32, kept, "key-secret"), (PEPPER, kept[::-1], "key-secret"), (PEPPER, None, "key-unknown")):
        with pytest.raises(CredentialRefused) as refused:
            api_keys.check_secret([pepper], key, other)
        assert refused.value.cause == cause
    assert kept != api_keys.mac_of(PEPPER, api_keys.read_key(api_keys.make_key("live", bytes(6) + bytes(range(6, 38)))))


@pytest.mark.parametrize(
    ("address", "networks", "inside"),
    [
        ("203.0.113.9", (), True),
        ("", (), True),
        ("203.0.113.9", ("203.0.113.0/24",), True),
        ("::ffff:203.0.113.9", ("203.0.113.0/24",), True),
        ("203.0.114.9", ("203.0.113.0/24", "198.51.100.7/32"), False),
        ("2001:db8:0:1::5", ("2001:db8::/48",), True),
        ("2001:db8:1::5", ("2001:db8::/48",), False),
        ("", ("203.0.113.0/24",), False),
        ("unix", ("203.0.113.0/24",), False),
    ],
)
def test_a_key_may_be_kept_to_networks(address: str, networks: tuple[str, ...], inside: bool) -> None:
    """Without a list it works everywhere; with one only from there, and never from an address that is none."""
    if inside:
        api_keys.check_network(address, networks)
    else:
        with pytest.raises(CredentialRefused):
            api_keys.check_network(address, networks)


def test_what_an_office_may_ask_for() -> None:
    """Networks without host bits, known scopes, a day to a year; anything else is named by place."""
    today = date(2026, 6, 1)
    assert api_keys.read_networks(["198.51.100.0/24"]) == ("198.51.100.0/24",)
    assert api_keys.read_scopes(["lists", "changes", "lists"]) == ("changes", "lists")
    assert api_keys.last_day(365, None, today) == api_keys.last_day(None, None, today) == date(2027, 6, 1)
    assert api_keys.last_day(None, date(2026, 6, 2), today) == date(2026, 6, 2)
    for wrong in (["198.51.100.1/24"], ["x"], ["10.0.0.0/8"] * 17):
        with pytest.raises(BodyInvalid, match="cidr"):
            api_keys.read_networks(wrong)
    with pytest.raises(BodyInvalid, match="scope"):
        api_keys.read_scopes(["everything"])
    for days in (0, 366, -1):
        with pytest.raises(BodyInvalid, match="days"):
            api_keys.last_day(days, None, today)
    for until in (today, date(2027, 6, 2)):
        with pytest.raises(BodyInvalid, match="until"):
            api_keys.last_day(None, until, today)
    with pytest.raises(BodyInvalid, match="until"):
        api_keys.last_day(5, date(2026, 6, 5), today)
