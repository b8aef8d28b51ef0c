"""Leases of several workers under every interleaving: strict never over its cap, nothing lost."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.domain.budget import Enforcement
from gateway.domain.lease import LeaseAnswer, LeaseAsk
from gateway.guard.account import Account
from gateway.guard.asking import make_ask, take_answer
from gateway.guard.decision import Verdict, decide
from tests.fakes.accounts import NOW, USD, MemoryLedger, account

# A few holds reach it.
CAP = 4 * USD
WRITERS = 2
amounts = st.integers(min_value=0, max_value=10).map(lambda tenths: tenths * USD // 10)
writers = st.integers(0, WRITERS - 1)


@dataclass
class Desk:
    """One worker: its account, running holds, what waits to be posted, and a question under way."""

    account: Account
    holds: list[int] = field(default_factory=list)
    unposted: list[int] = field(default_factory=list)
    needs: list[int] = field(default_factory=list)
    ask: LeaseAsk | None = None
    granted_before: int = 0
    answer: LeaseAnswer | None = None


class Interleavings(RuleBasedStateMachine):
    """Every step of an ask (made, counted, answered or lost) can have anything between it."""

    enforcement = Enforcement.STRICT

    def __init__(self) -> None:
        super().__init__()
        self.ledger = MemoryLedger(cap=CAP)
        self.desks = [
            Desk(account(str(CAP // USD), enforcement=self.enforcement)) for _ in range(WRITERS)
        ]
        self.overruns = 0
        self.largest_hold = 0

    @rule(n=writers, need=amounts)
    def admit(self, n, need):
        desk = self.desks[n]
        # It may be granted before it is held.
        self.largest_hold = max(self.largest_hold, need)
        verdict = decide(desk.account, need, is_override=False, now=NOW, now_s=100.0)
        if verdict is Verdict.ADMIT:
            self._hold(desk, need)
        elif verdict is Verdict.ASK:
            desk.needs.append(need)

    def _hold(self, desk, need):
        desk.account.lease.hold(need)
        desk.account.demand.use(need)
        desk.holds.append(need)

    @rule(n=writers)
    def make(self, n):
        desk = self.desks[n]
        if desk.ask is None:
            desk.needs.sort()
            desk.ask = make_ask(desk.account, desk.needs, 100.0)
            desk.granted_before = desk.account.lease.granted
            desk.answer = None

    @rule(n=writers)
    def count(self, n):
        """The ledger may count a question more than once."""
        desk = self.desks[n]
        if desk.ask is not None:
            desk.answer = self.ledger.sync(n, desk.ask)

    @rule(n=writers, is_lost=st.booleans())
    def hear(self, n, is_lost):
        desk = self.desks[n]
        if desk.ask is None or desk.answer is None:
            return
        ask, answer, desk.ask, desk.answer = desk.ask, desk.answer, None, None
        if is_lost:
            desk.account.is_in_doubt = True
            return
        spendable = take_answer(
            desk.account, ask, answer, granted_before=desk.granted_before, expires_at_s=400.0
        )
        desk.account.answered(answer, ask, posts=desk.account.posts_seen(), now_s=100.0)
        for need in sorted(desk.needs):
            if need > spendable:
                break
            spendable -= need
            self._hold(desk, need)
        desk.needs = []

    @rule(n=writers, needs=st.lists(amounts, min_size=1, max_size=3))
    def ask(self, n, needs):
        """The usual case: asked, counted and heard with nothing between."""
        for need in needs:
            self.admit(n, need)
        self.make(n)
        self.count(n)
        self.hear(n, is_lost=False)

    @rule(n=writers, share=st.floats(0, 1), data=st.data())
    def settle(self, n, share, data):
        desk = self.desks[n]
        if desk.holds:
            held = desk.holds.pop(data.draw(st.integers(0, len(desk.holds) - 1)))
            cost = self._cost(held, share)
            self.overruns += max(cost - held, 0)
            desk.account.lease.settle(held, cost)
            desk.unposted.append(cost)

    def _cost(self, held, share):
        return int(held * share)

    @rule(n=writers)
    def release(self, n):
        desk = self.desks[n]
        if desk.holds:
            desk.account.lease.release(desk.holds.pop())

    @rule(n=writers, knows=st.booleans())
    def post(self, n, knows):
        desk = self.desks[n]
        for cost in desk.unposted:
            self.ledger.post(n, cost)
        # The ledger has it before this worker hears of it.
        if not knows and desk.ask is None:
            desk.ask = make_ask(desk.account, [], 100.0)
            desk.granted_before = desk.account.lease.granted
            desk.answer = self.ledger.sync(n, desk.ask)
        for cost in desk.unposted:
            desk.account.lease.post(cost)
        desk.unposted = []

    @rule(n=writers)
    def tick(self, n):
        self.desks[n].account.demand.tick()

    @invariant()
    def what_was_granted_is_consumed_returned_or_outstanding(self):
        for desk in self.desks:
            lease = desk.account.lease
            assert lease.held == sum(desk.holds)
            assert lease.unposted == sum(desk.unposted)
            assert lease.granted == (
                lease.consumed + lease.returned + lease.unposted + lease.held + lease.available
            )

    @invariant()
    def the_cap_holds(self):
        running = sum(desk.account.lease.running for desk in self.desks)
        assert self.ledger.spend + running <= CAP + self.bound()
        assert self.ledger.spend + self.ledger.held <= CAP + self.bound()

    def bound(self):
        return 0

    def teardown(self):
        """Whatever happened, an idle worker gives everything back."""
        for n, desk in enumerate(self.desks):
            for held in desk.holds:
                desk.account.lease.release(held)
            for cost in desk.unposted:
                self.ledger.post(n, cost)
                desk.account.lease.post(cost)
            for _ in range(6):
                desk.account.demand.tick()
            for _ in range(3):
                ask = make_ask(desk.account, [], 100.0)
                before = desk.account.lease.granted
                answer = self.ledger.sync(n, ask)
                take_answer(desk.account, ask, answer, granted_before=before, expires_at_s=400.0)
            assert desk.account.lease.is_empty
        assert self.ledger.held == 0


class HardInterleavings(Interleavings):
    """Costs above their holds, and a last request that crosses."""

    enforcement = Enforcement.HARD

    def _cost(self, held, share):
        return int(held * share * 2)

    def bound(self):
        return self.largest_hold + self.overruns


TestStrictLeases = Interleavings.TestCase
TestStrictLeases.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestHardLeases = HardInterleavings.TestCase
TestHardLeases.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
