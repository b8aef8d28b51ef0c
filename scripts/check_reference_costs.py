"""Compare our costs with the reference costs of recorded provider responses, to the last digit.

Usage: python -m scripts.check_reference_costs [RECORDINGS_DIRECTORY] [--table]
Twice: the reference's own counts through our prices, then the response's bytes through our meter
and our prices. Fees of tools and costs that a provider reports are left out, as the reference
leaves them out. `--table` prints the differences as the table of docs/pricing.md.
Exit status 0: all equal, or explained here; 1: some differ; 2: no recordings.
"""

import argparse
import json
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from gateway.domain.entry import Charge
from gateway.domain.money import pico_from_usd, usd_from_pico
from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, PriceSelectors, Usage, UsagePart, UsageSource
from gateway.pricing.book import PriceBook
from gateway.pricing.compile import plain_decimal
from scripts.check_recordings import Recording

OUR_NAME = {
    "x-ai": "xai",
    "google": "gemini",
    "google-vertex": "gemini",
    "azure": "azure_openai",
    "aws": "bedrock",
    "bedrock-mantle": "bedrock",
}
EXPLAINED = {
    "anthropic-anthropic-refusal": "a refusal before any output is not billed (usage.md 1.1); "
    "the reference prices its counts",
    "derived-anthropic-midstream-overloaded": "cut before its last usage: our estimate has the "
    "output that was seen, the reference the placeholder of the start (usage.md 1.1)",
    "derived-anthropic-truncated": "cut before its last usage: our estimate has the output that "
    "was seen, the reference the placeholder of the start (usage.md 1.1)",
    "google-test-compatible-api": "thinking shows in the total alone, and is output to us "
    "(usage.md 1.2)",
    "google-transcription-with-thoughts": "sound in the prompt has a rate of its own (usage.md "
    "1.5); the reference prices it as text",
    "google-vertex-test-google-vertex-service-tier-flex": "served as `flex`, at half the price "
    "(usage.md 1.5); the reference has no such variant",
    "mistral-mistral-v1-chat-completions-post-ccfa08da": "`magistral-medium-latest` means Mistral "
    "Medium 3.5 by the reference's date (Mistral's model card); the reference has the old model",
    "mistral-streaming-agent-sends-audio": "sound beside the prompt is billed by its seconds "
    "(Mistral's price page); the reference leaves it out",
}


class Difference(NamedTuple):
    """One recording whose two costs are not the same."""

    name: str
    ours_usd: str
    reference_usd: str
    why: str | None


def usage_of(counts: dict[str, int]) -> Usage:
    """Our disjoint counts of the reference's overlapping ones."""
    cache_read = counts.get("cache_read_tokens", 0)
    cache_read_audio = counts.get("cache_audio_read_tokens", 0)
    writes = counts.get("cache_write_tokens", 0)
    write_1h = counts.get("cache_write_1h_tokens", 0)
    audio = counts.get("input_audio_tokens", 0) - cache_read_audio
    output_audio = counts.get("output_audio_tokens", 0)
    return Usage(
        input_uncached_tokens=counts.get("input_tokens", 0) - cache_read - writes - audio,
        cache_read_tokens=cache_read - cache_read_audio,
        cache_read_audio_tokens=cache_read_audio,
        cache_write_1h_tokens=write_1h,
        cache_write_unsplit_tokens=writes - write_1h,
        input_audio_tokens=audio,
        output_tokens=counts.get("output_tokens", 0) - output_audio,
        output_audio_tokens=output_audio,
    )


def measured_by_reference(cost: dict[str, Any]) -> Measurement:
    """The measurement that a meter should have made of this recording, tool fees left out."""
    parts = cost["parts"]
    return Measurement(
        parts=tuple(
            UsagePart(
                model=part["model"] if len(parts) > 1 else None, usage=usage_of(part["usage"])
            )
            for part in parts
        ),
        source=UsageSource.EXACT,
        response_model=parts[0]["model"],
        selectors=PriceSelectors(service_tier=cost["price_context"].get("service_tier")),
    )


def measured_by_us(recording: Recording) -> Measurement:
    """Our meter's measurement, without what no token costs."""
    facts = replace(recording.facts(), cache_ttls=recording.requested_ttls())
    measured = recording.measure([recording.body], facts)
    parts = tuple(
        replace(
            part,
            usage=replace(
                part.usage,
                web_search_requests=0,
                web_search_preview_requests=0,
                file_search_calls=0,
                container_gigabytes=0,
            ),
        )
        for part in measured.parts
    )
    return replace(measured, parts=parts, provider_cost_pico_usd=None)


def charged(book: PriceBook, cost: dict[str, Any], measured: Measurement, at: datetime) -> Charge:
    model = cost["parts"][0]["model"]
    return book.charge(
        provider=OUR_NAME.get(cost["provider"], cost["provider"]),
        request_model=model,
        measurement=measured,
        facts=RequestFacts(model=model, is_streaming=False, body_bytes=0),
        at=at,
    )


def difference(name: str, charge: Charge, cost: dict[str, Any]) -> Difference | None:
    """None where our cost is the reference's."""
    ours_pico_usd = charge.amounts.total_pico_usd
    if ours_pico_usd == pico_from_usd(Decimal(cost["token_usd"])) and not charge.is_ceiling:
        return None
    why = next((why for start, why in EXPLAINED.items() if name.startswith(start)), None)
    ours_usd = plain_decimal(usd_from_pico(ours_pico_usd))
    flag = " (ceiling)" if charge.is_ceiling else ""
    return Difference(name, f"{ours_usd}{flag}", plain_decimal(Decimal(cost["token_usd"])), why)


def compare(directory: Path, reference: dict[str, Any]) -> tuple[list[Difference], int, int, int]:
    """Differences, how many are equal by the reference's counts and by our meter, and of all."""
    at = datetime.fromisoformat(reference["timestamp"])
    book = PriceBook.load(at)
    sidecars = {path.stem: path for path in directory.glob("*/*.json")}
    found: list[Difference] = []
    by_rules = by_meter = total = 0
    for name, cost in sorted(reference["costs"].items()):
        if "parts" not in cost:
            continue
        total += 1
        rules = charged(book, cost, measured_by_reference(cost), at)
        if (by_rule := difference(name, rules, cost)) is None:
            by_rules += 1
        else:
            found.append(by_rule._replace(name=f"{name} (its counts)"))
        metered = charged(book, cost, measured_by_us(Recording(sidecars[name])), at)
        if (by_us := difference(name, metered, cost)) is None:
            by_meter += 1
        else:
            found.append(by_us)
    return found, by_rules, by_meter, total


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare our costs with the reference's.")
    parser.add_argument("directory", nargs="?", type=Path, default=Path("../shared/recordings"))
    parser.add_argument("--table", action="store_true", help="the differences as a table")
    arguments = parser.parse_args()
    path = arguments.directory / "reference_costs.json"
    if not path.is_file():
        print(f"no recordings at {arguments.directory}: give their directory as the argument")
        return 2
    reference = json.loads(path.read_text())
    found, by_rules, by_meter, total = compare(arguments.directory, reference)
    unpriced = len(reference["costs"]) - total
    for each in found:
        why = each.why or "NOT EXPLAINED"
        if arguments.table:
            print(f"| `{each.name}` | {each.ours_usd} | {each.reference_usd} | {why} |")
        else:
            print(f"{each.name}: ours {each.ours_usd}, reference {each.reference_usd}: {why}")
    print(
        f"{by_rules} / {total} equal by the reference's counts, {by_meter} / {total} by our meter, "
        f"{sum(each.why is not None for each in found)} explained; "
        f"{unpriced} without a reference price"
    )
    return 0 if all(each.why for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
