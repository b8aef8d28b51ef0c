"""The client's side of a call, as the road sees it: a head, pieces of body, an end or an abort."""

from typing import Protocol

from gateway.domain.budget import BudgetView


class Reply(Protocol):
    """One answer on its way to a client. The edge implements it over the framework.

    Every method that writes raises `ClientGoneError` once the client's connection is closed.
    """

    @property
    def has_started(self) -> bool:
        """The head is out: status and headers are fixed."""
        ...

    def set_budget(self, view: BudgetView) -> None:
        """What the budget headers of this answer say."""
        ...

    def set_simulated(self) -> None:
        """Say in a header that no real provider answers."""
        ...

    async def start(
        self, status: int, headers: list[tuple[str, str]], content_bytes: int | None
    ) -> None:
        """Send the head at once; `content_bytes` None means that the end is framed otherwise."""
        ...

    async def write(self, piece: bytes) -> None:
        """Send a piece of body at once; waits while the client's buffers are full."""
        ...

    async def end(self) -> None:
        """End the body cleanly."""
        ...

    def abort(self) -> None:
        """Break the connection, so that the client sees that the body is not whole."""
        ...
