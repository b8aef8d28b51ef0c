"""What is asked of every contender: the answer's shape, how many at once, how often."""

import json
from dataclasses import dataclass

PROMPT = 'Lorem ipsum dolor sit amet, "quoted" text. '
MODEL = "claude-sonnet-4-6"
KB, MB = 1024, 1024 * 1024
_SCALE_MS = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`word` tells the mock provider what to answer; see provider.c."""

    name: str
    says: str
    word: str
    is_stream: bool = True
    connections: int
    requests: int
    warm_up: int = 0
    seconds_max: float = 25.0
    ramp_ms: int = 0
    prompt_bytes: int = KB
    rounds_max: int = 100
    per_event: bool = False
    """The figure is CPU per 1,000 events, else CPU per request."""
    is_ratio: bool = True
    """CPU is compared with the bare relay's; else time or memory is the figure."""
    is_fresh: bool = False
    """Every contender is started anew, since memory once used is not given back."""
    is_stalled: bool = False
    is_scale: bool = False
    """The same work at another size: of interest for the gateway and the bare relay alone."""
    has_probe: bool = False
    """A second load asks for a stream of one event each 2 ms, whose longest delay is a block."""

    @property
    def body(self) -> bytes:
        """The order of fields is that of Anthropic's SDK: the prompt stands before the model."""
        text = (PROMPT * (self.prompt_bytes // len(PROMPT) + 1))[: self.prompt_bytes]
        document: dict[str, object] = {
            "max_tokens": 1024,
            "messages": [{"role": "user", "content": text}],
            "model": MODEL,
            "metadata": {"user_id": self.word},
        }
        if self.is_stream:
            document["stream"] = True
        return json.dumps(document, separators=(",", ":")).encode()


def _prompt(name: str, says: str, prompt_bytes: int, requests: int) -> Scenario:
    return Scenario(
        name=name,
        says=f"A prompt of {says}, answered by JSON, on 4 connections.",
        word="mock",
        is_stream=False,
        connections=4,
        requests=requests,
        warm_up=max(4, requests // 10),
        prompt_bytes=prompt_bytes,
        rounds_max=3,
        has_probe=True,
    )


def _streams(count: int, interval_ms: int) -> Scenario:
    """5,000 events a second, however many streams they come from, and 26 events a request."""
    wave_ms = 20 * interval_ms
    return Scenario(
        name=f"streams_{count}",
        says=f"{count:,} streams, one event each {interval_ms:,} ms: 5,000 events/s.",
        word=f"mock-n20-i{interval_ms}",
        connections=count,
        requests=count * max(1, _SCALE_MS // wave_ms),
        seconds_max=60,
        ramp_ms=max(500, interval_ms),
        rounds_max=2,
        per_event=True,
        is_scale=True,
    )


def _json(count: int) -> Scenario:
    return Scenario(
        name=f"json_{count}",
        says=f"JSON answers on {count:,} connections.",
        word="mock",
        is_stream=False,
        connections=count,
        requests=max(1000, count * 2),
        warm_up=max(100, count),
        rounds_max=2,
        is_scale=True,
    )


ALL: tuple[Scenario, ...] = (
    Scenario(
        name="burst",
        says="206 events, 28.7 KB, in one write of the provider, on 32 connections.",
        word="mock-n200",
        connections=32,
        requests=1000,
        warm_up=100,
        seconds_max=20,
    ),
    Scenario(
        name="json",
        says="A JSON answer of 431 bytes, on 32 connections.",
        word="mock",
        is_stream=False,
        connections=32,
        requests=2000,
        warm_up=200,
        seconds_max=20,
    ),
    Scenario(
        name="paced",
        says="250 streams of 100 events, one each 50 ms: 5,000 events/s.",
        word="mock-n100-i50",
        connections=250,
        requests=250,
        ramp_ms=500,
        per_event=True,
    ),
    Scenario(
        name="paced_hi",
        says="750 streams of 100 events, one each 50 ms: 15,000 events/s.",
        word="mock-n100-i50",
        connections=750,
        requests=750,
        ramp_ms=1500,
        rounds_max=5,
        per_event=True,
    ),
    Scenario(
        name="short",
        says="16 events on one connection at rest: time to the first byte, against no proxy.",
        word="mock-n10",
        connections=1,
        requests=400,
        warm_up=50,
        is_ratio=False,
    ),
    Scenario(
        name="events",
        says="The delay that each of 5,000 events/s gets (250 streams), against no proxy.",
        word="mock-n60-i50",
        connections=250,
        requests=250,
        ramp_ms=500,
        rounds_max=5,
        is_ratio=False,
    ),
    Scenario(
        name="mem",
        says="1,000 streams open at once, one event each 500 ms: resident memory a stream.",
        word="mock-n16-i500",
        connections=1000,
        requests=1000,
        ramp_ms=2000,
        rounds_max=3,
        is_ratio=False,
        is_fresh=True,
    ),
    Scenario(
        name="stalled",
        says="100 clients that read the head of a 14 MB answer and then nothing, for 5 s.",
        word="mock-n100000",
        connections=100,
        requests=100,
        seconds_max=5,
        rounds_max=3,
        is_ratio=False,
        is_fresh=True,
        is_stalled=True,
    ),
    _prompt("prompt_1k", "1 KB", KB, 400),
    _prompt("prompt_100k", "100 KB", 100 * KB, 200),
    _prompt("prompt_1m", "1 MB", MB, 60),
    _prompt("prompt_10m", "10 MB", 10 * MB, 12),
    _json(1),
    _json(256),
    _json(2000),
    _streams(50, 10),
    _streams(500, 100),
    _streams(5000, 1000),
)
BY_NAME = {scenario.name: scenario for scenario in ALL}
GROUPS = {
    "main": ("burst", "json", "paced", "paced_hi", "short", "events", "mem", "stalled"),
    "big_prompt": ("prompt_1k", "prompt_100k", "prompt_1m", "prompt_10m"),
    "scale": ("json_1", "json_256", "json_2000", "streams_50", "streams_500", "streams_5000"),
    "all": tuple(BY_NAME),
}


def chosen(names: str) -> list[Scenario]:
    """Scenarios and groups of a comma-separated list, in its order.

    Raises:
        KeyError: names the one that does not exist.
    """
    found: dict[str, Scenario] = {}
    for name in filter(None, names.split(",")):
        for member in GROUPS.get(name, (name,)):
            found[member] = BY_NAME[member]
    return list(found.values())
