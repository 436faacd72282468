"""Which backups stay: the newest of each day, week and month that has one, and always the newest of all."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync import BadValue
from crdtsync.backup.retention import Retention

day_ms = 24 * 3600 * 1000
times = st.lists(st.integers(1_500_000_000_000, 1_500_000_000_000 + 1_000 * day_ms), max_size=60)
rules = st.builds(Retention, st.integers(0, 10), st.integers(0, 10), st.integers(0, 10))


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_a_week_of_days_and_then_weeks_and_months() -> None:
    days = [f"2026-{month:02}-{day:02}" for month in (1, 2) for day in range(1, 29)]
    taken = [at(f"{day}T{hour}:00") for day in days for hour in ("06", "18")]
    kept = Retention(daily=3, weekly=2, monthly=2).kept(taken)
    assert kept == {
        at("2026-02-28T18:00"), at("2026-02-27T18:00"), at("2026-02-26T18:00"),  # days
        at("2026-02-22T18:00"),  # the Sunday that ends the week before
        at("2026-01-28T18:00"),  # the last one of January
    }  # fmt: skip


@given(times, rules)
def test_the_newest_is_never_removed_and_nothing_is_made_up(taken: list[int], rule: Retention) -> None:
    kept = rule.kept(taken)
    assert kept <= set(taken)
    assert max(taken, default=None) in kept | {None}
    assert len(kept) <= max(1, rule.daily + rule.weekly + rule.monthly)


@given(times, rules)
def test_keeping_is_settled_at_once(taken: list[int], rule: Retention) -> None:
    """Removing and asking again removes nothing more: the order in which backups come and go decides nothing."""
    kept = rule.kept(taken)
    assert rule.kept(kept) == kept
    assert rule.kept([*taken, *kept]) == kept


@given(times, rules)
def test_one_after_the_other_keeps_what_is_asked_for(taken: list[int], rule: Retention) -> None:
    """As it happens: each new backup is followed by a removal. Each of the last days still has one at the end."""
    there: set[int] = set()
    for moment in sorted(taken):
        there = rule.kept(there | {moment})
    days = sorted({moment // day_ms for moment in taken}, reverse=True)[: rule.daily]
    assert {moment // day_ms for moment in there} >= set(days)
    months = sorted({_month(moment) for moment in taken}, reverse=True)[: rule.monthly]
    assert {_month(moment) for moment in there} >= set(months)


def _month(moment: int) -> tuple[int, int]:
    found = datetime.fromtimestamp(moment / 1000, UTC)
    return found.year, found.month


def test_rules_are_read_as_they_are_written() -> None:
    assert Retention.parse("daily=7, weekly=5,monthly=12") == Retention()
    assert Retention.parse("monthly=1") == Retention(0, 0, 1)
    assert Retention.parse("") == Retention(0, 0, 0)
    for wrong in ("yearly=1", "daily", "daily=-1", "daily=x", "daily=1.5", "daily=²"):
        with pytest.raises(BadValue, match="write it like daily=7"):
            Retention.parse(wrong)
    with pytest.raises(BadValue, match="none of them below 0"):
        Retention(daily=-1)
