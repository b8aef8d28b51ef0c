"""A gateway with every provider for each module, and a count of what was tried at the end."""

import asyncio

import pytest

from tests.fakes.aws import aws_environment
from tests.fakes.dialects import EVERY_PROVIDER


@pytest.fixture(scope="module")
def shared_gateway(make_gateway):
    with aws_environment():
        yield make_gateway(**EVERY_PROVIDER)


@pytest.fixture(scope="module")
def payer(shared_gateway):
    """The team of all calls that must be refused; it never pays anything."""
    return asyncio.run(shared_gateway.make_team())


def pytest_terminal_summary(terminalreporter):
    ended = {
        outcome: [
            report
            for report in terminalreporter.stats.get(outcome, [])
            if "tests/evasion/" in report.nodeid and report.when == "call"
        ]
        for outcome in ("passed", "failed")
    }
    tried = sum(map(len, ended.values()))
    if tried:
        terminalreporter.write_line(f"evasions tried: {tried}, succeeded: {len(ended['failed'])}")
