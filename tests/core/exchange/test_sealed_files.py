"""Files of a line are packed and sealed under their names; what is not the sealed file of that name does not open."""

import gzip

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ExchangeError
from gateway.core.exchange import sealed_files
from gateway.core.exchange.sealed_files import open_file, read_file_key, seal_file

KEY = bytes(range(32))
NAME = "TH110000000001202612017100001" + "0.enc"


@given(st.binary(max_size=2000))
def test_what_is_sealed_opens(data: bytes) -> None:
    """A file opens to what it was, and sealing it again gives the same bytes."""
    sealed = seal_file(KEY, NAME, data)
    assert open_file(KEY, NAME, sealed) == data
    assert seal_file(KEY, NAME, data) == sealed


def test_the_form_is_nonce_ciphertext_tag() -> None:
    """Anybody with AES-256-GCM and gzip opens the file: 12 bytes of nonce, then ciphertext and tag, the name as associated data."""
    sealed = seal_file(KEY, NAME, b"A050")
    assert gzip.decompress(AESGCM(KEY).decrypt(sealed[:12], sealed[12:], NAME.encode())) == b"A050"


def test_nonces_differ() -> None:
    """Another name, another content or another key never shares a nonce."""
    files = [(KEY, NAME, b"a"), (KEY, NAME, b"b"), (KEY, NAME[1:], b"a"), (KEY[::-1], NAME, b"a")]
    assert len({seal_file(*each)[:12] for each in files}) == len(files)


@pytest.mark.parametrize("at", [0, 11, 12, 30, -1])
def test_a_changed_byte_does_not_open(at: int) -> None:
    """One changed byte anywhere, a cut end, another key or another name is FILE_SEALED."""
    sealed = bytearray(seal_file(KEY, NAME, b"A050" * 20))
    changed = bytearray(sealed)
    changed[at] ^= 1
    for key, name, data in (
        (KEY, NAME, bytes(changed)),
        (KEY, NAME, bytes(sealed[:-1])),
        (KEY, NAME, bytes(sealed[: 12 + at % 12])),
        (KEY[::-1], NAME, bytes(sealed)),
        (KEY, NAME.replace("1", "2"), bytes(sealed)),
    ):
        with pytest.raises(ExchangeError) as refused:
            open_file(key, name, data)
        assert refused.value.code == "FILE_SEALED"


def _sealed_raw(packed: bytes) -> bytes:
    return b"\0" * 12 + AESGCM(KEY).encrypt(b"\0" * 12, packed, NAME.encode())


def test_a12_a_bomb_in_a_sealed_file_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sealed file that unpacks without end is SIZE_BYTES after the bound, whoever had the key."""
    monkeypatch.setattr(sealed_files, "MAX_FILE", 100_000)
    with pytest.raises(ExchangeError) as refused:
        open_file(KEY, NAME, _sealed_raw(gzip.compress(b"\0" * 10_000_000)))
    assert refused.value.code == "SIZE_BYTES"


# the packing time is fixed: it is part of the bytes, and without one two workers would name these tests differently
X = gzip.compress(b"x", mtime=0)


@pytest.mark.parametrize("packed", [b"plain", X[:-3], X + b"y", X * 2], ids=["plain", "cut", "something behind", "two"])
def test_what_is_inside_is_one_gzip(packed: bytes) -> None:
    """No gzip, a cut one, or something behind it is FILE_SEALED although the key is right."""
    with pytest.raises(ExchangeError) as refused:
        open_file(KEY, NAME, _sealed_raw(packed))
    assert refused.value.code == "FILE_SEALED"


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 31, "00" * 33])
def test_a_wrong_key_is_refused(text: str) -> None:
    """A file key is 64 hex digits and nothing else; the error does not repeat it."""
    with pytest.raises(ExchangeError) as refused:
        read_file_key(text, place="file_key")
    assert refused.value.code == "FILE_SEALED"
    assert len(text) < 3 or text not in str(refused.value)
