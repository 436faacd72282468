"""Holdings: what is on whose disk is passed on, once, and within bounds (L7)."""

from __future__ import annotations

import pytest

from crdtsync import limits
from crdtsync.ids import BootId, CommitHash, Head, LogId, ReplicaId, log_id
from crdtsync.replication import messages
from tests.replication.cores import Site, sites


def heads(site: Site, count: int = 1) -> tuple[tuple[LogId, Head], ...]:
    logs = [log_id(site.core.id, BootId(bytes([n] * 8))) for n in range(count)]
    return tuple((log, Head(5, CommitHash(bytes(32)))) for log in logs)


def holdings(site: Site, link: int) -> list[messages.Holding]:
    return [message for message in site.said(link) if isinstance(message, messages.Holding)]


def test_news_of_one_peer_reach_the_others_and_not_itself() -> None:
    a, b, c = sites("a", "b", "c")
    b.greet(1, "a")
    b.greet(2, "c")
    b.hear(1, messages.Have(heads(a), whole=False))
    assert b.core.holding(a.core.id).sequence(heads(a)[0][0]) == 5
    b.later(limits.holdings_interval_s)
    assert holdings(b, 1) == []
    assert holdings(b, 2) == [messages.Holding(a.core.id, heads(a))]
    b.hear(1, messages.Have(heads(a), whole=False))
    b.later(limits.holdings_interval_s)
    assert holdings(b, 2) == [], "what is no news is not passed on"
    b.hear(2, messages.Holding(b.core.id, heads(b)))
    assert len(b.core.holding(b.core.id)) == 0, "of ourselves nobody needs to tell us"
    assert len(c.core.holding(a.core.id)) == 0


def test_a_frontier_without_end_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _ = sites("a", "b", "c")
    b.greet(2, "c")
    monkeypatch.setattr(limits, "frontier_entries_max", 3)
    b.hear(2, messages.Holding(a.core.id, heads(a, 6)))
    assert b.closed == {} and len(b.core.holding(a.core.id)) == 6
    b.hear(2, messages.Holding(a.core.id, heads(a, 7)))
    assert "TooLarge" in b.closed[2] and len(b.core.holding(a.core.id)) == 6


def test_nobody_keeps_what_strangers_hold() -> None:
    """L7: only members have holdings, or any peer could name replicas without end."""
    a, b = sites("a", "b")
    b.greet(1, "a")
    b.hear(1, messages.Holding(ReplicaId(bytes(16)), heads(a)))
    assert len(b.core.holding(ReplicaId(bytes(16)))) == 0
