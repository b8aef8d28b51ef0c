"""Model calls whose head was read by ourselves, from their body to the end of their answer."""

from collections.abc import Callable
from contextlib import suppress

import structlog

from gateway.auth.directory import KeyDirectory
from gateway.domain.clock import Clock
from gateway.domain.errors import ClientGoneError, GatewayError
from gateway.domain.ids import new_entry_id
from gateway.edge.call_connection import CallConnection, CallTurn, Rest
from gateway.edge.call_head import CallHead, read_call_head
from gateway.edge.incoming_body import IncomingBody
from gateway.edge.intake import Intake
from gateway.edge.refusal import FAILED, refusal, show_budget
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
        intake: Intake,
    ) -> None:
        self._routes = routes
        self._keys = keys
        self._proxy = proxy
        self._clock = clock
        self._body_bytes_max = body_bytes_max
        self._intake = intake

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

    def new_turn(self, head: CallHead, connection: CallConnection, body: IncomingBody) -> CallTurn:
        entry_id = new_entry_id(self._clock)
        own = [("x-gateway-request-id", entry_id), *head.own_headers]
        return CallTurn(head, entry_id, body, ClientReply(connection, own_headers=own))

    def begin(self, turn: CallTurn, on_end: Callable[[Rest | None], None]) -> Rest | None:
        head = turn.head
        turn.principal = self._keys.find_hash(head.key_hash)
        if turn.principal is None or not turn.body.is_whole:
            return self._answer(turn)
        try:
            rest = self._proxy.begin(
                head.call(turn.entry_id, turn.principal, turn.body.pieces_joined()),
                turn.reply,
                lambda error: on_end(self._after(turn, error)),
            )
        except Exception as exc:  # noqa: BLE001 - the outermost place; nothing may leave unanswered.
            return self._failed(turn, exc)
        return None if rest is None else self._rest(turn, rest)

    async def _answer(self, turn: CallTurn) -> None:
        """The same for a call whose key or whose body has to be waited for."""
        try:
            if turn.principal is None:
                turn.principal = await self._keys.authenticate(turn.head.key)
            body = await turn.body.whole(self._intake, turn.principal.team_id)
            call = turn.head.call(turn.entry_id, turn.principal, body)
            await self._proxy.serve(call, turn.reply)
            await turn.reply.flush()
        except Exception as exc:  # noqa: BLE001 - as above.
            await self._failed(turn, exc)

    async def _rest(self, turn: CallTurn, rest: Rest) -> None:
        try:
            await rest
            await turn.reply.flush()
        except Exception as exc:  # noqa: BLE001 - as above.
            await self._failed(turn, exc)

    def _after(self, turn: CallTurn, error: GatewayError | None) -> Rest | None:
        """What is left to do once the exchange has ended."""
        if error is not None:
            return self._failed(turn, error)
        return None if turn.reply.is_sent else self._flush(turn)

    async def _flush(self, turn: CallTurn) -> None:
        try:
            await turn.reply.flush()
        except ClientGoneError:
            turn.reply.close_after()

    async def _failed(self, turn: CallTurn, exc: Exception) -> None:
        reply = turn.reply
        if isinstance(exc, ClientGoneError):
            reply.close_after()
            return
        if not isinstance(exc, GatewayError):
            _log.error(
                "request.failed", entry_id=turn.entry_id, error=type(exc).__name__, exc_info=exc
            )
            if reply.has_started:
                reply.abort()
                return
            exc = GatewayError(FAILED)
        await self._refuse(turn, exc)
        await self._flush(turn)

    async def _refuse(self, turn: CallTurn, error: GatewayError) -> None:
        reply = turn.reply
        await show_budget(reply, self._proxy, turn.principal, error)
        if not turn.body.is_whole:
            # A body that nobody reads is never taken for the next request.
            reply.close_after()
        answer = refusal(error, turn.head.dialect, turn.entry_id)
        headers = [*answer.headers, ("Content-Type", "application/json")]
        with suppress(ClientGoneError):
            reply.answer(answer.status, headers, answer.body)
