"""What all parts of a run share: the server, the cores, the month, and how they say a result."""

import os
from dataclasses import dataclass
from pathlib import Path

from bench.clocks import Clocks
from bench.processes import Cores, pin, split_database, tree
from bench.scenarios import BY_NAME
from gateway.domain.clock import SystemClock, month_of
from gateway.postgres.embedded import EmbeddedPostgres

CLOCK = SystemClock()
MONTH = month_of(CLOCK.now())
JSON = BY_NAME["json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A database to make: so many of each; rows go into the present month."""

    name: str
    teams: int
    keys: int
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The server and the cores that everything of a run shares."""

    server: EmbeddedPostgres
    cores: Cores
    directory: Path

    def url(self, size: Size) -> str:
        return self.server.url(size.name)

    def clocks(self) -> Clocks:
        """CPU so far of this process, and of the server with all its databases."""
        return Clocks.now([os.getpid()], _server_pids())

    def pin_database(self) -> None:
        pin(_server_pids(), self.cores.others)


def _server_pids() -> list[int]:
    return split_database(tree(os.getpid()))[1]


def say(text: str) -> None:
    print(text, flush=True)
