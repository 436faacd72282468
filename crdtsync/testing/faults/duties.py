"""Series of numbers in a practice: invoices at all sites, hand-overs, and take-overs of holders that are dead, or are
only cut off, also by two admins at one moment."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from crdtsync.documents import edits_of
from crdtsync.engine import RecordEdits, WriteOutcome, WriteRequest
from crdtsync.ids import record_id
from crdtsync.issuing import Words
from crdtsync.practice import Invoice
from crdtsync.series_state import find
from crdtsync.testing.billing import PATTERN, SERIES, look_of

if TYPE_CHECKING:
    from crdtsync.testing.billing import Billing
    from crdtsync.testing.node import Node
    from crdtsync.testing.story import Story


def plan(story: Story) -> None:
    """Plan them."""
    options, billing = story.options, story.billing
    if billing is None:
        return
    chance = story.streams("duties")
    founder = next(iter(story.nodes.values()))
    story.timeline.at(chance.uniform(0.0, 30.0), lambda: _found(founder, billing))
    duration = options.duration_s
    for _ in range(chance.randint(10, 50)):
        story.timeline.at(chance.uniform(30.0, duration), lambda: _bill(story, billing))
    for _ in range(options.hand_overs):
        story.timeline.at(chance.uniform(60.0, duration), lambda: _hand_over(story, billing))
    for _ in range(options.take_overs):
        story.timeline.at(chance.uniform(60.0, duration), lambda: _take_over(story, billing))
    if options.year_change:
        for _ in range(10):
            middle = chance.gauss(duration / 2, 30.0)
            story.timeline.at(max(31.0, middle), lambda: _bill(story, billing))


def _found(node: Node, billing: Billing) -> None:
    """Until it is founded it is tried again: its machine may be down, or its disk refuse."""

    def done(outcome: WriteOutcome | None) -> None:
        if outcome is None or (outcome.error is not None and find(look_of(node), SERIES) is None):
            node.world.timeline.after(20.0, lambda: _found(node, billing))

    if node.awake:
        node.write(billing.duties.add_series(SERIES, PATTERN, None, 1, None, Words("admin")), done)
    else:
        done(None)


def started(story: Story, node: Node) -> None:
    """Whoever comes to work at a machine that has just been started writes an invoice first."""
    billing = story.billing
    if billing is None or story.over:
        return
    chance = story.streams("duties/starts")
    for _ in range(chance.choice((0, 1, 2))):
        story.timeline.after(10 ** chance.uniform(-2.0, 1.0), lambda: _bill(story, billing, node))


def _bill(story: Story, billing: Billing, at: Node | None = None) -> None:
    """An invoice is made ready, or its number is asked for at once."""
    chance = story.streams("duties/invoices")
    node = chance.choice(list(story.nodes.values())) if at is None else at
    record, ready = record_id(chance.randbytes(16)), chance.random() < 0.7
    if not node.awake:
        return
    made = Invoice(recipient="Erika Muster", series=SERIES, status="ready" if ready else "draft")
    edits = RecordEdits("invoice", record, record, edits_of(made, str))
    asked = partial(billing.asked, record)

    def answered(outcome: WriteOutcome | None) -> None:
        billing.acknowledged(node, record, outcome)
        asked(outcome)

    if ready:
        node.write(WriteRequest("empfang", "work", "", "", [edits]), asked)
        return
    node.write(WriteRequest("empfang", "work", "", "", [edits]), lambda outcome: None)
    node.write(billing.duties.make_ready(record, SERIES, Words("empfang")), answered)


def _hand_over(story: Story, billing: Billing) -> None:
    chance = story.streams("duties/hand-overs")
    node, to = (chance.choice(list(story.nodes.values())) for _ in "12")
    if node.awake:
        story.faults["hand-overs"] += 1
        node.write(billing.duties.hand_over(SERIES, to.identity, Words("admin")), lambda outcome: None)


def _take_over(story: Story, billing: Billing) -> None:
    """At one site, or at two in one moment."""
    chance = story.streams("duties/take-overs")
    nodes = [node for node in story.nodes.values() if node.awake]
    for node in chance.sample(nodes, min(len(nodes), chance.choice((1, 1, 2)))):
        to = chance.choice(list(story.nodes.values()))
        story.faults["take-overs"] += 1
        words = Words("admin", "its holder is said to be lost")
        node.write(billing.duties.take_over(SERIES, to.identity, words), lambda outcome: None)
