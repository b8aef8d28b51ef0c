"""A multipart form, read for its short fields; files are stepped over.

Strict where parsers differ: what one of them might read as another model is refused.
"""

import re
from dataclasses import dataclass

from gateway.domain.errors import InvalidRequestError

_PARTS_MAX = 64
_HEAD_BYTES_MAX = 4096
_FIELD_BYTES_MAX = 4096
# What routing and prices go by; everything else may come as often as the provider takes it.
_ONCE = frozenset({"model", "stream"})
_boundary = re.compile(
    r'multipart/form-data\s*;\s*boundary=(?:"([^"\\]{1,70})"|([^\s;"\\]{1,70}))\s*', re.IGNORECASE
).fullmatch
_disposition = re.compile(
    rb'content-disposition:[ ]?form-data; ?name="([^"\\\r\n]{1,100})"'
    rb'(; ?filename="[^"\r\n]*")?(; ?filename\*=[^;"\r\n]+)?',
    re.IGNORECASE,
).fullmatch
# A field in another encoding says something else than what its bytes look like.
_other_head = re.compile(rb"(content-type|content-length):[^\r\n]*", re.IGNORECASE).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """A field that is no file: its text, and where in the body it stands."""

    text: str
    start: int


def form_fields(body: bytes, content_type: str) -> dict[str, FormField]:
    """The fields of a form by name.

    Raises:
        InvalidRequestError: the body is not such a form, or one that two parsers may read as two
            requests: a field of ours that comes twice or as a file, or a head of unusual form.
    """
    found = _boundary(content_type)
    if found is None:
        raise InvalidRequestError("The form has no boundary in its Content-Type.")
    delimiter = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    if not body.startswith(delimiter):
        raise InvalidRequestError("The form does not begin with its boundary.")
    fields: dict[str, FormField] = {}
    seen: set[str] = set()
    position = len(delimiter)
    for _ in range(_PARTS_MAX):
        if body.startswith(b"--", position):
            return fields
        end = body.find(b"\r\n" + delimiter, position)
        if end < 0 or not body.startswith(b"\r\n", position):
            raise InvalidRequestError("The form is cut or not framed as its boundary says.")
        _read_part(body, position, end, fields, seen)
        position = end + 2 + len(delimiter)
    raise InvalidRequestError(f"The form has more than {_PARTS_MAX} parts.")


def without_model_prefix(body: bytes, content_type: str, prefix_bytes: int) -> bytes:
    """The form with the first bytes of its `model` taken off; every other byte stays."""
    if not prefix_bytes:
        return body
    start = form_fields(body, content_type)["model"].start
    return body[:start] + body[start + prefix_bytes :]


def _read_part(
    body: bytes, start: int, end: int, fields: dict[str, FormField], seen: set[str]
) -> None:
    """From the line break behind a boundary to the one before the next."""
    head_end = body.find(b"\r\n\r\n", start, min(end, start + _HEAD_BYTES_MAX))
    if head_end < 0:
        raise InvalidRequestError("A part of the form has no head.")
    name, is_file = _named(body[start + 2 : head_end].split(b"\r\n"))
    _refuse_ambiguous(name, seen, is_file=is_file)
    value_start = head_end + 4
    if is_file or end - value_start > _FIELD_BYTES_MAX:
        return
    text = body[value_start:end].decode("utf-8", "replace")
    fields[name] = FormField(text=text, start=value_start)


def _named(head: list[bytes]) -> tuple[str, bool]:
    """The name of a part, and whether it is a file."""
    found = [match for line in head if (match := _disposition(line)) is not None]
    others = sum(1 for line in head if _other_head(line) is not None)
    if len(found) != 1 or others + 1 != len(head):
        raise InvalidRequestError(
            "A part of the form has no plain head: send Content-Disposition with a quoted name, "
            "and no encoding."
        )
    match = found[0]
    return match[1].decode("utf-8", "replace"), match[2] is not None or match[3] is not None


def _refuse_ambiguous(name: str, seen: set[str], *, is_file: bool) -> None:
    folded = name.strip().lower()
    if folded not in _ONCE:
        return
    if name != folded:
        raise InvalidRequestError(f"The form has a field {name!r}: write it {folded!r}, once.")
    if name in seen or is_file:
        raise InvalidRequestError(f"The form has the field {name!r} twice, or as a file.")
    seen.add(name)
