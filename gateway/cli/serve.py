"""`gateway serve`: check, migrate what is ours, serve until a signal, drain."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import click
import structlog
import uvloop

from gateway.app import serving
from gateway.app.descriptors import raise_limit
from gateway.app.garbage import settle_garbage
from gateway.app.listeners import CannotListenError
from gateway.cli.demo_team import DemoKey, ensure_demo_team
from gateway.cli.logging_setup import configure
from gateway.cli.printing import print_json, say
from gateway.cli.serve_workers import Serving, serve_with_workers
from gateway.cli.session import CommandError, upgrade_with_prices
from gateway.config import Config
from gateway.postgres.embedded import EmbeddedPostgres
from gateway.postgres.keeper import kept_alive
from gateway.postgres.migrate import schema_is_current

_log = structlog.get_logger("gateway.serve")
_SECOND_SIGNAL_STATUS = 130


@click.command()
@click.option("--host", help="Address of the client listener (GATEWAY_HOST).")
@click.option("--port", type=click.IntRange(0, 65535), help="Its port (GATEWAY_PORT).")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes (GATEWAY_WORKERS).")
@click.option("--demo", is_flag=True, help="On an empty database make a team with a key.")
@click.option("--json", "as_json", is_flag=True, help="Print addresses, and the key, as JSON.")
def serve(
    host: str | None, port: int | None, workers: int | None, demo: bool, as_json: bool
) -> None:
    """Serve clients until SIGTERM, which drains; a second one ends at once."""
    config = _with_options(Config.from_env(), host=host, port=port, workers=workers)
    configure(config)
    raise_limit()
    if config.unused_names:
        _log.warning("config.unused", names=list(config.unused_names))
    with _database(config) as (database_url, is_embedded):

        async def announce(now: Serving) -> None:
            # Only now, so that a start that fails does not make a key that nobody sees.
            key = await ensure_demo_team(database_url) if demo else None
            _announce(now, key=key, as_json=as_json)

        try:
            if config.listen.workers > 1:
                embedded_url = database_url if is_embedded else None
                uvloop.run(serve_with_workers(config, database_url, embedded_url, announce))
            else:
                uvloop.run(_serve(config, database_url, is_embedded, announce))
        except CannotListenError as exc:
            raise CommandError(str(exc)) from exc


def _with_options(
    config: Config, *, host: str | None, port: int | None, workers: int | None
) -> Config:
    listen = replace(
        config.listen,
        host=host if host is not None else config.listen.host,
        port=port if port is not None else config.listen.port,
        workers=workers if workers is not None else config.listen.workers,
    )
    return replace(config, listen=listen)


@contextmanager
def _database(config: Config) -> Iterator[tuple[str, bool]]:
    """The operator's database, its schema checked; or the embedded one, created and migrated."""
    if config.database.url is not None:
        url = config.database.url.value
        if not asyncio.run(schema_is_current(url)):
            raise CommandError("the database's schema is not current: run `gateway migrate`")
        yield url, False
        return
    with EmbeddedPostgres(config.database.data_dir, pg_bin=config.database.pg_bin) as server:
        upgrade_with_prices(server.url())
        with kept_alive(server):
            yield server.url(), True


async def _serve(
    config: Config,
    database_url: str,
    is_embedded: bool,
    announce: Callable[[Serving], Awaitable[None]],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop)
    async with serving(config, database_url=database_url, is_embedded=is_embedded) as running:
        serving_now = Serving(
            url=running.url, admin_url=running.admin_url, is_simulated=running.is_simulated
        )
        await announce(serving_now)
        settle_garbage()
        await stop.wait()
        _log.info("serve.draining", streams=len(running.proxy.relays))
    _log.info("serve.stopped")


def _on_signal(stop: asyncio.Event) -> None:
    if stop.is_set():
        # What is not posted stands in the journal; the next start posts it.
        os._exit(_SECOND_SIGNAL_STATUS)
    stop.set()


def _announce(now: Serving, *, key: DemoKey | None, as_json: bool) -> None:
    _log.info("serve.ready", url=now.url, admin_url=now.admin_url)
    if now.is_simulated:
        _log.warning(
            "serve.simulated",
            message="NO PROVIDER CREDENTIAL IS SET: a SIMULATED provider answers every call. "
            "Set GATEWAY_ANTHROPIC_API_KEY or GATEWAY_OPENAI_API_KEY to reach a real one.",
        )
    if as_json:
        print_json(
            {
                "url": now.url,
                "admin_url": now.admin_url,
                "simulated": now.is_simulated,
                "key": key.text if key is not None else None,
            }
        )
    elif key is not None:
        _print_demo(now, key)


def _print_demo(now: Serving, key: DemoKey) -> None:
    if key.text is None:
        say("Team demo has a key already; make another: gateway key create --team demo")
        return
    say(f"Team demo, key (shown once): {key.text}\n\nTry it:\n")
    say(key.curl_line(now.url))
