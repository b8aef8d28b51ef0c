"""Cuts a streamed JSON array into its elements, split anywhere."""

import re

ELEMENT_BYTES_MAX = 16 << 20
_QUOTE, _BACKSLASH = b'"\\'
_OPENING, _CLOSING = b"[{", b"]}"
_OPEN_ARRAY = b"["[0]
_ARRAY, _ELEMENT = 1, 2

# To the next bracket, over whole strings; and to the end of a string that a piece began inside.
_to_bracket = re.compile(rb'[^"\[\]{}]*(?:"[^"\\]*(?:\\.[^"\\]*)*"[^"\[\]{}]*)*', re.DOTALL).match
_to_quote = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL).match


class JsonArrayFramer:
    """Looks at brackets and strings only: an element may still turn out not to be JSON."""

    def __init__(self) -> None:
        self.is_complete = False
        self.is_broken = False
        """Not an array, or an element beyond all bounds: nothing more comes out."""
        self._depth = 0
        self._is_in_string = False
        self._is_escaped = False
        self._element = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The elements (objects and arrays) that this piece completes. Never raises."""
        elements: list[bytes] = []
        if self.is_complete or self.is_broken:
            return elements
        position = element_start = 0
        while (position := self._next_bracket(piece, position)) < len(piece):
            opens = piece[position] in _OPENING
            if not self._depth and piece[position] != _OPEN_ARRAY:
                self.is_broken = True
                return elements
            self._depth += 1 if opens else -1
            if opens and self._depth == _ELEMENT:
                element_start = position
            position += 1
            if not opens and self._depth == _ARRAY:
                elements.append(bytes(self._element) + piece[element_start:position])
                self._element.clear()
            elif not self._depth:
                self.is_complete = True
                return elements
        if self._depth >= _ELEMENT:
            self._keep(piece[element_start:])
        return elements

    def _keep(self, part: bytes) -> None:
        if len(self._element) + len(part) > ELEMENT_BYTES_MAX:
            self.is_broken = True
            self._element.clear()
            return
        self._element += part

    def _next_bracket(self, piece: bytes, position: int) -> int:
        """The place of the next bracket outside of strings, else the end of the piece."""
        while position < len(piece):
            if self._is_in_string:
                position = self._string_end(piece, position)
                continue
            match = _to_bracket(piece, position)
            position = match.end() if match else position
            if position < len(piece) and piece[position] == _QUOTE:
                self._is_in_string = True
                position += 1
                continue
            break
        return position

    def _string_end(self, piece: bytes, position: int) -> int:
        if self._is_escaped:
            self._is_escaped = False
            position += 1
        match = _to_quote(piece, position)
        position = match.end() if match else position
        if position >= len(piece):
            return position
        # A string can only end here, or be cut between a backslash and what it escapes.
        self._is_in_string = piece[position] == _BACKSLASH
        self._is_escaped = self._is_in_string
        return position + 1
