"""Model calls whose head was read by ourselves, from their body to the end of their answer."""

import structlog

from gateway.auth.directory import KeyDirectory
from gateway.domain.clock import Clock
from gateway.domain.errors import ClientGoneError, GatewayError
from gateway.domain.identity import Principal
from gateway.domain.ids import EntryId, new_entry_id
from gateway.edge.call_connection import CallConnection
from gateway.edge.call_head import CallHead, read_call_head
from gateway.edge.incoming_body import IncomingBody
from gateway.edge.refusal import FAILED, refusal
from gateway.edge.reply import ClientReply
from gateway.edge.routes import RouteTable, Surface
from gateway.proxy.lifecycle import Proxy
from gateway.wire.http1_request import RequestHead

_log = structlog.get_logger("gateway.edge")
# A tuple, since the hash of a member of an enum is a call of Python.
_CALLS = (Surface.MODEL, Surface.TOKEN_COUNT)


class CallEdge:
    """Answers calls; knows which requests are some, and leaves the others to the framework."""

    def __init__(
        self,
        *,
        routes: RouteTable,
        keys: KeyDirectory,
        proxy: Proxy,
        clock: Clock,
        body_bytes_max: int,
    ) -> None:
        self._routes = routes
        self._keys = keys
        self._proxy = proxy
        self._clock = clock
        self._body_bytes_max = body_bytes_max

    def recognise(self, head: RequestHead) -> CallHead | None:
        """None for what is no call, and for one whose head alone is reason to refuse it."""
        if not self.takes_body_of(head.content_bytes):
            return None
        try:
            match = self._routes.match(head.target)
            if match.route.surface not in _CALLS:
                return None
            call = read_call_head(match, head.headers)
        except GatewayError:
            return None
        return call if call.has_its_media_type else None

    def takes_body_of(self, content_bytes: int) -> bool:
        return content_bytes <= self._body_bytes_max

    def new_reply(self, head: CallHead, connection: CallConnection) -> tuple[EntryId, ClientReply]:
        entry_id = new_entry_id(self._clock)
        own = [("x-gateway-request-id", entry_id), *head.own_headers]
        return entry_id, ClientReply(connection, own_headers=own)

    async def answer(
        self, head: CallHead, entry_id: EntryId, body: IncomingBody, reply: ClientReply
    ) -> None:
        principal = None
        try:
            principal = self._keys.find_hash(head.key_hash)
            if principal is None:
                principal = await self._keys.authenticate(head.key)
            call = head.call(entry_id, principal, await body.whole())
            await self._proxy.serve(call, reply)
            await reply.flush()
        except ClientGoneError:
            reply.close_after()
        except GatewayError as error:
            await self._refuse(error, head, entry_id, body, reply, principal)
        except Exception as exc:  # noqa: BLE001 - the outermost place; nothing may leave unanswered.
            _log.error("request.failed", entry_id=entry_id, error=type(exc).__name__, exc_info=exc)
            if reply.has_started:
                reply.abort()
            else:
                failure = GatewayError(FAILED)
                await self._refuse(failure, head, entry_id, body, reply, principal)

    async def _refuse(
        self,
        error: GatewayError,
        head: CallHead,
        entry_id: EntryId,
        body: IncomingBody,
        reply: ClientReply,
        principal: Principal | None,
    ) -> None:
        if principal is not None and reply.budget is None:
            view = self._proxy.known_budget_view(principal.team_id)
            if view is not None:
                reply.set_budget(view)
        if not body.is_whole:
            # A body that nobody reads is never taken for the next request.
            reply.close_after()
        answer = refusal(error, head.dialect, entry_id)
        headers = [*answer.headers, ("Content-Type", "application/json")]
        try:
            reply.answer(answer.status, headers, answer.body)
            await reply.flush()
        except ClientGoneError:
            reply.close_after()
