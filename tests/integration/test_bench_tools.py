"""The benchmark's own provider and load generator: what they count is what was sent."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from bench.processes import Cores, cpu_s
from bench.scenarios import BY_NAME
from bench.sockets import kernel_bytes
from bench.tools import MissingToolError, built


def load(port: int, directory: Path, body: bytes, *options: str) -> dict[str, object]:
    path = directory / "body.json"
    path.write_bytes(body)
    command = [built("load"), "-p", str(port), "-u", "/v1/messages", "-b", path, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return dict(json.loads(done.stdout))


@pytest.fixture
def provider_port() -> object:
    with subprocess.Popen([built("provider")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)


class TestCompiled:
    """Where there is a C compiler; without one `make bench` says so, which is tested below."""

    __test__ = shutil.which("cc") is not None

    def test_a_burst_is_counted_event_by_event(self, provider_port: int, tmp_path: Path) -> None:
        row = load(provider_port, tmp_path, BY_NAME["burst"].body, "-c", "8", "-n", "50", "-V")
        assert (row["requests"], row["broken"], row["mismatched"]) == (50, 0, 0)
        assert row["events"] == 50 * 206
        assert row["body_bytes"] == 28_739

    def test_how_the_provider_writes_does_not_change_what_it_says(
        self, provider_port: int, tmp_path: Path
    ) -> None:
        whole = BY_NAME["burst"].body
        in_pieces = whole.replace(b"mock-n200", b"mock-n200-w7")
        hashes = {
            load(provider_port, tmp_path, body, "-c", "2", "-n", "4", "-V")["hash"]
            for body in (whole, in_pieces)
        }
        assert len(hashes) == 1

    def test_a_paced_event_tells_its_delay(self, provider_port: int, tmp_path: Path) -> None:
        body = BY_NAME["burst"].body.replace(b"mock-n200", b"mock-n20-i5")
        row = load(provider_port, tmp_path, body, "-c", "3", "-n", "3")
        delay = row["delay_us"]
        assert isinstance(delay, dict)
        assert delay["n"] == 3 * 20
        assert 0 < delay["p50"] < 1_000_000

    def test_a_body_that_breaks_off_is_counted(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer_half() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
                    )

            thread = threading.Thread(target=answer_half)
            thread.start()
            row = load(listener.getsockname()[1], tmp_path, b"{}", "-c", "1", "-n", "1")
            thread.join()
        assert (row["requests"], row["broken"]) == (0, 1)
        assert "ended inside an answer" in str(row["error"])

    def test_a_stalled_reader_leaves_the_body_in_the_kernel(
        self, provider_port: int, tmp_path: Path
    ) -> None:
        body = BY_NAME["stalled"].body
        row = load(provider_port, tmp_path, body, "-c", "3", "-n", "3", "-S", "-t", "0.5")
        assert (row["stalled"], row["requests"], row["bytes"]) == (3, 0, 0)


def test_kernel_memory_is_that_of_queued_bytes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = kernel_bytes([os.getpid()])
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()
        with sender, receiver:
            sender.sendall(bytes(50_000))
            assert kernel_bytes([os.getpid()]) - before >= 50_000


def test_cpu_of_another_process_is_told() -> None:
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as busy:
        try:
            while cpu_s(busy.pid) < 0.05:
                pass
        finally:
            busy.kill()
    assert cpu_s(busy.pid) == 0.0


def test_the_contender_gets_a_core_that_nothing_else_has() -> None:
    cores = Cores.chosen()
    assert cores.contender != cores.others


def test_without_a_compiler_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="needs a C compiler"):
        built("load", tmp_path / "built")
