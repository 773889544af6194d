"""Transport encryption of one line's files: gzip, then AES-256-GCM (exchange.md §18, `pboc_file`).

Rules: a sealed file is `nonce12 ‖ ciphertext ‖ tag16`, and its name is associated data: a file under another name does not open. The nonce
follows from key, name and content, so the same file is sealed to the same bytes each time it is sent, and two different ones never
share a nonce. Unpacking is bounded. What it protects is the way; who said it is a matter of signatures. This room must not read a key file.
"""

import gzip
import zlib
from hashlib import sha256

from gateway.core.errors import ExchangeError
from gateway.core.signing import aead_open, aead_seal, hmac_with

NONCE_BYTES = 12
TAG_BYTES = 16
KEY_BYTES = 32
NONCE_LABEL = b"chengxin-exchange/file-nonce/1"
MAX_FILE = 64 * 2**20
"""Of a file, sealed or open."""


def read_file_key(text: str, *, place: str) -> bytes:
    """A key as its file has it: 64 hex digits.

    Raises ExchangeError FILE_SEALED.
    """
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ExchangeError("a file key is 64 hex digits", code="FILE_SEALED", place=place, hint="openssl rand -hex 32")
    return key


def seal_file(key: bytes, name: str, data: bytes) -> bytes:
    """One file, packed and sealed under its name.

    Raises ExchangeError SIZE_BYTES.
    """
    if len(data) > MAX_FILE:
        raise ExchangeError("the file is too large to be sealed", code="SIZE_BYTES", place=name)
    packed = gzip.compress(data, mtime=0)
    named = name.encode()
    said = len(named).to_bytes(4, "big") + named + packed
    nonce = hmac_with(_sha256, hmac_with(_sha256, key, NONCE_LABEL), said)[:NONCE_BYTES]
    return nonce + aead_seal(key, nonce, packed, named)


def open_file(key: bytes, name: str, data: bytes) -> bytes:
    """What was sealed under this name.

    Raises ExchangeError FILE_SEALED for another key, another name or changed bytes, SIZE_BYTES for what does not end.
    """
    if len(data) > MAX_FILE:
        raise ExchangeError("the sealed file is too large", code="SIZE_BYTES", place=name)
    packed = aead_open(key, data[:NONCE_BYTES], data[NONCE_BYTES:], name.encode()) if len(data) >= NONCE_BYTES + TAG_BYTES else None
    if packed is None:
        raise ExchangeError("the file does not open: other key, other name, or changed", code="FILE_SEALED", place=name)
    engine = zlib.decompressobj(wbits=31)
    try:
        opened = engine.decompress(packed, MAX_FILE + 1)
    except zlib.error as error:
        raise ExchangeError("the opened file is not gzip", code="FILE_SEALED", place=name) from error
    if len(opened) > MAX_FILE:
        raise ExchangeError("the opened file is too large", code="SIZE_BYTES", place=name)
    if not engine.eof or engine.unused_data:
        raise ExchangeError("the opened file is cut off, or something follows it", code="FILE_SEALED", place=name)
    return opened


def _sha256(data: bytes) -> bytes:
    return sha256(data).digest()
