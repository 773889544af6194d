"""Seal, verify, verify and apply one stream between two gateways, in one process on one core, without HTTP.

`python -m tests.bench.exchanging FOLDER RECORDS STREAM` prints records a second of processor time of each, and of the parts that it is
made of measured alone: hashes, parses and inserts of the same bytes; beside them by how many MiB the process was larger at its highest
while it sealed. What a process loads once (words, divisions) is loaded before, by ten records.

STREAM is `honours`, records of some 700 bytes with eight disclosures, for which the figures of exchange.md §21 are meant, or `penalties`,
of thirty disclosures and four free texts. `honours snapshot`: seals alone, seconds of the clock and the largest size of the process.
"""

import asyncio
import hashlib
import json
import re
import resource
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gateway import garbage
from gateway.core.exchange.agreements import Limits
from gateway.core.exchange.batch_lines import verify_lines
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.wire import b64
from gateway.demo.cities import two_cities, write_settings
from gateway.demo.exchange import agree, template
from gateway.operations.ingest import ingest
from gateway.operations.partners import streams_from
from gateway.operations.receive_batch import receive_batch
from gateway.operations.seal_batch import seal_next
from gateway.operations.set_up import set_up
from gateway.services import Services, open_services
from gateway.settings import load
from gateway.store import outbox
from gateway.store.outbox import OutBatch
from tests.bench import register
from tests.bench.load import free_port

FILE_ROWS = 50_000
"""A file has 64 MiB at most."""
_plain = msgspec.json.Decoder()


class Writer(Protocol):
    """Writes a file of so many rows, from a firm's number on."""

    def __call__(self, path: Path, count: int, *, start: int = 0) -> None: ...


class Kind(msgspec.Struct, frozen=True):
    """What is exchanged: a dataset, who writes its file, and the fields that the agreement names of it (none: all of the template's)."""

    dataset: str
    write: Writer
    fields: tuple[str, ...] = ()

    @property
    def stream(self) -> str:
        """Its stream under the agreement of the two cities."""
        return f"tonghua-baishan-2026.{self.dataset}"


KINDS = {
    "penalties": Kind("administrative-penalties", register.penalties),
    "honours": Kind(
        "honours",
        register.honours,
        ("ZTMC", "XYZTLB", "TYSHXYDM", "honour_name", "content", "document_number", "decision_date", "authority_code"),
    ),
}


class _Lines(msgspec.Struct):
    p: str
    d: list[str]


async def main(folder: Path, count: int, kind: Kind, *, snapshot: bool = False) -> None:
    """Fill Tonghua, agree, then measure."""
    cities = two_cities(folder, (free_port(), free_port()))
    for city, neighbour in (cities, cities[::-1]):
        write_settings(city, neighbour)
        await set_up(load(city.settings_file), by="bench")
    async with AsyncExitStack() as stack:
        services = {city.key: await stack.enter_async_context(open_services(load(city.settings_file))) for city in cities}
        for one in services.values():
            await one.policies.refresh()
        ours, theirs = services["tonghua"], services["baishan"]
        await agree(services, cities, signed=False, wording=_narrowed(template(), kind))
        (stream,) = [found for found in await streams_from(ours.store.reads, ours.signers.party, ours.clock()) if found.name == kind.stream]
        file = folder / f"{kind.dataset}.csv"
        await _take_in(ours, kind, file, 10)
        await seal_next(ours, stream)
        if not snapshot:
            await _receive(theirs, kind, await _sealed(ours, kind))
        await _take_in(ours, kind, file, count)

        figures: dict[str, Any] = {"records": 0}
        small = _highest()
        clock, started = time.monotonic(), time.process_time()
        while True:
            done = await seal_next(ours, stream)
            figures["records"] += done.lines
            if not done.more:
                break
        figures["seal"] = figures["records"] / (time.process_time() - started)
        figures["seal: seconds"] = time.monotonic() - clock
        figures["seal: MiB"], figures["MiB"] = _highest() - small, _highest()
        if snapshot:
            print(json.dumps(figures))
            return

        first, *batches = await _sealed(ours, kind)
        packed = sum(len(data) for _, parts in batches for data in parts.values())
        figures["bytes of a line, packed"] = packed / figures["records"]
        tree = CompactRange()
        tree.extend((await outbox.out_leaf_hashes(ours.store.reads, kind.stream, 1))[: read_manifest(first[0].document.body).tree.size])
        started = time.process_time()
        for batch, parts in batches:
            manifest = read_manifest(batch.document.body)
            for entry in manifest.parts:
                if f"sha-256:{b64(hashlib.sha256(parts[entry.name]).digest())}" != entry.digest:
                    raise SystemExit("a part differs from its digest")
            tree = verify_lines(manifest, [(entry, parts[entry.name]) for entry in manifest.parts], tree, Limits()).tree
        figures["verify"] = figures["records"] / (time.process_time() - started)

        alone = _parts_alone([data for _, parts in batches for data in parts.values()], folder)
        figures["verify: parts alone"] = figures["records"] / alone["read"]
        figures["verify and apply: parts alone"] = figures["records"] / (alone["read"] + alone["insert"])
        figures["disclosures"] = alone["disclosures"]

        started = time.process_time()
        await _receive(theirs, kind, batches)
        figures["verify and apply"] = figures["records"] / (time.process_time() - started)
    print(json.dumps(figures))


def _narrowed(text: str, kind: Kind) -> str:
    """The template without those fields of the stream that are not exchanged, and without recognition: that makes a second record."""
    text = re.sub(r"(?m)^recognition = .*$", "recognition = []", text)
    head, mark, rest = text.partition(f'dataset = "{kind.dataset}"\nfrom = "credit.tonghua.example"')
    stream, end, tail = rest.partition("\n]\n")
    kept = [
        line
        for line in stream.splitlines(keepends=True)
        if not kind.fields or not line.startswith("  { name") or line.split('"')[1] in kind.fields
    ]
    return f"{head}{mark}{''.join(kept)}{end}{tail}"


async def _take_in(services: Services, kind: Kind, file: Path, count: int) -> None:
    for start in range(0, count, FILE_ROWS):
        kind.write(file, min(FILE_ROWS, count - start), start=start)
        await ingest(
            services, dataset=kind.dataset, path=file, authority=register.AUTHORITY, officer="bench", encoding="utf-8", follow=False
        )


async def _sealed(services: Services, kind: Kind) -> list[tuple[OutBatch, dict[str, bytes]]]:
    """The batches of the stream, with their parts."""
    batches, seq = [], 1
    while (batch := await outbox.out_batch(services.store.reads, kind.stream, 1, seq)) is not None:
        batches.append((batch, dict(await outbox.out_parts_of(services.store.reads, kind.stream, 1, seq))))
        seq += 1
    return batches


async def _receive(services: Services, kind: Kind, batches: Sequence[tuple[OutBatch, Mapping[str, bytes]]]) -> None:
    for batch, parts in batches:
        received = await receive_batch(services, stream=kind.stream, document=batch.document, checkpoint=batch.checkpoint, parts=parts)
        if received.result != "applied":
            raise SystemExit(f"the batch came out {received.result}")


def _highest() -> float:
    """The largest that this process has been, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _parts_alone(files: list[bytes], folder: Path) -> dict[str, float]:
    """Seconds for hashing and parsing the same bytes, and for inserting rows of the same sizes, with nothing around."""
    import gzip
    from base64 import urlsafe_b64decode

    decode = msgspec.json.Decoder(_Lines).decode
    started = time.process_time()
    rows, disclosed = [], 0
    for data in files:
        hashlib.sha256(data).digest()
        raw = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        for line in raw.splitlines():
            said = decode(line)
            payload = urlsafe_b64decode(said.p + "=" * (-len(said.p) % 4))
            leaf = leaf_hash(payload)
            record = _plain.decode(payload)
            disclosed += len(said.d)
            values = [_plain.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4))) for text in said.d]
            for text in said.d:
                hashlib.sha256(text.encode()).digest()
            rows.append((record["rid"], record["v"], leaf, payload, msgspec.json.encode(values)))
    read = time.process_time() - started
    connection = sqlite3.connect(folder / "alone.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE records (rid TEXT PRIMARY KEY, v INTEGER, leaf BLOB, payload BLOB, fields BLOB)")
    connection.execute("CREATE TABLE changes (seq INTEGER PRIMARY KEY, rid TEXT, v INTEGER)")
    connection.execute("CREATE TABLE held (rid TEXT PRIMARY KEY, leaf BLOB, payload BLOB)")
    started = time.process_time()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
    connection.executemany("INSERT INTO changes VALUES (?, ?, ?)", [(number, row[0], row[1]) for number, row in enumerate(rows)])
    connection.executemany("INSERT INTO held VALUES (?, ?, ?)", [(row[0], row[2], row[3]) for row in rows])
    connection.execute("COMMIT")
    insert = time.process_time() - started
    connection.close()
    return {"read": read, "insert": insert, "disclosures": disclosed / len(rows)}


if __name__ == "__main__":
    garbage.seldom()
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), KINDS[sys.argv[3]], snapshot="snapshot" in sys.argv[4:]))
