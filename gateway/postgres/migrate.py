"""Bring the schema to what this code expects, with the site's own migrations beside ours."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from gateway.postgres.connection import connect

_MIGRATIONS = Path(__file__).parents[2] / "migrations"
# An arbitrary number of ours, "gw-migr8" in ASCII; migrations themselves lock another.
_LOCK_KEY = int.from_bytes(b"gw-migr8")
_CONNECT_TIMEOUT_S = 15.0


def upgrade(url: str) -> None:
    """Apply what is missing, blocking; of several that come at once, the others wait and find none.

    The work has a thread of its own, so that a running event loop in the caller's is no obstacle.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-migrate") as executor:
        executor.submit(asyncio.run, _upgrade(url)).result()


async def schema_is_current(url: str) -> bool:
    """Whether the database is at the newest revision of every branch."""
    connection = await connect(
        url, application_name="gateway-migrate", timeout_s=_CONNECT_TIMEOUT_S
    )
    try:
        rows = await connection.fetch("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()
    applied = {str(row["version_num"]) for row in rows}
    return set(ScriptDirectory.from_config(_config(url)).get_heads()) <= applied


async def _upgrade(url: str) -> None:
    connection = await connect(
        url, application_name="gateway-migrate", timeout_s=_CONNECT_TIMEOUT_S
    )
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK_KEY)
        # The migrations run an event loop of their own, which this one's thread would refuse.
        await asyncio.to_thread(command.upgrade, _config(url), "heads")
    finally:
        # Ends the session, and the lock with it.
        await connection.close()


def _config(url: str) -> Config:
    config = Config()
    # Doubled, because the values are templates to the configuration parser.
    directory = str(_MIGRATIONS).replace("%", "%%")
    config.set_main_option("script_location", directory)
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", f"{directory}/versions\n{directory}/site")
    config.attributes["url"] = url
    return config
