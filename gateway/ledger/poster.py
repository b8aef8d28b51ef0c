"""Posts the journal's settlements in batches, whatever the database does, however long it takes."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from gateway.domain.budget import PostedTotal
from gateway.domain.entry import Entry, Settlement
from gateway.ledger.journal_reader import JournalReader
from gateway.ledger.posting import Posting, post
from gateway.postgres.batch_size import BatchSize
from gateway.postgres.connection import DedicatedConnection

_log = structlog.get_logger("gateway.poster")
BATCH_ROWS_MAX = 500
BATCH_INTERVAL_S = 0.050
_WAIT_S = 0.25
_POST_TIMEOUT_S = 5.0
_BACKOFF_FIRST_S = 0.05
# Short, because spend that is not posted is invisible to other workers once the database is back.
_BACKOFF_MAX_S = 0.5
_LOG_EVERY = 20


class Poster:
    """Takes settlements from its reader and acks them once they are in the ledger.

    An outage costs disk and not memory: two batches are here, the rest stays in the journal. Where
    the outcome of a post is unknown the same rows are sent again, which the ledger counts once.
    """

    def __init__(
        self,
        *,
        connection: DedicatedConnection,
        reader: JournalReader,
        writer_id: uuid.UUID,
        on_posted: Callable[[Sequence[PostedTotal], Sequence[Entry]], None],
        post_timeout_s: float = _POST_TIMEOUT_S,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._writer_id = writer_id
        self._on_posted = on_posted
        self._post_timeout_s = post_timeout_s
        self._batch: list[Settlement] = []
        self._size = BatchSize(most=BATCH_ROWS_MAX)
        self._hurry = asyncio.Event()
        self._progress = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures_in_a_row = 0
        self.posted_count = 0
        self.batch_count = 0
        self.failure_count = 0
        self.dead_count = 0

    @property
    def is_failing(self) -> bool:
        """The last attempt failed; what waits is in the journal."""
        return self._failures_in_a_row > 0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name="ledger-poster")

    async def drain(self, timeout_s: float) -> bool:
        """Post all that is queued, without pauses; False where that was not done in time."""
        self._hurry.set()
        try:
            async with asyncio.timeout(timeout_s):
                while self._reader.depth:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        finally:
            self._hurry.clear()
        return True

    async def close(self) -> None:
        """Stop at once; what is not acked stays in the journal."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while True:
            try:
                has_more = await self._step()
            except Exception as exc:  # noqa: BLE001 - a poster that dies loses the ledger.
                self._failed(exc)
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)
            else:
                backoff_s = _BACKOFF_FIRST_S
                if not has_more:
                    await self._pause()

    async def _step(self) -> bool:
        """Post one batch; whether more is likely to wait already."""
        if not self._batch:
            self._batch = await self._reader.next_batch(rows_max=BATCH_ROWS_MAX, wait_s=_WAIT_S)
            if not self._batch:
                # Adopted settlements may have been passed over.
                self._progress.set()
                return True
        part = self._batch[: self._size.now]
        # The next batch of a backlog is decoded while the database works on this one.
        posting, _ = await asyncio.gather(
            self._post(part), self._read_ahead(), return_exceptions=True
        )
        if isinstance(posting, BaseException):
            raise posting
        del self._batch[: len(part)]
        self._reader.ack(len(part))
        self._succeeded()
        self.batch_count += 1
        self.posted_count += len(posting.entries)
        self.dead_count += posting.dead_count
        self._tell(posting.totals, posting.entries)
        return bool(self._batch) or self._reader.depth >= BATCH_ROWS_MAX

    async def _post(self, part: Sequence[Settlement]) -> Posting:
        return await post(
            self._connection,
            self._writer_id,
            [settlement.entry for settlement in part],
            timeout_s=self._post_timeout_s,
        )

    async def _read_ahead(self) -> None:
        """Fails for the file's reasons; the next read, once this batch is done, says so."""
        if len(self._batch) <= BATCH_ROWS_MAX < self._reader.depth:
            self._batch += await self._reader.next_batch(rows_max=BATCH_ROWS_MAX, wait_s=0)

    def _tell(self, totals: Sequence[PostedTotal], entries: Sequence[Entry]) -> None:
        self._progress.set()
        try:
            self._on_posted(totals, entries)
        except Exception:  # noqa: BLE001 - a bug of the listener is no reason to stop posting.
            # The rows are posted and acked: nothing is to be sent again for this.
            _log.exception("poster.listener_failed")

    async def _pause(self) -> None:
        """Let a batch gather, unless somebody waits for the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BATCH_INTERVAL_S):
                await self._hurry.wait()

    def _failed(self, exc: Exception) -> None:
        if isinstance(exc, TimeoutError):
            self._size.timed_out()
        if self._failures_in_a_row % _LOG_EVERY == 0:
            _log.warning(
                "poster.failed",
                error=f"{type(exc).__name__}: {exc}",
                failures=self._failures_in_a_row + 1,
                depth=self._reader.depth,
            )
        self._failures_in_a_row += 1
        self.failure_count += 1

    def _succeeded(self) -> None:
        self._size.answered()
        if self._failures_in_a_row:
            _log.info("poster.resumed", failures=self._failures_in_a_row, depth=self._reader.depth)
            self._failures_in_a_row = 0
