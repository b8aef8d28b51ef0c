"""The part of the road behind the hold: ask the provider, relay every byte at once, settle."""

import asyncio
import contextlib
from dataclasses import dataclass

import structlog

from gateway.domain.errors import (
    ClientGoneError,
    ClientLeftEarlyError,
    GatewayError,
    UpstreamCutError,
    UpstreamError,
    UpstreamUnreachableError,
)
from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement
from gateway.meter.meter import Meter, meter_for
from gateway.proxy.reply import Reply
from gateway.proxy.settlement import SUCCESS, OpenHold, Outcome
from gateway.transform.include_usage import UsageChunkFilter
from gateway.upstream.exchange import Answer, Upstream
from gateway.upstream.headers import downstream_headers
from gateway.wire.error_body import ERROR_BYTES_MAX, error_type_from

_log = structlog.get_logger("gateway.relay")
# After a client has gone the provider is heard out for its usage, within these bounds.
DRAIN_TIMEOUT_S = 60.0
DRAIN_BYTES_MAX = 8 << 20
DRAINS_MAX = 64


class DrainSlots:
    """Bounds how many streams are heard out at once for clients that have gone."""

    def __init__(self, slots_max: int = DRAINS_MAX) -> None:
        self._free = slots_max

    def take(self) -> bool:
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        self._free += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """What goes to the provider, ready to send."""

    url: str
    headers: list[tuple[str, str]]
    query: str
    body: bytes
    dialect: Dialect
    provider: str
    facts: RequestFacts
    holds_back_usage_chunk: bool = False


class Pump:
    """One exchange: `run` goes on after the client has left, until the bill is known.

    `open_hold` is None for a call that costs nothing.
    """

    def __init__(
        self,
        *,
        request: UpstreamRequest,
        reply: Reply,
        upstream: Upstream,
        open_hold: OpenHold | None,
        drain_slots: DrainSlots,
    ) -> None:
        self._request = request
        self._reply = reply
        self._upstream = upstream
        self._open_hold = open_hold
        self._drain_slots = drain_slots
        self._answer: Answer | None = None
        self._meter: Meter | None = None
        self._measured: Measurement | None = None
        self._error_body = b""
        self._client_is_gone = False
        self._has_slot = False
        self._drained_bytes = 0
        self._deadline = asyncio.timeout(None)

    def client_is_gone(self) -> None:
        """The client's connection closed: stop writing, start the clock of the drain.

        Without a slot, or without anything to learn from the rest, the provider is left at once.
        """
        if self._client_is_gone:
            return
        self._client_is_gone = True
        has_bill = self._open_hold is None or self._open_hold.is_ended
        if not has_bill:
            self._has_slot = self._drain_slots.take()
        # Before the task has entered the block, and after it has left, there is nothing to bound.
        with contextlib.suppress(RuntimeError):
            self._limit_drain()

    def _limit_drain(self) -> None:
        delay_s = DRAIN_TIMEOUT_S if self._has_slot else 0.0
        self._deadline.reschedule(asyncio.get_running_loop().time() + delay_s)

    async def run(self) -> None:
        """Relay and settle. Raises a GatewayError only while nothing has reached the client."""
        try:
            async with self._deadline:
                await self._exchange()
        except TimeoutError:
            # Only our own deadline gets here: the drain's bound.
            self._settle(error="client_gone")
        except UpstreamUnreachableError as error:
            self._release(error)
            raise
        except UpstreamError as error:
            self._fail(error)
        finally:
            # Whatever else happened (a bug, a cancellation at shutdown), the hold ends here.
            self._settle(error="interrupted")
            self._leave()

    def _release(self, error: GatewayError) -> None:
        if self._open_hold is not None:
            self._open_hold.release(error)

    def _fail(self, error: UpstreamError) -> None:
        """The provider's answer broke off, or never came although the request was sent."""
        self._settle(error=error.code, status=error.status)
        if not self._reply.has_started:
            raise error
        # A broken body must not look whole.
        self._reply.abort()

    def _leave(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._drain_slots.give_back()
        if self._answer is not None:
            self._answer.abort()

    async def _exchange(self) -> None:
        request = self._request
        if self._client_is_gone:
            # Gone before anything was sent: nobody owes anything.
            self._release(ClientLeftEarlyError())
            return
        answer = self._answer = await self._upstream.post(
            request.url, headers=request.headers, query=request.query, body=request.body
        )
        is_success = answer.status in SUCCESS
        if is_success and self._open_hold is not None:
            self._meter = meter_for(
                dialect=request.dialect,
                provider=request.provider,
                facts=request.facts,
                content_type=answer.content_type,
                content_encoding=answer.content_encoding,
            )
        held_back = UsageChunkFilter() if is_success and request.holds_back_usage_chunk else None
        await self._start(answer, has_filter=held_back is not None)
        received_bytes = 0
        async for piece in answer.chunks():
            received_bytes += len(piece)
            self._measure(piece)
            if self._is_whole(received_bytes):
                # Settled before the bytes that end the response: what a client has heard whole
                # is on the journal, even if this process dies now.
                self._settle()
            out = piece if held_back is None else held_back.feed(piece)
            if out:
                await self._write(out)
            if self._client_is_gone and self._has_heard_enough(len(piece)):
                return
        await self._end(answer, held_back)

    async def _start(self, answer: Answer, *, has_filter: bool) -> None:
        content_bytes = None if has_filter else answer.content_bytes
        try:
            if not self._client_is_gone:
                await self._reply.start(
                    answer.status, downstream_headers(answer.headers), content_bytes
                )
        except ClientGoneError:
            self.client_is_gone()

    async def _write(self, piece: bytes) -> None:
        if self._client_is_gone:
            return
        try:
            await self._reply.write(piece)
        except ClientGoneError:
            self.client_is_gone()

    def _measure(self, piece: bytes) -> None:
        if self._meter is not None:
            self._meter.feed(piece)
            if self._meter.has_first_token and self._open_hold is not None:
                self._open_hold.saw_first_token()
        elif len(self._error_body) < ERROR_BYTES_MAX:
            self._error_body += piece

    def _is_whole(self, received_bytes: int) -> bool:
        answer, meter = self._answer, self._meter
        assert answer is not None
        return (meter is not None and meter.is_complete) or (received_bytes == answer.content_bytes)

    def _has_heard_enough(self, piece_bytes: int) -> bool:
        self._drained_bytes += piece_bytes
        is_known = self._open_hold is None or self._open_hold.is_ended
        if not is_known and self._drained_bytes > DRAIN_BYTES_MAX:
            self._settle(error="client_gone")
            is_known = True
        return is_known

    async def _end(self, answer: Answer, held_back: UsageChunkFilter | None) -> None:
        is_cut = (
            answer.is_close_delimited
            and self._meter is not None
            and self._request.facts.is_streaming
            and not self._meter.is_complete
        )
        self._settle(error="upstream_cut" if is_cut else None)
        if is_cut:
            # The end of the connection is all that says "end", and the body's own end is missing.
            raise UpstreamCutError
        if held_back is not None and (rest := held_back.finish()):
            await self._write(rest)
        if not self._client_is_gone:
            try:
                await self._reply.end()
            except ClientGoneError:
                self.client_is_gone()
        answer.release()

    def _settle(self, *, error: str | None = None, status: int | None = None) -> None:
        if self._open_hold is None or self._open_hold.is_ended:
            return
        answer = self._answer
        if answer is not None and answer.status not in SUCCESS:
            outcome = Outcome(
                http_status=answer.status,
                measurement=None,
                client_aborted=self._client_is_gone,
                error=error_type_from(self._error_body) or "provider_error",
            )
        else:
            measurement = self._measurement()
            outcome = Outcome(
                http_status=answer.status if answer is not None else status or 0,
                measurement=measurement,
                client_aborted=self._client_is_gone,
                error=error or measurement.error_type,
            )
        self._open_hold.settle(outcome)

    def _measurement(self) -> Measurement:
        """What was seen; for an answer that never came, an estimate from the request."""
        meter = self._meter or meter_for(
            dialect=self._request.dialect,
            provider=self._request.provider,
            facts=self._request.facts,
            content_type="text/event-stream",
            content_encoding=None,
        )
        return meter.finish()
