"""Records that were kept long enough have a list."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the list; tables of today have it from the first step."""
    if sa.inspect(op.get_bind()).has_table("retention_due"):
        return
    op.create_table(
        "retention_due",
        sa.Column("dataset", sa.String(length=63), nullable=False),
        sa.Column("record_id", sa.String(length=30), nullable=False),
        sa.Column("last_day", sa.String(length=10), nullable=False),
        sa.Column("rule", sa.String(length=63), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "record_id", name="pk_retention_due"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_retention_due_dataset_last_day_record_id", "retention_due", ["dataset", "last_day", "record_id"])


def downgrade() -> None:
    """There is no way back: restore a backup."""
    raise NotImplementedError
