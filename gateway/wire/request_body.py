"""A request body, parsed once and strictly, for the few fields that the road needs."""

from typing import Any

import msgspec
import orjson

from gateway.domain.errors import InvalidRequestError
from gateway.domain.request import Dialect, RequestFacts
from gateway.wire.cache_breakpoints import LARGE_BYTES, UNKNOWN_TTLS, cache_ttls, cache_ttls_of
from gateway.wire.output_limits import MAX_TOKENS_MAX
from gateway.wire.request_names import BODY_NAMES, BudgetNames, refuse_ambiguous_names
from gateway.wire.top_level import Members, NotAnObjectError, members_of, without_bulk

MODEL_LENGTH_MAX = 200
CHOICES_MAX = 128
ALSO_MODELS_MAX = 16
_ALTERNATIVES = ("models", "fallbacks")
_EFFORT_LENGTH_MAX = 64
_WITH_CHOICES = frozenset({Dialect.OPENAI_CHAT, Dialect.OPENAI_COMPLETIONS})
_NOT_AN_OBJECT = "The request body is not valid JSON: send one object, in UTF-8."
_TOO_DEEP = "The request body is nested too deeply."
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def read_request(dialect: Dialect, body: bytes) -> RequestFacts:
    """Read the facts of a request; fields that we do not know are the provider's business.

    Raises:
        InvalidRequestError: the body is not one JSON object, or a field that routing, holds and
            prices go by is missing, of the wrong type, or open to two readings.
    """
    members, document = split_body(body)
    is_chat = dialect in _WITH_CHOICES
    limit, limit_needs_host = _output_limit(document, dialect)
    if dialect is Dialect.OPENAI_RESPONSES and _boolean(document, "background"):
        # Its bill would come with another request, which nobody need ever send.
        raise InvalidRequestError(
            "Background responses are not served by this gateway: send it without `background`."
        )
    return RequestFacts(
        model=_model(document),
        is_streaming=_boolean(document, "stream"),
        body_bytes=len(body),
        max_output_tokens=limit,
        limit_needs_host=limit_needs_host,
        choice_count=_choice_count(members, document, dialect) if is_chat else 1,
        usage_was_requested=_include_usage(document) if is_chat else False,
        service_tier=_text(document, "service_tier"),
        speed=_text(document, "speed"),
        inference_geo=_text(document, "inference_geo"),
        effort=_effort(document, dialect),
        # OpenAI-compatible hosts of Anthropic's models take the same breakpoints.
        cache_ttls=breakpoints(members, body),
        also_models=_also_models(document),
    )


def split_body(body: bytes, names: BudgetNames = BODY_NAMES) -> tuple[Members, dict[str, Any]]:
    """All members as they stand there, and the values of these names and of what is small.

    Raises:
        InvalidRequestError: the body is not one JSON object, has too many members, or has one of
            these names twice, in escapes, in look-alike letters, or with a value far too large.
    """
    try:
        members = members_of(body)
        document = without_bulk(members, names.names)
    except NotAnObjectError as exc:
        if isinstance(exc.__cause__, RecursionError):
            raise InvalidRequestError(_TOO_DEEP) from None
        if len(body) > LARGE_BYTES:
            # To say what is wrong takes a parser that builds all of it.
            raise InvalidRequestError(_NOT_AN_OBJECT) from None
        # The slower parser says what is wrong, where it is not only less deep.
        document_of(body)
        raise InvalidRequestError(_TOO_DEEP) from None
    refuse_ambiguous_names(members, document, body, names)
    return members, document


def breakpoints(members: Members, body: bytes) -> tuple[str, ...]:
    """The TTL of each of Anthropic's cache breakpoints, as `cache_ttls`."""
    try:
        return cache_ttls_of(members, body)
    except (msgspec.ValidationError, RecursionError):
        if len(body) > LARGE_BYTES:
            return UNKNOWN_TTLS
        return cache_ttls(document_of(body), body)


def document_of(body: bytes) -> dict[str, Any]:
    """The body as one JSON object.

    Raises:
        InvalidRequestError: it is none; the message says what it is instead.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        # The message names a place; the body itself stays out of logs and answers.
        raise InvalidRequestError(_what_is_wrong(body, str(exc))) from None
    if type(document) is not dict:
        raise InvalidRequestError("The request body must be a JSON object: send {...}.")
    return document


def _what_is_wrong(body: bytes, parser_message: str) -> str:
    if not body.strip():
        return "The request body is empty: send a JSON object."
    if body.startswith(_UTF8_BOM):
        return "The request body begins with a byte order mark: send UTF-8 JSON without one."
    if body.startswith(_UTF16_BOMS) or b"\0" in body[:4]:
        return "The request body is not UTF-8: send UTF-8 JSON."
    if "depth limit" in parser_message:
        return _TOO_DEEP
    return f"The request body is not valid JSON: {parser_message}."


def _model(document: dict[str, Any]) -> str:
    model = document.get("model")
    if type(model) is not str or not model.strip():
        raise InvalidRequestError("`model` is missing: name a model, as a string.")
    if len(model) > MODEL_LENGTH_MAX:
        raise InvalidRequestError(f"`model` is longer than {MODEL_LENGTH_MAX} characters.")
    if not model.isprintable():
        raise InvalidRequestError("`model` must not contain control characters.")
    return model


def _also_models(document: dict[str, Any]) -> tuple[str, ...]:
    """What a provider may answer with instead: OpenRouter's `models`, others' `fallbacks`."""
    found: list[str] = []
    for name in _ALTERNATIVES:
        value = document.get(name)
        if value is None:
            continue
        if not isinstance(value, list) or len(value) > ALSO_MODELS_MAX:
            raise InvalidRequestError(
                f"`{name}` must be a list of at most {ALSO_MODELS_MAX} models."
            )
        for item in value:
            model = item if isinstance(item, str) else _of(item, "model")
            if not isinstance(model, str) or not 0 < len(model) <= MODEL_LENGTH_MAX:
                raise InvalidRequestError(f"`{name}` must name models, as strings.")
            found.append(model)
    return tuple(found)


def _boolean(holder: dict[str, Any], name: str) -> bool:
    value = holder.get(name)
    if value is None:
        return False
    if type(value) is not bool:
        raise InvalidRequestError(f"`{name}` must be true or false, without quotes.")
    return value


def _integer(document: dict[str, Any], name: str, minimum: int, maximum: int) -> int | None:
    value = document.get(name)
    if value is None:
        return None
    if type(value) is not int or not minimum <= value <= maximum:
        raise InvalidRequestError(
            f"`{name}` must be a whole number from {minimum} to {maximum}, "
            "without quotes, point or exponent."
        )
    return value


def _text(document: dict[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is not None and type(value) is not str:
        raise InvalidRequestError(f"`{name}` must be a string.")
    return value


def _choice_count(members: Members, document: dict[str, Any], dialect: Dialect) -> int:
    """How many answers are generated, and billed; completions may return fewer of them."""
    choices = _integer(document, "n", 1, CHOICES_MAX) or 1
    if dialect is not Dialect.OPENAI_COMPLETIONS:
        return choices
    choices = max(choices, _integer(document, "best_of", 1, CHOICES_MAX) or 1)
    prompt = members.get("prompt")
    return choices * (1 if prompt is None else _prompt_count(bytes(prompt)))


def _prompt_count(prompt: bytes) -> int:
    """Completions takes a list of prompts, and answers each; a list of numbers is one prompt.

    Of a large one at least as many as there are: texts by their quotes, lists by their brackets.
    """
    inner = prompt[1:].lstrip()
    if not prompt.startswith(b"[") or not inner.startswith((b'"', b"[")):
        return 1
    if len(prompt) <= LARGE_BYTES:
        return len(orjson.loads(prompt))
    return prompt.count(b'"') // 2 if inner.startswith(b'"') else prompt.count(b"[") - 1


def _output_limit(document: dict[str, Any], dialect: Dialect) -> tuple[int | None, bool]:
    """The client's own limit, and whether only some hosts heed it.

    0 fills Anthropic's prompt cache without an answer. Where a body names both limits its host
    picks one, so the larger bounds the cost.
    """
    if dialect is Dialect.OPENAI_EMBEDDINGS:
        return 0, False
    if dialect is Dialect.OPENAI_RESPONSES:
        return _integer(document, "max_output_tokens", 0, MAX_TOKENS_MAX), False
    limit = _integer(document, "max_tokens", 0, MAX_TOKENS_MAX)
    other = _integer(document, "max_completion_tokens", 0, MAX_TOKENS_MAX)
    if other is None:
        return limit, False
    if limit is not None:
        return max(limit, other), False
    return (other, True) if dialect is Dialect.OPENAI_CHAT else (None, False)


def _include_usage(document: dict[str, Any]) -> bool:
    options = document.get("stream_options")
    if options is None:
        return False
    if type(options) is not dict:
        raise InvalidRequestError("`stream_options` must be an object.")
    return _boolean(options, "include_usage")


def _effort(document: dict[str, Any], dialect: Dialect) -> str | None:
    """Reported, never decided on, so an odd one is left to the provider."""
    if dialect is Dialect.ANTHROPIC_MESSAGES:
        effort = _of(document.get("output_config"), "effort")
    else:
        effort = document.get("reasoning_effort") or _of(document.get("reasoning"), "effort")
    return effort[:_EFFORT_LENGTH_MAX] if isinstance(effort, str) else None


def _of(holder: object, name: str) -> object:
    return holder.get(name) if isinstance(holder, dict) else None
