"""An archive that is a member and does not do what a member should.

It runs the same core, and makes something else of what that says: it withholds, reorders, replays, flips bits, claims
more than it has, sends what is no message, and far too much. Honest sites must converge without it, end no more than
the link to it, and keep their bounds. What it may claim about a site's own log, and which hashes, are lies of their own
(`lies`), behind a switch each in `options`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from crdtsync.errors import PeerError
from crdtsync.ids import CommitHash, Head
from crdtsync.replication import messages
from crdtsync.testing.disk import flipped
from crdtsync.testing.faults import lies
from crdtsync.testing.faults.lines import contacts

if TYPE_CHECKING:
    from crdtsync.testing.network import Station
    from crdtsync.testing.process import Process
    from crdtsync.testing.story import Story

_NAME: Final = "Keller"
_COMMITS: Final = 8
_HAVE: Final = 4
_ASK: Final = 22
_KEPT: Final = 50
_FLOOD: Final = 60
Said = list[tuple[float, bytes]]


def plan(story: Story) -> None:
    """Let it in, with lines to some sites."""
    if not story.options.hostile:
        return
    chance = story.streams("faults/hostile")
    sites = [node.name for node in story.members()]
    story.faults["hostile"] += 1
    if {"flips", "babbles"} & set(story.options.hostile):
        story.expected_alarms.add("digest")  # it may say that its content differs, and nobody can know that it lies
    if {"claims own logs", "flips"} & set(story.options.hostile):  # a bit of a head that it tells of is such a claim
        story.expected_alarms |= {"rollback", "restored", "claim"}
    if {"flips", "other hashes"} & set(story.options.hostile):
        story.expected_alarms.add("claim")  # what it has of a site's own log it may not send as it was written
    process = story.invite_archive(story.nodes[sites[0]], _NAME, hostile=True)
    for name in chance.sample(sites, min(len(sites), chance.randint(2, 3))):
        story.connect([(name, _NAME)])
        if story.options.days:
            contacts(story, story.line(name, _NAME))
    habits = (*(["forges"] if story.options.forges else []), *story.options.hostile)
    story.network.twist[_NAME] = Hostile(process, chance, habits)


class Hostile:
    """Makes of a message what its habits say."""

    def __init__(self, process: Process, chance: random.Random, habits: tuple[str, ...]) -> None:
        self._process = process
        self._chance = chance
        self._habits: list[Callable[[Station, bytes], Iterator[Said]]] = []
        known = {
            "withholds": self._withholds,
            "reorders": self._reorders,
            "replays": self._replays,
            "flips": self._flips,
            "exaggerates": self._exaggerates,
            "babbles": self._babbles,
            "floods": self._floods,
            "forges": self._forges,
            "claims own logs": lambda to, m: lies.claims_own_log(to, m, chance),
            "other hashes": lambda to, m: lies.other_hashes(to, m, chance),
        }
        self._habits = [known[habit] for habit in habits]
        self._said: deque[bytes] = deque(maxlen=_KEPT)

    def __call__(self, to: Station, message: bytes) -> Said:
        """What is sent in place of `message`."""
        self._said.append(message)
        for habit in self._habits:
            for said in habit(to, message):
                return said
        return [(0.0, message)]

    def _withholds(self, to: Station, message: bytes) -> Iterator[Said]:
        if message[1] == _COMMITS and self._chance.random() < 0.7:
            yield []

    def _reorders(self, to: Station, message: bytes) -> Iterator[Said]:
        if self._chance.random() < 0.3:
            yield [(self._chance.uniform(0.0, 30.0), message)]

    def _replays(self, to: Station, message: bytes) -> Iterator[Said]:
        if self._chance.random() < 0.3:
            yield [(0.0, message), (0.0, self._chance.choice(self._said))]

    def _flips(self, to: Station, message: bytes) -> Iterator[Said]:
        if message[1] == _COMMITS:
            at = self._chance.randrange(1 << 24)
            if self._chance.random() < 0.3:
                yield [(0.0, flipped(message, at))]
        elif self._chance.random() < 0.02:
            yield [(0.0, flipped(message, self._chance.randrange(1 << 24)))]

    def _exaggerates(self, to: Station, message: bytes) -> Iterator[Said]:
        """It says that it has a million commits more of every log of others than there are."""
        if message[1] != _HAVE or self._chance.random() < 0.3:
            return
        have = _have(message)
        if have is not None:
            heads = tuple(
                (log, head if log[:16] == to.replica_id else _beyond(head, self._chance)) for log, head in have.heads
            )
            yield [(0.0, messages.encode(messages.Have(heads, have.whole)))]

    def _babbles(self, to: Station, message: bytes) -> Iterator[Said]:
        if self._chance.random() < 0.02:
            yield [(0.0, message), (0.0, self._chance.randbytes(self._chance.randint(0, 3000)))]

    def _floods(self, to: Station, message: bytes) -> Iterator[Said]:
        if self._chance.random() < 0.02:
            again = self._chance.choice(self._said)
            yield [(0.0, message), *((0.0, again) for _ in range(_FLOOD))]


    def _forges(self, to: Station, message: bytes) -> Iterator[Said]:
        """It puts a question of its own in the place of one, or answers it itself: it has no key to sign either."""
        if message[1] != _ASK or self._chance.random() < 0.7:
            return
        ask = messages.decode(message)
        assert isinstance(ask, messages.Ask)
        body, signature = self._chance.randbytes(200), self._chance.randbytes(64)
        if self._chance.random() < 0.5:
            yield [(0.0, messages.encode(replace(ask, body=body)))]
        else:
            answer = messages.Answer(ask.id, ask.target, ask.origin, ask.hops, ask.expires_ms, body, signature)
            yield [(0.0, message), (0.0, messages.encode(answer))]


def _have(message: bytes) -> messages.Have | None:
    try:
        have = messages.decode(message)
    except PeerError:
        return None
    return have if isinstance(have, messages.Have) else None


def _beyond(head: Head, chance: random.Random) -> Head:
    return Head(head.sequence + 1_000_000, CommitHash(chance.randbytes(32)))
