"""How the demo shows ingest receipts: a line a file, and a total a city. This room must not read a file of the sample."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from gateway.console import table
from gateway.operations.ingest import IngestReceipt
from gateway.sample.generate import SampleFile

_decode = msgspec.json.Decoder(IngestReceipt).decode


def receipt_table(receipts: Sequence[tuple[SampleFile, bytes]]) -> list[str]:
    """What became of each file."""
    rows = []
    for file, text in receipts:
        receipt = _decode(text)
        rejected = ", ".join(f"{code} {count}" for code, count in receipt.rejected.items())
        how = f"{file.path.suffix[1:]} {file.encoding if file.path.suffix == '.csv' else ''}".strip()
        rows.append((file.path.stem, how, receipt.accepted, receipt.unchanged, receipt.held, receipt.withdrawn, rejected or "-"))
    return table(rows, ("file", "sent as", "accepted", "unchanged", "held", "withdrawn", "rejected by code"))


def totals(receipts: Sequence[tuple[SampleFile, bytes]]) -> str:
    """One city's sum."""
    decoded = [_decode(text) for _, text in receipts]
    rejected: Counter[str] = sum((Counter(receipt.rejected) for receipt in decoded), Counter())
    counts = {what: sum(getattr(receipt, what) for receipt in decoded) for what in ("accepted", "unchanged", "held", "withdrawn")}
    return ", ".join(f"{what} {count}" for what, count in counts.items()) + f", rejected {rejected.total()}"
