"""What the meter makes of OpenAI's chat family. The bodies follow the providers' API references."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, Usage, UsageSource
from gateway.meter.meter import meter_for
from gateway.pricing.book import PriceBook
from gateway.wire.sse import EVENT_BYTES_MAX

FACTS = RequestFacts(model="gpt-a", is_streaming=True, body_bytes=400, usage_was_requested=True)
DONE = b"data: [DONE]\n\n"


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "model": "gpt-a-1", "choices": [choice], "usage": None, **more}


def last(**usage: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "gpt-a-1", "choices": [], "usage": usage}


def sse(*chunks: dict[str, Any]) -> bytes:
    return b"".join(
        b"data: %b\n\n" % json.dumps(each, separators=(",", ":")).encode() for each in chunks
    )


def measure(
    body: bytes,
    *,
    provider: str = "openai",
    facts: RequestFacts = FACTS,
    dialect: Dialect = Dialect.OPENAI_CHAT,
    kind: str = "text/event-stream",
) -> Measurement:
    meter = meter_for(
        dialect=dialect, provider=provider, facts=facts, content_type=kind, content_encoding=None
    )
    meter.feed(body)
    return meter.finish()


def usage_of(provider: str, **fields: Any) -> Usage:
    measured = measure(
        sse(chunk("hi"), chunk(None, "stop"), last(**fields)) + DONE, provider=provider
    )
    assert measured.source is UsageSource.EXACT
    return measured.usage


def test_the_last_chunk_gives_the_usage_and_nulls_before_it_do_not():
    usage = {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27}
    measured = measure(
        sse(chunk("hello", service_tier="priority"), chunk(None, "length"), last(**usage)) + DONE
    )
    assert measured.usage == Usage(input_uncached_tokens=20, output_tokens=7)
    assert measured.source is UsageSource.EXACT
    assert measured.is_complete
    assert (measured.response_model, measured.provider_response_id) == ("gpt-a-1", "c1")
    assert (measured.stop_reason, measured.selectors.service_tier) == ("length", "priority")
    assert measured.usage_raw == usage


def test_a_tier_that_only_the_empty_first_chunk_names_is_read():
    usage = {"prompt_tokens": 20, "completion_tokens": 7}
    first = chunk("", service_tier="priority")
    rest = [chunk("hello", service_tier=None), chunk(None, "stop"), last(**usage)]
    assert measure(sse(first, *rest) + DONE).selectors.service_tier == "priority"
    later = measure(sse(first, *rest, {**last(**usage), "service_tier": "default"}) + DONE)
    assert later.selectors.service_tier == "default"


def test_the_tier_may_stand_in_the_usage():
    measured = measure(sse(chunk("hi"), last(prompt_tokens=20, service_tier="flex")) + DONE)
    assert measured.selectors.service_tier == "flex"


def test_counts_in_a_last_event_without_its_blank_line_are_read():
    body = sse(chunk("hi"), chunk(None, "stop"), last(prompt_tokens=20, completion_tokens=7))
    measured = measure(body.removesuffix(b"\n\n"))
    assert (measured.source, measured.usage.output_tokens) == (UsageSource.EXACT, 7)


def test_a_byte_order_mark_does_not_hide_the_first_event():
    measured = measure(b"\xef\xbb\xbf" + sse(last(prompt_tokens=20, completion_tokens=7)) + DONE)
    assert (measured.source, measured.usage.output_tokens) == (UsageSource.EXACT, 7)


def test_events_that_nobody_can_read_are_a_token_each():
    measured = measure(b"data: not json\n\n" * 50)
    assert (measured.source, measured.usage.output_tokens) == (UsageSource.ESTIMATED, 50)


TOO_LONG = b'data: {"choices":[],"note":"%b"}\n\n' % (b"a" * EVENT_BYTES_MAX)


def test_an_event_that_is_too_long_to_read_leaves_the_counts_before_it_in_doubt():
    counts = sse(chunk("hi"), chunk(None, "stop"), last(prompt_tokens=20, completion_tokens=7))
    before, after = measure(TOO_LONG + counts + DONE), measure(counts + TOO_LONG + DONE)
    assert (before.source, before.usage.output_tokens) == (UsageSource.EXACT, 7)
    assert after.source is UsageSource.ESTIMATED
    assert after.usage.input_tokens == 20


@pytest.mark.parametrize("rest", [TOO_LONG + DONE, TOO_LONG, TOO_LONG[:-2]])
def test_an_event_that_is_too_long_to_read_counts_as_text(rest: bytes):
    measured = measure(sse(chunk("hi")) + rest)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.output_tokens == min(EVENT_BYTES_MAX // 4, 128_000)


def test_a_bill_that_still_runs_is_not_the_bill():
    usage = {"prompt_tokens": 20, "completion_tokens": 1, "cost": 0.0001}
    running = sse(chunk("hi" * 40, usage=usage))
    cut = measure(running, provider="openrouter")
    assert (cut.source, cut.provider_cost_pico_usd) == (UsageSource.ESTIMATED, None)
    assert measure(running + DONE, provider="openrouter").provider_cost_pico_usd == 10**8


def test_cached_written_audio_and_image_tokens_leave_the_prompt():
    prompt = {"cached_tokens": 30, "cache_write_tokens": 20, "audio_tokens": 10, "image_tokens": 5}
    completion = {"reasoning_tokens": 6, "audio_tokens": 4}
    assert usage_of(
        "openai",
        prompt_tokens=100,
        completion_tokens=50,
        total_tokens=150,
        prompt_tokens_details=prompt,
        completion_tokens_details=completion,
    ) == Usage(
        input_uncached_tokens=35,
        cache_read_tokens=30,
        cache_write_unsplit_tokens=20,
        input_audio_tokens=10,
        input_image_tokens=5,
        output_tokens=46,
        output_audio_tokens=4,
        reasoning_tokens=6,
    )


def test_cached_tokens_that_only_fit_as_audio_are_audio():
    prompt = {"cached_tokens": 40, "audio_tokens": 37}
    found = usage_of("openai", prompt_tokens=53, completion_tokens=1, prompt_tokens_details=prompt)
    assert found.input_tokens == 53
    assert (found.cache_read_tokens, found.cache_read_audio_tokens) == (16, 24)
    assert (found.input_audio_tokens, found.input_uncached_tokens) == (13, 0)


@pytest.mark.parametrize(
    ("provider", "fields", "cached"),
    [
        ("deepseek", {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}, 64),
        ("moonshotai", {"cached_tokens": 64}, 64),
        ("mistral", {"num_cached_tokens": 64}, 64),
        ("vllm", {"prompt_tokens_details": None}, 0),
    ],
)
def test_cached_tokens_are_found_where_each_provider_puts_them(
    provider: str, fields: dict[str, Any], cached: int
):
    found = usage_of(provider, prompt_tokens=100, completion_tokens=1, **fields)
    assert (found.cache_read_tokens, found.input_uncached_tokens) == (cached, 100 - cached)


def test_audio_beside_the_prompt_shows_in_the_total():
    found = usage_of(
        "mistral",
        prompt_tokens=11,
        completion_tokens=15,
        total_tokens=401,
        prompt_tokens_details={"audio_tokens": 375, "cached_tokens": 9},
    )
    assert found.input_audio_tokens == 375
    assert (found.input_uncached_tokens, found.cache_read_tokens) == (2, 9)


def test_audio_beside_the_prompt_is_billed_by_its_seconds_where_they_are_told():
    # Source: Mistral's price page, Voxtral Small on chat completions: sound by the minute.
    found = usage_of(
        "mistral",
        prompt_tokens=11,
        completion_tokens=15,
        total_tokens=401,
        prompt_audio_seconds=5,
        prompt_tokens_details={"audio_tokens": 375, "cached_tokens": 9},
    )
    assert (found.input_audio_ms, found.input_audio_tokens) == (5_000, 0)
    assert (found.input_uncached_tokens, found.cache_read_tokens) == (2, 9)


@pytest.mark.parametrize(
    ("total", "output"), [(303, 291), (13, 1), (0, 1)], ids=["beside", "inside", "untold"]
)
def test_reasoning_is_added_only_where_the_total_counts_it_beside(total: int, output: int):
    details = {"reasoning_tokens": 290}
    fields = {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": total}
    found = usage_of("openai", **fields, completion_tokens_details=details)
    assert found.output_tokens == output
    assert found.reasoning_tokens == min(290, output)


def test_googles_thinking_shows_in_the_total_alone():
    fields = {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}
    assert usage_of("gemini", **fields).output_tokens == 74
    assert usage_of("openai", **fields).output_tokens == 12


def test_groqs_own_place_and_the_common_one_are_not_added():
    usage = {"prompt_tokens": 20, "completion_tokens": 7}
    own = {**chunk(None, "stop"), "x_groq": {"id": "r", "usage": usage}}
    assert measure(sse(chunk("a"), own) + DONE, provider="groq").usage.output_tokens == 7
    both = measure(sse(chunk("a"), own, last(**usage)) + DONE, provider="groq")
    assert both.usage == Usage(input_uncached_tokens=20, output_tokens=7)


def test_usage_inside_the_choice_is_found():
    end = chunk(None, "stop")
    end["choices"][0]["usage"] = {"prompt_tokens": 20, "completion_tokens": 7, "cached_tokens": 4}
    measured = measure(sse(chunk("a"), end) + DONE, provider="moonshotai")
    assert measured.source is UsageSource.EXACT
    assert measured.usage.cache_read_tokens == 4


def test_running_usage_is_final_with_a_finish_only():
    running = [
        {**chunk(word), "usage": {"prompt_tokens": 8, "completion_tokens": count}}
        for count, word in enumerate(("one", "two", "three"), start=1)
    ]
    cut = measure(sse(*running), provider="perplexity")
    assert cut.source is UsageSource.ESTIMATED
    assert cut.usage.input_uncached_tokens == 8
    assert cut.usage.output_tokens >= 3
    cost = {"prompt_tokens": 8, "completion_tokens": 4, "cost": {"total_cost": 0.00501}}
    whole = measure(sse(*running, {**chunk("", "stop"), "usage": cost}), provider="perplexity")
    assert whole.source is UsageSource.PROVIDER_REPORTED
    assert whole.provider_cost_pico_usd == 5_010_000_000
    assert whole.usage.output_tokens == 4


def test_openrouters_bill_is_believed_unless_the_key_is_the_customers():
    usage = {"prompt_tokens": 20, "completion_tokens": 1, "cost": 3.6e-06, "is_byok": False}
    measured = measure(sse(chunk("a"), last(**usage)) + DONE, provider="openrouter")
    assert measured.source is UsageSource.PROVIDER_REPORTED
    assert measured.provider_cost_pico_usd == 3_600_000
    own_key = measure(sse(chunk("a"), last(**{**usage, "is_byok": True})), provider="openrouter")
    assert own_key.source is UsageSource.EXACT
    assert own_key.provider_cost_pico_usd is None


def test_xais_ticks_are_exact():
    usage = {"prompt_tokens": 12, "completion_tokens": 1, "cost_in_usd_ticks": 1_466_250}
    measured = measure(sse(chunk("a"), last(**usage)) + DONE, provider="xai")
    assert measured.provider_cost_pico_usd == 146_625_000


def test_an_error_inside_the_stream_is_named_and_estimated():
    error = {"error": {"message": "The server had an error", "type": "server_error", "code": None}}
    measured = measure(sse(chunk("hello"), error))
    assert measured.error_type == "server_error"
    assert measured.source is UsageSource.ESTIMATED
    numbered = {**chunk(""), "error": {"code": 502, "message": "x"}}
    numbered["usage"] = {"prompt_tokens": 43, "completion_tokens": 10, "cost": 0}
    with_usage = measure(sse(chunk("a"), numbered) + DONE, provider="openrouter")
    assert with_usage.error_type == "502"
    assert with_usage.source is UsageSource.PROVIDER_REPORTED
    assert with_usage.provider_cost_pico_usd == 0


def test_a_stream_without_usage_is_estimated_from_all_that_was_written():
    call = {"index": 0, "function": {"name": "find", "arguments": "four" * 4}}
    chunks = [chunk("four" * 3), chunk(None), chunk(None), chunk(None, "stop")]
    chunks[1]["choices"][0]["delta"] = {"tool_calls": [call]}
    chunks[2]["choices"][0]["delta"] = {"reasoning_content": "four" * 5}
    measured = measure(sse(*chunks) + DONE)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.is_complete
    assert measured.usage == Usage(input_uncached_tokens=100, output_tokens=13)
    assert measured.response_model == "gpt-a-1"


def test_each_chunk_with_content_is_a_token_at_least():
    assert measure(sse(*[chunk("a")] * 500)).usage.output_tokens >= 500


def test_an_estimate_allows_each_choice_its_bound():
    facts = RequestFacts(
        model="gpt-a", is_streaming=True, body_bytes=4, max_output_tokens=10, choice_count=3
    )
    assert measure(sse(*[chunk("a")] * 500), facts=facts).usage.output_tokens == 30


def test_usage_in_the_text_of_the_model_does_not_count():
    quoted = json.dumps(last(prompt_tokens=9_999, completion_tokens=9_999))
    tricks = [chunk(quoted), chunk('"prompt_tokens'), chunk("data: [DONE]\n\n"), chunk('"error')]
    usage = {"prompt_tokens": 20, "completion_tokens": 7}
    measured = measure(sse(*tricks, last(**usage)) + DONE)
    assert measured.usage == Usage(input_uncached_tokens=20, output_tokens=7)
    assert measured.error_type is None
    assert not measure(sse(*tricks)).is_complete


@pytest.mark.parametrize("spaces", ["", " ", "\n", "  "])
def test_spaces_in_the_json_do_not_hide_the_usage(spaces: str):
    usage = f'{{"choices":[],{spaces}"usage"{spaces}:{spaces}{{"prompt_tokens" : 2,"completion_tokens": 3}}}}'
    lines = "\n".join(f"data: {line}" for line in usage.split("\n"))
    assert measure(f"{lines}\n\n".encode()).usage.output_tokens == 3


@pytest.mark.parametrize("bad", [-1, 10**12, "7", 2.5])
def test_a_count_that_is_none_is_estimated(bad: object):
    usage = {"prompt_tokens": bad, "completion_tokens": 7}
    measured = measure(sse(chunk("a"), last(**usage)) + DONE)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage == Usage(input_uncached_tokens=100, output_tokens=7)


def test_more_cached_than_there_was_to_read_is_an_estimate_of_the_prompt():
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "prompt_cache_hit_tokens": 50}
    measured = measure(sse(chunk("a"), last(**usage)) + DONE)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.input_tokens == 5


def test_zeros_from_a_host_that_does_not_count_are_no_usage():
    measured = measure(sse(chunk("four"), last(prompt_tokens=0, completion_tokens=0)) + DONE)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage == Usage(input_uncached_tokens=100, output_tokens=1)


def test_completions_have_their_text_in_the_choice():
    event = {"id": "x", "choices": [{"text": "four" * 5, "finish_reason": None}]}
    measured = measure(sse(event), dialect=Dialect.OPENAI_COMPLETIONS)
    assert measured.usage.output_tokens == 5


def test_embeddings_have_no_output_not_even_an_estimated_one():
    facts = RequestFacts(model="e", is_streaming=False, body_bytes=40)
    for body, source, tokens in (
        (b'{"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}', UsageSource.EXACT, 8),
        (b'{"model":"e","usage":{"total_tokens":12}}', UsageSource.EXACT, 12),
        (b'{"model":"e","data":[]}', UsageSource.ESTIMATED, 10),
        (b"", UsageSource.ESTIMATED, 10),
    ):
        measured = measure(
            body, dialect=Dialect.OPENAI_EMBEDDINGS, facts=facts, kind="application/json"
        )
        assert measured.usage == Usage(input_uncached_tokens=tokens)
        assert measured.source is source


def test_a_transcription_splits_audio_from_text():
    usage = {"type": "tokens", "input_tokens": 40, "output_tokens": 9, "total_tokens": 49}
    usage["input_token_details"] = {"text_tokens": 4, "audio_tokens": 36}
    done = {"type": "transcript.text.done", "text": "hello", "usage": usage}
    delta = {"type": "transcript.text.delta", "delta": "hello"}
    expected = Usage(input_uncached_tokens=4, input_audio_tokens=36, output_tokens=9)
    dialect = Dialect.OPENAI_TRANSCRIPTIONS
    streamed = measure(sse(delta, done), dialect=dialect)
    whole = measure(
        json.dumps({"text": "hello", "usage": usage}).encode(),
        dialect=dialect,
        kind="application/json",
    )
    assert streamed.usage == whole.usage == expected
    assert streamed.source is whole.source is UsageSource.EXACT
    assert streamed.is_complete
    cut = measure(sse(delta), dialect=dialect)
    assert (cut.source, cut.usage.output_tokens) == (UsageSource.ESTIMATED, 2)


def transcript(document):
    body = json.dumps(document).encode()
    return measure(body, dialect=Dialect.OPENAI_TRANSCRIPTIONS, kind="application/json")


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(7, 7_000), (3.25, 3_250), (0.0001, 1), (26_000.1, 26_000_100)]
)
def test_a_transcription_billed_by_the_second_is_measured_by_its_length(seconds, milliseconds):
    # Source: OpenAI API reference, TranscriptTextUsageDuration.
    measured = transcript({"text": "hello", "usage": {"type": "duration", "seconds": seconds}})
    assert measured.source is UsageSource.EXACT
    assert measured.usage == Usage(input_audio_ms=milliseconds)
    assert measured.usage_raw == {"type": "duration", "seconds": seconds}


def test_a_transcription_of_mistrals_is_measured_by_its_own_field():
    # Source: Mistral's client-python, UsageInfo.
    usage = {
        "prompt_audio_seconds": 600,
        "prompt_tokens": 4,
        "total_tokens": 3264,
        "completion_tokens": 635,
    }
    measured = transcript({"model": "voxtral-mini-latest", "text": "hello", "usage": usage})
    assert (measured.usage, measured.source) == (Usage(input_audio_ms=600_000), UsageSource.EXACT)
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
    charge = PriceBook.load(moment).charge(
        provider="mistral",
        request_model="voxtral-mini-latest",
        measurement=measured,
        facts=FACTS,
        at=moment,
    )
    assert charge.amounts.total_pico_usd == 30_000_000_000
    assert not charge.is_ceiling


@pytest.mark.parametrize("seconds", [0, None, True, "600", -1, 1e12])
def test_seconds_of_mistrals_that_are_none_are_estimated(seconds):
    usage = {"prompt_audio_seconds": seconds, "prompt_tokens": 4, "completion_tokens": 635}
    measured = transcript({"text": "hello", "usage": usage})
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.input_tokens > 0


def test_a_streamed_transcription_by_the_second_is_measured_by_its_length():
    usage = {"type": "duration", "seconds": 12}
    done = {"type": "transcript.text.done", "text": "hello", "usage": usage}
    measured = measure(sse(done), dialect=Dialect.OPENAI_TRANSCRIPTIONS)
    assert (measured.usage.input_audio_ms, measured.source) == (12_000, UsageSource.EXACT)


def mistral_stream(*, is_whole=True):
    """Of Mistral's SDK: language, pieces, the end with its usage."""
    usage = {"prompt_audio_seconds": 600, "prompt_tokens": 9, "completion_tokens": 4}
    done = {"type": "transcription.done", "model": "voxtral", "text": "hello", "usage": usage}
    return sse(
        {"type": "transcription.language", "audio_language": "en"},
        *[{"type": "transcription.text.delta", "text": "hello "}] * 20,
        *([done] if is_whole else []),
    )


def test_a_stream_of_mistrals_is_measured_by_its_length():
    measured = measure(mistral_stream(), dialect=Dialect.OPENAI_TRANSCRIPTIONS)
    assert measured.source is UsageSource.EXACT
    assert measured.is_complete
    assert measured.usage == Usage(input_audio_ms=600_000)


def test_a_stream_of_mistrals_that_breaks_off_is_estimated_by_its_text():
    measured = measure(mistral_stream(is_whole=False), dialect=Dialect.OPENAI_TRANSCRIPTIONS)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.output_tokens >= 20


@pytest.mark.parametrize("duration", [2.5, "2.5", 3])
def test_a_verbose_transcript_without_usage_is_estimated_by_its_length(duration):
    # Source: OpenAI API reference, TranscriptionVerbose.duration.
    measured = transcript({"text": "hello", "duration": duration})
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage == Usage(input_audio_ms=3_000)


@pytest.mark.parametrize(
    "document",
    [
        {"text": "hello"},
        {"text": "hello", "duration": "long"},
        {"text": "hello", "duration": "nan"},
        {"text": "hello", "duration": -1},
        {"text": "hello", "usage": {"type": "duration", "seconds": 0}},
        {"text": "hello", "usage": {"type": "duration", "seconds": True}},
        {"text": "hello", "usage": {"type": "duration", "seconds": "7"}},
        {"text": "hello", "usage": {"type": "duration", "seconds": 1e12}},
        {"text": "hello", "usage": {"type": "duration"}},
    ],
)
def test_a_transcription_of_unknown_length_is_estimated_and_never_nothing(document):
    measured = transcript(document)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.input_tokens > 0
    assert measured.usage.output_tokens > 0
    assert measured.usage.input_audio_ms == 0


@pytest.mark.parametrize(
    ("model", "provider", "searches"),
    [
        ("gpt-4o-search-preview-2025-03-11", "openai", 1),
        ("gpt-4o-mini-search-preview", "azure_openai", 1),
        ("gpt-5-search-api", "openai", 1),
        ("gpt-4o", "openai", 0),
        ("openai/gpt-4o-search-preview", "openrouter", 0),
    ],
)
def test_a_search_model_searches_at_least_once_usage_md_1_2(model, provider, searches):
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    chunk = {"model": model, "choices": [], "usage": usage}
    measured = measure(sse(chunk) + b"data: [DONE]\n\n", provider=provider)
    assert measured.usage.web_search_preview_requests == searches
    assert measured.usage.output_tokens == 5
    expected = UsageSource.ESTIMATED if searches else UsageSource.EXACT
    assert measured.source is expected


def test_drawn_images_are_counted_apart_from_text_usage_md_1_2():
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 1300,
        "completion_tokens_details": {"image_tokens": 1290, "reasoning_tokens": 4},
    }
    measured = measure(sse({"choices": [], "usage": usage}) + b"data: [DONE]\n\n").usage
    assert (measured.output_tokens, measured.output_image_tokens) == (10, 1290)
    assert measured.reasoning_tokens == 4


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (
            {"cached_tokens": 900, "image_tokens": 700},
            Usage(cache_read_tokens=900, input_image_tokens=100),
        ),
        (
            {"cached_tokens": 1000, "image_tokens": 700},
            Usage(cache_read_tokens=1000),
        ),
        (
            {"cached_tokens": 300, "image_tokens": 700},
            Usage(cache_read_tokens=300, input_image_tokens=700),
        ),
        (
            {"cached_tokens": 900, "audio_tokens": 300, "image_tokens": 600},
            Usage(
                cache_read_tokens=600,
                cache_read_audio_tokens=300,
                input_image_tokens=100,
            ),
        ),
    ],
)
def test_cached_images_are_counted_once(details, expected):
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "prompt_tokens_details": details}
    measured = measure(sse({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
    assert measured.usage == expected
    assert measured.usage.input_tokens == 1000
    assert measured.source is UsageSource.EXACT


def test_cached_images_leave_xais_own_figure_the_charge():
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 900, "image_tokens": 700},
        "cost_in_usd_ticks": 25,
    }
    measured = measure(sse({"choices": [], "usage": usage}) + b"data: [DONE]\n\n", provider="xai")
    assert measured.usage.input_tokens == 1000
    assert measured.source is UsageSource.PROVIDER_REPORTED
    assert measured.provider_cost_pico_usd == 2500


def test_more_cached_than_the_prompt_beside_images_is_doubted():
    details = {"cached_tokens": 1200, "image_tokens": 700}
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "prompt_tokens_details": details}
    measured = measure(sse({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.input_tokens == 1000
