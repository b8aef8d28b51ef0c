"""Who presents a key: from memory where it is known, else from the database, else refused."""

import asyncio
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from gateway.auth.keys import hash_key, is_well_formed
from gateway.auth.known_keys import KNOWN_MAX, KnownKeys, UnknownKeys
from gateway.domain.clock import Clock
from gateway.domain.errors import AuthenticationError, GatewayError, LedgerUnavailableError
from gateway.domain.identity import Principal
from gateway.domain.ids import ApiKeyId, TeamId
from gateway.postgres.connection import DedicatedConnection
from gateway.postgres.errors import INFRASTRUCTURE_ERRORS
from gateway.postgres.sql import load_queries

_log = structlog.get_logger("gateway.auth")
_QUERIES: Final = load_queries(Path(__file__).parent / "queries")
_TEAM = "team:"
# One query at a time, for all the keys that wait for one: a flood of wrong keys makes the queries
# longer and not more, and what waits beyond this is refused, to come again.
ASKED_AT_ONCE_MAX = 500
WAITING_MAX = 5_000
ASK_TIMEOUT_S = 2.0
# An answer during which something changed is asked for anew, so that it can be kept: an outage may
# begin before the next request.
ASKED_AGAIN_MAX = 2
# After a failure the database is left alone for a moment.
PAUSE_S = 0.1
# Half of the second within which a revoked key must fail where its notification was lost.
REREAD_INTERVAL_S = 0.5

_Answer = Principal | type[GatewayError]


class KeyDirectory:
    """Never fails open: a key that is not known for good is refused, or asked for again.

    What is known goes on through an outage of the database. A change is heard by notification, and
    read again twice a second besides, since a notification can be lost.
    """

    def __init__(
        self, connection: DedicatedConnection, *, clock: Clock, keys_max: int = KNOWN_MAX
    ) -> None:
        self._connection = connection
        self._known = KnownKeys(keys_max)
        self._unknown = UnknownKeys(clock)
        self._waiting: dict[bytes, asyncio.Future[_Answer]] = {}
        self._has_work = asyncio.Event()
        self._is_hurried = asyncio.Event()
        self._to_verify: list[bytes] = []
        self._read_at: datetime | None = None
        self._changes = 0
        self._paused_until_s = 0.0
        self._is_failing = False
        self._tasks: list[asyncio.Task[None]] = []
        self.query_count = 0

    async def start(self) -> None:
        """Begin to answer; a database that is down is no error."""
        assert not self._tasks
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._answer_forever(), name="keys-answer"),
            loop.create_task(self._reread_forever(), name="keys-reread"),
        ]

    async def close(self) -> None:
        """Stop; whoever still waits is told to try again."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._refuse_waiting()

    def find(self, key: str) -> Principal | None:
        """The principal from memory alone: one hash, one look-up."""
        # What is not ASCII is no key, and may not even be text.
        return self.find_hash(hash_key(key)) if key.isascii() else None

    def find_hash(self, key_hash: bytes) -> Principal | None:
        """The same where the hash is at hand: one look-up."""
        return self._known.find(key_hash)

    async def authenticate(self, key: str) -> Principal:
        """The principal of a key.

        Raises:
            AuthenticationError: there is no such key, it was revoked, or its team is archived.
            LedgerUnavailableError: not known here, and the database cannot be asked.
        """
        if not is_well_formed(key):
            raise AuthenticationError
        key_hash = hash_key(key)
        principal = self._known.find(key_hash)
        if principal is not None:
            return principal
        if key_hash in self._unknown:
            raise AuthenticationError
        future = self._asked(key_hash)
        # Others may wait for the same answer: a caller that leaves does not take it with them.
        await asyncio.wait({future})
        answer = future.result()
        if isinstance(answer, Principal):
            return answer
        raise answer

    def on_key_changed(self, payload: str) -> None:
        """A key or a team was changed: what was known of it is forgotten, and asked for anew."""
        self._changes += 1
        self._unknown.clear()
        number = payload.removeprefix(_TEAM)
        if not number.isdecimal():
            self.on_listener_connected()
        elif payload.startswith(_TEAM):
            self._known.forget_team(TeamId(int(number)))
        else:
            self._known.forget_key(ApiKeyId(int(number)))

    def on_listener_connected(self) -> None:
        """Any notification may have been missed: all that is known is verified, at once."""
        self._changes += 1
        self._unknown.clear()
        self._to_verify = self._known.hashes()
        self._is_hurried.set()

    def _asked(self, key_hash: bytes) -> asyncio.Future[_Answer]:
        future = self._waiting.get(key_hash)
        if future is not None:
            return future
        loop = asyncio.get_running_loop()
        is_full = len(self._waiting) >= WAITING_MAX
        if is_full or not self._tasks or loop.time() < self._paused_until_s:
            raise LedgerUnavailableError
        future = self._waiting[key_hash] = loop.create_future()
        self._has_work.set()
        return future

    async def _answer_forever(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._waiting:
                try:
                    await self._answer_some()
                except Exception as exc:  # noqa: BLE001 - without this task nobody gets in.
                    self._failed(exc)
                    self._paused_until_s = asyncio.get_running_loop().time() + PAUSE_S
                    self._refuse_waiting()

    async def _answer_some(self) -> None:
        key_hashes = list(islice(self._waiting, ASKED_AT_ONCE_MAX))
        changes = self._changes
        found = await self._ask_twice(key_hashes)
        for _ in range(ASKED_AGAIN_MAX):
            if self._changes == changes:
                break
            changes = self._changes
            found = await self._ask_twice(key_hashes)
        self._succeeded()
        for key_hash in key_hashes:
            principal = found.get(key_hash)
            # What was read while something changed may be of before: good for one request.
            if self._changes == changes:
                self._keep(key_hash, principal)
            answer = AuthenticationError if principal is None else principal
            self._waiting.pop(key_hash).set_result(answer)

    def _keep(self, key_hash: bytes, principal: Principal | None) -> None:
        if principal is None:
            self._unknown.add(key_hash)
        else:
            self._known.remember(key_hash, principal)

    def _refuse_waiting(self) -> None:
        for future in self._waiting.values():
            future.set_result(LedgerUnavailableError)
        self._waiting.clear()

    async def _ask_twice(self, key_hashes: list[bytes]) -> dict[bytes, Principal]:
        try:
            return await self._ask(key_hashes)
        except TimeoutError:
            raise
        except INFRASTRUCTURE_ERRORS:
            # The connection may have died long ago, with a server that is back since.
            return await self._ask(key_hashes)

    async def _ask(self, key_hashes: list[bytes]) -> dict[bytes, Principal]:
        """Who of these may come in; keys revoked and teams archived are left out."""
        self.query_count += 1
        async with self._connection.use(timeout_s=ASK_TIMEOUT_S) as connection:
            records = await connection.fetch(_QUERIES["find_keys"], key_hashes)
        return {
            record["key_hash"]: _principal(record)
            for record in records
            if not record["is_revoked"] and not record["is_archived"]
        }

    async def _reread_forever(self) -> None:
        while True:
            try:
                await self._reread()
            except Exception as exc:  # noqa: BLE001 - without this task nothing is revoked.
                self._failed(exc)
                await asyncio.sleep(REREAD_INTERVAL_S)
                continue
            if not self._to_verify:
                self._is_hurried.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(REREAD_INTERVAL_S):
                    await self._is_hurried.wait()

    async def _reread(self) -> None:
        """Forget what was withdrawn since the last time; verify some of what is known, in turn."""
        async with self._connection.use(timeout_s=ASK_TIMEOUT_S) as connection:
            record = await connection.fetchrow(_QUERIES["withdrawn_since"], self._read_at)
        assert record is not None
        for api_key_id in record["api_key_ids"]:
            self._known.forget_key(ApiKeyId(api_key_id))
        for team_id in record["team_ids"]:
            self._known.forget_team(TeamId(team_id))
        self._read_at = record["read_at"]
        # Another list may take its place while we ask.
        to_verify = self._to_verify = self._to_verify or self._known.hashes()
        some = to_verify[-ASKED_AT_ONCE_MAX:]
        if some:
            found = await self._ask(some)
            del to_verify[-len(some) :]
            self._verified(some, found)
        self._succeeded()

    def _verified(self, key_hashes: list[bytes], found: dict[bytes, Principal]) -> None:
        for key_hash in key_hashes:
            principal = found.get(key_hash)
            if principal is None:
                self._known.forget(key_hash)
            else:
                self._known.replace(key_hash, principal)

    def _failed(self, exc: Exception) -> None:
        if not self._is_failing:
            self._is_failing = True
            _log.warning("keys.database_unavailable", error=f"{type(exc).__name__}: {exc}")

    def _succeeded(self) -> None:
        if self._is_failing:
            self._is_failing = False
            _log.info("keys.database_resumed")


def _principal(record: asyncpg.Record) -> Principal:
    return Principal(
        api_key_id=ApiKeyId(record["api_key_id"]),
        team_id=TeamId(record["team_id"]),
        team_name=record["team_name"],
        key_prefix=record["key_prefix"],
        may_override_budget=record["may_override_budget"],
        allowed_models=None
        if record["allowed_models"] is None
        else tuple(record["allowed_models"]),
    )
