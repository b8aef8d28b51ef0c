import json

import pytest

from gateway.domain.errors import InvalidRequestError
from gateway.domain.request import Dialect, RequestFacts
from gateway.wire.output_limits import MORE_FIELDS
from gateway.wire.request_facts import RequestTarget, read_facts
from tests.fakes.dialects import FORM_TYPE, SOUND, form


def facts(dialect: Dialect, body: object, action: str = "generateContent") -> RequestFacts:
    target = RequestTarget(dialect=dialect, model="m", action=action)
    return read_facts(target, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("dialect", "action", "streams"),
    [
        (Dialect.GEMINI, "generateContent", False),
        (Dialect.GEMINI, "streamGenerateContent", True),
        (Dialect.BEDROCK, "invoke", False),
        (Dialect.BEDROCK, "invoke-with-response-stream", True),
        (Dialect.BEDROCK, "converse", False),
        (Dialect.BEDROCK, "converse-stream", True),
    ],
)
def test_the_path_says_what_is_streamed(dialect: Dialect, action: str, streams: bool) -> None:
    found = facts(dialect, {"stream": not streams, "model": "other"}, action)

    assert (found.is_streaming, found.model) == (streams, "m")


@pytest.mark.parametrize(
    ("dialect", "body", "limit"),
    [
        (Dialect.GEMINI, {"generationConfig": {"maxOutputTokens": 7}}, 7),
        (Dialect.GEMINI, {"generation_config": {"max_output_tokens": 7}}, 7),
        (
            Dialect.GEMINI,
            {
                "generationConfig": {"maxOutputTokens": 7},
                "generation_config": {"max_output_tokens": 900},
            },
            900,
        ),
        (Dialect.GEMINI, {"generationConfig": {}}, None),
    ],
)
def test_the_largest_limit_of_a_body_bounds_it(
    dialect: Dialect, body: object, limit: int | None
) -> None:
    assert facts(dialect, body).max_output_tokens == limit


CLAUDE, GPT_OSS = "global.anthropic.claude-sonnet-4-6", "openai.gpt-oss-120b-1:0"
ARN = "arn:aws:bedrock:us-east-1:1"
NAMED_ARN = f"{ARN}:inference-profile/us.anthropic.claude-sonnet-4-6"


@pytest.mark.parametrize(
    ("model", "body", "limit"),
    [
        (CLAUDE, {"max_tokens": 7}, 7),
        (CLAUDE, {"max_tokens_to_sample": 7, "max_tokens": 5}, 7),
        (CLAUDE, {"max_gen_len": 1}, None),
        (CLAUDE, {"max_tokens": 7, "max_gen_len": 900}, 900),
        (CLAUDE, {"inferenceConfig": {"maxTokens": 1}}, None),
        ("anthropic.claude-v2", {"max_tokens_to_sample": 7}, 7),
        (NAMED_ARN, {"max_tokens": 7}, 7),
        ("us.amazon.nova-pro-v1:0", {"inferenceConfig": {"maxTokens": 7}}, 7),
        ("amazon.nova-pro-v1:0", {"inferenceConfig": {"max_new_tokens": 7}}, 7),
        ("amazon.nova-pro-v1:0", {"max_tokens": 1}, None),
        ("amazon.nova-pro-v1:0", {"inferenceConfig": "x"}, None),
        ("amazon.titan-text-express-v1", {"textGenerationConfig": {"maxTokenCount": 7}}, 7),
        ("amazon.titan-text-express-v1", {"inferenceConfig": {"maxTokens": 1}}, None),
        ("us.meta.llama3-3-70b-instruct-v1:0", {"max_gen_len": 7}, 7),
        ("us.meta.llama3-3-70b-instruct-v1:0", {"max_tokens": 1}, None),
        (GPT_OSS, {"max_tokens": 1, "max_completion_tokens": 60_000}, 60_000),
        (GPT_OSS, {"max_completion_tokens": 7}, 7),
        ("mistral.mistral-large-2407-v1:0", {"max_tokens": 7}, 7),
        ("us.deepseek.r1-v1:0", {"max_tokens": 7}, 7),
        ("qwen.qwen3-32b-v1:0", {"max_completion_tokens": 1}, None),
        ("somebody.new-model-v1:0", {"max_tokens": 1}, None),
        (f"{ARN}:application-inference-profile/abc", {"max_tokens": 1}, None),
        (f"{ARN}:imported-model/anthropic.", {"max_tokens": 1}, None),
    ],
)
def test_an_invocation_is_bounded_by_its_familys_own_limit(
    model: str, body: object, limit: int | None
) -> None:
    target = RequestTarget(dialect=Dialect.BEDROCK, model=model, action="invoke")

    assert read_facts(target, json.dumps(body).encode()).max_output_tokens == limit


@pytest.mark.parametrize("action", ["converse", "converse-stream"])
@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"inferenceConfig": {"maxTokens": 7}}, 7),
        ({"max_tokens": 1}, None),
        ({"max_gen_len": 1}, None),
        ({"inferenceConfig": {"max_new_tokens": 1}}, None),
        ({"inferenceConfig": {"maxTokens": 7}, "max_tokens": 900}, 900),
        ({"inferenceConfig": {"maxTokens": 7}, "additionalModelRequestFields": {"k": "max"}}, 7),
        (
            {
                "inferenceConfig": {"maxTokens": 7},
                "additionalModelRequestFields": {"max_completion_tokens": 60_000},
            },
            None,
        ),
        (
            {
                "inferenceConfig": {"maxTokens": 7},
                "additionalModelRequestFields": {"inferenceConfig": {"max_new_tokens": 5000}},
            },
            None,
        ),
        (
            {
                "inferenceConfig": {"maxTokens": 7},
                "additionalModelRequestFields": {
                    "thinking": {"type": "enabled", "budget_tokens": 5}
                },
            },
            7,
        ),
    ],
)
def test_a_conversation_is_bounded_by_its_own_limit_alone(
    action: str, body: object, limit: int | None
) -> None:
    for model in (CLAUDE, "us.meta.llama3-3-70b-instruct-v1:0", f"{ARN}:imported-model/x"):
        target = RequestTarget(dialect=Dialect.BEDROCK, model=model, action=action)
        assert read_facts(target, json.dumps(body).encode()).max_output_tokens == limit


def test_an_escaped_limit_in_the_fields_that_converse_passes_on_takes_the_bound_away() -> None:
    target = RequestTarget(dialect=Dialect.BEDROCK, model=CLAUDE, action="converse")
    more = b'{"\\u006dax_tokens": 60000}'
    body = b'{"inferenceConfig":{"maxTokens":7},"additionalModelRequestFields":%b}' % more

    assert read_facts(target, body).max_output_tokens is None


def test_more_fields_than_are_looked_through_take_the_bound_away() -> None:
    target = RequestTarget(dialect=Dialect.BEDROCK, model=CLAUDE, action="converse")
    found = []
    for more_bytes in (60_000, 70_000):
        more = {"inferenceConfig": {"maxTokens": 7}, MORE_FIELDS: {"x": "y" * more_bytes}}
        found.append(read_facts(target, json.dumps(more).encode()).max_output_tokens)

    assert found == [7, None]


@pytest.mark.parametrize("value", ["7", 7.0, True, -1, 2**31, [7]])
def test_a_limit_of_another_kind_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequestError, match="whole number"):
        facts(Dialect.GEMINI, {"generationConfig": {"maxOutputTokens": value}})


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (Dialect.GEMINI, '{"generationConfig":{"maxOutputTokens":9},"generationConfig":{}}'),
        (Dialect.GEMINI, '{"generationConfig": {"maxOutputTokens": 9, "maxOutputTokens": 1}}'),
        (Dialect.GEMINI, '{"generation_config":{"candidateCount":9,"candidateCount":1}}'),
        (Dialect.GEMINI, '{"serviceTier":"priority","serviceTier":"flex"}'),
        (Dialect.BEDROCK, '{"max_tokens":9,"max_tokens":1}'),
        (Dialect.BEDROCK, '{"max_completion_tokens":9,"max_completion_tokens":1}'),
        (
            Dialect.BEDROCK,
            '{"additionalModelRequestFields":{"max_tokens":9},"additionalModelRequestFields":{}}',
        ),
        (Dialect.BEDROCK, '{"inferenceConfig":{"maxTokens":9,"maxTokens":1}}'),
        (Dialect.BEDROCK, '{"inferenceConfig":{"maxTokens":9},"x":1,"inferenceConfig":{}}'),
        (Dialect.BEDROCK, '{"performanceConfig":{"latency":"optimized","latency":"standard"}}'),
        (Dialect.BEDROCK, '{"serviceTier":{"type":"priority","type":"flex"}}'),
        (Dialect.BEDROCK, '{"tools":[],"tools":[{"type":"advisor_20260301"}]}'),
    ],
)
def test_a_name_that_stands_there_twice_is_refused(dialect: Dialect, body: str) -> None:
    target = RequestTarget(dialect=dialect, model="m", action="converse")

    with pytest.raises(InvalidRequestError, match="twice"):
        read_facts(target, body.encode())


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (Dialect.GEMINI, '{"generationconfig":{"maxOutputTokens":9}}'),
        (Dialect.GEMINI, '{"generationConfig":{"MAXOUTPUTTOKENS":9,"maxOutputTokens":1}}'),
        (Dialect.GEMINI, '{"generationConfig":{"max\\u004futputTokens":9}}'),
        (Dialect.BEDROCK, '{"inferenceConfig":{"maxtokens":9}}'),
        (Dialect.BEDROCK, '{"inference\\u0043onfig":{"maxTokens":9}}'),
    ],
)
def test_a_name_in_look_alike_letters_or_escapes_is_refused(dialect: Dialect, body: str) -> None:
    target = RequestTarget(dialect=dialect, model="m", action="converse")

    with pytest.raises(InvalidRequestError, match=r"once|plainly"):
        read_facts(target, body.encode())


def test_names_of_prompts_and_of_what_we_do_not_know_may_stand_there_twice() -> None:
    body = b'{"contents":[{"n":1,"n":2}],"x":1,"x":2,"generationConfig":{"seed":1,"seed":2}}'

    assert read_facts(RequestTarget(dialect=Dialect.GEMINI, model="m"), body).model == "m"


@pytest.mark.parametrize("name", ["candidateCount", "candidate_count"])
def test_candidates_of_gemini_are_choices(name: str) -> None:
    assert facts(Dialect.GEMINI, {"generationConfig": {name: 4}}).choice_count == 4


@pytest.mark.parametrize(
    ("body", "tier"),
    [
        ({"serviceTier": "priority"}, "priority"),
        ({"service_tier": "flex"}, "flex"),
        ({"serviceTier": {"type": "priority"}}, "priority"),
        ({"serviceTier": None, "service_tier": "priority"}, "priority"),
        ({"serviceTier": "priority", "service_tier": None}, "priority"),
        ({"serviceTier": "flex", "service_tier": "flex"}, "flex"),
        ({"serviceTier": {}}, None),
        ({}, None),
    ],
)
def test_a_tier_is_read_in_each_shape(body: object, tier: str | None) -> None:
    assert facts(Dialect.BEDROCK, body).service_tier == tier


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (Dialect.GEMINI, {"serviceTier": 3}),
        (Dialect.GEMINI, {"serviceTier": {"type": "priority"}}),
        (Dialect.GEMINI, {"service_tier": ["priority"]}),
        (Dialect.GEMINI, {"serviceTier": "standard", "service_tier": "priority"}),
        (Dialect.GEMINI, {"serviceTier": "", "service_tier": "priority"}),
        (Dialect.BEDROCK, {"serviceTier": 3}),
        (Dialect.BEDROCK, {"serviceTier": {"type": 3}}),
        (Dialect.BEDROCK, {"serviceTier": {"type": "flex"}, "service_tier": "priority"}),
    ],
)
def test_a_tier_of_two_readings_is_refused(dialect: Dialect, body: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"differ|string"):
        facts(dialect, body)


def test_what_the_headers_ask_for_counts_before_the_body() -> None:
    target = RequestTarget(
        dialect=Dialect.BEDROCK, model="m", action="invoke", service_tier="priority", latency="fast"
    )

    found = read_facts(target, b'{"service_tier": "flex"}')

    assert (found.service_tier, found.speed) == ("priority", "fast")


@pytest.mark.parametrize(
    ("body", "ttls"),
    [
        ({"system": [{"cachePoint": {"type": "default"}}]}, ("5m",)),
        ({"system": [{"cachePoint": {"type": "default", "ttl": "1h"}}]}, ("1h",)),
        ({"system": [{"cachePoint": {"ttl": "1h"}}] * 2}, ("1h",)),
        ({"system": [{"cachePoint": {}}, {"cachePoint": {"ttl": "1h"}}]}, ("5m", "1h")),
        ({"system": [{"cachePoint": {"ttl": "1h"}}, {"cachePoint": {"ttl": "5m"}}]}, ("5m", "1h")),
        ({"system": [{"type": "text", "cache_control": {"type": "ephemeral"}}]}, ("5m",)),
        ({"system": []}, ()),
    ],
)
def test_breakpoints_of_bedrock_are_seen(body: object, ttls: tuple[str, ...]) -> None:
    assert facts(Dialect.BEDROCK, body, "converse").cache_ttls == ttls


@pytest.mark.parametrize(("stream", "streams"), [("true", True), ("1", True), ("false", False)])
def test_a_form_names_its_model_and_whether_it_streams(stream: str, streams: bool) -> None:
    body = form(("model", "whisper-1"), ("stream", stream))
    target = RequestTarget(dialect=Dialect.OPENAI_TRANSCRIPTIONS, content_type=FORM_TYPE)

    found = read_facts(target, body)

    assert (found.model, found.is_streaming) == ("whisper-1", streams)
    assert 1 <= found.body_bytes < len(SOUND)


@pytest.mark.parametrize("model", ["", " ", "a\tb", "m" * 201])
def test_a_form_without_a_usable_model_is_refused(model: str) -> None:
    target = RequestTarget(dialect=Dialect.OPENAI_TRANSCRIPTIONS, content_type=FORM_TYPE)

    with pytest.raises(InvalidRequestError, match="model"):
        read_facts(target, form(("model", model)))


@pytest.mark.parametrize(
    ("dialect", "body", "speed"),
    [
        (Dialect.BEDROCK, {"performanceConfig": {"latency": "optimized"}}, "optimized"),
        (Dialect.BEDROCK, {"performanceConfig": {"latency": "standard"}}, "standard"),
        (Dialect.BEDROCK, {"performanceConfig": 7}, None),
        (Dialect.GEMINI, {"performanceConfig": {"latency": "optimized"}}, None),
    ],
)
def test_the_latency_that_is_asked_for_is_held_for(
    dialect: Dialect, body: object, speed: str | None
) -> None:
    assert facts(dialect, body).speed == speed
