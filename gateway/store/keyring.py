"""Roots and labels: which key serves which end, and every version of it that something may still be stored under (policy.md §11).

Rules: a root is a key-encryption key; the newest is the key file, an older one stands in the store wrapped under the newest, so that
the old file can be destroyed. The key of a label is HKDF(root, label), from its second version on with the version in the label. Each label
rotates alone; reading takes any version, writing the present one. What a key is missing for is told by label and version, never by value.
This room must not draw randomness or touch a table.
"""

import hmac
from collections.abc import Callable, Iterable
from typing import Final, Literal

from cryptography.exceptions import InvalidTag
from msgspec import Struct

from gateway.core.errors import SettingsError, StoreError
from gateway.store.suites import KEY_BYTES, NONCE, SUITES, Aead

State = Literal["next", "current", "old"]
ROOT_WRAP: Final = "root-wrap"
KEY_CHECK: Final = "key-check"


class LabelVersion(Struct, frozen=True, kw_only=True):
    """One version of a label's key."""

    label: str
    version: int
    root: int
    suite: int
    state: State


class WrappedRoot(Struct, frozen=True, kw_only=True):
    """An older key-encryption key, under the newest."""

    version: int
    kek_version: int
    wrapped: bytes


class Keyring:
    """Every key of this installation, by label and version; nothing of it has a readable form."""

    def __init__(self, kek: bytes, next_kek: bytes | None = None) -> None:
        for each in (kek, next_kek):
            if each is not None and len(each) != KEY_BYTES:
                raise SettingsError("the key-encryption key must have 32 bytes", code="key-invalid", hint="`chengxin init` makes one")
        self._kek = kek
        self._next = next_kek
        self.took_next = False
        """The store was found written under the key that was to follow: its file has still to take its place."""
        self.version = 1
        self.label_suite = 1
        """Of every label's first version: the suite under which the store was begun."""
        self.epoch = 0
        """How often the key tables had changed when they were last read."""
        self._roots: dict[int, bytes] = {1: kek}
        self._labels: dict[str, dict[int, LabelVersion]] = {}
        self._keys: dict[tuple[str, int | None], bytes] = {}
        """By label and version; None: the present one."""
        self._macs: dict[tuple[str, int | None], Callable[[bytes], bytes]] = {}

    def __repr__(self) -> str:
        return "<Keyring>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a keyring is neither pickled nor copied")

    # --- loading ------------------------------------------------------------------------------------------------------

    def check_of(self, kek: bytes) -> str:
        """What tells a key-encryption key from another, and nothing else of it."""
        return hmac.digest(SUITES[1].derive(kek, KEY_CHECK), b"", "sha256").hex()

    @property
    def key_check(self) -> str:
        """That of the key in use."""
        return self.check_of(self._kek)

    def choose(self, check: str) -> bool:
        """Use the key file that a store was written under: the one in use, or the one that is to follow it. False: neither."""
        if self._next is not None and hmac.compare_digest(self.check_of(self._next), check):
            self._kek, self._next = self._next, None
            self.took_next = True
        return hmac.compare_digest(self.key_check, check)

    def offer(self, check: str, *keks: bytes | None) -> None:
        """Use the one of these keys that the store was written under; another process may have exchanged them."""
        for kek in keks:
            if kek is not None and hmac.compare_digest(self.check_of(kek), check):
                self._kek = kek

    def load(self, version: int, label_suite: int, roots: Iterable[WrappedRoot], labels: Iterable[LabelVersion], epoch: int) -> None:
        """What the key tables say. A root that does not open is left out: what was stored under it is told when it is asked for."""
        opened = {version: self._kek}
        for root in roots:
            try:
                opened[root.version] = (
                    SUITES[1]
                    .aead(SUITES[1].derive(self._kek, ROOT_WRAP))
                    .decrypt(root.wrapped[:NONCE], root.wrapped[NONCE:], str(root.version).encode())
                )
            except InvalidTag:
                continue
        self.version, self.label_suite, self.epoch = version, label_suite, epoch
        known: dict[str, dict[int, LabelVersion]] = {}
        for each in labels:
            known.setdefault(each.label, {})[each.version] = each
        self._roots, self._labels = opened, known
        self._keys, self._macs = {}, {}  # last: what a thread derived from the tables before goes away with them

    def wrap_roots(self, new_kek: bytes, nonce: Callable[[int], bytes]) -> list[WrappedRoot]:
        """Every root there is, under a new key-encryption key."""
        aead = SUITES[1].aead(SUITES[1].derive(new_kek, ROOT_WRAP))
        made = []
        for version, root in sorted(self._roots.items()):
            drawn = nonce(NONCE)
            wrapped = drawn + aead.encrypt(drawn, root, str(version).encode())
            made.append(WrappedRoot(version=version, kek_version=self.version + 1, wrapped=wrapped))
        return made

    # --- labels -------------------------------------------------------------------------------------------------------

    def current(self, label: str) -> LabelVersion:
        """What is written under now."""
        known = self._labels.get(label)
        if known:
            for each in known.values():
                if each.state == "current":
                    return each
        return self._first(label)

    def coming(self, label: str) -> LabelVersion | None:
        """What is to be written under, while an index is being rotated."""
        for each in self._labels.get(label, {}).values():
            if each.state == "next":
                return each
        return None

    def versions(self, label: str) -> list[int]:
        """Every version there ever was."""
        return sorted({1, *self._labels.get(label, {})})

    def has(self, label: str, version: int) -> bool:
        """Whether this version can still be derived."""
        return self._version(label, version).root in self._roots

    def _first(self, label: str) -> LabelVersion:
        return LabelVersion(label=label, version=1, root=1, suite=self.label_suite, state="current")

    def _version(self, label: str, version: int | None) -> LabelVersion:
        if version is None:
            return self.current(label)
        found = self._labels.get(label, {}).get(version)
        if found is None and version != 1:
            raise _missing(f"{label}#{version}")
        return found or self._first(label)

    def key(self, label: str, version: int | None = None) -> bytes:
        """32 bytes for one end. Raises StoreError `key-missing` by label and version."""
        keys = self._keys
        key = keys.get((label, version))
        if key is None:
            each = self._version(label, version)
            root = self._roots.get(each.root)
            if root is None:
                raise _missing(f"{label}#{each.version}")
            info = label if each.version == 1 else f"{label}#{each.version}"
            key = keys[label, version] = SUITES[each.suite].derive(root, info)
        return key

    def mac(self, label: str, version: int | None = None) -> Callable[[bytes], bytes]:
        """HMAC under the key of a label. Raises StoreError `key-missing`."""
        macs = self._macs
        made = macs.get((label, version))
        if made is None:
            each = self._version(label, version)
            made = macs[label, version] = SUITES[each.suite].mac(self.key(label, each.version))
        return made

    def wrapper(self, label: str, version: int, suite: int) -> Aead:
        """What wraps data keys under a version of the key-encryption key. Raises StoreError `key-missing`."""
        root = self._roots.get(version)
        if root is None:
            raise _missing(f"{label}#{version}")
        return SUITES[suite].aead(SUITES[suite].derive(root, label))


def _missing(place: str) -> StoreError:
    return StoreError(
        "a key is missing under which something is still stored",
        code="key-missing",
        place=place,
        hint="put back the key file of that version and run `chengxin key rotate-kek` to its end",
    )
