"""Receipts of queries: what was answered, when and under which versions, signed so that it can be proven later (api.md §7.17).

Rules:
- a receipt names digest, time, versions and plans of an answer; never what was asked, nor the answer.
- the digest of an answer about organisations alone is the plain SHA-256 of its bytes. Where persons or households may stand in it, 16
  random bytes come first, which only whoever made the receipt is given: nobody else can try answers against the digest. Which of the
  two it is, a receipt does not say.
- two answers say the same when their content is equal: all but the members that tell when, where and under which policy version.
- the note has its own first line and its own key: it cannot pass for another artefact, nor another for it.
This room must not run a query.
"""

import re
from base64 import b32encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.records.identifiers import normalise_code

FIRST_LINE: Final = "chengxin-receipt/2"
_WITHOUT_PLAN: Final = "chengxin-receipt/1"
"""Receipts of before: they verify for ever."""
ID: Final = re.compile(r"rcpt_[a-z2-7]{26}\Z")
SALT_BYTES: Final = 16
_PERSONAL: Final = frozenset({"household", "person"})
_UNSURE: Final = frozenset({"q", "fields", "shape"})
_HOUSEHOLD: Final = re.compile(r"92[0-9A-Z]{16}")
_CIRCUMSTANCES: Final = frozenset({"self", "next", "prev", "as_of", "dataset_version", "policy_version"})
_DOCUMENT: Final = msgspec.json.Decoder()
_SORTED: Final = msgspec.json.Encoder(order="deterministic")
_TEXT: Final = re.compile(
    r"(?P<first>chengxin-receipt/\d+)\n(?P<party>\S+)\n(?P<id>rcpt_[a-z2-7]{26})\n"
    r"issued (?P<issued_at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\n"
    r"dataset-version (?P<dataset_version>[0-9]{14}-[0-9]+)\npolicy-version (?P<policy_version>\d+)\n"
    r"(?:policy-plan (?P<policy_plan>[0-9a-f]{64})\n)?"
    r"answer sha-256:(?P<answer_sha256>[0-9a-f]{64})\n\Z"
)


class Receipt(Struct, frozen=True, kw_only=True):
    """What a receipt says."""

    id: str
    issued_at: str
    answer_sha256: str
    dataset_version: str
    policy_version: int
    policy_plan: str | None = None
    """Hash of the plans that governed the answer, as the header `Policy-Plan` of the answer named it; None of a receipt of before."""


def receipt_id(drawn: bytes) -> str:
    """An id out of 16 random bytes."""
    return "rcpt_" + b32encode(drawn).decode().rstrip("=").lower()


def note_text(receipt: Receipt, party: str) -> str:
    """What is signed of a receipt."""
    return (
        f"{FIRST_LINE}\n{party}\n{receipt.id}\nissued {receipt.issued_at}\ndataset-version {receipt.dataset_version}\n"
        f"policy-version {receipt.policy_version}\npolicy-plan {receipt.policy_plan}\nanswer sha-256:{receipt.answer_sha256}\n"
    )


def read_text(text: str) -> tuple[Receipt, str]:
    """The receipt in a signed text, and whose it is.

    Raises ExchangeError SIG_CONTEXT for another artefact.
    """
    match = _TEXT.match(text)
    if match is None or match["first"] != (_WITHOUT_PLAN if match["policy_plan"] is None else FIRST_LINE):
        raise ExchangeError("the note is no receipt of a query", code="SIG_CONTEXT")
    said = match.groupdict()
    receipt = Receipt(
        id=said["id"],
        issued_at=said["issued_at"],
        answer_sha256=said["answer_sha256"],
        dataset_version=said["dataset_version"],
        policy_version=int(said["policy_version"]),
        policy_plan=said["policy_plan"],
    )
    return receipt, said["party"]


def answer_digest(answer: bytes, salt: bytes = b"") -> str:
    """SHA-256 of salt and answer, as hexadecimal digits."""
    return sha256(salt + answer).hexdigest()


def about_organisations(url: str, answer: bytes) -> bool:
    """Whether question and answer are certainly about organisations alone; whatever is not certain is not.

    A text that is searched for may be a person's name. An answer that was cut or flattened does not say of which kind its subject is,
    and neither do the records and events of a subject that is named by its opaque id alone.
    """
    path, _, query = url.partition("?")
    asked = parse_qsl(query, keep_blank_values=True)
    if any(name in _UNSURE or _HOUSEHOLD.search(normalise_code(value)) for name, value in asked):
        return False
    _, found, rest = path.partition("/subjects/")
    subject, _, further = rest.partition("/")
    named = normalise_code(unquote(subject))
    if found and (_HOUSEHOLD.match(named) or (further and named.startswith("SUB_"))):
        return False
    document = _DOCUMENT.decode(answer)
    if found and not further and "kind" not in document:
        return False
    return not _personal(document)


def _personal(value: Any) -> bool:
    if isinstance(value, Mapping):
        return value.get("kind") in _PERSONAL or any(map(_personal, value.values()))
    return isinstance(value, list) and any(map(_personal, value))


def content_digest(answer: bytes) -> bytes:
    """The digest of what an answer says, whenever and wherever it is given."""
    return sha256(_SORTED.encode(_content(_DOCUMENT.decode(answer), outside=True))).digest()


def _content(value: Any, *, outside: bool = False) -> Any:
    if isinstance(value, Mapping):
        left_out = _CIRCUMSTANCES if outside else ("policy_version",)
        return {name: _content(each) for name, each in value.items() if name not in left_out}
    return [_content(each) for each in value] if isinstance(value, list) else value
