"""The client's `x-posthog-*` and `traceparent` headers as an `Attribution`, bounded and clean."""

import re
from collections.abc import Iterable

from gateway.domain.request import Attribution

_PREFIX = "x-posthog-"
_PROPERTY = "x-posthog-property-"
_FLAG = "x-posthog-flag-"
_ITEMS_MAX = 64
_NAME_CHARS_MAX = 128
_VALUE_BYTES_MAX = 1024
# All of it together: an event stays small whatever a client sends.
_TOTAL_BYTES_MAX = 16 * 1024
# PostHog cuts distinct ids here as well.
_ID_CHARS_MAX = 200
# W3C Trace Context: version, trace id, parent span id, flags. Later versions may append fields.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})"
    r"-(?!0{16})(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?P<more>-.*)?"
)


class _Reader:
    """Collects one request's headers; what is over a bound or not printable is left out."""

    def __init__(self) -> None:
        self.single: dict[str, str] = {}
        self.properties: dict[str, str] = {}
        self.flags: dict[str, str] = {}
        self._left_bytes = _TOTAL_BYTES_MAX

    def read(self, name: str, value: str) -> None:
        if name.startswith(_PROPERTY):
            self._put(self.properties, name[len(_PROPERTY) :], value)
        elif name.startswith(_FLAG):
            self._put(self.flags, name[len(_FLAG) :], value)
        else:
            self._put(self.single, name, value)

    def _put(self, into: dict[str, str], name: str, value: str) -> None:
        # A control character, or half of a surrogate pair from bytes that are not UTF-8, would
        # poison a log line or an event: neither is printable.
        if not name or name in into or not value.isprintable() or len(into) >= _ITEMS_MAX:
            return
        if len(name) > _NAME_CHARS_MAX or not name.isprintable():
            return
        size = len(name) + len(value.encode())
        if size - len(name) > _VALUE_BYTES_MAX or size > self._left_bytes:
            return
        self._left_bytes -= size
        into[name] = value

    def id(self, name: str) -> str | None:
        return self.single.get(name, "").strip()[:_ID_CHARS_MAX] or None


def attribution_from_headers(headers: Iterable[tuple[str, str]]) -> Attribution:
    """What the client says about the call; never raises, whatever the headers hold.

    Property and flag names are lower-cased, as header names are case-blind, and otherwise kept as
    sent, `-` included. Of a header sent twice the first counts. Values that are not printable or
    longer than 1 KiB, names longer than 128 characters and anything after the 64th of a kind are
    left out. The parent span counts only where the trace is traceparent's own.
    """
    reader = None
    for name, value in headers:
        lowered = name.lower()
        if lowered.startswith(_PREFIX) or lowered in {"traceparent", "x-request-id"}:
            reader = reader or _Reader()
            reader.read(lowered, value)
    if reader is None:
        # As most calls: they say nothing.
        return Attribution()
    trace_id = reader.id("x-posthog-trace-id")
    parent_trace, span = _trace_parent(reader.single.get("traceparent", ""))
    return Attribution(
        distinct_id=reader.id("x-posthog-distinct-id"),
        trace_id=trace_id or parent_trace,
        session_id=reader.id("x-posthog-session-id"),
        span_parent_id=span if trace_id in {None, parent_trace} else None,
        request_id=reader.id("x-request-id"),
        properties=reader.properties,
        flags=reader.flags,
    )


def _trace_parent(header: str) -> tuple[str | None, str | None]:
    match = _TRACEPARENT.fullmatch(header.strip())
    if match is None or (match["version"] == "00" and match["more"]):
        return None, None
    return match["trace"], match["span"]
