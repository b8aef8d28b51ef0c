"""Keeps the guard's memory and the ledger together: leases, readings, and what an outage does."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TypeVar

import structlog

from gateway.domain.clock import Clock
from gateway.domain.ids import TeamId
from gateway.domain.lease import BudgetReading, LeaseAnswer
from gateway.guard.account import Account
from gateway.ledger.lease_client import LeaseClient, LeaseKey
from gateway.postgres.errors import DATA_ERRORS, INFRASTRUCTURE_ERRORS
from gateway.proxy.budget_accounts import BudgetAccounts
from gateway.proxy.budget_question import Question
from gateway.proxy.budget_queue import AccountQueue
from gateway.proxy.budget_waiters import Outcome, Waiters, resolve
from gateway.proxy.leased_accounts import LeasedAccounts

_log = structlog.get_logger("gateway.budget")
TICK_S = 0.1
TICKS_A_READING = 8
_TICKS_A_SWEEP = 300
# Streams get the loop between readings.
_TEAMS_A_READING = 200
_TRIES = 2
_RETRY_S = 0.25
# A team whose ask timed out although the database answers: something of its own is locked.
_PAUSE_S = 1.0
_CLOSE_TIMEOUT_S = 2.0
_Answer = TypeVar("_Answer")


class BudgetSync:
    """One task asks the ledger, a question at a time for many teams; another looks after leases.

    While the database fails nobody waits for it: requests are decided from memory, and this task
    alone tries again.
    """

    def __init__(self, *, leases: LeaseClient, accounts: BudgetAccounts, clock: Clock) -> None:
        self._leases = leases
        self._accounts = accounts
        self._clock = clock
        self._waiters = Waiters()
        self._queue = AccountQueue()
        self._reading: dict[TeamId, list[asyncio.Future[bool]]] = {}
        self._leased = LeasedAccounts()
        self._touched: set[TeamId] = set()
        self._sweep_is_due = False
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.is_failing = False

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._run(), name="budget-sync"),
            loop.create_task(self._tick(), name="budget-tick"),
        ]

    async def close(self) -> None:
        """Give back what is not in use; a database that does not answer is left alone soon."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        self._answer_all()
        with suppress(*INFRASTRUCTURE_ERRORS):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._leased.give_all_back(self._leases, self._clock)

    def touch(self, team_id: TeamId) -> None:
        """The team was decided about from memory: read it again soon."""
        self._touched.add(team_id)

    def cannot_ask(self, account: Account, now_s: float) -> bool:
        """The database is known to fail, or this team's part of it."""
        return self.is_failing or now_s < account.paused_until_s

    def soon(self, account: Account, *, is_urgent: bool = False) -> None:
        """Ask for the account without anybody waiting for it."""
        self._leased.keep(account)
        self._queue.put(account, is_urgent=is_urgent)
        self._wake.set()

    def keep(self, account: Account) -> None:
        """Look after the account's lease until nothing stands on it."""
        self._leased.keep(account)

    def want(self, account: Account, need: int) -> asyncio.Future[Outcome]:
        """Ask for a hold; those of one team that wait at the same time share the question."""
        future = self._waiters.add(account, need)
        self.soon(account, is_urgent=True)
        return future

    def read(self, team_id: TeamId) -> asyncio.Future[bool]:
        """Read the team; False where the ledger does not know it."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._reading.setdefault(team_id, []).append(future)
        self._wake.set()
        return future

    def read_soon(self, team_ids: Iterable[TeamId]) -> None:
        for team_id in team_ids:
            self._reading.setdefault(team_id, [])
        self._wake.set()

    def read_touched(self) -> None:
        """Read the teams that were decided about since the last time."""
        self.read_soon(self._touched)
        self._touched.clear()

    async def _run(self) -> None:
        await self._read_all()
        while True:
            try:
                if self.is_failing:
                    await self._probe()
                else:
                    await self._wake.wait()
                    self._wake.clear()
                    await self._work()
            except Exception:  # noqa: BLE001 - without this task no cap moves any more.
                _log.exception("budget.failed")
                self._answer_all()
                await asyncio.sleep(_RETRY_S)

    async def _read_all(self) -> None:
        """Know every team before an outage; where that takes too long, those that call."""
        now = self._clock.now()
        with suppress(*INFRASTRUCTURE_ERRORS):
            readings = await self._leases.read(None, self._accounts.month_at(now))
            self._accounts.remember(readings, now, self._clock.monotonic_s())

    async def _work(self) -> None:
        while not self.is_failing and (self._reading or self._queue):
            if self._reading:
                await self._read()
            accounts = self._queue.take()
            if accounts and not self.is_failing:
                await self._sync(accounts)
        if self._sweep_is_due and not self.is_failing:
            self._sweep_is_due = False
            await self._ask(self._leases.expire)

    async def _probe(self) -> None:
        """Ask until there is an answer; then everything that a lease stands on is asked about."""
        self.read_touched()
        if not await self._read():
            await asyncio.sleep(_RETRY_S)
            return
        self.is_failing = False
        _log.info("budget.database_is_back")
        for account in self._leased:
            self._queue.put(account)
        self._wake.set()

    async def _read(self) -> bool:
        """Read what is wanted; False where there was no answer."""
        wanted = {
            team_id: self._reading.pop(team_id)
            for team_id in list(islice(self._reading, _TEAMS_A_READING))
        }
        now = self._clock.now()
        # Opened before the question, so that a change notified meanwhile is not missed.
        asked = [self._accounts.open(team_id, now) for team_id in wanted]
        marks = [(account.epoch, account.posts_seen()) for account in asked]
        month = self._accounts.month_at(now)
        readings: list[BudgetReading] | None = None
        known: dict[TeamId, BudgetReading] = {}
        try:
            readings = await self._ask(partial(self._leases.read, list(wanted), month))
            known = {reading.team_id: reading for reading in readings or ()}
            for account, (epoch, posts) in zip(asked, marks, strict=True):
                reading = known.get(account.team_id)
                if reading is None:
                    continue
                terms = account.terms
                now_s = self._clock.monotonic_s()
                account.read(reading, epoch=epoch, posts=posts, now=now, now_s=now_s)
                if account.is_stale:
                    self._reading.setdefault(account.team_id, [])
                if account.terms != terms:
                    self._waiters.answer(account, Outcome.AGAIN)
            return readings is not None
        finally:
            for team_id, futures in wanted.items():
                resolve(futures, is_known=readings is None or team_id in known)

    async def _sync(self, accounts: Sequence[Account]) -> None:
        """Ask for these accounts; who still waits then is asked for again."""
        now_s = self._clock.monotonic_s()
        questions = [Question.of(account, self._waiters, now_s) for account in accounts]
        answers: dict[LeaseKey, LeaseAnswer] = {}
        tries = _TRIES
        if len(questions) > 1:
            try:
                answers = await self._leases.sync_many([question.ask for question in questions])
                self._queue.size.answered()
            except (*DATA_ERRORS, *INFRASTRUCTURE_ERRORS) as exc:
                # The fault of one of them perhaps, or of the database: each is asked alone.
                tries -= 1
                _log.warning("budget.question_failed", error=f"{type(exc).__name__}: {exc}")
                if isinstance(exc, TimeoutError):
                    self._queue.size.timed_out()
        for question in questions:
            if (answer := answers.get(question.key)) is not None:
                self._take(question, answer)
        for question in questions:
            # The only one, or in use by a post, which is waited for.
            if question.key not in answers:
                await self._ask_alone(question, tries)

    async def _ask_alone(self, question: Question, tries: int) -> None:
        answer: LeaseAnswer | None = None
        if not self.is_failing:
            asking = partial(self._leases.sync, question.ask)
            answer = await self._ask(asking, question.account, tries=tries)
        if answer is None:
            question.account.is_in_doubt = True
            self._leased.keep(question.account)
        else:
            self._take(question, answer)

    def _take(self, question: Question, answer: LeaseAnswer) -> None:
        account = question.account
        # It was let go where nothing stood on its lease while it was asked about.
        self._leased.keep(account)
        now_s, own_ttl_s = self._clock.monotonic_s(), self._leases.own_ttl_s
        if question.take(answer, self._waiters, own_ttl_s=own_ttl_s, now_s=now_s):
            self._queue.put(account, is_urgent=True)
        if account.is_stale:
            self.read_soon([account.team_id])

    async def _ask(
        self,
        question: Callable[[], Awaitable[_Answer]],
        account: Account | None = None,
        *,
        tries: int = _TRIES,
    ) -> _Answer | None:
        """None where the database cannot be asked; only that opens the way around it.

        Everything is asked twice: a connection that was lost while nobody looked is made anew, and
        a moment in which server or worker got no processor is no outage.
        """
        for left in reversed(range(tries)):
            try:
                return await question()
            except DATA_ERRORS:
                raise
            except INFRASTRUCTURE_ERRORS as exc:
                if not left:
                    if isinstance(exc, TimeoutError) and account is not None:
                        account.paused_until_s = self._clock.monotonic_s() + _PAUSE_S
                    self._failed(exc)
        return None

    def _failed(self, exc: Exception) -> None:
        if not self.is_failing:
            self.is_failing = True
            _log.warning("budget.database_fails", error=f"{type(exc).__name__}: {exc}")
        self._answer_all()

    def _answer_all(self) -> None:
        """Nobody waits any longer: all decide again, from memory."""
        self._waiters.answer_all(Outcome.AGAIN)
        for futures in self._reading.values():
            resolve(futures, is_known=True)
            futures.clear()

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            ticks += 1
            try:
                self._look_after_leases()
            except Exception:  # noqa: BLE001 - as above.
                _log.exception("budget.failed")
            if self.is_failing:
                continue
            if ticks % TICKS_A_READING == 0 and self._touched:
                self.read_touched()
            if ticks % _TICKS_A_SWEEP == 0:
                self._sweep_is_due = True
                self._wake.set()

    def _look_after_leases(self) -> None:
        now_s = self._clock.monotonic_s()
        for account in self._leased.in_need(now_s=now_s, renew_before_s=self._leases.ttl_s / 2):
            if not self.cannot_ask(account, now_s):
                self.soon(account)
