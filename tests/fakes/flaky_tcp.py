"""A TCP proxy in front of a server, which refuses, hangs, cuts or loses answers when told to."""

import asyncio
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit


class FlakyTcp:
    """`async with FlakyTcp(target) as proxy`: target is a unix socket's path or (host, port)."""

    def __init__(self, target: Path | tuple[str, int]) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._drops_answers = False
        self.port = 0
        self.connections = 0
        self.dropped_bytes = 0

    @classmethod
    def before_postgres(cls, url: str) -> Self:
        """In front of the server that an embedded database's URL names."""
        directory = parse_qs(urlsplit(url).query)["host"][0]
        return cls(Path(directory) / ".s.PGSQL.5432")

    def postgres_url(self, url: str) -> str:
        """The same database, through this proxy."""
        parts = urlsplit(url)
        return f"postgresql://{parts.username}@127.0.0.1:{self.port}{parts.path}?sslmode=disable"

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop_listening()
        self.cut()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def freeze(self) -> None:
        """Nothing passes any more, in either direction; connections stay, and new ones hang."""
        self._flows.clear()

    def drop_answers(self) -> None:
        """What clients send arrives; what the server answers is lost."""
        self._drops_answers = True

    def cut(self) -> None:
        """Reset every connection; new ones are welcome."""
        for writer in list(self._writers):
            writer.transport.abort()

    def refuse(self) -> None:
        """Cut, and refuse new connections."""
        self._stop_listening()
        self.cut()

    async def restore(self) -> None:
        """Be a plain proxy again; what a freeze held back flows on."""
        self._drops_answers = False
        self._flows.set()
        if self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            await self._flows.wait()
            answers, upstream = await self._connect()
            self._writers.add(upstream)
            there = asyncio.ensure_future(self._pump(reader, upstream, are_answers=False))
            back = asyncio.ensure_future(self._pump(answers, writer, are_answers=True))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in (there, back):
                    pump.cancel()
                await asyncio.wait({there, back})
        except OSError:
            pass
        finally:
            for end in (writer, upstream):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(str(self._target))
        return await asyncio.open_connection(*self._target)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, are_answers: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                if are_answers and self._drops_answers:
                    self.dropped_bytes += len(data)
                    continue
                writer.write(data)
                await writer.drain()
