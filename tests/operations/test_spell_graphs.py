"""One graph in three spellings: the same bytes in every process, so that its validators mean something behind several of them."""

import os
import subprocess
import sys

import pytest

from gateway.core.publication.catalogue_export import Text
from gateway.operations.spell_graphs import MEDIA_TYPES, spelt

NODES = 40
GRAPH = tuple(
    (f"https://data.example/{node}", f"http://purl.org/dc/terms/{what}", Text(f"示例 {node}", language=language))
    for node in range(NODES)
    for what in ("title", "description")
    for language in ("zh", "en")
) + tuple(
    (f"https://data.example/{node}", "http://purl.org/dc/terms/relation", f"https://data.example/{node + 1}") for node in range(NODES)
)
PROGRAM = """
import hashlib
from gateway.operations.spell_graphs import MEDIA_TYPES, spelt
from tests.operations.test_spell_graphs import GRAPH
print(*(hashlib.sha256(spelt(GRAPH, each)).hexdigest() for each in MEDIA_TYPES))
"""


def test_every_process_writes_the_same_bytes() -> None:
    """However a process hashes its words: two processes of one gateway give one answer one validator."""
    seen = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


@pytest.mark.parametrize("spelling", MEDIA_TYPES)
def test_every_node_is_there(spelling: str) -> None:
    """Putting nodes in order leaves none out, a graph of one node included."""
    assert all(f"data.example/{node}".encode() in spelt(GRAPH, spelling) for node in range(NODES))  # type: ignore[arg-type]  # a parameter is a text
    assert "示例 0".encode() in spelt(GRAPH[:1], spelling)  # type: ignore[arg-type]  # a parameter is a text
