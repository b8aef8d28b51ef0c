"""Every dialect: the answer byte for byte, an exact row, an event that agrees with it."""

import pytest

from tests.fakes.aws import aws_environment
from tests.fakes.dialects import EVERY_PROVIDER, SAMPLES

COUNTS = (
    "input_uncached_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "web_search_requests",
)
TOLERANCE_USD = 1e-9
each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


@pytest.fixture(scope="module")
def shared_gateway(make_gateway):
    with aws_environment():
        yield make_gateway(**EVERY_PROVIDER)


async def call(gateway, team, sample, product="", headers=()):
    gateway.provider.will(sample.answer)
    own = [("x-api-key", team.key), ("content-type", sample.content_type), *headers]
    return await gateway.post(product + sample.target, sample.request, None, own)


@each_sample
async def test_bytes_pass_and_the_row_is_exact(gateway, team, sample):
    answer = await call(gateway, team, sample)
    assert answer.status == 200, answer.body
    assert answer.is_whole
    assert answer.body == (sample.heard or sample.answer.body)
    assert answer.header("content-type") == sample.answer.headers[0][1]
    (sent,) = gateway.provider.requests
    assert sent.path == sample.path
    assert team.key not in str(sent.headers)
    entry = await gateway.entry(team)
    assert {name: entry[name] for name in COUNTS if entry[name]} == sample.counts
    assert entry["amount_usd"] == sample.amount_usd
    assert entry["usage_source"] == "exact"
    assert entry["provider"] == sample.provider
    assert entry["dialect"] == sample.dialect
    assert entry["request_model"] == sample.model
    assert entry["response_model"] == sample.response_model
    assert entry["provider_response_id"] == sample.response_id
    assert str(entry["entry_id"]) == answer.header("x-gateway-request-id")


@each_sample
async def test_the_request_is_the_clients_byte_for_byte(gateway, team, sample):
    await call(gateway, team, sample)
    (sent,) = gateway.provider.requests
    if sample.heard is None:
        assert sent.body == sample.request
    else:
        assert sent.document["stream_options"] == {"include_usage": True}
        added = len(sent.body) - len(sample.request)
        assert any(
            sent.body[:at] + sent.body[at + added :] == sample.request
            for at in range(len(sample.request))
        )


async def test_the_events_amounts_are_the_entrys(gateway, team):
    answers = [await call(gateway, team, sample, "/slack_app") for sample in SAMPLES]
    for sample, answer in zip(SAMPLES, answers, strict=True):
        event = await gateway.event(answer.header("x-gateway-request-id"))
        properties = event["properties"]
        total = properties["$ai_total_cost_usd"]
        parts = [
            properties[f"$ai_{part}_cost_usd"]
            for part in ("input", "output", "request", "web_search")
        ]
        assert total == pytest.approx(float(sample.amount_usd), abs=TOLERANCE_USD), sample.name
        assert sum(parts) == pytest.approx(total, abs=TOLERANCE_USD)
        assert properties["$ai_provider"] == sample.provider
        assert properties["ai_product"] == "slack_app"
    # The last event may come before the last row.
    await gateway.entries(team, len(SAMPLES))
    assert await gateway.spend_usd(team) == sum(sample.amount_usd for sample in SAMPLES)


@pytest.mark.parametrize("size", [1, 7])
async def test_the_split_of_the_bytes_changes_nothing(gateway, team, size):
    for sample in SAMPLES:
        gateway.provider.will(sample.answer.in_pieces_of(size))
        own = [("x-api-key", team.key), ("content-type", sample.content_type)]
        answer = await gateway.post(sample.target, sample.request, None, own)
        assert answer.body == (sample.heard or sample.answer.body), sample.name
    entries = await gateway.entries(team, len(SAMPLES))
    assert [entry["amount_usd"] for entry in entries] == [each.amount_usd for each in SAMPLES]


@each_sample
async def test_a_providers_error_is_relayed_as_it_came(gateway, team, sample):
    error = b'{"error": {"message": "As told.",  "code": 418}}\n'
    gateway.provider.will(
        type(sample.answer)(status=418, pieces=(error,), framing="length").with_headers(
            ("retry-after", "7"), ("x-amzn-requestid", "amzn-1")
        )
    )
    own = [("x-api-key", team.key), ("content-type", sample.content_type)]
    answer = await gateway.post(sample.target, sample.request, None, own)
    assert (answer.status, answer.body) == (418, error)
    assert answer.header("retry-after") == "7"
    assert answer.header("x-amzn-requestid") == "amzn-1"
    entry = await gateway.entry(team)
    assert (entry["http_status"], entry["amount_usd"]) == (418, 0)
