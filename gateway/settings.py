"""One frozen, commented Settings value: a TOML file plus `CHENGXIN_*` environment variables; read once, passed down.

A misconfiguration stops the program and says how to mend it. Insecure combinations (demo off loopback, http origin off
loopback, a key file that others can read) stop the start.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from gateway.core.errors import SettingsError
from gateway.core.toml import TomlFault, parse


class AuthoritySetting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A department that may upload: who it is, where it decides, and for whom besides itself it may speak."""

    uscc: str
    name: str
    region: str
    covers: tuple[str, ...] = ()
    """USCCs of authorities whose rows it may send besides its own; `*` = every authority of its region."""


class PartnerSetting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ours alone about a partner that signs nothing: the adapter of its lines, and its settings.

    Of a partner that signs agreements they stand in `[local]` of the agreement's file, and nowhere else.
    """

    party: str
    adapter: str | None = None
    config: dict[str, object] = {}
    file_key: dict[str, str] | None = None
    """Where the key of this line's files stands, `{ file = "…" }` or `{ env = "…" }`: 64 hex digits that both sides keep; never the key."""


ContactUri = Annotated[str, Meta(pattern=r"^(mailto:[^\s@<>]+@[^\s@<>]+|https://[^\s<>]+)\Z", max_length=256)]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that differs between two installations."""

    party: str
    """Host name under which this gateway signs, for example `credit.tonghua.example`."""
    region: Annotated[str, Meta(pattern="^[0-9]{6}\\Z")]
    """Division code of the city, `220500`."""
    org: Annotated[str, Meta(pattern="^[0-9A-Z]{18}\\Z")]
    """USCC of the operating body; named in the keys document."""
    city: str = "通化市"
    """Short name of the city, for pages and answers."""
    portal: str = "诚信通化网"
    contact: ContactUri | None = None
    """Who answers questions about the data, named in the catalogue."""
    security_contact: ContactUri | None = None
    """Who is told of a weakness (RFC 9116); without it there is no security.txt."""
    data_dir: str = "data"
    """Folder of database, keys and files; everything of one gateway. Danger: whoever can write here can publish."""
    database: str = ""
    """SQLAlchemy URL; empty = SQLite in `data_dir`. PostgreSQL: `postgresql+asyncpg://…`."""
    policies: str = "policies"
    """Folder of policy files: a proposal only; what is in force stands in the store."""
    public_origin: str = "http://127.0.0.1:8000"
    """Scheme and host of every link we make; never taken from a request."""
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8000
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Private listener with `/metrics`; 0 = none."""
    kek_file: str = ""
    """Key-encryption key, mode 0400; empty = `<data_dir>/keys/kek`. Without it nothing personal can be read."""
    residual_k: Annotated[int, Meta(ge=1)] = 1000
    min_k: Annotated[int, Meta(ge=5)] = 5
    token_lifetime_s: Annotated[int, Meta(ge=1, le=600)] = 600
    """Lifetime of a department's access token, seconds."""
    issuer: str = ""
    """Issuer of access tokens, byte for byte what a client assertion names as `aud`; empty = `public_origin`."""
    assertion_max_s: Annotated[int, Meta(ge=10, le=60)] = 60
    """Longest life of a client assertion, seconds."""
    dpop_window_s: Annotated[int, Meta(ge=5, le=30)] = 30
    """How far the `iat` of a DPoP proof may lie from now, seconds."""
    query_timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    """How long the rows of one page may be looked for, seconds; then 503 `query-timeout`."""
    credential_cache_s: Annotated[int, Meta(ge=0, le=5)] = 5
    """How long a process may believe what it last read of apps, keys, tokens and grants, seconds: revocation is effective within it."""
    replay_url: str = "memory"
    """Where single-use ids of assertions and proofs stand: `memory` (one process), `database`, or `valkey://…`."""
    limits_url: str = "memory"
    """Where buckets and places for exports and streams stand: `memory` (each process its own), or `valkey://…`, `redis://…` (of all)."""
    trusted_proxies: Annotated[int, Meta(ge=0, le=8)] = 0
    """Proxies of ours in front: the caller is the n-th address from the right of `X-Forwarded-For`; 0 = the peer itself."""
    crypto_suite: Annotated[int, Meta(ge=1, le=2)] = 1
    """Suite of new ciphertexts: 1 = AES-256-GCM, SHA-256; 2 = SM4-GCM, SM3. Either stays readable."""
    audit_checkpoint_s: Annotated[int, Meta(ge=1, le=3600)] = 300
    """Longest time between signed checkpoints of the audit trail, seconds; a thousand rows make one earlier."""
    access_log: Literal["file", "stdout", "off"] = "file"
    """Where the access log goes: `<data_dir>/logs/access-DAY.ndjson`, standard output, or nowhere. It holds no value and no address."""
    admin_host: str = "127.0.0.1"
    admin_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Listener of the administrators' API `/admin/v1`, apart from the public one; 0 = none."""
    admin_origin: str = ""
    """Scheme and host of the administrators' API, which their request signatures cover; empty = `http://<admin_host>:<admin_port>`."""
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    lane_memory_mb: Annotated[int, Meta(ge=0, le=65536)] = 32
    """How much of the register each process keeps in memory to answer look-ups by code sooner (SQLite only), megabytes: some 700 firms in
    one; 0 = nothing."""
    search_memory_mb: Annotated[int, Meta(ge=0, le=65536)] = 128
    """How much each process may take to keep the names index, and then documents in order of their names, in memory, so that searches are
    answered sooner (SQLite only), megabytes: 1,000 to 3,500 names in one; where they alone are more, and with 0, nothing is kept."""
    reader_poll_s: Annotated[float, Meta(gt=0, le=60)] = 0.5
    """How often the readers of the change log look for new rows, seconds."""
    exchange_poll_s: Annotated[float, Meta(ge=0, le=900)] = 60.0
    """How often streams to partners are looked at, seconds; 0 = only by `chengxin exchange send`. At most 15 minutes: a withdrawal does
    not wait longer."""
    receipt_days: Annotated[int, Meta(ge=1, le=3650)] = 730
    """How long a receipt of a query can be verified here, days; its signature verifies for ever."""
    case_days: Annotated[int, Meta(ge=1, le=730)] = 90
    """How long records that a partner told for a case are kept at most, days; they go with the case (`chengxin query end-case`)."""
    lists_build_s: Annotated[int, Meta(ge=0, le=900)] = 300
    """How often versions of lists and datasets are built where something changed, seconds; at most 15 minutes; 0 = only by
    `chengxin lists build`. What leaves is taken out of them at once in any case."""
    lists_keep_days: Annotated[int, Meta(ge=31, le=3660)] = 92
    """How long versions are kept, days: the window of deltas."""
    log_poll_s: Annotated[float, Meta(ge=0, le=600)] = 60.0
    """How often the transparency log takes in what happened, signs its head and asks witnesses, seconds; 0 = only by
    `chengxin log sign`."""
    log_monitor_s: Annotated[int, Meta(ge=0, le=86400)] = 600
    """How often the log is verified and held against what is public, seconds: from where it was, and once a day whole; 0 = only by
    `chengxin verify log`."""
    ingest_chunk: Annotated[int, Meta(ge=1, le=50000)] = 2000
    """Rows a transaction of ingest."""
    authorities: tuple[AuthoritySetting, ...] = ()
    partners: tuple[PartnerSetting, ...] = ()
    demo: bool = False
    """Test mode, on loopback only: sample data, test people (division 220599), a settable clock and seed."""
    now: str | None = None
    """Test mode: an instant = fixed clock, or `+P1D` = offset. From CHENGXIN_NOW."""
    quota_factor: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    """Test mode: every quota times this, for fuzzers, link checkers and load."""
    seed: str | None = None
    """Test mode: random ids and salts follow from it. From CHENGXIN_SEED."""

    @property
    def token_issuer(self) -> str:
        """The issuer that client assertions name."""
        return self.issuer or self.public_origin

    @property
    def admin_base(self) -> str:
        """Scheme and host of the administrators' API."""
        return self.admin_origin or f"http://{self.admin_host}:{self.admin_port}"

    @property
    def data_path(self) -> Path:
        """The data directory."""
        return Path(self.data_dir)

    @property
    def database_url(self) -> str:
        """The database to open; SQLite in the data directory by default."""
        return self.database or f"sqlite+aiosqlite:///{self.data_path.absolute() / 'gateway.db'}"

    @property
    def kek_path(self) -> Path:
        """Where the key-encryption key stands."""
        return Path(self.kek_file) if self.kek_file else self.keys_path / "kek"

    @property
    def log_policy_path(self) -> Path:
        """Witnesses of our transparency log (c2sp.org/tlog-policy); no file: none."""
        return self.data_path / "log-policy"

    @property
    def lists_path(self) -> Path:
        """Copies of the files of versions; whatever stands here can be made anew."""
        return self.data_path / "lists"

    @property
    def keys_path(self) -> Path:
        """Folder of our signing keys, `<use>-<n>.toml`, mode 0400."""
        return self.data_path / "keys"


SHARED_SCHEMES = frozenset({"valkey", "valkeys", "redis", "rediss"})
"""Of addresses where several processes share counters and single-use ids."""
ENVIRONMENT_PREFIX = "CHENGXIN_"
NOT_SETTINGS = frozenset({"CHENGXIN_SETTINGS"})
"""Variables with our prefix that are no settings: where the settings file is."""


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from a TOML file and `CHENGXIN_*` variables (which win).

    Raises SettingsError with the file, the key and what to do.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, object] = {}
    if path is not None:
        try:
            values = parse(path.read_bytes())
        except OSError as error:
            raise SettingsError(
                f"cannot read the settings file: {error.strerror}",
                place=str(path),
                hint="give an existing file with --settings, or set CHENGXIN_SETTINGS",
            ) from error
        except TomlFault as fault:
            place = str(path) if fault.line is None else f"{path}:{fault.line}"
            raise SettingsError(f"the settings file cannot be read: {fault.detail}", place=place, hint=fault.hint) from fault
    for name, text in environment.items():
        if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS:
            values[name.removeprefix(ENVIRONMENT_PREFIX).lower()] = text
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(
            str(error), place=str(path) if path else "environment", hint="every setting stands in gateway/README.md"
        ) from error
    if path is not None:
        settings = _relative_to(settings, path.parent)
    _refuse_insecure(settings)
    return settings


def _relative_to(settings: Settings, folder: Path) -> Settings:
    """Paths of the file are meant from where the file stands."""
    changes = {
        name: str(folder / getattr(settings, name)) for name in ("data_dir", "policies") if not Path(getattr(settings, name)).is_absolute()
    }
    if settings.kek_file and not Path(settings.kek_file).is_absolute():
        changes["kek_file"] = str(folder / settings.kek_file)
    return msgspec.structs.replace(settings, **changes)


def _loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _refuse_insecure(settings: Settings) -> None:
    origin = urlsplit(settings.public_origin)
    if origin.scheme not in ("http", "https") or not origin.netloc or origin.path not in ("", "/") or origin.query or origin.fragment:
        raise SettingsError(
            "public_origin must be a scheme and host, nothing more", place="public_origin", hint="for example https://credit.example.cn"
        )
    if origin.scheme == "http" and not _loopback(origin.hostname):
        raise SettingsError("an http origin is allowed on loopback only", place="public_origin", hint="use https://")
    issuer = urlsplit(settings.token_issuer)
    if issuer.query or issuer.fragment or not (issuer.scheme == "https" or (issuer.scheme == "http" and _loopback(issuer.hostname))):
        raise SettingsError("the issuer is an https address without query", place="issuer", hint="leave it empty: then it is public_origin")
    if settings.demo and not (_loopback(settings.host) and _loopback(origin.hostname)):
        raise SettingsError("demo = true is allowed on loopback only", place="demo", hint='set demo = false, or host = "127.0.0.1"')
    for name in ("now", "seed"):
        if getattr(settings, name) is not None and not settings.demo:
            raise SettingsError(
                "the test clock and seed exist with demo = true on loopback only",
                place=f"CHENGXIN_{name.upper()}",
                hint="unset the variable",
            )
    if settings.quota_factor != 1 and not settings.demo:
        raise SettingsError("quotas are widened with demo = true on loopback only", place="quota_factor", hint="leave it out")
    if settings.now is not None:
        clock_of(settings)
    if settings.metrics_port and not (_loopback(settings.metrics_host) or ip_address(settings.metrics_host).is_private):
        raise SettingsError("/metrics is for a private listener", place="metrics_host", hint="use 127.0.0.1 or a private address")
    if settings.workers > 1 and settings.replay_url == "memory":
        raise SettingsError(
            "several processes cannot keep single-use ids in memory",
            place="replay_url",
            hint='set replay_url = "database", or a valkey:// address',
        )
    for name, plain in (("replay_url", ("memory", "database")), ("limits_url", ("memory",))):
        said = getattr(settings, name)
        if said not in plain and urlsplit(said).scheme not in SHARED_SCHEMES:
            raise SettingsError(f"{name} is none of {', '.join(plain)} or a valkey:// address", place=name, hint="see gateway/README.md")
    if settings.admin_port:
        base = urlsplit(settings.admin_base)
        if base.scheme == "http" and not _loopback(base.hostname):
            raise SettingsError("an http origin is allowed on loopback only", place="admin_origin", hint="use https://")
        if settings.admin_port == settings.port and settings.admin_host == settings.host:
            raise SettingsError("the administrators' API has a listener of its own", place="admin_port", hint="give another port")
    _refuse_partners(settings)
    for authority in settings.authorities:
        if len(authority.uscc) != 18 or len(authority.region) != 6:
            raise SettingsError("an authority needs its 18-character code and 6-digit region", place=f"authorities.{authority.name}")


def _refuse_partners(settings: Settings) -> None:
    """What nobody would ever look at; whether the rest can be used is seen where adapters, agreements and lines are known."""
    first: dict[str, int] = {}
    for number, each in enumerate(settings.partners):
        place = f"partners[{number}]"
        if each.party == settings.party:
            raise SettingsError("this is the gateway itself, and no partner of it", place=place, hint="give the name of the other side")
        if each.party in first:
            hint = "one entry a partner: put both into one"
            raise SettingsError(f"this partner stands in partners[{first[each.party]}] too", place=place, hint=hint)
        if each.adapter is None and (each.config or each.file_key is not None):
            raise SettingsError(
                "settings without an adapter are used by nobody",
                place=place,
                hint="a line needs `adapter` here; a partner that signs agreements has both in [local] of the agreement's file",
            )
        first[each.party] = number


class Clock:
    """Now, in UTC; in test mode fixed or shifted."""

    __slots__ = ("_fixed", "_offset")

    def __init__(self, fixed: datetime | None = None, offset: timedelta = timedelta()) -> None:
        self._fixed = fixed
        self._offset = offset

    def __call__(self) -> datetime:
        """The instant that counts as now."""
        if self._fixed is not None:
            return self._fixed
        now = datetime.now(UTC)
        return now + self._offset if self._offset else now

    def days_ahead(self) -> int:
        """By how many whole days this clock is ahead of the machine's; behind it: negative. Processes of one office say the same."""
        ahead = self._offset if self._fixed is None else self._fixed - datetime.now(UTC)
        return round(ahead / timedelta(days=1))


_DURATION = msgspec.json.Decoder(timedelta)
_YEARS = 1950, 2199
"""Between which a test clock stands: periods and zones reach beyond it on either side."""


def clock_of(settings: Settings) -> Clock:
    """The clock that the settings ask for.

    Raises SettingsError when `now` is neither an RFC 3339 instant nor `+P…`/`-P…` (ISO 8601 duration of days and time), or no day of
    1950 to 2199.
    """
    if settings.now is None:
        return Clock()
    text = settings.now
    try:
        if text[:1] in "+-":
            sign = -1 if text[0] == "-" else 1
            clock = Clock(offset=sign * _DURATION.decode(f'"{text[1:]}"'))
        else:
            fixed = datetime.fromisoformat(text)
            if fixed.tzinfo is None:
                raise ValueError("an instant needs a zone")
            clock = Clock(fixed=fixed.astimezone(UTC))
        if not _YEARS[0] <= clock().year <= _YEARS[1]:
            raise ValueError("no day of which a law could speak")
        return clock
    except (ValueError, OverflowError, msgspec.ValidationError) as error:
        raise SettingsError(
            "CHENGXIN_NOW is neither an instant nor a duration", place="CHENGXIN_NOW", hint="2026-06-01T00:00:00Z or +P1D"
        ) from error
