"""The budget side of one gateway process, all real: desk, journal, poster, leases, listener."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.domain.budget import Admission
from gateway.domain.clock import Clock, SystemClock
from gateway.domain.entry import Amounts, Hold
from gateway.domain.ids import ApiKeyId, TeamId, new_entry_id, new_uuid
from gateway.ledger.journal import Journal
from gateway.ledger.lease_client import LeaseClient
from gateway.ledger.poster import Poster
from gateway.postgres.connection import DedicatedConnection
from gateway.postgres.listener import Listener
from gateway.proxy.budget_desk import BudgetDesk
from tests.fakes.settlements import settlement


@dataclass
class Worker:
    """What a request does with money, step by step, as the road does it."""

    desk: BudgetDesk
    journal: Journal
    poster: Poster
    leases: LeaseClient
    clock: Clock

    async def admit(
        self, team_id: int, expected: int, worst: int, *, is_override: bool = False
    ) -> Admission:
        asked = {
            "expected_pico_usd": expected,
            "worst_pico_usd": worst,
            "is_override": is_override,
        }
        team = TeamId(team_id)
        admission = self.desk.admit(team, **asked)
        return (
            admission if admission is not None else await self.desk.admit_after_sync(team, **asked)
        )

    def hold(self, team_id: int, admission: Admission) -> Hold:
        """Journal the hold of an admitted request, as the road does."""
        hold = Hold(
            entry_id=new_entry_id(self.clock),
            month=admission.view.month,
            team_id=TeamId(team_id),
            api_key_id=ApiKeyId(1),
            product="llm_gateway",
            provider="anthropic",
            dialect="anthropic.messages",
            request_model="claude-opus-4-5",
            amount_pico_usd=admission.hold_pico_usd,
            budget_status=admission.view.status.value,
            admitted_at=self.clock.now(),
            is_leased=admission.is_leased,
        )
        self.journal.append_hold(hold)
        return hold

    def settle(self, hold: Hold, amount: int) -> None:
        self.journal.append_settlement(
            settlement(
                entry_id=hold.entry_id,
                month=hold.month,
                team_id=hold.team_id,
                api_key_id=hold.api_key_id,
                amounts=Amounts(input_pico_usd=amount),
                budget_status=hold.budget_status,
                hold_pico_usd=hold.amount_pico_usd,
                is_leased=hold.is_leased,
                occurred_at=self.clock.now(),
            )
        )
        self.desk.settled(hold, amount)

    def release(self, hold: Hold) -> None:
        self.journal.append_release(hold.entry_id)
        self.desk.released(hold)


@asynccontextmanager
async def worker(
    url: str,
    directory: Path,
    *,
    clock: Clock | None = None,
    fail_mode: Any = "open",
    allowance_usd: str = "5.00",
    lease_url: str | None = None,
    post_url: str | None = None,
    listen_url: str | None = None,
    ttl_s: float = 300.0,
) -> AsyncIterator[Worker]:
    """Everything of a worker that money runs through, built and taken down as in the gateway."""
    clock = clock or SystemClock()
    writer_id = new_uuid(clock)
    lease_connection = DedicatedConnection(lease_url or url, application_name="trial-lease")
    post_connection = DedicatedConnection(post_url or url, application_name="trial-post")
    journal = Journal(directory / str(writer_id), writer_id=writer_id)
    journal.open()
    leases = LeaseClient(lease_connection, writer_id=writer_id, ttl_s=ttl_s)
    desk = BudgetDesk(
        leases=leases,
        clock=clock,
        writer_id=writer_id,
        fail_mode=fail_mode,
        outage_allowance_usd=Decimal(allowance_usd),
    )
    poster = Poster(
        connection=post_connection,
        reader=journal.reader("ledger"),
        writer_id=writer_id,
        on_posted=desk.posted,
    )
    listener = Listener(
        listen_url or url,
        {"budget_cap": desk.on_cap_changed},
        on_connected=desk.on_listener_connected,
    )
    await poster.start()
    await desk.start()
    listener.start()
    for _ in range(200):
        # Its connection has every team read anew; begin after that.
        if listener.is_connected or listen_url is not None:
            break
        await asyncio.sleep(0.005)
    try:
        yield Worker(desk=desk, journal=journal, poster=poster, leases=leases, clock=clock)
    finally:
        await listener.close()
        await poster.drain(0.2 if post_url else 5)
        await desk.close()
        await poster.close()
        await journal.close()
        await lease_connection.close()
        await post_connection.close()
