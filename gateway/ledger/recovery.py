"""Finishes what dead writers left in a directory of journals: posts, estimates, ends leases."""

import asyncio
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from gateway.domain.clock import Clock
from gateway.domain.entry import Hold, Settlement
from gateway.domain.ids import EntryId
from gateway.ledger.dead_journal import (
    BadRecord,
    DeadJournal,
    Replayed,
    Survey,
    bad_records,
    estimated_settlement,
)
from gateway.ledger.journal import LEDGER_READER, Journal
from gateway.ledger.journal_files import (
    Position,
    corrupt_path,
    position_path,
    read_position,
    remove_writer,
    segments_of,
    take_over,
    writers_in,
)
from gateway.ledger.posting import QUERIES, post, put_dead_letter
from gateway.ledger.recovery_report import RecoveryReport
from gateway.postgres.connection import DedicatedConnection
from gateway.postgres.errors import INFRASTRUCTURE_ERRORS

_log = structlog.get_logger("gateway.recovery")
_INTERVAL_S = 5.0
_TIMEOUT_S = 10.0
_ROWS_MAX = 500
_LETTER_BYTES_MAX = 64 << 10
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class UnreadableJournalError(Exception):
    """The disk refuses a file of one journal; the others are not concerned."""


class Recovery:
    """Replays journals whose writers are dead, one at a time, each under its writer's lock.

    Entries are posted under the dead writer's id, which consumes its leases and not ours, and only
    then its leases end. Events of what its other readers had not acked go through the live journal:
    the ledger counts once, events go out at least once. Every step can be done again, so that a
    recovery that dies is one more dead process and no more.
    """

    def __init__(
        self,
        directory: Path,
        *,
        connection: DedicatedConnection,
        clock: Clock,
        journal: Journal | None = None,
        interval_s: float = _INTERVAL_S,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        """Without a live journal nobody hears of events; a command that only posts has none."""
        self._directory = directory
        self._connection = connection
        self._clock = clock
        self._journal = journal
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._task: asyncio.Task[None] | None = None
        self._reported: set[Path] = set()

    async def start(self) -> None:
        """Run now and every few seconds, without waiting for the first run."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name="journal-recovery")

    async def close(self) -> None:
        """Stop at once; what was not finished is found by the next run of anybody."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def run_once(self) -> RecoveryReport:
        """Finish every dead writer's journal; an error leaves it for the next run."""
        report = RecoveryReport()
        for writer_id in await asyncio.to_thread(writers_in, self._directory):
            if self._journal is not None and writer_id == self._journal.writer_id:
                continue
            try:
                report = report.plus(await self._recover_if_dead(writer_id))
            except Exception as exc:  # noqa: BLE001 - one bad journal must not hold up the others.
                report = report.plus(RecoveryReport(failed_count=1))
                error = f"{type(exc).__name__}: {exc}"
                _log.warning("recovery.failed", writer_id=str(writer_id), error=error)
                if isinstance(exc, INFRASTRUCTURE_ERRORS):
                    return report
        await self._report_corrupt()
        return report

    async def _run(self) -> None:
        while True:
            started_s = self._clock.monotonic_s()
            try:
                report = await self.run_once()
            except Exception as exc:  # noqa: BLE001 - the next run may fare better.
                _log.warning("recovery.failed", error=f"{type(exc).__name__}: {exc}")
            else:
                if report.writer_count:
                    duration_s = self._clock.monotonic_s() - started_s
                    _log.info("recovery.done", duration_s=round(duration_s, 3), **report.for_log())
            await asyncio.sleep(self._interval_s)

    async def _recover_if_dead(self, writer_id: uuid.UUID) -> RecoveryReport:
        # At once and in no thread: cancelled meanwhile, nobody would have the lock to free it.
        try:
            lock = take_over(self._directory, writer_id)
        except OSError as exc:
            raise UnreadableJournalError(str(exc)) from exc
        if lock is None:
            return RecoveryReport()
        try:
            if not segments_of(self._directory, writer_id):
                # Somebody else finished it after we had seen it, or died while removing it.
                await _on_disk(remove_writer, self._directory, writer_id)
                return RecoveryReport()
            return await self._recover(writer_id)
        finally:
            # Whatever happened: a lock that stays looks like a writer that lives.
            os.close(lock)

    async def _recover(self, writer_id: uuid.UUID) -> RecoveryReport:
        dead = DeadJournal(self._directory, writer_id)
        survey = await _on_disk(dead.survey)
        adopts = self._adopts()
        report = await self._replay(writer_id, dead, adopts=adopts)
        report = report.plus(await self._estimate(writer_id, survey, adopts=adopts))
        async with self._connection.use(timeout_s=self._timeout_s) as lent:
            await lent.execute(QUERIES["lease_close"], writer_id)
        if not await self._is_adopted_safely(adopts=adopts):
            return replace(report, failed_count=1)
        for segment in survey.damaged_segments:
            # A second name and no new one: until all goes at once the journal stays whole.
            with suppress(FileExistsError):
                corrupt_path(segment).hardlink_to(segment)
        await _on_disk(remove_writer, self._directory, writer_id)
        return report.plus(
            RecoveryReport(
                writer_count=1,
                torn_tail_count=survey.torn_tail_count,
                corrupt_segment_count=len(survey.damaged_segments),
            )
        )

    async def _replay(
        self, writer_id: uuid.UUID, dead: DeadJournal, *, adopts: bool
    ) -> RecoveryReport:
        """Post what its poster had not acked, and adopt what its other readers had not."""
        posted_until = self._position(writer_id, LEDGER_READER)
        adopted_until = self._adopted_until(writer_id)
        report = RecoveryReport()
        batches = dead.batches(_ROWS_MAX)
        while batch := await _on_disk(next, batches, None):
            report = report.plus(await self._post(writer_id, _after(batch, posted_until)))
            if adopts:
                self._adopt([r.settlement for r in batch if r.position > adopted_until])
        return report

    async def _estimate(
        self, writer_id: uuid.UUID, survey: Survey, *, adopts: bool
    ) -> RecoveryReport:
        report = RecoveryReport()
        holds = list(survey.open_holds.values())
        for start in range(0, len(holds), _ROWS_MAX):
            settlements = await self._estimates(holds[start : start + _ROWS_MAX])
            report = report.plus(await self._post(writer_id, settlements))
            report = report.plus(RecoveryReport(estimated_count=len(settlements)))
            if adopts:
                self._adopt(settlements)
        return report

    async def _estimates(self, holds: Sequence[Hold]) -> list[Settlement]:
        """For the holds whose truth is not in the ledger.

        It may be: while its disk was full the writer had only memory for a settlement, which was
        posted from there.
        """
        if not holds:
            return []
        async with self._connection.use(timeout_s=self._timeout_s) as lent:
            known = await lent.fetch(
                QUERIES["settled_before"],
                [hold.entry_id for hold in holds],
                [hold.month for hold in holds],
            )
            named = await lent.fetch(
                QUERIES["team_names"], sorted({hold.team_id for hold in holds})
            )
        settled: set[EntryId] = {EntryId(str(row["entry_id"])) for row in known}
        names: dict[int, str] = {row["team_id"]: row["name"] for row in named}
        return [
            estimated_settlement(hold, team_name=names.get(hold.team_id, ""))
            for hold in holds
            if hold.entry_id not in settled
        ]

    async def _post(
        self, writer_id: uuid.UUID, settlements: Sequence[Settlement]
    ) -> RecoveryReport:
        if not settlements:
            return RecoveryReport()
        posting = await post(
            self._connection,
            writer_id,
            [settlement.entry for settlement in settlements],
            timeout_s=self._timeout_s,
        )
        return RecoveryReport(posted_count=posting.inserted, dead_count=posting.dead_count)

    def _adopts(self) -> bool:
        """Somebody wants the events, and the live journal can keep them."""
        journal = self._journal
        return journal is not None and bool(journal.adopting_readers) and not journal.is_degraded

    def _adopt(self, settlements: Sequence[Settlement]) -> None:
        assert self._journal is not None
        for settlement in settlements:
            self._journal.adopt(settlement)

    async def _is_adopted_safely(self, *, adopts: bool) -> bool:
        """Whether the dead writer's files may go."""
        journal = self._journal
        if journal is None or not journal.adopting_readers:
            return True
        await journal.sync()
        return adopts and not journal.is_degraded

    def _adopted_until(self, writer_id: uuid.UUID) -> Position:
        readers = self._journal.adopting_readers if self._journal is not None else []
        return min((self._position(writer_id, reader) for reader in readers), default=(0, 0))

    def _position(self, writer_id: uuid.UUID, reader: str) -> Position:
        return read_position(position_path(self._directory, writer_id, reader))

    async def _report_corrupt(self) -> None:
        """Dead letters for what cannot be read in segments that were put aside, ours included."""
        for path in sorted(set(self._directory.glob("*.corrupt")) - self._reported):
            try:
                bad_ones = await _on_disk(bad_records, path)
            except UnreadableJournalError as exc:
                _log.warning("recovery.failed", segment=path.name, error=str(exc))
                continue
            for bad in bad_ones:
                await self._report_bad(bad)
            self._reported.add(path)

    async def _report_bad(self, bad: BadRecord) -> None:
        await put_dead_letter(
            self._connection,
            uuid.UUID(bad.segment.name.split(".")[0]),
            entry_id=None,
            payload=bad.content[:_LETTER_BYTES_MAX].decode("utf-8", "backslashreplace"),
            error=f"unreadable record in {bad.segment.name} at offset {bad.start}",
            timeout_s=self._timeout_s,
        )
        _log.error("recovery.corrupt", segment=bad.segment.name, start=bad.start)


def _after(batch: Sequence[Replayed], position: Position) -> list[Settlement]:
    """An adopted settlement was posted when it was adopted."""
    return [r.settlement for r in batch if r.position > position and not r.is_adopted]


async def _on_disk(
    work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result:
    """In a thread. The disk's errors would otherwise look like those of the database's sockets."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as exc:
        raise UnreadableJournalError(str(exc)) from exc
