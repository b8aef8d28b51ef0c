"""What a key may ask about itself: the models it may call, and its team's budget."""

from decimal import Decimal
from typing import Any

import orjson

from gateway.domain.clock import Clock, month_of, rfc3339
from gateway.domain.identity import Principal
from gateway.domain.request import Dialect
from gateway.edge.budget_headers import has_cap, remaining_usd
from gateway.edge.routes import GEMINI_METHODS
from gateway.pricing.book import PriceBook
from gateway.proxy.lifecycle import Proxy
from gateway.reports.usage import UsageReport
from gateway.upstream.providers import Providers

_GEMINI_PREFIXES = ("gemini-", "gemma-")
# In the names of models that Google takes by `embedContent` and `bidiGenerateContent` alone.
_CALLED_OTHERWISE = frozenset({"embedding", "live"})


class Information:
    """Answers `GET /v1/models` and `GET /v1/usage`."""

    def __init__(
        self,
        *,
        providers: Providers,
        prices: PriceBook,
        proxy: Proxy,
        usage_report: UsageReport,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._prices = prices
        self._proxy = proxy
        self._usage_report = usage_report
        self._clock = clock

    def models(self, dialect: Dialect | None, principal: Principal) -> bytes:
        """What the key may call of the configured providers' priced models, in its dialect.

        Models of a dialect's own provider carry their bare names, others the prefix that leads
        to them.
        """
        if dialect is Dialect.ANTHROPIC_MESSAGES:
            return orjson.dumps(_anthropic_page(self._names(dialect, principal)))
        if dialect is Dialect.GEMINI:
            return orjson.dumps(_gemini_page(self._names(dialect, principal)))
        return orjson.dumps(_openai_page(self._names(Dialect.OPENAI_CHAT, principal)))

    def _names(self, dialect: Dialect, principal: Principal) -> list[tuple[str, str]]:
        names = []
        for provider in self._providers:
            if not provider.is_configured or dialect not in provider.spec.paths:
                continue
            for model in self._prices.models(provider.name):
                found = self._providers.find(dialect, model)
                is_home = found is not None and found.provider is provider
                names.append((model if is_home else f"{provider.name}/{model}", provider.name))
        return [item for item in names if principal.may_call(item[0])]

    async def usage(self, principal: Principal) -> bytes:
        """The team's budget now, and its spend of the month by model."""
        view = await self._proxy.budget_view(principal.team_id)
        by_model = await self._usage_report.by_model(principal.team_id, month_of(self._clock.now()))
        capped = has_cap(view)
        document: dict[str, Any] = {
            "team": principal.team_name,
            "month": f"{view.month:%Y-%m}",
            "cap_usd": _dollars(view.cap_usd) if capped else None,
            "spend_usd": _dollars(view.spend_usd),
            "held_usd": _dollars(view.held_usd),
            "remaining_usd": _dollars(remaining_usd(view)) if capped else None,
            "status": view.status.value,
            "resets_at": rfc3339(view.resets_at),
            "by_model": by_model,
        }
        return orjson.dumps(document)


def _dollars(amount_usd: Decimal | None) -> str | None:
    return None if amount_usd is None else f"{amount_usd:f}"


def _openai_page(names: list[tuple[str, str]]) -> dict[str, Any]:
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": owner} for name, owner in names
    ]
    return {"object": "list", "data": data}


def _anthropic_page(names: list[tuple[str, str]]) -> dict[str, Any]:
    data = [
        {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "1970-01-01T00:00:00Z",
        }
        for name, _ in names
    ]
    first, last = (names[0][0], names[-1][0]) if names else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}


def _gemini_page(names: list[tuple[str, str]]) -> dict[str, Any]:
    """Source: Google's API reference, `models.list`.

    What Google sells by the token on other routes, or of other makers, is not called by these.
    """
    called = [
        name
        for name, _ in names
        if name.startswith(_GEMINI_PREFIXES) and _CALLED_OTHERWISE.isdisjoint(name.split("-"))
    ]
    return {
        "models": [
            {
                "name": f"models/{name}",
                "displayName": name,
                "supportedGenerationMethods": list(GEMINI_METHODS),
            }
            for name in called
        ]
    }
