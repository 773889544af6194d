"""The read side of the public lane: one statement on a read-only connection of its own, in the event loop.

Rules: SQLite only (on PostgreSQL a look-up waits for the network, so the office lane answers); it returns a rendering beside all
that tells whether it is still true, and judges nothing; a failure is no answer, and the office lane is asked. The connection is
opened for reading only. This room must not know HTTP.

What was made of a subject that was read lately is kept until anybody commits anything that it was read from. `PRAGMA data_version` is asked
once in each turn of the event loop, before the first look-up of that turn: a request that arrives after a commit is handled in a later turn
than one that was checked before it, so nothing that left is shown to anybody who asked afterwards. After a commit of whomever the
database says by its counter `lane` whether a row of the three tables was changed or taken away; triggers raise it, in the transaction of
the writer, whichever program that is, unless it says `REPLACE`: SQLite then takes a row away without a word, so nothing here writes so
(tested, decisions/0053). Where they do not stand as they were made, everything is forgotten at every commit. Each statement saved is a
hand-over of the interpreter's lock saved, which costs more than the statement. All that a turn reads it reads in one transaction, which
begins with its first row and ends with the turn: a third of a statement by key would else be the locks of a transaction of its own. What is
asked for by its id is read each time: there are many more records, each is asked for less often, and an id may be a household's.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import quote

from gateway.store.feed import Head
from gateway.store.store import Store

_LOOKUP: Final = """
SELECT r.body, r.etag, r.plan, r.valid_until, r.head_seq = s.head_seq
FROM subject_keys k
JOIN subjects s ON s.subject_id = k.subject_id
JOIN rendered_subjects r ON r.subject_id = k.subject_id
WHERE k.key_type = 'uscc' AND k.key_value = ?
"""
_SUBJECT: Final = """
SELECT r.body, r.etag, r.plan, r.valid_until, r.head_seq = s.head_seq
FROM subjects s
JOIN rendered_subjects r ON r.subject_id = s.subject_id
WHERE s.subject_id = ?
"""
_RECORD: Final = """
SELECT d.body, d.dataset, d.plan, d.valid_from, d.valid_until, d.version_seq = r.changed_seq
FROM records r
JOIN rendered_records d ON d.record_id = r.record_id
WHERE r.record_id = ?
"""
_STATE: Final = """
SELECT (SELECT value FROM counters WHERE name = 'lane'),
       (SELECT version FROM policy_activations ORDER BY seq DESC LIMIT 1),
       f.seq, f.at
FROM (SELECT max(seq) AS seq FROM feed WHERE plan_set = 'public/open.read') AS newest
LEFT JOIN feed AS f ON f.plan_set = 'public/open.read' AND f.seq = newest.seq
"""
_WATCHES: Final = frozenset(
    f"CREATE TRIGGER lane_{table}_{act} AFTER {act} ON {table} "
    "BEGIN INSERT INTO counters (name, value) VALUES ('lane', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1; END"
    for table in ("subject_keys", "subjects", "rendered_subjects")
    for act in ("update", "delete")
)
"""Triggers that raise the counter, as they were made: one that followed its table to another name is none of them. A row that is put in
adds something of which nothing was kept."""


class Rendered(NamedTuple):
    """A rendered subject, and what decides whether it is true now."""

    body: bytes | None
    etag: str
    plan: str
    """Tag of plans and policy version under which it was made."""
    valid_until: str
    fresh: int
    """1 when no change of the subject stands after the rendering."""


class RenderedRecord(NamedTuple):
    """A rendered record, and what decides whether it is true now."""

    body: bytes
    dataset: str
    plan: str
    """Tag of plans and policy version under which it was made."""
    valid_from: str
    valid_until: str
    fresh: int
    """1 when it is of the record's last change."""


class State(NamedTuple):
    """What counts for all of them alike: the same object while nothing has been committed."""

    changes: int | None
    """Raised with every row of theirs that changes or goes; None before the first."""
    policy_version: int | None
    """In force, as the store says now."""
    feed_seq: int | None
    feed_at: str | None

    @property
    def version(self) -> str:
        """Dataset version that the public sees now."""
        return Head(seq=self.feed_seq or 0, at=self.feed_at or "").version


Made = TypeVar("Made")
Form = TypeVar("Form", bound=Hashable)
"""In which form a document leaves: its language."""
_UNKNOWN: Final = State(None, None, None, None)

KEPT_BYTES: Final = 32 * 2**20
"""Of documents that were read lately; the oldest goes first."""
_ENTRY: Final = 900
"""What the rest of one costs, about."""


class LaneReads:
    """Looks up rendered subjects by code or id, and rendered records by id."""

    __slots__ = ("_checked", "_connection", "_cursor", "_form", "_held", "_most", "_number", "_reading", "_size", "_watched", "state")

    def __init__(self, store: Store, *, kept_bytes: int = KEPT_BYTES) -> None:
        path = store.path
        if path is None:
            raise ValueError("the public lane reads SQLite only")
        self._connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.1, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only=ON")
        self._connection.execute("PRAGMA cache_size=-8192")
        self.state = _UNKNOWN
        """As it was at the first look-up of the turn in which the last one was."""
        self._held: dict[tuple[str, Hashable], tuple[Any, int]] = {}
        """By code and form, what was made of its row, and how many bytes that counts for."""
        self._size, self._most = 0, kept_bytes
        self._number = self._form = -1
        self._watched = False
        self._checked = False
        self._cursor = self._connection.cursor()
        self._reading = False
        """Whether the transaction of this turn has begun."""

    def by_code(self, code: str, form: Form, make: Callable[[str, Form, Rendered], Made | None]) -> Made | None:
        """What `make` makes of a code and its rendering in a form, kept while that stands; always the same `make`, or `forget` between two.

        None where it makes nothing of it (which is not kept), where there is no rendering, or the file cannot be read just now.
        """
        try:
            if not self._checked:
                self._check()
            held = self._held.get((code, form))
            if held is not None:
                return cast(Made, held[0])
            row = self._read(_LOOKUP, code)
        except sqlite3.Error:
            return None
        if not row:
            return None
        rendered = Rendered._make(row[0])
        made = make(code, form, rendered)
        if made is not None:
            self._keep((code, form), made, len(rendered.body or b"") + _ENTRY)
        return made

    def subject(self, subject_id: str) -> Rendered | None:
        """The rendering of a subject by its id; None where there is none, or the file cannot be read just now."""
        row = self._now(_SUBJECT, subject_id)
        return Rendered._make(row[0]) if row else None

    def record(self, record_id: str) -> RenderedRecord | None:
        """The rendering of a record; None where there is none, or the file cannot be read just now."""
        row = self._now(_RECORD, record_id)
        return RenderedRecord._make(row[0]) if row else None

    def _now(self, statement: str, key: str) -> list[Any] | None:
        try:
            if not self._checked:
                self._check()
            return self._read(statement, key)
        except sqlite3.Error:
            return None

    def _read(self, statement: str, key: str) -> list[Any]:
        if self._checked and not self._reading:
            self._cursor.execute("BEGIN")
            self._reading = True
        return self._cursor.execute(statement, (key,)).fetchall()

    def _check(self) -> None:
        """Has anybody committed since the last turn of the loop? Outside a loop it is asked at each look-up.

        Raises sqlite3.Error, and then nothing is answered: so too if a transaction could not be ended, which would go on to see the past.
        """
        if self._connection.in_transaction:
            raise sqlite3.OperationalError("the transaction of the last turn has not ended")
        ((number,),) = self._connection.execute("PRAGMA data_version").fetchall()
        if number != self._number:
            self._look()
            self._number = number
        with suppress(RuntimeError):
            asyncio.get_running_loop().call_soon(self._turned)
            self._checked = True

    def _look(self) -> None:
        """Somebody committed: learn how things stand, and forget what that may have been about."""
        ((form,),) = self._connection.execute("PRAGMA schema_version").fetchall()
        if form != self._form:
            self.forget()
            stand = {sql for (sql,) in self._connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'").fetchall()}
            self._watched, self._form = stand >= _WATCHES, form
        before, self.state = self.state, State._make(self._connection.execute(_STATE).fetchall()[0])
        if not self._watched or self.state.changes != before.changes:
            self.forget()

    def _turned(self) -> None:
        """The turn is over, and so is what it read."""
        self._checked = False
        if self._reading:
            self._reading = False
            with suppress(sqlite3.Error):
                self._cursor.execute("COMMIT")

    def _keep(self, key: tuple[str, Hashable], made: Any, size: int) -> None:
        self._held[key] = made, size
        self._size += size
        while self._size > self._most:
            self._size -= self._held.pop(next(iter(self._held)))[1]

    def forget(self) -> None:
        """Keep nothing of what was made."""
        self._held.clear()
        self._size = 0

    def close(self) -> None:
        """Let go of the connection."""
        self.forget()
        self._connection.close()
