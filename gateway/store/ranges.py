"""What range look-ups find: digests of codes and names of organisations that stand on a list, with the bits of their lists.

Rules: rows are made by the reader of the change log together with the subject's rendering, and are true exactly as long: whoever
reads is told whether that is so now, and shows no other row. This room must not compute a digest.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gateway.store.dialects import among
from gateway.store.store import Reads, Row, Transaction
from gateway.store.tables import names, range_rows, rendered_subjects, subjects

COLUMNS = ("question", "digest", "subject_id", "bits")
_g, _r, _s = range_rows.c, rendered_subjects.c, subjects.c
_AFTER_HEX = "g"

_ROWS = (
    sa.select(
        _g.digest,
        _g.bits,
        _g.subject_id,
        _r.valid_until,
        sa.case(
            (sa.and_(_r.head_seq == _s.head_seq, _r.plan == sa.bindparam("plan"), _r.valid_until > sa.bindparam("now")), 1), else_=0
        ).label("fresh"),
    )
    .select_from(range_rows.join(subjects, _s.subject_id == _g.subject_id).join(rendered_subjects, _r.subject_id == _g.subject_id))
    .where(_g.question == sa.bindparam("question"), _g.digest >= sa.bindparam("first"), _g.digest < sa.bindparam("after"))
    .order_by(_g.digest)
)
_DROP = sa.delete(range_rows).where(among(_g.subject_id, "ids"))
_SIZE = sa.select(sa.func.count(sa.distinct(names.c.subject_id)).label("size"))


async def rows(source: Reads, question: str, prefix: str, *, plan: str, now: str) -> list[Row]:
    """The rows whose digest begins so, each with `fresh`: whether it is true now."""
    return await source.all(_ROWS, {"question": question, "first": prefix, "after": prefix + _AFTER_HEX, "plan": plan, "now": now})


async def size(source: Reads) -> int:
    """How many organisations can be found by name."""
    found = await source.one(_SIZE)
    return 0 if found is None else int(found.size)


async def replace(tx: Transaction, subject_ids: Sequence[str], new: Sequence[tuple[Any, ...]]) -> None:
    """Take the rows of these subjects away, then put the new ones (tuples of COLUMNS) in."""
    if subject_ids:
        await tx.execute(_DROP, {"ids": list(subject_ids)})
    await tx.insert(range_rows, COLUMNS, new)
