"""The two suites of stored values (policy.md §11): 1 = AES-256-GCM, SHA-256, HMAC-SHA256; 2 = SM4-GCM, SM3, HMAC-SM3.

Rules: a suite is chosen for what is newly written; what is read names its own, and any of the two is readable. A key of 32 bytes serves
both: SM4, whose keys are shorter, gets one derived from it, so that one key never serves two ciphers. This room must not keep a key.
"""

import hashlib
from collections.abc import Callable
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from gateway.core.signing import hmac_with, sm3

NONCE: Final = 12
TAG: Final = 16
KEY_BYTES: Final = 32


class Aead(Protocol):
    """Authenticated encryption under one key: the tag stands behind the ciphertext."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """The ciphertext and its tag."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """The plain bytes. Raises InvalidTag."""
        ...


class Sm4Gcm:
    """SM4 (GB/T 32907) in Galois counter mode."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = algorithms.SM4(HKDF(algorithm=hashes.SM3(), length=16, salt=None, info=b"chengxin-sm4").derive(key))

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """The ciphertext and its tag."""
        made = Cipher(self._cipher, modes.GCM(nonce)).encryptor()
        if associated_data is not None:
            made.authenticate_additional_data(associated_data)
        return made.update(data) + made.finalize() + made.tag

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """The plain bytes. Raises InvalidTag."""
        opened = Cipher(self._cipher, modes.GCM(nonce, data[-TAG:])).decryptor()
        if associated_data is not None:
            opened.authenticate_additional_data(associated_data)
        return opened.update(data[:-TAG]) + opened.finalize()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key is neither pickled nor copied")


_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
"""The pads of RFC 2104. Both hashes are begun once for a key: a copy of an `hmac` object costs as much again."""


class Suite(Struct, frozen=True, kw_only=True):
    """A cipher, a hash and what is made of them."""

    number: int
    aead: Callable[[bytes], Aead]
    hash: Callable[[], hashes.HashAlgorithm]

    def derive(self, root: bytes, label: str) -> bytes:
        """The key of a label: HKDF (RFC 5869) with the label as `info`."""
        return HKDF(algorithm=self.hash(), length=KEY_BYTES, salt=None, info=label.encode()).derive(root)

    def mac(self, key: bytes) -> Callable[[bytes], bytes]:
        """HMAC under a key, for many values."""
        if self.number == 1:
            padded = key.ljust(hashlib.sha256().block_size, b"\0")
            inner, outer = (hashlib.sha256(padded.translate(pad)) for pad in (_INNER, _OUTER))

            def digest(data: bytes) -> bytes:
                within, around = inner.copy(), outer.copy()
                within.update(data)
                around.update(within.digest())
                return around.digest()

            return digest
        return lambda data: hmac_with(sm3, key, data)


SUITES: Final = {
    1: Suite(number=1, aead=AESGCM, hash=hashes.SHA256),
    2: Suite(number=2, aead=Sm4Gcm, hash=hashes.SM3),
}


def seal_under(secret: bytes, label: str, place: bytes, data: bytes, *, nonce: bytes, suite: int) -> bytes:
    """Bytes under a key that follows from a secret which stands nowhere here: number of the suite, nonce, ciphertext."""
    used = SUITES[suite]
    return bytes([suite]) + nonce + used.aead(used.derive(secret, label)).encrypt(nonce, data, place)


def open_under(secret: bytes, label: str, place: bytes, sealed: bytes) -> bytes | None:
    """The plain bytes; None when they were changed, sealed under another secret, or by a newer program."""
    used = SUITES.get(sealed[0]) if sealed else None
    if used is None:
        return None
    try:
        return used.aead(used.derive(secret, label)).decrypt(sealed[1 : 1 + NONCE], sealed[1 + NONCE :], place)
    except InvalidTag:
        return None
