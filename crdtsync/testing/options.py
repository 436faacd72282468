"""What one seed's world is like: drawn per seed, so that a thousand worlds differ in kind and not only in detail.

Most options are off in most worlds (swarm testing, Groce et al. 2012): a fault that is always there hides others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from crdtsync.testing.network import Weather
from crdtsync.testing.streams import Streams

CRASH_POINTS: Final = ("keys", "log", "view", "members", "meta", "store", "send", "have", "write", "time", "torn")
"""Where a process may end: behind each step that reaches the disk or the outside, amid one ("torn"), or at any time."""

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
    "asks_passed_per_origin_max": 8,
    "asks_passed_per_link_max": 16,
    "asks_open_per_origin_max": 2,
    "asks_open_max": 3,
    "asks_heard_per_origin_max": 64,
    "asks_answered_bytes_per_origin_max": 400,
}
"""Bounds made so small that a small world reaches them all."""



LIES: Final = ("claims own logs", "other hashes")
"""What a hostile archive may claim, since claims are not signed; see `lies`."""
HABITS: Final = ("withholds", "reorders", "replays", "flips", "exaggerates", "babbles", "floods")
"""What a hostile archive may do; see `hostile`."""


@dataclass(frozen=True, slots=True)
class Options:
    """One world. Times are virtual seconds; faults are numbers of how often."""

    sites: int = 3
    archives: int = 0
    newcomers: int = 0
    topology: str = "mesh"
    duration_s: float = 3600.0
    days: bool = False
    writes: int = 100
    rough: bool = False
    partitions: int = 0
    clogs: int = 0
    crashes: int = 0
    crash_points: dict[str, float] = field(default_factory=dict)
    outages: int = 0
    freezes: int = 0
    removal: bool = False
    closing: bool = False
    restore: bool = False
    clone: bool = False
    tight: bool = False
    large: bool = False
    skew_ms: int = 0
    clock_jumps: int = 0
    drift: float = 0.0
    io_errors: int = 0
    full_disks: int = 0
    rotten_commits: int = 0
    rotten_documents: int = 0
    rotations: int = 0
    care_s: float = 0.0
    versions: bool = False
    hostile: tuple[str, ...] = ()
    pair: bool = False
    asks: int = 0
    forges: bool = False
    ranges: bool = False
    series: bool = False
    hand_overs: int = 0
    take_overs: int = 0
    year_change: bool = False

    @property
    def calm(self) -> bool:
        """Whether nothing happens that could make anything come in twice."""
        happens = (
            *(self.rough, self.partitions, self.crashes, self.removal, self.restore, self.tight, self.clogs),
            *(self.outages, self.freezes, self.clone, self.io_errors, self.full_disks, self.rotten_commits),
            *(self.rotten_documents, self.hostile, self.days, self.closing),
        )
        return not any(happens)

    @property
    def clocks_wild(self) -> bool:
        """Whether clocks may differ by more than is adopted: sites say so, rightly."""
        return self.skew_ms > 120_000 or self.clock_jumps > 0 or self.drift * self.duration_s > 100.0

    @property
    def rotten(self) -> bool:
        """Whether anything rots."""
        return bool(self.rotten_commits or self.rotten_documents)


def draw(streams: Streams) -> Options:
    """The options of a seed. Every kind of fault has a stream of its own, so that a new one leaves the others be."""
    chance = streams("options")
    sites = chance.choice((2, 3, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9))
    calm = chance.random() < 0.1
    large = chance.random() < 0.06
    crashes = 0 if calm or chance.random() < 0.25 else chance.randint(1, 8)
    days = not calm and streams("options/days").random() < 0.06
    if days:
        sites = min(sites, 4)
    some = _Some(streams, calm)
    plain = Options(
        sites=sites,
        archives=some("archives", 0.3, (1, 1, 2)),
        newcomers=int(sites < 5 and chance.random() < 0.35),
        topology=chance.choice(("mesh", "mesh", "chain", "ring", "star", "random")),
        duration_s=_duration(streams, days=days, wide=sites > 5),
        days=days,
        writes=chance.randint(40, 160),
        rough=not calm and chance.random() < 0.35,
        partitions=0 if calm else chance.choice((0, 1, 2, 4, 8)),
        clogs=some("clogs", 0.15, (1, 2, 4)),
        crashes=crashes,
        crash_points={point: chance.choice((0.0, 0.01, 0.05)) for point in CRASH_POINTS},
        outages=some("outages", 1.0 if days else 0.04, (1, 2)),
        freezes=some("freezes", 0.15, (1, 2, 4)),
        removal=not calm and sites >= 3 and chance.random() < 0.25,
        restore=not calm and chance.random() < 0.15,
        tight=not calm and not large and chance.random() < 0.3,
        large=large,
        skew_ms=chance.choice((0, 2_000, 30_000, 3_600_000)),
        clock_jumps=some("clock jumps", 0.15, (1, 2, 4)),
        drift=some("drift", 0.2, (1, 20, 100)) / 1e5,
        io_errors=some("io errors", 0.15, (1, 2)),
        full_disks=some("full disks", 0.08, (1, 1, 2)),
        rotten_commits=some("rotten commits", 0.12, (1, 2, 4)),
        rotten_documents=some("rotten documents", 0.06, (1, 2, 4)),
        rotations=some("rotations", 0.2, (1, 2, 4)),
        care_s=some("care", 0.2, (1, 10, 60)),
        versions=bool(some("versions", 0.12, (1,))),
        hostile=_habits(streams, calm=calm),
        pair=streams("options/pair").random() < 0.1,
        asks=_asks(streams),
        ranges=bool(some("ranges", 0.35, (1,))),
        series=streams("options/series").random() < 0.25,
        hand_overs=some("hand-overs", 0.6, (1, 2, 4)),
        take_overs=some("take-overs", 0.5, (1, 1, 2, 4)),
        year_change=streams("options/year change").random() < 0.5,
    )
    # A copied disk is one machine too many: it is told apart from what else happens to a site's name and disk.
    clone = not (plain.removal or plain.restore or plain.tight) and bool(some("clone", 0.25, (1,)))
    # A site that is closed hands over what it has: its disk must be its own, and whole.
    other = clone or plain.removal or plain.restore or plain.rotten
    closing = not other and sites >= 3 and bool(some("closing", 0.25, (1,)))
    forges = bool(plain.asks and plain.hostile) and streams("options/forges").random() < 0.5
    return replace(plain, clone=clone, closing=closing, forges=forges)


class _Some:
    """How often a fault happens: mostly never."""

    def __init__(self, streams: Streams, calm: bool) -> None:
        self._streams = streams
        self._calm = calm

    def __call__(self, name: str, odds: float, counts: tuple[int, ...]) -> int:
        chance = self._streams(f"options/{name}")
        return chance.choice(counts) if chance.random() < odds and not self._calm else 0


def _duration(streams: Streams, *, days: bool, wide: bool) -> float:
    chance = streams("options/duration")
    if days:
        return chance.uniform(1.0, 6.0) * 86_400.0
    return chance.uniform(2400.0, 3000.0) if wide else chance.uniform(3600.0, 4500.0)


def _asks(streams: Streams) -> int:
    """In calm worlds as well: there every question is answered."""
    chance = streams("options/asks")
    return chance.choice((5, 20, 60)) if chance.random() < 0.3 else 0


def _habits(streams: Streams, *, calm: bool) -> tuple[str, ...]:
    chance = streams("options/hostile")
    if calm or chance.random() >= 0.25:
        return ()
    habits = [*HABITS, *LIES]
    return tuple(sorted(chance.sample(habits, chance.randint(1, 3))))


MESH_MAX: Final = 5
"""A mesh of more has so many lines that a world of them costs what ten others cost."""


def edges(topology: str, names: list[str], streams: Streams) -> list[tuple[str, str]]:
    """Which of them have a line to each other: connected in every topology."""
    count = len(names)
    if topology == "mesh" and count > MESH_MAX:
        topology = "random"
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
    odds = min(0.3, count / max(1, len(others)))
    return tree + [edge for edge in others if chance.random() < odds]


def weather(options: Options, line: str, streams: Streams) -> Weather:
    """What a line is like."""
    chance = streams(f"weather/{line}")
    delay = 10 ** chance.uniform(-3.0, -0.5 if chance.random() < 0.9 else 0.7)  # 1 ms to 5 s
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
