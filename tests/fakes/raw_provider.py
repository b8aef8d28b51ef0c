"""A provider that speaks raw bytes: what it answers, and where it breaks off, is up to the test."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

Script = Callable[["RawExchange"], Awaitable[None]]


@dataclass(slots=True)
class RawExchange:
    """One request that the provider has read, and the connection to answer it on."""

    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_left: asyncio.Event
    """Set once the other side has closed the connection."""

    async def say(self, *pieces: bytes, pause_s: float = 0.0) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if pause_s:
                await asyncio.sleep(pause_s)

    def close(self) -> None:
        self.writer.close()


class RawProvider:
    """Answers each request by its script; `url` is set while it serves."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[RawExchange] = []
        self.connections = 0
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        is_left = asyncio.Event()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                body = await reader.readexactly(length)
                exchange = RawExchange(head, body, reader, writer, is_left)
                self.requests.append(exchange)
                await self.script(exchange)
        is_left.set()
        self._writers.discard(writer)
        writer.close()

    @contextlib.asynccontextmanager
    async def serving(
        self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> AsyncIterator["RawProvider"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{port}"
        try:
            yield self
        finally:
            server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            for _ in range(3):
                await asyncio.sleep(0)


def answers(*pieces: bytes, pause_s: float = 0.0, closes: bool = False) -> Script:
    """A script that says these pieces."""

    async def script(exchange: RawExchange) -> None:
        await exchange.say(*pieces, pause_s=pause_s)
        if closes:
            exchange.close()

    return script
