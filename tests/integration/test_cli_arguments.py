import asyncio
import subprocess
import sys

import pytest

from gateway.cli.main import run
from tests.fakes.command import gateways, ran

MONTH = ("--month", "2026-10")
ADJUST = ("ledger", "adjust", "--team", "x", "--amount", "1", "--reason", "r")
WRONG = (
    ((), "say which command"),
    (("spnd",), "did you mean spend?"),
    (("ledger",), "say which command: adjust|export|verify"),
    (("ledger", "verfy"), "verify"),
    (("spend", "--month", "2026-13"), "2026-11"),
    (("spend", "--month", "November"), "2026-11"),
    (("spend", "--by", "colour"), "product"),
    (("spend", "--format", "xlsx"), "parquet"),
    (("spend", "--no-such"), "--no-such"),
    (("ledger", "export", "--format", "csv"), "--month"),
    (("ledger", "export", *MONTH), "--format"),
    (("ledger", "export", *MONTH, "--format", "xml"), "focus"),
    (("ledger", "adjust", "--team", "x", "--amount", "many", "--reason", "r"), "dollars"),
    (("ledger", "adjust", "--team", "x", "--amount", "1"), "--reason"),
    (("ledger", "adjust", "--team", "x", "--amount", "1e40", "--reason", "r"), "at most"),
    (("ledger", "adjust", "--team", "x", "--amount", "-1e13", "--reason", "r"), "at most"),
    (("ledger", "adjust", "--team", "x", "--amount", "1e-13", "--reason", "r"), "12 decimals"),
    (("ledger", "adjust", "--team", "x", "--amount", "1e999999999", "--reason", "r"), "at most"),
    ((*ADJUST, "--month", "2099-01"), "to this one"),
    ((*ADJUST, "--month", "1999-05"), "months from 2000-01"),
    (("ledger", "adjust", "--team", "x", "--amount", "1", "--reason", "r", "--entry", "7"), "UUID"),
    (("period", "close"), "MONTH"),
    (("period", "close", "10-2026"), "2026-11"),
    (("reconcile", "acme", *MONTH), "anthropic"),
    (("reconcile",), "anthropic"),
    (("reconcile", "openai", *MONTH, "--tolerance", "-1"), "from 0"),
    (("price", "set", "m", "--input", "1", "--from", "2026-01-01"), "--output"),
    (("price", "set", "m", "--input", "1", "--output", "1"), "--from"),
    (("price", "set", "m", "--input", "1", "--output", "1", "--from", "soon"), "2026-11-25"),
    (("price", "rerate"), "--month"),
    (("savings", "--month", "2026"), "2026-11"),
    (("budget", "set", "--team", "x", "--cap", "0"), "say none"),
    (("budget", "set", "--team", "x", "--cap", "-5"), "say none"),
    (("budget", "set", "--team", "x", "--cap", "NaN"), "dollars"),
    (("budget", "set", "--team", "x", "--cap", "1e58"), "at most"),
    (("budget", "set", "--team", "x"), "--cap"),
    (("budget", "set", "--team", "x", "--cap", "1", "--enforcement", "soft"), "strict"),
    (("key", "create"), "--team"),
    (("key", "revoke"), "PREFIX"),
    (("team", "create"), "NAME"),
    (("team", "create", "z", "--cap", "1e400"), "at most"),
    (("team", "create", "z", "--cap", "0"), "say none"),
)


@pytest.mark.parametrize(
    ("arguments", "hint"), WRONG, ids=[" ".join(arguments) or "nothing" for arguments, _ in WRONG]
)
def test_a_wrong_argument_ends_with_status_2_and_one_line_that_says_what_is_right(
    arguments: tuple[str, ...], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(arguments)

    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "\t" not in printed.err
    assert hint in printed.err


async def test_names_that_are_not_there_and_settings_that_are_unknown_are_wrong_arguments(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
    nobody = await ran(
        capsys,
        "budget show --team nobody",
        "key revoke gw_nothing",
        "key list --team nobody --json",
        "team archive nobody",
        "price list --provider nope",
        "price show gpt-4o --provider nope",
    )
    nameless = await asyncio.to_thread(run, ["team", "create", ""]), capsys.readouterr().err
    monkeypatch.setenv("GATEWAY_DATABASE_ULR", database_url)
    (unknown,) = await ran(capsys, "team list")

    assert (nameless[0], "1 to 200" in nameless[1]) == (2, True)
    assert "anthropic, " in nobody[-1].stderr
    for finished in (*nobody, unknown):
        assert (finished.status, finished.stdout, len(finished.lines)) == (2, b"", 1)
    assert "GATEWAY_DATABASE_URL" in unknown.stderr


async def test_an_outdated_schema_and_a_dead_database_are_failures_that_say_what_to_do(
    empty_database_url: str,
) -> None:
    (outdated,) = await gateways("spend", GATEWAY_DATABASE_URL=empty_database_url)
    (dead,) = await gateways("spend", GATEWAY_DATABASE_URL="postgresql://x@127.0.0.1:9/none")

    assert (outdated.status, "gateway migrate" in outdated.stderr) == (1, True)
    assert (dead.status, "GATEWAY_DATABASE_URL" in dead.stderr) == (1, True)
    assert len(outdated.lines) == len(dead.lines) == 1


def test_a_command_that_is_interrupted_while_it_loads_ends_without_a_traceback() -> None:
    """The interrupt comes with the import of the commands, which takes the most of a start."""
    start = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'gateway.cli.main':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from gateway.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (130, "")
