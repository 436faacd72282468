"""How the logs of a replica follow each other: lines, branches, and what no order of arrival changes (L4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.ids import Head, LogId
from crdtsync.replication.boots import Boots, Continues
from tests.replication.people import head, log, replica

ME = replica("a")


def boots(heights: dict[int, int], **continues: tuple[int, int] | None) -> Boots:
    """Boots of "a" with these heights; `b2=(1, 5)` says that boot 2 continues boot 1 at 5."""
    found: dict[LogId, Continues] = {log("a", boot): None for boot in heights}
    for word, at in continues.items():
        found[log("a", int(word[1:]))] = None if at is None else (log("a", at[0]), head(at[1]))
    return Boots(found, lambda name: heights.get(int.from_bytes(name[16:], "big"), 0))


def tips(found: Boots) -> list[int]:
    return [int.from_bytes(name[16:], "big") for name in found.tips(ME)]


def test_restarts_are_a_line() -> None:
    line = boots({1: 5, 2: 3, 3: 1}, b2=(1, 5), b3=(2, 3))
    assert tips(line) == [3]
    assert line.ends_of(log("a", 1)) == line.ends_of(log("a", 2)) == line.ends_of(log("a", 3)) == [log("a", 3)]


def test_who_has_written_nothing_has_no_tip() -> None:
    nothing = boots({})
    assert nothing.tips(ME) == [] and nothing.replicas() == [] and nothing.ends_of(log("a")) == []


def test_a_log_that_went_on_beside_the_one_that_continues_it_is_a_branch() -> None:
    assert tips(boots({1: 5, 2: 3}, b2=(1, 4))) == [1, 2]


def test_two_that_continue_one_head_are_branches() -> None:
    found = boots({1: 5, 2: 3, 3: 1}, b2=(1, 5), b3=(1, 5))
    assert tips(found) == [2, 3]
    assert found.ends_of(log("a", 1)) == [log("a", 2), log("a", 3)]


def test_a_clone_before_the_first_commit_is_one_too() -> None:
    assert tips(boots({1: 5, 2: 3})) == [1, 2]


def test_what_continues_a_stranger_or_itself_is_a_beginning() -> None:
    found = Boots({log("a", 1): (log("b", 1), head(3)), log("a", 2): (log("a", 2), head(1))}, lambda name: 1)
    assert tips(found) == [1, 2]


def test_a_closed_tip_opens_again_when_it_grows() -> None:
    heights = {1: 5, 2: 3}
    found = boots(heights, b2=(1, 4))
    closed = {log("a", 2): head(3)}
    assert found.open_tips(ME, closed) == [log("a", 1)]
    heights[2] = 4
    assert found.open_tips(ME, closed) == [log("a", 1), log("a", 2)]


def test_who_continues_a_closed_tip_is_open() -> None:
    found = boots({1: 5, 2: 3, 3: 1}, b2=(1, 4), b3=(2, 3))
    assert found.open_tips(ME, {log("a", 2): head(3)}) == [log("a", 1), log("a", 3)]


# -- random histories -------------------------------------------------------------------------------------------------


@dataclass
class Disk:
    """What one disk holds of its replica's logs, which one it writes, and which one it wrote last."""

    heads: dict[LogId, int] = field(default_factory=dict)
    boot: int = 0
    last: LogId | None = None

    def copy(self) -> Disk:
        return Disk(dict(self.heads), self.boot, self.last)


@dataclass(frozen=True)
class Written:
    """A commit: its place, what it continues, and what was on the disk before it."""

    log: LogId
    sequence: int
    continues: Continues
    past: tuple[tuple[LogId, int], ...]


class History:
    """Machines of one replica that write, restart, are copied, are set back, and meet."""

    def __init__(self, chance: Random, acts: str) -> None:
        self.commits: list[Written] = []
        self.continues: dict[LogId, Continues] = {}
        self._chance = chance
        self._boots = 0
        self._images: list[Disk] = []
        self.disks = [Disk()]
        self._restart(self.disks[0])
        for act in acts:
            disk = chance.choice(self.disks)
            match act:
                case "w":
                    self._write(disk)
                case "r":
                    self._restart(disk)
                case "i":
                    self._images.append(disk.copy())
                case "m":
                    self._meet(disk)
                case "c":
                    self.disks.append(disk.copy())
                    self._restart(self.disks[-1])
                case "b" if self._images:
                    self.disks[self.disks.index(disk)] = back = chance.choice(self._images).copy()
                    self._restart(back)

    def _restart(self, disk: Disk) -> None:
        self._boots += 1
        disk.boot = self._boots

    def _meet(self, disk: Disk) -> None:
        """It fetches all that was ever written."""
        for commit in self.commits:
            disk.heads[commit.log] = max(disk.heads.get(commit.log, 0), commit.sequence)

    def _write(self, disk: Disk) -> None:
        name = log("a", disk.boot)
        sequence = disk.heads.get(name, 0) + 1
        continues: Continues = None
        if sequence == 1 and disk.last is not None:
            known = Boots({each: self.continues[each] for each in disk.heads}, lambda each: disk.heads.get(each, 0))
            onto = self._chance.choice(known.ends_of(disk.last))
            continues = (onto, head(disk.heads[onto]))
        if sequence == 1:
            self.continues[name] = continues
        self.commits.append(Written(name, sequence, continues, tuple(disk.heads.items())))
        disk.heads[name] = sequence
        disk.last = name


def leaves(commits: list[Written]) -> list[LogId]:
    """The logs of the commits that no other one goes on from: counted over commits, without a notion of a log's end."""
    goes_on = set()
    for commit in commits:
        if commit.sequence > 1:
            goes_on.add((commit.log, commit.sequence - 1))
        elif commit.continues is not None:
            goes_on.add((commit.continues[0], commit.continues[1].sequence))
    return sorted(commit.log for commit in commits if (commit.log, commit.sequence) not in goes_on)


def arriving(commits: list[Written], chance: Random) -> list[Written]:
    """The commits in a random causal order (L2)."""
    left, order, here = list(commits), [], {}
    while left:
        ready = [c for c in left if all(here.get(name, 0) >= at for name, at in c.past)]
        commit = chance.choice(ready)
        left.remove(commit)
        here[commit.log] = commit.sequence
        order.append(commit)
    return order


class Observer:
    """A site that the commits come in at, one by one."""

    def __init__(self) -> None:
        self.heights: dict[LogId, int] = {}
        self.boots = Boots({}, lambda name: self.heights.get(name, 0))

    def take(self, commit: Written) -> None:
        self.heights[commit.log] = commit.sequence
        if commit.sequence == 1:
            self.boots.begin(commit.log, commit.continues)


@settings(max_examples=150, deadline=None)
@given(st.text("wwwwrrimcb", max_size=40), st.randoms(use_true_random=False))
def test_every_order_of_arrival_gives_the_same_tips(acts: str, chance: Random) -> None:
    history = History(chance, acts)
    expected = leaves(history.commits)
    for _ in range(4):
        observer = Observer()
        order = arriving(history.commits, chance)
        branched = False
        for number, commit in enumerate(order, 1):
            observer.take(commit)
            found = observer.boots.tips(ME)
            assert found == leaves(order[:number])
            assert not branched or len(found) > 1, "a branch was seen, and is none any more"
            branched = len(found) > 1
        assert observer.boots.tips(ME) == expected
        if len(expected) <= 1:
            assert not branched, "a false alarm"


@settings(max_examples=100, deadline=None)
@given(st.text("wwwrrim", max_size=40), st.randoms(use_true_random=False))
def test_one_machine_never_looks_like_two_however_often_it_starts(acts: str, chance: Random) -> None:
    history = History(chance, acts)
    observer = Observer()
    for commit in arriving(history.commits, chance):
        observer.take(commit)
        assert len(observer.boots.tips(ME)) == 1


@settings(max_examples=100, deadline=None)
@given(st.text("wwwrim", max_size=20), st.text("wr", max_size=10), st.randoms(use_true_random=False))
def test_a_disk_set_back_that_fetches_before_it_writes_goes_on_in_line(before: str, after: str, chance: Random) -> None:
    history = History(chance, before)
    older = history._images[0].copy() if history._images else Disk()
    history._meet(older)
    history._restart(older)
    if older.last is None and history.commits:
        older.last = history.commits[0].log  # the folder names no log: its replica's logs are one line all the same
    history.disks = [older]
    for act in after:
        history._write(older) if act == "w" else history._restart(older)
    observer = Observer()
    for commit in arriving(history.commits, chance):
        observer.take(commit)
        assert len(observer.boots.tips(ME)) == 1


def test_heads_are_not_confused_with_logs_of_others() -> None:
    found = Boots({log("a"): None, log("b"): None, log("b", 2): (log("b"), Head(1, head(1).hash))}, lambda name: 1)
    assert found.tips(ME) == [log("a")] and found.tips(replica("b")) == [log("b", 2)]
