"""Naming what is to be taken back."""

from __future__ import annotations

import dataclasses

from crdtsync.chosen import Choice, choice


def test_a_single_time_is_where_a_record_goes_back_to() -> None:
    time = "2026-11-23T08:00:00+00:00"
    assert choice(None, "r", None, None, None, time) == choice(None, "r", None, None, time, None)
    assert choice(None, None, "a", None, None, time) == Choice(by="a", until_ms=1_795_420_800_000)
    assert dataclasses.replace(choice(None, None, "a", "J", time, None), since_ms=0).words() == "by a at J"
