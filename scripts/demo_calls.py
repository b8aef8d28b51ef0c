"""The demo's calls with the official SDKs: streams of both, and whole answers."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import openai
from rich.table import Table

from scripts.demo_screen import check, console

SONNET, GPT = "claude-sonnet-4-6", "gpt-4o-mini"
CAP_USD = "25.00"
# Long enough to cost some cents.
RULES = "You are the accountant of a small orchestra. Answer briefly and count twice. " * 400


def show_budget(headers: Any) -> None:
    table = Table(title="Budget headers", title_justify="left", show_header=False)
    for name in sorted(headers):
        if name.startswith("x-posthog-budget") or name == "x-gateway-simulated":
            table.add_row(name, headers[name])
    console.print(table)


def check_budget(headers: Any, status: str) -> None:
    spend = Decimal(headers.get("x-posthog-budget-spend-usd", "-1"))
    remaining = Decimal(headers.get("x-posthog-budget-remaining-usd", "-1"))
    is_right = (
        headers.get("x-posthog-budget") == status
        and headers.get("x-posthog-budget-cap-usd") == CAP_USD
        and spend >= 0
        and spend + remaining in {Decimal(CAP_USD), Decimal(CAP_USD) - Decimal("0.01")}
        and headers.get("x-posthog-budget-resets-at", "").endswith("-01T00:00:00Z")
    )
    check("the answer says where the team stands", is_right, dict(headers))


def stream_anthropic(url: str, key: str) -> None:
    """A Save Mode product: the breakpoint in the system prompt is raised to one hour."""
    system = [{"type": "text", "text": RULES, "cache_control": {"type": "ephemeral"}}]
    headers = {
        "x-posthog-property-feature": "demo",
        "x-posthog-flag-new-prompt": "variant-b",
        "x-posthog-trace-id": "demo-trace",
    }
    with (
        anthropic.Anthropic(base_url=f"{url}/posthog_code", api_key=key) as client,
        client.messages.stream(
            model=SONNET,
            max_tokens=64,
            system=system,  # type: ignore[arg-type]
            messages=[{"role": "user", "content": "How many cents has a dollar?"}],
            extra_headers=headers,
        ) as stream,
    ):
        text = print_pieces("anthropic", stream.text_stream)
        message = stream.get_final_message()
        show_budget(stream.response.headers)
        check_budget(stream.response.headers, "ok")
        check("the simulated provider says that it is one", is_simulated(stream.response.headers))
    check("the streamed text is the whole message", text == message.content[0].text, text)  # type: ignore[union-attr]


def stream_openai(url: str, key: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=GPT,
            stream=True,
            messages=[{"role": "user", "content": "And how many has a penny?"}],
        )
        chunks = []

        def pieces() -> Iterator[str]:
            for chunk in raw.parse():
                chunks.append(chunk)
                yield chunk.choices[0].delta.content or "" if chunk.choices else ""

        text = print_pieces("openai", pieces())
        check_budget(raw.headers, "ok")
    check("words came", len(text.split()) > 3, text)
    check(
        "the usage chunk that only the gateway asked for is held back",
        all(chunk.choices for chunk in chunks),
    )


def print_pieces(name: str, pieces: Iterator[str]) -> str:
    """Print a stream while it comes; the pieces must come one after another, not all at the end."""
    console.print(f"[cyan]{name}[/] ", end="")
    text, times_s = "", []
    for piece in pieces:
        times_s.append(time.monotonic())
        text += piece
        console.print(piece, end="", markup=False)
    console.print()
    spread_s = times_s[-1] - times_s[0] if times_s else 0.0
    check(f"{len(times_s)} pieces were heard over {spread_s:.2f} s, as they came", spread_s > 0.1)
    return text


def is_simulated(headers: Any) -> bool:
    return headers.get("x-gateway-simulated") == "true"


def ask_whole(url: str, key: str) -> None:
    with anthropic.Anthropic(base_url=url, api_key=key) as client:
        message = client.messages.create(
            model=SONNET, max_tokens=32, messages=[{"role": "user", "content": "Sum it up."}]
        )
        counted = client.messages.count_tokens(
            model=SONNET, messages=[{"role": "user", "content": "Sum it up."}]
        )
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        completion = client.chat.completions.create(
            model=GPT, messages=[{"role": "user", "content": "Sum it up."}]
        )
        models = [model.id for model in client.models.list()]
    check("anthropic answers whole", message.stop_reason == "end_turn", message)
    check("openai answers whole", completion.choices[0].finish_reason == "stop", completion)
    check("tokens are counted, free of charge", counted.input_tokens > 0, counted)
    check(f"the key may call {len(models)} models", GPT in models, models[:5])
