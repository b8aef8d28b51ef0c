"""What a client gets of an answer: its bytes as they come, or what a filter makes of them."""

from gateway.proxy.exchange_plan import (
    UpstreamRequest,
    filter_for,
    is_billing_block,
    translated_headers,
)
from gateway.proxy.reply import Reply
from gateway.upstream.headers import downstream_headers
from gateway.wire.error_body import ERROR_BYTES_MAX
from gateway.wire.http1 import Framing, ResponseHead


class Passage:
    """From one answer to one reply. Chunks that nothing changes pass in the provider's framing."""

    def __init__(self, request: UpstreamRequest, head: ResponseHead, reply: Reply) -> None:
        self._request = request
        self._head = head
        self._reply = reply
        self._filter = filter_for(request, head.status)
        # Pieces go on as they come, framing and all.
        self.is_framed = (
            self._filter is None and head.framing is Framing.CHUNKED and reply.takes_chunks
        )

    def start(self, *, is_followed: bool) -> None:
        """Raises ClientGoneError, as `write` does."""
        head = self._head
        headers = downstream_headers(head.headers)
        content_bytes = head.content_bytes
        if self._filter is not None:
            headers = translated_headers(self._request, head.status, headers)
            content_bytes = None
        self._reply.start(
            head.status, headers, content_bytes=content_bytes, is_framed=self.is_framed
        )
        if not is_followed or self._filter is not None:
            self._reply.send_head()
        # Else it goes with the piece that follows: one write, and one wake-up of the client.

    def write(self, framed: bytes, payload: bytes, *, is_last: bool) -> None:
        piece = framed if self.is_framed else payload
        if self._filter is not None:
            piece = self._filter.feed(piece)
            if is_last:
                piece += self._filter.finish()
        if piece:
            self._reply.write(piece)
        if is_last:
            self._reply.end()
        elif not piece:
            self._reply.send_head()


class Refusal:
    """A refusal kept back until its body has told whether it is one for want of credit."""

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.pieces: list[tuple[bytes, bytes, bool]] = []
        self._body = b""
        self.is_undecided = True

    def add(self, framed: bytes, payload: bytes, *, is_last: bool) -> None:
        self.pieces.append((framed, payload, is_last))
        self._body += payload
        if is_last or len(self._body) >= ERROR_BYTES_MAX:
            self.is_undecided = False

    @property
    def is_billing_block(self) -> bool:
        return is_billing_block(self._body)
