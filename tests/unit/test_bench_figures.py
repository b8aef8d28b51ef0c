"""What the benchmark makes of its rows: paired ratios, targets, tables, the page, the picture."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.documents import write
from bench.figures import Spread, added_us, paired, spread
from bench.measure import faults_of
from bench.picture import drawn
from bench.rounds import contenders_of, rounds_of
from bench.scenarios import BY_NAME, chosen
from bench.tables import sheets
from bench.targets import verdicts

NAMES = ["gateway", "aiohttp", "aiohttp_again", "direct"]


def row(
    scenario: str, contender: str, number: int, cpu: float, **more: object
) -> dict[str, object]:
    return {
        "scenario": scenario,
        "contender": contender,
        "round": number,
        "cpu_us_per_request": cpu,
        "cpu_ms_per_1000_events": cpu / 10,
        "cpu_contender_s": 1.0,
        "cpu_database_s": 0.05,
        "foreign_cores": 0.25,
        **more,
    }


ROWS = [
    row("burst", "gateway", 0, 300.0),
    row("burst", "aiohttp", 0, 1000.0),
    row("burst", "gateway", 1, 900.0),
    row("burst", "aiohttp", 1, 1500.0),
    row("burst", "gateway", 2, 450.0),
    row("burst", "aiohttp", 2, 900.0),
    row("short", "gateway", 0, 1.0, first_byte_us={"p50": 650.0, "p99": 1900.0}),
    row("short", "direct", 0, 0.0, first_byte_us={"p50": 20.0, "p99": 40.0}),
]


def test_a_ratio_is_taken_within_a_round_and_its_median_over_rounds() -> None:
    assert paired(ROWS, "burst", "gateway", "aiohttp") == Spread(
        median=0.5, least=0.3, most=0.6, count=3
    )


def test_a_round_that_one_of_the_two_missed_makes_no_pair() -> None:
    ratio = paired([*ROWS, row("burst", "gateway", 3, 1e9)], "burst", "gateway", "aiohttp")
    assert ratio is not None
    assert ratio.count == 3


def test_nothing_measured_is_no_figure_rather_than_zero() -> None:
    assert paired(ROWS, "json", "gateway", "aiohttp") is None
    assert spread(ROWS, "burst", "nginx", lambda _: 1.0) is None


def test_added_time_is_what_no_proxy_did_not_take() -> None:
    added = added_us(ROWS, "short", "gateway", "first_byte_us", "p50")
    assert added == Spread(median=630.0, least=630.0, most=630.0, count=1)


def test_a_paced_scenario_counts_by_event_and_the_others_by_request() -> None:
    rows = [row("paced", "gateway", 0, 30.0), row("paced", "aiohttp", 0, 40.0)]
    rows[0]["cpu_us_per_request"] = 4000.0
    ratio = paired(rows, "paced", "gateway", "aiohttp")
    assert ratio is not None
    assert ratio.median == 0.75


def test_targets_are_met_at_their_limit_and_missed_above_it() -> None:
    found = {verdict.says: verdict.is_met for verdict in verdicts(ROWS)}
    assert found["CPU, burst, against bare aiohttp"] is True
    assert found["added first byte at rest, p50"] is False
    assert found["added first byte at rest, p99"] is True
    assert found["CPU, json, against nginx"] is None


def test_faults_are_said_in_words_and_a_stalled_reader_may_be_unfinished() -> None:
    counted = {"broken": 0, "not_200": 2, "mismatched": 0, "unfinished": 1, "stalled": 0}
    assert faults_of({**counted, "error": "status 429"}) == "2 not_200, 1 unfinished, status 429"
    assert faults_of({**counted, "not_200": 0, "stalled": 5, "error": ""}) == ""


def test_a_group_stands_for_its_scenarios_and_each_is_measured_once() -> None:
    names = [scenario.name for scenario in chosen("json,main,big_prompt")]
    assert names[0] == "json"
    assert len(names) == len(set(names))
    assert {"burst", "mem", "prompt_10m"} <= set(names)
    with pytest.raises(KeyError):
        chosen("burst,brust")


def test_costly_scenarios_take_fewer_rounds_and_leave_out_whom_they_do_not_need() -> None:
    assert rounds_of(BY_NAME["burst"], 10) == 10
    assert rounds_of(BY_NAME["mem"], 10) == 3
    assert contenders_of(BY_NAME["burst"], NAMES) == ["gateway", "aiohttp", "aiohttp_again"]
    assert contenders_of(BY_NAME["short"], NAMES) == ["gateway", "aiohttp", "direct"]
    assert contenders_of(BY_NAME["mem"], NAMES) == ["gateway", "aiohttp"]


def test_every_scenario_asks_for_the_size_and_the_answer_that_it_names() -> None:
    body = BY_NAME["prompt_1m"].body
    assert 1 << 20 < len(body) < (1 << 20) * 1.1
    assert b'"stream"' not in body
    assert BY_NAME["burst"].body.endswith(b'"metadata":{"user_id":"mock-n200"},"stream":true}')


def test_tables_hold_only_what_was_measured() -> None:
    titles = [sheet.title for sheet in sheets(ROWS, NAMES)]
    assert titles == ["Targets", "CPU", "Time to the first byte, one request at a time"]


def test_the_picture_is_an_svg_with_a_bar_for_each_contender() -> None:
    tree = ET.fromstring(drawn(ROWS, "a caption with <signs> & more"))
    bars = [rect for rect in tree.iter("{http://www.w3.org/2000/svg}rect") if rect.get("x")]
    assert len(bars) == 1
    assert bars[0].get("class") == "gateway"
    assert drawn([], "nothing") == ""


def test_the_page_names_the_machine_the_revision_and_what_was_missed(tmp_path: Path) -> None:
    document: dict[str, object] = {
        "date": "2026-11-25",
        "revision": "abc1234",
        "machine": {"cpu": "a CPU", "cores": 2, "kernel": "6.1", "memory_mb": 1},
        "versions": {"python": "3.11.7"},
        "contenders": NAMES,
        "rounds": 3,
        "skipped": ["envoy is not installed"],
        "faults": [],
        "books": None,
        "rows": ROWS,
    }
    path = write(document, tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert path.name == "2026-11-25.json"
    assert (tmp_path / "2026-11-25.svg").exists()
    assert "revision abc1234, 3 rounds" in page
    assert "not measured: envoy is not installed" in page
    assert "- added first byte at rest, p50: 0.63 ms, target 0.5" in page
    assert "| burst | gateway | 450.0 us/request | 0.50 [0.30-0.60] | 3 | 5% |" in page
