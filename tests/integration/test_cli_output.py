"""What a command says when its own output cannot be written, and what becomes of names in it."""

import asyncio
import os
import pty
import struct
import sys
import termios
from decimal import Decimal
from fcntl import ioctl
from pathlib import Path

import pytest

from gateway.cli.tables import table
from gateway.postgres.connection import Connection
from tests.fakes.command import Finished, gateway
from tests.fakes.months import LAST_MONTH, noon, text
from tests.fakes.posted import posted
from tests.fakes.settlements import settlement
from tests.fixtures.database import MakeKey, MakeTeam

LAST = text(LAST_MONTH)
NO_SPACE = "No space left on device"
_TIMEOUT_S = 60


async def shell(command: str, database_url: str, *, before: str = "") -> Finished:
    """A line of a shell, `gateway` in it being ours; too long is a failure."""
    line = f"set -o pipefail; {before} " + command.replace(
        "gateway ", f"{sys.executable} -m gateway "
    )
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", line),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "GATEWAY_DATABASE_URL": database_url,
            # A limit on the size of files would cut those of the byte code, too.
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            stdout, stderr = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    return Finished(process.returncode, stdout, stderr.decode())


async def many_entries(url: str, make_team: MakeTeam, make_key: MakeKey, count: int = 2000) -> None:
    """Enough that they are in no buffer on the way."""
    team_id = await make_team("growth")
    api_key_id, _ = await make_key(team_id)
    entries = [
        settlement(
            team_id=team_id,
            api_key_id=api_key_id,
            month=LAST_MONTH,
            occurred_at=noon(LAST_MONTH),
            is_leased=False,
        ).entry
        for _ in range(count)
    ]
    await posted(url, entries)


@pytest.mark.parametrize("output_format", ["csv", "focus", "parquet"])
async def test_an_export_to_a_full_disk_ends_and_says_so(
    database_url: str,
    tmp_path: Path,
    make_team: MakeTeam,
    make_key: MakeKey,
    output_format: str,
) -> None:
    await many_entries(database_url, make_team, make_key)
    export = f"gateway ledger export --month {LAST} --format {output_format}"
    # The kernel's limit on the size of files stands for a full disk, and has words of its own.
    limited = "trap '' XFSZ; ulimit -f 1;"

    device, json, file = await asyncio.gather(
        shell(f"{export} > /dev/full", database_url),
        shell(f"{export} --json > /dev/full", database_url),
        shell(f"{export} --output {tmp_path / 'month'}", database_url, before=limited),
    )

    for full in (device, json):
        assert (full.status, full.lines) == (
            1,
            [f"gateway: cannot write standard output: {NO_SPACE}"],
        )
    assert file.status == 1
    assert file.lines == [f"gateway: cannot write {tmp_path / 'month'}: File too large"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output_format", ["csv", "focus", "parquet"])
async def test_an_export_whose_reader_has_enough_ends_without_a_word(
    database_url: str, make_team: MakeTeam, make_key: MakeKey, output_format: str
) -> None:
    await many_entries(database_url, make_team, make_key)

    finished = await shell(
        f"gateway ledger export --month {LAST} --format {output_format} | head -c 1", database_url
    )

    assert (len(finished.stdout), finished.stderr) == (1, "")


@pytest.mark.parametrize(
    "command",
    [
        "team list",
        "team list --json",
        "spend --format csv",
        "spend --format parquet",
        "database url",
    ],
)
async def test_a_full_disk_is_not_a_database_that_does_not_answer(
    database_url: str, make_team: MakeTeam, command: str
) -> None:
    await make_team("growth")

    finished = await shell(f"gateway {command} > /dev/full", database_url)

    assert finished.lines == [f"gateway: cannot write standard output: {NO_SPACE}"]
    assert finished.status == 1


async def test_a_key_that_could_not_be_printed_is_not_made(
    database_url: str, database: Connection, make_team: MakeTeam
) -> None:
    await make_team("growth")

    person = await shell("gateway key create --team growth > /dev/full", database_url)
    machine = await shell("gateway key create --team growth --json > /dev/full", database_url)

    for finished in (person, machine):
        assert (finished.status, NO_SPACE in finished.stderr) == (1, True)
    assert await database.fetchval("SELECT count(*) FROM ledger.api_key") == 0


async def test_focus_as_json_has_its_own_columns(
    database_url: str, make_team: MakeTeam, make_key: MakeKey
) -> None:
    await many_entries(database_url, make_team, make_key, count=3)

    finished = await gateway(
        *("ledger", "export", "--month", LAST, "--format", "focus", "--json"),
        GATEWAY_DATABASE_URL=database_url,
    )

    assert finished.status == 0, finished.stderr
    assert {row["BillingPeriodStart"] for row in finished.document} == {f"{LAST}-01T00:00:00Z"}
    assert {row["ChargePeriodStart"] for row in finished.document} == {f"{LAST}-10T00:00:00Z"}
    assert {row["BillingCurrency"] for row in finished.document} == {"USD"}
    assert all("entry_id" not in row for row in finished.document)


async def test_a_correction_leaves_none_of_focus_mandatory_names_empty(
    database_url: str, make_team: MakeTeam
) -> None:
    await make_team("growth")
    environ = {"GATEWAY_DATABASE_URL": database_url}
    adjusted = await gateway(
        *("ledger", "adjust", "--team", "growth", "--amount", "-5", "--reason", "credit note"),
        *("--month", LAST),
        **environ,
    )

    finished = await gateway(
        *("ledger", "export", "--month", LAST, "--format", "focus", "--json"), **environ
    )

    assert adjusted.status == finished.status == 0
    (row,) = finished.document
    names = ("BillingAccountId", "ProviderName", "PublisherName", "InvoiceIssuerName")
    assert [row[name] for name in names] == ["gateway"] * 4
    assert Decimal(row["BilledCost"]) == -5


async def test_names_are_shown_as_they_are_and_control_characters_written_out(
    database_url: str, database: Connection, make_team: MakeTeam, make_key: MakeKey
) -> None:
    names = ("[/x]", "[red]x[/red]", ":smile:", "gone\u200b")
    for name in names:
        await make_team(name, cap_usd=5)
    team_id = await database.fetchval("SELECT min(team_id) FROM ledger.team")
    api_key_id, _ = await make_key(team_id)
    entry = settlement(
        team_id=team_id,
        api_key_id=api_key_id,
        month=LAST_MONTH,
        occurred_at=noon(LAST_MONTH),
        is_leased=False,
        request_model="claude-[/b]\x1b[2J",
        response_model=None,
    ).entry
    await posted(database_url, [entry])
    environ = {"GATEWAY_DATABASE_URL": database_url}

    teams, budgets, models = await asyncio.gather(
        gateway("team", "list", **environ),
        gateway("budget", "show", **environ),
        gateway("spend", "--month", LAST, "--by", "model", **environ),
    )

    for listed in (teams, budgets):
        shown = listed.stdout.decode()
        assert listed.status == 0, listed.stderr
        assert all(name in shown for name in names[:3])
        assert r"gone\u200b" in shown
    assert (models.status, r"claude-[/b]\x1b[2J" in models.stdout.decode()) == (0, True)


class Terminal:
    """As much of one as a table looks at; nothing is drawn in colour."""

    def __init__(self, width: int) -> None:
        self.leader, follower = pty.openpty()
        ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.file = os.fdopen(follower, "w")

    def close(self) -> None:
        self.file.close()
        os.close(self.leader)


BUDGET = {
    "team": "growth",
    "cap_usd": Decimal("1234567.891234567891"),
    "spend_usd": Decimal("123456.789123456789"),
    "held_usd": Decimal("0.123456789012"),
    "remaining_usd": Decimal("1111111.102111111102"),
    "status": "ok",
    "resets_at": "2026-12-01T00:00:00Z",
    "forecast_usd": Decimal("150000.12"),
}
KEY = {"prefix": "gw_abcdefgh", "team": "growth", "label": "what it is for " * 5, "made": None}


def drawn(rows: list[dict[str, object]], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal(width)
    try:
        return table(rows, terminal.file)
    finally:
        terminal.close()


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("row", [BUDGET, KEY], ids=["budget", "key"])
def test_no_number_and_no_id_is_cut_in_a_narrow_terminal(
    row: dict[str, object], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = drawn([row, row], width, monkeypatch)

    for value in row.values():
        words = f"{value:f}" if isinstance(value, Decimal) else str(value or "-")
        assert all(word in shown for word in words.split())
    assert all(part in shown for name in row for part in name.split("_"))
    assert "…" not in shown


def test_text_folds_between_words_and_the_table_keeps_to_the_width(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = drawn([KEY], 60, monkeypatch)

    assert max(len(line) for line in shown.splitlines()) <= 60
    assert shown.count("gw_abcdefgh") == 1
    assert shown.count("what") == 5


def test_where_folding_is_not_enough_each_field_has_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = drawn([BUDGET, BUDGET], 40, monkeypatch).splitlines()

    assert lines[:2] == ["team           growth", "cap_usd        1234567.891234567891"]
    assert len(lines) == 2 * len(BUDGET) + 1
