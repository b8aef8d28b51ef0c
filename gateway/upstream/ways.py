"""Chooses the way to providers at start-up: the fast one if it proves itself, else the plain."""

import asyncio
import contextlib

import structlog

from gateway.domain.errors import UpstreamError
from gateway.upstream.answer import OutgoingRequest, Upstream
from gateway.upstream.connection import ModelConnector
from gateway.upstream.fast import CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S, FastUpstream
from gateway.upstream.plain import PlainUpstream
from gateway.upstream.wheel import DeadlineWheel
from gateway.wire.http1 import ResponseHead

_log = structlog.get_logger("gateway.upstream")
_LOOPBACK = "127.0.0.1"
_SELF_TEST_TIMEOUT_S = 5.0
_PAYLOAD = b"ping"
_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nping\r\n0\r\n\r\n"


async def open_upstream(
    *,
    wheel: DeadlineWheel,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    idle_timeout_s: float = IDLE_TIMEOUT_S,
    connector: ModelConnector | None = None,
) -> Upstream:
    """The fast way, after two exchanges with a server of our own on one connection.

    It leans on a private attribute of aiohttp; where a release has moved that, requests go the
    plain way, slower and otherwise the same, and a warning says so.
    """
    fast = FastUpstream(
        wheel=wheel,
        connect_timeout_s=connect_timeout_s,
        idle_timeout_s=idle_timeout_s,
        connector=connector,
    )
    try:
        async with asyncio.timeout(_SELF_TEST_TIMEOUT_S):
            problem = await _problem_of(fast)
    except Exception as exc:  # noqa: BLE001 - whatever it is, there is another way.
        problem = type(exc).__name__
    if problem is None:
        return fast
    _log.warning("upstream.fast_path_is_off", reason=problem)
    await fast.close()
    return PlainUpstream(connect_timeout_s=connect_timeout_s, idle_timeout_s=idle_timeout_s)


async def _problem_of(fast: FastUpstream) -> str | None:
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(len(_PAYLOAD))
                writer.write(_ANSWER)

    server = await asyncio.start_server(answer, _LOOPBACK, 0)
    try:
        url = f"http://{_LOOPBACK}:{server.sockets[0].getsockname()[1]}/"
        for _ in range(2):
            listener = _SelfTest()
            request = OutgoingRequest(url=url, query="", headers=[], body=_PAYLOAD)
            await fast.send(request, listener)
            if await listener.heard != _PAYLOAD:
                return "it heard something else than was said"
    finally:
        server.close()
        for writer in writers:
            writer.close()
    return None if len(writers) == 1 else "it did not use its connection again"


class _SelfTest:
    """Hears the self-test's answer."""

    def __init__(self) -> None:
        self.heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._payload = b""

    def head_received(
        self,
        head: ResponseHead,
        *,
        is_followed: bool = False,  # noqa: ARG002 - the protocol's.
    ) -> None:
        assert head.status == 200  # noqa: PLR2004 - OK.

    def piece_received(self, framed: bytes, payload: bytes, *, is_last: bool) -> None:
        assert framed
        self._payload += payload
        if is_last:
            self.heard.set_result(self._payload)

    def answer_failed(self, error: UpstreamError) -> None:
        self.heard.set_exception(error)
