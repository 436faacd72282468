"""Patient numbers: sites have ranges, patients are created everywhere, and some ranges are set unseen of each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from crdtsync.documents import edits_of
from crdtsync.engine import RecordEdits, WriteGrant, WriteOutcome, WriteRequest
from crdtsync.errors import NotFound, RefusedError
from crdtsync.host import Deciding, Host
from crdtsync.ids import ReplicaId, record_id
from crdtsync.practice import Patient
from crdtsync.ranges import setting
from crdtsync.ranges.setting import By
from crdtsync.testing.verdict import OracleFailed

if TYPE_CHECKING:
    from crdtsync.testing.node import Node
    from crdtsync.testing.story import Story

_FIRST: Final = 100_000
"""Above all numbers that people at desks write by hand."""
_STEP: Final = 1_000
_PATIENTS: Final = 60
_BLOCKS: Final = 4
_MORE: Final = 6


def plan(story: Story) -> None:
    """Plan them."""
    if not story.options.ranges:
        return
    chance = story.streams("faults/numbers")
    end = story.options.duration_s
    story.expected_alarms.add("range")
    for index, name in enumerate(list(story.nodes)):
        if chance.random() < 0.85:
            first, size = _FIRST + index * _STEP, chance.choice((3, 10, 40))
            spare = chance.random() < 0.2
            story.timeline.at(chance.uniform(1.0, 60.0), partial(_set, story, name, first, first + size, spare))
    for _ in range(_PATIENTS):
        story.timeline.at(chance.uniform(30.0, end * 0.97), lambda: _create(story))
    for _ in range(_BLOCKS):
        story.timeline.at(chance.uniform(120.0, end * 0.9), lambda: _carve(story))
    for number in range(_MORE):
        first = _FIRST + (100 + number) * _STEP
        story.timeline.at(chance.uniform(300.0, end * 0.9), partial(_more, story, first))
    if chance.random() < 0.4:
        story.timeline.at(chance.uniform(60.0, end * 0.8), lambda: _unseen(story))


def _awake(story: Story) -> list[Node]:
    return [node for node in story.members() if node.awake]


def _set(story: Story, name: str, first: int, last: int, spare: bool) -> None:
    """An admin, anywhere, sets a range for a site."""
    running = _awake(story)
    if running:
        _set_at(story, story.streams("faults/ranges").choice(running), name, first, last, spare)


def _set_at(story: Story, node: Node, name: str, first: int, last: int, spare: bool) -> None:
    owner = story.nodes[name].identity

    def work(host: Host, grant: WriteGrant, now_ms: int) -> WriteRequest | None:
        request, _ = setting.set_range(host.ranges, owner, first, last, spare, By("dr.weber", "", now_ms))
        story.numbers.set(first, last, owner)  # it may be on disk also when nobody was told
        return request

    _decide(node, work, lambda outcome: None)


def _more(story: Story, first: int) -> None:
    """Another range for whoever may need one."""
    chance = story.streams("faults/ranges")
    names = [node.name for node in story.members() if node.identity == node.name]
    _set(story, chance.choice(names), first, first + chance.choice((2, 20)), chance.random() < 0.3)


def _unseen(story: Story) -> None:
    """Two admins set ranges with numbers in common, at one moment."""
    running = [node for node in _awake(story) if node.identity == node.name]
    if len(running) >= 2 and not story.over:
        chance = story.streams("faults/unseen")
        one, other = chance.sample(running, 2)
        first = _FIRST + 500 * _STEP
        story.faults["ranges_unseen"] += 1
        _set_at(story, one, one.name, first, first + 15, False)
        _set_at(story, other, other.name, first + chance.choice((0, 5)), first + 30, False)


def _create(story: Story) -> None:
    """One or several new patients, at any site."""
    chance = story.streams("faults/patients")
    running = _awake(story)
    if not running:
        return
    node = chance.choice(running)
    records = []
    for _ in range(chance.choice((1, 1, 1, 3))):
        patient = Patient(family_name="Nummer")
        patient.id = record_id(story.streams("faults/patient ids").randbytes(16))
        story.numbers.patients.append(patient.id)
        records.append(RecordEdits("patient", patient.id, patient.id, edits_of(patient, str)))

    def done(outcome: WriteOutcome | None) -> None:
        if outcome is None:
            return
        if outcome.error is not None:
            raise OracleFailed(f"{node.name} refuses a new patient: {outcome.error}")
        for each in records:
            row = node.disk.row("patient", each.record)
            if node.host.ranges.exist and (row is None or (row["number"] or row["number_follows"]) is None):
                raise OracleFailed(f"{node.name} has created a patient without a word about its number")
        story.numbers.fresh(node, [each.record for each in records])
        story.numbers.look(node, list(story.nodes.values()))

    node.write(WriteRequest("dr.weber", "first visit", "", "", records), done)


def _carve(story: Story) -> None:
    """A site hands a block of numbers to a workstation."""
    chance = story.streams("faults/blocks")
    running = _awake(story)
    if not running or story.over:
        return
    node, desk, size = chance.choice(running), ReplicaId(chance.randbytes(16)), chance.randint(1, 5)
    told: list[dict[str, Any]] = []

    def work(host: Host, grant: WriteGrant, now_ms: int) -> WriteRequest | None:
        request, block = host.ranges.carve(desk, size, grant, now_ms)
        told.append(block)
        return request

    def done(outcome: WriteOutcome) -> None:
        story.faults["number_blocks"] += 1
        story.numbers.handed_out(node, told[0]["first"], told[0]["last"], list(story.nodes.values()))

    _decide(node, work, done)


def _decide(
    node: Node, work: Callable[[Host, WriteGrant, int], WriteRequest | None], done: Callable[[WriteOutcome], None]
) -> None:
    """Decide something at a site; what it refuses is not done, and `done` hears of what is."""

    def ended(outcome: WriteOutcome | None) -> None:
        if outcome is None:
            return
        if outcome.error is None:
            done(outcome)
        elif not isinstance(outcome.error, RefusedError | NotFound):
            raise outcome.error

    node.write(Deciding(work), ended)


def finish(story: Story) -> None:
    """On a healed world: somebody releases what is closed; then whoever waits gets a number, and all that stands twice
    is a conflict."""
    if not story.options.ranges:
        return
    for node in story.members():
        closed = [each for each in node.host.ranges.listed() if each["state"] == "closed"]
        if closed and node.identity == node.name and node.replica_id not in node.replica.suspended:
            story.faults["ranges_released"] += 1

            def work(host: Host, grant: WriteGrant, now_ms: int, name: str = node.name) -> WriteRequest | None:
                return setting.release(host.ranges, name, None, None, By("dr.weber", "looked", now_ms))[0]

            _decide(node, work, lambda outcome: None)
    story.settle()
    nodes = story.members()
    for node in nodes:
        story.numbers.look(node, list(story.nodes.values()))
        story.numbers.conflicts(node)
    story.numbers.followers(nodes)
    for excuse, count in story.numbers.excuses.items():
        story.faults[f"number twice: {excuse}"] += count
    story.faults["numbers_shown"] += story.numbers.shown
