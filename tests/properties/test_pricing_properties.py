"""Charges of any usage at any price: zero for nothing, never less for more, never above the bound."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from gateway.domain.entry import Amounts
from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, PriceSelectors, Usage, UsagePart, UsageSource
from gateway.pricing.book import PriceBook
from gateway.pricing.bounds import UNSEEN_INPUT_TOKENS
from gateway.pricing.charge import fitted_to
from gateway.pricing.compile import FEE_KINDS
from gateway.pricing.fees import FEES, fee
from gateway.pricing.overrides import PriceOverride

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOOK = PriceBook.load(
    NOW,
    free_providers=["our-vllm"],
    base_urls={"openai": "https://eu.api.openai.com/v1"},
)
COUNTS = Usage.__struct_fields__
AMOUNT_FIELDS = Amounts.__struct_fields__
# Tiers, variants, finer than a pico-dollar, sound by the hour, images, a price a request, none.
MODELS = [
    ("anthropic", "claude-haiku-5-5"),
    ("anthropic", "claude-opus-5"),
    ("anthropic", "made-up"),
    ("openai", "gpt-6-astra"),
    ("openai", "gpt-audio"),
    ("openai", "whisper-1"),
    ("openai", "gpt-5.6-cyber"),
    ("groq", "whisper-large-v3"),
    ("gemini", "gemini-3-pro-image-preview"),
    ("gemini", "gemini-2.5-flash"),
    ("bedrock", "us.amazon.nova-pro-v1:0"),
    ("deepseek", "deepseek-v4-pro"),
    ("perplexity", "sonar-deep-research"),
    ("openrouter", "google/gemini-2.5-flash"),
    ("other-vllm", "llama"),
    ("our-vllm", "llama"),
]
models = st.sampled_from(MODELS)
counts = st.integers(0, 400_000) | st.sampled_from([0, 0, 0, 1, 100_000, 200_001])
selectors = st.builds(
    PriceSelectors,
    service_tier=st.sampled_from([None, "priority", "flex", "ultrafast", "batch", "odd"]),
    speed=st.sampled_from([None, None, "fast", "optimized", "odd"]),
    inference_geo=st.sampled_from([None, "us", "mars"]),
)


@st.composite
def usages(draw):
    used = {name: draw(counts) for name in draw(st.sets(st.sampled_from(COUNTS), max_size=6))}
    usage = Usage(**used)
    return replace(usage, reasoning_tokens=min(usage.reasoning_tokens, usage.output_tokens))


def charge(model, *parts, said=None, at=NOW, **fields):
    provider, name = model
    measured = Measurement(
        parts=tuple(
            part if isinstance(part, UsagePart) else UsagePart(model=None, usage=part)
            for part in parts
        ),
        source=UsageSource.EXACT,
        selectors=said or PriceSelectors(),
        **fields,
    )
    facts = RequestFacts(model=name, is_streaming=True, body_bytes=100)
    return BOOK.charge(
        provider=provider, request_model=name, measurement=measured, facts=facts, at=at
    )


@given(models, selectors)
def test_nothing_used_costs_nothing_but_the_request(model, said):
    amounts = charge(model, Usage(), said=said).amounts
    assert amounts == Amounts(request_pico_usd=amounts.request_pico_usd)
    if model[0] not in ("perplexity", "other-vllm"):
        assert amounts.request_pico_usd == 0


@given(models, selectors, usages(), usages())
def test_the_total_is_the_sum_of_parts_that_are_never_negative(model, said, one, other):
    parts = (one, UsagePart(model="claude-opus-4-7", usage=other))
    amounts = charge(model, *parts, said=said).amounts
    assert amounts.total_pico_usd == sum(astuple(amounts))
    assert min(astuple(amounts)) >= 0
    assert all(type(part) is int for part in astuple(amounts))


@given(models, selectors, usages(), st.sampled_from(COUNTS), st.integers(1, 10_000))
def test_more_of_anything_never_costs_less(model, said, usage, name, more):
    # Reasoning is inside the output: it moves tokens to its own rate, which is published lower.
    assume(name != "reasoning_tokens")
    grown = replace(usage, **{name: getattr(usage, name) + more})
    less = charge(model, usage, said=said).amounts.total_pico_usd
    assert charge(model, grown, said=said).amounts.total_pico_usd >= less


@given(models, selectors, usages().filter(lambda usage: usage != Usage()))
def test_only_what_is_free_by_name_or_configuration_costs_nothing(model, said, usage):
    total = charge(model, usage, said=said).amounts.total_pico_usd
    assert (total == 0) is (model[0] == "our-vllm")


@given(models, selectors, usages())
def test_a_tier_that_is_not_a_discount_never_makes_a_call_cheaper(model, said, usage):
    assume(said.service_tier not in ("flex", "batch"))
    plain = charge(model, usage).amounts.total_pico_usd
    assert charge(model, usage, said=said).amounts.total_pico_usd >= plain


@st.composite
def requests(draw):
    """A request, and a usage inside what it allows: input by its bytes, output by its limit."""
    provider, name = draw(models)
    limit = draw(st.none() | st.integers(0, 20_000))
    ttls = draw(st.sampled_from([(), ("5m",), ("5m", "1h"), ("1h",)]))
    asked = draw(selectors)
    facts = RequestFacts(
        model=name,
        is_streaming=True,
        body_bytes=draw(st.integers(2, 300_000)),
        max_output_tokens=limit,
        choice_count=draw(st.integers(1, 3)),
        service_tier=asked.service_tier,
        speed=asked.speed,
        inference_geo=asked.inference_geo,
        cache_ttls=ttls,
        has_unseen_input=draw(st.booleans()),
        tool_calls_max=draw(st.integers(0, 20)),
    )
    unseen_tokens = 1_000_000 if facts.has_unseen_input else UNSEEN_INPUT_TOKENS
    read = draw(st.integers(0, min(facts.body_bytes + unseen_tokens, 1_000_000)))
    calls = draw(st.integers(0, facts.tool_calls_max))
    searches = draw(st.integers(0, calls))
    written = draw(st.integers(0, read)) if ttls else 0
    usage = Usage(
        input_uncached_tokens=read - written,
        cache_write_1h_tokens=written if "1h" in ttls else 0,
        cache_write_5m_tokens=written if ttls == ("5m",) else 0,
        web_search_requests=searches,
        file_search_calls=calls - searches,
        output_tokens=draw(
            st.integers(0, (4_000 if limit is None else limit) * facts.choice_count)
        ),
    )
    return provider, facts, usage


@given(requests())
def test_a_charge_is_never_above_the_worst_case_of_its_request(request_made):
    provider, facts, usage = request_made
    bounds = BOOK.bounds(provider=provider, facts=facts, at=NOW)
    measured = Measurement(parts=(UsagePart(model=None, usage=usage),), source=UsageSource.EXACT)
    charged = BOOK.charge(
        provider=provider, request_model=facts.model, measurement=measured, facts=facts, at=NOW
    )
    assert charged.amounts.total_pico_usd <= bounds.worst_pico_usd
    assert 0 <= bounds.expected_pico_usd <= bounds.worst_pico_usd


@given(requests(), st.lists(models, max_size=4))
def test_a_list_of_fallbacks_is_held_for_at_its_dearest(request_made, others):
    provider, facts, _ = request_made
    names = [name for _, name in others]
    listed = BOOK.bounds(
        provider=provider, facts=replace(facts, also_models=tuple(names)), at=NOW
    ).worst_pico_usd
    alone = [
        BOOK.bounds(provider=provider, facts=replace(facts, model=name), at=NOW).worst_pico_usd
        for name in (facts.model, *names)
    ]
    assert listed == max(alone)


parts_of_a_charge = st.lists(st.integers(0, 10**13), min_size=6, max_size=6).map(
    lambda parts: Amounts(**dict(zip(AMOUNT_FIELDS, parts, strict=True)))
)


@given(parts_of_a_charge, st.integers(0, 10**14))
def test_the_providers_own_figure_is_split_to_the_last_pico_dollar(table, total):
    fitted = fitted_to(table, total)
    assert fitted.total_pico_usd == total
    assert min(astuple(fitted)) >= 0
    if total >= table.total_pico_usd:
        assert fitted == replace(table, request_pico_usd=fitted.request_pico_usd)


@given(models, usages(), st.integers(0, 10**13))
def test_a_reported_cost_is_the_charge_and_the_tables_price_stands_beside(model, usage, reported):
    charged = charge(model, usage, provider_cost_pico_usd=reported)
    assert charged.amounts.total_pico_usd == reported
    table = charge(model, usage)
    assert charged.list_pico_usd in (None, table.amounts.total_pico_usd)
    assert (charged.list_pico_usd is None) is table.is_ceiling


hours = st.integers(-200, 200)


@given(st.lists(st.tuples(hours, st.decimals(0, 100, places=3)), min_size=1, max_size=6), hours)
def test_the_last_price_that_was_set_not_after_a_moment_holds(rows, asked):
    overrides = [
        PriceOverride(
            provider="our-vllm",
            model="llama",
            starts_at=NOW + timedelta(hours=hour),
            input_usd=Decimal(0),
            output_usd=price,
        )
        for hour, price in rows
    ]
    book = PriceBook.load(NOW, overrides, free_providers=["our-vllm"])
    measured = Measurement(
        parts=(UsagePart(model=None, usage=Usage(output_tokens=1_000_000)),),
        source=UsageSource.EXACT,
    )
    facts = RequestFacts(model="llama", is_streaming=False, body_bytes=1)
    begun = [(hour, position) for position, (hour, _) in enumerate(rows) if hour <= asked]
    expected = rows[max(begun)[1]][1] if begun else Decimal(0)
    for _ in range(2):  # Also out of the cache.
        charged = book.charge(
            provider="our-vllm",
            request_model="llama",
            measurement=measured,
            facts=facts,
            at=NOW + timedelta(hours=asked),
        )
        assert charged.amounts.total_pico_usd == expected * 10**12


@given(
    st.sampled_from(FEE_KINDS),
    models,
    st.dates(datetime(2024, 1, 1).date(), datetime(2027, 1, 1).date()),
)
def test_a_fee_is_the_last_of_its_rows_that_began_and_fits(kind, model, day):
    provider, name = model
    fitting = [
        row
        for row in FEES
        if row.kind == kind
        and provider in (row.providers or (provider,))
        and name.startswith(row.models or "")
    ]
    begun = [row for row in fitting if row.since <= day] or fitting[:1]
    assert fee(kind, provider, name, day) in {row.usd_per_kcount for row in begun}
    if not any(row.is_above_data for row in begun):
        assert fee(kind, provider, name, day) == begun[-1].usd_per_kcount


@given(st.lists(usages(), min_size=2, max_size=4))
def test_passes_are_priced_one_by_one(passes):
    model = ("anthropic", "claude-haiku-5-5")
    together = charge(model, *passes).amounts.total_pico_usd
    assert together == sum(charge(model, each).amounts.total_pico_usd for each in passes)
