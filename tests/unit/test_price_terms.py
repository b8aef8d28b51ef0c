"""What the configuration says of providers: free hardware, regional hosts; and sound by its length."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gateway.app.books import _price_book
from gateway.config import Config
from gateway.domain.clock import SystemClock
from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, PriceSelectors, Usage, UsagePart, UsageSource
from gateway.pricing.book import PriceBook
from gateway.pricing.overrides import PriceOverride

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MILLION = Usage(output_tokens=1_000_000)


def charge(book, provider, model, usage=MILLION, *, said=None, at=NOW):
    measured = Measurement(
        parts=(UsagePart(model=None, usage=usage),),
        source=UsageSource.EXACT,
        selectors=PriceSelectors(**(said or {})),
    )
    facts = RequestFacts(model=model, is_streaming=True, body_bytes=100)
    return book.charge(
        provider=provider, request_model=model, measurement=measured, facts=facts, at=at
    )


def usd(charged):
    return Decimal(charged.amounts.total_pico_usd) / 10**12


# Own hardware. usage.md 2.3: self-hosted per token, or zero with an explicit flag.


@pytest.fixture(scope="module")
def with_own_hardware():
    return PriceBook.load(NOW, free_providers=["our-vllm"])


@pytest.mark.parametrize("model", ["llama", "gpt-5.4", "", "x" * 500])
def test_an_upstream_that_is_free_costs_nothing_whatever_it_is_asked(with_own_hardware, model):
    used = Usage(
        input_uncached_tokens=9,
        cache_read_tokens=9,
        output_tokens=9,
        output_image_tokens=9,
        input_audio_ms=9,
        web_search_requests=9,
        file_search_calls=9,
        container_gigabytes=9,
    )
    said = {"service_tier": "ultrafast", "speed": "fast", "inference_geo": "us"}
    charged = charge(with_own_hardware, "our-vllm", model, used, said=said)
    assert charged.amounts.total_pico_usd == 0
    assert charged.price_version == "self-hosted-free"
    assert not charged.is_ceiling
    assert with_own_hardware.knows("our-vllm", model)
    facts = RequestFacts(model=model, is_streaming=True, body_bytes=100)
    bounds = with_own_hardware.bounds(provider="our-vllm", facts=facts, at=NOW)
    assert (bounds.expected_pico_usd, bounds.worst_pico_usd) == (0, 0)


def test_only_the_upstream_that_is_free_is(with_own_hardware):
    charged = charge(with_own_hardware, "other-vllm", "llama")
    assert charged.is_ceiling
    assert charged.amounts.total_pico_usd > 0
    assert usd(charge(with_own_hardware, "openai", "gpt-5.4")) == 15


def test_a_price_that_is_set_for_a_free_upstream_holds_from_its_date():
    start = NOW + timedelta(hours=1)
    override = PriceOverride(
        provider="our-vllm",
        model="llama",
        starts_at=start,
        input_usd=Decimal(1),
        output_usd=Decimal(2),
    )
    book = PriceBook.load(NOW, [override], free_providers=["our-vllm"])
    assert usd(charge(book, "our-vllm", "llama")) == 0
    assert usd(charge(book, "our-vllm", "llama", at=start)) == 2
    assert usd(charge(book, "our-vllm", "llama")) == 0


def test_the_configuration_says_what_is_free_and_where_the_others_are(tmp_path):
    file = tmp_path / "providers.toml"
    file.write_text(
        '[upstream.own]\nbase_url = "http://10.0.0.2/v1"\nfree = true\n'
        '[upstream.rented]\nbase_url = "http://10.0.0.3/v1"\n'
    )
    config = Config.from_env(
        {
            "GATEWAY_PROVIDERS_FILE": str(file),
            "GATEWAY_OPENAI_BASE_URL": "https://eu.api.openai.com/v1",
        }
    )
    book = _price_book(config, SystemClock())
    assert usd(charge(book, "own", "llama")) == 0
    assert charge(book, "rented", "llama").is_ceiling
    assert usd(charge(book, "openai", "gpt-5.4")) == Decimal("16.5")


# Regional hosts of OpenAI. usage.md 1.2: ten per cent more on newer models, nothing says so.


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        ("gpt-5.4", "16.5"),
        ("gpt-5.4-2026-03-05", "16.5"),
        ("gpt-6-astra", "55"),
        ("gpt-6.1-sol", "11"),
        ("gpt-5.2", "14"),
        ("gpt-4.1", "8"),
    ],
)
@pytest.mark.parametrize("region", ["us", "eu"])
def test_a_regional_host_costs_a_tenth_more_from_gpt_5_4_on(region, model, dollars):
    book = PriceBook.load(NOW, base_urls={"openai": f"https://{region}.api.openai.com/v1"})
    charged = charge(book, "openai", model)
    assert (usd(charged), charged.is_ceiling) == (Decimal(dollars), False)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://127.0.0.1:9000/openai",
        "https://eu.api.openai.com.example.org/v1",
        "",
    ],
)
def test_any_other_host_costs_the_plain_price(url):
    assert usd(charge(PriceBook.load(NOW, base_urls={"openai": url}), "openai", "gpt-5.4")) == 15


def test_a_region_that_is_not_known_is_charged_and_flagged():
    book = PriceBook.load(NOW, base_urls={"openai": "https://moon.api.openai.com/v1"})
    charged = charge(book, "openai", "gpt-5.4")
    assert (usd(charged), charged.is_ceiling) == (Decimal("16.5"), True)
    assert charge(book, "openai", "gpt-4.1").is_ceiling is False


def test_a_regional_host_raises_ceilings_and_bounds_and_no_other_provider():
    plain = PriceBook.load(NOW)
    regional = PriceBook.load(NOW, base_urls={"openai": "https://eu.api.openai.com/v1"})
    factor = Decimal("1.1")
    assert usd(charge(regional, "openai", "unknown")) == usd(charge(plain, "openai", "unknown")) * (
        factor
    )
    facts = RequestFacts(model="gpt-5.4", is_streaming=True, body_bytes=100)
    bounds = regional.bounds(provider="openai", facts=facts, at=NOW)
    assert bounds.worst_pico_usd == (
        plain.bounds(provider="openai", facts=facts, at=NOW).worst_pico_usd * factor
    )
    assert usd(charge(regional, "azure_openai", "gpt-5.4")) == 15


def test_tier_and_host_multiply():
    book = PriceBook.load(NOW, base_urls={"openai": "https://us.api.openai.com/v1"})
    charged = charge(book, "openai", "gpt-6-astra", said={"service_tier": "ultrafast"})
    assert (usd(charged), charged.is_ceiling) == (50 * 6 * Decimal("1.1"), False)


def test_a_price_that_is_set_is_the_price_at_the_host_that_is_used():
    override = PriceOverride(
        provider="openai",
        model="gpt-5.4",
        starts_at=NOW,
        input_usd=Decimal(1),
        output_usd=Decimal(2),
    )
    book = PriceBook.load(NOW, [override], base_urls={"openai": "https://eu.api.openai.com/v1"})
    assert usd(charge(book, "openai", "gpt-5.4")) == 2


# Sound by its length. usage.md 2.1 lists seconds of sound among the data's units.


@pytest.fixture(scope="module")
def book():
    return PriceBook.load(NOW)


@pytest.mark.parametrize(
    ("provider", "model", "seconds", "dollars"),
    [
        ("openai", "whisper-1", 60, "0.006"),
        ("openai", "whisper-1", 7, "0.0007"),
        # Sold by tokens but for its sound.
        ("mistral", "voxtral-small-latest", 60, "0.004"),
        ("openai", "gpt-transcribe", 3600, "0.27"),
        ("groq", "whisper-large-v3-turbo", 3600, "0.04"),
        ("groq", "whisper-large-v3", 1, "0.000030833334"),
    ],
)
def test_a_model_that_is_sold_by_the_hour_is_priced_by_the_millisecond(
    book, provider, model, seconds, dollars
):
    charged = charge(book, provider, model, Usage(input_audio_ms=seconds * 1000))
    assert usd(charged) == Decimal(dollars)
    assert not charged.is_ceiling
    assert "audio_time" in charged.rates
    assert book.knows(provider, model)


def test_the_rate_of_an_hour_is_shown(book):
    charged = charge(book, "openai", "whisper-1", Usage(input_audio_ms=1))
    assert charged.rates["audio_time"] == "0.36"
    assert charged.amounts.input_pico_usd == 100_000


def test_an_estimate_in_tokens_of_a_model_sold_by_the_hour_is_not_free(book):
    # A thousand tokens are a minute.
    charged = charge(book, "openai", "whisper-1", Usage(input_uncached_tokens=1_000))
    assert usd(charged) == Decimal("0.006")


def test_a_length_told_by_a_model_sold_by_tokens_is_not_free(book):
    charged = charge(book, "openai", "gpt-4o-transcribe", Usage(input_audio_ms=60_000))
    assert usd(charged) == Decimal("0.006")


def test_transcription_by_tokens_has_a_rate_for_sound(book):
    # usage.md 1.2: audio tokens have their own rates.
    used = Usage(input_uncached_tokens=4, input_audio_tokens=36, output_tokens=9)
    charged = charge(book, "openai", "gpt-4o-transcribe", used)
    assert charged.amounts.input_pico_usd == 4 * 2_500_000 + 36 * 6_000_000
    assert charged.amounts.output_pico_usd == 9 * 10_000_000


def test_sound_of_a_model_without_a_price_is_never_free(book):
    charged = charge(book, "openai", "whisper-99", Usage(input_audio_ms=1))
    assert charged.is_ceiling
    assert charged.amounts.total_pico_usd >= 100_000


# Images that a model draws. usage.md 1.5: the modality split has rates of its own.


@pytest.mark.parametrize(
    ("provider", "model", "image_usd", "text_usd"),
    [
        ("gemini", "gemini-2.5-flash-image", "30", "2.5"),
        ("gemini", "gemini-3-pro-image-preview", "120", "12"),
        ("openai", "gpt-image-1.5", "32", "10"),
        # Without a rate of its own an image is output like any other.
        ("openai", "gpt-image-1", "40", "40"),
        ("gemini", "gemini-2.5-flash", "2.5", "2.5"),
    ],
)
def test_drawn_images_cost_their_own_rate(book, provider, model, image_usd, text_usd):
    charged = charge(book, provider, model, Usage(output_image_tokens=1_000_000))
    assert usd(charged) == charged.amounts.output_pico_usd / Decimal(10**12) == Decimal(image_usd)
    assert charged.rates.get("output_image", charged.rates["output"]) == image_usd
    assert usd(charge(book, provider, model, MILLION)) == Decimal(text_usd)


def test_the_worst_case_of_a_model_that_draws_is_an_answer_of_images(book):
    facts = RequestFacts(
        model="gemini-3-pro-image-preview", is_streaming=True, body_bytes=10, max_output_tokens=1000
    )
    worst = book.bounds(provider="gemini", facts=facts, at=NOW).worst_pico_usd
    drawn = Usage(output_image_tokens=1000)
    assert (
        worst >= charge(book, "gemini", "gemini-3-pro-image-preview", drawn).amounts.total_pico_usd
    )


def test_video_costs_its_own_rate(book):
    used = Usage(input_uncached_tokens=100, output_video_tokens=10_000)
    charged = charge(book, "gemini", "gemini-omni-1.1-flash", used)
    assert usd(charged) == Decimal("0.17515")
    assert charged.rates["output_video"] == "17.5"
    assert not charged.is_ceiling


def test_video_of_a_model_without_a_rate_for_it_costs_as_text_and_is_flagged(book):
    used = Usage(output_video_tokens=1_000_000)
    text = charge(book, "gemini", "gemini-3.8-flash")
    charged = charge(book, "gemini", "gemini-3.8-flash", used)
    assert (usd(charged), text.is_ceiling, charged.is_ceiling) == (usd(text), False, True)


def test_video_at_a_price_that_is_set_or_free_is_certain(with_own_hardware):
    used = Usage(output_video_tokens=1_000_000)
    assert not charge(with_own_hardware, "our-vllm", "llama", used).is_ceiling
    price = PriceOverride(
        provider="gemini",
        model="gemini-3.8-flash",
        starts_at=NOW,
        input_usd=Decimal(1),
        output_usd=Decimal(2),
    )
    charged = charge(PriceBook.load(NOW, [price]), "gemini", "gemini-3.8-flash", used)
    assert (usd(charged), charged.is_ceiling) == (2, False)


def test_the_worst_case_of_a_model_that_films_is_an_answer_of_video(book):
    facts = RequestFacts(
        model="gemini-omni-1.1-flash", is_streaming=True, body_bytes=100, max_output_tokens=10_000
    )
    bounds = book.bounds(provider="gemini", facts=facts, at=NOW)
    filmed = Usage(input_uncached_tokens=100, output_video_tokens=10_000)
    charged = charge(book, "gemini", "gemini-omni-1.1-flash", filmed)
    assert bounds.worst_pico_usd >= charged.amounts.total_pico_usd
