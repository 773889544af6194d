"""Texts that wait for a reviewer, what reviewers decided, and texts put in place of others.

Rules:
- a decision is about one text as one redactor left it (`candidate`); when exactly that is said again it holds again, else it has ended.
- changing a text is a change of its record: a version is kept, the log says so, and every exit follows.
- what is stored here is redacted text and keyed digests, never a raw text; what is not publishable stands under seal (`texts`), and
  listing or comparing texts opens none.
This room must not redact, and must not decide who may review.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from gateway.core.errors import StoreError
from gateway.core.records.model import Redaction, SubjectId, SubjectKind, Text
from gateway.core.records.sealed import is_for_nobody
from gateway.store import withdrawn
from gateway.store.changes import COUNTER
from gateway.store.dialects import among
from gateway.store.reads import Reads, Row
from gateway.store.row_gates import Reach, reached
from gateway.store.sealing import keys_of, scope_of
from gateway.store.states import CHANGE_COLUMNS, KEEP_VERSIONS, LIVE
from gateway.store.store import Transaction
from gateway.store.tables import changes, records, subjects, text_decisions
from gateway.store.texts import clear_column, opened, seal_column, seals_in, texts_in
from gateway.store.vault import Vault, dek_id_of

_encode = msgspec.json.Encoder().encode
_decode_text = msgspec.json.Decoder(Redaction).decode
_BY_RECORD: Final = sa.select(text_decisions).where(among(text_decisions.c.record_id, "wanted"))

_CHANGED: Final = sa.select(records.c.record_id, records.c.changed_seq, records.c.sealed_texts, records.c.state, records.c.issuer).where(
    among(records.c.record_id, "wanted")
)

# fmt: off
_COLUMNS = (
    records.c.record_id, records.c.subject_id, records.c.dataset, records.c.kind, records.c.version, records.c.state, records.c.issuer,
    records.c.authority_code, records.c.sender, records.c.region, records.c.texts, records.c.sealed_texts, records.c.held_since,
    records.c.changed_seq,
)
# fmt: on

_OURS = sa.and_(records.c.issuer == "", sa.or_(*(records.c.state == state for state in sorted(LIVE))))
_QUEUE = sa.and_(records.c.held_since.is_not(None), _OURS, among(records.c.dataset + "/" + records.c.kind, "kinds"))
_SINCE, _LAST = sa.bindparam("since", type_=sa.Text), sa.bindparam("last", type_=sa.Text)
_WAITING = (
    sa.select(*_COLUMNS)
    .where(
        _QUEUE,
        sa.or_(records.c.authority_code == sa.bindparam("org"), records.c.sender == sa.bindparam("org")),
        records.c.held_since < sa.bindparam("before"),
        sa.or_(records.c.held_since > _SINCE, sa.and_(records.c.held_since == _SINCE, records.c.record_id > _LAST)),
    )
    .order_by(records.c.held_since, records.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_ONE = sa.select(*_COLUMNS).where(records.c.record_id == sa.bindparam("record"), _OURS)
_LATE = sa.func.sum(sa.case((records.c.held_since < sa.bindparam("before", type_=sa.Text), 1), else_=0))
_QUEUED = records.c.dataset.concat(sa.literal_column("''")).label("dataset")
"""The dataset, but in no index: grouped by the column itself, SQLite walks every record in the order of datasets for the few that wait."""
_COUNTS = (
    sa.select(_QUEUED, sa.func.count().label("waiting"), sa.func.min(records.c.held_since).label("oldest"), _LATE.label("late"))
    .where(_QUEUE)
    .group_by(_QUEUED)
)
_TEXTS = (
    sa.select(*_COLUMNS)
    .where(records.c.texts.is_not(None), records.c.record_id > sa.bindparam("after"), records.c.state != "erased")
    .order_by(records.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_NEVER: Final = "9999"
_DECISIONS: Final = "text_decisions"


@lru_cache(maxsize=512)
def _within(statement: sa.Select[Any], gates: tuple[Reach, ...]) -> sa.Select[Any]:
    """The statement for what one caller reaches; one object for each, so that it is compiled once."""
    return statement.where(reached(gates))


class Held(Struct, frozen=True, kw_only=True):
    """A record with texts, as the queue sees it."""

    record_id: str
    subject_id: str
    dataset: str
    kind: SubjectKind
    version: int
    authority: str | None
    sender: str | None
    region: str
    texts: Mapping[str, Text]
    """As they stand in clear; `whole` opens them."""
    seals: bytes | None
    since: str | None
    changed_seq: int


class _Written(Protocol):
    """What `writing` knows of a statement; named here so that neither room imports the other twice."""

    @property
    def record_id(self) -> str: ...

    @property
    def found(self) -> Any: ...

    @property
    def statement(self) -> Any: ...


# --- digests ----------------------------------------------------------------------------------------------------------


def _text_digests(vault: Vault) -> Callable[[str], str]:
    """What tells one raw text from another, and nothing else; for the texts of a chunk, in which laws and offences come again and again."""
    digest = vault.digester("text")
    return lru_cache(maxsize=1024)(lambda text: digest(text.encode())[:16].hex())


def candidate_of(vault: Vault, text: Redaction) -> str:
    """What a decision is about: the raw text, the redactor, and what it left."""
    return vault.digest("text-candidate", _encode((text.of, text.redactor, text.strict, text.third_parties)))[:16].hex()


# --- intake -----------------------------------------------------------------------------------------------------------


async def texts_of(tx: Transaction, writes: Sequence[_Written]) -> dict[int, Mapping[str, Redaction]]:
    """The texts of statements with the digest of what they were made from, and with what was decided about exactly them."""
    made: dict[int, dict[str, Redaction]] = {}
    again: list[_Written] = []
    digest = _text_digests(tx.vault)
    for write in writes:
        statement = write.statement
        if not statement.texts:
            continue
        made[statement.index] = {
            name: replace(text, of=digest(raw) if isinstance(raw := statement.secret.get(name), str) else "")
            for name, text in statement.texts.items()
        }
        if write.found is not None and any(text.residual for text in made[statement.index].values()):
            again.append(write)
    decided = await _decided(tx, [write.record_id for write in again])
    if decided:
        for write in again:
            texts = made[write.statement.index]
            for name, text in texts.items():
                texts[name] = decided.get((write.record_id, name, candidate_of(tx.vault, text)), text)
    return dict(made)


async def _decided(source: Reads | Transaction, record_ids: Sequence[str]) -> dict[tuple[str, str, str], Redaction]:
    if not record_ids:
        return {}
    rows = await source.all(_BY_RECORD, {"wanted": list(record_ids)})
    deks = await source.vault.deks_by_id(source, {dek_id_of(bytes(row.result)) for row in rows})
    found: dict[tuple[str, str, str], Redaction] = {}
    for row in rows:
        sealed = bytes(row.result)
        place = _place(row.record_id, row.field, row.candidate)
        if (dek := deks.get(dek_id_of(sealed))) is None:
            raise StoreError("the data key of a stored text is gone", code="key-missing", place=f"{_DECISIONS}:{place}:result")
        found[row.record_id, row.field, row.candidate] = _decode_text(source.vault.open(dek, _DECISIONS, "result", place, sealed))
    return found


def _place(record_id: str, field: str, candidate: str) -> str:
    return f"{record_id}/{field}/{candidate}"


# --- the queue --------------------------------------------------------------------------------------------------------


def _held(row: Row) -> Held:
    return Held(
        record_id=row.record_id,
        subject_id=row.subject_id,
        dataset=row.dataset,
        kind=row.kind,
        version=row.version,
        authority=row.authority_code,
        sender=row.sender,
        region=row.region,
        texts=texts_in(row.texts),
        seals=row.sealed_texts,
        since=row.held_since,
        changed_seq=row.changed_seq,
    )


def _members(kinds: Mapping[str, frozenset[str]]) -> list[str]:
    return sorted(f"{dataset}/{kind}" for dataset, some in kinds.items() for kind in some)


async def waiting(
    source: Reads | Transaction,
    kinds: Mapping[str, frozenset[str]],
    org: str,
    *,
    before: str | None = None,
    after: tuple[str, str] | None = None,
    limit: int,
    gates: tuple[Reach, ...],
) -> list[Held]:
    """Records with waiting texts that an organisation decided or sent, the oldest first; `before` keeps those held since earlier.

    `kinds`: by dataset the kinds of subject whose texts are shown to somebody. `after` is (since, record) of the last one seen.
    `gates` are what the reviewer reaches.
    """
    since, record_id = after or ("", "")
    found = {"kinds": _members(kinds), "org": org, "before": before or _NEVER, "since": since, "last": record_id, "n": limit}
    return [_held(row) for row in await source.all(_within(_WAITING, gates), found)]


async def one(source: Reads | Transaction, record_id: str, *, gates: tuple[Reach, ...] | None = None) -> Held | None:
    """One of our own live records with its texts, if the reviewer reaches it; without `gates` nobody is named."""
    row = await source.one(_ONE if gates is None else _within(_ONE, gates), {"record": record_id})
    return None if row is None else _held(row)


async def whole(source: Reads | Transaction, wanted: Sequence[tuple[Held, Collection[str]]]) -> list[dict[str, Redaction]]:
    """Some texts of each record as the redactor left them, opened.

    Raises StoreError.
    """
    seals = [seals_in(held.seals, names) for held, names in wanted]
    deks = await keys_of(source, seals)
    return [
        {
            name: text
            for name, text in opened(source.vault, deks, held.record_id, held.texts, sealed, names).items()
            if isinstance(text, Redaction) and name in names
        }
        for (held, names), sealed in zip(wanted, seals, strict=True)
    ]


async def counts(source: Reads | Transaction, kinds: Mapping[str, frozenset[str]], before: str) -> dict[str, tuple[int, str, int]]:
    """By dataset: how many records wait, since when the oldest does, and how many are overdue (held since before that instant)."""
    rows = await source.all(_COUNTS, {"kinds": _members(kinds), "before": before})
    return {row.dataset: (int(row.waiting), row.oldest, int(row.late)) for row in rows}


# --- texts in place of others -----------------------------------------------------------------------------------------


class Put(Struct, frozen=True, kw_only=True):
    """The texts of one record as they shall stand from now on."""

    held: Held
    """The record as it was read: nothing is done when it was changed since."""
    texts: Mapping[str, Text]
    """Whole ones are written anew; one that nobody opened stays as it stands."""


async def put_texts(tx: Transaction, puts: Sequence[Put], *, reason: str, actor: str) -> dict[str, int]:
    """Put texts in place of others, each a change of its record; the numbers of the changes, by record.

    Records that changed since they were read are left alone, and missing in the answer.
    """
    rows_now = await tx.all(_CHANGED, {"wanted": [put.held.record_id for put in puts]})
    present = {row.record_id: row for row in rows_now}
    fresh = [put for put in puts if put.held.record_id in present and present[put.held.record_id].changed_seq == put.held.changed_seq]
    if not fresh:
        return {}
    scopes = [scope_of(put.held.kind, SubjectId(put.held.subject_id), put.held.dataset, tx.now.year) for put in fresh]
    deks = await tx.vault.deks(tx, scopes, create=True)
    await tx.execute(KEEP_VERSIONS, {"wanted": [put.held.record_id for put in fresh]})
    first = await tx.number(COUNTER, len(fresh))
    rows: list[tuple[object, ...]] = []
    for seq, (put, scope) in enumerate(zip(fresh, scopes, strict=True), first):
        record_id = put.held.record_id
        seals = seal_column(tx.vault, deks[scope], record_id, put.texts, present[record_id].sealed_texts)
        since = (put.held.since or tx.now_text) if any(text.waiting for text in put.texts.values()) else None
        rows.append((put.held.version + 1, clear_column(tx.vault, put.texts), seals, since, tx.now_text, seq, record_id))
    await tx.update(records, ("version", "texts", "sealed_texts", "held_since", "changed_at", "changed_seq"), "record_id", rows)
    gone = [record_id for put in fresh if is_for_nobody(present[record_id := put.held.record_id].state, present[record_id].issuer)]
    await withdrawn.seal(tx, gone)
    heads = {put.held.subject_id: seq for seq, put in enumerate(fresh, first)}
    await tx.execute(
        sa.update(subjects).where(subjects.c.subject_id == sa.bindparam("subject")).values(head_seq=sa.bindparam("seq")),
        [{"seq": seq, "subject": subject} for subject, seq in heads.items()],
    )
    await tx.insert(
        changes,
        CHANGE_COLUMNS,
        [
            (seq, tx.now_text, put.held.record_id, put.held.subject_id, put.held.dataset, put.held.version + 1, "amend", reason, actor)
            for seq, put in enumerate(fresh, first)
        ],
    )
    return {put.held.record_id: seq for seq, put in enumerate(fresh, first)}


async def decide(tx: Transaction, decisions: Sequence[tuple[str, str, Redaction, Redaction]], *, reason: str | None, actor: str) -> None:
    """Keep decisions: (record, field, the text as it was, the text as it was decided).

    The text and a reviewer's words may name somebody: both stand as ciphertext under the key of the record's subject.
    """
    found = await tx.all(_OF_RECORDS, {"wanted": [record_id for record_id, *_ in decisions]})
    scopes = {row.record_id: scope_of(row.kind, row.subject_id, row.dataset, tx.now.year) for row in found}
    deks = await tx.vault.deks(tx, scopes.values(), create=True)
    rows: list[tuple[object, ...]] = []
    for record_id, field, was, now in decisions:
        candidate = candidate_of(tx.vault, was)
        place = _place(record_id, field, candidate)
        dek = deks[scopes[record_id]]
        result = tx.vault.seal(dek, _DECISIONS, "result", place, _encode(now))
        words = None if reason is None else tx.vault.seal(dek, _DECISIONS, "reason", place, reason.encode())
        rows.append((record_id, field, candidate, now.decided, result, words, tx.now_text, actor))
        await tx.execute(
            sa.delete(text_decisions).where(
                text_decisions.c.record_id == record_id, text_decisions.c.field == field, text_decisions.c.candidate == candidate
            )
        )
    await tx.insert(text_decisions, ("record_id", "field", "candidate", "decided", "result", "reason", "at", "actor"), rows)


_OF_RECORDS = sa.select(records.c.record_id, records.c.subject_id, records.c.kind, records.c.dataset).where(
    among(records.c.record_id, "wanted")
)


# --- another redactor -------------------------------------------------------------------------------------------------


async def with_texts(source: Reads | Transaction, after: str, limit: int) -> list[Held]:
    """Live records with texts, from a record id on; by which redactor a text was scored stands in it."""
    return [_held(row) for row in await source.all(_TEXTS, {"after": after, "n": limit})]
