"""What the meter makes of an answer's documents, fed byte by byte."""

import json
from typing import Any

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement
from gateway.meter.meter import meter_for

STREAM, BODY = "text/event-stream", "application/json"


def measured(dialect: Dialect, *documents: dict[str, Any], kind: str) -> Measurement:
    """Of one document as a body, or of each as an event of a stream."""
    meter = meter_for(
        dialect=dialect,
        provider="any",
        facts=RequestFacts(model="m", is_streaming=kind == STREAM, body_bytes=4_000),
        content_type=kind,
        content_encoding=None,
    )
    texts = [json.dumps(each, separators=(",", ":")).encode() for each in documents]
    for byte in b"".join(texts if kind == BODY else [b"data: %b\n\n" % text for text in texts]):
        meter.feed(bytes([byte]))
    return meter.finish()
