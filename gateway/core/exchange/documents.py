"""Keys documents: what a party says of its own keys, and which of them we trust (exchange.md §2.5).

A keys document is signed by an `agreement` key pinned in an agreement and is read only under that pin. A lower serial than the
highest seen, or the same serial with another digest, is refused. Members unknown to us are ignored, and so are keys of algorithms
that this gateway lacks. This room must not fetch anything.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, get_args

import msgspec
from msgspec import Meta, Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.notes import DEFAULT_SKEW, KeyRing, KnownKey, SignedDocument
from gateway.core.exchange.wire import InstantText, Number, PartyName, digest_text, encode, instant, parse_instant, strict_json
from gateway.core.signing import NAME_OF_USE, Algorithm, KeyUse, OwnKey, Signer, Verifier, parse_vkey, sm2_is_here

KEYS_TYPE = "chengxin-exchange/keys/1"
MAX_KEYS_LIFETIME = timedelta(days=90)
_USES = frozenset(get_args(KeyUse))


class ListedKey(Struct, frozen=True, kw_only=True):
    """One key of a keys document."""

    vkey: str
    alg: str
    use: str
    not_before: str
    not_after: str
    revoked_at: str | None = None
    reason: str | None = None


class Maintenance(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """When a party does not take anything, and why."""

    from_: InstantText
    until: InstantText
    text: Annotated[str, Meta(max_length=500)]

    def now(self, at: datetime) -> bool:
        """Whether a moment lies in it."""
        return parse_instant(self.from_, "SCHEMA_MANIFEST") <= at < self.end

    @property
    def end(self) -> datetime:
        """When it is over."""
        return parse_instant(self.until, "SCHEMA_MANIFEST")


class KeysDocument(Struct, frozen=True, kw_only=True, rename={"type_": "type"}):
    """A keys document as it stands on the wire."""

    type_: str
    party: PartyName
    org: str
    region: str
    serial: Number
    issued_at: str
    valid_until: str
    base_url: str
    keys: tuple[ListedKey, ...]
    maintenance: Maintenance | None = None


class PartnerKeys(Struct, frozen=True, kw_only=True):
    """A keys document that we believe: its serial and digest, until when it is fresh, and its keys."""

    party: str
    serial: int
    digest: str
    valid_until: datetime
    keys: tuple[KnownKey, ...]
    maintenance: Maintenance | None = None

    def fresh(self, now: datetime, skew: timedelta = DEFAULT_SKEW) -> bool:
        """Whether the document may still be relied on for new batches."""
        return now < self.valid_until + skew


def keys_body(
    *,
    party: str,
    org: str,
    region: str,
    serial: int,
    issued_at: datetime,
    base_url: str,
    keys: Sequence[OwnKey],
    valid_for: timedelta = MAX_KEYS_LIFETIME,
    maintenance: Maintenance | None = None,
) -> bytes:
    """The bytes of our own keys document; made once for a serial, then kept. Agreement keys are never listed."""
    listed = tuple(
        ListedKey(
            vkey=key.signer.vkey,
            alg=key.signer.algorithm,
            use=key.use,
            not_before=instant(key.not_before),
            not_after=instant(key.not_after),
            revoked_at=instant(key.revoked_at) if key.revoked_at else None,
            reason=key.reason,
        )
        for key in keys
        if key.use != "agreement"
    )
    return encode(
        KeysDocument(
            type_=KEYS_TYPE,
            party=party,
            org=org,
            region=region,
            serial=serial,
            issued_at=instant(issued_at),
            valid_until=instant(issued_at + min(valid_for, MAX_KEYS_LIFETIME)),
            base_url=base_url,
            keys=listed,
            maintenance=maintenance,
        )
    )


def sign_keys(body: bytes, *signers: Signer) -> SignedDocument:
    """The keys document signed with the party's `agreement` keys."""
    document = decode_keys(body)
    return notes.sign_document("keys", f"{document.party}/{document.serial}", body, signers)


def decode_keys(body: bytes) -> KeysDocument:
    """What a keys document says, before anything of it is believed.

    Raises ExchangeError SCHEMA_JSON or SCHEMA_MANIFEST.
    """
    try:
        return msgspec.convert(strict_json(body), KeysDocument)
    except msgspec.ValidationError as error:
        raise ExchangeError(f"no keys document: {error}", code="SCHEMA_MANIFEST") from error


def valid_until(document: KeysDocument) -> datetime:
    """Until when a keys document is fresh."""
    return parse_instant(document.valid_until, "SCHEMA_MANIFEST")


def pinned(party: str, vkeys: Iterable[str]) -> KeyRing:
    """The `agreement` keys that an agreement pins for this party; they need no keys document and have no dates.

    Raises ExchangeError SIG_FORMAT for a malformed vkey.
    """
    return KeyRing.of(party, (KnownKey(verifier=parse_vkey(vkey), use="agreement") for vkey in vkeys))


def read_keys(
    document: SignedDocument,
    pins: KeyRing,
    *,
    first_seen: datetime,
    held: tuple[int, str] | None = None,
    skew: timedelta = DEFAULT_SKEW,
    required: frozenset[Algorithm] = frozenset({"ed25519"}),
) -> PartnerKeys:
    """The keys that this document lists, if a pinned key of its party signed it with each algorithm that is required.

    `held` is the highest (serial, digest) seen so far. Whether the document is still fresh is asked later, for each batch.

    Raises ExchangeError SIG_* for the note, SCHEMA_* for the body, SEQ_REPLAY for a lower serial, SEQ_FORK for a second text of one serial.
    """
    body = document.body
    own_time: datetime | None
    try:
        said = decode_keys(body)
        own_time = parse_instant(said.issued_at, "SCHEMA_MANIFEST")
    except ExchangeError:
        said, own_time = None, None
    context = f"{said.party}/{said.serial}" if said else notes.context_of(document.note)
    notes.verify_document(
        document,
        pins,
        artefact="keys",
        context=context,
        use="agreement",
        required=required,
        first_seen=first_seen,
        own_time=own_time,
        skew=skew,
    )
    keys = said or decode_keys(body)
    if keys.type_ != KEYS_TYPE or keys.party != pins.party:
        raise ExchangeError("a keys document of another party", code="SIG_CONTEXT")
    issued, until = parse_instant(keys.issued_at, "SCHEMA_MANIFEST"), parse_instant(keys.valid_until, "SCHEMA_MANIFEST")
    if not issued < until <= issued + MAX_KEYS_LIFETIME:
        raise ExchangeError("a keys document is good for at most 90 days", code="SCHEMA_MANIFEST")
    if issued > first_seen + skew:
        raise ExchangeError("a keys document from the future", code="TIME_FUTURE")
    digest = digest_text(body)
    if held is not None:
        if keys.serial < held[0]:
            raise ExchangeError("an older keys document than the one held", code="SEQ_REPLAY")
        if keys.serial == held[0] and digest != held[1]:
            raise ExchangeError("two keys documents have one serial", code="SEQ_FORK")
    return PartnerKeys(
        party=keys.party,
        serial=keys.serial,
        digest=digest,
        valid_until=until,
        keys=tuple(_known(keys)),
        maintenance=keys.maintenance,
    )


def _known(document: KeysDocument) -> Iterable[KnownKey]:
    known = {"ed25519", "sm2"} if sm2_is_here() else {"ed25519"}
    uses_of: dict[str, str] = {}
    for listed in document.keys:
        if listed.use not in _USES or listed.use == "agreement" or listed.alg not in known:
            continue
        verifier = parse_vkey(listed.vkey)
        if verifier.algorithm != listed.alg:
            raise ExchangeError("a key of another algorithm than said", code="SIG_KEY_USE", place=verifier.name)
        _check_name(document.party, listed.use, verifier)
        material = listed.vkey.split("+", 2)[2]  # base64 may hold further signs of plus
        if uses_of.setdefault(material, listed.use) != listed.use:
            raise ExchangeError("one key pair for two uses", code="SIG_KEY_USE", place=verifier.name)
        yield KnownKey(
            verifier=verifier,
            use=listed.use,  # type: ignore[arg-type]  # membership of _USES was just checked
            not_before=parse_instant(listed.not_before, "SCHEMA_MANIFEST"),
            not_after=parse_instant(listed.not_after, "SCHEMA_MANIFEST"),
            revoked_at=parse_instant(listed.revoked_at, "SCHEMA_MANIFEST") if listed.revoked_at else None,
        )


def _check_name(party: str, use: str, verifier: Verifier) -> None:
    last = NAME_OF_USE.get(use)
    good = verifier.name == f"{party}/{last}" if last else verifier.name.startswith(f"{party}/log/")
    if not good:
        raise ExchangeError("a key is named after its party and use", code="SIG_KEY_USE", place=verifier.name)


def ring(pins: KeyRing, documents: Iterable[PartnerKeys]) -> KeyRing:
    """Every key of a party that we trust: pinned ones, and those of its latest keys document.

    Keys that only an older document lists stay good for what was first seen while they were listed, so older documents come first.
    """
    keys: dict[tuple[str, bytes], KnownKey] = {}
    for document in documents:
        keys |= {(key.verifier.name, key.verifier.key_id): key for key in document.keys}
    return KeyRing(party=pins.party, keys={**keys, **pins.keys})
