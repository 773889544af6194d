"""DPoP: that whoever shows a token also holds the key it is bound to (RFC 9449; policy.md §14.4).

Rules: one header field, exactly three header members, a public key only, the configured origin and the exact path; the server's nonce is
an HMAC of a slot of sixty seconds, so that nothing has to be remembered for it. A parsed key is kept by the header segment it came in:
a program sends the same one each time. This room knows no store and no clock.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from msgspec import Struct

from gateway.core.callers.compact import Malformed, decoded, read_header, single_use_id, split, strict_json, whole_second
from gateway.core.callers.refusals import NonceWanted, ProofRefused
from gateway.core.signing import JoseKey, JoseKeyRefused, jose_key

TYP: Final = "dpop+jwt"
HEADER: Final = frozenset({"typ", "alg", "jwk"})
ALGORITHMS: Final = ("ES256", "Ed25519")
SLOT_S: Final = 60
_IGNORED: Final = frozenset({"use", "kid", "alg"})
_LONGEST_HEADER: Final = 2048
_KEPT_KEYS: Final = 4096


class Proof(Struct, frozen=True, kw_only=True):
    """A believed proof: which key made it, and the id that may be used this once."""

    jkt: str
    """RFC 7638 thumbprint of its key."""
    jti: str
    issued_at: datetime
    used_until: datetime
    """Until then its id must be remembered."""


def nonce_of(key: bytes, now: datetime, *, before: int = 0) -> str:
    """The server's nonce of the present slot, or of one before it."""
    return _nonce(key, int(now.timestamp()) // SLOT_S - before)


@lru_cache(maxsize=16)
def _nonce(key: bytes, slot: int) -> str:
    return urlsafe_b64encode(hmac.digest(key, b"dpop-nonce" + slot.to_bytes(8, "big"), "sha256")[:18]).decode()


def nonce_holds(key: bytes, now: datetime, nonce: str) -> bool:
    """Whether this is the nonce of the present slot or of the one before. It is no secret: whoever asks is given it."""
    return _holds(key, int(now.timestamp()) // SLOT_S, nonce)


def _holds(key: bytes, slot: int, nonce: str) -> bool:
    return nonce == _nonce(key, slot) or nonce == _nonce(key, slot - 1)


def digest_of(token: str) -> str:
    """`ath` of a token."""
    return urlsafe_b64encode(hashlib.sha256(token.encode("ascii")).digest()).rstrip(b"=").decode()


class Read(Struct, frozen=True, gc=False):
    """A proof of which everything holds but its signature, and the server's nonce: nothing of it is believed yet."""

    proof: Proof
    signed: Callable[[], bool]
    """Whether its key signed it."""
    wanted: str | None
    """The server's nonce, where one is wanted and this is not in it."""

    def believed(self) -> Proof:
        """The proof, if its key signed it.

        Raises ProofRefused, NonceWanted (only when all else is right).
        """
        if not self.signed():
            raise ProofRefused("proof-signature")
        if self.wanted is not None:
            raise NonceWanted(self.wanted)
        return self.proof


def check_proof(
    proofs: Sequence[str],
    *,
    method: str,
    url: str,
    now: datetime,
    window_s: int,
    ath: str | None = None,
    jkt: str | None = None,
    nonce_key: bytes | None = None,
) -> Proof:
    """The proof of a request, if every rule holds; the words are those of `read_proof`.

    Raises ProofRefused, NonceWanted (only when all else is right).
    """
    return read_proof(proofs, method, url, now, window_s, ath, jkt, nonce_key).believed()


def read_proof(
    proofs: Sequence[str],
    method: str,
    url: str,
    now: datetime,
    window_s: int,
    ath: str | None = None,
    jkt: str | None = None,
    nonce_key: bytes | None = None,
) -> Read:
    """The proof of a request, if every rule holds that needs no signature to be checked.

    `ath` is the digest of the access token beside it and `jkt` the key that the token is bound to; `nonce_key`: the server's nonce is
    wanted.
    Raises ProofRefused.
    """
    if len(proofs) != 1:
        raise ProofRefused("proof-count")
    text = proofs[0]
    try:
        header, payload, signature = split(text)
        if len(header) > _LONGEST_HEADER:
            raise Malformed("too-long")
        key, claims = _key_of(header), strict_json(decoded(payload))
        iat, jti = whole_second(claims, "iat"), single_use_id(claims)
        signed = key.asked(text[: -len(signature) - 1].encode("ascii"), decoded(signature))
    except Malformed as error:
        raise ProofRefused(f"proof-{error}") from None
    said, at = claims.get("ath"), now.timestamp()
    if claims.get("htm") != method:
        raise ProofRefused("proof-htm")
    if claims.get("htu") != url:
        raise ProofRefused("proof-htu")
    if abs(at - iat) > window_s:
        raise ProofRefused("proof-iat")
    if "ath" in claims if ath is None else not (isinstance(said, str) and said.isascii() and hmac.compare_digest(said, ath)):
        raise ProofRefused("proof-ath")
    if jkt is not None and not hmac.compare_digest(key.thumbprint, jkt):
        raise ProofRefused("proof-jkt")
    wanted = None
    if nonce_key is not None:
        nonce, slot = claims.get("nonce"), int(at) // SLOT_S
        if not (isinstance(nonce, str) and _holds(nonce_key, slot, nonce)):
            wanted = _nonce(nonce_key, slot)
    issued_at, used_until = _moments(iat, window_s)
    return Read(Proof(jkt=key.thumbprint, jti=jti, issued_at=issued_at, used_until=used_until), signed, wanted)


@lru_cache(maxsize=256)
def _moments(iat: int, window_s: int) -> tuple[datetime, datetime]:
    """When a proof was made, and until when its id must be remembered: of all proofs of one second the same."""
    issued_at = datetime.fromtimestamp(iat, UTC)
    return issued_at, issued_at + timedelta(seconds=window_s + 1)


@lru_cache(maxsize=_KEPT_KEYS)
def _key_of(segment: str) -> JoseKey:
    """The key that a header segment carries, after the header was found right; a wrong one is read again each time."""
    header = read_header(segment)
    _require(set(header) == HEADER, "header")
    _require(header["typ"] == TYP, "typ")
    given = header["jwk"]
    if not isinstance(given, dict):
        raise ProofRefused("proof-jwk")
    try:
        key = jose_key(given, ignored=_IGNORED)
    except JoseKeyRefused:
        raise ProofRefused("proof-jwk") from None
    _require(header["alg"] == key.alg, "alg")
    return key


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ProofRefused(f"proof-{what}")
