"""The part of the road behind the hold: ask the provider, relay every byte at once, settle."""

import asyncio
import contextlib

import structlog

from gateway.domain.errors import (
    ClientGoneError,
    ClientLeftEarlyError,
    GatewayError,
    ProviderNotConfiguredError,
    UpstreamCutError,
    UpstreamError,
    UpstreamUnreachableError,
)
from gateway.domain.usage import Measurement
from gateway.meter.meter import Meter, meter_for
from gateway.proxy.exchange_plan import (
    SUCCESS,
    BodyFilter,
    UpstreamRequest,
    asks_for_fallback,
    filter_for,
    is_billing_block,
    may_be_billing_block,
    translated_headers,
)
from gateway.proxy.reply import Reply
from gateway.proxy.settlement import OpenHold, Outcome
from gateway.upstream.exchange import Answer, Upstream
from gateway.upstream.headers import downstream_headers
from gateway.wire.bedrock_messages import SSE_TYPE
from gateway.wire.error_body import ERROR_BYTES_MAX, error_type_from

_log = structlog.get_logger("gateway.relay")
# After a client has gone the provider is heard out for its usage, within these bounds.
DRAIN_TIMEOUT_S = 60.0
DRAIN_BYTES_MAX = 8 << 20
DRAINS_MAX = 64


class DrainSlots:
    """Bounds how many streams are heard out at once for clients that have gone, and how long."""

    def __init__(self, slots_max: int = DRAINS_MAX, *, timeout_s: float = DRAIN_TIMEOUT_S) -> None:
        self._free = slots_max
        self.timeout_s = timeout_s

    def take(self) -> bool:
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        self._free += 1


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
        delay_s = self._drain_slots.timeout_s if self._has_slot else 0.0
        self._deadline.reschedule(asyncio.get_running_loop().time() + delay_s)

    async def run(self) -> None:
        """Relay and settle. Raises a GatewayError only while nothing has reached the client."""
        try:
            async with self._deadline:
                await self._exchange()
        except TimeoutError:
            # Only our own deadline gets here: the drain's bound.
            self._settle(error="client_gone")
        except (UpstreamUnreachableError, ProviderNotConfiguredError) as error:
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
        if self._is_left():
            # Gone before anything was sent: nobody owes anything.
            self._release(ClientLeftEarlyError())
            return
        answer = await self._ask()
        is_success = answer.status in SUCCESS
        if is_success and self._open_hold is not None:
            self._meter = self._new_meter(answer)
        body_filter = filter_for(self._request, answer.status)
        await self._start(answer, has_filter=body_filter is not None)
        received_bytes = 0
        async for piece in answer.chunks():
            received_bytes += len(piece)
            self._measure(piece)
            if self._is_whole(received_bytes):
                # Settled before the bytes that end the response: what a client has heard whole
                # is on the journal, even if this process dies now.
                self._settle()
            out = piece if body_filter is None else body_filter.feed(piece)
            if out:
                await self._write(out)
            if self._is_left() and self._has_heard_enough(len(piece)):
                return
        await self._end(answer, body_filter)

    def _is_left(self) -> bool:
        # A question, since the answer changes during every await.
        return self._client_is_gone

    async def _ask(self) -> Answer:
        """The answer to relay: the fallback's, where there is one and the first asks for it."""
        fallback = self._request.fallback
        try:
            answer = await self._post(self._request)
        except UpstreamUnreachableError:
            if fallback is None:
                raise
        else:
            if fallback is None or not await self._should_fall_back(answer):
                return answer
            answer.abort()
        assert fallback is not None
        self._request = fallback
        if self._open_hold is not None:
            self._open_hold.rerouted(fallback.destination, fallback.facts)
        return await self._post(fallback)

    async def _post(self, request: UpstreamRequest) -> Answer:
        headers = request.headers
        if request.signer is not None:
            headers = await request.signer.sign(request.url, headers, request.body)
        self._answer = await self._upstream.post(
            request.url, headers=headers, query=request.query, body=request.body
        )
        return self._answer

    async def _should_fall_back(self, answer: Answer) -> bool:
        if may_be_billing_block(answer.status):
            return is_billing_block(await answer.peek(ERROR_BYTES_MAX))
        return asks_for_fallback(answer.status)

    def _new_meter(self, answer: Answer | None) -> Meter:
        """For an answer that never came, a meter that estimates from the request."""
        request = self._request
        return meter_for(
            dialect=request.dialect,
            provider=request.provider,
            facts=request.facts,
            content_type=answer.content_type if answer is not None else SSE_TYPE,
            content_encoding=answer.content_encoding if answer is not None else None,
            headers=answer.headers if answer is not None else (),
        )

    async def _start(self, answer: Answer, *, has_filter: bool) -> None:
        content_bytes = None if has_filter else answer.content_bytes
        headers = downstream_headers(answer.headers)
        if has_filter:
            headers = translated_headers(self._request, answer.status, headers)
        try:
            if not self._client_is_gone:
                await self._reply.start(answer.status, headers, content_bytes)
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

    async def _end(self, answer: Answer, held_back: BodyFilter | None) -> None:
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
        meter = self._meter or self._new_meter(self._answer)
        return meter.finish()
