"""How the demo shows ingest receipts: a line a file, and a total a city. This room must not read a file of the sample."""

from collections import Counter
from collections.abc import Sequence

from gateway.console import table
from gateway.demo.intake import Taken

COUNTS = ("accepted", "unchanged", "held", "withdrawn")


def receipt_table(taken: Sequence[Taken]) -> list[str]:
    """What became of each file."""
    rows = []
    for one in taken:
        rejected = ", ".join(f"{code} {count}" for code, count in one.receipt.rejected.items())
        rows.append((one.file, one.sent_as, *(getattr(one.receipt, what) for what in COUNTS), rejected or "-"))
    return table(rows, ("file", "sent as", *COUNTS, "rejected by code"))


def totals(taken: Sequence[Taken]) -> str:
    """One city's sum."""
    rejected: Counter[str] = sum((Counter(one.receipt.rejected) for one in taken), Counter())
    counts = {what: sum(getattr(one.receipt, what) for one in taken) for what in COUNTS}
    return ", ".join(f"{what} {count}" for what, count in counts.items()) + f", rejected {rejected.total()}"
