"""An HTTP/1.1 client that shows every byte and when it came, and whether the end was clean."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Headers = Iterable[tuple[str, str]]


@dataclass
class RawAnswer:
    """An answer as it came; `pieces` are (seconds since the request went out, bytes of body)."""

    status: int
    headers: list[tuple[str, str]]
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    is_whole: bool = False
    """The framing ended as HTTP says; False where the connection broke first."""

    @property
    def body(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class RawConnection:
    """One connection; `send` a request, `head` and `pieces` of its answer."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host
        self._sent_s = 0.0

    def send(self, method: str, target: str, headers: Headers, body: bytes = b"") -> None:
        lines = [f"{method} {target} HTTP/1.1", f"host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        names = {name.lower() for name, _ in headers}
        if not names & {"content-length", "transfer-encoding"}:
            lines.append(f"content-length: {len(body)}")
        self.send_bytes("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def send_bytes(self, request: bytes) -> None:
        self._sent_s = time.monotonic()
        self._writer.write(request)

    async def head(self) -> RawAnswer:
        head = await self._reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        pairs = (line.partition(":") for line in lines)
        return RawAnswer(
            status=int(status_line.split(" ")[1]),
            headers=[(name, value.strip()) for name, _, value in pairs],
        )

    async def pieces(self, answer: RawAnswer) -> AsyncIterator[bytes]:
        """Pieces of the body, noted in `answer` with their times; ends at the end or the break."""
        try:
            if answer.header("transfer-encoding") == "chunked":
                source = self._chunks(answer)
            else:
                source = self._counted(answer)
            async for piece in source:
                answer.pieces.append((time.monotonic() - self._sent_s, piece))
                yield piece
        except (ConnectionError, asyncio.IncompleteReadError):
            return

    async def _chunks(self, answer: RawAnswer) -> AsyncIterator[bytes]:
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            piece = await self._reader.readexactly(size)
            assert await self._reader.readexactly(2) == b"\r\n"
            # The caller may stop here and go on later.
            yield piece
        assert await self._reader.readexactly(2) == b"\r\n"
        answer.is_whole = True

    async def _counted(self, answer: RawAnswer) -> AsyncIterator[bytes]:
        length = answer.header("content-length")
        left = None if length is None else int(length)
        while left is None or left > 0:
            piece = await self._reader.read(65536 if left is None else min(left, 65536))
            if not piece:
                answer.is_whole = left is None
                return
            left = None if left is None else left - len(piece)
            yield piece
        answer.is_whole = True

    async def rest(self, answer: RawAnswer) -> RawAnswer:
        async for _ in self.pieces(answer):
            pass
        return answer

    async def is_closed(self) -> bool:
        """The other side has closed; waits for that, or for a byte that nobody asked for."""
        return await self._reader.read(1) == b""

    def leave(self) -> None:
        """Close at once, as a process that dies does."""
        self._writer.transport.abort()


@asynccontextmanager
async def connected(url: str, host: str | None = None) -> AsyncIterator[RawConnection]:
    """`host` is what the requests say; without it, the address itself."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 24)
    try:
        yield RawConnection(reader, writer, host or parts.netloc)
    finally:
        writer.transport.abort()


async def request(
    url: str,
    method: str,
    target: str,
    headers: Headers = (),
    body: bytes = b"",
    *,
    host: str | None = None,
) -> RawAnswer:
    """One request on a connection of its own, its answer read to the end."""
    async with connected(url, host) as connection, asyncio.timeout(30):
        connection.send(method, target, list(headers), body)
        return await connection.rest(await connection.head())
