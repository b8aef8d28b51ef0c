"""A multipart form, read for its short fields; files are stepped over."""

import re
from dataclasses import dataclass

from gateway.domain.errors import InvalidRequestError

_PARTS_MAX = 64
_HEAD_BYTES_MAX = 4096
_FIELD_BYTES_MAX = 4096
_boundary = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE).search
_name = re.compile(rb'[;\s]name="([^"]{1,100})"', re.IGNORECASE).search
_file_name = re.compile(rb"[;\s]filename\*?=", re.IGNORECASE).search


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """A field that is no file: its text, and where in the body it stands."""

    text: str
    start: int


def form_fields(body: bytes, content_type: str) -> dict[str, FormField]:
    """The fields of a form by name.

    Raises:
        InvalidRequestError: the body is not such a form, or has a field twice: two parsers may
            then read two requests.
    """
    found = _boundary(content_type)
    if found is None:
        raise InvalidRequestError("The form has no boundary in its Content-Type.")
    delimiter = b"--" + (found[1] or found[2]).encode()
    if not body.startswith(delimiter):
        raise InvalidRequestError("The form does not begin with its boundary.")
    fields: dict[str, FormField] = {}
    position = len(delimiter)
    for _ in range(_PARTS_MAX):
        if body.startswith(b"--", position):
            return fields
        end = body.find(b"\r\n" + delimiter, position)
        if end < 0 or not body.startswith(b"\r\n", position):
            raise InvalidRequestError("The form is cut or not framed as its boundary says.")
        _read_part(body, position, end, fields)
        position = end + 2 + len(delimiter)
    raise InvalidRequestError(f"The form has more than {_PARTS_MAX} parts.")


def without_model_prefix(body: bytes, content_type: str, prefix_bytes: int) -> bytes:
    """The form with the first bytes of its `model` taken off; every other byte stays."""
    if not prefix_bytes:
        return body
    start = form_fields(body, content_type)["model"].start
    return body[:start] + body[start + prefix_bytes :]


def _read_part(body: bytes, start: int, end: int, fields: dict[str, FormField]) -> None:
    """From the line break behind a boundary to the one before the next."""
    head_end = body.find(b"\r\n\r\n", start, min(end, start + _HEAD_BYTES_MAX))
    if head_end < 0:
        raise InvalidRequestError("A part of the form has no head.")
    head = body[start:head_end]
    named = _name(head)
    if named is None:
        raise InvalidRequestError("A part of the form has no name.")
    if _file_name(head) is not None:
        return
    name = named[1].decode("utf-8", "replace")
    if name in fields and not name.endswith("[]"):
        raise InvalidRequestError(f"The form has the field {name!r} twice: send it once.")
    value_start = head_end + 4
    if end - value_start > _FIELD_BYTES_MAX:
        return
    text = body[value_start:end].decode("utf-8", "replace")
    fields[name] = FormField(text=text, start=value_start)
