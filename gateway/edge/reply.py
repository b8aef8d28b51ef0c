"""An answer to a client over aiohttp's response: headers joined, pieces sent at once."""

import asyncio
import socket

from aiohttp import web
from multidict import CIMultiDict

from gateway.domain.budget import BudgetView
from gateway.domain.errors import ClientGoneError
from gateway.edge.budget_headers import budget_headers

# Half of these per stalled reader, instead of megabytes of it at the system's defaults.
_WRITE_HIGH_WATER_BYTES = 32 * 1024
_SEND_BUFFER_BYTES = 64 * 1024
# A client that takes nothing for this long is cut; its provider is then heard out or left.
STALL_TIMEOUT_S = 120.0


class ClientReply:
    """One answer to one request; `response` is what the framework wants back."""

    def __init__(self, request: web.BaseRequest, *, own_headers: list[tuple[str, str]]) -> None:
        self._request = request
        self._own_headers = own_headers
        self._view: BudgetView | None = None
        self._is_simulated = False
        self.response: web.StreamResponse | None = None

    @property
    def has_started(self) -> bool:
        return self.response is not None

    def set_budget(self, view: BudgetView) -> None:
        self._view = view

    @property
    def budget(self) -> BudgetView | None:
        return self._view

    def set_simulated(self) -> None:
        self._is_simulated = True

    def headers(self, provider_headers: list[tuple[str, str]]) -> CIMultiDict[str]:
        """The provider's headers, then ours, which win where both name one."""
        joined = CIMultiDict(provider_headers)
        own = self._own_headers + budget_headers(self._view)
        if self._is_simulated:
            own.append(("x-gateway-simulated", "true"))
        for name, value in own:
            joined[name] = value
        return joined

    async def start(
        self, status: int, headers: list[tuple[str, str]], content_bytes: int | None
    ) -> None:
        request = self._request
        transport = request.transport
        if transport is None:
            raise ClientGoneError
        _bound_buffers(transport)
        response = web.StreamResponse(status=status, headers=self.headers(headers))
        if content_bytes is not None:
            response.content_length = content_bytes
        self.response = response
        try:
            await response.prepare(request)
            # The framework would keep the head for the first piece of body, and a provider may
            # think for minutes before that.
            request.writer.send_headers()
        except ConnectionError as exc:
            raise ClientGoneError from exc

    async def write(self, piece: bytes) -> None:
        response, transport = self.response, self._request.transport
        assert response is not None
        if transport is None:
            raise ClientGoneError
        try:
            if transport.get_write_buffer_size() == 0:
                await response.write(piece)
                return
            async with asyncio.timeout(STALL_TIMEOUT_S):
                await response.write(piece)
        except ConnectionError as exc:
            raise ClientGoneError from exc
        except TimeoutError as exc:
            transport.abort()
            raise ClientGoneError from exc

    async def end(self) -> None:
        assert self.response is not None
        try:
            await self.response.write_eof()
        except ConnectionError as exc:
            raise ClientGoneError from exc

    def abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


def _bound_buffers(transport: asyncio.Transport) -> None:
    transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER_BYTES)
    client: socket.socket | None = transport.get_extra_info("socket")
    if client is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
