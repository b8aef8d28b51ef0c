"""Processes on given cores, and what they use: CPU from the kernel's clocks, resident memory."""

import atexit
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.tools import MissingToolError

_CPUCLOCK_SCHED = 2
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
# Not the gateway: its database, and the shell that outlives it to end the database.
_DATABASE_NAMES = frozenset({"postgres", "sh"})
# Of the first and of the second version of control groups.
_IDLE_GROUPS = (
    Path("/sys/fs/cgroup/cpu/gateway-bench-database"),
    Path("/sys/fs/cgroup/gateway-bench-database"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """The contender has one to itself; provider, load, database and this process share another."""

    contender: int
    others: int

    @classmethod
    def chosen(cls) -> "Cores":
        """Raises MissingToolError on a machine of one core, or without affinity."""
        if not hasattr(os, "sched_getaffinity"):
            raise MissingToolError("make bench needs Linux: it pins processes to cores")
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            raise MissingToolError("make bench needs two cores")
        return cls(contender=usable[0], others=usable[1])


def start(
    command: Sequence[str | Path],
    *,
    core: int,
    output: Path | int,
    errors: Path | int = subprocess.STDOUT,
    environment: Mapping[str, str] | None = None,
) -> "subprocess.Popen[str]":
    """Start on one core; children and threads inherit it."""
    with _open(output) as output_file, _open(errors) as errors_file, on_core(core):
        return subprocess.Popen(
            [str(word) for word in command],
            stdout=output_file,
            stderr=errors_file,
            stdin=subprocess.DEVNULL,
            text=True,
            env=None if environment is None else {**os.environ, **environment},
        )


@contextmanager
def _open(target: Path | int) -> Iterator[IO[bytes] | int]:
    if isinstance(target, int):
        yield target
        return
    with target.open("wb") as file:
        yield file


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """This thread runs, and what it starts begins, on that core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_TIMEOUT_S)
    if process.stdout is not None:
        process.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: "subprocess.Popen[str]") -> None:
    """Raises RuntimeError where the process ends or takes too long."""
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            break
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen: status {process.poll()}")


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += tree(int(child))
    return found


def split_database(pids: Sequence[int]) -> tuple[list[int], list[int]]:
    """Those of the contender itself, and those of its database."""
    own: list[int] = []
    database: list[int] = []
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            (database if name in _DATABASE_NAMES else own).append(pid)
    return own, database


def pin(pids: Sequence[int], core: int) -> None:
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {core})


def lower(pids: Sequence[int]) -> None:
    """Let others on their core go first, at once; what they start from now on as well.

    Sessions get equal shares of a core, so that a priority is one within its session: only a group
    that is idle altogether stands back. Where none can be made, the priority is all there is.
    """
    group = next(filter(_is_made_idle, _IDLE_GROUPS), None)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
            if group is not None:
                (group / "cgroup.procs").write_text(str(pid))


def _is_made_idle(group: Path) -> bool:
    try:
        group.mkdir(exist_ok=True)
        (group / "cpu.idle").write_text("1")
    except OSError:
        with suppress(OSError):
            group.rmdir()
        return False
    atexit.register(_remove, group)
    return True


def _remove(group: Path) -> None:
    with suppress(OSError):
        group.rmdir()


def cpu_s(pid: int) -> float:
    """User and system time of all threads, ended ones included, to the nanosecond."""
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0  # it has ended


def user_share(pid: int) -> tuple[int, int]:
    """Ticks in user mode and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def machine_busy_s() -> float:
    """What all cores did since boot, whoever it was for."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS_PER_S


def rss_kb(pids: Sequence[int]) -> int:
    total = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
    return total
