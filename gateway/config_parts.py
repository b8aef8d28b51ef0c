"""The parts of the configuration that the rooms take; every secret hides its value."""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that never prints itself."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenConfig:
    """Where clients connect, and with how many processes."""

    host: str
    port: int
    workers: int
    body_bytes_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminConfig:
    """The listener for metrics and health that is not for clients."""

    host: str
    port: int
    token: Secret | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """`url` is None where the embedded PostgreSQL serves."""

    url: Secret | None
    data_dir: Path
    pg_bin: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """What an operator says about one provider; None means the provider's own default."""

    base_url: str | None
    api_key: Secret | None
    admin_key: Secret | None = None
    """For the provider's cost report; never used on the road of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostHogConfig:
    """Where events go, and the key for local flag evaluation; all None: no events."""

    host: str | None
    project_key: Secret | None
    secret_key: Secret | None
    capture_content: bool

    @property
    def sends_events(self) -> bool:
        return self.host is not None and self.project_key is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """Products, Save Mode's gate, and what happens when the database or a price is missing."""

    products: frozenset[str]
    save_mode_products: frozenset[str]
    cost_controls: Literal["always", "flag", "off"]
    cost_controls_forced: bool
    budget_fail_mode: Literal["open", "closed"]
    budget_outage_allowance_usd: Decimal
    unpriced_models: Literal["ceiling", "reject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BedrockConfig:
    """Where Bedrock is; credentials come by the standard AWS chain."""

    base_url: str | None
    region: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamEntry:
    """One more upstream, from GATEWAY_PROVIDERS_FILE."""

    name: str
    base_url: str
    shape: Literal["openai", "anthropic"]
    api_key: Secret | None = None
    model_prefixes: tuple[str, ...] = ()
    is_free: bool = False
    """Self-hosted at an explicit zero."""
