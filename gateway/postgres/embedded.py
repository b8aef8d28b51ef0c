"""A private PostgreSQL server that lives and dies with the process that started it."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

import structlog

from gateway.postgres.account import EmbeddedPostgresError
from gateway.postgres.binaries import find_binaries
from gateway.postgres.cluster import DATABASE, ENVIRONMENT, OWNER_ROLE, Cluster
from gateway.postgres.startup_packet import takes_connections
from gateway.postgres.watchdog import WatchedServer

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

_log = structlog.get_logger("gateway.postgres")
_OLD_SERVER_TIMEOUT_S = 30.0
# Crash recovery after a SIGKILL of the server reads up to `max_wal_size` of its journal.
_READY_TIMEOUT_S = 60.0
_GUESTS_TIMEOUT_S = 600.0
_POLL_S = 0.02


class EmbeddedPostgres:
    """One server on `data_dir/postgres`, reached over a unix socket in a private directory.

    Two files are locked. `lock` is the server's: this process, the watchdog and every process of
    the server hold one shared descriptor, so that whoever gets the lock knows that nobody is alive
    on the cluster. `guests` is held, shared, by those who joined a server that another command
    started; that command waits for them before it stops the server.
    """

    def __init__(
        self, data_dir: Path, *, pg_bin: Path | None = None, is_durable: bool = True
    ) -> None:
        self._cluster = Cluster(data_dir)
        self._pg_bin = pg_bin
        self._is_durable = is_durable
        self._server: WatchedServer | None = None
        self._lock: IO[bytes] | None = None
        self._guests: IO[bytes] | None = None
        self._waits_for_guests = False

    def start(self) -> None:
        """Start the server; waits until an old one on the same directory is gone.

        Raises:
            EmbeddedPostgresError: the old one stays, or the new one does not start.
        """
        self._cluster.make_directories()
        lock = self._open("lock")
        deadline_s = time.monotonic() + _OLD_SERVER_TIMEOUT_S
        if not _is_locked(lock, fcntl.LOCK_EX):
            _log.info("postgres.waiting", directory=str(self._cluster.root), reason="in use")
            while not _is_locked(lock, fcntl.LOCK_EX):
                if time.monotonic() > deadline_s:
                    lock.close()
                    raise EmbeddedPostgresError(
                        f"another gateway or command runs on {self._cluster.root}: stop it first, "
                        "or give this one a GATEWAY_DATA_DIR of its own"
                    )
                time.sleep(_POLL_S)
        self._start(lock)

    def attach_or_start(self) -> None:
        """Join the server that runs on the directory, or start one as its owner.

        Raises:
            EmbeddedPostgresError: a server is there and does not answer, or none starts.
        """
        self._cluster.make_directories()
        lock = self._open("lock")
        guests = self._open("guests")
        deadline_s = time.monotonic() + _OLD_SERVER_TIMEOUT_S
        while not _is_locked(lock, fcntl.LOCK_EX):
            # The guest's lock comes first, or the server could stop between answer and lock.
            if _is_locked(guests, fcntl.LOCK_SH):
                if self._is_ready():
                    self._guests = guests
                    lock.close()
                    return
                fcntl.flock(guests, fcntl.LOCK_UN)
            if time.monotonic() > deadline_s:
                lock.close()
                guests.close()
                raise EmbeddedPostgresError(
                    f"another gateway or command holds {self._cluster.root}, and its server does "
                    f"not answer at {self._cluster.socket_path}"
                )
            time.sleep(_POLL_S)
        guests.close()
        self._waits_for_guests = True
        self._start(lock)

    @property
    def has_died(self) -> bool:
        """Its own server ended, and nobody here had asked for that."""
        return self._server is not None and self._server.exit_status is not None

    @property
    def is_running(self) -> bool:
        """A server takes connections on the directory now, whoever started it."""
        return self._is_ready()

    def start_again(self) -> bool:
        """Start the server that has died; False where a process of the old one is still there.

        Raises:
            EmbeddedPostgresError: it does not start; it can be tried again.
        """
        # Held by us, the lock would not tell whether backends have outlived their server: two on
        # one cluster would destroy it.
        self.stop()
        lock = self._open("lock")
        if not _is_locked(lock, fcntl.LOCK_EX):
            lock.close()
            return False
        self._start(lock)
        return True

    def url(self, database: str = DATABASE) -> str:
        """For psql, asyncpg, SQLAlchemy: the owner's URL of one database."""
        host = quote(str(self._cluster.socket_directory), safe="")
        return f"postgresql://{OWNER_ROLE}@/{quote(database, safe='')}?host={host}&port=5432"

    def stop(self) -> None:
        """Stop an own server, in order; leave a joined one running."""
        if self._guests is not None:
            self._guests.close()
            self._guests = None
        if self._server is not None:
            with self._open("guests") as guests:
                if self._waits_for_guests:
                    self._wait_for(guests)
                self._server.stop()
            self._server = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self, lock: IO[bytes]) -> None:
        self._lock = lock
        root_fd: int | None = None
        try:
            root_fd = self._cluster.open_root()
            self._spawn(lock, root_fd)
            self._wait_until_ready()
        except BaseException:
            self._waits_for_guests = False
            self.stop()
            raise
        finally:
            if root_fd is not None:
                os.close(root_fd)

    def _spawn(self, lock: IO[bytes], root_fd: int | None) -> None:
        cluster = self._cluster
        binaries = find_binaries(self._pg_bin, cluster.account)
        cluster.initialise(
            binaries, lock_fd=lock.fileno(), root_fd=root_fd, is_durable=self._is_durable
        )
        command = cluster.server_command(binaries, root_fd=root_fd, is_durable=self._is_durable)
        self._server = WatchedServer(
            command,
            account=cluster.account,
            lock=lock,
            log_path=cluster.log_path,
            pass_fds=() if root_fd is None else (root_fd,),
            environment=ENVIRONMENT,
        )

    def _wait_until_ready(self) -> None:
        assert self._server is not None
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while not self._is_ready():
            status = self._server.exit_status
            if status is not None or time.monotonic() > deadline_s:
                ended = "did not answer in time" if status is None else f"ended ({status})"
                raise EmbeddedPostgresError(
                    f"PostgreSQL {ended}; the end of {self._cluster.log_path}:\n"
                    f"{self._cluster.log_tail()}"
                )
            time.sleep(_POLL_S / 2)

    def _is_ready(self) -> bool:
        return takes_connections(self._cluster.socket_path, user=OWNER_ROLE, database=DATABASE)

    def _open(self, name: str) -> IO[bytes]:
        path = self._cluster.root / name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as exc:
            raise EmbeddedPostgresError(f"{path} cannot be opened: {exc.strerror}") from exc
        self._cluster.account.take(descriptor)
        return open(descriptor, "r+b", buffering=0)  # noqa: PTH123 - the caller's to close.

    @staticmethod
    def _wait_for(guests: IO[bytes]) -> None:
        deadline_s = time.monotonic() + _GUESTS_TIMEOUT_S
        while not _is_locked(guests, fcntl.LOCK_EX) and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)


def _is_locked(file: IO[bytes], kind: int) -> bool:
    """Try to lock, without waiting."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
