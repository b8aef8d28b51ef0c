"""E52 to E54: heads that say two things of a body, and models that lead a path elsewhere.

On the gateway's own connections and on the framework's.
"""

import pytest

from tests.fakes.dialects import CONVERSE, GENERATION, INVOKE, TRANSCRIPTION, Sample
from tests.fakes.transcripts import OPENAI_TEXT
from tests.fixtures.gateway import chat_body, messages_body

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
# Harmless, and yet no plain request: the framework's connection takes it.
MARKS = {"ours": [], "the framework's": [("te", "trailers")]}
TARGETS = (CHAT, CONVERSE.target, GENERATION.target)

on_both_roads = pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS.keys())


async def answer_of(gateway, team, target, headers, body):
    return await gateway.post(target, body, None, [("x-api-key", team.key), *headers])


async def assert_refused(gateway, answer, status):
    assert answer.status == status, answer.body
    assert gateway.provider.requests == []


# E52: what the body is.


@on_both_roads
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "second", ["application/json", "application/json; charset=utf-7", "text/plain", ""]
)
async def test_e52_two_content_types_are_refused(gateway, payer, marks, target, second):
    headers = [("Content-Type", "application/json"), ("content-type", second), *marks]
    await assert_refused(
        gateway, await answer_of(gateway, payer, target, headers, chat_body()), 400
    )


@on_both_roads
async def test_e52_a_form_of_two_boundaries_in_two_headers_is_refused(gateway, payer, marks):
    headers = [
        ("content-type", TRANSCRIPTION.content_type),
        ("content-type", "multipart/form-data; boundary=other"),
        *marks,
    ]
    answer = await answer_of(gateway, payer, TRANSCRIPTION.target, headers, TRANSCRIPTION.request)
    await assert_refused(gateway, answer, 400)


@on_both_roads
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "parameters",
    [
        "charset=utf-7",
        "charset=UTF-16",
        'charset="utf-7"',
        "charset=utf-8; charset=utf-7",
        "CHARSET = latin1",
        "charset*=utf-7''x",
        'x="; charset=utf-8"; charset=utf-7',
        "charset=",
    ],
)
async def test_e52_another_charset_is_415(gateway, payer, marks, target, parameters):
    headers = [("content-type", f"application/json; {parameters}"), *marks]
    body = b'{"model":"gpt-4o-mini","+AG0-odel":"gpt-5-pro","messages":[]}'
    await assert_refused(gateway, await answer_of(gateway, payer, target, headers, body), 415)


@on_both_roads
@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "Application/JSON ; Charset=UTF8;",
        "application/json; v=1",
    ],
)
async def test_utf_8_is_served_however_it_is_named(gateway, team, marks, content_type):
    headers = [("content-type", content_type), *marks]
    answer = await answer_of(gateway, team, CHAT, headers, chat_body())
    assert answer.status == 200, answer.body
    assert (await gateway.entry(team))["amount_usd"] == OPENAI_TEXT.amount_usd


# E53: how the body comes.


def in_chunks(body):
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("coding", ["gzip, chunked", "deflate,chunked", "chunked, chunked", "x"])
@pytest.mark.parametrize("target", TARGETS)
async def test_e53_a_transfer_coding_but_chunked_is_refused(gateway, payer, target, coding):
    headers = [("content-type", "application/json"), ("transfer-encoding", coding)]
    answer = await answer_of(gateway, payer, target, headers, in_chunks(chat_body()))
    await assert_refused(gateway, answer, 400)


async def test_chunks_are_served(gateway, team):
    headers = [("content-type", "application/json"), ("transfer-encoding", "Chunked")]
    answer = await answer_of(gateway, team, CHAT, headers, in_chunks(chat_body()))
    assert answer.status == 200, answer.body


@pytest.mark.parametrize("value", ["200-ok", "100-continue, 200-ok", "100-continued"])
@pytest.mark.parametrize("target", TARGETS)
async def test_e53_an_expectation_that_is_not_met_is_417(gateway, payer, target, value):
    headers = [("content-type", "application/json"), ("expect", value)]
    answer = await answer_of(gateway, payer, target, headers, chat_body())
    await assert_refused(gateway, answer, 417)


@pytest.mark.parametrize("second", ["gzip", "identity", "br"])
async def test_e9_a_second_content_encoding_is_415(gateway, payer, second):
    headers = [
        ("content-type", "application/json"),
        ("content-encoding", "identity"),
        ("content-encoding", second),
    ]
    answer = await answer_of(gateway, payer, CHAT, headers, chat_body())
    await assert_refused(gateway, answer, 415)


# E54: where the model leads.


def leading_to(sample: Sample, model: str) -> str:
    return sample.target.replace(sample.model, model)


@on_both_roads
@pytest.mark.parametrize("model", ["..", ".", "...", "..%2F..", "x%2F..%2Fy", "%2Fx", "x%2F%2Fy"])
@pytest.mark.parametrize("sample", [CONVERSE, INVOKE], ids=lambda sample: sample.name)
async def test_e54_a_model_of_dots_leads_nowhere_on_bedrock(gateway, payer, marks, sample, model):
    target = leading_to(sample, model)
    assert model in target
    headers = [("content-type", "application/json"), *marks]
    answer = await answer_of(gateway, payer, target, headers, sample.request)
    await assert_refused(gateway, answer, 404)


@on_both_roads
@pytest.mark.parametrize("model", ["..", ".", "....."])
async def test_e54_nor_on_gemini(gateway, payer, marks, model):
    headers = [("content-type", "application/json"), *marks]
    target = leading_to(GENERATION, model)
    answer = await answer_of(gateway, payer, target, headers, GENERATION.request)
    await assert_refused(gateway, answer, 404)


@on_both_roads
@pytest.mark.parametrize("model", ["..", ".", "bedrock/..", "bedrock/x/../y", "bedrock//x"])
async def test_e54_nor_does_one_in_a_message_for_bedrock(gateway, payer, marks, model):
    headers = [("content-type", "application/json"), ("x-posthog-provider", "bedrock"), *marks]
    answer = await answer_of(gateway, payer, MESSAGES, headers, messages_body(model=model))
    await assert_refused(gateway, answer, 400)


async def test_no_refusal_above_made_an_entry(gateway, payer):
    assert await gateway.settled_count(payer) == 0
    assert await gateway.held_usd(payer) == 0
