"""What a simulated world can do to a practice, one fault at a time and by plan: each is there, and each is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from crdtsync import limits
from crdtsync.errors import RottenCommit, StorageFailure
from crdtsync.ids import Head
from crdtsync.replication import messages
from crdtsync.testing import settling
from crdtsync.testing.audit import walk
from crdtsync.testing.canary import Canary
from crdtsync.testing.disk import SYNC_FAILED, Disk, PowerCut, flipped
from crdtsync.testing.faults import lies
from crdtsync.testing.faults.forks import Fork
from crdtsync.testing.faults.versions import _newer
from crdtsync.testing.options import HABITS, draw
from crdtsync.testing.pairs import SITES, PairWorld, compare
from crdtsync.testing.planted import PLANTED
from crdtsync.testing.simulate import simulate
from crdtsync.testing.sources import core_files, core_hash
from crdtsync.testing.story import Story
from crdtsync.testing.streams import Streams
from crdtsync.testing.verdict import OracleFailed
from crdtsync.testing.world import World


def world(*names: str, seed: int = 1) -> World:
    """A practice with a line from each site to the next, and something written at the first."""
    made = World(seed)
    made.found(*names)
    made.introduce(made.node(names[0]))
    made.connect(pairwise(names))
    made.desk.create(made.node(names[0]), 3)
    return made


def settled(*names: str) -> World:
    made = world(*names)
    made.settle()
    return made


def story_with(wanted: Callable[[Story], bool]) -> Story:
    """The first seed's story whose options are of a kind."""
    for seed in range(2_000):
        story = Story(seed, draw(Streams(seed)))
        if wanted(story):
            return story
    raise AssertionError("no seed of 2,000 has that")


# -- archives ---------------------------------------------------------------------------------------------------------


def test_an_archive_between_two_sites_passes_everything_on_and_reads_nothing() -> None:
    made = World(1)
    made.found("Jena", "Weimar")
    archive = made.invite_archive(made.node("Jena"), "Archiv")
    made.introduce(made.node("Jena"))
    made.connect([("Jena", "Archiv"), ("Archiv", "Weimar")])
    made.desk.create(made.node("Jena"), 3)
    made.settle()
    made.desk.create(made.node("Weimar"), 2)
    made.settle()
    made.check()
    assert archive.disk.log_head().arrival == made.node("Jena").disk.log_head().arrival == 2
    assert not archive.disk.listed(), "it has no view"
    assert not made.node("Jena").linked(made.node("Weimar").replica_id)


def test_an_archive_comes_back_with_what_it_had() -> None:
    made = World(1)
    made.found("Jena", "Weimar")
    archive = made.invite_archive(made.node("Jena"), "Archiv")
    made.introduce(made.node("Jena"))
    made.connect([("Jena", "Archiv"), ("Archiv", "Weimar")])
    made.desk.create(made.node("Jena"), 3)
    made.run(30.0)
    archive.stop("a while")
    archive.start()
    made.settle()
    made.check()


# -- processes and clocks ---------------------------------------------------------------------------------------------


def test_a_process_that_pauses_goes_on_with_what_it_knew() -> None:
    made = settled("Jena", "Weimar")
    jena, weimar = made.node("Jena"), made.node("Weimar")
    weimar.freeze()
    made.desk.create(jena)
    made.run(400.0)
    assert weimar.linked(jena.replica_id) and not jena.linked(weimar.replica_id), "one knows, one does not"
    assert weimar.disk.log_head().arrival < jena.disk.log_head().arrival
    weimar.thaw()
    made.settle()
    made.check()


def test_a_clock_that_is_set_back_gives_no_stamp_twice() -> None:
    made = settled("Jena", "Weimar")
    jena = made.node("Jena")
    jena.set_clock(-3_600_000)
    for _ in range(3):
        made.desk.create(jena)
    made.settle()
    made.check()


def test_a_clock_that_is_far_ahead_drags_nobody_along() -> None:
    made = settled("Jena", "Weimar")
    made.expected_alarms.add("minutes ahead")
    made.node("Jena").set_clock(3_600_000)
    made.desk.create(made.node("Jena"))
    made.settle()
    made.desk.create(made.node("Weimar"))
    made.settle()
    made.check()
    newest = made.node("Weimar").disk.arrivals(made.node("Weimar").disk.log_head().arrival - 1, 1, 1)[0]
    assert (newest.commit.header.stamp >> 16) < made.node("Jena").wall_ms() - 3_000_000


# -- disks ------------------------------------------------------------------------------------------------------------


def test_a_disk_that_refused_is_not_asked_again() -> None:
    disk = Disk()
    disk.refuses = lambda where: "input/output error" if where == "members" else ""
    disk.set_meta({"a": b"1"})
    with pytest.raises(StorageFailure, match="input/output"):
        disk.add_members([])
    with pytest.raises(OracleFailed, match="a disk that refused is asked again, for a write of meta"):
        disk.set_meta({"a": b"2"})
    disk.survive()
    disk.set_meta({"a": b"3"})


def test_a_failed_sync_may_have_written_all_the_same() -> None:
    made = settled("Jena", "Weimar")
    commits = [(stored.commit, True) for stored in made.node("Jena").disk.arrivals(0, 10, 1 << 20)]
    for text, there in ((SYNC_FAILED, len(commits)), ("input/output error", 0)):
        disk = Disk()
        disk.refuses = lambda where, text=text: text  # type: ignore[misc]
        with pytest.raises(StorageFailure, match=text):
            disk.append(commits, 0)
        with pytest.raises(StorageFailure):
            disk.log_head()
        disk.survive()
        assert disk.log_head().arrival == there


def test_a_torn_append_leaves_a_prefix_and_ends_the_process() -> None:
    made = settled("Jena", "Weimar")
    jena = made.node("Jena")
    commits = [(stored.commit, True) for stored in jena.disk.arrivals(0, 10, 1 << 20)]
    disk = Disk()
    disk.torn_at = lambda count: count - 1  # type: ignore[method-assign]
    disk.fuse = lambda where: where == "torn"
    with pytest.raises(PowerCut, match="torn"):
        disk.append(commits, 0)
    disk.survive()
    assert disk.log_head().arrival == len(commits) - 1


def test_a_site_whose_disk_is_full_ends_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    made = settled("Jena", "Weimar")
    jena = made.node("Jena")
    with monkeypatch.context() as full:
        full.setattr(made, "refuses", lambda process, where: "no space left" if process is jena else "")
        made.desk.create(jena)
        made.run(5.0)
        assert not jena.up and made.desk.refused == 1
        jena.start()
        assert not jena.up, "it cannot even open its log"
    jena.start()
    made.desk.create(jena)
    made.settle()
    made.check()


def test_rot_is_refused_by_peers_and_found_by_looking() -> None:
    made = world("Jena", "Weimar")
    jena, weimar = made.node("Jena"), made.node("Weimar")
    made.cut("Jena", "Weimar")
    made.run(5.0)
    made.rot.commit(jena, 1, part=0, at=77)
    made.mend("Jena", "Weimar")
    made.expected_alarms.add("rot")
    made.run(60.0)
    assert weimar.disk.log_head().arrival == 0, "nothing rotten is given out"
    made.heal()
    assert [rotten.state for rotten in made.rot.commits] == ["reported"]
    made.settle()
    made.check()


def test_rot_that_is_left_is_a_failure() -> None:
    made = settled("Jena", "Weimar")
    made.rot.commit(made.node("Jena"), 1, part=0, at=3)
    with pytest.raises(OracleFailed, match=r"rot at arrival 1 of Jena is left, and silent"):
        made.rot.verdict()
    with pytest.raises(RottenCommit, match="arrival 1 is not what was written"):
        walk(made.node("Jena"), made.ledger)


def test_a_rotten_page_of_the_view_stops_the_site_and_a_new_view_mends_it() -> None:
    made = settled("Jena", "Weimar")
    jena = made.node("Jena")
    jena.disk.rot_document(*jena.disk.listed()[0])
    made.desk.read(jena, *jena.disk.listed()[0])
    assert not jena.up and jena.rebuilds
    jena.start()
    made.settle()
    made.check()


# -- copies, versions, members that do not behave ---------------------------------------------------------------------


def test_a_copied_disk_on_a_second_machine_writes_under_another_name() -> None:
    made = settled("Jena", "Weimar", "Gera")
    jena = made.node("Jena")
    made.expected_alarms |= {"restored", "clone"}
    twin = made.clone(jena, "Jena II", jena.disk.image(), replace(jena.machine))
    made.connect([("Gera", "Jena II")])
    made.desk.create(jena)
    made.desk.create(twin)
    made.settle()
    made.check()
    assert twin.replica_id == jena.replica_id and twin.host.log != jena.host.log
    assert {jena.host.log, twin.host.log} <= set(made.node("Weimar").disk.frontier())


def test_a_newer_version_says_more_and_is_understood() -> None:
    story = story_with(lambda story: story.options.versions and story.options.sites < 5)
    story.play()
    assert story.faults["newer_versions"] == 1
    said = _newer(story, story.node("Jena"), messages.encode(messages.Credit(7)))
    assert messages.decode(said[-1][1]) == messages.Credit(7) and len(said[-1][1]) > 20


@pytest.mark.slow
@pytest.mark.parametrize("habit", HABITS)
def test_honest_sites_agree_whatever_one_member_does(habit: str) -> None:
    story = story_with(lambda story: habit in story.options.hostile and not story.options.days)
    story.play()
    assert story.faults["hostile"] == 1


def test_lies_change_what_is_claimed_and_nothing_else() -> None:
    made = settled("Jena", "Weimar")
    jena = made.node("Jena")
    log, head = next(iter(jena.disk.frontier().items()))
    said = messages.encode(messages.Have(((log, head),), whole=True))
    claimed: list[Head] = []
    for seed in range(30):
        for act in (lies.claims_own_log, lies.other_hashes):
            for (_, data), *_ in act(jena, said, Streams(seed)("lie")):
                lie = messages.decode(data)
                assert isinstance(lie, messages.Have) and lie.heads[0][0] == log
                claimed.append(lie.heads[0][1])
    assert any(lie.sequence > head.sequence for lie in claimed)
    assert any(lie.sequence == head.sequence and lie.hash != head.hash for lie in claimed)


def test_a_fork_tells_two_stories_each_of_which_is_signed_and_chained() -> None:
    made = settled("Jena", "Weimar")
    jena, weimar = made.node("Jena"), made.node("Weimar")
    run = [stored.commit for stored in jena.disk.arrivals(0, 10, 1 << 20)]
    message = messages.encode(messages.Commits(10, (), tuple(run)))
    told = messages.decode(Fork(jena, frozenset({weimar.replica_id}))(weimar, message)[0][1])
    assert isinstance(told, messages.Commits)
    assert [c.header.sequence for c in told.commits] == [c.header.sequence for c in run]
    assert all(mine.hash != theirs.hash for mine, theirs in zip(run, told.commits, strict=True))
    assert Fork(jena, frozenset())(weimar, message) == [(0.0, message)]


# -- oracles ----------------------------------------------------------------------------------------------------------


def test_a_canary_is_seen_wherever_it_sings() -> None:
    made = settled("Jena", "Weimar")
    jena = made.node("Jena")
    canary: Canary = made.canary
    with pytest.raises(OracleFailed, match="sends content"):
        canary.message(jena, b"..." + canary.text.encode() + b"...")
    with pytest.raises(OracleFailed, match="an alarm of Jena"):
        canary.alarm("Jena", f"held: {canary.text}")
    canary.disk("Jena", jena.disk)
    jena.disk.set_meta({"last": canary.text.encode()})
    with pytest.raises(OracleFailed, match="beside the view"):
        canary.disk("Jena", jena.disk)


def test_the_time_to_settle_follows_from_what_is_outstanding_and_the_way_it_has_to_go() -> None:
    near, far = world("Jena", "Weimar"), world("Jena", "Weimar", "Gera", "Apolda")
    assert settling.allowed_s(near) < settling.allowed_s(far)
    before = settling.allowed_s(near)
    near.cut("Jena", "Weimar")
    for _ in range(200):
        near.desk.create(near.node("Jena"), 3)
    near.run(60.0)
    assert settling.allowed_s(near) > before


def test_a_world_at_rest_that_chatters_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    made = settled("Jena", "Weimar")
    settling.quiet(made)
    monkeypatch.setattr(limits, "repair_interval_s", 0.25)
    made.run(10.0)
    monkeypatch.setattr(limits, "repair_interval_s", 5.0)
    chatter = made.network.messages
    made.run(0.0)
    assert made.network.messages == chatter

    def say_much(after: float) -> None:
        said = b"\x91\xcc\xc9"
        for _ in range(200):
            made.timeline.after(after, lambda: made.network.send(made.node("Jena"), _link(made), said, False))

    say_much(0.0)
    settling.quiet(made)  # what was still to be put on lines comes first
    say_much(limits.repair_interval_s + 3.0)
    with pytest.raises(OracleFailed, match="L7: at rest 2 ends of links say"):
        settling.quiet(made)


def _link(made: World) -> int:
    return next(iter(made.node("Jena").replica.peers))


def test_stamps_that_go_back_or_are_dragged_along_are_noticed() -> None:
    for bug, text in (("ignore-stamps", "does not lie behind"), ("adopt-any-stamp", "was dragged")):
        made = World(1, planted=PLANTED[bug].plant)
        made.expected_alarms.add("minutes ahead")
        made.found("Jena", "Weimar")
        made.introduce(made.node("Jena"))
        made.connect([("Jena", "Weimar")])
        made.node("Jena").set_clock(3_600_000 if bug == "adopt-any-stamp" else 60_000)
        made.desk.create(made.node("Jena"))
        made.run(30.0)
        made.desk.create(made.node("Weimar"))
        with pytest.raises(OracleFailed, match=text):
            made.run(30.0)


def test_a_plan_ends_with_the_same_values_in_other_worlds() -> None:
    values = compare(1, 2, 3)
    assert len(values) == 4 and all(found["phones"] for found in values.values())
    assert compare(2, 2, 3) != values


def test_a_pair_is_not_equal_when_one_world_loses_something() -> None:
    with pytest.raises((OracleFailed, AssertionError)):
        for seed in range(10):
            PairWorld(1, seed, planted=PLANTED["drop-delete"].plant).play()
    assert len(SITES) == 3


def test_figures_belong_to_a_version() -> None:
    names = [path.name for path in core_files()]
    assert {"replica.py", "host.py", "engine.py", "memory.py", "envelope.py", "document.py"} <= set(names)
    assert core_hash() == core_hash() and len(core_hash()) == 16


def test_a_bit_turns_over_and_back() -> None:
    data = bytes(range(10))
    assert flipped(data, 83) != data and flipped(flipped(data, 83), 83) == data


def test_a_world_of_days_is_cheap() -> None:
    """Sites without links sleep: days of isolation take next to no events."""
    seed = next(seed for seed in range(500) if draw(Streams(seed)).days)
    outcome = simulate(seed)
    assert outcome.failure == "" and outcome.virtual_hours > 24.0
    assert outcome.events < 6_000 * outcome.virtual_hours
