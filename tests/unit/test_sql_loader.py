from pathlib import Path

import pytest

from gateway.postgres.sql import QueryFileError, load_queries


def test_statements_are_read_by_name_from_every_file(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(
        "-- name: one\n-- The first.\nSELECT 1;\n\n-- name: two\n-- The second.\nSELECT ';', -- x\n  2;\n"
    )
    (tmp_path / "b.sql").write_text("-- name: three\n-- The third.\nSELECT 3\n")

    assert load_queries(tmp_path) == {
        "one": "SELECT 1",
        "two": "SELECT ';', -- x\n  2",
        "three": "SELECT 3",
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SELECT 1;\n-- name: one\n-- D.\nSELECT 1;\n", "before the first"),
        ("-- name: one\nSELECT 1;\n", "no description"),
        ("-- name: one\n--\nSELECT 1;\n", "no description"),
        ("-- name: one\n-- D.\n", "no statement"),
        ("-- name: one\n-- D.\n;\n", "no statement"),
        ("-- name: Two Words\n-- D.\nSELECT 1;\n", "is not a name"),
        ("-- name:\n-- D.\nSELECT 1;\n", "is not a name"),
        ("-- name: one\n-- D.\nSELECT 1;\n-- name: one\n-- D.\nSELECT 2;\n", "occurs twice"),
        ("", "holds no statements"),
    ],
)
def test_a_file_that_is_not_in_order_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.sql").write_text(text)

    with pytest.raises(QueryFileError, match=problem):
        load_queries(tmp_path)


def test_a_name_that_occurs_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.sql", "b.sql"):
        (tmp_path / name).write_text("-- name: one\n-- D.\nSELECT 1;\n")

    with pytest.raises(QueryFileError, match="occurs twice"):
        load_queries(tmp_path)
