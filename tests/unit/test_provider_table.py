import pytest

from gateway.config import BedrockConfig, ProviderConfig, Secret, UpstreamEntry
from gateway.config_settings import PROVIDERS
from gateway.domain.errors import InvalidRequestError
from gateway.domain.request import Dialect
from gateway.upstream.configured import configured
from gateway.upstream.provider_table import HOME, SPECS
from gateway.upstream.providers import Providers

KEY = Secret("key")


def providers(base_url: str | None = None, **changes: object) -> Providers:
    settings = {name: ProviderConfig(base_url=base_url, api_key=KEY) for name in PROVIDERS}
    options = {
        "bedrock": BedrockConfig(base_url=None, region="eu-west-1"),
        "simulator_url": None,
        "is_managed": True,
        **changes,
    }
    return configured(settings, **options)


def test_every_dialect_has_a_home_that_speaks_it() -> None:
    specs = {spec.name: spec for spec in SPECS}

    assert set(HOME) == set(Dialect)
    assert all(dialect in specs[name].paths for dialect, name in HOME.items())
    assert set(specs) == {*PROVIDERS, "bedrock"}


@pytest.mark.parametrize(
    ("dialect", "model", "name", "sent_as", "prefix_bytes"),
    [
        (Dialect.OPENAI_CHAT, "openrouter/a/b", "openrouter", "a/b", 11),
        (Dialect.OPENAI_CHAT, "openrouter/auto", "openrouter", "openrouter/auto", 0),
        (Dialect.OPENAI_CHAT, "openrouter/", "openai", "openrouter/", 0),
        (Dialect.OPENAI_CHAT, "OpenRouter/a", "openai", "OpenRouter/a", 0),
        (Dialect.OPENAI_CHAT, "anthropic/claude-x", "anthropic", "claude-x", 10),
        (Dialect.OPENAI_CHAT, "claude-x", "anthropic", "claude-x", 0),
        (Dialect.OPENAI_RESPONSES, "claude-x", "openai", "claude-x", 0),
        (Dialect.OPENAI_CHAT, "meta-llama/llama-4", "openai", "meta-llama/llama-4", 0),
        (Dialect.OPENAI_CHAT, "gemini-2.5-pro", "openai", "gemini-2.5-pro", 0),
        (Dialect.OPENAI_CHAT, "grok-4", "xai", "grok-4", 0),
        (Dialect.OPENAI_EMBEDDINGS, "mistral-embed", "mistral", "mistral-embed", 0),
        (Dialect.ANTHROPIC_MESSAGES, "gpt-4o", "anthropic", "gpt-4o", 0),
        (Dialect.ANTHROPIC_MESSAGES, "anthropic/claude-x", "anthropic", "claude-x", 10),
        (Dialect.GEMINI, "claude-x", "gemini", "claude-x", 0),
        (Dialect.BEDROCK, "bedrock/a.b", "bedrock", "a.b", 8),
    ],
)
def test_a_model_goes_by_prefix_then_table_then_dialect(
    dialect: Dialect, model: str, name: str, sent_as: str, prefix_bytes: int
) -> None:
    found = providers().for_model(dialect, model)

    assert (found.provider.name, found.model) == (name, sent_as)
    assert found.prefix_bytes == prefix_bytes


@pytest.mark.parametrize(
    ("name", "dialect", "url"),
    [
        ("anthropic", Dialect.ANTHROPIC_MESSAGES, "https://api.anthropic.com/v1/messages"),
        ("anthropic", Dialect.OPENAI_CHAT, "https://api.anthropic.com/v1/chat/completions"),
        ("openai", Dialect.OPENAI_CHAT, "https://api.openai.com/v1/chat/completions"),
        ("deepseek", Dialect.OPENAI_CHAT, "https://api.deepseek.com/v1/chat/completions"),
    ],
)
def test_urls_are_the_providers_own(name: str, dialect: Dialect, url: str) -> None:
    provider = providers().named(name)

    assert provider is not None
    assert provider.url(dialect) == url


def test_a_model_in_a_path_is_escaped() -> None:
    bedrock, gemini = providers().named("bedrock"), providers().named("gemini")

    assert bedrock is not None and gemini is not None  # noqa: PT018 - both are in the table.
    assert bedrock.url(Dialect.BEDROCK, model="a/b:c?d#e", action="invoke") == (
        "https://bedrock-runtime.eu-west-1.amazonaws.com/model/a%2Fb%3Ac%3Fd%23e/invoke"
    )
    assert gemini.url(Dialect.GEMINI, model="g", action="generateContent", version="v1").endswith(
        "/v1/models/g:generateContent"
    )


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://x.openai.azure.com", "https://x.openai.azure.com/openai/v1/responses"),
        ("https://x.openai.azure.com/openai/v1", "https://x.openai.azure.com/openai/v1/responses"),
    ],
)
def test_azure_takes_the_resource_as_azure_shows_it(base_url: str, url: str) -> None:
    azure = providers(base_url).named("azure_openai")

    assert azure is not None
    assert azure.url(Dialect.OPENAI_RESPONSES) == url
    assert azure.credential_header(Dialect.OPENAI_CHAT) == ("api-key", "key")


def test_credentials_stand_where_each_provider_looks() -> None:
    headers = {
        (provider.name, dialect): provider.credential_header(dialect)
        for provider in providers()
        for dialect in provider.spec.paths
    }

    assert headers["anthropic", Dialect.ANTHROPIC_MESSAGES] == ("x-api-key", "key")
    assert headers["anthropic", Dialect.OPENAI_CHAT] == ("Authorization", "Bearer key")
    assert headers["gemini", Dialect.GEMINI] == ("x-goog-api-key", "key")
    assert headers["groq", Dialect.OPENAI_CHAT] == ("Authorization", "Bearer key")
    assert headers["bedrock", Dialect.BEDROCK] is None


def test_an_upstream_of_the_file_takes_its_own_models_only() -> None:
    entry = UpstreamEntry(
        name="vllm", base_url="http://h/v1", shape="openai", model_prefixes=("qwen",)
    )
    found = providers(more=(entry,))

    assert found.for_model(Dialect.OPENAI_CHAT, "qwen3").provider.name == "vllm"
    assert found.for_model(Dialect.OPENAI_CHAT, "vllm/x").model == "x"
    assert found.for_model(Dialect.ANTHROPIC_MESSAGES, "qwen3").provider.name == "anthropic"
    vllm = found.named("vllm")
    assert vllm is not None
    assert vllm.is_configured
    assert vllm.credential_header(Dialect.OPENAI_CHAT) is None
    with pytest.raises(InvalidRequestError, match=r"Provider vllm .* POST /v1/chat/completions"):
        found.for_model(Dialect.ANTHROPIC_MESSAGES, "vllm/x")


@pytest.mark.parametrize(
    ("model", "name", "sent_as"),
    [
        ("anthropic/claude-x", "mine", "anthropic/claude-x"),
        ("claude-x", "mine", "claude-x"),
        ("openai/gpt-oss-20b", "mine", "openai/gpt-oss-20b"),
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("gpt-oss-20b", "openai", "gpt-oss-20b"),
    ],
)
def test_the_prefixes_of_the_file_go_before_the_tables(model: str, name: str, sent_as: str) -> None:
    entry = UpstreamEntry(
        name="mine",
        base_url="http://h/v1",
        shape="openai",
        model_prefixes=("anthropic/", "claude-", "openai/gpt-oss-"),
    )
    found = providers(more=(entry,)).for_model(Dialect.OPENAI_CHAT, model)

    assert (found.provider.name, found.model) == (name, sent_as)


def test_without_a_region_bedrock_is_not_configured() -> None:
    bedrock = providers(bedrock=BedrockConfig(base_url=None, region=None)).named("bedrock")

    assert bedrock is not None
    assert not bedrock.is_configured
    assert bedrock.missing_setting == "GATEWAY_BEDROCK_REGION"
