"""Before the hold: where a call goes, and, once it is admitted, the request that goes there."""

from dataclasses import dataclass

from msgspec.structs import replace

from gateway.domain.budget import Admission
from gateway.domain.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    ProviderNotConfiguredError,
)
from gateway.domain.request import Dialect, RequestFacts, may_stand_in_a_path
from gateway.domain.value import Value
from gateway.flags.cost_controls import CostControls
from gateway.pricing.book import PriceBook
from gateway.proxy.call import Call
from gateway.proxy.exchange_plan import UpstreamRequest
from gateway.transform.cache_ttl import upgrade_cache_ttl
from gateway.transform.include_usage import add_include_usage
from gateway.transform.model_prefix import strip_model_prefix
from gateway.transform.save_mode import save_mode_applies
from gateway.upstream.headers import upstream_headers
from gateway.upstream.providers import Destination, Providers
from gateway.upstream.sigv4 import Signer
from gateway.wire.bedrock_messages import (
    bedrock_model,
    invoke_action,
    names_bedrock,
    to_bedrock,
)
from gateway.wire.cache_breakpoints import UNKNOWN_TTLS
from gateway.wire.multipart import without_model_prefix
from gateway.wire.request_body import read_request
from gateway.wire.request_facts import RequestTarget, read_facts
from gateway.wire.tool_models import models_of_tools

BEDROCK = "bedrock"
_WITH_USAGE_CHUNK = frozenset({Dialect.OPENAI_CHAT, Dialect.OPENAI_COMPLETIONS})


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadPolicy:
    """What the operator decided about the road."""

    save_mode_products: frozenset[str]
    rejects_unpriced: bool
    bedrock_region: str | None = None


class Route(Value, frozen=True, kw_only=True):
    """Where a call goes. `body` is the client's, an explicit prefix of the model taken off."""

    facts: RequestFacts
    destination: Destination
    body: bytes
    headers: list[tuple[str, str]]
    fallback: Destination | None = None


class Prepared(Value, frozen=True, kw_only=True):
    """The request that goes upstream, and what Save Mode did to it."""

    request: UpstreamRequest
    breakpoints_upgraded: int = 0


class Preparation:
    """Chooses providers and applies the documented transforms, for each destination anew."""

    def __init__(
        self,
        *,
        providers: Providers,
        prices: PriceBook,
        cost_controls: CostControls,
        policy: RoadPolicy,
        signer: Signer,
    ) -> None:
        self._providers = providers
        self._prices = prices
        self._cost_controls = cost_controls
        self._policy = policy
        self._signer = signer

    def route(self, call: Call) -> Route:
        """Read the call and choose its provider. All that may refuse a call for what it is.

        Raises:
            InvalidRequestError, PermissionDeniedError, ProviderNotConfiguredError.
        """
        target = RequestTarget(
            dialect=call.dialect,
            model=call.path_model,
            action=call.action,
            content_type=call.content_type,
            service_tier=_bedrock_header(call, "x-amzn-bedrock-service-tier"),
            latency=_bedrock_header(call, "x-amzn-bedrock-performanceconfig-latency"),
        )
        facts = read_facts(target, call.body)
        _refuse_other_models(call, facts)
        destination = self._destination(call, facts)
        if facts.limit_needs_host and not destination.provider.spec.heeds_max_completion_tokens:
            facts = replace(facts, max_output_tokens=None)
        if call.path_model is not None:
            body = call.body
        elif call.dialect is Dialect.OPENAI_TRANSCRIPTIONS:
            body = without_model_prefix(call.body, call.content_type, destination.prefix_bytes)
        else:
            body = strip_model_prefix(call.body, destination.prefix_bytes)
        return Route(
            facts=facts,
            destination=destination,
            body=body,
            headers=upstream_headers(
                call.headers, destination.provider.credential_header(call.dialect)
            ),
            fallback=self._fallback(call, destination),
        )

    def request(self, call: Call, route: Route, admission: Admission) -> Prepared:
        """The request for an admitted call. Save Mode's upgrade never goes towards Bedrock."""
        facts = route.facts.for_model(route.destination.model)
        is_for_bedrock = route.destination.provider.name == BEDROCK
        if call.dialect is Dialect.ANTHROPIC_MESSAGES and is_for_bedrock:
            return Prepared(request=self._on_bedrock(call, route, route.destination))
        plain = self._plain(call, route, facts, body=route.body)
        if call.dialect in _WITH_USAGE_CHUNK:
            if facts.is_streaming and not facts.usage_was_requested:
                body = add_include_usage(route.body)
                return Prepared(request=replace(plain, body=body, holds_back_usage_chunk=True))
            return Prepared(request=plain)
        if not self._save_mode_applies(call, route, admission):
            return Prepared(request=plain)
        upgrade = upgrade_cache_ttl(route.body)
        if upgrade.upgraded:
            # The TTLs that went upstream decide how writes without a TTL are priced.
            ttls = read_request(call.dialect, upgrade.body).cache_ttls
            facts = replace(facts, cache_ttls=ttls)
        return Prepared(
            request=replace(plain, body=upgrade.body, facts=facts),
            breakpoints_upgraded=upgrade.upgraded,
        )

    def count_request(self, call: Call, route: Route) -> UpstreamRequest:
        """Token counting: no transform, no fallback."""
        request = self._plain(call, replace(route, fallback=None), route.facts, body=route.body)
        if call.action is not None:
            return request
        return replace(request, url=f"{request.url}/count_tokens")

    def _destination(self, call: Call, facts: RequestFacts) -> Destination:
        # Tokens are counted by Anthropic: Bedrock counts for fewer models, in another shape.
        may_translate = call.dialect is Dialect.ANTHROPIC_MESSAGES and not call.is_token_count
        if may_translate and (call.wants_bedrock or names_bedrock(facts.model)):
            destination = self._bedrock(facts.model)
        else:
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
            and not self._prices.knows(provider.name, destination.model)
        ):
            raise InvalidRequestError(
                f"Model {facts.model!r} has no price on this gateway "
                "(GATEWAY_UNPRICED_MODELS=reject)."
            )
        return destination

    def _bedrock(self, model: str) -> Destination:
        provider = self._providers.named(BEDROCK)
        assert provider is not None
        name = bedrock_model(model, self._policy.bedrock_region)
        if not may_stand_in_a_path(name):
            raise InvalidRequestError(f"Bedrock takes its model in the path: {name!r} is none.")
        return Destination(provider=provider, model=name)

    def _fallback(self, call: Call, destination: Destination) -> Destination | None:
        """Bedrock, where the client asks for it, it is configured, and sells the model."""
        if (
            not call.wants_bedrock_fallback
            or call.is_token_count
            or call.dialect is not Dialect.ANTHROPIC_MESSAGES
            or destination.provider.name == BEDROCK
            or not destination.model.startswith("claude-")
        ):
            return None
        fallback = self._bedrock(destination.model)
        return fallback if fallback.provider.is_configured else None

    def _plain(
        self, call: Call, route: Route, facts: RequestFacts, *, body: bytes
    ) -> UpstreamRequest:
        destination = route.destination
        provider = destination.provider
        is_signed = provider.spec.credential_style == "sigv4" and not provider.is_simulated
        return UpstreamRequest(
            destination=destination,
            url=provider.url(
                call.dialect,
                model=destination.model,
                action=call.action,
                version=call.api_version,
            ),
            headers=route.headers,
            query=call.query,
            body=body,
            dialect=call.dialect,
            facts=facts,
            signer=self._signer if is_signed else None,
            fallback=None
            if route.fallback is None
            else self._on_bedrock(call, route, route.fallback),
        )

    def _on_bedrock(self, call: Call, route: Route, destination: Destination) -> UpstreamRequest:
        """The same call in Bedrock's words, from the client's own body: no TTL is upgraded."""
        headers = {name.lower(): value for name, value in call.headers}
        provider = destination.provider
        facts = route.facts.for_model(destination.model)
        return UpstreamRequest(
            destination=destination,
            url=provider.url(
                Dialect.BEDROCK, model=destination.model, action=invoke_action(route.facts)
            ),
            headers=[
                ("Content-Type", "application/json"),
                ("Accept-Encoding", "identity"),
            ],
            query="",
            body=to_bedrock(route.body, headers.get("anthropic-beta", "")),
            dialect=Dialect.BEDROCK,
            facts=facts,
            signer=None if provider.is_simulated else self._signer,
            is_translated=True,
        )

    def _save_mode_applies(self, call: Call, route: Route, admission: Admission) -> bool:
        ttls = route.facts.cache_ttls
        is_known = bool(ttls) and ttls is not UNKNOWN_TTLS
        return is_known and save_mode_applies(
            gate_is_open=self._cost_controls.is_open(
                call.principal.team_id, call.principal.team_name
            ),
            provider=route.destination.provider.name,
            dialect=call.dialect,
            product=call.product,
            idle_prone_products=self._policy.save_mode_products,
            team_setting=admission.save_mode,
            wants_save_mode_by_budget=admission.wants_save_mode,
        )


def _refuse_other_models(call: Call, facts: RequestFacts) -> None:
    """A key that may call some models alone may not have others answer, advise or draw either."""
    if call.principal.allowed_models is None:
        return
    models = (facts.model, *facts.also_models)
    if call.dialect is not Dialect.OPENAI_TRANSCRIPTIONS:
        models += models_of_tools(call.body)
    for model in models:
        if not call.principal.may_call(model):
            raise PermissionDeniedError(
                f"This key may not call {model!r}: `GET /v1/models` lists what it may."
            )


def _bedrock_header(call: Call, name: str) -> str | None:
    """What two headers of one name say is known to nobody, and priced so."""
    if call.dialect is not Dialect.BEDROCK:
        return None
    values = [value.strip() for key, value in call.headers if key.lower() == name]
    return ",".join(values) or None
