"""Series of numbers in a simulated practice, and what must hold of them.

Every number that a site gives is noted the moment it is acknowledged, by whoever gave it and in which commit; so the
oracle does not ask the code under test what was given, and knows also what a lost disk knew alone:

- no number is ever given to two invoices, at any time, at any site;
- no number is given before another site has confirmed that the holder's disk is up to date;
- in the end every number that any site ever gave stands in the audit with its invoice, no number lacks both an invoice
  and a reason, each step of each term has one holder, and what is ready has a number if its holder lives.

Three things excuse a number given twice, and are counted: its first commit was lost with a disk that was set back, and
whoever confirmed that disk did not know of it; copies of one disk gave numbers before they had heard of each other; or
a site signs one sequence twice, log after log, so that even the term that it opened anew counts nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from crdtsync.authority.series import Line
from crdtsync.documents import Content, Document
from crdtsync.documents.slots import items_of, split_slot
from crdtsync.duties import Duties, Duty
from crdtsync.engine import WriteOutcome
from crdtsync.errors import CrdtSyncError, RefusedError
from crdtsync.ids import CommitId, RecordId, base32, log_tag
from crdtsync.replication.commit import Commit
from crdtsync.series import lines_of
from crdtsync.series_state import Look, SeriesState, find, values_of
from crdtsync.testing.ground import START_MS
from crdtsync.testing.verdict import OracleFailed

if TYPE_CHECKING:
    from crdtsync.testing.node import Node
    from crdtsync.testing.story import Story

SERIES: Final = "R1"
PATTERN: Final = "R1-{year}-{n:03}"
_CLIENT: Final = 1


class Given(NamedTuple):
    """A number that a site has given: to which invoice, which machine with whose keys did so, and in which commit."""

    invoice: RecordId
    machine: str
    identity: str
    commit: CommitId


class Billing:
    """The books of one world. `duties` is what all its sites do about series."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.turn_ms = START_MS + int(story.options.duration_s * 500)
        """When the year changes, by everybody's own clock."""
        self.duties = Duties(self._year)
        self.given: dict[str, list[Given]] = {}
        self.ready: dict[RecordId, CommitId] = {}
        self.excused: set[str] = set()
        """Numbers that were given twice, with an excuse."""
        self.refused: Counter[str] = Counter()

    def _year(self, at_ms: int) -> int:
        return 2027 if self._story.options.year_change and at_ms >= self.turn_ms else 2026

    # -- what is acknowledged ------------------------------------------------------------------------------------------

    def did(self, node: Node, duty: Duty, outcome: WriteOutcome | None) -> None:
        """A site has done what was due."""
        if outcome is not None and outcome.commits and duty.alarm:
            node.step(f"alarm duty: {duty.alarm}")
        if duty.invoice is not None:
            self.acknowledged(node, duty.invoice, outcome)

    def acknowledged(self, node: Node, invoice: RecordId, outcome: WriteOutcome | None) -> None:
        """Somebody was told what became of an invoice: note its number, if it was given one."""
        if outcome is None or outcome.error is not None:
            self._note_refusal(outcome)
            return
        for commit in outcome.commits:
            for number in _written(node, invoice, commit):
                self._gave(node, number, Given(invoice, node.name, node.identity, commit.id))

    def asked(self, invoice: RecordId, outcome: WriteOutcome | None) -> None:
        """Somebody was told that an invoice is ready."""
        if outcome is None or outcome.error is not None:
            self._note_refusal(outcome)
        elif outcome.commit is not None:
            self.ready[invoice] = outcome.commit.id

    def _note_refusal(self, outcome: WriteOutcome | None) -> None:
        error = None if outcome is None else outcome.error
        if error is not None and not isinstance(error, CrdtSyncError):
            raise error
        self.refused["lost" if error is None else type(error).__name__] += 1

    def _gave(self, node: Node, number: str, given: Given) -> None:
        self._story.faults["numbers"] += 1
        node.step(f"gives {number} to {given.invoice[:6]} in {given.commit.sequence}")
        if node.host.numbers.unconfirmed:
            raise OracleFailed(f"L4: {node.name} gives {number} before anybody has confirmed its disk")
        before = self.given.setdefault(number, [])
        for other in before:
            if other.invoice != given.invoice:
                self._excuse(number, other, given)
        before.append(given)

    def _excuse(self, number: str, first: Given, second: Given) -> None:
        """Raises OracleFailed where nothing excuses that a number was given twice."""
        ledger = self._story.ledger
        place = (first.commit.log, first.commit.sequence)
        if first.identity == second.identity and first.machine != second.machine:
            excuse = "numbers given by copies of a disk"
        elif place not in ledger.acknowledged:
            excuse = "numbers lost with a disk"
        elif first.commit.log in self._story.nodes[second.machine].replica.frozen:
            excuse = "numbers in logs that were written twice"
        elif place not in self._story.nodes[first.machine].account.written:
            excuse = "numbers that whoever confirmed a disk did not know"
        else:
            raise OracleFailed(
                f"{number} was given to {first.invoice[:6]} by {first.machine} and to {second.invoice[:6]} by "
                f"{second.machine}"
            )
        self._story.faults[excuse] += 1
        self.excused.add(number)

    # -- in the end ----------------------------------------------------------------------------------------------------

    def verdict(self, nodes: Sequence[Node]) -> None:
        """What must hold when all sites are one."""
        node = nodes[0]
        series = find(look_of(node), SERIES)
        if series is None:
            return
        self._one_holder_per_step(series)
        for number in self.given:
            if sum(1 for _ in {each.invoice for each in self.given[number]}) > 1 and number not in self.excused:
                raise OracleFailed(f"{number} was given twice")
        audits = [lines_of(each.host, SERIES) for each in nodes]
        for each, lines in zip(nodes, audits, strict=True):
            if lines != audits[0]:
                raise OracleFailed(f"L5: {each.name} lists other numbers than {node.name}")
        self._all_listed(node, audits[0])
        self._all_issued(nodes, series)

    def _one_holder_per_step(self, series: SeriesState) -> None:
        steps = Counter((each.term, each.step) for each in set(series.terms))
        several = sorted(step for step, count in steps.items() if count > 1)
        if several and not (self._story.faults["clones"] or self._story.faults["restores"]):
            raise OracleFailed(f"the steps {several} of {SERIES} have two holders")

    def _all_listed(self, node: Node, lines: Iterable[Line]) -> None:
        """Every number that was given and counts is in the list; every other one in it has a reason."""
        listed: dict[str, set[str]] = {}
        for line in lines:
            if line.number is None:
                continue
            found = listed.setdefault(line.number, set())
            if line.given is not None:
                found.add(line.given.invoice)
            elif line.unexplained and not self._cut_off(node, line.number):
                raise OracleFailed(f"{line.number} has no invoice, and nobody knows why")
            if len(found) > 1 and line.number not in self.excused:
                raise OracleFailed(f"{line.number} stands on two invoices")
        for number, given in self.given.items():
            for each in given:
                if self._counts(node, each.commit) and each.invoice not in listed.get(number, set()):
                    raise OracleFailed(f"{number} was given to {each.invoice[:6]}, and the list does not tell")

    def _cut_off(self, node: Node, number: str) -> bool:
        """Whether a number was given in a commit that counts nowhere any more."""
        given = self.given.get(number, ())
        if given and not any(self._counts(node, each.commit) for each in given):
            self._story.faults["numbers cut off"] += 1
            return True
        return False

    def _counts(self, node: Node, commit: CommitId) -> bool:
        """Whether a commit stands at every site: not lost with a disk, nor cut off by a removal or a fork."""
        from crdtsync.testing import oracles

        ledger = self._story.ledger
        if ledger.forked or self._story.faults["poison"]:
            self._story.faults["numbers that may be held"] += 1
            return False  # what others wrote on a record that is held is held with it
        place = (commit.log, commit.sequence)
        return place in ledger.acknowledged and commit not in oracles.cut_off(node, ledger)

    def _all_issued(self, nodes: Sequence[Node], series: SeriesState) -> None:
        """What is ready has a number where its holder lives and may give one."""
        holder = series.holder
        if series.wrong or holder is None:
            self._story.faults["series without a holder"] += 1
            return
        living = [node for node in nodes if base32(node.replica_id) == holder.holder and node.up]
        if len(living) != 1 or not _may_give(living[0]):
            self._story.faults["series whose holder gives none"] += 1
            return
        look = look_of(living[0])
        for invoice, commit in self.ready.items():
            content = look("invoice", invoice)
            if content is None and not self._counts(living[0], commit):
                continue
            if content is None or (not values_of(content, "number") and self._counts(living[0], commit)):
                raise OracleFailed(f"{invoice[:6]} is ready, and {living[0].name}, which has {SERIES}, gives no number")


def _may_give(node: Node) -> bool:
    try:
        return not node.host.numbers.refusal(node.grant()) and not node.host.numbers.series_closed
    except RefusedError:
        return False


def look_of(node: Node) -> Look:
    """Reads the records of a site as its view shows them."""

    def look(kind: str, record: RecordId) -> Content | None:
        stored = node.disk.document(kind, record)
        return None if stored is None else Document(_CLIENT, stored.state).content()

    return look


def _written(node: Node, invoice: RecordId, commit: Commit) -> list[str]:
    """The numbers that a commit wrote on an invoice."""
    content = look_of(node)("invoice", invoice)
    tag = log_tag(commit.header.log)
    found: list[Any] = []
    for slot, raw in ({} if content is None else content.slots).items():
        field, _, writer = split_slot(slot)
        if field == "number" and writer == tag:
            found += [item.value for item in items_of(tag, raw) if item.sequence == commit.header.sequence]
    return [str(number) for number in found if number is not None]
