"""Requests that the framework has read: one answer each, failures in the caller's dialect."""

from dataclasses import dataclass

import structlog
from aiohttp import web

from gateway.auth.directory import KeyDirectory
from gateway.domain.clock import Clock
from gateway.domain.errors import (
    ClientGoneError,
    GatewayError,
    InvalidRequestError,
    NotFoundError,
)
from gateway.domain.identity import Principal
from gateway.domain.ids import EntryId, new_entry_id
from gateway.domain.request import Dialect
from gateway.edge.body import read_body
from gateway.edge.call_head import media_type_of, own_headers, read_call_head
from gateway.edge.credential import presented_key
from gateway.edge.framework_connection import reply_to, sent
from gateway.edge.health import Readiness
from gateway.edge.information import Information
from gateway.edge.intake import Intake
from gateway.edge.refusal import FAILED, refusal, show_budget
from gateway.edge.reply import ClientReply
from gateway.edge.routes import Match, RouteTable, Surface, with_query
from gateway.proxy.lifecycle import Proxy

_log = structlog.get_logger("gateway.edge")
_CLOSED_STATUS = 499
# Tuples, since the hash of a member of an enum is a call of Python.
_HEALTH = (Surface.LIVE, Surface.READY)
_INFORMATION = (Surface.MODELS, Surface.USAGE)


@dataclass(slots=True, kw_only=True)
class _Turn:
    """What is known of a request so far, for the answer to a failure."""

    entry_id: EntryId
    reply: ClientReply
    dialect: Dialect | None
    principal: Principal | None = None


class ClientEdge:
    """Dispatches by an exact table; only health answers without a credential."""

    def __init__(
        self,
        *,
        routes: RouteTable,
        keys: KeyDirectory,
        proxy: Proxy,
        information: Information,
        readiness: Readiness,
        clock: Clock,
        body_bytes_max: int,
        intake: Intake,
    ) -> None:
        self._routes = routes
        self._keys = keys
        self._proxy = proxy
        self._information = information
        self._readiness = readiness
        self._clock = clock
        self._body_bytes_max = body_bytes_max
        self._intake = intake

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; the outermost place that catches everything."""
        entry_id = new_entry_id(self._clock)
        reply = reply_to(request, _own_headers(request, entry_id))
        dialect = _guessed_dialect(request)
        turn = _Turn(entry_id=entry_id, reply=reply, dialect=dialect)
        try:
            return await self._dispatch(request, turn)
        except ClientGoneError:
            return web.Response(status=_CLOSED_STATUS)
        except GatewayError as error:
            return await self._refuse(request, error, turn)
        except Exception as exc:  # noqa: BLE001 - the outermost place; nothing may leave unanswered.
            _log.error("request.failed", entry_id=entry_id, error=type(exc).__name__, exc_info=exc)
            if reply.has_started:
                reply.abort()
                return web.Response(status=_CLOSED_STATUS)
            return await self._refuse(request, GatewayError(FAILED), turn)

    async def _dispatch(self, request: web.BaseRequest, turn: "_Turn") -> web.StreamResponse:
        match = self._routes.find(request.raw_path)
        turn.dialect = match.route.dialect or turn.dialect
        _check_method(request, match)
        if match.route.surface in _HEALTH:
            _check_version(request)
            with_query(match, request.raw_path)
            return self._readiness.answer(match.route.surface)
        turn.principal = await self._authenticate(request)
        # What refuses a request from here on says where its team stands.
        _check_version(request)
        match = with_query(match, request.raw_path)
        if match.route.surface in _INFORMATION:
            return await self._inform(match, turn.principal, turn.dialect, turn.reply)
        return await self._serve(request, match, turn.principal, turn)

    async def _authenticate(self, request: web.BaseRequest) -> Principal:
        key = presented_key(request.headers.items())
        return self._keys.find(key) or await self._keys.authenticate(key)

    async def _serve(
        self,
        request: web.BaseRequest,
        match: Match,
        principal: Principal,
        turn: "_Turn",
    ) -> web.StreamResponse:
        head = read_call_head(match, tuple(request.headers.items()))
        body = await read_body(
            request,
            self._body_bytes_max,
            media_type=media_type_of(head.dialect),
            intake=self._intake,
            team_id=principal.team_id,
        )
        await self._proxy.serve(head.call(turn.entry_id, principal, body), turn.reply)
        await turn.reply.flush()
        return sent(turn.reply)

    async def _inform(
        self, match: Match, principal: Principal, dialect: Dialect | None, reply: ClientReply
    ) -> web.Response:
        if match.route.surface is Surface.MODELS:
            body = self._information.models(dialect, principal)
        else:
            body = await self._information.usage(principal)
        return web.Response(body=body, content_type="application/json", headers=reply.headers([]))

    async def _refuse(
        self, request: web.BaseRequest, error: GatewayError, turn: "_Turn"
    ) -> web.Response:
        await show_budget(turn.reply, self._proxy, turn.principal, error)
        dialect = self._routes.dialect_of(request.raw_path) or turn.dialect
        answer = refusal(error, dialect, turn.entry_id)
        response = web.Response(
            status=answer.status,
            body=answer.body,
            content_type="application/json",
            headers=turn.reply.headers(answer.headers),
        )
        if not turn.reply.keeps_alive or not request.content.at_eof():
            # Told so at a shutdown; and an unread body is never taken for the next request.
            response.force_close()
        return response


def _check_method(request: web.BaseRequest, match: Match) -> None:
    methods = match.route.methods
    if request.method not in methods:
        raise NotFoundError(
            f"There is nothing for this method here: the route takes {' or '.join(methods)}.",
            methods=methods,
        )


def _check_version(request: web.BaseRequest) -> None:
    if request.version < (1, 0) or request.version > (1, 1):
        raise InvalidRequestError("This gateway speaks HTTP/1.1.")
    if request.version < (1, 1) and "Transfer-Encoding" in request.headers:
        raise InvalidRequestError("HTTP/1.0 has no transfer encodings.")


def _guessed_dialect(request: web.BaseRequest) -> Dialect | None:
    """Where the route does not say: SDKs name themselves in a header of every request."""
    headers = request.headers
    if "anthropic-version" in headers:
        return Dialect.ANTHROPIC_MESSAGES
    if "x-goog-api-key" in headers or "x-goog-api-client" in headers:
        return Dialect.GEMINI
    return Dialect.BEDROCK if "amz-sdk-invocation-id" in headers else None


def _own_headers(request: web.BaseRequest, entry_id: EntryId) -> list[tuple[str, str]]:
    repeated = own_headers(request.headers.get("x-request-id", ""))
    return [("x-gateway-request-id", entry_id), *repeated]
