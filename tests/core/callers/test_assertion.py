"""Client assertions: every rule alone decides, and nothing that breaks one gets through."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.callers.assertion import Assertion, check_assertion, claimed_app
from gateway.core.callers.refusals import AssertionRefused
from gateway.core.signing import JoseKey, jose_key
from tests.callers import Alg, Key, assertion, assertion_parts, new_id

NOW = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
ISSUER = "https://credit.example"
APP = "app_aaaaaaaaaaaaaaaaaaaaaaaaaa"
KEY = Key("ES256")
KNOWN: dict[str, JoseKey] = {KEY.thumbprint: jose_key(KEY.jwk)}


def check(text: str, keys: dict[str, JoseKey] = KNOWN, client_id: str | None = None, now: datetime = NOW) -> Assertion:
    """As the token endpoint of this issuer would."""
    return check_assertion(text, issuer=ISSUER, keys=keys.get, client_id=client_id, now=now, max_s=60)


@pytest.mark.parametrize("alg", ["ES256", "Ed25519", "PS256"])
def test_a_right_assertion_is_believed(alg: Alg) -> None:
    """With each of the three algorithms; its id must be remembered until it can no longer be used."""
    key = Key(alg)
    found = check(assertion(APP, key, ISSUER, NOW), {key.thumbprint: jose_key(key.jwk, rsa=True)}, client_id=APP)
    assert (found.app, found.kid, found.thumbprint) == (APP, key.thumbprint, key.thumbprint)
    assert found.used_until == NOW + timedelta(seconds=70)
    assert claimed_app(assertion(APP, key, ISSUER, NOW)) == APP


AT = int(NOW.timestamp())
WRONG_CLAIMS: list[tuple[str, dict[str, Any]]] = [
    ("sub", {"iss": "app_b"}),
    ("sub", {"sub": "app_b"}),
    ("sub", {"iss": None}),
    ("aud", {"aud": None}),
    ("aud", {"aud": [ISSUER]}),
    ("aud", {"aud": ISSUER + "/"}),
    ("aud", {"aud": ISSUER + "/oauth/token"}),
    ("aud", {"aud": ISSUER.upper()}),
    ("iat-form", {"iat": None}),
    ("exp-form", {"exp": None}),
    ("iat-form", {"iat": float(AT)}),
    ("exp-form", {"exp": str(AT + 60)}),
    ("exp-form", {"exp": True}),
    ("exp-form", {"exp": 2**60}),
    ("iat-form", {"iat": -1}),
    ("life", {"exp": AT + 61}),
    ("life", {"exp": AT}),
    ("early", {"iat": AT + 11, "exp": AT + 60}),
    ("late", {"iat": AT - 70, "exp": AT - 10}),
    ("nbf", {"nbf": AT + 11}),
    ("nbf-form", {"nbf": "now"}),
    ("jti-form", {"jti": None}),
    ("jti-form", {"jti": "short"}),
    ("jti-form", {"jti": "x" * 129}),
    ("jti-form", {"jti": "sixteen letters and a blank"}),
    ("jti-form", {"jti": "零一二三四五六七八九零一二三四五"}),
    ("jti-form", {"jti": 1234567890123456}),
]


@pytest.mark.parametrize(("cause", "claims"), WRONG_CLAIMS)
def test_one_wrong_claim_is_enough(cause: str, claims: dict[str, Any]) -> None:
    """Issuer, audience, times and id, each wrong in turn under a right signature."""
    with pytest.raises(AssertionRefused) as refused:
        check(assertion(APP, KEY, ISSUER, NOW, **claims))
    assert refused.value.cause == f"assertion-{cause}"


def test_the_edges_of_time() -> None:
    """Ten seconds of skew either way, and not one more."""
    text = assertion(APP, KEY, ISSUER, NOW)
    for seconds, good in ((-10, True), (-11, False), (69, True), (70, False)):
        if good:
            check(text, now=NOW + timedelta(seconds=seconds))
        else:
            with pytest.raises(AssertionRefused):
                check(text, now=NOW + timedelta(seconds=seconds))


def _header(**change: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda header: {name: value for name, value in (header | change).items() if value is not None}


@pytest.mark.parametrize(
    "change",
    [
        _header(typ="JWT"),
        _header(typ="application/client-authentication+jwt"),
        _header(typ="Client-Authentication+JWT"),
        _header(typ=None),
        _header(kid=None),
        _header(kid="nobody"),
        _header(kid=1),
        _header(alg="none"),
        _header(alg="HS256"),
        _header(alg="Ed25519"),
        _header(alg="ES384"),
        _header(jwk=KEY.jwk),
        _header(jku="https://evil.example/jwks"),
        _header(x5u="https://evil.example/x"),
        _header(x5c=["AAAA"]),
        _header(crit=["exp"]),
        _header(b64=False),
        _header(zip="DEF"),
        _header(cty="JWT"),
    ],
)
def test_the_header_has_three_members_as_they_should_be(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Another type, an unknown key, another algorithm than the pinned one, or any further member."""
    header, claims = assertion_parts(APP, KEY, ISSUER, NOW)
    with pytest.raises(AssertionRefused):
        check(KEY.sign(change(header), claims))


def test_a_name_twice_is_refused_wherever_it_stands() -> None:
    """Of two equal names common decoders take the last; here neither counts."""
    header, claims = assertion_parts(APP, KEY, ISSUER, NOW)
    twice = json.dumps(claims)[:-1] + ',"aud":"https://credit.example"}'
    for text in (
        KEY.sign(header, twice),
        KEY.sign(json.dumps(header)[:-1] + ',"alg":"ES256"}', claims),
        KEY.sign(header, json.dumps(claims)[:-1] + ',"x":{"a":1,"a":2}}'),
    ):
        with pytest.raises(AssertionRefused) as refused:
            check(text)
        assert refused.value.cause == "assertion-json-twice"


@pytest.mark.parametrize(
    "claims",
    ["[]", "1", '"x"', "null", "", "{", '{"exp":NaN}', '{"exp":1e400}', "[" * 4000, '{"exp":' + "9" * 5000 + "}", "\ufeff{}"],
)
def test_what_is_no_object_is_refused(claims: str) -> None:
    """Other JSON, broken JSON, deep nesting, endless numbers, a byte order mark."""
    header, _ = assertion_parts(APP, KEY, ISSUER, NOW)
    for read in (check, claimed_app):
        with pytest.raises(AssertionRefused):
            read(KEY.sign(header, claims))


def test_the_three_segments_stand_in_their_one_spelling() -> None:
    """Padding, another alphabet, a missing or fourth segment, loose last bits, more than 8 KiB."""
    text = assertion(APP, KEY, ISSUER, NOW)
    head, body, signature = text.split(".")
    last = signature[:-1] + chr(ord(signature[-1]) + 1)  # other unused bits, the same bytes
    for wrong in (
        f"{head}=.{body}.{signature}",
        f"{head}.{body}",
        f"{head}.{body}.",
        f"{text}.{signature}",
        f" {text}",
        f"{text}\n",
        f"{head}.{body}.{signature}é",
        f"{head}.{body}.{last}",
        text + "A" * 8192,
    ):
        with pytest.raises(AssertionRefused):
            check(wrong)


def test_another_key_and_another_payload_do_not_verify() -> None:
    """The signature is of this key, over these bytes."""
    other = Key("ES256", seed=2)
    header, claims = assertion_parts(APP, KEY, ISSUER, NOW)
    head, claims_segment, signature = KEY.sign(header, claims).split(".")
    _, body, _ = KEY.sign(header, claims | {"jti": new_id()}).split(".")
    altered = f"{head}.{claims_segment}.{signature[:-2]}{'BA' if signature.endswith('AA') else 'AA'}"
    for text in (other.sign(header, claims), f"{head}.{body}.{signature}", altered):
        with pytest.raises(AssertionRefused):
            check(text)


def test_a_client_id_beside_it_must_be_the_same() -> None:
    """Whoever says two names is nobody."""
    with pytest.raises(AssertionRefused):
        check(assertion(APP, KEY, ISSUER, NOW), client_id="app_b")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{0,80}(\.[A-Za-z0-9_-]{0,80}){0,4}", fullmatch=True))
def test_noise_is_refused_and_nothing_else(noise: str) -> None:
    """Whatever is sent, the only outcome is a refusal."""
    for read in (check, claimed_app):
        with pytest.raises(AssertionRefused):
            read(noise)
