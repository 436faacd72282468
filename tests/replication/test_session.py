"""What is known of one link: phases, credit, cursors."""

from __future__ import annotations

import pytest

from crdtsync import limits
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.session import Peer, Phase
from tests.replication.people import head, log, replica


def peer() -> Peer:
    return Peer(1, replica("a"), True, heard=0.0)


def test_it_begins_before_the_hello() -> None:
    found = peer()
    assert found.phase is Phase.OPENING and not found.live
    found.phase = Phase.TELLING
    assert not found.live
    found.phase = Phase.LIVE
    assert found.live


def test_credit_is_what_may_be_sent_beyond_what_was() -> None:
    found = peer()
    assert found.credit == limits.in_flight_bytes_max
    found.sent = 1_000
    assert found.credit == limits.in_flight_bytes_max - 1_000


def test_room_that_is_taken_is_given_to_nobody() -> None:
    found = peer()
    found.received, found.waiting = 5_000, 2_000
    assert found.allowance() == 3_000 + limits.in_flight_bytes_max


def test_limits_are_asked_when_a_link_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "in_flight_bytes_max", 77)
    assert peer().credit == 77 and peer().granted == 77


def test_what_a_peer_has_only_grows() -> None:
    found = peer()
    found.learn(log("a"), head(3))
    found.learn(log("a"), head(2))
    assert found.have.sequence(log("a")) == 3


def test_behind_are_the_feeds_for_which_there_is_something() -> None:
    found = peer()
    found.feeds = {log("a"): 4, log("b"): 1, log("c"): 3}
    stored = Frontier({log("a"): head(3), log("b"): head(1), log("c"): head(9)})
    assert found.behind(stored) == {log("b"): 1, log("c"): 3}
