"""The wheel, away from any checkout: it holds the migrations and brings a database up to date."""

import asyncio
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gateway.postgres.connection import connect
from tests.integration.test_migrations import SITE


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, as an installation lays it out."""
    checkout = Path(__file__).parents[2]
    built, installed = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("installed")
    command = ("pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps")
    subprocess.run(
        [sys.executable, "-m", *command, "--no-build-isolation", "--no-index", "-w", built, "."],
        cwd=checkout,
        check=True,
        capture_output=True,
    )
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    return installed


def gateway(
    installed: Path, directory: Path, url: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=directory,
        env=kept | {"PYTHONPATH": str(installed), "GATEWAY_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )


def caps(url: str) -> list[int]:
    async def work() -> list[int]:
        connection = await connect(url, application_name="tests")
        try:
            rows = await connection.fetch("SELECT monthly_cap_usd FROM ledger.team")
        finally:
            await connection.close()
        return [int(row["monthly_cap_usd"]) for row in rows]

    return asyncio.run(work())


def test_the_wheel_holds_the_products_migrations_and_no_others(
    installed: Path, checkout: Path
) -> None:
    def files(root: Path, pattern: str) -> set[str]:
        return {str(path.relative_to(root)) for path in root.glob(pattern)}

    packaged, own = installed / "gateway/migrations", checkout / "migrations"
    for pattern in ("env.py", "*.mako", "versions/*.py", "sql/*.sql"):
        assert files(packaged, pattern) == files(own, pattern)
    assert files(packaged, "site/*") == {"site/0000_site_base.py"}
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"gateway"}


def test_an_installed_gateway_migrates_with_the_sites_files_or_without(
    installed: Path, empty_database_url: str, tmp_path: Path
) -> None:
    site = tmp_path / "migrations/site"
    arguments = (installed, tmp_path, empty_database_url)

    without = gateway(*arguments, "migrate")
    site.mkdir(parents=True)
    (site / "0001_caps.py").write_text(SITE)
    outdated = gateway(*arguments, "team", "list")
    added = gateway(*arguments, "migrate")
    (site / "0000_site_base.py").write_bytes(
        (installed / "gateway/migrations/site/0000_site_base.py").read_bytes()
    )
    whole = gateway(*arguments, "migrate")

    for done in (without, added, whole):
        assert (done.returncode, done.stderr) == (0, "")
    assert (outdated.returncode, "gateway migrate" in outdated.stderr) == (1, True)
    assert caps(empty_database_url) == [500]
