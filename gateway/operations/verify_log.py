"""Verify a transparency log whole, and hold what is public against it: here, or from anywhere over HTTP (exchange.md §15).

Rules: every entry is read and every leaf hashed again, every tile of every level made anew and compared at its exact length, the root
compared with the signed head; the head with the last one that was seen; no log that was seen may be missing. A monitor that remembers
what it has verified reads on from there, and all of it once a day or when asked. Then every public listing must have its commitment in
its latest entry, and every record whose latest entry shows it must be public. A difference names the record. This story must not mend
anything.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.merkle import CompactRange, leaf_hash, root_from_proof
from gateway.core.exchange.notes import Checkpoint
from gateway.core.exchange.wire import SHA256, b64, strict_json, unb64
from gateway.core.publication.alike import says_the_same
from gateway.core.publication.documents import instant
from gateway.core.publication.forms import Forms, forms_of
from gateway.core.publication.versions import commitment_of
from gateway.core.signing import Verifier, parse_vkey
from gateway.core.transparency import tiles
from gateway.core.transparency.entries import Entry, Place, origin_of, read_entry
from gateway.core.transparency.monitoring import Difference, Memory, Reading, differences
from gateway.core.transparency.tiles import TileName, check_consistency
from gateway.core.transparency.witnessing import LogPolicy, ring_of
from gateway.operations import alarms
from gateway.operations.collected import left_out, row_of
from gateway.operations.feeding import PUBLIC
from gateway.operations.keep_log import BROKEN, policy_of
from gateway.services import Services
from gateway.settings import Clock
from gateway.store import transparency
from gateway.store.transparency import ListedInAllForms

DIFFERS: Final = "log-differs"
_DOCUMENT = msgspec.json.Decoder(dict[str, Any])
Fetch = Callable[[str], Awaitable[bytes]]
"""The body at a path below the gateway's origin. Raises ExchangeError NOT_FOUND."""


class VerifiedLog(Struct, frozen=True, kw_only=True):
    """What a log proves, and where it and what is public part."""

    logs: Mapping[str, int]
    """By origin the size that was verified."""
    entries: int
    listings: int
    differences: tuple[Difference, ...] = ()
    unwitnessed: tuple[str, ...] = ()
    """Origins whose head lacks the quorum; all, where no quorum is asked for: nobody outside has looked then."""
    read: int = 0
    """Entries that were read now; the others had been verified before."""


class VerifiedProof(Struct, frozen=True, kw_only=True):
    """What a good proof shows."""

    origin: str
    index: int
    size: int
    entry: Entry
    row: bool
    """Whether a row was given, and is the one that was entered."""


def head_of(note: str, verifiers: Sequence[Verifier], origin: str | None = None) -> Checkpoint:
    """A head that a key of its log signed.

    Raises ExchangeError SIG_….
    """
    parsed = notes.parse(note)
    head = notes.read_checkpoint(parsed.text)
    ring = ring_of(head.origin, verifiers)
    known = [(ring.keys[line.name, line.key_id], line) for line in parsed.lines if (line.name, line.key_id) in ring.keys]
    if not known:
        raise ExchangeError("no signature of a key that we know", code="SIG_UNKNOWN_KEY", place=head.origin)
    if not all(key.verifier.verify(parsed.text.encode(), line.signature) for key, line in known):
        raise ExchangeError("a signature of a known key fails", code="SIG_INVALID", place=head.origin)
    if origin is not None and head.origin != origin:
        raise ExchangeError("the head is of another log", code="SIG_CONTEXT", place=origin)
    return head


def verify_proof(said: Mapping[str, Any], verifiers: Sequence[Verifier], *, row: bytes | None = None) -> VerifiedProof:
    """What an answer of `/v1/log/proof` shows by itself: that its row, and the listing with its salt that is given, are what was entered.

    Raises ExchangeError with the code of what is wrong.
    """
    try:
        body, text = said["entry"].encode(), said["proof"]
        head_text, _, note = text.partition("\n\n")
        lines = head_text.split("\n")
        if lines[0] != "c2sp.org/tlog-proof@v1" or not lines[1].startswith("index ") or not lines[1][6:].isdigit():
            raise ValueError
        index, proof = int(lines[1][6:]), [unb64(line, "SCHEMA_LINE") for line in lines[2:]]
    except (KeyError, AttributeError, ValueError, IndexError) as error:
        raise ExchangeError("this is no proof of a log", code="SCHEMA_LINE", place="proof") from error
    head = head_of(note, verifiers)
    entry = read_entry(body)
    if root_from_proof(leaf_hash(body), index, head.size, proof) != head.root:
        raise ExchangeError("the proof does not lead to the signed root", code="SEQ_ROOT", place="proof")
    place = f"{head.origin.rpartition('/')[2]}/{index}"
    if any(str(said.get(name, told)) != told for name, told in zip(("year", "index"), place.split("/"), strict=True)):
        raise ExchangeError(f"the answer names another entry than its proof, which is of {place}", code="SIG_CONTEXT", place="proof")
    rows = [each for each in (row, said.get("row")) if each is not None]
    for each in rows:
        try:
            commitment = commitment_of(strict_json(each if isinstance(each, bytes) else str(each).encode()))  # no member stands twice
        except (ExchangeError, msgspec.MsgspecError, KeyError) as error:
            raise ExchangeError("the row is no listing with its salt", code="SCHEMA_LINE", place="row") from error
        if entry.c is None or unb64(entry.c, "SCHEMA_LINE") != commitment:
            raise ExchangeError("the row is not the one that was entered", code="SIG_PART_DIGEST", place="row")
    return VerifiedProof(origin=head.origin, index=index, size=head.size, entry=entry, row=bool(rows))


# --- here -------------------------------------------------------------------------------------------------------------

NO_COMMITMENT: Final = b""
"""Of what the public is shown in forms that do not agree: no entry has it."""


def _shown(forms: Forms, each: ListedInAllForms) -> bytes | None:
    """The commitment to what the public is shown of a record in every form; None for what stands in no version."""
    try:
        listing = _DOCUMENT.decode(each.listing)
        row = row_of(listing, left_out(forms, each.dataset))
        if row is None:
            return None
        alike = says_the_same(forms.by_dataset[each.dataset], listing, _DOCUMENT.decode(each.page), each.lines)
        return commitment_of(row) if alike else NO_COMMITMENT
    except (msgspec.MsgspecError, ExchangeError, LookupError, TypeError, AttributeError):
        return NO_COMMITMENT  # no document that we would have rendered



async def verify_store(services: Services, memory: Memory | None = None, *, whole: bool = False) -> VerifiedLog:
    """Our own log, in the store, and what the public is shown; from where `memory` has come to, unless `whole`.

    Raises ExchangeError, StoreError where the log itself is broken.
    """
    reads, policy = services.store.reads, policy_of(services)
    memory = memory or Memory()
    verifiers = [parse_vkey(key.signer.vkey) for key in services.signers.keys if key.use == "log"]
    reading, _ = memory.begin(services.clock(), whole=whole)
    sizes, lacking, read = dict[str, int](), [], 0
    listed: dict[str, bytes] = {}
    waiting = {each.record_id for each in await transparency.pending(reads, "9999", 2**31 - 1)}
    held = await transparency.heads(reads)
    for head in held:
        origin = origin_of(services.settings.party, head.year)
        first = reading.begin(head.year, head.size)
        if first is not None:
            async for bodies in transparency.all_entries(reads, head.year, head.size, first=first):
                reading.take(head.year, bodies)
                read += len(bodies)
                await _same_tiles(services, head.year, reading.tiles())
            await _same_tiles(services, head.year, reading.partial())
        if not reading.leads_to(head.year, head.size, _root(head.tree, head.size)):
            raise ExchangeError("the entries do not lead to the root that was kept", code="SEQ_ROOT", place=origin)
        if head.note is not None:
            await _same_head(services, head.year, head_of(head.note, verifiers, origin))
        sizes[origin] = head.size
        if head.note is None or not policy.witnessed(head.note):
            lacking.append(origin)
    reading.complete(head.year for head in held)
    memory.keep(reading)
    forms = forms_of(await services.policies.fresh(), *PUBLIC)
    now = instant(services.clock())
    async for rows in transparency.all_listed(reads):  # few at a time: a seventh of a millisecond each, and others are served meanwhile
        for each in rows:
            if each.valid_until > now and each.plan == forms.tag and (commitment := _shown(forms, each)) is not None:
                listed[each.record_id] = commitment
    found = [each for each in differences(reading.latest, listed) if each.rid not in waiting]
    return VerifiedLog(
        logs=sizes, entries=sum(sizes.values()), listings=len(listed), differences=tuple(found), unwitnessed=tuple(lacking), read=read
    )


def _root(tree: bytes, size: int) -> bytes:
    return CompactRange.load(SHA256, size, tree).root()


async def _same_tiles(services: Services, year: int, made: Iterable[tuple[TileName, bytes]]) -> None:
    for name, data in made:
        kept = (await transparency.tiles(services.store.reads, year, [name])).get(name)
        if kept != data:
            raise ExchangeError("a tile is not what its entries make", code="SEQ_ROOT", place=f"{year}/{tiles.tile_path(name)}")


async def _same_head(services: Services, year: int, head: Checkpoint) -> None:
    """The root of a signed head follows from the entries."""
    plan = tiles.plan_head(head.size)
    found = await transparency.tiles(services.store.reads, year, tiles.needed([plan], head.size)) if head.size else {}
    root = tiles.fold([tiles.hash_of(node, found.get(tiles.tile_of(node, head.size), b"")) for node in plan])
    if root != head.root:
        raise ExchangeError("the entries do not lead to the signed root", code="SEQ_ROOT", place=head.origin)


async def watch(services: Services, memory: Memory | None = None) -> VerifiedLog:
    """One round of the monitor: an alarm for whatever differs, and its end when nothing does.

    Raises StoreError.
    """
    try:
        done = await verify_store(services, memory)
    except ExchangeError as error:
        await alarms.raise_alarm(services, BROKEN, "log", {"code": error.code, "place": error.place or ""})
        return VerifiedLog(logs={}, entries=0, listings=0)
    if done.differences:
        named = [f"{each.kind} {each.rid}" for each in done.differences[:100]]
        await alarms.raise_alarm(services, DIFFERS, "log", {"records": named, "count": len(done.differences)})
    else:
        await alarms.clear_alarm(services, DIFFERS, "log", "gateway")
    return done


# --- from anywhere ----------------------------------------------------------------------------------------------------


async def verify_served(
    fetch: Fetch,
    years: Sequence[int],
    party: str,
    policy: LogPolicy,
    *,
    kept: Mapping[str, str] | None = None,
    memory: Memory | None = None,
    now: datetime | None = None,
    whole: bool = False,
) -> tuple[VerifiedLog, dict[str, str]]:
    """The log as it is served, against the keys and witnesses of a policy, heads kept before, and the newest version of every list.

    From where `memory` has come to, unless `whole`. Gives what was found, and the heads to keep. Raises ExchangeError.
    """
    memory = memory or Memory()
    reading, _ = memory.begin(now or Clock()(), whole=whole)
    sizes, heads, lacking, read = dict[str, int](), dict(kept or {}), [], 0
    for year in sorted(years):
        origin, base = origin_of(party, year), f"/log/{year}"
        note = (await fetch(f"{base}/checkpoint")).decode()
        head = head_of(note, policy.logs, origin)
        if not policy.witnessed(note):
            lacking.append(origin)
        first = reading.begin(year, head.size)
        if first is not None:
            read += await _read_on(fetch, base, reading, year, first, head.size)
        if not reading.leads_to(year, head.size, head.root):
            raise ExchangeError("the entries do not lead to the signed root", code="SEQ_ROOT", place=origin)
        before = (kept or {}).get(origin)
        if before is not None:
            await _continues(fetch, base, head_of(before, policy.logs, origin), head)
        sizes[origin], heads[origin] = head.size, note
    reading.complete(years)
    if gone := sorted(heads.keys() - sizes.keys()):
        raise ExchangeError("a log whose head was kept is gone", code="SEQ_FORK", place=gone[0])
    memory.keep(reading)
    listed = await _served_listings(fetch, reading)
    found = tuple(differences(*listed))
    done = VerifiedLog(
        logs=sizes, entries=sum(sizes.values()), listings=len(listed[1]), differences=found, unwitnessed=tuple(lacking), read=read
    )
    return done, heads


async def _read_on(fetch: Fetch, base: str, reading: Reading, year: int, first: int, size: int) -> int:
    """Every bundle from an entry on, and the tiles that follow; how many entries that were."""
    read = 0
    for name in tiles.bundles_of(size):
        before = max(first - name.number * tiles.WIDTH, 0)  # entries of this bundle that were read when it was shorter
        if before >= name.width:
            continue
        bodies = tiles.read_bundle(await fetch(f"{base}/tile/{tiles.tile_path(name)}"), name.width)
        if before and not reading.same(bodies[:before]):
            raise ExchangeError("entries are not what they were", code="SEQ_ROOT", place=f"{base}/tile/{tiles.tile_path(name)}")
        reading.take(year, bodies[before:])
        read += len(bodies) - before
        for full, made in reading.tiles():
            await _served_tile(fetch, base, full, made)
    for partial, made in reading.partial():
        await _served_tile(fetch, base, partial, made)
    return read


async def _served_tile(fetch: Fetch, base: str, name: TileName, made: bytes) -> None:
    if await fetch(f"{base}/tile/{tiles.tile_path(name)}") != made:
        raise ExchangeError("a tile is not what its entries make", code="SEQ_ROOT", place=f"{base}/tile/{tiles.tile_path(name)}")


async def _continues(fetch: Fetch, base: str, old: Checkpoint, new: Checkpoint) -> None:
    plan = tiles.plan_consistency(old.size, new.size) if old.size <= new.size else None
    if plan is None:
        raise ExchangeError("the log is shorter than the head that was kept", code="SEQ_FORK", place=new.origin)
    read = {name: await fetch(f"{base}/tile/{tiles.tile_path(name)}") for name in tiles.needed(plan, new.size)}
    try:
        check_consistency(old.size, old.root, new.size, new.root, tiles.follow(plan, new.size, lambda name: read[name]))
    except ExchangeError as error:
        raise ExchangeError("the log does not continue the head that was kept", code="SEQ_FORK", place=new.origin) from error


async def _served_listings(fetch: Fetch, reading: Reading) -> tuple[dict[str, tuple[Place, Entry]], dict[str, bytes]]:
    """The rows of the newest version of every list, and of each record its latest entry, where they are to be compared.

    A record whose entry is newer than the version is compared when the next version is built; that it is public is asked for at once.
    """
    latest, public = dict(reading.latest), {}
    oldest = "9999"
    for each in msgspec.json.decode(await fetch("/v1/lists"))["items"]:
        manifest = msgspec.json.decode(await fetch(f"/v1/lists/{each['id']}/versions/latest"))
        oldest = min(oldest, manifest["built_at"])
        uri = next(file["uri"] for file in manifest["files"] if file["format"] == "ndjson")
        for line in (await fetch("/" + uri.split("/", 3)[3])).splitlines():
            document = _DOCUMENT.decode(line)
            entry, commitment = latest.get(document["id"]), commitment_of(document)
            at = "" if entry is None else entry[1].at
            older = at == manifest["built_at"] and b64(commitment) in reading.lately.get(document["id"], ())
            if at > manifest["built_at"] or older:
                del latest[document["id"]]
            else:
                public[document["id"]] = commitment
    for rid, (_, entry_of) in list(latest.items()):
        if entry_of.shown and rid not in public and entry_of.at > oldest and await _is_public(fetch, rid):
            del latest[rid]
    return latest, public


async def _is_public(fetch: Fetch, rid: str) -> bool:
    try:
        await fetch(f"/v1/records/{rid}")
    except ExchangeError:
        return False
    return True
