"""What an answer of the ledger does to a team, and to those who waited for it."""

from decimal import Decimal

import pytest

from gateway.guard.account import Account
from gateway.proxy.budget_question import Question
from gateway.proxy.budget_waiters import Outcome, Waiters
from tests.fakes.accounts import USD, MemoryLedger, account


def answered(question: Question, waiters: Waiters, ledger: MemoryLedger, now_s=101.0) -> bool:
    answer = ledger.sync(0, question.ask)
    return question.take(answer, waiters, own_ttl_s=295.0, now_s=now_s)


@pytest.fixture
def made() -> Account:
    return account("25.00", spend_usd="24.00")


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger(cap=25 * USD, spend=24 * USD)


async def test_those_who_fit_are_held_for_and_the_others_are_asked_for_again(made, ledger):
    waiters = Waiters()
    early = waiters.add(made, USD // 2)
    question = Question.of(made, waiters, 100.0)
    late = waiters.add(made, USD // 4)
    assert answered(question, waiters, ledger)
    # The smaller one goes first, though it came late; no more is held than was granted.
    assert late.result() is Outcome.HELD
    assert not early.done()
    assert made.lease.held == USD // 4
    assert made.has_waiters


async def test_an_answer_is_good_from_when_it_was_asked_for(made, ledger):
    waiters = Waiters()
    waiters.add(made, USD // 2)
    answered(Question.of(made, waiters, 100.0), waiters, ledger, now_s=110.0)
    assert made.lease.expires_at_s == 395.0
    assert made.read_at_s == 110.0


async def test_where_the_terms_changed_meanwhile_all_decide_again(made, ledger):
    waiters = Waiters()
    waiting = waiters.add(made, USD // 2)
    question = Question.of(made, waiters, 100.0)
    made.changed()
    assert not answered(question, waiters, ledger)
    assert waiting.result() is Outcome.AGAIN
    assert made.lease.held == 0


async def test_an_answer_from_before_a_post_does_not_lower_the_spend(made, ledger):
    waiters = Waiters()
    question = Question.of(made, waiters, 100.0)
    made.posted(Decimal("24.50"))
    answered(question, waiters, ledger)
    assert made.view.spend_usd == Decimal("24.50")


async def test_a_client_that_left_is_not_held_for(made, ledger):
    waiters = Waiters()
    gone, there = waiters.add(made, USD // 4), waiters.add(made, USD // 2)
    question = Question.of(made, waiters, 100.0)
    gone.cancel()
    assert not answered(question, waiters, ledger)
    assert there.result() is Outcome.HELD
    assert made.lease.held == USD // 2


async def test_all_are_denied_only_where_none_of_those_asked_for_fits(made, ledger):
    ledger.spend = 25 * USD
    waiters = Waiters()
    waiting = [waiters.add(made, USD // part) for part in (4, 2)]
    assert not answered(Question.of(made, waiters, 100.0), waiters, ledger)
    assert [each.result() for each in waiting] == [Outcome.DENIED, Outcome.DENIED]
    assert made.lease.held == 0
    assert made.denied_until_s > 101.0
