"""Requests that are wrong: refused in the caller's dialect, with nothing sent and nothing booked."""

import asyncio
import gzip
import json

import pytest

from tests.fixtures.gateway import chat_body, messages_body

MESSAGES = "/v1/messages"
CHAT = "/v1/chat/completions"
BODY_MAX_BYTES = 4096


@pytest.fixture(scope="module")
def shared_gateway(make_gateway):
    return make_gateway(GATEWAY_BODY_MAX_BYTES=str(BODY_MAX_BYTES))


def assert_error(answer, target, status, *, anthropic_type, openai_type, code=None):
    """The dialect's own shape, at the top level of the body."""
    assert answer.status == status, answer.body
    assert answer.header("content-type").startswith("application/json")
    assert answer.header("x-gateway-request-id")
    document = answer.document
    if target.endswith("messages") or "count_tokens" in target:
        assert set(document) == {"type", "error", "request_id"}
        assert document["type"] == "error"
        assert document["error"]["type"] == anthropic_type
        assert document["request_id"] == answer.header("x-gateway-request-id")
    else:
        assert set(document) == {"error"}
        assert set(document["error"]) == {"message", "type", "code", "param"}
        assert document["error"]["type"] == openai_type
        if code is not None:
            assert document["error"]["code"] == code
    assert document["error"]["message"]


async def assert_nothing_happened(gateway, team):
    assert gateway.provider.requests == []
    assert await gateway.settled_count(team) == 0
    assert await gateway.held_usd(team) == 0


BAD_BODIES = {
    "empty": b"",
    "not JSON": b"model=claude",
    "cut": b'{"model": "claude-sonnet-4-6", "messages": [',
    "an array": b"[]",
    "a string": b'"claude"',
    "null": b"null",
    "two documents": b"{}{}",
    "not UTF-8": b'{"model": "\xff\xfe", "messages": []}',
    "a byte order mark": b"\xef\xbb\xbf" + messages_body(),
    "UTF-16": messages_body().decode().encode("utf-16"),
    "NaN": b'{"model": "claude-sonnet-4-6", "max_tokens": NaN, "messages": []}',
    "too deep": b'{"model": "m", "messages": ' + b"[" * 1500 + b"]" * 1500 + b"}",
    "no model": b'{"messages": []}',
    "an empty model": b'{"model": "", "messages": []}',
    "a model that is a number": b'{"model": 4, "messages": []}',
    "a model that is a list": b'{"model": ["claude-sonnet-4-6"], "messages": []}',
    "a model with a line feed": b'{"model": "claude\\nsonnet", "messages": []}',
    "a model of a thousand letters": b'{"model": "%b", "messages": []}' % (b"m" * 1000),
    "stream as a string": messages_body(', "stream": "true"'),
    "stream as a number": messages_body(', "stream": 1'),
    "stream twice": messages_body(', "stream": true', stream=True),
    "model twice": messages_body(', "model": "claude-haiku-4-5"'),
    "model twice, once escaped": messages_body(', "\\u006dodel": "claude-haiku-4-5"'),
    "Model beside model": messages_body(', "Model": "claude-haiku-4-5"'),
    "max_tokens as a string": messages_body().replace(b"64", b'"64"'),
    "max_tokens below zero": messages_body().replace(b"64", b"-1"),
    "max_tokens without bound": messages_body().replace(b"64", b"1e99"),
}


@pytest.mark.parametrize("target", [MESSAGES, CHAT])
@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_bad_body_is_refused(gateway, team, target, body):
    answer = await gateway.post(target, body, team)
    assert_error(
        answer,
        target,
        400,
        anthropic_type="invalid_request_error",
        openai_type="invalid_request_error",
    )
    assert gateway.provider.requests == []


async def test_bad_bodies_leave_nothing_behind(gateway, team):
    for body in BAD_BODIES.values():
        await gateway.post(MESSAGES, body, team)
        await gateway.post(CHAT, body, team)
    await assert_nothing_happened(gateway, team)


@pytest.mark.parametrize(
    "extra",
    [
        ', "stream_options": []',
        ', "stream_options": {"include_usage": "yes"}',
        ', "n": 0',
        ', "n": "2"',
        ', "n": 1.5',
    ],
)
async def test_a_bad_option_of_a_chat_is_refused(gateway, team, extra):
    answer = await gateway.post(CHAT, chat_body(extra, stream=True), team)
    assert_error(answer, CHAT, 400, anthropic_type="", openai_type="invalid_request_error")
    assert gateway.provider.requests == []


@pytest.mark.parametrize("target", [MESSAGES, CHAT])
async def test_a_body_that_is_too_large_is_refused(gateway, team, target):
    body = messages_body(f', "padding": "{"x" * BODY_MAX_BYTES}"')
    answer = await gateway.post(target, body, team)
    assert_error(
        answer,
        target,
        413,
        anthropic_type="request_too_large",
        openai_type="invalid_request_error",
    )
    await assert_nothing_happened(gateway, team)


async def test_a_body_as_large_as_may_be_is_served(gateway, team):
    empty = messages_body(', "padding": ""')
    body = messages_body(f', "padding": "{"x" * (BODY_MAX_BYTES - len(empty))}"')
    assert len(body) == BODY_MAX_BYTES
    assert (await gateway.post(MESSAGES, body, team)).status == 200
    assert gateway.provider.requests[0].body == body


async def test_a_chunked_body_that_grows_too_large_is_refused(gateway, team):
    headers = [*team.headers, ("transfer-encoding", "chunked")]
    chunk = b"400\r\n%b\r\n" % (b"x" * 1024)
    async with gateway.connected() as connection, asyncio.timeout(10):
        connection.send("POST", MESSAGES, headers, chunk * 8)
        answer = await connection.rest(await connection.head())
    assert answer.status == 413
    await assert_nothing_happened(gateway, team)


async def test_a_declared_length_is_refused_before_the_body_is_sent(gateway, team):
    headers = [*team.headers, ("content-length", "99999999999")]
    async with gateway.connected() as connection, asyncio.timeout(10):
        connection.send("POST", MESSAGES, headers)
        answer = await connection.rest(await connection.head())
    assert answer.status == 413
    assert gateway.provider.requests == []


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd"])
async def test_an_encoded_body_is_refused(gateway, team, encoding):
    headers = [("content-encoding", encoding)]
    answer = await gateway.post(MESSAGES, gzip.compress(messages_body()), team, headers)
    assert_error(
        answer,
        MESSAGES,
        415,
        anthropic_type="invalid_request_error",
        openai_type="invalid_request_error",
    )
    await assert_nothing_happened(gateway, team)


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x"])
async def test_a_body_of_another_type_is_refused(gateway, team, content_type):
    headers = [("x-api-key", team.key), ("content-type", content_type)]
    answer = await gateway.post(CHAT, chat_body(), None, headers)
    assert_error(answer, CHAT, 415, anthropic_type="", openai_type="invalid_request_error")
    assert gateway.provider.requests == []


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v1",
        "/v1/message",
        "/v1/messages/",
        "/v1/messages/batches",
        "//v1/messages",
        "/v1/../v1/messages",
        "/v1/%6dessages",
        "/V1/messages",
        "/v1/files",
        "/v1/fine_tuning/jobs",
        "/v1/images/generations",
        "/unknown_product/v1/messages",
        "/unknown_product/v1/chat/completions",
        "/posthog_code/posthog_code/v1/messages",
        "/posthog_code%2Fv1/messages",
    ],
)
async def test_an_unknown_route_or_product_is_not_found(gateway, team, target):
    answer = await gateway.post(target, messages_body(), team)
    assert answer.status == 404
    assert answer.document["error"]["message"]
    assert gateway.provider.requests == []


async def test_an_unknown_product_is_not_found_in_the_dialect_of_its_route(gateway, team):
    for target in ("/nowhere/v1/messages", "/nowhere/v1/chat/completions"):
        answer = await gateway.post(target, messages_body(), team)
        assert_error(
            answer,
            target,
            404,
            anthropic_type="not_found_error",
            openai_type="invalid_request_error",
            code="not_found",
        )
        assert "nowhere" in answer.document["error"]["message"]


async def test_not_found_comes_in_the_callers_dialect(gateway, team):
    openai = await gateway.post("/v1/nowhere", b"{}", team)
    assert openai.document["error"]["type"] == "invalid_request_error"
    assert openai.document["error"]["code"] == "not_found"
    headers = [("anthropic-version", "2023-06-01")]
    anthropic = await gateway.post("/v1/nowhere", b"{}", team, headers)
    assert anthropic.document["type"] == "error"
    assert anthropic.document["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    "query",
    ["model=claude-haiku-4-5", "beta=true&model=x", "beta=a&beta=b", "stream", "key=gw_x", "&"],
)
async def test_an_unknown_query_parameter_is_refused(gateway, team, query):
    answer = await gateway.post(f"{MESSAGES}?{query}", messages_body(), team)
    assert_error(
        answer,
        MESSAGES,
        400,
        anthropic_type="invalid_request_error",
        openai_type="invalid_request_error",
    )
    await assert_nothing_happened(gateway, team)


@pytest.mark.parametrize("query", ["beta=true", "api-version=2026-01-01", "alt=sse"])
async def test_a_known_query_parameter_goes_on(gateway, team, query):
    answer = await gateway.post(f"{MESSAGES}?{query}", messages_body(), team)
    assert answer.status == 200
    name, _, value = query.partition("=")
    assert gateway.provider.requests[0].query == {name: value}


@pytest.mark.parametrize("target", [MESSAGES, CHAT])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_another_method_is_not_found_and_told_which_there_is(gateway, team, method, target):
    async with gateway.connected() as connection, asyncio.timeout(5):
        connection.send(method, target, team.headers)
        answer = await connection.rest(await connection.head())
    assert_error(
        answer,
        target,
        404,
        anthropic_type="not_found_error",
        openai_type="invalid_request_error",
        code="not_found",
    )
    assert answer.header("allow") == "POST"
    assert "POST" in answer.document["error"]["message"]
    assert gateway.provider.requests == []


async def test_the_head_of_a_model_route_is_not_found(gateway, team):
    async with gateway.connected() as connection, asyncio.timeout(5):
        connection.send("HEAD", MESSAGES, team.headers)
        answer = await connection.head()
    assert (answer.status, answer.header("allow")) == (404, "POST")
    assert gateway.provider.requests == []


@pytest.mark.parametrize("target", ["/v1/models", "/v1/usage", "/livez", "/_readiness"])
async def test_what_is_read_cannot_be_posted_to(gateway, team, target):
    answer = await gateway.post(target, b"{}", team)
    assert (answer.status, answer.header("allow")) == (404, "GET, HEAD")
    assert answer.document["error"]["code"] == "not_found"
    assert "GET" in answer.document["error"]["message"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"NONSENSE\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: gw_SECRET\x00\r\n\r\n",
        (
            b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n"
            b"content-length: 5\r\n\r\nhello"
        ),
    ],
    ids=["no HTTP", "a header without a colon", "two lengths", "a zero byte", "smuggling"],
)
async def test_what_is_not_http_is_refused_and_not_echoed(gateway, request_bytes):
    async with gateway.connected() as connection, asyncio.timeout(5):
        connection.send_bytes(request_bytes)
        answer = await connection.rest(await connection.head())
    assert answer.status == 400
    assert b"SECRET" not in answer.body
    assert gateway.provider.requests == []


async def test_after_a_refusal_the_connection_serves_on_or_is_closed(gateway, team):
    """The rest of a refused body is never taken for a request."""
    smuggled = (
        b"POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: %b\r\n"
        b"content-length: 2\r\n\r\n{}" % team.key.encode()
    )
    headers = [*team.headers, ("content-encoding", "gzip"), ("content-length", str(len(smuggled)))]
    async with gateway.connected() as connection, asyncio.timeout(5):
        connection.send("POST", MESSAGES, headers, smuggled)
        answer = await connection.rest(await connection.head())
        assert answer.status == 415
        connection.send("POST", MESSAGES, team.headers, messages_body())
        try:
            second = await connection.rest(await connection.head())
        except (ConnectionError, asyncio.IncompleteReadError):
            assert gateway.provider.requests == []
            return
    assert second.status == 200
    assert [request.body for request in gateway.provider.requests] == [messages_body()]


async def test_an_error_message_never_holds_the_body(gateway, team):
    answer = await gateway.post(MESSAGES, b'{"model": "CANARY-CONTENT" nonsense', team)
    assert answer.status == 400
    assert "CANARY" not in json.dumps(answer.document)


async def test_a_model_without_a_price_is_refused_where_the_operator_says_so(make_gateway):
    gateway = make_gateway(GATEWAY_UNPRICED_MODELS="reject")
    team = await gateway.make_team()
    answer = await gateway.post(MESSAGES, messages_body(model="claude-of-next-year"), team)
    assert answer.status == 400
    assert "claude-of-next-year" in answer.document["error"]["message"]
    assert (await gateway.post(MESSAGES, messages_body(), team)).status == 200
