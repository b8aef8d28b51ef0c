"""The ways through the gateway that faults are injected into, and a client that goes each."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from scripts.team_money import spend
from tests.fakes.raw_client import RawAnswer, connected
from tests.fakes.transcripts import ANTHROPIC_STREAM, ANTHROPIC_TEXT, OPENAI_STREAM, OPENAI_TEXT
from tests.fixtures.gateway import chat_body, messages_body


@dataclass(frozen=True)
class Road:
    """A way through the gateway: what is sent, and what a whole answer is."""

    name: str
    target: str
    body: bytes
    whole: bytes
    amount_usd: Decimal | None
    cap_usd: int | None = None
    status: int = 200
    leaves: bool = False


ROADS = [
    Road(
        "a stream",
        "/v1/messages",
        messages_body(stream=True),
        ANTHROPIC_STREAM.body,
        ANTHROPIC_STREAM.amount_usd,
    ),
    Road(
        "a stream whose usage is held back, under a cap",
        "/v1/chat/completions",
        chat_body(stream=True),
        b"",
        OPENAI_STREAM.amount_usd,
        cap_usd=1000,
    ),
    Road(
        "an answer in one piece, under a cap",
        "/v1/messages",
        messages_body(),
        ANTHROPIC_TEXT.body,
        ANTHROPIC_TEXT.amount_usd,
        cap_usd=1000,
    ),
    Road(
        "an answer in one piece",
        "/v1/chat/completions",
        chat_body(),
        OPENAI_TEXT.body,
        OPENAI_TEXT.amount_usd,
    ),
    Road("a spent budget", "/v1/messages", messages_body(), b"", None, cap_usd=1, status=429),
    Road("token counting", "/v1/messages/count_tokens", messages_body(), b"", None),
    Road(
        "a client that leaves",
        "/v1/messages",
        messages_body(stream=True),
        b"",
        ANTHROPIC_STREAM.amount_usd,
        leaves=True,
    ),
]


def environment(provider, data_dir):
    return {
        "GATEWAY_PORT": "0",
        "GATEWAY_ADMIN_PORT": "0",
        "GATEWAY_DATA_DIR": str(data_dir),
        "GATEWAY_ANTHROPIC_BASE_URL": provider.anthropic_base_url,
        "GATEWAY_ANTHROPIC_API_KEY": "sk-ant-none",
        "GATEWAY_OPENAI_BASE_URL": provider.openai_base_url,
        "GATEWAY_OPENAI_API_KEY": "sk-none",
    }


async def make_team(database, road):
    team_id = await database.fetchval(
        "INSERT INTO ledger.team (name, monthly_cap_usd) VALUES ($1, $2) RETURNING team_id",
        road.name,
        road.cap_usd,
    )
    if road.status == 429:
        await spend(database, team_id, Decimal(2))
    return team_id


# A harmless header of no plain request: it goes by the framework's connection.
BY_THE_FRAMEWORK = [("te", "trailers")]


async def call(url, road, credential, more=()):
    """The answer as far as it came; None where there was none."""
    headers = [("x-api-key", credential.text), ("content-type", "application/json"), *more]
    answer: RawAnswer | None = None
    try:
        async with asyncio.timeout(20), connected(url) as connection:
            connection.send("POST", road.target, headers, road.body)
            answer = await connection.head()
            async for _ in connection.pieces(answer):
                if road.leaves:
                    connection.leave()
                    break
    except (OSError, asyncio.IncompleteReadError):
        pass
    return answer
