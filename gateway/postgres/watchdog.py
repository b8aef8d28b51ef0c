"""The server process under a shell that outlives its parent and then takes the server down."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from gateway.postgres.account import Account, EmbeddedPostgresError

# Standard input is a pipe from the gateway, standard output is the locked file, which the server
# inherits as descriptor 4. A line on the pipe asks for an orderly end; the end of the pipe, also
# by SIGKILL of the gateway, for one within three seconds: fast shutdown, which ends sessions and
# writes a checkpoint; after two seconds the immediate one, which the journal of the server
# repairs at its next start, and after which the server itself kills in five more what is stuck.
# The reader gives the lock up, or its `sleep` would outlive the server with it. A shell is here
# because it is small and needs nothing of this program.
_SCRIPT = r"""
trap '' INT HUP TERM
exec 3<&0 4>&1 </dev/null >&2
"$@" 3<&- &
server=$!
(
  exec 4>&-
  read -r _ <&3 && kill -INT $server
  read -r _ <&3
  kill -INT $server; sleep 2
  kill -QUIT $server; sleep 6
  kill -KILL $server
) 2>/dev/null &
reader=$!
exec 3<&-
wait $server
status=$?
kill -KILL $reader
wait $reader
exit $status
"""
ORDERLY_STOP_TIMEOUT_S = 30.0
_QUICK_STOP_TIMEOUT_S = 10.0


class WatchedServer:
    """A running server; it ends with `stop`, and with this process however that ends."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        account: Account,
        lock: IO[bytes],
        log_path: Path,
        pass_fds: Sequence[int],
        environment: dict[str, str],
    ) -> None:
        """Raises EmbeddedPostgresError where there can be no such process."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        try:
            with open(os.open(log_path, flags, 0o600), "ab") as log:  # noqa: PTH123 - O_NOFOLLOW.
                account.take(log.fileno())
                self._process = subprocess.Popen(  # noqa: S603 - our own binaries and script.
                    ["/bin/sh", "-c", _SCRIPT, "gateway-postgres-watchdog", *command],
                    stdin=subprocess.PIPE,
                    stdout=lock,
                    stderr=log,
                    cwd="/",
                    env=environment,
                    user=account.uid,
                    group=account.gid,
                    extra_groups=account.groups,
                    pass_fds=pass_fds,
                    # Out of the terminal's process group: Ctrl-C drains the gateway first.
                    start_new_session=True,
                )
        except (OSError, subprocess.SubprocessError) as exc:
            raise EmbeddedPostgresError(f"PostgreSQL cannot be started: {exc}") from exc

    @property
    def exit_status(self) -> int | None:
        """None while the server runs."""
        return self._process.poll()

    def stop(self) -> None:
        """End the server with a checkpoint, or without one where that takes too long."""
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(OSError):
            pipe.write(b"stop\n")
            pipe.flush()
        if not self._ended_within(ORDERLY_STOP_TIMEOUT_S):
            with suppress(OSError):
                pipe.close()
            if not self._ended_within(_QUICK_STOP_TIMEOUT_S):
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        with suppress(OSError):
            pipe.close()

    def _ended_within(self, timeout_s: float) -> bool:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True
