"""Agreement files: what is signed, what may stand in none, when one is in force, and what its fields take."""

import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange import agreements, notes
from gateway.core.exchange.agreements import (
    Agreement,
    FieldTerms,
    Held,
    Notice,
    check_of,
    field_fault,
    in_force,
    read_agreement,
    rules_of,
    same_terms,
    signed_form,
)
from gateway.core.signing import Ed25519Signer

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden/exchange/vectors.json").read_text(encoding="utf-8"))
TONGHUA, BAISHAN = "credit.tonghua.example", "credit.baishan.example"
TOML = VECTORS["agreement"]["toml"].encode()
NOW = datetime(2027, 1, 1, tzinfo=UTC)
KEYS = {TONGHUA: Ed25519Signer(f"{TONGHUA}/agreement", b"\3" * 32), BAISHAN: Ed25519Signer(f"{BAISHAN}/agreement", b"\7" * 32)}


def terms(**changes: Any) -> dict[str, Any]:
    """The signed JSON of the vectors as data, with members replaced."""
    said: dict[str, Any] = json.loads(signed_form(TOML)[0])
    return said | changes


def stream(**changes: Any) -> dict[str, Any]:
    """The agreement with a changed stream."""
    said = terms()
    said["streams"][0] |= changes
    return said


def made(said: dict[str, Any]) -> Agreement:
    """An agreement of this data."""
    return read_agreement(json.dumps(said, ensure_ascii=False).encode())


def code_of(story) -> str:
    """The code with which something is refused."""
    with pytest.raises(ExchangeError) as caught:
        story()
    return caught.value.code


# --- the text ---------------------------------------------------------------------------------------------------------


def test_local_is_never_signed():
    """`[local]` is ours alone: it stands in no signed byte, and two files that differ in it say the same."""
    body, local = signed_form(TOML)
    assert b"local" not in body
    assert b"https_partner" not in body
    assert local.adapter == "https_partner"
    assert same_terms(body, TOML.replace(b'adapter = "https_partner"', b'adapter = "memory"'))
    assert not same_terms(body, TOML.replace(b"skew_s = 300", b"skew_s = 299"))
    keyed, local = signed_form(TOML + b'\nfile_key = { file = "key" }\n')
    assert (keyed, local.file_key) == (body, {"file": "key"})
    assert code_of(lambda: signed_form(TOML + b"\nnoise = 1\n")) == "SCHEMA_UNKNOWN"


@pytest.mark.parametrize("toml", [b"\xff", b"a = ", b"a = 1\na = 2", b"a = 1.5", b"a = 2026-01-01T00:00:00Z", b"a = [{ b = 0.1 }]"])
def test_files_that_are_no_proposal(toml: bytes):
    """No TOML, doubled keys, fractions and times of day are refused before anything is signed."""
    assert code_of(lambda: signed_form(toml)) == "SCHEMA_TYPE"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (terms(onward=True), "SCHEMA_ENUM"),
        (terms(version=2), "SCHEMA_MISSING"),
        (terms(previous="sha-256:" + "A" * 43 + "="), "SCHEMA_MISSING"),
        (terms(effective="2029-01-01"), "SCHEMA_TYPE"),
        (terms(effective="2026-13-01"), "SCHEMA_TYPE"),
        (terms(skew_s=601), "SCHEMA_TYPE"),
        (terms(only_on_mondays=True), "SCHEMA_UNKNOWN"),
        (terms(id="A-B"), "SCHEMA_TYPE"),
        (terms(limits={"lines": 1, "secret": 1}), "SCHEMA_UNKNOWN"),
        (terms(limits={"lines": 2_000_000}), "SCHEMA_TYPE"),
        (terms(parties=terms()["parties"][:1]), "SCHEMA_TYPE"),
        (terms(parties=[terms()["parties"][0]] * 2), "SCHEMA_TYPE"),
        (terms(natural_persons={"allowed": True}), "LAW_PERSON"),
        (terms(natural_persons={"allowed": False, "fields": ["CF_XM"]}), "LAW_PERSON"),
        (terms(purposes=["mutual.query"]), "SCHEMA_ENUM"),
        (stream(to=TONGHUA), "SCHEMA_TYPE"),
        (stream(ops=["assert", "praise"]), "SCHEMA_TYPE"),
        (stream(subject_kinds=["natural"]), "LAW_PERSON"),
        (stream(subject_kinds=["individual_business"]), "LAW_PERSON"),
        (stream(polarity="positive"), "SCOPE_CATEGORY"),
        (stream(scope={"regions": ["220500"], "authorities": ["*"], "categories": ["penalty"]}), "SCOPE_AUTHORITY"),
        (stream(polarity="neutral", scope={"regions": ["220500"], "authorities": ["*"], "categories": ["penalty"]}), "SCOPE_AUTHORITY"),
        (stream(scope={"regions": ["2205"], "authorities": ["11220500XXT0001181"], "categories": ["penalty"]}), "SCOPE_REGION"),
        (stream(scope={"regions": ["２２０５００"], "authorities": ["11220500XXT0001181"], "categories": ["penalty"]}), "SCOPE_REGION"),
        (stream(scope={"regions": ["220599"], "authorities": ["11220500XXT0001181"], "categories": ["penalty"]}), "SCOPE_REGION"),
        (stream(scope={"regions": ["220500"], "authorities": ["11220500XXT0001182"], "categories": ["penalty"]}), "SUBJ_USCC"),
        (stream(scope={"regions": [], "authorities": ["11220500XXT0001181"], "categories": ["penalty"]}), "SCHEMA_MISSING"),
        (stream(wire={"delivery": "push", "suite": "gm1"}), "SIG_ALG_MISSING"),
        (stream(wire={"delivery": "push", "suite": "ed25519-sha256", "also_sign": ["sm2"]}), "SIG_ALG_MISSING"),
        (stream(wire={"delivery": "push", "suite": "ed25519-sha256", "format": "part/1"}), "SCHEMA_VERSION"),
        (stream(fields=[]), "SCHEMA_MISSING"),
        (stream(fields=[{"name": "status", "type": "string", "length": 9, "required": False}]), "SCHEMA_TYPE"),
        (stream(fields=[{"name": "CF_A", "type": "date", "required": False}] * 2), "SCHEMA_TYPE"),
        (stream(fields=[{"name": f"CF_{n}", "type": "date", "required": False} for n in range(65)]), "SIZE_LINE"),
    ],
)
def test_what_may_stand_in_no_agreement(said: dict[str, Any], code: str):
    """Restrictions that we do not know, rights that the law does not give, and contradictions are refused at load."""
    assert code_of(lambda: made(said)) == code


@pytest.mark.parametrize(
    ("identity", "code"),
    [
        ({"org": "11220500XXT0001182"}, "SUBJ_USCC"),
        ({"region": "220599"}, "SCOPE_REGION"),
        ({"base_url": "http://credit.example/x/v1"}, "SCHEMA_TYPE"),
        ({"base_url": "https://credit.example/"}, "SCHEMA_TYPE"),
        ({"base_url": "https://user@credit.example/x/v1"}, "SCHEMA_TYPE"),
    ],
)
def test_parties_are_who_they_say(identity: dict[str, str], code: str):
    """A party has a code that checks, a division that exists, and an https address."""
    said = terms()
    said["parties"][0]["identity"] |= identity
    assert code_of(lambda: made(said)) == code


@pytest.mark.parametrize("keys", [[], ["x"], [KEYS[BAISHAN].vkey], [Ed25519Signer(f"{TONGHUA}/x", b"\1" * 32).vkey]])
def test_pinned_keys(keys: list[str]):
    """Each party pins keys named for itself and for agreements; a template without keys is no agreement yet."""
    said = terms()
    said["parties"][0]["agreement_keys"] = keys
    assert code_of(lambda: made(said)) in ("SCHEMA_MISSING", "SIG_FORMAT", "SIG_KEY_USE")


def test_loopback_is_for_tests():
    """Plain http stands in an agreement on this machine only."""
    said = terms()
    said["parties"][0]["identity"]["base_url"] = "http://127.0.0.1:8000/x/v1"
    assert made(said).party(TONGHUA).identity.base_url.startswith("http://127")


def test_what_two_cities_may_agree_about_people():
    """With datasets, fields, basis, assessment and route a stream may name people; through the province only with the province."""
    basis = {
        "allowed": True,
        "datasets": ["penalties"],
        "fields": ["CF_WSH"],
        "basis": [{"text": "《示例法》第一条"}],
        "assessment": "评估〔2026〕1号",
    }
    said = stream(subject_kinds=["legal", "natural"]) | {"natural_persons": basis | {"route": "direct"}}
    assert rules_of(made(said), "penalties", TONGHUA).persons
    assert code_of(lambda: made(said | {"natural_persons": basis | {"route": "province"}})) == "LAW_PERSON"


# --- signatures and time ----------------------------------------------------------------------------------------------


def second(first: Agreement, **changes: Any) -> Agreement:
    """Version 2."""
    return made(terms(version=2, previous=first.digest, effective="2027-12-01", **changes))


def test_a_version_needs_both_sides_and_the_one_before():
    """Version 2 counts only with lines of both sides' keys of version 2 and of version 1, following the very text held."""
    first = made(terms())
    new = {party: Ed25519Signer(f"{party}/agreement", bytes([20 + n]) * 32) for n, party in enumerate(KEYS)}
    said = terms(version=2, previous=first.digest, effective="2027-12-01")
    for party in said["parties"]:
        party["agreement_keys"] = [new[party["party"]].vkey]
    version = made(said)
    text = agreements.signing_text(version)
    only_new = notes.sign(text, list(new.values()))
    assert agreements.signed_by(version, only_new, previous=first, first_seen=NOW) == frozenset()
    both = notes.sign(text, [*new.values(), *KEYS.values()])
    assert agreements.signed_by(version, both, previous=first, first_seen=NOW) == {TONGHUA, BAISHAN}
    other = made(terms(title="另一份"))
    assert code_of(lambda: agreements.signed_by(version, both, previous=other, first_seen=NOW)) == "SCOPE_DIGEST"
    assert code_of(lambda: agreements.signed_by(version, both, previous=None, first_seen=NOW)) == "SCOPE_DIGEST"


def test_signatures_over_another_text():
    """A pinned key's line over another version, or a line that fails, spoils the note."""
    first = made(terms())
    elsewhere = notes.sign(agreements.signing_text(made(terms(title="另一份"))), list(KEYS.values()))
    assert code_of(lambda: agreements.signed_by(first, elsewhere, previous=None, first_seen=NOW)) == "SIG_INVALID"
    good = notes.sign(agreements.signing_text(first), list(KEYS.values()))
    assert code_of(lambda: agreements.signed_by(first, good.replace("a-b/1", "a-b/2"), previous=None, first_seen=NOW)) == "SIG_INVALID"


def held(agreement: Agreement, *notices: Notice, **more: Any) -> Held:
    """An agreement that both have signed."""
    said = {"signed": frozenset(agreement.parties), "keys_held": True, **more}
    return Held(agreement=agreement, note="", recorded=NOW - timedelta(days=300), notices=notices, **said)


def notice(by: str, serial: int, state: str, at: datetime) -> Notice:
    """A side's word."""
    return Notice(by=by, serial=serial, state=state, from_at=at, first_seen=at)  # type: ignore[arg-type]  # states are words


def test_an_agreement_waits_for_signatures_and_keys():
    """Unsigned it is a draft, half signed offered, without both keys documents agreed."""
    agreement = made(terms())
    assert held(agreement, signed=frozenset()).standing(NOW).state == "draft"
    assert held(agreement, signed=frozenset({TONGHUA})).standing(NOW).state == "offered"
    assert held(agreement, keys_held=False).standing(NOW).state == "agreed"
    assert held(agreement).standing(NOW).state == "active"


def test_suspension_and_end_are_one_sided():
    """Either side suspends, only that side resumes, and an end is final."""
    agreement, hour = made(terms()), timedelta(hours=1)
    stopped = held(agreement, notice(TONGHUA, 1, "suspended", NOW))
    assert stopped.standing(NOW - hour).state == "active"
    assert (stopped.standing(NOW).state, stopped.standing(NOW).suspended_by) == ("suspended", (TONGHUA,))
    other = held(agreement, notice(TONGHUA, 1, "suspended", NOW), notice(BAISHAN, 1, "active", NOW + hour))
    assert other.standing(NOW + hour).state == "suspended"
    again = held(agreement, notice(TONGHUA, 1, "suspended", NOW), notice(TONGHUA, 2, "active", NOW + hour))
    assert again.standing(NOW + hour).state == "active"
    ended = held(agreement, notice(BAISHAN, 1, "terminated", NOW), notice(BAISHAN, 2, "active", NOW + hour))
    assert (ended.standing(NOW + hour).state, ended.standing(NOW + hour).ended) == ("terminated", True)


def test_withdrawals_travel_for_some_days_after_the_end():
    """Active, suspended, and ended at most `freeze_days` ago: withdrawals go; later nothing does."""
    agreement = made(terms())
    ended = held(agreement, notice(BAISHAN, 1, "terminated", NOW))
    assert ended.takes_withdrawals(NOW + timedelta(days=90))
    assert not ended.takes_withdrawals(NOW + timedelta(days=91))
    assert held(agreement, notice(BAISHAN, 1, "suspended", NOW)).takes_withdrawals(NOW + timedelta(days=500))


def test_the_next_version_takes_over():
    """From its first day the next version governs; the old one is superseded."""
    first = made(terms())
    next_one = second(first)
    versions = [held(first, successor=next_one.effective), held(next_one)]
    before, after = next_one.effective - timedelta(seconds=1), next_one.effective
    assert in_force(versions, before) is versions[0]
    assert in_force(versions, after) is versions[1]
    assert versions[0].standing(after).state == "superseded"
    assert in_force(versions, first.effective - timedelta(seconds=1)) is None


def test_notices_are_signed_by_their_side():
    """A notice counts with the pinned key of who says it, about the very text."""
    agreement = made(terms())
    body = agreements.state_body(agreement, by=TONGHUA, serial=1, state="suspended", from_at=NOW, reason="测试")
    good = notes.sign_document("agreement-state", f"a-b/{TONGHUA}/1", body, [KEYS[TONGHUA]])
    assert agreements.read_state(good, agreement, first_seen=NOW).state == "suspended"
    forged = notes.sign_document("agreement-state", f"a-b/{TONGHUA}/1", body, [KEYS[BAISHAN]])
    assert code_of(lambda: agreements.read_state(forged, agreement, first_seen=NOW)) == "SIG_UNKNOWN_KEY"
    other = made(terms(title="另一份"))
    assert code_of(lambda: agreements.read_state(good, other, first_seen=NOW)) == "SCOPE_DIGEST"
    wrong = notes.sign_document("agreement-state", f"a-b/{TONGHUA}/2", body, [KEYS[TONGHUA]])
    assert code_of(lambda: agreements.read_state(wrong, agreement, first_seen=NOW)) == "SIG_CONTEXT"
    unknown = json.dumps(json.loads(body) | {"except_on": "monday"}).encode()
    document = notes.sign_document("agreement-state", f"a-b/{TONGHUA}/1", unknown, [KEYS[TONGHUA]])
    assert code_of(lambda: agreements.read_state(document, agreement, first_seen=NOW)) == "SCHEMA_UNKNOWN"


# --- fields and regions -----------------------------------------------------------------------------------------------


def field(kind: str, **more: Any) -> FieldTerms:
    """An agreed field."""
    return msgspec.convert({"name": "CF_A", "type": kind, "required": False, **more}, FieldTerms)


@pytest.mark.parametrize(
    ("terms_of_field", "good", "bad"),
    [
        (field("string", length=3), ["", "通化市"], [("四个字符", "SCHEMA_LENGTH"), (1, "SCHEMA_TYPE"), (True, "SCHEMA_TYPE")]),
        (field("uscc"), ["91220502XXT00002X2"], [("91220502XXT00002X3", "SUBJ_USCC"), ("", "SUBJ_USCC"), (9, "SCHEMA_TYPE")]),
        (field("id_no"), ["220599199001010018"], [("220599199001010014", "SUBJ_ID"), ("2205991990010100", "SUBJ_ID"), (1, "SCHEMA_TYPE")]),
        (field("date"), ["2026-02-28"], [("2026-02-30", "SCHEMA_TYPE"), ("2026/02/28", "SCHEMA_TYPE"), (20260228, "SCHEMA_TYPE")]),
        (
            field("decimal(6,2)"),
            ["0", "-1", "1234.56", "0.50"],
            [
                ("01", "SCHEMA_TYPE"),
                ("1.", "SCHEMA_TYPE"),
                ("1.234", "SCHEMA_LENGTH"),
                ("12345.67", "SCHEMA_LENGTH"),
                ("1e2", "SCHEMA_TYPE"),
                (1, "SCHEMA_TYPE"),
                ("１", "SCHEMA_TYPE"),
            ],
        ),
        (field("integer"), [0, -5, 2**53 - 1], [(2**53, "SCHEMA_TYPE"), (True, "SCHEMA_TYPE"), ("1", "SCHEMA_TYPE")]),
        (field("boolean"), [True, False], [(1, "SCHEMA_TYPE"), ("true", "SCHEMA_TYPE")]),
        (field("enum", values=["a", "b"]), ["a"], [("c", "SCHEMA_ENUM"), (1, "SCHEMA_TYPE")]),
    ],
)
def test_what_fields_take(terms_of_field: FieldTerms, good: list[Any], bad: list[tuple[Any, str]]):
    """Each type takes its own form and refuses the rest under its code; an unknown word is SCHEMA_ENUM."""
    assert field_fault(terms_of_field) is None
    check = check_of(terms_of_field)
    assert [check(value) for value in good] == [None] * len(good)
    assert [check(value) for value, _ in bad] == [code for _, code in bad]


@pytest.mark.parametrize(
    "broken",
    [
        field("money"),
        field("decimal(2,3)"),
        field("enum"),
        field("string"),
        field("date", values=["a"]),
        field("string", length=5, twins=["surname"]),
        field("person_name", length=5, twins=["generalise(month)"]),
        field("date", twins=["generalise(decade)"]),
        field("uscc", twins=["keep(4)"]),
        field("uscc", twins=["keep(4,0)", "keep(4,0)"]),
        field("integer", twins=["keep(1,0)"]),
    ],
)
def test_fields_that_cannot_be_agreed(broken: FieldTerms):
    """A type that does not exist, a text without length, an enumeration without values, a twin that its type has not."""
    assert field_fault(broken) is not None


@pytest.mark.parametrize(
    ("region", "inside"),
    [
        ("220500", True),
        ("220502", True),
        ("220581", False),
        ("220600", False),
        ("2205", False),
        ("22050", False),
        ("２２０５０２", False),
        ("220000", False),
        ("", False),
    ],
)
def test_regions(region: str, inside: bool):
    """A city takes its districts in, `except` takes them out; nothing but six ASCII digits matches."""
    scope = {"regions": ["220500"], "except": ["220581"], "authorities": ["11220500XXT0001181"], "categories": ["penalty"]}
    assert rules_of(made(stream(scope=scope)), "penalties", TONGHUA).in_region(region) is inside


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        ("penalties/1.0", True),
        ("penalties/1.7", True),
        ("penalties/2.0", False),
        ("honours/1.0", False),
        ("penalties/1", False),
        ("penalties/01.0", False),
        ("penalties/1.0\n", False),
    ],
)
def test_schemas(schema: str, fits: bool):
    """Same dataset and major, minor not below the least agreed."""
    assert rules_of(made(terms()), "penalties", TONGHUA).schema_fits(schema) is fits


def test_a_stream_goes_one_way():
    """Rules exist for the agreed direction only."""
    assert code_of(lambda: rules_of(made(terms()), "penalties", BAISHAN)) == "SCOPE_AGREEMENT"
    assert code_of(lambda: rules_of(made(terms()), "honours", TONGHUA)) == "SCOPE_AGREEMENT"


def test_the_shipped_template_becomes_an_agreement():
    """The template of the repository has the blocks that are filled in, and is sound once they are."""
    from gateway.operations.manage_agreements import Side, filled

    folder = Path(__file__).parents[3] / "policies" / "agreements"
    for path in sorted(folder.glob("*.toml")):
        text = path.read_text(encoding="utf-8")
        parties = [party["party"] for party in tomllib.loads(text)["parties"]]
        sides = {
            party: Side(base_url=f"https://{party}/x/v1", agreement_keys=(Ed25519Signer(f"{party}/agreement", bytes([n + 1]) * 32).vkey,))
            for n, party in enumerate(parties)
        }
        body, local = signed_form(filled(text, sides).encode())
        agreement = read_agreement(body)
        assert agreement.id == path.stem
        assert local.adapter == "https_partner"
        with pytest.raises(ExchangeError):
            filled(text, {"credit.nowhere.example": sides[parties[0]]})
