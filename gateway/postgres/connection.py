"""Connections to the ledger's database; none is used again once its state is in doubt."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

from gateway.postgres.errors import DATA_ERRORS, INFRASTRUCTURE_ERRORS

# The driver's class takes its type parameter in its stubs alone.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_CLOSE_TIMEOUT_S = 2.0


async def connect(url: str, *, application_name: str, timeout_s: float = 5.0) -> Connection:
    """Open a connection; times come back in UTC, whatever the server's own zone is.

    Raises:
        INFRASTRUCTURE_ERRORS: the server cannot be reached within `timeout_s`, or refuses.
    """
    # The driver's own time-out does not cover every step of a hung handshake.
    async with asyncio.timeout(timeout_s):
        return await asyncpg.connect(
            url,
            timeout=timeout_s,
            server_settings={"application_name": application_name, "timezone": "UTC"},
        )


class DedicatedConnection:
    """One long-lived connection behind a lock: cheaper than a pool, which resets after each use."""

    def __init__(self, url: str, *, application_name: str) -> None:
        self._url = url
        self._application_name = application_name
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self._is_closed = False

    @asynccontextmanager
    async def use(self, *, timeout_s: float = 5.0) -> AsyncIterator[Connection]:
        """Lend the connection, made anew where it was lost; the block has `timeout_s` in all.

        Waiting for its turn and connecting count, too.

        Raises:
            TimeoutError: the time is over; what the block sent may or may not have happened.
            INFRASTRUCTURE_ERRORS: the server cannot be reached, or went away.
        """
        async with asyncio.timeout(timeout_s), self._lock:
            connection = await self._connected(timeout_s)
            try:
                yield connection
            except BaseException as exc:
                if not _is_outcome_known(exc):
                    self._discard()
                raise
            finally:
                # Somebody left a transaction open: the next user must not join it.
                if not connection.is_closed() and connection.is_in_transaction():
                    self._discard()

    async def close(self) -> None:
        """Close the connection after its last use; a hung server does not hold this up."""
        self._is_closed = True
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S), self._lock:
                if self._connection is not None:
                    await self._connection.close(timeout=_CLOSE_TIMEOUT_S)
        except INFRASTRUCTURE_ERRORS:
            pass
        finally:
            self._discard()

    async def _connected(self, timeout_s: float) -> Connection:
        if self._is_closed:
            raise asyncpg.InterfaceError("the connection is closed")
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(
                self._url, application_name=self._application_name, timeout_s=timeout_s
            )
        return self._connection

    def _discard(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _is_outcome_known(exc: BaseException) -> bool:
    """The server answered with an error of the statement, or the driver sent nothing at all."""
    if isinstance(exc, DATA_ERRORS):
        return True
    return isinstance(exc, asyncpg.PostgresError) and not isinstance(exc, INFRASTRUCTURE_ERRORS)
