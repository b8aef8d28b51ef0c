import json
from pathlib import Path

import pytest

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, Usage, UsageSource
from gateway.meter.body import BODY_BYTES_MAX
from gateway.meter.gemini import GeminiMeter
from gateway.meter.meter import meter_for
from gateway.wire.json_array import ELEMENT_BYTES_MAX, JsonArrayFramer

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts" / "gemini"
GROUNDED = (TRANSCRIPTS / "grounded.sse").read_bytes()
GROUNDED_ARRAY = (TRANSCRIPTS / "grounded.array.json").read_bytes()


def facts(**changes) -> RequestFacts:
    known = {"model": "gemini-3-flash-preview", "is_streaming": True, "body_bytes": 400}
    return RequestFacts(**{**known, **changes})


def chunk(text="ok", usage=None, finish="STOP", **changes) -> dict:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5} if usage is None else usage
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "gemini-3-flash-preview",
        "responseId": "g1",
        **changes,
    }


def stream(*chunks: dict, newline: bytes = b"\r\n") -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + newline * 2 for each in chunks)


def measure(data: bytes, content_type="text/event-stream", **changes) -> Measurement:
    meter = GeminiMeter(provider="gemini", facts=facts(**changes), content_type=content_type)
    meter.feed(data)
    return meter.finish()


def measure_body(body: object, **changes) -> Measurement:
    data = json.dumps(body).encode()
    return measure(data, "application/json; charset=UTF-8", is_streaming=False, **changes)


GROUNDED_USAGE = Usage(
    # 85 of the prompt and 40 that tools read, less 20 cached and 10 - 4 of sound.
    input_uncached_tokens=99,
    cache_read_tokens=16,
    cache_read_audio_tokens=4,
    input_audio_tokens=6,
    output_tokens=90,
    reasoning_tokens=30,
    web_search_requests=2,
)


def test_the_last_chunk_wins_wholesale_where_counts_fall_usage_md_1_5():
    # The prompt falls from 145 to 85 and the candidates from 91 to 60, as recorded of Gemini 2.0.
    measured = measure(GROUNDED)
    assert measured.usage == GROUNDED_USAGE
    assert measured.source is UsageSource.EXACT
    assert measured.is_complete
    assert measured.response_model == "gemini-3-flash-preview"
    assert measured.provider_response_id == "handmade-g1"
    assert measured.stop_reason == "STOP"
    assert measured.selectors.service_tier == "standard"
    assert measured.usage_raw["totalTokenCount"] == 215
    assert measured.usage_raw["webSearchQueries"] == 2


def test_a_stream_without_sse_is_an_array_usage_md_1_5():
    measured = measure(GROUNDED_ARRAY, "application/json")
    assert measured == measure(GROUNDED)


def test_an_array_ends_with_its_bracket_and_events_with_the_transport():
    array = GeminiMeter(provider="gemini", facts=facts(), content_type="application/json")
    array.feed(GROUNDED_ARRAY[:-1])
    assert not array.is_complete
    array.feed(GROUNDED_ARRAY[-1:])
    assert array.is_complete
    events = GeminiMeter(provider="gemini", facts=facts(), content_type="text/event-stream")
    events.feed(GROUNDED)
    assert not events.is_complete
    events.finish()
    assert events.is_complete


def test_a_cut_array_is_estimated_from_its_last_whole_element():
    measured = measure(GROUNDED_ARRAY[: GROUNDED_ARRAY.rindex(b"candidates")], "application/json")
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (145, 91)
    assert measured.source is UsageSource.ESTIMATED
    assert not measured.is_complete


@pytest.mark.parametrize("newline", [b"\r\n", b"\n", b"\r"])
def test_events_come_with_any_line_ending_usage_md_1_0_6(newline):
    assert measure(stream(chunk(), newline=newline)).usage.output_tokens == 5


def test_the_last_event_may_lack_its_blank_line_usage_md_1_0_6():
    measured = measure(stream(chunk(finish=None), chunk()).rstrip())
    assert (measured.source, measured.is_complete) == (UsageSource.EXACT, True)


def test_a_last_chunk_that_drops_a_count_drops_it_usage_md_1_0_1():
    first = {"promptTokenCount": 9, "candidatesTokenCount": 21, "thoughtsTokenCount": 35}
    last = {"promptTokenCount": 87, "thoughtsTokenCount": 78}
    measured = measure(stream(chunk(usage=first, finish=None), chunk(usage=last)))
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (87, 78)
    assert measured.source is UsageSource.EXACT


def test_a_second_finish_reason_is_waited_for_usage_md_1_5():
    meter = GeminiMeter(provider="gemini", facts=facts(), content_type="text/event-stream")
    meter.feed(stream(chunk(usage={"promptTokenCount": 9, "candidatesTokenCount": 91})))
    assert not meter.is_complete
    meter.feed(stream(chunk(usage={"promptTokenCount": 9, "candidatesTokenCount": 1226})))
    assert meter.finish().usage.output_tokens == 1226


def test_content_after_a_finish_reason_needs_another_one_usage_md_1_5():
    measured = measure(stream(chunk(), chunk(finish=None)))
    assert (measured.source, measured.is_complete) == (UsageSource.ESTIMATED, False)


def test_thoughts_are_output_and_tool_reads_are_input_usage_md_1_5():
    usage = {
        "promptTokenCount": 15,
        "toolUsePromptTokenCount": 770,
        "candidatesTokenCount": 37,
        "thoughtsTokenCount": 742,
    }
    measured = measure(stream(chunk(usage=usage))).usage
    assert measured.input_uncached_tokens == 785
    assert (measured.output_tokens, measured.reasoning_tokens) == (779, 742)


def test_modalities_are_taken_out_of_the_text_usage_md_1_5():
    usage = {
        "promptTokenCount": 500,
        "cachedContentTokenCount": 120,
        "candidatesTokenCount": 40,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 100},
            {"modality": "AUDIO", "tokenCount": 200},
            {"modality": "IMAGE", "tokenCount": 150},
            {"modality": "VIDEO", "tokenCount": 50},
        ],
        "cacheTokensDetails": [
            {"modality": "AUDIO", "tokenCount": 80},
            {"modality": "IMAGE", "tokenCount": 40},
        ],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 25}],
    }
    measured = measure(stream(chunk(usage=usage)))
    assert measured.usage == Usage(
        input_uncached_tokens=150,
        cache_read_tokens=40,
        cache_read_audio_tokens=80,
        input_audio_tokens=120,
        input_image_tokens=110,
        output_tokens=15,
        output_audio_tokens=25,
    )
    assert measured.usage.input_tokens == 500


def test_enums_may_come_as_numbers_usage_md_1_5():
    usage = {
        "promptTokenCount": 11,
        "candidatesTokenCount": 16,
        "trafficType": 1,
        "promptTokensDetails": [{"modality": 4, "tokenCount": 6}],
    }
    measured = measure_body([chunk(usage=usage, finish=1)])
    assert measured.usage.input_audio_tokens == 6
    assert measured.selectors.service_tier == "ON_DEMAND"
    assert measured.stop_reason == "STOP"
    assert measured.source is UsageSource.EXACT


@pytest.mark.parametrize(
    ("fields", "tier"),
    [
        ({"serviceTier": "priority"}, "priority"),
        ({"trafficType": "ON_DEMAND"}, "ON_DEMAND"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, "PROVISIONED_THROUGHPUT"),
        ({"trafficType": "ON_DEMAND_FLEX"}, "flex"),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        ({"trafficType": "SOMETHING_NEW"}, "SOMETHING_NEW"),
        ({}, None),
    ],
)
def test_the_tier_is_what_the_response_names_usage_md_1_5(fields, tier):
    measured = measure(stream(chunk(usage={"promptTokenCount": 1, **fields})))
    assert measured.selectors.service_tier == tier


@pytest.mark.parametrize(
    ("model", "fees"),
    [
        ("gemini-3-flash-preview", 3),
        ("gemini-3.5-flash", 3),
        ("gemini-2.5-pro", 1),
        ("gemini-2.0-flash-001", 1),
    ],
)
def test_grounding_is_charged_by_query_or_by_prompt_usage_md_1_5(model, fees):
    body = chunk(modelVersion=model)
    body["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["a", "b", "c"]}
    assert measure(stream(body)).usage.web_search_requests == fees
    assert measure_body(body).usage.web_search_requests == fees


def test_queries_stand_in_any_chunk_and_the_last_list_counts():
    early = chunk(finish=None)
    early["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["a", "b"]}
    late = chunk()
    late["candidates"][0]["groundingMetadata"] = {"webSearchQueries": []}
    assert measure(stream(early, late)).usage.web_search_requests == 2
    late["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["a", "b", "c"]}
    assert measure(stream(early, late)).usage.web_search_requests == 3


def test_an_answer_without_grounding_has_no_fee():
    body = chunk(text='says "webSearchQueries": ["a"]')
    body["candidates"][0]["groundingMetadata"] = {}
    assert measure(stream(body)).usage.web_search_requests == 0


def test_a_blocked_prompt_costs_its_prompt_usage_md_1_5():
    blocked = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8},
        "modelVersion": "gemini-2.5-flash",
    }
    for measured in (measure(stream(blocked)), measure_body(blocked)):
        assert measured.source is UsageSource.EXACT
        assert measured.is_complete
        assert (measured.usage.input_tokens, measured.usage.output_tokens) == (8, 0)
        assert measured.stop_reason == "PROHIBITED_CONTENT"


def test_an_aborted_stream_has_the_last_counts_seen_usage_md_1_5():
    usage = {"promptTokenCount": 44, "candidatesTokenCount": 297, "thoughtsTokenCount": 902}
    measured = measure(stream(chunk(usage=usage, finish=None)))
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (44, 1199)
    assert measured.source is UsageSource.ESTIMATED
    assert not measured.is_complete


def test_what_was_seen_counts_where_the_last_counts_are_too_low_usage_md_1_5():
    # Per-step counts start over: 7 tokens cannot be these 4,000 bytes.
    measured = measure(
        stream(
            chunk(
                text="a" * 4000,
                usage={"promptTokenCount": 9, "candidatesTokenCount": 7},
                finish=None,
            )
        )
    )
    assert measured.usage.output_tokens == 1000
    limited = measure(stream(chunk(text="a" * 4000, finish=None)), max_output_tokens=300)
    assert limited.usage.output_tokens == 300


def test_tool_calls_are_seen_and_signatures_are_not():
    part = {"functionCall": {"name": "f", "args": {"q": "a" * 360}}, "thoughtSignature": "S" * 9000}
    call = chunk(usage={}, finish=None)
    call["candidates"][0]["content"]["parts"] = [part]
    assert 90 <= measure(stream(call)).usage.output_tokens <= 110


def test_vertex_names_the_traffic_before_it_counts_usage_md_1_5():
    early = chunk(usage={"trafficType": "PROVISIONED_THROUGHPUT"}, finish=None)
    last = {"promptTokenCount": 249, "candidatesTokenCount": 58, "trafficType": "ON_DEMAND"}
    assert measure(stream(early, chunk(usage=last))).usage.input_tokens == 249
    cut = measure(stream(early))
    assert cut.source is UsageSource.ESTIMATED
    assert (cut.usage.input_tokens, cut.usage.output_tokens) == (100, 1)


def test_counts_that_stop_before_the_end_are_no_bill():
    late = chunk(usage={"trafficType": "ON_DEMAND"})
    measured = measure(stream(chunk(finish=None), late))
    assert measured.is_complete
    assert measured.source is UsageSource.ESTIMATED
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (10, 5)


def test_an_error_inside_a_stream_leaves_an_estimate_usage_md_1_0_7():
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    measured = measure(stream(chunk(finish=None), error))
    assert measured.error_type == "UNAVAILABLE"
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.input_tokens == 10


def test_counts_of_a_failed_body_stand_where_nothing_was_seen():
    error = {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}
    measured = measure_body(chunk(text="", error=error))
    assert measured.source is UsageSource.ESTIMATED
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (10, 5)


def test_a_body_without_usage_is_estimated_usage_md_1_0_4():
    body = chunk(text="a" * 400)
    del body["usageMetadata"]
    measured = measure_body(body)
    assert measured.source is UsageSource.ESTIMATED
    assert (measured.usage.input_tokens, measured.usage.output_tokens) == (100, 100)


def test_a_body_that_is_whole_needs_no_finish_reason():
    measured = measure_body({"usageMetadata": {"promptTokenCount": 3}, "candidates": []})
    assert (measured.source, measured.is_complete) == (UsageSource.EXACT, True)


def test_a_cut_body_counts_as_text():
    data = json.dumps(chunk(text="a" * 4000)).encode()[:4000]
    measured = measure(data, "application/json", is_streaming=False)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.output_tokens == 1000


def test_a_body_beyond_the_bound_is_not_kept():
    meter = GeminiMeter(
        provider="gemini", facts=facts(is_streaming=False), content_type="application/json"
    )
    piece = b"{" + b"x" * ((1 << 20) - 1)
    for _ in range(BODY_BYTES_MAX // len(piece) + 1):
        meter.feed(piece)
    assert meter._form == []
    assert meter.finish().source is UsageSource.ESTIMATED


def test_a_chunk_that_is_too_long_to_read_leaves_the_counts_in_doubt():
    too_long = b'data: {"note":"%b"}\n\n' % (b"a" * (16 << 20))
    whole = stream(chunk(), newline=b"\n")
    measured = measure(too_long + whole)
    assert (measured.source, measured.is_complete) == (UsageSource.ESTIMATED, False)
    assert measure(whole).source is UsageSource.EXACT


def test_drawn_images_are_counted_apart_from_text_usage_md_1_5():
    usage = {
        "promptTokenCount": 8,
        "candidatesTokenCount": 1310,
        "thoughtsTokenCount": 40,
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
    }
    measured = measure_body(chunk(usage=usage))
    assert measured.usage.output_image_tokens == 1290
    assert (measured.usage.output_tokens, measured.usage.reasoning_tokens) == (60, 40)
    assert measured.usage.all_output_tokens == 1350
    assert measured.source is UsageSource.EXACT


def test_images_beyond_the_output_are_no_more_than_the_output():
    usage = {
        "promptTokenCount": 8,
        "candidatesTokenCount": 10,
        "candidatesTokensDetails": [
            {"modality": "AUDIO", "tokenCount": 4},
            {"modality": "IMAGE", "tokenCount": 99},
        ],
    }
    measured = measure_body(chunk(usage=usage)).usage
    assert (measured.output_audio_tokens, measured.output_image_tokens) == (4, 6)
    assert measured.output_tokens == 0


def filmed(tokens, candidates):
    return {
        "promptTokenCount": 100,
        "candidatesTokenCount": candidates,
        "candidatesTokensDetails": [{"modality": "VIDEO", "tokenCount": tokens}],
    }


def test_video_is_counted_apart_from_text_usage_md_1_5():
    measured = measure_body(chunk(usage=filmed(10_000, 10_060)))
    assert measured.usage.output_video_tokens == 10_000
    assert measured.usage.output_tokens == 60
    assert measured.usage.all_output_tokens == 10_060
    assert measured.source is UsageSource.EXACT


def test_more_video_than_output_is_doubted():
    measured = measure_body(chunk(usage=filmed(99, 10)))
    assert (measured.usage.output_video_tokens, measured.usage.output_tokens) == (10, 0)
    assert measured.source is UsageSource.ESTIMATED


def test_more_cached_than_read_is_doubted():
    usage = {"promptTokenCount": 5, "cachedContentTokenCount": 9, "candidatesTokenCount": 1}
    assert measure(stream(chunk(usage=usage))).source is UsageSource.ESTIMATED


@pytest.mark.parametrize("data", [b"", b" \n", b"{", b"[", b"data: {\n\n", b"\xff\xfe\x00", b"[}"])
def test_what_is_no_answer_is_estimated_and_not_zero(data):
    measured = measure(data)
    assert measured.source is UsageSource.ESTIMATED
    assert measured.usage.input_tokens == 100
    assert measured.usage.output_tokens >= 1
    assert not measured.is_complete


def test_first_content_is_noticed():
    meter = GeminiMeter(provider="gemini", facts=facts(), content_type="text/event-stream")
    meter.feed(stream({"usageMetadata": {"promptTokenCount": 3}}))
    assert not meter.has_first_token
    meter.feed(stream(chunk(finish=None)))
    assert meter.has_first_token


def test_the_dialect_is_in_the_table_of_meters():
    meter = meter_for(
        dialect=Dialect.GEMINI,
        provider="gemini",
        facts=facts(),
        content_type="text/event-stream",
        content_encoding=None,
    )
    assert isinstance(meter, GeminiMeter)


def test_an_array_is_cut_at_its_own_commas_only():
    elements = [{"a": 'x\\"[]{},', "b": [1, {"c": "\\"}]}, {}, [[], {}]]
    text = (" [" + " ,\r\n".join(map(json.dumps, elements)) + "] ").encode()
    framer = JsonArrayFramer()
    found = [json.loads(each) for byte in text for each in framer.feed(bytes([byte]))]
    assert found == elements
    assert framer.is_complete


def test_an_element_beyond_all_bounds_breaks_the_array():
    framer = JsonArrayFramer()
    framer.feed(b'[{"a":"')
    part = b"x" * (1 << 20)
    for _ in range(ELEMENT_BYTES_MAX // len(part) + 1):
        framer.feed(part)
    assert framer.is_broken
    assert framer.feed(b'"},{}]') == []
    assert not framer.is_complete
