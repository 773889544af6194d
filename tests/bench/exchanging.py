"""Seal, verify, verify and apply one stream between two gateways, in one process on one core, without HTTP.

`python -m tests.bench.exchanging FOLDER RECORDS STREAM` prints records a second of processor time of each, and of the parts that it is
made of measured alone: hashes and parses of the same bytes, the tree over their leaves, the keyed digests and ciphertexts that stand in the
rows that applying them wrote, and these rows put into a copy of the database as it was before. Left out are all reading of the store, the
judgement of what a line may say, and redaction. Beside them by how many MiB the process was larger at its highest while it sealed. What a
process loads once (words, divisions) is loaded before, by ten records; both cities are one process, so texts that the sender has
redacted are known to the receiver's redactor, up to 8,192 of them.

STREAM is `honours`, records of some 700 bytes with eight disclosures, for which the figures of exchange.md §21 are meant, or `penalties`,
of thirty disclosures and four free texts. `honours snapshot`: seals alone, seconds of the clock and the largest size of the process.
"""

import asyncio
import gzip
import hashlib
import hmac
import json
import re
import resource
import sqlite3
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Protocol

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway import garbage
from gateway.core.exchange.agreements import Limits
from gateway.core.exchange.batch_lines import verify_lines
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.wire import b64
from gateway.core.records.model import DatasetId
from gateway.demo.cities import City, two_cities, write_settings
from gateway.demo.exchange import agree, template
from gateway.operations.ingest import ingest
from gateway.operations.partners import streams_from
from gateway.operations.receive_batch import receive_batch
from gateway.operations.seal_batch import seal_next
from gateway.operations.set_up import set_up
from gateway.services import Services, open_services
from gateway.settings import load
from gateway.store import outbox
from gateway.store.dialects import SQLITE_PRAGMAS
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
    for city in cities:
        write_settings(city)
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
        files = [data for _, parts in batches for data in parts.values()]
        figures["bytes of a line, packed"] = sum(map(len, files)) / figures["records"]
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

        fields = theirs.policies.current().catalogue.datasets[DatasetId(kind.dataset)].fields.values()
        texts = frozenset(each.wire_name for each in fields if each.text)
        before = _read_alone(files)[0], _keyed_alone(files, texts)
        _copy(_database_of(cities[1]), folder / "before.db")

        started = time.process_time()
        await _receive(theirs, kind, batches)
        figures["verify and apply"] = figures["records"] / (time.process_time() - started)
        read_after_s, figures["disclosures"] = _read_alone(files)
        # before and after what they are held against: a machine is not as fast in one second as in the next
        read_s, keyed_s = (before[0] + read_after_s) / 2, (before[1] + _keyed_alone(files, texts)) / 2
        figures["verify: parts alone"] = figures["records"] / read_s
    insert_s, rows = _inserted_alone(folder / "before.db", _database_of(cities[1]))
    figures["verify and apply: parts alone"] = figures["records"] / (read_s + keyed_s + insert_s)
    figures["alone, µs a record"] = {
        name: round(each / figures["records"] * 1e6, 1) for name, each in (("read", read_s), ("keyed", keyed_s), ("insert", insert_s))
    }
    figures["rows written"] = rows / figures["records"]
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


def _read_alone(files: list[bytes]) -> tuple[float, float]:
    """Seconds for hashing and parsing the same bytes with nothing around, and how many disclosures a record has."""
    decode = msgspec.json.Decoder(_Lines).decode
    started = time.process_time()
    lines, disclosed, tree = 0, 0, CompactRange()
    for data in files:
        hashlib.sha256(data).digest()
        raw = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        for line in raw.splitlines():
            said = decode(line)
            payload = urlsafe_b64decode(said.p + "=" * (-len(said.p) % 4))
            tree.extend((leaf_hash(payload),))
            _plain.decode(payload)
            lines += 1
            disclosed += len(said.d)
            for text in said.d:
                _plain.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
                hashlib.sha256(text.encode()).digest()
    return time.process_time() - started, disclosed / lines


def _keyed_alone(files: list[bytes], texts: frozenset[str]) -> float:
    """Seconds for the keyed digests and the ciphertexts that the same records need, with nothing around.

    A business key, all values, and each text have a digest; each text stands under a key as it came. `texts`: their wire names.
    """
    decode = msgspec.json.Decoder(_Lines).decode
    said: list[tuple[bytes, list[bytes]]] = []
    for data in files:
        raw = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        for line in raw.splitlines():
            rows = [_plain.decode(urlsafe_b64decode(each + "=" * (-len(each) % 4))) for each in decode(line).d]
            values = {name: value for _, name, value in rows if value is not None}
            said.append((msgspec.json.encode(values), [str(value).encode() for name, value in values.items() if name in texts]))
    key, nonce, place = bytes(32), bytes(12), b"records|content|rec_aaaqeayeaudaocajbifqydiob4|1"
    cipher = AESGCM(key)
    started = time.process_time()
    for content, some in said:
        hmac.digest(key, content[:64], "sha256")
        hmac.digest(key, content, "sha256")
        for text in some:
            hmac.digest(key, text, "sha256")
            cipher.encrypt(nonce, text, place)
    return time.process_time() - started


def _copy(database: Path, to: Path) -> None:
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(to)) as copy:
        source.backup(copy)


def _inserted_alone(before: Path, after: Path) -> tuple[float, int]:
    """Seconds for putting the rows that `after` has and `before` has not into `before`, in one transaction, and how many they are.

    The same tables with the same indexes, durable as the product's; what was changed in its place is left out, and so is full text.
    """
    with closing(sqlite3.connect(before, isolation_level=None)) as connection:
        for pragma in SQLITE_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("ATTACH ? AS written", (str(after),))
        virtual = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL%'")}
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            if not any(name.startswith(each) for each in virtual)
        ]
        new = {name: connection.execute(f"SELECT * FROM written.{name} EXCEPT SELECT * FROM main.{name}").fetchall() for name in tables}
        connection.execute("DETACH written")
        held = connection.total_changes
        started = time.process_time()
        connection.execute("BEGIN IMMEDIATE")
        for name, rows in new.items():
            if rows:
                connection.executemany(f"INSERT OR IGNORE INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        connection.execute("COMMIT")
        return time.process_time() - started, connection.total_changes - held


def _database_of(city: City) -> Path:
    return load(city.settings_file).data_path / "gateway.db"


if __name__ == "__main__":
    garbage.seldom()
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), KINDS[sys.argv[3]], snapshot="snapshot" in sys.argv[4:]))
