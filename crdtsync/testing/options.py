"""What one seed's world is like: drawn per seed, so that a thousand worlds differ in kind and not only in detail.

Most options are off in most worlds (swarm testing, Groce et al. 2012): a fault that is always there hides others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from crdtsync.testing.network import Weather
from crdtsync.testing.streams import Streams

CRASH_POINTS: Final = ("keys", "log", "view", "members", "meta", "store", "send", "have", "write", "time")
"""Where a process may end: behind each step that reaches the disk or the outside, or at any time."""

TIGHT_LIMITS: Final[dict[str, float]] = {
    "inbox_commits_max": 12,
    "inbox_bytes_max": 24_000,
    "in_flight_bytes_max": 12_000,
    "credit_bytes_step": 2_000,
    "run_commits_max": 4,
    "run_bytes_target": 4_000,
    "batch_commits_max": 6,
    "group_commits_max": 3,
    "frontier_entries_per_message_max": 2,
    "member_hashes_per_message_max": 3,
    "keys_per_message_max": 3,
    "documents_cached_max": 5,
    "key_objects_cached_max": 6,
    "tail_bytes_max": 6_000,
    "digests_remembered_max": 3,
    "dependencies_written_max": 2,
    "subjects_replayed_max": 2,
    "salts_cached_max": 4,
    "data_keys_cached_max": 4,
}
"""Bounds made so small that a small world reaches them all."""


@dataclass(frozen=True, slots=True)
class Options:
    """One world. Times are virtual seconds."""

    sites: int = 3
    newcomers: int = 0
    topology: str = "mesh"
    duration_s: float = 3600.0
    writes: int = 100
    rough: bool = False
    partitions: int = 0
    crashes: int = 0
    crash_points: dict[str, float] = field(default_factory=dict)
    removal: bool = False
    restore: bool = False
    tight: bool = False
    large: bool = False
    skew_ms: int = 0

    @property
    def calm(self) -> bool:
        """Whether nothing happens that could make anything come in twice."""
        return not (self.rough or self.partitions or self.crashes or self.removal or self.restore or self.tight)

    @property
    def clocks_wild(self) -> bool:
        """Whether clocks differ by more than is adopted: sites say so, rightly."""
        return self.skew_ms > 120_000


def draw(streams: Streams) -> Options:
    """The options of a seed."""
    chance = streams("options")
    sites = chance.choice((2, 3, 3, 3, 4, 4, 5))
    calm = chance.random() < 0.1
    large = chance.random() < 0.04
    crashes = 0 if calm or chance.random() < 0.25 else chance.randint(1, 8)
    return Options(
        sites=sites,
        newcomers=int(sites < 5 and chance.random() < 0.35),
        topology=chance.choice(("mesh", "mesh", "chain", "ring", "star", "random")),
        duration_s=chance.uniform(3600.0, 4500.0),
        writes=chance.randint(40, 160),
        rough=not calm and chance.random() < 0.35,
        partitions=0 if calm else chance.choice((0, 1, 2, 4, 8)),
        crashes=crashes,
        crash_points={point: chance.choice((0.0, 0.01, 0.05)) for point in CRASH_POINTS},
        removal=not calm and sites >= 3 and chance.random() < 0.25,
        restore=not calm and chance.random() < 0.15,
        tight=not calm and not large and chance.random() < 0.3,
        large=large,
        skew_ms=chance.choice((0, 2_000, 30_000, 3_600_000)),
    )


def edges(topology: str, names: list[str], streams: Streams) -> list[tuple[str, str]]:
    """Which of the sites have a line to each other: connected in every topology."""
    count = len(names)
    chain = list(pairwise(names))
    if topology == "chain":
        return chain
    if topology == "ring":
        return chain + ([(names[-1], names[0])] if count > 2 else [])
    if topology == "star":
        return [(names[0], other) for other in names[1:]]
    if topology == "mesh":
        return [(one, other) for index, one in enumerate(names) for other in names[index + 1 :]]
    chance = streams("topology")
    tree = [(names[chance.randrange(index)], names[index]) for index in range(1, count)]
    others = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if (a, b) not in tree]
    return tree + [edge for edge in others if chance.random() < 0.3]


def weather(options: Options, line: str, streams: Streams) -> Weather:
    """What a line is like."""
    chance = streams(f"weather/{line}")
    delay = 10 ** chance.uniform(-3.0, -0.5 if chance.random() < 0.9 else 0.7)
    # On a line so slow that one message takes longer than a feed may stall, feeds move, and things come in twice.
    rate = 10 ** chance.uniform(5.5 if options.calm else 4.0, 7.5)
    if not options.rough:
        return Weather(delay, delay * chance.random(), bytes_per_s=rate)
    return Weather(
        delay,
        delay * chance.choice((0.1, 1.0, 3.0)),
        lost=chance.choice((0.0, 0.01, 0.1, 0.3)),
        doubled=chance.choice((0.0, 0.05, 0.5)),
        bytes_per_s=rate,
    )
