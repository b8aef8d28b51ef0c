"""One model call as the rooms see it: dialect, facts of its body, attribution headers."""

from enum import StrEnum

from msgspec import field
from msgspec.structs import replace

from gateway.domain.value import Value


class Dialect(StrEnum):
    """The API shape of a route, as the ledger names it."""

    ANTHROPIC_MESSAGES = "anthropic.messages"
    OPENAI_CHAT = "openai.chat"
    OPENAI_COMPLETIONS = "openai.completions"
    OPENAI_EMBEDDINGS = "openai.embeddings"
    OPENAI_RESPONSES = "openai.responses"
    OPENAI_TRANSCRIPTIONS = "openai.transcriptions"
    GEMINI = "gemini"
    BEDROCK = "bedrock"


class RequestFacts(Value, frozen=True, kw_only=True):
    """The few fields of a request body that routing, holds and prices need.

    `max_output_tokens` is None where the client set no bound. `choice_count` is OpenAI's `n`.
    `input_tokens_max` is an upper bound from the body's size, without a tokenizer.
    """

    model: str
    is_streaming: bool
    body_bytes: int
    max_output_tokens: int | None = None
    limit_needs_host: bool = False
    """The limit is `max_completion_tokens` alone, which bounds where the host heeds it."""
    choice_count: int = 1
    usage_was_requested: bool = False
    """OpenAI Chat: the client itself set `stream_options.include_usage` to true."""
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    effort: str | None = None
    cache_ttls: tuple[str, ...] = ()
    """TTLs (`5m` or `1h`) of the cache breakpoints in the body that goes upstream, in order."""
    also_models: tuple[str, ...] = ()
    """Other models that the body lets the provider answer with, instead of `model`."""

    has_unseen_input: bool = False
    """Files, earlier answers or tools' findings are input, too; looked for where it matters."""
    tool_calls_max: int = 0
    """Of tools that run at the provider for a fee."""

    def for_model(self, model: str) -> "RequestFacts":
        """The same request of a model by the name that its provider knows."""
        return self if model == self.model else replace(self, model=model)


class Attribution(Value, frozen=True, kw_only=True):
    """What the client says about the call, for the event only; it never decides anything."""

    distinct_id: str | None = None
    trace_id: str | None = None
    session_id: str | None = None
    span_parent_id: str | None = None
    request_id: str | None = None
    properties: dict[str, str] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)


def may_stand_in_a_path(model: str) -> bool:
    """No piece of it is empty or of dots alone, which who normalises a path would step over."""
    return all(piece.strip(".") for piece in model.split("/"))
