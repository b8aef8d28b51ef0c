"""Bring the schema to what this code expects, with the site's own migrations beside ours."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from gateway.postgres.connection import connect

_PACKAGED = Path(__file__).parents[1] / "migrations"
_CHECKOUT = Path(__file__).parents[2] / "migrations"
_SITE_BASE = "0000_site_base.py"
# An arbitrary number of ours, "gw-migr8" in ASCII; migrations themselves lock another.
_LOCK_KEY = int.from_bytes(b"gw-migr8")
_CONNECT_TIMEOUT_S = 15.0


class UnknownRevisionError(Exception):
    """The database was migrated by files that are not here; the message names them."""

    def __init__(self, revisions: set[str]) -> None:
        named = ", ".join(sorted(revisions))
        # The product's own are numbers.
        if all(revision.isdecimal() for revision in revisions):
            message = f"the database is newer than this release, which does not know its {named}"
            super().__init__(f"{message}: install the release that migrated it, or a later one")
        else:
            super().__init__(
                f"the database is at {named}, which no migration here makes: put the site's file "
                "back into migrations/site, or install the release that made it"
            )


def upgrade(url: str) -> None:
    """Apply what is missing, blocking; of several that come at once, the others wait and find none.

    The work has a thread of its own, so that a running event loop in the caller's is no obstacle.

    Raises:
        UnknownRevisionError: the database is ahead of the migrations here; nothing was done.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-migrate") as executor:
        executor.submit(asyncio.run, _upgrade(url)).result()


async def schema_is_current(url: str) -> bool:
    """Whether the database is at the newest revision of every branch.

    Raises:
        UnknownRevisionError: it is ahead of the migrations here.
    """
    connection = await connect(
        url, application_name="gateway-migrate", timeout_s=_CONNECT_TIMEOUT_S
    )
    try:
        applied = await _applied(connection)
    finally:
        await connection.close()
    scripts = ScriptDirectory.from_config(_config(url))
    _check_known(scripts, applied)
    return set(scripts.get_heads()) <= applied


async def _applied(connection: asyncpg.Connection) -> set[str]:
    try:
        rows = await connection.fetch("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return set()
    return {str(row["version_num"]) for row in rows}


def _check_known(scripts: ScriptDirectory, applied: set[str]) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if not applied <= known:
        raise UnknownRevisionError(applied - known)


async def _upgrade(url: str) -> None:
    connection = await connect(
        url, application_name="gateway-migrate", timeout_s=_CONNECT_TIMEOUT_S
    )
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK_KEY)
        config = _config(url)
        _check_known(ScriptDirectory.from_config(config), await _applied(connection))
        # The migrations run an event loop of their own, which this one's thread would refuse.
        await asyncio.to_thread(command.upgrade, config, "heads")
    finally:
        # Ends the session, and the lock with it.
        await connection.close()


def _config(url: str) -> Config:
    config = Config()
    product = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT
    folders = [product / "versions", *_site_folders(product)]
    # Doubled, because the values are templates to the configuration parser.
    places = [str(folder).replace("%", "%%") for folder in (product, *folders)]
    config.set_main_option("script_location", places[0])
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(places[1:]))
    config.attributes["url"] = url
    return config


def _site_folders(product: Path) -> list[Path]:
    """A checkout's own; an installed package's is below the working directory, if it is there."""
    base = product / "site"
    site = Path.cwd() / "migrations" / "site"
    if product != _PACKAGED or not site.is_dir():
        return [base]
    # A folder that was copied out of a checkout has the base itself.
    return [site] if (site / _SITE_BASE).exists() else [base, site]
