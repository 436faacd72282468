"""The inbox beside a model: random graphs of commits, arriving in any order, dropped, refused, let in (L2, L7).

What `take` gives is causal, without gaps and each once; it never holds back what is ready; its counters are exact; and
when everything has come and is let in, nothing is left.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crdtsync.ids import LogId, PracticeId
from crdtsync.replication.commit import Commit
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.inbox import Inbox, Waiting
from tests.examples import examples
from tests.replication.cores import Author

PRACTICE = PracticeId(bytes(16))
NAMES = "abcd"
OWN = "o"
LINKS = (1, 2)
ALL = 10_000
PICKS = st.lists(st.integers(0, 30), max_size=2)


class InboxMachine(RuleBasedStateMachine):
    """`given` is the model's account of what was taken out; `queues` of what waits."""

    def __init__(self) -> None:
        super().__init__()
        self.authors = {name: Author(name, PRACTICE, ()) for name in NAMES + OWN}
        self.logs = {author.log: author for author in self.authors.values()}
        self.box = Inbox(Frontier())
        self.given = Frontier()
        self.queues: dict[LogId, list[Waiting]] = {}
        self.refused: set[LogId] = set()
        self.parked: set[LogId] = set()
        """Logs whose next commit was refused when it was looked at last: they stay until a recheck."""

    # -- a graph of commits, and their arrival ------------------------------------------------------------------------

    @initialize(history=st.lists(st.tuples(st.sampled_from(NAMES + OWN), PICKS), max_size=30))
    def much_is_written(self, history: list[tuple[str, list[int]]]) -> None:
        for name, seen in history:
            self.somebody_writes(name, seen, 10)

    @rule(name=st.sampled_from(NAMES), seen=PICKS, size=st.integers(0, 300))
    def somebody_writes(self, name: str, seen: list[int], size: int) -> None:
        """A commit that depends on any that are made, wherever they are."""
        made = [commit for log, author in self.logs.items() for commit in author.commits]
        picked = [made[number % len(made)] for number in seen if made]
        depends = {commit.header.log: commit.head for commit in picked} if name != OWN else {}
        self.authors[name].commit(depends, size=size)

    @rule(seen=PICKS, announced=st.integers(0, 2))
    def we_write(self, seen: list[int], announced: int) -> None:
        """Our own commits never wait: what they depend on is stored. Others may have heard of them before the core."""
        heads = [(log, head) for log, head in self.given.items() if log != self.authors[OWN].log]
        self.authors[OWN].commit(dict(heads[number % len(heads)] for number in seen if heads))
        while len(self.authors[OWN].commits) > self.given.sequence(self.authors[OWN].log) + announced:
            self.we_hear_that_it_is_written()

    @precondition(lambda self: self.given.sequence(self.authors[OWN].log) < len(self.authors[OWN].commits))
    @rule()
    def we_hear_that_it_is_written(self) -> None:
        own = self.authors[OWN]
        commit = own.commits[self.given.sequence(own.log)]
        self.box.written(commit)
        self.given.advance(own.log, commit.head)

    @rule(arrivals=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 4)), min_size=3, max_size=8))
    def much_arrives(self, arrivals: list[tuple[str, int]]) -> None:
        for name, count in arrivals:
            self.arrive(name, count, LINKS[count % 2])

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 6), link=st.sampled_from(LINKS))
    def arrive(self, name: str, count: int, link: int) -> None:
        """The next commits of one log; those of other logs may be far behind or ahead."""
        author = self.authors[name]
        for _ in range(count):
            at = self.box.tail(author.log).sequence
            if at == len(author.commits):
                break
            waiting = Waiting(author.commits[at], True, (), link)
            self.box.put(waiting)
            self.queues.setdefault(author.log, []).append(waiting)

    @rule(name=st.sampled_from(NAMES))
    def drop(self, name: str) -> None:
        log = self.authors[name].log
        assert self.box.drop(log) == self.queues.pop(log, [])
        self.parked.discard(log)

    @rule(commits_max=st.integers(0, 12))
    def make_room(self, commits_max: int) -> None:
        """L7: what waits for others makes room first, the largest of them before smaller ones."""
        while self.box.commits > commits_max:
            chosen = self.box.least_wanted()
            blocked = {log: not self.ready(queue[0].commit) for log, queue in self.queues.items()}
            assert blocked[chosen] or not any(blocked.values())
            size = {log: sum(waiting.commit.size for waiting in queue) for log, queue in self.queues.items()}
            assert size[chosen] == max(size[log] for log in size if blocked[log] == blocked[chosen])
            self.box.drop(chosen)
            del self.queues[chosen]
            self.parked.discard(chosen)

    # -- membership ---------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES))
    def somebody_is_removed(self, name: str) -> None:
        self.refused.add(self.authors[name].log)

    @precondition(lambda self: self.refused)
    @rule(look=st.booleans())
    def everybody_is_let_in(self, look: bool) -> None:
        self.refused.clear()
        if look:
            self.recheck()

    @rule()
    def recheck(self) -> None:
        self.box.recheck()
        self.parked.clear()

    # -- what may be stored -------------------------------------------------------------------------------------------

    def ready(self, commit: Commit) -> bool:
        own = commit.header.log
        return all(log == own or self.given.sequence(log) >= at.sequence for log, at in commit.header.dependencies)

    @rule(most=st.integers(1, 4) | st.just(ALL))
    def take(self, most: int) -> None:
        looked_at: set[LogId] = set()

        def admit(commit: Commit) -> bool:
            assert self.box.taken.covers(commit.header.dependencies), "asked for what is ready, and for nothing else"
            if commit.header.log in self.refused:
                looked_at.add(commit.header.log)
                return False
            return True

        batch = self.box.take(most, admit)
        assert len(batch) <= most
        for waiting in batch:
            log = waiting.commit.header.log
            assert self.queues[log].pop(0) is waiting, "in the order of its log, without a gap, and each once"
            assert self.ready(waiting.commit), "behind all that it depends on"
            assert log not in self.refused
            self.given.advance(log, waiting.commit.head)
            self.parked.discard(log)
            if not self.queues[log]:
                del self.queues[log]
        self.parked |= looked_at
        if len(batch) < most:
            held_back = [log for log, queue in self.queues.items() if self.ready(queue[0].commit)]
            assert set(held_back) <= self.parked, "nothing that is ready is held back"

    @invariant()
    def counters_are_exact(self) -> None:
        box = self.box
        everything = [waiting for queue in self.queues.values() for waiting in queue]
        assert (box.commits, box.bytes) == (len(everything), sum(waiting.commit.size for waiting in everything))
        assert box.taken == self.given
        assert set(box.waiting_logs()) == set(self.queues)
        for log in self.logs:
            queue = self.queues.get(log, [])
            assert box.waiting_of(log) == len(queue)
            assert box.tail(log) == (queue[-1].commit.head if queue else self.given.head(log))
        for link in LINKS:
            held: dict[LogId, int] = {}
            for waiting in everything:
                if waiting.link == link:
                    held[waiting.commit.header.log] = held.get(waiting.commit.header.log, 0) + waiting.commit.size
            assert box.held_from(link) == held

    def teardown(self) -> None:
        """Everything comes, and everybody is let in: then nothing is stuck."""
        self.refused.clear()
        self.take(ALL)
        while self.given.sequence(self.authors[OWN].log) < len(self.authors[OWN].commits):
            self.we_hear_that_it_is_written()
        for name in NAMES:
            self.arrive(name, ALL, LINKS[0])
        if self.parked:
            self.recheck()
        self.take(ALL)
        assert not self.queues and (self.box.commits, self.box.bytes) == (0, 0)
        assert {log: at.sequence for log, at in self.given.items()} == {
            log: len(author.commits) for log, author in self.logs.items() if author.commits
        }


def test_an_inbox_is_what_the_model_says() -> None:
    machine: Any = InboxMachine
    run_state_machine_as_test(machine, settings=examples(200, steps=40))
