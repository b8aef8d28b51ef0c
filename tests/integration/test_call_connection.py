"""Calls on the gateway's own connections and on the framework's: clients see no difference."""

import asyncio
import time

import pytest

from gateway.app import Timeouts
from tests.fakes.provider import playing
from tests.fakes.raw_client import RawAnswer, RawConnection, connected, request
from tests.fakes.transcripts import ANTHROPIC_STREAM, ANTHROPIC_TEXT, SONNET
from tests.fixtures.gateway import GatewayUnderTest, MakeGateway, Team, messages_body

pytestmark = pytest.mark.alone

IDLE_S = 0.5
BODY_BYTES_MAX = 1 << 20
# Harmless, and yet no plain request: the framework's connection takes it.
MARK = ("te", "trailers")
# The framework puts its own name on answers that it makes.
MAKER = "server"


@pytest.fixture(scope="module")
def shared_gateway(make_gateway: MakeGateway) -> GatewayUnderTest:
    return make_gateway(
        timeouts=Timeouts(shutdown_s=10, gone_client_s=2, idle_client_s=IDLE_S),
        GATEWAY_BODY_MAX_BYTES=str(BODY_BYTES_MAX),
    )


def long_body(extra_bytes: int) -> bytes:
    return messages_body(f', "metadata": {{"user_id": "{"x" * extra_bytes}"}}')


def head_of(team: Team, content_bytes: int, *more: tuple[str, str]) -> bytes:
    headers = [("host", "gateway.test"), *team.headers, *more]
    lines = [f"{name}: {value}" for name, value in headers]
    lines.append(f"content-length: {content_bytes}")
    return "\r\n".join(["POST /v1/messages HTTP/1.1", *lines]).encode() + b"\r\n\r\n"


async def answered(connection: RawConnection) -> RawAnswer:
    async with asyncio.timeout(10):
        return await connection.rest(await connection.head())


def comparable(answer: RawAnswer, *but: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Without what differs from request to request, and the framework's name."""
    own = {"date", "x-gateway-request-id", MAKER, *but}
    headers = sorted(
        (name.lower(), value.lower()) for name, value in answer.headers if name.lower() not in own
    )
    entry_id = answer.header("x-gateway-request-id")
    assert entry_id is not None
    return answer.status, headers, answer.body.replace(entry_id.encode(), b"<id>")


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (messages_body(), []),
        (messages_body(stream=True), []),
        (messages_body(), [("x-request-id", "mine")]),
        (b"", []),
        (b"not json", []),
        (messages_body(), [("x-posthog-provider", "nobody")]),
        (messages_body(), [("authorization", "Bearer gw_other")]),
        (messages_body(), [("content-encoding", "gzip")]),
        (b"x" * (BODY_BYTES_MAX + 1), []),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else str(value),
)
async def test_both_kinds_of_connections_answer_alike(gateway, team, provider, body, more):
    transcript = ANTHROPIC_STREAM if b'"stream": true' in body else None
    provider.will(*[playing(transcript or ANTHROPIC_TEXT)] * 2)
    answers = []
    for marks in ([], [MARK]):
        async with gateway.connected() as connection:
            connection.send("POST", "/v1/messages", [*team.headers, *more, *marks], body)
            answers.append(comparable(await answered(connection)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("product", ["/v1/messages", "/nobody/v1/messages", "/v1/nothing"])
async def test_a_stranger_is_told_the_same_by_both(gateway, team, product):
    headers = [("x-api-key", "gw_nobody"), ("content-type", "application/json")]
    answers = []
    for marks in ([], [MARK]):
        async with gateway.connected() as connection:
            connection.send("POST", product, [*headers, *marks], messages_body())
            # The framework has not read the body then, and ends the connection.
            answers.append(comparable(await answered(connection), "connection"))
    assert answers[0] == answers[1]


async def test_a_plain_call_is_read_here_and_any_other_by_the_framework(gateway, team):
    """Else the tests beside this one compare a way with itself."""
    makers = []
    for marks in ([], [MARK]):
        async with gateway.connected() as connection:
            connection.send("POST", "/v1/messages", [*team.headers, *marks], b"not json")
            answer = await answered(connection)
            assert answer.status == 400
            makers.append(answer.header(MAKER) is None)
    assert makers == [True, False]


async def test_a_request_is_taken_whatever_the_pieces_of_its_body(gateway, team, provider):
    body = messages_body()
    head = head_of(team, len(body))
    async with gateway.connected() as connection:
        for cut in range(len(body) + 1):
            provider.will(playing(ANTHROPIC_TEXT))
            connection.send_bytes(head + body[:cut])
            if cut < len(body):
                await asyncio.sleep(0.001)
                connection.send_bytes(body[cut:])
            answer = await answered(connection)
            assert (answer.status, answer.body) == (200, ANTHROPIC_TEXT.body), cut
            assert provider.requests[-1].body == body


async def test_a_head_in_pieces_is_taken(gateway, team, provider):
    body = messages_body()
    head = head_of(team, len(body))
    for cut in (1, 4, len(head) // 2, len(head) - 1):
        provider.will(playing(ANTHROPIC_TEXT))
        async with gateway.connected() as connection:
            connection.send_bytes(head[:cut])
            await asyncio.sleep(0.01)
            connection.send_bytes(head[cut:] + body)
            assert (await answered(connection)).status == 200, cut


async def test_what_a_connection_remembers_of_a_head_is_that_head_alone(gateway, team, provider):
    """Other keys, other bodies, other routes, other headers on one connection."""
    other = await gateway.make_team()
    bodies = [messages_body(), long_body(400), messages_body()]
    provider.will(*[playing(ANTHROPIC_TEXT)] * 5)
    async with gateway.connected() as connection:
        for sender, body in zip((team, other, team), bodies, strict=True):
            connection.send_bytes(head_of(sender, len(body)) + body)
            assert (await answered(connection)).status == 200
            assert provider.requests[-1].body == body
        connection.send_bytes(head_of(team, len(bodies[0]), ("x-request-id", "9")) + bodies[0])
        assert (await answered(connection)).header("x-request-id") == "9"
        connection.send("GET", "/v1/models", team.headers)
        assert (await answered(connection)).status == 200
        # With the framework since, which goes on.
        connection.send_bytes(head_of(team, len(bodies[0])) + bodies[0])
        assert (await answered(connection)).status == 200
    paid = await gateway.entries(team, 4)
    assert len(paid) == 4
    assert len(await gateway.entries(other, 1)) == 1


async def test_a_key_that_is_revoked_is_refused_on_a_connection_that_knows_it(
    gateway, team, provider
):
    provider.will(playing(ANTHROPIC_TEXT))
    body = messages_body()
    async with gateway.connected() as connection:
        connection.send_bytes(head_of(team, len(body)) + body)
        assert (await answered(connection)).status == 200
        await gateway.execute(
            "UPDATE ledger.api_key SET revoked_at = now() WHERE api_key_id = $1", team.api_key_id
        )
        deadline_s = time.monotonic() + 1.0
        while True:
            provider.will(playing(ANTHROPIC_TEXT))
            connection.send_bytes(head_of(team, len(body)) + body)
            answer = await answered(connection)
            if answer.status == 401:
                break
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.02)
    assert answer.document["error"]["type"] == "authentication_error"


async def test_a_strangers_large_body_is_neither_read_nor_kept(gateway):
    """It is refused by its head, and the answer arrives although the body never ends."""
    stranger = Team(team_id=0, name="", api_key_id=0, key="gw_nobody")
    async with gateway.connected() as connection:
        connection.send_bytes(head_of(stranger, 500_000) + b"x" * 1000)
        answer = await answered(connection)
        assert answer.status == 401
        assert answer.header("connection") == "close"
        async with asyncio.timeout(5):
            assert await connection.is_closed()


async def test_requests_sent_ahead_are_answered_in_order_however_many(gateway, team, provider):
    """More than is kept unread: the connection waits, and nothing is lost."""
    body = long_body(8000)
    count = 40
    provider.will(*[playing(ANTHROPIC_TEXT)] * count)
    async with gateway.connected() as connection:
        connection.send_bytes((head_of(team, len(body)) + body) * count)
        for _ in range(count):
            answer = await answered(connection)
            assert (answer.status, answer.body) == (200, ANTHROPIC_TEXT.body)
    assert len(await gateway.entries(team, count)) == count


async def test_a_connection_without_a_request_is_closed_in_time(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT))
    async with gateway.connected() as silent, connected(gateway.url) as used:
        used.send("POST", "/v1/messages", team.headers, messages_body())
        assert (await answered(used)).status == 200
        async with asyncio.timeout(IDLE_S * 4):
            assert await silent.is_closed()
            assert await used.is_closed()


async def test_a_stream_that_runs_longer_than_that_is_not_cut(gateway, team, provider):
    pace_s = 3 * IDLE_S / len(ANTHROPIC_STREAM.events)
    provider.will(playing(ANTHROPIC_STREAM, interval_s=pace_s))
    async with gateway.connected() as connection:
        connection.send("POST", "/v1/messages", team.headers, messages_body(stream=True))
        answer = await answered(connection)
    assert answer.is_whole
    assert answer.body == ANTHROPIC_STREAM.body


async def test_a_fault_while_a_request_goes_up_ends_its_hold(gateway, team, provider, monkeypatch):
    """On a connection at hand, that is in the callback, where no task would see it."""
    provider.will(playing(ANTHROPIC_TEXT))
    assert (await gateway.post("/v1/messages", messages_body(), team)).status == 200

    def break_down(*_: object) -> None:
        raise RuntimeError("the transport is broken")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.upstream.connection.ModelConnection.ask", break_down)
        answer = await gateway.post("/v1/messages", messages_body(), team)
    assert answer.status == 500
    # It may have reached the provider: paid for, and no hold is left open.
    _, paid = await gateway.entries(team, 2)
    assert (paid["usage_source"], paid["amount_usd"] > 0) == ("estimated", True)
    assert str(paid["entry_id"]) == answer.header("x-gateway-request-id")
    metrics = await request(gateway.running.admin_url, "GET", "/metrics")
    assert b"gateway_holds_open 0.0" in metrics.body


async def test_a_count_of_tokens_with_a_query_is_read_here_as_well(gateway, team, provider):
    provider.will(playing(ANTHROPIC_TEXT))
    answer = await gateway.post(
        "/v1/messages/count_tokens?beta=true", messages_body(model=SONNET), team
    )
    assert answer.status == 200
    assert answer.header(MAKER) is None
