"""What a story may use: settings, clock, randomness, the store, the policies in force, our signing keys, adapters.

Rules: everything is opened here once and passed down; nothing here is a module global. Policies in force are one immutable
value that is swapped as a whole, never edited. Key files that others can read stop the start, with the command that mends it.
This room tells no story of its own and knows no framework.
"""

import asyncio
import hmac
import os
import re
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from gateway.adapter_loading import Adapters, installed_adapters
from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.policy import compile_policies
from gateway.core.errors import NoActivePolicy, SettingsError
from gateway.core.paces import Paces
from gateway.core.records.periods import legal_day
from gateway.core.signing import NAME_OF_USE, KeyUse, OwnKey, Signers, Sm2Verifier, parse_private_key
from gateway.in_a_row import InARow
from gateway.quiet import quietly
from gateway.settings import Clock, Settings, clock_of
from gateway.store import policies as policy_rows
from gateway.store.audit_seals import Sealer, watch
from gateway.store.audit_trail import AuditTrail
from gateway.store.bell import Bell
from gateway.store.credentials import Credentials
from gateway.store.kek import load_keks, old_path, take_next
from gateway.store.replay import DatabaseReplay, Replay, open_replay
from gateway.store.store import Store, Transaction
from gateway.store.vault import Vault

PARTY_KEY_USES: tuple[KeyUse, ...] = ("exchange", "http", "agreement", "audit", "receipt", "export")
"""What a gateway needs keys for from its first day (exchange.md §2.5): one key pair never serves two uses."""


HEAD_FILE = "audit-checkpoint"
"""In the data directory: the newest checkpoint of the audit trail that a process of this machine made."""


class KeyFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file `keys/<use>-<n>.toml`: a private key and when it may be used."""

    private_key: str
    use: KeyUse
    not_before: Annotated[datetime, Meta(tz=True)]
    not_after: Annotated[datetime, Meta(tz=True)]
    revoked_at: Annotated[datetime, Meta(tz=True)] | None = None
    reason: str | None = None


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
        """The next bytes of this stream."""
        while len(self._left) < size:
            self._left += hmac.digest(self._key, self._counter.to_bytes(8, "big"), "sha256")
            self._counter += 1
        drawn, self._left = self._left[:size], self._left[size:]
        return drawn


class PoliciesInForce:
    """The compiled policies of this moment: one immutable value, replaced as a whole when an activation is seen.

    Rules: a version is compiled once in a process, in a thread: requests that began before the activation go on under the value that they
    were given. Whoever asks for `fresh` policies after it waits for that one compilation and is never answered under the version before,
    for the new one may hide what that one shows. A request that is given up does not end the work that others wait for.
    """

    __slots__ = ("_adopting", "_seen", "_store", "_value")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = 0
        self._value: Policies | None = None
        self._adopting: asyncio.Task[bool] | None = None

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

    async def refresh(self) -> bool:
        """Swap in what is in force by now; true when it changed. One short indexed statement when it did not."""
        changed = False
        while (newest := await policy_rows.latest_activation(self._store.reads)) != self._seen:
            if self._adopting is None or self._adopting.done():  # to wait for one that is over gives the loop no turn to put it away
                self._adopting = asyncio.create_task(self._adopt(newest))
                self._adopting.add_done_callback(self._adopted)
            changed = await asyncio.shield(self._adopting) or changed
        return changed

    async def overtaken(self, tx: Transaction) -> bool:
        """Whether another version is in force as this transaction sees it; whoever asks next compiles it, never the one writer."""
        if await policy_rows.latest_activation(tx) == self._seen:
            return False
        active = await policy_rows.active(tx)
        return active is not None and active[0] != self.version

    async def _adopt(self, newest: int) -> bool:
        active = await policy_rows.active(self._store.reads)
        changed = active is not None and (self._value is None or self._value.version != active[0])
        if active is not None and changed:
            version, files = active
            today = legal_day(self._store.clock())
            self._value = await asyncio.to_thread(compile_policies, files, version=version, today=today, in_force=True)
        self._seen = newest
        return changed

    def _adopted(self, done: "asyncio.Task[bool]") -> None:
        if self._adopting is done:
            self._adopting = None
        if not done.cancelled():
            done.exception()  # told to whoever waits; nobody may wait any more

    async def fresh(self) -> Policies:
        """The policies in force now, also when another process has just activated them.

        Raises NoActivePolicy in an empty store.
        """
        await self.refresh()
        return self.current()


class Doors(Struct, frozen=True, kw_only=True):
    """What the stories at the doors need: credentials lately seen, ids used once, and the keys of their own labels."""

    credentials: Credentials
    replay: Replay
    nonces: Replay
    """Of partners' signed requests: in the database, whatever `replay_url` says, for they must outlive a start."""
    vault: Vault
    in_a_row: InARow
    """Where proofs are checked."""
    noted: dict[str, date] = {}
    """Days on which this process saw API keys used."""

    @property
    def pepper(self) -> bytes:
        """Of the secrets of new API keys."""
        return self.vault.key("api-key-pepper")

    @property
    def peppers(self) -> list[bytes]:
        """Of the secrets of API keys, the newest first: one that was issued under an older pepper is good until it ends."""
        return self.vault.every_key("api-key-pepper")

    @property
    def nonce_key(self) -> bytes:
        """Of the server's DPoP nonces: the same in every process."""
        return self.vault.key("dpop-nonce")


class KeyFolder:
    """Watches the folder of signing keys: one that was made or revoked, by whatever process, counts here too.

    A folder that cannot be read, because somebody is writing in it or has damaged it, changes nothing: it is looked at again.
    """

    __slots__ = ("_seen", "_settings", "_signers")

    def __init__(self, settings: Settings, signers: Signers) -> None:
        self._settings = settings
        self._signers = signers
        self._seen = self._look()

    def _look(self) -> tuple[tuple[str, int, int, int], ...]:
        found = ((path.name, path.stat()) for path in sorted(self._settings.keys_path.glob("*.toml")))
        return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found)

    def refresh(self) -> bool:
        """Take the keys that lie there now; true when they are others than before.

        Raises SettingsError when they cannot be read.
        """
        try:
            seen = self._look()
        except OSError as error:
            raise SettingsError(f"cannot look at the signing keys: {error.strerror}", code="key-missing") from error
        if seen == self._seen:
            return False
        self._signers.keys = load_signers(self._settings).keys
        self._seen = seen
        return True


class Services(Struct, frozen=True, kw_only=True):
    """All that a story may use, and nothing else."""

    settings: Settings
    clock: Clock
    random: Callable[[int], bytes]
    store: Store
    policies: PoliciesInForce
    signers: Signers
    key_folder: KeyFolder
    adapters: Adapters
    trail: AuditTrail
    sealer: Sealer
    doors: Doors
    bell: Bell = field(default_factory=Bell)
    """Wakes whoever waits for the next change."""
    compared: set[str] = field(default_factory=set)
    """Streams of ours of which a partner has told this process where it stands."""
    paces: Paces = field(default_factory=Paces)
    """When this process last asked each partner for its keys, over each line for what is kept for us, and looked into each folder."""
    asking_for_keys: dict[str, asyncio.Event] = field(default_factory=dict)
    """Whom this process is asking just now, and what is set when that is over."""
    bodies: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    """Places for what this process brings each partner: it takes two bodies at a time."""


def read_key(path: Path, party: str) -> OwnKey:
    """One of our signing keys from its file.

    Raises SettingsError when the file is damaged, of another party, or others can read it; the hint mends it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"cannot read a signing key: {error.strerror}",
            code="key-missing",
            place=str(path),
            hint="chengxin key init, or put the key back from its backup",
        ) from error
    if mode & 0o077:
        raise SettingsError(
            f"others can read a signing key (mode {mode:04o})", code="key-readable", place=str(path), hint=f"chmod 0400 {path}"
        )
    try:
        kept = msgspec.toml.decode(text, type=KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError("the key file is damaged", code="key-invalid", place=str(path), hint="put it back from its backup") from error
    signer = parse_private_key(kept.private_key)
    if signer.name != f"{party}/{NAME_OF_USE.get(kept.use, kept.use)}" and not (
        kept.use == "log" and re.fullmatch(re.escape(party) + r"/log/2[0-9]{3}", signer.name)
    ):
        raise SettingsError(
            "a signing key is named for another party or use",
            code="key-invalid",
            place=str(path),
            hint=f"this gateway is {party}: check `party` in the settings, or put its own keys back",
        )
    return OwnKey(
        signer=signer, use=kept.use, not_before=kept.not_before, not_after=kept.not_after, revoked_at=kept.revoked_at, reason=kept.reason
    )


def load_signers(settings: Settings) -> Signers:
    """Our signing keys from the data directory.

    Raises SettingsError as `read_key` does, when a use has no key, and when two uses share one.
    """
    folder = settings.keys_path
    keys = tuple(read_key(path, settings.party) for path in sorted(folder.glob("*.toml")))
    for use in PARTY_KEY_USES:
        if not any(key.use == use for key in keys):
            raise SettingsError(f"there is no `{use}` key", code="key-missing", place=str(folder), hint="chengxin key init")
    publics = [key.signer.vkey.split("+", 2)[2] for key in keys]  # base64 may hold further signs of plus
    if len(set(publics)) != len(publics):
        raise SettingsError(
            "two signing keys are the same",
            code="key-shared",
            place=str(folder),
            hint="one key pair never serves two uses: remove one of the files and run `chengxin key init`",
        )
    return Signers(party=settings.party, keys=keys)


@asynccontextmanager
async def open_services(settings: Settings, *, migrate: bool = False) -> AsyncIterator[Services]:
    """Open the house for one process and close it again.

    Raises SettingsError for missing or readable keys, StoreError for a store that is locked, old or of another gateway.
    """
    if not settings.data_path.is_dir():
        raise SettingsError("the data directory does not exist", code="data-missing", place=str(settings.data_path), hint="chengxin init")
    clock = clock_of(settings)
    seeded = None if settings.seed is None else SeededRandom(settings.seed)
    random: Callable[[int], bytes] = seeded or os.urandom
    kek, next_kek = load_keks(settings.kek_path)
    vault = Vault(kek, random, suite=settings.crypto_suite, next_kek=next_kek, reload=lambda: load_keks(settings.kek_path))
    Sm2Verifier.around = quietly
    signers = load_signers(settings)
    adapters = installed_adapters()
    store = await Store.open(
        settings.database_url, vault=vault, clock=clock, random=random, party=settings.party, region=settings.region, migrate=migrate
    )
    replay, nonces = open_replay(settings.replay_url, store), DatabaseReplay(store)
    try:
        if vault.ring.took_next:  # a rotation was cut off between the database and the file
            take_next(settings.kek_path, keep=old_path(settings.kek_path, vault.version - 1))
        if seeded is not None:
            async with store.transaction() as tx:
                seeded.start(await tx.number("seed-openings"))
        policies = PoliciesInForce(store)
        await policies.refresh()
        doors = Doors(
            credentials=Credentials(store.reads, settings.credential_cache_s),
            replay=replay,
            nonces=nonces,
            vault=vault,
            in_a_row=InARow(),
        )
        trail = AuditTrail(store)
        sealer = watch(store, signers, settings.data_path / HEAD_FILE)
        bell = Bell()
        try:
            yield Services(
                settings=settings,
                clock=clock,
                random=random,
                store=store,
                policies=policies,
                signers=signers,
                key_folder=KeyFolder(settings, signers),
                adapters=adapters,
                trail=trail,
                sealer=sealer,
                doors=doors,
                bell=bell,
            )
        finally:
            await bell.close()
            await trail.close()
    finally:
        await replay.close()
        await nonces.close()
        await store.close()
