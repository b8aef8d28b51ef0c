import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.cli.main import run
from gateway.postgres.connection import connect

Command = Callable[..., Any]


@pytest.fixture
def command(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`command("team", "list")` -> the JSON that it prints."""
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)

    def call(*arguments: str) -> Any:
        status = run([*arguments, "--json"])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        assert printed.err == ""
        return json.loads(printed.out)

    return call


def fetched(url: str, statement: str) -> list[tuple[Any, ...]]:
    async def work() -> list[tuple[Any, ...]]:
        connection = await connect(url, application_name="tests")
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(work())


def test_a_team_is_made_listed_once_and_archived(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    made = command("team", "create", "growth", "--cap", "$25.50")
    status = run(["team", "create", "growth"])
    message = capsys.readouterr().err
    before = command("team", "list")
    command("team", "archive", "growth")
    (after,) = command("team", "list")

    assert (made["name"], made["monthly_cap_usd"]) == ("growth", "25.50")
    assert (status, message) == (1, "gateway: there is a team 'growth' already\n")
    assert [(team["team"], team["archived_at"]) for team in before] == [("growth", None)]
    assert after["archived_at"] is not None


def test_a_team_may_be_made_without_a_cap_by_saying_none(command: Command) -> None:
    assert command("team", "create", "growth", "--cap", "none")["monthly_cap_usd"] is None


def test_no_key_is_made_for_an_archived_team(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command("team", "create", "growth")
    command("team", "archive", "growth")

    status = run(["key", "create", "--team", "growth"])

    printed = capsys.readouterr()
    assert (status, printed.out) == (1, "")
    assert printed.err == "gateway: team 'growth' is archived: its keys do not work\n"
    assert command("key", "list") == []


def test_a_cap_is_set_with_its_reason_in_the_audit_and_lifted(
    command: Command, database_url: str
) -> None:
    command("team", "create", "growth")
    command(
        *("budget", "set", "--team", "growth", "--cap", "500", "--reason", "launch"),
        *("--warn-at", "0.5", "--engage-at", "0.6", "--enforcement", "strict"),
    )
    (shown,) = command("budget", "show", "--team", "growth")
    lifted = command("budget", "set", "--team", "growth", "--cap", "none")

    assert (shown["cap_usd"], shown["remaining_usd"], shown["status"]) == ("500", "500", "ok")
    assert {"spend_usd", "held_usd", "resets_at", "forecast_usd"} <= set(shown)
    assert lifted["cap_usd"] is None
    assert fetched(
        database_url,
        "SELECT old_cap_usd, new_cap_usd, new_enforcement, reason FROM ledger.cap_change"
        " ORDER BY cap_change_id",
    ) == [(None, 500, "strict", "launch"), (500, None, "strict", None)]


def test_thresholds_that_are_no_shares_are_a_wrong_argument(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command("team", "create", "growth")

    status = run(["budget", "set", "--team", "growth", "--cap", "5", "--warn-at", "85"])

    assert status == 2
    assert "shares of the cap" in capsys.readouterr().err


def test_a_key_is_shown_once_stored_as_a_hash_and_revoked_by_its_prefix(
    command: Command, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command("team", "create", "growth")
    command("team", "create", "data")
    run(["key", "create", "--team", "growth", "--label", "ci", "--may-override-budget"])
    text = capsys.readouterr().out.removesuffix("\n")
    command("key", "create", "--team", "data")
    (listed,) = command("key", "list", "--team", "growth")
    everybody = command("key", "list")
    command("key", "revoke", listed["prefix"])
    (revoked,) = command("key", "list", "--team", "growth")

    assert text.startswith(listed["prefix"])
    assert (listed["label"], listed["may_override_budget"], listed["revoked_at"]) == (
        "ci",
        True,
        None,
    )
    assert len(everybody) == 2
    assert revoked["revoked_at"] is not None
    digest = hashlib.sha256(text.encode()).digest()
    hashes = fetched(database_url, "SELECT key_hash FROM ledger.api_key WHERE label = 'ci'")
    assert hashes == [(digest,)]


def test_the_database_url_is_one_that_connects(command: Command) -> None:
    url = command("database", "url")["url"]

    assert fetched(url, "SELECT count(*) FROM ledger.team") == [(0,)]
