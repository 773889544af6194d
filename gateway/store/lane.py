"""The read side of the public lane: one statement on a read-only connection of its own, in the event loop.

Rules: SQLite only (on PostgreSQL a look-up waits for the network, so the office lane answers); it returns a rendering beside all
that tells whether it is still true, and judges nothing; a failure is no answer, and the office lane is asked. The connection is
opened for reading only. This room must not know HTTP.

What somebody above makes of renderings of organisations is kept by their code, as much as the settings give room for: of the whole
register, or of its first part by code. They are read in portions, one at the end of each turn in which somebody asked, whatever was asked
for, and nothing is kept because it was asked for: how soon an answer comes tells nothing of who else asked (decisions/0076, 0079). It is
kept until anybody commits anything that it was read from, or whoever makes it says that it would be made otherwise now. `PRAGMA
data_version` is asked once in each turn of the event loop, before the first look-up of that turn, but after the turn's end was put in line:
a request that arrives after a commit of which the version does not tell stands behind that end, so nothing that left is shown to anybody
who asked afterwards. After a commit of whomever the database says by its counter `lane` whether a row of the three tables was changed or
taken away; triggers raise it, in the transaction of the writer, whichever program that is, unless it says `REPLACE`: SQLite then takes a
row away without a word, so nothing here writes so (tested, decisions/0053). Where they do not stand as they were made, nothing is kept.
Each statement saved is a hand-over of the interpreter's lock saved, which costs more than the statement. All that a turn reads it reads in
one transaction, which begins with its first row and ends with the turn: a third of a statement by key would else be the locks of a
transaction of its own. What is asked for by its id is read each time: there are many more records, each is asked for less often, and an id
may be a household's.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Generic, NamedTuple, TypeVar
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
_PORTION: Final = """
SELECT k.key_value, r.body, r.etag, r.plan, r.valid_until, r.head_seq = s.head_seq
FROM subject_keys k
LEFT JOIN subjects s ON s.subject_id = k.subject_id
LEFT JOIN rendered_subjects r ON r.subject_id = k.subject_id
WHERE k.key_type = 'uscc' AND k.key_value > ?
ORDER BY k.key_value LIMIT ?
"""
"""The next codes with what is rendered of them, if anything is: as much work wherever one is in the register."""
_DIGITS: Final = 18
"""Of a code; that of a household stands as a keyed digest, which is longer, and is answered by nobody here."""
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


_UNKNOWN: Final = State(None, None, None, None)
_TOGETHER: Final = 32
"""How many a turn reads to keep them: a quarter of a millisecond, of the two or three that a turn takes under load."""
_REST_S: Final = 1.0
"""After a change, how long nothing is read to be kept: while somebody writes it would be forgotten with the next commit."""
_RENEWED_S: Final = 600.0
"""How long at most anything is kept: after it even a row is seen that another program had replaced behind the triggers."""

Kept = TypeVar("Kept")


class LaneReads(Generic[Kept]):
    """Looks up rendered subjects by code or id, and rendered records by id."""

    __slots__ = (
        "_connection", "_cursor", "_ending", "_form", "_left", "_make", "_most", "_next", "_number", "_quiet_from", "_reading",
        "_renewed_from", "_watched", "held", "looked", "state",
    )  # fmt: skip

    def __init__(self, store: Store, *, kept_bytes: int) -> None:
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
        self.held: dict[str, Kept] = {}
        """By code, what is kept."""
        self._make: Callable[[str, Rendered], tuple[Kept, int] | None] | None = None
        self._most = self._left = kept_bytes
        self._next: str | None = ""
        """The code after which to read on; None: all there are, or as many as there is room for."""
        self._quiet_from = self._renewed_from = 0.0
        """When it will have been quiet for long enough, and when everything is read anew; by the monotonic clock, seconds."""
        self._number = self._form = -1
        self._watched = False
        self.looked = False
        """Whether it was looked in this turn of the loop whether anybody has committed: what is held is of it then."""
        self._ending = False
        """Whether the end of this turn is on its way."""
        self._cursor = self._connection.cursor()
        self._reading = False
        """Whether the transaction of this turn has begun."""

    def keep(self, make: Callable[[str, Rendered], tuple[Kept, int] | None]) -> None:
        """Keep from now on what this makes of a code and its rendering, and nothing that was made before.

        It says how many bytes that takes; None: nothing is kept of this one.
        """
        self._make = make
        self._forget()

    def look(self) -> bool:
        """See whether anybody has committed since the last turn, and forget what that was about; False where the file cannot be read."""
        try:
            self._check()
        except sqlite3.Error:
            return False
        return True

    def by_code(self, code: str) -> Rendered | None:
        """The rendering of an organisation by its code, read now; None where there is none, or the file cannot be read just now."""
        row = self._now(_LOOKUP, code)
        return Rendered._make(row[0]) if row else None

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
            if not self.looked:
                self._check()
            return self._read(statement, key)
        except sqlite3.Error:
            return None

    def _read(self, statement: str, key: str) -> list[Any]:
        if self.looked and not self._reading:
            self._cursor.execute("BEGIN")
            self._reading = True
        return self._cursor.execute(statement, (key,)).fetchall()

    def _check(self) -> None:
        """Has anybody committed since the last turn of the loop? Outside a loop it is asked at each look-up.

        Raises sqlite3.Error, and then nothing is answered: so too if a transaction could not be ended, which would go on to see the past.
        """
        if self._connection.in_transaction:
            raise sqlite3.OperationalError("the transaction of the last turn has not ended")
        if not self._ending:  # before the version is read: whoever comes in meanwhile stands behind the end of this turn
            with suppress(RuntimeError):
                asyncio.get_running_loop().call_soon(self._turned)
                self._ending = True
        if monotonic() >= self._renewed_from:
            self._forget()
        ((number,),) = self._connection.execute("PRAGMA data_version").fetchall()
        if number != self._number:
            self._look()
            self._number = number
        self.looked = self._ending

    def _look(self) -> None:
        """Somebody committed: learn how things stand, and forget what that may have been about."""
        ((form,),) = self._connection.execute("PRAGMA schema_version").fetchall()
        if form != self._form:
            self._forget()
            stand = {sql for (sql,) in self._connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'").fetchall()}
            self._watched, self._form = stand >= _WATCHES, form
        before, self.state = self.state, State._make(self._connection.execute(_STATE).fetchall()[0])
        if self.state.changes != before.changes:
            self._forget()

    def _turned(self) -> None:
        """The turn is over, and so is what it read; some more is kept."""
        try:
            if self._next is not None and self._make is not None and self._most and self._watched and monotonic() >= self._quiet_from:
                self._keep_more(self._make, self._next)
        except sqlite3.Error:
            self._forget()
        finally:
            self.looked = self._ending = False
            if self._reading:
                self._reading = False
                with suppress(sqlite3.Error):
                    self._cursor.execute("COMMIT")

    def _keep_more(self, make: Callable[[str, Rendered], tuple[Kept, int] | None], after: str) -> None:
        """Read the next portion of the register. Raises sqlite3.Error."""
        if not self._reading:
            self._cursor.execute("BEGIN")
            self._reading = True
        rows = self._cursor.execute(_PORTION, (after, _TOGETHER)).fetchall()
        for code, *rendered in rows:
            if rendered[0] is not None and len(code) == _DIGITS and (made := make(code, Rendered._make(rendered))) is not None:
                self._left -= made[1]
                if self._left < 0:
                    self._next = None
                    return
                self.held[code] = made[0]
        self._next = rows[-1][0] if len(rows) == _TOGETHER else None

    def _forget(self) -> None:
        """Keep nothing, and begin again when it has been quiet for a while."""
        self.held.clear()
        self._left, self._next = self._most, ""
        now = monotonic()
        self._quiet_from, self._renewed_from = now + _REST_S, now + _RENEWED_S

    def close(self) -> None:
        """Let go of the connection."""
        self._forget()
        self._connection.close()
