"""The client's side of a call, as the road sees it: a head, pieces of body, an end or an abort."""

from typing import Protocol

from gateway.domain.budget import BudgetView


class ClientListener(Protocol):
    """Hears what becomes of the client's connection, each call when it happens."""

    def client_is_full(self) -> None:
        """Its buffers are: what is written now, we hold."""
        ...

    def client_has_room(self) -> None: ...

    def client_is_gone(self) -> None: ...


class Reply(Protocol):
    """One answer on its way to a client. The edge implements it over the framework.

    Nothing waits: bytes are at the client's connection when a method returns. Every method that
    writes raises `ClientGoneError` once that connection is closed.
    """

    @property
    def has_started(self) -> bool:
        """The head is out: status and headers are fixed."""
        ...

    @property
    def takes_chunks(self) -> bool:
        """The client speaks HTTP/1.1: chunks may be passed on as they come."""
        ...

    def set_budget(self, view: BudgetView) -> None:
        """What the budget headers of this answer say."""
        ...

    def set_simulated(self) -> None:
        """Say in a header that no real provider answers."""
        ...

    def listen(self, listener: ClientListener) -> None:
        """Tell this one of the client's connection, until its answer has ended."""
        ...

    def start(
        self,
        status: int,
        headers: list[tuple[str, str]],
        *,
        content_bytes: int | None,
        is_framed: bool,
    ) -> None:
        """Make the head. It goes out with the first piece, or before that with `send_head`.

        `content_bytes` None means that the end is framed otherwise; with `is_framed` the pieces
        are chunks already, the last one included.
        """
        ...

    def send_head(self) -> None:
        """Send the head at once, unless it is out."""
        ...

    def write(self, piece: bytes) -> None:
        """Send a piece of body at once."""
        ...

    def end(self) -> None:
        """End the body cleanly."""
        ...

    def abort(self) -> None:
        """Break the connection, so that the client sees that the body is not whole."""
        ...
