import asyncio
import os
import pty
import sys
from pathlib import Path

from gateway.postgres.embedded import EmbeddedPostgres
from tests.fakes.command import gateway, gateways


async def test_commands_work_beside_a_running_server_and_without_one(tmp_path: Path) -> None:
    environ = {"GATEWAY_DATA_DIR": str(tmp_path)}
    server = EmbeddedPostgres(tmp_path, is_durable=False)
    await asyncio.to_thread(server.start)
    try:
        migrated = await gateway("migrate", "--json", **environ)
        made = await gateway("team", "create", "growth", "--cap", "25", "--json", **environ)
        shown, listed, keyed, beside = await gateways(
            "budget show --json",
            "price list --provider groq --json",
            "key create --team growth --label ci",
            "database url",
            **environ,
        )
    finally:
        await asyncio.to_thread(server.stop)
    address = await gateway("database", "url", **environ)
    alone = await gateway("key", "list", "--team", "growth", "--json", **environ)

    assert [each.status for each in (migrated, made, shown, listed, keyed, alone)] == [0] * 6
    assert (address.status, beside.status) == (0, 0)
    assert address.stdout == beside.stdout
    assert beside.stderr == ""
    assert (len(address.lines), "not running" in address.stderr) == (1, True)
    assert (shown.document[0]["team"], shown.document[0]["cap_usd"]) == ("growth", "25")
    assert len(listed.document) > 5
    key = keyed.stdout.decode().strip()
    assert key.startswith("gw_")
    assert "\n" not in key
    assert alone.document[0]["label"] == "ci"
    assert key.startswith(alone.document[0]["prefix"])
    assert key not in alone.stdout.decode()


async def test_a_bar_is_drawn_on_a_terminal_and_the_result_stays_clean(database_url: str) -> None:
    leader, follower = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "ledger", "export"),
        *("--month", "2001-01", "--format", "csv"),
        stdout=asyncio.subprocess.PIPE,
        stderr=follower,
        env={
            "PATH": os.environ["PATH"],
            "TERM": "xterm",
            "GATEWAY_DATABASE_URL": database_url,
        },
    )
    os.close(follower)
    stdout, _ = await process.communicate()
    drawn = os.read(leader, 65536)
    os.close(leader)

    assert process.returncode == 0
    assert stdout.startswith(b"entry_id,month,")
    assert stdout.count(b"\n") == 1
    assert b"2001-01" in drawn


async def test_a_reader_that_has_enough_is_no_error(database_url: str) -> None:
    await gateway("migrate", GATEWAY_DATABASE_URL=database_url)
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m gateway price list --json | head -c 1; "
        f"{sys.executable} -m gateway spend --format parquet | head -c 4",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "GATEWAY_DATABASE_URL": database_url},
    )
    stdout, stderr = await process.communicate()

    assert stdout == b"[PAR1"
    assert stderr == b""
