"""Joins the table of providers with the operator's settings and file."""

from collections.abc import Mapping, Sequence

from gateway.config import BedrockConfig, ProviderConfig, UpstreamEntry
from gateway.upstream.provider_table import ANTHROPIC_PATHS, OPENAI_PATHS, SPECS, ProviderSpec
from gateway.upstream.providers import Provider, Providers


def configured(
    settings: Mapping[str, ProviderConfig],
    *,
    bedrock: BedrockConfig,
    more: Sequence[UpstreamEntry] = (),
    simulator_url: str | None,
    is_managed: bool,
) -> Providers:
    """Every provider of this gateway.

    `simulator_url` is set where every provider is simulated. With `is_managed` (a database of the
    operator's own) a provider needs a credential; on the embedded one a base URL of the
    operator's own is enough, as for a local server without keys.
    """
    providers = {}
    for spec in SPECS:
        if simulator_url is not None:
            providers[spec.name] = _simulated(spec, simulator_url)
        elif spec.name == "bedrock":
            providers[spec.name] = _bedrock(spec, bedrock)
        else:
            providers[spec.name] = _provider(spec, settings[spec.name], is_managed=is_managed)
    for entry in more:
        providers[entry.name] = _from_file(entry)
    return Providers(providers)


def _simulated(spec: ProviderSpec, simulator_url: str) -> Provider:
    return Provider(
        spec=spec,
        base_url=f"{simulator_url}/{spec.name}",
        credential=None,
        is_simulated=True,
        needs_credential=False,
    )


def _provider(spec: ProviderSpec, setting: ProviderConfig, *, is_managed: bool) -> Provider:
    base_url = setting.base_url or spec.base_url
    if spec.name == "azure_openai" and base_url and "/openai" not in base_url:
        # A resource's endpoint, as Azure shows it: the API that takes models by name lives below.
        base_url = f"{base_url}/openai/v1"
    return Provider(
        spec=spec,
        base_url=base_url,
        credential=setting.api_key,
        needs_credential=is_managed or setting.base_url is None,
    )


def _bedrock(spec: ProviderSpec, setting: BedrockConfig) -> Provider:
    """Its credentials come by AWS's own chain, and are looked for at the first request."""
    base_url = setting.base_url or ""
    if not base_url and setting.region is not None:
        base_url = f"https://bedrock-runtime.{setting.region}.amazonaws.com"
    return Provider(spec=spec, base_url=base_url, credential=None, needs_credential=False)


def _from_file(entry: UpstreamEntry) -> Provider:
    is_anthropic = entry.shape == "anthropic"
    spec = ProviderSpec(
        name=entry.name,
        base_url=entry.base_url,
        credential_style="x-api-key" if is_anthropic else "bearer",
        paths=ANTHROPIC_PATHS if is_anthropic else OPENAI_PATHS,
        model_prefixes=entry.model_prefixes,
        bills_after_abort=False,
    )
    return Provider(
        spec=spec,
        base_url=entry.base_url,
        credential=entry.api_key,
        needs_credential=False,
        is_of_the_file=True,
    )
