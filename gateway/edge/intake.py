"""What the bodies of requests may take while they arrive: time each, and memory together."""

import asyncio

from gateway.domain.errors import OverloadedError
from gateway.domain.ids import TeamId

BODY_TIMEOUT_S = 30.0
# A sender that was slower than this since it began gets no more time than the time-out.
_RATE_LEAST_BYTES_PER_S = 1024 * 64
# Of the largest bodies, so many may be here at once: half a gigabyte where each has 32 MiB.
_BODIES_MAX = 16
# For one team: bodies that stall would else shut out every other team.
_TEAM_SHARE = 4


class Intake:
    """The room of one worker for bodies that arrive, and what every team has of it."""

    def __init__(self, *, body_bytes_max: int, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self._free_bytes = _BODIES_MAX * body_bytes_max
        self._team_bytes_max = self._free_bytes // _TEAM_SHARE
        self._team_bytes: dict[TeamId, int] = {}

    def take(self, team_id: TeamId, taken_bytes: int) -> None:
        """Make room for bytes that have come.

        Raises:
            OverloadedError: there is none.
        """
        team_bytes = self._team_bytes.get(team_id, 0) + taken_bytes
        if taken_bytes > self._free_bytes or team_bytes > self._team_bytes_max:
            raise OverloadedError
        self._free_bytes -= taken_bytes
        self._team_bytes[team_id] = team_bytes

    def give_back(self, team_id: TeamId, taken_bytes: int) -> None:
        self._free_bytes += taken_bytes
        left_bytes = self._team_bytes.pop(team_id, 0) - taken_bytes
        if left_bytes > 0:
            self._team_bytes[team_id] = left_bytes


class Arrival:
    """A body on its way: by when more of it must come, however large it says that it is."""

    __slots__ = ("_began_s", "_intake", "_loop", "_read_bytes", "_team_id")

    def __init__(self, intake: Intake, team_id: TeamId) -> None:
        self._intake = intake
        self._team_id = team_id
        self._read_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()

    def add(self, more_bytes: int) -> float:
        """Until when the next bytes may take, on the loop's clock.

        A pause has the time-out, and so has what lags behind the least rate.

        Raises:
            OverloadedError: there is no room for these.
        """
        self._intake.take(self._team_id, more_bytes)
        self._read_bytes += more_bytes
        by_rate_s = self._began_s + self._read_bytes / _RATE_LEAST_BYTES_PER_S
        return min(self._loop.time(), by_rate_s) + self._intake.timeout_s

    def end(self) -> None:
        """It is whole, or nobody waits for it any more."""
        self._intake.give_back(self._team_id, self._read_bytes)
        self._read_bytes = 0
