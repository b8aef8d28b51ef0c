"""Compare what the meters measure with what recorded provider responses must give.

Usage: python scripts/check_recordings.py [RECORDINGS_DIRECTORY] [--splits N] [--format F ...]
Each recording is fed whole and under N random splits of its bytes; a stream of text also with
other line endings, with a byte order mark and with comments between its events.
Exit status 0: all equal; 1: some differ; 2: no recordings.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gateway.domain.money import pico_from_usd
from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, UsageSource
from gateway.meter.meter import meter_for
from gateway.wire.cache_breakpoints import cache_ttls

SEED = 20261123
OUR_NAME = {"x-ai": "xai", "azure": "azure_openai", "aws": "bedrock"}
DIALECTS = {
    "anthropic.messages": Dialect.ANTHROPIC_MESSAGES,
    "openai.chat": Dialect.OPENAI_CHAT,
    "openai.completions": Dialect.OPENAI_COMPLETIONS,
    "openai.embeddings": Dialect.OPENAI_EMBEDDINGS,
    "openai.responses": Dialect.OPENAI_RESPONSES,
    "gemini": Dialect.GEMINI,
    "bedrock.converse": Dialect.BEDROCK,
    "bedrock.converse-stream": Dialect.BEDROCK,
    "bedrock.invoke": Dialect.BEDROCK,
    "bedrock.invoke-stream": Dialect.BEDROCK,
}
REPORTS_ITS_BILL = {"openrouter", "perplexity", "xai"}
_COUNTS = {
    "cache_read": "cache_read_tokens",
    "cache_write_5m": "cache_write_5m_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "cache_write_unsplit": "cache_write_unsplit_tokens",
}


class Recording:
    """A response body and its sidecar."""

    def __init__(self, sidecar: Path) -> None:
        self.name = f"{sidecar.parent.name}/{sidecar.stem}"
        self.sidecar: dict[str, Any] = json.loads(sidecar.read_text())
        self.expected: dict[str, Any] = self.sidecar["expected"]
        self.body = (sidecar.parent / self.sidecar["body_file"]).read_bytes()
        name = self.sidecar["provider"]
        self.provider = OUR_NAME.get(name, name)

    @property
    def is_text_stream(self) -> bool:
        return self.sidecar["body_file"].endswith(".sse")

    def facts(self) -> RequestFacts:
        """Without the cache TTLs: what is expected was read from the response alone."""
        request = self.sidecar["request"] or {}
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        return RequestFacts(
            model=self.sidecar["request_model"] or self.sidecar["model"] or "unknown",
            is_streaming=bool(self.sidecar["stream"]),
            body_bytes=len(json.dumps(request)),
            max_output_tokens=limit if isinstance(limit, int) else None,
            choice_count=request.get("n") or 1,
            usage_was_requested=bool((request.get("stream_options") or {}).get("include_usage")),
        )

    def requested_ttls(self) -> tuple[str, ...]:
        request = self.sidecar["request"]
        return cache_ttls(request, json.dumps(request).encode()) if request else ()

    def content_type(self) -> str:
        if known := self.sidecar["content_type"]:
            return str(known)
        return "text/event-stream" if self.is_text_stream else "application/json"

    def measure(self, pieces: list[bytes], facts: RequestFacts) -> Measurement:
        meter = meter_for(
            dialect=DIALECTS[self.sidecar["format"]],
            provider=self.provider,
            facts=facts,
            content_type=self.content_type(),
            content_encoding=None,
            headers=[
                (str(name), str(value))
                for name, value in (self.sidecar.get("response_headers") or {}).items()
            ],
        )
        for piece in pieces:
            meter.feed(piece)
        return meter.finish()


def expected_counts(recording: Recording) -> dict[str, int]:
    """The billable counts: of all iterations where there are some, with audio beside the text."""
    expected = recording.expected
    counts: dict[str, Any] = expected.get("iterations_sum") or expected
    found = {name: counts[name] for name in _COUNTS}
    found["input"] = counts["input_tokens"] + sum(found.values())
    found["output"] = counts["output_tokens"]
    raw = expected.get("final_usage_raw") or {}
    total = expected.get("total_tokens_reported")
    if total is not None and recording.provider == "mistral":
        # Sound stands beside the prompt, and is billed by its seconds.
        found["audio_ms"] = 1000 * raw["prompt_audio_seconds"]
    if total is not None and recording.provider == "google":
        # Thinking shows in the total alone, which the oracle gives without adding it.
        found["output"] = total - found["input"]
    if set(raw) == {"total_tokens"}:
        # The oracle reads `prompt_tokens` only; an embedding has nothing but a prompt.
        found["input"] = raw["total_tokens"]
    found["web_search"] = expected["web_search_requests"] or 0
    if str(expected.get("model")).startswith(("gemini-1.", "gemini-2.")):
        # The oracle counts queries; before Gemini 3 the fee is for a grounded prompt.
        found["web_search"] = min(found["web_search"], 1)
    return found


def measured_counts(measurement: Measurement) -> dict[str, int]:
    usage = measurement.usage
    found = {name: getattr(usage, field) for name, field in _COUNTS.items()}
    found["cache_read"] += usage.cache_read_audio_tokens
    found["input"] = usage.input_tokens
    found["output"] = usage.all_output_tokens
    found["web_search"] = usage.web_search_requests + usage.web_search_preview_requests
    found["audio_ms"] = usage.input_audio_ms
    return found


def expected_cost(recording: Recording) -> int | None:
    """What the provider charges by its own word, where that is its bill."""
    expected = recording.expected
    reported = expected.get("provider_cost_usd")
    if reported is None and recording.provider == "perplexity":
        # The oracle reads it of chats only; embeddings have it in the same place.
        raw = expected.get("final_usage_raw") or {}
        reported = str(raw.get("cost", {}).get("total_cost"))
    if reported is None or recording.provider not in REPORTS_ITS_BILL or expected.get("is_byok"):
        return None
    return pico_from_usd(Decimal(reported))


def ends_with_usage(recording: Recording) -> bool:
    """Whether the last usage came: an Anthropic stream that broke off has the first one only."""
    expected = recording.expected
    if not expected["usage_present"] or is_never_certain(recording):
        return False
    is_anthropic = recording.sidecar["format"] == "anthropic.messages"
    return not (is_anthropic and recording.is_text_stream and expected.get("stop_reason") is None)


def is_never_certain(recording: Recording) -> bool:
    """The last counts are there and may not be the bill.

    A Gemini stream that broke off, a damaged frame, a container whose fee no response tells, or a
    fallback that does not say why the first model declined.
    """
    expected = recording.expected
    return (
        (recording.sidecar["format"] == "gemini" and expected["terminal"] == "truncated")
        or "CRC flipped" in (recording.sidecar.get("derivation") or "")
        or "shell_call" in (expected.get("tool_calls_output") or {})
        or bool(expected.get("containers"))
        or (
            "block:fallback" in (recording.sidecar.get("features") or [])
            and b'"trigger"' not in recording.body
        )
    )


def differences(recording: Recording, measurement: Measurement) -> Iterator[str]:
    """What is not as it must be, one sentence each."""
    expected, has_usage = expected_counts(recording), ends_with_usage(recording)
    measured = measured_counts(measurement)
    for name, count in expected.items():
        is_known = has_usage or (
            recording.expected["usage_present"]
            and (name != "output" or is_never_certain(recording))
        )
        if is_known and measured[name] != count:
            yield f"{name}: measured {measured[name]}, expected {count}"
    is_estimated = measurement.source is UsageSource.ESTIMATED
    if is_estimated is has_usage:
        yield f"source: {measurement.source}, usage is {'' if has_usage else 'not '}there"
    if not has_usage and not (measured["input"] and measured["output"]):
        yield f"an estimate of {measured['input']} in, {measured['output']} out"
    if measurement.provider_cost_pico_usd != (cost := expected_cost(recording)):
        yield f"cost: measured {measurement.provider_cost_pico_usd} pico-USD, expected {cost}"
    selectors = measurement.selectors
    for name in ("service_tier", "speed", "inference_geo"):
        if name in recording.expected and recording.expected[name] != getattr(selectors, name):
            yield f"{name}: {getattr(selectors, name)}, expected {recording.expected[name]}"
    if measurement.response_model != recording.expected.get("model"):
        yield f"model: {measurement.response_model}, expected {recording.expected.get('model')}"
    if "error" in recording.expected and measurement.error_type is None:
        yield f"no error, expected {recording.expected['error']}"


def split(body: bytes, chance: random.Random) -> list[bytes]:
    """Pieces of random lengths, from single bytes to most of it."""
    pieces, start = [], 0
    longest = chance.choice([3, 40, 700, 20_000])
    while start < len(body):
        end = start + chance.randint(1, longest)
        pieces.append(body[start:end])
        start = end
    return pieces


def _with_line_feeds(body: bytes) -> bytes:
    return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _with_comments(body: bytes) -> bytes:
    plain = _with_line_feeds(body).removeprefix(b"\xef\xbb\xbf")
    return b': {"usage":{"prompt_tokens":9}}\n' + plain.replace(b"\n\n", b"\n\n:\n: ping\n\n")


FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "LF": _with_line_feeds,
    "CRLF": lambda body: _with_line_feeds(body).replace(b"\n", b"\r\n"),
    "CR": lambda body: _with_line_feeds(body).replace(b"\n", b"\r"),
    "BOM": lambda body: b"\xef\xbb\xbf" + body.removeprefix(b"\xef\xbb\xbf"),
    "comments": _with_comments,
}


def check(recording: Recording, splits: int, chance: random.Random) -> tuple[list[str], int]:
    """The differences of one recording, and how many splits were tried."""
    facts = recording.facts()
    whole = recording.measure([recording.body], facts)
    found = list(differences(recording, whole))
    with_ttls = replace(facts, cache_ttls=recording.requested_ttls())
    if (
        recording.measure([recording.body], with_ttls).usage.input_tokens
        != whole.usage.input_tokens
    ):
        found.append("the cache TTLs of the request change the input's length")
    tried = 0
    variants = {"": recording.body}
    if recording.is_text_stream:
        variants |= {name: change(recording.body) for name, change in FRAMINGS.items()}
    for name, body in variants.items():
        as_whole = recording.measure([body], facts)
        if list(differences(recording, as_whole)) != list(differences(recording, whole)):
            found.append(f"with {name} framing: {list(differences(recording, as_whole))}")
        for _ in range(splits):
            tried += 1
            if recording.measure(split(body, chance), facts) != as_whole:
                found.append(f"a split of the {name or 'plain'} bytes gives something else")
                break
    return found, tried


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the meters with recorded responses.")
    parser.add_argument("directory", nargs="?", type=Path, default=Path("../shared/recordings"))
    parser.add_argument("--splits", type=int, default=20, help="random splits of each body")
    parser.add_argument("--format", nargs="+", choices=list(DIALECTS), default=list(DIALECTS))
    arguments = parser.parse_args()
    if not (arguments.directory / "manifest.json").is_file():
        print(f"no recordings at {arguments.directory}: give their directory as the argument")
        return 2
    chance = random.Random(SEED)  # noqa: S311 - repeatable splits, no secrets
    is_all_equal = True
    for name in arguments.format:
        equal = total = tried = skipped = 0
        for sidecar in sorted((arguments.directory / name).glob("*.json")):
            if sidecar.name.endswith(".body.json"):
                continue
            recording = Recording(sidecar)
            if recording.sidecar["status"] != 200:
                # Answers of other statuses never get a meter: nothing is booked for them.
                skipped += 1
                continue
            total += 1
            found, splits = check(recording, arguments.splits, chance)
            tried += splits
            equal += not found
            for difference in found:
                print(f"differs: {recording.name}: {difference}")
        is_all_equal = is_all_equal and equal == total
        print(f"{name}: {equal} / {total} equal, {tried} splits, {skipped} errors without a meter")
    return 0 if is_all_equal else 1


if __name__ == "__main__":
    sys.exit(main())
