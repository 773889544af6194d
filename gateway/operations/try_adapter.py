"""Adapters that are installed, whether one keeps the contract, and a new one from the template.

Rules: an adapter is named by its entry point and gets its own settings only; one that breaks the contract is told, never raised. The
template lies as text in the guests' package and is copied, never imported; nothing that is there is written over. This story needs neither
store nor keys.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from keyword import iskeyword
from pathlib import Path
from sys import stdlib_module_names
from typing import Any, Final, Literal, Protocol

import msgspec
from msgspec import Struct

from gateway.adapter_contract import (
    PARTNER_METHODS,
    SOURCE_METHODS,
    AdapterError,
    Diagnostic,
    PartnerAdapter,
    SourceAdapter,
    broken_promises,
)
from gateway.core.errors import SettingsError
from gateway.operations.lines import LONGEST_THOUGHT, guarded, told_by

Kind = Literal["source", "partner"]
KINDS: Final[tuple[Kind, ...]] = ("source", "partner")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_OURS: Final = frozenset({"adapters", "gateway", "tests", "test", "policies"})


class Installed(Protocol):
    """The adapters of this Python environment."""

    def __iter__(self) -> Iterator[str]: ...
    def __contains__(self, name: object) -> bool: ...
    def load(self, name: str) -> type[Any]:
        """The class; raises SettingsError."""
        ...

    def source(self, name: str, config: Mapping[str, object]) -> SourceAdapter:
        """Built as a source; raises SettingsError."""
        ...

    def partner(self, name: str, config: Mapping[str, object]) -> PartnerAdapter:
        """Built as a line to a partner; raises SettingsError."""
        ...


class Guest(Struct, frozen=True, kw_only=True):
    """An adapter that is installed."""

    name: str
    kinds: tuple[str, ...]
    capabilities: tuple[str, ...]
    contract_version: int | None
    fault: str | None
    """Why it cannot be used."""


class Checked(Struct, frozen=True, kw_only=True):
    """What became of looking at one adapter."""

    guest: Guest
    settings: tuple[str, ...]
    """What it takes; with `*` what it cannot do without."""
    findings: tuple[Diagnostic, ...]
    """Its own word on its line; empty when no settings were given."""
    asked: bool
    ok: bool


class Made(Struct, frozen=True, kw_only=True):
    """A new adapter."""

    folder: str
    files: tuple[str, ...]


def list_adapters(adapters: Installed) -> list[Guest]:
    """Every adapter that is installed, in order of name."""
    return [_guest(adapters, name) for name in adapters]


async def check_adapter(adapters: Installed, name: str, config: Mapping[str, object] | None) -> Checked:
    """Whether an adapter keeps the contract, and, where settings are given, what it says of its line.

    Raises SettingsError for an adapter that is not installed, and for settings that it does not take.
    """
    if name not in adapters:
        adapters.load(name)
    guest = _guest(adapters, name)
    if guest.fault is not None:
        return Checked(guest=guest, settings=(), findings=(), asked=False, ok=False)
    config_type = adapters.load(name).Config
    settings = tuple(f"{field.name}{'*' if field.required else ''}" for field in msgspec.structs.fields(config_type))
    if config is None:
        return Checked(guest=guest, settings=settings, findings=(), asked=False, ok=True)
    built: Any = adapters.partner(name, config) if "partner" in guest.kinds else adapters.source(name, config)
    try:
        findings = tuple(await told_by(built))
    except AdapterError as error:  # `check` must never raise, nor hang: that it did is the finding
        what = f"the check itself failed: {error.code}, {error.message}"
        findings = (Diagnostic(what="check", ok=False, message=what, remedy="tell the adapter's author"),)
    finally:
        with suppress(AdapterError):
            await guarded(built.close(), LONGEST_THOUGHT)
    return Checked(guest=guest, settings=settings, findings=findings, asked=True, ok=all(each.ok for each in findings))


def _guest(adapters: Installed, name: str) -> Guest:
    try:
        loaded = adapters.load(name)
    except SettingsError as error:
        return Guest(name=name, kinds=(), capabilities=(), contract_version=None, fault=error.detail)
    kinds = tuple(kind for kind, methods in zip(KINDS, (SOURCE_METHODS, PARTNER_METHODS), strict=True) if _has(loaded, methods))
    broken = broken_promises(loaded)
    fault = f"promises what it has not: {', '.join(broken)}" if broken else None if kinds else "has the methods of no kind of adapter"
    capabilities = tuple(sorted(getattr(loaded, "capabilities", ())))
    return Guest(name=name, kinds=kinds, capabilities=capabilities, contract_version=loaded.contract_version, fault=fault)


def _has(loaded: type[Any], methods: tuple[str, ...]) -> bool:
    return all(callable(getattr(loaded, method, None)) for method in methods)


def new_adapter(adapters: Installed, name: str, kind: Kind, folder: Path) -> Made:
    """A small distribution with an adapter of this name, its simulated other side and its tests, which pass as they are.

    Raises SettingsError when the name is no word for a module or is taken, or when something lies in the folder.
    """
    if not _NAME.fullmatch(name) or iskeyword(name) or len(name) > 40 or name in stdlib_module_names | _OURS:
        hint = "lower-case letters, digits and single underscores, for example county_registry; no module of that name may exist"
        raise SettingsError("this is no name for an adapter", code="adapter-name", place=name, hint=hint)
    if name in adapters:
        raise SettingsError("an adapter of this name is installed", code="adapter-name", place=name, hint="take another name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError("something lies here already", code="adapter-folder", place=str(folder), hint="name a new folder")
    words = {
        "@NAME@": name,
        "@PACKAGE@": name,
        "@CLASS@": "".join(word.capitalize() for word in name.split("_")),
        "@DIST@": f"chengxin-adapter-{name.replace('_', '-')}",
        "@KIND@": kind,
    }
    template = files("adapters").joinpath("template")
    made = [path for part in ("every", kind) for path in _copied(template.joinpath(part), folder, words)]
    return Made(folder=str(folder), files=tuple(sorted(path.relative_to(folder).as_posix() for path in made)))


def _copied(source: Traversable, folder: Path, words: Mapping[str, str]) -> list[Path]:
    """The files below a folder of the template, with its words put in, also into names."""
    made: list[Path] = []
    for entry in source.iterdir():
        if entry.is_dir():
            made += _copied(entry, folder / {"package": words["@PACKAGE@"], "trials": "tests"}.get(entry.name, entry.name), words)
            continue
        path = folder / entry.name.removesuffix(".txt").replace("NAME", words["@NAME@"])
        text = entry.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        made.append(path)
    return made
