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
import os
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec
import sqlalchemy as sa
from cryptography.exceptions import InvalidTag

from gateway.core.errors import StoreError
from gateway.store.dialects import among
from gateway.store.keyring import Keyring
from gateway.store.suites import KEY_BYTES as KEK_BYTES
from gateway.store.suites import NONCE, SUITES, TAG, Aead
from gateway.store.tables import deks

SUITE_AES = 1
_HEADER = struct.Struct(">BHQ")  # suite, key version, dek id
_WRAP = "dek-wrap"
_TWINS = 100_000


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

    __slots__ = ("_aeads", "_key", "aead", "dek_id", "key_version", "prefix", "suffix")

    def __init__(self, dek_id: int, key_version: int, key: bytes, suite: int = SUITE_AES) -> None:
        self.dek_id = dek_id
        self.key_version = key_version
        self.prefix = _HEADER.pack(suite, key_version, dek_id)
        self.suffix = f"|{key_version}"
        self._key = key
        self.aead: Aead = SUITES[suite].aead(key)
        """The cipher of what is newly written; for the vault alone."""
        self._aeads = {suite: self.aead}

    def opener(self, suite: int) -> Aead | None:
        """The cipher of a suite; None for one that this version does not know."""
        found = self._aeads.get(suite)
        if found is None and suite in SUITES:
            found = self._aeads[suite] = SUITES[suite].aead(self._key)
        return found

    def __repr__(self) -> str:
        return f"<Dek {self.dek_id}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a data key is neither pickled nor copied")


class Vault:
    """The keys and what follows from them. `random` makes data keys; nonces always come from the operating system."""

    def __init__(
        self,
        kek: bytes,
        random: Callable[[int], bytes] = os.urandom,
        *,
        suite: int = SUITE_AES,
        next_kek: bytes | None = None,
        reload: Callable[[], tuple[bytes, bytes | None]] | None = None,
    ) -> None:
        self.ring = Keyring(kek, next_kek)
        self.reload = reload
        """Reads the key files again: another process may have exchanged them."""
        self.suite = suite
        """Of what is newly written; whatever is read names its own."""
        self.refresh: Callable[[], Awaitable[None]] | None = None
        """What a store gives its vault: read the key tables again, when a row names a key that another process has made."""
        self._random = random
        self._shared: dict[int, Dek] = {}  # of organisations only: a person's key is looked up each time, so that shredding is at once
        self._shared_by_scope: dict[str, Dek] = {}
        self._twins: dict[tuple[str, str], tuple[int, str]] = {}

    def __repr__(self) -> str:
        return "<Vault>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a vault is neither pickled nor copied")

    def forget_shared(self) -> None:
        """Data keys of organisations are read again: somebody has renewed them."""
        self._shared, self._shared_by_scope, self._twins = {}, {}, {}

    # --- derived keys ------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Of the key-encryption key."""
        return self.ring.version

    def key(self, label: str) -> bytes:
        """32 bytes for one end: the present key of a label."""
        return self.ring.key(label)

    def every_key(self, label: str) -> list[bytes]:
        """Every key that a label ever had and that is still at hand, the present one first."""
        present = self.ring.current(label).version
        older = [each for each in self.ring.versions(label) if each != present and self.ring.has(label, each)]
        return [self.ring.key(label, version) for version in (present, *older)]

    def digest(self, label: str, data: bytes) -> bytes:
        """HMAC of the data under the present key of this label."""
        return self.ring.mac(label)(data)

    def digests(self, label: str, data: bytes) -> list[bytes]:
        """The same under every key that the label ever had, the present one first: what was stored under an older one is still found."""
        present = self.ring.current(label).version
        older = [each for each in self.ring.versions(label) if each != present and self.ring.has(label, each)]
        return [self.ring.mac(label, version)(data) for version in (present, *older)]

    def digester(self, label: str) -> Callable[[bytes], bytes]:
        """`digest` for many values under one label."""
        return self.ring.mac(label)

    def blind(self, scope: str, field: str, value: str, version: int | None = None) -> str:
        """The blind index of a value: equality within (scope, field), nothing else. Hex of 16 bytes."""
        return self.ring.mac(f"blind/{scope}/{field}", version)(value.encode())[:16].hex()

    def blind_twin(self, scope: str, field: str, value: str) -> str | None:
        """Its blind index under the key that is to come, while the index is being rotated; None when it is not."""
        coming = self.ring.coming(f"blind/{scope}/{field}")
        return None if coming is None else self.blind(scope, field, value, coming.version)

    def remember_twin(self, field: str, stored: str, twin: str) -> None:
        """What a value is to be found by later, for whoever writes its present index. A forgotten one is made up for at the cut-over."""
        if len(self._twins) >= _TWINS:
            self._twins = {}
        coming = self.ring.coming(f"blind/subject/{field}")
        if coming is not None:
            self._twins[field, stored] = coming.version, twin

    def twin_of(self, field: str, stored: str) -> tuple[int, str] | None:
        """(version, index under it) of a value whose present index was just made; None when no rotation is under way."""
        return self._twins.get((field, stored)) if self._twins else None

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
            rows = await source.all(_DEKS_BY_SCOPE, {"scopes": wanted})
            await self._know(rows)
            for row in rows:
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
            rows = await source.all(_DEKS_BY_ID, {"ids": wanted})
            await self._know(rows)
            for row in rows:
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
            dek = Dek(first + index, self.version, key, self.suite)
            rows.append((dek.dek_id, scope, self.version, self._wrap(dek.dek_id, scope, key), False))
            made[scope] = dek
        await source.insert(deks, ("dek_id", "scope", "key_version", "wrapped", "retired"), rows)
        source.fresh_keys = True  # not remembered yet: the transaction may still roll back
        return made

    async def _know(self, rows: Sequence[Any]) -> None:
        """Read the key tables again when a row was wrapped by a key that this process has not seen."""
        if self.refresh is not None and any(row.key_version > self.version for row in rows):
            await self.refresh()

    def _wrap(self, dek_id: int, scope: str, key: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        wrapped = self.ring.wrapper(_WRAP, self.version, self.suite).encrypt(nonce, key, f"{dek_id}|{scope}|{self.version}".encode())
        return bytes((self.suite,)) + nonce + wrapped

    def rewrap(self, row: Any) -> bytes:
        """The wrapped form of a data key under the present key-encryption key."""
        return self._wrap(row.dek_id, row.scope, self._material(row))

    def _material(self, row: Any) -> bytes:
        dek_id, scope, key_version, wrapped = row.dek_id, row.scope, row.key_version, bytes(row.wrapped)
        if not wrapped or wrapped[0] not in SUITES:
            raise StoreError(
                "a data key is wrapped in a suite that this version does not know", code="key-unknown-suite", place=f"deks:{dek_id}"
            )
        try:
            return self.ring.wrapper(_WRAP, key_version, wrapped[0]).decrypt(
                wrapped[1 : 1 + NONCE], wrapped[1 + NONCE :], f"{dek_id}|{scope}|{key_version}".encode()
            )
        except InvalidTag:
            raise StoreError(
                "a data key does not open: another key-encryption key, or an altered row",
                code="key-wrong",
                place=f"deks:{dek_id}",
                hint="put back the KEK file that belongs to this database",
            ) from None

    def _unwrap(self, row: Any, *, remember: bool) -> Dek:
        dek = Dek(row.dek_id, row.key_version, self._material(row), self.suite)
        if remember and not row.scope.startswith("subject:"):
            self._shared[dek.dek_id] = dek
            if not row.retired:
                self._shared_by_scope[row.scope] = dek
        return dek

    # --- values ------------------------------------------------------------------------------------------------------

    def seal(self, dek: Dek, table: str, field: str, record_id: str, value: bytes) -> bytes:
        """The ciphertext of a value, bound to its place."""
        nonce = os.urandom(NONCE)
        return dek.prefix + nonce + dek.aead.encrypt(nonce, value, f"{table}|{field}|{record_id}{dek.suffix}".encode())

    def seal_many(self, table: str, values: Sequence[tuple[Dek, str, str, bytes]]) -> list[bytes]:
        """The ciphertexts of many (data key, field, record id, value), in order."""
        nonces = os.urandom(NONCE * len(values))
        sealed = []
        at = 0
        for dek, field, record_id, value in values:
            nonce = nonces[at : at + NONCE]
            at += NONCE
            sealed.append(dek.prefix + nonce + dek.aead.encrypt(nonce, value, f"{table}|{field}|{record_id}{dek.suffix}".encode()))
        return sealed

    def open(self, dek: Dek, table: str, field: str, record_id: str, sealed: bytes) -> bytes:
        """The value of a ciphertext.

        Raises StoreError `value-altered` when it was changed, or moved from another row or column.
        """
        suite, key_version, dek_id = _header(sealed)
        aead = dek.opener(suite)
        if aead is None or dek_id != dek.dek_id:
            raise StoreError("a stored value names another suite or data key", code="value-altered", place=f"{table}:{record_id}:{field}")
        start = _HEADER.size
        try:
            return aead.decrypt(
                sealed[start : start + NONCE], sealed[start + NONCE :], f"{table}|{field}|{record_id}|{key_version}".encode()
            )
        except InvalidTag:
            raise StoreError(
                "a stored value was altered, or moved from another row or column",
                code="value-altered",
                place=f"{table}:{record_id}:{field}",
            ) from None

    def house_dek(self, label: str, version: int | None = None) -> Dek:
        """A key that is derived instead of stored, for what belongs to nobody in particular (audit details); its number is 0."""
        version = self.ring.current(label).version if version is None else version
        return Dek(0, version, self.ring.key(label, version), self.suite)


def dek_id_of(sealed: bytes) -> int:
    """Which data key a ciphertext names."""
    return _header(sealed)[2]


def key_version_of(sealed: bytes) -> int:
    """Which version of its key a ciphertext names."""
    return _header(sealed)[1]


def suite_of(sealed: bytes) -> int:
    """Which suite a ciphertext names."""
    return _header(sealed)[0]


def _header(sealed: bytes) -> tuple[int, int, int]:
    if len(sealed) < _HEADER.size + NONCE + TAG:
        raise StoreError("a stored value is shorter than any ciphertext", code="value-altered")
    suite, key_version, dek_id = _HEADER.unpack_from(sealed)
    return suite, key_version, dek_id


_DEKS_BY_SCOPE = sa.select(deks).where(among(deks.c.scope, "scopes"), deks.c.retired.is_(False))
_DEKS_BY_ID = sa.select(deks).where(among(deks.c.dek_id, "ids"))

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
