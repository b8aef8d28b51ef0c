"""A lease's counters, what is asked for, and how much of an answer may be spent."""

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.domain.budget import Enforcement
from gateway.domain.lease import LeaseAnswer
from gateway.guard.asking import make_ask, take_answer, wants_slice, wants_upkeep, was_refused
from gateway.guard.demand import Demand
from gateway.guard.lease import Lease
from tests.fakes.accounts import USD, account


def answer(granted, spend="0", held="0", cap="25.00"):
    return LeaseAnswer(
        granted_pico_usd=granted,
        spend_usd=Decimal(spend),
        held_usd=Decimal(held),
        cap_usd=Decimal(cap),
        next_change_at=None,
    )


def test_a_hold_moves_to_unposted_and_then_to_consumed():
    lease = Lease()
    lease.grant(100, 1.0)
    lease.hold(30)
    assert (lease.available, lease.running, lease.outstanding) == (70, 30, 100)
    lease.settle(30, 20)
    assert (lease.available, lease.running, lease.outstanding) == (80, 20, 100)
    lease.post(20)
    assert (lease.available, lease.running, lease.outstanding) == (80, 0, 80)
    lease.give_back(80)
    assert lease.is_empty


def test_a_settlement_above_its_hold_overdraws_the_lease():
    lease = Lease()
    lease.grant(10, 1.0)
    lease.hold(10)
    lease.settle(10, 25)
    assert lease.available == -15
    assert lease.committed == 25


def test_an_expired_lease_keeps_what_stands_on_it_and_loses_the_rest():
    lease = Lease()
    lease.grant(100, 5.0)
    lease.hold(30)
    assert lease.spendable(4.9) == 70
    assert lease.spendable(5.0) == 0
    lease.expire()
    assert (lease.granted, lease.available) == (30, 0)


def test_an_overdrawn_lease_that_expires_stays_overdrawn():
    lease = Lease()
    lease.grant(10, 5.0)
    lease.hold(10)
    lease.settle(10, 25)
    assert lease.spendable(5.0) == -15
    lease.expire()
    assert lease.available == -15


def test_what_was_overdrawn_and_posted_is_outstanding_no_more():
    lease = Lease()
    lease.grant(10, 5.0)
    lease.hold(10)
    lease.settle(10, 25)
    lease.post(25)
    assert (lease.outstanding, lease.available) == (0, -15)


def test_a_cost_that_was_not_settled_here_is_consumed_and_frees_nothing():
    lease = Lease()
    lease.grant(100, 5.0)
    lease.post(30)
    assert (lease.consumed, lease.unposted, lease.available) == (30, 0, 70)


@pytest.mark.parametrize("amount", [-1, 71])
def test_no_more_is_given_back_than_is_available(amount):
    lease = Lease()
    lease.grant(100, 1.0)
    lease.hold(30)
    with pytest.raises(AssertionError):
        lease.give_back(amount)


@pytest.mark.parametrize("used", [0, 1])
def test_far_from_the_cap_a_waiting_request_asks_for_those_that_follow_too(used: int):
    made = account()
    if used:
        made.demand.use(used * USD)
    ask = make_ask(made, [USD], 100.0)
    assert (ask.want_pico_usd, ask.min_pico_usd, ask.is_exact) == (4 * (used + 1) * USD, USD, False)
    assert ask.may_cross


def test_what_is_at_hand_is_not_asked_for_again():
    made = account(granted=USD)
    ask = make_ask(made, [2 * USD], 100.0)
    assert (ask.want_pico_usd, ask.min_pico_usd) == (7 * USD, USD)


def test_near_the_cap_surplus_goes_back_in_the_call_that_asks_for_more():
    made = account(spend_usd="24.00", granted=USD // 2)
    ask = make_ask(made, [USD // 10, USD // 5], 100.0)
    assert ask.returned_pico_usd == USD // 2
    assert ask.is_exact
    assert (ask.want_pico_usd, ask.min_pico_usd) == (USD * 3 // 10, USD // 10)


def test_near_the_cap_only_what_the_answer_added_is_spent():
    made = account(spend_usd="24.00", granted=USD // 2)
    made.lease.hold(USD // 2)
    ask = make_ask(made, [USD // 10], 100.0)
    made.lease.release(USD // 2)
    before = made.lease.granted
    added = take_answer(
        made, ask, answer(before + USD // 10), granted_before=before, expires_at_s=400.0
    )
    assert added == USD // 10
    assert made.lease.available == USD * 6 // 10


def test_an_overrun_meanwhile_leaves_less_of_the_answer():
    made = account(spend_usd="24.00", granted=USD)
    made.lease.hold(USD)
    ask = make_ask(made, [USD // 10], 100.0)
    made.lease.settle(USD, USD + USD // 20)
    added = take_answer(made, ask, answer(USD + USD // 10), granted_before=USD, expires_at_s=400.0)
    assert added == USD // 20


def test_an_overrun_that_was_released_meanwhile_is_not_taken_for_granted():
    made = account(spend_usd="24.00", granted=USD // 2)
    made.lease.hold(USD * 7 // 10)
    ask = make_ask(made, [USD // 10], 100.0)
    assert ask.committed_pico_usd == USD * 7 // 10
    made.lease.release(USD * 7 // 10)
    added = take_answer(
        made, ask, answer(USD * 8 // 10), granted_before=USD // 2, expires_at_s=400.0
    )
    assert added == USD // 10


@pytest.mark.parametrize(
    ("granted", "held", "answered", "is_refused"),
    [
        (USD // 2, USD // 2, USD // 2, True),
        (USD // 2, USD // 2, USD // 2 + 1, False),
        # Overdrawn: the ledger only learns what this worker is bound to.
        (USD // 2, USD * 7 // 10, USD * 7 // 10, True),
        # It had ended the lease that was counted on, and kept what stands on it.
        (USD, USD // 2, USD // 2, True),
    ],
)
def test_no_more_than_what_was_known_is_a_refusal(granted, held, answered, is_refused):
    made = account(spend_usd="24.00", granted=granted)
    made.lease.hold(held)
    ask = make_ask(made, [USD // 10], 100.0)
    ask = replace(ask, committed_pico_usd=held)
    assert was_refused(ask, answer(answered), granted_before=granted) is is_refused
    nobody = replace(ask, min_pico_usd=0)
    assert not was_refused(nobody, answer(answered), granted_before=granted)


def test_strict_may_not_cross_and_shadow_asks_for_nothing():
    strict = make_ask(account(enforcement=Enforcement.STRICT), [USD], 100.0)
    assert not strict.may_cross
    shadow = account(enforcement=Enforcement.SHADOW)
    shadow.lease.hold(USD)
    ask = make_ask(shadow, [], 100.0)
    assert (ask.want_pico_usd, ask.committed_pico_usd) == (0, USD)


def test_a_team_that_lost_its_cap_gives_everything_back():
    made = account(None, granted=USD)
    assert wants_upkeep(made, now_s=100.0, renew_before_s=1.0)
    assert make_ask(made, [], 100.0).returned_pico_usd == USD


def test_a_lease_that_ran_out_is_not_counted_upon():
    made = account(granted=USD)
    made.lease.hold(USD // 4)
    ask = make_ask(made, [], 400.0)
    assert made.lease.granted == USD // 4
    assert ask.committed_pico_usd == USD // 4


def test_more_is_asked_for_when_less_than_a_quarter_of_a_slice_is_left():
    made = account(granted=4 * USD)
    made.demand.use(USD)
    assert not wants_slice(made)
    made.lease.hold(3 * USD)
    assert not wants_slice(made)
    made.lease.hold(1)
    assert wants_slice(made)


def test_upkeep_is_due_for_surplus_overruns_doubts_and_renewal():
    def is_due(made, now_s=100.0):
        return wants_upkeep(made, now_s=now_s, renew_before_s=150.0)

    assert is_due(account(granted=USD))
    used = account(granted=USD)
    used.demand.use(USD)
    assert not is_due(used)
    assert is_due(used, now_s=260.0)
    overdrawn = account()
    overdrawn.lease.hold(1)
    assert is_due(overdrawn)
    doubtful = account()
    assert not is_due(doubtful)
    doubtful.is_in_doubt = True
    assert is_due(doubtful)


def test_a_slice_is_about_two_seconds_of_use_and_nothing_after_half_a_second_without():
    demand = Demand()
    for _ in range(50):
        demand.use(10)
        demand.tick()
    assert 160 <= demand.slice_pico_usd <= 240
    for _ in range(4):
        demand.tick()
    assert demand.slice_pico_usd > 0
    demand.tick()
    assert demand.is_idle
    assert demand.slice_pico_usd == 0
