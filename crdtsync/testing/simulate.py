"""One seed from its beginning to its verdict."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from crdtsync.testing.node import Node
from crdtsync.testing.options import draw
from crdtsync.testing.story import Story
from crdtsync.testing.streams import Streams
from crdtsync.testing.verdict import OracleFailed


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a seed went. `failure` is empty when every oracle held; `steps` are the last ones."""

    seed: int
    failure: str
    virtual_hours: float
    events: int
    messages: int
    commits: int
    refused: int
    crashes: int
    partitions: int
    faults: dict[str, int]
    settled_s: float
    settling_s_max: float
    cpu_s: float
    trace: str
    options: dict[str, Any]
    steps: list[str]


def simulate(seed: int, *, planted: Callable[[Node], None] | None = None, everything: bool = False) -> Outcome:
    """Play one seed. Whatever goes wrong stands in the outcome; nothing but an interrupt is raised."""
    began = time.process_time()
    story = Story(seed, draw(Streams(seed)), planted=planted, everything=everything)
    failure = ""
    try:
        story.play()
    except OracleFailed as error:
        failure = str(error)
    except Exception as error:  # the code under test may fail in any way
        where = traceback.extract_tb(error.__traceback__)[-1]
        failure = f"{type(error).__name__}: {error} ({where.filename.rpartition('/')[2]}:{where.lineno} {where.name})"
        for line in traceback.format_exc().splitlines():
            story.trace.step(line)
    return Outcome(
        seed=seed,
        failure=failure,
        virtual_hours=story.timeline.now / 3600.0,
        events=story.timeline.events,
        messages=story.network.messages,
        commits=len(story.ledger.hashes),
        refused=story.desk.refused,
        crashes=story.crashes,
        partitions=story.faults["partitions"],
        faults=dict(sorted(story.faults.items())),
        settled_s=story.settled_s,
        settling_s_max=story.settling_s_max,
        cpu_s=time.process_time() - began,
        trace=story.trace.digest(),
        options=asdict(story.options),
        steps=story.trace.steps(),
    )
