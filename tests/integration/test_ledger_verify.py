"""`gateway ledger verify`: what it compares, what it finds, and what its exit status says."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from gateway.domain.clock import month_of
from gateway.domain.ids import TeamId
from gateway.domain.usage import Usage
from gateway.ledger.posting import post
from gateway.postgres.connection import DedicatedConnection
from gateway.reports.verify import verify
from tests.fakes.ledger import MONTH, usd
from tests.fakes.settlements import settlement

LAST = (month_of(datetime.now(UTC)) - timedelta(days=1)).replace(day=1)


@pytest.fixture
async def send(database_url):
    dedicated = DedicatedConnection(database_url, application_name="tests")

    async def send(*settlements):
        await post(dedicated, uuid4(), [s.entry for s in settlements], timeout_s=10)

    yield send
    await dedicated.close()


async def test_a_ledger_that_is_right_is_balanced_over_all_partitions(database, send):
    months = [MONTH, date(2026, 12, 1), date(2031, 1, 1)]
    sent = [
        settlement(month=month, team_id=TeamId(n % 3))
        for n, month in enumerate(months * 5)
    ]  # fmt: skip
    await send(*sent)
    found = await verify(database, month=None)
    assert found.is_balanced
    assert (found.entries, found.accounts, found.closed_months) == (15, 3, 0)
    (other,) = [await verify(database, month=months[1])]
    assert (other.entries, other.accounts) == (5, 1)


async def test_an_empty_ledger_is_balanced(database):
    found = await verify(database, month=None)
    assert found.is_balanced
    assert (found.entries, found.accounts) == (0, 0)


@pytest.mark.parametrize(
    "fault",
    [
        "UPDATE ledger.team_month_spend SET spend_usd = spend_usd + 0.000000000001",
        "UPDATE ledger.team_month_spend SET entry_count = entry_count + 1",
        "DELETE FROM ledger.team_month_spend",
    ],
)
async def test_a_total_that_is_not_its_rows_is_found(database, send, fault):
    await send(settlement())
    await database.execute(fault)
    found = await verify(database, month=None)
    assert not found.is_balanced
    (difference,) = found.differences
    assert difference["team_id"] == 7
    assert difference["rows_usd"] == usd([settlement()])
    assert not (await verify(database, month=MONTH)).is_balanced
    assert (await verify(database, month=date(2020, 1, 1))).is_balanced


async def test_a_total_without_rows_is_found(database):
    await database.execute("INSERT INTO ledger.team_month_spend VALUES (1, '2026-11-01', 0, 0)")
    found = await verify(database, month=None)
    assert [d["row_count"] for d in found.differences] == [0]


async def test_a_closed_month_is_checked_against_its_digest(database, send):
    await send(*(settlement(month=LAST) for _ in range(3)))
    await database.execute("SELECT ledger.close_month($1)", LAST)
    await send(settlement(month=LAST), settlement())
    found = await verify(database, month=None)
    assert found.is_balanced
    assert found.closed_months == 1
    await database.execute("ALTER TABLE ledger.ledger_entry DISABLE TRIGGER immutable")
    await database.execute("UPDATE ledger.ledger_entry SET product = 'x' WHERE month = $1", LAST)
    found = await verify(database, month=None)
    assert not found.is_balanced
    assert found.differences == []
    (altered,) = found.altered_months
    assert altered["month"] == LAST
    assert altered["closed_digest"] != altered["digest"]


async def test_progress_only_grows_and_ends_at_the_whole(database, send):
    await send(settlement(month=LAST))
    await database.execute("SELECT ledger.close_month($1)", LAST)
    told = []
    await verify(database, month=None, progress=lambda done, of: told.append((done, of)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


def command(database_url, *arguments, **streams):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "gateway", "ledger", "verify", *arguments],
        env=kept | {"GATEWAY_DATABASE_URL": database_url, "TERM": "xterm"},
        **streams,
    )


async def test_the_command_names_dead_letters_and_fails(database_url, send):
    bad = settlement(usage=Usage(output_tokens=-1))
    await send(settlement(), bad)
    done = command(database_url, "--json", capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert said["balanced"] is False
    assert said["differences"] == said["altered_months"] == []
    (letter,) = said["dead_letters"]
    assert letter["entry_id"] == str(bad.entry.entry_id)
    assert "ledger_entry_counts_are_not_negative" in letter["error"]


async def test_the_command_shows_a_progress_bar_to_a_terminal_and_to_nobody_else(
    database_url, send
):
    await send(settlement())
    quiet = command(database_url, capture_output=True, text=True)
    assert quiet.returncode == 0
    assert "Reading the ledger" not in quiet.stdout + quiet.stderr
    assert "1 entries in 1 accounts" in quiet.stdout
    ours, theirs = pty.openpty()
    try:
        watched = command(database_url, stdout=subprocess.PIPE, stderr=theirs)
        shown = os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert watched.returncode == 0
    assert b"Reading the ledger" in shown
    assert watched.stdout.decode() == quiet.stdout


async def test_sums_are_exact_whatever_their_size(database, send):
    """An adjustment by SQL can have any size; a sum that rounds would be a difference."""
    await send(settlement(month=MONTH, team_id=TeamId(1)))
    for amount in ("1e40", "0.000000000001", "-1e40"):
        await database.execute(
            "INSERT INTO ledger.team (team_id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'one')"
            " ON CONFLICT DO NOTHING"
        )
        await database.execute(
            "SELECT ledger.post_adjustment(gen_random_uuid(), 'adjustment', $1, 1,"
            " $2::text::numeric, 'x')",
            MONTH,
            amount,
        )
    found = await verify(database, month=None)
    assert found.is_balanced, found.differences
