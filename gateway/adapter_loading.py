"""Finds adapters through their entry points (group `gateway.adapters`) and checks that they keep the contract.

Rules: an adapter is named by its entry point, never imported by name from our code; its `contract_version` must be ours;
its settings are decoded strictly before it is built. A `Secret` is written as where it stands, `{ file = "…" }` or `{ env = "…" }`,
never as itself. This room must not hand an adapter anything but its own settings and the `Tools` of its line.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, distribution, distributions
from pathlib import Path
from typing import Any, cast

import msgspec

from gateway.adapter_contract import (
    CONTRACT_VERSION,
    PARTNER_METHODS,
    SOURCE_METHODS,
    AdapterError,
    PartnerAdapter,
    Secret,
    SourceAdapter,
    Tools,
    broken_promises,
)
from gateway.core.errors import SettingsError

GROUP = "gateway.adapters"

LONGEST_SECRET = 16384
"""Bytes of a file that holds a secret."""

REINSTALL = "install the project once more (`pip install -e .`): entry points are seen only when it is installed"


class Adapters:
    """The adapters that are installed, by name; each is loaded when it is first asked for."""

    __slots__ = ("_found", "_loaded")

    def __init__(self, found: Mapping[str, Callable[[], Any]]) -> None:
        self._found = dict(found)
        self._loaded: dict[str, type[Any]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._found))

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def source(self, name: str, config: Mapping[str, object], tools: Tools | None = None) -> SourceAdapter:
        """A source adapter, built with its settings.

        Raises SettingsError for an unknown name, another contract version, a missing method or settings that do not decode.
        """
        return cast(SourceAdapter, self._build(name, SOURCE_METHODS, config, tools))

    def partner(self, name: str, config: Mapping[str, object], tools: Tools | None = None) -> PartnerAdapter:
        """A partner adapter, built with its settings.

        Raises SettingsError for an unknown name, another contract version, a missing method or settings that do not decode.
        """
        return cast(PartnerAdapter, self._build(name, PARTNER_METHODS, config, tools))

    def secret(self, said: Mapping[str, object], place: str) -> Secret:
        """A secret that the core itself needs for a line, from where the settings say that it stands.

        Raises SettingsError.
        """
        try:
            return msgspec.convert(dict(said), Secret, dec_hook=decode_setting)
        except msgspec.ValidationError as error:
            raise SettingsError(str(error), code="adapter-config", place=place, hint="its settings stand in adapters/README.md") from error

    def load(self, name: str) -> type[Any]:
        """The class behind a name, checked against the contract's version.

        Raises SettingsError when it is not installed, cannot be loaded or keeps another contract.
        """
        if name in self._loaded:
            return self._loaded[name]
        if name not in self._found:
            raise SettingsError(
                "no such adapter is installed",
                code="adapter-unknown",
                place=name,
                hint=f"installed: {', '.join(self) or 'none'}; {REINSTALL}",
            )
        try:
            adapter = self._found[name]()
        except (Exception, SystemExit) as error:  # a guest's import may raise anything, or leave; the house must not fall with it
            raise SettingsError(
                f"the adapter cannot be loaded: {type(error).__name__}",
                code="adapter-broken",
                place=name,
                hint="run `python -c 'import …'` on its module to see why",
            ) from error
        version = getattr(adapter, "contract_version", None)
        if version != CONTRACT_VERSION:
            raise SettingsError(
                f"the adapter keeps contract version {version!r}, this gateway version {CONTRACT_VERSION}",
                code="adapter-contract",
                place=name,
                hint="install a release of the adapter for this gateway",
            )
        if not isinstance(getattr(adapter, "Config", None), type) or not issubclass(adapter.Config, msgspec.Struct):
            raise SettingsError("the adapter has no settings Struct `Config`", code="adapter-contract", place=name)
        self._loaded[name] = adapter
        return cast("type[Any]", adapter)

    def settings(self, name: str, config: Mapping[str, object]) -> msgspec.Struct:
        """The settings of an adapter, as it would be built with them.

        Raises SettingsError when they do not decode, and as `load`.
        """
        try:
            return cast(msgspec.Struct, msgspec.convert(dict(config), self.load(name).Config, dec_hook=decode_setting))
        except msgspec.ValidationError as error:
            raise SettingsError(
                f"the adapter's settings do not decode: {error}",
                code="adapter-config",
                place=name,
                hint="its settings stand in adapters/README.md",
            ) from error

    def _build(self, name: str, methods: tuple[str, ...], config: Mapping[str, object], tools: Tools | None) -> object:
        adapter = self.load(name)
        missing = [method for method in methods if not callable(getattr(adapter, method, None))]
        if missing:
            raise SettingsError(
                f"the adapter lacks {', '.join(missing)}",
                code="adapter-contract",
                place=name,
                hint="a source adapter cannot carry batches, a partner adapter cannot read files",
            )
        settings = self.settings(name, config)
        try:
            built = adapter(settings, tools)
        except AdapterError as error:
            hint = "its settings stand in adapters/README.md"
            raise SettingsError(error.message, code="adapter-config", place=name, hint=hint) from error
        except (Exception, SystemExit) as error:  # as above
            raise SettingsError(f"the adapter cannot be made: {type(error).__name__}", code="adapter-broken", place=name) from error
        if broken := broken_promises(built):
            raise SettingsError(f"the adapter promises what it has not: {', '.join(broken)}", code="adapter-contract", place=name)
        return cast(object, built)


def decode_setting(kind: type[Any], said: object) -> object:
    """A `Secret` out of where the settings say that it stands: a file that nobody else can read, or a variable of the environment.

    Raises ValueError for anything else, which the decoder tells with the place; no text of it repeats what was said.
    """
    if kind is not Secret:
        raise NotImplementedError(kind.__name__)
    match said:
        case {"file": str(path), **rest} if not rest:
            return Secret(_secret_file(Path(path)))
        case {"env": str(name), **rest} if not rest:
            value = os.environ.get(name)
            if not value:
                raise ValueError("the variable of the environment that holds this secret is not set")
            return Secret(value)
        case _:
            raise ValueError('a secret is named by where it stands: { file = "…" } or { env = "…" }')


def _secret_file(path: Path) -> str:
    """The text of a regular file of mode 0400 or 0600, without the line end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # never waits for a pipe that somebody put there
    except OSError as error:
        raise ValueError(f"the file of this secret cannot be read: {error.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or stat.S_IMODE(about.st_mode) not in (0o400, 0o600):
            raise ValueError("the file of this secret must be a file of mode 0400 or 0600")
        data = file.read(LONGEST_SECRET + 1)
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("the file of this secret holds no text") from None
    if not text or len(data) > LONGEST_SECRET:
        raise ValueError("the file of this secret is empty or too long")
    return text


def _loader(entry: EntryPoint) -> Callable[[], Any]:
    return entry.load


@cache
def _entries() -> tuple[EntryPoint, ...]:
    """What the installed distributions offer, looked for once: a file of each of them is read, and parsed where it names our group.

    Of two distributions of one name the first on the path counts, as everywhere in Python.
    """
    names = {each.name for each in distributions() if GROUP in (each.read_text("entry_points.txt") or "")}
    return tuple(entry for name in sorted(names) for entry in distribution(name).entry_points.select(group=GROUP))


def installed_adapters() -> Adapters:
    """All adapters that this Python environment offers.

    Raises SettingsError when two distributions claim one name.
    """
    found: dict[str, Callable[[], Any]] = {}
    offered: dict[str, EntryPoint] = {}
    for entry in _entries():
        other = offered.setdefault(entry.name, entry)
        if other.value != entry.value:
            names = " and ".join(each.dist.name if each.dist is not None else each.value for each in (other, entry))
            raise SettingsError(
                "two installed distributions offer an adapter of this name",
                code="adapter-twice",
                place=entry.name,
                hint=f"uninstall one of {names}",
            )
        found[entry.name] = _loader(entry)
    return Adapters(found)
