"""An inquiry has a row for each agreement that a partner was asked under, where it had one for each partner."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BEFORE = ["inquiry", "partner"]


def upgrade() -> None:
    """Let the agreement, which every row names, be part of the key; tables of today have it there from the first step."""
    held = sa.inspect(op.get_bind())
    if not held.has_table("inquiries") or held.get_pk_constraint("inquiries")["constrained_columns"] != BEFORE:
        return
    with op.batch_alter_table("inquiries") as batch:
        batch.drop_constraint("pk_inquiries", type_="primary")
        batch.create_primary_key("pk_inquiries", [*BEFORE, "agreement"])


def downgrade() -> None:
    """There is no way back: restore a backup."""
    raise NotImplementedError
