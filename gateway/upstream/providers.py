"""The table of providers: where each dialect of theirs lives and how they take a credential."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.config import ProviderConfig, Secret
from gateway.domain.request import Dialect

CredentialStyle = Literal["x-api-key", "bearer"]
_OPENAI_COMPATIBLE = {Dialect.OPENAI_CHAT: "/chat/completions"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """What is true of a provider everywhere. `paths` are appended to the base URL."""

    name: str
    base_url: str
    credential_style: CredentialStyle
    paths: Mapping[Dialect, str]
    model_prefixes: tuple[str, ...] = ()
    """Bare model names that start so go to this provider (the table of the contract)."""
    kept_models: frozenset[str] = frozenset()
    """The provider's own model ids that begin with its name and a slash."""


SPECS = (
    ProviderSpec(
        name="anthropic",
        base_url="https://api.anthropic.com",
        credential_style="x-api-key",
        paths={Dialect.ANTHROPIC_MESSAGES: "/v1/messages"},
        model_prefixes=("claude-",),
    ),
    ProviderSpec(
        name="openai",
        base_url="https://api.openai.com/v1",
        credential_style="bearer",
        paths=_OPENAI_COMPATIBLE,
        model_prefixes=("gpt-", "chatgpt-", "o1", "o3", "o4", "ft:"),
    ),
    ProviderSpec(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        credential_style="bearer",
        paths=_OPENAI_COMPATIBLE,
        kept_models=frozenset({"openrouter/auto", "openrouter/free"}),
    ),
    ProviderSpec(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        credential_style="bearer",
        paths=_OPENAI_COMPATIBLE,
        model_prefixes=("accounts/fireworks/",),
    ),
    ProviderSpec(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        credential_style="bearer",
        paths=_OPENAI_COMPATIBLE,
        model_prefixes=("mistral-", "ministral-", "codestral-", "magistral-", "pixtral-"),
    ),
    ProviderSpec(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        credential_style="bearer",
        paths=_OPENAI_COMPATIBLE,
        model_prefixes=("deepseek-",),
    ),
    ProviderSpec(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        credential_style="bearer",
        paths=_OPENAI_COMPATIBLE,
        kept_models=frozenset({"groq/compound", "groq/compound-mini"}),
    ),
    ProviderSpec(
        name="xai",
        base_url="https://api.x.ai/v1",
        credential_style="bearer",
        paths=_OPENAI_COMPATIBLE,
        model_prefixes=("grok-",),
    ),
)
# A dialect's own provider: where a model that no prefix and no table knows goes.
_HOME = {Dialect.ANTHROPIC_MESSAGES: "anthropic", Dialect.OPENAI_CHAT: "openai"}


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
        return self.credential is not None or not self.needs_credential

    def url(self, dialect: Dialect) -> str:
        """A constant of the route: nothing that a client sent is ever part of it."""
        return f"{self.base_url}{self.spec.paths[dialect]}"

    def credential_header(self) -> tuple[str, str] | None:
        if self.credential is None:
            return None
        if self.spec.credential_style == "x-api-key":
            return ("x-api-key", self.credential.value)
        return ("Authorization", f"Bearer {self.credential.value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
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

    def for_model(self, dialect: Dialect, model: str) -> Destination:
        """Explicit prefix, else the table, else the dialect's own provider.

        A provider that does not speak the dialect is passed over: on the Messages route only
        Anthropic answers.
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
        return Destination(provider=self._providers[_HOME[dialect]], model=model)


def configured(
    settings: Mapping[str, ProviderConfig], *, simulator_url: str | None, is_managed: bool
) -> Providers:
    """Join the table with the operator's settings.

    `simulator_url` is set where every provider is simulated. With `is_managed` (a database of the
    operator's own) a provider needs a credential; on the embedded one a base URL of the
    operator's own is enough, as for a local server without keys.
    """
    providers = {}
    for spec in SPECS:
        setting = settings[spec.name]
        if simulator_url is not None:
            base = f"{simulator_url}/{spec.name}"
            providers[spec.name] = Provider(
                spec=spec,
                base_url=base,
                credential=None,
                is_simulated=True,
                needs_credential=False,
            )
            continue
        providers[spec.name] = Provider(
            spec=spec,
            base_url=setting.base_url or spec.base_url,
            credential=setting.api_key,
            needs_credential=is_managed or setting.base_url is None,
        )
    return Providers(providers)
