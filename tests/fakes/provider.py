"""A provider that is a real HTTP server: answers as it is told, keeps what it got and its own bill."""

import asyncio
import gzip
import json
import socket
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal, Self
from urllib.parse import parse_qsl

from tests.fakes.transcripts import (
    ANTHROPIC_STREAM,
    ANTHROPIC_TEXT,
    OPENAI_STREAM,
    OPENAI_TEXT,
    Transcript,
    without_usage,
)

Framing = Literal["chunked", "length", "close", "bare"]
_POLL_S = 0.005
_GONE_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to send. Every piece is a chunk of its own where the body is chunked.

    `wire_bytes` sends the framed answer in writes of that many bytes, whatever the pieces are.
    `cut_after_bytes` of body the connection is reset; `hangs_after_pieces` it stays open and silent.
    `hangs_before_head` sends nothing at all, and `cuts_before_head` resets at once. With the framing
    `bare` the pieces are all that is sent, head included, and the connection is closed after them
    unless it `keeps_open`.
    """

    status: int = 200
    reason: str = "As Told"
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    pieces: tuple[bytes, ...] = ()
    framing: Framing = "chunked"
    interval_s: float = 0.0
    head_delay_s: float = 0.0
    wire_bytes: int | None = None
    cut_after_bytes: int | None = None
    hangs_after_pieces: int | None = None
    hangs_before_head: bool = False
    cuts_before_head: bool = False
    keeps_open: bool = False
    transcript: Transcript | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def in_pieces_of(self, size: int) -> "Answer":
        body = self.body
        pieces = tuple(body[at : at + size] for at in range(0, len(body), size))
        return replace(self, pieces=pieces)

    def with_headers(self, *headers: tuple[str, str]) -> "Answer":
        return replace(self, headers=self.headers + headers)

    def gzipped(self) -> "Answer":
        body = gzip.compress(self.body)
        return replace(self, pieces=(body,)).with_headers(("content-encoding", "gzip"))


def playing(transcript: Transcript, **changes: Any) -> Answer:
    """A transcript as its provider sends it: a stream event by event, a document at once."""
    answer = Answer(
        headers=(
            ("content-type", transcript.content_type),
            ("request-id", f"req_{transcript.response_id}"),
            ("x-request-id", f"req_{transcript.response_id}"),
        ),
        pieces=tuple(transcript.events) if transcript.is_stream else (transcript.body,),
        framing="chunked" if transcript.is_stream else "length",
        transcript=transcript,
    )
    return replace(answer, **changes)


def saying(body: bytes | dict[str, Any], status: int = 200, **changes: Any) -> Answer:
    """A whole JSON document."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return replace(Answer(status=status, pieces=(content,), framing="length"), **changes)


@dataclass
class Received:
    """One request as it came, and what became of its answer."""

    method: str
    path: str
    query: dict[str, str]
    headers: list[tuple[str, str]]
    body: bytes
    at_s: float
    sent_bytes: int = 0
    is_answered: bool = False
    """The whole answer went out."""
    caller_left_at_s: float | None = None
    """When the gateway closed the connection before the answer was whole."""

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True, kw_only=True)
class BillLine:
    """What the provider generated and charges for, whoever heard it."""

    response_id: str
    amount_usd: Decimal


@dataclass
class FakeProvider:
    """Use as `async with FakeProvider() as provider:`; Anthropic is below /anthropic, OpenAI below /openai/v1.

    `script` holds the answers of the next requests, one each; without one each request gets the
    plain transcript of its route.
    """

    script: deque[Answer] = field(default_factory=deque)
    requests: list[Received] = field(default_factory=list)
    bill: list[BillLine] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def __aenter__(self) -> Self:
        self._handlers: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=1 << 20)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers)

    @property
    def anthropic_base_url(self) -> str:
        return f"{self.url}/anthropic"

    @property
    def openai_base_url(self) -> str:
        return f"{self.url}/openai/v1"

    def reset(self) -> None:
        self.script.clear()
        self.requests.clear()
        self.bill.clear()

    def will(self, *answers: Answer) -> None:
        self.script.extend(answers)

    async def wait_for_requests(self, count: int, timeout_s: float = 10.0) -> list[Received]:
        async with asyncio.timeout(timeout_s):
            while len(self.requests) < count:
                await asyncio.sleep(_POLL_S)
        return self.requests

    async def wait_until_left(self, request: Received, timeout_s: float = 2.0) -> float:
        """When the gateway closed the connection of an answer that was not whole."""
        async with asyncio.timeout(timeout_s):
            while request.caller_left_at_s is None:
                await asyncio.sleep(_POLL_S)
        return request.caller_left_at_s

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client: socket.socket = writer.get_extra_info("socket")
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                answer = self.script.popleft() if self.script else _plain(request)
                self._charge(answer)
                if not await self._answer(request, answer, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            with suppress(ConnectionError, RuntimeError):
                writer.close()

    def _charge(self, answer: Answer) -> None:
        """Providers bill what they generate, from its first byte."""
        transcript = answer.transcript
        if transcript is not None and not (answer.hangs_before_head or answer.cuts_before_head):
            self.bill.append(
                BillLine(response_id=transcript.response_id, amount_usd=transcript.amount_usd)
            )

    async def _answer(
        self,
        request: Received,
        answer: Answer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Send it; returns whether the connection can take another request."""
        if answer.cuts_before_head:
            writer.transport.abort()
            return False
        line = _Line(request, reader, writer)
        if answer.hangs_before_head:
            return await line.wait_for_goodbye()
        if not await line.pause(answer.head_delay_s):
            return False
        started_s, sent_bytes, held = time.monotonic(), 0, _head(answer)
        for number, piece in enumerate(answer.pieces):
            if number == answer.hangs_after_pieces:
                await line.send(held, answer.wire_bytes)
                return await line.wait_for_goodbye()
            if number and not await line.pause_until(started_s + number * answer.interval_s):
                return False
            limit = answer.cut_after_bytes
            if limit is not None and sent_bytes + len(piece) >= limit:
                rest = piece[: limit - sent_bytes]
                await line.send(held + _framed(rest, answer.framing), answer.wire_bytes)
                return await line.cut()
            sent_bytes += len(piece)
            held += _framed(piece, answer.framing)
            if answer.interval_s or answer.wire_bytes is None:
                if not await line.send(held, answer.wire_bytes):
                    return False
                request.sent_bytes, held = sent_bytes, b""
        if answer.hangs_after_pieces == len(answer.pieces):
            await line.send(held, answer.wire_bytes)
            return await line.wait_for_goodbye()
        end = b"0\r\n\r\n" if answer.framing == "chunked" else b""
        if not await line.send(held + end, answer.wire_bytes):
            return False
        request.sent_bytes, request.is_answered = sent_bytes, True
        return answer.keeps_open or answer.framing in {"chunked", "length"}


class _Line:
    """The connection during one answer; notices when the gateway leaves it."""

    def __init__(
        self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._request = request
        self._reader = reader
        self._writer = writer

    def _is_gone(self) -> bool:
        if self._reader.at_eof() or self._writer.transport.is_closing():
            if self._request.caller_left_at_s is None:
                self._request.caller_left_at_s = time.monotonic()
            return True
        return False

    async def send(self, framed: bytes, wire_bytes: int | None) -> bool:
        if self._is_gone():
            return False
        try:
            for at in range(0, len(framed), wire_bytes or max(len(framed), 1)):
                self._writer.write(framed[at : at + (wire_bytes or len(framed))])
                await self._writer.drain()
                if wire_bytes is not None:
                    await asyncio.sleep(0)
        except ConnectionError:
            self._request.caller_left_at_s = time.monotonic()
            return False
        return True

    async def pause(self, seconds: float) -> bool:
        return await self.pause_until(time.monotonic() + seconds)

    async def pause_until(self, at_s: float) -> bool:
        """Returns False at once where the gateway leaves meanwhile."""
        while (left_s := at_s - time.monotonic()) > 0:
            if self._is_gone():
                return False
            await asyncio.sleep(min(left_s, _POLL_S))
        return not self._is_gone()

    async def wait_for_goodbye(self) -> bool:
        await self.pause(_GONE_TIMEOUT_S)
        return False

    async def cut(self) -> bool:
        # What was written must be on its way before the reset destroys it.
        await asyncio.sleep(0.02)
        self._writer.transport.abort()
        return False


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    request_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = request_line.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    path, _, query = target.partition("?")
    request = Received(
        method=method,
        path=path,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers=headers,
        body=b"",
        at_s=time.monotonic(),
    )
    if (length := request.header("content-length")) is not None:
        request.body = await reader.readexactly(int(length))
    elif "chunked" in (request.header("transfer-encoding") or ""):
        request.body = await _read_chunks(reader)
    return request


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        chunks += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return chunks


def _head(answer: Answer) -> bytes:
    headers: Iterable[tuple[str, str]] = answer.headers
    match answer.framing:
        case "bare":
            return b""
        case "chunked":
            framing = ("Transfer-Encoding", "chunked")
        case "length":
            framing = ("Content-Length", str(len(answer.body)))
        case "close":
            framing = ("Connection", "close")
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
    lines += [f"{name}: {value}" for name, value in (*headers, framing)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _framed(piece: bytes, framing: Framing) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunked" else piece


def _plain(request: Received) -> Answer:
    """What a provider would say to a plain call."""
    if request.path.endswith("/count_tokens"):
        return saying({"input_tokens": 17})
    try:
        document = request.document
    except ValueError:
        return saying({"error": {"message": "not JSON"}}, status=400)
    is_streaming = document.get("stream") is True
    if request.path.startswith("/anthropic"):
        return playing(ANTHROPIC_STREAM if is_streaming else ANTHROPIC_TEXT)
    if not is_streaming:
        return playing(OPENAI_TEXT)
    answer = playing(OPENAI_STREAM)
    if (document.get("stream_options") or {}).get("include_usage"):
        return answer
    frames = without_usage(OPENAI_STREAM.body).split(b"\n\n")[:-1]
    return replace(answer, pieces=tuple(frame + b"\n\n" for frame in frames))
