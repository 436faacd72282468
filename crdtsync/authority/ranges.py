"""Ranges of numbers: which number comes next out of which range, and when none may.

Every site has ranges of its own, so that it gives numbers without asking anybody. A range is a set of facts that only
grows: its bounds, the highest number known to be given, blocks handed to workstations, *closings* (its owner has lost
some of what it wrote, so that numbers may have been given of which nobody knows) and *releases* (a person says that the
rest may be given, and by which replica). What follows from equal facts is equal at every site:

    owner      whom the last release names, else whom the range was set for: the only one that gives of it
    floor      what lies up to here is gone: given, handed out in blocks, or behind a release
    closed     a closing of its owner that no release answers
    stopped    an older range has some of its numbers: two admins set them unseen by each other

Ranges are used in order of their first number, spare ones last. No function here draws, waits or reads anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

WARNED_AT: Final = (80, 95)
"""Per cent of what a site has without spares: the site says so when so much is given."""

State = Literal["open", "exhausted", "closed", "stopped", "ended", "unclear"]
Level = Literal["", "80", "95", "spare", "exhausted"]
"""How far numbers are used up, from well to worst."""
Free = Callable[[int, int], int | None]
"""The lowest number between two, both included, that nobody is known to have; None when there is none."""


@dataclass(frozen=True, slots=True)
class Block:
    """Numbers of a range that a workstation gives: nobody else does any more."""

    replica: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Closing:
    """`replica` has lost some of what it wrote; `key` tells this loss from others."""

    key: str
    replica: str


@dataclass(frozen=True, slots=True)
class Release:
    """From now on `replica` gives of the range, above `since`; `closings` are the losses that this answers.

    Each has a higher `step` than those that whoever made it knew.
    """

    step: int
    replica: str
    since: int
    closings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Range:
    """A range as it is known somewhere. `born` orders ranges by age; `clear` is False where its bounds or its replica
    are in conflict, so that it gives nothing until a person has decided."""

    id: str
    site: str
    replica: str
    first: int
    last: int
    spare: bool = False
    born: int = 0
    given: int = 0
    blocks: tuple[Block, ...] = ()
    closings: tuple[Closing, ...] = ()
    releases: tuple[Release, ...] = ()
    ended: bool = False
    clear: bool = True

    @property
    def owner(self) -> str:
        """The replica that gives its numbers."""
        last = max(self.releases, key=lambda release: (release.step, release.replica), default=None)
        return self.replica if last is None else last.replica

    @property
    def owners(self) -> frozenset[str]:
        """Every replica that ever was to give of it."""
        return frozenset((self.replica, *(release.replica for release in self.releases)))

    @property
    def floor(self) -> int:
        """The highest number that nobody may give any more, `first - 1` while none was."""
        handed = (block.last for block in self.blocks)
        behind = (release.since for release in self.releases)
        return min(self.last, max(self.first - 1, self.given, *handed, *behind))

    @property
    def answered(self) -> frozenset[str]:
        """The closings that a release answers."""
        return frozenset(key for release in self.releases for key in release.closings)

    @property
    def closed(self) -> bool:
        """Whether its owner has lost something, and nobody has released the rest since."""
        owner, answered = self.owner, self.answered
        return any(each.replica == owner and each.key not in answered for each in self.closings)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return self.last - self.first + 1

    @property
    def used(self) -> int:
        """How many of them are behind its floor."""
        return self.floor - self.first + 1

    @property
    def step(self) -> int:
        """The step of the next release."""
        return max((release.step for release in self.releases), default=0) + 1


@dataclass(frozen=True, slots=True)
class Source:
    """What a replica may take numbers out of: a range that it owns, or a block that it was given."""

    range: str
    first: int
    last: int
    floor: int
    spare: bool = False
    block: bool = False
    state: State = "open"

    @property
    def left(self) -> int:
        """Numbers that may still be given; 0 where none may."""
        return self.last - self.floor if self.state == "open" else 0


@dataclass(frozen=True, slots=True)
class Usage:
    """How far the numbers of one replica are used up. `size`, `used` and `left` do not count spares."""

    size: int
    used: int
    left: int
    spare_used: int
    spare_left: int

    @property
    def level(self) -> Level:
        """What people should know. Empty where there are no numbers at all, and where enough are left."""
        if not self.size and not self.spare_used and not self.spare_left:
            return ""
        if not self.left and not self.spare_left:
            return "exhausted"
        if not self.left or self.spare_used:
            return "spare"
        reached = [at for at in WARNED_AT if self.used * 100 >= at * self.size]
        return "" if not reached else "95" if reached[-1] == WARNED_AT[-1] else "80"


# --- ranges among each other ----------------------------------------------------------------------------------------


def overlapping(ranges: Iterable[Range]) -> Iterator[tuple[Range, Range]]:
    """Each pair of ranges that have a number in common, once; the order follows from the pair alone."""
    ordered = sorted(ranges, key=lambda each: (each.first, each.id))
    for index, one in enumerate(ordered):
        for other in ordered[index + 1 :]:
            if other.first > one.last:
                break
            yield one, other


def stopped(ranges: Iterable[Range]) -> dict[str, str]:
    """Per range that gives nothing, since an older one has some of its numbers: the oldest of those.

    It stays so for good, even if the older one ends: what either has given meanwhile may not be known here.
    """
    by: dict[str, Range] = {}
    for pair in overlapping(each for each in ranges if each.clear):
        older, younger = sorted(pair, key=_age)
        known = by.get(younger.id)
        if known is None or _age(older) < _age(known):
            by[younger.id] = older
    return {younger: older.id for younger, older in by.items()}


def _age(each: Range) -> tuple[int, str]:
    return each.born, each.id


def in_the_way(ranges: Iterable[Range], first: int, last: int) -> Range | None:
    """The lowest range that has one of these numbers, if any does."""
    found = [each for each in ranges if each.first <= last and first <= each.last]
    return min(found, key=lambda each: (each.first, each.id), default=None)


# --- what one replica may give ----------------------------------------------------------------------------------------


def state_of(each: Range, stopped_by: Mapping[str, str], marker: str | None = None) -> State:
    """Whether its owner may give of a range. `marker` is what the owner itself knows of its last loss: "" for one that
    nobody can have answered yet, None for none."""
    if not each.clear:
        return "unclear"
    if each.ended:
        return "ended"
    if each.id in stopped_by:
        return "stopped"
    if each.closed or (marker is not None and marker not in each.answered):
        return "closed"
    return "open" if each.floor < each.last else "exhausted"


def sources(
    ranges: Sequence[Range],
    me: str,
    *,
    noted: Mapping[str, int] | None = None,
    blocks: Sequence[Source] = (),
    marker: str | None = None,
) -> list[Source]:
    """Where `me` takes numbers from, in this order. `noted` is what it remembers of its own to have given of each
    range, whatever the records say; `blocks` are those that it was handed."""
    by, found = stopped(ranges), []
    for each in ranges:
        if each.owner == me:
            floor = max(each.floor, min(each.last, (noted or {}).get(each.id, 0)))
            found.append(Source(each.id, each.first, each.last, floor, each.spare, False, state_of(each, by, marker)))
    found += [replace(each, state="stopped") if each.range in by else each for each in blocks]
    found = [replace(each, state="exhausted") if each.state == "open" and not each.left else each for each in found]
    return sorted(found, key=lambda each: (each.spare, each.first, each.range))


def take(held: list[Source], free: Free) -> tuple[Source, int] | None:
    """The next number, and whence; `held`, as `sources` gives it, is changed so that it is not taken again."""
    for index, source in enumerate(held):
        number = free(source.floor + 1, source.last) if source.left else None
        if number is not None:
            held[index] = replace(source, floor=number)
            return held[index], number
    return None


def carve(held: list[Source], size: int) -> Source | None:
    """A block of at most `size` numbers out of the first range that has some left, for a workstation; `held` is changed
    so that they are not taken again. None when nothing is left; a block is never carved out of a block."""
    for index, source in enumerate(held):
        if source.left and not source.block:
            last = min(source.floor + size, source.last)
            held[index] = replace(source, floor=last)
            return Source(source.range, source.floor + 1, last, source.floor, source.spare, True)
    return None


def usage(held: Iterable[Source]) -> Usage:
    """How far these are used up. What is stopped, ended or unclear is not counted, since nothing comes of it any more;
    what is closed counts as it stands, since it may be released."""
    counted = [each for each in held if each.state in ("open", "exhausted", "closed")]
    plain, spare = ([each for each in counted if each.spare is kind] for kind in (False, True))
    return Usage(
        size=sum(each.last - each.first + 1 for each in plain),
        used=sum(each.floor - each.first + 1 for each in plain),
        left=sum(each.last - each.floor for each in plain),
        spare_used=sum(each.floor - each.first + 1 for each in spare),
        spare_left=sum(each.last - each.floor for each in spare),
    )
