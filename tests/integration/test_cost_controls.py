"""The gate of Save Mode with the posthog client against a PostHog that is a real server."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest

from gateway.domain.ids import TeamId
from gateway.flags.cost_controls import FLAG, CostControls
from tests.fakes.posthog import FakePostHog, flag

pytestmark = pytest.mark.alone

GROWTH, SUPPORT = TeamId(1), TeamId(2)


@pytest.fixture
async def posthog() -> AsyncIterator[FakePostHog]:
    async with FakePostHog() as fake:
        yield fake


def gate(
    mode: Literal["always", "flag", "off"] = "flag",
    posthog: FakePostHog | None = None,
    *,
    is_debug: bool = False,
    forced: bool = False,
    secret_key: str | None = "phx_secret",
    poll_interval_s: float = 30,
) -> CostControls:
    return CostControls(
        mode=mode,
        is_debug=is_debug,
        forced=forced,
        posthog_host=None if posthog is None else posthog.url,
        project_key=None if posthog is None else "phc_project",
        secret_key=secret_key,
        poll_interval_s=poll_interval_s,
    )


def for_team(name: str) -> list[dict[str, Any]]:
    return [{"key": "team", "value": [name], "operator": "exact", "type": "person"}]


def by_group(**definition: Any) -> dict[str, Any]:
    definition = flag(FLAG, **definition)
    definition["filters"]["aggregation_group_type_index"] = 0
    return definition


@pytest.mark.parametrize(("mode", "is_open"), [("always", True), ("off", False), ("flag", False)])
async def test_without_posthog_the_mode_decides_and_an_unknown_flag_is_off(
    mode: Literal["always", "flag", "off"], is_open: bool
) -> None:
    controls = gate(mode)
    await controls.start()

    assert controls.is_open(GROWTH, "growth") is is_open
    await controls.close()


@pytest.mark.parametrize("is_debug", [True, False])
@pytest.mark.parametrize("mode", ["always", "flag", "off"])
async def test_forced_opens_the_gate_in_debug_alone_and_the_warning_knows_it(
    mode: Literal["always", "flag", "off"], is_debug: bool
) -> None:
    controls = gate(mode, is_debug=is_debug, forced=True)
    warnings = [text for text in controls.startup_warnings() if "COST_CONTROLS_ENABLED" in text]

    assert controls.is_open(GROWTH, "growth") is (is_debug or mode == "always")
    assert len(warnings) == 1
    assert ("opens the gate" in warnings[0]) is is_debug
    assert ("no effect" in warnings[0]) is not is_debug


async def test_nothing_is_warned_about_where_nothing_is_odd(posthog: FakePostHog) -> None:
    assert gate("always").startup_warnings() == []
    assert gate("off", is_debug=True).startup_warnings() == []
    assert gate("flag", posthog).startup_warnings() == []


async def test_a_flag_without_the_settings_it_needs_is_warned_about(posthog: FakePostHog) -> None:
    (warning,) = gate("flag", posthog, secret_key=None).startup_warnings()

    assert "GATEWAY_POSTHOG_SECRET_KEY" in warning
    assert "GATEWAY_POSTHOG_HOST" not in warning


async def test_a_flag_opens_the_gate_for_its_teams_alone(posthog: FakePostHog) -> None:
    posthog.flags = [flag(FLAG, properties=for_team("growth"))]
    controls = gate("flag", posthog)
    assert not controls.is_open(GROWTH, "growth")
    await controls.start()

    assert controls.is_open(GROWTH, "growth")
    assert not controls.is_open(SUPPORT, "support")
    await controls.close()
    assert not controls.is_open(GROWTH, "growth")


@pytest.mark.parametrize(
    ("definition", "is_open"),
    [
        (flag(FLAG), True),
        (flag(FLAG, is_active=False), False),
        (flag(FLAG, rollout_percentage=0), False),
        (flag("another-flag"), False),
        (by_group(), True),
        (
            by_group(
                properties=[{**for_team("growth")[0], "type": "group", "group_type_index": 0}]
            ),
            True,
        ),
        (
            by_group(properties=[{**for_team("other")[0], "type": "group", "group_type_index": 0}]),
            False,
        ),
        ({**flag(FLAG), "ensure_experience_continuity": True}, False),
        (flag(FLAG, properties=[{"key": "id", "value": 7, "type": "cohort"}]), False),
        (
            flag(
                FLAG,
                properties=[{"key": "plan", "value": "x", "operator": "exact", "type": "person"}],
            ),
            False,
        ),
    ],
)
async def test_only_a_definition_that_says_yes_here_opens_the_gate(
    posthog: FakePostHog, definition: dict[str, Any], is_open: bool
) -> None:
    posthog.flags = [definition]
    posthog.group_types = {"0": "team"}
    controls = gate("flag", posthog)
    await controls.start()

    assert controls.is_open(GROWTH, "growth") is is_open
    await controls.close()


async def test_requests_never_ask_the_network(posthog: FakePostHog) -> None:
    posthog.flags = [flag(FLAG, properties=for_team("growth"))]
    controls = gate("flag", posthog)
    await controls.start()
    for number in range(1000):
        controls.is_open(TeamId(number), f"team-{number}")
    await controls.close()

    assert [received.path for received in posthog.requests] == ["/flags/definitions"]
    assert posthog.requests[0].headers["Authorization"] == "Bearer phx_secret"


@pytest.mark.parametrize("status", [401, 402, 500])
async def test_definitions_that_cannot_be_had_leave_the_gate_closed_and_are_asked_for_again(
    posthog: FakePostHog, status: int
) -> None:
    posthog.flags, posthog.flags_status = [flag(FLAG)], status
    controls = gate("flag", posthog, poll_interval_s=0.05)
    await controls.start()
    before = len(posthog.requests)
    assert not controls.is_open(GROWTH, "growth")
    assert len(posthog.requests) - before <= 1

    posthog.flags_status = 200
    await turns(controls, to=True)
    await controls.close()


async def test_a_posthog_that_is_not_there_leaves_the_gate_closed_at_once() -> None:
    async with FakePostHog() as posthog:
        controls = gate("flag", posthog)
    await controls.start()

    started_s = time.monotonic()
    assert not controls.is_open(GROWTH, "growth")
    assert time.monotonic() - started_s < 0.1
    await controls.close()


async def test_a_change_is_heard_without_a_restart_and_an_outage_changes_nothing(
    posthog: FakePostHog,
) -> None:
    posthog.flags = [flag(FLAG)]
    controls = gate("flag", posthog, poll_interval_s=0.05)
    await controls.start()
    assert controls.is_open(GROWTH, "growth")

    posthog.flags_status = 503
    await asyncio.sleep(0.2)
    assert controls.is_open(GROWTH, "growth")

    posthog.flags_status, posthog.flags, posthog.etag = 200, [flag(FLAG, is_active=False)], '"v2"'
    await turns(controls, to=False)
    await controls.close()


async def test_a_team_that_is_renamed_is_asked_about_by_its_new_name(posthog: FakePostHog) -> None:
    posthog.flags = [flag(FLAG, properties=for_team("growth"))]
    controls = gate("flag", posthog)
    await controls.start()

    assert not controls.is_open(GROWTH, "old name")
    assert controls.is_open(GROWTH, "growth")
    assert not controls.is_open(GROWTH, "old name")
    await controls.close()


async def test_closing_does_not_wait_for_a_posthog_that_hangs(posthog: FakePostHog) -> None:
    controls = gate("flag", posthog, poll_interval_s=0.05)
    await controls.start()
    posthog.mode = "hang"
    await asyncio.sleep(0.15)

    started_s = time.monotonic()
    await controls.close()
    assert time.monotonic() - started_s < 2


async def turns(controls: CostControls, *, to: bool) -> None:
    async with asyncio.timeout(5):
        while controls.is_open(GROWTH, "growth") is not to:
            await asyncio.sleep(0.01)
