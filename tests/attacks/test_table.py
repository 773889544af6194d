"""The table of attacks and failures (exchange.md §20), over real HTTP against a real process, its database digested before and after.

The attacker holds Tonghua's keys, where it is Tonghua that lies, or none. What must disappear is in `test_withdrawals`, where partners,
services or adapters misbehave in `test_guests`.
"""

import asyncio
import gzip
import json
import re
import sqlite3
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import msgspec
import sqlalchemy as sa

from gateway.core.exchange import notes
from gateway.core.exchange.documents import sign_keys
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.records import SealedLine
from gateway.core.exchange.sealing import Sealed
from gateway.core.exchange.wire import b64, b64u, digest_text, unb64
from gateway.operations.agreement_fit import agreement_signers
from gateway.operations.export_evidence import export_evidence
from gateway.operations.handle_case import repair
from gateway.operations.manage_agreements import change_state, own_keys, take_keys
from gateway.operations.manage_keys import new_key, revoke_key
from gateway.operations.send_batch import send_batch
from gateway.services import Services, load_signers
from gateway.store import given_receipts, inbox
from gateway.store.tables import out_streams, records
from tests.attacks.field import BOOKS, MET, Answer, Attacker, Field, Ground, refused
from tests.crash.dying import serving
from tests.house import PLAIN
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import (
    AGREEMENT,
    BAISHAN,
    NOW,
    PENALTIES,
    TONGHUA,
    a_city,
    another_signer,
    payload_of,
    posted_of,
    resign,
    rid,
    signed_by,
)
from tests.untouched import moved

KEPT = ("gateway.db", ".", "access-")
"""Files that any request may move: the database, the access log."""
DAYS_LATER = "2026-06-04T02:30:00Z"


# --- once, in order, whole ------------------------------------------------------------------------------------------------


async def test_a01_the_same_batch_twice_and_eight_times_at_once(field: Field):
    """A1: one application, and the same receipt byte for byte, however often it comes."""
    sealed = field.attacker.seal([field.attacker.penalty(1), field.attacker.penalty(2)])

    async def until_taken() -> Answer:
        for _ in range(100):  # two bodies at a time
            answer = await field.attacker.hit(sealed)
            if answer.status != httpx.codes.TOO_MANY_REQUESTS:
                break
            await asyncio.sleep(0.05)
        return answer

    answers = await asyncio.gather(*(until_taken() for _ in range(8)))
    assert {answer.result for answer in answers} == {"applied"}
    before = await field.of_baishan()
    answers.append(await field.attacker.hit(sealed))
    assert len({answer.body for answer in answers}) == 1
    assert moved(before, await field.of_baishan()) <= MET
    assert sorted((await field.held()).values()) == ["assert", "assert"]


async def test_a02_a_range_below_the_size_held_under_a_new_number(field: Field):
    """A2: SEQ_REPLAY, no effect."""
    start = field.attacker.head
    assert (await field.attacker.hit(field.attacker.seal([field.attacker.penalty(1)]))).result == "applied"
    head = msgspec.structs.replace(start, seq=1, manifest_digest=field.attacker.head.manifest_digest)
    before = await field.of_baishan()
    answer = await field.attacker.hit(field.attacker.seal([field.attacker.penalty(2)], head=head, advance=False))
    assert (answer.status, answer.result, answer.code) == (422, "rejected", "SEQ_REPLAY")
    assert moved(before, await field.of_baishan()) <= BOOKS


async def test_a03_the_same_number_with_other_content_both_well_signed(field: Field):
    """A3: the stream is frozen, both notes are kept and can be exported."""
    attacker, start = field.attacker, field.attacker.head
    assert (await attacker.hit(attacker.seal([attacker.penalty(1)]))).result == "applied"
    before = await field.of_baishan()
    answer = await attacker.hit(attacker.seal([attacker.penalty(9)], head=start, advance=False))
    assert (answer.status, answer.result, answer.code) == (409, "frozen", "SEQ_FORK")
    later = await attacker.hit(attacker.seal([attacker.penalty(2)]))
    assert (later.status, later.result) == (409, "frozen")
    assert moved(before, await field.of_baishan()) <= BOOKS
    both = await inbox.in_batches_at(field.cities.baishan.store.reads, TONGHUA, PENALTIES, 1, 1)
    assert len({batch.document.note for batch in both}) == len(both) == 2
    evidence = json.loads(await export_evidence(field.cities.baishan, PENALTIES))
    assert (evidence["type"], {evidence[side]["manifest"]["note"] for side in "ab"}) == (
        "chengxin-exchange/fork/1",
        {batch.document.note for batch in both},
    )


async def test_a04_arrival_in_another_order(field: Field):
    """A4: the third is quarantined; they are applied 1, 2, 3."""
    attacker = field.attacker
    first, second, third = (attacker.seal([attacker.penalty(number)]) for number in (1, 2, 3))
    before = await field.of_baishan()
    waiting = await attacker.hit(third)
    assert (waiting.status, waiting.result, waiting.code) == (202, "quarantined", "SEQ_GAP")
    assert moved(before, await field.of_baishan()) <= BOOKS
    for sealed in (first, second, third):
        assert (await attacker.hit(sealed)).result == "applied"
    assert len(await field.held()) == 3
    await check_ledger(field.cities.baishan)


def _vouched(attacker: Attacker, sealed: Sealed, raw: bytes, data: bytes) -> tuple[Sealed, dict[str, bytes]]:
    """The batch with another part, for which its manifest vouches."""
    said = json.loads(sealed.document.body)
    said["parts"][0] |= {"bytes": len(data), "bytes_raw": len(raw), "digest": digest_text(data)}
    body = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
    document = notes.sign_document("manifest", sealed.manifest.id, body, attacker.signers)
    return msgspec.structs.replace(sealed, document=document), {sealed.parts[0].name: data}


async def test_a05_a_last_line_cut_a_part_missing_a_gzip_truncated(field: Field):
    """A5: no row is applied; a part is asked for again, or the batch is rejected."""
    attacker = field.attacker
    sealed = attacker.seal([attacker.penalty(1), attacker.penalty(2), attacker.penalty(3)], lines_a_part=2)
    first, last = sealed.parts
    before = await field.of_baishan()
    wanted = await attacker.hit(sealed, {first.name: first.data})
    assert (wanted.status, json.loads(wanted.body)) == (202, {"state": "FETCHING", "missing": [last.name]})
    for wrong in (last.data[:-9], gzip.compress(gzip.decompress(last.data)[:-1], mtime=0)):
        answer = await attacker.hit(sealed, {first.name: first.data, last.name: wrong})
        assert answer.code == "sig-part-digest", answer.body
    assert moved(before, await field.of_baishan()) <= BOOKS
    assert (await attacker.hit(sealed)).result == "applied"
    before = await field.of_baishan()
    torn = attacker.seal([attacker.penalty(4), attacker.penalty(5)])
    raw = gzip.decompress(torn.parts[0].data)
    made, parts = _vouched(attacker, torn, raw, torn.parts[0].data[:-9])
    answer = await attacker.hit(made, parts)
    assert (answer.status, answer.result, answer.code) == (422, "rejected", "SCHEMA_LINE")
    assert moved(before, await field.of_baishan()) <= BOOKS


async def test_a06_lines_swapped_doubled_changed_or_dressed_otherwise(field: Field):
    """A6: digest, line or root fails; rejected whole. Even where the manifest vouches for the bytes, the root does not."""
    attacker = field.attacker
    sealed = attacker.seal([attacker.penalty(1), attacker.penalty(2)])
    raw = gzip.decompress(sealed.parts[0].data)
    lines = raw.splitlines(keepends=True)
    before = await field.of_baishan()
    changes = (
        b"".join(reversed(lines)),
        lines[0] * 2,
        raw[:40] + bytes((raw[40] ^ 1,)) + raw[41:],
        raw.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + raw,
        raw + b"\n",
    )
    for changed in changes:
        answer = await attacker.hit(sealed, {sealed.parts[0].name: gzip.compress(changed, mtime=0)})
        refused(answer, 422, "sig-part-digest")
    assert moved(before, await field.of_baishan()) <= BOOKS
    for changed, code_ in zip(changes, ("SEQ_ROOT", "SEQ_ROOT", None, "SCHEMA_LINE", "SCHEMA_LINE", "SCHEMA_COUNTS"), strict=True):
        made, parts = _vouched(attacker, sealed, changed, gzip.compress(changed, mtime=0))
        answer = await attacker.hit(made, parts)
        assert answer.result == "rejected", answer.body
        assert answer.code == code_ or (code_ is None and answer.code in {"SCHEMA_JSON", "SCHEMA_LINE", "SCHEMA_ENUM", "SEQ_ROOT"})
        sealed = attacker.seal([attacker.penalty(1), attacker.penalty(2)], replaces=attacker.anew(), snapshot="last")
        raw = gzip.decompress(sealed.parts[0].data)
    assert await field.held() == {}
    assert moved(before, await field.of_baishan()) <= BOOKS


# --- signatures -----------------------------------------------------------------------------------------------------------


async def test_a07_a_line_removed_manifest_and_counts_edited(field: Field):
    """A7: SIG_INVALID."""
    attacker = field.attacker
    sealed = attacker.seal([attacker.penalty(1), attacker.penalty(2)])
    raw = gzip.decompress(sealed.parts[0].data).splitlines(keepends=True)[0]
    data = gzip.compress(raw, mtime=0)
    said = json.loads(sealed.document.body)
    said["counts"]["assert"], said["range"]["to"], said["tree"]["size"] = 1, 1, 1
    said["parts"][0] |= {"bytes": len(data), "bytes_raw": len(raw), "lines": 1, "to": 1, "digest": digest_text(data)}
    edited = SignedDocument(json.dumps(said, separators=(",", ":")).encode(), sealed.document.note)
    before = await field.of_baishan()
    refused(await attacker.hit(sealed, {sealed.parts[0].name: data}, document=edited), 422, "sig-invalid")
    assert moved(before, await field.of_baishan()) <= MET


async def test_a08_signature_stripped_only_unknown_keys_a_known_key_fails_beside_a_good_one(field: Field):
    """A8: SIG_FORMAT, SIG_UNKNOWN_KEY, SIG_INVALID."""
    attacker = field.attacker
    sealed = attacker.seal([attacker.penalty(1)])
    text, body = notes.parse(sealed.document.note).text, sealed.document.body
    line = sealed.document.note.splitlines()[-1]
    broken = line[:-6] + ("A" if line[-6] != "A" else "B") + line[-5:]
    before = await field.of_baishan()
    refused(await attacker.hit(sealed, document=SignedDocument(body, text + "\n")), 422, "sig-format")
    refused(await attacker.hit(sealed, document=resign(sealed, [another_signer()])), 422, "sig-unknown-key")
    beside = notes.add_line(SignedDocument(body, text + "\n" + broken + "\n").note, another_signer())
    refused(await attacker.hit(sealed, document=SignedDocument(body, beside)), 422, "sig-invalid")
    assert moved(before, await field.of_baishan()) <= MET


async def test_a09_keys_of_another_use_or_algorithm(field: Field):
    """A9: the algorithm and the use belong to the key: an Ed25519 signature under the id of an SM2 key, or of another use, is none."""
    attacker = field.attacker
    sealed = attacker.seal([attacker.penalty(1)])
    text, body = notes.parse(sealed.document.note).text, sealed.document.body
    before = await field.of_baishan()
    for use in ("http", "agreement"):
        note = notes.sign(text, [attacker.services.signers.signing(use, attacker.cities.now)])
        refused(await attacker.hit(sealed, document=SignedDocument(body, note)), 422, "sig-key-use")
    name, _, signature = sealed.document.note.splitlines()[-1].removeprefix("— ").partition(" ")
    raw = bytearray(unb64(signature, "SIG_FORMAT"))
    raw[0] ^= 0xFF  # the id of no key, as a second algorithm of the same name would have
    other = f"{text}\n— {name} {b64(bytes(raw))}\n"
    refused(await attacker.hit(sealed, document=SignedDocument(body, other)), 422, "sig-unknown-key")
    assert moved(before, await field.of_baishan()) <= MET


async def test_a10_rotation_without_overlap_and_a_revoked_key_with_a_back_dated_batch(ground: Ground):
    """A10: an unpublished key is refused, old and new beside each other are good, an expired or revoked one is not, back-dated or no."""
    async with a_city(ground.folder / "th", TONGHUA, now=NOW, port=ground.ports[0], new=False) as tonghua:
        await new_key(tonghua, "exchange", by="test")
        published = await own_keys(tonghua)
    field = await ground.field(now=DAYS_LATER)
    attacker, tonghua, baishan = field.attacker, field.cities.tonghua, field.cities.baishan
    new = attacker.signers[0]
    (old,) = (key.signer for key in tonghua.signers.keys if key.use == "exchange" and key.signer.vkey != new.vkey)
    sealed = attacker.seal([attacker.penalty(1)])
    refused(await attacker.hit(sealed, document=resign(sealed, [another_signer()])), 422, "sig-unknown-key")
    await take_keys(baishan, published, by="test")
    assert (await attacker.hit(sealed)).result == "applied"
    attacker.signers = [old]
    assert (await attacker.hit(attacker.seal([attacker.penalty(2)]))).result == "applied", "both overlap"
    await revoke_key(tonghua, old.vkey, reason="key_compromise", by="test")
    await take_keys(baishan, await own_keys(msgspec.structs.replace(tonghua, signers=load_signers(tonghua.settings))), by="test")
    before = await field.of_baishan()
    back = attacker.seal([attacker.penalty(3)], created=attacker.cities.now - timedelta(minutes=1))
    refused(await attacker.hit(back), 422, "sig-key-revoked")
    assert moved(before, await field.of_baishan()) <= MET
    said = json.loads(published.body)
    for key in said["keys"]:
        key |= {"not_after": "2026-06-03T02:30:00Z"} if key["vkey"] == new.vkey else {}
    shorter = json.dumps(said | {"serial": said["serial"] + 9}).encode()
    await take_keys(baishan, sign_keys(shorter, *agreement_signers(tonghua, attacker.cities.now)), by="test")
    attacker.signers = [new]
    before = await field.of_baishan()
    refused(await attacker.hit(attacker.seal([attacker.penalty(4)], advance=False)), 422, "sig-key-expired")
    assert moved(before, await field.of_baishan()) <= MET


# --- clocks, bytes, shapes ------------------------------------------------------------------------------------------------


async def test_a11_clocks_that_are_wrong(ground: Ground):
    """A11: within skew good, else TIME_FUTURE or TIME_EXPIRED; the sequence is unaffected."""
    field = await ground.field(now=DAYS_LATER)
    attacker, now = field.attacker, field.cities.now
    assert (await attacker.hit(attacker.seal([attacker.penalty(1)], created=now + timedelta(minutes=4)))).result == "applied"
    before = await field.of_baishan()
    early = attacker.seal([attacker.penalty(2)], created=now + timedelta(minutes=10), advance=False)
    refused(await attacker.hit(early), 422, "time-future")
    assert moved(before, await field.of_baishan()) <= MET
    assert (await attacker.hit(attacker.seal([attacker.penalty(2)]))).result == "applied", "its number is free still"
    before = await field.of_baishan()
    answer = await attacker.hit(attacker.seal([attacker.penalty(3)], created=now - timedelta(minutes=10)))
    assert (answer.status, answer.result, answer.code) == (422, "rejected", "TIME_ORDER")

    def over(said: dict[str, Any]) -> None:
        said.update(created="2026-06-02T02:31:00Z", valid_until="2026-06-03T02:30:00Z")

    expired = attacker.seal([attacker.penalty(3)], replaces=attacker.anew(), snapshot="last", edit=over)
    answer = await attacker.hit(expired)
    assert (answer.status, answer.result, answer.code) == (422, "rejected", "TIME_EXPIRED")
    assert moved(before, await field.of_baishan()) <= BOOKS
    assert await field.held() == {rid(1): "assert", rid(2): "assert"}


async def test_a12_a_bomb_and_names_that_lead_elsewhere(field: Field):
    """A12: stops at bytes and ratio; a name out of the folder is none; nothing is written outside."""
    attacker = field.attacker
    before, files = await field.of_baishan(), _files(Path(field.cities.baishan.settings.data_path))
    bomb = attacker.seal([attacker.penalty(1)], edit=lambda said: said["parts"][0].update(bytes_raw=100_000_000), advance=False)
    refused(await attacker.hit(bomb), 413, "size-ratio")
    sealed = attacker.seal([attacker.penalty(1)])
    raw = gzip.decompress(sealed.parts[0].data)
    for name in ("../../etc/passwd", "/etc/passwd", "1-1-000.ndjson/../x", "C:\\x"):
        answer = await attacker.hit(sealed, {name: b"x"})
        assert answer.status in {400, 413, 422}, answer.body
    made, parts = _vouched(attacker, sealed, raw, gzip.compress(b"\n" * 50_000_000, mtime=0))
    answer = await attacker.hit(made, parts)
    assert (answer.status, answer.result) == (422, "rejected"), answer.body
    assert moved(before, await field.of_baishan()) <= BOOKS
    assert _files(Path(field.cities.baishan.settings.data_path)) == files


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.name.startswith(KEPT)}


async def test_a14_json_that_parsers_disagree_about(field: Field):
    """A14: duplicate keys, NaN, 1e400, a lone surrogate, 400 digits, depth 1,100: SCHEMA_JSON."""
    attacker = field.attacker
    sealed = attacker.seal([attacker.penalty(1)])
    good = posted_of(sealed.document.body, sealed.document.note, sealed.checkpoint, {part.name: part.data for part in sealed.parts})
    start = good[:-1] + b', "x": '
    before = await field.of_baishan()
    for what in (b"NaN", b"1e400", b'"\\ud800"', b"9" * 400, b"[" * 1100 + b"]" * 1100):
        assert (await attacker.post_body(start + what + b"}")).status == 400, what[:20]
    refused(await attacker.post_body(good[:-1] + b', "checkpoint": "x"}'), 400, "schema-json")
    for value in ("NaN", "1e400", "9" * 400, "[" * 1100):
        body = re.sub(rb'"policy_version":[0-9]+', f'"policy_version":{value}'.encode(), sealed.document.body)
        document = notes.sign_document("manifest", sealed.manifest.id, body, attacker.signers)
        refused(await attacker.hit(sealed, document=document), 400, "schema-json")
    doubled = sealed.document.body.replace(b'"epoch":1', b'"epoch":1,"epoch":1')
    document = notes.sign_document("manifest", sealed.manifest.id, doubled, attacker.signers)
    refused(await attacker.hit(sealed, document=document), 400, "schema-json")
    assert moved(before, await field.of_baishan()) <= MET


async def test_a15_disclosures_that_do_not_belong(field: Field):
    """A15: not in `_sd`, doubled, or left out: the record is rejected, and what it would have said is nowhere."""
    attacker = field.attacker
    good, other = attacker.penalty(1), attacker.penalty(2)
    shown = json.loads(good.data)["d"]
    lines = [
        attacker.raw(good, [*shown, json.loads(other.data)["d"][0]]),
        attacker.raw(good, [*shown, shown[0]]),
        attacker.raw(good, shown[1:]),
        attacker.raw(good, shown, _sd=[*(digests := json.loads(payload_of(good))["_sd"]), digests[0]]),
    ]
    salt = "A" * 22
    names = ("_sd", "...", "status", "CF_WSH")
    for said in (*([salt, name, "x"] for name in names), ["CF_WSH", "x"], ["AA", "CF_X", "x"]):
        one = b64u(json.dumps(said).encode())
        lines.append(attacker.raw(good, [*shown, one], _sd=sorted([*digests, b64u(sha256(one.encode()).digest())])))
    before = await field.of_baishan()
    answer = await attacker.hit(attacker.seal(lines))
    assert answer.result == "partial"
    assert json.loads(json.loads(answer.body)["body"])["counts"]["rejected"] == len(lines)
    (given,) = await given_receipts.receipts_of(field.cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert [json.loads(line)["code"] for line in given.feedback.splitlines()] == ["SCHEMA_DISCLOSURE"] * len(lines)
    assert await field.held() == {}
    assert moved(before, await field.of_baishan()) <= BOOKS


async def test_a16_what_exculpates_is_left_out_on_the_way(field: Field):
    """A16: `status` and `dispute` are clear members of the leaf: without them, or with others, the root is another one."""
    attacker = field.attacker
    before = await field.of_baishan()
    good = attacker.penalty(1, dispute=True)
    sealed = attacker.seal([good])
    for changes in ({"status": "in_force", "dispute": False}, {"status": "suspended"}):
        raw = attacker.raw(good, **changes).data
        assert raw != good.data
        data = gzip.compress(raw, mtime=0)
        refused(await attacker.hit(sealed, {sealed.parts[0].name: data}), 422, "sig-part-digest")
    made, parts = _vouched(attacker, sealed, raw, data)
    answer = await attacker.hit(made, parts)
    assert (answer.result, answer.code) == ("rejected", "SEQ_ROOT"), "also where the sender itself vouches for the bytes"
    assert await field.held() == {}
    assert moved(before, await field.of_baishan()) <= BOOKS


async def test_a20_an_agreement_that_stops_between_fetch_and_application(ground: Ground):
    """A20: suspended while the parts are on their way, or another schema: nothing is applied after the instant; afterwards all of it is."""
    field = await ground.field()
    attacker, baishan = field.attacker, field.cities.baishan
    sealed = attacker.seal([attacker.penalty(1), attacker.penalty(2)])
    assert json.loads((await attacker.hit(sealed, {})).body)["state"] == "FETCHING"
    await change_state(baishan, AGREEMENT, "suspended", reason="核查", by="test")
    before = await field.of_baishan()
    answer = await attacker.hit(sealed)
    assert (answer.status, answer.result, answer.code) == (202, "quarantined", "SCOPE_AGREEMENT")
    assert await field.held() == {}
    assert moved(before, await field.of_baishan()) <= BOOKS
    await change_state(baishan, AGREEMENT, "active", reason="核查完毕", by="test")
    assert (await attacker.hit(sealed)).result == "applied"
    before = await field.of_baishan()
    answer = await attacker.hit(attacker.seal([attacker.penalty(3)], edit=lambda said: said.update(schema=f"{DATASET}/2.0")))
    assert (answer.status, answer.result, answer.code) == (422, "rejected", "SCHEMA_VERSION")
    assert moved(before, await field.of_baishan()) <= BOOKS
    await check_ledger(baishan)


async def test_a21_a_request_that_is_not_what_was_signed_or_was_sent_before(ground: Ground):
    """A21: replayed, also by a process that was started anew, for another target, under another tag, without its digest: refused."""
    field = await ground.field()
    attacker = field.attacker
    sealed = attacker.seal([attacker.penalty(1)])
    body = posted_of(sealed.document.body, sealed.document.note, sealed.checkpoint, {part.name: part.data for part in sealed.parts})
    url = f"http://127.0.0.1:{field.cities.baishan.settings.port}/x/v1/streams/{PENALTIES}/batches"
    before = await field.of_baishan()

    async def sent(strip: str = "", **changed: Any) -> tuple[int, str | None]:
        request = httpx.Request("POST", url, content=body, headers={"content-type": "application/json"})
        request = next(signed_by(field.cities.tonghua, **changed).auth_flow(request))
        request.headers.pop(strip, None)
        async with httpx.AsyncClient(verify=PLAIN, timeout=60) as client:
            answer = await client.send(request)
        return answer.status_code, answer.json().get("code")

    for changed in ({"url": f"{url}x"}, {"url": url.replace("127.0.0.1", "credit.other.example")}, {"tag": "cx-query"}, {"method": "PUT"}):
        assert await sent(**changed) == (401, "sig-http")
    for name in ("content-digest", "signature", "signature-input"):
        assert await sent(name) == (401, "sig-http")
    assert await field.held() == {}
    assert moved(before, await field.of_baishan()) <= MET
    once = b64u(bytes(16))
    assert (await sent(nonce=once))[0] == 200
    before = await field.of_baishan()
    assert await sent(nonce=once) == (401, "time-replay")
    field.process.kill()
    ground.stack.callback(serving(ground.folder / "bs", ground.ports[1]).kill)
    assert await sent(nonce=once) == (401, "time-replay"), "it stands in the database"
    assert moved(before, await field.of_baishan()) <= MET


async def test_a28_numbers_and_names_that_only_look_alike(field: Field):
    """A28: full-width, Cyrillic or lower-case codes are refused; blanks in a name make no second subject of one code."""
    attacker, good = field.attacker, code(1)
    looks = ("".join(chr(ord(each) + 0xFEE0) for each in good), good.replace("X", "\u0425"), good.lower(), f"{good}\u00a0")
    before = await field.of_baishan()
    answer = await attacker.hit(attacker.seal([attacker.penalty(n, values={"CF_XDR_SHXYM": each}) for n, each in enumerate(looks, 1)]))
    assert json.loads(json.loads(answer.body)["body"])["counts"]["rejected"] == len(looks)
    assert await field.held() == {}
    assert moved(before, await field.of_baishan()) <= BOOKS
    names = ("通化市测试1商贸有限公司", "通化市测试１商贸有限公司", "通化市\u00a0测试1商贸有限公司")
    lines = [
        attacker.penalty(n, values={"CF_XDR_SHXYM": good, "CF_XDR_MC": name, "CF_WSH": f"通示罚〔2026〕{n}号"})
        for n, name in enumerate(names, 11)
    ]
    assert (await attacker.hit(attacker.seal(lines))).result == "applied"
    rows = await field.cities.baishan.store.reads.all(sa.select(records.c.subject_id).distinct())
    assert len(rows) == 1


async def _told(field: Field, lines: list[SealedLine]) -> list[str]:
    """Post these lines; the codes with which they come back."""
    answer = await field.attacker.hit(field.attacker.seal(lines))
    no = json.loads(json.loads(answer.body)["body"])["no"]
    url = f"http://127.0.0.1:{field.cities.baishan.settings.port}/x/v1/streams/{PENALTIES}/feedback/{no}"
    async with httpx.AsyncClient(auth=signed_by(field.cities.tonghua), verify=PLAIN, timeout=60) as client:
        return [json.loads(line)["code"] for line in (await client.get(url)).content.splitlines()]


async def test_a17_what_lies_outside_the_scope(field: Field):
    """A17: another region, authority, category, kind or issuer, and a beginning of a division's code: SCOPE_*, never stored as asserted."""
    attacker = field.attacker
    outside = {
        "SCOPE_ISSUER": [attacker.penalty(1, iss=BAISHAN)],
        "SCOPE_REGION": [attacker.penalty(n, region=region) for n, region in enumerate(("2205", "220600", "220000", "２２０５００"), 11)],
        "SCOPE_AUTHORITY": [attacker.penalty(2, authority="11220600XXT0001186")],
        "SCOPE_CATEGORY": [attacker.penalty(3, category="measure")],
        "LAW_PERSON": [attacker.penalty(4, subject_kind="natural")],
    }
    before = await field.of_baishan()
    told = await _told(field, [line for lines in outside.values() for line in lines])
    assert told == [code_ for code_, lines in outside.items() for _ in lines]
    assert await field.held() == {}
    assert moved(before, await field.of_baishan()) <= BOOKS


async def test_a18_a_record_of_another_source(field: Field):
    """A18: neither a record of the receiver itself nor an unknown one of its kind is amended, withdrawn or erased: SCOPE_OWNER."""
    attacker, baishan = field.attacker, field.cities.baishan
    (ours,) = ids(await put(baishan, DATASET, penalty(code(77), "通化市某商贸有限公司", "通示罚〔2026〕77号")))
    before = await field.of_baishan()
    lines = [
        attacker.penalty(1, v=7, rid=ours),
        attacker.penalty(1, v=8, op="amend", rid=ours),
        attacker.withdrawal(1, v=9, rid=ours),
        attacker.withdrawal(1, v=10, op="erase", status="erased", reason="erased", rid=ours),
    ]
    assert await _told(field, lines) == ["SCOPE_OWNER"] * len(lines)
    assert moved(before, await field.of_baishan()) <= BOOKS


async def test_a29_control_characters_in_fields(field: Field):
    """A29: those that steer a terminal are refused with their line; an end of line is a blank, and what turns a text round is left out."""
    attacker = field.attacker
    refused_ones, folded = ("\x1b[2J", "\x00", "\x7f", "\u009b"), {"\n": " ", "\u202e": "", "\u200b": ""}
    lines = [
        attacker.penalty(n, values={"CF_XDR_MC": f"通化市测试{each}商贸有限公司", "CF_XDR_SHXYM": code(n)})
        for n, each in enumerate((*refused_ones, *folded), 1)
    ]
    assert await _told(field, lines) == ["SCHEMA_TYPE", "SCHEMA_DISCLOSURE", "SCHEMA_TYPE", "SCHEMA_TYPE"]
    rows = await field.cities.baishan.store.reads.all(sa.select(records.c.clear))
    assert sorted(json.loads(row.clear)["name"] for row in rows) == sorted(f"通化市测试{each}商贸有限公司" for each in folded.values())


async def test_a29_what_a_request_bears_does_not_write_the_log(field: Field):
    """A29: a path with escape sequences and line ends is one line without them; a secret of a header or of a query stands nowhere."""
    origin, folder = f"http://127.0.0.1:{field.cities.baishan.settings.port}", Path(field.cities.baishan.settings.data_path)
    path = "/v1/subjects/%1B%5B2J%0A%7B%22status%22%3A200%7D"
    async with httpx.AsyncClient(verify=PLAIN, timeout=60, headers={"authorization": "Bearer geheim-7719"}) as client:
        assert (await client.get(f"{origin}{path}?api_key=geheim-7720&x=%1b%0a")).status_code >= httpx.codes.BAD_REQUEST
    async with asyncio.timeout(30):
        while not (log := b"".join(each.read_bytes() for each in folder.glob("logs/*"))):  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.05)
    assert [json.loads(line)["method"] for line in log.splitlines()] == ["GET"]
    assert not any(secret in log for secret in (b"\x1b", b"geheim", b"[2J"))


# --- failures of the machine ----------------------------------------------------------------------------------------------


async def test_a23_a_full_disk(ground: Ground):
    """A23: 503, nothing acknowledged, nothing there in part; with room again it is applied once."""
    database = ground.folder / "bs" / "data" / "gateway.db"
    connection = sqlite3.connect(database)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.close()
    field = await ground.field(pages=pages + 3)
    sealed = field.attacker.seal([field.attacker.penalty(number) for number in range(1, 200)])
    before = await field.of_baishan()
    answer = await field.attacker.hit(sealed)
    assert (answer.status, answer.result) == (503, None), answer.body
    assert moved(before, await field.of_baishan()) <= MET
    field.process.kill()
    again = serving(ground.folder / "bs", ground.ports[1])
    ground.stack.callback(again.kill)
    assert (await field.attacker.hit(sealed)).result == "applied"
    assert len(await field.held()) == 199
    await check_ledger(field.cities.baishan)


async def test_a23_a_locked_database(field: Field):
    """A23: while another writer does not end, 503 with a code and nothing acknowledged; then it is applied."""
    sealed = field.attacker.seal([field.attacker.penalty(1)])
    refused(await field.attacker.post_body(b"{}"), 400, "schema-json")  # it is up
    lock = sqlite3.connect(field.cities.baishan.store.path or "", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    answer = await field.attacker.hit(sealed)
    lock.execute("ROLLBACK")
    lock.close()
    assert (answer.status, answer.result) == (503, None), answer.body
    assert await field.held() == {}
    assert (await field.attacker.hit(sealed)).result == "applied"


async def test_a26_a_stream_restored_from_an_older_backup(ground: Ground):
    """A26: the receiver's receipts show a larger size: the sender's stream stops, and no second head of a size is signed."""
    field = await ground.field()
    tonghua = field.cities.tonghua
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2, 3)]
    made = ids(await put(tonghua, DATASET, *rows))
    await send_batch(tonghua, stream=PENALTIES, at_once=True)
    backup = sqlite3.connect(ground.folder / "backup.db")
    source = sqlite3.connect(tonghua.store.path or "")
    source.backup(backup)
    await repair(tonghua, made[0], actor="test", document="示例")
    await send_batch(tonghua, stream=PENALTIES, at_once=True)
    backup.backup(source)
    source.close()
    backup.close()
    before = await field.of_baishan()
    async with a_city(ground.folder / "th", TONGHUA, now=NOW, port=ground.ports[0], new=False) as restored:
        await repair(restored, made[1], actor="test", document="示例")
        (sent,) = await send_batch(restored, stream=PENALTIES, at_once=True)
        assert (sent.sealed, sent.code, await _stopped(restored)) == (0, "SEQ_ROOT", "SEQ_ROOT")
    assert moved(before, await field.of_baishan()) <= BOOKS


async def _stopped(services: Services) -> str | None:
    row = await services.store.reads.one(sa.select(out_streams.c.stopped).where(out_streams.c.stream == PENALTIES))
    assert row is not None
    return None if row.stopped is None else str(row.stopped)

