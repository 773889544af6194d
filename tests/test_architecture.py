"""The import law of the house, tested from its source; every check is also shown to see a planted violation."""

import ast
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core.records.model import Unpublished
from tests import import_law as law
from tests.conftest import LONG

ROOT = Path(__file__).resolve().parent.parent


def tracked() -> list[Path]:
    """The files of the repository; without git, whatever is no build product."""
    try:
        names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        skipped = {".venv", ".run", ".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
        return [path for path in ROOT.rglob("*") if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)]
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def plant(root: Path, file: str, text: str) -> None:
    """Put one file into a tree, with the packages above it."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("check", [law.import_law, law.import_cycles, law.purity, law.opened_values, law.empty_packages])
def test_the_house_keeps_the_law(check: Callable[[Path], list[str]]) -> None:
    """No module imports, opens or reads what its room may not."""
    assert check(ROOT) == []


def test_every_file_that_is_begun_first_is_there() -> None:
    """A long file that was renamed would lose its place at the beginning of the suite."""
    assert [name for name in LONG if not (ROOT / "tests" / name).is_file()] == []


def test_every_room_of_the_law_is_there() -> None:
    """A room that was renamed would leave its law without anybody to bind."""
    modules = law.sources(ROOT)
    optional = {"gateway.reference_client"}  # comes with client assertions
    missing = {room for room in law.OURS if room not in optional and not any(law.within(module, (room,)) for module in modules)}
    assert not missing


def test_the_openers_stand_where_the_law_says() -> None:
    """The three files that may open raw values exist, and at least one of them does."""
    assert all((ROOT / file).is_file() for file in law.OPENERS)
    assert any(".open()" in (ROOT / file).read_text(encoding="utf-8") for file in law.OPENERS)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("gateway/core/exchange/admitting.py", "import sqlalchemy\n"),
        ("gateway/core/exchange/admitting.py", "from cryptography.hazmat.primitives import hashes\n"),
        ("gateway/core/exchange/admitting.py", "from gateway.store import records\n"),
        ("gateway/core/exchange/admitting.py", "from gateway.settings import Settings\n"),
        ("gateway/store/records.py", "from gateway.operations import ingest\n"),
        ("gateway/store/records.py", "import litestar\n"),
        ("gateway/operations/ingest.py", "from sqlalchemy import select\n"),
        ("gateway/operations/ingest.py", "from gateway.web import problems\n"),
        ("gateway/operations/ingest.py", "from adapters.excel_csv import ExcelCsv\n"),
        ("gateway/operations/ingest.py", "def late():\n    from adapters import memory\n"),
        ("gateway/services.py", "from gateway.operations import ingest\n"),
        ("gateway/web/api/public.py", "from gateway.store import records\n"),
        ("gateway/web/api/public.py", "from gateway.core.records.model import Record\n"),
        ("gateway/web/api/public.py", "import gateway.core.records.model\n"),
        ("gateway/web/api/public.py", "from gateway.cli import main\n"),
        ("gateway/web/api/public.py", "import joserfc\n"),
        ("gateway/web/api/public.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gateway.store.store import Store\n"),
        ("gateway/settings.py", "from gateway import services\n"),
        ("gateway/adapter_contract.py", "from gateway.core.errors import GatewayError\n"),
        ("gateway/core/records/intake.py", "import numpy\n"),
        ("gateway/core/records/intake.py", "from . import model\n"),
        ("adapters/excel_csv.py", "from gateway.core.records import intake\n"),
        ("adapters/excel_csv.py", "from gateway.services import Services\n"),
        ("gateway/sample/generate.py", "from gateway.store import records\n"),
    ],
)
def test_a_forbidden_import_is_seen(tmp_path: Path, file: str, text: str) -> None:
    """One forbidden import in an otherwise empty tree is a violation, and it is named with its line."""
    for other in (
        "gateway/store/records.py",
        "gateway/core/records/model.py",
        "gateway/services.py",
        "gateway/operations/ingest.py",
        "adapters/memory.py",
        "adapters/excel_csv.py",
        "gateway/store/store.py",
        "gateway/web/problems.py",
        "gateway/cli.py",
    ):
        plant(tmp_path, other, "")
    plant(tmp_path, file, text)
    broken = law.import_law(tmp_path)
    assert len(broken) == 1
    assert broken[0].startswith(f"{file}:")


def test_allowed_imports_are_let_through(tmp_path: Path) -> None:
    """The check does not refuse what the law allows."""
    plant(tmp_path, "gateway/core/records/model.py", "import msgspec\nfrom datetime import date\n")
    plant(
        tmp_path, "gateway/core/signing.py", "from cryptography.hazmat.primitives import hashes\nfrom gateway.core.records import model\n"
    )
    plant(tmp_path, "gateway/store/records.py", "import sqlalchemy\nfrom gateway.core.records.model import Record\n")
    plant(
        tmp_path,
        "gateway/web/api/public.py",
        "import litestar\nfrom gateway import __version__\nfrom gateway.core.disclosure.views import View\n",
    )
    plant(tmp_path, "gateway/cli.py", "import rich_click\nfrom gateway.store import records\nfrom gateway.web.api import public\n")
    plant(tmp_path, "adapters/memory.py", "import httpx\nfrom gateway.adapter_contract import Page\n")
    assert law.import_law(tmp_path) == []


def test_a_circle_of_imports_is_seen(tmp_path: Path) -> None:
    """Three modules that import each other in a ring are one circle, also when one of the imports stands in a function."""
    plant(tmp_path, "gateway/core/a.py", "from gateway.core import b\n")
    plant(tmp_path, "gateway/core/b.py", "from gateway.core.c import thing\n")
    plant(tmp_path, "gateway/core/c.py", "def thing():\n    import gateway.core.a\n")
    plant(tmp_path, "gateway/core/d.py", "from gateway.core import a\n")
    assert law.import_cycles(tmp_path) == ["gateway.core.a ↔ gateway.core.b ↔ gateway.core.c"]


@pytest.mark.parametrize(
    "text",
    [
        "import os\n",
        "from pathlib import Path\n",
        "import urllib.request\n",
        "from datetime import datetime\n\ndef f():\n    return datetime.now()\n",
        "from datetime import date\n\nTODAY = date.today()\n",
        "def f(path):\n    return open(path)\n",
        "import random\n",
    ],
)
def test_impurity_in_core_is_seen(tmp_path: Path, text: str) -> None:
    """A file, a clock, randomness or the network in `core` is a violation."""
    plant(tmp_path, "gateway/core/records/intake.py", text)
    assert law.purity(tmp_path)
    plant(tmp_path, "gateway/core/records/intake.py", "")
    plant(tmp_path, "gateway/operations/ingest.py", text)
    assert law.purity(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        "def f(record):\n    return record.raw.open()\n",
        "def f(record):\n    take = record.raw.open\n    return take()\n",
        "def f(record):\n    return record.raw._values\n",
        "def f(record):\n    return getattr(record.raw, 'open')()\n",
        "def f(record):\n    return Unpublished.open(record.raw)\n",
        "class Mine(Unpublished):\n    pass\n",
    ],
)
def test_opening_raw_values_elsewhere_is_seen(tmp_path: Path, text: str) -> None:
    """Every way of taking raw values out is a violation outside the three files, and none inside them."""
    plant(tmp_path, "gateway/web/api/public.py", text)
    assert law.opened_values(tmp_path)
    plant(tmp_path, "gateway/web/api/public.py", "def f(path, vault, dek):\n    return path.open('rb'), vault.open(dek, b'')\n")
    plant(tmp_path, "gateway/store/records.py", text)
    assert law.opened_values(tmp_path) == []


def test_a_package_that_starts_the_house_is_seen(tmp_path: Path) -> None:
    """An `__init__.py` may hold a docstring, and gateway's the version, nothing more."""
    plant(tmp_path, "gateway/__init__.py", '"""Doc."""\n\n__version__ = "1"\n')
    assert law.empty_packages(tmp_path) == []
    plant(tmp_path, "gateway/web/__init__.py", "from gateway.web import api\n")
    assert law.empty_packages(tmp_path)


def test_the_repository_names_no_registry_and_no_machine() -> None:
    """No registry host, mirror, machine path, banned package or address-recording lock stands in any file."""
    assert law.foreign_words(ROOT, tracked()) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("requirements.txt", "--index-url https://example.invalid/simple\n"),
        ("requirements.txt", "gmssl==3.2.2 \\\n"),
        ("requirements-dev.txt", "niquests==3.0\n"),
        ("uv.lock", ""),
        ("README.md", "pip install from https://pypi" + ".org/simple\n"),
        ("tests/x.py", "PATH = '/wo" + "rk/main'\n"),
    ],
)
def test_a_foreign_word_is_seen(tmp_path: Path, file: str, text: str) -> None:
    """A planted host, path, lock or banned package is a violation; the optional SM2 package is none."""
    plant(tmp_path, file, text)
    assert law.foreign_words(tmp_path, [tmp_path / file])
    plant(tmp_path, "requirements-ok.txt", "gmssl-pyx==2.1.0\n")
    assert law.foreign_words(tmp_path, [tmp_path / "requirements-ok.txt"]) == []


def test_unpublished_values_tell_nothing() -> None:
    """The wrapper around raw values shows field names only and is neither pickled nor copied."""
    raw = Unpublished({"name": "甲乙丙"})
    assert repr(raw) == "<Unpublished ['name']>"
    with pytest.raises(TypeError):
        raw.__reduce__()


def test_no_story_tells_two() -> None:
    """Every file of a room opens with a docstring that says what it is for."""
    silent = [
        str(path.relative_to(ROOT))
        for name, path in law.sources(ROOT).items()
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_bytes()))
    ]
    assert silent == []
