"""A counter tells of every name of the index that changes or goes, as one tells of renderings: who keeps names in memory forgets them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the triggers (SQLite); elsewhere nobody keeps names."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite" and sa.inspect(connection).has_table("names"):
        for act in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER IF NOT EXISTS lane_names_{act} AFTER {act} ON names "
                "BEGIN INSERT INTO counters (name, value) VALUES ('names', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1; END"
            )


def downgrade() -> None:
    """There is no way back: restore a backup."""
    raise NotImplementedError
