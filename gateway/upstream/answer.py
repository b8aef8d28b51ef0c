"""What the relay asks of the way to a provider: send a request, hear its answer as it arrives."""

from typing import Protocol

from gateway.domain.errors import UpstreamError
from gateway.domain.value import Value
from gateway.wire.http1 import ResponseHead


class OutgoingRequest(Value, frozen=True, kw_only=True):
    """A POST to a provider. `url` is a constant of the route; `headers` are the final ones."""

    url: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes


class AnswerListener(Protocol):
    """Hears one answer, each call in the callback in which the bytes arrived.

    After the head come pieces. The one that says `is_last`, or a failure, is the last call.
    """

    def head_received(self, head: ResponseHead, *, is_followed: bool = False) -> None:
        """With `is_followed` a piece comes in the same callback, or a failure does."""
        ...

    def piece_received(self, framed: bytes, payload: bytes, *, is_last: bool) -> None:
        """Both hold the same piece: framed as the head says, and without transfer framing.

        Either may be empty. With `is_last` the body is whole: its framing has ended cleanly, or
        its connection where nothing else says the end.
        """
        ...

    def answer_failed(self, error: UpstreamError) -> None:
        """No answer, or the rest of one, will come."""
        ...


class Exchange(Protocol):
    """A request that is on its way, with its answer."""

    def pause(self) -> None:
        """Take no more bytes from the provider until `resume`; what it may take is not counted."""
        ...

    def resume(self) -> None: ...

    def abort(self) -> None:
        """Close the connection: the provider sees that nobody listens. No more calls come."""
        ...


class Upstream(Protocol):
    """The connections to all providers."""

    def send_now(self, request: OutgoingRequest, listener: AnswerListener) -> Exchange | None:
        """As `send`, where a connection is at hand; None where one has to be waited for."""
        ...

    async def send(self, request: OutgoingRequest, listener: AnswerListener) -> Exchange:
        """Send a request, once: it is never repeated and never redirected.

        Raises:
            UpstreamUnreachableError: no connection; nothing was sent.
        """
        ...

    async def close(self) -> None: ...
