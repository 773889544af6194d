"""DPoP proofs: every line of the rules alone decides; nonces hold for two slots of a minute."""

import json
from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwk, jws
from joserfc.errors import BadSignatureError, DecodeError

from gateway.core.callers.proof import Proof, check_proof, digest_of, nonce_holds, nonce_of
from gateway.core.callers.refusals import NonceWanted, ProofRefused
from gateway.core.signing import jose_key
from tests.callers import Alg, Key, b64, proof, proof_parts

NOW = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
AT = int(NOW.timestamp())
URL = "https://credit.example/v1/records"
TOKEN = "cxt_" + "A" * 43
KEY = Key("ES256")
NONCE_KEY = b"n" * 32


def check(*proofs: str, **words: Any) -> Proof:
    """As a request to this path with this token."""
    asked: dict[str, Any] = {"method": "GET", "url": URL, "now": NOW, "window_s": 30, "ath": digest_of(TOKEN), "jkt": KEY.thumbprint}
    return check_proof(proofs, **asked | words)


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
def test_a_right_proof_is_believed(alg: Alg) -> None:
    """With either algorithm; the thumbprint is that of RFC 7638, and members that say how a key is used are ignored."""
    key = Key(alg)
    found = check(proof(key, "GET", URL, NOW, TOKEN), jkt=key.thumbprint)
    assert found.jkt == key.thumbprint
    assert NOW + timedelta(seconds=30) < found.used_until <= NOW + timedelta(seconds=31)
    header, claims = proof_parts(key, "GET", URL, NOW, TOKEN)
    header["jwk"] = header["jwk"] | {"use": "enc", "kid": "x", "alg": "RS256"}
    assert check(key.sign(header, claims), jkt=key.thumbprint).jkt == key.thumbprint


@pytest.mark.parametrize(
    "claims",
    [
        {"htm": "POST"},
        {"htm": "get"},
        {"htm": None},
        {"htm": ["GET"]},
        {"htu": None},
        {"htu": URL + "?a=1"},
        {"htu": URL + "?"},
        {"htu": URL + "#"},
        {"htu": URL + "/"},
        {"htu": "http" + URL[5:]},
        {"htu": "https://credit.example:443/v1/records"},
        {"htu": "https://CREDIT.example/v1/records"},
        {"htu": "https://credit.example/v1/%72ecords"},
        {"htu": "/v1/records"},
        {"iat": None},
        {"iat": AT - 31},
        {"iat": AT + 31},
        {"iat": float(AT)},
        {"iat": str(AT)},
        {"jti": None},
        {"jti": "short"},
        {"jti": "x" * 129},
        {"ath": None},
        {"ath": digest_of("cxt_" + "B" * 43)},
        {"ath": digest_of(TOKEN) + "="},
        {"ath": 1},
    ],
)
def test_one_wrong_claim_is_enough(claims: dict[str, Any]) -> None:
    """Method, address, time, id and token digest, each wrong in turn under a right signature."""
    with pytest.raises(ProofRefused):
        check(proof(KEY, "GET", URL, NOW, TOKEN, **claims))


def test_the_edges_of_time() -> None:
    """Thirty seconds either way."""
    for seconds in (-30, 30):
        check(proof(KEY, "GET", URL, NOW, TOKEN, iat=AT + seconds))


def _with(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in (KEY.jwk | members).items() if value is not None}


RSA = Key("PS256", bits=2048)


@pytest.mark.parametrize(
    "jwk",
    [
        _with(d=b64(b"\1" * 32)),
        _with(x5c=["AAAA"]),
        _with(y=None),
        _with(x=KEY.jwk["y"]),
        _with(x=KEY.jwk["x"] + "="),
        _with(x="A" + KEY.jwk["x"]),
        _with(x=1),
        _with(crv="P-384"),
        _with(crv="secp256k1"),
        _with(kty="OKP"),
        _with(kty=["EC"]),
        RSA.jwk,
        {"kty": "oct", "k": b64(b"k" * 32)},
        {"kty": "OKP", "crv": "Ed25519", "x": b64(b"\1" + b"\0" * 31)},
        {"kty": "OKP", "crv": "X25519", "x": b64(b"\7" * 32)},
        {"kty": "OKP", "crv": "Ed448", "x": b64(b"\7" * 57)},
        {},
        [],
        "x",
        None,
    ],
)
def test_only_a_public_key_of_ours_is_taken(jwk: Any) -> None:
    """Private members, RSA, secrets, other curves, points outside their curve or of small order, other spellings."""
    header, claims = proof_parts(KEY, "GET", URL, NOW, TOKEN)
    with pytest.raises(ProofRefused):
        check(KEY.sign(header | {"jwk": jwk}, claims), jkt=None)


@pytest.mark.parametrize(
    "change",
    [{"typ": "JWT"}, {"typ": "DPoP+jwt"}, {"alg": "Ed25519"}, {"alg": "none"}, {"alg": "HS256"}, {"alg": 1}, {"kid": "x"}, {"crit": ["x"]}],
)
def test_the_header_has_three_members(change: dict[str, Any]) -> None:
    """Another type, an algorithm that is not the key's, any further member."""
    header, claims = proof_parts(KEY, "GET", URL, NOW, TOKEN)
    with pytest.raises(ProofRefused):
        check(KEY.sign(header | change, claims))


def test_one_proof_of_the_bound_key_with_a_right_signature() -> None:
    """None, two, another key, an altered signature, a name twice, too long."""
    good = proof(KEY, "GET", URL, NOW, TOKEN)
    other = Key("ES256", seed=2)
    header, claims = proof_parts(KEY, "GET", URL, NOW, TOKEN)
    for proofs in (
        (),
        (good, good),
        (proof(other, "GET", URL, NOW, TOKEN),),
        (good[:-2] + ("BA" if good.endswith("AA") else "AA"),),
        (other.sign(header, claims),),
        (KEY.sign(header, json.dumps(claims)[:-1] + ',"htm":"GET"}'),),
        (KEY.sign(header, claims | {"pad": "x" * 9000}),),
        (f"{good},{good}",),
    ):
        with pytest.raises(ProofRefused):
            check(*proofs)


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
@given(data=st.data())
@settings(max_examples=60)
def test_a_key_says_of_any_signature_what_joserfc_says(alg: Alg, data: st.DataObject) -> None:
    """Right ones, altered ones, halves of nothing, of any length."""
    key = Key(alg)
    message, _, right = proof(key, "GET", URL, NOW, TOKEN).rpartition(".")
    raw = urlsafe_b64decode(right + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    halves = st.sampled_from([bytes(32), order.to_bytes(32, "big"), (1).to_bytes(32, "big"), b"\xff" * 32, raw[:32], raw[32:]])
    signature = data.draw(st.one_of(st.just(raw), st.binary(max_size=80), st.builds(bytes.__add__, halves, halves)))
    text = f"{message}.{b64(signature)}"
    try:
        jws.deserialize_compact(text, jwk.import_key(dict(key.jwk)), algorithms=[alg])
    except (BadSignatureError, DecodeError):
        believed = False
    else:
        believed = True
    assert jose_key(key.jwk).verify(text) is believed
    assert believed is (signature == raw)


@pytest.mark.parametrize("half", [slice(0, 32), slice(32, 64)])
def test_a_half_that_begins_with_zeros_is_a_number_all_the_same(half: slice) -> None:
    """One of some hundred signatures has one."""
    known = jose_key(KEY.jwk)
    signed = (KEY.sign({"alg": "ES256"}, {"n": number}) for number in range(100_000))
    assert known.verify(next(text for text in signed if urlsafe_b64decode(text.rpartition(".")[2] + "==")[half][0] == 0))


def test_a_signature_has_one_spelling() -> None:
    """Padded, in the other alphabet, with bits that count for nothing, with blanks or beyond ASCII it is none."""
    text = next(text for n in range(99) if not (text := KEY.sign({"alg": "ES256"}, {"n": n}))[-86:].isalnum())
    message, _, right = text.rpartition(".")
    known = jose_key(KEY.jwk)
    assert known.verify(text)
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    wrong = [f"{right}==", f"{right}=", f"{right}A", f"{right} ", f" {right}", f"{right[:40]}\n{right[40:]}", f"{right}é", f"{right}*", ""]
    wrong += [right[:-1] + last[last.index(right[-1]) + 1], right.replace("-", "+").replace("_", "/")]
    for segment in wrong:
        assert not known.verify(f"{message}.{segment}"), segment


def test_without_a_token_there_is_no_digest_of_one() -> None:
    """The token endpoint sees no access token."""
    asked = {"method": "POST", "url": "https://credit.example/oauth/token", "ath": None, "jkt": None}
    assert check(proof(KEY, "POST", str(asked["url"]), NOW), **asked).jkt == KEY.thumbprint
    with pytest.raises(ProofRefused):
        check(proof(KEY, "POST", str(asked["url"]), NOW, TOKEN), **asked)


def test_a_nonce_holds_for_two_slots() -> None:
    """The one of this minute and the one before; whoever brings another is given a new one, when all else is right."""
    nonce = nonce_of(NONCE_KEY, NOW)
    assert nonce_holds(NONCE_KEY, NOW, nonce)
    assert nonce_holds(NONCE_KEY, NOW + timedelta(seconds=119), nonce)
    for wrong in (nonce_of(NONCE_KEY, NOW - timedelta(seconds=120)), nonce_of(NONCE_KEY, NOW + timedelta(seconds=60)), "", "é\ud800"):
        assert not nonce_holds(NONCE_KEY, NOW, wrong)
    assert not nonce_holds(b"m" * 32, NOW, nonce)
    check(proof(KEY, "GET", URL, NOW, TOKEN, nonce=nonce), nonce_key=NONCE_KEY)
    for said in (None, "x", 1, nonce + "x"):
        with pytest.raises(NonceWanted):
            check(proof(KEY, "GET", URL, NOW, TOKEN, nonce=said), nonce_key=NONCE_KEY)
    with pytest.raises(ProofRefused) as refused:
        check(proof(KEY, "POST", URL, NOW, TOKEN), nonce_key=NONCE_KEY)
    assert not isinstance(refused.value, NonceWanted)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{0,80}(\.[A-Za-z0-9_-]{0,80}){0,4}", fullmatch=True))
def test_noise_is_refused_and_nothing_else(noise: str) -> None:
    """Whatever is sent, the only outcome is a refusal."""
    with pytest.raises(ProofRefused):
        check(noise)
