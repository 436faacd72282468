"""Running many seeds on all cores, in order, until one of them is enough."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from crdtsync.testing.planted import PLANTED
from crdtsync.testing.simulate import Outcome, simulate

_SEEDS_AHEAD: Final = 4
"""Seeds handed out per worker before the oldest is done: enough to keep it busy."""


def play(seed: int, planted: str | None = None) -> Outcome:
    """One seed, with a planted bug if one is named."""
    return simulate(seed, planted=PLANTED[planted].plant if planted else None)


def outcomes(seeds: Iterable[int], *, planted: str | None = None, processes: int | None = None) -> Iterator[Outcome]:
    """The outcomes of the seeds, in their order. Closing the iterator stops what still runs."""
    count = processes or os.cpu_count() or 1
    if count == 1:
        for seed in seeds:
            yield play(seed, planted)
        return
    with _pool(count) as ordered:
        yield from ordered(partial(play, planted=planted), seeds)


@contextmanager
def _pool(processes: int) -> Iterator[Callable[[Callable[[int], Outcome], Iterable[int]], Iterator[Outcome]]]:
    # Processes are spawned on every system alike: nothing of this one's state is theirs.
    pool = multiprocessing.get_context("spawn").Pool(processes, initializer=_ignore_interrupt)

    def ordered(work: Callable[[int], Outcome], seeds: Iterable[int]) -> Iterator[Outcome]:
        waiting: list[Any] = []
        for seed in seeds:
            waiting.append(pool.apply_async(work, (seed,)))
            if len(waiting) >= processes * _SEEDS_AHEAD:
                yield waiting.pop(0).get()
        for result in waiting:
            yield result.get()

    try:
        yield ordered
    finally:
        pool.terminate()
        pool.join()


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
