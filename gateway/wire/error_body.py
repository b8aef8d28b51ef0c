"""The type of a provider's error, read from the body of its 4xx or 5xx answer."""

import orjson

ERROR_BYTES_MAX = 16 * 1024
_TYPE_LENGTH_MAX = 100


def error_type_from(body: bytes) -> str | None:
    """`error.type`, else `error.code`, as the dialects have it; None for anything else.

    Source: Anthropic and OpenAI error references: `{"error": {"type": ..., "code": ...}}`.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return None
    for name in ("type", "code"):
        if isinstance(value := error.get(name), str) and value:
            return value[:_TYPE_LENGTH_MAX]
    return None
