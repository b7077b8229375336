"""Category paths with another separator than the contract's."""

from pathlib import Path
from typing import Any

import pytest

from components.validation.category_paths import other_separator
from tests.validation.shop import edit, file_of, validate, write_shop


def test_paths_with_slashes_are_said_and_stop_nothing(tmp_path: Path) -> None:
    write_shop(tmp_path / "log")

    def slashes(columns: dict[str, Any]) -> None:
        columns["category"] = [path.replace(" > ", "/") for path in columns["category"]]

    edit(file_of(tmp_path / "log", "products"), slashes)
    result = validate(tmp_path / "log", tmp_path / "out")
    assert result.verdict["open"]
    alarm = result.alarm("category_separator")
    assert alarm["severity"] == "warn"
    assert "write 'Home > " in alarm["sentence"]


@pytest.mark.parametrize(
    ("counts", "sign"),
    [
        ({"Tools/Saws": 6.0, "Garden": 4.0}, "/"),
        ({"Tools | Saws": 9.0, "Garden": 4.0}, "|"),
        ({"Tools/Saws": 6.0, "Garden > Chairs": 1.0}, None),
        ({"Bags/Cases": 4.0, "Garden": 6.0}, None),
        ({"Garden/": 6.0}, None),
        ({}, None),
    ],
    ids=["slashes", "bars", "some have levels", "a few names with a slash", "a slash at the end", "no categories"],
)
def test_another_separator_is_seen_in_most_categories_alone(counts: dict[str, float], sign: str | None) -> None:
    found = other_separator(counts)
    assert (found and found[0]) == sign
