"""All exchanges that run: what bounds those whose clients have gone, and their end at shutdown."""

import asyncio
from typing import Protocol

from gateway.domain.ids import TeamId

# After a client has gone the provider is heard out for its usage, within these bounds.
DRAIN_TIMEOUT_S = 60.0
DRAIN_BYTES_MAX = 8 << 20
# A place costs a descriptor and 20 KiB, and what came of an answer that is no stream.
DRAINS_MAX = 256
# Of all places, for one team: calls that hang would else blind the meter for every other team.
_TEAM_SHARE = 4
# Where a provider stops billing once nobody listens, it is left this soon: what is on its way,
# perhaps the usage itself, still comes.
GRACE_S = 0.2

# A client that takes nothing for this long is cut; its provider is then heard out or left.
STALL_TIMEOUT_S = 120.0


class Relay(Protocol):
    """An exchange that can be broken off."""

    def interrupt(self) -> None: ...


class Relays:
    """Every exchange, until its bill is known; waited for at shutdown."""

    def __init__(
        self,
        *,
        drains_max: int = DRAINS_MAX,
        gone_client_timeout_s: float = DRAIN_TIMEOUT_S,
        stalled_client_timeout_s: float = STALL_TIMEOUT_S,
    ) -> None:
        self.gone_client_timeout_s = gone_client_timeout_s
        self.stalled_client_timeout_s = stalled_client_timeout_s
        self._free_drains = drains_max
        self._team_drains_max = max(drains_max // _TEAM_SHARE, 1)
        self._team_drains: dict[TeamId, int] = {}
        self._running: set[Relay] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def __len__(self) -> int:
        return len(self._running)

    def add(self, relay: Relay) -> None:
        if not self._running:
            self._is_empty.clear()
        self._running.add(relay)

    def remove(self, relay: Relay) -> None:
        self._running.discard(relay)
        if not self._running:
            self._is_empty.set()

    def new_drain(self, team_id: TeamId) -> "Drain | None":
        """A place among those that are heard out for a client that has gone, if one is free.

        A team has its share of them at most.
        """
        taken = self._team_drains.get(team_id, 0)
        if self._free_drains == 0 or taken >= self._team_drains_max:
            return None
        self._free_drains -= 1
        self._team_drains[team_id] = taken + 1
        return Drain(self, team_id)

    def drain_ended(self, team_id: TeamId) -> None:
        self._free_drains += 1
        self._team_drains[team_id] -= 1
        if self._team_drains[team_id] == 0:
            del self._team_drains[team_id]

    async def drain(self, timeout_s: float) -> None:
        """Let running exchanges end; break off, and settle, what is left after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_empty.wait()
        except TimeoutError:
            for relay in list(self._running):
                relay.interrupt()


class Drain:
    """One provider heard out for a client that has gone, and how much it has said since."""

    __slots__ = ("_bytes", "_relays", "_team_id")

    def __init__(self, relays: Relays, team_id: TeamId) -> None:
        self._relays = relays
        self._team_id = team_id
        self._bytes = 0

    def is_full_with(self, payload: bytes) -> bool:
        """Enough was heard, this piece included."""
        self._bytes += len(payload)
        return self._bytes > DRAIN_BYTES_MAX

    def end(self) -> None:
        self._relays.drain_ended(self._team_id)
