"""The table of providers: where each dialect of theirs lives and how they take a credential."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from gateway.config import Secret
from gateway.domain.request import Dialect
from gateway.domain.value import Value
from gateway.upstream.provider_table import HOME, ProviderSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider as this gateway is set up to call it; no credential means it answers 503."""

    spec: ProviderSpec
    base_url: str
    credential: Secret | None
    is_simulated: bool = False
    needs_credential: bool = True

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def is_configured(self) -> bool:
        return bool(self.base_url) and (self.credential is not None or not self.needs_credential)

    @property
    def missing_setting(self) -> str:
        """What an operator sets to have it answer."""
        if self.spec.credential_style == "sigv4":
            setting = "REGION"
        else:
            setting = "API_KEY" if self.base_url else "BASE_URL"
        return f"GATEWAY_{self.name.upper()}_{setting}"

    def url(
        self,
        dialect: Dialect,
        *,
        model: str = "",
        action: str | None = None,
        version: str | None = None,
    ) -> str:
        """A constant of the route; of what a client sent only a checked model is in it, escaped."""
        path = self.spec.paths[dialect]
        if "{" in path:
            path = path.format(model=quote(model, safe="-._~"), action=action, version=version)
        return f"{self.base_url}{path}"

    def credential_header(self) -> tuple[str, str] | None:
        """None for a provider without one, and for one whose requests are signed."""
        if self.credential is None or self.spec.credential_style == "sigv4":
            return None
        if self.spec.credential_style == "bearer":
            return ("Authorization", f"Bearer {self.credential.value}")
        return (self.spec.credential_style, self.credential.value)


class Destination(Value, frozen=True, kw_only=True):
    """Where a call goes. `model` is the provider's name for it, an explicit prefix taken off."""

    provider: Provider
    model: str
    prefix_bytes: int = 0
    """Length of the prefix that the client put before the provider's own model id."""


class Providers:
    """All providers of this gateway, and the choice among them."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = dict(providers)
        self._by_prefix = [
            (prefix, provider)
            for provider in self._providers.values()
            for prefix in provider.spec.model_prefixes
        ]

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._providers.values())

    def named(self, name: str) -> Provider | None:
        return self._providers.get(name)

    def for_model(self, dialect: Dialect, model: str) -> Destination:
        """Explicit prefix, else the table, else the dialect's own provider.

        A provider that does not speak the dialect is passed over: on the Messages route only
        those that take Anthropic's shape answer.
        """
        name, slash, rest = model.partition("/")
        explicit = self._providers.get(name) if slash and rest else None
        if explicit is not None and dialect in explicit.spec.paths:
            if model in explicit.spec.kept_models:
                return Destination(provider=explicit, model=model)
            return Destination(
                provider=explicit, model=rest, prefix_bytes=len(name.encode()) + len(slash)
            )
        for prefix, provider in self._by_prefix:
            if model.startswith(prefix) and dialect in provider.spec.paths:
                return Destination(provider=provider, model=model)
        return Destination(provider=self._providers[HOME[dialect]], model=model)
