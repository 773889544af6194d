"""Programs that call us, for tests: keys, assertions and proofs made by hand, so that each can be wrong in one way.

Signing is done here with `cryptography` alone: a second opinion on what `core/signing.py` verifies with joserfc.
"""

import hashlib
import itertools
import json
from base64 import urlsafe_b64encode
from datetime import datetime
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

Alg = Literal["ES256", "Ed25519", "PS256"]
_numbers = itertools.count()


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def new_id() -> str:
    """A `jti` that no other test uses."""
    return f"test-id-{next(_numbers):012d}"


class Key:
    """A private key that signs compact JWS; `seed` makes the same key again (EC and Ed25519)."""

    def __init__(self, alg: Alg = "ES256", seed: int = 1, bits: int = 3072) -> None:
        self.alg = alg
        self.private: Any
        if alg == "ES256":
            self.private = ec.derive_private_key(seed + 10**9, ec.SECP256R1())
            point = self.private.public_key().public_numbers()
            self.jwk = {"kty": "EC", "crv": "P-256", "x": b64(point.x.to_bytes(32, "big")), "y": b64(point.y.to_bytes(32, "big"))}
        elif alg == "Ed25519":
            self.private = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"%d" % seed).digest())
            self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(self.private.public_key().public_bytes_raw())}
        else:
            self.private = rsa.generate_private_key(65537, bits)
            modulus = self.private.public_key().public_numbers().n
            self.jwk = {"kty": "RSA", "e": "AQAB", "n": b64(modulus.to_bytes((modulus.bit_length() + 7) // 8, "big"))}

    @property
    def thumbprint(self) -> str:
        """RFC 7638."""
        return b64(hashlib.sha256(json.dumps(self.jwk, sort_keys=True, separators=(",", ":")).encode()).digest())

    @property
    def pem(self) -> bytes:
        """The private key as programs keep it."""
        return bytes(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    @property
    def public_pem(self) -> bytes:
        """The public key as an office is given it."""
        return bytes(self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def _signature(self, message: bytes) -> bytes:
        if self.alg == "ES256":
            r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if self.alg == "Ed25519":
            return bytes(self.private.sign(message))
        return bytes(self.private.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()))

    def sign(self, header: dict[str, Any] | str, claims: dict[str, Any] | str) -> str:
        """A compact JWS over these texts, or over the JSON of these values."""
        segments = ".".join(b64((part if isinstance(part, str) else json.dumps(part)).encode()) for part in (header, claims))
        return f"{segments}.{b64(self._signature(segments.encode()))}"


def assertion_parts(app: str, key: Key, issuer: str, now: datetime) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a right client assertion."""
    at = int(now.timestamp())
    header = {"alg": key.alg, "kid": key.thumbprint, "typ": "client-authentication+jwt"}
    return header, {"iss": app, "sub": app, "aud": issuer, "iat": at, "exp": at + 60, "jti": new_id()}


def assertion(app: str, key: Key, issuer: str, now: datetime, **other: Any) -> str:
    """A client assertion, right but for `other` claims; None removes one."""
    header, claims = assertion_parts(app, key, issuer, now)
    return key.sign(header, {name: value for name, value in (claims | other).items() if value is not None})


def proof_parts(key: Key, method: str, url: str, now: datetime, token: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a right DPoP proof."""
    claims: dict[str, Any] = {"htm": method, "htu": url, "iat": int(now.timestamp()), "jti": new_id()}
    if token is not None:
        claims["ath"] = b64(hashlib.sha256(token.encode()).digest())
    return {"typ": "dpop+jwt", "alg": key.alg, "jwk": key.jwk}, claims


def proof(key: Key, method: str, url: str, now: datetime, token: str | None = None, **other: Any) -> str:
    """A DPoP proof, right but for `other` claims; None removes one."""
    header, claims = proof_parts(key, method, url, now, token)
    return key.sign(header, {name: value for name, value in (claims | other).items() if value is not None})
