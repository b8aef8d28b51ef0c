"""One segment of a running writer: a file, or a buffer while the disk takes nothing."""

import errno
import os
from contextlib import suppress
from pathlib import Path

_FILE_MODE = 0o600


class LiveSegment:
    """Grows by whole records; `size` never counts part of one.

    `end_ordinal` is the number of settlements that the writer has written up to its end.
    """

    __slots__ = (
        "_buffer",
        "_descriptor",
        "end_ordinal",
        "first_ordinal",
        "is_damaged",
        "is_sealed",
        "number",
        "open_hold_count",
        "path",
        "size",
    )

    def __init__(self, path: Path, *, number: int, first_ordinal: int) -> None:
        """Starts in memory; `persist` gives it its file."""
        self.path = path
        self.number = number
        self.first_ordinal = first_ordinal
        self.end_ordinal = first_ordinal
        self.size = 0
        self.open_hold_count = 0
        self.is_sealed = False
        self.is_damaged = False
        self._buffer: bytearray | None = bytearray()
        self._descriptor: int | None = None

    @property
    def is_in_memory(self) -> bool:
        return self._buffer is not None

    @property
    def descriptor(self) -> int | None:
        """Of the open file; None in memory, and once the file was handed over to be closed."""
        return self._descriptor

    def persist(self) -> None:
        """Give it a file with what it holds so far.

        Raises:
            OSError: the disk takes it not; the segment stays in memory.
        """
        assert self._buffer is not None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, _FILE_MODE)
        try:
            _write_whole(descriptor, self._buffer)
        except OSError:
            os.close(descriptor)
            with suppress(OSError):
                self.path.unlink()
            raise
        self._buffer = None
        self._descriptor = descriptor

    def append(self, frame: bytes) -> None:
        """Add a record in one write.

        Raises:
            OSError: it was not written; take no further record into this segment.
        """
        if self._buffer is not None:
            self._buffer += frame
        else:
            descriptor = self._descriptor
            assert descriptor is not None
            try:
                _write_whole(descriptor, frame)
            except OSError:
                # The part that was written is cut; where even that fails it is a torn tail.
                with suppress(OSError):
                    os.ftruncate(descriptor, self.size)
                raise
        self.size += len(frame)

    def take_descriptor(self) -> int | None:
        """Hand the open file over to whoever closes it."""
        descriptor, self._descriptor = self._descriptor, None
        return descriptor

    def read_memory(self, offset: int, bytes_max: int) -> bytes | None:
        """None: the bytes are in the file."""
        if self._buffer is None:
            return None
        return bytes(self._buffer[offset : offset + bytes_max])

    def read_file(self, offset: int, bytes_max: int) -> bytes:
        """Blocks; by path, since the writer's descriptor may be closed at any time."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, bytes_max, offset)
        finally:
            os.close(descriptor)


def _write_whole(descriptor: int, data: bytes | bytearray) -> None:
    if os.write(descriptor, data) != len(data):
        raise OSError(errno.ENOSPC, "the disk took a part only")
