"""Members to test with: cheap signatures that only the holder of a name's secret can make, and a practice of them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence

from crdtsync.ids import CommitHash, CommitId, EpochId, Head, LogId, MemberHash, ReplicaId
from crdtsync.replication import membership as m

RANDOM = bytes(range(32))


def digest(*words: str, size: int = 32) -> bytes:
    """Bytes that follow from words."""
    return hashlib.shake_128("/".join(words).encode()).digest(size)


def sig_of(name: str) -> bytes:
    """The public key of a name."""
    return digest("public", name)


_secrets = {sig_of(name): digest("secret", name) for name in (*"abcdefghijklmnopqrstuvwxyz", "sheet", "other")}


def signer(name: str) -> Callable[[bytes], bytes]:
    """Signs as `name`."""
    return lambda message: hashlib.sha512(_secrets[sig_of(name)] + message).digest()


def verify(sig: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the holder of `sig` made the signature."""
    return sig in _secrets and hashlib.sha512(_secrets[sig] + message).digest() == signature


def entry(name: str, role: str = "site", admin: bool = True, addresses: Sequence[str] = ()) -> m.Entry:
    """The entry of a name."""
    return m.Entry(sig_of(name), digest("tls", name), digest("kem", name), role, admin, name.upper(), tuple(addresses))


def replica(name: str) -> ReplicaId:
    """The replica of a name."""
    return entry(name).replica


def log(name: str, boot: int = 1) -> LogId:
    """A log of a name."""
    return LogId(replica(name) + boot.to_bytes(8, "big"))


def head(sequence: int, branch: str = "") -> Head:
    """A head of that sequence."""
    return Head(sequence, CommitHash(digest("head", str(sequence), branch)))


def epoch_id(number: str) -> EpochId:
    """The id of an epoch."""
    return EpochId(digest("epoch", number, size=16))


def epoch(number: str, readers: str, parents: Sequence[str] = ()) -> m.EpochBody:
    """An epoch sealed to the named ones (`s` stands for the recovery sheet), that wraps its parents."""
    return m.EpochBody(
        epoch_id(number),
        tuple((epoch_id(parent), digest("wrap", number, parent, size=40)) for parent in parents),
        {replica(_full(name)): sealed(number, name) for name in readers},
    )


def sealed(number: str, name: str) -> bytes:
    """What stands for an epoch's key sealed to a name."""
    return digest("sealed", number, _full(name), size=64)


def _full(name: str) -> str:
    return "sheet" if name == "s" else name


def founding(name: str = "a") -> bytes:
    """The record that founds a practice of one site and a recovery sheet, with epoch 1."""
    return m.found(
        signer(name),
        name="Praxis",
        random=RANDOM,
        founder=entry(name),
        recovery=entry("sheet", "recovery"),
        epoch=epoch("1", name + "s"),
    )


class Book(m.Membership):
    """A membership with short words for writing in it. Each returns the new record's hash."""

    def __init__(self, *records: bytes) -> None:
        super().__init__(verify)
        for record in records:
            self.add(record)

    def copy(self) -> Book:
        """Another replica's copy."""
        return Book(*(data for _, data in self.records()))

    def meet(self, *others: Book) -> None:
        """Learn all that the others have, and they all that is here."""
        for other in others:
            for _, data in other.records():
                self.add(data)
        for other in others:
            for _, data in self.records():
                other.add(data)

    def at(self, author: str) -> m.Place:
        return self.place(replica(author))

    def put(self, data: bytes) -> MemberHash:
        record = self.add(data)
        assert record is not None
        return record

    def adds(self, author: str, name: str, role: str = "site", admin: bool = True) -> MemberHash:
        return self.put(m.add(signer(author), self.at(author), entry(name, role, admin)))

    def removes(self, author: str, name: str, number: str = "", readers: str = "", cut: int = 0) -> MemberHash:
        heads = {log(name): head(cut)} if cut else {}
        body = epoch(number or f"{author}-{name}", readers or author)
        return self.put(
            m.remove(signer(author), self.at(author), replica(name), reason="stolen", heads=heads, epoch=body)
        )

    def closes(
        self, author: str, name: str, stamp: int, readers: str = "", number: str = "", cut: int = 0
    ) -> MemberHash:
        heads = {log(name): head(cut)} if cut else {}
        body = epoch(number or f"{author}/{name}", readers or author)
        return self.put(m.close(signer(author), self.at(author), replica(name), stamp=stamp, heads=heads, epoch=body))

    def attests(self, author: str, name: str, sequence: int, branch: str = "") -> MemberHash:
        return self.put(m.attest(signer(author), self.at(author), {log(name): head(sequence, branch)}))

    def addresses(self, author: str, *addresses: str) -> MemberHash:
        return self.put(m.address(signer(author), self.at(author), addresses))

    def begins(self, author: str, number: str, readers: str, parents: Sequence[str] = ()) -> MemberHash:
        return self.put(m.epoch(signer(author), self.at(author), epoch(number, readers, parents)))

    def shares(self, author: str, number: str, name: str) -> MemberHash:
        share = (epoch_id(number), replica(name), sealed(number, name))
        return self.put(m.share(signer(author), self.at(author), [share]))

    def succeeds(self, author: str, name: str, boot: int, **ends: int) -> MemberHash:
        """Of the branches of `name`, `boot` goes on; `boot_2=5` says that its log of boot 2 ends at 5."""
        heads = {log(name, int(word.removeprefix("boot_"))): head(sequence) for word, sequence in ends.items()}
        return self.put(m.succeed(signer(author), self.at(author), log(name, boot), heads))

    def holds(self, author: str, name: str, sequence: int, reason: str = "form", branch: str = "") -> MemberHash:
        commit = CommitId(log(name), sequence)
        return self.put(m.hold(signer(author), self.at(author), commit, head(sequence, branch).hash, reason))

    def names(self) -> str:
        """The active members, in the order of the alphabet; the recovery sheet is left out."""
        found = (member.name.lower() for member in self.state().members.values() if member.active)
        return "".join(sorted(name for name in found if name != "sheet"))


def practice(*names: str, founder: str = "a") -> Book:
    """A practice of the founder and these admin sites, all added by the founder."""
    book = Book(founding(founder))
    for name in names:
        book.adds(founder, name)
    return book


def every_order(*books: Book) -> m.State:
    """The state of all records together, which must be one, whatever copy learns them in whatever order."""
    records = dict(record for book in books for record in book.records())
    states = []
    for order in itertools.permutations(books):
        together = Book()
        for book in order:
            for _, data in book.records():
                together.add(data)
        assert len(together) == len(records)
        states.append(together.state())
    assert all(state == states[0] for state in states)
    assert len({state.sealing_epochs for state in states}) == 1
    return states[0]


def active(state: m.State) -> str:
    names = (member.name.lower() for member in state.members.values() if member.active)
    return "".join(sorted(name for name in names if len(name) == 1))
