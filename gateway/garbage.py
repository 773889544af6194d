"""How often cycles of objects are looked for, in every process of ours.

Rules: Python would look after 700 new objects, which a turn of the loop that checks proofs, or a hundred rows of a file, has at once,
though nothing of it is garbage: a tenth of an ingest went there. What is in no cycle is freed at once, as ever. This file must not know
who runs.
"""

import gc

AFTER = 10_000
"""So many more objects than before: then cycles are looked for."""


def seldom() -> None:
    """From now on in this process."""
    gc.set_threshold(AFTER)
