"""Anthropic Messages as Bedrock takes and answers them: body, model id, stream, errors.

Source: Anthropic's documentation of Claude on Amazon Bedrock, read in November 2026: the model
moves into the path, `stream` into the action, and two fields name the API's version and its betas.
"""

import base64
import binascii
import re

import orjson

from gateway.domain.request import RequestFacts
from gateway.wire.error_body import ERROR_BYTES_MAX
from gateway.wire.eventstream import EventStreamFramer, Frame
from gateway.wire.json_spans import JsonSpans

INVOKE = "invoke"
INVOKE_STREAM = "invoke-with-response-stream"
SSE_TYPE = "text/event-stream"
_VERSION = "bedrock-2023-05-31"
_MOVED_NAMES = frozenset({"model", "stream"})
_OWN_NAMES = frozenset({"anthropic_version", "anthropic_beta"})
# Ids that are not the name behind `anthropic.`; newer models are called as Anthropic calls them.
_DATED = {
    "claude-3-haiku": "claude-3-haiku-20240307-v1:0",
    "claude-3-5-haiku": "claude-3-5-haiku-20241022-v1:0",
    "claude-3-5-sonnet": "claude-3-5-sonnet-20241022-v2:0",
    "claude-3-7-sonnet": "claude-3-7-sonnet-20250219-v1:0",
    "claude-sonnet-4": "claude-sonnet-4-20250514-v1:0",
    "claude-sonnet-4-0": "claude-sonnet-4-20250514-v1:0",
    "claude-opus-4": "claude-opus-4-20250514-v1:0",
    "claude-opus-4-0": "claude-opus-4-20250514-v1:0",
    "claude-opus-4-1": "claude-opus-4-1-20250805-v1:0",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929-v1:0",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001-v1:0",
    "claude-opus-4-5": "claude-opus-4-5-20251101-v1:0",
    "claude-opus-4-6": "claude-opus-4-6-v1",
}
_WITHOUT_GLOBAL_PROFILE = ("claude-3-", "claude-opus-4-2025", "claude-opus-4-1-")
_GEOGRAPHIES = {"us": "us.", "eu": "eu.", "ap": "apac.", "ca": "us.", "sa": "us."}
_DATE_DIGITS = 8
_PREFIX = "bedrock/"
_bedrocks_name = re.compile(r"(?:[a-z-]{2,10}\.)?anthropic\.|arn:aws[a-z-]*:bedrock:").match
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
_EXCEPTION_TYPES = {
    "throttlingException": "rate_limit_error",
    "validationException": "invalid_request_error",
    "serviceUnavailableException": "overloaded_error",
    "modelTimeoutException": "timeout_error",
}


def names_bedrock(model: str) -> bool:
    """Whether this is Bedrock's name of a model: of the model, of a profile, or by our prefix."""
    return model.startswith(_PREFIX) or _bedrocks_name(model) is not None


def bedrock_model(model: str, region: str | None) -> str:
    """The id of an inference profile for a model that is called by Anthropic's name.

    The global profile where there is one, which costs what Anthropic asks; else the region's.
    An id of Bedrock's own, or an ARN, stays as it is.
    """
    model = model.removeprefix(_PREFIX)
    if not model.startswith("claude-"):
        return model
    name = _DATED.get(model.removesuffix("-latest"), model)
    if name == model and _is_dated(model):
        name = f"{model}-v1:0"
    if name.startswith(_WITHOUT_GLOBAL_PROFILE):
        return f"{_GEOGRAPHIES.get((region or 'us')[:2], 'us.')}anthropic.{name}"
    return f"global.anthropic.{name}"


def _is_dated(model: str) -> bool:
    last = model.rpartition("-")[2]
    return len(last) == _DATE_DIGITS and last.isdigit()


def to_bedrock(body: bytes, beta_header: str) -> bytes:
    """The body of the same call for Bedrock; every member that stays keeps its bytes.

    Raises:
        SpanError: the body is not a JSON object.
    """
    spans = JsonSpans(body)
    members = []
    names = set()
    for member in spans.top_members():
        name = spans.name(member)
        if name in _MOVED_NAMES:
            continue
        names.add(name)
        members.append(b"%b:%b" % (spans.raw(member.name), spans.raw(member.value)))
    betas = [beta.strip() for beta in beta_header.split(",") if beta.strip()]
    own: dict[str, object] = {"anthropic_version": _VERSION}
    if betas:
        own["anthropic_beta"] = betas
    members += [
        b"%b:%b" % (orjson.dumps(name), orjson.dumps(value))
        for name, value in own.items()
        if name not in names
    ]
    return b"{%b}" % b",".join(members)


def invoke_action(facts: RequestFacts) -> str:
    return INVOKE_STREAM if facts.is_streaming else INVOKE


class BedrockToSse:
    """Turns Bedrock's binary frames into the server-sent events that Anthropic itself sends."""

    def __init__(self) -> None:
        self._framer = EventStreamFramer()

    def feed(self, piece: bytes) -> bytes:
        """The events that this piece completes. Never raises."""
        return b"".join(_event(frame) for frame in self._framer.feed(piece))

    def finish(self) -> bytes:
        """A stream that broke off between frames is told by its missing `message_stop`."""
        return b""


def _event(frame: Frame) -> bytes:
    if frame.headers.get(":message-type") in {"exception", "error"}:
        return _exception_event(frame)
    try:
        payload = orjson.loads(frame.payload)
        document = base64.b64decode(payload["bytes"], validate=True)
        kind = orjson.loads(document)["type"]
    except (orjson.JSONDecodeError, KeyError, TypeError, binascii.Error):
        return b""
    if not isinstance(kind, str) or not kind.isidentifier():
        return b""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), document)


def _exception_event(frame: Frame) -> bytes:
    kind = frame.headers.get(":exception-type", "")
    error = {
        "type": _EXCEPTION_TYPES.get(kind, "api_error"),
        "message": _message(frame.payload) or "Bedrock ended the stream with an error.",
    }
    return b"event: error\ndata: %b\n\n" % orjson.dumps({"type": "error", "error": error})


class BedrockErrorToAnthropic:
    """Collects Bedrock's error answer, which is small, and gives it in Anthropic's shape."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._body = b""

    def feed(self, piece: bytes) -> bytes:
        if len(self._body) < ERROR_BYTES_MAX:
            self._body += piece
        return b""

    def finish(self) -> bytes:
        """Its own message is kept."""
        error = {
            "type": _ERROR_TYPES.get(self._status, "api_error"),
            "message": _message(self._body) or f"Bedrock answered {self._status}.",
        }
        return orjson.dumps({"type": "error", "error": error})


def _message(body: bytes) -> str | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    message = document.get("message", document.get("Message"))
    return message if isinstance(message, str) else None
