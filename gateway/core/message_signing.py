"""Requests signed by RFC 9421, as exchange.md §10 has them: what is covered, for how long, and by whom.

Rules: exactly one signature, label `cx`, with the tag that the door expects; it covers method and whole target URI, and with a body the
type and digest of the body; created, expires, nonce, keyid and alg="ed25519" are all there and nothing else; a minute old at most, with
a minute of skew. The target URI is made of the configured origin by whoever calls. Single use of nonces and rights are the
caller's. This room must not read the clock: `now` is given.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from http_message_signatures import ContentDigest, HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver
from http_message_signatures.algorithms import HTTPSignatureAlgorithm
from http_message_signatures.exceptions import HTTPMessageSignaturesException, InvalidSignature
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.signing import Ed25519Signer, Verifier

LABEL: Final = "cx"
ALGORITHM: Final = "ed25519"
MAX_AGE: Final = timedelta(seconds=60)
SKEW: Final = timedelta(seconds=60)
COMPONENTS: Final = ("@method", "@target-uri")
BODY_COMPONENTS: Final = (*COMPONENTS, "content-type", "content-digest")
_CLAIMED: Final = re.compile(r';keyid="([^"\\\\]{1,128})"')
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_PARAMETERS: Final = frozenset({"created", "expires", "nonce", "keyid", "alg", "tag"})


class Message(Struct, frozen=True, kw_only=True):
    """A request as it is signed: its target is the whole URI under the configured origin."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]]


class Believed(Struct, frozen=True, kw_only=True):
    """A signature that verified: by which key, its nonce, and what was signed."""

    key_id: str
    nonce: str
    base: bytes
    """The signature base: what the key signed."""
    signature: bytes
    covered: Mapping[str, str]
    """Covered components with their values."""


class _Fields:
    """Header lines in their order, as the library reads and writes them."""

    def __init__(self, lines: Sequence[tuple[str, str]]) -> None:
        self.lines = [(name, value) for name, value in lines]

    def items(self) -> list[tuple[str, str]]:
        return self.lines

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self.lines])

    def __contains__(self, name: object) -> bool:
        return any(held.lower() == str(name).lower() for held, _ in self.lines)

    def __getitem__(self, name: str) -> str:
        return next(value for held, value in self.lines if held.lower() == name.lower())

    def __setitem__(self, name: str, value: str) -> None:
        self.lines.append((name, value))

    def __delitem__(self, name: str) -> None:
        self.lines = [line for line in self.lines if line[0].lower() != name.lower()]


class _Request:
    def __init__(self, method: str, url: str, headers: _Fields) -> None:
        self.method, self.url, self.headers = method, url, headers


class _Ed25519(HTTPSignatureAlgorithm):
    """The algorithm as the rest of the house has it: strict about points and signatures."""

    algorithm_id = ALGORITHM

    def __init__(self, public_key: Any = None, private_key: Any = None) -> None:
        self._verifier: Verifier | None = public_key
        self._signer: Ed25519Signer | None = private_key

    def sign(self, message: bytes) -> bytes:
        """The signature over these bytes."""
        if self._signer is None:
            raise HTTPMessageSignaturesException("no key to sign with")
        return self._signer.sign(message)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raises InvalidSignature."""
        if self._verifier is None or not self._verifier.verify(message, signature):
            raise InvalidSignature("the signature does not fit")


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, public: Mapping[str, Verifier], private: Mapping[str, Ed25519Signer]) -> None:
        self._public, self._private = public, private

    def resolve_public_key(self, key_id: str) -> Verifier | None:
        return self._public.get(key_id)

    def resolve_private_key(self, key_id: str) -> Ed25519Signer:
        return self._private[key_id]


class _Verifier(HTTPMessageVerifier):
    """The library's verifier on a clock that is given."""

    max_clock_skew = SKEW

    def __init__(self, now: datetime, keys: Mapping[str, Verifier]) -> None:
        super().__init__(signature_algorithm=_Ed25519, key_resolver=_Keys(keys, {}))
        self._now = now

    def validate_created_and_expires(self, sig_input: Any, max_age: timedelta | None = None) -> None:
        """Both are there, in order, and now lies between them, give or take the skew."""
        created, expires = (_moment(sig_input.params.get(name)) for name in ("created", "expires"))
        if not created < expires <= created + MAX_AGE + SKEW:
            raise _UntimelyError("expires does not follow created closely")
        oldest = created + (MAX_AGE if max_age is None else max_age)
        if created > self._now + SKEW or min(expires, oldest) < self._now - SKEW:
            raise _UntimelyError("not of now")


    def signatures(self, headers: Sequence[tuple[str, str]]) -> dict[str, bytes]:
        """Every signature of a message that was parsed before, by label."""
        parsed = self._parse_signature_dictionary(", ".join(_lines(headers, "signature")))
        return {label: parsed[label].value for label in parsed}


class _UntimelyError(InvalidSignature):
    """Too old, or of the future."""


def _moment(seconds: object) -> datetime:
    if type(seconds) is not int or not 0 <= seconds < 2**33:
        raise InvalidSignature("a time is a whole number of seconds")
    return datetime.fromtimestamp(seconds, tz=UTC)


def sign_request(
    signer: Ed25519Signer, *, method: str, url: str, body: bytes, content_type: str, tag: str, now: datetime, nonce: str
) -> list[tuple[str, str]]:
    """The header fields of a signed request: type and digest of a body, `Signature-Input` and `Signature`."""
    fields = _Fields([("Content-Type", content_type)] if body else [])
    key_id = key_id_of(signer)
    made = HTTPMessageSigner(signature_algorithm=_Ed25519, key_resolver=_Keys({}, {key_id: signer}))
    made.sign(
        _Request(method, url, fields),
        key_id=key_id,
        created=now,
        expires=now + MAX_AGE,
        nonce=nonce,
        label=LABEL,
        tag=tag,
        covered_component_ids=BODY_COMPONENTS if body else COMPONENTS,
        body=body or None,
    )
    return fields.lines


def key_id_of(signer: Verifier | Ed25519Signer) -> str:
    """`name+hex` of a key, as signatures name it."""
    return f"{signer.name}+{signer.key_id.hex()}"


def claimed_key(message: Message) -> str:
    """Which key a request says that it was signed with, before anything is believed: to know whose keys to look for.

    Raises ExchangeError SIG_HTTP when it names none, or several.
    """
    named = [key for line in _lines(message.headers, "signature-input") for key in _CLAIMED.findall(line)]
    if len(named) != 1:
        raise ExchangeError("a request has exactly one signature, and that names its key", code="SIG_HTTP")
    return str(named[0])


def verify_request(message: Message, *, keys: Mapping[str, Verifier], tag: str, now: datetime) -> Believed:
    """The one signature of a request, before its body is read.

    Raises ExchangeError SIG_HTTP, SIG_UNKNOWN_KEY, TIME_EXPIRED.
    """
    request = _Request(message.method, message.url, _Fields(message.headers))
    verifier = _Verifier(now, keys)
    try:
        found = verifier.verify(
            request, max_age=MAX_AGE, expect_tag=tag, expect_label=LABEL, require_components=[f'"{name}"' for name in COMPONENTS]
        )
    except _UntimelyError as error:
        raise ExchangeError("the signature is not of now", code="TIME_EXPIRED") from error
    except HTTPMessageSignaturesException as error:
        code = "SIG_UNKNOWN_KEY" if "resolve verification key" in str(error) else "SIG_HTTP"
        raise ExchangeError("the request has no signature that can be believed", code=code) from error
    signatures = verifier.signatures(message.headers)
    if len(found) != 1 or len(signatures) != 1:
        raise ExchangeError("a request has exactly one signature", code="SIG_HTTP")
    believed = found[0]
    said = believed.parameters
    if set(said) != _PARAMETERS or said["alg"] != ALGORITHM or _NONCE.fullmatch(str(said["nonce"])) is None:
        raise ExchangeError("created, expires, nonce, keyid, alg and tag, and nothing else", code="SIG_HTTP")
    base = "\n".join(f"{name}: {value}" for name, value in believed.covered_components.items()).encode()
    return Believed(
        key_id=str(said["keyid"]),
        nonce=str(said["nonce"]),
        base=base,
        signature=signatures[LABEL],
        covered=dict(believed.covered_components),
    )


def verify_body(message: Message, believed: Believed, body: bytes) -> None:
    """That the body is the one whose SHA-256 was signed with its type; no body needs none.

    Raises ExchangeError SIG_CONTENT_DIGEST.
    """
    if not body and not _lines(message.headers, "content-digest"):
        return
    digest = believed.covered.get('"content-digest"', "")
    if '"content-type"' not in believed.covered or not digest.startswith("sha-256=:") or "," in digest:
        raise ExchangeError("the signature does not cover type and SHA-256 of the body", code="SIG_CONTENT_DIGEST")
    try:
        ContentDigest.verify(digest, body)
    except HTTPMessageSignaturesException as error:
        raise ExchangeError("the body is not the one whose digest was signed", code="SIG_CONTENT_DIGEST") from error


def _lines(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    return [value for held, value in headers if held.lower() == name]
