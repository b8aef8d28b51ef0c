"""Both ways to a provider, the fast and the plain one, against a real server on real sockets."""

import asyncio
import contextlib
import gc
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import structlog
from aiohttp.client_proto import ResponseHandler

from gateway.domain.errors import (
    InvalidRequestError,
    UpstreamCutError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from gateway.upstream.answer import Exchange, OutgoingRequest, Upstream
from gateway.upstream.connection import ModelConnector
from gateway.upstream.fast import FastUpstream
from gateway.upstream.plain import PlainUpstream
from gateway.upstream.ways import open_upstream
from gateway.upstream.wheel import DeadlineWheel
from gateway.wire.http1 import Framing, ResponseHead
from tests.fakes.raw_provider import RawExchange, RawProvider, answers

pytestmark = pytest.mark.alone

HEAD_CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
CHUNKS = b"5\r\nhello\r\n6\r\n world\r\n"
CHUNKED = HEAD_CHUNKED + CHUNKS + b"0\r\n\r\n"
BY_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello world"


class Heard:
    """A listener that remembers what it heard."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.framed = b""
        self.payload = b""
        self.pieces: list[tuple[float, bytes]] = []
        self.error: UpstreamError | None = None
        self.is_whole = False
        self.ended = asyncio.Event()
        self.began = asyncio.Event()

    def head_received(self, head: ResponseHead, *, is_followed: bool = False) -> None:
        assert self.head is None
        self.head = head
        self.began.set()

    def piece_received(self, framed: bytes, payload: bytes, *, is_last: bool) -> None:
        assert not self.ended.is_set()
        self.framed += framed
        self.payload += payload
        self.pieces.append((time.monotonic(), payload))
        if is_last:
            self.is_whole = True
            self.ended.set()

    def answer_failed(self, error: UpstreamError) -> None:
        assert not self.ended.is_set()
        self.error = error
        self.ended.set()


@pytest.fixture
async def wheel() -> AsyncIterator[DeadlineWheel]:
    wheel = DeadlineWheel(tick_s=0.05)
    yield wheel
    wheel.close()


@pytest.fixture(params=["fast", "plain"])
async def upstream(request: pytest.FixtureRequest, wheel: DeadlineWheel) -> AsyncIterator[Upstream]:
    upstream: Upstream
    if request.param == "fast":
        upstream = FastUpstream(wheel=wheel, connect_timeout_s=1.0, idle_timeout_s=0.4)
    else:
        upstream = PlainUpstream(connect_timeout_s=1.0, idle_timeout_s=0.4)
    yield upstream
    await upstream.close()


@pytest.fixture
async def fast(wheel: DeadlineWheel) -> AsyncIterator[FastUpstream]:
    upstream = FastUpstream(wheel=wheel)
    yield upstream
    await upstream.close()


async def send(
    upstream: Upstream, url: str, body: bytes = b"{}", headers: list[tuple[str, str]] | None = None
) -> tuple[Heard, Exchange]:
    heard = Heard()
    request = OutgoingRequest(url=f"{url}/v1/messages", query="", headers=headers or [], body=body)
    return heard, await upstream.send(request, heard)


async def ask(upstream: Upstream, url: str, body: bytes = b"{}") -> Heard:
    heard, _ = await send(upstream, url, body)
    async with asyncio.timeout(5):
        await heard.ended.wait()
    return heard


@pytest.mark.parametrize(
    ("answer", "framing"),
    [
        (CHUNKED, Framing.CHUNKED),
        (BY_LENGTH, Framing.LENGTH),
        (UNTIL_CLOSE, Framing.CLOSE),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CHUNKED, Framing.CHUNKED),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + BY_LENGTH, Framing.LENGTH),
        (HEAD_CHUNKED + CHUNKS + b"0\r\nX-Sum: 1\r\n\r\n", Framing.CHUNKED),
    ],
)
async def test_an_answer_is_heard_whole(upstream: Upstream, answer: bytes, framing: Framing):
    closes = framing is Framing.CLOSE
    async with RawProvider(answers(answer, closes=closes)).serving() as provider:
        heard = await ask(upstream, provider.url)
    assert heard.error is None
    assert heard.head is not None
    assert (heard.head.status, heard.head.framing) == (200, framing)
    assert heard.payload == b"hello world"
    if framing is Framing.CHUNKED:
        assert b"X-Sum" not in heard.framed
        assert heard.framed.endswith(b"\r\n0\r\n\r\n")
    else:
        assert heard.framed == b"hello world"


async def test_an_answer_without_a_body_is_whole_at_once(upstream: Upstream):
    empty = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with RawProvider(answers(empty)).serving() as provider:
        for _ in range(2):
            heard = await ask(upstream, provider.url)
            assert heard.is_whole
            assert heard.payload == heard.framed == b""
        assert provider.connections == 1


async def test_framed_bytes_are_passed_on_as_they_came(fast: FastUpstream):
    async with RawProvider(answers(CHUNKED)).serving() as provider:
        heard = await ask(fast, provider.url)
    assert heard.framed == CHUNKED.removeprefix(HEAD_CHUNKED)


@pytest.mark.parametrize("answer", [CHUNKED, BY_LENGTH])
async def test_every_split_is_heard_the_same(upstream: Upstream, answer: bytes):
    cuts = iter(range(1, len(answer)))

    async def script(exchange: RawExchange) -> None:
        cut = next(cuts)
        await exchange.say(answer[:cut])
        # Two reads on the other side, as far as loopback goes.
        await asyncio.sleep(0.001)
        await exchange.say(answer[cut:])

    async with RawProvider(script).serving() as provider:
        for _ in range(1, len(answer)):
            heard = await ask(upstream, provider.url)
            assert heard.is_whole
            assert heard.payload == b"hello world"
        assert provider.connections == 1


@pytest.mark.parametrize("answer", [CHUNKED, BY_LENGTH])
async def test_a_provider_that_closes_at_any_byte_is_a_failure_never_an_end(
    upstream: Upstream, answer: bytes
):
    for cut in range(len(answer)):
        async with RawProvider(answers(answer[:cut], closes=True)).serving() as provider:
            heard = await ask(upstream, provider.url)
        assert isinstance(heard.error, UpstreamCutError), cut
        assert not heard.is_whole
        assert b"hello world".startswith(heard.payload)


async def test_the_request_is_sent_as_it_was_given(upstream: Upstream):
    async with RawProvider(answers(BY_LENGTH)).serving() as provider:
        heard = Heard()
        body = bytes(range(256)) * 4000
        await upstream.send(
            OutgoingRequest(
                url=f"{provider.url}/v1/x%2Fy",
                query="beta=true&a=%20b",
                headers=[("x-api-key", "k"), ("Content-Type", "application/json")],
                body=body,
            ),
            heard,
        )
        await heard.ended.wait()
        lines = provider.requests[0].head.decode().split("\r\n")
        assert lines[0] == "POST /v1/x%2Fy?beta=true&a=%20b HTTP/1.1"
        assert {line.lower() for line in lines[1:] if line} == {
            f"host: {provider.url.removeprefix('http://')}",
            "x-api-key: k",
            "content-type: application/json",
            f"content-length: {len(body)}",
        }
        assert provider.requests[0].body == body


async def test_a_header_with_a_line_end_is_never_sent(fast: FastUpstream):
    async with RawProvider(answers(BY_LENGTH)).serving() as provider:
        with pytest.raises(InvalidRequestError):
            await send(fast, provider.url, headers=[("x", "a\r\nx-api-key: b")])
        assert provider.connections == 0


async def test_a_connection_serves_one_request_after_another(upstream: Upstream):
    async with RawProvider(answers(CHUNKED)).serving() as provider:
        for _ in range(20):
            assert (await ask(upstream, provider.url)).payload == b"hello world"
        assert provider.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        BY_LENGTH.replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n"),
        BY_LENGTH.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_a_connection_that_the_provider_closes_is_not_used_again(
    upstream: Upstream, answer: bytes
):
    async with RawProvider(answers(answer)).serving() as provider:
        for _ in range(2):
            assert (await ask(upstream, provider.url)).payload == b"hello world"
        assert provider.connections == 2


@pytest.mark.parametrize("delay_s", [None, 0.0, 0.02])
async def test_a_connection_on_which_unasked_bytes_came_is_never_used_again(
    upstream: Upstream, delay_s: float | None
):
    poison = BY_LENGTH.replace(b"hello world", b"POISON POIS")

    async def script(exchange: RawExchange) -> None:
        if delay_s is None:
            await exchange.say(CHUNKED + poison)
            return
        await exchange.say(CHUNKED)
        await asyncio.sleep(delay_s)
        with contextlib.suppress(ConnectionError):
            await exchange.say(poison)

    async with RawProvider(script).serving() as provider:
        for _ in range(10):
            heard = await ask(upstream, provider.url)
            assert heard.payload == b"hello world"
            await asyncio.sleep(0.04)
        assert provider.connections == 10


async def test_bytes_that_the_loop_has_not_read_yet_keep_a_connection_from_use(fast: FastUpstream):
    """The poison is in the kernel, the event loop has not looked: only asking the kernel helps."""
    async with RawProvider(answers(CHUNKED)).serving() as provider:
        await ask(fast, provider.url)
        peer = provider.requests[0].writer
        peer.get_extra_info("socket")
        peer.write(BY_LENGTH)
        # No turn of the event loop between the poison and the next request on our side: uvloop
        # writes at the end of the turn, asyncio at once.
        await asyncio.sleep(0)
        heard = await ask(fast, provider.url)
        assert heard.framed == CHUNKED.removeprefix(HEAD_CHUNKED)


async def test_a_connection_that_was_closed_while_idle_costs_no_request(upstream: Upstream):
    async with RawProvider(answers(CHUNKED)).serving() as provider:
        await ask(upstream, provider.url)
        provider.requests[0].close()
        await asyncio.sleep(0.02)
        assert (await ask(upstream, provider.url)).is_whole
        assert [request.body for request in provider.requests] == [b"{}", b"{}"]


async def test_a_request_that_was_written_is_never_sent_again(upstream: Upstream):
    async def script(exchange: RawExchange) -> None:
        if len(provider.requests) == 2:
            exchange.writer.transport.abort()
            return
        await exchange.say(CHUNKED)

    async with RawProvider(script).serving() as provider:
        await ask(upstream, provider.url)
        heard = await ask(upstream, provider.url)
        assert isinstance(heard.error, UpstreamCutError)
        await asyncio.sleep(0.05)
        assert len(provider.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_not_followed(upstream: Upstream, status: int):
    async with RawProvider(answers(CHUNKED)).serving() as other:
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n"
        async with RawProvider(answers(head.encode())).serving() as provider:
            heard = await ask(upstream, provider.url)
        assert isinstance(heard.error, UpstreamProtocolError)
        assert other.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_an_ambiguous_answer_is_refused(upstream: Upstream, answer: bytes):
    async with RawProvider(answers(answer)).serving() as provider:
        heard = await ask(upstream, provider.url)
        assert isinstance(heard.error, UpstreamProtocolError | UpstreamCutError)
        assert heard.payload == b""
        async with asyncio.timeout(1):
            await provider.requests[0].is_left.wait()


async def test_a_chunk_that_lies_breaks_the_answer(upstream: Upstream):
    async with RawProvider(answers(HEAD_CHUNKED + b"5\r\nhelloXX6\r\n")).serving() as provider:
        heard = await ask(upstream, provider.url)
    assert heard.error is not None
    assert not heard.is_whole


async def test_a_silent_provider_is_left_after_the_idle_time(upstream: Upstream):
    async with RawProvider(answers(HEAD_CHUNKED + CHUNKS)).serving() as provider:
        began = time.monotonic()
        heard = await ask(upstream, provider.url)
        assert isinstance(heard.error, UpstreamTimeoutError)
        assert heard.payload == b"hello world"
        assert 0.35 < time.monotonic() - began < 1.5
        async with asyncio.timeout(1):
            await provider.requests[0].is_left.wait()


async def test_any_byte_starts_the_idle_time_anew(upstream: Upstream):
    pieces = [HEAD_CHUNKED, *(b"1\r\na\r\n" for _ in range(5)), b"0\r\n\r\n"]
    async with RawProvider(answers(*pieces, pause_s=0.2)).serving() as provider:
        heard = await ask(upstream, provider.url)
    assert heard.payload == b"aaaaa"


async def test_events_are_heard_as_they_are_said(upstream: Upstream):
    pieces = [HEAD_CHUNKED, *(b"1\r\n%d\r\n" % n for n in range(8)), b"0\r\n\r\n"]
    async with RawProvider(answers(*pieces, pause_s=0.05)).serving() as provider:
        heard = await ask(upstream, provider.url)
    times = [at for at, payload in heard.pieces if payload]
    assert len(times) == 8
    gaps = [after - before for before, after in pairwise(times)]
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(0.05, abs=0.03)


async def test_a_provider_that_is_not_there_is_unreachable_and_was_sent_nothing(
    upstream: Upstream,
):
    async with RawProvider(answers(CHUNKED)).serving() as provider:
        url = provider.url
    with contextlib.suppress(UpstreamUnreachableError):
        heard, _ = await send(upstream, url)
        await heard.ended.wait()
        assert heard.error is not None
        raise heard.error


async def test_a_connection_that_is_never_accepted_times_out(upstream: Upstream):
    # Reserved for documentation: nobody answers, or the network says so at once.
    began = time.monotonic()
    with pytest.raises(UpstreamUnreachableError):  # noqa: PT012 - either way tells it in its place.
        heard, _ = await send(upstream, "http://192.0.2.1:81")
        await heard.ended.wait()
        assert heard.error is not None
        raise heard.error
    assert time.monotonic() - began < 3


async def test_a_paused_exchange_takes_no_more_and_goes_on(upstream: Upstream):
    said = 0
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"

    async def script(exchange: RawExchange) -> None:
        nonlocal said
        await exchange.say(HEAD_CHUNKED)
        for _ in range(256):
            await exchange.say(chunk)
            said += 1
        await exchange.say(b"0\r\n\r\n")

    async with RawProvider(script).serving() as provider:
        heard, exchange = await send(upstream, provider.url)
        exchange.pause()
        # Longer than the idle time-out: it is not the provider who is silent.
        await asyncio.sleep(0.8)
        assert heard.error is None
        held = said
        assert held < 200
        assert len(heard.payload) < 2 << 20
        exchange.resume()
        async with asyncio.timeout(10):
            await heard.ended.wait()
    assert heard.is_whole
    assert len(heard.payload) == 256 * 65536


async def test_an_abort_is_seen_by_a_silent_provider_at_once(upstream: Upstream):
    async with RawProvider(answers(HEAD_CHUNKED + CHUNKS)).serving() as provider:
        heard, exchange = await send(upstream, provider.url)
        await heard.began.wait()
        began = time.monotonic()
        exchange.abort()
        exchange.abort()
        async with asyncio.timeout(1):
            await provider.requests[0].is_left.wait()
        assert time.monotonic() - began < 0.25
        assert not heard.ended.is_set()


async def test_an_abort_before_the_answer_is_seen_too(upstream: Upstream):
    async with RawProvider(answers()).serving() as provider:
        heard, exchange = await send(upstream, provider.url)
        while not provider.requests:
            await asyncio.sleep(0.005)
        exchange.abort()
        async with asyncio.timeout(1):
            await provider.requests[0].is_left.wait()
        assert heard.head is None


async def test_an_early_answer_does_not_leave_half_a_request_on_the_connection(
    fast: FastUpstream,
):
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        # Reads nothing of the body.
        await asyncio.sleep(0.2)
        writer.transport.abort()

    server = await asyncio.start_server(script, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        for _ in range(2):
            heard = await ask(fast, url, b"x" * (32 << 20))
            assert heard.head is not None
            assert heard.head.status == 413
            assert heard.payload == b"no"
        # The second request was not read as the rest of the first one's body.
        assert connections == 2
        await asyncio.sleep(0.3)
    finally:
        server.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, its own authority, made for this run."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost",
            "-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return directory


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    upstream: Upstream, certificate: Path
):
    provider = RawProvider(answers(CHUNKED))
    async with provider.serving(tls=server_tls(certificate), host="localhost"):
        with pytest.raises(UpstreamUnreachableError):  # noqa: PT012 - as above.
            heard, _ = await send(upstream, provider.url)
            await heard.ended.wait()
            assert heard.error is not None
            raise heard.error
    assert provider.requests == []


async def test_answers_over_tls_are_heard_whole_and_the_connection_is_used_again(
    wheel: DeadlineWheel, certificate: Path
):
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    upstream = FastUpstream(wheel=wheel, tls=trusting)
    provider = RawProvider(answers(CHUNKED))
    async with provider.serving(tls=server_tls(certificate), host="localhost"):
        for _ in range(5):
            heard = await ask(upstream, provider.url, b"x" * 100_000)
            assert heard.is_whole
            assert heard.framed == CHUNKED.removeprefix(HEAD_CHUNKED)
        assert provider.connections <= 2
    await upstream.close()


async def test_a_certificate_for_another_name_is_refused(wheel: DeadlineWheel, certificate: Path):
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    upstream = FastUpstream(wheel=wheel, tls=trusting)
    provider = RawProvider(answers(CHUNKED))
    async with provider.serving(tls=server_tls(certificate), host="127.0.0.1"):
        with pytest.raises(UpstreamUnreachableError):
            await send(upstream, provider.url)
    await upstream.close()


async def test_the_fast_way_is_taken_where_it_proves_itself(wheel: DeadlineWheel):
    upstream = await open_upstream(wheel=wheel)
    assert isinstance(upstream, FastUpstream)
    await upstream.close()


class MovedConnector(ModelConnector):
    """As after a release of aiohttp that no longer makes its connections by that attribute."""

    def __init__(self) -> None:
        super().__init__()
        self._factory = partial(ResponseHandler, loop=asyncio.get_running_loop())


async def test_the_plain_way_is_taken_where_the_fast_one_fails_and_a_warning_says_so(
    wheel: DeadlineWheel,
):
    with structlog.testing.capture_logs() as logs:
        upstream = await open_upstream(wheel=wheel, connector=MovedConnector())
    assert isinstance(upstream, PlainUpstream)
    assert [entry["event"] for entry in logs] == ["upstream.fast_path_is_off"]
    async with RawProvider(answers(CHUNKED)).serving() as provider:
        assert (await ask(upstream, provider.url)).payload == b"hello world"
    await upstream.close()


async def test_a_thousand_deadlines_need_one_timer_and_leave_nothing(wheel: DeadlineWheel):
    fired: list[int] = []
    deadlines = [wheel.start(0.5, partial(fired.append, n)) for n in range(1000)]
    for deadline in deadlines[10:]:
        deadline.end()
    for _ in range(15):
        await asyncio.sleep(0.05)
        deadlines[0].restart()
    assert sorted(fired) == list(range(1, 10))
    await asyncio.sleep(0.7)
    assert sorted(fired) == list(range(10))
    gc.collect()
    assert wheel._buckets == {}
