"""A receipt that contradicts another of the same receiver is kept beside it, as evidence."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; tables of today have it from the first step."""
    if not sa.inspect(op.get_bind()).has_table("forked_receipts"):
        op.create_table(
            "forked_receipts",
            sa.Column("stream", sa.String(length=128), nullable=False),
            sa.Column("no", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
            sa.Column("body", sa.LargeBinary(), nullable=False),
            sa.Column("note", sa.Text(), nullable=False),
            sa.Column("received_at", sa.String(length=32), nullable=False),
            sa.PrimaryKeyConstraint("stream", "no", name=op.f("pk_forked_receipts")),
        )


def downgrade() -> None:
    """There is no way back: restore a backup."""
    raise NotImplementedError
