"""A practice with a hostile member: engines with a membership of holds between them, and poison of every kind (L6)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from crdtsync.documents import Document, Edit, EditText, SetField
from crdtsync.documents.text import Hunk
from crdtsync.engine import DeriveResult, WriteGrant
from crdtsync.engine.write import Sealing
from crdtsync.ids import CommitHash, CommitId, MemberHash, RecordId, client_id, log_tag
from crdtsync.replication.commit import Change, Commit, part_hash
from crdtsync.replication.stored import KeyObject
from crdtsync.storage.base import Store

from .sites import SiteRig

Records = dict[MemberHash, tuple[CommitId, CommitHash, str]]


class Member(SiteRig):
    """A site that signs holds, learns those of others, and leaves out what is held. `signed` is what all have signed.

    The membership is as simple as can be: a record names what is held, and a commit names all records that its author
    knew.
    """

    def __init__(self, name: str, signed: Records, store: Store | None = None, **rest: object) -> None:
        self.signed = signed
        self.known: set[MemberHash] = set()
        super().__init__(name, store, **rest)  # type: ignore[arg-type]

    def knew(self, members: Iterable[MemberHash], commit: CommitId) -> bool:
        return any(self.signed[member][0] == commit for member in members if member in self.signed)

    def learn_holds(self, records: Iterable[MemberHash]) -> None:
        """Honour these records too."""
        self.known.update(records)
        self.honour()

    def honour(self) -> None:
        holds: dict[CommitId, dict[CommitHash, str]] = {}
        for record in sorted(self.known):
            commit, hash_, reason = self.signed[record]
            holds.setdefault(commit, {}).setdefault(hash_, reason)
        self.engine.honour(holds, {}, self.knew)
        self.grant = WriteGrant(tuple(sorted(self.known)), self.grant.epoch)

    def sign(self, result: DeriveResult) -> None:
        """Sign what is due."""
        for due in result.holds:
            self.hold(due.commit, due.hash, due.reason)

    def hold(self, commit: CommitId, hash_: CommitHash, reason: str) -> None:
        """Sign a hold, whatever the view says."""
        record = MemberHash(hashlib.sha256(repr((self.name, commit, hash_)).encode()).digest())
        self.signed[record] = (commit, hash_, reason)
        self.known.add(record)
        self.honour()

    def derive(self, commits_max: int = 1_000) -> DeriveResult:
        result = super().derive(commits_max)
        self.sign(result)
        return result

    def restart(self) -> None:
        """A new process over the same disk."""
        self.reopen()
        self.honour()

    def pull(self, other: SiteRig, *, upto: int | None = None, keys: bool = True, checked: bool = False) -> None:
        """Take commits; what their authors knew of the membership is known before them."""
        for stored in other.store.arrivals(0, 10**9, 10**12):
            if upto is None or stored.arrival <= upto:
                news = set(stored.commit.header.members) - self.known
                if news:
                    self.learn_holds(news)
        super().pull(other, upto=upto, keys=keys, checked=checked)

    def pull_keys(self, other: SiteRig) -> None:
        ids = [ref.key for stored in self.store.arrivals(0, 10**6, 10**9) for ref in stored.commit.header.parts]
        self.engine.put_keys(other.engine.read_keys(list(dict.fromkeys(ids))))

    # -- what a view says ----------------------------------------------------------------------------------------------

    def held(self) -> list[tuple[CommitId, tuple[str, ...], str]]:
        return [(held.commit, held.records, held.reason) for held in self.engine.status().held]

    def damaged(self) -> dict[tuple[str, str], str]:
        found = self.store.documents(None, ("", ""), 10**6)
        return {(document.kind, document.record): document.damaged for document in found if document.damaged}

    def state(self, kind: str, record: RecordId) -> bytes:
        """The document's state, empty when there is none."""
        found = self.store.document(kind, record)
        return b"" if found is None else found.state


def seal(
    site: SiteRig,
    *parts: tuple[str, Sequence[Change]] | tuple[str, bytes],
    fragments: int = 1,
    fragment: tuple[int, int] | None = None,
) -> list[Commit]:
    """Append a commit with these parts to the log of `site`, past every gate: (subject, changes), or (subject, bytes)
    for a part of any bytes.

    With `fragments` it is a transaction of so many commits, the parts in the first one; `fragment` is what a single
    commit says of itself instead.
    """
    engine = site.engine
    writer, at_hand = engine._own.writer, engine._parts
    assert writer is not None
    draft = writer.draft()
    sealing = Sealing(site.sealer, at_hand, writer.log, site.grant, site.now())
    introduced: dict[str, KeyObject] = {}
    commits = []
    for number in range(fragments + draft.prefaces):
        place = draft.place(0, site.now())
        sealed = []
        for index, (subject, content) in enumerate(parts if number == draft.prefaces else ()):
            changes = () if isinstance(content, bytes) else tuple(content)
            ref, data = sealing.part(site.request(), place, index, subject, changes, introduced)
            if isinstance(content, bytes):
                ref, data = replace(ref, hash=part_hash(content), size=len(content)), content
            sealed.append((ref, data))
        commits.append(sealing.commit(draft, place, sealed, (number, fragments) if fragments > 1 else fragment))
    engine.append([(commit, True) for commit in commits], list(introduced.values()), site.now())
    writer.accept(draft)
    at_hand.adopt(introduced.values())
    return commits


@dataclass
class Pen:
    """Makes deltas as the present log of `site` would write them, on whatever states of documents."""

    site: Member

    def delta(self, record: RecordId, edits: Sequence[Edit], *states: bytes) -> bytes:
        """One delta on top of these states together."""
        return self.deltas(record, [edits], *states)[0]

    def deltas(self, record: RecordId, several: Sequence[Sequence[Edit]], *states: bytes) -> list[bytes]:
        """Deltas that build on each other."""
        log = self.site.engine.log
        assert log is not None
        document = Document(client_id(log, record))
        for state in filter(None, states):
            document.apply(state)
        head = self.site.engine.last_sequence
        tag = log_tag(log)
        return [
            document.write(tag=tag, sequence=head + n, stamp=self.site.now() << 16, edits=edits)
            for n, edits in enumerate(several, 1)
        ]

    def overwrite(self, field: str, value: object, state: bytes) -> list[Edit]:
        """Edits that overwrite a field with all that stands in it, and a text."""
        content = Document(1, state).content()
        seen = {slot: raw for slot, raw in content.slots.items() if slot.split("/")[0] == field}
        base = content.texts.get("note", "")
        hunk = Hunk(len(base) // 2, len(base), str(value))
        return [SetField(field, value, seen), EditText("note", base, (hunk,))]


def number(value: int) -> bytes:
    """A number as deltas carry it."""
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes(data) + bytes([value])


def deletion(client: int, clock: int, length: int) -> bytes:
    """A delta that deletes structs and does nothing else."""
    return bytes([0, 1]) + number(client) + bytes([1]) + number(clock) + number(length)


def entry(client: int, clock: int, key: str = "title/aaaaaaaa", value: str = "[[1,1,1]]") -> bytes:
    """A delta with one struct at this clock: a value under a new key."""
    name, text = key.encode(), value.encode()
    place = bytes([0x28, 1, 1]) + b"r" + number(len(name)) + name + bytes([1, 119]) + number(len(text)) + text
    return bytes([1, 1]) + number(client) + number(clock) + place + bytes([0])


def text_after(client: int, clock: int, other: int, place: int, text: str = "x") -> bytes:
    """A delta with one piece of text behind a struct of another writer."""
    data = text.encode()
    origin = number(other) + number(place)
    return (
        bytes([1, 1]) + number(client) + number(clock) + bytes([0x84]) + origin + number(len(data)) + data + bytes([0])
    )


Poison = Callable[[int, RecordId], bytes]
"""(the author's client id, record) -> a delta."""


def bomb(depth: int, client: int) -> bytes:
    """Arrays nested so deep under a key of the map."""
    place = bytes([40, 1, 1, ord("r"), 1, ord("x"), 1])
    return bytes([1, 1]) + number(client) + bytes([0]) + place + bytes([117, 1]) * depth + bytes([126, 0])


POISONS: dict[str, Poison] = {
    "nothing": lambda client, record: b"",
    "noise": lambda client, record: b"\xff" * 9,
    "bomb 1 KB": lambda client, record: bomb(500, client),
    "bomb 200 KB": lambda client, record: bomb(100_000, client),
    "bomb of another": lambda client, record: bomb(3_000, 7),
    "huge clock": lambda client, record: entry(client, 2**53 - 1),
    "clock beyond": lambda client, record: entry(client, 2**53),
    "gap": lambda client, record: entry(client, 1_000),
    "deletes what is to come": lambda client, record: deletion(client, 1_000, 5),
    "deletes what nobody has": lambda client, record: deletion(12_345, 0, 1),
    "builds on what nobody has": lambda client, record: text_after(client, 0, 12_345, 7),
    "builds on itself": lambda client, record: text_after(client, 0, client, 0),
    "another writer's structs": lambda client, record: entry(12_345, 0),
    "several writers": lambda client, record: bytes([2]) + entry(client, 0)[1:-1] + entry(12_345, 0)[1:],
    "256 KiB": lambda client, record: entry(client, 0, value="v" * (256 * 1024)),
    "text bomb": lambda client, record: bytes([1, 1]) + number(client) + bytes([0, 4, 1, 3]) + b"t:a" + b"\xff\xff\x7f",
}
"""Deltas that no document can take, whatever it holds of honest writers."""
