"""The only reader of the environment: every setting, its meaning, and one typed Config of parts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config_parts import (
    AdminConfig,
    BedrockConfig,
    DatabaseConfig,
    ListenConfig,
    PolicyConfig,
    PostHogConfig,
    ProviderConfig,
    Secret,
    UpstreamEntry,
)
from gateway.config_reader import Reader, is_database_url, is_loopback
from gateway.config_settings import ADMIN_PROVIDERS, PROVIDERS
from gateway.config_upstreams import upstreams_from_file

__all__ = [
    "AdminConfig",
    "BedrockConfig",
    "Config",
    "DatabaseConfig",
    "ListenConfig",
    "PolicyConfig",
    "PostHogConfig",
    "ProviderConfig",
    "Secret",
    "UpstreamEntry",
    "data_dir",
    "database_from_env",
    "database_url",
    "pg_bin",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that the environment decides, in the parts that the rooms take."""

    listen: ListenConfig
    admin: AdminConfig
    database: DatabaseConfig
    providers: Mapping[str, ProviderConfig]
    bedrock: BedrockConfig
    upstreams: tuple[UpstreamEntry, ...]
    """What GATEWAY_PROVIDERS_FILE adds to the table of providers."""
    posthog: PostHogConfig
    policy: PolicyConfig
    is_debug: bool
    log_level: str
    unused_names: tuple[str, ...]
    """Settings that are set and known, but that this release does not act on."""

    @property
    def free_upstreams(self) -> frozenset[str]:
        """Upstreams on hardware of one's own, at an explicit zero."""
        return frozenset(upstream.name for upstream in self.upstreams if upstream.is_free)

    @property
    def base_urls(self) -> dict[str, str]:
        """Of the providers that have one set: some hosts have a surcharge."""
        return {name: each.base_url for name, each in self.providers.items() if each.base_url}

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Config":
        """Read and check every setting.

        Raises:
            ConfigError: lists every problem at once.
        """
        reader = Reader(os.environ if environ is None else environ)
        config = cls(
            listen=ListenConfig(
                host=reader.text("GATEWAY_HOST"),
                port=reader.port("GATEWAY_PORT"),
                workers=reader.integer("GATEWAY_WORKERS", least=1, most=256),
                body_bytes_max=reader.integer("GATEWAY_BODY_MAX_BYTES", least=1024, most=1 << 30),
            ),
            admin=_admin(reader),
            database=_database(reader),
            providers={name: _provider(reader, name) for name in PROVIDERS},
            bedrock=BedrockConfig(
                base_url=reader.url("GATEWAY_BEDROCK_BASE_URL"),
                region=reader.region("GATEWAY_BEDROCK_REGION"),
            ),
            upstreams=_upstreams(reader),
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


def providers_from_env() -> tuple[frozenset[str], dict[str, str]]:
    """The upstreams that are free, and the providers' base URLs, for commands that price.

    Raises:
        ConfigError: lists every problem at once.
    """
    config = Config.from_env()
    return config.free_upstreams, config.base_urls


def upstreams_from_env() -> frozenset[str]:
    """Names of the upstreams in GATEWAY_PROVIDERS_FILE.

    Raises:
        ConfigError: lists every problem at once.
    """
    return frozenset(upstream.name for upstream in Config.from_env().upstreams)


def database_from_env(environ: Mapping[str, str] | None = None) -> DatabaseConfig:
    """The database's settings alone, for migrations and commands that need nothing else.

    Raises:
        ConfigError: lists every problem at once.
    """
    reader = Reader(os.environ if environ is None else environ)
    database = _database(reader)
    if reader.problems:
        # Whoever has to mend one wants to know of all.
        Config.from_env(reader.environ)
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


def _admin(reader: Reader) -> AdminConfig:
    admin = AdminConfig(
        host=reader.text("GATEWAY_ADMIN_HOST"),
        port=reader.port("GATEWAY_ADMIN_PORT"),
        token=reader.secret("GATEWAY_ADMIN_TOKEN"),
    )
    if admin.token is None and not is_loopback(admin.host):
        reader.problems.append(
            f"GATEWAY_ADMIN_TOKEN: set one, since GATEWAY_ADMIN_HOST {admin.host!r} is not loopback"
        )
    return admin


def _database(reader: Reader) -> DatabaseConfig:
    pg_bin_text = reader.optional("GATEWAY_PG_BIN")
    url = reader.secret("GATEWAY_DATABASE_URL")
    if url is not None and not url.value.startswith(("postgresql://", "postgres://")):
        reader.problems.append("GATEWAY_DATABASE_URL: must start with postgresql://")
    elif url is not None and not is_database_url(url.value):
        reader.problems.append(
            "GATEWAY_DATABASE_URL: not a URL; write / : @ ? # % in a password as %2F %3A %40 "
            "%3F %23 %25"
        )
    return DatabaseConfig(
        url=url,
        data_dir=Path(reader.text("GATEWAY_DATA_DIR")).absolute(),
        pg_bin=None if pg_bin_text is None else Path(pg_bin_text),
    )


def _provider(reader: Reader, name: str) -> ProviderConfig:
    prefix = f"GATEWAY_{name.upper()}"
    return ProviderConfig(
        base_url=reader.url(f"{prefix}_BASE_URL"),
        api_key=reader.secret(f"{prefix}_API_KEY"),
        admin_key=reader.secret(f"{prefix}_ADMIN_KEY") if name in ADMIN_PROVIDERS else None,
    )


def _upstreams(reader: Reader) -> tuple[UpstreamEntry, ...]:
    path = reader.optional("GATEWAY_PROVIDERS_FILE")
    if path is None:
        return ()
    entries, problems = upstreams_from_file(Path(path), reader.environ)
    reader.problems += [f"GATEWAY_PROVIDERS_FILE: {problem}" for problem in problems]
    return entries


def _policy(reader: Reader) -> PolicyConfig:
    return PolicyConfig(
        products=reader.names("GATEWAY_PRODUCTS"),
        save_mode_products=reader.names("GATEWAY_SAVE_MODE_PRODUCTS"),
        cost_controls=reader.choice("GATEWAY_COST_CONTROLS", ("always", "flag", "off")),
        cost_controls_forced=reader.boolean("COST_CONTROLS_ENABLED"),
        budget_fail_mode=reader.choice("GATEWAY_BUDGET_FAIL_MODE", ("open", "closed")),
        budget_outage_allowance_usd=reader.amount_usd("GATEWAY_BUDGET_OUTAGE_ALLOWANCE_USD"),
        unpriced_models=reader.choice("GATEWAY_UNPRICED_MODELS", ("ceiling", "reject")),
    )
