"""What Alembic runs; the connection comes from :func:`service.migrations.upgrade`."""

from alembic import context

from service.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
    # The job engine's tables lie beside ours on SQLite; autogenerate must not drop them.
    include_object=lambda _object, name, kind, _reflected, _other: (
        kind != "table" or name in metadata.tables
    ),
)
context.run_migrations()
