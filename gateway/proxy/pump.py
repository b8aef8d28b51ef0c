"""The part of the road behind the hold: ask the provider, relay every byte at once, settle."""

import asyncio
import contextlib

import structlog

from gateway.domain.errors import (
    ClientGoneError,
    ClientLeftEarlyError,
    GatewayError,
    UpstreamCutError,
    UpstreamError,
    UpstreamUnreachableError,
)
from gateway.proxy.bill import Bill
from gateway.proxy.exchange_end import ExchangeEnd, OnEnd, OneTimer
from gateway.proxy.exchange_plan import UpstreamRequest, asks_for_fallback, may_be_billing_block
from gateway.proxy.passage import Passage, Refusal
from gateway.proxy.relays import GRACE_S, Drain, Relays
from gateway.proxy.reply import Reply
from gateway.proxy.settlement import OpenHold
from gateway.upstream.answer import Exchange, Upstream
from gateway.wire.http1 import ResponseHead

_log = structlog.get_logger("gateway.relay")


class Pump:
    """One exchange, moved on by what its two connections tell it, not by a task of its own.

    It goes on after the client has left, until the bill is known. `open_hold` is None for a call
    that costs nothing.
    """

    def __init__(
        self,
        *,
        request: UpstreamRequest,
        reply: Reply,
        upstream: Upstream,
        open_hold: OpenHold | None,
        relays: Relays,
    ) -> None:
        self._request = request
        self._reply = reply
        self._upstream = upstream
        self._bill = Bill(request, open_hold)
        self._relays = relays
        self._exchange: Exchange | None = None
        self._next: UpstreamRequest | None = request
        self._end = ExchangeEnd()
        self._refusal: Refusal | None = None
        self._passage: Passage | None = None
        self._passes_through = False
        self._error: GatewayError | None = None
        self._client_is_gone = False
        self._drain: Drain | None = None
        self._timer = OneTimer()
        self._is_over = False

    def start(self, on_end: OnEnd) -> bool:
        """Send the request at once, if a connection is at hand; else nothing is done, and False."""
        # Which of two answers it will be has to be waited for.
        outgoing = None if self._request.fallback else self._request.outgoing_now()
        if outgoing is None:
            return False
        # What is wrong comes again in `run`, which ends what is to be ended.
        with contextlib.suppress(GatewayError):
            self._reply.listen(self)
            self._exchange = self._upstream.send_now(outgoing, self)
        if self._exchange is None:
            return False
        self._next = None
        self._end.promise(on_end)
        self._relays.add(self)
        return True

    async def run(self) -> None:
        """Relay until the answer has ended or the caller is cancelled, which says: client gone.

        Raises:
            GatewayError: nothing has reached the client; it must be told otherwise.
        """
        self._relays.add(self)
        try:
            self._reply.listen(self)
            while (request := self._next) is not None:
                self._next = None
                await self._ask(request)
        except (asyncio.CancelledError, ClientGoneError):
            self.client_is_gone()
            if self._exchange is None:
                # Gone before anything was sent: nobody owes anything.
                self._bill.release(ClientLeftEarlyError())
                self._finish()
            raise
        except Exception as exc:
            if isinstance(exc, GatewayError):
                self._bill.release(exc)
            self._settle("interrupted")
            self._finish()
            raise
        if self._error is not None:
            raise self._error

    async def _ask(self, request: UpstreamRequest) -> None:
        """Send one request and wait until its answer has ended, or another one is tried."""
        outgoing = await request.outgoing()
        ended = self._end.expect()
        try:
            self._exchange = await self._upstream.send(outgoing, self)
        except UpstreamUnreachableError as error:
            self.answer_failed(error)
        if self._client_is_gone and not self._is_over:
            self._hear_out()
        await ended

    def head_received(self, head: ResponseHead, *, is_followed: bool = False) -> None:
        has_fallback = self._request.fallback is not None
        try:
            if has_fallback and asks_for_fallback(head.status):
                self._fall_back()
            elif has_fallback and may_be_billing_block(head.status):
                self._bill.begin(head)
                self._refusal = Refusal(head)
            else:
                self._begin(head, is_followed=is_followed)
        except ClientGoneError:
            self.client_is_gone()
        except Exception as exc:  # noqa: BLE001 - a callback has no caller who could handle it.
            self._break(exc)

    def piece_received(self, framed: bytes, payload: bytes, *, is_last: bool) -> None:
        try:
            if self._passes_through and not is_last:
                # The way of nearly every piece: `_pass` with all its questions answered before.
                if self._bill.measure(payload):
                    self._bill.settle(client_aborted=False)
                self._reply.write(framed)
            elif self._refusal is None:
                self._pass(framed, payload, is_last=is_last)
            else:
                self._refusal.add(framed, payload, is_last=is_last)
                self._peek(self._refusal)
        except ClientGoneError:
            self.client_is_gone()
        except Exception as exc:  # noqa: BLE001 - as above.
            self._break(exc)

    def answer_failed(self, error: UpstreamError) -> None:
        """The answer broke off, or never came."""
        if isinstance(error, UpstreamUnreachableError):
            if self._request.fallback is not None:
                self._fall_back()
                return
            self._bill.release(error)
        else:
            self._settle(error.code, error.status)
        self._fail(error)

    def _fall_back(self) -> None:
        """Leave this answer and try the other provider, as soon as `run` comes to it."""
        if self._exchange is not None:
            self._exchange.abort()
        fallback = self._request.fallback
        assert fallback is not None
        self._exchange = self._refusal = None
        if self._client_is_gone:
            self._bill.release(ClientLeftEarlyError())
            self._finish()
            return
        self._request = self._next = fallback
        self._bill.rerouted(fallback)
        self._end.tell(self._error)

    def _peek(self, refusal: Refusal) -> None:
        if refusal.is_undecided:
            return
        if refusal.is_billing_block:
            self._fall_back()
            return
        self._refusal = None
        self._begin(refusal.head, is_followed=bool(refusal.pieces))
        for framed, payload, is_last in refusal.pieces:
            self._pass(framed, payload, is_last=is_last)

    def _begin(self, head: ResponseHead, *, is_followed: bool) -> None:
        self._bill.begin(head)
        self._passage = Passage(self._request, head, self._reply)
        if self._client_is_gone:
            return
        self._passage.start(is_followed=is_followed)
        self._passes_through = self._passage.is_framed

    def _pass(self, framed: bytes, payload: bytes, *, is_last: bool) -> None:
        """What a client has heard whole is on the journal, even if this process dies now."""
        if self._is_over:
            return
        bill = self._bill
        if payload:
            bill.measure(payload)
        if is_last and bill.is_cut:
            self.answer_failed(UpstreamCutError())
            return
        if (is_last or bill.is_complete) and not bill.is_known:
            bill.settle(client_aborted=self._client_is_gone)
        if self._client_is_gone:
            drain = self._drain
            if is_last or bill.is_known or drain is None or drain.is_full_with(payload):
                self._leave()
            return
        assert self._passage is not None
        self._passage.write(framed, payload, is_last=is_last)
        if is_last:
            self._finish()

    def client_is_full(self) -> None:
        if self._client_is_gone or self._is_over or self._exchange is None:
            return
        self._exchange.pause()
        self._timer.start(self._relays.stalled_client_timeout_s, self._client_stalls)

    def client_has_room(self) -> None:
        if self._client_is_gone or self._is_over or self._exchange is None:
            return
        self._timer.stop()
        self._exchange.resume()

    def client_is_gone(self) -> None:
        """Stop writing. The provider is heard out for the bill, or left, as it bills."""
        if self._client_is_gone or self._is_over:
            return
        self._client_is_gone = True
        self._passes_through = False
        self._timer.stop()
        if self._exchange is not None:
            self._hear_out()

    def interrupt(self) -> None:
        """The process ends: so does this, with what is known."""
        if not self._is_over:
            self._settle("interrupted")
            self._fail(GatewayError("The gateway is shutting down."))

    def _client_stalls(self) -> None:
        self._reply.abort()
        self.client_is_gone()

    def _hear_out(self) -> None:
        assert self._exchange is not None
        self._exchange.resume()
        self._drain = self._bill.new_drain(self._relays)
        if self._drain is None:
            self._leave()
            return
        # An answer that is no stream comes all at once, and its usage with it.
        runs_on = self._request.destination.provider.spec.bills_after_abort
        is_worth_waiting = runs_on or not self._request.facts.is_streaming
        delay_s = self._relays.gone_client_timeout_s if is_worth_waiting else GRACE_S
        self._timer.start(delay_s, self._leave)

    def _leave(self) -> None:
        """Stop hearing the provider, for a client that has gone."""
        self._bill.settle(client_aborted=True, error="client_gone", is_unheard=self._drain is None)
        if self._exchange is not None:
            self._exchange.abort()
        self._finish()

    def _break(self, exc: Exception) -> None:
        """A fault of our own. The hold ends here, unless it is the journal that fails."""
        _log.error("relay.failed", error=type(exc).__name__, exc_info=exc)
        with contextlib.suppress(Exception):
            self._settle("interrupted")
        self._fail(GatewayError("The gateway failed on this request."))

    def _fail(self, error: GatewayError) -> None:
        if self._exchange is not None:
            self._exchange.abort()
        if self._reply.has_started:
            # A broken body must not look whole.
            self._reply.abort()
        else:
            self._error = error
        self._finish()

    def _finish(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._passes_through = False
        self._exchange = None  # Which holds this: nothing is left for a garbage collection.
        self._timer.stop()
        if self._drain is not None:
            self._drain.end()
        self._relays.remove(self)
        self._end.tell(self._error)

    def _settle(self, error: str, status: int = 0) -> None:
        self._bill.settle(client_aborted=self._client_is_gone, error=error, status=status)
