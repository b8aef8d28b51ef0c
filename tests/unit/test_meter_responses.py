import json
from pathlib import Path

import pytest

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, Usage, UsageSource
from gateway.meter.meter import meter_for
from gateway.meter.responses import ResponsesMeter

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts" / "openai.responses"
WEB_SEARCH = (TRANSCRIPTS / "web_search.sse").read_bytes()


def facts(**changes) -> RequestFacts:
    known = {"model": "gpt-5.2", "is_streaming": True, "body_bytes": 400}
    return RequestFacts(**{**known, **changes})


def response(**changes) -> dict:
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-5.2-2025-12-11",
        "output": [],
        "service_tier": "default",
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
        **changes,
    }


def event(kind: str, **fields) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def delta(text: str, kind: str = "response.output_text.delta") -> bytes:
    return event(kind, delta=text, item_id="msg_1", obfuscation="x" * 400)


def created(**changes) -> bytes:
    opening = {"status": "in_progress", "usage": None, "service_tier": "auto", **changes}
    return event("response.created", response=response(**opening))


def completed(**changes) -> bytes:
    return event("response.completed", response=response(**changes))


def measure(stream: bytes, *, provider: str = "openai", **changes) -> Measurement:
    meter = ResponsesMeter(
        provider=provider, facts=facts(**changes), content_type="text/event-stream; charset=utf-8"
    )
    meter.feed(stream)
    return meter.finish()


def measure_body(body: dict, *, provider: str = "openai", **changes) -> Measurement:
    meter = ResponsesMeter(
        provider=provider,
        facts=facts(is_streaming=False, **changes),
        content_type="application/json",
    )
    meter.feed(json.dumps(body).encode())
    return meter.finish()


def test_usage_of_a_stream_comes_from_its_terminal_event_usage_md_1_3():
    measured = measure(WEB_SEARCH)
    assert measured.source is UsageSource.EXACT
    assert measured.is_complete
    assert measured.usage == Usage(
        input_uncached_tokens=9000 - 1024 - 512,
        cache_read_tokens=1024,
        cache_write_unsplit_tokens=512,
        output_tokens=200,
        reasoning_tokens=64,
        web_search_requests=1,
    )
    assert measured.response_model == "gpt-5.2-2025-12-11"
    assert measured.provider_response_id == "resp_handmade_1"
    assert measured.stop_reason == "completed"
    assert measured.usage_raw["total_tokens"] == 9200
    assert measured.usage_raw["tool_calls"] == {"web_search_call": 2}


def test_what_a_text_or_metadata_says_of_events_is_no_event_usage_md_1_0_6():
    meter = ResponsesMeter(provider="openai", facts=facts(), content_type="text/event-stream")
    end = WEB_SEARCH.index(b"event: response.completed")
    meter.feed(WEB_SEARCH[:end])
    assert not meter.is_complete
    meter.feed(WEB_SEARCH[end:])
    assert meter.is_complete


def test_the_served_tier_is_the_terminal_events_usage_md_1_3():
    # response.created repeats what was asked for.
    assert measure(created() + completed()).selectors.service_tier == "default"
    assert measure(created(service_tier="priority")).selectors.service_tier is None


def test_an_incomplete_answer_is_billable_usage_md_1_3():
    ending = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    measured = measure(created() + event("response.incomplete", response=ending))
    assert measured.source is UsageSource.EXACT
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (10, 5)
    assert measured.stop_reason == "max_output_tokens"
    assert measured.is_complete


def test_a_failed_answer_without_usage_is_estimated_usage_md_1_3():
    failed = response(status="failed", usage=None, error={"code": "insufficient_quota"})
    measured = measure(created() + delta("a" * 40) + event("response.failed", response=failed))
    assert measured.source is UsageSource.ESTIMATED
    assert measured.error_type == "insufficient_quota"
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (100, 10)
    assert measured.is_complete


def test_a_failed_answer_with_usage_is_billed_by_it_usage_md_1_3():
    failed = response(status="failed", error={"code": "server_error"})
    measured = measure(event("response.failed", response=failed))
    assert measured.source is UsageSource.EXACT
    assert measured.usage.output_tokens == 5
    assert measured.error_type == "server_error"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"code": "server_error", "message": "m"}, "server_error"),
        ({"error": {"type": "server_error", "code": None}}, "server_error"),
        ({"message": "m"}, None),
    ],
)
def test_an_error_event_ends_a_stream_without_usage_usage_md_1_3(fields, expected):
    measured = measure(created() + delta("a" * 400) + event("error", **fields))
    assert measured.source is UsageSource.ESTIMATED
    assert measured.is_complete
    assert measured.error_type == expected
    assert measured.usage.output_tokens == 100


def test_usage_that_follows_an_error_event_still_counts():
    failed = event("response.failed", response=response(status="failed", error={"code": "e"}))
    measured = measure(event("error", code="server_error") + failed)
    assert (measured.usage.input_tokens, measured.source) == (10, UsageSource.EXACT)


def test_the_providers_count_of_searches_is_taken_before_ours_usage_md_1_3():
    searches = [{"type": "web_search_call", "action": {"type": "search"}}] * 3
    tool_usage = {"web_search": {"num_requests": 2}}
    assert measure(completed(output=searches)).usage.web_search_requests == 3
    told = measure(completed(output=searches, tool_usage=tool_usage))
    assert told.usage.web_search_requests == 2
    assert told.usage_raw["tool_usage"] == tool_usage


@pytest.mark.parametrize("action", ["open_page", "find_in_page"])
def test_looking_into_a_found_page_is_no_search_usage_md_1_3(action):
    output = [
        {"type": "web_search_call", "action": {"type": action}},
        # xAI's calls name no action: they are searches.
        {"type": "web_search_call", "name": "web_search"},
    ]
    assert measure(completed(output=output)).usage.web_search_requests == 1


@pytest.mark.parametrize("kind", ["code_interpreter_call", "shell_call"])
def test_a_container_has_a_fee_that_no_response_tells_usage_md_1_3(kind):
    measured = measure(completed(output=[{"type": kind, "container_id": "cntr_1"}]))
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.output_tokens == 5
    assert measured.usage_raw["tool_calls"] == {kind: 1}


def test_the_image_tool_is_a_part_of_its_own_model_usage_md_1_3():
    image_gen = {
        "input_tokens": 50,
        "input_tokens_details": {"image_tokens": 30, "text_tokens": 20},
        "output_tokens": 1000,
    }
    tools = [{"type": "image_generation", "model": "gpt-image-1.5"}]
    measured = measure(completed(tool_usage={"image_gen": image_gen}, tools=tools))
    assert measured.source is UsageSource.EXACT
    own, image = measured.parts
    assert (own.model, own.usage.output_tokens) == (None, 5)
    assert image.model == "gpt-image-1.5"
    assert image.usage == Usage(
        input_uncached_tokens=20, input_image_tokens=30, output_image_tokens=1000
    )
    unnamed = measure(completed(tool_usage={"image_gen": image_gen}))
    assert (unnamed.parts[1].model, unnamed.source) == ("gpt-image-1", UsageSource.ESTIMATED)


def test_what_the_image_tool_says_beside_its_image_is_text():
    image_gen = {
        "input_tokens": 50,
        "output_tokens": 1000,
        "output_tokens_details": {"image_tokens": 990, "text_tokens": 10},
    }
    _, image = measure(completed(tool_usage={"image_gen": image_gen})).parts
    assert (image.usage.output_tokens, image.usage.output_image_tokens) == (10, 990)


def test_the_older_search_tool_has_a_count_of_its_own_usage_md_1_2():
    output = [{"type": "web_search_call", "action": {"type": "search"}}] * 2
    tools = [{"type": "web_search_preview_2025_03_11"}]
    older = measure(completed(output=output, tools=tools)).usage
    assert (older.web_search_requests, older.web_search_preview_requests) == (0, 2)
    newer = measure(completed(output=output, tools=[{"type": "web_search"}])).usage
    assert (newer.web_search_requests, newer.web_search_preview_requests) == (2, 0)


def test_file_searches_are_counted_usage_md_1_3():
    measured = measure(completed(output=[{"type": "file_search_call"}] * 3))
    assert measured.usage.file_search_calls == 3
    assert measured.source is UsageSource.EXACT
    assert measured.usage_raw["tool_calls"] == {"file_search_call": 3}


AUTO = {"type": "code_interpreter", "container": {"type": "auto"}}


def ran(*identities):
    return [{"type": "code_interpreter_call", "container_id": name} for name in identities]


@pytest.mark.parametrize(
    ("tools", "output", "gigabytes"),
    [
        ([AUTO], ran("c1", "c1", "c2"), 2),
        ([AUTO], ran("c1"), 1),
        ([AUTO], [], 0),
        ([{"type": "code_interpreter", "container": "c1"}], ran("c1", "c1"), 0),
        ([{"type": "code_interpreter", "container": "c9"}], ran("c1"), 1),
        (
            [{"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}],
            ran("c1"),
            4,
        ),
        (
            [{"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "1t"}}],
            ran("c1"),
            64,
        ),
        (
            [{"type": "shell", "environment": {"type": "container_auto"}}],
            [{"type": "shell_call", "environment": {"container_id": "c1"}}],
            1,
        ),
        (
            [
                {
                    "type": "shell",
                    "environment": {"type": "container_reference", "container_id": "c1"},
                }
            ],
            [{"type": "shell_call", "environment": {"container_id": "c1"}}],
            0,
        ),
        ([{"type": "shell"}], [{"type": "shell_call", "environment": {"type": "local"}}], 0),
    ],
)
def test_containers_that_the_answer_started_are_counted_usage_md_1_3(tools, output, gigabytes):
    measured = measure(completed(output=output, tools=tools))
    assert measured.usage.container_gigabytes == gigabytes


def test_a_shell_on_ones_own_machine_has_no_fee():
    local = [{"type": "shell_call", "environment": {"type": "local"}}]
    assert measure(completed(output=local)).source is UsageSource.EXACT


def test_an_image_tool_that_did_not_run_is_no_part():
    image_gen = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    assert len(measure(completed(tool_usage={"image_gen": image_gen})).parts) == 1


def test_a_queued_background_answer_is_estimated_as_one_that_will_run_usage_md_1_3():
    queued = response(status="queued", background=True, usage=None, output=[])
    measured = measure_body(queued)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.output_tokens == 16_384
    assert measured.usage.input_tokens == 100
    assert measured.stop_reason == "queued"
    assert measure_body(queued, max_output_tokens=300).usage.output_tokens == 300


def test_leaving_a_background_stream_does_not_stop_it_usage_md_1_3():
    measured = measure(created(background=True) + delta("a" * 40))
    assert measured.usage.output_tokens == 16_384
    assert measured.source is UsageSource.ESTIMATED


def test_a_finished_background_stream_is_exact_usage_md_1_3():
    measured = measure(created(background=True, status="queued") + completed(background=True))
    assert (measured.usage.output_tokens, measured.source) == (5, UsageSource.EXACT)


def test_a_compaction_has_usage_of_its_own_usage_md_1_3():
    compaction = {
        "id": "resp_c",
        "object": "response.compaction",
        "output": [{"type": "compaction", "encrypted_content": "e"}],
        "usage": {"input_tokens": 99_195, "output_tokens": 81, "total_tokens": 99_276},
    }
    measured = measure_body(compaction)
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (99_195, 81)
    assert measured.source is UsageSource.EXACT
    assert measured.response_model is None


def test_xai_bills_by_its_ticks_usage_md_1_3():
    usage = {"input_tokens": 10, "output_tokens": 5, "cost_in_usd_ticks": 12_345}
    measured = measure(completed(usage=usage), provider="xai")
    assert measured.provider_cost_pico_usd == 1_234_500
    assert measured.source is UsageSource.PROVIDER_REPORTED
    assert measure(completed(usage=usage)).provider_cost_pico_usd is None


def test_openrouter_bills_by_its_cost_unless_the_key_is_the_customers_usage_md_2_3():
    usage = {"input_tokens": 10, "output_tokens": 5, "cost": 3.55e-05, "is_byok": False}
    measured = measure(completed(usage=usage) + b"data: [DONE]\n\n", provider="openrouter")
    assert measured.provider_cost_pico_usd == 35_500_000
    own_key = measure(completed(usage={**usage, "is_byok": True}), provider="openrouter")
    assert own_key.provider_cost_pico_usd is None
    assert own_key.source is UsageSource.EXACT


def test_reasoning_beside_the_output_is_added_where_the_total_says_so_usage_md_1_2():
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 7},
        "total_tokens": 22,
    }
    assert measure(completed(usage=usage)).usage.output_tokens == 12
    inside = measure(completed(usage={**usage, "output_tokens": 12}))
    assert (inside.usage.output_tokens, inside.usage.reasoning_tokens) == (12, 7)


def test_a_cut_stream_is_known_by_its_opening_and_estimated_usage_md_1_0_4():
    measured = measure(
        created()
        + delta("a" * 40)
        + delta("b" * 40, "response.reasoning_summary_text.delta")
        + delta("c" * 40, "response.function_call_arguments.delta")
    )
    assert measured.source is UsageSource.ESTIMATED
    assert not measured.is_complete
    assert measured.usage.output_tokens == 30
    assert measured.usage.input_tokens == 100
    assert measured.response_model == "gpt-5.2-2025-12-11"
    assert measured.provider_response_id == "resp_1"
    assert measured.usage_raw is None


def test_an_estimate_stays_below_what_the_request_allowed():
    assert measure(created() + delta("a" * 4000), max_output_tokens=50).usage.output_tokens == 50


def test_nothing_at_all_is_estimated_and_not_zero():
    measured = measure(b"")
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (100, 1)
    assert measured.source is UsageSource.ESTIMATED


def test_a_terminal_event_cut_before_its_end_is_no_end_usage_md_1_0_6():
    cut = created() + delta("a" * 40) + completed()[:-40]
    measured = measure(cut)
    assert (measured.source, measured.is_complete) == (UsageSource.ESTIMATED, False)
    # Without its blank line alone, it is whole.
    assert measure(completed()[:-2]).source is UsageSource.EXACT


def test_a_terminal_event_may_hold_a_whole_image():
    image = {"type": "image_generation_call", "result": "A" * (3 << 20)}
    measured = measure(created() + completed(output=[image]))
    assert measured.source is UsageSource.EXACT
    assert measured.usage_raw["tool_calls"] == {"image_generation_call": 1}


def test_counts_that_cannot_be_are_doubted():
    usage = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 20}, "output_tokens": -1}
    measured = measure(completed(usage=usage))
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.output_tokens >= 1


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b'{"usage":7}', b"\xff\xfe", b'{"usage":{"input_tokens":"many"}}']
)
def test_a_body_that_is_none_is_estimated(body):
    meter = ResponsesMeter(
        provider="openai", facts=facts(is_streaming=False), content_type="application/json"
    )
    meter.feed(body)
    measured = meter.finish()
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.output_tokens > 0
    assert meter.finish() is measured


def test_usage_nested_beyond_all_reason_is_read_and_has_no_cost():
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    usage = {"input_tokens": 10, "output_tokens": 5, "cost": 0.5, "x": deep}
    measured = measure(completed(usage=usage), provider="openrouter")
    assert measured.usage.output_tokens == 5
    assert measured.provider_cost_pico_usd is None


def test_first_content_is_noticed():
    meter = ResponsesMeter(provider="openai", facts=facts(), content_type="text/event-stream")
    meter.feed(created())
    assert not meter.has_first_token
    meter.feed(delta("a"))
    assert meter.has_first_token


def test_the_dialect_is_in_the_table_of_meters():
    meter = meter_for(
        dialect=Dialect.OPENAI_RESPONSES,
        provider="openai",
        facts=facts(),
        content_type="text/event-stream",
        content_encoding=None,
    )
    assert isinstance(meter, ResponsesMeter)
