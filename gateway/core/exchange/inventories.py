"""Inventories: what a side says, at the end of an agreement, that it has done with the other's records (exchange.md §3).

Rules: one signed document of each side, about the streams that it received: how far it had applied each, how many records of it were
in force there, and what became of them. Whoever sent the stream holds it against its own log. This room must not purge anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.agreements import Agreement, Named
from gateway.core.exchange.notes import KeyRing, SignedDocument
from gateway.core.exchange.wire import Count, InstantText, PartyName, Root, encode, instant, parse_instant, strict_json
from gateway.core.signing import Signer

Action = Literal["purged", "frozen"]


class InventoryStream(Struct, frozen=True, kw_only=True):
    """One stream as it was received."""

    origin: str
    size: Count
    root: Root
    held: Count
    """Records of it that were in force when the agreement ended."""
    action: Action


class Inventory(Struct, frozen=True, kw_only=True, rename={"type_": "type"}):
    """The body; members unknown to us are ignored."""

    type_: Literal["chengxin-exchange/inventory/1"] = "chengxin-exchange/inventory/1"
    agreement: Named
    by: PartyName
    streams: tuple[InventoryStream, ...]
    done_at: InstantText


def inventory_body(agreement: Agreement, *, by: str, streams: Sequence[InventoryStream], done_at: datetime) -> bytes:
    """The bytes that we sign."""
    named = Named(id=agreement.id, version=agreement.version, digest=agreement.digest)
    return encode(Inventory(agreement=named, by=by, streams=tuple(streams), done_at=instant(done_at)))


def sign_inventory(body: bytes, agreement: Agreement, by: str, signers: Sequence[Signer]) -> SignedDocument:
    """The document with its note."""
    return notes.sign_document("inventory", f"{agreement.id}/{by}", body, signers)


def decode_inventory(body: bytes) -> Inventory:
    """What an inventory says, before anything of it is believed.

    Raises ExchangeError SCHEMA_JSON or SCHEMA_MANIFEST.
    """
    try:
        return msgspec.convert(strict_json(body), Inventory)
    except msgspec.ValidationError as error:
        raise ExchangeError(f"no inventory: {error}", code="SCHEMA_MANIFEST") from error


def read_inventory(document: SignedDocument, agreement: Agreement, ring: KeyRing, *, first_seen: datetime) -> Inventory:
    """An inventory of the ring's party, signed with its `exchange` key, about this agreement.

    Raises ExchangeError SIG_*, SCHEMA_* or SCOPE_DIGEST.
    """
    said = decode_inventory(document.body)
    notes.verify_document(
        document,
        ring,
        artefact="inventory",
        context=f"{agreement.id}/{said.by}",
        use="exchange",
        required=agreement.algorithms,
        first_seen=first_seen,
        own_time=parse_instant(said.done_at, "SCHEMA_MANIFEST"),
        skew=agreement.skew,
    )
    if said.by != ring.party:
        raise ExchangeError("an inventory of another party", code="SIG_CONTEXT")
    if (said.agreement.id, said.agreement.version, said.agreement.digest) != (agreement.id, agreement.version, agreement.digest):
        raise ExchangeError("the inventory is about another agreement", code="SCOPE_DIGEST", place=agreement.id)
    return said


class Sealed(Struct, frozen=True, kw_only=True):
    """How far one of our streams went: its size, and the root that it had at the size that the other side names."""

    size: int
    root: str | None
    """None: it never had that size."""


class Difference(Struct, frozen=True, kw_only=True):
    """One thing in which the other side's inventory is not what we know."""

    origin: str
    words: str


def differences(said: Inventory, agreement: Agreement, sealed: Mapping[str, Sealed]) -> tuple[Difference, ...]:
    """Where an inventory contradicts our log, or what was agreed; `sealed` has our streams to that party by origin."""
    return tuple(_differences(said, agreement, sealed))


def _differences(said: Inventory, agreement: Agreement, sealed: Mapping[str, Sealed]) -> Iterable[Difference]:
    named = {stream.origin: stream for stream in said.streams}
    for origin, ours in sealed.items():
        if ours.size and origin not in named:
            yield Difference(origin=origin, words=f"not named, though we sealed {ours.size} entries")
    wanted = {"purge": "purged", "freeze": "frozen"}[agreement.terms.retention.after_termination]
    for origin, stream in named.items():
        mine = sealed.get(origin)
        if mine is None:
            yield Difference(origin=origin, words="no stream of ours")
            continue
        if stream.size > mine.size:
            yield Difference(origin=origin, words=f"names {stream.size} entries, we sealed {mine.size}")
        elif mine.root != stream.root:
            yield Difference(origin=origin, words=f"another root at {stream.size} entries than ours")
        elif stream.size < mine.size:
            yield Difference(origin=origin, words=f"the last {mine.size - stream.size} entries were never applied there")
        if stream.action != wanted:
            yield Difference(origin=origin, words=f"{stream.action}, though agreed was {wanted}")
