"""The table of attacks has a test for every row in this folder: against a real process, whatever else is tested beside its door."""

import ast
import re
from pathlib import Path

ROWS = 30
NAMED = re.compile(r"test_a([0-9]{2})_")
SAID = re.compile(r"(A[0-9]+(?:(?:, | and )A[0-9]+)*):")


def test_every_row_has_its_test():
    """Each of the thirty rows stands in the name of a test, or before the colon of its sentence."""
    found: set[int] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                named, said = NAMED.match(node.name), SAID.match(ast.get_docstring(node) or "")
                found |= {int(named.group(1))} if named else set()
                found |= {int(row) for row in re.findall(r"[0-9]+", said.group(1))} if said else set()
    assert found == set(range(1, ROWS + 1))
