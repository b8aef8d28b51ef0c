from prometheus_client.parser import text_string_to_metric_families

from gateway.domain.budget import BudgetStatus
from gateway.domain.entry import Amounts
from gateway.domain.usage import Usage, UsageSource
from gateway.telemetry import names
from gateway.telemetry.metrics import Metrics, OpenHolds
from gateway.telemetry.sender import SenderCounts
from tests.fakes.settlements import settlement


def samples(metrics):
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def value(metrics, name, **labels):
    return samples(metrics).get((name, *sorted(labels.items())))


CALL = {"provider": "anthropic", "dialect": "anthropic.messages"}


def test_settlement_is_counted_with_its_tokens_and_cost():
    metrics = Metrics()
    for _ in range(2):
        metrics.observe_settlement(settlement())
    assert value(metrics, names.REQUESTS, **CALL, outcome="completed", status="2xx") == 2
    tokens = {
        kind: value(metrics, names.TOKENS, **CALL, type=kind)
        for kind in ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    }
    assert tokens == {
        "input_uncached": 200,
        "cache_read": 4000,
        "cache_write_5m": 70,
        "cache_write_1h": 800,
        "output": 120,
    }
    assert round(value(metrics, names.COST_USD, **CALL), 9) == round(2 * 0.027187500007, 9)
    assert value(metrics, "gateway_request_duration_seconds_sum", **CALL) == 3
    assert value(metrics, "gateway_time_to_first_token_seconds_count", **CALL) == 2


def test_outcomes_are_told_apart():
    metrics = Metrics()
    metrics.observe_settlement(settlement(client_aborted=True, usage_source=UsageSource.ESTIMATED))
    metrics.observe_settlement(
        settlement(http_status=529, error="overloaded_error", usage=Usage(), amounts=Amounts())
    )
    metrics.observe_settlement(settlement(error="upstream_cut", is_ceiling=True))
    metrics.observe_settlement(settlement(cache_ttl_upgraded=3))
    counts = {
        (outcome, status): value(metrics, names.REQUESTS, **CALL, outcome=outcome, status=status)
        for outcome, status in (
            ("client_aborted", "2xx"),
            ("provider_error", "5xx"),
            ("failed", "2xx"),
            ("completed", "2xx"),
        )
    }
    assert set(counts.values()) == {1}
    assert value(metrics, names.ESTIMATES, **CALL) == 1
    assert value(metrics, names.CLIENT_ABORTS, **CALL) == 1
    assert value(metrics, names.CEILINGS, **CALL) == 1
    assert value(metrics, names.TTL_UPGRADES, **CALL) == 3


def test_guard_decisions_and_fail_opens_are_counted():
    metrics = Metrics()
    metrics.guard_decision(BudgetStatus.BLOCKED, is_admitted=False)
    metrics.guard_decision(BudgetStatus.BLOCKED, is_admitted=True)
    metrics.guard_decision(BudgetStatus.UNKNOWN, is_admitted=True, failed_open=True)
    assert value(metrics, names.GUARD_DECISIONS, status="blocked", answer="refused") == 1
    assert value(metrics, names.GUARD_DECISIONS, status="blocked", answer="admitted") == 1
    assert value(metrics, names.FAIL_OPENS) == 1


def test_upstream_failures_and_added_latency_are_counted():
    metrics = Metrics()
    metrics.upstream_failed(provider="openai", error="upstream_timeout")
    metrics.added_latency(0.0004)
    assert value(metrics, names.UPSTREAM_ERRORS, provider="openai", error="upstream_timeout") == 1
    assert value(metrics, "gateway_added_latency_seconds_bucket", le="0.0005") == 1
    assert value(metrics, "gateway_added_latency_seconds_bucket", le="0.00025") == 0


def test_watched_parts_are_read_at_each_scrape():
    metrics = Metrics()
    depth = [3]
    counts = [SenderCounts(taken=9, sent=5, dropped={"refused": 1}, queued=3)]
    metrics.watch_journal("ledger", depth=lambda: depth[0], oldest_age_s=lambda: 1.5)
    metrics.watch_journal("events", depth=lambda: 7, oldest_age_s=lambda: 0.0)
    metrics.watch_events(lambda: counts[0])
    metrics.watch_holds(lambda: OpenHolds(count=2, amount_pico_usd=1_500_000_000_000))
    assert value(metrics, names.JOURNAL_DEPTH, reader="ledger") == 3
    depth[0] = 4
    counts[0] = SenderCounts(taken=9, sent=8, dropped={"refused": 1})
    assert value(metrics, names.JOURNAL_DEPTH, reader="ledger") == 4
    assert value(metrics, names.JOURNAL_DEPTH, reader="events") == 7
    assert value(metrics, names.JOURNAL_AGE_S, reader="ledger") == 1.5
    assert value(metrics, names.EVENTS_SENT) == 8
    assert value(metrics, names.EVENTS_DROPPED, reason="refused") == 1
    assert value(metrics, names.EVENTS_QUEUED) == 0
    assert value(metrics, names.HOLDS_OPEN) == 2
    assert value(metrics, names.HOLDS_USD) == 1.5


def test_two_registries_are_independent():
    first, second = Metrics(), Metrics()
    first.observe_settlement(settlement())
    assert value(second, names.REQUESTS, **CALL, outcome="completed", status="2xx") is None


def test_what_clients_and_teams_write_never_becomes_a_label():
    metrics = Metrics()
    for i in range(50):
        metrics.observe_settlement(
            settlement(
                team_id=i,
                api_key_id=i,
                team_name=f"CANARY{i}",
                request_model=f"CANARY{i}",
                response_model=f"CANARY{i}",
                error=f"CANARY{i}",
                product=f"CANARY{i}",
                distinct_id=f"CANARY{i}",
                properties={"p": f"CANARY{i}"},
            )
        )
    body, _ = metrics.render()
    assert b"CANARY" not in body
    assert value(metrics, names.REQUESTS, **CALL, outcome="failed", status="2xx") == 50
