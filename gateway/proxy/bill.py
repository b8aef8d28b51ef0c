"""What one exchange costs: its answer measured as it passes, its hold ended once."""

from gateway.domain.errors import GatewayError
from gateway.meter.meter import Meter, meter_for
from gateway.proxy.exchange_plan import SUCCESS, UpstreamRequest
from gateway.proxy.relays import Drain, Relays
from gateway.proxy.settlement import OpenHold, Outcome
from gateway.wire.bedrock_messages import SSE_TYPE
from gateway.wire.error_body import ERROR_BYTES_MAX, error_type_from
from gateway.wire.http1 import Framing, ResponseHead


class Bill:
    """Of an exchange whose hold is open; without a hold, of one that costs nothing."""

    def __init__(self, request: UpstreamRequest, open_hold: OpenHold | None) -> None:
        self._request = request
        self._open_hold = open_hold
        self._head: ResponseHead | None = None
        self._meter: Meter | None = None
        self._has_first_token = False
        self._error_body = b""

    @property
    def is_known(self) -> bool:
        return self._open_hold is None or self._open_hold.is_ended

    @property
    def is_complete(self) -> bool:
        """The answer's own end was seen, whatever its framing still has to say."""
        return self._meter is not None and self._meter.is_complete

    @property
    def is_cut(self) -> bool:
        """The end of the connection is all that says "end", and the answer's own is missing.

        To be asked at the end: some dialects tell whether they are whole only then.
        """
        return (
            self._head is not None
            and self._head.framing is Framing.CLOSE
            and self._request.facts.is_streaming
            and self._meter is not None
            and not self._meter.finish().is_complete
        )

    def rerouted(self, request: UpstreamRequest) -> None:
        """Another provider is asked instead: the first one generated nothing."""
        self._request = request
        self._head = None
        if self._open_hold is not None:
            self._open_hold.rerouted(request.destination, request.facts)

    def new_drain(self, relays: Relays) -> Drain | None:
        """A place in which the provider is heard out; None without need of one, or without one."""
        if self._open_hold is None or self._open_hold.is_ended:
            return None
        return relays.new_drain(self._open_hold.hold.team_id)

    def begin(self, head: ResponseHead) -> None:
        self._head = head
        if head.status in SUCCESS and self._open_hold is not None:
            self._meter = self._new_meter(head)

    def measure(self, payload: bytes) -> bool:
        """Whether the answer's own end has been seen."""
        meter = self._meter
        if meter is None:
            if len(self._error_body) < ERROR_BYTES_MAX:
                self._error_body += payload
            return False
        meter.feed(payload)
        if not self._has_first_token and meter.has_first_token and self._open_hold is not None:
            self._has_first_token = True
            self._open_hold.saw_first_token()
        return meter.is_complete

    def release(self, error: GatewayError) -> None:
        """Nothing of the request reached a provider that could charge for it."""
        if self._open_hold is not None:
            self._open_hold.release(error)

    def settle(
        self,
        *,
        client_aborted: bool,
        error: str | None = None,
        status: int = 0,
        is_unheard: bool = False,
    ) -> None:
        """With what was seen. Without a head `status` is the client's, the amount an estimate."""
        if self._open_hold is None or self._open_hold.is_ended:
            return
        head = self._head
        if head is not None and head.status not in SUCCESS:
            outcome = Outcome(
                http_status=head.status,
                measurement=None,
                client_aborted=client_aborted,
                error=error_type_from(self._error_body) or "provider_error",
            )
        else:
            measurement = (self._meter or self._new_meter(head)).finish()
            outcome = Outcome(
                http_status=head.status if head is not None else status,
                measurement=measurement,
                client_aborted=client_aborted,
                error=error or measurement.error_type,
                is_unheard=is_unheard,
            )
        self._open_hold.settle(outcome)

    def _new_meter(self, head: ResponseHead | None) -> Meter:
        """For an answer that never came, a meter that estimates from the request."""
        request, hold = self._request, self._open_hold
        return meter_for(
            dialect=request.dialect,
            provider=request.provider,
            facts=request.facts,
            content_type=SSE_TYPE if head is None else head.header("content-type") or "",
            content_encoding=None if head is None else head.joined("content-encoding"),
            headers=() if head is None else head.headers,
            collector=None if hold is None else hold.content_collector(request.dialect),
        )
