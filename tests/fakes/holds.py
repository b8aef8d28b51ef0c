"""Holds for tests of the journal, with the settlements that end them."""

from typing import Any

from gateway.domain.entry import Hold, Settlement
from tests.fakes.settlements import settlement


def hold_of(ended: Settlement, **changes: Any) -> Hold:
    entry = ended.entry
    values: dict[str, Any] = {
        "entry_id": entry.entry_id,
        "month": entry.month,
        "team_id": entry.team_id,
        "api_key_id": entry.api_key_id,
        "product": entry.product,
        "provider": entry.provider,
        "dialect": entry.dialect,
        "request_model": entry.request_model,
        "amount_pico_usd": entry.hold_pico_usd,
        "budget_status": entry.budget_status,
        "admitted_at": entry.occurred_at,
        "is_leased": entry.is_leased,
    }
    return Hold(**values | changes)


def hold(**changes: Any) -> Hold:
    return hold_of(settlement(), **changes)
