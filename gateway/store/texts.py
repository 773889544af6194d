"""The texts of records at rest: what is publishable stands in clear, the rest under the data key of the record's subject.

Rules: in clear stand the strict text of what is not held, scores, versions, decisions and keyed digests; under seal what is held, whole,
and the profile `third_parties` where it reads otherwise; of a withdrawn record every text, whole. A field without a seal has nothing more
to tell. A seal is bound to `texts`, field and record, so that it never stands for the raw value of its field. This room must not redact,
nor decide who may see a text.
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.core.records.model import Redaction, Text
from gateway.store.vault import Dek, Vault, dek_id_of, pack, unpack

TEXTS: Final = "texts"
"""The associated data of a seal name this in the place of a table, also in `record_versions`."""

_encode = msgspec.json.Encoder().encode
_decode_texts = msgspec.json.Decoder(dict[str, Text]).decode


class _Rest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a seal holds."""

    third_parties: str
    strict: str | None = None
    doubts: tuple[tuple[int, int], ...] = ()


_decode_rest = msgspec.json.Decoder(_Rest).decode


# --- parting ----------------------------------------------------------------------------------------------------------


def in_clear(vault: Vault, text: Redaction) -> Text:
    """What of a text may stand in clear."""
    shown = not text.held
    return Text(
        strict=text.strict if shown else None,
        residual=text.residual,
        redactor=text.redactor,
        doubts=text.doubts if shown else (),
        of=text.of,
        alike=_alike(vault, text) if text.waiting else "",
        decided=text.decided,
    )


def _alike(vault: Vault, text: Redaction) -> str:
    return vault.digest("text-alike", _encode((text.redactor, text.strict, text.third_parties)))[:16].hex()


def to_seal(texts: Mapping[str, Text]) -> dict[str, bytes]:
    """By field what must stand under seal; a text that was not opened keeps the seal that it has."""
    found: dict[str, bytes] = {}
    for name, text in texts.items():
        if isinstance(text, Redaction):
            if text.held:
                found[name] = _encode(_Rest(third_parties=text.third_parties, strict=text.strict, doubts=text.doubts))
            elif text.third_parties != text.strict:
                found[name] = _encode(_Rest(third_parties=text.third_parties))
    return found


def clear_column(vault: Vault, texts: Mapping[str, Text]) -> bytes | None:
    """The column that stands in clear; None: there is no text."""
    if not texts:
        return None
    return _encode({name: in_clear(vault, text) if isinstance(text, Redaction) else text for name, text in texts.items()})


def seal_column(vault: Vault, dek: Dek, record_id: str, texts: Mapping[str, Text], before: bytes | None = None) -> bytes | None:
    """The column of seals; `before` is the one that stands, for the texts that nobody opened. None: there is nothing to seal."""
    rest = to_seal(texts)
    kept = seals_in(before, [name for name, text in texts.items() if not isinstance(text, Redaction)])
    if not rest and not kept:
        return None
    sealed = vault.seal_many(TEXTS, [(dek, name, record_id, value) for name, value in rest.items()])
    return pack({**kept, **dict(zip(rest, sealed, strict=True))})


def all_sealed(vault: Vault, dek: Dek, record_id: str, texts: Mapping[str, Redaction]) -> tuple[bytes, bytes]:
    """Both columns, in clear and of seals, for texts that are shown to nobody any more: what could be published is under seal too."""
    rest = [
        (dek, name, record_id, _encode(_Rest(third_parties=text.third_parties, strict=text.strict, doubts=text.doubts)))
        for name, text in texts.items()
    ]
    bare = {
        name: Text(residual=text.residual, redactor=text.redactor, of=text.of, alike=text.alike, decided=text.decided)
        for name, text in texts.items()
    }
    return _encode(bare), pack(dict(zip(texts, vault.seal_many(TEXTS, rest), strict=True)))


# --- reading ----------------------------------------------------------------------------------------------------------


def texts_in(column: bytes | None) -> dict[str, Text]:
    """The texts of a record as they stand in clear."""
    return {} if column is None else _decode_texts(column)


def seals_in(column: bytes | None, names: Collection[str] | None) -> dict[str, bytes]:
    """The seals of the wanted texts (None: of all)."""
    if column is None or (names is not None and not names):
        return {}
    seals = unpack(column)
    return seals if names is None else {name: sealed for name, sealed in seals.items() if name in names}


def opened(
    vault: Vault,
    deks: Mapping[int, Dek],
    record_id: str,
    texts: Mapping[str, Text],
    seals: Mapping[str, bytes],
    names: Collection[str] | None,
) -> dict[str, Text]:
    """The texts of a record, the wanted ones (None: all) whole.

    Raises StoreError `value-altered`, or `key-missing` when the data key was shredded but the record was not erased.
    """
    return {
        name: _whole(vault, deks, record_id, name, text, seals.get(name)) if names is None or name in names else text
        for name, text in texts.items()
    }


def all_opened(vault: Vault, deks: Mapping[int, Dek], record_id: str, texts: bytes, sealed: bytes | None) -> dict[str, Redaction]:
    """Every text of a record whole, out of both columns.

    Raises StoreError as `opened` does.
    """
    seals = seals_in(sealed, None)
    return {name: _whole(vault, deks, record_id, name, text, seals.get(name)) for name, text in texts_in(texts).items()}


def _whole(vault: Vault, deks: Mapping[int, Dek], record_id: str, name: str, text: Text, sealed: bytes | None) -> Redaction:
    rest = None
    if sealed is not None:
        dek = deks.get(dek_id_of(sealed))
        if dek is None:
            raise StoreError("the data key of a stored text is gone", code="key-missing", place=f"{TEXTS}:{record_id}:{name}")
        rest = _decode_rest(vault.open(dek, TEXTS, name, record_id, sealed))
    strict = text.strict if rest is None or rest.strict is None else rest.strict
    if strict is None:
        raise StoreError("a held text stands without its seal", code="value-altered", place=f"{TEXTS}:{record_id}:{name}")
    return Redaction(
        strict=strict,
        third_parties=strict if rest is None else rest.third_parties,
        residual=text.residual,
        redactor=text.redactor,
        doubts=text.doubts if rest is None else rest.doubts or text.doubts,
        of=text.of,
        alike=text.alike,
        decided=text.decided,
    )
