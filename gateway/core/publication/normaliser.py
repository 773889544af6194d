"""The normaliser of names, published so that others compute the same: its steps, its table, and vectors (api.md §7.11).

Rules: `names.normalise` is what runs; what is told here is tested against it. Another step or another row of the table is another
normaliser, with another name.
"""

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

from gateway.core.publication.names import NORMALISER, normalise
from gateway.core.publication.ranges import digest

STEPS: Final = (
    ("nfkc", "Unicode NFKC"),
    ("casefold", "Unicode full case folding"),
    ("variants", "each character of the first column of the table becomes that of the second"),
    ("nfkc", "Unicode NFKC"),
    ("keep", "keep only characters of Unicode general category L*, M* or N*"),
)
INPUTS: Final = (
    "通化市示例药业（集团）有限公司",
    "通化市示例藥業（集團） 有限公司",
    "ＡＢＣ示例〔通化〕有限公司",
    "𠮷田·示例药业",
    "𠮷田\u200b·示例药业",
    "Ｓｔｒａßｅ　示例②號",
)
CODES: Final = ("91220500XXT000011D",)


@cache
def table() -> str:
    """The table of variant characters: one line a character, tab, what it becomes; lines that begin with # are remarks."""
    return files("gateway.core.publication").joinpath("variants.tsv").read_text(encoding="utf-8")


@cache
def document() -> dict[str, Any]:
    """Everything that it takes to compute the digests of a range look-up."""
    text = table()
    texts = [*((each, normalise(each)) for each in INPUTS), *((each, each) for each in CODES)]
    return {
        "name": NORMALISER,
        "encoding": "UTF-8",
        "steps": [{"step": step, "text": words} for step, words in STEPS],
        "table": {"sha256": sha256(text.encode()).hexdigest(), "tsv": text},
        "vectors": [
            {"input": given, "normalised": norm, "sha256": digest("sha256", norm), "sm3": digest("sm3", norm)} for given, norm in texts
        ],
    }
