"""Live exports, read over HTTP as fast as they come: rows a second, and of the server's processor, the first byte, the memory.

`python -m tests.bench.exporting URL [PID]` prints {"rows": n, "rows_s": …, "first_byte_s": …, "bytes": n}, of a server whose pid it is told
"core_s" too: what that had of the processor from the request to the last byte, and nothing of what it did while this process started. Runs
on the load generator's core. Rows of MessagePack are not lines: they are counted by whoever asked.
"""

import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.load import LOAD_CORE, children

DATASET = "dataset=administrative-licences"
SMALL = (
    "fields=subject.uscc,subject.name,document_number,decision_date,region,published_from,publish_until,source.name,fields.licence_type,seq"
)
"""Rows of about 386 bytes, all fields clear, as performance.md §1 measured its peers with; the whole ones are four times as long."""
FILTER = "decision_date__gte=2026-01-01"
CASES = {
    "ndjson, whole rows": ("ndjson", f"{DATASET}&limit=all"),
    "csv, whole rows": ("csv", f"{DATASET}&limit=all"),
    "ndjson": ("ndjson", f"{DATASET}&limit=all&{SMALL}"),
    "csv": ("csv", f"{DATASET}&limit=all&{SMALL}"),
    "ndjson, filtered": ("ndjson", f"{DATASET}&{FILTER}&limit=all&{SMALL}"),
    "msgpack": ("msgpack", f"{DATASET}&limit=all&{SMALL}"),
}
_TICK = os.sysconf("SC_CLK_TCK")


def processor_s(pid: int) -> float:
    """Seconds of processor that a process and its children have had."""
    total = 0
    for process in (pid, *children(pid)):
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def main(url: str, pid: int | None = None) -> None:
    """Plain socket and line counting: the reader must not be the limit."""
    import http.client

    os.sched_setaffinity(0, {int(LOAD_CORE)})
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
    spent = 0.0 if pid is None else processor_s(pid)
    started = time.perf_counter()
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{answer.status}: {answer.read(400)!r}")
    first = None
    lines = size = 0
    while chunk := answer.read1(1 << 18):
        if first is None:
            first = time.perf_counter() - started
        lines += chunk.count(b"\n")
        size += len(chunk)
    seconds = time.perf_counter() - started
    rows = lines - (1 if ".csv" in parts.path else 0)
    told = {"rows": rows, "rows_s": rows / seconds, "seconds": seconds, "first_byte_s": first, "bytes": size}
    if pid is not None:
        told["core_s"] = max(processor_s(pid) - spent, 1 / _TICK)
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
