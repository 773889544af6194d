"""Signed notes, keys and keys documents: what is believed, and with which code the rest is not."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ExchangeError, SettingsError
from gateway.core.exchange import documents, notes
from gateway.core.exchange.notes import Checkpoint, KeyRing, KnownKey, SignedDocument, read_checkpoint
from gateway.core.exchange.wire import b64
from gateway.core.signing import SMALL_ORDER_Y, Ed25519Signer, Ed25519Verifier, OwnKey, Signers, parse_private_key, parse_vkey

NOW = datetime(2026, 6, 2, 2, 30, tzinfo=UTC)
PARTY = "credit.tonghua.example"
KEY = Ed25519Signer(f"{PARTY}/x", b"\1" * 32)
OTHER = Ed25519Signer(f"{PARTY}/x", b"\2" * 32)
HTTP = Ed25519Signer(f"{PARTY}/http", b"\3" * 32)
AGREEMENT = Ed25519Signer(f"{PARTY}/agreement", b"\4" * 32)
SKEW = timedelta(seconds=300)
TEXT = "credit.tonghua.example/x/a-b.c/1\n2\n" + b64(b"\0" * 32) + "\n"


def known(signer: Ed25519Signer, use: str = "exchange", **dates: datetime) -> KnownKey:
    """A key that is trusted for some use and time."""
    times = {"not_before": NOW - timedelta(days=10), "not_after": NOW + timedelta(days=10), **dates}
    return KnownKey(verifier=signer.verifier, use=use, **times)  # type: ignore[arg-type]  # uses are words


def ring(*keys: KnownKey) -> KeyRing:
    """A ring of these keys."""
    return KeyRing.of(PARTY, keys or (known(KEY),))


def verify(note: str, keys: KeyRing, **more: object) -> str:
    """Verify as a checkpoint of this party."""
    said = {"use": "exchange", "required": frozenset({"ed25519"}), "first_seen": NOW, "skew": SKEW, **more}
    return notes.verify(note, keys, **said)  # type: ignore[arg-type]  # the words above


def code_of(story) -> str:
    """The code with which something is refused."""
    with pytest.raises(ExchangeError) as caught:
        story()
    return caught.value.code


GOOD = notes.sign(TEXT, [KEY])
LINE = GOOD.splitlines()[-1]


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        TEXT,
        TEXT + "\n",
        TEXT + LINE + "\n",
        GOOD[:-1],
        GOOD + "\n",
        GOOD.replace("— ", "- "),
        GOOD.replace("— ", "—  "),
        GOOD + LINE + "\n",
        GOOD.replace("\n\n", "\n\r\n"),
        GOOD + "\0",
        GOOD.replace(LINE, LINE + " "),
        GOOD.replace(LINE, LINE + "="),
        GOOD + f"— {PARTY}/x AAAA\n",
        GOOD + "— a+b " + b64(b"\0" * 68) + "\n",
        GOOD + "— a b c\n",
        TEXT + "\n" + (LINE + "\n") * 17,
        "x" * 17_000 + "\n" + GOOD,
        GOOD + "\ud800",
        GOOD.replace(LINE, LINE.replace("+", "-") if "+" in LINE else LINE[:-2] + "-="),
        GOOD + "trailing",
    ],
)
def test_malformed_notes(note: str):
    """Anything that is not exactly a signed note is SIG_FORMAT."""
    assert code_of(lambda: verify(note, ring())) == "SIG_FORMAT"


def test_lines_of_unknown_keys_are_set_aside():
    """A line of nobody we know stands beside a good one; alone it is SIG_UNKNOWN_KEY."""
    assert verify(notes.add_line(GOOD, OTHER), ring()) == TEXT
    assert code_of(lambda: verify(notes.sign(TEXT, [OTHER]), ring())) == "SIG_UNKNOWN_KEY"


def test_one_failing_line_of_a_known_key_fails_all():
    """A known key's signature over something else fails the note, also beside a good one."""
    elsewhere = notes.sign("something else\n", [OTHER]).splitlines()[-1] + "\n"
    assert code_of(lambda: verify(GOOD + elsewhere, ring(known(KEY), known(OTHER)))) == "SIG_INVALID"
    assert code_of(lambda: verify(GOOD.replace("a-b.c", "a-b.d"), ring())) == "SIG_INVALID"


def test_a_required_algorithm_without_a_line():
    """A note without the algorithm that the stream needs is SIG_ALG_MISSING."""
    assert code_of(lambda: verify(GOOD, ring(), required=frozenset({"ed25519", "sm2"}))) == "SIG_ALG_MISSING"


@pytest.mark.parametrize(
    ("dates", "own", "code"),
    [
        ({}, NOW, None),
        ({"not_before": NOW + timedelta(minutes=4)}, NOW, None),
        ({"not_before": NOW + timedelta(minutes=6)}, NOW, "SIG_KEY_EXPIRED"),
        ({"not_after": NOW - timedelta(minutes=4)}, NOW, None),
        ({"not_after": NOW - timedelta(minutes=5)}, NOW, "SIG_KEY_EXPIRED"),
        ({"not_after": NOW - timedelta(minutes=6)}, NOW - timedelta(days=1), "SIG_KEY_EXPIRED"),
        ({"not_before": NOW - timedelta(days=1)}, NOW - timedelta(days=2), "SIG_KEY_EXPIRED"),
        ({"revoked_at": NOW + timedelta(seconds=1)}, NOW, None),
        ({"revoked_at": NOW}, NOW, "SIG_KEY_REVOKED"),
        ({"revoked_at": NOW - timedelta(days=1)}, NOW - timedelta(days=2), "SIG_KEY_REVOKED"),
    ],
)
def test_times_of_keys(dates: dict[str, datetime], own: datetime, code: str | None):
    """A10: a key is good from its first day to its last, by its own time and by when we first saw it; back-dating helps nobody."""
    keys = ring(known(KEY, **dates))
    if code is None:
        assert verify(GOOD, keys, own_time=own) == TEXT
    else:
        assert code_of(lambda: verify(GOOD, keys, own_time=own)) == code


def test_rotation_with_overlap():
    """While two keys of one use overlap either signs; a line of an expired one does not count, and does not harm."""
    old, new = known(KEY, not_after=NOW - timedelta(days=1)), known(OTHER)
    assert verify(notes.sign(TEXT, [KEY, OTHER]), ring(old, new)) == TEXT
    assert code_of(lambda: verify(GOOD, ring(old, new))) == "SIG_KEY_EXPIRED"


def test_uses_do_not_mix():
    """A9: a key of another use signs nothing here, and pinned keys sign agreements only."""
    assert code_of(lambda: verify(notes.sign(TEXT, [HTTP]), ring(known(HTTP, "http")))) == "SIG_KEY_USE"
    pins = documents.pinned(PARTY, [AGREEMENT.vkey])
    assert code_of(lambda: verify(notes.sign(TEXT, [AGREEMENT]), pins)) == "SIG_KEY_USE"


def test_documents_say_what_they_are():
    """Artefact, context and digest are three lines of the note; any other is SIG_CONTEXT, another body SIG_INVALID."""
    document = notes.sign_document("manifest", "a/x/b-c.d/1/1", b"{}", [KEY])
    more = {"artefact": "manifest", "context": "a/x/b-c.d/1/1", "use": "exchange", "first_seen": NOW}
    notes.verify_document(document, ring(), **more)  # type: ignore[arg-type]  # the words above
    for change in ({"artefact": "receipt"}, {"context": "a/x/b-c.d/1/2"}):
        assert code_of(lambda change=change: notes.verify_document(document, ring(), **more | change)) == "SIG_CONTEXT"  # type: ignore[misc]  # bound at once
    other = SignedDocument(b"[]", document.note)
    assert code_of(lambda: notes.verify_document(other, ring(), **more)) == "SIG_INVALID"
    checkpoint = SignedDocument(b"{}", GOOD)
    assert code_of(lambda: notes.verify_document(checkpoint, ring(), **more)) == "SIG_CONTEXT"


@pytest.mark.parametrize(
    "text",
    [
        "a/x/b-c.d/1\n02\n" + b64(b"\0" * 32) + "\n",
        "a/x/b-c.d/1\n-1\n" + b64(b"\0" * 32) + "\n",
        "a/x/b-c.d/1\n2\n" + b64(b"\0" * 31) + "\n",
        "a/x/b-c.d/1\n2\nAAAA\n",
        "a/x/b-c.d/1\n2\n" + b64(b"\0" * 32) + "\nextension\n",
        "a/x/b-c.d/1\n2\n",
        "a\n２\n" + b64(b"\0" * 32) + "\n",
        "chengxin-exchange/manifest/1\n2\n" + b64(b"\0" * 32) + "\n",
        "a/x/b-c.d/1\n2\n" + b64(b"\0" * 32)[:-1] + "\n",
    ],
)
def test_malformed_checkpoints(text: str):
    """Size in decimal, root of 32 bytes, no extension lines, and no other artefact."""
    assert code_of(lambda: read_checkpoint(text)) == "SIG_CONTEXT"


def test_checkpoints_read_back():
    """What is signed is what is read."""
    made = Checkpoint(origin="a/x/b-c.d/1", size=7, root=b"\7" * 32)
    assert read_checkpoint(made.text) == made


@given(st.text(max_size=300))
def test_any_text_is_judged(text: str):
    """Whatever stands in a note, the answer is a code of the SIG family."""
    with pytest.raises(ExchangeError) as caught:
        verify(text, ring())
    assert caught.value.code.startswith("SIG_")


# --- keys -------------------------------------------------------------------------------------------------------------


def test_small_order_points():
    """The coordinates that are refused are those of the points whose order divides 8, as the curve itself says."""
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p) % p
    order = 2**252 + 27742317777372353535851937790883648493

    def plus(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
        (x1, y1), (x2, y2) = one, two
        k = d * x1 * x2 * y1 * y2 % p
        return (x1 * y2 + x2 * y1) * pow(1 + k, -1, p) % p, (y1 * y2 + x1 * x2) * pow(1 - k, -1, p) % p

    def times(n: int, point: tuple[int, int]) -> tuple[int, int]:
        made = (0, 1)
        while n:
            made, point, n = plus(made, point) if n & 1 else made, plus(point, point), n >> 1
        return made

    found: set[int] = set()
    for y in range(2, 60):
        square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        x = pow(square, (p + 3) // 8, p)
        if x * x % p != square:
            x = x * pow(2, (p - 1) // 4, p) % p
        if x * x % p == square:
            torsion = times(order, (x, y))
            found |= {times(k, torsion)[1] for k in range(8)}
    assert found == SMALL_ORDER_Y
    for y in SMALL_ORDER_Y:
        for sign in (0, 1 << 255):
            assert code_of(lambda y=y, sign=sign: Ed25519Verifier("a/x", (y | sign).to_bytes(32, "little"))) == "SIG_FORMAT"  # type: ignore[misc]  # at once
    for y in (p, p + 1, 2**255 - 1):
        assert code_of(lambda y=y: Ed25519Verifier("a/x", y.to_bytes(32, "little"))) == "SIG_FORMAT"  # type: ignore[misc]  # at once


def test_signatures_are_not_malleable():
    """A signature with S above the group order is refused, and so is one of another length."""
    order = 2**252 + 27742317777372353535851937790883648493
    signature = KEY.sign(b"text")
    assert KEY.verifier.verify(b"text", signature)
    more = int.from_bytes(signature[32:], "little") + order
    assert not KEY.verifier.verify(b"text", signature[:32] + more.to_bytes(32, "little"))
    assert not KEY.verifier.verify(b"text", signature + b"\0")
    assert not KEY.verifier.verify(b"texts", signature)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a/x",
        "a/x+00000000+AQ==",
        KEY.vkey + "=",
        KEY.vkey.replace("+", "-", 1),
        KEY.vkey[:-4] + "AAAA",
        "a b+" + KEY.vkey.split("+", 1)[1],
        KEY.vkey.split("+")[0] + "+" + KEY.vkey.split("+")[1].upper() + "+" + KEY.vkey.split("+", 2)[2],
    ],
)
def test_malformed_vkeys(vkey: str):
    """A verifier key is name, matching id and canonical base64 of a known type."""
    assert code_of(lambda: parse_vkey(vkey)) == "SIG_FORMAT"


def test_private_keys_are_shy():
    """A private key shows itself in its file only; a damaged file is refused."""
    assert parse_private_key(KEY.private_text()).vkey == KEY.vkey
    assert "AQEB" not in repr(KEY)
    with pytest.raises(TypeError):
        KEY.__reduce__()
    for text in ("", KEY.vkey, KEY.private_text()[:-8], KEY.private_text().replace("/x+", "/y+")):
        with pytest.raises(SettingsError):
            parse_private_key(text)


def test_the_newest_good_key_signs():
    """Of several keys of a use the newest that is good now signs; none is a fault that says how to mend it."""
    day = timedelta(days=1)
    keys = (
        OwnKey(signer=KEY, use="exchange", not_before=NOW - 9 * day, not_after=NOW + 9 * day),
        OwnKey(signer=OTHER, use="exchange", not_before=NOW - day, not_after=NOW + 9 * day),
        OwnKey(signer=HTTP, use="http", not_before=NOW - day, not_after=NOW + day, revoked_at=NOW - day),
    )
    signers = Signers(party=PARTY, keys=keys)
    assert signers.signing("exchange", NOW) is OTHER
    assert signers.signing("exchange", NOW - 2 * day) is KEY
    for use in ("http", "agreement"):
        with pytest.raises(SettingsError, match="key-missing"):
            signers.signing(use, NOW)  # type: ignore[arg-type]  # both are uses


def test_one_word_says_when_a_key_is_good():
    """From its first instant on, before its last, and until it is revoked."""
    day = timedelta(days=1)
    key = OwnKey(signer=KEY, use="exchange", not_before=NOW, not_after=NOW + 3 * day, revoked_at=NOW + 2 * day)
    assert [key.good(NOW + part * day) for part in (-0.1, 0, 1.9, 2, 3)] == [False, True, True, False, False]
    key = OwnKey(signer=KEY, use="exchange", not_before=NOW, not_after=NOW + 3 * day)
    assert [key.good(NOW + part * day) for part in (2, 2.9, 3)] == [True, True, False]


# --- keys documents ---------------------------------------------------------------------------------------------------

PINS = documents.pinned(PARTY, [AGREEMENT.vkey])


def own(signer: Ed25519Signer, use: str = "exchange") -> OwnKey:
    """A key of ours."""
    return OwnKey(signer=signer, use=use, not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=300))  # type: ignore[arg-type]  # uses are words


def body(serial: int = 1, listed: tuple[OwnKey, ...] = (own(KEY),), **changes: object) -> bytes:
    """A keys document, perhaps changed before it is signed."""
    made = documents.keys_body(
        party=PARTY,
        org="11220500XXT0001181",
        region="220500",
        serial=serial,
        issued_at=NOW,
        base_url="https://credit.tonghua.example/x/v1",
        keys=listed,
    )
    return msgspec.json.encode(msgspec.json.decode(made) | changes)


def test_keys_are_believed_under_the_pin():
    """A document signed by the pinned key gives its keys; unknown algorithms, uses and members are left aside."""
    said = msgspec.json.decode(body())
    said["keys"] += [
        said["keys"][0] | {"alg": "ml-dsa", "vkey": "x"},
        said["keys"][0] | {"use": "juggling"},
        said["keys"][0] | {"use": "agreement"},
    ]
    keys = documents.read_keys(documents.sign_keys(msgspec.json.encode(said | {"later": 1}), AGREEMENT), PINS, first_seen=NOW)
    assert [(key.verifier.vkey, key.use) for key in keys.keys] == [(KEY.vkey, "exchange")]
    assert keys.fresh(NOW + timedelta(days=89))
    assert not keys.fresh(NOW + timedelta(days=91))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"party": "credit.baishan.example"}, "SIG_CONTEXT"),
        ({"type": "chengxin-exchange/manifest/1"}, "SIG_CONTEXT"),
        ({"serial": 0}, "SCHEMA_MANIFEST"),
        ({"valid_until": "2026-12-31T00:00:00Z"}, "SCHEMA_MANIFEST"),
        ({"valid_until": "2026-06-01T00:00:00Z"}, "SCHEMA_MANIFEST"),
        ({"issued_at": "2026-06-03T00:00:00Z", "valid_until": "2026-07-03T00:00:00Z"}, "TIME_FUTURE"),
        ({"keys": 1}, "SCHEMA_MANIFEST"),
    ],
)
def test_keys_documents_that_are_not_believed(changes: dict[str, object], code: str):
    """Of another party, too long, from the future, or of another shape."""
    data = body(**changes)
    said = msgspec.json.decode(data)
    document = notes.sign_document("keys", f"{said['party']}/{said['serial']}", data, [AGREEMENT])
    assert code_of(lambda: documents.read_keys(document, PINS, first_seen=NOW)) == code


def test_keys_documents_need_the_pinned_key():
    """A document that another key signed is not believed, whatever it lists."""
    document = notes.sign_document("keys", f"{PARTY}/1", body(), [OTHER])
    assert code_of(lambda: documents.read_keys(document, PINS, first_seen=NOW)) == "SIG_UNKNOWN_KEY"


def test_serials_rise():
    """A lower serial is a replay, another text of one serial a fork; the same document again is fine."""
    second = documents.sign_keys(body(2), AGREEMENT)
    keys = documents.read_keys(second, PINS, first_seen=NOW)
    held = (keys.serial, keys.digest)
    assert documents.read_keys(second, PINS, first_seen=NOW, held=held).digest == keys.digest
    assert code_of(lambda: documents.read_keys(documents.sign_keys(body(1), AGREEMENT), PINS, first_seen=NOW, held=held)) == "SEQ_REPLAY"
    other = documents.sign_keys(body(2, (own(OTHER),)), AGREEMENT)
    assert code_of(lambda: documents.read_keys(other, PINS, first_seen=NOW, held=held)) == "SEQ_FORK"


def test_one_pair_has_one_use_and_its_own_name():
    """A key pair under two uses, or under another party's name, spoils the document."""
    twice = Ed25519Signer(f"{PARTY}/http", b"\1" * 32)
    foreign = Ed25519Signer("credit.baishan.example/x", b"\5" * 32)
    for keys in ((own(KEY), own(twice, "http")), (own(foreign),), (own(HTTP, "exchange"),)):
        data = body(listed=keys)
        assert code_of(lambda data=data: documents.read_keys(documents.sign_keys(data, AGREEMENT), PINS, first_seen=NOW)) == "SIG_KEY_USE"  # type: ignore[misc]  # at once


def test_agreement_keys_are_never_listed():
    """Our own document names no `agreement` key."""
    listed = msgspec.json.decode(body(listed=(own(KEY), own(AGREEMENT, "agreement"))))["keys"]
    assert [key["use"] for key in listed] == ["exchange"]
