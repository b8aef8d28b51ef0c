"""Fees of tools that run at the provider: what a unit costs, since when, and who says so."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from gateway.pricing.compile import FEE_KINDS, PriceRow


class Fee(NamedTuple):
    """USD per thousand units from a day (UTC) on, for models whose id begins so; empty: for all."""

    kind: str
    usd_per_kcount: Decimal
    since: date
    source: str
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    is_above_data: bool = False
    """Stronger than what the price data publishes, which leaves this case out."""


# Of those that fit, the last one counts.
FEES = (
    Fee(
        "web_search",
        Decimal(10),
        date(2025, 5, 7),
        "Anthropic and OpenAI price pages: $10 per 1,000 searches",
    ),
    Fee(
        "web_search",
        Decimal(14),
        date(2025, 11, 18),
        "Gemini API price page, Grounding with Google Search: $14 per 1,000 queries from 3 on",
        providers=("gemini",),
    ),
    Fee(
        "web_search",
        Decimal(35),
        date(2024, 10, 31),
        "Gemini API price page, Grounding with Google Search: $35 per 1,000 grounded prompts",
        providers=("gemini",),
        models=("gemini-1", "gemini-2"),
    ),
    Fee(
        "web_search",
        Decimal(5),
        date(2025, 5, 21),
        "xAI price page, server-side tools: $5 per 1,000 calls, as its reported costs confirm",
        providers=("xai",),
    ),
    Fee(
        "web_search",
        Decimal(5),
        date(2025, 8, 5),
        "Groq price page, built-in tools: $5 per 1,000 basic searches",
        providers=("groq",),
    ),
    Fee(
        "web_search_preview",
        Decimal(10),
        date(2025, 3, 11),
        "OpenAI price page, web search preview with reasoning models: $10 per 1,000 calls",
    ),
    Fee(
        "web_search_preview",
        Decimal(25),
        date(2025, 3, 11),
        "OpenAI price page, web search preview with other models: $25 per 1,000 calls",
        models=("gpt-4o", "gpt-4.1"),
    ),
    Fee(
        "file_search",
        Decimal("2.5"),
        date(2025, 3, 11),
        "OpenAI price page, file search tool call: $2.50 per 1,000",
    ),
    Fee(
        "container",
        Decimal(30),
        date(2025, 5, 21),
        "OpenAI price page, containers: $0.03 a session of 1 GB, larger ones in proportion",
    ),
    *(
        Fee(
            kind,
            usd_per_kcount,
            date(2025, 3, 11),
            "Azure OpenAI price page, as LiteLLM 1.110.2 reads it: search $0.014, session $0.033",
            providers=("azure_openai",),
            is_above_data=True,
        )
        for kind, usd_per_kcount in (
            ("web_search", Decimal(14)),
            ("web_search_preview", Decimal(14)),
            ("container", Decimal(33)),
        )
    ),
)


def fee(
    kind: str, provider: str, model: str, day: date, published: Decimal | None = None
) -> Decimal:
    """USD per thousand units of a tool's work; `published` is what the price data says, if so."""
    fitting = [row for row in FEES if row.kind == kind and _fits(row, provider, model)]
    # Before its first day a fee is taken at its first price: unknown is not zero.
    begun = [row for row in fitting if row.since <= day] or fitting[:1]
    above = [row for row in begun if row.is_above_data]
    if published is not None and not above:
        return published
    return (above or begun)[-1].usd_per_kcount


def _fits(row: Fee, provider: str, model: str) -> bool:
    return (not row.providers or provider in row.providers) and (
        not row.models or model.startswith(row.models)
    )


def with_fees(
    rows: Iterable[PriceRow], provider: str, model: str, day: date
) -> tuple[PriceRow, ...]:
    """The rows with a fee for every kind of tool; those that they have stay where they may."""
    return tuple(replace(row, usd=_completed(row.usd, provider, model, day)) for row in rows)


def _completed(
    usd: Mapping[str, Decimal], provider: str, model: str, day: date
) -> dict[str, Decimal]:
    fees = {kind: fee(kind, provider, model, day, usd.get(kind)) for kind in FEE_KINDS}
    return {**usd, **fees}
