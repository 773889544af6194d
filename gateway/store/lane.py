"""The read side of the public lane: one statement on a read-only connection of its own, in the event loop.

Rules: SQLite only (on PostgreSQL a look-up waits for the network, so the office lane answers); it returns a rendering beside all
that tells whether it is still true, and judges nothing; a failure is no answer, and the office lane is asked. The connection is
opened for reading only. This room must not know HTTP.
"""

import sqlite3
from functools import lru_cache
from typing import NamedTuple
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


class LaneReads:
    """Looks up rendered subjects by code."""

    __slots__ = ("_connection",)

    def __init__(self, store: Store) -> None:
        path = store.path
        if path is None:
            raise ValueError("the public lane reads SQLite only")
        self._connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.1, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only=ON")
        self._connection.execute("PRAGMA cache_size=-32768")

    def by_code(self, code: str) -> Rendered | None:
        """The rendering of an organisation by its whole code; None when there is none, or the file cannot be read just now."""
        try:
            row = self._connection.execute(_LOOKUP, (code,)).fetchall()
        except sqlite3.Error:
            return None
        return Rendered._make(row[0]) if row else None

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()
