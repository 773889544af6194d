"""Every adapter of the house runs the suite, and what it leaves out has a reason that somebody wrote."""

import ast
from importlib.metadata import entry_points
from pathlib import Path

from gateway.adapter_contract import CAPABILITY_METHODS
from gateway.adapter_loading import GROUP, installed_adapters

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def suites() -> dict[str, set[str]]:
    """Module of an adapter → the test classes with which the suite runs over it, read from the tests."""
    found: dict[str, set[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        tree = ast.parse(path.read_bytes())
        classes = [
            node.name
            for node in tree.body
            if isinstance(node, ast.ClassDef)
            and node.name.startswith("Test")
            and any(isinstance(base, ast.Name) and base.id.endswith("AdapterSuite") for base in node.bases)
        ]
        imported = {
            node.module
            for source in (path, *(HERE / f"{name}.py" for name in _helpers(tree)))
            for node in ast.walk(ast.parse(source.read_bytes()))
            if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("adapters.")
        }
        for module in imported if classes else ():
            found.setdefault(module, set()).update(f"{path.name}::{name}" for name in classes)
    return found


def _helpers(tree: ast.Module) -> set[str]:
    """Files beside a test from which it takes its line."""
    modules = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {module.rpartition(".")[2] for module in modules if module.startswith("tests.adapters.")}


def test_every_adapter_of_the_house_runs_the_suite() -> None:
    """Each built-in adapter whose code is here has a test class that inherits the suite."""
    ours = {entry.name: entry.value.partition(":")[0] for entry in entry_points(group=GROUP) if entry.value.startswith("adapters.")}
    here = {name: module for name, module in ours.items() if (ROOT / f"{module.replace('.', '/')}.py").is_file()}
    assert {"memory", "excel_csv", "https_partner", "file_drop", "province_soap", "pboc_file", "frontend_database"} <= here.keys()
    found = suites()
    assert {name for name, module in here.items() if not found.get(module)} == set()


def test_every_capability_of_the_house_is_the_contracts() -> None:
    """No built-in adapter promises what the contract does not name."""
    adapters = installed_adapters()
    names = ("memory", "excel_csv", "https_partner", "file_drop", "province_soap", "pboc_file", "frontend_database")
    named = {name: adapters.load(name).capabilities for name in names}
    assert {name: capabilities - CAPABILITY_METHODS.keys() for name, capabilities in named.items()} == dict.fromkeys(named, frozenset())
