"""The road of a request, and the only module that knows its order.

auth (done at the edge) -> guard -> hold -> transform -> upstream -> meter -> settlement
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from msgspec.structs import replace

from gateway.domain.budget import Admission, BudgetView, Enforcement
from gateway.domain.entry import Hold
from gateway.domain.errors import GatewayError
from gateway.domain.ids import TeamId
from gateway.domain.request import RequestFacts
from gateway.pricing.bounds import HoldBounds
from gateway.proxy.call import Call
from gateway.proxy.exchange_end import OnEnd
from gateway.proxy.exchange_plan import UpstreamRequest
from gateway.proxy.preparation import Preparation, Route
from gateway.proxy.pump import Pump
from gateway.proxy.refusal import budget_exceeded
from gateway.proxy.relays import DRAIN_TIMEOUT_S, STALL_TIMEOUT_S, Relays
from gateway.proxy.reply import Reply
from gateway.proxy.settlement import Books, OpenHold
from gateway.upstream.answer import Upstream
from gateway.upstream.providers import Destination
from gateway.wire.references import references_of


class Proxy:
    """Takes authenticated calls down the road; every admitted one ends in its settlement."""

    def __init__(
        self,
        *,
        books: Books,
        preparation: Preparation,
        upstream: Upstream,
        gone_client_timeout_s: float = DRAIN_TIMEOUT_S,
        stalled_client_timeout_s: float = STALL_TIMEOUT_S,
    ) -> None:
        self._books = books
        self._preparation = preparation
        self._upstream = upstream
        self.relays = Relays(
            gone_client_timeout_s=gone_client_timeout_s,
            stalled_client_timeout_s=stalled_client_timeout_s,
        )

    async def serve(self, call: Call, reply: Reply) -> None:
        """Run one call to the end of its answer.

        Raises:
            GatewayError: nothing has been sent to the client; the edge answers for us.
        """
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def end(error: GatewayError | None) -> None:
            if ended.done():
                return
            if error is None:
                ended.set_result(None)
            else:
                ended.set_exception(error)

        rest = self.begin(call, reply, end)
        await (ended if rest is None else rest)

    def begin(self, call: Call, reply: Reply, on_end: OnEnd) -> Coroutine[Any, Any, None] | None:
        """Take a call as far as nobody has to be waited for; the rest is in the coroutine.

        Without one the call is on its way, and `on_end` is told of its end.

        Raises:
            GatewayError: as `serve`.
        """
        called_s = self._books.clock.monotonic_s()
        # All that may refuse the request comes before the hold, so that a hold is never orphaned.
        route = self._preparation.route(call)
        if route.destination.provider.is_simulated:
            reply.set_simulated()
        if call.is_token_count:
            return self._count(call, route, reply)
        bounds = self._bounds(route, call.principal.team_id)
        admission = self._books.desk.admit(
            call.principal.team_id,
            expected_pico_usd=bounds.expected_pico_usd,
            worst_pico_usd=bounds.worst_pico_usd,
            is_override=_is_override(call),
        )
        if admission is None:
            return self._admit_and_relay(call, route, bounds, reply, called_s)
        pump = self._held(call, route, admission, reply, called_s)
        try:
            is_under_way = pump.start(on_end)
        except Exception:
            # The hold is made, and no task will see this: it ends here.
            pump.interrupt()
            raise
        return None if is_under_way else pump.run()

    async def budget_view(self, team_id: TeamId) -> BudgetView:
        """A team's budget as the guard sees it, read where memory is older than a second."""
        return await self._books.desk.load(team_id)

    def known_budget_view(self, team_id: TeamId) -> BudgetView | None:
        """The same from memory alone, for the headers of an error."""
        return self._books.desk.view(team_id)

    async def _count(self, call: Call, route: Route, reply: Reply) -> None:
        reply.set_budget(await self.budget_view(call.principal.team_id))
        request = self._preparation.count_request(call, route)
        await self._pump(request, reply, None).run()

    async def _admit_and_relay(
        self, call: Call, route: Route, bounds: HoldBounds, reply: Reply, called_s: float
    ) -> None:
        admission = await self._books.desk.admit_after_sync(
            call.principal.team_id,
            expected_pico_usd=bounds.expected_pico_usd,
            worst_pico_usd=bounds.worst_pico_usd,
            is_override=_is_override(call),
        )
        await self._held(call, route, admission, reply, called_s).run()

    def _held(
        self, call: Call, route: Route, admission: Admission, reply: Reply, called_s: float
    ) -> Pump:
        """The exchange of a call that is admitted, with its hold in the journal."""
        books = self._books
        self._heed(call, admission, reply)
        hold = self._hold(call, route, admission)
        try:
            books.journal.append_hold(hold)
            prepared = self._preparation.request(call, route, admission)
        except BaseException:
            books.journal.append_release(hold.entry_id)
            books.desk.released(hold)
            raise
        open_hold = OpenHold(
            hold=hold,
            call=call,
            facts=prepared.request.facts,
            destination=route.destination,
            breakpoints_upgraded=prepared.breakpoints_upgraded,
            books=books,
        )
        books.metrics.added_latency(open_hold.started_s - called_s)
        return self._pump(prepared.request, reply, open_hold)

    def _heed(self, call: Call, admission: Admission, reply: Reply) -> None:
        """Say what the guard decided; refuse where it refuses."""
        books = self._books
        reply.set_budget(admission.view)
        books.metrics.guard_decision(
            admission.view.status,
            is_admitted=admission.is_admitted,
            failed_open=admission.failed_open,
        )
        if not admission.is_admitted:
            raise budget_exceeded(
                call.principal.team_name,
                admission,
                dialect=call.dialect,
                action=call.action,
                now_s=books.clock.now().timestamp(),
            )

    def _bounds(self, route: Route, team_id: TeamId) -> HoldBounds:
        facts = route.facts
        view = self._books.desk.view(team_id)
        if view is None or view.enforcement is Enforcement.STRICT:
            # What the body refers to is looked for where the worst case is held.
            found = references_of(route.body)
            facts = replace(
                facts,
                has_unseen_input=found.has_unseen_input,
                tool_calls_max=found.tool_calls_max,
            )
        bounds = self._bounds_at(facts, route.destination)
        if route.fallback is None:
            return bounds
        other = self._bounds_at(facts, route.fallback)
        return HoldBounds(
            expected_pico_usd=max(bounds.expected_pico_usd, other.expected_pico_usd),
            worst_pico_usd=max(bounds.worst_pico_usd, other.worst_pico_usd),
        )

    def _bounds_at(self, facts: RequestFacts, destination: Destination) -> HoldBounds:
        facts = facts.for_model(destination.model)
        if facts.cache_ttls:
            # Save Mode may turn each of the client's breakpoints into a one-hour write.
            facts = replace(facts, cache_ttls=("1h",))
        return self._books.prices.bounds(
            provider=destination.provider.name, facts=facts, at=self._books.clock.now()
        )

    def _hold(self, call: Call, route: Route, admission: Admission) -> Hold:
        destination = route.destination
        return Hold(
            entry_id=call.entry_id,
            # Fixed here: a stream over midnight of the 1st belongs to the month it began in.
            month=admission.view.month,
            team_id=call.principal.team_id,
            api_key_id=call.principal.api_key_id,
            product=call.product,
            provider=destination.provider.name,
            dialect=call.dialect,
            request_model=destination.model,
            amount_pico_usd=admission.hold_pico_usd,
            budget_status=admission.view.status,
            admitted_at=self._books.clock.now(),
            is_leased=admission.is_leased,
        )

    def _pump(self, request: UpstreamRequest, reply: Reply, open_hold: OpenHold | None) -> Pump:
        return Pump(
            request=request,
            reply=reply,
            upstream=self._upstream,
            open_hold=open_hold,
            relays=self.relays,
        )


def _is_override(call: Call) -> bool:
    return call.wants_override and call.principal.may_override_budget
