"""Client assertions: who an app is at the token endpoint (RFC 7523 with the update rfc7523bis; policy.md §14.3).

Rules: all of them hold, or the assertion is refused; stricter than the standard on purpose where the standard leaves a choice (one
audience, as a text; three header members, no more). Nothing is ever fetched. The `jti` is consumed by whoever called, after the
signature verified. This room knows no store and no clock.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from gateway.core.callers.compact import Malformed, read_compact, single_use_id, whole_second
from gateway.core.callers.refusals import AssertionRefused
from gateway.core.signing import JoseKey

TYP: Final = "client-authentication+jwt"
HEADER: Final = frozenset({"alg", "kid", "typ"})
ALGORITHMS: Final = ("PS256", "ES256", "Ed25519")
SKEW_S: Final = 10
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Assertion(Struct, frozen=True, kw_only=True):
    """A believed assertion: which key vouched for which app, and the id that may be used this once."""

    app: str
    kid: str
    thumbprint: str
    jti: str
    issued_at: datetime
    used_until: datetime
    """Until then its id must be remembered."""


def claimed_app(text: str) -> str:
    """Whom an assertion speaks for by its own words, to load what is known of that app; believed by nobody yet.

    Raises AssertionRefused.
    """
    try:
        sub = read_compact(text).claims.get("sub")
    except Malformed as error:
        raise AssertionRefused(f"assertion-{error}") from None
    if not isinstance(sub, str) or not 1 <= len(sub) <= 64 or not sub.isascii() or not sub.isprintable():
        raise AssertionRefused("assertion-sub")
    return sub


def check_assertion(
    text: str, *, issuer: str, keys: Callable[[str], JoseKey | None], client_id: str | None, now: datetime, max_s: int
) -> Assertion:
    """The assertion, if every rule holds. `keys` gives the active key of the app that bears a `kid`.

    Raises AssertionRefused.
    """
    try:
        return _checked(text, issuer=issuer, keys=keys, client_id=client_id, now=now, max_s=max_s)
    except Malformed as error:
        raise AssertionRefused(f"assertion-{error}") from None


def _checked(
    text: str, *, issuer: str, keys: Callable[[str], JoseKey | None], client_id: str | None, now: datetime, max_s: int
) -> Assertion:
    header, claims = read_compact(text)
    _require(set(header) == HEADER, "header")
    _require(header["typ"] == TYP, "typ")
    kid, alg = header["kid"], header["alg"]
    _require(isinstance(kid, str) and isinstance(alg, str), "header")
    key = keys(kid)
    if key is None:
        raise AssertionRefused("assertion-kid")
    _require(alg == key.alg, "alg")
    _require(key.verify(text), "signature")
    issued_at = _times(claims, now, max_s)
    sub = claims.get("sub")
    _require(isinstance(sub, str) and claims.get("iss") == sub and client_id in (None, sub), "sub")
    audience = claims.get("aud")
    _require(isinstance(audience, str) and audience == issuer, "aud")
    return Assertion(
        app=str(sub),
        kid=kid,
        thumbprint=key.thumbprint,
        jti=single_use_id(claims),
        issued_at=datetime.fromtimestamp(issued_at, UTC),
        used_until=datetime.fromtimestamp(claims["exp"] + SKEW_S, UTC),
    )


def _times(claims: Mapping[str, Any], now: datetime, max_s: int) -> int:
    """`iat`, after it and the other times were found right."""
    iat, exp = whole_second(claims, "iat"), whole_second(claims, "exp")
    at = now.timestamp()
    _require(0 < exp - iat <= max_s, "life")
    _require(iat <= at + SKEW_S, "early")
    _require(at < exp + SKEW_S, "late")
    if "nbf" in claims:
        _require(whole_second(claims, "nbf") <= at + SKEW_S, "nbf")
    return iat


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionRefused(f"assertion-{what}")
