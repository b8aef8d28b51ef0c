"""`gateway serve --demo` on a machine with nothing: what it prints works when it is pasted."""

import asyncio
import shlex
import socket

import pytest

from tests.fakes import command
from tests.fakes.raw_client import request
from tests.fixtures.process import GatewayProcess

pytestmark = pytest.mark.timeout(180)


def start(data_dir):
    return asyncio.to_thread(GatewayProcess, data_dir, "--demo", as_json=False)


def parsed(line):
    """The request that a shell would make of a curl line: (flags, url, headers, body)."""
    words = shlex.split(line)
    assert words[0] == "curl"
    flags, url, headers, body = [], "", [], ""
    rest = iter(words[1:])
    for word in rest:
        if word == "-H":
            name, _, value = next(rest).partition(": ")
            headers.append((name, value))
        elif word == "-d":
            body = next(rest)
        elif word.startswith("-"):
            flags.append(word)
        else:
            url = word
    return flags, url, headers, body


async def test_the_curl_line_works_when_pasted_and_comes_once(tmp_path):
    with await start(tmp_path / "data") as gateway:
        (line,) = [line for line in gateway.output.splitlines() if line.startswith("curl")]
        flags, url, headers, body = parsed(line)
        assert "-N" in flags
        assert '"stream":true' in body
        origin, slash, path = url.removeprefix("http://").partition("/")
        answer = await request(f"http://{origin}", "POST", slash + path, headers, body.encode())
        assert answer.status == 200
        assert answer.is_whole
        assert answer.header("content-type").startswith("text/event-stream")
        assert answer.header("x-gateway-simulated") == "true"
        assert b"event: message_stop" in answer.body
    assert "SIMULATED" in gateway.log
    assert "gw_" not in gateway.log

    with await start(tmp_path / "data") as again:
        assert "curl" not in again.output
        assert "gateway key create --team demo" in again.output
        keys = await asyncio.to_thread(again.command, "key", "list")
        assert [key["team"] for key in keys] == ["demo"]
        spend = await asyncio.to_thread(again.command, "spend")
        assert "demo" in str(spend)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_start_on_a_taken_port_says_so_and_leaves_the_key_to_the_next(tmp_path, workers):
    data_dir = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        failed = await command.gateway(
            *("serve", "--demo", "--port", port, "--workers", workers),
            GATEWAY_DATA_DIR=str(data_dir),
            GATEWAY_ADMIN_PORT="0",
        )
    assert failed.status == 1
    assert failed.stdout == b""
    assert failed.lines[-1] == (
        f"gateway: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose --host and --port"
    )

    with await start(data_dir) as gateway:
        assert len([line for line in gateway.output.splitlines() if line.startswith("curl")]) == 1


async def test_a_host_that_is_no_address_here_is_named(tmp_path):
    failed = await command.gateway(
        *("serve", "--host", "no-such-host.invalid"), GATEWAY_DATA_DIR=str(tmp_path / "data")
    )
    assert failed.status == 1
    assert failed.lines[-1].startswith("gateway: cannot listen on no-such-host.invalid:8080: ")
