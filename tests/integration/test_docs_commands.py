"""Every command and statement that the pages for admins and finance show runs as it stands there."""

import asyncio
import re
import shlex
from pathlib import Path

import pytest

from gateway.cli.main import run
from gateway.postgres.connection import connect

_BLOCK = re.compile(r"^```(sh|sql)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SKIPPED = ("gateway doctor",)  # It looks at this machine, which may well be short of something.


def run_statements(url: str, statements: str) -> None:
    async def work() -> None:
        connection = await connect(url, application_name="tests-docs")
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    asyncio.run(work())


def test_what_the_pages_show_runs(
    checkout: Path,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run_statements(database_url, "CREATE ROLE bookkeeper LOGIN IN ROLE finance_admin")
    finance_url = database_url.replace("//gateway@", "//bookkeeper@")
    commands = 0
    for page, url in (("admin.md", database_url), ("finance.md", finance_url)):
        monkeypatch.setenv("GATEWAY_DATABASE_URL", url)
        for kind, block in _BLOCK.findall((checkout / "docs" / page).read_text(encoding="utf-8")):
            if kind == "sql":
                run_statements(url, block)
                continue
            for line in block.splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "gateway", line
                if line.startswith(SKIPPED):
                    continue
                status = run(arguments)
                assert status == 0, (line, capsys.readouterr().err)
                commands += 1

    run_statements(database_url, "DROP ROLE bookkeeper")
    assert commands > 25
    assert {each.name for each in tmp_path.iterdir()} == {
        "spend.parquet",
        "focus-2026-10.csv",
        "entries-2026-10.parquet",
        "entries-2026-10.csv",
    }
