"""The wheel: everything the program needs, nothing of the tests, and it runs without the checkout beside it."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from gateway import __version__

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_two_packages_and_the_rules(wheel: Path) -> None:
    """`gateway`, `adapters`, the policy files and the data files are in it; tests, bench and workplace files are not."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"gateway", "adapters", f"chengxin_gateway-{__version__}.dist-info"}
    for needed in (
        "gateway/shipped_policies/tiers.toml",
        "gateway/shipped_policies/datasets/honours.toml",
        "gateway/shipped_policies/agreements/tonghua-baishan-2026.toml",
        "gateway/core/records/divisions.tsv",
        "gateway/py.typed",
        "adapters/suite.py",
        "adapters/pytest_suite.py",
        "adapters/canned/odd.json",
        "adapters/template/every/pyproject.toml.txt",
    ):
        assert needed in names
    assert any(name.startswith("gateway/web/static/") for name in names)
    assert not any(name.endswith((".pyc", ".db")) or "/tests/" in name.removeprefix("gateway/shipped_policies/") for name in names)


def test_the_program_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """Unpacked somewhere else, it finds the rules inside itself and sets up a gateway with them."""
    unpacked = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(unpacked)
    (tmp_path / "chengxin.toml").write_text(
        'party = "credit.tonghua.example"\nregion = "220500"\norg = "11220500XXT0001181"\n', encoding="utf-8"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHENGXIN_")} | {"PYTHONPATH": str(unpacked)}
    done = subprocess.run([sys.executable, "-m", "gateway", "init"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "copied from the shipped ones" in done.stdout
    assert (tmp_path / "policies" / "tiers.toml").is_file()


def test_the_version_is_said_once(wheel: Path) -> None:
    """Package, project file and changelog name the same version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert __version__ in wheel.name


def test_the_locks_agree_with_the_project() -> None:
    """Every direct dependency is locked with hashes, the run-time lock is part of the development lock, and nothing else sneaks in."""
    locks = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("requirements.txt", "requirements-dev.txt")}
    pins = {
        name: {line.split(" ")[0].lower() for line in text.splitlines() if "==" in line and not line.startswith((" ", "#"))}
        for name, text in locks.items()
    }
    assert pins["requirements.txt"] <= pins["requirements-dev.txt"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {
        "requirements.txt": project["dependencies"],
        "requirements-dev.txt": [one for extra in project["optional-dependencies"].values() for one in extra],
    }
    for name, requirements in wanted.items():
        locked = {pin.split("==")[0].split("[")[0].replace("_", "-") for pin in pins[name]}
        asked = {requirement.split(">")[0].split("[")[0].strip().lower().replace("_", "-") for requirement in requirements}
        assert asked <= locked
    assert all(text.count("--hash=sha256:") >= len(pins[name]) for name, text in locks.items())


def test_parts_are_compressed_where_there_is_no_isal() -> None:
    """On a processor without a build of it zlib writes, by the same call; whoever reads sees no difference."""
    code = (
        "import sys, gzip; sys.modules['isal'] = None; from gateway.core.exchange import sealing as b;"
        " print(b.deflate.__name__, gzip.decompress(b.deflate.compress(b'said' * 99, 1, wbits=b.GZIP)) == b'said' * 99)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["zlib", "True"]
