"""Holds the ledger against the provider's bill and against what clients heard."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from gateway.postgres.connection import Connection
from scripts.kill_clients import Sent
from scripts.kill_provider import Generated

Row = Mapping[str, Any]
_WORKER_DIED = "worker_died"
_REFUSED_STATUS = 429
_ENTRIES = """
SELECT api_key_id, product, entry_id::text, amount_usd, usage_source, http_status,
       provider_response_id, client_aborted, detail->>'outcome' AS outcome
FROM ledger.ledger_entry WHERE api_key_id = ANY($1::bigint[])
"""
_MUST_BE_EMPTY = {
    "totals differ from rows": "SELECT * FROM ledger.reconciliation WHERE NOT balanced",
    "dead letters": "SELECT error FROM ledger.dead_letter",
    "money is held": "SELECT team, held_usd FROM ledger.budget_status WHERE held_usd <> 0",
}


@dataclass
class Findings:
    """What was counted, and every violation in words."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    billed_usd: Decimal = Decimal(0)
    booked_usd: Decimal = Decimal(0)

    def wrong(self, kind: str, detail: object) -> None:
        self.violations.append(f"{kind}: {detail}")


async def audit(
    database: Connection,
    sent: Sequence[Sent],
    bill: Mapping[str, Sequence[Generated]],
    findings: Findings,
) -> None:
    """Every request of a batch, once nothing runs any more."""
    keys = sorted({one.credential.api_key_id for one in sent})
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in await database.fetch(_ENTRIES, keys):
        rows[f"{row['api_key_id']}/{row['product']}"].append(row)
    asked = {one.tag: one for one in sent}
    for tag in rows.keys() | bill.keys():
        if tag not in asked:
            findings.wrong("orphan", f"nobody sent {tag}")
    for tag, one in asked.items():
        _request(one, rows.get(tag, []), bill.get(tag, ()), findings)
    await audit_books(database, findings)


async def audit_books(database: Connection, findings: Findings) -> None:
    """What must hold of a ledger whoever wrote it."""
    for name, query in _MUST_BE_EMPTY.items():
        for row in await database.fetch(query):
            findings.wrong(name, dict(row))


def _request(one: Sent, rows: Sequence[Row], made: Sequence[Generated], findings: Findings) -> None:
    findings.counts["requests"] += 1
    findings.counts["generated"] += len(made)
    findings.counts["entries"] += len(rows)
    findings.billed_usd += sum((each.amount_usd for each in made), Decimal(0))
    findings.booked_usd += sum((row["amount_usd"] for row in rows), Decimal(0))
    if len(rows) > 1:
        findings.wrong("twice", [dict(row) for row in rows])
    if len(made) > 1:
        findings.wrong("generated twice", one.tag)
    if made and not rows:
        findings.wrong("lost", (one.tag, made[0].kind, one.status, one.has_heard_the_end))
    if not made and any(row["outcome"] != _WORKER_DIED for row in rows):
        findings.wrong("never sent", [dict(row) for row in rows])
    if one.has_heard_the_end:
        _heard(one, rows, made, findings)
    if one.status == _REFUSED_STATUS:
        # Neither team is near a cap.
        findings.wrong("a phantom refusal", one.body)
    if one.status is not None and one.status >= 400 and one.is_whole and not made and rows:
        findings.wrong("refused and booked", [one.status, *map(dict, rows)])
    for row in rows:
        _entry(one, row, made, findings)


def _heard(one: Sent, rows: Sequence[Row], made: Sequence[Generated], findings: Findings) -> None:
    """A client heard the answer's end: the ledger has its exact amount under its id."""
    findings.counts["heard"] += 1
    if not made or made[-1].body != one.body or made[-1].kind != "whole":
        findings.wrong("a clean end of a wrong answer", one.tag)
        return
    for row in rows:
        if (row["usage_source"], row["amount_usd"]) != ("exact", made[-1].amount_usd):
            findings.wrong("heard and not exact", (dict(row), made[-1].amount_usd))


def _entry(one: Sent, row: Row, made: Sequence[Generated], findings: Findings) -> None:
    if one.entry_id is not None and row["entry_id"] != one.entry_id:
        findings.wrong("another id", (one.entry_id, dict(row)))
    if row["usage_source"] == "exact":
        findings.counts["exact"] += 1
        if not made or row["amount_usd"] != made[-1].amount_usd:
            findings.wrong("exact and wrong", (dict(row), made))
    elif row["outcome"] == _WORKER_DIED:
        findings.counts["estimated by recovery"] += 1
        if row["amount_usd"] <= 0:
            findings.wrong("an estimate of nothing", dict(row))
    else:
        findings.counts["estimated when cut"] += 1
        least = _least_usd(one, made)
        if row["amount_usd"] <= 0 or row["amount_usd"] < least:
            findings.wrong("an estimate below what was seen", (dict(row), least))


def _least_usd(one: Sent, made: Iterable[Generated]) -> Decimal:
    """What the client saw: the input, where the answer names it at its beginning, and the words."""
    least = Decimal(0)
    for each in made:
        if b'"input_tokens"' in one.body:
            least = each.cost_usd(one.body.count(b'"word "'))
    return least
