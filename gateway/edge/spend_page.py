"""The spend page of the admin listener: a month at a glance, without scripts or outside files."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from html import escape

from gateway.domain.money import cents
from gateway.reports.overview import Overview

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;
color:#1b1f24}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
td,th{padding:.3rem .6rem;border-bottom:1px solid #e3e6ea;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{background:#e9edf2;border-radius:3px;height:.7rem;min-width:8rem}
.bar i{display:block;height:100%;border-radius:3px;background:#3b7dd8}
.warn i{background:#d9a400}.engage i{background:#e07b00}.blocked i{background:#c9302c}
svg{width:100%;height:8rem}rect{fill:#3b7dd8}text{font-size:9px;fill:#59636e}
@media(prefers-color-scheme:dark){body{background:#14171a;color:#dde2e7}
td,th{border-color:#2c3238}.bar{background:#2c3238}text{fill:#98a2ac}}
"""
_CHART_WIDTH = 620
_CHART_HEIGHT = 110
_DAY_WIDTH = 20
_WHOLE = Decimal(100)


def spend_page(overview: Overview) -> bytes:
    """HTML of one page; everything that people wrote is escaped."""
    month = f"{overview.month:%B %Y}"
    sections = (
        f"<h1>Spend in {month}</h1>",
        _chart(overview.days),
        "<h2>Teams</h2>",
        _teams(overview.teams),
        "<h2>Models</h2>",
        _models(overview.models),
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>Spend in {month}</title><style>{_STYLE}</style>{''.join(sections)}"
    ).encode()


def _chart(days: Sequence[Mapping[str, object]]) -> str:
    """A bar a day; the heights are for the eye, the numbers are in the bars' titles."""
    if not days:
        return "<p>Nothing was spent yet.</p>"
    most = max((_amount(day, "spend_usd") for day in days), default=Decimal(0)) or Decimal(1)
    bars = []
    for index, day in enumerate(days):
        spend = _amount(day, "spend_usd")
        height = max(1, int(spend * _CHART_HEIGHT / most))
        x = index * _DAY_WIDTH
        label = escape(str(day["day"]))
        bars.append(
            f"<rect x={x} y={_CHART_HEIGHT - height} width={_DAY_WIDTH - 4} height={height}>"
            f"<title>{label}: ${cents(spend)}</title></rect>"
            f"<text x={x} y={_CHART_HEIGHT + 12}>{label[-2:]}</text>"
        )
    return (
        f'<svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT + 16}" role=img '
        f'aria-label="Spend by day">{"".join(bars)}</svg>'
    )


def _teams(teams: Sequence[Mapping[str, object]]) -> str:
    rows = []
    for team in teams:
        spend, cap = _amount(team, "spend_usd"), team["cap_usd"]
        has_cap = isinstance(cap, Decimal) and cap > 0
        status = escape(str(team["status"]))
        used = min(_WHOLE, spend * _WHOLE / cap) if isinstance(cap, Decimal) and has_cap else None
        bar = "" if used is None else f'<div class="bar {status}"><i style="width:{used:.1f}%"></i>'
        cells = (
            escape(str(team["team"])),
            f"${cents(spend)}",
            f"${cents(cap)}" if isinstance(cap, Decimal) and has_cap else "no cap",
            f"${cents(_amount(team, 'held_usd'))}",
            status if has_cap else "",
            bar,
        )
        rows.append(_row(cells))
    return _table(("team", "spend", "cap", "held", "status", ""), rows)


def _models(models: Sequence[Mapping[str, object]]) -> str:
    rows = [
        _row(
            (
                escape(str(model["model"])),
                f"${cents(_amount(model, 'spend_usd'))}",
                f"{model['entries']}",
            )
        )
        for model in models
    ]
    return _table(("model", "spend", "requests"), rows)


def _amount(row: Mapping[str, object], name: str) -> Decimal:
    value = row[name]
    assert isinstance(value, Decimal)
    return value


def _row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(
        f'<td class="{"n" if cell.startswith("$") or cell.isdecimal() else ""}">{cell}</td>'
        for cell in cells
    )


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    return f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}{''.join(rows)}</table>"
