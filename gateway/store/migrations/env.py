"""How alembic reaches us: by the connection that `Store.migrate` holds, in its transaction."""

from alembic import context

from gateway.store.migrations import ours
from gateway.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a column: alembic rebuilds the table
    include_object=ours,
    compare_type=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
