"""Answers of providers, written by hand, with what each one uses and costs.

Rates in USD per million tokens, as the price data has them for 2026-11: claude-sonnet-4-6 input 3,
output 15, cache read 0.30, cache write 3.75 (5 minutes) and 6 (1 hour); gpt-4o-mini input 0.15,
cached input 0.075, output 0.60; gpt-4o input 2.50, output 10; gpt-5 input 1.25, output 10.
"""

import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1] / "transcripts"
SONNET = "claude-sonnet-4-6"
GPT = "gpt-4o-mini"


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """One answer: its bytes, its id, the ledger's counts, and the exact amount."""

    name: str
    response_id: str
    model: str
    amount_usd: Decimal
    counts: dict[str, int] = field(default_factory=dict)
    """Columns of the ledger that are not zero."""

    @property
    def body(self) -> bytes:
        return (_ROOT / self.name).read_bytes()

    @property
    def is_stream(self) -> bool:
        return self.name.endswith(".sse")

    @property
    def content_type(self) -> str:
        return "text/event-stream; charset=utf-8" if self.is_stream else "application/json"

    @property
    def events(self) -> list[bytes]:
        """The frames of a stream, each with the blank line that ends it."""
        return [frame + b"\n\n" for frame in self.body.split(b"\n\n")[:-1]]

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)


ANTHROPIC_STREAM = Transcript(
    name="anthropic.messages/text.sse",
    response_id="msg_text_stream",
    model="claude-sonnet-4-6",
    counts={"input_uncached_tokens": 120, "output_tokens": 12},
    # 120 x 3 + 12 x 15 = 540 millionths.
    amount_usd=Decimal("0.000540"),
)
ANTHROPIC_THINKING_TOOLS_STREAM = Transcript(
    name="anthropic.messages/thinking_tools.sse",
    response_id="msg_thinking_tools",
    model="claude-sonnet-4-6",
    counts={
        "input_uncached_tokens": 2095,
        "cache_read_tokens": 18000,
        "cache_write_5m_tokens": 1000,
        "cache_write_1h_tokens": 500,
        "output_tokens": 503,
    },
    # 2095 x 3 + 18000 x 0.30 + 1000 x 3.75 + 500 x 6 + 503 x 15
    # = 6285 + 5400 + 3750 + 3000 + 7545 = 25980 millionths.
    amount_usd=Decimal("0.025980"),
)
ANTHROPIC_TEXT = Transcript(
    name="anthropic.messages/text.json",
    response_id="msg_text",
    model="claude-sonnet-4-6",
    counts={"input_uncached_tokens": 40, "output_tokens": 9},
    # 40 x 3 + 9 x 15 = 255 millionths.
    amount_usd=Decimal("0.000255"),
)
ANTHROPIC_TOOLS = Transcript(
    name="anthropic.messages/tools.json",
    response_id="msg_tools",
    model="claude-sonnet-4-6",
    counts={
        "input_uncached_tokens": 380,
        "cache_read_tokens": 1024,
        "cache_write_5m_tokens": 256,
        "output_tokens": 61,
    },
    # 380 x 3 + 1024 x 0.30 + 256 x 3.75 + 61 x 15 = 1140 + 307.2 + 960 + 915 = 3322.2 millionths.
    amount_usd=Decimal("0.0033222"),
)
OPENAI_STREAM = Transcript(
    name="openai.chat/text.sse",
    response_id="chatcmpl-text-stream",
    model="gpt-4o-mini-2024-07-18",
    counts={"input_uncached_tokens": 31, "output_tokens": 9},
    # 31 x 0.15 + 9 x 0.60 = 4.65 + 5.40 = 10.05 millionths.
    amount_usd=Decimal("0.00001005"),
)
OPENAI_TOOLS_STREAM = Transcript(
    name="openai.chat/tools.sse",
    response_id="chatcmpl-tools-stream",
    model="gpt-4o-mini-2024-07-18",
    counts={"input_uncached_tokens": 176, "cache_read_tokens": 1024, "output_tokens": 28},
    # (1200 - 1024) x 0.15 + 1024 x 0.075 + 28 x 0.60 = 26.4 + 76.8 + 16.8 = 120 millionths.
    amount_usd=Decimal("0.00012"),
)
OPENAI_TEXT = Transcript(
    name="openai.chat/text.json",
    response_id="chatcmpl-text",
    model="gpt-4o-mini-2024-07-18",
    counts={"input_uncached_tokens": 25, "output_tokens": 7},
    # 25 x 0.15 + 7 x 0.60 = 3.75 + 4.20 = 7.95 millionths.
    amount_usd=Decimal("0.00000795"),
)
OPENAI_TOOLS = Transcript(
    name="openai.chat/tools.json",
    response_id="chatcmpl-tools",
    model="gpt-4o-mini-2024-07-18",
    counts={"input_uncached_tokens": 82, "output_tokens": 17},
    # 82 x 0.15 + 17 x 0.60 = 12.3 + 10.2 = 22.5 millionths.
    amount_usd=Decimal("0.0000225"),
)
OPENAI_STRUCTURED = Transcript(
    name="openai.chat/structured.json",
    response_id="chatcmpl-structured",
    model="gpt-4o-2024-08-06",
    counts={"input_uncached_tokens": 90, "output_tokens": 14},
    # 90 x 2.50 + 14 x 10 = 225 + 140 = 365 millionths.
    amount_usd=Decimal("0.000365"),
)
OPENAI_REASONING = Transcript(
    name="openai.chat/reasoning.json",
    response_id="chatcmpl-reasoning",
    model="gpt-5-2025-08-07",
    counts={"input_uncached_tokens": 64, "output_tokens": 320, "reasoning_tokens": 300},
    # 64 x 1.25 + 320 x 10 = 80 + 3200 = 3280 millionths.
    amount_usd=Decimal("0.00328"),
)
TRANSCRIPTS = (
    ANTHROPIC_STREAM,
    ANTHROPIC_THINKING_TOOLS_STREAM,
    ANTHROPIC_TEXT,
    ANTHROPIC_TOOLS,
    OPENAI_STREAM,
    OPENAI_TOOLS_STREAM,
    OPENAI_TEXT,
    OPENAI_TOOLS,
    OPENAI_STRUCTURED,
    OPENAI_REASONING,
)


def without_usage(stream: bytes) -> bytes:
    """An OpenAI stream as it comes where the request does not ask for usage."""
    frames = [frame + b"\n\n" for frame in stream.split(b"\n\n")[:-1]]
    kept = [frame for frame in frames if b'"choices":[]' not in frame]
    return b"".join(kept).replace(b',"usage":null', b"")


def without_usage_chunk(stream: bytes) -> bytes:
    """What a client hears that did not ask for usage where the gateway did: one chunk less."""
    frames = [frame + b"\n\n" for frame in stream.split(b"\n\n")[:-1]]
    return b"".join(frame for frame in frames if b'"choices":[]' not in frame)


def spending(amount_usd: Decimal | str) -> bytes:
    """A whole Anthropic message that costs so much: output at 15 USD a million tokens."""
    tokens = Decimal(amount_usd) * 1_000_000 / 15
    assert tokens == int(tokens), "pick an amount that is a whole number of tokens"
    document = ANTHROPIC_TEXT.document
    document["usage"] |= {"input_tokens": 0, "output_tokens": int(tokens)}
    return json.dumps(document).encode()
