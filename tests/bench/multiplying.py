"""A store of very many public rows: those of one dataset again and again, under ids of their own, in the read model alone.

`python -m tests.bench.multiplying DATABASE DATASET ROWS`: for measuring exports, which read nothing else.
"""

import sqlite3
import sys


def multiply(database: str, dataset: str, rows: int) -> int:
    """Add copies until there are so many rows; how many there are."""
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        columns = [row[1] for row in connection.execute("PRAGMA table_info(rendered_records)") if row[1] != "record_id"]
        names = ", ".join(f'"{name}"' for name in columns)
        held = connection.execute("SELECT count(*) FROM rendered_records WHERE dataset = ?", (dataset,)).fetchone()[0]
        turns, rest = divmod(rows - held, held)
        for count in [held] * turns + [rest]:
            connection.execute(
                f"INSERT INTO rendered_records (record_id, {names}) SELECT 'rec_' || lower(hex(randomblob(13))), {names} "
                "FROM (SELECT * FROM rendered_records WHERE dataset = ? ORDER BY rowid LIMIT ?)",
                (dataset, count),
            )
            connection.commit()
        return int(connection.execute("SELECT count(*) FROM rendered_records WHERE dataset = ?", (dataset,)).fetchone()[0])


if __name__ == "__main__":
    print(multiply(sys.argv[1], sys.argv[2], int(sys.argv[3])))
