"""The write limit: the same registry rows through raw sqlite3 `executemany` in one transaction, with one index.

Run as a process of its own on the server's core: `python -m tests.bench.writing FILE.csv`; prints {"rows_s": …}.
"""

import csv
import json
import sqlite3
import sys
import tempfile
import time
from pathlib import Path


def main(path: Path) -> None:
    """Parse and insert; only the inserting is timed, as in performance.md §1."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    columns = [f"c{index}" for index in range(len(header))]
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "limit.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"CREATE TABLE rows ({', '.join(f'{name} TEXT' for name in columns)})")
        connection.execute("CREATE INDEX one ON rows (c1)")
        started = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(columns))})", rows)
        connection.execute("COMMIT")
        seconds = time.perf_counter() - started
        connection.close()
    print(json.dumps({"rows_s": len(rows) / seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
