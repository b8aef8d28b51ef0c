"""The guard's verdicts, in the order of the contract, from memory alone."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from gateway.domain.budget import BudgetStatus, BudgetTerms, Enforcement
from gateway.domain.ids import TeamId
from gateway.domain.lease import BudgetReading, LeaseAnswer, LeaseAsk
from gateway.guard.account import Account
from gateway.guard.decision import (
    KNOWN_FOR_S,
    Verdict,
    decide,
    decide_in_outage,
    need_pico_usd,
    refusal,
)
from tests.fakes.accounts import MONTH, NOW, USD, account

STRICT, SHADOW, HARD = Enforcement.STRICT, Enforcement.SHADOW, Enforcement.HARD


def verdict(made, need=USD, *, is_override=False, now=NOW, now_s=100.0):
    return decide(made, need, is_override=is_override, now=now, now_s=now_s)


def outage(made, need=USD, *, is_override=False, now_s=100.0, allowance=5 * USD):
    return decide_in_outage(made, need, is_override=is_override, now_s=now_s, allowance=allowance)


def test_strict_holds_the_worst_case_and_everything_else_the_expected_cost():
    needs = [
        need_pico_usd(account(enforcement=each), expected=1, worst=9)
        for each in (STRICT, HARD, SHADOW)
    ]
    assert needs == [9, 1, 1]


def test_a_team_without_a_cap_is_admitted_whatever_it_spent():
    assert verdict(account(None, spend_usd="1000000")) is Verdict.ADMIT


def test_nothing_is_decided_about_a_team_that_was_never_read():
    assert verdict(Account(TeamId(7), MONTH)) is Verdict.ASK


def test_a_lease_with_room_admits_and_one_without_asks():
    assert verdict(account(granted=USD)) is Verdict.ADMIT
    assert verdict(account(granted=USD - 1)) is Verdict.ASK


def test_an_expired_lease_admits_nothing():
    assert verdict(account(granted=USD), now_s=100.0 + 300) is Verdict.ASK


def test_requests_queue_behind_those_that_wait_already():
    made = account(granted=USD)
    made.has_waiters = True
    assert verdict(made) is Verdict.ASK


def test_near_the_cap_every_request_asks_even_with_room_on_the_lease():
    assert verdict(account(spend_usd="23.75", granted=USD // 10), need=1) is Verdict.ASK
    assert verdict(account(spend_usd="23.00", granted=USD // 10), need=1) is Verdict.ADMIT


def test_a_spent_budget_refuses_until_the_month_ends():
    assert verdict(account(spend_usd="25.00", granted=USD)) is Verdict.REFUSE


def test_a_refusal_on_old_knowledge_asks_first():
    made = account(spend_usd="25.00")
    assert verdict(made, now_s=100.0 + KNOWN_FOR_S) is Verdict.ASK


def test_an_override_passes_a_spent_budget_and_says_so():
    assert verdict(account(spend_usd="25.00"), is_override=True) is Verdict.ADMIT_ANYWAY
    assert verdict(account(spend_usd="1.00"), is_override=True) is Verdict.ADMIT


@pytest.mark.parametrize("spend", ["25.00", "99.00"])
def test_shadow_never_refuses_and_records_that_it_would_have(spend):
    assert verdict(account(spend_usd=spend, enforcement=SHADOW)) is Verdict.ADMIT_ANYWAY
    assert verdict(account(spend_usd="24.99", enforcement=SHADOW)) is Verdict.ADMIT


def test_shadow_counts_the_holds_of_running_requests_as_hard_would():
    made = account(spend_usd="20.00", held_usd="5.00", enforcement=SHADOW)
    assert verdict(made) is Verdict.ADMIT_ANYWAY


def test_a_changed_team_is_read_before_anything_is_decided():
    made = account(granted=USD)
    made.changed()
    assert verdict(made) is Verdict.ASK
    assert verdict(made, is_override=True) is Verdict.ASK


def test_a_dated_change_is_read_when_it_is_due():
    made = account(granted=USD, next_change_at=NOW + timedelta(hours=1))
    assert verdict(made) is Verdict.ADMIT
    assert verdict(made, now=NOW + timedelta(hours=1)) is Verdict.ASK


def test_a_change_that_the_ledger_does_not_see_yet_is_not_read_for_every_request():
    made = account(granted=USD, next_change_at=NOW)
    assert verdict(made) is Verdict.ADMIT
    assert verdict(made, now=NOW + timedelta(seconds=0.3)) is Verdict.ASK


def test_a_denial_holds_for_a_moment_and_in_strict_not_for_smaller_requests():
    hard, strict = account(spend_usd="24.50"), account(spend_usd="24.50", enforcement=STRICT)
    for made in (hard, strict):
        made.denied(USD // 2, 100.0)
    assert verdict(hard, USD // 4) is Verdict.HOLD_BACK
    assert verdict(strict, USD // 4) is Verdict.ASK
    assert verdict(strict, USD // 2) is Verdict.HOLD_BACK
    assert verdict(hard, now_s=100.1) is Verdict.ASK


def test_a_strict_request_that_will_never_fit_this_month_is_refused_for_good():
    made = account(spend_usd="24.50", enforcement=STRICT)
    assert refusal(made, USD // 2) is Verdict.HOLD_BACK
    assert refusal(made, USD // 2 + 1) is Verdict.REFUSE
    assert refusal(account(spend_usd="24.50"), USD) is Verdict.HOLD_BACK


def test_an_older_reading_does_not_undo_a_notification():
    made = account("25.00")
    epoch = made.epoch
    made.changed()
    old = BudgetReading(
        team_id=made.team_id,
        terms=BudgetTerms(cap_usd=Decimal(99)),
        spend_usd=Decimal(0),
        held_usd=Decimal(0),
    )
    made.read(old, epoch=epoch, posts=0, now=NOW, now_s=100.0)
    assert made.is_stale
    assert made.view.cap_usd == Decimal("25.00")


def test_a_reading_from_before_our_own_post_does_not_lower_the_spend():
    made = account(spend_usd="3")
    posts = made.posts_seen()
    made.posted(Decimal(4))
    reading = BudgetReading(
        team_id=made.team_id, terms=made.terms, spend_usd=Decimal(3), held_usd=Decimal(0)
    )
    made.read(reading, epoch=0, posts=posts, now=NOW, now_s=101.0)
    assert made.view.spend_usd == 4
    made.read(reading, epoch=0, posts=made.posts_seen(), now=NOW, now_s=102.0)
    assert made.view.spend_usd == 3


def test_a_new_month_begins_with_the_terms_and_without_the_spend():
    made = account(spend_usd="25.00", granted=USD).next_month(MONTH.replace(month=12))
    assert made.view.status is BudgetStatus.OK
    assert made.view.spend_usd == 0
    assert made.lease.is_empty
    assert made.resets_at.isoformat() == "2027-01-01T00:00:00+00:00"


def reading(made, *, spend_usd="0", held_usd="0", terms=None):
    return BudgetReading(
        team_id=made.team_id,
        terms=terms or made.terms,
        spend_usd=Decimal(spend_usd),
        held_usd=Decimal(held_usd),
    )


def test_a_total_that_a_reading_has_outrun_does_not_lower_the_spend():
    made = account(spend_usd="5")
    made.posted(Decimal(4))
    assert made.view.spend_usd == 5


def test_what_the_ledger_holds_for_this_worker_is_not_counted_as_anothers():
    made = account(granted=USD)
    made.lease.hold(USD)
    made.read(reading(made, held_usd="1.50"), epoch=0, posts=0, now=NOW, now_s=101.0)
    assert made.others_pico_usd == USD // 2
    assert made.running_pico_usd == USD * 3 // 2


def test_what_an_answer_holds_for_others_is_all_but_what_this_lease_has_left():
    made = account()
    ask = LeaseAsk(
        team_id=made.team_id,
        month=MONTH,
        committed_pico_usd=3 * USD,
        consumed_pico_usd=USD,
        returned_pico_usd=2 * USD,
        want_pico_usd=0,
        min_pico_usd=0,
        is_exact=True,
        may_cross=True,
    )
    answer = LeaseAnswer(
        granted_pico_usd=4 * USD,
        spend_usd=Decimal(2),
        held_usd=Decimal(3),
        cap_usd=Decimal("25.00"),
        next_change_at=None,
    )
    made.is_in_doubt = True
    made.answered(answer, ask, posts=0, now_s=101.0)
    assert made.others_pico_usd == 2 * USD
    assert not made.is_in_doubt
    assert not made.is_stale
    made.answered(replace(answer, cap_usd=Decimal(5)), ask, posts=0, now_s=102.0)
    assert made.is_stale
    assert made.view.cap_usd == Decimal("25.00")


@pytest.mark.parametrize(
    ("spend_usd", "held_usd", "granted", "is_near"),
    [
        ("23.74", "0", 0, False),
        ("23.75", "0", 0, True),
        ("20.00", "3.74", 0, False),
        ("20.00", "3.75", 0, True),
        ("20.00", "3.74", 3 * USD, False),
        ("20.00", "0", 15 * USD // 4, True),
    ],
)
def test_near_the_cap_is_what_is_spent_and_held_by_whomever(spend_usd, held_usd, granted, is_near):
    assert account(spend_usd=spend_usd, held_usd=held_usd, granted=granted).is_near is is_near


def test_a_change_of_terms_that_is_not_read_yet_is_read_in_the_new_month_too():
    made = account(granted=USD, next_change_at=NOW + timedelta(hours=1))
    made.changed()
    following = made.next_month(MONTH.replace(month=12))
    assert following.needs_reading(NOW)
    following.read(reading(made), epoch=made.epoch - 1, posts=0, now=NOW, now_s=100.0)
    assert following.needs_reading(NOW)
    following.read(reading(made), epoch=made.epoch, posts=0, now=NOW, now_s=100.0)
    assert not following.needs_reading(NOW)


def test_a_dated_change_is_due_in_the_new_month_too():
    made = account(granted=USD, next_change_at=NOW + timedelta(hours=1))
    following = made.next_month(MONTH.replace(month=12))
    assert not following.needs_reading(NOW)
    assert following.needs_reading(NOW + timedelta(hours=1))


def test_an_account_that_somebody_waits_for_is_not_idle():
    made = account()
    assert made.is_idle
    made.has_waiters = True
    assert not made.is_idle


def test_the_rule_of_strict_lets_a_request_take_the_last_of_the_cap():
    made = account(spend_usd="24.00", enforcement=STRICT)
    assert verdict(made, USD, is_override=True) is Verdict.ADMIT
    assert verdict(made, USD + 1, is_override=True) is Verdict.ADMIT_ANYWAY


class TestOutage:
    """The ledger cannot be asked."""

    def test_a_lease_that_has_not_expired_is_spent_first_even_when_failing_closed(self):
        made = account(spend_usd="24.00", granted=USD)
        assert outage(made, allowance=None) is Verdict.ADMIT
        assert outage(made, USD + 1, allowance=None) is Verdict.UNAVAILABLE

    def test_a_lease_that_has_expired_is_spent_by_nobody(self):
        made = account(spend_usd="20.00", granted=USD, enforcement=STRICT)
        assert outage(made, now_s=399.9) is Verdict.ADMIT
        assert outage(made, now_s=400.0) is Verdict.UNAVAILABLE

    def test_hard_admits_up_to_the_cap_and_the_allowance_and_not_a_pico_more(self):
        made = account(spend_usd="24.00")
        assert outage(made, USD) is Verdict.ADMIT
        made.lease.hold(USD)
        assert outage(made, 5 * USD) is Verdict.ADMIT_ANYWAY
        assert outage(made, 5 * USD + 1) is Verdict.HOLD_BACK

    def test_spend_that_waits_to_be_posted_counts(self):
        made = account(spend_usd="24.00")
        made.lease.hold(USD)
        made.lease.settle(USD, 6 * USD)
        assert outage(made, 1) is Verdict.HOLD_BACK

    def test_holds_of_other_workers_count_as_last_heard(self):
        made = account(spend_usd="20.00", held_usd="10.00")
        assert outage(made, 1) is Verdict.HOLD_BACK

    def test_a_team_over_its_cap_stays_blocked(self):
        assert outage(account(spend_usd="25.00")) is Verdict.REFUSE

    def test_strict_admits_nothing_that_is_not_proven_to_fit(self):
        made = account(enforcement=STRICT, granted=USD)
        assert outage(made, USD) is Verdict.ADMIT
        assert outage(made, USD + 1) is Verdict.UNAVAILABLE

    def test_a_team_that_nobody_knows_gets_the_allowance_and_no_more(self):
        made = Account(TeamId(7), MONTH)
        assert outage(made, 5 * USD) is Verdict.ADMIT
        assert made.view.status is BudgetStatus.UNKNOWN
        made.lease.hold(5 * USD)
        assert outage(made, 1) is Verdict.UNAVAILABLE
        assert outage(Account(TeamId(7), MONTH), allowance=None) is Verdict.UNAVAILABLE

    def test_an_override_and_a_shadow_team_pass(self):
        assert outage(account(spend_usd="30"), is_override=True) is Verdict.ADMIT_ANYWAY
        assert outage(account(spend_usd="30", enforcement=SHADOW)) is Verdict.ADMIT_ANYWAY
