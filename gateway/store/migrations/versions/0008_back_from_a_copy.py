"""A stream knows that its receiver came back from a copy: whose receipts are asked for, and who is told again what it owes."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("in_streams", "asks_since", sa.String(length=32)),
    ("in_streams", "first_epoch", sa.BigInteger().with_variant(sa.Integer(), "sqlite")),
    ("out_streams", "lost_at", sa.String(length=32)),
)


def upgrade() -> None:
    """Add the columns; tables of today have them from the first step."""
    held = sa.inspect(op.get_bind())
    for table, column, kind in _COLUMNS:
        if held.has_table(table) and all(each["name"] != column for each in held.get_columns(table)):
            op.add_column(table, sa.Column(column, kind, nullable=True))


def downgrade() -> None:
    """There is no way back: restore a backup."""
    raise NotImplementedError
