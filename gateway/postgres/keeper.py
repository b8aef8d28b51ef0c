"""Starts an embedded server again that has died while its owner lives."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from gateway.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

_log = structlog.get_logger("gateway.postgres")
_INTERVAL_S = 0.1
# Backends end with their server as soon as they look up; another command may have the cluster.
_RETRY_FIRST_S = 0.05
_RETRY_MAX_S = 5.0


@contextmanager
def kept_alive(server: EmbeddedPostgres) -> Iterator[None]:
    """Watch a started server until the block ends; requests go on without it meanwhile.

    A thread, since a start blocks and workers under a parent have no loop in common with it.
    """
    end = threading.Event()
    keeper = threading.Thread(target=_keep, args=(server, end), name="postgres-keeper", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        end.set()
        keeper.join()


def _keep(server: EmbeddedPostgres, end: threading.Event) -> None:
    while not end.wait(_INTERVAL_S):
        if server.has_died:
            _log.error("postgres.died")
            _start_again(server, end)


def _start_again(server: EmbeddedPostgres, end: threading.Event) -> None:
    retry_s = _RETRY_FIRST_S
    while not end.is_set():
        try:
            if server.start_again():
                _log.info("postgres.restarted")
                return
        except (EmbeddedPostgresError, OSError) as exc:
            _log.error("postgres.not_restarted", error=str(exc))
        end.wait(retry_s)
        retry_s = min(2 * retry_s, _RETRY_MAX_S)
