"""Names, locks and positions of journals in a directory: one writer's files share its id."""

import fcntl
import os
import re
import uuid
from contextlib import suppress
from pathlib import Path

from gateway.ledger.segment import POSITION, Frame, encode_frame, scan

_SUFFIXES = r"lock|\d{8}\.segment|[a-z]+\.position"
_FILE = re.compile(rf"([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})\.(?:{_SUFFIXES})")
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700

Position = tuple[int, int]
"""A segment's number, and an offset in it."""


def make_directory(directory: Path) -> None:
    directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        directory.chmod(_DIRECTORY_MODE)


def lock_path(directory: Path, writer_id: uuid.UUID) -> Path:
    return directory / f"{writer_id}.lock"


def segment_path(directory: Path, writer_id: uuid.UUID, number: int) -> Path:
    return directory / f"{writer_id}.{number:08d}.segment"


def position_path(directory: Path, writer_id: uuid.UUID, reader: str) -> Path:
    return directory / f"{writer_id}.{reader}.position"


def corrupt_path(segment: Path) -> Path:
    """Where a damaged segment is kept as evidence."""
    return segment.with_suffix(".corrupt")


def segment_number(segment: Path) -> int:
    return int(segment.name.split(".")[1])


def segments_of(directory: Path, writer_id: uuid.UUID) -> list[Path]:
    """Oldest first."""
    return sorted(directory.glob(f"{writer_id}.*.segment"))


def writers_in(directory: Path) -> list[uuid.UUID]:
    """Every writer that has files here, dead or alive, the oldest first."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - names are all that is needed.
    except FileNotFoundError:
        return []
    found = {match[1] for name in names if (match := _FILE.fullmatch(name)) is not None}
    return sorted(uuid.UUID(writer) for writer in found)


def claim(directory: Path, writer_id: uuid.UUID) -> int:
    """Lock a new writer's files and return the descriptor that holds the lock.

    The lock appears under its name only once it is held: nobody takes a new writer for a dead one.
    """
    partial = directory / f"{writer_id}.claim"
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        partial.rename(lock_path(directory, writer_id))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def take_over(directory: Path, writer_id: uuid.UUID) -> int | None:
    """Lock a dead writer's files; None where it lives, or somebody else is at it or just was."""
    path = lock_path(directory, writer_id)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held the lock before us may have done the work and removed the file.
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def remove_writer(directory: Path, writer_id: uuid.UUID) -> None:
    """Delete what is left of a writer, its lock last, so that a cut removal is done again."""
    for path in (*segments_of(directory, writer_id), *directory.glob(f"{writer_id}.*.position")):
        path.unlink(missing_ok=True)
    lock_path(directory, writer_id).unlink(missing_ok=True)


def write_position(path: Path, position: Position) -> None:
    """Best effort, in place: a torn one is not read, and records are then given again."""
    line = encode_frame(POSITION, b"%08d %012d" % position)
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            os.pwrite(descriptor, line, 0)
        finally:
            os.close(descriptor)


def read_position(path: Path) -> Position:
    """Where the reader stood, or the very start."""
    try:
        data = path.read_bytes()
    except OSError:
        return (0, 0)
    for frame in scan(data, is_end=True):
        if isinstance(frame, Frame) and frame.kind == POSITION:
            number, offset = frame.payload.split()
            return (int(number), int(offset))
    return (0, 0)
