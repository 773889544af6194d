"""Keys and ciphertexts of stored values (policy.md §11): one key-encryption key, data keys wrapped under it, blind indexes.

Rules:
- A stored ciphertext is `suite ‖ key version ‖ dek id ‖ nonce ‖ ciphertext ‖ tag`, its associated data `table|field|record id|key version`:
  moved to another row or column it does not open.
- A data key belongs to one natural person or individual business, or to one (dataset, year) of organisations. Destroying the
  row in `deks` makes all that it encrypted unreadable, wherever a copy lies. Its number is never given again.
- Keys for other ends are derived from the key-encryption key under the labels of policy.md §11, so that each rotates alone.
- Nonces come from the operating system, also in test mode: a seeded stream would repeat them after a restart.

This room must not know what the values mean, nor keep a person's data key in memory.
"""

import hashlib
import hmac
import os
import stat
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec
import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.core.errors import SettingsError, StoreError
from gateway.store.dialects import among
from gateway.store.tables import deks

SUITE_AES = 1  # AES-256-GCM, SHA-256, HMAC-SHA256
_HEADER = struct.Struct(">BHQ")  # suite, key version, dek id
_NONCE = 12
_TAG = 16
KEK_BYTES = 32


class Source(Protocol):
    """What data keys are read from: `Reads`, or a `Transaction`."""

    fresh_keys: bool
    """Whether it sees data keys that are not committed."""

    async def all(self, statement: sa.Executable, params: Mapping[str, Any] | None = None) -> list[Any]:
        """All rows."""
        ...


@runtime_checkable
class Writing(Source, Protocol):
    """What data keys are made in: a `Transaction`."""

    async def number(self, counter: str, n: int = 1) -> int:
        """The first of `n` numbers that are never given again."""
        ...

    async def insert(self, table: sa.Table, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows."""
        ...


class Dek:
    """A data key, ready to use; no repr, not pickled."""

    __slots__ = ("_aead", "dek_id", "key_version", "prefix", "suffix")

    def __init__(self, dek_id: int, key_version: int, key: bytes) -> None:
        self.dek_id = dek_id
        self.key_version = key_version
        self.prefix = _HEADER.pack(SUITE_AES, key_version, dek_id)
        self.suffix = f"|{key_version}"
        self._aead = AESGCM(key)

    @property
    def aead(self) -> AESGCM:
        """The cipher; for the vault alone."""
        return self._aead

    def __repr__(self) -> str:
        return f"<Dek {self.dek_id}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a data key is neither pickled nor copied")


class Vault:
    """The key-encryption key and what follows from it. `random` makes data keys; nonces always come from the operating system."""

    def __init__(self, kek: bytes, random: Callable[[int], bytes] = os.urandom, *, version: int = 1) -> None:
        if len(kek) != KEK_BYTES:
            raise SettingsError("the key-encryption key must have 32 bytes", code="key-invalid", hint="`chengxin init` makes one")
        self._kek = kek
        self._random = random
        self._keys: dict[str, bytes] = {}
        self._shared: dict[int, Dek] = {}  # of organisations only: a person's key is looked up each time, so that shredding is at once
        self._shared_by_scope: dict[str, Dek] = {}
        self.version = version

    def __repr__(self) -> str:
        return "<Vault>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a vault is neither pickled nor copied")

    # --- derived keys ------------------------------------------------------------------------------------------------

    def key(self, label: str) -> bytes:
        """32 bytes for one end, by HKDF-SHA256 (RFC 5869) of the key-encryption key with the label as `info`."""
        key = self._keys.get(label)
        if key is None:
            key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=label.encode()).derive(self._kek)
            self._keys[label] = key
        return key

    def digest(self, label: str, data: bytes) -> bytes:
        """HMAC-SHA256 of the data under the key of this label."""
        return hmac.digest(self.key(label), data, "sha256")

    def digester(self, label: str) -> Callable[[bytes], bytes]:
        """`digest` for many values under one label."""
        start = hmac.new(self.key(label), digestmod="sha256")

        def digest(data: bytes) -> bytes:
            state = start.copy()
            state.update(data)
            return state.digest()

        return digest

    def blind(self, scope: str, field: str, value: str) -> str:
        """The blind index of a value: equality within (scope, field), nothing else. Hex of 16 bytes."""
        return hmac.digest(self.key(f"blind/{scope}/{field}"), value.encode(), "sha256")[:16].hex()

    # --- data keys ---------------------------------------------------------------------------------------------------

    async def dek(self, source: Source, scope: str, create: bool = False) -> Dek:
        """The data key of a scope.

        Raises StoreError `key-missing` when there is none (never made, or shredded) and `create` is not asked for.
        """
        found = await self.deks(source, (scope,), create=create)
        if scope not in found:
            raise StoreError("there is no data key of this scope: never made, or shredded", code="key-missing")
        return found[scope]

    async def deks(self, source: Source, scopes: Iterable[str], *, create: bool = False) -> dict[str, Dek]:
        """The data keys of many scopes, in one statement; with `create` (needs a transaction) the missing ones are made."""
        found: dict[str, Dek] = {}
        wanted: list[str] = []
        for scope in dict.fromkeys(scopes):
            shared = self._shared_by_scope.get(scope)
            if shared is None:
                wanted.append(scope)
            else:
                found[scope] = shared
        if wanted:
            for row in await source.all(_DEKS_BY_SCOPE, {"scopes": wanted}):
                found[row.scope] = self._unwrap(row, remember=not source.fresh_keys)
        missing = [scope for scope in wanted if scope not in found]
        if missing and create:
            found.update(await self._make(source, missing))
        return found

    async def deks_by_id(self, source: Source, ids: Iterable[int]) -> dict[int, Dek]:
        """The data keys with these numbers; a shredded one is absent."""
        found: dict[int, Dek] = {}
        wanted: list[int] = []
        for dek_id in dict.fromkeys(ids):
            shared = self._shared.get(dek_id)
            if shared is None:
                wanted.append(dek_id)
            else:
                found[dek_id] = shared
        if wanted:
            for row in await source.all(_DEKS_BY_ID, {"ids": wanted}):
                found[row.dek_id] = self._unwrap(row, remember=not source.fresh_keys)
        return found

    async def _make(self, source: Source, scopes: list[str]) -> dict[str, Dek]:
        if not isinstance(source, Writing):
            raise StoreError("a data key is made in a transaction only", code="store-error")
        first = await source.number("deks", len(scopes))
        material = self._random(KEK_BYTES * len(scopes))
        made: dict[str, Dek] = {}
        rows: list[tuple[object, ...]] = []
        for index, scope in enumerate(scopes):
            key = material[KEK_BYTES * index : KEK_BYTES * (index + 1)]
            dek = Dek(first + index, self.version, key)
            rows.append((dek.dek_id, scope, self.version, self._wrap(dek.dek_id, scope, key)))
            made[scope] = dek
        await source.insert(deks, ("dek_id", "scope", "key_version", "wrapped"), rows)
        source.fresh_keys = True  # not remembered yet: the transaction may still roll back
        return made

    def _wrap(self, dek_id: int, scope: str, key: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return bytes((SUITE_AES,)) + nonce + AESGCM(self.key("dek-wrap")).encrypt(nonce, key, f"{dek_id}|{scope}|{self.version}".encode())

    def _unwrap(self, row: Any, *, remember: bool) -> Dek:
        dek_id, scope, key_version, wrapped = row
        if not wrapped or wrapped[0] != SUITE_AES:
            raise StoreError(
                "a data key is wrapped in a suite that this version does not know", code="key-unknown-suite", place=f"deks:{dek_id}"
            )
        try:
            key = AESGCM(self.key("dek-wrap")).decrypt(
                wrapped[1 : 1 + _NONCE], wrapped[1 + _NONCE :], f"{dek_id}|{scope}|{key_version}".encode()
            )
        except InvalidTag:
            raise StoreError(
                "a data key does not open: another key-encryption key, or an altered row",
                code="key-wrong",
                place=f"deks:{dek_id}",
                hint="put back the KEK file that belongs to this database",
            ) from None
        dek = Dek(dek_id, key_version, key)
        if remember and not scope.startswith("subject:"):
            self._shared[dek_id] = self._shared_by_scope[scope] = dek
        return dek

    # --- values ------------------------------------------------------------------------------------------------------

    def seal(self, dek: Dek, table: str, field: str, record_id: str, value: bytes) -> bytes:
        """The ciphertext of a value, bound to its place."""
        nonce = os.urandom(_NONCE)
        return dek.prefix + nonce + dek.aead.encrypt(nonce, value, f"{table}|{field}|{record_id}{dek.suffix}".encode())

    def seal_many(self, table: str, values: Sequence[tuple[Dek, str, str, bytes]]) -> list[bytes]:
        """The ciphertexts of many (data key, field, record id, value), in order."""
        nonces = os.urandom(_NONCE * len(values))
        sealed = []
        at = 0
        for dek, field, record_id, value in values:
            nonce = nonces[at : at + _NONCE]
            at += _NONCE
            sealed.append(dek.prefix + nonce + dek.aead.encrypt(nonce, value, f"{table}|{field}|{record_id}{dek.suffix}".encode()))
        return sealed

    def open(self, dek: Dek, table: str, field: str, record_id: str, sealed: bytes) -> bytes:
        """The value of a ciphertext.

        Raises StoreError `value-altered` when it was changed, or moved from another row or column.
        """
        suite, key_version, dek_id = _header(sealed)
        if suite != SUITE_AES or dek_id != dek.dek_id:
            raise StoreError("a stored value names another suite or data key", code="value-altered", place=f"{table}:{record_id}:{field}")
        start = _HEADER.size
        try:
            return dek.aead.decrypt(
                sealed[start : start + _NONCE], sealed[start + _NONCE :], f"{table}|{field}|{record_id}|{key_version}".encode()
            )
        except InvalidTag:
            raise StoreError(
                "a stored value was altered, or moved from another row or column",
                code="value-altered",
                place=f"{table}:{record_id}:{field}",
            ) from None

    def house_dek(self, label: str) -> Dek:
        """A key that is derived instead of stored, for what belongs to nobody in particular (audit details); its number is 0."""
        return Dek(0, self.version, self.key(label))


def dek_id_of(sealed: bytes) -> int:
    """Which data key a ciphertext names."""
    return _header(sealed)[2]


def _header(sealed: bytes) -> tuple[int, int, int]:
    if len(sealed) < _HEADER.size + _NONCE + _TAG:
        raise StoreError("a stored value is shorter than any ciphertext", code="value-altered")
    suite, key_version, dek_id = _HEADER.unpack_from(sealed)
    return suite, key_version, dek_id


_DEKS_BY_SCOPE = sa.select(deks.c.dek_id, deks.c.scope, deks.c.key_version, deks.c.wrapped).where(among(deks.c.scope, "scopes"))
_DEKS_BY_ID = sa.select(deks.c.dek_id, deks.c.scope, deks.c.key_version, deks.c.wrapped).where(among(deks.c.dek_id, "ids"))

_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(dict[str, bytes])


def pack(sealed: Mapping[str, bytes]) -> bytes:
    """Ciphertexts by field, as one column."""
    return _packer.encode(sealed)


def unpack(column: bytes) -> dict[str, bytes]:
    """Ciphertexts by field."""
    return _unpacker.decode(column)


def file_digest(data: bytes) -> str:
    """SHA-256 in hex: the digest of things that are no secret."""
    return hashlib.sha256(data).hexdigest()


# --- the key file -----------------------------------------------------------------------------------------------------


def create_kek(path: Path) -> bytes:
    """Make a key-encryption key in a new file of mode 0400.

    Raises SettingsError when the file exists: overwriting it would make everything personal unreadable.
    """
    key = os.urandom(KEK_BYTES)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    except FileExistsError:
        raise SettingsError("there is a key-encryption key already; it is never overwritten", code="key-exists", place=str(path)) from None
    except OSError as error:
        raise SettingsError(f"cannot write the key-encryption key: {error.strerror}", code="key-invalid", place=str(path)) from error
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # a database without its key is worthless: the name must survive a power failure too
    finally:
        os.close(folder)
    return key


def load_kek(path: Path) -> bytes:
    """The key-encryption key: 32 raw bytes in a regular file of mode 0400 or 0600.

    Raises SettingsError that says how to mend it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # never waits for a pipe that somebody put there
    except FileNotFoundError:
        raise SettingsError(
            "there is no key-encryption key",
            code="key-missing",
            place=str(path),
            hint="`chengxin init` makes one; for an existing database put back its own",
        ) from None
    except OSError as error:
        raise SettingsError(f"cannot read the key-encryption key: {error.strerror}", code="key-invalid", place=str(path)) from error
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or stat.S_IMODE(about.st_mode) not in (0o400, 0o600):
            raise SettingsError(
                "the key-encryption key must be a file of mode 0400 or 0600", code="key-mode", place=str(path), hint=f"chmod 0400 {path}"
            )
        key = os.read(handle, KEK_BYTES + 1)
    finally:
        os.close(handle)
    if len(key) != KEK_BYTES:
        raise SettingsError(
            "the key-encryption key must have exactly 32 bytes",
            code="key-invalid",
            place=str(path),
            hint="put back the file that `chengxin init` made",
        )
    return key
