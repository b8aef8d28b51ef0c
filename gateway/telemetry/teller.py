"""Counts and logs requests that have ended, after the bytes that end their answers have gone."""

import asyncio

from gateway.domain.entry import Settlement
from gateway.telemetry.logs import log_settlements
from gateway.telemetry.metrics import Metrics


class Teller:
    """Those that end in one turn of the loop are told of together, in the next."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._untold: list[Settlement] = []

    def tell_soon(self, settlement: Settlement) -> None:
        if not self._untold:
            asyncio.get_running_loop().call_soon(self._tell)
        self._untold.append(settlement)

    def _tell(self) -> None:
        settlements, self._untold = self._untold, []
        for settlement in settlements:
            self._metrics.observe_settlement(settlement)
        log_settlements(settlements)
