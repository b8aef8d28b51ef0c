"""The table of providers: where each dialect of theirs lives and how they take a credential."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from gateway.config import Secret
from gateway.domain.errors import InvalidRequestError
from gateway.domain.request import Dialect
from gateway.domain.value import Value
from gateway.upstream.provider_table import CLIENT_ROUTES, HOME, ProviderSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider as this gateway is set up to call it; no credential means it answers 503."""

    spec: ProviderSpec
    base_url: str
    credential: Secret | None
    is_simulated: bool = False
    needs_credential: bool = True
    is_of_the_file: bool = False
    """The operator's own: its prefixes go before the table's."""

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

    def credential_header(self, dialect: Dialect) -> tuple[str, str] | None:
        """None for a provider without one, and for one whose requests are signed."""
        spec = self.spec
        if self.credential is None or spec.credential_style == "sigv4":
            return None
        if spec.credential_style == "bearer" or dialect in spec.bearer_dialects:
            return ("Authorization", f"Bearer {self.credential.value}")
        return (spec.credential_style, self.credential.value)


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
        # The sort is stable: within both kinds the order stays.
        ordered = sorted(self._providers.values(), key=lambda each: not each.is_of_the_file)
        self._by_prefix = [
            (prefix, provider) for provider in ordered for prefix in provider.spec.model_prefixes
        ]
        self._before_explicit = [
            (prefix, provider)
            for prefix, provider in self._by_prefix
            if provider.is_of_the_file and "/" in prefix
        ]

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._providers.values())

    def named(self, name: str) -> Provider | None:
        return self._providers.get(name)

    def for_model(self, dialect: Dialect, model: str) -> Destination:
        """Explicit prefix, else the table, else the dialect's own provider.

        Raises:
            InvalidRequestError: the provider that the prefix names does not speak the dialect.
        """
        found = self.find(dialect, model)
        if found is None:
            name = model.partition("/")[0]
            spec = self._providers[name].spec
            routes = ", ".join(CLIENT_ROUTES[each] for each in (*spec.paths, *spec.translated))
            raise InvalidRequestError(
                f"Provider {name} is not reached by this route: call {model!r} by {routes}."
            )
        return found

    def find(self, dialect: Dialect, model: str) -> Destination | None:
        """The same, and None where `for_model` raises."""
        name, slash, rest = model.partition("/")
        explicit = self._providers.get(name) if slash and rest else None
        if explicit is None:
            provider = _first(self._by_prefix, dialect, model) or self._providers[HOME[dialect]]
            return Destination(provider=provider, model=model)
        own = _first(self._before_explicit, dialect, model)
        if own is not None:
            return Destination(provider=own, model=model)
        if dialect not in explicit.spec.paths:
            return None
        if model in explicit.spec.kept_models:
            return Destination(provider=explicit, model=model)
        prefix_bytes = len(name.encode()) + len(slash)
        return Destination(provider=explicit, model=rest, prefix_bytes=prefix_bytes)


def _first(
    prefixes: Sequence[tuple[str, Provider]], dialect: Dialect, model: str
) -> Provider | None:
    for prefix, provider in prefixes:
        if model.startswith(prefix) and dialect in provider.spec.paths:
            return provider
    return None
