"""Make and show keys: the key-encryption key, our signing keys, and in test mode short tokens to try things with.

Rules: a key file is created once, mode 0400, and never overwritten; a new signing key is published a day before it signs; a
token is printed once and stored as a digest only, bound to one app, organisation, tier and purpose. This story must not hand
a private key to anybody.
"""

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.callers.administrators import Administrator
from gateway.core.errors import PolicyError, SettingsError
from gateway.core.records.identifiers import parse_uscc
from gateway.core.records.periods import first_instant
from gateway.core.signing import NAME_OF_USE, Algorithm, Ed25519Signer, KeyUse, OwnKey, Signers, Sm2Signer
from gateway.core.transparency.entries import origin_of, year_of
from gateway.operations.four_eyes import actor, proof
from gateway.services import PARTY_KEY_USES, Services, load_signers, read_key
from gateway.settings import Settings, clock_of
from gateway.store import audit, clients
from gateway.store.kek import create_kek

KEY_LIFE = timedelta(days=730)
"""A signing key lasts two years; a successor is made with `chengxin key new` in good time."""

NOTICE = timedelta(hours=24)
"""A new key is published at least this long before its first use (exchange.md §2.5)."""

LATE = timedelta(days=31)
"""So long after its year the key of a log may still sign the last head."""

SEED_BYTES = 32
USES_OF_SM2: tuple[KeyUse, ...] = ("exchange", "agreement", "export")
"""What can be signed with SM2 beside or instead of Ed25519; requests, logs and receipts never are (exchange.md §2.1)."""


class KeyLine(Struct, frozen=True, kw_only=True):
    """One signing key, as everybody may see it."""

    use: str
    vkey: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None
    state: str
    """waiting, good, expired or revoked."""


class Created(Struct, frozen=True, kw_only=True):
    """Which key files were made now; the others stood there already."""

    folder: str
    files: tuple[str, ...]


class IssuedToken(Struct, frozen=True, kw_only=True):
    """An access token, shown once."""

    token: str
    app: str
    org: str
    tier: str
    purpose: str
    expires_at: datetime


def create_keys(settings: Settings) -> Created:
    """Make what is missing: the data directory, the key-encryption key and one signing key for each use.

    Raises SettingsError when the folder cannot be written, or a key that is there does not belong to this party.
    """
    made: list[str] = []
    try:
        settings.data_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings.keys_path.mkdir(exist_ok=True, mode=0o700)
        if not settings.kek_path.exists():
            _refuse_orphaned(settings)
            create_kek(settings.kek_path)
            made.append(settings.kek_path.name)
    except OSError as error:
        raise SettingsError(
            f"cannot make the data directory: {error.strerror}",
            code="data-missing",
            place=str(settings.data_path),
            hint="give a folder that this user may write with `data_dir`",
        ) from error
    now = clock_of(settings)().replace(minute=0, second=0, microsecond=0)
    missing = [use for use in PARTY_KEY_USES if not list(settings.keys_path.glob(f"{use}-*.toml"))]
    made += [write_key(settings, use, number=1, not_before=now).name for use in missing]
    if not list(settings.keys_path.glob("witness-*.toml")):
        made.append(write_key(settings, "witness", number=1, not_before=now).name)
    if not list(settings.keys_path.glob("log-*.toml")):
        made.append(_write_log_key(settings, year_of(now), now).name)
    load_signers(settings)
    return Created(folder=str(settings.keys_path), files=tuple(made))


async def new_key(services: Services, use: KeyUse, *, algorithm: Algorithm = "ed25519", by: Administrator | str) -> KeyLine:
    """A successor key of one use, good from tomorrow on, so that partners learn of it first.

    `by` is a text for whoever holds the data directory.
    Raises RoleMissing; SettingsError key-use for a use that has no key of its own here, or none of this algorithm; ExchangeError SIG_FORMAT
    where the extra `gm` is not installed.
    """
    if isinstance(by, Administrator):
        by.require("key-custodian")
    settings = services.settings
    if algorithm != "ed25519" and use not in USES_OF_SM2:
        raise SettingsError(f"no {algorithm} key has this use", code="key-use", place=use, hint=f"one of {', '.join(USES_OF_SM2)}")
    if use == "log":
        return await _new_log_key(services, by)
    if use not in (*PARTY_KEY_USES, "witness"):
        raise SettingsError("this use has no successor here", code="key-use", place=use)
    number = _next_number(settings, use)
    # an agreement key counts by nothing but the version that pins it: it must sign that one, beside the old key
    not_before = (services.clock() + (timedelta(0) if use == "agreement" else NOTICE)).replace(microsecond=0)
    path = write_key(settings, use, number=number, not_before=not_before, algorithm=algorithm)
    vkey = read_key(path, settings.party).signer.vkey
    async with services.store.transaction() as tx:
        who, shown = (actor(by), proof(by)) if isinstance(by, Administrator) else (by, {})
        await audit.write(tx, who, "key.new", path.name, {"use": use, "not_before": not_before.isoformat(), **shown})
    return next(line for line in list_keys(settings, services.clock()) if line.vkey == vkey)


async def revoke_key(services: Services, vkey: str, *, reason: str, by: Administrator | str, mute: bool = False) -> KeyLine:
    """Say from now on that a signing key of ours is not to be believed any more; partners read it in our keys document.

    `mute`: also where no other key of its use is good: whoever stole it must not be believed for a day, and until its successor is good
    nothing of that use is signed. `by` is a text for whoever holds the data directory.
    Raises RoleMissing; SettingsError key-unknown for no key of ours, key-missing when no other key of its use is good now.
    """
    if isinstance(by, Administrator):
        by.require("key-custodian")
    settings, now = services.settings, services.clock().replace(microsecond=0)
    found = [(path, read_key(path, settings.party)) for path in sorted(settings.keys_path.glob("*.toml"))]
    path, key = next(((path, key) for path, key in found if key.signer.vkey == vkey), (None, None))
    if path is None or key is None:
        raise SettingsError("none of our signing keys", code="key-unknown", place="vkey", hint="`chengxin key list` shows them")
    if key.use == "agreement":
        raise SettingsError("an agreement key changes with a new version of the agreement", code="key-use", place=path.name)
    if key.revoked_at is None:
        others = Signers(party=settings.party, keys=tuple(other for _, other in found if other.signer.vkey != vkey))
        others = replace(others, keys=tuple(each for each in others.keys if each.use == key.use and _alike(each, key)))
        kin = [each for each in others.keys if each.signer.algorithm == key.signer.algorithm]
        coming = [each.not_before for each in kin if now < each.not_before and each.good(each.not_before)]
        if coming and not mute and not any(each.good(now) for each in kin):
            raise SettingsError(
                f"no other `{key.use}` key is good yet",
                code="key-missing",
                place=path.name,
                hint=f"its successor is good from {_instant(min(coming))}: revoke this one then; one that was stolen now, with --mute",
            )
        if not mute:
            others.signing(key.use, now, key.signer.algorithm)
        text = path.read_text(encoding="ascii") + f"revoked_at = {_instant(now)}\nreason = {json.dumps(reason, ensure_ascii=True)}\n"
        aside = path.with_suffix(".tmp")
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400), "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        async with services.store.transaction() as tx:
            who, shown = (actor(by), proof(by)) if isinstance(by, Administrator) else (by, {})
            await audit.write(tx, who, "key.revoke", path.name, {"use": key.use, "mute": mute, **shown})
    return next(line for line in list_keys(settings, now) if line.vkey == vkey)


def _alike(one: OwnKey, other: OwnKey) -> bool:
    """Whether one may stand in for the other: of logs that of the same year alone."""
    return one.use != "log" or one.signer.name == other.signer.name


def _next_number(settings: Settings, use: KeyUse) -> int:
    return 1 + max((int(path.stem.rpartition("-")[2]) for path in settings.keys_path.glob(f"{use}-*.toml")), default=0)


async def _new_log_key(services: Services, by: Administrator | str) -> KeyLine:
    """The key of the first year from this one on that has none; where this year and the next have one, a second one of this year.

    It is good at once: heads bear the lines of all keys of their log.
    """
    settings, now = services.settings, services.clock()
    named = {key.signer.name for key in load_signers(settings).keys if key.use == "log" and key.revoked_at is None}
    year = next((year for year in (year_of(now), year_of(now) + 1) if origin_of(settings.party, year) not in named), year_of(now))
    path = _write_log_key(settings, year, now)
    vkey = read_key(path, settings.party).signer.vkey
    async with services.store.transaction() as tx:
        who, shown = (actor(by), proof(by)) if isinstance(by, Administrator) else (by, {})
        await audit.write(tx, who, "key.new", path.name, {"use": "log", "year": year, **shown})
    return next(line for line in list_keys(settings, now) if line.vkey == vkey)


def _write_log_key(settings: Settings, year: int, now: datetime) -> Path:
    """The key of a year's log: from its first day, or now, until a month after its last, for heads that are signed late."""
    begins, ends = first_instant(date(year, 1, 1)), first_instant(date(year + 1, 1, 1))
    return write_key(
        settings, "log", number=_next_number(settings, "log"), not_before=max(begins, now.replace(microsecond=0)), not_after=ends + LATE,
        name=origin_of(settings.party, year),
    )  # fmt: skip


def list_keys(settings: Settings, now: datetime) -> list[KeyLine]:
    """Our signing keys with their public halves and whether each is good now."""
    lines = []
    for key in load_signers(settings).keys:
        if key.good(now):
            state = "good"
        elif key.revoked(now):
            state = "revoked"
        else:
            state = "waiting" if now < key.not_before else "expired"
        lines.append(
            KeyLine(
                use=key.use,
                vkey=key.signer.vkey,
                not_before=key.not_before,
                not_after=key.not_after,
                revoked_at=key.revoked_at,
                state=state,
            )
        )
    return lines


async def issue_token(services: Services, *, app: str, org: str, tier: str, purpose: str, by: str) -> IssuedToken:
    """Test mode: an opaque token to try things with, for one app of one department and one purpose, without a key behind it.

    Raises SettingsError outside test mode, PolicyError for a tier or purpose that the policies do not join, RowFault for a wrong
    organisation code.
    """
    if not services.settings.demo:
        raise SettingsError(
            "tokens without a key exist with demo = true on loopback only",
            code="test-mode-only",
            place="issue-token",
            hint="register the app and its key (`chengxin key new-app`, `key add`) and call with `chengxin call`",
        )
    policies = await services.policies.fresh()
    known = policies.purposes.get(purpose)
    if known is None:
        raise PolicyError("there is no such purpose", code="policy-S10", field=purpose, hint=f"one of {', '.join(policies.purposes)}")
    if tier not in policies.tiers or tier not in known.tiers:
        raise PolicyError("this tier may not use this purpose", code="policy-S10", field=tier, hint=f"one of {', '.join(known.tiers)}")
    if tier == "public":
        raise PolicyError("the public needs no token", code="policy-S10", field=tier, hint="ask without one")
    org = parse_uscc(org)
    lifetime = timedelta(seconds=services.settings.token_lifetime_s)
    async with services.store.transaction() as tx:
        token = clients.draw(services.random)
        await clients.keep(tx, token, app=app, org=org, tier=tier, access=[(clients.EVERY_DATASET, purpose)], lifetime=lifetime)
        await audit.write(
            tx,
            by,
            "token.issue",
            f"app/{app}",
            {"org": org, "tier": tier, "purpose": purpose, "seconds": services.settings.token_lifetime_s},
        )
        expires_at = tx.now + lifetime
    return IssuedToken(token=token, app=app, org=org, tier=tier, purpose=purpose, expires_at=expires_at)


def _refuse_orphaned(settings: Settings) -> None:
    """A database whose key is gone must get it back: a new one would not open it."""
    database = settings.data_path / "gateway.db"
    if not settings.database and database.exists():
        raise SettingsError(
            "there is a database, but not the key-encryption key under which it was written",
            code="key-missing",
            place=str(settings.kek_path),
            hint="put the key back from its backup; without it nothing personal can be read",
        )


def write_key(
    settings: Settings,
    use: KeyUse,
    *,
    number: int,
    not_before: datetime,
    not_after: datetime | None = None,
    name: str | None = None,
    algorithm: Algorithm = "ed25519",
) -> Path:
    """One key file, created or not at all. Keys are drawn from the system even in test mode: a seed in a variable is no secret."""
    name = name or f"{settings.party}/{NAME_OF_USE[use]}"
    signer = Sm2Signer.new(name) if algorithm == "sm2" else Ed25519Signer(name, os.urandom(SEED_BYTES))
    path = settings.keys_path / f"{use}-{number}.toml"
    text = (
        f'private_key = "{signer.private_text()}"\n'
        f'use = "{use}"\n'
        f"not_before = {_instant(not_before)}\n"
        f"not_after = {_instant(not_after or not_before + KEY_LIFE)}\n"
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return path


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
