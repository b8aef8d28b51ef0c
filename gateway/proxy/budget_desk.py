"""The guard's desk: admits requests against their team's cap, and hears how they end."""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Literal

import structlog
from msgspec.structs import replace

from gateway.domain.budget import Admission, BudgetStatus, BudgetView, PostedTotal, SaveModeSetting
from gateway.domain.clock import Clock
from gateway.domain.entry import Entry, Hold
from gateway.domain.errors import LedgerUnavailableError
from gateway.domain.ids import TeamId
from gateway.domain.money import pico_from_usd
from gateway.guard.account import Account
from gateway.guard.asking import wants_slice
from gateway.guard.decision import Verdict, decide, decide_in_outage, need_pico_usd, refusal
from gateway.ledger.lease_client import LeaseClient
from gateway.proxy.budget_accounts import BudgetAccounts
from gateway.proxy.budget_sync import BudgetSync
from gateway.proxy.budget_waiters import Outcome
from gateway.telemetry.metrics import OpenHolds

_log = structlog.get_logger("gateway.budget")
# An ask times out earlier; only a crowd before a database that does answer can take so long.
_WAIT_S = 2.0
_FRESH_S = 1.0
_SAVING = (BudgetStatus.ENGAGE, BudgetStatus.BLOCKED)
_ADMITTING = (Verdict.ADMIT, Verdict.ADMIT_ANYWAY)


class BudgetDesk:
    """Decides in memory, with no await between a check and its hold."""

    def __init__(
        self,
        *,
        leases: LeaseClient,
        clock: Clock,
        writer_id: uuid.UUID,
        fail_mode: Literal["open", "closed"],
        outage_allowance_usd: Decimal,
        accounts: BudgetAccounts | None = None,
    ) -> None:
        self._clock = clock
        self._writer_id = writer_id
        self._allowance = pico_from_usd(outage_allowance_usd) if fail_mode == "open" else None
        self._accounts = accounts or BudgetAccounts()
        self._sync = BudgetSync(leases=leases, accounts=self._accounts, clock=clock)
        self._open_count = 0
        self._open_pico_usd = 0

    async def start(self) -> None:
        """Begin to look after leases; a database that is down is no error."""
        self._sync.start()

    async def close(self) -> None:
        """Give the leases back."""
        await self._sync.close()

    @property
    def is_failing(self) -> bool:
        """The database is known to fail, and requests are decided without it."""
        return self._sync.is_failing

    def admit(
        self,
        team_id: TeamId,
        *,
        expected_pico_usd: int,
        worst_pico_usd: int,
        is_override: bool,
    ) -> Admission | None:
        """Decide from memory; None where the database has to be asked first.

        Raises:
            LedgerUnavailableError: it would have to be asked and cannot be.
        """
        now, now_s = self._clock.now(), self._clock.monotonic_s()
        account = self._accounts.open(team_id, now)
        self._sync.touch(team_id)
        need = need_pico_usd(account, expected=expected_pico_usd, worst=worst_pico_usd)
        verdict = decide(account, need, is_override=is_override, now=now, now_s=now_s)
        is_outage = verdict is Verdict.ASK
        if is_outage:
            if not self._sync.cannot_ask(account, now_s):
                return None
            verdict = decide_in_outage(
                account, need, is_override=is_override, now_s=now_s, allowance=self._allowance
            )
        if verdict not in _ADMITTING:
            return self._refused(account, verdict, need)
        failed_open = is_outage and (not account.enforces or account.lease.spendable(now_s) < need)
        if is_leased := _is_leased(account):
            account.lease.hold(need)
            account.demand.use(need)
            self._look_after(account)
        return self._admitted(
            account,
            need,
            is_leased=is_leased,
            is_override=is_override,
            would_refuse=verdict is Verdict.ADMIT_ANYWAY,
            failed_open=failed_open,
        )

    async def admit_after_sync(
        self,
        team_id: TeamId,
        *,
        expected_pico_usd: int,
        worst_pico_usd: int,
        is_override: bool,
    ) -> Admission:
        """Ask the ledger, together with others who wait for the same team, and decide.

        Raises:
            LedgerUnavailableError: no answer in time, and the guard does not go on without one.
        """
        try:
            async with asyncio.timeout(_WAIT_S):
                while True:
                    admission = self.admit(
                        team_id,
                        expected_pico_usd=expected_pico_usd,
                        worst_pico_usd=worst_pico_usd,
                        is_override=is_override,
                    ) or await self._ask(team_id, expected_pico_usd, worst_pico_usd)
                    if admission is not None:
                        return admission
        except TimeoutError as exc:
            raise LedgerUnavailableError(
                "The gateway cannot check this team's budget right now; try again shortly."
            ) from exc

    def view(self, team_id: TeamId) -> BudgetView | None:
        """The budget as memory has it; None where it was never read."""
        account = self._accounts.open(team_id, self._clock.now())
        if account.terms is None and not self._sync.is_failing:
            return None
        return account.view

    async def load(self, team_id: TeamId) -> BudgetView:
        """The budget, read where memory is older than a second; as it was last known in an outage.

        Raises:
            LedgerUnavailableError: the ledger knows no such team.
        """
        account = self._accounts.open(team_id, self._clock.now())
        is_fresh = self._clock.monotonic_s() - account.read_at_s < _FRESH_S
        with suppress(TimeoutError):
            async with asyncio.timeout(_WAIT_S):
                # Again where the terms were changed while they were read.
                while not (is_fresh and not account.is_stale) and not self._sync.is_failing:
                    await self._read(team_id)
                    account = self._accounts.open(team_id, self._clock.now())
                    is_fresh = account.terms is not None
        return account.view

    def released(self, hold: Hold) -> None:
        """The request cost nothing: its hold is free again."""
        self._closed(hold)
        account = self._leased_account(hold)
        if account is not None:
            account.lease.release(hold.amount_pico_usd)
            account.forget_denial()

    def settled(self, hold: Hold, amount_pico_usd: int) -> None:
        """The request cost this much, which is in the journal. An overrun is told at once."""
        self._closed(hold)
        account = self._leased_account(hold)
        if account is None:
            return
        account.lease.settle(hold.amount_pico_usd, amount_pico_usd)
        account.forget_denial()
        self._sync.keep(account)
        if account.enforces and account.lease.available < 0:
            self._sync.soon(account, is_urgent=True)

    def posted(self, totals: Sequence[PostedTotal], entries: Sequence[Entry]) -> None:
        """The poster has put these entries into the ledger."""
        for entry in entries:
            if entry.is_leased:
                account = self._accounts.find(entry.team_id, entry.month)
                if account is not None:
                    account.lease.post(entry.amounts.total_pico_usd)
        for total in totals:
            account = self._accounts.find(total.team_id, total.month)
            if account is not None:
                account.posted(total.spend_usd)
                self._sync.touch(total.team_id)

    def on_cap_changed(self, payload: str) -> None:
        """A team's terms were changed: nothing is decided about it until they are read."""
        if not payload.isdecimal():
            self.on_listener_connected()
            return
        team_id = TeamId(int(payload))
        for account in self._accounts.of_teams([team_id], self._clock.now()):
            account.changed()
            self._sync.read_soon([team_id])

    def on_listener_connected(self) -> None:
        """Any change may have been missed."""
        for account in self._accounts:
            account.changed()
        self._sync.read_touched()

    def open_holds(self) -> OpenHolds:
        """What running requests hold, for the metrics."""
        return OpenHolds(count=self._open_count, amount_pico_usd=self._open_pico_usd)

    async def _ask(self, team_id: TeamId, expected: int, worst: int) -> Admission | None:
        """Wait for the ledger's answer; None where memory can decide now."""
        now = self._clock.now()
        account = self._accounts.open(team_id, now)
        if account.needs_reading(now) or not account.enforces:
            await self._read(team_id)
            return None
        need = need_pico_usd(account, expected=expected, worst=worst)
        waiting = self._sync.want(account, need)
        try:
            outcome = await waiting
        except BaseException:
            # The client left, perhaps, in the very moment in which its hold was made.
            if waiting.done() and not waiting.cancelled() and waiting.result() is Outcome.HELD:
                account.lease.release(need)
            raise
        if outcome is Outcome.DENIED:
            return self._refused(account, refusal(account, need), need)
        if outcome is Outcome.AGAIN:
            return None
        return self._admitted(account, need, is_leased=True)

    async def _read(self, team_id: TeamId) -> None:
        if not await self._sync.read(team_id):
            raise LedgerUnavailableError("The ledger does not know this key's team.")

    def _look_after(self, account: Account) -> None:
        """A hold was made: tell of an overdrawn lease, and ask ahead of need."""
        if account.enforces and account.lease.available < 0:
            self._sync.soon(account, is_urgent=True)
        elif wants_slice(account):
            self._sync.soon(account)
        else:
            self._sync.keep(account)

    def _admitted(
        self,
        account: Account,
        need: int,
        *,
        is_leased: bool,
        is_override: bool = False,
        would_refuse: bool = False,
        failed_open: bool = False,
    ) -> Admission:
        self._open_count += 1
        self._open_pico_usd += need
        view, terms = account.view, account.terms
        return Admission(
            view=replace(view, status=BudgetStatus.OVERRIDE) if is_override else view,
            is_admitted=True,
            hold_pico_usd=need,
            would_refuse=would_refuse,
            failed_open=failed_open,
            wants_save_mode=view.status in _SAVING,
            is_leased=is_leased,
            save_mode=terms.save_mode if terms is not None else SaveModeSetting.AUTO,
        )

    def _refused(self, account: Account, verdict: Verdict, need: int) -> Admission:
        if verdict is Verdict.UNAVAILABLE:
            raise LedgerUnavailableError(
                "The gateway cannot check this team's budget right now; try again shortly."
            )
        return Admission(
            view=account.view,
            is_admitted=False,
            hold_pico_usd=need,
            is_held_back=verdict is Verdict.HOLD_BACK,
            wants_save_mode=account.view.status in _SAVING,
        )

    def _closed(self, hold: Hold) -> None:
        self._open_count -= 1
        self._open_pico_usd -= hold.amount_pico_usd

    def _leased_account(self, hold: Hold) -> Account | None:
        return self._accounts.find(hold.team_id, hold.month) if hold.is_leased else None


def _is_leased(account: Account) -> bool:
    """A team whose terms are not known yet may have a cap."""
    return account.limits is not None or account.terms is None
