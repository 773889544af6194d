"""One live export read over HTTP as fast as it comes: rows a second, time to the first byte.

`python -m tests.bench.exporting URL` prints {"rows": n, "rows_s": …, "first_byte_s": …, "bytes": n}. Runs on the load generator's core.
"""

import json
import os
import sys
import time
from urllib.parse import urlsplit

from tests.bench.load import LOAD_CORE


def main(url: str) -> None:
    """Plain socket and line counting: the reader must not be the limit."""
    import http.client

    os.sched_setaffinity(0, {int(LOAD_CORE)})
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
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
    print(json.dumps({"rows": rows, "rows_s": rows / seconds, "first_byte_s": first, "bytes": size}))


if __name__ == "__main__":
    main(sys.argv[1])
