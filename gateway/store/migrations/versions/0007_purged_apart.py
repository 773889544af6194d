"""What was purged because an agreement ended bears a mark of its own, and a stream knows that its sender has to begin anew.

Until now a purge read like a withdrawal, beside a record that was erased: nothing told it from an erasure but who had done it, which
the change log knows. A record that was repaired before keeps that word, for only a repair that was revoked brings it back. Of the others
the number alone counts that was held: their sender says them again under a higher one. A subject that was erased here after the purge of
its records had nothing left to erase; that it was, the audit knows.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_PURGED = """
    SELECT records.record_id FROM records JOIN changes ON changes.seq = records.changed_seq
    WHERE records.state = 'erased' AND records.issuer <> '' AND changes.op = 'erase' AND changes.actor = 'gateway/agreement'
"""
_WAS_REPAIRED = """
    SELECT records.record_id FROM records
    JOIN record_versions ON record_versions.record_id = records.record_id AND record_versions.version = records.version - 1
    WHERE record_versions.state = 'repaired'
"""
_ERASED_SINCE = """
    SELECT records.record_id FROM records
    JOIN audit ON audit.target = 'subject/' || records.subject_id
    WHERE audit.act IN ('subject.erase', 'subject.shred') AND audit.at >= records.changed_at
"""


def upgrade() -> None:
    """Add the columns, and mark what was purged before; tables of today have them from the first step."""
    connection = op.get_bind()
    if _has(connection, "in_records", "purged_at"):
        return
    op.add_column("in_records", sa.Column("purged_at", sa.String(length=32), nullable=True))
    op.add_column("in_streams", sa.Column("anew_since", sa.String(length=32), nullable=True))
    at = "SELECT records.changed_at FROM records WHERE records.record_id = in_records.record_id"
    op.execute(f"UPDATE in_records SET purged_at = ({at}) WHERE op <> 'erase' AND payload IS NULL AND record_id IN ({_PURGED})")
    op.execute(f"UPDATE in_records SET op = 'repair' WHERE purged_at IS NOT NULL AND op = 'retract' AND record_id IN ({_WAS_REPAIRED})")
    op.execute(
        f"UPDATE in_records SET op = 'erase', purged_at = NULL WHERE purged_at IS NOT NULL AND record_id IN ({_ERASED_SINCE})"
    )


def _has(connection: sa.Connection, table: str, column: str) -> bool:
    held = sa.inspect(connection)
    return not held.has_table(table) or any(each["name"] == column for each in held.get_columns(table))


def downgrade() -> None:
    """There is no way back: restore a backup."""
    raise NotImplementedError
