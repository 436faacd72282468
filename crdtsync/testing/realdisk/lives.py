"""One life after the other: recorded once, cut at every place, each image judged. A life is named by its seed.

Image n of a life is cut behind operation `n // passes` of those that change something, in the way that n names; the
same life and n give the same image, up to what the two SQLites draw themselves (salts, nonces). A trace that is kept
gives it bit by bit.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from crdtsync.errors import EnvironmentFailure
from crdtsync.testing.realdisk import recorder
from crdtsync.testing.realdisk.duties import Duties
from crdtsync.testing.realdisk.images import POLICIES, Disk, write_image
from crdtsync.testing.realdisk.planted import PLANTED
from crdtsync.testing.realdisk.trace import Operation, read_trace
from crdtsync.testing.realdisk.verdict import Broken, Case, Judge
from crdtsync.testing.realdisk.work import open_store

ACTS: Final = 30
"""What happens in one life."""
PASSES: Final = 2
"""Ways in which the power goes at one place of one life; other lives have other ways."""
_TEXT_MAX: Final = 400


@dataclass(frozen=True, slots=True)
class Failure:
    """A broken promise, and how to see it again: life, image, the operation before the cut, and the way of the cut."""

    life: int
    image: int
    operation: int
    policy: str
    kind: str
    text: str


@dataclass(slots=True)
class Tally:
    """What came of some images of one life."""

    life: int
    images: int = 0
    places: int = 0
    policies: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For a line of JSON."""
        return asdict(self)


def record_life(scratch: Path, library: Path, seed: int, planted: str = "", acts: int = ACTS) -> list[Operation]:
    """Play a life in a child process and give what it did to its files. Raises EnvironmentFailure when it fails."""
    base, trace = scratch / "base", scratch / "trace"
    base.mkdir()
    arguments = [str(base), str(trace), str(seed), str(acts), *([planted] if planted else [])]
    done = recorder.child(library, "crdtsync.testing.realdisk.play", arguments)
    shutil.rmtree(base)
    if done.returncode != 0:
        raise EnvironmentFailure(f"life {seed} could not be played: {done.stderr[-2000:]}")
    return read_trace(trace)


def chosen(places: int, images: int) -> Sequence[int]:
    """The numbers of `images` images out of all of a life, evenly spread."""
    whole = places * PASSES
    return range(whole) if images >= whole else [number * whole // images for number in range(images)]


def judge_life(
    operations: Sequence[Operation],
    seed: int,
    images: int,
    scratch: Path,
    *,
    planted: str = "",
    only: int | None = None,
    failures_max: int = 20,
) -> Tally:
    """Cut a recorded life `images` times and judge what is left; `only` names one image. Stops at `failures_max`."""
    tally = Tally(seed, places=sum(operation.changes for operation in operations))
    judge = Judge(PLANTED[planted].judge if planted else open_store)
    numbers = iter([only] if only is not None else chosen(tally.places, images))
    number = next(numbers, None)
    for place, at, disk, duties in _states(operations):
        while number is not None and number // PASSES == place:
            failure = _judge(judge, disk, duties, seed, number, at, scratch)
            tally.images += 1
            policy = policy_of(seed, number)
            tally.policies[policy] = tally.policies.get(policy, 0) + 1
            if failure is not None:
                tally.failures.append(failure)
                if len(tally.failures) >= failures_max:
                    return tally
            number = next(numbers, None)
        if number is None:
            break
    return tally


def _states(operations: Sequence[Operation]) -> Iterator[tuple[int, int, Disk, Duties]]:
    """Behind every operation that changes something: its number, its place in the trace, the disk, and the duties."""
    disk, duties, place = Disk(), Duties(), 0
    for at, operation in enumerate(operations):
        if operation.name == "M":
            duties.take(operation.data.decode())
        disk.take(operation)
        if operation.changes:
            yield place, at, disk, duties
            place += 1


def policy_of(seed: int, number: int) -> str:
    """In which way the power goes: neighbours and other lives differ."""
    return POLICIES[(number // PASSES + number % PASSES * 4 + seed * 5) % len(POLICIES)]


def _judge(judge: Judge, disk: Disk, duties: Duties, seed: int, number: int, at: int, scratch: Path) -> Failure | None:
    policy = policy_of(seed, number)
    name = f"{seed}/{number}"
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        write_image(disk.image(policy, random.Random(f"{name}/cut")), Path(folder))
        try:
            judge.check(Case(Path(folder), duties, policy == "killed", name))
        except Broken as broken:
            return Failure(seed, number, at, policy, broken.kind, str(broken)[:_TEXT_MAX])
    return None
