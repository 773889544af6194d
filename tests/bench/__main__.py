"""`make bench`: measure limits and product in one run, print ratios beside the goals of performance.md §3, write JSON.

Over HTTP in short turns A B B A (`turns`), warm-up discarded, server on one core and load generator on the other; else medians of
`--repeat` runs. A sample of the answers is checked. A row says so where a tool (wrk, nginx) is absent.
"""

import argparse
import asyncio
import datetime as dt
import importlib.metadata
import itertools
import json
import logging
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import httpx
from msgspec import Struct

from gateway import settings as settings_room
from gateway.core.callers.caller import OPEN_PURPOSE
from tests.bench import doors, outward, register, searching
from tests.bench.house import House, in_child
from tests.bench.limits import copy_documents
from tests.bench.load import Load, free_port, granian, memory_mb, nginx, played, processor_s, server, wrk
from tests.bench.turns import Ratio, Turns, ratio_of, take

LICENCES_EACH = 2
CASES = (
    "writing", "core", "doors", "starting", "reading", "matching", "files", "exporting", "peers", "following", "exchanging", "asking",
    "entering", "searching",
)  # fmt: skip
LONG_CASES = ("million", "growing", "snapshot")
"""Named by `--only`: they take many minutes."""
logging.getLogger("httpx").setLevel(logging.WARNING)


class Row(Struct, frozen=True, kw_only=True):
    """One line of the table: the product's figure, the limit's of the same run, their ratio, the goal."""

    case: str
    figure: str
    ratio: float | None
    limit: str
    goal: str
    met: bool | None
    quartiles: tuple[float, float] | None = None
    """Of a ratio of many turns: what a half of them lie between."""


class Bench:
    """The cases, one method each; every one appends rows."""

    def __init__(self, folder: Path, subjects: int, seconds: float, repeat: int) -> None:
        self.subjects, self.seconds, self.repeat = subjects, seconds, repeat
        self.folder = folder
        self.house = House(folder / "house")
        self.rows: list[Row] = []
        self.raw: dict[str, Any] = {}

    def row(self, case: str, figure: str, ratio: Ratio | float | None, limit: str, goal: str, met: bool | None) -> None:
        """Add and print a line."""
        median, quartiles = (ratio.median, (ratio.low, ratio.high)) if isinstance(ratio, Ratio) else (ratio, None)
        self.rows.append(Row(case=case, figure=figure, ratio=median, limit=limit, goal=goal, met=met, quartiles=quartiles))
        mark = {True: "yes", False: "NO", None: "–"}[met]
        shown = "" if ratio is None else str(ratio) if isinstance(ratio, Ratio) else f"{ratio:.3f}"
        print(f"{case:<46} {figure:>18}  {shown:<19}  ÷ {limit:<44} goal {goal:<26} {mark}", flush=True)

    def turns(self, runs: Mapping[str, Callable[[], Load]], times: int, *, may_fail: Collection[str] = ()) -> Turns:
        """`times` · `repeat` turns; all that was taken is written to the file."""
        taken = take(runs, times * self.repeat, may_fail=may_fail)
        self.raw |= taken.raw()
        return taken

    def writing(self) -> None:
        """Ingest against raw sqlite3; fills the register for the cases after it."""
        files = self.folder / "files"
        files.mkdir(exist_ok=True)
        register.registrations(files / "registrations.csv", self.subjects)
        register.licences(files / "licences.csv", self.subjects, LICENCES_EACH)
        register.penalties(files / "penalties.csv", max(1000, self.subjects // 4))
        limits: list[float] = []
        rates: list[float] = []
        firms = str(files / "registrations.csv")
        for _ in range(2 * self.repeat):
            limits += [in_child("tests.bench.writing", firms)["rows_s"]]
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                house = House(Path(scratch))
                house.command("init")
                rates += [in_child("tests.bench.ingesting", str(house.settings), "registrations", firms, "alone")["rows_s"]]
        self.raw["executemany and registrations, rows/s"] = [limits, rates]
        limit = statistics.median(limits)
        ratio, of_limit = ratio_of(rates, limits), f"sqlite3 executemany {limit:,.0f} rows/s"
        self.row("ingest registrations", f"{statistics.median(rates):,.0f} rows/s", ratio, of_limit, "≥ 0.1", ratio.median >= 0.1)
        self.house.command("init")
        for dataset, name in (
            ("registrations", "registrations"),
            ("administrative-licences", "licences"),
            ("administrative-penalties", "penalties"),
        ):
            done = in_child("tests.bench.ingesting", str(self.house.settings), dataset, str(files / f"{name}.csv"))
            self.raw[f"ingest {dataset}"] = done
            if done["rejected"]:
                raise RuntimeError(f"{dataset}: {done['rejected']} rows rejected")
            whole = done["accepted"] / (done["accepted"] / done["rows_s"] + done["rendered_s"])
            free_text = dataset == "administrative-penalties"
            self.row(
                f"ingest {dataset}, rendered too",
                f"{done['core_s']:,.0f} rows/s a core",
                whole / limit,
                f"executemany {limit:,.0f}, of the clock {whole:,.0f} rows/s",
                "≥ 1,500 rows/s" if free_text else "–",
                done["core_s"] >= 1500 if free_text else None,
            )
            self.row(f"ingest {dataset}: ten rows of a new process", f"{done['first_s'] * 1000:,.0f} ms", None, "rendered too", "–", None)

    def reading(self) -> None:
        """Look-ups, pages, searches, 304: against nginx, bare ASGI and Litestar's constant bytes."""
        if shutil.which("wrk") is None:
            self.row("everything over HTTP", "absent", None, "Debian's `wrk` is not installed", "–", None)
            return
        static = self.folder / "static"
        static.mkdir(exist_ok=True)
        (static / "file.json").write_bytes(b"x" * 600)
        codes = [f"/v1/subjects/{code}" for code in register.codes(self.subjects)]
        with ExitStack() as stack:
            nginx_origin = stack.enter_context(nginx(static))
            stack.enter_context(self.house.serving())
            unkept = stack.enter_context(self.house.serving_unkept())
            documents = self.folder / "documents.db"
            documents.unlink(missing_ok=True)
            copy_documents(str(self.house.database), str(documents))
            given = httpx.get(f"{self.house.origin}{codes[0]}", timeout=60, headers={"Accept-Encoding": "identity"})
            fields = [(name, value) for name, value in given.headers.multi_items() if name != "date"]  # the server adds its own
            answer = self.folder / "answer.json"
            answer.write_text(json.dumps([fields, given.text]), encoding="utf-8")
            ports = {name: free_port() for name in ("constant", "headed", "document", "framework")}
            for name, port in ports.items():
                stack.enter_context(
                    server(
                        granian(f"tests.bench.limits:{name}", port),
                        f"http://127.0.0.1:{port}/v1/constant",
                        env={"BENCH_DATABASE": str(documents), "BENCH_ANSWER": str(answer)},
                    )
                )
            client = stack.enter_context(httpx.Client(base_url=self.house.origin, timeout=60))
            self.check(client)
            records, subjects = _ids(client, "/v1/records"), _ids(client, "/v1/subjects")
            etag = client.get(codes[0]).headers["etag"]
            first, deep = _pages(client, 50 if self.subjects > 2000 else 5)
            queries = _searches(self.subjects)
            few = [f"/v1/subjects?q={text}&limit=10" for text in _queries(self.subjects)]
            seeds = itertools.count(1)  # every run asks other things than the last one: what that one left behind would flatter it

            def asked(paths: Sequence[str], **options: Any) -> Load:
                return wrk(self.house.origin, paths, seconds=self.seconds, seed=next(seeds), **options)

            limits: dict[str, Callable[[], Load]] = {
                "bare ASGI, constant": lambda: wrk(f"http://127.0.0.1:{ports['constant']}", ["/"], seconds=self.seconds),
                "bare ASGI, one answer of ours": lambda: wrk(f"http://127.0.0.1:{ports['headed']}", ["/"], seconds=self.seconds),
                "bare ASGI, rendered document": lambda: wrk(f"http://127.0.0.1:{ports['document']}", codes, seconds=self.seconds),
            }
            if nginx_origin:
                limits["nginx static"] = lambda: wrk(nginx_origin, ["/file.json"], seconds=self.seconds)
            for _ in range(1 + self.subjects // 5000):  # until the register is in memory, as with a server that was asked before
                asked(codes)
            looked_up = self.turns(
                limits
                | {
                    "subject lookup": lambda: asked(codes),
                    "subject lookup, unkept": lambda: wrk(unkept, codes, seconds=self.seconds, seed=next(seeds)),
                    "name search": lambda: asked(queries, connections=16),
                    "name search, asked again": lambda: asked(few, connections=16),
                },
                6,
            )

            hot = self.turns(
                {
                    "subject lookup, hot key": lambda: asked(codes[:1]),
                    "304": lambda: asked(codes[:1], headers={"If-None-Match": etag}),
                },
                12,
            )
            objects = self.turns(
                {
                    "Litestar, constant": lambda: wrk(f"http://127.0.0.1:{ports['framework']}", ["/v1/constant"], seconds=self.seconds),
                    "subject lookup in English": lambda: asked(codes, headers={"Accept-Language": "en"}),
                    "record, in the lane": lambda: asked(records),
                    "subject by its id, in the lane": lambda: asked(subjects),
                    "subject by its id, outside the lane": lambda: asked([f"{path}.json" for path in subjects]),
                    "list page, first, outside the lane": lambda: asked(["/v1/records?dataset=administrative-licences&limit=20"]),
                },
                6,
            )
            pages = self.turns({"list pages, first ones": lambda: asked(first), "list pages, deep ones": lambda: asked(deep)}, 8)
        self.judge_limits(looked_up)
        self.judge_look_ups(looked_up, "subject lookup", "public subject lookup, random codes of the register")
        self.judge_look_ups(looked_up, "subject lookup, unkept", "  the same with none of it in memory")
        self.judge_objects(hot, objects, pages)

    def files(self) -> None:
        """A version file in bytes a second, against nginx with the same bytes."""
        if shutil.which("wrk") is None:
            self.row("version file", "absent", None, "Debian's `wrk` is not installed", "–", None)
            return
        collection = "datasets/registrations"
        began = time.perf_counter()
        self.house.command("lists", "build", collection)
        took = time.perf_counter() - began
        static = self.folder / "static"
        static.mkdir(exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(self.house.serving())
            manifest = httpx.get(f"{self.house.origin}/v1/{collection}/versions/latest", timeout=60).json()
            path = str(httpx.URL(next(each["uri"] for each in manifest["files"] if each["format"] == "ndjson")).path)
            body = httpx.get(self.house.origin + path, timeout=60).content
            if manifest["rows"] != self.subjects or body.count(b"\n") != self.subjects:
                raise RuntimeError("the version does not have the rows that were ingested")
            (static / "version.ndjson").write_bytes(body)
            nginx_origin = stack.enter_context(nginx(static))
            runs = {"version file": lambda: wrk(self.house.origin, [path], connections=8, seconds=self.seconds)}
            if nginx_origin:
                runs["version file: nginx"] = lambda: wrk(nginx_origin, ["/version.ndjson"], connections=8, seconds=self.seconds)
            taken = self.turns(runs, 3)
        rate = taken.load("version file").bytes_s / 1e6
        ratio = taken.ratio("version file", "version file: nginx", lambda load: load.bytes_s) if nginx_origin else None
        self.row(
            f"version file, {len(body) / 1e6:.1f} MB, 8 connections",
            f"{rate:,.0f} MB/s",
            ratio,
            "nginx" if ratio else "nginx is not installed",
            "≥ 0.6",
            ratio and ratio.median >= 0.6,
        )
        self.row("  its build and files", f"{self.subjects / took:,.0f} rows/s", None, f"{took:.1f} s with the start", "–", None)

    def judge_limits(self, taken: Turns) -> None:
        """Searches against nginx, and what a bare application does."""
        search = taken.load("name search")
        if "nginx static" in taken:
            nginx_rate = f"nginx static {taken.load('nginx static').rate:,.0f}/s"
            bare = "bare ASGI, constant"
            self.row(f"limit: {bare} bytes", _rate(taken.load(bare)), taken.ratio(bare, "nginx static"), nginx_rate, "–", None)
            ours = "bare ASGI, one answer of ours"
            self.row(f"limit: {ours}, always", _rate(taken.load(ours)), taken.ratio(ours, "nginx static"), nginx_rate, "–", None)
            ratio = taken.ratio(ours, "nginx static", lambda load: load.p99_ms)
            self.row("  its p99", f"{taken.load(ours).p99_ms:.1f} ms", ratio, "nginx static", "–", None)
            ratio = taken.ratio("name search", "nginx static")
            self.row("name search, 16 connections", _rate(search), ratio, nginx_rate, "≥ 0.04", ratio.median >= 0.04)
        else:
            self.row("nginx static file", "absent", None, "Debian's nginx-light is not installed", "–", None)
        self.row("name search, p99", f"{search.p99_ms:.1f} ms", None, "–", "≤ 20 ms", search.p99_ms <= 20)
        again = taken.load("name search, asked again")
        ratio = taken.ratio("name search, asked again", "name search")
        self.row("600 name searches asked over and over", _rate(again), ratio, "name search", "–", None)

    def judge_look_ups(self, taken: Turns, name: str, case: str) -> None:
        """Look-ups against nginx and against a bare application that reads the same documents."""
        rate, document = _rate(taken.load(name)), "bare ASGI, rendered document"
        if "nginx static" in taken:
            static, p99_ms = taken.load("nginx static"), f"{taken.load(name).p99_ms:.1f} ms"
            ratio = taken.ratio(name, "nginx static")
            self.row(case, rate, ratio, f"nginx static {static.rate:,.0f}/s", "≥ 0.22", ratio.median >= 0.22)
            ratio = taken.ratio(name, "nginx static", lambda load: load.p99_ms)
            self.row("  its p99", p99_ms, ratio, f"nginx static p99 {static.p99_ms:.1f} ms", "≤ 4", ratio.median <= 4)
        ratio, limit = taken.ratio(name, document), f"{document} {taken.load(document).rate:,.0f}/s"
        self.row(case, rate, ratio, limit, "≥ 0.5", ratio.median >= 0.5)

    def judge_objects(self, hot: Turns, objects: Turns, pages: Turns) -> None:
        """What is asked again, one object, one page."""
        ratio, kept = hot.ratio("304", "subject lookup, hot key"), hot.load("subject lookup, hot key")
        self.row("304, one hot key", _rate(hot.load("304")), ratio, f"its 200 {kept.rate:,.0f}/s", "≥ 1", ratio.median >= 1)
        constant = f"Litestar constant bytes {objects.load('Litestar, constant').rate:,.0f}/s"
        for name in objects:
            if name != "Litestar, constant":
                ratio = objects.ratio(name, "Litestar, constant")
                self.row(name, _rate(objects.load(name)), ratio, constant, "≥ 0.4", ratio.median >= 0.4)
        ratio = pages.ratio("list pages, first ones", "list pages, deep ones")
        deep = pages.load("list pages, deep ones")
        within = 1 / 1.3 <= ratio.median <= 1.3
        self.row("list pages: first ones against deep ones", _rate(deep), ratio, "deep ones", "within 1.3 either way", within)

    def check(self, client: httpx.Client) -> None:
        """A sample of the bytes under measurement is what it should be."""
        for number in (0, self.subjects // 2, self.subjects - 1):
            answer = client.get(f"/v1/subjects/{register.code(number)}").json()
            if answer["name"] != register.name(number) or answer["record_counts"]["licence"] != LICENCES_EACH:
                raise RuntimeError(f"firm {number} is not answered as it was ingested")

    def searching(self) -> None:
        """How well names are found and matched: golden queries over a register of its own; a sample over HTTP."""
        house = House(self.folder / "names")
        held = searching.firms(10_000)
        searching.write_register(house.folder / "names.csv", held)
        house.command("init")
        in_child("tests.bench.ingesting", str(house.settings), "registrations", str(house.folder / "names.csv"))
        done: dict[str, Any] = in_child("tests.bench.searching", str(house.settings))
        self.raw["searching"] = done
        where = f"{done['queries']:,} queries, {done['register']:,} {'real' if done['real'] else 'invented'} names"
        for kind, told in done["kinds"].items():
            measure, bar = searching.BARS.get(kind, ("MRR@10", None))
            goal, met = (f"≥ {bar:.2f}", told[measure] >= bar) if bar is not None else ("–", None)
            self.row(f"search: {kind}", f"{told[measure]:.3f} {measure}", None, where, goal, met)
        match = done["match"]
        wrong, found = match["false_positives"], match["found"]
        self.row(
            "match: false positives", f"{wrong:.2%}", None, f"{match['negatives']:,} firms that do not exist", "≤ 0.5 %", wrong <= 0.005
        )
        self.row(
            "match: found as exact or match",
            f"{found:.2%}",
            None,
            f"{match['positives']:,} names of firms, form or region left out",
            "–",
            None,
        )
        broken = done["hostile"]
        with house.serving(), httpx.Client(base_url=house.origin, timeout=60) as client:
            for text in searching.HOSTILE:
                broken += client.get("/v1/subjects", params={"q": text}).status_code >= 500
            for kind, text, firm in itertools.islice(searching.golden(held), 0, None, 40):
                names = [each["name"] for each in client.get("/v1/subjects", params={"q": text, "limit": "10"}).json()["items"]]
                if kind == "exact" and firm.name not in names[:1]:
                    raise RuntimeError("a whole name is not first over HTTP")
        self.row("hostile queries that break", f"{broken}", None, "stories and HTTP", "0", broken == 0)

    def matching(self) -> None:
        """Names matched a second over the register of `writing`; recall of exact substrings there."""
        done = in_child("tests.bench.matching", str(self.house.settings), str(self.subjects))
        self.raw["matching"] = done
        self.row(
            "match, batches of 100", f"{done['names_s']:,.0f} names/s", None, f"{self.subjects:,} subjects", "≥ 150", done["names_s"] >= 150
        )
        self.row(
            "name search, recall of substrings", f"{done['recall']:.3f}", None, f"{done['asked']:,.0f} queries", "1.0", done["recall"] == 1
        )

    def exporting(self) -> None:
        """Live exports of whole and of small rows."""
        outward.exporting(self)

    def million(self) -> None:
        """Exports of a million rows: memory, and the first byte."""
        outward.million(self)

    def growing(self) -> None:
        """Ten times the register."""
        outward.growing(self)

    def peers(self) -> None:
        """Datasette over the same register."""
        outward.peers(self)

    def following(self) -> None:
        """The event stream, caught up from its beginning."""
        wanted = min(self.subjects, 50_000)
        with self.house.serving():
            url = f"{self.house.origin}/v1/changes/stream?since=0"
            done = [in_child("tests.bench.streaming", url, str(wanted), env={"BENCH_CORE": "load"}) for _ in range(self.repeat + 1)][1:]
        self.raw["feed stream"] = done
        rate, first = (statistics.median(each[name] for each in done) for name in ("events_s", "first_event_s"))
        self.row("feed stream, catching up", f"{rate:,.0f} events/s", None, f"first event after {first * 1000:.0f} ms", "–", None)

    def entering(self) -> None:
        """Entries of the transparency log and a signed head over them, where ten million stand already."""
        done = in_child("tests.bench.entering", str(self.folder / "log"), "10000000")
        self.raw["log"] = done
        for count in (1, 100):
            took = done[f"ms_{count}"]
            self.row(f"log of 10 million: {count} more, and a head", f"{took:.1f} ms", None, "commits fsync", "< 50 ms", took < 50)

    def exchanging(self) -> None:
        """Seal, verify, verify and apply, against the sum of their hashes, parses and inserts measured alone."""
        for kind in ("honours", "penalties"):
            done = in_child("tests.bench.exchanging", str(self.folder / f"cities-{kind}"), str(max(2000, self.subjects // 4)), kind)
            self.raw[f"exchange of {kind}"] = done
            meant = kind == "honours"  # the records of exchange.md §21; those of every field that an agreement may name have no goal
            about = f"{done['records']:,.0f} {kind} of {done['disclosures']:.0f} disclosures"
            for case, goal in (("seal", 5000), ("verify", 8000), ("verify and apply", 3000)):
                figure = f"{done[case]:,.0f} records/s"
                self.row(
                    f"batch: {case}", figure, None, about, f"≥ {goal:,} records/s" if meant else "–", done[case] >= goal if meant else None
                )
            for case in ("verify", "verify and apply"):
                alone = done[f"{case}: parts alone"]
                self.row(
                    f"batch of {kind}: {case}",
                    f"{done[case]:,.0f} records/s",
                    done[case] / alone,
                    f"its parts alone {alone:,.0f} records/s",
                    "≥ 0.5" if meant else "–",
                    done[case] / alone >= 0.5 if meant else None,
                )

    def snapshot(self) -> None:
        """A million records sealed as one snapshot: the clock, and the largest that the process was."""
        done = in_child("tests.bench.exchanging", str(self.folder / "snapshot"), "1000000", "honours", "snapshot")
        self.raw["snapshot"] = done
        minutes, size = done["seal: seconds"] / 60, done["MiB"]
        self.row("snapshot of a million records", f"{minutes:.1f} min", None, f"{done['records']:,.0f} honours", "< 6 min", minutes < 6)
        self.row("snapshot of a million records: memory", f"{size:,.0f} MiB", None, "the process at its largest", "< 300 MB", size < 286)

    def asking(self) -> None:
        """Level-1 answers to a partner, without the partner."""
        done = in_child("tests.bench.asking", str(self.folder / "asking"), "400")
        self.raw["asking"] = done
        for result in ("hit", "no_hit"):
            took = done[f"{result} p95"]
            cpu = f"{done['cpu']:.1f} ms of a core"
            self.row(f"mutual query, level 1: {result}", f"p95 {took:.1f} ms", None, cpu, "< 20 ms", took < 20)

    def core(self) -> None:
        """View against its encoding, compile and check."""
        done = in_child("tests.bench.pieces")
        self.raw["pieces"] = done
        self.row(
            "view of a 30-field mixed record",
            f"{done['view_us']:.1f} µs",
            done["view_us"] / done["encode_us"],
            f"its msgspec encoding {done['encode_us']:.2f} µs",
            "≤ 20 µs, ≤ 8 ×",
            done["view_us"] <= 20 and done["view_us"] <= 8 * done["encode_us"],
        )
        self.row("redaction of a harmless sentence", f"{done['redact_us']:.0f} µs", None, "60 characters", "–", None)
        hostile = done["redact_hostile_s"]
        self.row("redaction of a hostile text", f"{hostile * 1000:.0f} ms", None, "20,000 characters", "< 200 ms", hostile < 0.2)
        speed, growth = done["redact_chars_s"], done["redact_ratio"]
        self.row("redaction of decisions", f"{speed:,.0f} characters/s", None, "a text of 50 sentences", "≥ 100,000", speed >= 100_000)
        unmet = done["redact_unmet_chars_s"]
        self.row("the same of sentences never met", f"{unmet:,.0f} characters/s", None, "one by one", "≥ 100,000", unmet >= 100_000)
        self.row("redaction of hostile megabytes", f"{growth:.1f} ×", growth, "100 KB of the same", "≤ 13 × (linear: 10)", growth <= 13)
        self.row("policy: compile and check the shipped set", f"{done['compile_s']:.3f} s", None, "–", "< 2 s", done["compile_s"] < 2)
        self.row("policy: check 10,000 rules", f"{done['bulk_s']:.1f} s", None, "fault in the last rule", "< 30 s", done["bulk_s"] < 30)

    def doors(self) -> None:
        """Look-ups of an app with token and proof against anonymous ones outside the lane; needs the register of `writing`."""
        self._doors_over_http()
        done = in_child("tests.bench.doors", str(self.house.settings), str(self.subjects))
        self.raw["doors"] = done
        office = f"anonymous office lane {statistics.median(done['office']):,.0f}/s, in one process"
        for name, who in (("open", "same view"), ("department", "department's view, audited")):
            rate = f"{statistics.median(done[name]):,.0f}/s"
            self.row(f"  in one process, {who}", rate, ratio_of(done[name], done["office"]), office, "–", None)
        self.row("check of one DPoP proof (ES256)", f"{done['proof_us']:.0f} µs", None, "–", "300–600 µs", None)

    def _doors_over_http(self) -> None:
        if shutil.which("wrk") is None:
            self.row("DPoP-authenticated look-up, same view", "absent", None, "Debian's `wrk` is not installed", "≥ 0.5", None)
            return
        paths = [f"/v1/subjects/{code}" for code in register.codes(self.subjects)]
        program = asyncio.run(doors.a_program(settings_room.load(self.house.settings, {})))
        rates = {"office": 2000.0, "DPoP": 2000.0}
        spent: dict[str, list[float]] = {"office": [], "DPoP": []}

        def play(name: str, purpose: str | None, pid: int) -> Load:
            """Requests prepared just before the run, three times as many as the quickest one could ask; the firms in turn."""
            asked = itertools.islice(itertools.cycle(paths), int(3 * rates[name] * max(1, round(self.seconds))))
            requests = [(path, program.headers(path, purpose) if purpose else {}) for path in asked]
            before = processor_s(pid)
            load = played(self.house.origin, requests, seconds=self.seconds)
            spent[name].append(load.rate * max(1, round(self.seconds)) / (processor_s(pid) - before))
            rates[name] = max(load.rate, rates[name])
            return load

        serving = granian("tests.bench.doors:office_lane", self.house.port, "--factory")
        with server(serving, f"{self.house.origin}/healthz", env={"CHENGXIN_SETTINGS": str(self.house.settings)}) as pid:
            doors.check_alike(self.house.origin, paths[:20], program)
            taken = self.turns({"office": partial(play, "office", None, pid), "DPoP": partial(play, "DPoP", OPEN_PURPOSE, pid)}, 8)
        ratio, office = taken.ratio("DPoP", "office"), f"anonymous office lane {taken.load('office').rate:,.0f}/s"
        self.row("DPoP-authenticated look-up, same view", _rate(taken.load("DPoP")), ratio, office, "≥ 0.5", ratio.median >= 0.5)
        bound, anonymous = spent["DPoP"][1:], spent["office"][1:]  # the first run of each warmed up
        self.raw["requests per second of processor time"] = {"DPoP": bound, "office": anonymous}
        limit = f"anonymous office lane {statistics.median(anonymous):,.0f}/s"
        own = f"{statistics.median(bound):,.0f}/s"
        self.row("  in a second of the server's processor time", own, ratio_of(bound, anonymous), limit, "–", None)

    def starting(self) -> None:
        """Cold start to the first answer, and memory when idle."""
        import time

        starts = []
        for _ in range(self.repeat):
            started = time.perf_counter()
            with self.house.serving() as pid:
                starts.append(time.perf_counter() - started)
                time.sleep(3)  # until it has loaded what its first answer did not need
                memory = memory_mb(pid)
        seconds = statistics.median(starts)
        self.row("cold start to first answer", f"{seconds:.2f} s", None, "–", "< 2 s", seconds < 2)
        self.row("idle memory", f"{memory:.0f} MB", None, "–", "< 160 MB", memory < 160)


def _rate(load: Load) -> str:
    return f"{load.rate:,.0f}/s"


MOST_PAGES = 6000
"""Distinct pages of each kind: several times as many as are answered in the second for which an answer is kept."""


def _ids(client: httpx.Client, collection: str) -> list[str]:
    """The addresses of all objects of a collection, by their ids."""
    return [f"{collection}/{json.loads(line)['id']}" for line in client.get(f"{collection}.ndjson?limit=all&fields=id").text.splitlines()]


def _pages(client: httpx.Client, depth: int) -> tuple[list[str], list[str]]:
    """As many first pages as pages beyond a depth, each a question of its own.

    What is asked again in the same second is kept: few addresses asked by all would compare keeping with keeping, and opening a cursor
    with not opening one. The filter lets every row pass; it makes the first pages different questions.
    """
    days = [dt.date(2030, 1, 1) + dt.timedelta(days=number) for number in range(MOST_PAGES)]
    first = [f"/v1/records?dataset=administrative-licences&published_from__lte={day}&limit=20" for day in days]
    deep: list[str] = []
    for start in first:
        next_page: str | None = start
        for number in itertools.count():
            if next_page is None or len(deep) == MOST_PAGES:
                break
            page = client.get(next_page).json()
            if number >= depth:
                deep.append(str(httpx.URL(page["self"]).raw_path, "ascii"))
            next_page = page["next"]
        if len(deep) == MOST_PAGES or not deep:
            break
    return first[: len(deep)], deep


def _searches(subjects: int) -> list[str]:
    """Searches of which few are asked twice between two commits, so that nothing that is kept could flatter them.

    As many of four characters of any name as of two, of which there are less: in pages of many sizes, of ten on average.
    """
    names = [register.name(number) for number in range(subjects)]
    random = Random(3)
    random.shuffle(names)
    starts = sorted({name[5:7] for name in names})
    pages = [(text, size) for size in range(5, 16) for text in starts]
    random.shuffle(pages)
    pages = pages[:MOST_SEARCHES]
    long = [(names[number % len(names)][5:9], 5 + number // len(names) % 11) for number in range(len(pages))]
    return [f"/v1/subjects?q={quote(text)}&limit={size}" for text, size in (*long, *pages)]


MOST_SEARCHES = 8000
"""Distinct ones of each kind."""


def _queries(subjects: int) -> list[str]:
    texts = [register.name(number)[5:9] for number in range(0, subjects, max(1, subjects // 300))]
    return [quote(text) for text in [*texts, *(text[:2] for text in texts)]]


def main() -> int:
    """Run, print, write; exit 0 whatever the figures are: the table judges, not the exit status."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--subjects", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=1, help="of one run of the load generator")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(f"bench-{dt.datetime.now(dt.UTC).date()}.json"))
    parser.add_argument("--only", nargs="*", default=CASES)
    parser.add_argument("--folder", type=Path, help="keep the data here instead of a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options.folder or Path(scratch), options.subjects, options.seconds, options.repeat)
        records = options.subjects * (1 + LICENCES_EACH)
        print(f"{options.subjects:,} subjects, {records:,} records and more; medians of {options.repeat}, over HTTP of 3 to 12 times those")
        for case in options.only:
            getattr(bench, case)()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip() or None
    versions = {name: importlib.metadata.version(name) for name in ("litestar", "granian", "msgspec", "sqlalchemy", "aiosqlite")}
    options.out.write_text(
        json.dumps(
            {
                "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                "commit": commit,
                "python": platform.python_version(),
                "machine": platform.platform(),
                "cores": len(__import__("os").sched_getaffinity(0)),
                "versions": versions,
                "subjects": options.subjects,
                "rows": [{field: getattr(row, field) for field in row.__struct_fields__} for row in bench.rows],
                "raw": bench.raw,
            },
            ensure_ascii=False,
            indent=1,
        )
    )
    print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
