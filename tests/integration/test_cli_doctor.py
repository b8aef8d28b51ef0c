import asyncio
from pathlib import Path

from tests.fakes.command import gateway


def states(document: dict[str, object]) -> dict[str, str]:
    return {each["check"]: each["state"] for each in document["checks"]}  # type: ignore[attr-defined]


async def test_doctor_finds_nothing_wrong_where_nothing_is(
    database_url: str, tmp_path: Path
) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    environ = {
        "GATEWAY_DATABASE_URL": database_url,
        "GATEWAY_DATA_DIR": str(data),
        "GATEWAY_ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
        "GATEWAY_POSTHOG_HOST": f"http://127.0.0.1:{port}",
    }

    async with server:
        machine = await gateway("doctor", "--json", **environ)
        person = await gateway("doctor", **environ)

    assert machine.status == 0, machine.stdout
    found = states(machine.document)
    assert machine.document["healthy"] is True
    # Tests run their server without fsync, and without published prices.
    assert {name for name, state in found.items() if state == "warn"} <= {
        "durability",
        "prices",
        "disk",
    }
    assert {"config", "database", "clock", "partitions", "provider anthropic", "posthog"} <= set(
        found
    )
    assert (person.status, b"provider anthropic" in person.stdout) == (0, True)
    assert list(data.iterdir()) == []


async def test_doctor_names_everything_that_is_wrong_at_once(
    empty_database_url: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)

    finished = await gateway(
        *("doctor", "--json"),
        GATEWAY_DATABASE_URL=empty_database_url,
        GATEWAY_DATA_DIR=str(data),
        GATEWAY_OPENAI_BASE_URL="http://127.0.0.1:9",
    )

    assert finished.status == 1
    assert {name for name, state in states(finished.document).items() if state == "fail"} == {
        "data directory",
        "schema",
        "provider openai",
    }
    assert finished.document["healthy"] is False


async def test_doctor_says_what_happens_without_a_credential(
    database_url: str, tmp_path: Path
) -> None:
    own = await gateway(
        *("doctor", "--json"),
        GATEWAY_DATABASE_URL=database_url,
        GATEWAY_DATA_DIR=str(tmp_path / "data"),
    )
    embedded = await gateway("doctor", "--json", GATEWAY_DATA_DIR=str(tmp_path / "data"))

    for finished, said in ((own, "503; set GATEWAY_ANTHROPIC_API_KEY"), (embedded, "simulated")):
        (detail,) = (
            each["detail"] for each in finished.document["checks"] if each["check"] == "providers"
        )
        assert said in detail


async def test_doctor_leaves_a_fresh_machine_as_it_was(tmp_path: Path) -> None:
    finished = await gateway("doctor", "--json", GATEWAY_DATA_DIR=str(tmp_path / "data"))

    assert finished.status == 0, finished.stdout
    assert states(finished.document)["database"] == "ok"
    assert list(tmp_path.iterdir()) == []


async def test_doctor_reports_a_bad_setting_and_a_dead_database(tmp_path: Path) -> None:
    bad = await gateway("doctor", "--json", GATEWAY_PROT="8080")
    dead = await gateway(
        *("doctor", "--json"),
        GATEWAY_DATABASE_URL="postgresql://nobody@127.0.0.1:9/none",
        GATEWAY_DATA_DIR=str(tmp_path / "data"),
    )

    assert bad.status == dead.status == 1
    assert states(bad.document) == {"config": "fail"}
    assert "GATEWAY_PORT" in bad.document["checks"][0]["detail"]
    assert states(dead.document)["database"] == "fail"
    assert not (tmp_path / "data").exists()
