"""The only reader of the environment: every setting, its meaning, and one typed Config of parts."""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from gateway.config_settings import KNOWN_NAMES, PROVIDERS, SETTINGS
from gateway.domain.errors import ConfigError

# What container platforms inject for a service that happens to be called "gateway".
_INJECTED = re.compile(r"GATEWAY_SERVICE_.*|GATEWAY_PORT_\d+.*")
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off", ""}
_DEFAULTS = {setting.name: setting.default for setting in SETTINGS}
_SECRETS = {setting.name for setting in SETTINGS if setting.is_secret}
_PORT_MAX = 65535
_Chosen = TypeVar("_Chosen", bound=str)
_Value = TypeVar("_Value")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PostHogConfig:
    """Where events go, and the key for local flag evaluation; all None: no events."""

    host: str | None
    project_key: Secret | None
    secret_key: Secret | None
    capture_content: bool


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
class Config:
    """Everything that the environment decides, in the parts that the rooms take."""

    listen: ListenConfig
    admin: AdminConfig
    database: DatabaseConfig
    providers: Mapping[str, ProviderConfig]
    posthog: PostHogConfig
    policy: PolicyConfig
    is_debug: bool
    log_level: str
    unused_names: tuple[str, ...]
    """Settings that are set and known, but that this release does not act on."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Config":
        """Read and check every setting.

        Raises:
            ConfigError: lists every problem at once.
        """
        reader = _Reader(os.environ if environ is None else environ)
        config = cls(
            listen=ListenConfig(
                host=reader.text("GATEWAY_HOST"),
                port=reader.port("GATEWAY_PORT"),
                workers=reader.integer("GATEWAY_WORKERS", least=1, most=256),
                body_bytes_max=reader.integer("GATEWAY_BODY_MAX_BYTES", least=1024, most=1 << 30),
            ),
            admin=AdminConfig(
                host=reader.text("GATEWAY_ADMIN_HOST"),
                port=reader.port("GATEWAY_ADMIN_PORT"),
                token=reader.secret("GATEWAY_ADMIN_TOKEN"),
            ),
            database=_database(reader),
            providers={name: _provider(reader, name) for name in PROVIDERS},
            posthog=PostHogConfig(
                host=reader.url("GATEWAY_POSTHOG_HOST"),
                project_key=reader.secret("GATEWAY_POSTHOG_PROJECT_KEY"),
                secret_key=reader.secret("GATEWAY_POSTHOG_SECRET_KEY"),
                capture_content=reader.boolean("GATEWAY_POSTHOG_CAPTURE_CONTENT"),
            ),
            policy=_policy(reader),
            is_debug=reader.boolean("GATEWAY_DEBUG"),
            log_level=reader.choice(
                "GATEWAY_LOG_LEVEL", ("debug", "info", "warning", "error", "critical")
            ),
            unused_names=reader.unused(),
        )
        reader.finish()
        return config


def database_from_env(environ: Mapping[str, str] | None = None) -> DatabaseConfig:
    """The database's settings alone, for migrations and commands that need nothing else.

    Raises:
        ConfigError: lists every problem at once.
    """
    reader = _Reader(os.environ if environ is None else environ)
    database = _database(reader)
    reader.finish()
    return database


def database_url() -> str | None:
    """`GATEWAY_DATABASE_URL`, or None for the embedded database."""
    url = database_from_env().url
    return None if url is None else url.value


def data_dir() -> Path:
    """`GATEWAY_DATA_DIR`, absolute."""
    return database_from_env().data_dir


def pg_bin() -> Path | None:
    """`GATEWAY_PG_BIN`, or None where the binaries are to be found."""
    return database_from_env().pg_bin


def _database(reader: "_Reader") -> DatabaseConfig:
    pg_bin_text = reader.optional("GATEWAY_PG_BIN")
    url = reader.secret("GATEWAY_DATABASE_URL")
    if url is not None and urlsplit(url.value).scheme not in {"postgresql", "postgres"}:
        reader.problems.append("GATEWAY_DATABASE_URL: must start with postgresql://")
    return DatabaseConfig(
        url=url,
        data_dir=Path(reader.text("GATEWAY_DATA_DIR")).absolute(),
        pg_bin=None if pg_bin_text is None else Path(pg_bin_text),
    )


def _provider(reader: "_Reader", name: str) -> ProviderConfig:
    prefix = f"GATEWAY_{name.upper()}"
    return ProviderConfig(
        base_url=reader.url(f"{prefix}_BASE_URL"), api_key=reader.secret(f"{prefix}_API_KEY")
    )


def _policy(reader: "_Reader") -> PolicyConfig:
    return PolicyConfig(
        products=reader.names("GATEWAY_PRODUCTS"),
        save_mode_products=reader.names("GATEWAY_SAVE_MODE_PRODUCTS"),
        cost_controls=reader.choice("GATEWAY_COST_CONTROLS", ("always", "flag", "off")),
        cost_controls_forced=reader.boolean("COST_CONTROLS_ENABLED"),
        budget_fail_mode=reader.choice("GATEWAY_BUDGET_FAIL_MODE", ("open", "closed")),
        budget_outage_allowance_usd=reader.amount_usd("GATEWAY_BUDGET_OUTAGE_ALLOWANCE_USD"),
        unpriced_models=reader.choice("GATEWAY_UNPRICED_MODELS", ("ceiling", "reject")),
    )


class _Reader:
    """Reads settings one by one and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        self.problems: list[str] = []
        if self.environ.get("GATEWAY_PORT", "").startswith("tcp://"):
            del self.environ["GATEWAY_PORT"]
        for name in sorted(self.environ):
            if name.startswith("GATEWAY_") and not _INJECTED.fullmatch(name):
                self._check_name(name)

    def _check_name(self, name: str) -> None:
        known = KNOWN_NAMES | {f"{secret}_FILE" for secret in _SECRETS}
        if name in known:
            return
        nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
        self.problems.append(f"{name}: no such setting; did you mean {nearest[0]}?")

    def finish(self) -> None:
        if self.problems:
            raise ConfigError(self.problems)

    def unused(self) -> tuple[str, ...]:
        return tuple(
            setting.name
            for setting in SETTINGS
            if setting.is_unused and self.optional(setting.name)
        )

    def optional(self, name: str) -> str | None:
        """The setting's text, from NAME_FILE for a secret; None where unset or empty."""
        text = self.environ.get(name)
        file = self.environ.get(f"{name}_FILE") if name in _SECRETS else None
        if file:
            if text:
                self.problems.append(f"{name}: set it or {name}_FILE, not both")
            try:
                text = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as exc:
                self.problems.append(f"{name}_FILE: cannot read {file!r}: {type(exc).__name__}")
        return text or None

    def text(self, name: str) -> str:
        return self.optional(name) or _DEFAULTS[name] or ""

    def secret(self, name: str) -> Secret | None:
        text = self.optional(name)
        return None if text is None else Secret(text)

    def _parsed(self, name: str, parse: Callable[[str], _Value], expected: str) -> _Value:
        text = self.text(name)
        try:
            return parse(text)
        except (ValueError, InvalidOperation):
            shown = "its value" if name in _SECRETS else repr(text)
            self.problems.append(f"{name}: {shown} is not {expected}")
            return parse(_DEFAULTS[name] or "")

    def integer(self, name: str, *, least: int, most: int) -> int:
        def parse(text: str) -> int:
            number = int(text)
            if not least <= number <= most:
                raise ValueError
            return number

        return self._parsed(name, parse, f"a whole number from {least} to {most}")

    def port(self, name: str) -> int:
        return self.integer(name, least=0, most=_PORT_MAX)

    def amount_usd(self, name: str) -> Decimal:
        def parse(text: str) -> Decimal:
            amount = Decimal(text)
            if not amount.is_finite() or amount < 0:
                raise ValueError
            return amount

        return self._parsed(name, parse, "an amount of dollars, zero or more")

    def boolean(self, name: str) -> bool:
        def parse(text: str) -> bool:
            if text.lower() not in _TRUE | _FALSE:
                raise ValueError
            return text.lower() in _TRUE

        return self._parsed(name, parse, "true or false")

    def choice(self, name: str, choices: tuple[_Chosen, ...]) -> _Chosen:
        def parse(text: str) -> _Chosen:
            for choice in choices:
                if choice == text.lower():
                    return choice
            raise ValueError

        return self._parsed(name, parse, f"one of {', '.join(choices)}")

    def names(self, name: str) -> frozenset[str]:
        def parse(text: str) -> frozenset[str]:
            parts = frozenset(part.strip() for part in text.split(",") if part.strip())
            if not all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", part) for part in parts):
                raise ValueError
            return parts

        return self._parsed(name, parse, "a list of names (letters, digits, _ and -)")

    def url(self, name: str) -> str | None:
        text = self.optional(name)
        if text is None:
            return None
        try:
            parts = urlsplit(text)
            is_url = parts.scheme in {"http", "https"} and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            is_url = False
        if not is_url:
            self.problems.append(f"{name}: must be an http:// or https:// URL")
            return None
        return text.rstrip("/")
