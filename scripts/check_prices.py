"""Compare our compiled prices with a second source, model by model, rate by rate.

Usage: python -m scripts.check_prices [--refresh PRICE_FILE --version V --date YYYY-MM-DD]
The second source is LiteLLM's price file (MIT), whose facts about current models are kept in
tests/data/second_source_prices.json; `--refresh` writes that anew from the file of a release
(`model_prices_and_context_window_backup.json` in its wheel). A difference of more than a thousandth
fails, unless tests/data/price_exceptions.toml says why it stands.
Exit status 0: none, or all explained; 1: some differ, or an explanation is of no use any more.
"""

import argparse
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gateway.config_settings import PROVIDERS
from gateway.domain.clock import SystemClock
from gateway.pricing import source
from gateway.pricing.cards import CardMaker, RawSelectors, Terms
from gateway.pricing.compile import RateCard, RateRow, plain_decimal
from gateway.pricing.resolve import Resolved

DATA = Path(__file__).parents[1] / "tests" / "data"
FACTS = DATA / "second_source_prices.json"
EXCEPTIONS = DATA / "price_exceptions.toml"
TOLERANCE = Decimal("0.001")
_PLAIN: RawSelectors = (None, None, None)
_PROVIDERS = {
    "anthropic": "anthropic",
    "bedrock_converse": "bedrock",
    "deepseek": "deepseek",
    "gemini": "gemini",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "xai": "xai",
}
_MODES = {"chat", "responses", "completion", "embedding", "audio_transcription"}
_RATES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "input_audio": "input_cost_per_audio_token",
    "output_audio": "output_cost_per_audio_token",
    "output_image": "output_cost_per_image_token",
}
_TIERS = ("flex", "priority", "ultrafast")
# DeepSeek is dearer by day; the second source has that price.
_PEAK = (2, 0)


@dataclass(frozen=True, slots=True)
class Difference:
    """A rate that is not the same: `what` names it, its tier of length and its selector."""

    provider: str
    model: str
    what: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        return f"{self.provider} {self.model} {self.what}: ours {self.ours}, theirs {self.theirs}"


@dataclass(slots=True)
class Report:
    """What a comparison found."""

    differences: list[Difference] = field(default_factory=list)
    explained: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    unpriced: list[str] = field(default_factory=list)
    rates: int = 0
    stale: list[str] = field(default_factory=list)
    """Exceptions that explain nothing."""


def compare(at: datetime | None = None) -> Report:
    """Our prices against the kept facts, at the time that these are of."""
    kept = json.loads(FACTS.read_text())
    exceptions = tomllib.loads(EXCEPTIONS.read_text())["exception"]
    moment = at or datetime.fromisoformat(kept["date"]).replace(hour=12, tzinfo=UTC)
    report, used = Report(), set()
    for facts in kept["models"]:
        provider, model = facts["provider"], facts["model"]
        found = list(_differences(facts, moment, report))
        if found and found[0] is None:
            report.unpriced.append(f"{provider} {model}")
            continue
        report.models[provider] += 1
        for difference in found:
            assert difference is not None
            position = _explaining(exceptions, difference)
            if position is None:
                report.differences.append(difference)
            else:
                used.add(position)
                report.explained[exceptions[position]["reason"]] += 1
    report.stale = [
        f"{each['provider']} {each['model']}"
        for position, each in enumerate(exceptions)
        if position not in used
    ]
    return report


def _explaining(exceptions: list[dict[str, Any]], difference: Difference) -> int | None:
    for position, each in enumerate(exceptions):
        if (
            each["provider"] == difference.provider
            and fnmatchcase(difference.model, each["model"])
            and any(fnmatchcase(difference.what, what) for what in each["rates"])
        ):
            return position
    return None


def _differences(
    facts: dict[str, Any], at: datetime, report: Report
) -> Iterator[Difference | None]:
    """None alone where we have no price of our own: such a model is charged at a ceiling."""
    provider, model = facts["provider"], facts["model"]
    if provider == "deepseek":
        at = at.replace(hour=_PEAK[0], minute=_PEAK[1])
    maker = CardMaker(at, (), Terms())
    card = maker.own_card(provider, model, at)
    if card is None:
        yield None
        return

    def compared(what: str, ours: Decimal, theirs: str) -> Iterator[Difference]:
        report.rates += 1
        if abs(ours - Decimal(theirs)) > TOLERANCE * Decimal(theirs):
            yield Difference(provider, model, what, plain_decimal(ours), theirs)

    for kind, theirs in facts["rates"].items():
        yield from compared(kind, _usd(card, card.rows[0], kind), theirs)
    yield from _of_lengths(facts, card, compared)
    for tier, rates in facts.get("tiers", {}).items():
        tiered = maker.card(provider, (model,), (tier, None, None), at)
        if not tiered.is_ceiling:
            for kind, theirs in rates.items():
                yield from compared(f"{tier}/{kind}", _usd(tiered, tiered.rows[0], kind), theirs)
    for name, theirs in facts.get("factors", {}).items():
        raw = (None, "fast", None) if name == "fast" else (None, None, name)
        other = maker.card(provider, (model,), raw, at)
        if not other.is_ceiling:
            ours = _usd(other, other.rows[0], "input") / _usd(card, card.rows[0], "input")
            yield from compared(name, ours, theirs)
    if (theirs := facts.get("web_search_usd")) is not None:
        yield from compared("web_search", Decimal(card.rows[0].used["web_search"]), theirs)
    if (theirs := facts.get("audio_hour_usd")) is not None:
        yield from compared("audio_time", Decimal(card.rows[0].used["audio_time"]), theirs)


def _of_lengths(facts: dict[str, Any], card: RateCard, compared: Any) -> Iterator[Difference]:
    above = facts.get("above", {})
    ours, theirs = [row.start_tokens for row in card.rows[1:]], sorted(map(int, above))
    report_only = Difference(
        facts["provider"], facts["model"], "lengths", str(ours or "none"), str(theirs or "none")
    )
    if ours != theirs:
        yield report_only
    if len(ours) != len(theirs):
        return
    for row, start in zip(card.rows[1:], theirs, strict=True):
        for kind, rate in above[str(start)].items():
            yield from compared(f"above {start}/{kind}", _usd(card, row, kind), rate)


def _usd(card: RateCard, row: RateRow, kind: str) -> Decimal:
    rate: int = getattr(row, kind)
    return Decimal(rate) / card.scale / 10**6


def priced_models(at: datetime) -> int:
    """Models of the built-in providers and of their fallbacks, sold by tokens or by time."""
    return sum(
        bool(Resolved(model, provider).rows(at, {}))
        for provider in (*PROVIDERS, "bedrock")
        for model in source.models_of(provider)
    )


def refresh(path: Path, version: str, date: str) -> int:
    """Keep the facts that are compared, of models that are not past their end by `date`."""
    entries = json.loads(path.read_text(), parse_float=Decimal, parse_int=Decimal)
    models = []
    for name, entry in sorted(entries.items()):
        provider = _PROVIDERS.get(entry.get("litellm_provider", ""))
        model = name.removeprefix(f"{entry.get('litellm_provider')}/")
        is_wanted = (
            provider is not None
            and entry.get("mode") in _MODES
            and (provider != "bedrock" or ("anthropic." in model and "/" not in model))
            and not model.startswith("ft:")
            and (entry.get("deprecation_date") or "9999") >= date
        )
        if is_wanted:
            facts = {"provider": provider, "model": model, **_facts_of(entry)}
            if facts["rates"] or "audio_hour_usd" in facts:
                models.append(facts)
    models = [each for position, each in enumerate(models) if each not in models[:position]]
    kept = {
        "source": "LiteLLM, model_prices_and_context_window_backup.json, facts alone",
        "version": version,
        "licence": "MIT, Copyright (c) 2023 Berri AI",
        "date": date,
        "unit": "USD per million tokens; per search, per hour of sound; factors of input",
        "models": models,
    }
    FACTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(f"{len(models)} models kept in {FACTS}")
    return 0


def _facts_of(entry: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {"rates": _rates_of(entry, "")}
    starts = {
        key.rpartition("_above_")[2].removesuffix("k_tokens")
        for key in entry
        if key.startswith("input_cost_per_token_above_") and key.endswith("k_tokens")
    }
    if starts:
        facts["above"] = {
            str(int(start) * 1000): _rates_of(entry, f"_above_{start}k_tokens")
            for start in sorted(starts)
        }
    tiers = {tier: rates for tier in _TIERS if (rates := _rates_of(entry, f"_{tier}"))}
    if tiers:
        facts["tiers"] = tiers
    factors = entry.get("provider_specific_entry") or {}
    if factors:
        facts["factors"] = {name: plain_decimal(factor) for name, factor in factors.items()}
    searches = entry.get("search_context_cost_per_query") or {}
    if searches.get("search_context_size_medium"):
        facts["web_search_usd"] = plain_decimal(searches["search_context_size_medium"])
    if entry.get("mode") == "audio_transcription" and entry.get("input_cost_per_second"):
        facts["audio_hour_usd"] = plain_decimal(entry["input_cost_per_second"] * 3600)
    return facts


def _rates_of(entry: dict[str, Any], suffix: str) -> dict[str, str]:
    """Where the second source says zero it means that there is no such thing."""
    return {
        kind: plain_decimal(price * 10**6)
        for kind, key in _RATES.items()
        if (price := entry.get(key + suffix))
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare our prices with a second source.")
    parser.add_argument("--refresh", type=Path, help="LiteLLM's price file")
    parser.add_argument("--version", default="", help="the release that the file is of")
    parser.add_argument("--date", default="", help="the day that its prices are of")
    arguments = parser.parse_args()
    if arguments.refresh is not None:
        if not (arguments.version and arguments.date):
            parser.error("--refresh needs --version and --date")
        return refresh(arguments.refresh, arguments.version, arguments.date)
    report = compare()
    for difference in report.differences:
        print(f"differs: {difference}")
    for stale in report.stale:
        print(f"explains nothing: {stale}")
    for reason, count in report.explained.most_common():
        print(f"{count} explained: {reason}")
    print(f"{priced_models(SystemClock().now())} models have a price in the pinned data")
    models = ", ".join(f"{name} {count}" for name, count in sorted(report.models.items()))
    print(
        f"{report.rates} rates of {report.models.total()} models compared ({models}); "
        f"{len(report.differences)} differ, {report.explained.total()} explained; "
        f"{len(report.unpriced)} models are charged at a ceiling"
    )
    return 1 if report.differences or report.stale else 0


if __name__ == "__main__":
    sys.exit(main())
