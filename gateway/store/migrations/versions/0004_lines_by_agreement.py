"""A cursor and the tries of fetching are an agreement's, where they were a partner's; of what lies in folders a cursor is a stream's.

Until now one agreement of a partner was fetched under, and its row bore the partner's name. Which one it was:

- A cursor of a built-in adapter names its streams, and a stream its agreement. Each agreement goes on with what is its own.
- What lies in a folder had its cursors beside each other in the partner's row, by stream. They become rows.
- A cursor that says nothing to us, and the tries, go to the agreement that was fetched under: of those that ever said `pull` the first by
  name that is not over, else the last. The others begin anew: what comes again has no second effect.

A row of a partner from whom no agreement fetches is read by nobody, and goes.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SHANGHAI = timezone(timedelta(hours=8))


def upgrade() -> None:
    """Give each row to its agreement; tables of today have it there from the first step."""
    connection = op.get_bind()
    held = sa.inspect(connection)
    if not held.has_table("line_cursors") or all(column["name"] != "party" for column in held.get_columns("line_cursors")):
        return
    agreed = _agreed(connection)
    tries = [
        {"agreement": owner, "attempts": row.attempts, "next_attempt_at": row.next_attempt_at, "code": row.code}
        for row in connection.execute(sa.text("SELECT party, attempts, next_attempt_at, code FROM fetch_tries"))
        if (owner := _owner(agreed, row.party)) is not None
    ]
    cursors = [
        {"line": line, "cursor": cursor}
        for row in connection.execute(sa.text("SELECT party, cursor FROM line_cursors"))
        for line, cursor in _divided(agreed, row.party, row.cursor)
    ]
    for name, line, columns, rows in (
        (
            "fetch_tries",
            sa.Column("agreement", sa.String(length=63), nullable=False),
            (
                sa.Column("attempts", sa.Integer(), nullable=False),
                sa.Column("next_attempt_at", sa.String(length=32), nullable=False),
                sa.Column("code", sa.String(length=64), nullable=False),
            ),
            tries,
        ),
        (
            "line_cursors",
            sa.Column("line", sa.String(length=128), nullable=False),
            (sa.Column("cursor", sa.Text(), nullable=False),),
            cursors,
        ),
    ):
        op.drop_table(name)
        made = op.create_table(name, line, *columns, sa.PrimaryKeyConstraint(line.name, name=op.f(f"pk_{name}")))
        if rows:
            op.bulk_insert(made, rows)


class _Agreed:
    """What versions that both have signed say of one agreement, and whether it is over."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ways: set[tuple[str, str, str]] = set()
        """(sender, stream, delivery)."""
        self.over = False

    def streams(self, sender: str, delivery: str) -> set[str]:
        """What a partner has for us by this way."""
        return {stream for by, stream, way in self.ways if (by, way) == (sender, delivery)}


def _agreed(connection: sa.Connection) -> list[_Agreed]:
    """Every agreement that both have signed, in order of name."""
    today = datetime.now(UTC).astimezone(SHANGHAI).date().isoformat()
    found: dict[str, _Agreed] = {}
    for row in connection.execute(
        sa.text("SELECT agreement_id, body FROM agreements WHERE state = 'agreed' ORDER BY agreement_id, version")
    ):
        said = json.loads(bytes(row.body))
        one = found.setdefault(row.agreement_id, _Agreed(row.agreement_id))
        one.over = said["expires"] < today  # as the newest version says
        for stream in said["streams"]:
            one.ways.add((stream["from"], f"{row.agreement_id}.{stream['dataset']}", stream["wire"]["delivery"]))
    for row in connection.execute(sa.text("SELECT DISTINCT agreement_id FROM agreement_states WHERE state = 'terminated'")):
        if row.agreement_id in found:
            found[row.agreement_id].over = True
    return list(found.values())


def _owner(agreed: list[_Agreed], party: str) -> str | None:
    """The agreement that a partner was fetched under."""
    fetched = [one for one in agreed if one.streams(party, "pull")]
    going = [one for one in fetched if not one.over]
    return going[0].name if going else fetched[-1].name if fetched else None


def _divided(agreed: list[_Agreed], party: str, cursor: str) -> Iterator[tuple[str, str]]:
    """A partner's cursor as those of its lines."""
    try:
        said: Any = json.loads(cursor)
    except ValueError:
        said = None
    laid = {stream for one in agreed for stream in one.streams(party, "drop")}
    pulled = {stream: one.name for one in agreed for stream in one.streams(party, "pull")}
    rest: dict[str, Any] = {}
    for stream, place in said.items() if isinstance(said, dict) else ():
        if stream in laid and isinstance(place, str):
            yield stream, place
        else:
            rest[stream] = place
    if rest and pulled.keys() >= rest.keys():
        for name in sorted({pulled[stream] for stream in rest}):
            own = {stream: place for stream, place in rest.items() if pulled[stream] == name}
            yield name, json.dumps(own, separators=(",", ":"))
    elif (rest or not isinstance(said, dict) or not said) and (owner := _owner(agreed, party)) is not None:
        yield owner, cursor if not isinstance(said, dict) or rest == said else json.dumps(rest, separators=(",", ":"))


def downgrade() -> None:
    """There is no way back: restore a backup."""
    raise NotImplementedError
