"""What Alembic runs: the migrations, on the connection and in the transaction of `server.adapters.sql.engine`."""

from alembic import context

from server.adapters.sql.tables import schema

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=schema,
    transactional_ddl=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
