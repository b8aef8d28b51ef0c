"""What a generation used: disjoint counts, the price selectors of the answer, how sure we are."""

from enum import StrEnum
from typing import Self

from gateway.domain.value import Value


class UsageSource(StrEnum):
    """How the counts, or the amount, came to be known."""

    EXACT = "exact"
    PROVIDER_REPORTED = "provider_reported"
    ESTIMATED = "estimated"


class Usage(Value, frozen=True, kw_only=True):
    """Billable counts of one model's work: all disjoint, but for reasoning, inside output.

    Audio, image and video counts are disjoint from the text counts as well:
    `input_uncached_tokens` and `output_tokens` hold none of them.
    """

    input_uncached_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_write_unsplit_tokens: int = 0
    """Cache writes without a TTL; the ledger shows them with the 5-minute ones."""
    output_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    cache_read_audio_tokens: int = 0
    output_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    input_audio_ms: int = 0
    """Sound that is billed by its length and not by tokens."""
    web_search_requests: int = 0
    web_search_preview_requests: int = 0
    """Searches by OpenAI's older tool, which has a price of its own."""
    file_search_calls: int = 0
    container_gigabytes: int = 0
    """Sandboxes that a tool started, by the gigabytes that each was given."""
    output_video_tokens: int = 0

    @property
    def input_tokens(self) -> int:
        """Everything the model read, cached or not (OTel's `gen_ai.usage.input_tokens`)."""
        return (
            self.input_uncached_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
            + self.cache_write_unsplit_tokens
            + self.input_audio_tokens
            + self.cache_read_audio_tokens
            + self.input_image_tokens
        )

    @property
    def is_nothing(self) -> bool:
        """No token was read, and none written."""
        return not self.input_tokens and not self.all_output_tokens

    @property
    def all_output_tokens(self) -> int:
        """Everything the model wrote, sound, images and video included."""
        return (
            self.output_tokens
            + self.output_audio_tokens
            + self.output_image_tokens
            + self.output_video_tokens
        )

    def folded_counts(self) -> dict[str, int]:
        """Counts that the ledger has no column of their own for, of which there are some."""
        return {name: count for name in FOLDED_COUNTS if (count := getattr(self, name))}

    def plus(self, other: Self) -> "Usage":
        """The sum of both, count by count."""
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in _COUNTS})


FOLDED_COUNTS = (
    *("cache_write_unsplit_tokens", "input_audio_tokens", "cache_read_audio_tokens"),
    *("output_audio_tokens", "input_image_tokens", "output_image_tokens", "input_audio_ms"),
    *("web_search_preview_requests", "file_search_calls", "container_gigabytes"),
    "output_video_tokens",
)
"""Posted with what they are billed beside, or not at all: `detail.counts` of an entry has them."""
_COUNTS = Usage.__struct_fields__


class UsagePart(Value, frozen=True, kw_only=True):
    """The share of a generation that one model did; `model` is None for the response's own."""

    model: str | None
    usage: Usage


class PriceSelectors(Value, frozen=True, kw_only=True):
    """Facts of the response, or of the request where only that has them, that change the price."""

    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None


class Measurement(Value, frozen=True, kw_only=True):
    """All that the meter read out of one response.

    `parts` are priced one by one and their counts add up to `usage`. `source` is never EXACT for a
    stream that was cut before its usage. `is_complete` is True where the body's own terminal event
    was seen (`message_stop`, `[DONE]`, a whole JSON body).
    """

    parts: tuple[UsagePart, ...]
    source: UsageSource
    response_model: str | None = None
    provider_response_id: str | None = None
    selectors: PriceSelectors = PriceSelectors()
    provider_cost_pico_usd: int | None = None
    """What the provider itself says that it charges, where it bills by that figure."""
    usage_raw: dict[str, object] | None = None
    """The provider's last merged usage object, as it named things."""
    is_complete: bool = False
    error_type: str | None = None
    """The type of an error event inside a 2xx body."""
    stop_reason: str | None = None
    is_unbilled: bool = False
    """The provider's rules make this answer free (a refusal before any output)."""

    @property
    def usage(self) -> Usage:
        if len(self.parts) == 1:
            return self.parts[0].usage
        total = Usage()
        for part in self.parts:
            total = total.plus(part.usage)
        return total
