import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.entry import Amounts
from gateway.domain.money import usd_from_pico
from gateway.domain.record import settlement_from_record, settlement_to_record
from gateway.domain.usage import Usage, UsageSource
from gateway.telemetry import names
from gateway.telemetry.attribution import attribution_from_headers
from gateway.telemetry.event import event_for, is_clients_to_set, serialised_event
from tests.fakes.settlements import settlement

CONTRACT = [
    "$ai_provider",
    "$ai_model",
    "$ai_input_tokens",
    "$ai_output_tokens",
    "$ai_cache_read_input_tokens",
    "$ai_cache_creation_input_tokens",
    "$ai_cache_creation_5m_input_tokens",
    "$ai_cache_creation_1h_input_tokens",
    "$ai_reasoning_tokens",
    "$ai_input_cost_usd",
    "$ai_output_cost_usd",
    "$ai_request_cost_usd",
    "$ai_web_search_cost_usd",
    "$ai_total_cost_usd",
    "$ai_cache_read_cost_usd",
    "$ai_cache_creation_cost_usd",
    "$ai_cost_passthrough",
    "$ai_latency",
    "$ai_time_to_first_token",
    "$ai_stream",
    "$ai_http_status",
    "$ai_is_error",
    "$ai_error",
    "$ai_trace_id",
    "$ai_span_id",
    "$ai_session_id",
    "$ai_base_url",
    "$ai_effort",
    "ai_product",
    "$ai_billable",
    "$ai_gateway",
    "team",
    "budget_status",
    "save_mode",
    "cache_ttl_upgraded",
    "usage_source",
    "client_aborted",
]


def properties_of(**changes):
    return event_for(settlement(**changes))["properties"]


def test_event_carries_the_entry_id_and_time():
    done = settlement()
    event = event_for(done)
    assert event["event"] == "$ai_generation"
    assert event["uuid"] == str(done.entry.entry_id)
    assert datetime.fromisoformat(event["timestamp"]) == done.entry.occurred_at


def test_time_of_another_zone_is_sent_in_utc():
    at = datetime(2026, 11, 15, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    assert event_for(settlement(occurred_at=at))["timestamp"] == "2026-11-15T12:00:00+00:00"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "response_model": None,
            "effort": None,
            "time_to_first_token_s": None,
            "usage": Usage(),
            "amounts": Amounts(),
            "http_status": 529,
        },
    ],
)
def test_every_property_of_the_contract_is_there_whatever_is_unknown(changes):
    assert set(CONTRACT) <= set(properties_of(**changes))


def test_event_says_what_the_call_was():
    properties = properties_of(
        save_mode=True,
        cache_ttl_upgraded=3,
        client_aborted=True,
        usage_source=UsageSource.ESTIMATED,
    )
    expected = {
        "$ai_provider": "anthropic",
        "$ai_model": "claude-opus-4-5-20251101",
        "$ai_base_url": "https://api.anthropic.com",
        "$ai_effort": "high",
        "$ai_stream": True,
        "$ai_http_status": 200,
        "$ai_is_error": False,
        "$ai_error": None,
        "$ai_latency": 1.5,
        "$ai_time_to_first_token": 0.25,
        "$ai_gateway": True,
        "$ai_billable": True,
        "$ai_cost_passthrough": True,
        "ai_product": "posthog_code",
        "team": "growth",
        "team_id": 7,
        "budget_status": "ok",
        "save_mode": True,
        "cache_ttl_upgraded": 3,
        "usage_source": "estimated",
        "client_aborted": True,
        "request_model": "claude-opus-4-5",
        "$geoip_disable": True,
    }
    assert expected.items() <= json.loads(orjson.dumps(properties)).items()


def test_request_model_stands_in_for_a_response_without_one():
    assert properties_of(response_model=None)["$ai_model"] == "claude-opus-4-5"


def test_anthropic_input_leaves_cache_tokens_out():
    properties = properties_of()
    assert properties["$ai_cache_reporting_exclusive"] is True
    assert properties["$ai_input_tokens"] == 100
    assert properties["$ai_cache_read_input_tokens"] == 2000
    assert properties["$ai_cache_creation_input_tokens"] == 435
    assert properties["$ai_cache_creation_5m_input_tokens"] == 35
    assert properties["$ai_cache_creation_1h_input_tokens"] == 400
    assert properties["$ai_output_tokens"] == 60
    assert properties["$ai_reasoning_tokens"] == 20
    assert properties["$ai_web_search_count"] == 2


def test_openai_input_includes_cached_and_audio_tokens():
    usage = Usage(
        input_uncached_tokens=100,
        cache_read_tokens=900,
        input_audio_tokens=40,
        cache_read_audio_tokens=10,
        output_tokens=5,
        output_audio_tokens=6,
    )
    properties = properties_of(dialect="openai.chat", provider="openai", usage=usage)
    assert properties["$ai_cache_reporting_exclusive"] is False
    assert properties["$ai_input_tokens"] == 1050
    assert properties["$ai_cache_read_input_tokens"] == 910
    assert properties["$ai_audio_input_tokens"] == 50
    assert properties["$ai_output_tokens"] == 11
    assert properties["$ai_audio_output_tokens"] == 6


def test_input_cost_includes_the_cache_parts():
    properties = properties_of()
    assert properties["$ai_input_cost_usd"] == 0.0056875
    assert properties["$ai_cache_read_cost_usd"] == 0.001
    assert properties["$ai_cache_creation_cost_usd"] == 0.0041875
    assert properties["$ai_output_cost_usd"] == 0.0015
    assert properties["$ai_request_cost_usd"] == 7e-12
    assert properties["$ai_web_search_cost_usd"] == 0.02
    assert properties["$ai_total_cost_usd"] == 0.027187500007


_PICO = st.integers(min_value=0, max_value=10**16)


@settings(max_examples=150)
@given(
    st.builds(
        Amounts,
        input_pico_usd=_PICO,
        cache_read_pico_usd=_PICO,
        cache_write_pico_usd=_PICO,
        output_pico_usd=_PICO,
        request_pico_usd=_PICO,
        web_search_pico_usd=_PICO,
    )
)
def test_costs_of_the_sent_json_add_up_to_the_ledgers_amount(amounts):
    sent = json.loads(serialised_event(settlement(amounts=amounts)), parse_float=Decimal)[
        "properties"
    ]
    total = Decimal(sent["$ai_total_cost_usd"])
    parts = sum(
        Decimal(sent[f"$ai_{part}_cost_usd"])
        for part in ("input", "output", "request", "web_search")
    )
    # A double has 15 digits and these amounts run to 60,000 USD: at ordinary sizes it is exact.
    exact = usd_from_pico(amounts.total_pico_usd)
    assert abs(total - exact) <= Decimal("1e-9")
    assert abs(parts - exact) <= Decimal("1e-9")
    if exact < 1000:
        assert total == exact


def test_free_generation_is_not_billable():
    properties = properties_of(amounts=Amounts())
    assert properties["$ai_billable"] is False
    assert properties["$ai_total_cost_usd"] == 0


def test_provider_error_is_an_error_of_zero():
    properties = properties_of(
        http_status=529,
        error="overloaded_error",
        usage=Usage(),
        amounts=Amounts(),
        response_model=None,
    )
    assert properties["$ai_is_error"] is True
    assert properties["$ai_error"] == "overloaded_error"
    assert properties["$ai_http_status"] == 529
    assert properties["$ai_input_tokens"] == properties["$ai_output_tokens"] == 0


def test_error_status_without_a_type_is_named_by_its_status():
    properties = properties_of(http_status=502)
    assert (properties["$ai_is_error"], properties["$ai_error"]) == (True, "http_502")


def test_client_that_left_is_no_error():
    properties = properties_of(client_aborted=True)
    assert (properties["$ai_is_error"], properties["$ai_error"]) == (False, None)


def test_event_without_a_distinct_id_is_the_teams_and_makes_no_person():
    event = event_for(settlement())
    assert event["distinct_id"] == "team:growth"
    assert event["properties"]["$process_person_profile"] is False


def test_event_with_a_distinct_id_is_that_persons():
    event = event_for(settlement(distinct_id="user_1"))
    assert event["distinct_id"] == "user_1"
    assert "$process_person_profile" not in event["properties"]


def test_identity_comes_from_the_client():
    properties = properties_of(
        trace_id="t-1", session_id="s-1", span_parent_id="00f067aa0ba902b7", request_id="r-1"
    )
    assert properties["$ai_trace_id"] == "t-1"
    assert properties["$ai_session_id"] == "s-1"
    assert properties["$ai_parent_id"] == "00f067aa0ba902b7"
    assert properties["request_id"] == "r-1"


def test_trace_and_span_fall_back_to_the_entry():
    done = settlement()
    properties = event_for(done)["properties"]
    assert properties["$ai_trace_id"] == properties["$ai_span_id"] == str(done.entry.entry_id)


def test_client_properties_and_flags_are_stamped():
    properties = properties_of(
        properties={"customer-tier": "gold", "x": "1"}, flags={"new-ui": "variant-a"}
    )
    assert properties["customer-tier"] == "gold"
    assert properties["x"] == "1"
    assert properties["$feature/new-ui"] == "variant-a"


SPOOFS = [
    *names.EVENT_PROPERTIES,
    "distinct_id",
    "token",
    "api_key",
    "uuid",
    "timestamp",
    "$set",
    "$set_once",
    "$unset",
    "$ip",
    "$groups",
    "$group_0",
    "$ai_input_token_price",
    "$ai_output_token_price",
    "$ai_framework",
    "$ai_usage",
    "$insert_id",
    "$identify",
]


@pytest.mark.parametrize("spoof", SPOOFS)
def test_client_cannot_set_what_the_gateway_owns(spoof):
    plain = settlement()
    spoofed = settlement(
        entry_id=plain.entry.entry_id, properties={spoof: "SPOOF", spoof.upper(): "SPOOF"}
    )
    event = event_for(spoofed)
    assert event["properties"].pop("client_save_mode", "SPOOF") == "SPOOF"
    assert event == event_for(plain)


def test_flag_cannot_reach_a_property_of_the_gateway():
    plain = settlement()
    flagged = settlement(entry_id=plain.entry.entry_id, flags={"team": "SPOOF"})
    assert event_for(flagged)["properties"] == event_for(plain)["properties"] | {
        "$feature/team": "SPOOF"
    }


def test_clients_own_save_mode_telemetry_is_stamped_beside_the_gateways():
    sent = {
        "save_mode": "on",
        "$ai_save_mode": "on",
        "baseline_model": "a",
        "$ai_baseline_model": "a",
        "baseline_effort": "high",
        "$ai_baseline_effort": "high",
        "effective_effort": "low",
        "$ai_effective_effort": "low",
    }
    properties = properties_of(properties=sent, save_mode=False)
    assert properties["save_mode"] is False
    assert properties["client_save_mode"] == "on"
    assert {name: properties[name] for name in sent if name != "save_mode"} == {
        name: value for name, value in sent.items() if name != "save_mode"
    }


def test_registered_names_are_closed_to_clients():
    assert not [name for name in names.EVENT_PROPERTIES if is_clients_to_set(name)]


def test_content_is_sent_only_where_it_was_captured():
    assert not {"$ai_input", "$ai_output_choices"} & set(properties_of())
    captured = {"input_json": '[{"role":"user","content":"hi"}]', "output_json": '[{"role":"assist'}
    properties = properties_of(**captured)
    assert properties["$ai_input"] == [{"role": "user", "content": "hi"}]
    assert properties["$ai_output_choices"] == '[{"role":"assist'
    assert "$ai_input" not in event_for(settlement(**captured), with_content=False)["properties"]


def test_credentials_in_a_base_url_stay_out():
    properties = properties_of(base_url="https://user:pass@llm.example.com:8443/v1?key=abc#x")
    assert properties["$ai_base_url"] == "https://llm.example.com:8443/v1"


def test_event_survives_the_journal_unchanged():
    done = settlement(distinct_id="u", properties={"a": "b"}, flags={"f": "true"})
    restored = settlement_from_record(json.loads(json.dumps(settlement_to_record(done))))
    assert serialised_event(restored) == serialised_event(done)


# Headers.


def test_headers_become_the_attribution():
    attribution = attribution_from_headers(
        [
            ("X-PostHog-Distinct-Id", " user_1 "),
            ("x-posthog-trace-id", "t"),
            ("x-posthog-session-id", "s"),
            ("X-Request-Id", "r"),
            ("X-POSTHOG-PROPERTY-Customer-Tier", "gold"),
            ("x-posthog-flag-New-UI", "true"),
            ("authorization", "Bearer secret"),
            ("x-posthog-budget-override", "true"),
        ]
    )
    assert attribution.distinct_id == "user_1"
    assert (attribution.trace_id, attribution.session_id, attribution.request_id) == ("t", "s", "r")
    assert attribution.properties == {"customer-tier": "gold"}
    assert attribution.flags == {"new-ui": "true"}


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("headers", "trace", "parent"),
    [
        ([("traceparent", f"00-{TRACE}-{SPAN}-01")], TRACE, SPAN),
        ([("traceparent", f"cc-{TRACE}-{SPAN}-01-more")], TRACE, SPAN),
        ([("traceparent", f"00-{TRACE}-{SPAN}-01"), ("x-posthog-trace-id", TRACE)], TRACE, SPAN),
        ([("traceparent", f"00-{TRACE}-{SPAN}-01"), ("x-posthog-trace-id", "mine")], "mine", None),
        ([("traceparent", f"00-{TRACE}-{SPAN}-01-more")], None, None),
        ([("traceparent", f"ff-{TRACE}-{SPAN}-01")], None, None),
        ([("traceparent", f"00-{'0' * 32}-{SPAN}-01")], None, None),
        ([("traceparent", f"00-{TRACE}-{'0' * 16}-01")], None, None),
        ([("traceparent", f"00-{TRACE.upper()}-{SPAN}-01")], None, None),
        ([("traceparent", "")], None, None),
    ],
)
def test_traceparent_is_read_as_w3c_says(headers, trace, parent):
    attribution = attribution_from_headers(headers)
    assert (attribution.trace_id, attribution.span_parent_id) == (trace, parent)


@pytest.mark.parametrize(
    "value",
    ["a\tb", "a\x00b", "\udcff", "a\x1b[31m", "line\u2028break", "x" * 1025, "\u00e9" * 513],
)
def test_unclean_or_oversized_values_are_left_out(value):
    attribution = attribution_from_headers(
        [
            ("x-posthog-property-a", value),
            ("x-posthog-distinct-id", value),
            ("x-posthog-property-b", "ok"),
        ]
    )
    assert attribution.properties == {"b": "ok"}
    assert attribution.distinct_id is None


def test_first_of_a_repeated_header_counts():
    attribution = attribution_from_headers(
        [("x-posthog-property-a", "1"), ("X-PostHog-Property-A", "2")]
    )
    assert attribution.properties == {"a": "1"}


def test_number_and_total_size_of_properties_are_bounded():
    many = attribution_from_headers([(f"x-posthog-property-p{i}", "v") for i in range(200)])
    assert len(many.properties) == 64
    big = attribution_from_headers(
        [(f"x-posthog-{kind}-p{i}", "v" * 1024) for i in range(60) for kind in ("property", "flag")]
    )
    assert sum(map(len, [*big.properties.values(), *big.flags.values()])) <= 16 * 1024


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "x-posthog-property-",
                    "x-posthog-flag-",
                    "x-posthog-distinct-id",
                    "traceparent",
                    "x-posthog-",
                ]
            ),
            st.text(alphabet=st.characters(), max_size=12),
            st.text(alphabet=st.characters(), max_size=40),
        )
    )
)
def test_any_headers_make_an_event_that_serialises(headers):
    attribution = attribution_from_headers(
        (prefix + name, value) for prefix, name, value in headers
    )
    done = settlement(
        distinct_id=attribution.distinct_id,
        trace_id=attribution.trace_id,
        properties=attribution.properties,
        flags=attribution.flags,
    )
    plain = event_for(settlement(entry_id=done.entry.entry_id))["properties"]
    sent = orjson.loads(serialised_event(done))["properties"]
    clients_own = {"$ai_trace_id", "$process_person_profile"}
    assert {name: sent.get(name) for name in plain if name not in clients_own} == {
        name: value
        for name, value in orjson.loads(orjson.dumps(plain)).items()
        if name not in clients_own
    }
