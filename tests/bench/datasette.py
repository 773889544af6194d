"""Datasette over the same register: the row of a firm as JSON, names by its full-text search, all rows as CSV. A peer, not a part.

It lives in a virtual environment of its own, named by `BENCH_DATASETTE` (the path of its command) or found on the PATH; it never stands in
our lock. Its database holds what the product's public documents say of the firms, by code, with the index that its users make.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.load import free_port, server

DATABASE = "register"


def command() -> str | None:
    """Where it is installed; None where it is not."""
    named = os.environ.get("BENCH_DATASETTE")
    return named if named and Path(named).exists() else shutil.which("datasette")


def copy_register(source: Path, target: Path) -> int:
    """The firms and their rendered licences as tables of their own; how many firms."""
    target.unlink(missing_ok=True)
    with sqlite3.connect(target) as connection:
        connection.execute("ATTACH ? AS house", (str(source),))
        connection.execute("CREATE TABLE firms (code TEXT PRIMARY KEY, name, region, region_label, status, kind, document TEXT)")
        done = connection.execute(
            "INSERT INTO firms SELECT k.key_value, json_extract(r.body, '$.name'), json_extract(r.body, '$.region'), "
            "json_extract(r.body, '$.region_label'), json_extract(r.body, '$.status'), r.kind, CAST(r.body AS TEXT) "
            "FROM house.subject_keys k JOIN house.rendered_subjects r USING (subject_id) WHERE k.key_type = 'uscc' AND r.body IS NOT NULL"
        )
        connection.execute(
            "CREATE TABLE licences AS SELECT record_id, json_extract(body, '$.subject.uscc') AS code, "
            "json_extract(body, '$.subject.name') AS name, json_extract(body, '$.document_number') AS document_number, "
            "decision_date, region, published_from, json_extract(body, '$.source.name') AS source, "
            "json_extract(body, '$.fields.licence_type') AS licence_type, seq "
            "FROM house.rendered_records WHERE dataset = 'administrative-licences'"
        )
        connection.execute('CREATE VIRTUAL TABLE firms_fts USING fts5(name, tokenize="trigram", content="firms")')
        connection.execute("INSERT INTO firms_fts(firms_fts) VALUES ('rebuild')")
        return done.rowcount


@contextmanager
def serving(database: Path) -> Iterator[tuple[str, int]]:
    """Its address and process, pinned to the server's core."""
    installed, port = command(), free_port()
    if installed is None:
        raise RuntimeError("datasette is not installed")
    options = ["--setting", "max_csv_mb", "0", "--setting", "sql_time_limit_ms", "60000"]
    origin = f"http://127.0.0.1:{port}"
    with server(
        [installed, "serve", str(database), "--host", "127.0.0.1", "--port", str(port), *options], f"{origin}/-/versions.json"
    ) as pid:
        yield origin, pid
