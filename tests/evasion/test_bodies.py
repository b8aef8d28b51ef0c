"""E1 to E11, E16 to E19, E38, E56: bodies that would mean one thing to us, another to a provider."""

import gzip
import json
import zlib
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.fakes.dialects import (
    CONVERSE,
    FORM_TYPE,
    GENERATION,
    RESPONSE,
    TRANSCRIPTION,
    form,
    gemini_request,
    streamed,
    whole,
)
from tests.fakes.provider import playing, saying
from tests.fakes.transcripts import (
    ANTHROPIC_STREAM,
    ANTHROPIC_TEXT,
    OPENAI_STREAM,
    OPENAI_TEXT,
)
from tests.fixtures.gateway import chat_body, messages_body

MESSAGES, CHAT, RESPONSES = "/v1/messages", "/v1/chat/completions", "/v1/responses"
COMPLETIONS, TRANSCRIPTIONS = "/v1/completions", "/v1/audio/transcriptions"


async def assert_refused(gateway, answer, *statuses):
    assert answer.status in (statuses or (400,)), answer.body
    assert gateway.provider.requests == []


def with_model(document, model):
    return json.dumps({**json.loads(document), "model": model}).encode()


# E1, E2: names.


@pytest.mark.parametrize(
    "model",
    [
        "claude-never-heard-of-9",
        "totally-unknown",
        "CLAUDE-SONNET-4-6",
        "claude-sonnet-4-6 ",
        " claude-haiku-4-5",
        "claude-sonnet-4-6:free",
        "anthropic/claude-sonnet-4-6",
        "claude-s\u043ennet-4-6",
        "claude\u2010sonnet\u20104\u20106",
        "claude-sonnet-4-6-latest",
        "free",
        "$0",
        "../claude-sonnet-4-6",
    ],
)
async def test_e1_e2_an_odd_name_never_makes_an_answer_free(gateway, team, provider, model):
    """The answer does not name its model either: all that is left is the ceiling."""
    document = ANTHROPIC_TEXT.document
    del document["model"]
    provider.will(whole(document))
    answer = await gateway.post(MESSAGES, with_model(messages_body(), model), team)
    assert answer.status == 200
    # What the dearest spelling of it would cost: Sonnet's own price at least.
    assert (await gateway.entry(team))["amount_usd"] >= ANTHROPIC_TEXT.amount_usd


@pytest.mark.parametrize("model", ["gpt-9-ultra", "GPT-4o-mini", "ft:gpt-4o-mini:x", "o99"])
async def test_e1_the_model_that_answers_is_the_one_that_is_billed(gateway, team, provider, model):
    provider.will(playing(OPENAI_TEXT))
    await gateway.post(CHAT, chat_body(model=model), team)
    assert (await gateway.entry(team))["amount_usd"] == OPENAI_TEXT.amount_usd


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4o-mini-2024-07-18"])
async def test_e1_a_cheap_name_in_the_request_does_not_lower_the_price(
    gateway, team, provider, model
):
    document = OPENAI_TEXT.document | {"model": "gpt-4o-2024-08-06"}
    provider.will(whole(document))
    await gateway.post(CHAT, chat_body(model=model), team)
    # 25 x 2.50 + 7 x 10 = 132.5 millionths.
    assert (await gateway.entry(team))["amount_usd"] == Decimal("0.0001325")


@pytest.mark.parametrize(
    "model", ['"gpt-4o\\u0000-mini"', '"gpt\\n4o"', '"a\\u202eb"', '""', "null", "5", '["gpt-4o"]']
)
async def test_e2_a_name_that_hides_something_is_refused(gateway, payer, model):
    body = b'{"messages": [], "model": %b}' % model.encode()
    await assert_refused(gateway, await gateway.post(CHAT, body, payer))


# E3: the model anywhere but in its place.


@pytest.mark.parametrize(
    "query", ["model=gpt-4o-mini", "model", "deployment=x", "api-version=1&model=a", "key=x"]
)
async def test_e3_a_query_never_names_a_model(gateway, payer, query):
    answer = await gateway.post(f"{CHAT}?{query}", chat_body(), payer)
    await assert_refused(gateway, answer)


@pytest.mark.parametrize(
    "target",
    [
        "/openai/deployments/gpt-4o/chat/completions",
        "/v1/deployments/gpt-4o/chat/completions",
        "/v1/engines/gpt-4o/completions",
        "/v1/models/gpt-4o",
    ],
)
async def test_e3_no_other_path_names_a_model(gateway, payer, target):
    await assert_refused(gateway, await gateway.post(target, chat_body(), payer), 404)


@pytest.mark.parametrize("name", ["model", "Model", "modelId"])
async def test_e3_a_model_in_the_body_of_a_path_dialect_changes_nothing(
    gateway, team, provider, name
):
    provider.will(GENERATION.answer)
    body = gemini_request(**{name: "gemini-2.5-flash-lite"})
    await gateway.post(GENERATION.target, body, team)
    assert provider.requests[0].path == GENERATION.path
    assert (await gateway.entry(team))["amount_usd"] == GENERATION.amount_usd


# E4: lists of other models.


@pytest.mark.parametrize(
    "extra",
    [
        ', "models": ["openai/gpt-4o"]',
        ', "route": "fallback", "models": ["openai/gpt-4o", "anthropic/claude-opus-4.1"]',
        ', "extra_body": {"models": ["openai/gpt-4o"]}',
        ', "provider": {"order": ["azure"], "allow_fallbacks": true}',
        ', "fallbacks": [{"model": "openai/gpt-4o"}]',
    ],
)
async def test_e4_whoever_answers_is_the_one_that_is_billed(gateway, team, provider, extra):
    document = OPENAI_TEXT.document | {"model": "openai/gpt-4o"}
    provider.will(whole(document))
    answer = await gateway.post(CHAT, chat_body(extra, model="openrouter/openai/gpt-4o-mini"), team)
    assert answer.status == 200, answer.body
    assert (await gateway.entry(team))["amount_usd"] == Decimal("0.0001325")


# E5, E6: keys twice, in escapes, in other letters.

KEYS = ("model", "max_tokens", "stream", "stream_options", "service_tier", "n", "speed")
VALUES = {
    "model": b'"gpt-4o-mini"',
    "max_tokens": b"1",
    "stream": b"true",
    "stream_options": b'{"include_usage": false}',
    "service_tier": b'"flex"',
    "n": b"1",
    "speed": b'"standard"',
}
SPELLINGS = {
    "twice": lambda name: name,
    "escaped": lambda name: f"\\u{ord(name[0]):04x}{name[1:]}",
    "capitalised": lambda name: name.capitalize(),
    "in capitals": lambda name: name.upper(),
    "with a Kelvin or a long s": lambda name: name.replace("k", "\u212a").replace("s", "\u017f"),
    "full width": lambda name: chr(ord(name[0]) + 0xFEE0) + name[1:],
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("key", KEYS)
async def test_e5_e6_a_key_that_two_parsers_read_apart_is_refused(gateway, payer, key, spelling):
    other = spelling(key)
    if other == key and spelling is not SPELLINGS["twice"]:
        other = key.upper()
    value = VALUES[key]
    base = b'{"messages": [], "model": "gpt-4o"' if key != "model" else b'{"messages": []'
    first, second = b'"%b": %b' % (key.encode(), value), b'"%b": %b' % (other.encode(), value)
    for pair in ((first, second), (second, first)):
        answer = await gateway.post(CHAT, base + b", " + b", ".join(pair) + b"}", payer)
        assert answer.status == 400, (pair, answer.body)
    await assert_refused(gateway, answer)


@pytest.mark.parametrize(
    "options",
    [
        b'{"include_usage": true, "include_usage": false}',
        b'{"include_usage": true, "Include_Usage": false}',
        b'{"include_usage": true, "include\\u005fusage": false}',
    ],
)
async def test_e5_e6_the_same_inside_stream_options(gateway, payer, options):
    body = chat_body(f', "stream_options": {options.decode()}', stream=True)
    await assert_refused(gateway, await gateway.post(CHAT, body, payer))


@pytest.mark.parametrize(
    "fields",
    [
        (("model", "whisper-1"), ("model", "gpt-4o-transcribe")),
        (("model", "whisper-1"), ("Model", "gpt-4o-transcribe")),
        (("model ", "gpt-4o-transcribe"), ("model", "whisper-1")),
        (("model", "whisper-1"), ('model"; filename="x', "gpt-4o-transcribe")),
        (("model", "whisper-1"), ("model", "gpt-4o-transcribe" + " " * 5000)),
        (("model", "whisper-1"), ('x"\r\nContent-Disposition: form-data; name="model', "gpt-4o")),
        (("model", "whisper-1"), ('x"\nContent-Disposition: form-data; name="model', "gpt-4o")),
        (("model", "whisper-1"), ("x\"; name*=UTF-8''model; y=\"", "gpt-4o")),
        (("model", "whisper-1"), ('y"\r\nContent-Transfer-Encoding: base64\r\nX: "', "gpt-4o")),
    ],
)
async def test_e5_a_form_that_names_two_models_is_refused(gateway, payer, fields):
    own = [("x-api-key", payer.key), ("content-type", FORM_TYPE)]
    answer = await gateway.post(TRANSCRIPTIONS, form(*fields), None, own)
    await assert_refused(gateway, answer)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=other; boundary=a-boundary-of-our-own",
        "multipart/form-data; xboundary=other; boundary=a-boundary-of-our-own",
        'multipart/form-data; boundary="a-boundary-of-our-own\\"',
        "multipart/form-data",
        "multipart/form-data; charset=utf-16; boundary=a-boundary-of-our-own",
    ],
)
async def test_e5_a_form_with_two_boundaries_is_refused(gateway, payer, content_type):
    own = [("x-api-key", payer.key), ("content-type", content_type)]
    answer = await gateway.post(TRANSCRIPTIONS, TRANSCRIPTION.request, None, own)
    await assert_refused(gateway, answer)


# E7, E10: numbers and booleans of another kind.

ODD_NUMBERS = [
    '"5"',
    "5.0",
    "5.5",
    "1e2",
    "-1",
    "true",
    "1e400",
    "99999999999999999999",
    "[5]",
    "{}",
]


@pytest.mark.parametrize("value", ODD_NUMBERS)
@pytest.mark.parametrize(
    ("target", "name"),
    [
        (MESSAGES, "max_tokens"),
        (CHAT, "max_tokens"),
        (CHAT, "max_completion_tokens"),
        (CHAT, "n"),
        (COMPLETIONS, "best_of"),
        (RESPONSES, "max_output_tokens"),
    ],
)
async def test_e7_a_number_of_another_kind_is_refused(gateway, payer, target, name, value):
    body = b'{"model": "gpt-4o", "messages": [], "%b": %b}' % (name.encode(), value.encode())
    answer = await gateway.post(target, body, payer)
    assert answer.status == 400, answer.body
    assert gateway.provider.requests == []


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-0x1", "01", "1_0", "+1"])
async def test_e7_a_number_that_json_does_not_have_is_refused(gateway, payer, value):
    answer = await gateway.post(CHAT, chat_body(f', "max_tokens": {value}'), payer)
    await assert_refused(gateway, answer)


@pytest.mark.parametrize("value", ['"true"', "1", "0", '"yes"', "[]", "{}", '""'])
@pytest.mark.parametrize("target", [MESSAGES, CHAT, COMPLETIONS, RESPONSES])
async def test_e10_a_stream_that_is_no_boolean_is_refused(gateway, payer, target, value):
    body = b'{"model": "gpt-4o", "messages": [], "stream": %b}' % value.encode()
    assert (await gateway.post(target, body, payer)).status == 400
    assert gateway.provider.requests == []


async def test_e10_a_stream_of_null_is_none(gateway, team, provider):
    provider.will(playing(OPENAI_TEXT))
    await gateway.post(CHAT, chat_body(', "stream": null'), team)
    assert (await gateway.entry(team))["amount_usd"] == OPENAI_TEXT.amount_usd


# E8, E9, E42: what is no plain JSON.

NO_JSON = {
    "a byte order mark": b"\xef\xbb\xbf" + chat_body(),
    "UTF-16": chat_body().decode().encode("utf-16"),
    "two documents": chat_body() + chat_body(model="gpt-4o"),
    "trailing data": chat_body() + b"x",
    "a comment": chat_body().replace(b"{", b"{/* */", 1),
    "single quotes": chat_body().replace(b'"', b"'"),
    "a trailing comma": chat_body()[:-1] + b",}",
    "too deep": b'{"model": "gpt-4o", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a lone surrogate": b'{"model": "gpt-4o\\ud800", "messages": []}',
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
async def test_e8_e42_what_is_no_plain_json_is_refused(gateway, payer, body):
    await assert_refused(gateway, await gateway.post(CHAT, body, payer))


@pytest.mark.parametrize("target", [MESSAGES, CHAT, RESPONSES, GENERATION.target, CONVERSE.target])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(chat_body(), mtime=0)),
        ("deflate", zlib.compress(chat_body())),
        ("br", chat_body()),
        ("zstd", chat_body()),
        ("identity, gzip", gzip.compress(chat_body(), mtime=0)),
        ("x-gzip", gzip.compress(chat_body(), mtime=0)),
        ("gzip, identity", chat_body()),
    ],
)
async def test_e9_an_encoded_body_is_415(gateway, payer, target, encoding, body):
    answer = await gateway.post(target, body, payer, [("content-encoding", encoding)])
    assert answer.status == 415, answer.body
    assert gateway.provider.requests == []


# E11: usage that nobody asked for.


@pytest.mark.parametrize(
    "extra",
    [
        "",
        ', "stream_options": null',
        ', "stream_options": {}',
        ', "stream_options": {"include_usage": false}',
        ', "stream_options": {"include_usage": null}',
        ', "stream_options": {"other": true}',
    ],
)
async def test_e11_usage_is_asked_for_whatever_the_client_says(gateway, team, provider, extra):
    answer = await gateway.post(CHAT, chat_body(extra, stream=True), team)
    assert answer.status == 200, answer.body
    assert provider.requests[0].document["stream_options"]["include_usage"] is True
    assert b'"choices":[]' not in answer.body
    entry = await gateway.entry(team)
    assert (entry["amount_usd"], entry["usage_source"]) == (OPENAI_STREAM.amount_usd, "exact")


# E16 to E19, E38: usage that is hidden, false or absurd.


@pytest.mark.parametrize("value", ["gzip", "br, zstd;q=1", "*", "gzip;q=1, identity;q=0"])
async def test_e16_the_provider_is_asked_for_plain_bytes(gateway, team, provider, value):
    await gateway.post(MESSAGES, messages_body(), team, [("accept-encoding", value)])
    encodings = [v for name, v in provider.requests[0].headers if name.lower() == "accept-encoding"]
    assert encodings == ["identity"]


@pytest.mark.parametrize("transcript", [ANTHROPIC_TEXT, ANTHROPIC_STREAM], ids=["whole", "stream"])
async def test_e16_an_encoded_answer_is_metered_all_the_same(gateway, team, provider, transcript):
    encoded = playing(transcript).gzipped()
    provider.will(encoded)
    answer = await gateway.post(MESSAGES, messages_body(stream=transcript.is_stream), team)
    assert answer.body == encoded.body
    assert (await gateway.entry(team))["amount_usd"] == transcript.amount_usd


async def test_e16_an_answer_in_several_members_is_metered_to_the_last(gateway, team, provider):
    answer = playing(ANTHROPIC_STREAM)
    members = tuple(gzip.compress(event) for event in ANTHROPIC_STREAM.events)
    provider.will(replace(answer, pieces=members).with_headers(("content-encoding", "gzip")))
    heard = await gateway.post(MESSAGES, messages_body(stream=True), team)
    assert heard.body == b"".join(members)
    entry = await gateway.entry(team)
    assert (entry["amount_usd"], entry["usage_source"]) == (ANTHROPIC_STREAM.amount_usd, "exact")


async def test_e16_an_encoding_behind_identity_in_another_header_counts(gateway, team, provider):
    packed = (gzip.compress(ANTHROPIC_TEXT.body),)
    two = [("content-encoding", "identity"), ("Content-Encoding", "gzip")]
    provider.will(replace(playing(ANTHROPIC_TEXT), pieces=packed).with_headers(*two))
    await gateway.post(MESSAGES, messages_body(), team)
    assert (await gateway.entry(team))["amount_usd"] == ANTHROPIC_TEXT.amount_usd


async def test_e16_an_encoding_that_nobody_can_read_is_an_estimate(gateway, team, provider):
    answer = playing(ANTHROPIC_TEXT).with_headers(("content-encoding", "aws-chunked"))
    provider.will(answer)
    await gateway.post(MESSAGES, messages_body(), team)
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] >= ANTHROPIC_TEXT.amount_usd


LONG_LINE = b": " + b"x" * (3 << 20) + b"\n\n"


@pytest.mark.parametrize(
    "noise",
    [
        LONG_LINE,
        b"data: " + b"x" * (2 << 20) + b"\n\n",
        b"data:\n" * 20_000 + b"\n",
        b"\r" * 10_000 + b"\n",
        b"\n" * 50_000,
        b"event: ping\ndata: {}\n\n" * 5_000,
    ],
    ids=["a long comment", "a long event", "empty data", "returns", "blank lines", "pings"],
)
async def test_e17_noise_around_usage_does_not_hide_it(gateway, team, provider, noise):
    events = ANTHROPIC_STREAM.events
    provider.will(streamed(events[0], noise, *events[1:]))
    answer = await gateway.post(MESSAGES, messages_body(stream=True), team)
    assert len(answer.body) == len(noise) + len(ANTHROPIC_STREAM.body)
    assert (await gateway.entry(team))["amount_usd"] >= ANTHROPIC_STREAM.amount_usd


@pytest.mark.parametrize("line_end", [b"\r", b"\r\n", b"\n"])
async def test_e17_any_line_end_is_metered(gateway, team, provider, line_end):
    body = ANTHROPIC_STREAM.body.replace(b"\n", line_end)
    provider.will(streamed(body))
    await gateway.post(MESSAGES, messages_body(stream=True), team)
    assert (await gateway.entry(team))["amount_usd"] == ANTHROPIC_STREAM.amount_usd


FAKES = (
    'data: {"type":"message_delta","usage":{"output_tokens":0}}',
    '"usage":{"input_tokens":0,"output_tokens":0}',
    "data: [DONE]\n\nevent: message_stop\ndata: {}\n\n",
    '{"usage":{"prompt_tokens":0,"completion_tokens":0}}',
)


@pytest.mark.parametrize("fake", FAKES)
async def test_e18_a_usage_that_the_model_writes_is_text(gateway, team, provider, fake):
    delta = json.dumps(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": fake}}
    )
    event = f"event: content_block_delta\ndata: {delta}\n\n".encode()
    events = ANTHROPIC_STREAM.events
    provider.will(streamed(*events[:3], event, *events[3:], event))
    await gateway.post(MESSAGES, messages_body(stream=True), team)
    entry = await gateway.entry(team)
    assert entry["amount_usd"] >= ANTHROPIC_STREAM.amount_usd


@pytest.mark.parametrize("fake", FAKES)
async def test_e18_the_same_in_a_chat(gateway, team, provider, fake):
    chunk = json.dumps(
        {"id": "x", "model": "gpt-4o-mini", "choices": [{"delta": {"content": fake}}]}
    )
    events = OPENAI_STREAM.events
    provider.will(streamed(*events[:2], f"data: {chunk}\n\n".encode(), *events[2:]))
    await gateway.post(CHAT, chat_body(stream=True), team)
    assert (await gateway.entry(team))["amount_usd"] == OPENAI_STREAM.amount_usd


@pytest.mark.parametrize(
    "body", [b"<html>usage</html>", b"", b"null", b"[]", b'{"usage": 5}', b"{}"]
)
async def test_e19_an_answer_without_a_usage_is_never_nothing(gateway, team, provider, body):
    provider.will(saying(body))
    await gateway.post(MESSAGES, messages_body(), team)
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0


ABSURD = [-5, -1, 10**12, 2**63, 1.5, "9", None, True, [1], {"a": 1}]


@pytest.mark.parametrize("count", ABSURD, ids=repr)
@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "cache_read_input_tokens"])
async def test_e38_an_absurd_count_never_gives_money_back(gateway, team, provider, name, count):
    document = ANTHROPIC_TEXT.document
    document["usage"][name] = count
    provider.will(whole(document))
    await gateway.post(MESSAGES, messages_body(), team)
    entry = await gateway.entry(team)
    assert entry[f"{'output' if name == 'output_tokens' else 'input_uncached'}_tokens"] >= 0
    assert 0 < entry["amount_usd"] < 1
    if count is not None and name != "cache_read_input_tokens":
        assert entry["usage_source"] == "estimated"


TOTALS = {
    "a chat": (CHAT, chat_body(model="gpt-5"), OPENAI_TEXT.document),
    "a response": (RESPONSE.target, RESPONSE.request, json.loads(RESPONSE.answer.body)),
    "a generation": (GENERATION.target, GENERATION.request, json.loads(GENERATION.answer.body)),
    "a conversation": (CONVERSE.target, CONVERSE.request, json.loads(CONVERSE.answer.body)),
}
# What holds the counts, the output's own, the total's, and what else is in that.
COUNTS = {
    "a chat": ("usage", "completion_tokens", "total_tokens", ["prompt_tokens"]),
    "a response": ("usage", "output_tokens", "total_tokens", ["input_tokens"]),
    "a generation": (
        "usageMetadata",
        "candidatesTokenCount",
        "totalTokenCount",
        ["promptTokenCount", "toolUsePromptTokenCount"],
    ),
    "a conversation": (
        "usage",
        "outputTokens",
        "totalTokens",
        ["inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"],
    ),
}


@pytest.mark.parametrize("count", [-30_000, 10**30, "30000", float("nan")], ids=str)
@pytest.mark.parametrize("of", TOTALS)
async def test_e38_a_count_that_is_none_is_what_the_total_leaves(
    gateway, team, provider, of, count
):
    target, request, document = TOTALS[of]
    holder, output, total, inputs = COUNTS[of]
    usage = document[holder] | {output: count}
    usage[total] = 50 + sum(usage.get(name, 0) for name in inputs)
    provider.will(saying(json.dumps(document | {holder: usage}).encode()))
    assert (await gateway.post(target, request, team)).status == 200
    entry = await gateway.entry(team)
    assert (entry["output_tokens"], entry["usage_source"]) == (50, "estimated")


@pytest.mark.parametrize("odd", [b'"\\ud83d"', b"NaN", b"-Infinity", b"[1e400]", b"9" * 5000])
@pytest.mark.parametrize("of", TOTALS)
async def test_e56_what_a_strict_parser_refuses_hides_no_usage(gateway, provider, of, odd):
    target, request, document = TOTALS[of]
    plain = json.dumps(document).encode()
    amounts = []
    for body in (plain, plain[:-1] + b', "odd": %b}' % odd, plain + b"\n\0"):
        team = await gateway.make_team()
        provider.will(saying(body))
        answer = await gateway.post(target, request, team)
        assert answer.body == body
        entry = await gateway.entry(team)
        amounts.append((entry["amount_usd"], entry["usage_source"]))
    assert len(set(amounts)) == 1
    assert amounts[0][1] == "exact"


@pytest.mark.parametrize("odd", [b'"\\ud83d"', b"NaN", b"[1e400]"])
async def test_e56_the_same_in_a_stream(gateway, team, provider, odd):
    events = [
        event.replace(b'"usage":', b'"odd":%b,"usage":' % odd) for event in OPENAI_STREAM.events
    ]
    assert events != OPENAI_STREAM.events
    provider.will(replace(playing(OPENAI_STREAM), pieces=tuple(events)))
    asks = ', "stream_options": {"include_usage": true}'
    await gateway.post(CHAT, chat_body(asks, stream=True), team)
    entry = await gateway.entry(team)
    assert (entry["amount_usd"], entry["usage_source"]) == (OPENAI_STREAM.amount_usd, "exact")


async def test_e40_tokens_of_a_tokeniser_are_text(gateway, team, provider):
    body = chat_body().replace("Grüezi".encode(), b"<|endoftext|><|im_start|><|fim_prefix|>")
    answer = await gateway.post(CHAT, body, team)
    assert answer.status == 200
    assert provider.requests[0].body == body
    assert (await gateway.entry(team))["amount_usd"] == OPENAI_TEXT.amount_usd


async def test_no_refusal_above_made_an_entry(gateway, payer):
    assert await gateway.settled_count(payer) == 0
    assert await gateway.held_usd(payer) == 0
