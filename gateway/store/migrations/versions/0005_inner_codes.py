"""An organisation is found by the organisation code inside its unified code (GB 32100: characters 9 to 17)."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index, which stands in no table of ours: SQLite cannot tell of one over an expression."""
    op.execute("CREATE INDEX IF NOT EXISTS ix_subject_keys_inner_code ON subject_keys (substr(key_value, 9, 9)) WHERE key_type = 'uscc'")


def downgrade() -> None:
    """There is no way back: restore a backup."""
    raise NotImplementedError
