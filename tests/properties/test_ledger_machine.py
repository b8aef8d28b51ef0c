"""Holds, ends, posts, replays, deaths, recoveries and a close, in any order, against a dict."""

import asyncio
import itertools
import os
import tempfile
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.domain.entry import Amounts, Settlement
from gateway.domain.ids import TeamId
from gateway.ledger.journal import Journal
from gateway.ledger.posting import post
from gateway.ledger.recovery import Recovery
from gateway.postgres.connection import DedicatedConnection, connect
from tests.fakes.clock import FakeClock
from tests.fakes.holds import hold_of
from tests.fakes.ledger import lease
from tests.fakes.settlements import settlement

PICO = Decimal("1e-12")
_numbers = itertools.count()
picks = st.integers(0, 1000)


@dataclass
class Request:
    """A request of the model: what it holds, how it ended, and what the ledger has to say of it."""

    settlement: Settlement
    writer: UUID
    ended: str | None = None
    booked_usd: Decimal | None = None
    is_estimate: bool = False

    @property
    def amount_usd(self) -> Decimal:
        return self.settlement.entry.amounts.total_pico_usd * PICO

    @property
    def hold_usd(self) -> Decimal:
        return self.settlement.entry.hold_pico_usd * PICO

    def is_posted(self) -> None:
        """Settled twice, posted twice: the same as once. After an estimate: the truth."""
        self.booked_usd = self.amount_usd
        self.is_estimate = False


class Writer:
    """A journal, and what was taken from it and not acked yet."""

    def __init__(self, directory: Path) -> None:
        self.writer_id = uuid4()
        self.journal = Journal(directory, writer_id=self.writer_id, segment_bytes_max=3000)
        self.journal.open()
        self.reader = self.journal.reader("ledger")
        self.taken: list[Settlement] = []

    def die(self) -> None:
        """As SIGKILL leaves it: files as they are, the lock free."""
        self.journal._disk.close()
        descriptor = self.journal._chain.current.take_descriptor()
        for each in (descriptor, self.journal._chain._lock):
            assert each is not None
            os.close(each)


class LedgerMachine(RuleBasedStateMachine):
    """Each run has teams and a month of its own, so that they can share a database."""

    def __init__(self, url: str) -> None:
        super().__init__()
        number = next(_numbers)
        self.loop = asyncio.new_event_loop()
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = Path(self.temporary.name)
        self.teams = [TeamId(number * 2 + 1), TeamId(number * 2 + 2)]
        # Two months: the second is where entries go once the first is closed.
        self.month = date(2001 + number // 6, number % 6 * 2 + 1, 1)
        self.is_closed = False
        self.requests: dict[UUID, Request] = {}
        self.seen: dict[UUID, asyncpg.Record] = {}
        self.writers: list[Writer] = []
        self.database = self.do(connect(url, application_name="tests-machine"))
        self.do(self.database.set_type_codec("uuid", encoder=str, decoder=str, schema="pg_catalog"))
        self.connection = DedicatedConnection(url, application_name="tests-machine")
        self.recovery = Recovery(
            self.directory, connection=self.connection, clock=FakeClock(), timeout_s=10
        )
        self.start_writer()

    def do(self, work):
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            for writer in self.writers:
                writer.die()
            self.do(self.connection.close())
            self.do(self.database.close())
            self.do(self.loop.shutdown_default_executor())
            self.loop.close()
            self.temporary.cleanup()

    def finish(self) -> None:
        """After the last death and its recovery every hold has ended, once, and leases are free."""
        while self.writers:
            self.crash(0)
        self.recover()
        self.agrees_with_the_model()
        assert all(request.ended for request in self.requests.values())
        assert list(self.directory.iterdir()) == []
        (held,) = self.do(
            self.database.fetch(
                "SELECT sum(ledger.held_usd(t, $2)) AS held FROM unnest($1::int[]) AS t",
                self.teams,
                self.month,
            )
        )
        assert held["held"] == 0

    # What is done.

    @precondition(lambda self: len(self.writers) < 3)
    @rule()
    def start_writer(self) -> None:
        writer = Writer(self.directory)
        self.writers.append(writer)
        for team_id in self.teams:
            self.do(lease(self.database, writer.writer_id, team_id, self.month))

    @precondition(lambda self: self.writers)
    @rule(pick=picks, pico=st.integers(0, 10**13), hold_pico=st.integers(0, 10**13))
    def hold(self, pick, pico, hold_pico) -> None:
        writer = self.writers[pick % len(self.writers)]
        one = settlement(
            team_id=self.teams[pick % 2],
            month=self.month,
            amounts=Amounts(output_pico_usd=pico),
            hold_pico_usd=hold_pico,
        )
        writer.journal.append_hold(hold_of(one))
        self.requests[one.entry.entry_id] = Request(one, writer.writer_id)

    @precondition(lambda self: self.running())
    @rule(pick=picks)
    def settle(self, pick) -> None:
        request, writer = self.one_of(self.running(), pick)
        writer.journal.append_settlement(request.settlement)
        request.ended = "settled"

    @precondition(lambda self: self.settled())
    @rule(pick=picks)
    def settle_again(self, pick) -> None:
        request, writer = self.one_of(self.settled(), pick)
        writer.journal.append_settlement(request.settlement)

    @precondition(lambda self: self.running())
    @rule(pick=picks)
    def release(self, pick) -> None:
        request, writer = self.one_of(self.running(), pick)
        writer.journal.append_release(request.settlement.entry.entry_id)
        request.ended = "released"

    @precondition(lambda self: self.writers)
    @rule(pick=picks, rows_max=st.integers(1, 8), is_acked=st.booleans())
    def post_some(self, pick, rows_max, is_acked) -> None:
        writer = self.writers[pick % len(self.writers)]
        writer.taken += self.do(writer.reader.next_batch(rows_max=rows_max, wait_s=0))
        self.send(writer.writer_id, writer.taken)
        if is_acked:
            writer.reader.ack(len(writer.taken))
            writer.taken = []

    @precondition(lambda self: self.booked())
    @rule(pick=picks, count=st.integers(1, 6))
    def replay(self, pick, count) -> None:
        """By anybody, under any id, as often as it likes."""
        booked = self.booked()
        start = pick % len(booked)
        again = [request.settlement for request in booked[start : start + count]]
        writer_id = uuid4() if pick % 3 == 0 else booked[start].writer
        self.send(writer_id, again)

    @precondition(lambda self: self.writers)
    @rule(pick=picks)
    def crash(self, pick) -> None:
        writer = self.writers.pop(pick % len(self.writers))
        writer.die()

    @rule()
    def recover(self) -> None:
        with structlog.testing.capture_logs():
            report = self.do(self.recovery.run_once())
        assert report.failed_count == report.dead_count == 0
        living = {writer.writer_id for writer in self.writers}
        for request in self.requests.values():
            if request.writer in living:
                continue
            if request.ended == "settled":
                request.is_posted()
            elif request.ended is None:
                request.ended = "estimated"
                request.is_estimate = True
                request.booked_usd = request.hold_usd

    @precondition(lambda self: not self.is_closed)
    @rule()
    def close_month(self) -> None:
        closed = self.do(self.database.fetchrow("SELECT * FROM ledger.close_month($1)", self.month))
        self.is_closed = True
        self.closed_usd = closed["total_usd"]
        assert closed["total_usd"] == self.booked_in_month()

    @precondition(lambda self: self.seen)
    @rule(statement=st.sampled_from(["DELETE FROM", "UPDATE"]), pick=picks)
    def tamper(self, statement, pick) -> None:
        entry_id = list(self.seen)[pick % len(self.seen)]
        change = " SET amount_usd = amount_usd" if statement == "UPDATE" else ""
        with pytest.raises(asyncpg.RestrictViolationError):
            self.do(
                self.database.execute(
                    f"{statement} ledger.ledger_entry{change} WHERE entry_id = $1", entry_id
                )
            )

    # What always holds.

    @invariant()
    def agrees_with_the_model(self) -> None:
        found = self.do(
            self.database.fetch(
                "SELECT * FROM ledger.ledger_entry WHERE team_id = ANY($1)", self.teams
            )
        )
        said: dict[UUID, Decimal] = {}
        for row in found:
            request_id = row["related_entry_id"] or row["entry_id"]
            said[request_id] = said.get(request_id, Decimal(0)) + row["amount_usd"]
        assert said == {
            entry_id: request.booked_usd
            for entry_id, request in self.requests.items()
            if request.booked_usd is not None
        }
        rows = {row["entry_id"]: row for row in found}
        assert len(rows) == len(found), "an id is there once over all months"
        assert all(rows[entry_id] == row for entry_id, row in self.seen.items()), "immutable"
        self.seen = rows

    @invariant()
    def totals_are_the_sums_of_rows(self) -> None:
        found = self.do(
            self.database.fetch(
                "SELECT * FROM ledger.reconciliation WHERE team_id = ANY($1)", self.teams
            )
        )
        assert all(row["balanced"] for row in found)

    @invariant()
    def leases_are_consumed_once(self) -> None:
        (row,) = self.do(
            self.database.fetch(
                "SELECT (SELECT sum(consumed_usd) FROM ledger.budget_lease "
                "WHERE team_id = ANY($1)) AS consumed, (SELECT coalesce(sum(amount_usd), 0) "
                "FROM ledger.ledger_entry WHERE team_id = ANY($1) AND is_leased) AS leased",
                self.teams,
            )
        )
        # A replay by somebody without a lease posts first, now and then: never more than once.
        assert row["consumed"] <= row["leased"]

    @invariant()
    def a_closed_month_stays_as_it_was(self) -> None:
        if self.is_closed:
            assert self.booked_in_month() == self.closed_usd

    # The model.

    def booked_in_month(self) -> Decimal:
        return self.do(
            self.database.fetchval(
                "SELECT coalesce(sum(amount_usd), 0) FROM ledger.ledger_entry WHERE month = $1",
                self.month,
            )
        )

    def send(self, writer_id, settlements) -> None:
        entries = [s.entry for s in settlements]
        posting = self.do(post(self.connection, writer_id, entries, timeout_s=10))
        assert posting.dead_count == 0
        for entry in entries:
            self.requests[entry.entry_id].is_posted()

    def alive(self):
        return {writer.writer_id: writer for writer in self.writers}

    def running(self):
        alive = self.alive()
        return [r for r in self.requests.values() if r.ended is None and r.writer in alive]

    def settled(self):
        alive = self.alive()
        return [r for r in self.requests.values() if r.ended == "settled" and r.writer in alive]

    def booked(self):
        """What can come again, the truths about estimates included."""
        return [r for r in self.requests.values() if r.booked_usd is not None]

    def one_of(self, requests, pick):
        request = requests[pick % len(requests)]
        return request, self.alive()[request.writer]


def test_any_order_of_events_leaves_the_ledger_that_a_dict_says(database_url):
    run_state_machine_as_test(
        lambda: LedgerMachine(database_url),
        settings=settings(
            max_examples=20,
            stateful_step_count=35,
            deadline=None,
            # A failure prints its steps; making them fewer takes minutes of database.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
