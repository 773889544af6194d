"""One record as SD-JWT: the vector of the specification, chosen fields, and every way in which a token is not believed (A9)."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange import sd_jwt
from gateway.core.exchange.notes import KeyRing, KnownKey
from gateway.core.exchange.wire import b64u, unb64u
from gateway.core.signing import Ed25519Signer, parse_vkey
from tests.commands import chengxin
from tests.core.exchange.test_vectors import VECTORS

NOW = datetime(2026, 12, 2, 1, 0, tzinfo=UTC)
SIGNER = Ed25519Signer("credit.tonghua.example/export", bytes([8]) * 32)
RING = KeyRing.of("", [KnownKey(verifier=parse_vkey(VECTORS["sd_jwt"]["vkey"]), use="export")])
PAYLOAD = VECTORS["batch"]["payloads"][0].encode()
DISCLOSURES = VECTORS["batch"]["disclosures"][0]


def _code(token: str, ring: KeyRing = RING, now: datetime = NOW) -> str:
    with pytest.raises(ExchangeError) as caught:
        sd_jwt.read(token, ring, now=now)
    return caught.value.code


def _token(*, header: Callable[[dict[str, Any]], None] | None = None, signer: Ed25519Signer = SIGNER, **payload: Any) -> str:
    """A token signed as a test wants it."""
    said = {
        "alg": "Ed25519",
        "typ": sd_jwt.TYPE,
        "kid": f"{signer.name}+{signer.key_id.hex()}",
        "cx_as_of": "2026-12-02T01:00:00Z",
        "cx_until": "2026-12-03T01:00:00Z",
    }
    if header is not None:
        header(said)
    body = json.dumps(json.loads(PAYLOAD) | payload, ensure_ascii=False, separators=(",", ":")).encode()
    signed = f"{b64u(json.dumps(said).encode())}.{b64u(body)}"
    return f"{signed}.{b64u(signer.sign(signed.encode()))}~"


def test_the_vector():
    """The token of the specification, byte for byte, says its document number and hides the rest."""
    shown = next(each for each in DISCLOSURES if "CF_WSH" in unb64u(each, "X").decode())
    assert sd_jwt.export(PAYLOAD, [shown], SIGNER, as_of=NOW) == VECTORS["sd_jwt"]["token"]
    read = sd_jwt.read(VECTORS["sd_jwt"]["token"], RING, now=NOW)
    assert ([each.name for each in read.disclosed], read.hidden) == (["CF_WSH"], 1)
    assert (read.as_of, read.until) == (NOW, NOW + timedelta(hours=24))
    assert (read.statement.status, read.statement.dispute) == ("in_force", False)


def test_whoever_has_a_key_needs_no_gateway(tmp_path: Path):
    """`verify record --vkey` checks a token where there are no settings; without a key to believe it asks for them."""
    (tmp_path / "record.jwt").write_text(sd_jwt.export(PAYLOAD, DISCLOSURES, SIGNER, as_of=datetime.now(UTC)))
    done = chengxin(tmp_path, "verify", "record", "record.jwt", "--vkey", VECTORS["sd_jwt"]["vkey"])
    assert (done.returncode, "CF_WSH: 通市监罚〔2026〕12号" in done.stdout) == (0, True)
    assert chengxin(tmp_path, "verify", "record", "record.jwt").stderr.startswith("error: settings-invalid")


def test_it_ends_with_a_day_or_with_its_publication():
    """`cx_until` is 24 hours on, or the end of the last day shown; what is over, or not in force, is not exported."""
    until = json.loads(PAYLOAD) | {"publish_until": "2026-12-02"}
    token = sd_jwt.export(json.dumps(until).encode(), [], SIGNER, as_of=NOW)
    assert sd_jwt.read(token, RING, now=NOW).until == datetime(2026, 12, 2, 16, 0, tzinfo=UTC)
    assert _code(token, now=NOW + timedelta(hours=15)) == "TIME_STALE"
    for changes in ({"publish_until": "2026-12-01"}, {"status": "suspended"}):
        with pytest.raises(ExchangeError) as caught:
            sd_jwt.export(json.dumps(json.loads(PAYLOAD) | changes).encode(), [], SIGNER, as_of=NOW)
        assert caught.value.code == "SCHEMA_STATUS"


@pytest.mark.parametrize("alg", ["none", "HS256", "EdDSA", "ES256", "ed25519"])
def test_a09_another_algorithm(alg: str):
    """A9: the algorithm is that of the pinned key, whatever the header says."""
    assert _code(_token(header=lambda said: said.update(alg=alg))) == "SIG_FORMAT"
    head, payload, _ = _token(header=lambda said: said.update(alg=alg)).split(".")
    assert _code(f"{head}.{payload}.~") == "SIG_FORMAT"


def test_keys_that_are_not_believed():
    """A key that the header brings along, one that nobody pinned, of another party, of another use, expired, or revoked."""
    stranger = Ed25519Signer(SIGNER.name, bytes([9]) * 32)
    assert _code(_token(header=lambda said: said.update(jwk={"kty": "OKP"}))) == "SIG_FORMAT"
    assert _code(_token(signer=stranger)) == "SIG_UNKNOWN_KEY"
    baishan = Ed25519Signer("credit.baishan.example/export", bytes([9]) * 32)
    both = KeyRing.of("", [*RING.keys.values(), KnownKey(verifier=baishan.verifier, use="export")])
    assert _code(_token(signer=baishan), both) == "SCOPE_ISSUER"
    for changes, code in (
        ({"use": "exchange"}, "SIG_KEY_USE"),
        ({"not_after": NOW - timedelta(days=1)}, "SIG_KEY_EXPIRED"),
        ({"revoked_at": NOW - timedelta(days=1)}, "SIG_KEY_REVOKED"),
    ):
        key: dict[str, Any] = {"verifier": SIGNER.verifier, "use": "export"} | changes
        assert _code(_token(), KeyRing.of("", [KnownKey(**key)])) == code


def test_times_that_are_not_believed():
    """From the future, for longer than a day, over."""
    assert _code(_token(header=lambda said: said.update(cx_until="2026-12-04T01:00:00Z"))) == "TIME_FUTURE"
    assert _code(_token(), now=NOW - timedelta(hours=1)) == "TIME_FUTURE"
    assert _code(_token(), now=NOW + timedelta(hours=24)) == "TIME_STALE"


def test_disclosures_that_do_not_belong():
    """Changed, doubled, of another record, or of a form that is none: nothing is shown."""
    token, salt = _token(), "A" * 22
    assert sd_jwt.read(token + "~".join((*DISCLOSURES, "")), RING, now=NOW).hidden == 0
    for wrong in (
        DISCLOSURES[0] + "~" + DISCLOSURES[0],
        b64u(json.dumps([salt, "CF_WSH", "x"]).encode()),
        b64u(json.dumps([salt, "status", "x"]).encode()),
        b64u(b"{}"),
        DISCLOSURES[0] + "=",
    ):
        assert _code(f"{token}{wrong}~") == "SCHEMA_DISCLOSURE"


def test_other_forms():
    """Two parts, a key binding behind the last `~`, other payloads, a changed byte anywhere in what is signed, too long."""
    token = _token()
    head, payload, signature = token[:-1].split(".")
    assert _code(f"{head}.{payload}~") == "SCHEMA_JSON"
    assert _code(token + "x.y.z") == "SCHEMA_JSON"
    assert _code(token[:-1]) == "SCHEMA_JSON"
    assert _code(_token(unknown=1)) == "SCHEMA_JSON"
    assert _code(_token(_sd_alg="sm3")) == "SCHEMA_VERSION"
    assert _code(_token(status="suspended")) == "SCHEMA_STATUS"
    assert _code(token + "x" * sd_jwt.MAX_TOKEN) == "SIZE_BYTES"
    for at in range(0, len(payload), 40):
        other = payload[:at] + ("A" if payload[at] != "A" else "B") + payload[at + 1 :]
        assert _code(f"{head}.{other}.{signature}~") in {"SIG_INVALID", "SCHEMA_JSON"}
