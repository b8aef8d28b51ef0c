"""Clients that call all the time, in both dialects, and remember what they heard."""

import asyncio
import hashlib
import json
import random
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.postgres.connection import Connection
from scripts.kill_provider import GPT, SONNET
from tests.fakes.raw_client import RawAnswer, connected

PRODUCTS = tuple(f"p{number:04}" for number in range(1000))
_REFUSED_PAUSE_S = 0.02
_UNAVAILABLE_PAUSE_S = 0.05
_PATIENCE_S = 30.0
_ENDS = (b'{"type": "message_stop"}\n\n', b"data: [DONE]\n\n")


@dataclass(frozen=True, slots=True)
class Credential:
    """One client's key; with the product of a route it names one request in the ledger."""

    api_key_id: int
    text: str


@dataclass(slots=True)
class Sent:
    """A request that went out, and what came of it."""

    tag: str
    credential: Credential
    product: str
    is_streaming: bool
    status: int | None = None
    entry_id: str | None = None
    body: bytes = b""
    is_whole: bool = False
    has_left: bool = False

    @property
    def has_heard_the_end(self) -> bool:
        """Everything that a client goes by: the framing, and the answer's own end."""
        return (
            self.status == 200
            and self.is_whole
            and (not self.is_streaming or self.body.endswith(_ENDS))
        )


@dataclass
class Fleet:
    """So many clients, each one request after another, until told to stop."""

    url: str
    seed: int
    leave_share: float = 0.03
    sent: list[Sent] = field(default_factory=list)
    statuses: Counter[int | str] = field(default_factory=Counter)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, credentials: Sequence[Credential]) -> None:
        """A batch: its requests are told apart by key and product, so the keys must be new."""
        self.sent.clear()
        self._stop.clear()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._client(number, credential))
            for number, credential in enumerate(credentials)
        ]

    async def stop(self) -> None:
        """Let every request end by itself."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _client(self, number: int, credential: Credential) -> None:
        dice = random.Random(f"{self.seed}/{credential.api_key_id}")  # noqa: S311 - repeatable.
        is_anthropic = number % 2 == 0
        products = iter(PRODUCTS)
        product = next(products)
        while not self._stop.is_set():
            one = Sent(
                tag=f"{credential.api_key_id}/{product}",
                credential=credential,
                product=product,
                is_streaming=dice.random() < 0.6,
            )
            leave_after = dice.randint(1, 8) if dice.random() < self.leave_share else None
            try:
                await self._call(one, is_anthropic=is_anthropic, leave_after=leave_after)
            except ConnectionRefusedError:
                self.statuses["refused"] += 1
                await asyncio.sleep(_REFUSED_PAUSE_S)
                continue
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as exc:
                broken = "timeout" if isinstance(exc, TimeoutError) else "broken"
                self.statuses[broken] += 1
            else:
                self._count(one)
            next_product = next(products, None)
            if next_product is None:
                return
            product = next_product
            if one.status is not None and one.status >= 400:
                await asyncio.sleep(_UNAVAILABLE_PAUSE_S)

    async def _call(self, one: Sent, *, is_anthropic: bool, leave_after: int | None) -> None:
        async with asyncio.timeout(_PATIENCE_S), connected(self.url) as connection:
            self.sent.append(one)
            path = "/v1/messages" if is_anthropic else "/v1/chat/completions"
            headers = [("x-api-key", one.credential.text), ("content-type", "application/json")]
            body = _body(one, SONNET if is_anthropic else GPT)
            connection.send("POST", f"/{one.product}{path}", headers, body)
            answer = await connection.head()
            one.status = answer.status
            one.entry_id = answer.header("x-gateway-request-id")
            pieces = 0
            async for _ in connection.pieces(answer):
                pieces += 1
                if pieces == leave_after:
                    one.has_left = True
                    connection.leave()
                    break
            _note(one, answer)

    def _count(self, one: Sent) -> None:
        if one.has_left:
            self.statuses["left"] += 1
        elif not one.is_whole:
            self.statuses["cut"] += 1
        elif one.status is not None:
            self.statuses[one.status] += 1


def _note(one: Sent, answer: RawAnswer) -> None:
    one.body = answer.body
    one.is_whole = answer.is_whole and not one.has_left


def _body(one: Sent, model: str) -> bytes:
    return json.dumps(
        {
            "model": model,
            "max_tokens": 64,
            "stream": one.is_streaming,
            "messages": [{"role": "user", "content": one.tag}],
        }
    ).encode()


async def make_credentials(
    database: Connection, team_ids: Sequence[int], count: int
) -> list[Credential]:
    """New keys, the teams taking turns by twos, so that each has clients of both dialects."""
    made = []
    for number in range(count):
        text = "gw_" + secrets.token_urlsafe(32)
        api_key_id = await database.fetchval(
            "INSERT INTO ledger.api_key (team_id, key_hash, key_prefix) VALUES ($1, $2, $3) "
            "RETURNING api_key_id",
            team_ids[number // 2 % len(team_ids)],
            hashlib.sha256(text.encode()).digest(),
            text[:11],
        )
        made.append(Credential(int(api_key_id), text))
    return made
