"""Rules of the house that no off-the-shelf linter checks."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "gateway").rglob("*.py"))
TOOLS = sorted(path for folder in ("scripts", "bench") for path in (ROOT / folder).rglob("*.py"))
MODULE_LINES_MAX = 300
FUNCTION_LINES_MAX = 70


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*MODULES, *TOOLS], ids=name)
def test_a_module_says_what_it_is_for_and_stays_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "a module begins with a sentence of what it is responsible for"
    lines = source.count("\n")
    assert lines <= MODULE_LINES_MAX, f"{lines} lines: split it by responsibility"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} is {length} lines: split it"


def test_every_module_is_on_the_map() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("| `")}
    missing = [
        name(path)
        for path in MODULES
        if path.name != "__init__.py"
        and f"`{path.stem}`" not in rows.get(f"`{path.parent.relative_to(ROOT)}/`", "")
    ]
    assert missing == [], "`make docs` brings the map up to date"


def test_the_architecture_fits_on_a_few_screens() -> None:
    assert (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").count("\n") <= 150
