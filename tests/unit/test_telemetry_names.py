"""Goal: no telemetry name is emitted unregistered or registered unused. Method: emit everything, compare both ways."""

import ast
from datetime import datetime

from prometheus_client.parser import text_string_to_metric_families

import gateway
from gateway.domain.budget import BudgetStatus
from gateway.domain.usage import Usage, UsageSource
from gateway.telemetry import names
from gateway.telemetry.event import event_for
from gateway.telemetry.metrics import Metrics, OpenHolds
from gateway.telemetry.sender import SenderCounts
from tests.fakes.settlements import settlement

LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}

EVERYTHING = settlement(
    span_parent_id="00f067aa0ba902b7",
    request_id="r",
    session_id="s",
    detail={"stop_reason": "end_turn", "service_tier": "standard"},
    input_json="[]",
    output_json="[]",
    is_ceiling=True,
    client_aborted=True,
    cache_ttl_upgraded=1,
    usage_source=UsageSource.ESTIMATED,
    usage=Usage(
        input_audio_tokens=1,
        output_audio_tokens=1,
        input_image_tokens=1,
        web_search_requests=1,
        output_tokens=1,
    ),
)


def logged_names(checkout):
    """First arguments of every `_log.<level>(...)` in the product: a text, or a constant of names.py."""
    found = set()
    for path in (checkout / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="_log" | "log"), attr=method),
                    args=[first, *_],
                ) if method in LOG_METHODS:
                    match first:
                        case ast.Constant(value=str(text)):
                            found.add(text)
                        case ast.Attribute(value=ast.Name(id="names"), attr=constant):
                            found.add(getattr(names, constant))
                        case _:
                            raise AssertionError(
                                f"{path}:{node.lineno}: a log event's name is a constant"
                            )
    return found


def test_event_properties_emitted_and_registered_are_the_same():
    assert set(event_for(EVERYTHING)["properties"]) == set(names.EVENT_PROPERTIES)


def test_metrics_emitted_and_registered_are_the_same():
    metrics = Metrics()
    metrics.observe_settlement(EVERYTHING)
    metrics.guard_decision(BudgetStatus.OK, is_admitted=True)
    metrics.upstream_failed(provider="openai", error="upstream_cut")
    metrics.watch_journal("ledger", depth=lambda: 0, oldest_age_s=lambda: 0.0)
    metrics.watch_events(lambda: SenderCounts(dropped={"refused": 1}))
    metrics.watch_holds(lambda: OpenHolds(count=0, amount_pico_usd=0))
    body, _ = metrics.render()
    families = text_string_to_metric_families(body.decode())
    emitted = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert emitted == set(names.METRICS)


def test_log_events_emitted_and_registered_are_the_same(checkout):
    # The handler of library records names its event itself.
    assert logged_names(checkout) | {names.LOG_LIBRARY} == set(names.LOG_EVENTS)


def test_every_logger_is_called_log_so_that_no_event_is_overlooked(checkout):
    for path in (checkout / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and "structlog.get_logger(" in ast.unparse(node.value):
                assert ast.unparse(node.targets[0]) == "_log", path


def test_every_name_has_a_description_that_is_a_sentence():
    for registry in (names.EVENT_PROPERTIES, names.METRICS, names.LOG_EVENTS):
        assert all(text[0].isupper() or text[0] == "`" for text in registry.values())
        assert all(text.endswith(".") for text in registry.values())


def test_documentation_has_every_name():
    text = names.documentation()
    for registry in (names.EVENT_PROPERTIES, names.METRICS, names.LOG_EVENTS):
        assert all(f"| `{name}` |" in text for name in registry)


def test_version_on_the_event_is_the_products():
    properties = event_for(EVERYTHING)["properties"]
    assert properties[names.LIB_VERSION] == gateway.__version__
    assert datetime.fromisoformat(event_for(EVERYTHING)["timestamp"]).tzinfo is not None
