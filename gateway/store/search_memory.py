"""What a process keeps in memory for plain searches: the names index, and documents of whom it names; read in portions, whoever asks.

Rules: SQLite only. All names or none (`held_names`), then as many documents as there is room for, in order of the names: what is kept
never depends on what was asked for, so how soon an answer comes tells nothing of who else asked (decisions/0080). One portion is read
at the end of each turn of the loop in which somebody searched. Whether anybody committed is asked once a turn, after the turn's end was
put in line, as `lane` does; then counters that triggers raise tell of names and renderings that changed or went, and the structure of the
token index of names that came in. Where the triggers do not stand as they were made nothing is kept. A failure keeps nothing, and the
store is asked. Households have no names in the index; whether one bears a name is read each time. This room must not write.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from sys import intern
from time import monotonic
from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec

from gateway.core.publication.held_names import HeldNames
from gateway.store.store import Store

_NAMES: Final = """
SELECT CAST(json_group_array(json_array(name_id, subject_id, role, shown, name_norm, core, tokens)) AS BLOB)
FROM (SELECT * FROM names WHERE name_id > ? ORDER BY name_id LIMIT ?)
"""
"""The next names, as one row: for each the interpreter's lock would be let go of."""
_READ: Final = msgspec.json.Decoder(list[tuple[int, str, str, str, str, str, str]])
_DOCUMENTS: Final = """
SELECT n.name_id, n.subject_id, r.body, r.plan, r.valid_until, r.head_seq = s.head_seq
FROM (SELECT name_id, subject_id FROM names WHERE name_id > ? ORDER BY name_id LIMIT ?) AS n
LEFT JOIN subjects AS s ON s.subject_id = n.subject_id
LEFT JOIN rendered_subjects AS r ON r.subject_id = n.subject_id
"""
_BORNE: Final = "SELECT 1 FROM subject_names WHERE name_blind = ? LIMIT 1"
_STATE: Final = """
SELECT (SELECT value FROM counters WHERE name = 'names'),
       (SELECT block FROM names_fts_data WHERE id = 10),
       (SELECT value FROM counters WHERE name = 'lane')
"""
_WATCHES: Final = frozenset(
    f"CREATE TRIGGER lane_{table}_{act} AFTER {act} ON {table} "
    f"BEGIN INSERT INTO counters (name, value) VALUES ('{counter}', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1; END"
    for table, counter in (("subjects", "lane"), ("rendered_subjects", "lane"), ("names", "names"))
    for act in ("update", "delete")
)
"""Triggers that raise the counters, as they were made."""
_TOGETHER: Final = 32
"""Names, or documents, that a turn reads: a quarter of a millisecond."""
_REST_S: Final = 1.0
"""After a change, how long nothing is read: while somebody writes it would be forgotten with the next commit."""
_RESTING: Final = 20_000
"""So many names rest a second more: reading them again takes a tenth of one."""
_RENEWED_S: Final = 600.0
"""How long at most anything is kept: after it even a row is seen that another program had replaced behind the triggers."""
_ENTRY: Final = 400
"""What a document takes beside its bytes."""


class Document(NamedTuple):
    """The document of a subject, of which no change stood after it; and what else decides whether it is shown."""

    body: bytes
    plan: str
    """Tag of plans and policy version under which it was made."""
    valid_until: str


class _State(NamedTuple):
    names: int | None
    """Raised with every name that changes or goes."""
    structure: bytes | None
    """How the token index is put together (FTS5, structure record): other bytes after every transaction that writes it."""
    renderings: int | None
    """Raised with every subject, or rendering of one, that changes or goes."""


class SearchMemory:
    """Names and documents as the database has them now; nothing where they are not all read."""

    __slots__ = (
        "_after", "_connection", "_cursor", "_documents", "_documents_after", "_ending", "_form", "_left", "_looked", "_most", "_names",
        "_number", "_quiet_from", "_reading", "_renewed_from", "_state", "_watched",
    )  # fmt: skip

    def __init__(self, store: Store, *, kept_bytes: int) -> None:
        path = store.path
        if path is None:
            raise ValueError("only SQLite is kept in memory")
        self._connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.1, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only=ON")
        self._connection.execute("PRAGMA cache_size=-2048")
        self._cursor = self._connection.cursor()
        self._names = HeldNames()
        self._after: int | None = -1
        """The place after which names are read on; None: all there are."""
        self._documents: dict[str, Document] = {}
        self._documents_after: int | None = -1
        """The same for documents; None: of all names, or as many as there is room for."""
        self._most = self._left = kept_bytes
        self._quiet_from = 0.0 if kept_bytes else inf
        """When it will have been quiet for long enough, by the monotonic clock; never, where there is no room for the names."""
        self._renewed_from = 0.0
        self._state = _State(None, None, None)
        self._number = self._form = -1
        self._watched = False
        self._looked = self._ending = self._reading = False
        """Whether in this turn it was looked for commits, its end is on its way, its transaction has begun."""

    def names(self) -> HeldNames | None:
        """All names of the index; None where they are not kept, or the file cannot be read just now."""
        return self._names if self._look() and self._after is None and len(self._names) else None

    def documents(self, subject_ids: Sequence[str]) -> list[tuple[str, Document]]:
        """Those of these subjects whose documents are kept, with these."""
        if not self._look():
            return []
        kept = self._documents
        return [(each, held) for each in subject_ids if (held := kept.get(each)) is not None]

    def is_borne(self, bearer: str) -> bool | None:
        """Whether an individual business bears a name, stored so, as its whole one; None where the file cannot be read just now."""
        if not self._look():
            return None
        try:
            self._begin()
            return bool(self._cursor.execute(_BORNE, (bearer,)).fetchall())
        except sqlite3.Error:
            return None

    def _look(self) -> bool:
        """Has anybody committed since the last turn? False where that cannot be told."""
        if self._looked:
            return True
        try:
            if self._connection.in_transaction:  # one that could not be ended would go on to see the past
                return False
            if not self._ending:  # before the version is read: whoever comes in meanwhile stands behind the end of this turn
                asyncio.get_running_loop().call_soon(self._turned)
                self._ending = True
            if monotonic() >= self._renewed_from:
                self._forget()
            ((number,),) = self._connection.execute("PRAGMA data_version").fetchall()
            if number != self._number:
                self._learn()
                self._number = number
        except sqlite3.Error:
            return False
        self._looked = True
        return True

    def _learn(self) -> None:
        """Somebody committed: forget what that may have been about. Raises sqlite3.Error."""
        ((form,),) = self._connection.execute("PRAGMA schema_version").fetchall()
        if form != self._form:
            self._forget()
            stand = {sql for (sql,) in self._connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'").fetchall()}
            self._watched, self._form = stand >= _WATCHES, form
        before, self._state = self._state, _State._make(self._connection.execute(_STATE).fetchall()[0])
        if before[:2] != self._state[:2]:
            self._forget()
        elif before.renderings != self._state.renderings:
            self._forget_documents()

    def _turned(self) -> None:
        """The turn is over, and so is what it read; some more is kept."""
        try:
            if self._watched and monotonic() >= self._quiet_from:
                if self._after is not None:
                    self._read_names(self._after)
                elif self._documents_after is not None:
                    self._read_documents(self._documents_after)
        except (sqlite3.Error, msgspec.DecodeError):
            self._forget()
        finally:
            self._looked = self._ending = False
            if self._reading:
                self._reading = False
                with suppress(sqlite3.Error):
                    self._cursor.execute("COMMIT")

    def _begin(self) -> None:
        if not self._reading:
            self._cursor.execute("BEGIN")
            self._reading = True

    def _read_names(self, after: int) -> None:
        """The next names. Raises sqlite3.Error."""
        self._begin()
        ((packed,),) = self._cursor.execute(_NAMES, (after, _TOGETHER)).fetchall()
        rows = _READ.decode(packed)
        fits = True
        try:
            for row in rows:
                self._names.add(*row)
        except ValueError:  # one that is as none of ours is: the database is asked
            fits = False
        self._after = rows[-1][0] if len(rows) == _TOGETHER else None
        if not fits or self._names.size > self._most:  # and will be: a register does not shrink
            self._forget()
            self._quiet_from = inf
        elif self._after is None:
            self._left = self._most - self._names.size

    def _read_documents(self, after: int) -> None:
        """The documents of the next names. Raises sqlite3.Error."""
        self._begin()
        rows = self._cursor.execute(_DOCUMENTS, (after, _TOGETHER)).fetchall()
        for _, subject_id, body, plan, valid_until, fresh in rows:
            if body is not None and fresh and subject_id not in self._documents:
                self._left -= len(body) + _ENTRY
                if self._left < 0:
                    self._documents_after = None
                    return
                self._documents[subject_id] = Document(body, intern(plan), valid_until)
        self._documents_after = rows[-1][0] if len(rows) == _TOGETHER else None

    def _forget(self) -> None:
        """Keep nothing, and begin again when it has been quiet for a while: the longer, the more there is to read."""
        now, many = monotonic(), len(self._names)
        self._names, self._after = HeldNames(), -1
        self._forget_documents()
        self._renewed_from = now + _RENEWED_S
        if self._quiet_from < inf:
            self._quiet_from = now + _REST_S * (1 + many // _RESTING)

    def _forget_documents(self) -> None:
        self._documents.clear()
        self._documents_after, self._left = -1, self._most - self._names.size
        if self._quiet_from < inf:
            self._quiet_from = max(self._quiet_from, monotonic() + _REST_S)

    def close(self) -> None:
        """Let go of the connection."""
        self._forget()
        self._connection.close()
