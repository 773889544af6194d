"""Statements as they are prepared for storing, and what became of each.

Rules: everything that needs no database is done once for each statement: its business key and its values as keyed digests, the keys
of its subject as they are stored, its values parted into what stands in clear and what is sealed.
This room must not open `Unpublished`: it is given the values.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.core.records.model import Admitted, Dataset, RecordId, Redaction, SubjectKind, Value
from gateway.store.sealing import clear_fields
from gateway.store.subjects import NAME, Key, stored_value
from gateway.store.vault import Vault

Result = Literal["accepted", "unchanged", "held", "rejected", "withdrawn"]

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_encode_key = msgspec.msgpack.Encoder().encode
SAID = 16
"""Of a content digest the first bytes tell what was said, the rest what was said about it: trust, clocks, doubt."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one statement."""

    place: str
    result: Result
    record_id: RecordId | None = None
    version: int | None = None
    code: str | None = None
    """Why held or rejected; DUP_SAME of what is unchanged, SEQ_STATE of a withdrawal with nothing to withdraw."""
    field: str | None = None
    seq: int | None = None
    """Of the change; None when nothing changed."""
    revived: bool = False
    """It had been purged because an agreement ended, and is held again."""


class Preparing:
    """What preparing the statements of a chunk needs."""

    __slots__ = ("_about", "_clear", "_content", "_dataset", "_parted", "business_key", "vault")

    def __init__(self, vault: Vault, dataset: Dataset) -> None:
        self.vault = vault
        self.business_key = vault.digester("business-key")
        self._content = vault.digester("content")
        self._dataset = dataset
        self._clear: dict[SubjectKind, frozenset[str]] = {}
        self._parted: dict[tuple[SubjectKind, tuple[str, ...]], tuple[list[str], list[str]]] = {}
        self._about: dict[tuple[object, ...], bytes] = {}

    def clear(self, kind: SubjectKind) -> frozenset[str]:
        """The fields that stand in clear for this kind."""
        found = self._clear.get(kind)
        if found is None:
            found = self._clear[kind] = clear_fields(self._dataset, kind)
        return found

    def parted(self, kind: SubjectKind, values: dict[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
        """(what stands in clear, what is secret) of values, both sorted by name; rows of a file have the same names."""
        names = tuple(values)
        parted = self._parted.get((kind, names))
        if parted is None:
            in_clear = self.clear(kind)
            parted = self._parted[kind, names] = (
                sorted(name for name in names if name in in_clear), sorted(name for name in names if name not in in_clear)
            )
        clear = {name: values[name] for name in parted[0]}
        secret = {name: values[name] for name in parted[1]} if parted[1] else {}
        if secret and None in secret.values():  # a null is no secret
            clear = dict(sorted((clear | {name: None for name, value in secret.items() if value is None}).items()))
            secret = {name: value for name, value in secret.items() if value is not None}
        return clear, secret

    def digest(self, clear: bytes, secret: Mapping[str, Value], admitted: Admitted) -> bytes:
        """Of what was said (`secret` sorted by name), and of what was said about it, in which rows of a file hardly differ."""
        # fmt: off
        about = (
            admitted.kind, admitted.dates, admitted.category, admitted.trust, admitted.region, admitted.authority_code,
            admitted.authority_name, admitted.severity, admitted.minor, admitted.hold_code, admitted.dispute_since,
        )
        # fmt: on
        known = self._about.get(about) if admitted.dispute_since is None else None  # one instant may be written in several ways
        if known is None:
            known = self._about[about] = self._content(_encode_sorted(about))[:SAID]
        return self._content(clear + b"\n" + _encode(secret))[:SAID] + known


class Statement:
    """One admitted statement, prepared: what can be said of it without the database."""

    __slots__ = ("admitted", "business_key", "clear", "content", "index", "issuer", "keys", "secret", "texts")

    def __init__(
        self, index: int, admitted: Admitted, values: dict[str, Value], texts: Mapping[str, Redaction], preparing: Preparing
    ) -> None:
        kind = admitted.kind
        self.index = index
        self.admitted = admitted
        self.texts = texts
        self.issuer = admitted.issuer or ""
        self.business_key = preparing.business_key(_encode_key((admitted.dataset, admitted.business_key)))[:16].hex()
        keys = admitted.subject_keys
        if kind != "legal":
            keys = tuple([(key_type, stored_value(preparing.vault, key_type, value, kind)) for key_type, value in keys if key_type != NAME])
        elif NAME in [key[0] for key in keys]:
            keys = tuple([key for key in keys if key[0] != NAME])
        self.keys: tuple[Key, ...] = keys
        clear, self.secret = preparing.parted(kind, values)
        self.clear = _encode(clear)
        self.content = preparing.digest(self.clear, self.secret, admitted)
