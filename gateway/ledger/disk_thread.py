"""The thread that does what may block on a disk: group syncs, closing, renaming, deleting."""

import os
import threading
from collections import deque
from collections.abc import Callable

import structlog

_log = structlog.get_logger("gateway.journal")
# A record is synced at most this long, and one running sync, after it was written. The sync of a
# hold is over before a provider can have answered, and one for many records is what disks are
# good at.
SYNC_INTERVAL_S = 0.010


class DiskThread:
    """Does jobs in order; never makes the event loop wait.

    Descriptors are closed here and nowhere else, so that none is closed under a running sync.
    """

    def __init__(self, *, interval_s: float = SYNC_INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._jobs: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._end = threading.Event()
        self._is_sync_queued = False
        self._thread = threading.Thread(target=self._run, name="gateway-journal", daemon=True)
        self.is_failing = False
        """The last sync failed: what was written may not survive a power failure."""
        self.sync_count = 0

    def start(self) -> None:
        self._thread.start()

    def sync_soon(self, descriptor: int) -> None:
        """Sync the file that is written to now; many calls become one sync."""
        if not self._is_sync_queued:
            self._is_sync_queued = True
            self.do_soon(lambda: self._sync_queued(descriptor))

    def close_soon(self, descriptor: int) -> None:
        """Sync the file for the last time, and close it."""
        # A sync that is queued is of this file: the next file needs one of its own.
        self._is_sync_queued = False

        def close() -> None:
            try:
                self._sync(descriptor)
            finally:
                os.close(descriptor)

        self.do_soon(close)

    def do_soon(self, job: Callable[[], None]) -> None:
        self._jobs.append(job)
        self._wake.set()

    def close(self) -> None:
        """Do what is queued, then end. Blocks."""
        self._end.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._jobs:
                self._do(self._jobs.popleft())
            if self._end.is_set() and not self._jobs:
                return
            self._end.wait(self._interval_s)

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as exc:  # noqa: BLE001 - a thread that dies would never sync again.
            _log.error("journal.disk_failed", error=repr(exc))

    def _sync_queued(self, descriptor: int) -> None:
        # First, so that what is written during the sync asks for another.
        self._is_sync_queued = False
        self._sync(descriptor)

    def _sync(self, descriptor: int) -> None:
        try:
            os.fdatasync(descriptor)
        except OSError:
            self.is_failing = True
            raise
        self.is_failing = False
        self.sync_count += 1
