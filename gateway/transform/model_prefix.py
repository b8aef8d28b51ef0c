"""Takes the provider's name, which chose the destination, out of the model that goes upstream."""

import orjson

from gateway.wire.json_spans import JsonSpans, Span, SpanError

_BACKSLASH = b"\\"
_HEAD_BYTES = 4096


def strip_model_prefix(body: bytes, prefix_bytes: int) -> bytes:
    """Cut the first bytes of the top-level `model`; every other byte stays the client's.

    The body is one that has been read as a request: it is an object, and has one model. Where
    the prefix is written with escapes, the name is written anew.
    """
    if prefix_bytes == 0:
        return body
    # Nearly always among the first members; a text that is cut there is no JSON any more.
    value = _model_in(body[:_HEAD_BYTES]) or _model_in(body)
    assert value is not None, "a request that was read has a model"
    view = memoryview(body)
    start = value.start + 1
    end = start + prefix_bytes
    if _BACKSLASH not in body[start:end]:
        return b"".join((view[:start], view[end:]))
    model = str(orjson.loads(view[value.start : value.end])).encode()[prefix_bytes:]
    return b"".join((view[: value.start], orjson.dumps(model.decode()), view[value.end :]))


def _model_in(text: bytes) -> Span | None:
    spans = JsonSpans(text)
    try:
        for member in spans.top_members():
            if spans.name(member) == "model":
                return member.value
    except SpanError:
        pass
    return None
