"""What documents say of the code and of each other is so."""

import re
from pathlib import Path

import pytest

from scripts import write_docs

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if path.name != "CHANGELOG.md"
)
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
_MAKE = re.compile(r"`make ([a-z-]+)")
_COMMAND = re.compile(r"`(?:\.venv/bin/)?gateway ([a-z]+)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (write_docs.CONFIGURATION, write_docs.configuration),
        (write_docs.TELEMETRY, write_docs.telemetry),
        (write_docs.ARCHITECTURE, write_docs.architecture),
    ],
    ids=["configuration", "telemetry", "architecture"],
)
def test_what_make_docs_writes_is_current(path, text):
    assert path.read_text(encoding="utf-8") == text(), "run `make docs`"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_link_leads_somewhere(path):
    links = _LINK.findall(path.read_text(encoding="utf-8"))
    missing = [link for link in links if not (path.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_command_exists(path):
    text = path.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(_MAKE.findall(text)) <= targets
    main = (ROOT / "gateway/cli/main.py").read_text(encoding="utf-8")
    commands = set(re.findall(r'^        "([a-z]+)": "gateway', main, re.MULTILINE))
    assert set(_COMMAND.findall(text)) <= commands


def test_the_list_of_decisions_has_each_of_them_by_its_title():
    listed = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs/adr").glob("[0-9]*.md"):
        title = path.read_text(encoding="utf-8").splitlines()[0].partition(". ")[2]
        assert f"[{title}]({path.name})" in listed


def test_every_target_of_the_makefile_is_phony():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    (phony,) = re.findall(r"^.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets == set(phony.split())


def test_decisions_have_their_own_numbers():
    numbers = [path.name[:4] for path in (ROOT / "docs/adr").glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers))
