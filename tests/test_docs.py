"""The documents say what the program does: every setting, command, error code, adapter and dataset, and the README's commands run."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import msgspec
import pytest
import rich_click as click

from gateway.adapter_loading import GROUP
from gateway.cli import cli
from gateway.operations.set_up import shipped_policies
from gateway.settings import AuthoritySetting, PartnerSetting, Settings
from gateway.web.edge import FREE
from gateway.web.problems import KINDS
from tests import import_law
from tests.commands import chengxin

ROOT = Path(__file__).resolve().parent.parent
MAP = (ROOT / "gateway" / "README.md").read_text(encoding="utf-8")
FRONT = (ROOT / "README.md").read_text(encoding="utf-8")

KEBAB = re.compile(r"[a-z][a-z0-9]+(-[a-zA-Z0-9]+)+")
UPPER = re.compile(r"(?:SIG|SEQ|SCOPE|SCHEMA|SUBJ|DUP|LAW|TIME|SIZE|HOLD|ACK|QUERY|FILE|REGION)_[A-Z_]*[A-Z]")
"""Codes of errors, and those of rows and batches (exchange.md §8)."""


def words(text: str) -> set[str]:
    """What stands between backticks, outside blocks of code."""
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return {word for quoted in re.findall(r"`([^`]+)`", plain) for word in re.split(r"[\s,]+", quoted)}


def commands(group: click.Group, above: str = "") -> list[str]:
    """Every command of the program, groups opened."""
    found: list[str] = []
    for name, command in group.commands.items():
        found += commands(command, f"{above}{name} ") if isinstance(command, click.Group) else [above + name]
    return found


def codes() -> dict[str, str]:
    """Every code that the source can give, with the place where it stands."""
    found: dict[str, str] = {}
    for _, file, tree in import_law.trees(ROOT):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and UPPER.fullmatch(node.value):
                found.setdefault(node.value, f"{file}:{node.lineno}")
            elif (value := _given(node)) is not None:
                _add(found, value, file)
    return found


def _given(node: ast.AST) -> ast.expr | None:
    """What is given as `code=…`, or assigned to a name `code`."""
    if isinstance(node, ast.keyword) and node.arg == "code":
        return node.value
    if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "code" for target in node.targets):
        return node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "code":
        return node.value
    return None


def _add(found: dict[str, str], value: ast.expr, file: str) -> None:
    if isinstance(value, ast.IfExp):
        _add(found, value.body, file)
        _add(found, value.orelse, file)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str) and KEBAB.fullmatch(value.value):
        found.setdefault(value.value, f"{file}:{value.lineno}")


@pytest.mark.parametrize("kind", [Settings, AuthoritySetting, PartnerSetting])
def test_every_setting_is_documented(kind: type[msgspec.Struct]) -> None:
    """The table of settings names each field, and nothing that is no setting stands in its first column."""
    section = MAP.split("## Settings")[1].split("\n## ")[0]
    assert set(kind.__struct_fields__) <= words(section)
    if kind is Settings:
        first = words("\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `")))
        assert first == set(Settings.__struct_fields__)


def test_every_command_is_documented() -> None:
    """The table of commands names each one, and `--help` explains each in a line."""
    section = MAP.split("## Commands")[1].split("\n## ")[0]
    missing = [name for name in commands(cli) if not re.search(rf"`{re.escape(name)}[ `]", section)]
    assert missing == []
    named = set(
        re.findall(r"`([a-z][a-z -]*?)(?= [A-Z-]|`)", "\n".join(line.split("|")[1] for line in section.splitlines() if "|" in line))
    )
    assert named <= set(commands(cli))
    shown = subprocess.run(
        [sys.executable, "-m", "gateway", "--help"], capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"}
    ).stdout
    assert all(re.search(rf"^│ {re.escape(name)} +\w.*│$", shown, re.MULTILINE) for name in commands(cli))


def test_every_error_code_is_documented() -> None:
    """Each code that the source can give stands in the table of codes."""
    section = words(MAP.split("## Error codes")[1].split("\n## ")[0])
    guests = words((ROOT / "adapters" / "README.md").read_text(encoding="utf-8"))
    missing = {code: place for code, place in codes().items() if code not in section | (guests if place.startswith("adapters/") else set())}
    assert missing == {}
    assert set(KINDS) - section == set()  # codes of the API, whether or not something gives them yet


def test_every_adapter_is_documented() -> None:
    """The guests' README names each built-in adapter."""
    text = (ROOT / "adapters" / "README.md").read_text(encoding="utf-8")
    assert {entry.name for entry in entry_points(group=GROUP) if entry.value.startswith("adapters.")} <= words(text)


def test_every_dataset_and_list_is_documented() -> None:
    """The rules' README names each dataset, list and purpose."""
    folder = shipped_policies()
    text = words((folder / "README.md").read_text(encoding="utf-8"))
    datasets = {path.stem for path in (folder / "datasets").glob("*.toml")}
    lists = {path.stem for path in (folder / "lists").glob("*.toml")}
    purposes = set(tomllib.loads((folder / "purposes.toml").read_text(encoding="utf-8"))["purposes"])
    assert datasets
    assert (datasets | lists | purposes) - text == set()


def test_every_decision_is_one_page() -> None:
    """Decisions are numbered without gaps, and each says problem, options and outcome on one page."""
    pages = sorted((ROOT / "gateway" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert all(f"**{part}" in text for part in ("Problem", "Options", "Outcome")), page.name
        assert len(text.splitlines()) <= 60, page.name


def test_links_of_the_documents_lead_somewhere() -> None:
    """Every relative link of a README or decision points at a file that is there."""
    for page in [ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("gateway/decisions/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_where_a_house_is_asked_whether_it_lives() -> None:
    """The paths that a guide names for probes are those that cost nothing; another one would be 404, and a sound house restarted."""
    guide = (ROOT / "gateway" / "RUNNING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(/[a-z]+z)`", guide)) == FREE


def test_the_rooms_of_the_map_are_there() -> None:
    """The code map leaves out no room and no module, and names none that is gone."""
    section = MAP.split("## Rooms")[1].split("\n## ")[0]
    named = {word.removesuffix(".py").rstrip("/").split("/")[-1] for word in words(section)}
    there = {
        path.stem if path.stem != "__init__" else path.parent.name
        for path in (ROOT / "gateway").rglob("*.py")
        if "versions" not in path.parts
    }
    assert there - named - {"gateway", "__main__", "env"} == set()
    assert {word for word in named if re.fullmatch(r"[a-z_]+", word)} - there - {"core", "chengxin", "now"} == set()


def test_every_test_says_one_sentence() -> None:
    """Each test's docstring states the fact that it shows, in one sentence or a few."""
    silent: list[str] = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                text = ast.get_docstring(node)
                if not text or not text.rstrip().endswith((".", "。")):
                    silent.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert silent == []


def test_the_readme_commands_run(tmp_path: Path) -> None:
    """The settings of the front README, and its commands in their order, work in an empty folder."""
    settings = re.search(r"```toml\n(.*?)```", FRONT, re.DOTALL)
    script = re.search(r"```sh\n(.*?)```", FRONT, re.DOTALL)
    assert settings is not None
    assert script is not None
    (tmp_path / "chengxin.toml").write_text(settings[1], encoding="utf-8")
    lines = [line.split(" #")[0].strip() for line in script[1].splitlines() if line.strip()]
    assert len(lines) >= 8
    for line in lines:
        name, *arguments = shlex.split(line)
        assert name == "chengxin"
        done = chengxin(tmp_path, *arguments)
        allowed = {0, 3} if arguments[0] == "ingest" else {0}  # the sample has dirty rows on purpose
        assert done.returncode in allowed, f"{line}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "receipt.json").is_file()
