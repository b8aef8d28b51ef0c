"""The picture of a run: CPU ratios as bars with their extremes, and the target as a line."""

from collections.abc import Iterator, Sequence
from html import escape

from bench.figures import BASE, Spread, paired
from bench.measure import Row
from bench.scenarios import BY_NAME
from bench.targets import RATIOS

SCENARIOS = ("burst", "paced", "paced_hi", "json")
CONTENDERS = ("gateway", "aiohttp_again", "nginx", "envoy")
LABELS = {"aiohttp_again": "bare aiohttp, again"}
WIDTH, LEFT, RIGHT, TOP = 760, 170, 130, 74
BAR, GAP, PANEL_HEAD = 18, 7, 40
STYLE = """\
text{font:13px system-ui,sans-serif;fill:#24292f}.small{font-size:11px;fill:#57606a}
.title{font-size:16px;font-weight:600}.panel{font-weight:600}.gateway{fill:#1d4aff}
.other{fill:#9aa4b1}.whisker{stroke:#24292f;stroke-width:1.4}.base{stroke:#57606a;stroke-width:1}
.target{stroke:#d4380d;stroke-width:1.6;stroke-dasharray:4 3}.ground{fill:#fff}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9da7b3}.gateway{fill:#6f8cff}
.other{fill:#5b6672}.whisker{stroke:#e6edf3}.base{stroke:#9da7b3}.target{stroke:#ff8c5a}
.ground{fill:#0d1117}}"""


def drawn(rows: Sequence[Row], caption: str) -> str:
    """An SVG document; empty where no ratio was measured."""
    panels = [(name, bars) for name in SCENARIOS if (bars := _bars(rows, name))]
    if not panels:
        return ""
    most = max([1.0, *(bar.most for _, bars in panels for _, bar in bars)]) * 1.04
    scale = (WIDTH - LEFT - RIGHT) / most
    body: list[str] = []
    y = TOP
    for name, bars in panels:
        body += _panel(name, bars, y, scale)
        y += PANEL_HEAD + len(bars) * (BAR + GAP) + 24
    height = y + 8
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>CPU of the gateway against a bare aiohttp relay</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
            _text(16, 28, "CPU against a bare aiohttp relay (1.0); less is better", "title"),
            _text(16, 50, caption, "small"),
            *body,
            "</svg>",
            "",
        ]
    )


def _bars(rows: Sequence[Row], scenario: str) -> list[tuple[str, Spread]]:
    found = ((name, paired(rows, scenario, name, BASE)) for name in CONTENDERS)
    return [(name, ratio) for name, ratio in found if ratio is not None]


def _panel(
    scenario: str, bars: Sequence[tuple[str, Spread]], top: int, scale: float
) -> Iterator[str]:
    yield _text(16, top + 16, scenario, "panel")
    yield _text(LEFT, top + 16, BY_NAME[scenario].says, "small")
    first, last = top + PANEL_HEAD - 12, top + PANEL_HEAD + len(bars) * (BAR + GAP) - 4
    for place, (name, ratio) in enumerate(bars):
        y = top + PANEL_HEAD - 8 + place * (BAR + GAP)
        middle = y + BAR / 2
        kind = "gateway" if name == "gateway" else "other"
        yield _text(16, y + 13, LABELS.get(name, name))
        width = max(1.0, ratio.median * scale)
        yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}"/>'
        left, right = LEFT + ratio.least * scale, LEFT + ratio.most * scale
        yield _line("whisker", left, middle, right, middle)
        for x in (left, right):
            yield _line("whisker", x, middle - 4, x, middle + 4)
        label = f"{ratio.median:.2f} [{ratio.least:.2f}-{ratio.most:.2f}]"
        yield _text(WIDTH - RIGHT + 8, y + 13, label, "small")
    yield _line("base", LEFT + scale, first, LEFT + scale, last)
    for name, base, limit in RATIOS:
        if (name, base) == (scenario, BASE):
            x = LEFT + limit * scale
            yield _line("target", x, first, x, last)
            yield _text(x - 4, last + 10, f"target {limit:g}", "small")


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'
