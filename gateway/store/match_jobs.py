"""Match jobs and their files, sealed: one row from the upload to the day after the result (api.md §7.6).

Rules: the id is nowhere in the store, only its digest. What a file holds stands under a key that follows from the vault and the job, so
that a worker finds it again after a crash. Who works on a job has its turn for a while and says now and then that it lives; whoever
lost the turn writes nothing more. Upload and result go with the change of state that ends their time. This room must not read a file.
"""

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Literal

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.store.store import Reads, Row, Store, Transaction, stamp
from gateway.store.suites import open_under, seal_under
from gateway.store.tables import match_jobs

State = Literal["queued", "running", "done", "failed", "cancelled", "expired"]
KEPT: Final = timedelta(hours=24)
"""How long a result is kept, and how long a job may wait for its end."""
REMEMBERED: Final = timedelta(days=7)
"""How long it is known of a job that it was."""
LEASE: Final = timedelta(minutes=1)
_LABEL: Final = "match-job"
COLUMNS = ("job", "owner", "state", "rows", "done", "asked", "upload", "turn", "lease", "created", "until")

_j = match_jobs.c
_SHOWN = sa.select(_j.owner, _j.state, _j.rows, _j.done, _j.asked).where(_j.job == sa.bindparam("of"))
_RESULT = sa.select(_j.owner, _j.state, _j.result).where(_j.job == sa.bindparam("of"))
_WAITING = (
    sa.select(_j.job)
    .where(sa.or_(_j.state == "queued", sa.and_(_j.state == "running", _j.lease <= sa.bindparam("now"))))
    .order_by(_j.created, _j.job)
    .limit(1)
)
_TAKE = (
    sa.update(match_jobs)
    .where(_j.job == sa.bindparam("of"), sa.or_(_j.state == "queued", sa.and_(_j.state == "running", _j.lease <= sa.bindparam("now"))))
    .values(state="running", done=0, turn=sa.bindparam("mine"), lease=sa.bindparam("to"))
)
_WORK = sa.select(_j.job, _j.rows, _j.asked, _j.upload).where(_j.job == sa.bindparam("of"))
_mine = sa.and_(_j.job == sa.bindparam("of"), _j.turn == sa.bindparam("mine"), _j.state == "running")
_GO_ON = sa.update(match_jobs).where(_mine).values(done=sa.bindparam("so_far"), lease=sa.bindparam("to"))
_GIVE_BACK = sa.update(match_jobs).where(_mine).values(state="queued", done=0)
_FINISH = (
    sa.update(match_jobs)
    .where(_mine)
    .values(state=sa.bindparam("as"), done=sa.bindparam("so_far"), upload=None, result=sa.bindparam("found"), until=sa.bindparam("to"))
)
_CANCEL = sa.update(match_jobs).where(_j.job == sa.bindparam("of")).values(state="cancelled", upload=None, result=None)
_EXPIRE = (
    sa.update(match_jobs)
    .where(_j.until <= sa.bindparam("now"), _j.state != "expired", _j.state != "cancelled")
    .values(state="expired", upload=None, result=None)
)
_EXPIRE_BEFORE = (
    sa.update(match_jobs)
    .where(_j.created <= sa.bindparam("at"), _j.result.is_not(None))
    .values(state="expired", upload=None, result=None)
)
_FORGET = sa.delete(match_jobs).where(_j.until <= sa.bindparam("before"))
_OPEN = sa.select(sa.func.count()).where(_j.owner == sa.bindparam("owner"), sa.or_(_j.state == "queued", _j.state == "running"))
_OVER = sa.select(_j.job).where(_j.until <= sa.bindparam("now"), _j.state != "expired", _j.state != "cancelled").limit(1)
_NEXT_OVER = sa.select(sa.func.min(_j.until).label("at")).where(_j.state != "expired", _j.state != "cancelled")
_NEXT_LOST = sa.select(sa.func.min(_j.lease).label("at")).where(_j.state == "running")


class Work(Struct, frozen=True, kw_only=True):
    """A job whose turn somebody has."""

    digest: str
    turn: str
    rows: int
    asked: bytes
    upload: bytes


def digest_of(job: str) -> str:
    """What a job is filed under."""
    return sha256(f"{_LABEL}\0{job}".encode()).hexdigest()


def sealed(store: Store, digest: str, what: Literal["upload", "result"], body: bytes, nonce: bytes, suite: int) -> bytes:
    """A file of a job as it is kept."""
    return seal_under(store.vault.key(_LABEL), _LABEL, f"{digest}/{what}".encode(), body, nonce=nonce, suite=suite)


def opened(store: Store, digest: str, what: Literal["upload", "result"], body: bytes) -> bytes:
    """The same in clear.

    Raises StoreError value-altered.
    """
    for key in store.vault.every_key(_LABEL):
        found = open_under(key, _LABEL, f"{digest}/{what}".encode(), body)
        if found is not None:
            return found
    raise StoreError("a file of a match job was changed", code="value-altered")


async def add(tx: Transaction, digest: str, now: datetime, *, owner: str, rows: int, asked: bytes, upload: bytes) -> None:
    """A job that waits."""
    row = (digest, owner, "queued", rows, 0, asked, upload, "", stamp(now), stamp(now), stamp(now + KEPT))
    await tx.insert(match_jobs, COLUMNS, [row])


async def waiting_of(source: Reads, owner: str) -> int:
    """How many jobs of an owner have not ended."""
    row = await source.one(_OPEN, {"owner": owner})
    return int(row[0]) if row is not None else 0


async def shown(source: Reads, digest: str) -> Row | None:
    """What is told of a job; None: there is none."""
    return await source.one(_SHOWN, {"of": digest})


async def result_of(source: Reads, digest: str) -> Row | None:
    """The sealed result of a job with its state; None: there is no such job."""
    return await source.one(_RESULT, {"of": digest})


async def anything(source: Reads, now: datetime) -> bool:
    """Whether some job waits for a worker or for its end."""
    return await source.one(_WAITING, {"now": stamp(now)}) is not None or await source.one(_OVER, {"now": stamp(now)}) is not None


async def next_dates(source: Reads) -> list[str | None]:
    """When the next job is over, and when the next turn is lost that nobody gives back."""
    return [None if row is None else row.at for row in (await source.one(_NEXT_OVER), await source.one(_NEXT_LOST))]


async def take(tx: Transaction, turn: str, now: datetime) -> Work | None:
    """Take the turn of the oldest job that nobody works on."""
    waiting = await tx.one(_WAITING, {"now": stamp(now)})
    if waiting is None:
        return None
    taken = await tx.execute(_TAKE, {"of": waiting.job, "now": stamp(now), "mine": turn, "to": stamp(now + LEASE)})
    if not taken.rowcount:
        return None
    row = await tx.one(_WORK, {"of": waiting.job})
    if row is None or row.upload is None:
        return None
    return Work(digest=row.job, turn=turn, rows=row.rows, asked=bytes(row.asked), upload=bytes(row.upload))


async def go_on(tx: Transaction, work: Work, done: int, now: datetime) -> bool:
    """Say how far it is; False: the turn is lost, or the job was ended."""
    said = {"of": work.digest, "mine": work.turn, "so_far": done, "to": stamp(now + LEASE)}
    return bool((await tx.execute(_GO_ON, said)).rowcount)


async def give_back(tx: Transaction, work: Work) -> None:
    """Let another worker begin it anew."""
    await tx.execute(_GIVE_BACK, {"of": work.digest, "mine": work.turn})


async def finish(tx: Transaction, work: Work, now: datetime, *, state: State, done: int, result: bytes | None) -> None:
    """The end of the work: the upload goes, the result stays for a day."""
    said = {"of": work.digest, "mine": work.turn, "as": state, "so_far": done, "found": result, "to": stamp(now + KEPT)}
    await tx.execute(_FINISH, said)


async def expire_before(tx: Transaction, at: str) -> int:
    """Erase results made before a moment: one of them may hold what was erased then. How many."""
    result = await tx.execute(_EXPIRE_BEFORE, {"at": at})
    return int(result.rowcount)


async def cancel(tx: Transaction, digest: str) -> None:
    """End a job, and erase what it holds."""
    await tx.execute(_CANCEL, {"of": digest})


async def expire(tx: Transaction, now: datetime) -> None:
    """Erase what has had its time, and forget what nobody asks for any more."""
    await tx.execute(_EXPIRE, {"now": stamp(now)})
    await tx.execute(_FORGET, {"before": stamp(now - REMEMBERED)})
