"""Exchanging the key of a label; of a blind index by writing under both keys, indexing again, cutting over (policy.md §11).

Rules: from `next` on whatever is written is findable under both keys; older subjects follow a page at a time; the cut-over is refused
while one is missing, and takes the last ones along; what the old key made goes only after every process has seen it. The texts that are
indexed are found among what the records of a subject say: the index itself tells nothing. This room must not decide when.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from gateway.core.errors import StoreError
from gateway.core.publication.names import normalise
from gateway.store import ingests as ingest_rows
from gateway.store.dialects import among
from gateway.store.rotation import changed
from gateway.store.sealing import keys_of, open_secrets
from gateway.store.store import Row, Transaction
from gateway.store.subjects import NAME
from gateway.store.tables import ingests, key_labels, record_versions, records, subject_keys, subject_names, subjects
from gateway.store.vault import unpack

SUBJECT: Final = "blind/subject/"
OFFICER: Final = "blind/officer/name"
PLAIN: Final = frozenset({"etag", "cursor", "validator", "dpop-nonce", "api-key-pepper", "audit-detail", "audit-head", "audit-subject"})
"""Labels whose next key is at once the present one: what they made is short-lived, names its version, or is tried under every one."""


def refuse_unknown(label: str) -> None:
    """Only what can be rotated alone. Raises StoreError `key-label`."""
    if label not in PLAIN and not label.startswith(SUBJECT) and label != OFFICER:
        raise StoreError(
            "this label has no rotation of its own",
            code="key-label",
            place="label",
            hint=f"one of {', '.join(sorted(PLAIN))}, {OFFICER}, {SUBJECT}<key type>; data keys: `key rotate-kek`, `key renew-deks`",
        )


async def begin_label(tx: Transaction, label: str) -> int:
    """The next key of a label: at once the present one, or for an index the one to come; the version."""
    ring = tx.vault.ring
    coming = ring.coming(label)
    if coming is not None:
        return coming.version
    version = max(ring.versions(label)) + 1
    present = ring.current(label)
    state = "current" if label in PLAIN else "next"
    await tx.execute(sa.delete(key_labels).where(key_labels.c.label == label, key_labels.c.version == present.version))
    rows = [
        (label, present.version, present.root, present.suite, "old" if state == "current" else "current", tx.now_text),
        (label, version, ring.version, tx.vault.suite, state, tx.now_text),
    ]
    await tx.insert(key_labels, ("label", "version", "root", "suite", "state", "at"), rows)
    await changed(tx)
    return version


async def cut_over(tx: Transaction, label: str, version: int) -> None:
    """From now on the index is asked under the next key."""
    for state, which in (("old", key_labels.c.state == "current"), ("current", key_labels.c.version == version)):
        await tx.execute(sa.update(key_labels).where(key_labels.c.label == label, which).values(state=state, at=tx.now_text))
    await changed(tx)


async def index_again(tx: Transaction, label: str, version: int, after: str, limit: int) -> tuple[str | None, int, list[str]]:
    """Make some subjects findable under the next key: (the last looked at, None at the end; how many; those without a text)."""
    key_type = label.removeprefix(SUBJECT)
    rows = await tx.all(
        sa.select(subjects).where(subjects.c.kind != "legal", subjects.c.subject_id > after).order_by(subjects.c.subject_id).limit(limit)
    )
    missing = [row for row in rows if key_type == NAME or _wants(row, key_type, version)]
    words = await _words(tx, [row.subject_id for row in missing])
    done, failed = 0, []
    for row in missing:
        if key_type == NAME:
            done += await _name_again(tx, row.subject_id, words.get(row.subject_id, ()), version)
            continue
        known = _known(row)
        twin = _twin(tx, key_type, known[key_type], words.get(row.subject_id, ()), version)
        if twin is None:
            failed.append(row.subject_id)
            continue
        known[f"{key_type}#{version}"] = twin
        await tx.insert(subject_keys, ("key_type", "key_value", "subject_id"), [(key_type, twin, row.subject_id)])
        await _put_known(tx, row.subject_id, known)
        done += 1
    return (rows[-1].subject_id if len(rows) == limit else None), done, failed


async def drop_old(tx: Transaction, label: str, version: int, after: str, limit: int) -> str | None:
    """Take away what the old key made of some subjects; the last looked at, None at the end."""
    key_type = label.removeprefix(SUBJECT)
    rows = await tx.all(
        sa.select(subjects).where(subjects.c.kind != "legal", subjects.c.subject_id > after).order_by(subjects.c.subject_id).limit(limit)
    )
    words = await _words(tx, [row.subject_id for row in rows]) if key_type == NAME else {}
    for row in rows:
        if key_type == NAME:
            keep = {tx.vault.blind("subject", NAME, normalise(word), version) for word in words.get(row.subject_id, ())}
            held = await tx.all(sa.select(subject_names.c.name_blind).where(subject_names.c.subject_id == row.subject_id))
            for name in {each.name_blind for each in held} - keep:
                await tx.execute(
                    sa.delete(subject_names).where(subject_names.c.name_blind == name, subject_names.c.subject_id == row.subject_id)
                )
            continue
        known = _known(row)
        twin = known.pop(f"{key_type}#{version}", None)
        if twin is None:
            continue
        old = known[key_type]
        known[key_type] = twin
        await tx.execute(sa.delete(subject_keys).where(subject_keys.c.key_type == key_type, subject_keys.c.key_value == old))
        await _put_known(tx, row.subject_id, known)
    return rows[-1].subject_id if len(rows) == limit else None


async def officers_again(tx: Transaction, version: int) -> int:
    """The officers of all records under the next key, and under no older one: one statement a name."""
    names = {
        officer
        for row in await tx.all(sa.select(ingests.c.ingest_id))
        if (officer := (await ingest_rows.about(tx, row.ingest_id)).officer) is not None
    }
    for name in sorted(names):
        new = tx.vault.blind("officer", "name", name, version)
        for old in (tx.vault.blind("officer", "name", name, each) for each in tx.vault.ring.versions(OFFICER) if each != version):
            for table in (records, record_versions):
                await tx.execute(sa.update(table).where(table.c.officer == old).values(officer=new))
    return len(names)


def _known(row: Row) -> dict[str, str]:
    return msgspec.json.decode(row.known_by, type=dict[str, str])


async def _put_known(tx: Transaction, subject_id: str, known: Mapping[str, str]) -> None:
    await tx.execute(sa.update(subjects).where(subjects.c.subject_id == subject_id).values(known_by=msgspec.json.encode(known)))


def _wants(row: Row, key_type: str, version: int) -> bool:
    known = _known(row)
    return key_type in known and f"{key_type}#{version}" not in known


async def _words(tx: Transaction, subject_ids: Sequence[str]) -> dict[str, set[str]]:
    """All texts that the records of these subjects, past versions too, say: among them is what each is known by."""
    found: dict[str, set[str]] = {}
    of = {
        row.record_id: row.subject_id
        for row in await tx.all(
            sa.select(records.c.record_id, records.c.subject_id).where(among(records.c.subject_id, "wanted")), {"wanted": list(subject_ids)}
        )
    }
    for table in (records, record_versions):
        rows = await tx.all(
            sa.select(table.c.record_id, table.c.secret, table.c.clear).where(among(table.c.record_id, "wanted")), {"wanted": list(of)}
        )
        secrets = [{} if row.secret is None else unpack(bytes(row.secret)) for row in rows]
        keys = await keys_of(tx, secrets)
        for row, each in zip(rows, secrets, strict=True):
            values = {**msgspec.json.decode(bytes(row.clear)), **open_secrets(tx, keys, row.record_id, each)}
            found.setdefault(of[row.record_id], set()).update(_texts(values))
    return found


def _texts(values: Mapping[str, Any]) -> Iterable[str]:
    texts = [value for value in values.values() if isinstance(value, str)]
    document = values.get("id_type")
    return [*texts, *(f"{document}:{text}" for text in texts if isinstance(document, str))]


def _twin(tx: Transaction, key_type: str, stored: str, words: Iterable[str], version: int) -> str | None:
    present = tx.vault.ring.current(f"{SUBJECT}{key_type}").version
    for word in words:
        if tx.vault.blind("subject", key_type, word, present) == stored:
            return tx.vault.blind("subject", key_type, word, version)
    return None


async def _name_again(tx: Transaction, subject_id: str, words: Iterable[str], version: int) -> int:
    held = {row.name_blind for row in await tx.all(sa.select(subject_names.c.name_blind).where(subject_names.c.subject_id == subject_id))}
    present = tx.vault.ring.current(f"{SUBJECT}{NAME}").version
    done = 0
    for name in {normalise(word) for word in words}:
        new = tx.vault.blind("subject", NAME, name, version)
        if tx.vault.blind("subject", NAME, name, present) in held and new not in held:
            await tx.insert(subject_names, ("name_blind", "subject_id"), [(new, subject_id)])
            done += 1
    return done
