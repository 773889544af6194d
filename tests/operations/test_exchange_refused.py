"""What a receiver must refuse, with which code, and that nothing of it is applied (attacks A1 to A20 of the wire specification).

Every batch here is really signed with Tonghua's keys, by a forger who may say what it wants.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.exchange import feedback, notes
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.records import SealedLine
from gateway.core.exchange.sealing import Sealed
from gateway.core.exchange.wire import b64u, sha256
from gateway.operations.manage_agreements import change_state, take_notice
from gateway.operations.receive_batch import BatchRefused, Received, put_part, receive_posted
from gateway.store import changes, inbox
from gateway.store import records as record_rows
from tests.ledger import check_ledger
from tests.region import (
    AGREEMENT,
    PENALTIES,
    TONGHUA,
    Cities,
    Forger,
    another_signer,
    days,
    news,
    payload_of,
    posted_of,
    resign,
    rid,
    two_cities,
)


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities with an agreement in force."""
    async with two_cities(tmp_path) as made:
        yield made


@pytest.fixture
def forger(cities: Cities) -> Forger:
    """One who holds Tonghua's keys."""
    return Forger(cities)


async def held(cities: Cities, *numbers: int) -> list[str | None]:
    """State at Baishan of the forger's records."""
    ids = [rid(number) for number in numbers]
    found = {record.record_id: record.state for record in await record_rows.load(cities.baishan.store.reads, ids=ids)}
    return [found.get(each) for each in ids]


async def effects(cities: Cities) -> int:
    """How much ever happened at Baishan."""
    return await changes.head(cities.baishan.store.reads)


def codes(received: Received) -> list[str]:
    """Codes of the feedback, line by line."""
    return [json.loads(line)["code"] for line in received.feedback.splitlines()]


async def refused(cities: Cities, forger: Forger, sealed: Sealed, code: str, **more: Any) -> None:
    """The batch is answered with a problem of this code, and nothing moves."""
    before = await effects(cities), await inbox.in_streams_all(cities.baishan.store.reads)
    with pytest.raises(BatchRefused) as caught:
        await forger.send(sealed, **more)
    assert caught.value.code == code
    assert (await effects(cities), await inbox.in_streams_all(cities.baishan.store.reads)) == before
    await check_ledger(cities.baishan)


async def answered(cities: Cities, forger: Forger, sealed: Sealed, result: str, code: str, **more: Any) -> Received:
    """The batch is answered by a signed receipt of this result and code, and no record is touched."""
    before = await effects(cities)
    received = await forger.send(sealed, **more)
    assert (received.result, received.code) == (result, code)
    assert received.receipt is not None
    receipt = feedback.read_receipt(received.receipt.body)
    assert (receipt.result, receipt.code, receipt.counts.lines) == (result, code, 0)
    assert await effects(cities) == before
    await check_ledger(cities.baishan)
    return received


# --- once, and once only ----------------------------------------------------------------------------------------------


async def test_the_same_batch_again_gives_the_same_receipt(cities: Cities, forger: Forger):
    """A1: the same batch twice, and eight times at once, is one application and one receipt, byte for byte."""
    sealed = forger.seal([forger.penalty(1), forger.penalty(2)])
    received = await asyncio.gather(*(forger.send(sealed) for _ in range(8)))
    assert {each.result for each in received} == {"applied"}
    assert len({each.receipt.body for each in received if each.receipt}) == 1
    assert await effects(cities) == 2
    again = await forger.send(sealed)
    assert again.receipt == received[0].receipt
    await check_ledger(cities.baishan)


async def test_arrival_in_another_order(cities: Cities, forger: Forger):
    """A4: the third batch waits for the first two; then all are applied, in order."""
    first, second, third = (forger.seal([forger.penalty(number)]) for number in (1, 2, 3))
    waiting = await forger.send(third)
    assert (waiting.result, waiting.code) == ("quarantined", "SEQ_GAP")
    assert (await forger.send(third)).receipt == waiting.receipt
    assert await held(cities, 3) == [None]
    assert (await forger.send(first)).result == "applied"
    assert (await forger.send(second)).result == "applied"
    assert await held(cities, 1, 2, 3) == ["in_force"] * 3
    final = await forger.send(third)
    assert final.result == "applied"
    await check_ledger(cities.baishan)


async def test_parts_may_come_one_by_one(cities: Cities, forger: Forger):
    """A batch without its parts names what is wanted; with the last part it is applied."""
    sealed = forger.seal([forger.penalty(number) for number in range(1, 6)], lines_a_part=2)
    wanted = await forger.send(sealed, {})
    assert (wanted.result, wanted.missing) == ("fetching", tuple(part.name for part in sealed.parts))
    await check_ledger(cities.baishan)
    at_first = {"sender": TONGHUA, "stream": PENALTIES, "epoch": 1, "seq": 1}
    for part in sealed.parts[1:]:
        await put_part(cities.baishan, **at_first, name=part.name, data=part.data)
    assert (await forger.send(sealed, {})).missing == (sealed.parts[0].name,)
    with pytest.raises(BatchRefused) as caught:
        await put_part(cities.baishan, **at_first, name=sealed.parts[0].name, data=sealed.parts[1].data)
    assert caught.value.code == "SIG_PART_DIGEST"
    await put_part(cities.baishan, **at_first, name=sealed.parts[0].name, data=sealed.parts[0].data)
    assert (await forger.send(sealed, {})).result == "applied"
    assert await held(cities, 1, 5) == ["in_force", "in_force"]
    with pytest.raises(BatchRefused) as caught:
        await put_part(cities.baishan, **at_first, name=sealed.parts[0].name, data=sealed.parts[0].data)
    assert caught.value.code == "NOT_FOUND"
    await check_ledger(cities.baishan)


# --- sequence ---------------------------------------------------------------------------------------------------------


async def test_a_range_below_the_size_held(cities: Cities, forger: Forger):
    """A2: old entries sealed again under a new number are a replay."""
    start = forger.head
    await forger.post(forger.penalty(1))
    sealed = forger.seal(
        [forger.penalty(2)], head=msgspec.structs.replace(start, seq=1, manifest_digest=forger.head.manifest_digest), advance=False
    )
    await answered(cities, forger, sealed, "rejected", "SEQ_REPLAY")


async def test_a_gap_in_the_range(cities: Cities, forger: Forger):
    """A range that begins above the size held does not lead to the root."""
    await forger.post(forger.penalty(1))
    grown = forger.head.tree.copy()
    grown.append(b"\0" * 32)
    sealed = forger.seal([forger.penalty(2)], head=msgspec.structs.replace(forger.head, tree=grown), advance=False)
    await answered(cities, forger, sealed, "rejected", "SEQ_ROOT")


async def test_another_batch_under_a_used_number_freezes_the_stream(cities: Cities, forger: Forger):
    """A3: two batches of one number, both well signed, freeze the stream; both are kept, and nothing is applied any more."""
    start = forger.head
    await forger.post(forger.penalty(1))
    await answered(cities, forger, forger.seal([forger.penalty(9)], head=start, advance=False), "frozen", "SEQ_FORK")
    both = await inbox.in_batches_at(cities.baishan.store.reads, TONGHUA, PENALTIES, 1, 1)
    assert sorted(batch.state for batch in both) == ["applied", "frozen"]
    await answered(cities, forger, forger.seal([forger.penalty(2)]), "frozen", "SEQ_FORK")
    assert await held(cities, 1, 2, 9) == ["in_force", None, None]


async def test_another_predecessor_freezes_the_stream(cities: Cities, forger: Forger):
    """A batch that names another predecessor than the one held contradicts it."""
    await forger.post(forger.penalty(1))
    other = msgspec.structs.replace(forger.head, manifest_digest="sha-256:" + "A" * 43 + "=")
    await answered(cities, forger, forger.seal([forger.penalty(2)], head=other, advance=False), "frozen", "SEQ_PREVIOUS")


async def test_two_roots_for_one_size(cities: Cities, forger: Forger):
    """A heartbeat with another root for the size held is a fork."""
    await forger.post(forger.penalty(1))
    from gateway.core.exchange.merkle import CompactRange, leaf_hash

    other = CompactRange()
    other.append(leaf_hash(b"something else"))
    await answered(
        cities, forger, forger.seal([], head=msgspec.structs.replace(forger.head, tree=other), advance=False), "frozen", "SEQ_FORK"
    )


async def test_a_wrong_epoch(cities: Cities, forger: Forger):
    """An epoch other than the present one is refused; a new one, which needs a snapshot, too."""
    await forger.post(forger.penalty(1))
    for epoch in (3, 2):
        head = msgspec.structs.replace(forger.head, epoch=epoch)
        await answered(cities, forger, forger.seal([forger.penalty(2)], head=head, advance=False), "rejected", "SEQ_EPOCH")


# --- bytes ------------------------------------------------------------------------------------------------------------


def repacked(sealed: Sealed, raw: bytes) -> dict[str, bytes]:
    """The one part with other lines."""
    return {sealed.parts[0].name: gzip.compress(raw, mtime=0)}


def raw_of(sealed: Sealed) -> bytes:
    """The lines of the one part."""
    return gzip.decompress(sealed.parts[0].data)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[: raw.index(b"\n") + 1],
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: raw.replace(b"\n", b"\r\n"),
        lambda raw: raw + b"\n",
        lambda raw: raw + raw[: raw.index(b"\n") + 1],
        lambda raw: b"".join(reversed(raw.splitlines(keepends=True))),
        lambda raw: raw.replace(b'"d":[', b'"d": ['),
    ],
)
async def test_changed_parts_are_not_believed(cities: Cities, forger: Forger, change: Any):
    """A5, A6: a line cut, swapped, doubled or dressed otherwise is another part than the one that was signed."""
    sealed = forger.seal([forger.penalty(1), forger.penalty(2)])
    await refused(cities, forger, sealed, "SIG_PART_DIGEST", parts=repacked(sealed, change(raw_of(sealed))))


def relined(sealed: Sealed, raw: bytes, forger: Forger, *, data: bytes | None = None, **counts: int) -> tuple[Sealed, dict[str, bytes]]:
    """A batch whose manifest vouches for other lines than those of its tree."""
    data = gzip.compress(raw, mtime=0) if data is None else data
    from gateway.core.exchange.wire import digest_text

    def edit(said: dict[str, Any]) -> None:
        said["parts"][0] |= {"bytes": len(data), "bytes_raw": len(raw), "digest": digest_text(data)}
        said["counts"] |= counts

    body = json.loads(sealed.document.body)
    edit(body)
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    document = notes.sign_document("manifest", sealed.manifest.id, text, forger.signers)
    return msgspec.structs.replace(sealed, document=document), {sealed.parts[0].name: data}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda raw: b"".join(reversed(raw.splitlines(keepends=True))), "SEQ_ROOT"),
        (lambda raw: raw[: raw.index(b"\n") + 1] * 2, "SEQ_ROOT"),
        (lambda raw: raw.replace(b'"d":[', b'"d": ['), "SCHEMA_LINE"),
        (lambda raw: raw.replace(b"}\n", b"}\r\n"), "SCHEMA_LINE"),
        (lambda raw: b"\xef\xbb\xbf" + raw, "SCHEMA_LINE"),
        (lambda raw: raw[:-1], "SCHEMA_LINE"),
        (lambda raw: raw + b"\n", "SCHEMA_COUNTS"),
        (lambda raw: raw[: raw.index(b"\n") + 1], "SCHEMA_COUNTS"),
        (lambda raw: raw.replace(b'{"p":"', b'{"p":"=', 1), "SCHEMA_LINE"),
        (lambda raw: b'{"p":"' + b"A" * 140_000 + b'","d":[]}\n' + raw[raw.index(b"\n") + 1 :], "SIZE_LINE"),
        (lambda raw: b'{"p":"' + b"A" * 12_000 + b'","d":[]}\n' + raw[raw.index(b"\n") + 1 :], "SIZE_LINE"),
        (lambda raw: b'{"p":"e30","d":[]}\n' + raw[raw.index(b"\n") + 1 :], "SCHEMA_ENUM"),
        (lambda raw: b'{"p":"W10","d":[]}\n' + raw[raw.index(b"\n") + 1 :], "SCHEMA_JSON"),
        (lambda raw: b'{"p":"eyJvcCI6ImFzc2VydCIsIm9wIjoiYXNzZXJ0In0","d":[]}\n' + raw[raw.index(b"\n") + 1 :], "SCHEMA_JSON"),
        (lambda raw: raw.replace(b'"d":[', b'"d":["A",', 1), "SCHEMA_LINE"),
    ],
)
async def test_lines_that_do_not_hash_to_the_root(cities: Cities, forger: Forger, change: Any, code: str):
    """Even when the manifest vouches for the bytes, lines that are malformed or lead to another root fail the batch as a whole."""
    sealed = forger.seal([forger.penalty(1), forger.penalty(2)])
    made, parts = relined(sealed, change(raw_of(sealed)), forger)
    await answered(cities, forger, made, "rejected", code, parts=parts)
    assert await held(cities, 1, 2) == [None, None]


@pytest.mark.parametrize(
    ("pack", "code"),
    [
        (lambda raw: gzip.compress(raw, mtime=0)[:-9], "SCHEMA_LINE"),
        (lambda raw: gzip.compress(raw, mtime=0) + b"more", "SCHEMA_LINE"),
        (lambda raw: gzip.compress(raw, mtime=0) + gzip.compress(b"", mtime=0), "SCHEMA_LINE"),
        (lambda raw: b"\x1f\x8b\x08\x08" + gzip.compress(raw, mtime=0)[4:10] + b"name\0" + gzip.compress(raw, mtime=0)[10:], "SCHEMA_LINE"),
        (lambda raw: b"PK\x03\x04" + raw, "SCHEMA_LINE"),
    ],
)
async def test_damaged_gzip(cities: Cities, forger: Forger, pack: Any, code: str):
    """A5, A12: gzip that is cut off, followed by something, named, or no gzip at all."""
    sealed = forger.seal([forger.penalty(1)])
    made, parts = relined(sealed, raw_of(sealed), forger, data=pack(raw_of(sealed)))
    await answered(cities, forger, made, "rejected", code, parts=parts)


async def test_a_bomb_stops_at_the_bytes_it_declared(cities: Cities, forger: Forger):
    """A12: a part that unpacks to more than the manifest says, or is compressed too far, is not unpacked."""
    sealed = forger.seal([forger.penalty(1)])
    bomb = gzip.compress(b"\n" * 50_000_000, mtime=0)
    made, parts = relined(sealed, raw_of(sealed), forger, data=bomb)
    await answered(cities, forger, made, "rejected", "SCHEMA_COUNTS", parts=parts)


async def test_a_bomb_that_says_so(cities: Cities, forger: Forger):
    """A12: sizes that the manifest itself puts outside the agreement are refused before anything is read."""
    sealed = forger.seal([forger.penalty(1)], edit=lambda said: said["parts"][0].update(bytes_raw=100_000_000), advance=False)
    await refused(cities, forger, sealed, "SIZE_RATIO")
    sealed = forger.seal([forger.penalty(1)], edit=lambda said: said["parts"][0].update(bytes=2**30, bytes_raw=2**30), advance=False)
    await refused(cities, forger, sealed, "SIZE_BYTES")


async def test_a_surplus_part(cities: Cities, forger: Forger):
    """A part that the manifest does not name is refused."""
    sealed = forger.seal([forger.penalty(1)])
    parts = {part.name: part.data for part in sealed.parts} | {"1-1-001.ndjson.gz": b"x"}
    await refused(cities, forger, sealed, "SCHEMA_MANIFEST", parts=parts)


async def test_posted_bodies(cities: Cities, forger: Forger):
    """What is posted must be strict JSON of the right shape, with canonical base64."""
    sealed = forger.seal([forger.penalty(1)])
    good = posted_of(sealed.document.body, sealed.document.note, sealed.checkpoint, {part.name: part.data for part in sealed.parts})
    for body, code in (
        (b"{}", "SCHEMA_JSON"),
        (b"[]", "SCHEMA_JSON"),
        (good[:-1], "SCHEMA_JSON"),
        (good.replace(b'"checkpoint":', b'"x":', 1), "SCHEMA_MANIFEST"),
        (good.replace(b'"checkpoint": "', b'"checkpoint": 1, "y": "', 1), "SCHEMA_MANIFEST"),
        (b'{"manifest":1,"manifest":2}', "SCHEMA_JSON"),
        (b"[" * 100_000, "SCHEMA_JSON"),
        ('{"a":"重"}'.encode("gbk"), "SCHEMA_JSON"),
        (good.replace(b'.ndjson.gz": "', b'.ndjson.gz": " '), "SCHEMA_MANIFEST"),
    ):
        with pytest.raises(BatchRefused) as caught:
            await receive_posted(cities.baishan, PENALTIES, body)
        assert caught.value.code == code, body[:60]
    with pytest.raises(BatchRefused) as caught:
        await receive_posted(cities.baishan, f"{AGREEMENT}.honours", good)
    assert caught.value.code == "SCHEMA_MANIFEST"
    assert (await receive_posted(cities.baishan, PENALTIES, good)).status == 200


# --- signatures -------------------------------------------------------------------------------------------------------


async def test_a_line_removed_and_the_manifest_edited(cities: Cities, forger: Forger):
    """A7: an edited manifest under the old signature."""
    sealed = forger.seal([forger.penalty(1), forger.penalty(2)])
    said = json.loads(sealed.document.body)
    said["counts"]["assert"] = 1
    edited = SignedDocument(json.dumps(said).encode(), sealed.document.note)
    await refused(cities, forger, msgspec.structs.replace(sealed, document=edited), "SIG_INVALID")


async def test_signatures_stripped_unknown_or_failing(cities: Cities, forger: Forger):
    """A8: no signature line, only unknown keys, a known key that fails beside a good one."""
    sealed = forger.seal([forger.penalty(1)])
    text = notes.parse(sealed.document.note).text
    bare = SignedDocument(sealed.document.body, text + "\n")
    await refused(cities, forger, msgspec.structs.replace(sealed, document=bare), "SIG_FORMAT")
    await refused(cities, forger, msgspec.structs.replace(sealed, document=resign(sealed, [another_signer()])), "SIG_UNKNOWN_KEY")
    line = sealed.document.note.splitlines()[-1]
    broken = line[:-6] + ("A" if line[-6] != "A" else "B") + line[-5:]
    await refused(
        cities,
        forger,
        msgspec.structs.replace(sealed, document=SignedDocument(sealed.document.body, text + "\n" + broken + "\n")),
        "SIG_INVALID",
    )
    doubled = SignedDocument(sealed.document.body, sealed.document.note + line + "\n")
    await refused(cities, forger, msgspec.structs.replace(sealed, document=doubled), "SIG_FORMAT")
    beside = SignedDocument(sealed.document.body, notes.add_line(sealed.document.note, another_signer()))
    assert (await forger.send(msgspec.structs.replace(sealed, document=beside))).result == "applied"


async def test_a_key_of_another_use(cities: Cities, forger: Forger):
    """A9: a key that is published for HTTP, or pinned for agreements, signs no batch."""
    sealed = forger.seal([forger.penalty(1)])
    text = notes.parse(sealed.document.note).text
    for use in ("http", "agreement"):
        note = notes.sign(text, [cities.tonghua.signers.signing(use, cities.now)])
        await refused(cities, forger, msgspec.structs.replace(sealed, document=SignedDocument(sealed.document.body, note)), "SIG_KEY_USE")


async def test_a_note_about_something_else(cities: Cities, forger: Forger):
    """A note of another artefact, or about another batch, is no manifest's note."""
    sealed = forger.seal([forger.penalty(1)])
    for artefact, context in (("receipt", sealed.manifest.id), ("manifest", sealed.manifest.id + "1")):
        document = notes.sign_document(artefact, context, sealed.document.body, forger.signers)
        await refused(cities, forger, msgspec.structs.replace(sealed, document=document), "SIG_CONTEXT")


async def test_checkpoints_that_do_not_fit(cities: Cities, forger: Forger):
    """A checkpoint that is unsigned, of another stream, or says another head moves nothing; the right one is taken afterwards."""
    first = forger.seal([forger.penalty(1)])
    second = forger.seal([forger.penalty(2)], advance=False)
    text = notes.parse(first.checkpoint).text
    await refused(cities, forger, msgspec.structs.replace(first, checkpoint=notes.sign(text, [another_signer()])), "SIG_UNKNOWN_KEY")
    await refused(cities, forger, msgspec.structs.replace(first, checkpoint=text + "\n"), "SIG_FORMAT")
    await refused(cities, forger, msgspec.structs.replace(first, checkpoint=second.checkpoint), "SEQ_ROOT")
    other = notes.sign(text.replace(PENALTIES, f"{AGREEMENT}.honours"), forger.signers)
    await refused(cities, forger, msgspec.structs.replace(first, checkpoint=other), "SIG_CONTEXT")
    await refused(cities, forger, msgspec.structs.replace(first, checkpoint=first.document.note), "SIG_CONTEXT")
    assert (await forger.send(first)).result == "applied"


async def test_a_sender_without_an_agreement(cities: Cities, forger: Forger):
    """A batch of somebody with whom there is no agreement is not looked at."""
    sealed = forger.seal([forger.penalty(1)], edit=lambda said: said.update(sender="credit.elsewhere.example"), advance=False)
    await refused(cities, forger, sealed, "SIG_UNKNOWN_KEY")


# --- addressee, agreement, time ---------------------------------------------------------------------------------------


async def test_a_batch_for_somebody_else(cities: Cities, forger: Forger):
    """A batch addressed to another city is rejected, for good."""
    sealed = forger.seal([forger.penalty(1)], edit=lambda said: said.update(receiver="credit.elsewhere.example"))
    first = await answered(cities, forger, sealed, "rejected", "SCOPE_RECEIVER")
    assert (await forger.send(sealed)).receipt == first.receipt


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda said: said["agreement"].update(digest="sha-256:" + "A" * 43 + "="), "SCOPE_DIGEST"),
        (lambda said: said["agreement"].update(version=2), "SCOPE_DIGEST"),
        (lambda said: said.update(schema="administrative-penalties/2.0"), "SCHEMA_VERSION"),
        (lambda said: said.update(suite="gm1"), "SCHEMA_MANIFEST"),
        (lambda said: said.update(format="part/1"), "SCHEMA_MANIFEST"),
        (lambda said: said["counts"].update(amend=1), "SCHEMA_MANIFEST"),
        (lambda said: said.update(counts=said["counts"] | {"assert": 0, "amend": 1}), "SCHEMA_COUNTS"),
        (lambda said: said["parts"][0].update(name="../../etc/passwd"), "SCHEMA_MANIFEST"),
        (lambda said: said["parts"][0].update({"from": 1}), "SCHEMA_MANIFEST"),
        (lambda said: said["tree"].update(size=9), "SCHEMA_MANIFEST"),
        (lambda said: said.update(previous="sha-256:" + "A" * 43 + "="), "SCHEMA_MANIFEST"),
        (lambda said: said.update(valid_until="2027-06-02T02:30:00Z"), "SCHEMA_MANIFEST"),
        (lambda said: said.update(created="2026-06-02 02:30:00"), "SCHEMA_MANIFEST"),
        (lambda said: said.pop("counts"), "SCHEMA_MANIFEST"),
    ],
)
async def test_manifests_that_do_not_fit(cities: Cities, forger: Forger, edit: Any, code: str):
    """A manifest outside its agreement, or inconsistent in itself, is rejected under its code; the receipt says in words why."""
    received = await answered(cities, forger, forger.seal([forger.penalty(1)], edit=edit), "rejected", code)
    assert received.receipt is not None
    assert json.loads(received.receipt.body)["detail"]


async def test_a_receipt_names_the_member_that_is_missing(cities: Cities, forger: Forger):
    """Whoever writes a sender reads in the refusal which member of the manifest it is about; a receipt of what was applied says no more."""
    sealed = forger.seal([forger.penalty(1)], edit=lambda said: said.pop("counts"), advance=False)
    received = await answered(cities, forger, sealed, "rejected", "SCHEMA_MANIFEST")
    assert received.receipt is not None
    assert "`counts`" in json.loads(received.receipt.body)["detail"]


async def test_a_manifest_that_cannot_be_read(cities: Cities, forger: Forger):
    """A signed manifest that is no strict JSON names no batch that a receipt could be about."""
    await refused(cities, forger, forger.seal([forger.penalty(1)], edit=lambda said: said.update(policy_version=1.5)), "SCHEMA_JSON")
    await refused(
        cities, forger, forger.seal([forger.penalty(1)], edit=lambda said: said.update(epoch="1"), advance=False), "SCHEMA_MANIFEST"
    )


async def test_unknown_members_of_a_manifest_are_ignored(cities: Cities, forger: Forger):
    """A later version may say more; what we do not know is left aside."""
    sealed = forger.seal([forger.penalty(1)], edit=lambda said: said.update(later={"a": 1}))
    assert (await forger.send(sealed)).result == "applied"


async def test_clocks(cities: Cities, forger: Forger):
    """A11: within skew a clock may be wrong; beyond it the batch comes from the future, has expired, or is out of order."""
    now = cities.now
    assert (await forger.send(forger.seal([forger.penalty(1)], created=now + timedelta(minutes=4)))).result == "applied"
    early = forger.seal([forger.penalty(2)], created=now + timedelta(minutes=6), advance=False)
    await refused(cities, forger, early, "TIME_FUTURE")
    late = forger.seal([forger.penalty(2)], created=now - timedelta(minutes=2), advance=False)
    await answered(cities, forger, late, "rejected", "TIME_ORDER")


async def test_an_expired_batch(cities: Cities, forger: Forger):
    """A batch past its own `valid_until` is rejected."""
    sealed = forger.seal([forger.penalty(1)])
    later = cities.at(cities.now + days(31))
    await answered(later, Forger(later), msgspec.structs.replace(sealed), "rejected", "TIME_EXPIRED")


async def test_an_agreement_that_is_suspended_or_over(cities: Cities, forger: Forger):
    """A20: nothing is applied while it is suspended, the batch waits until it is active again; after its end it is refused."""
    await forger.post(forger.penalty(1))
    notice = await change_state(cities.baishan, AGREEMENT, "suspended", reason="测试", by="test")
    await take_notice(cities.tonghua, notice, by="test")
    sealed = forger.seal([forger.penalty(2), forger.withdrawal(1)])
    waiting = await forger.send(sealed)
    assert (waiting.result, waiting.code) == ("quarantined", "SCOPE_AGREEMENT")
    assert await held(cities, 1, 2) == ["repaired", None], "withdrawals do not wait"
    assert (await forger.send(sealed)).receipt == waiting.receipt
    await check_ledger(cities.baishan)
    await change_state(cities.baishan, AGREEMENT, "active", reason="测试", by="test")
    assert (await forger.send(sealed)).result == "applied"
    assert await held(cities, 1, 2) == ["repaired", "in_force"]
    await change_state(cities.baishan, AGREEMENT, "terminated", reason="测试", by="test")
    await answered(cities, forger, forger.seal([forger.penalty(3)], advance=False), "rejected", "SCOPE_AGREEMENT")


async def test_withdrawals_travel_after_the_end(cities: Cities, forger: Forger):
    """A batch of withdrawals alone is applied while the agreement is suspended and for some days after its end."""
    await forger.post(forger.penalty(1), forger.penalty(2))
    await change_state(cities.baishan, AGREEMENT, "terminated", reason="测试", by="test")
    received = await forger.send(forger.seal([forger.withdrawal(1)]))
    assert (received.result, codes(received)) == ("applied", [])
    assert await news(cities) == ["ACK_WITHDRAWN"]
    assert await held(cities, 1, 2) == ["repaired", "in_force"]
    await check_ledger(cities.baishan)


async def test_a_keys_document_that_has_expired(cities: Cities, forger: Forger):
    """New batches wait while the sender's keys document is out of date."""
    later = cities.at(cities.now + days(95))
    forger = Forger(later)
    sealed = forger.seal([forger.penalty(1)])
    waiting = await forger.send(sealed)
    assert (waiting.result, waiting.code) == ("quarantined", "SIG_KEY_EXPIRED")
    from gateway.operations.manage_agreements import own_keys, take_keys

    await take_keys(later.baishan, await own_keys(later.tonghua), by="test")
    assert (await forger.send(sealed)).result == "applied"
    await check_ledger(later.baishan)


# --- records ----------------------------------------------------------------------------------------------------------


async def line_by_line(cities: Cities, forger: Forger, *lines: Any) -> Received:
    """One batch of these lines; the ledger holds afterwards."""
    received = await forger.send(forger.seal(list(lines)))
    await check_ledger(cities.baishan)
    return received


@pytest.mark.parametrize(
    ("clear", "code"),
    [
        ({"region": "220600"}, "SCOPE_REGION"),
        ({"region": "2205"}, "SCOPE_REGION"),
        ({"region": "２２０５００"}, "SCOPE_REGION"),
        ({"region": "220599"}, "SCOPE_REGION"),
        ({"authority": "11220600XXT0001186"}, "SCOPE_AUTHORITY"),
        ({"category": "blacklist"}, "SCOPE_CATEGORY"),
        ({"subject_kind": "natural"}, "LAW_PERSON"),
        ({"subject_kind": "individual_business"}, "LAW_PERSON"),
        ({"iss": "credit.baishan.example"}, "SCOPE_ISSUER"),
        ({"status": "repaired"}, "SCHEMA_STATUS"),
        ({"status": "erased"}, "SCHEMA_STATUS"),
        ({"dataset": "honours"}, "SCHEMA_VERSION"),
        ({"schema": "administrative-penalties/9.0"}, "SCHEMA_VERSION"),
        ({"v": 0}, "SCHEMA_TYPE"),
        ({"rid": "rec_short"}, "SCHEMA_TYPE"),
        ({"decided_on": "2026-02-30"}, "SCHEMA_TYPE"),
        ({"decided_on": "2026-03-03"}, "SCHEMA_TYPE"),
        ({"basis": ()}, "LAW_BASIS"),
        ({"at": "2026-06-02"}, "SCHEMA_TYPE"),
        ({"authority_name": "名" * 201}, "SCHEMA_LENGTH"),
    ],
)
async def test_lines_outside_the_agreement(cities: Cities, forger: Forger, clear: dict[str, Any], code: str):
    """A17: a line outside scope, or wrong in itself, is rejected alone; the line beside it is applied."""
    received = await line_by_line(cities, forger, forger.penalty(1, **clear), forger.penalty(2))
    assert (received.result, codes(received)) == ("partial", [code])
    assert await held(cities, 1, 2) == [None, "in_force"]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"CF_XDR_SHXYM": "91220502XXT00002X3"}, "SUBJ_USCC"),
        ({"CF_JDRQ": "2026/03/02"}, "SCHEMA_TYPE"),
        ({"CF_NR_FK": "1,2"}, "SCHEMA_TYPE"),
        ({"CF_NR_FK": "1.2345678"}, "SCHEMA_LENGTH"),
        ({"CF_WSH": None}, "SCHEMA_MISSING"),
        ({"CF_WSH": 5}, "SCHEMA_TYPE"),
        ({"CF_XDR_MC": "名" * 201}, "SCHEMA_LENGTH"),
        ({"CF_FRDB": "王某某"}, "SCOPE_FIELD"),
        ({"CF_CFJGDM": "11220500XXT000134N"}, "SCOPE_AUTHORITY"),
        ({"CF_XDR_SHXYM": None}, "SUBJ_MISSING"),
    ],
)
async def test_fields_outside_the_agreement(cities: Cities, forger: Forger, values: dict[str, Any], code: str):
    """A field that is not agreed, missing, or of another shape rejects its line and no other; no value is repeated back."""
    received = await line_by_line(cities, forger, forger.penalty(1, values=values), forger.penalty(2))
    assert (received.result, codes(received)) == ("partial", [code])
    assert await held(cities, 1, 2) == [None, "in_force"]
    for value in values.values():
        assert not isinstance(value, str) or value not in received.feedback.decode()


async def test_unknown_words_are_held(cities: Cities, forger: Forger):
    """An unknown enumeration value is held, never coerced; an unknown category keeps the line out until a person has looked."""
    received = await line_by_line(
        cities, forger, forger.penalty(1, values={"CF_CFLB": "驱逐"}), forger.penalty(2, category="reward"), forger.penalty(3)
    )
    assert received.result == "partial"
    assert codes(received) == ["SCHEMA_ENUM", "SCHEMA_ENUM"]
    assert await held(cities, 1, 2, 3) == ["held", None, "in_force"]


async def test_versions_and_states(cities: Cities, forger: Forger):
    """A19: versions rise, an operation fits the state, and what was erased never comes back."""
    await line_by_line(cities, forger, forger.penalty(1), forger.penalty(2), forger.penalty(3))
    received = await line_by_line(
        cities,
        forger,
        forger.penalty(1, v=2, op="amend", values={"CF_NR_FK": "3.000000"}),
        forger.penalty(2, v=2),
        forger.penalty(9, v=1, op="amend"),
        forger.withdrawal(8),
        forger.withdrawal(3, op="erase", reason="erased"),
    )
    assert codes(received) == ["SEQ_STATE", "SEQ_STATE", "SEQ_STATE", "ACK_WITHDRAWN"]
    assert await news(cities) == ["ACK_ERASED"]
    received = await line_by_line(
        cities,
        forger,
        forger.penalty(1, v=1, op="amend"),
        forger.penalty(3, v=3),
        forger.withdrawal(3, v=4, op="erase", reason="erased"),
        forger.withdrawal(1, v=3, op="repair"),
    )
    assert codes(received) == ["SEQ_VERSION", "SEQ_ERASED", "SEQ_ERASED"]
    assert await news(cities) == ["ACK_WITHDRAWN"]
    received = await line_by_line(
        cities, forger, forger.penalty(1, v=4), forger.penalty(2, v=5, op="amend", values={"CF_NR": "罚款叁万元。"})
    )
    assert codes(received) == ["SEQ_STATE"]
    received = await line_by_line(cities, forger, forger.penalty(1, v=5, reason="repair_revoked"))
    assert (received.result, codes(received)) == ("applied", [])
    assert await held(cities, 1, 2, 3, 8, 9) == ["in_force", "in_force", None, None, None]


async def test_one_record_twice_in_one_batch(cities: Cities, forger: Forger):
    """What one line does, the next about the same record must see."""
    received = await line_by_line(
        cities,
        forger,
        forger.penalty(1),
        forger.penalty(1, v=2, op="amend", values={"CF_NR": "罚款贰万元。"}),
        forger.withdrawal(1, v=3),
        forger.penalty(1, v=4, reason="repair_revoked"),
    )
    assert (received.result, codes(received)) == ("applied", [])
    assert await news(cities) == ["ACK_WITHDRAWN"]
    assert await held(cities, 1) == ["in_force"]


async def test_the_same_line_at_a_new_index(cities: Cities, forger: Forger):
    """A line said again is unchanged."""
    line = forger.penalty(1)
    await line_by_line(cities, forger, line)
    received = await line_by_line(cities, forger, line)
    assert (received.result, codes(received)) == ("applied", ["DUP_SAME"])


async def test_nobody_speaks_about_the_records_of_others(cities: Cities, forger: Forger):
    """A18: a partner may not amend, withdraw or erase a record of ours."""
    from tests.operations.publishing import PENALTIES as DATASET
    from tests.operations.publishing import code, ids, penalty, put

    (ours,) = ids(await put(cities.baishan, DATASET, penalty(code(77), "通化市某商贸有限公司", "通示罚〔2026〕77号")))
    received = await line_by_line(
        cities,
        forger,
        forger.penalty(1, rid=ours),
        forger.withdrawal(1, rid=ours),
        forger.withdrawal(1, rid=ours, op="erase", status="erased", reason="erased"),
    )
    assert codes(received) == ["SCOPE_OWNER"] * 3
    (record,) = await record_rows.load(cities.baishan.store.reads, ids=[ours])
    assert (record.state, record.issuer) == ("in_force", None)


async def test_withdrawals_with_odd_reasons(cities: Cities, forger: Forger):
    """An unknown reason is a warning; the withdrawal takes effect. A withdrawal with a disclosure or another member is refused."""
    await line_by_line(cities, forger, forger.penalty(1), forger.penalty(2))
    received = await line_by_line(
        cities,
        forger,
        forger.withdrawal(1, op="retract", reason="weather"),
        forger.raw(forger.withdrawal(2), _sd=["x"]),
        forger.raw(forger.withdrawal(2), name="x"),
    )
    assert codes(received) == ["SCHEMA_ENUM", "SCHEMA_DISCLOSURE", "SCHEMA_UNKNOWN"]
    assert await news(cities) == ["ACK_WITHDRAWN"]
    assert await held(cities, 1, 2) == ["retracted", "in_force"]


async def test_too_many_rejections_hold_the_batch(cities: Cities, forger: Forger):
    """Above the agreed rate nothing but withdrawals is applied; the same receipt is given again, and what follows waits."""
    await line_by_line(cities, forger, forger.penalty(500))
    bad = [forger.penalty(number, region="220600") for number in range(1, 31)]
    sealed = forger.seal([*bad, *(forger.penalty(number) for number in range(31, 61)), forger.withdrawal(500)])
    received = await forger.send(sealed)
    assert (received.result, received.code) == ("held", "HOLD_RATE")
    assert await held(cities, 31, 500) == [None, "repaired"]
    assert (await forger.send(sealed)).receipt == received.receipt
    behind = await forger.send(forger.seal([forger.penalty(70)]))
    assert (behind.result, behind.code) == ("quarantined", "SEQ_GAP")
    await check_ledger(cities.baishan)


async def test_an_authority_may_not_hide_behind_another(cities: Cities, forger: Forger):
    """The authority that the public reads is the one that the agreement lets speak."""
    received = await line_by_line(cities, forger, forger.penalty(1, values={"CF_CFJGDM": "11220500XXT0001699"}))
    assert codes(received) == ["SCOPE_AUTHORITY"]


async def test_disclosures_that_do_not_fit(cities: Cities, forger: Forger):
    """A15: a disclosure not in `_sd`, doubled, left out, misnamed, of two elements, or shadowing a clear member: no line."""
    good = forger.penalty(1)
    shown = json.loads(good.data)["d"]
    digests = json.loads(payload_of(good))["_sd"]

    def with_disclosure(value: object) -> SealedLine:
        text = b64u(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
        mine = sorted([*digests[1:], b64u(sha256(text.encode()))])
        first = next(each for each in shown if b64u(sha256(each.encode())) == digests[0])
        return forger.raw(good, [*(each for each in shown if each != first), text], _sd=mine)

    salt = "A" * 22
    lines = [
        forger.raw(good, [*shown, shown[0]]),
        forger.raw(good, shown[1:]),
        forger.raw(good, shown, _sd=digests[1:]),
        forger.raw(good, shown, _sd=digests[::-1]),
        forger.raw(good, shown, _sd=[*digests, digests[0]]),
        forger.raw(good, shown, _sd_alg="sm3"),
        with_disclosure([salt, "status", "x"]),
        with_disclosure([salt, "_sd", "x"]),
        with_disclosure([salt, "..."]),
        with_disclosure(["short", "CF_WSH", "x"]),
        with_disclosure([salt, "CF_WSH", 1.5]),
        with_disclosure([salt, "CF_WSH", ["x"]]),
        with_disclosure({"a": 1}),
        with_disclosure([salt, "x", 2**60]),
    ]
    received = await line_by_line(cities, forger, *lines)
    assert codes(received) == ["SCHEMA_DISCLOSURE"] * len(lines)


async def test_members_that_nobody_knows(cities: Cities, forger: Forger):
    """An unknown member of a payload, or one of another type, rejects its line: an ignored restriction would be a lie."""
    good = forger.penalty(1)
    received = await line_by_line(
        cities,
        forger,
        forger.raw(good, only_for="x"),
        forger.raw(good, dispute="no"),
        forger.raw(good, basis=[{"text": "x", "uri": None}]),
        forger.raw(good, trust="maybe"),
    )
    assert codes(received) == ["SCHEMA_UNKNOWN", "SCHEMA_TYPE", "SCHEMA_MISSING", "SCHEMA_ENUM"]
