"""Cores to test with: authors who sign commits, replicas over a list for a disk, and lines that are pumped by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from crdtsync.ids import CommitId, DataKeyId, EpochId, Head, LogId, MemberHash, PracticeId
from crdtsync.replication import effects, events, membership, messages
from crdtsync.replication.commit import Commit, Header, PartRef, encode_header, header_hash, part_hash, signed_bytes
from crdtsync.replication.frontier import NOTHING
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.replica import Replica
from crdtsync.replication.stored import KeyObject, StoredCommit, key_object
from tests.replication import people

EPOCH = EpochId(people.digest("epoch", "1", size=16))


def data_key(name: str) -> KeyObject:
    """A key object whose id is right and whose content is made up."""
    return key_object(EPOCH, name, people.digest("wrapped", name, size=40))


@dataclass
class Author:
    """Writes the log of a name: each commit is chained to the one before and signed."""

    name: str
    practice: PracticeId
    members: tuple[MemberHash, ...]
    boot: int = 1
    commits: list[Commit] = field(default_factory=list)
    continues: tuple[LogId, Head] | None = None

    @property
    def log(self) -> LogId:
        return people.log(self.name, self.boot)

    @property
    def head(self) -> Head:
        return self.commits[-1].head if self.commits else NOTHING

    def commit(
        self,
        depends: Mapping[LogId, Head] | None = None,
        *,
        size: int = 40,
        key: KeyObject | None = None,
        members: Sequence[MemberHash] | None = None,
        practice: PracticeId | None = None,
        forged: bool = False,
    ) -> Commit:
        """The next commit; `size` bytes of content, under `key`, which it introduces if it is given."""
        body = people.digest("part", self.name, str(len(self.commits)), size=size)
        name = DataKeyId(people.digest("key", self.name, size=16)) if key is None else key.id
        header = Header(
            practice=practice or self.practice,
            log=self.log,
            sequence=self.head.sequence + 1,
            previous=self.head.hash,
            stamp=len(self.commits) + 1,
            dependencies=tuple(sorted((depends or {}).items())),
            members=tuple(self.members if members is None else members),
            parts=(PartRef(name, EPOCH, part_hash(body), len(body), key is not None),),
            continues=None if self.commits else self.continues,
        )
        encoded = encode_header(header)
        hash_ = header_hash(encoded)
        signature = people.signer("other" if forged else self.name)(signed_bytes(hash_))
        commit = Commit(header, encoded, (body,), signature, hash_)
        self.commits.append(commit)
        return commit

    def run(self, count: int) -> list[Commit]:
        """So many commits."""
        return [self.commit() for _ in range(count)]


@dataclass
class Site:
    """A replica and a disk: carries out effects at once or, with `hold`, when `work` is called."""

    name: str
    book: people.Book
    hold: bool = False
    now: float = 100.0
    disk: list[StoredCommit] = field(default_factory=list)
    keys: dict[DataKeyId, KeyObject] = field(default_factory=dict)
    sent: dict[int, deque[bytes]] = field(default_factory=dict)
    closed: dict[int, str] = field(default_factory=dict)
    seen: list[effects.Effect] = field(default_factory=list)
    waiting: deque[Callable[[], None]] = field(default_factory=deque)
    recovering: bool = False

    def __post_init__(self) -> None:
        self.author = Author(self.name, self.book.practice, self.book.heads)
        self.core = self._core(self.author.log)

    def _core(self, log: LogId | None) -> Replica:
        return Replica(
            practice=self.book.practice,
            replica=people.replica(self.name),
            membership=self.book,
            verify=people.verify,
            frontier={item.commit.header.log: item.commit.head for item in self.disk},
            boots={
                item.commit.header.log: item.commit.header.continues
                for item in self.disk
                if item.commit.header.sequence == 1
            },
            log=log,
            line=self.author.log if self.author.commits else None,
            recovering=self.recovering,
        )

    # -- what happens ----------------------------------------------------------------------------------------------

    def handle(self, event: events.Event) -> list[effects.Effect]:
        """Let the core take it in, and carry out what it wants. Returns the effects."""
        found = self.core.handle(self.now, event)
        for effect in found:
            self.seen.append(effect)
            self._perform(effect)
        return found

    def later(self, seconds: float) -> list[effects.Effect]:
        """Time passes."""
        self.now += seconds
        return self.handle(events.Tick())

    def link(self, number: int, other: str, *, dialled: bool = True) -> list[effects.Effect]:
        self.sent[number] = deque()
        return self.handle(events.LinkUp(number, people.replica(other), dialled))

    def hear(self, link: int, *said: messages.Message) -> list[effects.Effect]:
        """Messages come in; the effects of all of them."""
        found: list[effects.Effect] = []
        for message in said:
            found += self.handle(events.Received(link, messages.encode(message)))
        return found

    def write(self, count: int = 1, **about: object) -> list[Commit]:
        """Local transactions, on disk at once."""
        commits = [self.author.commit(**about) for _ in range(count)]  # type: ignore[arg-type]  # as `commit` takes
        self._append([(commit, True) for commit in commits])
        self.handle(events.Wrote(commits, ()))
        return commits

    def greet(self, link: int, other: str, *heads: tuple[LogId, Head]) -> None:
        """A link that is live: the peer says hello, what members it has, and these heads."""
        self.link(link, other)
        self.hear(
            link,
            hello(other, self.book),
            messages.Members(tuple(record for record, _ in self.book.records()), True),
            messages.Have(heads, True),
        )
        self.said(link)

    def witness(self) -> int:
        """Write down the forks that were proved here; how many that are."""
        proofs = self.core.forks_due()
        for proof in proofs:
            data = membership.fork(people.signer(self.name), self.book.at(self.name), proof)
            self.handle(events.MembersStored([(decode_record(data).hash, data)]))
        return len(proofs)

    # -- effects ---------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Do the disk work that was held."""
        while self.waiting:
            self.waiting.popleft()()

    def _perform(self, effect: effects.Effect) -> None:
        if isinstance(effect, effects.Send):
            self.sent.setdefault(effect.link, deque()).append(effect.message)
        elif isinstance(effect, effects.Close):
            self.closed[effect.link] = effect.reason
        elif isinstance(effect, effects.NoteRecovering):
            self.recovering = effect.recovering
        elif isinstance(effect, effects.Alarm | effects.MembersChanged | effects.NewBoot | effects.Rederive):
            pass
        elif self.hold:
            self.waiting.append(lambda: self._job(effect))
        else:
            self._job(effect)

    def _job(self, effect: effects.Effect) -> None:
        if isinstance(effect, effects.Store):
            self.keys.update({key.id: key for key in effect.keys})
            self._append(effect.commits)
            self.handle(events.Stored())
        elif isinstance(effect, effects.StoreMembers):
            self.handle(events.MembersStored(effect.records))
        elif isinstance(effect, effects.StoreKeys):
            self.keys.update({key.id: key for key in effect.keys})
            self.handle(events.KeysStored(effect.keys))
        elif isinstance(effect, effects.ReadFeeds):
            self.handle(self._feeds(effect))
        elif isinstance(effect, effects.ReadBacklog):
            found = self._behind(effect.cursors)
            self.handle(events.BacklogRead(effect.link, len(found), sum(item.commit.size for item in found)))
        elif isinstance(effect, effects.ReadKeys):
            self.handle(events.KeysRead(effect.link, [self.keys[key] for key in effect.ids if key in self.keys]))
        elif isinstance(effect, effects.ReadAgain):
            here = {item.commit.id: item.commit for item in self.disk}
            again = [here[at] for n in effect.sequences if (at := CommitId(effect.log, n)) in here]
            self.handle(events.AgainRead(effect.link, again))
        elif isinstance(effect, effects.Mend):
            self.handle(events.Mended([commit.id for commit in effect.commits]))
        elif isinstance(effect, effects.ReadHeaders):
            here = {item.commit.id: item.commit for item in self.disk}
            those = [here[at] for n in effect.sequences if (at := CommitId(effect.log, n)) in here]
            signed = [(commit.header_bytes, commit.signature) for commit in those]
            self.handle(events.HeadersRead(effect.link, effect.log, signed, effect.asked))

    def _append(self, commits: Sequence[tuple[Commit, bool]]) -> None:
        for commit, checked in commits:
            self.disk.append(StoredCommit(len(self.disk) + 1, 0, commit, checked))

    def _behind(self, cursors: Mapping[LogId, int]) -> list[StoredCommit]:
        return [i for i in self.disk if i.commit.header.sequence >= cursors.get(i.commit.header.log, 10**9)]

    def _feeds(self, effect: effects.ReadFeeds) -> events.FeedsRead:
        taken: list[StoredCommit] = []
        size = 0
        for item in self._behind(effect.cursors)[: effect.commits_max]:
            size += item.commit.size
            if taken and size > effect.bytes_max:
                break
            taken.append(item)
        ids = [part.key for item in taken for part in item.commit.header.parts if part.introduces]
        return events.FeedsRead(effect.link, taken, [self.keys[key] for key in ids if key in self.keys])

    # -- what was said ---------------------------------------------------------------------------------------------

    def said(self, link: int) -> list[messages.Message]:
        """The messages put on a link since this was asked last."""
        found = [messages.decode(data) for data in self.sent.get(link, ())]
        self.sent[link] = deque()
        return [message for message in found if message is not None]

    def stored(self) -> list[tuple[LogId, int]]:
        """What is on disk, in order of arrival."""
        return [(item.commit.header.log, item.commit.header.sequence) for item in self.disk]

    def alarms(self) -> list[str]:
        """Kinds of the alarms raised so far."""
        return [effect.kind for effect in self.seen if isinstance(effect, effects.Alarm)]


def hello(name: str, book: people.Book, *, heard: bool = False) -> messages.Hello:
    """What `name` says first."""
    return messages.Hello(messages.PROTOCOL_VERSION, book.practice, people.replica(name), b"", heard)


def commits(*run: Commit, keys: Sequence[KeyObject] = (), sent: int | None = None) -> messages.Commits:
    """A message of commits."""
    return messages.Commits(sum(commit.size for commit in run) if sent is None else sent, tuple(keys), tuple(run))


def sites(*names: str) -> list[Site]:
    """Sites of one practice, each with its own copy of the membership."""
    book = people.practice(*names[1:], founder=names[0])
    return [Site(name, book.copy()) for name in names]


def connect(one: Site, other: Site, link: int = 1) -> None:
    """A link with the same number at both ends."""
    one.link(link, other.name, dialled=True)
    other.link(link, one.name, dialled=False)


def pump(one: Site, other: Site, link: int = 1, *, seconds: float = 0.5) -> int:
    """Carry messages to and fro until nobody speaks; the number that were carried."""
    carried = 0
    while one.sent.get(link) or other.sent.get(link):
        for sender, receiver in ((one, other), (other, one)):
            queue = sender.sent.setdefault(link, deque())
            while queue:
                carried += 1
                assert carried < 2_000, "they never stop talking"
                receiver.handle(events.Received(link, queue.popleft()))
        one.now += seconds / 100
        other.now += seconds / 100
    return carried
