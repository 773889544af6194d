"""Subjects and what identifies them: find one by a key, link a statement to one.

Rules: a key belongs to one subject; keys of organisations stand in clear, of persons and individual businesses as blind indexes; a
trade name only finds an individual business and identifies none; names of persons are no key at all. A statement whose keys
lead to two subjects, or that brings a second value of a key its subject has, is not decided here: it is a conflict.
This room must not merge subjects.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from gateway.core.records.model import Subject, SubjectId, SubjectKind
from gateway.store.dialects import among, stated
from gateway.store.reads import Reads
from gateway.store.store import Transaction, new_ids
from gateway.store.tables import subject_keys, subject_names, subjects
from gateway.store.vault import Vault

Key = tuple[str, str]
"""Key type and stored value."""

NAME: Final = "name"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, str]).decode

_BY_ID = sa.select(subjects).where(subjects.c.subject_id == sa.bindparam("subject"))
_BY_KEY = (
    sa.select(subjects)
    .join(subject_keys, subject_keys.c.subject_id == subjects.c.subject_id)
    .where(subject_keys.c.key_type == stated("type"), subject_keys.c.key_value == sa.bindparam("value"))
)
_BY_NAME = (
    sa.select(subjects)
    .join(subject_names, subject_names.c.subject_id == subjects.c.subject_id)
    .where(subject_names.c.name_blind == sa.bindparam("value"))
    .order_by(subjects.c.subject_id)
)
_OF_NAMES = sa.select(subject_names.c.name_blind, subject_names.c.subject_id).where(among(subject_names.c.name_blind, "names"))
_OF_KEYS = sa.select(subject_keys.c.key_value, subject_keys.c.subject_id).where(
    subject_keys.c.key_type == stated("type"), among(subject_keys.c.key_value, "wanted")
)
_KEYS_OF = sa.select(subjects.c.subject_id, subjects.c.known_by).where(among(subjects.c.subject_id, "wanted"))
_DROP_KEY = sa.delete(subject_keys).where(
    subject_keys.c.key_type == stated("type"), subject_keys.c.key_value == sa.bindparam("value")
)
_NO_KEYS = sa.update(subjects).where(subjects.c.subject_id == sa.bindparam("subject")).values(known_by=b"{}")
_DROP_NAMES = sa.delete(subject_names).where(subject_names.c.subject_id == sa.bindparam("subject"))
_NAME_IS_KNOWN = sa.text("INSERT INTO subject_names (name_blind, subject_id) VALUES (:name_blind, :subject) ON CONFLICT DO NOTHING")


def stored_value(vault: Vault, key_type: str, value: str, kind: SubjectKind) -> str:
    """A key as the tables hold it: an organisation's in clear, anybody else's as blind index."""
    if kind == "legal":
        return value
    stored = vault.blind("subject", key_type, value)
    twin = vault.blind_twin("subject", key_type, value)
    if twin is not None:
        vault.remember_twin(key_type, stored, twin)
    return stored


async def subject_by_id(source: Reads | Transaction, subject_id: SubjectId) -> Subject | None:
    """A subject by our own id."""
    row = await source.one(_BY_ID, {"subject": subject_id})
    return None if row is None else Subject(subject_id=row.subject_id, kind=row.kind, head_seq=row.head_seq)


async def subject_by_key(source: Reads | Transaction, key_type: str, value: str, kind: SubjectKind) -> Subject | None:
    """A subject by a whole, normalised key; a trade name that two individual businesses bear finds none."""
    if key_type == NAME:
        found = await subjects_by_name(source, value) if kind == "individual_business" else []
        return found[0] if len(found) == 1 else None
    row = await source.one(_BY_KEY, {"type": key_type, "value": stored_value(source.vault, key_type, value, kind)})
    return Subject(subject_id=row.subject_id, kind=row.kind, head_seq=row.head_seq) if row is not None and row.kind == kind else None


async def subjects_by_name(source: Reads | Transaction, name: str) -> list[Subject]:
    """The individual businesses that bear exactly this normalised trade name."""
    rows = await source.all(_BY_NAME, {"value": stored_value(source.vault, NAME, name, "individual_business")})
    return [Subject(subject_id=row.subject_id, kind=row.kind, head_seq=row.head_seq) for row in rows]


async def bearers_of(source: Reads, names: Collection[str]) -> dict[str, list[str]]:
    """Normalised trade name → the individual businesses that bear it; off the loop."""
    stored = {stored_value(source.vault, NAME, name, "individual_business"): name for name in names}
    bearers: dict[str, list[str]] = {}
    for row in await source.slow(_OF_NAMES, {"names": list(stored)}):
        bearers.setdefault(stored[row.name_blind], []).append(row.subject_id)
    return bearers


async def keys_of_subject(source: Reads | Transaction, subject_id: SubjectId) -> list[Key]:
    """The keys of a subject as they are stored."""
    rows = await source.all(_KEYS_OF, {"wanted": [subject_id]})
    return [(key_type.partition("#")[0], value) for row in rows for key_type, value in _decode(row.known_by).items()]


async def forget_keys(tx: Transaction, subject_id: SubjectId) -> None:
    """Take every key and name of a subject away: nobody finds it any more."""
    for key_type, value in await keys_of_subject(tx, subject_id):
        await tx.execute(_DROP_KEY, {"type": key_type, "value": value})
    await tx.execute(_NO_KEYS, {"subject": subject_id})
    await tx.execute(_DROP_NAMES, {"subject": subject_id})


class Linker:
    """Links the statements of one chunk to subjects, new or known, and remembers what is to be written."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._subject_of: dict[Key, SubjectId] = {}
        self._known: set[Key] = set()
        self._values: dict[SubjectId, dict[str, str]] = {}  # what each subject has, where that was asked
        self._spare: list[str] = []
        self.new_subjects: dict[SubjectId, SubjectKind] = {}
        self.new_keys: list[tuple[str, str, str]] = []
        self._grown: set[SubjectId] = set()

    async def look_up(self, statements: Sequence[tuple[Key, ...]]) -> None:
        """Learn what the store knows of these keys, in one statement for each type of key."""
        wanted: dict[str, list[str]] = defaultdict(list)
        for keys in statements:
            for key in keys:
                if key not in self._known:
                    self._known.add(key)
                    wanted[key[0]].append(key[1])
        for key_type, values in wanted.items():
            for value, subject_id in await self._tx.all(_OF_KEYS, {"type": key_type, "wanted": values}):
                self._subject_of[key_type, value] = subject_id
        partly: set[SubjectId] = set()
        for keys in statements:
            found = [self._subject_of.get(key) for key in keys]
            if None in found:
                partly.update(subject_id for subject_id in found if subject_id is not None and subject_id not in self._values)
        if partly:
            for subject_id, keys_text in await self._tx.all(_KEYS_OF, {"wanted": list(partly)}):
                self._values[subject_id] = _decode(keys_text)

    def link(self, keys: tuple[Key, ...]) -> tuple[SubjectId | None, bool]:
        """(subject, conflict) of one statement: None = nobody known yet; of two subjects the one with the strongest key. Writes nothing."""
        first: SubjectId | None = None
        missing = False
        conflict = False
        for key in keys:
            subject_id = self._subject_of.get(key)
            if subject_id is None:
                missing = True
            elif first is None:
                first = subject_id
            elif subject_id != first:
                conflict = True
        if first is not None and missing and not conflict:
            has = self._values.get(first, {})
            conflict = any(key not in self._subject_of and has.get(key[0], key[1]) != key[1] for key in keys)
        return first, conflict

    def create(self, keys: tuple[Key, ...], kind: SubjectKind) -> SubjectId:
        """A new subject with these keys."""
        if not self._spare:
            self._spare = new_ids("sub_", 256, self._tx.store.random)
        subject_id = SubjectId(self._spare.pop())
        self.new_subjects[subject_id] = kind
        self._values[subject_id] = {}
        self.extend(subject_id, keys)
        return subject_id

    def extend(self, subject_id: SubjectId, keys: Iterable[Key]) -> None:
        """Give a subject those of the keys that nobody has yet."""
        for key in keys:
            if key not in self._subject_of:
                self._subject_of[key] = subject_id
                self._values[subject_id][key[0]] = key[1]  # known: somebody who lacks a key was looked up
                self.new_keys.append((key[0], key[1], subject_id))
                self._grown.add(subject_id)
                twin = self._tx.vault.twin_of(*key)
                if twin is not None:  # its index is being rotated: findable under both keys
                    self._values[subject_id][f"{key[0]}#{twin[0]}"] = twin[1]
                    self.new_keys.append((key[0], twin[1], subject_id))

    async def write(self, heads: dict[SubjectId, int]) -> None:
        """Insert the new subjects and keys, move the heads of all."""
        made, grown, moved = [], [], []
        for subject_id, seq in heads.items():
            kind = self.new_subjects.get(subject_id)
            if kind is not None:
                made.append((subject_id, kind, seq, _encode(self._values[subject_id])))
            elif subject_id in self._grown:
                grown.append((seq, _encode(self._values[subject_id]), subject_id))
            else:
                moved.append((seq, subject_id))
        made.sort()
        self.new_keys.sort()
        await self._tx.insert(subjects, ("subject_id", "kind", "head_seq", "known_by"), made)
        await self._tx.insert(subject_keys, ("key_type", "key_value", "subject_id"), self.new_keys)
        await self._tx.update(subjects, ("head_seq", "known_by"), "subject_id", grown)
        await self._tx.update(subjects, ("head_seq",), "subject_id", moved)
        self.new_subjects, self.new_keys, self._grown = {}, [], set()


async def add_names(tx: Transaction, names: Iterable[tuple[str, SubjectId]]) -> None:
    """Make individual businesses findable by (normalised trade name, subject)."""
    rows = []
    for name, subject_id in names:
        stored = stored_value(tx.vault, NAME, name, "individual_business")
        twin = tx.vault.twin_of(NAME, stored)
        rows += [{"name_blind": blind, "subject": subject_id} for blind in (stored, *(twin[1:] if twin else ()))]
    if rows:
        await tx.execute(_NAME_IS_KNOWN, rows)
