"""Cases of the bench about what leaves in bulk, about a register that grows, and about a peer over the same register.

Each takes the running bench and appends its rows.
"""

import shutil
import statistics
import threading
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from tests.bench import datasette, register
from tests.bench.exporting import CASES
from tests.bench.growing import TIMES
from tests.bench.house import House, in_child
from tests.bench.load import memory_mb, wrk
from tests.bench.multiplying import multiply

if TYPE_CHECKING:
    from tests.bench.__main__ import Bench

WANTED = 120_000
MANY = 1_000_000
LICENCES = "administrative-licences"


def exporting(bench: "Bench") -> None:
    """Live exports over HTTP: rows of the design's length, whole rows, the first byte, what they add to memory."""
    rows = bench.subjects * 2
    with bench.house.serving() as pid:
        for suffix in ("ndjson", "csv", "msgpack"):  # what a process loads once is not what an export holds
            httpx.get(f"{bench.house.origin}/v1/records.{suffix}?dataset={LICENCES}&limit=100", timeout=60)
        time.sleep(3)  # what it loads after its start is not what an export costs
        before = memory_mb(pid)
        for name, (suffix, query) in CASES.items():
            figures = []
            for turn in range(bench.repeat + 1):
                url = f"{bench.house.origin}/v1/records.{suffix}?{query}"
                done = in_child("tests.bench.exporting", url, str(pid), env={"BENCH_CORE": "load"})
                done["core_rows_s"] = rows / done["core_s"]
                if suffix != "msgpack" and done["rows"] != rows:
                    raise RuntimeError(f"{name}: {done['rows']} rows of {rows}")
                if turn:
                    figures.append(done)
            bench.raw[f"export {name}"] = figures
            rate = statistics.median(figure["core_rows_s"] for figure in figures)
            wall = statistics.median(rows / figure["seconds"] for figure in figures)
            first = statistics.median(figure["first_byte_s"] for figure in figures)
            goal = "–" if suffix == "msgpack" else f"≥ {WANTED:,} rows/s a core"
            bench.row(
                f"live export {name}",
                f"{rate:,.0f} rows/s a core",
                None,
                f"{figures[0]['bytes'] / rows:.0f} bytes a row; {wall:,.0f} rows/s by the clock",
                goal,
                None if suffix == "msgpack" else rate >= WANTED,
            )
            bench.row("  first byte", f"{first * 1000:.0f} ms", None, "–", "< 300 ms", first < 0.3)
        grown = memory_mb(pid) - before
        bench.row("  memory grown by the exports", f"{grown:.0f} MB", None, f"{rows:,} rows", "± 50 MB", grown <= 50)


def million(bench: "Bench") -> None:
    """The same over a read model of a million rows of one dataset, and the most memory that each export takes on the way."""
    house = House(bench.folder / "million")
    if not house.database.exists():
        shutil.copytree(bench.house.database.parent, house.database.parent, dirs_exist_ok=True)
        multiply(str(house.database), LICENCES, MANY)
    with house.serving() as pid:
        for suffix in ("ndjson", "csv", "msgpack"):
            httpx.get(f"{house.origin}/v1/records.{suffix}?dataset={LICENCES}&limit=100", timeout=60)
        for name, (suffix, query) in CASES.items():
            before, most, over = memory_mb(pid), [0.0], threading.Event()

            def watch(most: list[float] = most, over: threading.Event = over) -> None:
                while not over.wait(0.25):
                    most[0] = max(most[0], memory_mb(pid))

            watching = threading.Thread(target=watch)
            watching.start()
            try:
                done = in_child("tests.bench.exporting", f"{house.origin}/v1/records.{suffix}?{query}", env={"BENCH_CORE": "load"})
            finally:
                over.set()
                watching.join()
            bench.raw[f"million {name}"] = done
            grown, first = most[0] - before, done["first_byte_s"]
            bench.row(f"a million rows: {name}", f"{grown:+.0f} MB", None, f"{done['seconds']:.0f} s", "± 50 MB", grown <= 50)
            bench.row("  first byte", f"{first * 1000:.0f} ms", None, "–", "< 300 ms", first < 0.3)


def growing(bench: "Bench") -> None:
    """Registers of registrations alone, one ten times the other."""
    houses = []
    for subjects in (bench.subjects, bench.subjects * TIMES):
        house = House(bench.folder / f"grown-{subjects}")
        if not house.database.exists():
            register.registrations(house.folder / "registrations.csv", subjects)
            house.command("init")
            in_child("tests.bench.ingesting", str(house.settings), "registrations", str(house.folder / "registrations.csv"))
        houses.append(house)
    done = in_child("tests.bench.growing", *(str(house.settings) for house in houses), str(bench.subjects))
    bench.raw["growing"] = done
    for name, (small, large) in done.items():  # type: ignore[misc]  # each figure here is a pair
        most = 2.0 if name.startswith("search") else 1.3
        bench.row(
            f"{TIMES} × the records: {name}", f"{large:,.0f} µs", large / small, f"{small:,.0f} µs", f"≤ {most} ×", large <= most * small
        )


def peers(bench: "Bench") -> None:
    """Datasette: the row of a firm, its full-text search, its CSV; against the product's answers about the same firms, in turn."""
    if datasette.command() is None or shutil.which("wrk") is None:
        bench.row("Datasette", "absent", None, "BENCH_DATASETTE names no command, or Debian's `wrk` is not installed", "–", None)
        return
    database = bench.folder / f"{datasette.DATABASE}.db"
    datasette.copy_register(bench.house.database, database)
    numbers = range(0, bench.subjects, max(1, bench.subjects // 300))
    texts = [quote(register.name(number)[5:9]) for number in numbers]
    codes = list(register.codes(bench.subjects))
    with bench.house.serving() as own, datasette.serving(database) as (origin, other):
        peer = f"/{datasette.DATABASE}/firms"
        if httpx.get(f"{origin}{peer}/{codes[0]}.json?_shape=array").json()[0]["name"] != register.name(0):
            raise RuntimeError("Datasette does not hold the register")
        if register.name(0)[5:9] not in httpx.get(f"{origin}{peer}.json?_search={texts[0]}&_shape=array", timeout=60).json()[0]["name"]:
            raise RuntimeError("Datasette does not search the names")
        ours_at, theirs_at = partial(wrk, bench.house.origin, seconds=bench.seconds), partial(wrk, origin, seconds=bench.seconds)
        taken = bench.turns(
            {
                "look-up": lambda: ours_at([f"/v1/subjects/{code}" for code in codes]),
                "Datasette look-up": lambda: theirs_at([f"{peer}/{code}.json" for code in codes]),
                "search": lambda: ours_at([f"/v1/subjects?q={text}&limit=10" for text in texts], connections=16),
                "Datasette search": lambda: theirs_at([f"{peer}.json?_search={text}&_size=10" for text in texts], connections=16),
            },
            4,
            may_fail=("Datasette look-up", "Datasette search"),
        )
        ours, theirs = [], []
        for _ in range(bench.repeat):
            for url, pid, figures in (
                (f"{bench.house.origin}/v1/records.csv?{CASES['csv'][1]}", own, ours),
                (f"{origin}/{datasette.DATABASE}/licences.csv?_stream=on&_size=max", other, theirs),
            ):
                done = in_child("tests.bench.exporting", url, str(pid), env={"BENCH_CORE": "load"})
                figures.append(done["rows"] / done["core_s"])
    for name, most in (("look-up", 12), ("search", 3)):
        mine, peer_load = f"{taken.load(name).rate:,.0f}/s", taken.load(f"Datasette {name}")
        if not peer_load.rate:
            bench.row(f"{name} against Datasette", mine, None, "Datasette gave no answer in time", f"≥ {most}", None)
            continue
        against = f"Datasette {peer_load.rate:,.0f}/s, {peer_load.errors} errors"
        ratio = taken.ratio(name, f"Datasette {name}")
        bench.row(f"{name} against Datasette", mine, ratio, against, f"≥ {most}", ratio.median >= most)
    rows, its = statistics.median(ours), statistics.median(theirs)
    bench.row(
        "CSV against Datasette", f"{rows:,.0f} rows/s a core", rows / its, f"Datasette {its:,.0f} rows/s a core", "≥ 4", rows >= 4 * its
    )
