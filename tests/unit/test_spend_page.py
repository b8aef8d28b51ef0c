"""The spend page: what eyes and screen readers get of a month, whatever its amounts are."""

import re
from datetime import date
from decimal import Decimal

from gateway.edge.spend_page import spend_page
from gateway.reports.overview import Overview

MONTH = date(2026, 11, 1)


def team(name: str, spend: str, cap: str | None) -> dict[str, object]:
    return {
        "team": name,
        "spend_usd": Decimal(spend),
        "cap_usd": None if cap is None else Decimal(cap),
        "held_usd": Decimal(0),
        "status": "ok",
    }


def page(days: dict[int, str], *teams: dict[str, object]) -> str:
    rows = [
        {"day": MONTH.replace(day=day), "spend_usd": Decimal(spend)} for day, spend in days.items()
    ]
    overview = Overview(month=MONTH, teams=teams, days=rows, models=[])
    return spend_page(overview).decode()


def test_less_than_a_cent_is_not_nothing_and_what_was_given_back_has_its_sign() -> None:
    shown = page({1: "0.004"}, team("small", "0.004", "1"), team("back", "-5", "1"))

    assert shown.count("&lt;$0.01") == 4
    assert "&minus;$5.00" in shown


def test_no_bar_is_narrower_than_nothing_or_wider_than_its_place() -> None:
    shown = page({1: "-5", 2: "3"}, team("back", "-5", "1"), team("over", "7", "2"))

    widths = [float(width) for width in re.findall(r"width:(-?[\d.]+)%\"", shown)]
    assert widths == [0.0, 100.0]
    assert [int(height) for height in re.findall(r"<rect [^>]*height=(-?\d+)", shown)] == [0, 110]
    assert shown.count("<div") == shown.count("</div>")


def test_days_without_spend_have_their_place() -> None:
    shown = page({1: "1", 3: "2", 30: "1"})

    assert re.findall(r"<rect x=(\d+)", shown) == ["0", "40", "580"]
    assert re.findall(r"<text [^>]*>(\d\d)</text>", shown) == [f"{n:02}" for n in range(1, 31)]


def test_what_the_bars_show_is_there_to_be_read_out() -> None:
    shown = page({2: "1.50", 3: "2"}, team("<b>", "3.5", None))

    assert "Total: <strong>$3.50</strong>" in shown
    assert '<th scope=row>2026-11-02</th><td class="n">$1.50</td>' in shown
    assert "<th scope=row>&lt;b&gt;</th>" in shown
    assert "<th>" not in shown
    assert "<meta name=viewport" in shown


def test_amounts_beyond_all_money_do_not_break_the_page() -> None:
    shown = page({1: "1e400"}, team("huge", "1e400", "1e58"), team("cap", "1", "1e400"))

    assert "$1.00E+400" in shown
    assert len(shown) < 10_000
