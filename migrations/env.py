"""How migrations reach the database: given by the caller, configured, or the embedded one."""

import asyncio
from contextlib import ExitStack
from functools import partial
from logging.config import fileConfig
from pathlib import Path

import sqlalchemy as sa
from alembic import context
from alembic.operations import MigrateOperation, Operations
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from gateway import config
from gateway.ledger.models import Base
from gateway.postgres.connection import connect
from gateway.postgres.embedded import EmbeddedPostgres

# An arbitrary number of ours, "gw-schem" in ASCII; `gateway migrate` holds another one meanwhile.
_LOCK_KEY = int.from_bytes(b"gw-schem")
_CONNECT_TIMEOUT_S = 15.0
_SCHEMA = "ledger"


@Operations.register_operation("run_script")
class RunScript(MigrateOperation):
    """`op.run_script(path)`: all statements of an SQL file, as they stand there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def run_script(cls, operations: Operations, path: Path) -> None:
        operations.invoke(cls(path))


@Operations.implementation_for(RunScript)
def _run_script(operations: Operations, operation: RunScript) -> None:
    script = operation.path.read_text(encoding="utf-8")
    migration = operations.migration_context
    if migration.as_sql:
        migration.impl.static_output(script)
        return
    bind = operations.get_bind()
    # Opens the transaction, which the driver does not do by itself.
    bind.execute(sa.text("SELECT 1"))
    # The driver alone takes many statements at once, and reads no `:name` into them.
    bind.connection.dbapi_connection.run_async(lambda connection: connection.execute(script))


def _is_ours(name: str | None, kind: str, _parents: dict[str, str | None]) -> bool:
    """Compare the tables that the models describe; partitions and views are not theirs."""
    if kind == "schema":
        return name == _SCHEMA
    return kind != "table" or f"{_SCHEMA}.{name}" in Base.metadata.tables


def _run(connection: sa.Connection) -> None:
    # First, since the limit on waiting for locks is meant for those on tables.
    connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
    connection.execute(sa.text("SET lock_timeout = '4s'"))
    connection.execute(sa.text("SET statement_timeout = '5min'"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_schemas=True,
        include_name=_is_ours,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run_at(url: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(
            connect, url, application_name="gateway-migrations", timeout_s=_CONNECT_TIMEOUT_S
        ),
        poolclass=NullPool,
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run)
    finally:
        await engine.dispose()


def _online() -> None:
    with ExitStack() as stack:
        url = context.config.attributes.get("url") or config.database_url()
        if url is None:
            server = EmbeddedPostgres(config.data_dir(), pg_bin=config.pg_bin())
            server.attach_or_start()
            stack.callback(server.stop)
            url = server.url()
        asyncio.run(_run_at(url))


if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    _online()
