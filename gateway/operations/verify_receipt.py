"""Verify a receipt of a query by itself: its signature, and, where the answer is at hand, its digest. Nothing is asked of a store.

Rules: a file is what `POST /v1/receipts` or `GET /v1/receipts/{id}` gave, or the note alone; what stands beside the note must say the
same. Which keys are believed is said by whoever verifies. This story must not trust a word that no signature covers.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.notes import KeyRing, KnownKey
from gateway.core.exchange.wire import unb64u
from gateway.core.publication import receipts
from gateway.core.signing import OwnKey, parse_vkey

_WORDS = ("id", "issued_at", "answer_sha256", "dataset_version", "policy_version", "policy_plan")


class VerifiedReceipt(Struct, frozen=True, kw_only=True):
    """What a good receipt proves."""

    party: str
    id: str
    issued_at: str
    answer_sha256: str
    dataset_version: str
    policy_version: int
    policy_plan: str | None
    answer: bool | None
    """Whether the given answer is the one; None: none was given."""


def own_ring(party: str, keys: Sequence[OwnKey]) -> KeyRing:
    """A gateway's own keys for receipts."""
    return KeyRing.of(
        party,
        [
            KnownKey(verifier=parse_vkey(key.signer.vkey), use="receipt", not_before=key.not_before, revoked_at=key.revoked_at)
            for key in keys
            if key.use == "receipt"
        ],
    )


def given_ring(vkeys: Sequence[str]) -> KeyRing:
    """The keys that somebody says are to be believed. Raises ExchangeError SIG_FORMAT."""
    return KeyRing.of("", [KnownKey(verifier=parse_vkey(each), use="receipt") for each in vkeys])


def verify_receipt(file: bytes, ring: KeyRing, *, answer: bytes | None = None) -> VerifiedReceipt:
    """What the receipt in a file proves.

    Raises ExchangeError with the code of what is wrong with it; SIG_INVALID also where words beside the note differ, or the answer is
    another one.
    """
    note, beside = _taken_apart(file)
    said, party = receipts.read_text(notes.parse(note).text)
    at = datetime.fromisoformat(said.issued_at)
    notes.verify(note, ring, use="receipt", required=frozenset({"ed25519"}), first_seen=at, own_time=at)
    for name in _WORDS:
        if name in beside and beside[name] != getattr(said, name):
            raise ExchangeError("the words beside the note are not those that were signed", code="SIG_INVALID", place=name)
    if answer is not None and receipts.answer_digest(answer, _salt(beside)) != said.answer_sha256:
        raise ExchangeError("this is not the answer of which the receipt was given", code="SIG_INVALID", place="answer_sha256")
    return VerifiedReceipt(
        party=party,
        id=said.id,
        issued_at=said.issued_at,
        answer_sha256=said.answer_sha256,
        dataset_version=said.dataset_version,
        policy_version=said.policy_version,
        policy_plan=said.policy_plan,
        answer=None if answer is None else True,
    )


def _taken_apart(file: bytes) -> tuple[str, dict[str, object]]:
    try:
        if not file.lstrip().startswith(b"{"):
            return file.decode(), {}
        beside: dict[str, object] = msgspec.json.decode(file, type=dict[str, object])
        note = beside["note"]
    except (UnicodeDecodeError, msgspec.DecodeError, KeyError) as error:
        raise ExchangeError("neither a receipt in JSON nor a signed note", code="SIG_FORMAT") from error
    if not isinstance(note, str):
        raise ExchangeError("the note of a receipt is a text", code="SIG_FORMAT")
    return note, beside


def _salt(beside: dict[str, object]) -> bytes:
    given = beside.get("answer_salt")
    if not isinstance(given, str):
        return b""
    return unb64u(given, "SIG_FORMAT")
