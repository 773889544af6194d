"""Migrations of the tables, run by `Store.migrate` and by nobody else.

Each step is a file in `versions/`; `HEAD` and `KNOWN` repeat what stands there (tested), so that opening a store that is up to
date need not load alembic. A step on SQLite may rebuild a table: foreign keys are off while it runs, and checked before the commit.
"""

from sqlalchemy import Connection

HEAD = "0010"
KNOWN = frozenset({"0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010"})


def upgrade(connection: Connection) -> None:
    """Run the missing steps inside the transaction of this connection."""
    from alembic import command

    command.upgrade(config(connection), "head")


def config(connection: Connection):  # type: ignore[no-untyped-def]  # alembic is imported only when a step has to run
    """Alembic's configuration, bound to this connection."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", "gateway:store/migrations")
    made.attributes["connection"] = connection
    return made


def ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:
    """Whether a drift check looks at this: the token index of `names` is made by dialect, that of inner codes is over an expression."""
    made_apart = ("names_fts", "ix_names_tokens", "ix_subject_keys_inner_code")
    return not (name or "").startswith(made_apart) and not (kind == "table" and name == "alembic_version")
