"""The ledger's words: what a request holds before it goes upstream, and the entry it becomes."""

from datetime import date, datetime
from enum import StrEnum

from msgspec import field

from gateway.domain.ids import ApiKeyId, EntryId, TeamId
from gateway.domain.request import Attribution
from gateway.domain.usage import Usage, UsageSource
from gateway.domain.value import Value


class EntryType(StrEnum):
    """What an entry is; only `usage` comes from a request."""

    USAGE = "usage"
    ADJUSTMENT = "adjustment"
    CREDIT = "credit"
    REVERSAL = "reversal"


class Amounts(Value, frozen=True, kw_only=True):
    """The exact parts of a charge, integer pico-USD; `total_pico_usd` is their sum."""

    input_pico_usd: int = 0
    """Uncached input, audio and images included; no cache parts."""
    cache_read_pico_usd: int = 0
    cache_write_pico_usd: int = 0
    output_pico_usd: int = 0
    request_pico_usd: int = 0
    """Fees of the request itself, and what a provider-reported cost adds over the table's parts."""
    web_search_pico_usd: int = 0

    @property
    def total_pico_usd(self) -> int:
        return (
            self.input_pico_usd
            + self.cache_read_pico_usd
            + self.cache_write_pico_usd
            + self.output_pico_usd
            + self.request_pico_usd
            + self.web_search_pico_usd
        )


class Charge(Value, frozen=True, kw_only=True):
    """One priced measurement: exact parts, the price version used, and what to say about it."""

    amounts: Amounts
    price_version: str
    is_ceiling: bool = False
    """Model or selector unknown: priced at the dearest rate, flagged, re-rated later."""
    rates: dict[str, str] = field(default_factory=dict)
    """USD per million tokens (or per unit), as decimal strings, that were applied."""
    list_pico_usd: int | None = None
    """The table's price where `amounts` are the provider's own figure."""


class Hold(Value, frozen=True, kw_only=True):
    """Money set aside for a call; in the journal before the first byte goes upstream."""

    entry_id: EntryId
    month: date
    team_id: TeamId
    api_key_id: ApiKeyId
    product: str
    provider: str
    dialect: str
    request_model: str
    amount_pico_usd: int
    budget_status: str
    admitted_at: datetime
    is_leased: bool = False
    """The hold is counted against a budget lease; False where the team has no cap."""


class Entry(Value, frozen=True, kw_only=True):
    """One immutable ledger row of a request; `entry_id` is the hold's."""

    entry_id: EntryId
    month: date
    team_id: TeamId
    api_key_id: ApiKeyId
    product: str
    provider: str
    dialect: str
    request_model: str
    response_model: str | None
    usage: Usage
    amounts: Amounts
    price_version: str
    usage_source: UsageSource
    budget_status: str
    http_status: int
    client_aborted: bool
    provider_response_id: str | None
    occurred_at: datetime
    hold_pico_usd: int
    is_leased: bool
    is_ceiling: bool = False
    cache_ttl_upgraded: int = 0
    entry_type: EntryType = EntryType.USAGE
    detail: dict[str, object] = field(default_factory=dict)
    """JSON for auditors: raw usage, rates, selectors, parts, latency, stop reason, outcome."""


class Generation(Value, frozen=True, kw_only=True):
    """What the event says beyond the entry: whose, how fast, which transforms and error."""

    team_name: str
    is_streaming: bool
    base_url: str
    latency_s: float
    time_to_first_token_s: float | None = None
    effort: str | None = None
    error: str | None = None
    """Type of the failure: the provider's error type, a transport failure, or None."""
    save_mode: bool = False
    attribution: Attribution = Attribution()
    input_json: str | None = None
    """The prompt, and below the completion, as JSON; only where content capture is configured."""
    output_json: str | None = None


class Settlement(Value, frozen=True, kw_only=True):
    """The end of a request that held money: its entry, and what its event adds."""

    entry: Entry
    generation: Generation
