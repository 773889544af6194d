"""One event stream read over HTTP as fast as it comes: events a second, time to the first one.

`python -m tests.bench.streaming URL EVENTS` prints {"events": n, "events_s": …, "first_event_s": …}. Runs on the load generator's core.
"""

import json
import os
import sys
import time
from urllib.parse import urlsplit

from tests.bench.load import LOAD_CORE


def main(url: str, wanted: int) -> None:
    """Plain socket and line counting: the reader must not be the limit."""
    import http.client

    os.sched_setaffinity(0, {int(LOAD_CORE)})
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
    started = time.perf_counter()
    connection.request("GET", f"{parts.path}?{parts.query}", headers={"Accept": "text/event-stream"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{answer.status}: {answer.read(400)!r}")
    first = None
    events = 0
    while events < wanted and (chunk := answer.read1(1 << 18)):
        events += chunk.count(b"\nevent: ")
        if first is None and events:
            first = time.perf_counter() - started
    seconds = time.perf_counter() - started
    connection.close()
    print(json.dumps({"events": events, "events_s": events / seconds, "first_event_s": first}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
