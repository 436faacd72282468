"""Random graphs of records: one outcome in every order, and the outcome that a slow reading of the rules gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.ids import Head, LogId, MemberHash, ReplicaId
from crdtsync.replication import membership as m
from crdtsync.replication.member_records import Add, Address, Attest, Close, Found, NewEpoch, Remove, Share, Succeed

from .people import Book, entry, epoch, epoch_id, founding, head, log, replica, sealed, signer

NAMES = "abcde"
OPS = ("add", "add", "remove", "remove", "close", "close", "address", "attest", "epoch", "share", "succeed", "later")
ROLES = (("site", True), ("site", True), ("site", False), ("archive", False))


@dataclass(frozen=True)
class Step:
    """What somebody writes behind some of the records that there are."""

    author: int
    op: str
    target: int
    parents: tuple[int, ...]


steps = st.lists(
    st.builds(
        Step,
        author=st.integers(0, 9),
        op=st.sampled_from(OPS),
        target=st.integers(0, len(NAMES) - 1),
        parents=st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5, 8, 13]), min_size=1, max_size=3).map(tuple),
    ),
    min_size=6,
    max_size=30,
)
# Parents are counted from the newest record: most authors have just met somebody, some have not for long.


def written(todo: list[Step]) -> Book:
    """The records that these steps leave, each by one who was a member behind the records that it names."""
    book = Book(founding("a"))
    for name in "bc":
        book.adds("a", name)
    for number, step in enumerate(todo):
        parents = _parents(book, step.parents)
        authors = [name for name in (*NAMES, "sheet") if book.state(parents).active(replica(name))]
        if authors:
            author = authors[step.author % len(authors)]
            place = m.Place(book.practice, replica(author), parents)
            book.add(_record(step, author, number, place))  # known already when it says the same again
    return book


def _parents(book: Book, picks: tuple[int, ...]) -> tuple[MemberHash, ...]:
    hashes = [record for record, _ in book.records()]
    return tuple(sorted({hashes[max(0, len(hashes) - 1 - pick)] for pick in picks}))


def _record(step: Step, author: str, number: int, place: m.Place) -> bytes:
    target = NAMES[step.target]
    sign = signer(author)
    match step.op:
        case "add":
            return m.add(sign, place, entry(target, *ROLES[number % len(ROLES)], addresses=[f"add:{number}"]))
        case "remove":
            body = epoch(str(number), author[0], parents=["1"])
            heads = {log(target): head(number)}
            return m.remove(sign, place, replica(target), reason=str(number), heads=heads, epoch=body)
        case "close":
            body = epoch(str(number), author[0], parents=["1"])
            heads = {log(target): head(number)}
            return m.close(sign, place, replica(target), stamp=1000 - number, heads=heads, epoch=body)
        case "address":
            return m.address(sign, place, [f"address:{number}"])
        case "attest":
            return m.attest(sign, place, {log(target): head(1000 - number)})
        case "epoch":
            return m.epoch(sign, place, epoch(str(number), author[0] + target, parents=["1"]))
        case "succeed":
            boot, other = (1, 2) if number % 2 else (2, 1)
            return m.succeed(sign, place, log(target, boot), {log(target, other): head(1000 - number)})
        case "share":
            return m.share(sign, place, [(epoch_id("1"), replica(target), sealed("1", target))])
        case _:
            return m.record(sign, place, step.op, [number])


class Model:
    """The rules as `membership` states them, read slowly: sets of hashes, no order of arrival, nothing remembered."""

    def __init__(self, book: Book) -> None:
        self.records = {record: book.get(record) for record, _ in book.records()}
        self.past = cache(self._past)
        self.counts = cache(self._counts)
        self.depth = cache(self._depth)
        self.void = cache(self._void)

    def _past(self, at: MemberHash) -> frozenset[MemberHash]:
        parents = self.records[at].parents
        return frozenset(parents).union(*(self.past(parent) for parent in parents))

    def _depth(self, at: MemberHash) -> int:
        return max((self.depth(parent) + 1 for parent in self.records[at].parents), default=0)

    def first(self, some: frozenset[MemberHash]) -> list[MemberHash]:
        return sorted(some, key=lambda record: (self.depth(record), record))

    def entries(self, at: MemberHash) -> dict[ReplicaId, m.Entry]:
        body = self.records[at].body
        found = (body.founder, body.recovery) if isinstance(body, Found) else ()
        added = (body.entry,) if isinstance(body, Add) else ()
        return {entry.replica: entry for entry in (*found, *added)}

    def may(self, author: m.Entry, at: MemberHash) -> bool:
        body = self.records[at].body
        reader = author.role in ("site", "recovery")
        admin = author.role == "recovery" or (author.role == "site" and author.admin)
        if isinstance(body, Add | Remove | Succeed | Close):
            return admin
        return reader if isinstance(body, NewEpoch | Share) else isinstance(body, Address | Attest)

    def _counts(self, at: MemberHash) -> bool:
        record, past = self.records[at], self.past(at)
        if isinstance(record.body, Found):
            return True
        standing = self.standing(record.author, past, past)
        if standing is None or not self.may(self.entries(standing)[record.author], at):
            return False
        if isinstance(record.body, Remove | Close):
            return any(self.counts(other) and record.body.replica in self.entries(other) for other in past)
        return True

    def removals(self, who: ReplicaId, some: frozenset[MemberHash]) -> list[MemberHash]:
        return [
            record
            for record in some
            if isinstance(body := self.records[record].body, Remove) and body.replica == who and self.counts(record)
        ]

    def closings(self, who: ReplicaId, some: frozenset[MemberHash], known: frozenset[MemberHash]) -> list[MemberHash]:
        return [
            record
            for record in some
            if isinstance(body := self.records[record].body, Close)
            and body.replica == who
            and self.counts(record)
            and not self.void(record, known)
        ]

    def standing(self, who: ReplicaId, some: frozenset[MemberHash], known: frozenset[MemberHash]) -> MemberHash | None:
        gone = [*self.removals(who, some), *self.closings(who, some, known)]
        return self._added(who, some, known, gone)

    def _added(
        self, who: ReplicaId, some: frozenset[MemberHash], known: frozenset[MemberHash], gone: list[MemberHash]
    ) -> MemberHash | None:
        for record in self.first(some):
            seen = all(left in self.past(record) for left in gone)
            if who in self.entries(record) and seen and self.counts(record) and not self.void(record, known):
                return record
        return None

    def _void(self, at: MemberHash, known: frozenset[MemberHash]) -> bool:
        author = self.records[at].author
        for removal in self.removals(author, known):
            if removal != at and removal not in self.past(at) and at not in self.past(removal):
                return True
        if isinstance(self.records[at].body, Found):
            return False
        standing = self.standing(author, self.past(at), known)
        return standing is None or not self.may(self.entries(standing)[author], at)

    def effective(self, known: frozenset[MemberHash]) -> list[MemberHash]:
        return [record for record in self.first(known) if self.counts(record) and not self.void(record, known)]

    def members(self, known: frozenset[MemberHash]) -> dict[ReplicaId, tuple[bool, MemberHash | None]]:
        named = {who for record in known if self.counts(record) for who in self.entries(record)}
        standing = {who: self.standing(who, known, known) for who in named}
        return {who: (record is not None, record) for who, record in standing.items()}

    def closed_at(self, who: ReplicaId, known: frozenset[MemberHash]) -> int | None:
        bodies = [self.records[record].body for record in self.closings(who, known, known)]
        stamps = [body.stamp for body in bodies if isinstance(body, Close)]
        if self.members(known)[who][0] or not stamps:
            return None
        return max(stamps) if self._added(who, known, known, self.removals(who, known)) else None

    def cuts(self, known: frozenset[MemberHash]) -> dict[LogId, Head]:
        members = self.members(known)
        cuts: dict[LogId, Head] = {}
        for record in self.effective(known):
            body, author = self.records[record].body, self.records[record].author
            by = self.standing(author, self.past(record), known)
            reader = by and self.entries(by)[author].role in ("site", "recovery")
            if isinstance(body, Attest | Remove | Close) and reader:
                for name, end in body.heads:
                    who = ReplicaId(name[:16])
                    if who in members and not members[who][0] and (name not in cuts or cuts[name] < end):
                        cuts[name] = end
        return cuts

    def successions(self, known: frozenset[MemberHash]) -> dict[ReplicaId, m.Succession]:
        found: dict[ReplicaId, m.Succession] = {}
        for record in self.effective(known):
            body = self.records[record].body
            if isinstance(body, Succeed):
                heads = dict(found[body.replica].heads) if body.replica in found else {}
                for name, end in body.heads:
                    heads[name] = max(heads.get(name, end), end)
                found[body.replica] = m.Succession(body.log, heads)
        return found


def check(book: Book, heads: tuple[MemberHash, ...]) -> None:
    model = Model(book)
    known = frozenset(heads).union(*(model.past(record) for record in heads))
    state = book.state(heads)
    members = model.members(known)
    assert {who: member.active for who, member in state.members.items()} == {
        who: active for who, (active, _) in members.items()
    }
    for who, (active, record) in members.items():
        assert state.members[who].closed_at == model.closed_at(who, known)
        if active:
            assert state.members[who].record == record
    assert state.cuts == model.cuts(known)
    assert state.successions == model.successions(known)
    effective = model.effective(known)
    made = {
        body.epoch.id
        for record in effective
        if isinstance(body := model.records[record].body, Found | Remove | NewEpoch | Close)
    }
    assert {epoch.id for epoch in state.epochs.values() if not epoch.void} == made
    shared = {
        item[1] for record in effective if isinstance(b := model.records[record].body, Share) for item in b.shares
    }
    assert set(state.shares[epoch_id("1")]) == shared | {replica("a"), replica("sheet")}


@settings(max_examples=120, deadline=None)
@given(steps)
def test_the_outcome_is_what_the_rules_say(todo: list[Step]) -> None:
    book = written(todo)
    check(book, book.heads)
    for record, _ in book.records()[::4]:
        check(book, (record,))


@settings(max_examples=120, deadline=None)
@given(steps, st.randoms(use_true_random=False))
def test_every_order_of_arrival_gives_one_outcome(todo: list[Step], random: Random) -> None:
    """States asked for in between, of any heads, change nothing."""
    book = written(todo)
    other = Book()
    left = book.records()
    while left:
        index = random.randrange(len(left))
        try:
            other.add(left[index][1])
        except m.MissingParents as missing:
            assert not other.knows(missing.parents)
            continue
        del left[index]
        other.state()
    assert other.heads == book.heads
    assert other.state() == book.state()
    assert other.state().sealing_epochs == book.state().sealing_epochs
    assert other.state().missing_shares() == book.state().missing_shares()
    for record, _ in book.records():
        assert other.state([record]) == book.state([record]) == _alone(book, record).state()


def _alone(book: Book, upto: MemberHash) -> Book:
    return Book(*(data for record, data in book.records() if book.covers([upto], [record])))


@settings(max_examples=120, deadline=None)
@given(steps)
def test_who_was_removed_is_in_again_only_by_an_add_that_saw_it(todo: list[Step]) -> None:
    book = written(todo)
    state = book.state()
    model = Model(book)
    for record, _ in book.records():
        body = book.get(record).body
        if isinstance(body, Remove) and model.counts(record) and state.active(body.replica):
            assert record in model.past(state.members[body.replica].record)


@settings(max_examples=120, deadline=None)
@given(steps)
def test_nobody_who_is_out_can_open_the_epoch_to_seal_under(todo: list[Step]) -> None:
    state = written(todo).state()
    readers = {reader.replica for reader in state.readers()}
    for fit in state.sealing_epochs:
        assert set(state.shares[fit]) | {state.epochs[fit].author} <= readers
        for above in state.epochs.values():
            if fit in dict(above.parents):
                raise AssertionError("an epoch that another one wraps is not the newest")
