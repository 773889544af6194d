"""Write `versions/0001_first.py` anew from `tables.py`: until the first release the first migration simply follows the tables.

    python tests/store/renew_first_migration.py

After the first release this file goes, and a change of the tables is a new step.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext

from gateway.store import migrations
from gateway.store.tables import for_every_dialect

HEAD = '''"""The first form of all tables, and the token index beside `names`."""

import sqlalchemy as sa
from alembic import op

# fmt: off

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
'''
TAIL = '''
    # the token index of `names` differs by dialect and is kept by whoever writes `names`
    if op.get_bind().dialect.name == "sqlite":
        # contentless, SQLite 3.40: a row is deleted by the special command 'delete' with its old tokens; no positions and no sizes are
        # kept, for every query is a set of whole tokens and nothing is ranked here
        op.execute("CREATE VIRTUAL TABLE names_fts USING fts5(tokens, content='', columnsize=0, detail=none, tokenize='unicode61')")
        # what the public lane keeps of rows is true while none of them changes or goes, whoever writes
        for table in ("subject_keys", "subjects", "rendered_subjects"):
            for act in ("update", "delete"):
                op.execute(
                    f"CREATE TRIGGER lane_{table}_{act} AFTER {act} ON {table} "
                    "BEGIN INSERT INTO counters (name, value) VALUES ('lane', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1; END"
                )
    else:
        op.execute("CREATE INDEX ix_names_tokens ON names USING gin (string_to_array(tokens, ' '))")


def downgrade() -> None:
    """There is no way back: restore a backup."""
    raise NotImplementedError
'''


def first_migration() -> str:
    """The text of the first step, as the tables want it today."""
    metadata = for_every_dialect()
    with sa.create_engine("sqlite://").connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "target_metadata": metadata,
                "include_object": migrations.ours,
                "sqlalchemy_module_prefix": "sa.",
                "alembic_module_prefix": "op.",
                "user_module_prefix": None,
            },
        )
        operations = produce_migrations(context, metadata).upgrade_ops
        assert operations is not None
        code = render_python_code(operations)
    lines = []
    for line in code.splitlines():
        if line.strip() in ("", ")") or line.lstrip().startswith("# ### "):
            lines += [] if line.strip() != ")" else ["    )"]
            continue
        if '"' not in line:
            line = line.replace("'", '"')
        inside = line.startswith(("sa.", "    sa.", "sqlite_", "    sqlite_"))
        line = ("        " if inside else "    ") + line.strip()
        if inside and not line.endswith(","):
            line += ","
        if len(line) > 140:
            start, rest = line.split("(", 1)
            # at the last blank after a comma that leaves the first half short enough
            cut = rest.rindex(", ", 0, 120)
            line = f"{start}(\n        {rest[:cut]},\n        {rest[cut + 2 : -1]},\n    )"
        lines.append(line)
    return HEAD + "\n".join(lines) + "\n" + TAIL


if __name__ == "__main__":
    path = Path(migrations.__file__).parent / "versions" / "0001_first.py"
    path.write_text(first_migration(), encoding="utf-8")
