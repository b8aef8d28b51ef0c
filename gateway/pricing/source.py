"""The pinned price data by our names of providers; nothing here fetches newer prices."""

from functools import cache
from importlib.metadata import version

from genai_prices.data import providers as published
from genai_prices.types import ModelInfo, ModelPrice, Provider

from gateway.pricing.certainty import is_certain
from gateway.pricing.corrections import ALIASES

PRICE_VERSION = f"genai-prices-{version('genai-prices')}"
_PUBLISHED_ID = {
    "azure_openai": "azure",
    "gemini": "google",
    "bedrock": "aws",
    "xai": "x-ai",
}
# AWS GovCloud has prices of its own, a fifth above the plain ones; the data takes a region's.
_GOVERNMENT = "us-gov."
# What is dearest of an upstream that the price data does not know at all.
REFERENCE_PROVIDERS = ("anthropic", "openai")


@cache
def _by_id() -> dict[str, Provider]:
    return {provider.id: provider for provider in published}


def published_provider(name: str) -> Provider | None:
    """The provider's price data by our name of it, or by the data's own."""
    return _by_id().get(_PUBLISHED_ID.get(name, name))


def find_model(provider: str, model: str) -> ModelInfo | None:
    """The data's own matching of a name, fallback providers included, but for its guesses.

    It takes a name for the first model that it begins as, whatever follows.
    """
    found = published_provider(provider)
    if found is None or (provider == "bedrock" and model.startswith(_GOVERNMENT)):
        return None
    name = ALIASES.get((provider, model), model)
    others = [_by_id()[each] for each in found.fallback_model_providers or ()]
    for each in (found, *others):
        matched = each.find_model(name)
        if matched is not None and is_certain(matched, name):
            return matched
    return None


def models_of(provider: str) -> list[ModelInfo]:
    """All models of a provider that are not deprecated, its fallback providers' included."""
    found = published_provider(provider)
    if found is None:
        return []
    fallbacks = [_by_id()[name] for name in found.fallback_model_providers or ()]
    return [model for each in (found, *fallbacks) for model in each.models if not model.deprecated]


def is_named_free(model: ModelInfo, name: str) -> bool:
    """Whether the data gives no price because the provider's name for the model says it is free."""
    return (
        model.id.endswith(":free")
        and name.lower().endswith(":free")
        and isinstance(model.prices, ModelPrice)
        and not vars(model.prices)
    )
