"""The directories of an embedded cluster, its initialisation, and the server's command line."""

import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.postgres.account import Account, EmbeddedPostgresError, server_account
from gateway.postgres.binaries import Binaries

OWNER_ROLE: Final = "gateway"
DATABASE: Final = "gateway"
ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_SOCKET_NAME = ".s.PGSQL.5432"
# AF_UNIX addresses end at 107 bytes on Linux and at 103 on macOS.
_SOCKET_PATH_BYTES_MAX = 103
_SHORT_ROOT = Path("/tmp")  # noqa: S108 - owner and mode are checked.
_GROUP_OR_OTHERS = 0o077
_LOG_BYTES_MAX = 1 << 20
_INITDB_TIMEOUT_S = 120.0
_BUILTIN_LOCALE_MAJOR = 17
_IO_METHOD_MAJOR = 18
# The watchdog's shell moves the low descriptors about.
_ROOT_FD_MIN = 20
_OWN_NAMES = {"postgres", "journal", "lost+found"}


class Cluster:
    """One cluster in `data_dir/postgres`, reached by the server's account alone.

    The directory above stays this process's own, mode 0700. Where the server runs under another
    account, it cannot pass through there: it gets `data_dir/postgres` as an open descriptor and
    names it `/proc/self/fd/<n>`, which asks for no permission on the directories above.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = Path(os.path.abspath(data_dir))  # noqa: PTH100 - symlinks stay symlinks.
        self.root = self._data_dir / "postgres"
        self.account = Account()
        self.log_path = self.root / "postgres.log"
        self._pgdata = self.root / "cluster"
        self.socket_directory = self._socket_directory()
        self.socket_path = self.socket_directory / _SOCKET_NAME

    def make_directories(self) -> None:
        """Make what is missing, private to its owner.

        Raises:
            EmbeddedPostgresError: somebody else owns a directory, or it cannot be made.
        """
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._close_to_others()
            self.account = server_account(self.root)
            self._make_private(self.root)
            self._make_private(self.socket_directory)
        except OSError as exc:
            raise EmbeddedPostgresError(
                f"{exc.filename or self._data_dir} cannot hold the embedded database: "
                f"{exc.strerror or exc}; set GATEWAY_DATA_DIR to a directory of your own"
            ) from exc

    def _close_to_others(self) -> None:
        """A data directory of ours is private; a directory that others use too is let be."""
        status = self._data_dir.stat()
        is_open = status.st_mode & _GROUP_OR_OTHERS
        if is_open and {path.name for path in self._data_dir.iterdir()} <= _OWN_NAMES:
            self._data_dir.chmod(0o700)

    def _make_private(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                # Again by whoever comes second: the first may be between making and giving.
                self.account.take(descriptor)
            status = os.fstat(descriptor)
            if not self.account.owns(status):
                raise PermissionError(errno.EACCES, "it belongs to somebody else", str(directory))
            if status.st_mode & _GROUP_OR_OTHERS:
                os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)

    def _socket_directory(self) -> Path:
        """Beside the cluster, or under a short name that the data directory's path decides."""
        directory = self.root / "run"
        if len(os.fsencode(directory / _SOCKET_NAME)) <= _SOCKET_PATH_BYTES_MAX:
            return directory
        digest = hashlib.sha256(os.fsencode(self._data_dir.resolve())).hexdigest()
        return _SHORT_ROOT / f"gateway-postgres-{digest[:16]}"

    def open_root(self) -> int | None:
        """A descriptor for the server where its account differs from ours, to be closed."""
        if not self.account.is_other:
            return None
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ROOT_FD_MIN)
        finally:
            os.close(descriptor)

    def _as_server_sees(self, path: Path, root_fd: int | None) -> Path:
        if root_fd is None or not path.is_relative_to(self.root):
            return path
        return Path(f"/proc/self/fd/{root_fd}") / path.relative_to(self.root)

    def initialise(
        self, binaries: Binaries, *, lock_fd: int, root_fd: int | None, is_durable: bool
    ) -> None:
        """Run initdb where there is no cluster yet, beside its place, so that half of one never is.

        The programs inherit the lock, so that the next start waits for an initdb that was lost.

        Raises:
            EmbeddedPostgresError: initdb failed, or the cluster is of another major version.
        """
        version_path = self._pgdata / "PG_VERSION"
        if version_path.exists():
            major = version_path.read_text(encoding="ascii").strip()
            if major != str(binaries.major):
                raise EmbeddedPostgresError(
                    f"{self._pgdata} was made by PostgreSQL {major} and {binaries.directory} is "
                    f"PostgreSQL {binaries.major}: point GATEWAY_PG_BIN at the programs of "
                    f"PostgreSQL {major}"
                )
            return
        partial = self.root / "cluster.partial"
        shutil.rmtree(partial, ignore_errors=True)
        seen = self._as_server_sees(partial, root_fd)
        pass_fds = (lock_fd,) if root_fd is None else (lock_fd, root_fd)
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        if binaries.major >= _BUILTIN_LOCALE_MAJOR:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not is_durable:
            options.append("--no-sync")
        command: list[str | Path] = [
            binaries.initdb,
            f"--pgdata={seen}",
            f"--username={OWNER_ROLE}",
            *options,
        ]
        self._run(command, pass_fds=pass_fds)
        single: list[str | Path] = [binaries.postgres, "--single", "-D", seen, "postgres"]
        self._run(single, pass_fds=pass_fds, text=f"CREATE DATABASE {DATABASE};\n")
        partial.rename(self._pgdata)

    def _run(
        self, command: Sequence[str | Path], *, pass_fds: Sequence[int], text: str = ""
    ) -> None:
        try:
            done = subprocess.run(  # noqa: S603 - our own binaries.
                command,
                check=False,
                input=text,
                capture_output=True,
                text=True,
                cwd="/",
                env=ENVIRONMENT,
                user=self.account.uid,
                group=self.account.gid,
                extra_groups=self.account.groups,
                pass_fds=pass_fds,
                timeout=_INITDB_TIMEOUT_S,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            raise EmbeddedPostgresError(f"{command[0]} did not run: {exc}") from exc
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")

    def server_command(
        self, binaries: Binaries, *, root_fd: int | None, is_durable: bool
    ) -> list[str | Path]:
        """The command of the server; clears what the last one left."""
        # The lock is held, so whatever process has that number by now is no server of this cluster.
        # Where nobody reaps, a killed server even stays there as a zombie.
        (self._pgdata / "postmaster.pid").unlink(missing_ok=True)
        self.socket_path.with_name(f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_BYTES_MAX:
            self.log_path.rename(self.log_path.with_suffix(".log.1"))
        settings = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": str(self._as_server_sees(self.socket_directory, root_fd)),
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "shared_buffers": "64MB",
            "max_wal_size": "256MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
            "jit": "off",
        }
        if binaries.major >= _IO_METHOD_MAJOR:
            # Its I/O workers are processes of their own, and a small ledger lives in memory.
            settings["io_method"] = "sync"
        if not is_durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [word for item in settings.items() for word in ("-c", "=".join(item))]
        pgdata = self._as_server_sees(self._pgdata, root_fd)
        return [binaries.postgres, "-D", pgdata, *options]

    def log_tail(self) -> str:
        try:
            return self.log_path.read_text(encoding="utf-8", errors="replace")[-2000:]
        except OSError:
            return ""
