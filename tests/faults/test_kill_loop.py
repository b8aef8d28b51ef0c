"""A small run of `make kill-test`, and what its auditor would say of a ledger that is wrong."""

import json
from decimal import Decimal
from uuid import uuid4

import pytest
from rich.console import Console
from rich.progress import Progress

from gateway.domain.entry import Amounts
from gateway.domain.ids import ApiKeyId, EntryId
from gateway.domain.usage import UsageSource
from gateway.ledger.posting import post
from gateway.postgres.connection import DedicatedConnection
from scripts.kill_audit import Findings, audit
from scripts.kill_clients import Credential, Sent
from scripts.kill_provider import SONNET, Generated
from scripts.kill_test import Plan, run, summary
from tests.fakes.settlements import settlement

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(kills=4, batch=4, clients=8, seed=11, pause_s=0.1),
        Plan(kills=3, batch=3, clients=6, seed=12, pause_s=0.1, workers=2, is_embedded=True),
    ],
    ids=["one worker, a database of its own", "two workers, the embedded database"],
)
async def test_kills_lose_nothing_and_count_nothing_twice(tmp_path, plan):
    progress = Progress(console=Console(quiet=True))
    report = await run(plan, tmp_path, progress)
    assert json.loads(summary(plan, report))["kills"] == plan.kills
    assert report.findings.violations == []
    assert report.kills.total() == plan.kills
    assert report.findings.counts["heard"] > 0
    assert report.verified == 1


def sent(number, **changes):
    fields = {
        "tag": f"{number}/p0000",
        "credential": Credential(number, "gw_x"),
        "product": "p0000",
        "is_streaming": False,
        "status": 200,
        "body": b"{}",
        "is_whole": True,
    }
    return Sent(**{**fields, **changes})


def generated(one, **changes):
    fields = {
        "tag": one.tag,
        "model": SONNET,
        "response_id": "gen",
        "input_tokens": 100,
        "output_tokens": 10,
        "kind": "whole",
        "body": one.body,
    }
    return Generated(**{**fields, **changes})


@pytest.fixture
async def book(database_url):
    """`await book(3)`: an entry of request 3 as the poster writes it, its total included."""
    connection = DedicatedConnection(database_url, application_name="tests")

    async def book(number, source=UsageSource.EXACT, **detail):
        one = settlement(
            entry_id=EntryId(str(uuid4())),
            api_key_id=ApiKeyId(number),
            product="p0000",
            amounts=Amounts(input_pico_usd=int(RIGHT_USD * 10**12)),
            usage_source=source,
            detail=detail,
        )
        posting = await post(connection, uuid4(), [one.entry], timeout_s=5)
        assert posting.inserted == 1

    yield book
    await connection.close()


RIGHT_USD = Decimal("0.00045")


async def kinds_of_violations(database, one, made):
    findings = Findings()
    await audit(database, [one], {one.tag: made} if made else {}, findings)
    return {violation.partition(":")[0] for violation in findings.violations}


async def test_the_auditor_sees_what_is_lost(database):
    one = sent(1)
    assert "lost" in await kinds_of_violations(database, one, [generated(one)])


async def test_the_auditor_sees_what_is_counted_twice_or_wrong(database, book):
    one = sent(2)
    await book(2)
    assert await kinds_of_violations(database, one, [generated(one)]) == set()
    assert "exact and wrong" in await kinds_of_violations(
        database, one, [generated(one, output_tokens=11)]
    )
    await book(2)
    assert "twice" in await kinds_of_violations(database, one, [generated(one)])


async def test_the_auditor_sees_entries_that_nobody_asked_for(database, book):
    await book(3)
    assert "never sent" in await kinds_of_violations(database, sent(3), [])
    await book(4, UsageSource.ESTIMATED, outcome="worker_died")
    assert "never sent" not in await kinds_of_violations(database, sent(4, status=None), [])


async def test_the_auditor_sees_an_estimate_of_what_a_client_heard_whole(database, book):
    one = sent(5)
    await book(5, UsageSource.ESTIMATED, outcome="worker_died")
    assert "heard and not exact" in await kinds_of_violations(database, one, [generated(one)])


async def test_the_auditor_sees_a_clean_end_of_a_wrong_answer(database, book):
    one = sent(6)
    await book(6)
    found = await kinds_of_violations(database, one, [generated(one, body=b"another")])
    assert "a clean end of a wrong answer" in found
