"""Logging of a process that serves: every credential it knows of is taken out of every line."""

from collections.abc import Iterator

from gateway.config import Config, Secret
from gateway.telemetry.logs import configure_logging


def configure(config: Config) -> None:
    """Send logs to standard error; secrets of this configuration never appear in them."""
    configure_logging(config.log_level, secrets=[secret.value for secret in _secrets(config)])


def _secrets(config: Config) -> Iterator[Secret]:
    found = [
        config.admin.token,
        config.database.url,
        config.posthog.project_key,
        config.posthog.secret_key,
        *(provider.api_key for provider in config.providers.values()),
        *(provider.admin_key for provider in config.providers.values()),
        *(upstream.api_key for upstream in config.upstreams),
    ]
    yield from (secret for secret in found if secret is not None)
