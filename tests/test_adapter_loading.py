"""Adapters are found by entry point and refused, with what to do, when they do not keep the contract."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from gateway.adapter_contract import CONTRACT_VERSION, AdapterError, Secret
from gateway.adapter_loading import GROUP, PARTNER_METHODS, SOURCE_METHODS, Adapters, _entries, installed_adapters
from gateway.core.errors import SettingsError


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    folder: str


def guest(version: object = CONTRACT_VERSION, methods: tuple[str, ...] = SOURCE_METHODS, config: object = Config) -> type[Any]:
    """An adapter class as somebody else might ship it."""

    def build(self: Any, settings: Config, tools: object) -> None:
        self.settings = settings
        self.tools = tools

    members: dict[str, Any] = dict.fromkeys(methods, lambda *_: None)
    return type("Guest", (), {"contract_version": version, "Config": config, "__init__": build, **members})


def test_the_built_in_adapters_are_installed() -> None:
    """The three built-in adapters are offered by entry points, not by imports."""
    assert {"excel_csv", "https_partner", "memory"} <= set(installed_adapters())
    assert {entry.name for entry in entry_points(group=GROUP)} >= {"excel_csv", "https_partner", "memory"}


def test_two_distributions_with_one_adapter_are_both_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes the place of an installed adapter: nothing is loaded, and the operator reads which distributions to choose from."""
    for name in ("guest_a", "guest_b"):
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[{GROUP}]\nguest = {name[-1]}:Guest\n")
    _entries.cache_clear()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(SettingsError, match="guest_a and guest_b") as refused:
        installed_adapters()
    _entries.cache_clear()
    assert (refused.value.code, refused.value.place) == ("adapter-twice", "guest")


def test_of_two_distributions_of_one_name_the_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an upgrade offers no more does not come back from an older one further along the path."""
    for folder, version, offered in (("new", "2.0", ""), ("old", "1.0", f"[{GROUP}]\nguest_of_old = guest:Old\n")):
        about = tmp_path / folder / f"guest-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: guest\nVersion: {version}\n")
        (about / "entry_points.txt").write_text(offered)
    for folders, there in ((("new", "old"), False), (("old", "new"), True)):
        _entries.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [*(str(tmp_path / folder) for folder in folders), *sys.path])
            assert ("guest_of_old" in set(installed_adapters())) is there
    _entries.cache_clear()


@pytest.mark.parametrize("name", ["excel_csv", "https_partner", "memory", "pboc_file", "province_soap"])
def test_a_built_in_adapter_keeps_the_contract(name: str) -> None:
    """Each built-in adapter loads and has this gateway's contract version."""
    adapter = installed_adapters().load(name)
    assert adapter.contract_version == CONTRACT_VERSION
    methods = SOURCE_METHODS if name == "excel_csv" else PARTNER_METHODS
    assert all(callable(getattr(adapter, method)) for method in methods)


def test_an_adapter_gets_its_own_settings_only() -> None:
    """It is built with its decoded settings and the tools of its line."""
    adapters = Adapters({"guest": guest})
    built: Any = adapters.source("guest", {"folder": "in"})
    assert built.settings == Config(folder="in")
    assert built.tools is None


@pytest.mark.parametrize(
    ("found", "config", "code"),
    [
        ({}, {}, "adapter-unknown"),
        ({"guest": lambda: guest(version=2)}, {}, "adapter-contract"),
        ({"guest": lambda: guest(version=None)}, {}, "adapter-contract"),
        ({"guest": lambda: guest(config=dict)}, {}, "adapter-contract"),
        ({"guest": lambda: guest(methods=("pull",))}, {"folder": "x"}, "adapter-contract"),
        ({"guest": guest}, {"folder": 3}, "adapter-config"),
        ({"guest": guest}, {"folder": "x", "key": "y"}, "adapter-config"),
    ],
)
def test_a_guest_that_breaks_the_contract_is_refused(found: dict[str, Any], config: dict[str, object], code: str) -> None:
    """An unknown adapter, another contract version, a missing method or wrong settings give a coded error that names the adapter."""
    with pytest.raises(SettingsError) as refused:
        Adapters(found).source("guest", config)
    assert (refused.value.code, refused.value.place) == (code, "guest")


@pytest.mark.parametrize("raised", [RuntimeError("a secret value"), SystemExit(0), SystemExit("a secret value")])
def test_a_guest_that_cannot_be_imported_or_made_does_not_bring_the_house_down(raised: BaseException) -> None:
    """Whatever an adapter's import or making raises, also when it means to leave, the house answers with its own error."""

    def broken(*_: object) -> object:
        raise raised

    for found in (broken, lambda: type("Broken", (guest(),), {"__init__": broken})):
        with pytest.raises(SettingsError) as refused:
            Adapters({"guest": found}).source("guest", {"folder": "x"})
        assert refused.value.code == "adapter-broken"
        assert "secret" not in str(refused.value)


def test_a_guest_that_refuses_its_settings_is_told_in_its_own_words() -> None:
    """What an adapter says against its settings when it is built is the error of its settings."""

    def picky() -> object:
        def refuse(self: Any, settings: Config, tools: object) -> None:
            raise AdapterError("CONFIG", "需要附加组件", transient=False)

        return type("Picky", (guest(),), {"__init__": refuse})

    with pytest.raises(SettingsError, match="需要附加组件") as refused:
        Adapters({"guest": picky}).source("guest", {"folder": "x"})
    assert (refused.value.code, refused.value.place) == ("adapter-config", "guest")


def test_a_source_adapter_is_no_partner_adapter() -> None:
    """An adapter that reads files cannot be made to carry batches."""
    with pytest.raises(SettingsError, match="deliver"):
        Adapters({"guest": guest}).partner("guest", {"folder": "x"})


def test_importing_the_contract_does_not_start_the_house(tmp_path: Path) -> None:
    """A guest that imports the contract gets neither store nor web nor libraries of ours."""
    seen = "m.split('.')[0] in {'gateway', 'sqlalchemy', 'litestar'}"
    code = f"import sys, gateway.adapter_contract; print(sorted(m for m in sys.modules if {seen}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "['gateway', 'gateway.adapter_contract']"


class Guarded(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    token: Secret


def secret_of(said: object) -> Any:
    """The settings that a guest with a secret was built with."""
    built: Any = Adapters({"guest": lambda: guest(config=Guarded)}).source("guest", {"token": said})
    return built.settings


def test_a_secret_is_read_from_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of mode 0400 or 0600, or the environment, gives the secret without its line end, and no repr shows it."""
    file = tmp_path / "token"
    file.write_text("密语-1\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("TOKEN_OF_A_TEST", "密语-2")
    said = [secret_of({"file": str(file)}), secret_of({"env": "TOKEN_OF_A_TEST"})]
    assert [each.token.reveal() for each in said] == ["密语-1", "密语-2"]
    assert "密语" not in repr(said)


@pytest.mark.parametrize("said", ["密语", {"value": "密语"}, {"file": "密语", "env": "密语"}, {"env": "NOT_SET_HERE"}, {"file": "密语"}, 3])
def test_a_secret_in_the_settings_is_refused(said: object) -> None:
    """A secret that stands in the settings themselves, or nowhere, stops the start, and the error does not repeat it."""
    with pytest.raises(SettingsError) as refused:
        secret_of(said)
    assert refused.value.code == "adapter-config"
    assert "密语" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(("mode", "data"), [(0o644, b"x"), (0o600, b""), (0o600, b"\xff"), (0o600, b"x" * 20000)])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int, data: bytes) -> None:
    """The file of a secret is readable by its owner alone, holds text and is neither empty nor long."""
    file = tmp_path / "token"
    file.write_bytes(data)
    file.chmod(mode)
    with pytest.raises(SettingsError) as refused:
        secret_of({"file": str(file)})
    assert refused.value.code == "adapter-config"
