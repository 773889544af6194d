"""Names are indexed anew: the beginning of what they sound like is found too, so they need tokens that they did not have.

The reader of the change log goes through all records again and indexes their names, piece by piece; until then a search finds what is
indexed already. What is shown, and what feeds tell, does not change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forget the index, and begin the walk over all that is rendered; where nothing is indexed nothing is to be done."""
    connection = op.get_bind()
    if connection.execute(sa.text("SELECT 1 FROM names LIMIT 1")).first() is None:
        return
    if connection.dialect.name == "sqlite":
        op.execute("INSERT INTO names_fts (names_fts) VALUES ('delete-all')")
    op.execute("DELETE FROM names")
    op.execute(
        "INSERT INTO readers (name, position) VALUES ('renderings-policy', 0) ON CONFLICT (name) DO UPDATE SET position = 0"
    )


def downgrade() -> None:
    """There is no way back: restore a backup."""
    raise NotImplementedError
