"""A partner city of another make, written from the wire specification alone, against a real served gateway over real sockets.

Strategy: one gateway is set up by its own commands and served for the file; each test speaks of records of its own, over the same streams.
"""

import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.exchange.meeting import (
    AGREEMENT,
    BATCHES,
    LISTED,
    PENALTIES,
    PUSHED,
    STRANGER,
    STREAM,
    Gateway,
    agreed,
    asserted,
    now,
    rid,
    until,
)
from tests.exchange.stranger.city import Answer, Stranger
from tests.exchange.stranger.formats import JsonObject, Refused, as_json, b64, digest, included, opened, sha256, unb64u
from tests.exchange.stranger.log import PublicLog, commitment
from tests.exchange.stranger.records import (
    WITHDRAWN,
    Batch,
    Head,
    Line,
    admit,
    disclosed_digest,
    read_line,
    read_proof,
    signed_form,
    statement,
    withdrawal,
)
from tests.house import TONGHUA
from tests.operations.publishing import code

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/exchange/vectors.json").read_text(encoding="utf-8"))
NEW_EPOCH = [case for case in VECTORS["versions"] if case["epoch"] == "new"]
"""What becomes of the first line about a record in a new epoch."""


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stranger, Gateway]]:
    """Both cities, agreed and running."""
    with agreed(tmp_path_factory.mktemp("stranger")) as both:
        yield both


def post(stranger: Stranger, batch: Batch, *, inline: bool = True) -> Answer:
    """POST a batch."""
    return stranger.ask("POST", BATCHES, batch.posted(inline=inline))


def applied(stranger: Stranger, batch: Batch) -> JsonObject:
    """The receipt of a batch that the gateway applies whole."""
    answer = post(stranger, batch)
    assert answer.status == 200, answer.body
    said = stranger.acknowledged(PENALTIES, batch, answer)
    assert (said["result"], said["code"]) == ("applied", None)
    return said


def test_both_hold_what_both_have_signed(cities: tuple[Stranger, Gateway]):
    """The agreement that the gateway serves is the one offered, with a good line of either party; keys documents go both ways."""
    stranger, _ = cities
    document = stranger.ask("GET", f"/agreements/{AGREEMENT}/1").json
    stranger.agreed(document, TONGHUA)
    (item,) = stranger.ask("GET", "/agreements").json["items"]
    assert (item["digest"], item["state"]) == (stranger.agreement_digest, "active")
    assert stranger.take_keys()["base_url"] == stranger.origin
    assert "GET /x/v1/keys" in stranger.asked, "the gateway has the stranger's keys from nowhere but the stranger"
    with pytest.raises(Refused, match="SIG_UNKNOWN_KEY"):
        stranger.agreed(stranger.offered(document["body"].encode()), TONGHUA)


def test_a_later_version_is_countersigned_over_the_line(cities: tuple[Stranger, Gateway]):
    """The gateway offers a version that begins later; the stranger's line over the same bytes completes it, one over others is refused."""
    stranger, gateway = cities
    before = f'version = 2\nprevious = "{stranger.agreement_digest}"'
    text = (gateway.folder / "agreement.toml").read_text(encoding="utf-8").replace("version = 1", before, 1)
    text = text.replace("effective = 2026-01-01", "effective = 2026-12-01").replace("per_day = 100", "per_day = 50")
    (gateway.folder / "second.toml").write_text(text, encoding="utf-8")
    gateway.run("agreement", "offer", "second.toml", "--out", "second.json")
    offer = json.loads((gateway.folder / "second.json").read_text(encoding="utf-8"))
    own = signed_form(tomllib.loads(text))
    with pytest.raises(Refused, match="SCOPE_DIGEST"):
        stranger.countersigned(offer, own.replace(b'"per_day":50', b'"per_day":51'))
    both = stranger.countersigned(offer, own)
    other = {"body": offer["body"], "note": offer["note"] + stranger.agreement_key.line("another text\n")}
    answer = stranger.ask("POST", "/agreements", as_json(other))
    assert (answer.status, answer.code) == (422, "sig-invalid")
    answer = stranger.ask("POST", "/agreements", as_json(both))
    assert (answer.status, answer.json["version"], answer.json["digest"]) == (200, 2, digest(own)), answer.body
    held = stranger.ask("GET", f"/agreements/{AGREEMENT}/2").json
    assert opened(held, "agreement", f"{AGREEMENT}/2", stranger.pinned(STRANGER), f"{STRANGER}/agreement")["version"] == 2


def test_a_batch_is_pushed_and_its_receipt_believed(cities: tuple[Stranger, Gateway]):
    """Two records are applied; the signed receipt is of this batch and has our root, and the same batch again gives the same bytes."""
    stranger, _ = cities
    batch = stranger.seal(PENALTIES, asserted(stranger, 1), asserted(stranger, 2))
    first = post(stranger, batch)
    said = stranger.acknowledged(PENALTIES, batch, first)
    assert (first.status, said["result"], said["counts"]["accepted"]) == (200, "applied", 2)
    assert stranger.feedback(PENALTIES, said) == []
    assert post(stranger, batch).body == first.body
    forged = first.json | {"body": first.json["body"].replace('"accepted":2', '"accepted":3')}
    with pytest.raises(Refused, match="SIG_INVALID"):
        stranger.receipt(PENALTIES, forged)


def test_what_is_wrong_with_a_line_is_told_by_its_digest(cities: tuple[Stranger, Gateway]):
    """A wrong code, day, authority or word rejects or holds its line alone; feedback names line, field and the digest of the disclosure."""
    stranger, _ = cities
    wrong = {
        "CF_XDR_SHXYM": ("91220602XXT0000110", "reject", "SUBJ_USCC"),
        "CF_JDRQ": ("2026-03-03", "reject", "SCHEMA_TYPE"),
        "CF_CFJGDM": ("11220500XXT0001181", "reject", "SCOPE_AUTHORITY"),
        "CF_CFLB": ("无此类别", "hold", "SCHEMA_ENUM"),
    }
    lines = [asserted(stranger, number, **{name: each[0]}) for number, (name, each) in enumerate(wrong.items(), 11)]
    at = stranger.sent.tree.size
    batch = stranger.seal(PENALTIES, *lines, asserted(stranger, 10))
    answer = post(stranger, batch)
    said = stranger.acknowledged(PENALTIES, batch, answer)
    assert (answer.status, said["result"]) == (200, "partial")
    assert [said["counts"][name] for name in ("lines", "accepted", "rejected", "held")] == [5, 1, 3, 1]
    for index, (told, line) in enumerate(zip(stranger.feedback(PENALTIES, said), lines, strict=True)):
        assert (told["i"], told["rid"]) == (at + index, rid(11 + index))
        assert (told["severity"], told["code"]) == wrong[told["field"]][1:]
        (named,) = (each for each in line.disclosures if disclosed_digest(each) == told["disclosure"])
        assert json.loads(unb64u(named, "SCHEMA_DISCLOSURE"))[1:] == [told["field"], wrong[told["field"]][0]]


def test_parts_are_put_where_the_answer_misses_them(cities: tuple[Stranger, Gateway]):
    """A batch posted without its part is FETCHING; the part is put, a changed one refused, and the same POST brings the receipt."""
    stranger, _ = cities
    batch = stranger.seal(PENALTIES, asserted(stranger, 20))
    answer = post(stranger, batch, inline=False)
    ((name, data),) = batch.parts.items()
    assert (answer.status, answer.json) == (202, {"state": "FETCHING", "missing": [name]})
    path = f"/streams/{STREAM}/files/{name}?epoch={batch.after.epoch}&seq={batch.after.seq}"
    refused = stranger.ask("PUT", path, changed(data), media="application/octet-stream")
    assert (refused.status, refused.code) == (422, "sig-part-digest")
    assert stranger.ask("PUT", path, data, media="application/octet-stream").status == 201
    said = stranger.acknowledged(PENALTIES, batch, post(stranger, batch, inline=False))
    assert said["result"] == "applied"


def changed(data: bytes) -> bytes:
    """The same with one byte changed, in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_one_changed_byte_is_refused(cities: tuple[Stranger, Gateway]):
    """In part, manifest, checkpoint, or request: each with its code, nothing kept, and the whole batch is taken afterwards."""
    stranger, _ = cities
    batch = stranger.seal(PENALTIES, asserted(stranger, 30))
    ((name, data),) = batch.parts.items()
    body = batch.document["body"].replace('"policy_version":1', '"policy_version":2')
    root = b64(batch.after.tree.root())
    head = stranger.sent
    for what, code_ in (
        (replace(batch, parts={name: changed(data)}), "sig-part-digest"),
        (replace(batch, document=batch.document | {"body": body}), "sig-invalid"),
        (replace(batch, checkpoint=batch.checkpoint.replace(root, b64(changed(batch.after.tree.root())))), "sig-invalid"),
    ):
        answer = post(stranger, what)
        assert (answer.status, answer.code) == (422, code_)
    sent = batch.posted()
    headers = stranger.headers("POST", BATCHES, sent)
    answer = stranger.send("POST", BATCHES, headers, changed(sent))
    assert (answer.status, answer.code) == (401, "sig-content-digest")
    (stands,) = (each for each in stranger.ask("GET", "/streams").json["items"] if each["direction"] == "in")
    assert (stands["epoch"], stands["seq"], stands["size"], stands["state"]) == (head.epoch, head.seq, head.tree.size, "open")
    applied(stranger, batch)


def test_a_request_counts_once_and_for_its_target(cities: tuple[Stranger, Gateway]):
    """The same signature again, on another path, or none: 401 with the page's codes."""
    stranger, _ = cities
    headers = stranger.headers("GET", "/streams")
    assert stranger.send("GET", "/streams", headers).status == 200
    for path, said, code_ in (("/streams", headers, "time-replay"), ("/agreements", stranger.headers("GET", "/streams"), "sig-http")):
        answer = stranger.send("GET", path, said)
        assert (answer.status, answer.code) == (401, code_)
    answer = stranger.send("GET", "/streams", {})
    assert (answer.status, answer.code) == (401, "sig-http")


def test_a_gap_is_told_and_closed(cities: tuple[Stranger, Gateway]):
    """A batch ahead of its turn waits as SEQ_GAP under a tree that says what is missing; the missing one sent, both are applied."""
    stranger, _ = cities
    head = stranger.sent
    missing = stranger.seal(PENALTIES, asserted(stranger, 40))
    ahead = stranger.seal(PENALTIES, asserted(stranger, 41), after=missing.after)
    answer = post(stranger, ahead)
    said = stranger.acknowledged(PENALTIES, ahead, answer)
    assert (answer.status, said["result"], said["code"]) == (202, "quarantined", "SEQ_GAP")
    assert said["tree"]["size"] == head.tree.size
    (stands,) = (each for each in stranger.ask("GET", "/streams").json["items"] if each["direction"] == "in")
    assert (stands["stream"], stands["epoch"], stands["seq"], stands["size"]) == (STREAM, head.epoch, head.seq, head.tree.size)
    applied(stranger, missing)
    applied(stranger, ahead)
    (stands,) = (each for each in stranger.ask("GET", "/streams").json["items"] if each["direction"] == "in")
    assert (stands["seq"], stands["size"]) == (head.seq + 2, head.tree.size + 2)


def test_an_empty_batch_says_that_there_is_nothing_new(cities: tuple[Stranger, Gateway]):
    """A batch without records is applied: next in its stream, under the same root."""
    stranger, _ = cities
    before = stranger.sent
    said = applied(stranger, stranger.seal(PENALTIES))
    assert (said["counts"]["lines"], stranger.sent.seq) == (0, before.seq + 1)
    assert stranger.sent.tree.root() == before.tree.root()


def test_a_withdrawal_is_acknowledged_once_it_has_left(cities: tuple[Stranger, Gateway]):
    """A withdrawal is applied at once, and a later receipt, signed and chained to the one before, acknowledges it by its index."""
    stranger, _ = cities
    applied(stranger, stranger.seal(PENALTIES, asserted(stranger, 50)))
    at = stranger.sent.tree.size
    gone = withdrawal(STRANGER, rid(50), 2, "repair", "repaired", f"{PENALTIES}/1.0", now())
    said = applied(stranger, stranger.seal(PENALTIES, gone))
    assert said["counts"]["withdrawn"] == 1

    def acknowledgement() -> JsonObject | None:
        answer = stranger.ask("GET", f"/streams/{STREAM}/receipts/{said['no'] + 1}")
        return stranger.receipt(PENALTIES, answer.json) if answer.status == 200 else None

    later = until(acknowledgement)
    assert (later["kind"], later["batch"], later["result"]) == ("later", None, "applied")
    assert later["previous"] == digest(stranger.ask("GET", f"/streams/{STREAM}/receipts/{said['no']}").json["body"].encode())
    (told,) = stranger.feedback(PENALTIES, later)
    assert (told["i"], told["rid"], told["v"], told["code"]) == (at, rid(50), 2, "ACK_WITHDRAWN")


def test_what_is_signed_and_wrong_ends_in_a_new_epoch(cities: tuple[Stranger, Gateway]):
    """A part that hashes to another root is rejected for good by a receipt; a new epoch says all of it anew, and is taken as a whole."""
    stranger, _ = cities
    applied(stranger, stranger.seal(PENALTIES, asserted(stranger, 60), asserted(stranger, 61)))
    other = [asserted(stranger, 62)]
    wrong = stranger.seal(PENALTIES, asserted(stranger, 62), carried=other)
    answer = post(stranger, wrong)
    said = stranger.acknowledged(PENALTIES, wrong, answer)
    assert (answer.status, said["result"], said["code"]) == (422, "rejected", "SEQ_ROOT")
    assert said["tree"]["size"] == stranger.sent.tree.size
    assert post(stranger, wrong).body == answer.body
    standing = len(stranger.in_force)
    said = applied(stranger, stranger.seal_anew(PENALTIES, wrong.after, *other))
    assert (said["tree"]["epoch"], said["tree"]["size"]) == (2, standing + 1)
    assert [said["counts"][name] for name in ("accepted", "unchanged", "dropped")] == [1, standing, 0]


def test_a_stream_is_pulled_verified_and_receipted(cities: tuple[Stranger, Gateway]):
    """The gateway's batch is admitted, its receipt taken; a repair comes as the next one, and feedback and receipt acknowledge it."""
    stranger, gateway = cities
    first, records = until(lambda: stranger.pull(PENALTIES, wait=5))
    assert [each.clear["op"] for each in records] == ["assert", "assert"]
    assert {each.values["CF_XDR_SHXYM"] for each in records} == {code(1), code(2)}
    stranger.give_receipt(PENALTIES, first, records)
    stream = stranger.stream(PENALTIES, ours=False)
    (second,) = (each.clear["rid"] for each in records if each.values["CF_XDR_SHXYM"] == code(2))
    proved = stranger.ask("GET", f"/records/{second}/1?stream={STREAM}").json
    line = Line(unb64u(proved["line"]["p"], "SCHEMA_LINE"), tuple(proved["line"]["d"]))
    assert read_line(line) in records
    assert read_proof(proved["proof"], line.payload, stream.origin(1), stranger.trusted()) < len(records)
    gateway.run("repair", second)
    manifest, records = until(lambda: stranger.pull(PENALTIES, wait=5))
    assert [(each.clear["op"], each.clear["rid"]) for each in records] == [("repair", second)]
    assert stranger.ask("GET", f"/records/{second}/1?stream={STREAM}").status == 410
    with pytest.raises(Refused, match=r"422.*sig-part-missing"):
        stranger.give_receipt(PENALTIES, manifest, records, with_feedback=False)
    stranger.give_receipt(PENALTIES, manifest, records)
    (stands,) = (each for each in stranger.ask("GET", "/streams").json["items"] if (each["direction"], each["stream"]) == ("out", STREAM))
    assert (stands["seq"], stands["receipt_no"]) == (2, 2)
    assert stranger.ask("GET", "/status").json["owed"] == []
    assert stranger.pull(PENALTIES) is None


def test_what_was_pulled_is_not_believed_when_it_was_changed(cities: tuple[Stranger, Gateway]):
    """The stranger refuses the gateway's batch with another byte in part, manifest or checkpoint: its checks are checks."""
    stranger, _ = cities
    stream, path = stranger.stream(PENALTIES, ours=False), f"/streams/{STREAM}"
    offered = until(lambda: (answer := stranger.ask("GET", f"{path}/manifests/1?epoch=1")).status == 200 and answer.json)
    document, checkpoint = offered["manifest"], offered["checkpoint"]

    def part(name: str) -> bytes:
        return stranger.ask("GET", f"{path}/files/{name}").body

    keys = stranger.trusted()
    assert admit(stream, Head(), document, checkpoint, keys, part)[2].tree.size == 2
    for what, code_ in (
        ((document, checkpoint, keys, lambda name: changed(part(name))), "SIG_PART_DIGEST"),
        ((document | {"body": document["body"].replace('"assert":2', '"assert":1')}, checkpoint, keys, part), "SIG_INVALID"),
        ((document, checkpoint.replace("\n2\n", "\n3\n"), keys, part), "SIG_INVALID"),
        ((document, checkpoint, [stranger.x.key], part), "SIG_UNKNOWN_KEY"),
    ):
        with pytest.raises(Refused, match=code_):
            admit(stream, Head(), *what)


def test_a_batch_that_is_pushed_here_is_taken(cities: tuple[Stranger, Gateway]):
    """The gateway posts honours in signed requests and believes the receipts; a withdrawal too is acknowledged in its batch's own."""
    stranger, gateway = cities
    incoming = stranger.incoming[PUSHED]
    until(lambda: incoming.given)
    assert {each.values["TYSHXYDM"] for each in incoming.records} == {code(6), code(7)}

    def acknowledged(no: int) -> bool:
        return any((each["stream"], each["receipt_no"]) == (PUSHED, no) for each in stranger.ask("GET", "/streams").json["items"])

    until(lambda: acknowledged(1))
    record = incoming.records[0].clear["rid"]
    gateway.run("withdraw", record, "--reason", "revoked")
    until(lambda: acknowledged(2))
    assert [(each.clear["op"], each.clear["rid"]) for each in incoming.records[2:]] == [("retract", record)]
    early = f"NOT_FOUND /streams/{PUSHED}/receipts/1"
    assert set(stranger.refused) <= {early, "NOT_FOUND /agreements"}, "asked for before anything was sealed; and what it does not serve"
    with pytest.raises(Refused, match="SIG_HTTP"):
        stranger.believe("GET", f"/x/v1/streams/{PUSHED}/receipts/1", {}, b"")


def test_a_question_has_an_answer_bound_to_it(cities: tuple[Stranger, Gateway]):
    """Hit and no hit are signed, of one length, and of their question alone; level 2 follows with the record and its proof."""
    stranger, _ = cities
    asked = stranger.question(code(1), [PENALTIES]), stranger.question(code(9), [PENALTIES])
    answers = [stranger.ask("POST", "/query", each, tag="cx-query") for each in asked]
    hit, none = (stranger.answer_to(each, answer) for each, answer in zip(asked, answers, strict=True))
    assert (hit["result"], hit["details"], hit["records"], none["result"]) == ("hit", True, [], "no_hit")
    assert len(answers[0].json["body"]) == len(answers[1].json["body"])
    with pytest.raises(Refused, match="SIG_CONTEXT"):
        stranger.answer_to(asked[1], answers[0])
    same_id = stranger.question(code(9), [PENALTIES], id=json.loads(asked[0])["id"])
    with pytest.raises(Refused, match="SIG_CONTEXT"):
        stranger.answer_to(same_id, answers[0])
    again = stranger.answer_to(same_id, stranger.ask("POST", "/query", same_id, tag="cx-query"))
    assert (again["result"], again["code"]) == ("refused", "TIME_REPLAY")
    more = stranger.question(code(1), [PENALTIES], level=2, follows=digest(answers[0].json["body"].encode()))
    told = stranger.answer_to(more, stranger.ask("POST", "/query", more, tag="cx-query"))
    assert (told["result"], len(told["records"])) == ("hit", 1)
    part = stranger.question("91220502", [PENALTIES])
    refused = stranger.answer_to(part, stranger.ask("POST", "/query", part, tag="cx-query"))
    assert (refused["result"], refused["code"]) == ("refused", "QUERY_SUBJECT")


def test_the_public_log_is_verified_from_its_files(cities: tuple[Stranger, Gateway]):
    """Head, entries and tiles prove by themselves what was entered; of what is still listed the served proof proves the same."""
    stranger, gateway = cities
    origin = f"{TONGHUA}/log/2026"

    def listings() -> dict[str, JsonObject] | None:
        items = json.loads(gateway.read("/v1/lists/tax-violations/listings", ""))["items"]
        return {each["id"]: each for each in items} if len(items) == len(LISTED) else None

    shown = until(listings)

    def entered() -> PublicLog | None:
        if not json.loads(gateway.read("/v1/log", ""))["items"]:  # no head was signed yet
            return None
        log = PublicLog(origin, stranger.trusted("log"), gateway.read)
        return log if shown.keys() <= {json.loads(log.entry(index))["rid"] for index in range(log.size)} else None

    log = until(entered)
    assert log.span(0, log.size) == log.root
    for index in range(log.size):
        entry = log.entry(index)
        assert included(sha256(b"\0" + entry), index, log.size, log.path(index), log.root)
        assert not included(sha256(b"\0" + changed(entry)), index, log.size, log.path(index), log.root)
        record = json.loads(entry)["rid"]
        if record in shown:
            served = json.loads(gateway.read(f"/v1/log/proof?record={record}", ""))
            assert read_proof(served["proof"], entry, origin, stranger.trusted("log")) == index
            assert json.loads(entry)["c"] == commitment(shown[record])


def versioned(stranger: Stranger, number: int, op: str, v: int, how: str = "") -> Line:
    """A line about a record of the stranger's under an operation and a version, each time with other salts."""
    if op in WITHDRAWN:
        reason = {"retract": "revoked", "repair": "repaired", "expire": "expired", "erase": "erased"}[op]
        return withdrawal(STRANGER, rid(number), v, op, reason, f"{PENALTIES}/1.0", now())
    said = read_line(asserted(stranger, number, **({"CF_NR_FK": "9.9"} if how == "other" else {})))
    clear = said.clear | {"op": op, "v": v, "reason": how if how == "repair_revoked" else None}
    return statement({name: value for name, value in clear.items() if name not in ("_sd", "_sd_alg")}, said.values, os.urandom(32))


def test_what_was_held_or_rejected_is_asserted_anew(cities: tuple[Stranger, Gateway]):
    """A word that no table here knows holds its line, a wrong code rejects it: asserted again in better words both are in force."""
    stranger, _ = cities
    wrong = [asserted(stranger, 90, CF_CFLB="无此类别"), asserted(stranger, 91, CF_XDR_SHXYM="91220602XXT0000110")]
    batch = stranger.seal(PENALTIES, *wrong)
    said = stranger.acknowledged(PENALTIES, batch, post(stranger, batch))
    assert [each["severity"] for each in stranger.feedback(PENALTIES, said)] == ["hold", "reject"]
    applied(stranger, stranger.seal(PENALTIES, versioned(stranger, 90, "assert", 2), versioned(stranger, 91, "assert", 1)))
    again = stranger.seal(PENALTIES, versioned(stranger, 90, "assert", 3))
    said = stranger.acknowledged(PENALTIES, again, post(stranger, again))
    assert [each["code"] for each in stranger.feedback(PENALTIES, said)] == ["SEQ_STATE"], "in force it is amended"


def test_the_first_line_about_a_record_in_a_new_epoch(cities: tuple[Stranger, Gateway]):
    """A snapshot asserts what is in force, withdrawn, repaired, erased or unknown; each line comes to what the vectors say of it."""
    stranger, _ = cities
    held = {100 + at: tuple(case["held"].split()) for at, case in enumerate(NEW_EPOCH) if case["held"] is not None}
    first = {number: versioned(stranger, number, "assert", 2 if op == "assert" else 1) for number, (op, _) in held.items()}
    gone = [versioned(stranger, number, op, int(v)) for number, (op, v) in held.items() if op != "assert"]
    applied(stranger, stranger.seal(PENALTIES, *first.values()))
    applied(stranger, stranger.seal(PENALTIES, *gone))
    lines = []
    for number, case in enumerate(NEW_EPOCH, 100):
        op, v, how = (*case["line"].split(), "")[:3]
        stranger.in_force.pop(rid(number), None)
        lines.append(first[number] if how == "same" else versioned(stranger, number, op, int(v), how))
    standing = len(stranger.in_force)
    batch = stranger.seal_anew(PENALTIES, stranger.sent, *lines)
    said = stranger.acknowledged(PENALTIES, batch, post(stranger, batch))
    assert (said["result"], said["counts"]["dropped"]) == ("partial", 0)
    told = stranger.feedback(PENALTIES, said)
    for at, case in enumerate(NEW_EPOCH, standing):
        due = [code_ for code_ in case["codes"] if not code_.startswith("ACK_")]  # of what was held it comes later
        assert [each["code"] for each in told if each["i"] == at] == due, case
