"""Sealed keyset cursors `c1.…` (api.md §1.2, policy.md §17.7).

Rules: AES-GCM-SIV with a fixed nonce, so equal contents give equal cursors and nothing is told by comparing two; bound to
caller, plan, canonical query and day; whatever does not fit is one and the same `bad-cursor`, and only one's own cursor that
is merely too old, or of a policy no longer in force, is `cursor-expired`. This room must not know what the keys mean.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import date
from functools import lru_cache
from hashlib import sha256
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from msgspec import Meta, Struct, structs

from gateway.core.errors import BadCursor, CursorExpired
from gateway.operations.asking import Key, Position

PREFIX = "c1."
LIFETIME_DAYS = 2
"""A cursor ends with the UTC+8 day after next: 48 to 72 hours."""
MAX_LENGTH = 2048
_NONCE = bytes(12)
_LABEL = b"chengxin cursor c1"


class Binding(Struct, frozen=True, kw_only=True):
    """What a cursor belongs to: caller, plan in force and the canonical query without the cursor."""

    tier: str
    purpose: str
    app: str
    """Empty for anonymous callers: never an address."""
    plan: str
    """Plan hash of the policy in force."""
    query: str
    """Path and canonical query, parameters sorted, the cursor left out."""
    digests: tuple[bytes, bytes, bytes] = (b"", b"", b"")
    """Of caller, query and plan; worked out once for all cursors of an answer."""

    def __post_init__(self) -> None:
        """Work the digests out."""
        structs.force_setattr(self, "digests", (_known(self.tier, self.purpose, self.app), _short(self.query), _known(self.plan)))


class _Sealed(Struct, frozen=True, array_like=True):
    who: bytes
    query: bytes
    plan: bytes
    last_day: int
    snapshot: int
    keys: Annotated[tuple[Key, ...], Meta(max_length=8)]
    back: bool


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Sealed)


def _short(*parts: str) -> bytes:
    return sha256("\0".join(parts).encode()).digest()[:16]


_known = lru_cache(1024)(_short)
"""Of callers and plans, which are few; what was asked for is not remembered."""


class Cursors:
    """Seals and opens cursors with one key; the same key on every process of a gateway."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCMSIV(key)

    def seal(self, position: Position, binding: Binding, today: date) -> str:
        """The cursor for a position; the same state, query and caller on one day give the same cursor."""
        plain = _ENCODER.encode(
            _Sealed(
                *binding.digests,
                today.toordinal() + LIFETIME_DAYS,
                position.snapshot,
                position.keys,
                position.back,
            )
        )
        return PREFIX + urlsafe_b64encode(self._aead.encrypt(_NONCE, plain, _LABEL)).decode().rstrip("=")

    def open(self, cursor: str, binding: Binding, today: date, first_page: str) -> Position:
        """The position a cursor stands for.

        Raises BadCursor for anything that is not this caller's own cursor of this query; CursorExpired, with the URL of the
        first page, for one's own that is too old or was made under another policy.
        """
        sealed = self._unseal(cursor)
        who, query, plan = binding.digests
        if sealed is None or sealed.who != who or sealed.query != query:
            raise BadCursor
        if sealed.last_day < today.toordinal() or sealed.plan != plan:
            raise CursorExpired(next_url=first_page)
        return Position(snapshot=sealed.snapshot, keys=sealed.keys, back=sealed.back)

    def _unseal(self, cursor: str) -> _Sealed | None:
        text = cursor.removeprefix(PREFIX)
        if text == cursor or len(cursor) > MAX_LENGTH or not cursor.isascii():
            return None
        try:
            box = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if urlsafe_b64encode(box).decode().rstrip("=") != text:
                return None
            return _DECODER.decode(self._aead.decrypt(_NONCE, box, _LABEL))
        except (ValueError, InvalidTag, msgspec.DecodeError):
            return None
