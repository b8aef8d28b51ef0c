"""Caps: what every answer says about them, when a call is refused and how, and what an admin's SQL does."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import anthropic
import openai
import pytest

from tests.fakes.provider import playing, saying
from tests.fakes.roads import BY_THE_FRAMEWORK
from tests.fakes.transcripts import ANTHROPIC_STREAM, ANTHROPIC_TEXT, GPT, SONNET
from tests.fixtures.gateway import chat_body, messages_body

HELLO = [{"role": "user", "content": "Grüezi"}]
BUDGET_HEADERS = (
    "x-posthog-budget",
    "x-posthog-budget-remaining-usd",
    "x-posthog-budget-cap-usd",
    "x-posthog-budget-spend-usd",
    "x-posthog-budget-resets-at",
)
# A change of a cap binds within this (contract, section 4).
BINDS_WITHIN_S = 1.0


def resets_at():
    first = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def budget(answer):
    return {
        name.removeprefix("x-posthog-budget").lstrip("-"): answer.header(name)
        for name in BUDGET_HEADERS
        if answer.header(name) is not None
    }


def headers_for(status, remaining, cap, spend):
    return {
        "": status,
        "remaining-usd": remaining,
        "cap-usd": cap,
        "spend-usd": spend,
        "resets-at": f"{resets_at():%Y-%m-%dT%H:%M:%SZ}",
    }


async def ask(gateway, team, *headers):
    return await gateway.post("/v1/messages", messages_body(), team, list(headers))


async def test_a_team_without_a_cap_gets_no_budget_headers(gateway):
    for cap in (None, "0", "-5"):
        answer = await ask(gateway, await gateway.make_team(cap))
        assert answer.status == 200
        assert budget(answer) == {}


async def test_every_answer_says_where_the_team_stands(gateway, provider):
    team = await gateway.make_team("25.00")
    await gateway.spend(team, "3.459")
    expected = headers_for("ok", "21.54", "25.00", "3.45")
    answer = await ask(gateway, team)
    assert budget(answer) == expected
    stream = await gateway.post("/v1/messages", messages_body(stream=True), team)
    assert budget(stream) == expected
    chat = await gateway.post("/v1/chat/completions", chat_body(stream=True), team)
    assert budget(chat) == expected
    provider.will(saying({"type": "error", "error": {"type": "api_error", "message": "x"}}, 500))
    assert budget(await ask(gateway, team)) == expected
    malformed = await gateway.post("/v1/messages", b"{", team)
    assert malformed.status == 400
    assert budget(malformed) == expected
    counted = await gateway.post("/v1/messages/count_tokens", messages_body(), team)
    assert budget(counted) == expected


REFUSED = {
    "an unknown query parameter": ("/v1/messages?model=x", messages_body(), [], 400),
    "an unknown query parameter of a chat": ("/v1/chat/completions?x=y", chat_body(), [], 400),
    "an unknown query parameter of a path": (
        "/slack_app/v1beta/models/gemini-2.5-flash:generateContent?key=x",
        b"{}",
        [],
        400,
    ),
    "a query parameter sent twice, of a count": (
        "/v1/messages/count_tokens?beta=a&beta=b",
        messages_body(),
        [],
        400,
    ),
    "no JSON": ("/v1/messages", b"{", [], 400),
    "an encoded body": ("/v1/messages", messages_body(), [("content-encoding", "gzip")], 415),
    "an unknown header value": ("/v1/messages", b"{}", [("x-posthog-provider", "x")], 400),
}


@pytest.mark.parametrize("by_the_framework", [False, True])
@pytest.mark.parametrize(("target", "body", "more", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_refusal_says_where_the_team_stands_though_it_is_its_first_answer(
    gateway, provider, target, body, more, status, by_the_framework
):
    team = await gateway.make_team("25.00")
    if by_the_framework:
        more = [*more, *BY_THE_FRAMEWORK]
    answer = await gateway.post(target, body, team, more)
    assert answer.status == status
    assert budget(answer) == headers_for("ok", "25.00", "25.00", "0.00")
    assert provider.requests == []


async def test_a_query_is_read_for_those_with_a_key_alone(gateway, team):
    headers = [("x-api-key", "gw_nobody"), ("content-type", "application/json")]
    stranger = await gateway.post("/v1/messages?model=x", messages_body(), None, headers)
    assert stranger.status == 401
    assert budget(stranger) == {}
    nothing = await gateway.post("/v1/nothing?model=x", b"{}", None, headers)
    assert nothing.status == 404
    assert (await gateway.get("/livez?model=x")).status == 400


@pytest.mark.parametrize(
    ("spend_usd", "status"),
    [
        ("8.49", "ok"),
        ("8.499", "ok"),
        ("8.5005", "warn"),
        ("9.4995", "warn"),
        ("9.5001", "engage"),
        ("9.9996", "engage"),
    ],
)
async def test_the_status_follows_the_share_that_is_spent(gateway, spend_usd, status):
    team = await gateway.make_team("10.00")
    await gateway.spend(team, spend_usd)
    answer = await ask(gateway, team)
    assert answer.status == 200
    assert budget(answer)[""] == status
    assert (await gateway.entries(team, 2))[1]["budget_status"] == status


async def test_a_spent_cap_refuses_in_anthropics_shape_to_the_letter(gateway, provider):
    team = await gateway.make_team("25.00", name="growth")
    await gateway.spend(team, "25.035")
    asked = len(provider.requests)
    answer = await ask(gateway, team)
    now = datetime.now(UTC)
    message = (
        f"Team growth has spent $25.03 of its $25.00 cap for {now:%Y-%m}; "
        f"it resets at {resets_at():%Y-%m-%dT%H:%M:%SZ}."
    )
    assert answer.status == 429
    assert answer.document == {
        "type": "error",
        "error": {
            "type": "budget_exceeded",
            "message": message,
            "team": "growth",
            "cap_usd": "25.00",
            "spend_usd": "25.03",
            "resets_at": f"{resets_at():%Y-%m-%dT%H:%M:%SZ}",
        },
        "request_id": answer.header("x-gateway-request-id"),
    }
    assert answer.header("x-should-retry") == "false"
    seconds = (resets_at() - now).total_seconds()
    assert int(answer.header("retry-after")) == pytest.approx(seconds, abs=2)
    assert budget(answer) == headers_for("exceeded", "0.00", "25.00", "25.03")
    assert answer.header("content-type").startswith("application/json")
    assert len(provider.requests) == asked
    assert await gateway.settled_count(team) == 1


async def test_a_spent_cap_refuses_in_openais_shape_to_the_letter(gateway):
    team = await gateway.make_team("25.00", name="growth-openai")
    await gateway.spend(team, "25.035")
    answer = await gateway.post("/v1/chat/completions", chat_body(stream=True), team)
    assert answer.status == 429
    message = (
        f"Team growth-openai has spent $25.03 of its $25.00 cap for {datetime.now(UTC):%Y-%m}; "
        f"it resets at {resets_at():%Y-%m-%dT%H:%M:%SZ}."
    )
    assert answer.document == {
        "error": {
            "message": message,
            "type": "budget_exceeded",
            "code": "budget_exceeded",
            "param": None,
            "team": "growth-openai",
            "cap_usd": "25.00",
            "spend_usd": "25.03",
            "resets_at": f"{resets_at():%Y-%m-%dT%H:%M:%SZ}",
        }
    }
    assert answer.header("x-should-retry") == "false"
    assert budget(answer) == headers_for("exceeded", "0.00", "25.00", "25.03")


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_anthropics_sdk_does_not_retry_a_spent_cap_and_names_it(gateway, is_streaming):
    team = await gateway.make_team("1.00")
    await gateway.spend(team, "1.05")
    sent = []

    async def count(request):
        sent.append(request)

    http = anthropic.DefaultAsyncHttpxClient(event_hooks={"request": [count]})
    async with gateway.anthropic(team, http_client=http) as client:
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(
                model=SONNET, max_tokens=64, messages=HELLO, stream=is_streaming
            )
    assert len(sent) == 1
    for word in (team.name, "$1.05", "$1.00", f"{resets_at():%Y-%m-%dT%H:%M:%SZ}"):
        assert word in str(caught.value)


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_openais_sdk_does_not_retry_a_spent_cap_and_names_it(gateway, is_streaming):
    team = await gateway.make_team("1.00")
    await gateway.spend(team, "1.05")
    sent = []

    async def count(request):
        sent.append(request)

    http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [count]})
    async with gateway.openai(team, http_client=http) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model=GPT, messages=HELLO, stream=is_streaming)
    assert len(sent) == 1
    assert caught.value.code == "budget_exceeded"
    for word in (team.name, "$1.05", "$1.00", f"{resets_at():%Y-%m-%dT%H:%M:%SZ}"):
        assert word in str(caught.value)


async def test_the_last_request_admitted_may_cross_the_cap(gateway):
    team = await gateway.make_team("10.00")
    await gateway.spend(team, "9.99", "0.75")
    answer = await ask(gateway, team)
    assert answer.status == 429
    assert budget(answer)["spend-usd"] == "10.74"


async def test_exactly_the_cap_is_spent(gateway):
    team = await gateway.make_team("3.00")
    await gateway.spend(team, "3.00")
    assert (await ask(gateway, team)).status == 429


async def test_the_override_passes_only_for_a_key_that_may(gateway, provider):
    team = await gateway.make_team("1.00")
    await gateway.spend(team, "1.05")
    header = ("x-posthog-budget-override", "true")
    assert (await ask(gateway, team, header)).status == 429
    _, key = await gateway.make_key(team.team_id, may_override=True)
    headers = [("x-api-key", key), ("content-type", "application/json")]
    without = await gateway.post("/v1/messages", messages_body(), None, headers)
    assert without.status == 429
    answer = await gateway.post("/v1/messages", messages_body(), None, [*headers, header])
    assert answer.status == 200
    assert budget(answer) == headers_for("override", "0.00", "1.00", "1.05")
    entry = (await gateway.entries(team, 2))[1]
    assert entry["budget_status"] == "override"
    event = await gateway.event(entry["entry_id"])
    assert event["properties"]["budget_status"] == "override"
    assert provider.requests[-1].header("x-posthog-budget-override") is None


async def test_a_shadow_team_is_told_and_never_refused(gateway):
    team = await gateway.make_team("1.00", enforcement="shadow")
    await gateway.spend(team, "1.05")
    answer = await ask(gateway, team)
    assert answer.status == 200
    assert budget(answer) == headers_for("exceeded", "0.00", "1.00", "1.05")
    assert (await gateway.entries(team, 2))[1]["budget_status"] == "blocked"


async def test_a_strict_team_gets_only_what_fits_in_its_worst_case(gateway, provider):
    team = await gateway.make_team("0.0005", enforcement="strict")
    # 64 tokens of output at 15 USD a million are 0.00096 USD.
    answer = await ask(gateway, team)
    assert answer.status == 429
    assert provider.requests == []
    await gateway.set_cap(team, "1.00")
    assert await eventually(gateway, team, 200) < BINDS_WITHIN_S


async def test_a_strict_refusal_says_what_the_request_may_cost_and_how_to_ask_for_less(gateway):
    team = await gateway.make_team("20.00", name="growth-strict", enforcement="strict")
    await gateway.spend(team, "10.125")
    # A million tokens of output at 15 USD a million, and the prompt.
    answer = await gateway.post("/v1/messages", messages_body().replace(b"64", b"1000000"), team)
    assert answer.status == 429
    resets = f"{resets_at():%Y-%m-%dT%H:%M:%SZ}"
    assert answer.document["error"] == {
        "type": "budget_exceeded",
        "message": (
            "Team growth-strict has spent $10.12 of its $20.00 cap for "
            f"{datetime.now(UTC):%Y-%m}, which is strict: this request may cost up to $15.03, and "
            "$9.87 is left. A smaller max_tokens or a shorter prompt may pass; the cap resets at "
            f"{resets}."
        ),
        "team": "growth-strict",
        "cap_usd": "20.00",
        "spend_usd": "10.12",
        "resets_at": resets,
    }
    assert answer.header("x-should-retry") == "false"
    seconds = (resets_at() - datetime.now(UTC)).total_seconds()
    assert int(answer.header("retry-after")) == pytest.approx(seconds, abs=2)
    assert budget(answer) == headers_for("ok", "9.87", "20.00", "10.12")
    chat = chat_body(', "max_completion_tokens": 1000000, "n": 100')
    said = (await gateway.post("/v1/chat/completions", chat, team)).document["error"]
    assert "A smaller max_completion_tokens or a shorter prompt may pass" in said["message"]
    assert said["code"] == "budget_exceeded"
    assert (await ask(gateway, team)).status == 200


async def test_a_strict_team_is_told_where_only_running_holds_are_in_the_way(gateway, provider):
    # Each may cost $0.026: one fits, two do not until the first has settled.
    team = await gateway.make_team("0.04", enforcement="strict")
    provider.will(playing(ANTHROPIC_TEXT, head_delay_s=0.6))
    running = asyncio.create_task(ask(gateway, team))
    await provider.wait_for_requests(1)
    refused = await ask(gateway, team)
    assert refused.status == 429
    assert refused.document["error"]["reason"] == "held"
    assert "may cost" not in refused.document["error"]["message"]
    assert refused.header("x-should-retry") == "true"
    assert (await running).status == 200


async def eventually(gateway, team, status):
    """Seconds until a call is answered with `status`."""
    started_s = time.monotonic()
    async with asyncio.timeout(10):
        while (await ask(gateway, team)).status != status:
            await asyncio.sleep(0.01)
    return time.monotonic() - started_s


async def test_a_cap_set_by_plain_sql_binds_within_a_second_both_ways(gateway):
    team = await gateway.make_team()
    await gateway.spend(team, "2.01")
    await gateway.set_cap(team, "2.00")
    assert await eventually(gateway, team, 429) < BINDS_WITHIN_S
    await gateway.set_cap(team, "500")
    assert await eventually(gateway, team, 200) < BINDS_WITHIN_S
    await gateway.set_cap(team, "1.00")
    assert await eventually(gateway, team, 429) < BINDS_WITHIN_S
    await gateway.set_cap(team, None)
    assert await eventually(gateway, team, 200) < BINDS_WITHIN_S


async def test_a_dated_exception_lifts_the_cap_while_it_lasts(gateway):
    team = await gateway.make_team("1.00")
    await gateway.spend(team, "1.05")
    assert (await ask(gateway, team)).status == 429
    await gateway.execute(
        "INSERT INTO ledger.cap_override (team_id, valid, cap_usd, reason) VALUES "
        "($1, tstzrange(now() - interval '1 hour', now() + interval '2 seconds'), 9, 'launch')",
        team.team_id,
    )
    assert await eventually(gateway, team, 200) < BINDS_WITHIN_S
    assert await eventually(gateway, team, 429) < 2 + BINDS_WITHIN_S


async def test_a_running_stream_is_never_ended_by_the_cap(gateway, provider):
    team = await gateway.make_team("1.00")
    provider.will(playing(ANTHROPIC_STREAM, interval_s=0.08))
    stream = asyncio.create_task(gateway.post("/v1/messages", messages_body(stream=True), team))
    await provider.wait_for_requests(1)
    await gateway.set_cap(team, "0.00001")
    answer = await stream
    assert answer.is_whole
    assert answer.body == ANTHROPIC_STREAM.body


async def test_a_refusal_that_only_running_holds_cause_passes_by_itself(gateway, provider):
    # One running request may hold all that is left; the next is told to come again shortly.
    team = await gateway.make_team("0.0001")
    provider.will(playing(ANTHROPIC_TEXT, head_delay_s=0.6))
    running = asyncio.create_task(ask(gateway, team))
    await provider.wait_for_requests(1)
    refused = await ask(gateway, team)
    assert refused.status == 429
    assert refused.document["error"]["reason"] == "held"
    assert refused.header("x-should-retry") == "true"
    assert int(refused.header("retry-after")) <= 10
    assert budget(refused)[""] == "ok"
    assert (await running).status == 200


async def test_what_a_request_held_is_free_again_after_it(gateway):
    team = await gateway.make_team("5.00")
    for _ in range(5):
        assert (await ask(gateway, team)).status == 200
    await gateway.entries(team, 5)
    await gateway.wait_until_nothing_is_held(team)
    assert await gateway.spend_usd(team) == 5 * ANTHROPIC_TEXT.amount_usd
