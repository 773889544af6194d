"""Questions and answers of mutual query: their vectors, their strictness, and what many answers come to."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ExchangeError
from gateway.core.exchange import agreements, merkle, notes, questions, records, told_lines, wire
from gateway.core.exchange.notes import KeyRing, KnownKey, SignedDocument
from gateway.core.exchange.questions import STATUSES, Question, RecordSent, SubjectAsked
from gateway.core.exchange.wire import SHA256
from gateway.core.signing import Ed25519Signer, parse_vkey
from tests.core.exchange.test_vectors import BAISHAN, SEED, TONGHUA, VECTORS

AT = datetime(2026, 12, 2, 1, 0, tzinfo=UTC)
SIGNER = Ed25519Signer(f"{TONGHUA}/x", bytes([1]) * 32)
RING = KeyRing.of(TONGHUA, [KnownKey(verifier=parse_vkey(SIGNER.vkey), use="exchange")])
SKEW = timedelta(seconds=300)


@pytest.fixture(scope="module")
def agreement() -> agreements.Agreement:
    """The agreement of the vectors."""
    body, _ = agreements.signed_form(VECTORS["agreement"]["toml"].encode())
    return agreements.read_agreement(body)


def asked(level: int = 1, **changed: Any) -> Question:
    """The question of the vectors, or a changed one."""
    return msgspec.structs.replace(questions.read_question(VECTORS["query"][f"level_{level}"]["question"].encode()), **changed)


def believed(document: SignedDocument, question: Question, agreement: agreements.Agreement, now: datetime = AT) -> tuple[Any, Any]:
    """The answer and its records, as an asker takes them."""
    body = questions.question_body(question)
    answer = questions.read_answer(document, question, body, RING, now=now, skew=SKEW)
    return answer, told_lines.read_told(answer, question, agreement, RING, first_seen=now, skew=SKEW)


@pytest.mark.parametrize("level", [1, 2])
def test_vectors(level: int, agreement: agreements.Agreement) -> None:
    """Question and answer of either level read, verify and are written again byte for byte."""
    vector = VECTORS["query"][f"level_{level}"]
    body = vector["question"].encode()
    question = questions.read_question(body)
    assert questions.question_body(question) == body
    assert wire.digest_text(body) == vector["digest"]
    document = notes.sign_document("answer", question.id, vector["answer"].encode(), [SIGNER])
    assert document.note == vector["note"]
    answer, told = believed(document, question, agreement, AT + timedelta(seconds=10))
    assert (answer.result, answer.details) == ("hit", True)
    assert [each.fields for each in told] == ([] if level == 1 else [vector["disclosed"]])
    code = questions.terms_fault(question, agreement)
    assert code == ("QUERY_SCOPE" if "mutual.query" not in agreement.terms.purposes else None)


def test_total_vectors() -> None:
    """What several answers come to, as the specification has it."""
    for case in VECTORS["query"]["total"]:
        assert questions.total(case["statuses"]) == case["total"]


@given(st.lists(st.sampled_from(STATUSES), max_size=8))
def test_total(statuses: list[Any]) -> None:
    """A hit is never lost, silence is never "no record", and the order of partners says nothing."""
    found = questions.total(statuses)
    assert (found == "hit") == ("hit" in statuses)
    assert (found == "no_hit") == (bool(statuses) and set(statuses) == {"no_hit"})
    assert questions.total(reversed(statuses)) == found
    for silent in ("unanswered", "unreachable", "invalid", "not_asked", "refused", "need_more", "not_available_until"):
        assert questions.total([*statuses, silent]) in ("hit", "incomplete")


def read_fault(change: Any) -> str | None:
    """Code of what is wrong with the level-1 question after a change of its JSON."""
    value = json.loads(VECTORS["query"]["level_1"]["question"])
    change(value)
    try:
        questions.read_question(json.dumps(value, ensure_ascii=False).encode())
    except ExchangeError as error:
        return error.code
    return None


def test_a_question_is_strict() -> None:
    """An unknown member is refused at any depth, a missing or wrong one too; a control character and a doubled name as well."""
    assert read_fault(lambda _: None) is None
    assert read_fault(lambda value: value.update(scope="all")) == "SCHEMA_UNKNOWN"
    assert read_fault(lambda value: value["subject"].update(hash="sha-256:…")) == "SCHEMA_UNKNOWN"
    assert read_fault(lambda value: value["agreement"].update(digest="x")) == "SCHEMA_UNKNOWN"
    for name in json.loads(VECTORS["query"]["level_1"]["question"]):
        if name != "type":
            assert read_fault(lambda value, name=name: value.pop(name)) == "SCHEMA_MISSING", name
    for name, wrong in (
        ("type", "chengxin-exchange/answer/1"), ("id", "AAECAwQFBgcICQoLDA0ODx"), ("level", 3), ("level", "1"), ("from", "nobody"),
        ("officer", "王某"), ("datasets", "penalties"), ("datasets", ["Penalties"]), ("asked_at", "2026-12-02"), ("case", "a\nb"),
        ("follows", "sha-256:AAAA"), ("deadline", "2026-13-02T01:00:00Z"), ("basis", "一" * 401),
    ):  # fmt: skip
        assert read_fault(lambda value, name=name, wrong=wrong: value.update({name: wrong})) == "SCHEMA_TYPE", name
    doubled = VECTORS["query"]["level_1"]["question"].replace('"level":1', '"level":1,"level":1')
    with pytest.raises(ExchangeError) as caught:
        questions.read_question(doubled.encode())
    assert caught.value.code == "SCHEMA_JSON"


GOOD = "91220502XXT00002X2"


@pytest.mark.parametrize(
    ("subject", "fault", "need"),
    [
        ({"kind": "legal", "uscc": GOOD}, None, ()),
        ({"kind": "legal", "uscc": GOOD, "name": "示例公司"}, "QUERY_SUBJECT", ()),
        ({"kind": "legal", "uscc": GOOD.lower()}, "QUERY_SUBJECT", ()),
        ({"kind": "legal", "uscc": GOOD[:-1] + "3"}, "QUERY_SUBJECT", ()),
        ({"kind": "legal", "uscc": GOOD[:-1] + "*"}, "QUERY_SUBJECT", ()),
        ({"kind": "legal", "uscc": "９" + GOOD[1:]}, "QUERY_SUBJECT", ()),
        ({"kind": "legal", "name": "示例公司"}, "QUERY_SUBJECT", ()),
        ({"kind": "individual_business", "uscc": GOOD, "name": "示例店"}, "QUERY_SUBJECT", ()),
        ({"kind": "natural", "id_no": "220599199003071236", "name": "测试丁"}, None, ()),
        ({"kind": "natural", "id_no": "220599199003071236"}, None, ("name",)),
        ({"kind": "natural", "id_no": "220599199003071236", "name": "测*"}, "QUERY_SUBJECT", ()),
        ({"kind": "natural", "id_no": "220599900307123", "name": "测试丁"}, "QUERY_SUBJECT", ()),
        ({"kind": "natural", "id_no": "220599199003071235", "name": "测试丁"}, "QUERY_SUBJECT", ()),
        ({"kind": "natural", "name": "测试丁"}, "QUERY_SUBJECT", ()),
        ({"kind": "natural", "uscc": GOOD, "name": "测试丁"}, "QUERY_SUBJECT", ()),
    ],
)
def test_whole_subjects_only(subject: dict[str, str], fault: str | None, need: tuple[str, ...]) -> None:
    """Whole, checksum-valid values that fit the kind; a name that is not there is asked for, a part or a pattern refused."""
    about = msgspec.convert(subject, SubjectAsked)
    assert questions.subject_fault(about, demo=True, today=date(2026, 12, 2)) == fault
    if fault is None:
        assert questions.missing(about) == need


@given(
    st.sampled_from(["subject", "case", "officer", "agreement", "datasets"]),
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3)),
)
def test_level_2_follows_its_own_hit(member: str, later: timedelta) -> None:
    """Level 2 follows a hit about the same subject, case and officer under the same agreement, within a day, and asks for no more."""
    first, second = asked(1), asked(2)
    within = None if later <= timedelta(hours=24) else "QUERY_FOLLOWS"
    assert questions.follows_fault(second, first, AT, AT + later) == within
    other: Any = {
        "subject": SubjectAsked(kind="legal", uscc="91220501XXT00001X5"),
        "case": "别的案件",
        "officer": "f" * 32,
        "agreement": questions.Under(id="a-c", version=1),
        "datasets": ("honours",),
    }[member]
    assert questions.follows_fault(msgspec.structs.replace(second, **{member: other}), first, AT, AT + later) == "QUERY_FOLLOWS"
    assert questions.follows_fault(second, msgspec.structs.replace(first, level=2), AT, AT) == "QUERY_FOLLOWS"
    assert questions.follows_fault(second, None, None, AT) == "QUERY_FOLLOWS"


def signed(asked_for: Question, /, signer: Ed25519Signer = SIGNER, context: str | None = None, **changed: Any) -> SignedDocument:
    """An answer of Tonghua, changed before it was signed."""
    digest = wire.digest_text(questions.question_body(asked_for))
    made = questions.answer_body(asked_for, digest, result="no_hit", at=AT, life=timedelta(hours=1), policy_version=1)
    said = questions.answer_of(made)
    body = wire.encode(msgspec.structs.replace(said, **changed))
    return notes.sign_document("answer", context or asked_for.id, body, [signer])


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"question": "AAAAAAAAAAAAAAAAAAAAAA"}, "SIG_CONTEXT"),
        ({"context": "AAAAAAAAAAAAAAAAAAAAAA"}, "SIG_CONTEXT"),
        ({"request_digest": "sha-256:" + "A" * 43 + "="}, "SIG_CONTEXT"),
        ({"level": 2}, "SIG_CONTEXT"),
        ({"expires_at": "2026-12-02T00:59:59Z"}, "TIME_EXPIRED"),
        ({"answered_at": "2026-12-02T01:10:00Z"}, "TIME_FUTURE"),
        ({"result": "refused"}, "SCHEMA_STATUS"),
        ({"code": "QUERY_RATE"}, "SCHEMA_STATUS"),
        ({"result": "refused", "code": "\x1b[31mQUERY_RATE\n"}, "SCHEMA_TYPE"),
        ({"result": "refused", "code": "Q" * 33}, "SCHEMA_TYPE"),
        ({"result": "need_more", "need": ("<b>name</b>",)}, "SCHEMA_TYPE"),
        ({"result": "need_more"}, "SCHEMA_STATUS"),
        ({"result": "not_available_until"}, "SCHEMA_STATUS"),
        ({"result": "nothing"}, "SCHEMA_TYPE"),
        ({"records": (RecordSent(line=questions.LineSent(p="", d=()), origin=None, proof=None),)}, "SCHEMA_STATUS"),
        ({"signer": Ed25519Signer(f"{TONGHUA}/http", bytes([2]) * 32)}, "SIG_UNKNOWN_KEY"),
        ({"signer": Ed25519Signer(f"{BAISHAN}/x", bytes([6]) * 32)}, "SIG_UNKNOWN_KEY"),
    ],
)
def test_an_answer_that_does_not_fit(changed: dict[str, Any], code: str, agreement: agreements.Agreement) -> None:
    """An answer to something else, of somebody else, of another time, or that contradicts itself, is not believed."""
    question = asked(1)
    assert believed(signed(question), question, agreement)[0].result == "no_hit"
    with pytest.raises(ExchangeError) as caught:
        believed(signed(question, **changed), question, agreement)
    assert caught.value.code == code


def test_an_altered_answer(agreement: agreements.Agreement) -> None:
    """One changed byte of a signed answer, and its signature fails."""
    question = asked(1)
    document = signed(question)
    with pytest.raises(ExchangeError) as caught:
        believed(SignedDocument(document.body.replace(b'"no_hit"', b'"hit"   '), document.note), question, agreement)
    assert caught.value.code == "SIG_INVALID"


# --- records ----------------------------------------------------------------------------------------------------------

STATEMENT = msgspec.json.decode(VECTORS["batch"]["payloads"][0].encode(), type=records.Statement)
VALUES = {"CF_XDR_SHXYM": "91220502XXT00002X2", "CF_WSH": "通市监罚〔2026〕12号"}
SEALED = records.seal_statement(STATEMENT, list(VALUES.items()), SEED, SHA256)


def test_the_part_of_a_line() -> None:
    """A sealed line is told as far as today's view shows the same; where it shows something else, the line is not told at all."""
    whole = told_lines.part_of(SEALED.data, STATEMENT, VALUES, SHA256)
    assert whole is not None
    assert len(whole.d) == 2
    part = told_lines.part_of(SEALED.data, STATEMENT, {"CF_WSH": VALUES["CF_WSH"]}, SHA256)
    assert part is not None
    assert (part.p, part.d) == (whole.p, whole.d[1:])
    assert told_lines.part_of(SEALED.data, STATEMENT, {}, SHA256) == questions.LineSent(p=whole.p, d=())
    for changed in ({"CF_WSH": "通市监罚〔2026〕13号"}, {"CF_WSH": None}, {"CF_NR": "罚款"}):
        assert told_lines.part_of(SEALED.data, STATEMENT, VALUES | changed, SHA256) is None
    for name, value in (("dispute", True), ("publish_until", "2027-01-01"), ("status", "suspended"), ("trust", "vouched")):
        assert told_lines.part_of(SEALED.data, msgspec.structs.replace(STATEMENT, **{name: value}), VALUES, SHA256) is None


def told_with(agreement: agreements.Agreement, **changed: Any) -> tuple[Any, ...]:
    """What an asker makes of a level-2 answer with one record, changed."""
    question = asked(2)
    line = told_lines.part_of(SEALED.data, STATEMENT, VALUES, SHA256)
    assert line is not None
    record: dict[str, Any] = {"line": line, "origin": None, "proof": None} | changed
    document = signed(question, result="hit", details=True, records=(RecordSent(**record),))
    return believed(document, question, agreement)[1]  # type: ignore[no-any-return]  # of `told_lines`


def a_proof(head_origin: str = f"{TONGHUA}/x/a-b.penalties/1", index: int = 0, signer: Ed25519Signer = SIGNER) -> str:
    """A proof that the sealed line is the first of two leaves."""
    leaves = [SEALED.leaf, merkle.leaf_hash(b"another")]
    tree = merkle.CompactRange(SHA256)
    tree.extend(leaves)
    checkpoint = notes.sign(f"{head_origin}\n2\n{wire.b64(tree.root())}\n", [signer])
    return merkle.proof_text(index, merkle.inclusion_proof(leaves, 0), checkpoint)


def test_a_record_with_its_proof(agreement: agreements.Agreement) -> None:
    """A record stands in the stream under a signed head, or under the answer's signature alone: the asker knows which."""
    origin = f"{TONGHUA}/x/a-b.penalties/1"
    (told,) = told_with(agreement)
    assert (told.fields, told.proved) == (VALUES, False)
    (told,) = told_with(agreement, origin=origin, proof=a_proof())
    assert told.proved
    other = Ed25519Signer(f"{BAISHAN}/x", bytes([6]) * 32)
    for proof, code in (
        (a_proof(index=1), "SEQ_ROOT"),
        (a_proof(head_origin=f"{TONGHUA}/x/a-b.penalties/2"), "SIG_CONTEXT"),
        (a_proof(signer=other), "SIG_UNKNOWN_KEY"),
        (a_proof().replace("index 0", "index 00"), "SEQ_ROOT"),
        ("c2sp.org/tlog-proof@v1\n", "SEQ_ROOT"),
    ):
        with pytest.raises(ExchangeError) as caught:
            told_with(agreement, origin=origin, proof=proof)
        assert caught.value.code == code, proof
    with pytest.raises(ExchangeError):
        told_with(agreement, origin=origin)
    with pytest.raises(ExchangeError):
        told_with(agreement, origin=f"{TONGHUA}/x/a-b.honours/1", proof=a_proof())


@pytest.mark.parametrize(
    ("said", "values", "code"),
    [
        ({"iss": BAISHAN}, VALUES, "SCOPE_ISSUER"),
        ({"dataset": "honours"}, VALUES, "SCOPE_KIND"),
        ({"subject_kind": "natural"}, VALUES, "SCOPE_KIND"),
        ({}, VALUES | {"CF_XDR_SHXYM": "91220501XXT00001X5"}, "SUBJ_CONFLICT"),
    ],
)
def test_a_record_of_something_else(said: dict[str, str], values: dict[str, str], code: str, agreement: agreements.Agreement) -> None:
    """A record of another city, dataset, kind or subject makes the whole answer invalid."""
    sealed = records.seal_statement(msgspec.structs.replace(STATEMENT, **said), list(values.items()), SEED, SHA256)
    plain = json.loads(sealed.data)
    with pytest.raises(ExchangeError) as caught:
        told_with(agreement, line=questions.LineSent(p=plain["p"], d=tuple(plain["d"])))
    assert caught.value.code == code


def test_a_withdrawal_and_a_foreign_disclosure(agreement: agreements.Agreement) -> None:
    """A line that tells no record in force, or a disclosure that is not of its payload, is refused."""
    plain = json.loads(SEALED.data)
    other = records.seal_statement(STATEMENT, list(VALUES.items()), bytes(32), SHA256)
    for line, code in (
        (questions.LineSent(p=wire.b64u(VECTORS["batch"]["payloads"][1].encode()), d=()), "SCHEMA_LINE"),
        (questions.LineSent(p=plain["p"], d=(json.loads(other.data)["d"][0],)), "SCHEMA_DISCLOSURE"),
        (questions.LineSent(p=plain["p"], d=(plain["d"][0], plain["d"][0])), "SCHEMA_DISCLOSURE"),
        (questions.LineSent(p=plain["p"] + "=", d=()), "SCHEMA_LINE"),
    ):
        with pytest.raises(ExchangeError) as caught:
            told_with(agreement, line=line)
        assert caught.value.code == code
