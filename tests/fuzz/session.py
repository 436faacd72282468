"""A whole session: a core that a peer says anything to, valid things changed and in any order (L6, L7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache

from crdtsync import limits
from crdtsync.ids import AskId, Head, RecordId
from crdtsync.replication import effects, events, flood, messages
from crdtsync.replication.codec import pack, unpack
from crdtsync.replication.commit import Commit
from crdtsync.replication.fork_proof import Branch, fork_proof
from crdtsync.replication.membership import Membership, fork
from tests.fuzz.dice import Dice, patched, twisted
from tests.fuzz.registry import target
from tests.replication import people
from tests.replication.cores import Author, Site, commits, data_key, hello

_SMALL = {
    "inbox_commits_max": 12,
    "inbox_bytes_max": 3_000,
    "frontier_entries_max": 20,
    "frontier_entries_per_message_max": 8,
    "membership_records_max": 30,
    "member_hashes_per_message_max": 8,
    "stalled_messages_max": 6,
    "batch_commits_max": 8,
    "keys_per_message_max": 8,
    "asks_passed_per_origin_max": 2,
    "asks_passed_per_link_max": 3,
    "asks_open_max": 2,
    "asks_heard_per_origin_max": 2,
}
"""Limits so small that a short input reaches them."""
_STEPS_MAX = 60


@contextmanager
def small_limits() -> Iterator[None]:
    """Within this block some limits are small."""
    kept = {name: getattr(limits, name) for name in _SMALL}
    for name, value in _SMALL.items():
        setattr(limits, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(limits, name, value)


@cache
def _stage() -> tuple[people.Book, tuple[messages.Message, ...]]:
    """A practice of a (who listens), b (who speaks) and c (whom b tells of); and what b could say."""
    book = people.practice("b", "c")
    more = book.copy()
    more.adds("a", "d")
    key = data_key("erika")
    b, c = Author("b", book.practice, book.heads), Author("c", book.practice, book.heads)
    b.commit(key=key)
    c.commit({b.log: b.head})
    b.commit({c.log: c.head})
    b.run(6)
    c.run(3)
    d = Author("d", book.practice, more.heads)
    d.run(2)
    forked = Author("b", book.practice, book.heads)
    forked.run(3)
    forged = Author("c", book.practice, book.heads, boot=2)
    forged.commit(forged=True)
    return book, tuple(_sayings(book, more, b.commits, c.commits, d.commits, forked.commits, forged.commits))


def _sayings(book: people.Book, more: people.Book, *logs: list[Commit]) -> Iterator[messages.Message]:
    yield hello("b", book)
    yield hello("b", book, heard=True)
    yield messages.Members(book.heads, True)
    yield messages.Members(book.heads, False)
    yield messages.Records(tuple(data for _, data in more.records()))
    heads = tuple((run[-1].header.log, run[-1].head) for run in logs)
    yield messages.Have(heads, True)
    yield messages.Have(heads[:2], False)
    yield messages.Have(((people.log("a"), Head(4, run_hash(logs[0]))),), False)
    yield messages.Feed(((people.log("a"), 1),))
    yield messages.Unfeed((people.log("a"),))
    yield messages.Backlog(4, 1_000)
    for run in logs:
        yield commits(*run, keys=[data_key("erika")])
        for commit in run:
            yield commits(commit)
    yield messages.Credit(2**20)
    yield messages.WantKeys((data_key("erika").id,))
    yield messages.Keys((data_key("erika"), data_key("hans")))
    yield messages.Digest(bytes(32), bytes(32), bytes(32), 2**20)
    yield messages.Ping(100, 1_000)
    yield messages.Pong(1_000)
    yield messages.Holding(people.replica("c"), heads)
    yield from _differences(book, logs)


def _differences(book: people.Book, logs: Sequence[list[Commit]]) -> Iterator[messages.Message]:
    """What is said where logs, records or commits differ; the first log and the last but one are copies that parted."""
    one, other = logs[0], logs[-2]
    sides = [Branch((run[0].header_bytes,), run[0].signature) for run in (one, other)]
    forked = book.copy()
    yield messages.Records((fork(people.signer("c"), book.at("c"), fork_proof(people.sig_of("b"), *sides)),))
    forked.succeeds("a", "c", 2, boot_3=5)
    forked.holds("c", "b", 3)
    yield messages.Records(tuple(data for _, data in forked.records())[-2:])
    log = one[0].header.log
    yield messages.WantHeads(log, (1, 2, 3))
    for run in (one, other):
        yield messages.Heads(log, tuple((commit.header_bytes, commit.signature) for commit in run))
    yield messages.WantSums(bytes(32), bytes(32), ((), (1, 2)))
    print_ = messages.Print("patient", RecordId("a" * 26), bytes(32))
    sums = messages.Sums(((3, bytes(32)),), ()), messages.Sums((), (print_,))
    yield messages.SumsOf(bytes(32), bytes(32), (((), sums[0]), ((1, 2), sums[1])))
    yield messages.WantAgain(log, (1, 2))
    yield messages.Again(tuple(one[:2]))
    yield from _questions(book)


def _questions(book: people.Book) -> Iterator[messages.Message]:
    """Questions to a (who listens), to c and to nobody, answers, and that they are not wanted any more."""
    for at, (asker, asked) in enumerate(("ba", "ca", "bc", "bz")):
        ask, body = AskId(bytes([at]) * 16), b"a question"
        one, other = people.replica(asker), people.replica(asked)
        sign = people.signer(asker)
        signed = flood.signed_ask(book.practice, ask, one, other, body)
        yield messages.Ask(ask, one, other, 8, 60_000, body, sign(signed))
        signed = flood.signed_answer(book.practice, ask, one, other, body)
        yield messages.Answer(ask, one, other, 8, 60_000, body, sign(signed))
        yield messages.Cancel(ask, one, other, sign(flood.signed_cancel(book.practice, ask, one, other)))


def run_hash(run: list[Commit]) -> bytes:
    """The hash of a log's first commit."""
    return run[0].hash


def _say(dice: Dice) -> bytes:
    """Something to say: as it is, changed in its bytes or in its items, or any bytes."""
    how = dice.below(8)
    real = messages.encode(dice.pick(_stage()[1]))
    if how < 4:
        return real
    if how == 4:
        return patched(dice, real)
    if how == 5:
        return dice.piece()
    with suppress(OverflowError):
        return pack(twisted(dice, unpack(real, bytes_max=limits.message_bytes_max, what="said")))
    return real


def _check(site: Site, found: list[effects.Effect]) -> None:
    """The bounds of L7, after every step."""
    core = site.core
    assert core.inbox.commits <= limits.inbox_commits_max and core.inbox.bytes <= limits.inbox_bytes_max
    assert len(core.membership) <= limits.membership_records_max
    assert core.asking.answering.open <= limits.asks_open_max
    for load, count_max, size_max in core.asking.trails.loads():
        assert 0 <= load.count <= count_max and 0 <= load.size <= size_max
    for peer in core.peers.values():
        assert len(peer.have) <= limits.frontier_entries_max, "more logs than a practice can have"
        assert len(peer.feeds) <= limits.frontier_entries_max
        assert len(peer.member_told) <= limits.membership_records_max + limits.member_hashes_per_message_max
        assert len(peer.stalled) <= limits.stalled_messages_max
        assert peer.waiting >= 0
    for effect in found:
        if isinstance(effect, effects.Send):
            assert messages.decode(effect.message) is not None


def _step(site: Site, dice: Dice, links: list[int]) -> list[effects.Effect]:
    """One thing that happens; `links` are the numbers of two links, which are never used again for others."""
    how = dice.below(16)
    if how < 11:
        return site.handle(events.Received(links[how == 0], _say(dice)))
    if how == 11:
        return site.later(dice.pick((0.01, 0.3, 1.0, 6.0, 30.0)))
    if how == 12:
        site.work()
        return []
    if how == 13:
        which = dice.below(2)
        if links[which] in site.core.peers and dice.below(2):
            return site.handle(events.LinkDown(links[which]))
        links[which] = max(links) + 1
        return site.link(links[which], dice.pick("bbcz"), dialled=bool(dice.below(2)))
    if how == 14:
        site.write()
        return []
    site.hold = not site.hold
    return []


def _seeds() -> Iterator[bytes]:
    yield bytes([0])
    meet = bytes([1, 0, 0, 1, 0, 2, 1, 0, 5])
    for sayings in (range(8, 16), range(16, 32), range(32, 40), range(40, 56), range(4, 5)):
        yield b"\0" + meet + b"".join(bytes([1, 0, n]) for n in sayings)
        yield b"\1" + meet + b"".join(bytes([1, 0, n]) + bytes([1, 6, n, 1, n, 2, n, 3]) for n in sayings)
    for start in range(8):
        yield bytes((start * 31 + n * n * 7) % 256 for n in range(200))


@target("session", _seeds, bytes_max=2_048)
def session(data: bytes) -> None:
    """Whatever is said: effects, or that one link ends; never an exception, and every queue keeps to its bound."""
    dice = Dice(data)
    book = _stage()[0]
    with small_limits():
        copy: Membership = book.copy()
        if dice.below(2):  # signatures that all verify lead deeper
            copy._verify = lambda _sig, _message, _signature: True
        site = Site("a", book.copy())
        site.book = copy  # type: ignore[assignment]  # as good as a book for a core
        site.core = site._core(site.author.log)
        if copy._verify is not people.verify:
            site.core._core.verify = copy._verify
        site.link(1, "b")
        site.link(2, "c")
        links = [1, 2]
        for _ in range(_STEPS_MAX):
            if not dice.left:
                break
            _check(site, _step(site, dice, links))
        site.hold = False
        site.work()
        _check(site, site.later(60.0))
        assert not site.waiting, "all that was wanted of the disk is done"
        _causal(site)


def _causal(site: Site) -> None:
    """What was stored is gapless per log, and stands behind what it depends on (L2)."""
    at: dict[bytes, int] = {}
    for item in site.disk:
        header = item.commit.header
        assert header.sequence == at.get(header.log, 0) + 1
        for log, head in header.dependencies:
            end = site.core.frozen.get(log, head)
            assert log == header.log or at.get(log, 0) >= min(head.sequence, end.sequence)
        at[header.log] = header.sequence
