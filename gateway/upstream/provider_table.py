"""What is true of each provider everywhere: dialects and their paths, base URL, model names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.domain.request import Dialect

CredentialStyle = Literal["x-api-key", "bearer", "x-goog-api-key", "api-key", "sigv4"]
_CHAT = {Dialect.OPENAI_CHAT: "/chat/completions"}
_COMPLETIONS = {Dialect.OPENAI_COMPLETIONS: "/completions"}
_EMBEDDINGS = {Dialect.OPENAI_EMBEDDINGS: "/embeddings"}
_RESPONSES = {Dialect.OPENAI_RESPONSES: "/responses"}
_TRANSCRIPTIONS = {Dialect.OPENAI_TRANSCRIPTIONS: "/audio/transcriptions"}
OPENAI_PATHS = _CHAT | _COMPLETIONS | _EMBEDDINGS | _RESPONSES | _TRANSCRIPTIONS
ANTHROPIC_PATHS = {Dialect.ANTHROPIC_MESSAGES: "/v1/messages"}
CLIENT_ROUTES = {
    Dialect.ANTHROPIC_MESSAGES: "POST /v1/messages",
    Dialect.OPENAI_CHAT: "POST /v1/chat/completions",
    Dialect.OPENAI_RESPONSES: "POST /v1/responses",
    Dialect.OPENAI_COMPLETIONS: "POST /v1/completions",
    Dialect.OPENAI_EMBEDDINGS: "POST /v1/embeddings",
    Dialect.OPENAI_TRANSCRIPTIONS: "POST /v1/audio/transcriptions",
    Dialect.GEMINI: "POST /v1beta/models/{model}:generateContent",
    Dialect.BEDROCK: "POST /model/{id}/converse",
}
"""Where a client calls each dialect, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """What is true of a provider everywhere. `paths` are appended to the base URL."""

    name: str
    base_url: str
    credential_style: CredentialStyle
    paths: Mapping[Dialect, str]
    model_prefixes: tuple[str, ...] = ()
    """Bare model names that start so go to this provider (the table of the contract)."""
    bearer_dialects: frozenset[Dialect] = frozenset()
    """Those that take the credential as a bearer token, whatever the others do."""
    translated: frozenset[Dialect] = frozenset()
    """Clients' dialects that are put into this provider's own words."""
    kept_models: frozenset[str] = frozenset()
    """The provider's own model ids that begin with its name and a slash."""
    heeds_max_completion_tokens: bool = False
    """Alone, where a chat names no `max_tokens`; unknown counts as no."""
    bills_after_abort: bool = True
    """Whether a generation runs on, and is billed, once nobody listens; unknown counts as yes."""


# `heeds_max_completion_tokens`: by their references of chat completions; DeepSeek ignores it in
# silence, Mistral refuses it.
# `bills_after_abort`: OpenRouter's list "Stream Cancellation", and the providers' forums; where it
# is False hanging up saves money, and what was heard until then is estimated.
SPECS = (
    ProviderSpec(
        name="anthropic",
        base_url="https://api.anthropic.com",
        credential_style="x-api-key",
        # The second as its "OpenAI SDK compatibility" has it: below the same base URL, same key.
        paths=ANTHROPIC_PATHS | {Dialect.OPENAI_CHAT: "/v1/chat/completions"},
        bearer_dialects=frozenset({Dialect.OPENAI_CHAT}),
        model_prefixes=("claude-",),
    ),
    ProviderSpec(
        name="openai",
        base_url="https://api.openai.com/v1",
        credential_style="bearer",
        paths=OPENAI_PATHS,
        model_prefixes=("gpt-", "chatgpt-", "o1", "o3", "o4", "ft:", "text-embedding-", "whisper-"),
        heeds_max_completion_tokens=True,
    ),
    ProviderSpec(
        name="gemini",
        base_url="https://generativelanguage.googleapis.com",
        credential_style="x-goog-api-key",
        paths={Dialect.GEMINI: "/{version}/models/{model}:{action}"},
        model_prefixes=("gemini-", "gemma-"),
    ),
    ProviderSpec(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        credential_style="bearer",
        paths=_CHAT | _COMPLETIONS | _EMBEDDINGS | _RESPONSES,
        kept_models=frozenset({"openrouter/auto", "openrouter/free"}),
        heeds_max_completion_tokens=True,
    ),
    ProviderSpec(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        credential_style="bearer",
        paths=_CHAT | _COMPLETIONS | _EMBEDDINGS | _RESPONSES,
        model_prefixes=("accounts/fireworks/",),
        bills_after_abort=False,
        heeds_max_completion_tokens=True,
    ),
    ProviderSpec(
        name="azure_openai",
        base_url="",
        credential_style="api-key",
        paths=OPENAI_PATHS,
        bills_after_abort=False,
        heeds_max_completion_tokens=True,
    ),
    ProviderSpec(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        credential_style="bearer",
        paths=_CHAT | _EMBEDDINGS | _TRANSCRIPTIONS,
        model_prefixes=(
            "mistral-",
            "ministral-",
            "codestral-",
            "magistral-",
            "pixtral-",
            "devstral-",
            "voxtral-",
        ),
    ),
    ProviderSpec(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        credential_style="bearer",
        paths=_CHAT,
        model_prefixes=("deepseek-",),
        bills_after_abort=False,
    ),
    ProviderSpec(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        credential_style="bearer",
        paths=_CHAT | _RESPONSES | _TRANSCRIPTIONS,
        kept_models=frozenset({"groq/compound", "groq/compound-mini"}),
        heeds_max_completion_tokens=True,
    ),
    ProviderSpec(
        name="xai",
        base_url="https://api.x.ai/v1",
        credential_style="bearer",
        paths=_CHAT | _COMPLETIONS | _EMBEDDINGS | _RESPONSES,
        model_prefixes=("grok-",),
        bills_after_abort=False,
        heeds_max_completion_tokens=True,
    ),
    ProviderSpec(
        name="bedrock",
        base_url="",
        credential_style="sigv4",
        paths={Dialect.BEDROCK: "/model/{model}/{action}"},
        translated=frozenset({Dialect.ANTHROPIC_MESSAGES}),
    ),
)
# A dialect's own provider: where a model that no prefix and no table knows goes.
HOME = {
    Dialect.ANTHROPIC_MESSAGES: "anthropic",
    Dialect.GEMINI: "gemini",
    Dialect.BEDROCK: "bedrock",
} | dict.fromkeys(OPENAI_PATHS, "openai")
