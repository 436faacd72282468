"""Cursors go out and come back as text."""

from __future__ import annotations

import pytest

from crdtsync.changes import Cursor
from crdtsync.errors import UsageError


@pytest.mark.parametrize("cursor", [Cursor(), Cursor(3, "patient", "a" * 26), Cursor(2**53, "chart_entry", "x.y")])
def test_a_cursor_is_what_it_was(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["", "yesterday", "-1.patient.x", ".patient.x"])
def test_what_no_change_brought_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cursor"):
        Cursor.parse(text)


def test_none_is_the_beginning() -> None:
    assert Cursor.parse(None) == Cursor(0, "", "")
