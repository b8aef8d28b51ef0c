"""Opens compressed answers for a meter, within bounds; the client gets them as they came."""

import zlib
from collections.abc import Sequence

from msgspec.structs import replace

from gateway.domain.request import RequestFacts
from gateway.domain.usage import Measurement, UsageSource
from gateway.meter.estimate import completed_parts
from gateway.meter.protocol import Meter

_IDENTITIES = frozenset({"", "identity"})
_INFLATED = frozenset({"gzip", "x-gzip", "deflate"})
_PIECE_BYTES_MAX = 64 * 1024
# The rest of a piece is copied at the end of each member of it.
_PACKED_PIECE_BYTES_MAX = 16 * 1024
# A response of more than this, opened, is not a model's answer.
_OPENED_BYTES_MAX = 64 << 20
# Takes gzip and zlib, whichever comes.
_ANY_HEADER = zlib.MAX_WBITS | 32


def encodings_in(content_encoding: str) -> list[str]:
    """Those that change the bytes, in order; of several headers all, joined by commas."""
    names = (name.strip().lower() for name in content_encoding.split(","))
    return [name for name in names if name not in _IDENTITIES]


class EncodedMeter:
    """Feeds the opened bytes to another meter, of all members where there are several.

    Where they cannot be opened, what was measured is an estimate from the bytes as they came.
    `encodings` are those of the answer, in order; of more than one nothing is opened.
    """

    __slots__ = ("_facts", "_has_failed", "_inflater", "_inner", "_measured", "_opened", "_passed")

    def __init__(self, inner: Meter, *, facts: RequestFacts, encodings: Sequence[str]) -> None:
        self._inner = inner
        self._facts = facts
        self._inflater = zlib.decompressobj(_ANY_HEADER)
        self._has_failed = len(encodings) != 1 or encodings[0] not in _INFLATED
        self._opened = 0
        self._passed = 0
        self._measured: Measurement | None = None

    @property
    def is_complete(self) -> bool:
        return self._inner.is_complete

    @property
    def has_first_token(self) -> bool:
        return self._inner.has_first_token or (self._has_failed and self._passed > 0)

    def feed(self, piece: bytes) -> None:
        self._passed += len(piece)
        if self._has_failed:
            return
        try:
            for at in range(0, len(piece), _PACKED_PIECE_BYTES_MAX):
                self._open(piece[at : at + _PACKED_PIECE_BYTES_MAX])
        except zlib.error:
            self._has_failed = True

    def finish(self) -> Measurement:
        if self._measured is None:
            self._measured = self._inner.finish()
            if self._has_failed and self._measured.source is UsageSource.ESTIMATED:
                self._measured = self._from_passed(self._measured)
        return self._measured

    def _open(self, piece: bytes) -> None:
        inflater = self._inflater
        while piece and not self._has_failed:
            if inflater.eof:
                # What follows is another member, or nothing that can be read.
                inflater = self._inflater = zlib.decompressobj(_ANY_HEADER)
            opened = inflater.decompress(piece, _PIECE_BYTES_MAX)
            piece = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            self._opened += len(opened)
            if self._opened > _OPENED_BYTES_MAX:
                self._has_failed = True
                return
            if opened:
                self._inner.feed(opened)

    def _from_passed(self, measured: Measurement) -> Measurement:
        """Text packs to about a quarter: a byte that cannot be read is taken for a token."""
        # Calls without output are not estimated to have any.
        seen_tokens = self._passed if measured.usage.output_tokens else None
        return replace(
            measured,
            parts=completed_parts(measured.parts, self._facts, seen_tokens),
        )
