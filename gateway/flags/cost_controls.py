"""The gate of Save Mode: open, closed, or as a PostHog flag says that is evaluated here."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import structlog
from posthog import Posthog

from gateway.domain.ids import TeamId

_log = structlog.get_logger("gateway.flags")
FLAG = "llm-gateway-cost-controls"
# A PostHog that hangs holds up a start no longer than this; the flag is unknown until it answers.
LOAD_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0
POLL_INTERVAL_S = 30.0
_GROUP_TYPE = "team"
# Bounds what is remembered between two sets of definitions.
_TEAMS_MAX = 10_000


class CostControls:
    """Says whether Save Mode may act for a team; caps bind whatever it says.

    Definitions come in a thread of the posthog client, at start and every half minute; a request
    only ever looks at what has come. What a client forwards in a flag header never gets here.
    """

    def __init__(
        self,
        *,
        mode: Literal["always", "flag", "off"],
        is_debug: bool,
        forced: bool,
        posthog_host: str | None,
        project_key: str | None,
        secret_key: str | None,
        poll_interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        self._mode = mode
        self._is_debug = is_debug
        self._forced = forced
        self._host = posthog_host
        self._project_key = project_key
        self._secret_key = secret_key
        self._poll_interval_s = poll_interval_s
        self._client: Posthog | None = None
        self._definitions: object = None
        self._decided: dict[TeamId, tuple[str, bool]] = {}

    @property
    def is_forced_open(self) -> bool:
        """COST_CONTROLS_ENABLED counts in debug alone."""
        return self._forced and self._is_debug

    def is_open(self, team_id: TeamId, team_name: str) -> bool:
        """Whether the gate is open for a team, from memory; unknown is closed."""
        if self.is_forced_open or self._mode == "always":
            return True
        return self._mode == "flag" and self._is_flagged(team_id, team_name)

    def startup_warnings(self) -> list[str]:
        """What an operator should know about this gate, by the rule that requests go by."""
        warnings = []
        if self.is_forced_open:
            warnings.append(
                "COST_CONTROLS_ENABLED=true opens the gate of Save Mode for every team "
                "(GATEWAY_DEBUG=true): for local development only."
            )
        elif self._forced:
            warnings.append(
                "COST_CONTROLS_ENABLED=true has no effect without GATEWAY_DEBUG=true: "
                f"GATEWAY_COST_CONTROLS={self._mode} decides."
            )
        if self._mode == "flag" and (missing := self._missing()):
            warnings.append(
                f"GATEWAY_COST_CONTROLS=flag needs {', '.join(missing)}: "
                "until then the flag is unknown, and Save Mode is off for every team."
            )
        return warnings

    async def start(self) -> None:
        """Load the definitions, before anything is served; without them the gate stays closed."""
        if self._mode != "flag" or self._missing():
            return
        self._client = Posthog(
            self._project_key or "",
            host=self._host,
            secret_key=self._secret_key,
            poll_interval=self._poll_interval_s,
            # Flags alone: no threads for events, no events about flags.
            send=False,
            sync_mode=True,
        )
        if not await _in_thread(self._client.load_feature_flags, LOAD_TIMEOUT_S):
            _log.warning("flags.not_loaded", flag=FLAG)
        elif self._client.feature_flags is None:
            _log.warning("flags.unavailable", flag=FLAG)

    async def close(self) -> None:
        """Stop asking; a request that hangs is left to its thread, which ends with us."""
        client, self._client = self._client, None
        if client is not None:
            await _in_thread(client.shutdown, CLOSE_TIMEOUT_S)

    def _missing(self) -> list[str]:
        settings = {
            "GATEWAY_POSTHOG_HOST": self._host,
            "GATEWAY_POSTHOG_PROJECT_KEY": self._project_key,
            "GATEWAY_POSTHOG_SECRET_KEY": self._secret_key,
        }
        return [name for name, value in settings.items() if not value]

    def _is_flagged(self, team_id: TeamId, team_name: str) -> bool:
        definitions = None if self._client is None else self._client.feature_flags
        # None where nothing ever came: the client would ask the network now, and wait for it.
        if definitions is None:
            return False
        if definitions is not self._definitions or len(self._decided) >= _TEAMS_MAX:
            self._definitions = definitions
            self._decided.clear()
        known = self._decided.get(team_id)
        if known is not None and known[0] == team_name:
            return known[1]
        is_flagged = self._evaluate(team_id, team_name)
        self._decided[team_id] = (team_name, is_flagged)
        return is_flagged

    def _evaluate(self, team_id: TeamId, team_name: str) -> bool:
        """As a person, like the one of its events, and as a group; by name and by number."""
        assert self._client is not None
        properties = {"team": team_name, "name": team_name, "team_id": str(team_id)}
        result = self._client.get_feature_flag_result(
            FLAG,
            f"team:{team_name}",
            groups={_GROUP_TYPE: team_name},
            person_properties=properties,
            group_properties={_GROUP_TYPE: properties},
            only_evaluate_locally=True,
            send_feature_flag_events=False,
        )
        return result is not None and result.enabled


async def _in_thread(call: Callable[[], None], timeout_s: float) -> bool:
    """Run a blocking call in a thread that may hang; whether it ended in time."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def work() -> None:
        try:
            call()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the flag stays unknown.
            _log.warning("flags.client_failed", error=type(exc).__name__)
        # The loop may have closed meanwhile: then nobody waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=work, name="gateway-flags", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_s):
            await ended.wait()
    except TimeoutError:
        return False
    return True
