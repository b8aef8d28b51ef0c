"""What a provider itself says that each UTC day cost, from its organization's cost report.

Anthropic: `GET /v1/organizations/cost_report`, amounts as decimal strings in cents (its Admin API
reference: "123.45" is $1.2345). OpenAI: `GET /organization/costs`, amounts as JSON numbers in USD,
which are read as decimals and never as floats.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

import aiohttp

from gateway.config import Secret
from gateway.domain.clock import month_end, rfc3339

_TIMEOUT = aiohttp.ClientTimeout(total=60)
_PAGES_MAX = 100
_BUCKETS_A_PAGE = 31
_CENTS_PER_USD = Decimal(100)
_OK = 200
_ERROR_CHARACTERS_MAX = 300


class CostReportError(Exception):
    """The report cannot be had; the message says why and never holds the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Api:
    """How one provider wants to be asked, and how it answers."""

    base_url: str
    path: str
    headers: Callable[[str], dict[str, str]]
    period: Callable[[datetime, datetime], dict[str, str]]
    day: Callable[[Mapping[str, object]], date]
    amount_usd: Callable[[Mapping[str, object]], Decimal]


def _anthropic_amount(result: Mapping[str, object]) -> Decimal:
    return _dollars(result["amount"], result["currency"]) / _CENTS_PER_USD


def _openai_amount(result: Mapping[str, object]) -> Decimal:
    amount = result["amount"]
    if not isinstance(amount, Mapping):
        raise TypeError
    return _dollars(amount["value"], amount["currency"])


def _dollars(value: object, currency: object) -> Decimal:
    if str(currency).upper() != "USD":
        raise CostReportError(f"the report is in {currency}, and the ledger in USD")
    amount = Decimal(str(value))
    if not amount.is_finite():
        raise ValueError(value)
    return amount


_APIS = {
    "anthropic": _Api(
        base_url="https://api.anthropic.com",
        path="/v1/organizations/cost_report",
        headers=lambda key: {"x-api-key": key, "anthropic-version": "2023-06-01"},
        period=lambda start, end: {"starting_at": rfc3339(start), "ending_at": rfc3339(end)},
        day=lambda bucket: (
            datetime.fromisoformat(str(bucket["starting_at"])).astimezone(UTC).date()
        ),
        amount_usd=_anthropic_amount,
    ),
    "openai": _Api(
        base_url="https://api.openai.com/v1",
        path="/organization/costs",
        headers=lambda key: {"Authorization": f"Bearer {key}"},
        period=lambda start, end: {
            "start_time": str(int(start.timestamp())),
            "end_time": str(int(end.timestamp())),
        },
        day=lambda bucket: datetime.fromtimestamp(int(str(bucket["start_time"])), UTC).date(),
        amount_usd=_openai_amount,
    ),
}


async def daily_costs(
    provider: str, *, base_url: str | None, admin_key: Secret, month: date
) -> dict[date, Decimal]:
    """USD of each day of a month that the report names, all pages of it.

    Raises:
        CostReportError: the provider refuses, or answers with something else than its report.
    """
    api = _APIS[provider]
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    query = {
        **api.period(start, month_end(month)),
        "bucket_width": "1d",
        "limit": str(_BUCKETS_A_PAGE),
    }
    url = f"{base_url or api.base_url}{api.path}"
    costs: dict[date, Decimal] = defaultdict(Decimal)
    async with aiohttp.ClientSession(
        headers=api.headers(admin_key.value), timeout=_TIMEOUT, trust_env=True
    ) as session:
        for _ in range(_PAGES_MAX):
            page = await _page(session, url, query)
            try:
                _add(costs, page, api)
                next_page = page["next_page"] if page["has_more"] else None
            except (KeyError, TypeError, ValueError, InvalidOperation) as exc:
                raise CostReportError(
                    f"{url} answered with something else than its cost report "
                    f"({type(exc).__name__}: {exc})"
                ) from exc
            if next_page is None:
                return dict(costs)
            query = {**query, "page": str(next_page)}
    raise CostReportError(f"{url} has more than {_PAGES_MAX} pages for one month")


def _add(costs: dict[date, Decimal], page: Mapping[str, object], api: _Api) -> None:
    buckets = page["data"]
    if not isinstance(buckets, list):
        raise TypeError("data is no list")
    for bucket in buckets:
        costs[api.day(bucket)] += sum(
            (api.amount_usd(result) for result in bucket["results"]), Decimal(0)
        )


async def _page(
    session: aiohttp.ClientSession, url: str, query: Mapping[str, str]
) -> dict[str, object]:
    try:
        async with session.get(url, params=query, allow_redirects=False) as response:
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise CostReportError(f"{url} cannot be reached: {type(exc).__name__}") from exc
    if response.status != _OK:
        raise CostReportError(f"{url} answered {response.status}: {text[:_ERROR_CHARACTERS_MAX]}")
    try:
        page: object = json.loads(text, parse_float=Decimal)
    except ValueError as exc:
        raise CostReportError(f"{url} answered with something that is not JSON") from exc
    if not isinstance(page, dict):
        raise CostReportError(f"{url} answered with something else than its cost report")
    return page
