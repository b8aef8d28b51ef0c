"""`gateway worker`: one of the processes of `gateway serve --workers`; not for people."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import click
import orjson
import uvloop

from gateway.app import serving
from gateway.app.garbage import settle_garbage
from gateway.cli.logging_setup import configure
from gateway.config import Config

_PARENT_DIED_STATUS = 1


@click.command(hidden=True)
@click.option("--number", type=int, required=True)
@click.option("--listen-fd", type=int, required=True)
@click.option("--admin-path", type=click.Path(path_type=Path), required=True)
@click.option("--embedded-url", help="Of the parent's own database.")
def worker(number: int, listen_fd: int, admin_path: Path, embedded_url: str | None) -> None:
    """Serve on an inherited socket until the parent asks to drain, or dies."""
    config = Config.from_env()
    configure(config)
    listener = socket.socket(fileno=listen_fd)
    uvloop.run(_serve(config, listener, admin_path, embedded_url, number))


async def _serve(
    config: Config,
    listener: socket.socket,
    admin_path: Path,
    embedded_url: str | None,
    number: int,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # However often it comes: ending at once is the parent's to say, who also hears what the
    # whole group is told.
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_reader(sys.stdin.fileno(), _on_parent, stop)
    database_url = embedded_url
    if database_url is None:
        assert config.database.url is not None
        database_url = config.database.url.value
    async with serving(
        config,
        database_url=database_url,
        is_embedded=embedded_url is not None,
        listener=listener,
        admin_path=admin_path,
    ) as running:
        described = {"url": running.url, "simulated": running.is_simulated, "number": number}
        sys.stdout.buffer.write(orjson.dumps(described) + b"\n")
        sys.stdout.buffer.flush()
        settle_garbage()
        await stop.wait()


def _on_parent(stop: asyncio.Event) -> None:
    if os.read(sys.stdin.fileno(), 4096):
        stop.set()
    else:
        # What is not posted stands in the journal; the next start posts it.
        os._exit(_PARENT_DIED_STATUS)
