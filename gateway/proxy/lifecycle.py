"""The road of a request, and the only module that knows its order.

auth (done at the edge) -> guard -> transform -> hold -> upstream -> meter -> settlement
"""

import asyncio
from dataclasses import dataclass, replace

from gateway.domain.budget import Admission, BudgetView
from gateway.domain.entry import Hold
from gateway.domain.errors import (
    InvalidRequestError,
    ProviderNotConfiguredError,
)
from gateway.domain.ids import TeamId
from gateway.domain.request import Dialect, RequestFacts
from gateway.flags.cost_controls import CostControls
from gateway.proxy.call import Call
from gateway.proxy.pump import DrainSlots, Pump, UpstreamRequest
from gateway.proxy.refusal import budget_exceeded
from gateway.proxy.reply import Reply
from gateway.proxy.settlement import Books, OpenHold, TrackedTasks
from gateway.transform.cache_ttl import upgrade_cache_ttl
from gateway.transform.include_usage import add_include_usage
from gateway.transform.model_prefix import strip_model_prefix
from gateway.transform.save_mode import save_mode_applies
from gateway.upstream.exchange import Upstream
from gateway.upstream.headers import upstream_headers
from gateway.upstream.providers import Destination, Providers
from gateway.wire.request_body import read_request
from gateway.wire.request_facts import RequestTarget, read_facts

_WITH_USAGE_CHUNK = frozenset({Dialect.OPENAI_CHAT, Dialect.OPENAI_COMPLETIONS})


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadPolicy:
    """What the operator decided about the road."""

    save_mode_products: frozenset[str]
    rejects_unpriced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Transformed:
    """The body that goes upstream, what is known of it, and what the transforms did."""

    body: bytes
    facts: RequestFacts
    breakpoints_upgraded: int = 0
    holds_back_usage_chunk: bool = False


class Proxy:
    """Takes authenticated calls down the road; every admitted one ends in its settlement."""

    def __init__(
        self,
        *,
        books: Books,
        providers: Providers,
        upstream: Upstream,
        cost_controls: CostControls,
        policy: RoadPolicy,
    ) -> None:
        self._books = books
        self._providers = providers
        self._upstream = upstream
        self._cost_controls = cost_controls
        self._policy = policy
        self._drain_slots = DrainSlots()
        self.tasks = TrackedTasks()

    async def serve(self, call: Call, reply: Reply) -> None:
        """Run one call to the end of its answer.

        Raises:
            GatewayError: nothing has been sent to the client; the edge answers for us.
        """
        facts = read_facts(_target(call), call.body)
        destination = self._destination(call, facts)
        if call.is_token_count:
            await self._count_tokens(call, facts, destination, reply)
            return
        # All that may refuse the request comes before the hold, so that a hold is never orphaned.
        body = strip_model_prefix(call.body, destination.prefix_bytes)
        headers = self._headers(call, destination)
        admission = await self._admit(call, facts, destination, reply)
        hold = self._hold(call, destination, admission)
        try:
            self._books.journal.append_hold(hold)
            transformed = self._transform(call, body, facts, destination, admission)
        except BaseException:
            self._books.journal.append_release(hold.entry_id)
            self._books.desk.released(hold)
            raise
        open_hold = OpenHold(
            hold=hold,
            call=call,
            facts=transformed.facts,
            destination=destination,
            breakpoints_upgraded=transformed.breakpoints_upgraded,
            books=self._books,
        )
        await self._relay(call, destination, transformed, reply, headers, open_hold)

    async def budget_view(self, team_id: TeamId) -> BudgetView:
        """A team's budget as the guard sees it now, loaded where memory does not know it."""
        view = self._books.desk.view(team_id)
        return view if view is not None else await self._books.desk.load(team_id)

    def known_budget_view(self, team_id: TeamId) -> BudgetView | None:
        """The same from memory alone, for the headers of an error."""
        return self._books.desk.view(team_id)

    def _destination(self, call: Call, facts: RequestFacts) -> Destination:
        destination = self._providers.for_model(call.dialect, facts.model)
        provider = destination.provider
        if not provider.is_configured:
            raise ProviderNotConfiguredError(
                f"Provider {provider.name} is not configured on this gateway: "
                f"set {provider.missing_setting}."
            )
        if (
            self._policy.rejects_unpriced
            and not call.is_token_count
            and not self._books.prices.knows(provider.name, destination.model)
        ):
            raise InvalidRequestError(
                f"Model {facts.model!r} has no price on this gateway "
                "(GATEWAY_UNPRICED_MODELS=reject)."
            )
        return destination

    async def _admit(
        self, call: Call, facts: RequestFacts, destination: Destination, reply: Reply
    ) -> Admission:
        books = self._books
        bounds = books.prices.bounds(
            provider=destination.provider.name,
            facts=replace(
                facts,
                model=destination.model,
                # Save Mode may turn each of the client's breakpoints into a one-hour write.
                cache_ttls=("1h",) if facts.cache_ttls else (),
            ),
            at=books.clock.now(),
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
        books.metrics.guard_decision(admission.view.status, is_admitted=admission.is_admitted)
        if not admission.is_admitted:
            raise budget_exceeded(
                call.principal.team_name, admission, now_s=books.clock.now().timestamp()
            )
        return admission

    def _headers(self, call: Call, destination: Destination) -> list[tuple[str, str]]:
        return upstream_headers(call.headers, destination.provider.credential_header())

    def _transform(
        self,
        call: Call,
        body: bytes,
        facts: RequestFacts,
        destination: Destination,
        admission: Admission,
    ) -> _Transformed:
        facts = replace(facts, model=destination.model)
        if call.dialect in _WITH_USAGE_CHUNK:
            if facts.is_streaming and not facts.usage_was_requested:
                return _Transformed(
                    body=add_include_usage(body), facts=facts, holds_back_usage_chunk=True
                )
            return _Transformed(body=body, facts=facts)
        if not facts.cache_ttls or not save_mode_applies(
            gate_is_open=self._cost_controls.is_open(
                call.principal.team_id, call.principal.team_name
            ),
            provider=destination.provider.name,
            dialect=call.dialect,
            product=call.product,
            idle_prone_products=self._policy.save_mode_products,
            team_setting=admission.save_mode,
            wants_save_mode_by_budget=admission.wants_save_mode,
        ):
            return _Transformed(body=body, facts=facts)
        upgrade = upgrade_cache_ttl(body)
        if upgrade.upgraded:
            # The TTLs that went upstream decide how writes without a TTL are priced.
            ttls = read_request(call.dialect, upgrade.body).cache_ttls
            facts = replace(facts, cache_ttls=ttls)
        return _Transformed(body=upgrade.body, facts=facts, breakpoints_upgraded=upgrade.upgraded)

    def _hold(self, call: Call, destination: Destination, admission: Admission) -> Hold:
        now = self._books.clock.now()
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
            admitted_at=now,
            is_leased=admission.is_leased,
        )

    async def _count_tokens(
        self, call: Call, facts: RequestFacts, destination: Destination, reply: Reply
    ) -> None:
        reply.set_budget(await self.budget_view(call.principal.team_id))
        body = strip_model_prefix(call.body, destination.prefix_bytes)
        transformed = _Transformed(body=body, facts=facts)
        headers = self._headers(call, destination)
        await self._relay(call, destination, transformed, reply, headers, None)

    async def _relay(
        self,
        call: Call,
        destination: Destination,
        transformed: _Transformed,
        reply: Reply,
        headers: list[tuple[str, str]],
        open_hold: OpenHold | None,
    ) -> None:
        provider = destination.provider
        if provider.is_simulated:
            reply.set_simulated()
        url = provider.url(call.dialect, model=destination.model, action=call.action)
        pump = Pump(
            request=UpstreamRequest(
                url=_count_url(url) if call.is_token_count and call.action is None else url,
                headers=headers,
                query=call.query,
                body=transformed.body,
                dialect=call.dialect,
                provider=provider.name,
                facts=transformed.facts,
                holds_back_usage_chunk=transformed.holds_back_usage_chunk,
            ),
            reply=reply,
            upstream=self._upstream,
            open_hold=open_hold,
            drain_slots=self._drain_slots,
        )
        task = self.tasks.start(pump.run())
        try:
            # Waiting does not tie the task to us: where the client's leaving cancels this
            # handler, the pump goes on until the bill is known.
            await asyncio.wait({task})
        except asyncio.CancelledError:
            pump.client_is_gone()
            raise
        task.result()


def _target(call: Call) -> RequestTarget:
    return RequestTarget(
        dialect=call.dialect,
        model=call.path_model,
        action=call.action,
        content_type=call.content_type,
    )


def _count_url(url: str) -> str:
    return f"{url}/count_tokens"
