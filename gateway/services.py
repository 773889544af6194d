"""What a story may use: settings, clock, randomness, the store, the policies in force, our signing keys, adapters.

Rules: everything is opened here once and passed down; nothing here is a module global. Policies in force are one immutable
value that is swapped as a whole, never edited. Key files that others can read stop the start, with the command that mends it.
This room tells no story of its own and knows no framework.
"""

import hmac
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal

from msgspec import Struct

from gateway.adapter_loading import Adapters, installed_adapters
from gateway.core.disclosure.policy import Policies, compile_policies
from gateway.core.errors import NoActivePolicy, SettingsError
from gateway.core.records.periods import legal_day
from gateway.core.signing import Ed25519Signer
from gateway.settings import Clock, Settings, clock_of
from gateway.store import policies as policy_rows
from gateway.store.store import Reads, Store, Transaction
from gateway.store.vault import Vault, load_kek

KeyUse = Literal["x", "http", "agreement"]
KEY_USES: tuple[KeyUse, ...] = ("x", "http", "agreement")
"""Last part of a key's name (exchange.md §2.5): one key pair never serves two uses."""

SEED_BYTES = 32


class SeededRandom:
    """Test mode: bytes that follow from a seed, an opening number and how much was drawn before.

    Every opening of a store has its own stream: two processes with one seed must not draw the same ids or nonces.
    """

    __slots__ = ("_counter", "_key", "_left", "_seed")

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._key = b""
        self._counter = 0
        self._left = b""
        self.start(0)

    def start(self, opening: int) -> None:
        """Begin the stream of one opening of the store."""
        self._key = hmac.digest(self._seed or b"\0", b"chengxin-seed" + opening.to_bytes(8, "big"), "sha256")
        self._counter = 0
        self._left = b""

    def __call__(self, size: int) -> bytes:
        while len(self._left) < size:
            self._left += hmac.digest(self._key, self._counter.to_bytes(8, "big"), "sha256")
            self._counter += 1
        drawn, self._left = self._left[:size], self._left[size:]
        return drawn


class Signers(Struct, frozen=True, kw_only=True):
    """Our own signing keys, one for each use; named party/use (exchange.md §2.5)."""

    party: str
    x: Ed25519Signer
    """Manifests, checkpoints, receipts, answers."""
    http: Ed25519Signer
    """Requests to partners."""
    agreement: Ed25519Signer
    """Agreements and our keys document."""


class PoliciesInForce:
    """The compiled policies of this moment: one immutable value, replaced as a whole when an activation is seen."""

    __slots__ = ("_clock", "_seen", "_store", "_value")

    def __init__(self, store: Store, clock: Callable[[], object]) -> None:
        self._store = store
        self._clock = clock
        self._seen = 0
        self._value: Policies | None = None

    @property
    def version(self) -> int:
        """Number of the version in force; 0 while none is."""
        return self._value.version if self._value is not None else 0

    def current(self) -> Policies:
        """The policies that this process last saw in force.

        Raises NoActivePolicy in an empty store.
        """
        if self._value is None:
            raise NoActivePolicy("no policy has been activated in this store", hint="chengxin policy activate --initial FOLDER")
        return self._value

    async def refresh(self, source: "Reads | Transaction | None" = None) -> bool:
        """Swap in what is in force by now; true when it changed. One short indexed statement when it did not."""
        source = self._store.reads if source is None else source
        newest = await policy_rows.latest_activation(source)
        if newest == self._seen:
            return False
        active = await policy_rows.active(source)
        if active is None:
            return False
        version, files = active
        changed = self._value is None or self._value.version != version
        if changed:
            self._value = compile_policies(files, version=version, today=legal_day(self._store.clock()))
        self._seen = newest
        return changed

    async def fresh(self) -> Policies:
        """The policies in force now, also when another process has just activated them.

        Raises NoActivePolicy in an empty store.
        """
        await self.refresh()
        return self.current()


class Services(Struct, frozen=True, kw_only=True):
    """All that a story may use, and nothing else."""

    settings: Settings
    clock: Clock
    random: Callable[[int], bytes]
    store: Store
    policies: PoliciesInForce
    signers: Signers
    adapters: Adapters


def key_path(settings: Settings, use: KeyUse) -> Path:
    """Where the seed of one signing key stands."""
    return settings.data_path / "keys" / f"{use}.seed"


def read_seed(path: Path) -> bytes:
    """The 32 bytes of an Ed25519 seed.

    Raises SettingsError when the file is absent, of another length, or others can read it; the hint mends it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        seed = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read a signing key: {error.strerror}", code="key-missing", place=str(path),
                            hint="chengxin init, or put the key back from its backup") from error
    if mode & 0o077:
        raise SettingsError(f"others can read a signing key (mode {mode:04o})", code="key-readable", place=str(path), hint=f"chmod 0600 {path}")
    if len(seed) != SEED_BYTES:
        raise SettingsError(f"a signing key has {SEED_BYTES} bytes, not {len(seed)}", code="key-invalid", place=str(path),
                            hint="put the key back from its backup; `chengxin key init` never overwrites one")
    return seed


def load_signers(settings: Settings) -> Signers:
    """Our signing keys from the data directory.

    Raises SettingsError as `read_seed` does, and when two uses share one key.
    """
    seeds = {use: read_seed(key_path(settings, use)) for use in KEY_USES}
    if len({sha256(seed).digest() for seed in seeds.values()}) != len(seeds):
        raise SettingsError("two uses share one signing key", code="key-shared", place=str(settings.data_path / "keys"),
                            hint="remove one of the files and run `chengxin key init`")
    return Signers(party=settings.party, **{use: Ed25519Signer.from_seed(f"{settings.party}/{use}", seed) for use, seed in seeds.items()})


@asynccontextmanager
async def open_services(settings: Settings, *, migrate: bool = False) -> AsyncIterator[Services]:
    """Open the house for one process and close it again.

    Raises SettingsError for missing or readable keys, StoreError for a store that is locked, old or of another gateway.
    """
    if not settings.data_path.is_dir():
        raise SettingsError("the data directory does not exist", code="data-missing", place=str(settings.data_path), hint="chengxin init")
    clock = clock_of(settings)
    random: Callable[[int], bytes] = os.urandom if settings.seed is None else SeededRandom(settings.seed)
    vault = Vault(load_kek(settings.kek_path), random)
    signers = load_signers(settings)
    store = await Store.open(settings.database_url, vault=vault, clock=clock, random=random)
    try:
        policies = PoliciesInForce(store, clock)
        yield Services(settings=settings, clock=clock, random=random, store=store, policies=policies, signers=signers, adapters=installed_adapters())
    finally:
        await store.close()
