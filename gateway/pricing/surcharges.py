"""Multiples of the plain price that the price data has no variant for, with who says so."""

from decimal import Decimal
from typing import NamedTuple
from urllib.parse import urlsplit


class Surcharge(NamedTuple):
    """What a selector's value does to the price of models whose id begins so, fees apart."""

    provider: str
    selector: str
    value: str
    factor: Decimal
    models: tuple[str, ...]
    source: str
    is_certain: bool = True
    """False: the most that is documented, charged and flagged."""
    untouched: tuple[str, ...] = ()
    """Kinds of tokens that keep their plain price."""


_BEDROCK_TIERED = (
    *("amazon.nova-2-lite", "amazon.nova-2-pro", "amazon.nova-premier", "amazon.nova-pro"),
    *("deepseek.v3", "google.gemma-4", "minimax.minimax-m2.1", "minimax.minimax-m2.5"),
    *("mistral.devstral-2", "moonshotai.kimi-k2.5", "moonshotai.kimi-k3"),
    *("nvidia.nemotron-super", "openai.gpt-oss-120b", "openai.gpt-oss-20b"),
    *("qwen.qwen3-235b", "qwen.qwen3-32b", "qwen.qwen3-coder", "xai.grok", "zai.glm"),
)
_BEDROCK_PAGE = "Amazon Bedrock service tiers; ratio of all prices in LiteLLM 1.110.2"

_GEMINI_PAGE = "Gemini API price page; ratio of all prices in LiteLLM 1.110.2"
_GEMINI_NEW = ("gemini-3.6-flash", "gemini-3.7-flash", "gemini-3.8-flash", "gemini-4-argon")

# Of those that fit, the first one counts.
SURCHARGES = (
    Surcharge(
        "gemini",
        "service_tier",
        "flex",
        Decimal("0.5"),
        (
            *("gemini-2.5-flash-image", "gemini-3-pro-image", "gemini-3.1-flash-lite"),
            *_GEMINI_NEW,
        ),
        _GEMINI_PAGE,
    ),
    Surcharge(
        "gemini",
        "service_tier",
        "flex",
        Decimal("0.5"),
        ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash", "gemini-3.1-pro"),
        _GEMINI_PAGE,
        untouched=("cache_read", "cache_read_audio"),
    ),
    Surcharge(
        "gemini",
        "service_tier",
        "priority",
        Decimal("1.8"),
        (
            *("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash", "gemini-3-pro"),
            *("gemini-3.1-flash", "gemini-3.1-pro", "gemini-3.5-flash", "gemini-nano-banana"),
            *_GEMINI_NEW,
        ),
        _GEMINI_PAGE,
    ),
    Surcharge(
        "openai",
        "service_tier",
        "ultrafast",
        Decimal(6),
        ("gpt-6-astra", "gpt-6.1-sol"),
        "ratio of all `ultrafast` prices in LiteLLM 1.110.2, which cites OpenAI's price page",
    ),
    Surcharge(
        "bedrock", "service_tier", "priority", Decimal("1.75"), _BEDROCK_TIERED, _BEDROCK_PAGE
    ),
    Surcharge("bedrock", "service_tier", "flex", Decimal("0.5"), _BEDROCK_TIERED, _BEDROCK_PAGE),
    Surcharge(
        "bedrock",
        "speed",
        "optimized",
        Decimal("1.25"),
        (
            *("anthropic.claude-3-5-haiku", "amazon.nova-pro"),
            *("meta.llama3-1-70b", "meta.llama3-1-405b"),
        ),
        "Amazon Bedrock price page, latency-optimized inference: a quarter above the plain price",
        is_certain=False,
    ),
)

# OpenAI's regional hosts cost a tenth more from GPT-5.4 on, and from the second realtime model on.
REGIONAL_FACTOR = Decimal("1.1")
_CERTAIN_REGIONS = frozenset({"us", "eu"})
_REGIONAL_HOST_END = ".api.openai.com"
_REGIONAL_MODELS = ("gpt-5.4", "gpt-5.5", "gpt-5.6", "gpt-6", "gpt-realtime-2", "gpt-live")
_SCOPES = ("global.", "regional.")


def surcharge(provider: str, model: str, selector: str, value: str) -> Surcharge | None:
    """The rule for a model's id, as the price data names it, its scope on Bedrock left out."""
    for scope in _SCOPES:
        model = model.removeprefix(scope)
    for row in SURCHARGES:
        is_named = (row.provider, row.selector, row.value) == (provider, selector, value)
        if is_named and model.startswith(row.models):
            return row
    return None


def host_region(base_url: str) -> str | None:
    """The region in the name of an OpenAI host, which is the only place that tells it."""
    host = urlsplit(base_url).hostname or ""
    return host.removesuffix(_REGIONAL_HOST_END) if host.endswith(_REGIONAL_HOST_END) else None


def regional(model: str, region: str | None) -> tuple[Decimal, bool]:
    """The factor of an OpenAI host's region, and whether that is certain."""
    if region is None or (model and not model.startswith(_REGIONAL_MODELS)):
        return Decimal(1), True
    return REGIONAL_FACTOR, region in _CERTAIN_REGIONS
