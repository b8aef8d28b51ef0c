"""What the gateway answers to a request that it does not serve, and the line that says so."""

from contextlib import suppress
from typing import NamedTuple

import structlog

from gateway.domain.errors import GatewayError, LedgerUnavailableError, RequestError
from gateway.domain.identity import Principal
from gateway.domain.request import Dialect
from gateway.edge.error_bodies import error_body, error_headers, error_status
from gateway.edge.reply import ClientReply
from gateway.proxy.lifecycle import Proxy

_log = structlog.get_logger("gateway.edge")
FAILED = "The gateway failed on this request."


async def show_budget(
    reply: ClientReply, proxy: Proxy, principal: Principal | None, error: GatewayError
) -> None:
    """Put the caller's budget on an answer that says nothing of it yet.

    A team that memory knows nothing of is read, once, unless the gateway itself is in trouble.
    """
    if principal is None or reply.budget is not None:
        return
    view = proxy.known_budget_view(principal.team_id)
    if view is None and isinstance(error, RequestError):
        with suppress(LedgerUnavailableError):
            view = await proxy.budget_view(principal.team_id)
    if view is not None:
        reply.set_budget(view)


class Refusal(NamedTuple):
    """An answer of the gateway's own, but for the headers of every answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def refusal(error: GatewayError, dialect: Dialect | None, request_id: str) -> Refusal:
    """The answer to an error, in the caller's dialect; it is logged."""
    _log.info("request.refused", entry_id=request_id, status=error.status, error=error.code)
    return Refusal(
        error_status(error, dialect),
        error_headers(error, dialect),
        error_body(error, dialect, request_id),
    )
