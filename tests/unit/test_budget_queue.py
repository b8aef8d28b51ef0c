"""Whose lease is asked for next: who waits first, nobody twice, nobody never."""

from datetime import date

from gateway.domain.ids import TeamId
from gateway.guard.account import Account
from gateway.proxy.budget_queue import AT_ONCE_MAX, AccountQueue

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
    assert queue.take() == [two, one, three]
    assert not queue
    assert queue.take() == []


def test_with_many_urgent_ones_a_quarter_of_the_others_comes_with_them():
    made = accounts(150)
    urgent, others = made[:96], made[96:]
    queue = AccountQueue()
    for account in urgent:
        queue.put(account, is_urgent=True)
    for account in others:
        queue.put(account)
    assert queue.take() == [*urgent[:48], *others[:16]]
    assert queue.take() == [*urgent[48:], *others[16:32]]
    assert queue.take() == others[32:]


def test_without_urgent_ones_the_others_fill_the_question():
    others = accounts(AT_ONCE_MAX + 1)
    queue = AccountQueue()
    for account in others:
        queue.put(account)
    assert queue.take() == others[:AT_ONCE_MAX]
    assert queue.take() == others[AT_ONCE_MAX:]


def test_after_a_time_out_fewer_are_asked_about_at_once_until_answers_come():
    queue = AccountQueue()

    def taken() -> int:
        for account in accounts(2 * AT_ONCE_MAX):
            queue.put(account)
        count = len(queue.take())
        while queue.take():
            pass
        return count

    sizes = [taken()]
    for _ in range(4):
        queue.size.timed_out()
        sizes.append(taken())
    assert sizes == [64, 16, 4, 2, 2]
    for _ in range(8):
        queue.size.answered()
    assert taken() == AT_ONCE_MAX
