"""What `gateway doctor` looks at outside the database: settings, disk, lines to others."""

import asyncio
import os
import shutil
import ssl
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from gateway.config import Config
from gateway.domain.clock import SystemClock
from gateway.upstream.configured import configured as providers_of

State = Literal["ok", "warn", "fail"]
_CONNECT_TIMEOUT_S = 5.0
_FREE_BYTES_MIN = 256 << 20
_FREE_BYTES_COMFORTABLE = 2 << 30
_FSYNC_ROUNDS = 5
_FSYNC_MS_SLOW = 50.0
_PRIVATE_MODE = 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_WITHOUT_PROVIDER = {
    False: "no credential is set: the embedded database serves a simulated provider",
    True: "no credential is set: every call gets 503; "
    "set GATEWAY_ANTHROPIC_API_KEY, GATEWAY_OPENAI_API_KEY or another provider's",
}
"""By whether GATEWAY_DATABASE_URL is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the table; `detail` says what to do where it is not ok."""

    name: str
    state: State
    detail: str


def configured(config: Config) -> Check:
    """Settings that are known and do nothing yet are worth a word."""
    if config.unused_names:
        names = ", ".join(config.unused_names)
        return Check(name="config", state="warn", detail=f"set, but without effect: {names}")
    return Check(name="config", state="ok", detail="every setting is known and valid")


def fixed(data_dir: Path) -> list[Check]:
    """The directory of journals and embedded database: mode, room, and what a sync costs."""
    existing = data_dir
    while not existing.exists():
        existing = existing.parent
    checks = [_mode(data_dir), _room(existing)]
    if data_dir.exists():
        checks.append(_sync(data_dir))
    return checks


def _mode(data_dir: Path) -> Check:
    try:
        mode = stat.S_IMODE(data_dir.stat().st_mode)
    except FileNotFoundError:
        return Check(
            name="data directory", state="ok", detail=f"{data_dir} is made at the first start"
        )
    except OSError as exc:
        return Check(name="data directory", state="fail", detail=f"{data_dir}: {exc.strerror}")
    if mode & _OTHERS:
        return Check(
            name="data directory",
            state="fail",
            detail=f"{data_dir} has mode {mode:04o}: chmod {_PRIVATE_MODE:o} it",
        )
    if not os.access(data_dir, os.W_OK | os.X_OK):
        return Check(name="data directory", state="fail", detail=f"{data_dir} is not writable")
    return Check(name="data directory", state="ok", detail=f"{data_dir}, mode {mode:04o}")


def _room(directory: Path) -> Check:
    free_bytes = shutil.disk_usage(directory).free
    state: State = "ok"
    if free_bytes < _FREE_BYTES_COMFORTABLE:
        state = "warn" if free_bytes >= _FREE_BYTES_MIN else "fail"
    return Check(name="disk", state=state, detail=f"{free_bytes / (1 << 30):.1f} GiB free")


def _sync(data_dir: Path) -> Check:
    clock = SystemClock()
    try:
        with tempfile.NamedTemporaryFile(dir=data_dir, prefix=".doctor-") as file:
            slowest_ms = 0.0
            for _ in range(_FSYNC_ROUNDS):
                file.write(bytes(4096))
                file.flush()
                started_s = clock.monotonic_s()
                os.fdatasync(file.fileno())
                slowest_ms = max(slowest_ms, (clock.monotonic_s() - started_s) * 1000)
    except OSError as exc:
        return Check(name="fsync", state="fail", detail=f"{data_dir}: {exc.strerror}")
    state: State = "ok" if slowest_ms < _FSYNC_MS_SLOW else "warn"
    return Check(name="fsync", state=state, detail=f"{slowest_ms:.1f} ms, the slowest of 5")


async def reached(config: Config) -> list[Check]:
    """A TCP connection, and TLS over it, to whatever is configured; all at once."""
    targets = _targets(config)
    checks = await asyncio.gather(*(_reach(name, url) for name, url in targets))
    if not any(name.startswith("provider") for name, _ in targets):
        detail = _WITHOUT_PROVIDER[config.database.url is not None]
        checks.append(Check(name="providers", state="warn", detail=detail))
    if config.posthog.host is None:
        checks.append(Check(name="posthog", state="ok", detail="not configured: no events"))
    return checks


def _targets(config: Config) -> list[tuple[str, str]]:
    named = {
        *(name for name, each in config.providers.items() if each.api_key or each.base_url),
        *(entry.name for entry in config.upstreams),
    }
    if config.bedrock.base_url is not None or config.bedrock.region is not None:
        named.add("bedrock")
    providers = providers_of(
        config.providers,
        bedrock=config.bedrock,
        more=config.upstreams,
        simulator_url=None,
        is_managed=True,
    )
    targets = [(f"provider {each.name}", each.base_url) for each in providers if each.name in named]
    if config.posthog.host is not None:
        targets.append(("posthog", config.posthog.host))
    return [(name, url) for name, url in targets if url]


async def _reach(name: str, url: str) -> Check:
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    started_s = SystemClock().monotonic_s()
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(
                parts.hostname, port, ssl=ssl.create_default_context() if is_tls else None
            )
        writer.transport.abort()
    except TimeoutError:
        return Check(name=name, state="fail", detail=f"{parts.hostname}:{port} does not answer")
    except OSError as exc:
        detail = f"{parts.hostname}:{port}: {exc.strerror or type(exc).__name__}"
        return Check(name=name, state="fail", detail=detail)
    took_ms = (SystemClock().monotonic_s() - started_s) * 1000
    line = "TLS" if is_tls else "TCP, not encrypted"
    return Check(name=name, state="ok", detail=f"{parts.hostname}:{port}, {line}, {took_ms:.0f} ms")
