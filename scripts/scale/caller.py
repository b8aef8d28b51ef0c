"""The load of a run, from this process: connections that spread requests over many keys."""

import asyncio
from collections.abc import Iterator
from itertools import cycle, islice

from typing_extensions import override

from bench.contenders import CREDENTIAL
from bench.measure import PATH
from scripts.scale.databases import key_of
from scripts.scale.site import JSON

CONNECTIONS = 32


class Caller(asyncio.Protocol):
    """One connection: a request, its answer, the next request, while there are any."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._buffer = b""
        self.refused = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("the gateway hung up"))

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        is_refused = head.startswith(b"HTTP/1.1 503")
        if at < 0 or not (is_refused or head.startswith(b"HTTP/1.1 200")):
            self.ended.set_exception(RuntimeError(self._buffer[:600].decode(errors="replace")))
            self._transport.close()
        elif len(body) >= int(lower[at + 15 :].split(b"\r\n", 1)[0]):
            self.refused += is_refused
            self._ask()

    def _ask(self) -> None:
        self._buffer = b""
        request = next(self._requests, None)
        if request is None:
            self.ended.set_result(None)
            self._transport.close()
            return
        self._transport.write(request)


def request_of(key: str) -> bytes:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: gateway-bench\r\nAccept: */*\r\n"
        f"x-api-key: {key}\r\n{CREDENTIAL[1]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(JSON.body)}\r\n\r\n"
    )
    return head.encode() + JSON.body


async def call(port: int, keys: int, count: int) -> int:
    """So many requests over the keys 1 to `keys` in turn.

    Returns:
        How many answers said to come again: the guard could not ask within its second or two.

    Raises:
        RuntimeError: another answer was not 200.
    """
    requests = islice(cycle([request_of(key_of(n)) for n in range(1, keys + 1)]), count)
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Caller(requests), "127.0.0.1", port)
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(caller.ended for _, caller in made))
    return sum(caller.refused for _, caller in made)
