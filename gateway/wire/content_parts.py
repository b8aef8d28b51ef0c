"""A completion as it grows: its choices and their parts, within a bound that shows."""

from typing import Literal, NamedTuple

import orjson

PartKind = Literal["text", "thinking", "function"]


class Delta(NamedTuple):
    """A piece of one part. Those of the same choice and slot belong together.

    Without a slot it is a part of its own. `text` of a function is JSON, as the model wrote it; its
    name and id come once, with or before the first piece.
    """

    kind: PartKind
    text: str
    slot: object = 0
    choice: int = 0
    name: str | None = None
    call_id: str | None = None


class _Part:
    """One part: text, thinking, or a call of a function."""

    __slots__ = ("call_id", "kind", "name", "pieces")

    def __init__(self, kind: PartKind) -> None:
        self.kind = kind
        self.pieces: list[str] = []
        self.name: str | None = None
        self.call_id: str | None = None

    def document(self) -> dict[str, object]:
        text = "".join(self.pieces)
        if self.kind != "function":
            return {"type": self.kind, self.kind: text}
        function = {"name": self.name, "arguments": text}
        return {"type": self.kind, "id": self.call_id, "function": function}


class ContentParts:
    """Keeps deltas until their JSON would be longer than `bytes_max`, and says what it left out."""

    # A part costs no more than this beside its texts, a choice of its own included.
    _PART_BYTES = 140

    def __init__(self, bytes_max: int) -> None:
        self._bytes_left = bytes_max
        self._choices: dict[int, dict[object, _Part]] = {}
        self._bytes_left_out = 0

    def leave_out(self, byte_count: int) -> None:
        """Something came that is not kept."""
        self._bytes_left_out += byte_count

    def add(self, delta: Delta) -> None:
        """Once something is missing nothing is put behind the gap."""
        if self._bytes_left_out:
            self._bytes_left_out += len(delta.text.encode())
            return
        key = (delta.kind, object() if delta.slot is None else delta.slot)
        part = self._choices.get(delta.choice, {}).get(key)
        names = (name for name in (delta.name, delta.call_id) if name)
        cost = sum(map(_json_bytes, names)) + (self._PART_BYTES if part is None else 0)
        text = _beginning(delta.text, self._bytes_left - cost)
        self._bytes_left_out = len(delta.text.encode()) - len(text.encode())
        if self._bytes_left < cost:
            return
        self._bytes_left -= cost + _json_bytes(text)
        if part is None:
            part = self._choices.setdefault(delta.choice, {}).setdefault(key, _Part(delta.kind))
        part.name = delta.name or part.name
        part.call_id = delta.call_id or part.call_id
        if text:
            part.pieces.append(text)

    def json(self) -> str | None:
        """The choices, each a message with its parts; None where nothing came."""
        contents = [
            [part.document() for part in parts.values()]
            for _, parts in sorted(self._choices.items())
        ]
        if self._bytes_left_out:
            contents = contents or [[]]
            contents[-1].append({"type": "text", "text": cut_mark(self._bytes_left_out)})
        choices = [{"role": "assistant", "content": content} for content in contents]
        return orjson.dumps(choices).decode() if choices else None


def cut_mark(byte_count: int) -> str:
    """What stands where something was left out."""
    return f"[... {byte_count} bytes left out by the gateway ...]"


def _json_bytes(text: str) -> int:
    """Inside the quotes of a JSON string."""
    return len(orjson.dumps(text)) - 2


def _beginning(text: str, bytes_max: int) -> str:
    """As much of a text as its JSON leaves room for."""
    while text and (size := _json_bytes(text)) > bytes_max:
        text = text[: min(len(text) * max(bytes_max, 0) // size, len(text) - 1)]
    return text
