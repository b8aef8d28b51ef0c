"""A provider's own errors: relayed as they came, booked at nothing, the hold released."""

import pytest

from tests.fakes.provider import saying
from tests.fixtures.gateway import chat_body, messages_body

ERROR = b'{"type":"error", "error":{"type":"some_error","message":"As told.", "odd":[1,  2]}}\n'
STATUSES = [400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504, 529]


@pytest.mark.parametrize("status", STATUSES)
async def test_an_error_is_relayed_as_it_came(gateway, provider, status):
    team = await gateway.make_team("5.00")
    told = [("retry-after", "3"), ("request-id", "req_1"), ("x-should-retry", "true")]
    provider.will(saying(ERROR, status).with_headers(*told))
    answer = await gateway.post("/v1/messages", messages_body(stream=True), team)
    assert answer.status == status
    assert answer.body == ERROR
    assert answer.header("content-type") == "application/json"
    assert [(name, answer.header(name)) for name, _ in told] == told
    entry = await gateway.entry(team)
    assert entry["http_status"] == status
    assert entry["amount_usd"] == 0
    assert entry["output_tokens"] == 0
    assert await gateway.spend_usd(team) == 0
    await gateway.wait_until_nothing_is_held(team)


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_the_event_of_an_error_says_so(gateway, team, provider, status):
    provider.will(saying(ERROR, status))
    answer = await gateway.post("/v1/chat/completions", chat_body(), team)
    event = await gateway.event(answer.header("x-gateway-request-id"))
    assert event["properties"]["$ai_http_status"] == status
    assert event["properties"]["$ai_is_error"] is True
    assert event["properties"]["$ai_error"] == "some_error"
    assert event["properties"]["$ai_total_cost_usd"] == 0
    assert event["properties"]["$ai_billable"] is False


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>Bad gateway</html>", "text/html"),
        (b"", "application/json"),
        (b"\x00\xff\xfe", "application/octet-stream"),
    ],
)
async def test_an_error_that_is_no_json_is_relayed_too(gateway, team, provider, body, content_type):
    provider.will(saying(body, 502, headers=(("content-type", content_type),)))
    answer = await gateway.post("/v1/messages", messages_body(), team)
    assert answer.status == 502
    assert answer.body == body
    assert answer.header("content-type") == content_type
    assert (await gateway.entry(team))["amount_usd"] == 0


async def test_an_error_in_pieces_is_relayed_whole(gateway, team, provider):
    provider.will(saying(ERROR, 500, framing="chunked").in_pieces_of(5))
    answer = await gateway.post("/v1/chat/completions", chat_body(stream=True), team)
    assert answer.status == 500
    assert answer.is_whole
    assert answer.body == ERROR


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_never_followed(gateway, team, provider, status):
    """It would carry the credential and the prompt to another origin."""
    provider.will(saying(b"", status).with_headers(("location", f"{provider.url}/elsewhere")))
    answer = await gateway.post("/v1/messages", messages_body(), team)
    assert answer.status == 502
    assert answer.document["error"]["type"] == "api_error"
    assert len(provider.requests) == 1


async def test_an_error_of_token_counting_is_relayed_without_an_entry(gateway, team, provider):
    provider.will(saying(ERROR, 400))
    answer = await gateway.post("/v1/messages/count_tokens", messages_body(), team)
    assert (answer.status, answer.body) == (400, ERROR)
    assert await gateway.settled_count(team) == 0
