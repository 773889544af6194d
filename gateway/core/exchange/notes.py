"""C2SP signed notes: the one signature format at rest (exchange.md §2.3–2.5).

A note is believed only after, in this order: it is well formed; lines of unknown keys are set aside; every line of a known key
verifies; each required algorithm has a good line; the key's use and time are right; its first line and context are the expected ones
and its digest is that of the body. Checkpoints are notes too; no artefact can pass for another, for each has its own first line and
key use. This room must not know what a body means.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.wire import SHA256, Suite, b64, digest_text, encode, strict_json, unb64
from gateway.core.signing import Algorithm, KeyUse, Signer, Verifier

MAX_NOTE_BYTES = 16 * 1024
MAX_LINES = 16
DEFAULT_SKEW = timedelta(seconds=300)
EMPTY_ROOT = SHA256.hash(b"")
"""Root of a tree without leaves."""

_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]")
_LINE = re.compile(r"— (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/]+={0,2})\Z")

KeyRef = tuple[str, bytes]
"""(name, key id): how a signature line names its key."""


class SignatureLine(Struct, frozen=True):
    """One line as it stands in the note; nothing is believed yet."""

    name: str
    key_id: bytes
    signature: bytes


class Note(Struct, frozen=True):
    """A note taken apart: the text that is signed, and who claims to have signed it."""

    text: str
    lines: tuple[SignatureLine, ...]


class KnownKey(Struct, frozen=True, kw_only=True):
    """A public key that we trust for one use; `not_before` is null for a key pinned in an agreement."""

    verifier: Verifier
    use: KeyUse
    not_before: datetime | None = None
    not_after: datetime | None = None
    revoked_at: datetime | None = None


class KeyRing(Struct, frozen=True, kw_only=True):
    """The keys of one party that we trust."""

    party: str
    keys: Mapping[KeyRef, KnownKey]

    @classmethod
    def of(cls, party: str, keys: Iterable[KnownKey]) -> "KeyRing":
        """A ring of these keys."""
        return cls(party=party, keys={(key.verifier.name, key.verifier.key_id): key for key in keys})

    def vkeys(self, use: KeyUse) -> tuple[str, ...]:
        """The verifier keys for one use."""
        return tuple(key.verifier.vkey for key in self.keys.values() if key.use == use)


class SignedDocument(Struct, frozen=True):
    """A body and its note: how signed things travel over HTTP and stand in the store."""

    body: bytes
    note: str


# --- writing ----------------------------------------------------------------------------------------------------------


def sign(text: str, signers: Sequence[Signer]) -> str:
    """The note: the text, an empty line, one line for each key."""
    message = text.encode()
    return text + "\n" + "".join(signature_line(signer, message) for signer in signers)


def signature_line(signer: Signer, message: bytes) -> str:
    """One signature line over the text."""
    return f"— {signer.name} {b64(signer.key_id + signer.sign(message))}\n"


def add_line(note: str, signer: Signer) -> str:
    """The same note with one more signature, for a countersignature or a newer key."""
    text, _ = _split(note)
    return note + signature_line(signer, text.encode())


def joined(note: str, other: str) -> str:
    """One text with the signature lines of both notes, each once; an empty note has none.

    Raises ExchangeError SIG_FORMAT, SIG_CONTEXT when they are about two texts.
    """
    if not note:
        return other
    mine, theirs = parse(note), parse(other)
    if mine.text != theirs.text:
        raise ExchangeError("two notes about two texts", code="SIG_CONTEXT")
    held = {(line.name, line.key_id) for line in mine.lines}
    more = (line for line in theirs.lines if (line.name, line.key_id) not in held)
    return note + "".join(f"— {line.name} {b64(line.key_id + line.signature)}\n" for line in more)


def document_text(artefact: str, context: str, body: bytes, suite: Suite = SHA256) -> str:
    """The three lines that are signed for a document."""
    return f"chengxin-exchange/{artefact}/1\n{context}\n{digest_text(body, suite)}\n"


def sign_document(artefact: str, context: str, body: bytes, signers: Sequence[Signer], suite: Suite = SHA256) -> SignedDocument:
    """The document with its note."""
    return SignedDocument(body, sign(document_text(artefact, context, body, suite), signers))


def envelope(document: SignedDocument) -> bytes:
    """How a signed document travels: `{"body":"…","note":"…"}`."""
    return encode({"body": document.body.decode(), "note": document.note})


def from_envelope(value: object) -> SignedDocument:
    """A signed document out of decoded JSON.

    Raises ExchangeError SCHEMA_JSON when it is not an object of two strings.
    """
    if not isinstance(value, dict) or not isinstance(value.get("body"), str) or not isinstance(value.get("note"), str):
        raise ExchangeError('a signed document is {"body":string,"note":string}', code="SCHEMA_JSON")
    return SignedDocument(value["body"].encode(), value["note"])


def read_envelope(data: bytes) -> SignedDocument:
    """A signed document out of JSON bytes.

    Raises ExchangeError SCHEMA_JSON.
    """
    try:
        _envelope.decode(data)  # first: the strict look at a megabyte of something else takes half a second
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExchangeError('a signed document is {"body":string,"note":string}', code="SCHEMA_JSON") from error
    return from_envelope(strict_json(data))


class Envelope(Struct, forbid_unknown_fields=True):
    """The form of a signed document over HTTP."""

    body: str
    note: str


_envelope = msgspec.json.Decoder(Envelope)


# --- reading ----------------------------------------------------------------------------------------------------------


def _split(note: str) -> tuple[str, str]:
    at = note.rfind("\n\n")
    if at < 0:
        raise ExchangeError("a note has an empty line before its signatures", code="SIG_FORMAT")
    return note[: at + 1], note[at + 2 :]


def parse(note: str) -> Note:
    """The note taken apart.

    Raises ExchangeError SIG_FORMAT for anything that is not exactly a signed note, or for the same (name, key id) twice.
    """
    try:
        data = note.encode()
    except UnicodeEncodeError as error:
        raise ExchangeError("a note is UTF-8", code="SIG_FORMAT") from error
    if len(data) > MAX_NOTE_BYTES:
        raise ExchangeError("a note has at most 16 KiB", code="SIG_FORMAT")
    if _CONTROL.search(data):
        raise ExchangeError("a note has no control characters but LF", code="SIG_FORMAT")
    text, signatures = _split(note)
    if not signatures.endswith("\n"):
        raise ExchangeError("the last line of a note ends in LF", code="SIG_FORMAT")
    raw_lines = signatures[:-1].split("\n")
    if not 1 <= len(raw_lines) <= MAX_LINES:
        raise ExchangeError("a note has 1 to 16 signature lines", code="SIG_FORMAT")
    lines: list[SignatureLine] = []
    for raw in raw_lines:
        match = _LINE.match(raw)
        if match is None:
            raise ExchangeError("a signature line is `— name base64`", code="SIG_FORMAT")
        decoded = unb64(match["signature"], "SIG_FORMAT")
        if len(decoded) < 5:
            raise ExchangeError("a signature line is too short", code="SIG_FORMAT")
        lines.append(SignatureLine(match["name"], decoded[:4], decoded[4:]))
    if len({(line.name, line.key_id) for line in lines}) != len(lines):
        raise ExchangeError("the same key signs twice", code="SIG_FORMAT")
    return Note(text, tuple(lines))


def verify(
    note: str,
    ring: KeyRing,
    *,
    use: KeyUse,
    required: frozenset[Algorithm],
    first_seen: datetime,
    own_time: datetime | None = None,
    skew: timedelta = DEFAULT_SKEW,
) -> str:
    """The text of a note that this party signed with keys good for this use.

    `first_seen` is when we first saw the artefact; `own_time` what it says of itself, if it can be read.

    Raises ExchangeError SIG_FORMAT, SIG_INVALID, SIG_UNKNOWN_KEY, SIG_ALG_MISSING, SIG_KEY_USE, SIG_KEY_EXPIRED or SIG_KEY_REVOKED.
    """
    parsed = parse(note)
    message = parsed.text.encode()
    known = [ring.keys[line.name, line.key_id] for line in parsed.lines if (line.name, line.key_id) in ring.keys]
    for line in parsed.lines:
        key = ring.keys.get((line.name, line.key_id))
        if key is not None and not key.verifier.verify(message, line.signature):
            raise ExchangeError("a signature of a known key fails", code="SIG_INVALID", place=line.name)
    if not known:
        raise ExchangeError("no signature of a key that we know", code="SIG_UNKNOWN_KEY", hint="fetch the partner's keys document")
    for algorithm in sorted(required):
        candidates = [key for key in known if key.verifier.algorithm == algorithm]
        if not candidates:
            raise ExchangeError(f"no {algorithm} signature", code="SIG_ALG_MISSING")
        faults = [key_fault(key, use, first_seen, own_time, skew) for key in candidates]
        if None not in faults:
            raise ExchangeError(
                "the key may not sign this, or not then", code=next(filter(None, faults)), place=candidates[0].verifier.name
            )
    return parsed.text


def key_fault(key: KnownKey, use: KeyUse, first_seen: datetime, own_time: datetime | None, skew: timedelta) -> str | None:
    """Why this key does not count for this use at these times (§2.5); None when it is good."""
    if key.use != use:
        return "SIG_KEY_USE"
    said = own_time or first_seen
    if key.not_before is not None and said < key.not_before - skew:
        return "SIG_KEY_EXPIRED"
    if key.not_after is not None and not (said < key.not_after + skew and first_seen < key.not_after + skew):
        return "SIG_KEY_EXPIRED"
    if key.revoked_at is not None and first_seen >= key.revoked_at:
        return "SIG_KEY_REVOKED"
    return None


def verify_document(
    document: SignedDocument,
    ring: KeyRing,
    *,
    artefact: str,
    context: str,
    use: KeyUse,
    first_seen: datetime,
    own_time: datetime | None = None,
    required: frozenset[Algorithm] = frozenset({"ed25519"}),
    suite: Suite = SHA256,
    skew: timedelta = DEFAULT_SKEW,
) -> None:
    """Check that this party signed exactly this body as this artefact in this context.

    Raises ExchangeError with the codes of `verify`, SIG_CONTEXT for another artefact or context, SIG_INVALID for another body.
    """
    text = verify(document.note, ring, use=use, required=required, first_seen=first_seen, own_time=own_time, skew=skew)
    lines = text.split("\n")
    if len(lines) != 4 or lines[0] != f"chengxin-exchange/{artefact}/1" or lines[1] != context:
        raise ExchangeError("the note is about something else", code="SIG_CONTEXT")
    if lines[2] != digest_text(document.body, suite):
        raise ExchangeError("the note is about another body", code="SIG_INVALID")


def context_of(note: str) -> str:
    """The context line of a document's note, before anything of it is believed.

    Raises ExchangeError SIG_FORMAT.
    """
    lines = parse(note).text.split("\n")
    if len(lines) != 4:
        raise ExchangeError("the text of a document's note has three lines", code="SIG_FORMAT")
    return lines[1]


# --- checkpoints ------------------------------------------------------------------------------------------------------


class Checkpoint(Struct, frozen=True, kw_only=True):
    """The head of a log: origin, size, root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{b64(self.root)}\n"


_SIZE = re.compile(r"(0|[1-9][0-9]{0,15})\Z")


def read_checkpoint(text: str) -> Checkpoint:
    """A checkpoint out of a verified note's text.

    Raises ExchangeError SIG_CONTEXT when the text is no checkpoint without extension lines.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not _SIZE.match(lines[1]) or lines[0].startswith("chengxin-exchange/"):
        raise ExchangeError("the note is no checkpoint", code="SIG_CONTEXT")
    root = unb64(lines[2], "SIG_CONTEXT")
    if len(root) != 32:
        raise ExchangeError("a root has 32 bytes", code="SIG_CONTEXT")
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=root)
