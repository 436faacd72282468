"""Running many seeds on all cores, in order, until one of them is enough."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from crdtsync.testing.planted import PLANTED
from crdtsync.testing.simulate import Outcome, simulate

_SEEDS_AHEAD: Final = 4
"""Seeds handed out per worker before the oldest is done: enough to keep it busy."""


def play(seed: int, planted: str | None = None) -> Outcome:
    """One seed, with a planted bug if one is named."""
    return simulate(seed, planted=PLANTED[planted].plant if planted else None)


def outcomes(seeds: Iterable[int], *, planted: str | None = None, processes: int | None = None) -> Generator[Outcome]:
    """The outcomes of the seeds, in their order. Closing the iterator stops the rest, behind the seeds under way.

    Raises BrokenProcessPool when a process of the pool dies (out of memory, or a crash of a library).
    """
    count = processes or os.cpu_count() or 1
    if count == 1:
        for seed in seeds:
            yield play(seed, planted)
        return
    # Processes are spawned on every system alike: nothing of this one's state is theirs.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _ignore_interrupt)
    try:
        waiting: deque[Future[Outcome]] = deque()
        for seed in seeds:
            waiting.append(pool.submit(play, seed, planted))
            if len(waiting) >= count * _SEEDS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C is for the process that hands out the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(slots=True)
class Summary:
    """Sums over the seeds that were played."""

    seeds: int = 0
    failures: int = 0
    failed: list[int] = field(default_factory=list)
    virtual_hours: float = 0.0
    events: int = 0
    messages: int = 0
    commits: int = 0
    crashes: int = 0
    partitions: int = 0
    cpu_s: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one more seed."""
        self.seeds += 1
        if outcome.failure:
            self.failures += 1
            self.failed.append(outcome.seed)
        self.virtual_hours += outcome.virtual_hours
        self.events += outcome.events
        self.messages += outcome.messages
        self.commits += outcome.commits
        self.crashes += outcome.crashes
        self.partitions += outcome.partitions
        self.cpu_s += outcome.cpu_s
        for kind, count in outcome.faults.items():
            self.faults[kind] = self.faults.get(kind, 0) + count


@dataclass(frozen=True, slots=True)
class Found:
    """The first seed at which a planted bug was found, and what the world said; -1 and nothing when none did."""

    name: str
    what: str
    found_at_seed: int
    failure: str


def search(name: str, seeds_max: int) -> Found:
    """Plant a bug into seed after seed until one finds it."""
    for seed in range(seeds_max):
        outcome = play(seed, name)
        if outcome.failure:
            return Found(name, PLANTED[name].what, seed, outcome.failure)
    return Found(name, PLANTED[name].what, -1, "")


def table(seeds_max: int, names: Iterable[str], processes: int | None = None) -> Generator[Found]:
    """Search for each of these bugs, on all cores; in the order of the names."""
    pool = ProcessPoolExecutor(
        processes or os.cpu_count() or 1, multiprocessing.get_context("spawn"), _ignore_interrupt
    )
    try:
        for future in [pool.submit(search, name, seeds_max) for name in names]:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
