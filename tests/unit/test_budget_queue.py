"""Whose lease is asked for next: who waits first, nobody twice, nobody never."""

from datetime import date

from gateway.domain.ids import TeamId
from gateway.guard.account import Account
from gateway.proxy.budget_queue import AccountQueue

MONTH = date(2026, 11, 1)


def accounts(count: int) -> list[Account]:
    return [Account(TeamId(number), MONTH) for number in range(count)]


def test_those_that_somebody_waits_for_come_first_each_once_and_in_order():
    one, two, three = accounts(3)
    queue = AccountQueue()
    queue.put(three)
    for account in (two, one, two):
        queue.put(account, is_urgent=True)
    queue.put(two)
    assert queue
    assert queue.take(4) == [two, one, three]
    assert not queue
    assert queue.take(4) == []


def test_with_many_urgent_ones_a_quarter_of_the_others_comes_with_them():
    urgent, others = accounts(20)[:12], accounts(20)[12:]
    queue = AccountQueue()
    for account in urgent:
        queue.put(account, is_urgent=True)
    for account in others:
        queue.put(account)
    assert queue.take(8) == [*urgent[:6], *others[:2]]
    assert queue.take(8) == [*urgent[6:], *others[2:4]]
    assert queue.take(8) == others[4:]


def test_without_urgent_ones_the_others_fill_the_question():
    others = accounts(5)
    queue = AccountQueue()
    for account in others:
        queue.put(account)
    assert queue.take(4) == others[:4]
    assert queue.take(4) == others[4:]
