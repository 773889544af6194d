"""The read side of the public lane: one statement on a read-only connection of its own, in the event loop.

Rules: SQLite only (on PostgreSQL a look-up waits for the network, so the office lane answers); it returns a rendering beside all
that tells whether it is still true, and judges nothing; a failure is no answer, and the office lane is asked. The connection is
opened for reading only. This room must not know HTTP.

What was read lately is kept until anybody commits anything: `PRAGMA data_version` is asked once in each turn of the event loop, before
the first look-up of that turn. A request that arrives after a commit is handled in a later turn than one that was checked before it, so
nothing that left is shown to anybody who asked afterwards. Each statement saved is a hand-over of the interpreter's lock saved, which
costs more than the statement.
"""

import asyncio
import sqlite3
from contextlib import suppress
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote

from gateway.store.feed import Head
from gateway.store.store import Store

_LOOKUP = """
SELECT r.body, r.etag, r.plan, r.valid_until, r.head_seq = s.head_seq,
       (SELECT version FROM policy_activations ORDER BY seq DESC LIMIT 1),
       f.seq, f.at
FROM subject_keys k
JOIN subjects s ON s.subject_id = k.subject_id
JOIN rendered_subjects r ON r.subject_id = k.subject_id
LEFT JOIN feed f ON f.plan_set = 'public/open.read' AND f.seq = (SELECT max(seq) FROM feed WHERE plan_set = 'public/open.read')
WHERE k.key_type = 'uscc' AND k.key_value = ?
"""


class Rendered(NamedTuple):
    """A rendered subject, and what decides whether it is true now."""

    body: bytes | None
    etag: str
    plan: str
    """Tag of plans and policy version under which it was made."""
    valid_until: str
    fresh: int
    """1 when no change of the subject stands after the rendering."""
    policy_version: int | None
    """In force, as the store says now."""
    feed_seq: int | None
    feed_at: str | None

    @property
    def version(self) -> str:
        """Dataset version that the public sees now."""
        return _version(self.feed_seq or 0, self.feed_at or "")


@lru_cache(8)
def _version(seq: int, at: str) -> str:
    return Head(seq=seq, at=at).version


KEPT_BYTES: Final = 32 * 2**20
"""Of documents that were read lately; the oldest goes first."""
_ENTRY: Final = 500
"""What the rest of one costs, about."""


def _weight(found: Rendered) -> int:
    return len(found.body or b"") + _ENTRY


class LaneReads:
    """Looks up rendered subjects by code."""

    __slots__ = ("_checked", "_connection", "_held", "_most", "_size", "_version")

    def __init__(self, store: Store, *, kept_bytes: int = KEPT_BYTES) -> None:
        path = store.path
        if path is None:
            raise ValueError("the public lane reads SQLite only")
        self._connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.1, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only=ON")
        self._connection.execute("PRAGMA cache_size=-8192")
        self._held: dict[str, Rendered] = {}
        self._size, self._most = 0, kept_bytes
        self._version = -1
        self._checked = False

    def by_code(self, code: str) -> Rendered | None:
        """The rendering of an organisation by its whole code; None when there is none, or the file cannot be read just now."""
        try:
            if not self._checked:
                self._check()
            found = self._held.get(code)
            if found is not None:
                return found
            row = self._connection.execute(_LOOKUP, (code,)).fetchall()
        except sqlite3.Error:
            return None
        return self._keep(code, Rendered._make(row[0])) if row else None

    def _check(self) -> None:
        """Forget everything if anybody committed since the last turn of the loop; outside a loop at each look-up."""
        ((version,),) = self._connection.execute("PRAGMA data_version").fetchall()
        if version != self._version:
            self._forget()
            self._version = version
        with suppress(RuntimeError):
            asyncio.get_running_loop().call_soon(self._unchecked)
            self._checked = True

    def _unchecked(self) -> None:
        self._checked = False

    def _keep(self, code: str, found: Rendered) -> Rendered:
        self._held[code] = found
        self._size += _weight(found)
        while self._size > self._most:
            self._size -= _weight(self._held.pop(next(iter(self._held))))
        return found

    def _forget(self) -> None:
        self._held.clear()
        self._size = 0

    def close(self) -> None:
        """Let go of the connection."""
        self._forget()
        self._connection.close()
