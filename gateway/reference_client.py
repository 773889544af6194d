"""How a department's program calls a gateway: one file, to be copied; it needs `httpx` and `cryptography`, nothing of ours.

    python reference_client.py GET https://credit.example.cn/v1/me --app app_… --key private.pem --purpose dept.supervision

Four steps: (1) a client assertion says who we are, signed with the registered key; (2) a DPoP proof shows that we hold the key that the
token is bound to; (3) the token endpoint gives a token of ten minutes; (4) each request carries the token and a proof of its own. When the
gateway wants its nonce in the proof it says so, and the same request is made once more with it.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SECONDS = 50
"""Life of an assertion; a gateway takes sixty at most."""

Unreachable = (httpx.HTTPError, httpx.InvalidURL)
"""What a call raises when nobody answers."""


class Refused(PermissionError):
    """Why a call is not made or not granted, as one line: `code at place: text`."""

    def __init__(self, code: str, place: str, text: str) -> None:
        super().__init__(f"{code} at {place}: {text}")
        self.code, self.place, self.text = code, place, text


def unreachable(url: str, error: Exception) -> Refused:
    """Nobody answers."""
    return Refused("unreachable", url, str(error) or type(error).__name__)


def refusal(answer: httpx.Response, url: str) -> Refused:
    """What a gateway refuses: the code of its problem, at the parameter or member at fault or else at the address."""
    try:
        said = answer.json()
    except ValueError:
        said = None
    said = said if isinstance(said, dict) else {}
    faults = said.get("errors")
    first = faults[0] if isinstance(faults, list) and faults and isinstance(faults[0], dict) else {}
    place = first.get("parameter") or first.get("pointer") or url.partition("?")[0]
    text = said.get("detail") or said.get("title") or said.get("error_description") or answer.reason_phrase
    return Refused(str(said.get("code") or said.get("error") or "http-error"), str(place), f"{answer.status_code} {text}")


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def new_id() -> str:
    """A `jti`: never used twice."""
    return b64(os.urandom(24))


class Key:
    """A private key: P-256, Ed25519 or RSA; it signs compact JWS."""

    def __init__(self, private: Any) -> None:
        self.private = private
        if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name == "secp256r1":
            point = private.public_key().public_numbers()
            self.alg = "ES256"
            self.jwk = {"crv": "P-256", "kty": "EC", "x": b64(point.x.to_bytes(32, "big")), "y": b64(point.y.to_bytes(32, "big"))}
        elif isinstance(private, ed25519.Ed25519PrivateKey):
            self.alg = "Ed25519"
            self.jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64(private.public_key().public_bytes_raw())}
        elif isinstance(private, rsa.RSAPrivateKey):
            modulus = private.public_key().public_numbers().n
            self.alg = "PS256"
            self.jwk = {"e": "AQAB", "kty": "RSA", "n": b64(modulus.to_bytes((modulus.bit_length() + 7) // 8, "big"))}
        else:
            raise ValueError("the key is none of P-256, Ed25519, RSA")

    @classmethod
    def new(cls) -> "Key":
        """A fresh P-256 key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def read(cls, path: Path) -> "Key":
        """The key of a PEM file without a password.

        Raises Refused for anything else.
        """
        try:
            return cls(load_pem_private_key(path.read_bytes(), None))
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it has a password
            raise Refused("key-invalid", str(path), "no private key of P-256, Ed25519 or RSA in PEM, without a password") from error

    @property
    def thumbprint(self) -> str:
        """RFC 7638: SHA-256 of the public members, in order of their names, without spaces."""
        return b64(hashlib.sha256(json.dumps(self.jwk, sort_keys=True, separators=(",", ":")).encode()).digest())

    def sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """A compact JWS."""
        text = ".".join(b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        message = text.encode()
        if self.alg == "ES256":
            r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        elif self.alg == "Ed25519":
            signature = self.private.sign(message)
        else:
            signature = self.private.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        return f"{text}.{b64(signature)}"


class Client:
    """An application at one gateway: keeps its token while it lives, and the gateway's last nonce."""

    def __init__(
        self,
        origin: str,
        app: str,
        key: Key,
        *,
        kid: str | None = None,
        http: httpx.Client | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.origin = origin.rstrip("/")
        self.app = app
        self.key = key
        self.kid = kid or key.thumbprint
        self.proof_key = Key.new()  # of this run alone: a stolen token is worth nothing without it
        self.clock = clock
        self.http = http or httpx.Client(timeout=30)
        self.nonce: str | None = None
        self.token = ""
        self.ends = 0.0

    def assertion(self) -> str:
        """Who we are: RFC 7523, for the issuer alone."""
        now = int(self.clock())
        claims = {"iss": self.app, "sub": self.app, "aud": self.origin, "iat": now, "exp": now + SECONDS, "jti": new_id()}
        return self.key.sign({"alg": self.key.alg, "kid": self.kid, "typ": "client-authentication+jwt"}, claims)

    def proof(self, method: str, url: str, token: str | None = None) -> str:
        """That we hold the key: RFC 9449, for this method and address (without its query), with the nonce and the token's digest."""
        claims: dict[str, Any] = {"htm": method, "htu": url.partition("?")[0], "iat": int(self.clock()), "jti": new_id()}
        if self.nonce is not None:
            claims["nonce"] = self.nonce
        if token is not None:
            claims["ath"] = b64(hashlib.sha256(token.encode()).digest())
        return self.proof_key.sign({"typ": "dpop+jwt", "alg": self.proof_key.alg, "jwk": self.proof_key.jwk}, claims)

    def _once(self, method: str, url: str, headers: dict[str, str], token: str | None, **body: Any) -> httpx.Response:
        said = {**headers, "DPoP": self.proof(method, url, token)}
        # as bytes: a case reference may be Chinese
        answer = self.http.request(method, url, headers={name.encode(): value.encode() for name, value in said.items()}, **body)
        self.nonce = answer.headers.get("dpop-nonce", self.nonce)
        return answer

    def _send(self, method: str, url: str, headers: dict[str, str], token: str | None, **body: Any) -> httpx.Response:
        """One request; once more when the gateway gave a nonce that it wants in the proof."""
        answer = self._once(method, url, headers, token, **body)
        if "use_dpop_nonce" not in answer.headers.get("www-authenticate", "") + (answer.text if answer.status_code == 400 else ""):
            return answer
        if "data" in body:  # an assertion is good for one request
            body["data"] = {**body["data"], "client_assertion": self.assertion()}
        return self._once(method, url, headers, token, **body)

    def access_token(self) -> str:
        """A token for everything that is granted to us; a new one when the last is about to end.

        Raises Refused.
        """
        if self.clock() < self.ends - 30:
            return self.token
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": self.assertion()}
        answer = self._send("POST", self.origin + "/oauth/token", {}, None, data=form)
        if answer.status_code != httpx.codes.OK:
            raise refusal(answer, self.origin + "/oauth/token")
        self.token, self.ends = answer.json()["access_token"], self.clock() + answer.json()["expires_in"]
        return self.token

    def request(self, method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> httpx.Response:
        """A request to the API as this application."""
        token = self.access_token()
        said = {"Authorization": f"DPoP {token}", **headers}
        return self._send(method, url, said, token, **({} if body is None else {"content": body}))

    def ready(self, method: str, url: str) -> dict[str, str]:
        """The header fields of one call, to be used within half a minute."""
        token = self.access_token()
        return {"Authorization": f"DPoP {token}", "DPoP": self.proof(method, url, token)}


def run(
    method: str,
    url: str,
    app: str,
    key_file: Path,
    kid: str | None = None,
    purpose: str | None = None,
    case_ref: str | None = None,
    body: Path | None = None,
    headers_only: bool = False,
) -> int:
    """One call from the command line: the answer on standard output, why there is none on standard error; 0 when it is a success."""
    try:
        where = urlsplit(url)
    except ValueError:
        where = urlsplit("")
    if where.scheme not in ("http", "https") or not where.netloc:
        sys.stderr.write(f"error: url-invalid at {url}: an address begins with https:// or http:// and a host\n")
        return 1
    origin = f"{where.scheme}://{where.netloc}"
    headers = {"Accept": "application/json"}
    if purpose is not None:
        headers["Purpose"] = purpose
    if case_ref is not None:
        headers["Case-Ref"] = case_ref
    if body is not None:
        headers["Content-Type"] = "application/json"
    with httpx.Client(timeout=30) as http:
        try:
            client = Client(origin, app, Key.read(key_file), kid=kid, http=http)
            if headers_only:
                for name, value in {**client.ready(method.upper(), url), **headers}.items():
                    sys.stdout.write(f"{name}: {value}\n")
                return 0
            answer = client.request(method.upper(), url, headers, None if body is None else body.read_bytes())
        except Refused as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
        except Unreachable as error:
            sys.stderr.write(f"error: {unreachable(origin, error)}\n")
            return 1
    sys.stdout.write(answer.text if answer.text.endswith("\n") else answer.text + "\n")
    if answer.is_error:
        sys.stderr.write(f"error: {refusal(answer, url)}\n")
    return 1 if answer.is_error else 0


def main() -> int:
    """The command line of this file alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument("url")
    parser.add_argument("--app", required=True)
    parser.add_argument("--key", dest="key_file", type=Path, required=True)
    parser.add_argument("--kid")
    parser.add_argument("--purpose")
    parser.add_argument("--case-ref")
    parser.add_argument("--body", type=Path)
    parser.add_argument("--headers", dest="headers_only", action="store_true")
    return run(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
