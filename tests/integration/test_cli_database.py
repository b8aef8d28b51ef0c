"""A database that cannot be had: each reason in its own words, and never the password."""

import pytest

from gateway.postgres.connection import connect
from tests.fakes.command import gateways, ran

PASSWORD = "pa55word"
MALFORMED = (
    f"postgresql://gateway:{PASSWORD}@127.0.0.1:notaport/ledger",
    f"postgresql://gateway:{PASSWORD}/more@127.0.0.1/ledger",
    f"postgresql://gateway:{PASSWORD}@[::1/ledger",
    f"postgresql://gateway:{PASSWORD}@127.0.0.1/ledger?port=x",
    f"postgresql://gateway:{PASSWORD}@127.0.0.1/ledger?sslmode",
    f"postgresql://gateway:{PASSWORD}@127.0.0.1/ledger?sslmode=perhaps",
)


@pytest.mark.parametrize("url", MALFORMED)
async def test_a_malformed_url_is_a_wrong_setting_and_stays_secret(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", url)

    for finished in await ran(capsys, "team list", "migrate", "database url"):
        assert (finished.status, len(finished.lines)) == (2, 1)
        assert "GATEWAY_DATABASE_URL" in finished.stderr
        assert PASSWORD not in finished.stderr


async def test_a_missing_database_a_refused_login_and_a_dead_server_are_told_apart(
    database_url: str,
) -> None:
    connection = await connect(database_url, application_name="tests")
    await connection.execute("CREATE ROLE nologin NOLOGIN")
    await connection.close()
    name = database_url.partition("@/")[2].partition("?")[0]
    nowhere = database_url.replace(f"@/{name}", "@/nothing_here")
    nobody = database_url.replace("//gateway@", f"//nologin:{PASSWORD}@")

    (missing,) = await gateways("spend", GATEWAY_DATABASE_URL=nowhere)
    (refused,) = await gateways("spend", GATEWAY_DATABASE_URL=nobody)
    (checked,) = await gateways("doctor --json", GATEWAY_DATABASE_URL=nobody)
    (dead,) = await gateways(
        "spend", GATEWAY_DATABASE_URL=f"postgresql://x:{PASSWORD}@127.0.0.1:9/none"
    )

    assert 'database "nothing_here" does not exist' in missing.stderr
    assert 'role "nologin" is not permitted to log in' in refused.stderr
    assert "is not permitted to log in" in checked.stdout.decode()
    assert "does not answer (ConnectionRefusedError" in dead.stderr
    connection = await connect(database_url, application_name="tests")
    await connection.execute("DROP ROLE nologin")
    await connection.close()
    for finished in (missing, refused, dead):
        assert (finished.status, len(finished.lines)) == (1, 1)
        assert PASSWORD not in finished.stderr
    assert PASSWORD not in checked.stdout.decode()


async def test_every_problem_of_the_settings_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in {
        "GATEWAY_WORKER": "3",
        "GATEWAY_BUDGET_FAIL_MODE": "x",
        "GATEWAY_ADMIN_PORT": "abc",
    }.items():
        monkeypatch.setenv(name, text)

    (finished,) = await ran(capsys, "team list")

    assert (finished.status, len(finished.lines)) == (2, 3)
    assert all(
        name in finished.stderr
        for name in ("GATEWAY_WORKERS", "GATEWAY_BUDGET_FAIL_MODE", "GATEWAY_ADMIN_PORT")
    )
