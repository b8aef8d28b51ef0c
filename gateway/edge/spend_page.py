"""The spend page of the admin listener: a month at a glance, without scripts or outside files."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from html import escape

from gateway.domain.clock import month_end
from gateway.domain.money import cents
from gateway.reports.overview import Overview

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;
color:#1b1f24}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
td,th{padding:.3rem .6rem;border-bottom:1px solid #e3e6ea;text-align:left}
th[scope=row]{font-weight:400}td.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{background:#e9edf2;border-radius:3px;height:.7rem;min-width:8rem}
.bar i{display:block;height:100%;border-radius:3px;background:#3b7dd8}
.warn i{background:#d9a400}.engage i{background:#e07b00}.blocked i{background:#c9302c}
svg{width:100%;height:8rem}rect{fill:#3b7dd8}text{font-size:9px;fill:#59636e}
@media(prefers-color-scheme:dark){body{background:#14171a;color:#dde2e7}
td,th{border-color:#2c3238}.bar{background:#2c3238}text{fill:#98a2ac}}
"""
_CHART_HEIGHT = 110
_DAY_WIDTH = 20
_WHOLE = Decimal(100)
_NOTHING = Decimal(0)
_CENT = Decimal("0.01")


def spend_page(overview: Overview) -> bytes:
    """HTML of one page; everything that people wrote is escaped."""
    month = f"{overview.month:%B %Y}"
    total = sum((_amount(day, "spend_usd") for day in overview.days), _NOTHING)
    sections = (
        f"<h1>Spend in {month}</h1>",
        f"<p>Total: <strong>{_dollars(total)}</strong></p>",
        _chart(overview.month, overview.days),
        "<h2>Teams</h2>",
        _teams(overview.teams),
        "<h2>Models</h2>",
        _models(overview.models),
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>Spend in {month}</title><style>{_STYLE}</style>{''.join(sections)}"
    ).encode()


def _chart(month: date, days: Sequence[Mapping[str, object]]) -> str:
    """A bar a day for the eye, days without spend in their places, and the amounts as a table."""
    if not days:
        return "<p>Nothing was spent yet.</p>"
    spend = {str(day["day"]): _amount(day, "spend_usd") for day in days}
    most = max(spend.values()) if max(spend.values()) > 0 else Decimal(1)
    bars, rows = [], []
    for number in range((month_end(month).date() - month).days):
        day = f"{month + timedelta(days=number)}"
        x, amount = number * _DAY_WIDTH, spend.get(day)
        bars.append(f"<text x={x} y={_CHART_HEIGHT + 12}>{day[-2:]}</text>")
        if amount is None:
            continue
        # What was given back has no height, and a little still has some.
        height = max(1, int(amount * _CHART_HEIGHT / most)) if amount > 0 else 0
        bars.append(
            f"<rect x={x} y={_CHART_HEIGHT - height} width={_DAY_WIDTH - 4} height={height}>"
            f"<title>{day}: {_dollars(amount)}</title></rect>"
        )
        rows.append(_row(day, [_dollars(amount)]))
    width = _DAY_WIDTH * (month_end(month).date() - month).days
    return (
        f'<svg viewBox="0 0 {width} {_CHART_HEIGHT + 16}" aria-hidden=true>{"".join(bars)}</svg>'
        f"<details><summary>Spend by day, as a table</summary>{_table(('day', 'spend'), rows)}"
        "</details>"
    )


def _teams(teams: Sequence[Mapping[str, object]]) -> str:
    rows = []
    for team in teams:
        spend, cap = _amount(team, "spend_usd"), team["cap_usd"]
        status, cap_shown, bar = "", "no cap", ""
        if isinstance(cap, Decimal) and cap > 0:
            status, cap_shown = escape(str(team["status"])), _dollars(cap)
            used = max(_NOTHING, min(_WHOLE, spend * _WHOLE / cap))
            bar = f'<div class="bar {status}"><i style="width:{used:.1f}%"></i></div>'
        amounts = [_dollars(spend), cap_shown, _dollars(_amount(team, "held_usd"))]
        rows.append(_row(str(team["team"]), amounts, [status, bar]))
    return _table(("team", "spend", "cap", "held", "status", "of the cap"), rows)


def _models(models: Sequence[Mapping[str, object]]) -> str:
    rows = [
        _row(str(model["model"]), [_dollars(_amount(model, "spend_usd")), f"{model['entries']}"])
        for model in models
    ]
    return _table(("model", "spend", "requests"), rows)


def _amount(row: Mapping[str, object], name: str) -> Decimal:
    value = row[name]
    assert isinstance(value, Decimal)
    return value


def _dollars(amount_usd: Decimal) -> str:
    """As people write it; less than a cent is not nothing."""
    if amount_usd < 0:
        return f"&minus;{_dollars(amount_usd.copy_negate())}"
    if 0 < amount_usd < _CENT:
        return "&lt;$0.01"
    return f"${cents(amount_usd)}"


def _row(head: str, numbers: Iterable[str], more: Iterable[str] = ()) -> str:
    """`head` is anybody's text; the other cells are HTML."""
    return (
        f"<tr><th scope=row>{escape(head)}</th>"
        + "".join(f'<td class="n">{cell}</td>' for cell in numbers)
        + "".join(f"<td>{cell}</td>" for cell in more)
    )


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    columns = "".join(f"<th scope=col>{head}</th>" for head in heads)
    return f"<table><tr>{columns}{''.join(rows)}</table>"
