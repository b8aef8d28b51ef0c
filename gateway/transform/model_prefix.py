"""Takes the provider's name, which chose the destination, out of the model that goes upstream."""

import orjson

from gateway.wire.json_spans import JsonSpans

_BACKSLASH = b"\\"


def strip_model_prefix(body: bytes, prefix_bytes: int) -> bytes:
    """Cut the first bytes of the top-level `model`; every other byte stays the client's.

    The body is one that has been read as a request: it is an object, and has one model. Where
    the prefix is written with escapes, the name is written anew.
    """
    if prefix_bytes == 0:
        return body
    spans = JsonSpans(body)
    for member in spans.top_members():
        if spans.name(member) == "model":
            value = member.value
            start = value.start + 1
            end = start + prefix_bytes
            if _BACKSLASH not in body[start:end]:
                return body[:start] + body[end:]
            model = str(orjson.loads(spans.raw(value))).encode()[prefix_bytes:]
            return body[: value.start] + orjson.dumps(model.decode()) + body[value.end :]
    raise AssertionError("a request that was read has a model")
