"""Compare our costs with the reference costs of recorded provider responses, to the last digit.

Usage: python scripts/check_reference_costs.py [RECORDINGS_DIRECTORY]
Prints equal / all and each difference. Exit status 0: all equal; 1: some differ; 2: no recordings.
"""

import json
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.domain.money import pico_from_usd, usd_from_pico
from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, PriceSelectors, Usage, UsagePart, UsageSource
from gateway.pricing.book import PriceBook

OUR_NAME = {"x-ai": "xai", "google": "gemini", "azure": "azure_openai", "aws": "bedrock"}


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


def measured(cost: dict[str, Any]) -> Measurement:
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


def difference(book: PriceBook, cost: dict[str, Any], at: datetime) -> str | None:
    """None where our cost is the reference's."""
    provider = OUR_NAME.get(cost["provider"], cost["provider"])
    model = cost["parts"][0]["model"]
    charge = book.charge(
        provider=provider,
        request_model=model,
        measurement=measured(cost),
        facts=RequestFacts(model=model, is_streaming=False, body_bytes=0),
        at=at,
    )
    reference_pico_usd = pico_from_usd(Decimal(cost["token_usd"]))
    if charge.amounts.total_pico_usd == reference_pico_usd and not charge.is_ceiling:
        return None
    ours = usd_from_pico(charge.amounts.total_pico_usd)
    flag = ", at the ceiling" if charge.is_ceiling else ""
    return f"{provider} {model}: ours {ours.normalize():f}, reference {cost['token_usd']}{flag}"


def main(directory: Path) -> int:
    path = directory / "reference_costs.json"
    if not path.is_file():
        print(f"no recordings at {directory}: give their directory as the argument")
        return 2
    reference = json.loads(path.read_text())
    at = datetime.fromisoformat(reference["timestamp"])
    book = PriceBook.load(at)
    equal, total, unpriced = 0, 0, []
    for name, cost in sorted(reference["costs"].items()):
        if "parts" not in cost:
            unpriced.append(name)
            continue
        total += 1
        found = difference(book, cost, at)
        equal += found is None
        if found is not None:
            print(f"differs: {name}: {found}")
    print(f"{equal} / {total} equal; {len(unpriced)} without a reference price")
    return 0 if equal == total else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/recordings")))
