"""The road of a request, and the only module that knows its order.

auth (done at the edge) -> guard -> hold -> transform -> upstream -> meter -> settlement
"""

from msgspec.structs import replace

from gateway.domain.budget import Admission, BudgetView
from gateway.domain.entry import Hold
from gateway.domain.ids import TeamId
from gateway.pricing.bounds import HoldBounds
from gateway.proxy.call import Call
from gateway.proxy.exchange_plan import UpstreamRequest
from gateway.proxy.preparation import Preparation, Route
from gateway.proxy.pump import Pump
from gateway.proxy.refusal import budget_exceeded
from gateway.proxy.relays import DRAIN_TIMEOUT_S, STALL_TIMEOUT_S, Relays
from gateway.proxy.reply import Reply
from gateway.proxy.settlement import Books, OpenHold
from gateway.upstream.answer import Upstream
from gateway.upstream.providers import Destination


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
        called_s = self._books.clock.monotonic_s()
        # All that may refuse the request comes before the hold, so that a hold is never orphaned.
        route = self._preparation.route(call)
        if route.destination.provider.is_simulated:
            reply.set_simulated()
        if call.is_token_count:
            reply.set_budget(await self.budget_view(call.principal.team_id))
            request = self._preparation.count_request(call, route)
            await self._relay(request, reply, None)
            return
        admission = await self._admit(call, route, reply)
        hold = self._hold(call, route, admission)
        try:
            self._books.journal.append_hold(hold)
            prepared = self._preparation.request(call, route, admission)
        except BaseException:
            self._books.journal.append_release(hold.entry_id)
            self._books.desk.released(hold)
            raise
        open_hold = OpenHold(
            hold=hold,
            call=call,
            facts=prepared.request.facts,
            destination=route.destination,
            breakpoints_upgraded=prepared.breakpoints_upgraded,
            books=self._books,
        )
        self._books.metrics.added_latency(open_hold.started_s - called_s)
        await self._relay(prepared.request, reply, open_hold)

    async def budget_view(self, team_id: TeamId) -> BudgetView:
        """A team's budget as the guard sees it, read where memory is older than a second."""
        return await self._books.desk.load(team_id)

    def known_budget_view(self, team_id: TeamId) -> BudgetView | None:
        """The same from memory alone, for the headers of an error."""
        return self._books.desk.view(team_id)

    async def _admit(self, call: Call, route: Route, reply: Reply) -> Admission:
        books = self._books
        bounds = self._bounds(route, route.destination)
        if route.fallback is not None:
            other = self._bounds(route, route.fallback)
            bounds = HoldBounds(
                expected_pico_usd=max(bounds.expected_pico_usd, other.expected_pico_usd),
                worst_pico_usd=max(bounds.worst_pico_usd, other.worst_pico_usd),
            )
        team_id = call.principal.team_id
        is_override = call.wants_override and call.principal.may_override_budget
        admission = books.desk.admit(
            team_id,
            expected_pico_usd=bounds.expected_pico_usd,
            worst_pico_usd=bounds.worst_pico_usd,
            is_override=is_override,
        )
        if admission is None:
            admission = await books.desk.admit_after_sync(
                team_id,
                expected_pico_usd=bounds.expected_pico_usd,
                worst_pico_usd=bounds.worst_pico_usd,
                is_override=is_override,
            )
        reply.set_budget(admission.view)
        books.metrics.guard_decision(
            admission.view.status,
            is_admitted=admission.is_admitted,
            failed_open=admission.failed_open,
        )
        if not admission.is_admitted:
            now_s = books.clock.now().timestamp()
            raise budget_exceeded(call.principal.team_name, admission, now_s=now_s)
        return admission

    def _bounds(self, route: Route, destination: Destination) -> HoldBounds:
        facts = route.facts.for_model(destination.model)
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

    async def _relay(
        self, request: UpstreamRequest, reply: Reply, open_hold: OpenHold | None
    ) -> None:
        pump = Pump(
            request=request,
            reply=reply,
            upstream=self._upstream,
            open_hold=open_hold,
            relays=self.relays,
        )
        await pump.run()
