"""Errors in one line."""

from __future__ import annotations

import pytest

from ensemble_mtl.core.errors import first_line, last_line


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (ValueError("one\ntwo\nthree"), "one", "three"),
        (ValueError("\n one \n"), "one", "one"),
        (ValueError(""), "ValueError", "ValueError"),
        (ValueError("\n"), "ValueError", "ValueError"),
        (MemoryError(), "MemoryError", "MemoryError"),
    ],
)
def test_an_error_in_one_line(error: Exception, first: str, last: str) -> None:
    assert (first_line(error), last_line(error)) == (first, last)


def test_an_error_behind_the_name_of_its_type() -> None:
    assert first_line(ValueError("one\ntwo"), with_type=True) == "ValueError: one"
    assert last_line(ValueError("one\ntwo"), with_type=True) == "ValueError: two"
    assert first_line(ValueError(), with_type=True) == last_line(ValueError(), with_type=True) == "ValueError"
