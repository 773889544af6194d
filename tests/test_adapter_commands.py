"""`chengxin adapter`: what is installed, whether it keeps the contract, and a new adapter that passes the suite as it is."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from gateway.adapter_contract import CONTRACT_VERSION, SOURCE_METHODS, Diagnostic
from gateway.adapter_loading import Adapters
from gateway.core.errors import SettingsError
from gateway.operations.try_adapter import check_adapter, list_adapters, new_adapter
from tests.commands import Done, chengxin

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", params=["source", "partner"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, str]]:
    """A new adapter of each kind, built and unpacked beside the gateway as an installation would do, without any registry."""
    folder = tmp_path_factory.mktemp(request.param)
    name = f"county_{request.param}"
    done = chengxin(folder, "adapter", "new", name, "--kind", request.param)
    assert done.returncode == 0, done.stderr
    project = folder / name
    built = process(project, ["-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")], {})
    assert built.returncode == 0, built.stderr
    zipfile.ZipFile(next((folder / "dist").glob("*.whl"))).extractall(folder / "site")
    return request.param, project, {"PYTHONPATH": f"{folder / 'site'}:{ROOT}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def process(folder: Path, arguments: list[str], more: dict[str, str]) -> Done:
    """Our interpreter, somewhere else."""
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=os.environ | more, capture_output=True, text=True)


def test_a_new_adapter_passes_as_it_is(made: tuple[str, Path, dict[str, str]]) -> None:
    """Its tests run the suite: nothing fails, what its capabilities promise is checked, and the outcomes are there as JSON."""
    kind, project, where = made
    done = process(project, ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--conformance-json", "outcomes.json"], where)
    assert done.returncode == 0, done.stdout
    said = json.loads((project / "outcomes.json").read_text(encoding="utf-8"))
    (outcomes,) = said["suites"].values()
    found = {each["check"]: each["outcome"] for each in outcomes}
    promised = {
        "source": ("test_nothing_is_lost", "test_resume_at_every_cursor"),
        "partner": ("test_twice_is_once", "test_the_manifest_comes_last"),
    }
    assert {found[check] for check in promised[kind]} == {"passed"}
    assert all(each["reason"] for each in outcomes if each["outcome"] == "skipped")


def test_a_new_adapter_is_found_and_checked(made: tuple[str, Path, dict[str, str]]) -> None:
    """Once installed the gateway lists it, and with settings it says how its line is."""
    kind, project, where = made
    name = f"county_{kind}"
    (project / "line.toml").write_text('path = "rows.ndjson"\n' if kind == "source" else 'root = "nowhere"\n', encoding="utf-8")
    listed = process(project, ["-m", "gateway", "adapter", "list", "--json"], where)
    assert {each["name"]: each["kinds"] for each in json.loads(listed.stdout)}[name] == [kind]
    checked = process(project, ["-m", "gateway", "adapter", "check", name, "--config", "line.toml"], where)
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert "keeps the contract" in checked.stdout
    assert "WRONG" in checked.stdout
    (project / "rows.ndjson").touch()
    (project / "nowhere").mkdir()
    assert process(project, ["-m", "gateway", "adapter", "check", name, "--config", "line.toml"], where).returncode == 0


def test_a_new_adapter_reads_well(made: tuple[str, Path, dict[str, str]]) -> None:
    """No word of the template is left over, and every file says what it is for."""
    _, project, _ = made
    texts = [path.read_text(encoding="utf-8") for path in project.rglob("*") if path.is_file() and path.suffix in (".py", ".toml", ".md")]
    assert len(texts) >= 7
    assert not [text for text in texts if "@" in text.replace("@staticmethod", "").replace('"@', "").replace("}@{", "")]
    assert all(path.read_text(encoding="utf-8").startswith('"""') for path in project.rglob("*.py"))


@pytest.mark.parametrize("name", ["memory", "Upper", "a-b", "_a", "a__b", "class", "json", "adapters", "gateway", "a" * 41, "../x", "甲"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    """A name that is taken, a keyword, a module that there is, or no word at all is refused, and nothing is written."""
    done = chengxin(tmp_path, "adapter", "new", name, "--kind", "source", "here")
    assert done.returncode == 1
    assert done.stderr.startswith("error: adapter-name")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A folder in which something lies is left as it is."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        new_adapter(Adapters({}), "county", "source", tmp_path / "here")
    assert refused.value.code == "adapter-folder"
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["mine.txt"]


def test_installed_adapters_are_listed_and_checked(tmp_path: Path) -> None:
    """Each has its kind and capabilities; one that is not installed is an error with its code."""
    listed = chengxin(tmp_path, "adapter", "list")
    assert "source partner" in next(line for line in listed.stdout.splitlines() if line.startswith("memory"))
    checked = chengxin(tmp_path, "adapter", "check", "memory", "--json")
    said = json.loads(checked.stdout)
    assert (checked.returncode, said["guest"]["kinds"], said["asked"]) == (0, ["source", "partner"], False)
    assert chengxin(tmp_path, "adapter", "check", "nobody").stderr.startswith("error: adapter-unknown at nobody")


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    folder: str


class Guest:
    """A source as somebody else might ship it."""

    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: ClassVar[frozenset[str]] = frozenset({"resume"})
    Config: ClassVar[type[Struct]] = Config

    def __init__(self, settings: Config, tools: object) -> None:
        self.folder = settings.folder

    async def check(self) -> list[Diagnostic]:
        if self.folder == "raises":
            raise RuntimeError("a secret value")
        if self.folder == "lies":
            return ["all is well"]  # type: ignore[list-item]  # a guest keeps no types
        return [Diagnostic(what="x", ok=True, message="好")]

    async def close(self) -> None:
        pass


for _method in SOURCE_METHODS:
    if not hasattr(Guest, _method):
        setattr(Guest, _method, lambda *_: None)


def guest(**members: Any) -> Adapters:
    """One adapter, changed."""
    return Adapters({"guest": lambda: type("Changed", (Guest,), members)})


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"capabilities": frozenset({"telepathy"})}, "promises what it has not: telepathy"),
        ({"capabilities": frozenset({"ask"})}, "promises what it has not: ask (ask)"),
        ({"pull": None}, "has the methods of no kind of adapter"),
        ({"contract_version": 9}, "the adapter keeps contract version 9, this gateway version 1"),
    ],
)
def test_a_fault_is_told_and_never_raised(members: dict[str, Any], fault: str) -> None:
    """What keeps an adapter from being used stands beside its name."""
    assert [each.fault for each in list_adapters(guest(**members))] == [fault]


async def test_a_fault_makes_the_check_fail() -> None:
    """An adapter that breaks the contract is not asked; one whose check raises is told so, without what it said."""
    assert not (await check_adapter(guest(pull=None), "guest", {"folder": "x"})).ok
    assert (await check_adapter(guest(), "guest", {"folder": "x"})).ok
    done = await check_adapter(guest(), "guest", {"folder": "raises"})
    assert (done.ok, done.asked) == (False, True)
    assert "secret" not in done.findings[0].message
    assert "RuntimeError" in done.findings[0].message, "its author learns what it was"
    done = await check_adapter(guest(), "guest", {"folder": "lies"})
    assert (done.ok, [each.what for each in done.findings]) == (False, ["check"])


async def test_settings_that_are_none_are_refused() -> None:
    """A setting that it does not take is an error with the adapter's name."""
    with pytest.raises(SettingsError) as refused:
        await check_adapter(guest(), "guest", {"folder": "x", "more": 1})
    assert (refused.value.code, refused.value.place) == ("adapter-config", "guest")


def test_a_capability_without_its_method_stops_the_start() -> None:
    """Nothing is built that promises what it has not."""
    with pytest.raises(SettingsError, match="ask") as refused:
        guest(capabilities=frozenset({"ask"})).source("guest", {"folder": "x"})
    assert refused.value.code == "adapter-contract"
