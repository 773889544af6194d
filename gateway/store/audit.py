"""The audit trail: who did what to which object, who saw what and why, who was turned away; append-only, each row chained to the last.

Rules:
- an *act* is written in the transaction of the act; `actor` is an account or a unit that acts for the gateway, `target` an id. What is not
  among ROUTINE is an act of administration, and sealed in that same transaction.
- an *access* is what a bound caller was shown: no value, no question but its shape; subjects are HMACs of the label `audit-subject`,
  the case reference is ciphertext. A *refusal* is a credential that was turned away, counted by door, cause and network.
- details are ids, counts and codes, never values, and stand as ciphertext: under the subject's data key when they are about a person,
  else under the key of the label `audit-detail`. The chain runs over what is stored, so that shredding a key never breaks it.
- a partition has one writer: `office` is written under the writer's turn of the store, every other name belongs to one process. Where it
  ends stands beside it under a MAC: whoever can only write to the database cannot move an end back but to one that was there.
This room must not read what it was given.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Struct, structs

from gateway.core.audit import chain
from gateway.core.audit.chain import COLUMNS, Partition
from gateway.core.records.model import SubjectId
from gateway.core.records.periods import legal_day
from gateway.store.reads import Reads, Row
from gateway.store.sealing import subject_scope
from gateway.store.store import Transaction
from gateway.store.tables import audit, audit_partitions
from gateway.store.vault import Dek, Vault, dek_id_of, key_version_of

OFFICE: Final = "office"
LABEL: Final = "audit-detail"
SUBJECT_LABEL: Final = "audit-subject"
SUBJECT_BYTES: Final = 16
HEAD_LABEL: Final = "audit-head"
ROUTINE: Final = frozenset({"admin", "alarm", "batch", "ingest", "query", "record", "stream", "token", "upload"})
"""First words of acts that a gateway does all day: the next checkpoint covers them."""
AT_ONCE: Final = frozenset({"admin.invite", "admin.enrol", "admin.retire", "record.confirm"})
"""Of those words, what an administrator decides all the same."""
Kind = Literal["act", "access", "refusal"]

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(dict[str, object])
_NOTHING: Final[Mapping[str, Any]] = dict.fromkeys(COLUMNS)


class Said(Struct, frozen=True, kw_only=True):
    """One row of another kind than an act, before it has its place in the trail."""

    kind: Literal["access", "refusal"] = "access"
    actor: str
    act: str
    target: str = ""
    org: str | None = None
    unit: str | None = None
    app: str | None = None
    credential: str | None = None
    purpose: str | None = None
    dataset: str | None = None
    plan_hash: str | None = None
    policy_version: int | None = None
    treatments: str | None = None
    row_count: int | None = None
    shape: str | None = None
    subjects: bytes | None = None
    case_ref: str | None = None


class Given(Struct, frozen=True, kw_only=True):
    """To whom an act gave what it gave to others, for which purpose and under which plans."""

    org: str
    purpose: str
    dataset: str
    plan_hash: str | None
    policy_version: int
    treatments: str | None


class AuditRow(Struct, frozen=True, kw_only=True):
    """One row as its reader sees it; `detail` and `case_ref` are None when there is none, or its key was shredded."""

    day: str
    writer: str
    n: int
    at: str
    kind: str
    actor: str
    act: str
    target: str
    org: str | None
    unit: str | None
    app: str | None
    credential: str | None
    purpose: str | None
    dataset: str | None
    plan_hash: str | None
    policy_version: int | None
    treatments: str | None
    row_count: int | None
    shape: str | None
    subjects: tuple[str, ...]
    case_ref: str | None
    detail: dict[str, object] | None

    @property
    def seq(self) -> int:
        """Its number in its partition."""
        return self.n


class Head(Struct, frozen=True):
    """Where a partition stands."""

    size: int
    link: bytes


# --- writing ----------------------------------------------------------------------------------------------------------

_HEAD = sa.select(audit_partitions.c.size, audit_partitions.c.link).where(
    audit_partitions.c.day == sa.bindparam("day"), audit_partitions.c.writer == sa.bindparam("writer")
)
_MOVE = sa.text(
    "INSERT INTO audit_partitions (day, writer, size, link, mac, sealed, tree, retired) "
    "VALUES (:day, :writer, :size, :link, :mac, 0, :tree, :no) "
    "ON CONFLICT (day, writer) DO UPDATE SET size = excluded.size, link = excluded.link, mac = excluded.mac"
).bindparams(
    sa.bindparam("no", type_=sa.Boolean),
    *(sa.bindparam(name, type_=sa.LargeBinary) for name in ("link", "mac", "tree")),
)


def mac_of(vault: Vault, partition: Partition, head: Head) -> bytes:
    """What shows that a process of ours moved the end of a partition there."""
    return vault.digest(HEAD_LABEL, _end(partition, head))


def written_by_us(vault: Vault, partition: Partition, head: Head, mac: bytes) -> bool:
    """Whether a process of ours moved the end there, some time."""
    return any(hmac.compare_digest(mac, each) for each in vault.digests(HEAD_LABEL, _end(partition, head)))


def _end(partition: Partition, head: Head) -> bytes:
    return f"{partition}/{head.size}/".encode() + head.link


async def head_of(tx: Transaction, partition: Partition) -> Head:
    """Where a partition stands; before its first row at the link that names it."""
    row = await tx.one(_HEAD, {"day": partition.day, "writer": partition.writer})
    return Head(0, chain.first_link(partition)) if row is None else Head(row.size, bytes(row.link))


async def append(tx: Transaction, partition: Partition, head: Head, rows: Sequence[Mapping[str, Any]]) -> Head:
    """Rows at the end of a partition, whose one writer the caller is; where it stands then."""
    number, link = head.size, head.link
    values = []
    for row in rows:
        number += 1
        line = tuple({**_NOTHING, **row, "day": partition.day, "writer": partition.writer, "n": number}.values())
        link = chain.link(link, line)
        values.append((*line, link))
    await tx.insert(audit, (*COLUMNS, "link"), values)
    place = {"day": partition.day, "writer": partition.writer}
    mac = mac_of(tx.vault, partition, Head(number, link))
    await tx.execute(_MOVE, {**place, "size": number, "link": link, "mac": mac, "tree": b"", "no": False})
    before, _ = tx.audited.get(partition, ((head.size, head.link), None))
    tx.audited[partition] = before, (number, link)
    return Head(number, link)


async def write(
    tx: Transaction,
    actor: str,
    act: str,
    target: str,
    detail: Mapping[str, object],
    *,
    subject: SubjectId | None = None,
    subjects: Iterable[str] | None = None,
    given: Given | None = None,
) -> int:
    """Add an act to the trail. Its number in the partition of the day.

    `subject` names the person whom the details concern, whose shredding takes them along; `subjects` are those whom the act gave to
    others or was about, kept as HMACs; `given` says to whom, of an act that gives.
    """
    vault = tx.vault
    dek = vault.house_dek(LABEL) if subject is None else await vault.dek(tx, subject_scope(subject), create=True)
    partition = Partition(legal_day(tx.now).isoformat(), OFFICE)
    head = await head_of(tx, partition)
    row = {
        "at": tx.now_text, "kind": "act", "actor": actor, "act": act, "target": target,
        "subjects": None if subjects is None else subject_hmacs(vault, subjects),
        "detail": vault.seal(dek, "audit", "detail", f"{partition}/{head.size + 1}", _encoder.encode(detail)),
        **({} if given is None else structs.asdict(given)),
    }  # fmt: skip
    tx.at_once = tx.at_once or act in AT_ONCE or act.partition(".")[0] not in ROUTINE
    return (await append(tx, partition, head, [row])).size


async def write_access(tx: Transaction, said: Said) -> None:
    """Add an access to the trail in the transaction of what it is about: it stands when that does."""
    partition = Partition(legal_day(tx.now).isoformat(), OFFICE)
    head = await head_of(tx, partition)
    await append(tx, partition, head, [row_of(tx.vault, said, partition, head.size + 1, tx.now_text)])


def row_of(vault: Vault, said: Said, partition: Partition, number: int, at: str) -> dict[str, Any]:
    """What will stand at a place of the trail."""
    row: dict[str, Any] = {name: getattr(said, name) for name in said.__struct_fields__}
    row["at"] = at
    if said.case_ref is not None:
        row["case_ref"] = vault.seal(vault.house_dek(LABEL), "audit", "case_ref", f"{partition}/{number}", said.case_ref.encode())
    return row


def subject_hmacs(vault: Vault, subjects: Iterable[str]) -> bytes:
    """Subjects as the trail names them: the version of the key, then 16 bytes each, sorted, each once."""
    found = sorted({vault.digest(SUBJECT_LABEL, subject.encode())[:SUBJECT_BYTES] for subject in subjects})
    return vault.ring.current(SUBJECT_LABEL).version.to_bytes(1, "big") + b"".join(found)


# --- reading ----------------------------------------------------------------------------------------------------------


class Wanted(Struct, frozen=True, kw_only=True):
    """Which rows a reader wants; what is None does not matter."""

    from_day: str | None = None
    to_day: str | None = None
    kind: str | None = None
    actor: str | None = None
    act: str | None = None
    target: str | None = None
    org: str | None = None
    app: str | None = None
    purpose: str | None = None
    dataset: str | None = None


async def rows(
    source: Reads | Transaction, wanted: Wanted, *, after: tuple[str, str, int] | None = None, limit: int = 100
) -> list[AuditRow]:
    """The rows that are wanted, in order of day, writer and number, with the details that still open."""
    statement = sa.select(audit).order_by(audit.c.day, audit.c.writer, audit.c.n).limit(limit)
    for name in ("kind", "actor", "act", "target", "org", "app", "purpose", "dataset"):
        if (value := getattr(wanted, name)) is not None:
            statement = statement.where(audit.c[name] == value)
    if wanted.from_day is not None:
        statement = statement.where(audit.c.day >= wanted.from_day)
    if wanted.to_day is not None:
        statement = statement.where(audit.c.day <= wanted.to_day)
    if after is not None:
        statement = statement.where(sa.tuple_(audit.c.day, audit.c.writer, audit.c.n) > sa.tuple_(*map(sa.literal, after)))
    return await _shown(source, await source.all(statement))


async def after(source: Reads | Transaction, position: int, limit: int) -> list[AuditRow]:
    """Acts in order, all but the first `position` of them."""
    statement = sa.select(audit).where(audit.c.writer == OFFICE).order_by(audit.c.day, audit.c.n).offset(position).limit(limit)
    return await _shown(source, await source.all(statement))


async def _shown(source: Reads | Transaction, found: Sequence[Row]) -> list[AuditRow]:
    vault = source.vault
    wanted = {dek_id_of(bytes(row.detail)) for row in found if row.detail is not None} - {0}
    deks = await vault.deks_by_id(source, wanted)
    return [_row(vault, deks, row) for row in found]


def _dek_of(vault: Vault, deks: Mapping[int, Dek], sealed: bytes) -> Dek | None:
    dek_id = dek_id_of(sealed)
    return deks.get(dek_id) if dek_id else vault.house_dek(LABEL, key_version_of(sealed))


def _row(vault: Vault, deks: Mapping[int, Dek], row: Row) -> AuditRow:
    values = {name: getattr(row, name) for name in COLUMNS}
    place = f"{row.day}/{row.writer}/{row.n}"
    detail, case_ref, subjects = values["detail"], values["case_ref"], values["subjects"]
    dek = None if detail is None else _dek_of(vault, deks, bytes(detail))
    values["detail"] = None if dek is None else _decoder.decode(vault.open(dek, "audit", "detail", place, bytes(detail)))
    if case_ref is not None:
        values["case_ref"] = vault.open(
            vault.house_dek(LABEL, key_version_of(bytes(case_ref))), "audit", "case_ref", place, bytes(case_ref)
        ).decode()
    hmacs = b"" if subjects is None else bytes(subjects)[1:]
    values["subjects"] = tuple(hmacs[at : at + SUBJECT_BYTES].hex() for at in range(0, len(hmacs), SUBJECT_BYTES))
    return AuditRow(**values)
