"""A replica's life on a real disk: founded, opened, closed, and whatever happens to its store in between.

    write      local transactions, also several with one sync
    receive    commits of another replica with their keys, derived at once, or later and in pieces
    late       commits whose keys come later
    member     a membership record; epoch: one that opens an epoch
    meta       small values of this replica
    erase      keys that are destroyed
    rebuild    the view derived anew
    reopen     closed and opened

The other replica lives in memory. Checkpoints come after few bytes, so that write-ahead logs begin anew many times.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from crdtsync import folder, members
from crdtsync.documents import Record, edits_of, read, subject_of
from crdtsync.engine import Engine, RecordEdits, WriteGrant, WriteOutcome, WriteRequest
from crdtsync.host import Host
from crdtsync.ids import EpochId, RecordId, ReplicaId, record_id
from crdtsync.practice import ChartEntry, Patient
from crdtsync.replication.commit import Commit
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.membership import Membership
from crdtsync.replication.stored import KeyObject, key_object
from crdtsync.sealing.keyfile import KeyFile
from crdtsync.sealing.keyring import Keyring
from crdtsync.storage.base import Store
from crdtsync.storage.continuity import Continuity
from crdtsync.storage.memory import MemoryStore
from crdtsync.storage.sqlite import SqliteStore
from crdtsync.testing.sealer import PlainSealer, plain_identity

PLACE: Final = "jena"
STATE: Final = "state"
PASSPHRASE: Final = "correct horse"
START_MS: Final = 1_767_600_000_000
_CHECKPOINT_BYTES: Final = (24_000, 100_000, 330_000)
_LARGE_BYTES: Final = 30_000
_ERASED_SUBJECT: Final = "gone"


class Notes(Protocol):
    """Who is told what is acknowledged (`did`) and what is begun (`will`); see `duties`."""

    def __call__(self, *, did: dict[str, Any] | None = None, will: dict[str, Any] | None = None) -> None: ...


OpenStore = Callable[[Path, bytes], SqliteStore]


def open_store(place: Path, view_key: bytes) -> SqliteStore:
    """The store as a site opens it."""
    return SqliteStore(place, view_key, create=False)


def membership_in(store: Store, sealer: PlainSealer) -> Membership:
    """The membership that the store holds, every record verified."""
    membership = Membership(sealer.verify)
    for record in store.members():
        membership.add(record)
    return membership


def open_host(store: Store, sealer: PlainSealer, proof: Continuity, now_ms: Callable[[], int]) -> Host:
    """The host over an open store, as a site makes it."""
    membership = membership_in(store, sealer)
    return Host(
        store,
        sealer,
        proof,
        practice=membership.practice,
        replica=sealer.public.replica,
        membership=membership.state(),
        now_ms=now_ms,
    )


def request_of(records: Sequence[Record], key: Callable[[], str]) -> WriteRequest:
    """One transaction."""
    edits = [RecordEdits(r.kind, r.id, subject_of(r), edits_of(r, key)) for r in records]
    return WriteRequest("dr.weber", "work", "desk-1", "care", edits)


def rows(keys: Sequence[KeyObject]) -> list[list[str]]:
    """Keys as marks name them."""
    return [[key.id.hex(), key.epoch.hex(), key.subject, key.wrapped.hex()] for key in keys]


def places(commits: Sequence[Commit]) -> list[list[str | int]]:
    """Commits as marks name them."""
    return [[commit.header.log.hex(), commit.header.sequence, commit.hash.hex()] for commit in commits]


class Work:
    """The life. `base` is where everything is made; `seed` decides what happens."""

    def __init__(self, base: Path, seed: int, note: Notes, store: OpenStore = open_store) -> None:
        self.base = base
        self.path = base / PLACE
        self.note = note
        self.chance = random.Random(f"{seed}/work")
        self.sealer = PlainSealer("jena", random.Random(f"{seed}/jena").randbytes)
        self.now = START_MS
        self.host: Host | None = None
        self._open_store = store
        self._known: list[tuple[str, RecordId]] = []
        self._patients: list[RecordId] = []
        self._numbers = 0
        self._spare: list[KeyObject] = []
        self._late: list[KeyObject] = []
        self._moved = 0

    # -- founding, opening, closing -----------------------------------------------------------------------------------

    def found(self) -> None:
        """Make the folder, and the other replica in memory."""
        keyring = Keyring(self.sealer)
        founding = members.founding(
            self.sealer, keyring, practice="Praxis am Markt", name="Jena", recovery=plain_identity("recovery")
        )
        record = decode_record(founding)
        draw = self.chance.randbytes
        self.keys = KeyFile(sig_seed=draw(32), tls_seed=draw(32), kem_seed=draw(96), view_key=draw(32))
        self.note(will={"view_key": self.keys.view_key.hex()})
        folder.make(self.path, self.keys, PASSPHRASE, [(record.hash, founding)], {"hints": b"none"}, fast=True)
        key_file = folder.read_key_file(self.path)
        self.note(
            did={
                "founded": {"key_file": key_file.hex()},
                "members": [founding.hex()],
                "meta": {"hints": b"none".hex()},
            }
        )
        self.membership = Membership(self.sealer.verify)
        self.membership.add(founding)
        self.twin = Twin(self.membership, keyring, random.Random(f"{self.chance.random()}/twin"))

    def open(self) -> None:
        """Open the store and the host, with few bytes to a checkpoint."""
        store = self._open_store(self.path, self.keys.view_key)
        try:
            few = {name: self.chance.choice(_CHECKPOINT_BYTES) for name in ("log.db", "keys.db", "view.db")}
            vars(store)["_wal_bytes"] = lambda file: few[file.name]
            proof = Continuity(self.path, self.sealer.public.replica, self.path / "log.db")
            self.host = open_host(store, self.sealer, proof, self.tick)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Close what is open."""
        if self.host is not None:
            self.host.close()
            self.host = None

    def tick(self) -> int:
        """The wall clock."""
        self.now += 1
        return self.now

    @property
    def _host(self) -> Host:
        assert self.host is not None, "acts need an open host"
        return self.host

    def act(self) -> None:
        """One thing that happens."""
        act = self.chance.choices(list(_ACTS), weights=list(_ACTS.values()))[0]
        getattr(self, act)()

    # -- writing ------------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Local transactions that share a sync; the other replica learns of them."""
        requests = [self._request(self._host.engine) for _ in range(self.chance.choice((1, 1, 1, 2, 4)))]
        outcomes, _, _ = self._host.write(requests, self.grant())
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        self._acknowledge(outcomes)

    def _acknowledge(self, outcomes: Sequence[WriteOutcome]) -> None:
        commits = [commit for outcome in outcomes for commit in outcome.commits]
        keys = [key for outcome in outcomes for key in outcome.keys]
        self.note(did={"commits": places(commits), "keys": rows(keys)})
        self.twin.hear(commits, keys)

    def grant(self) -> WriteGrant:
        """Under what is written now."""
        epoch = self.membership.state().sealing_epoch()
        assert epoch is not None, "nobody is removed here"
        return WriteGrant(tuple(self.membership.heads), epoch)

    def _request(self, engine: Engine) -> WriteRequest:
        records = [self._record(engine) for _ in range(self.chance.choice((1, 1, 2)))]
        return request_of(records, self._key)

    def _key(self) -> str:
        self._numbers += 1
        return f"k{self._numbers}"

    def _record(self, engine: Engine) -> Record:
        chance = self.chance
        if self._known and chance.random() < 0.55:
            kind, record = chance.choice(self._known)
            state = engine.record(kind, record)
            if state is not None:
                found = read(kind, record, state.content)
                assert isinstance(found, Patient | ChartEntry), "nothing else is made here"
                found.assign("given_name" if kind == "patient" else "draft", f"changed {self._key()}")
                return found
        made: Record
        if not self._patients or chance.random() < 0.5:
            made = Patient(family_name=f"Muster {self._key()}", given_name="Erika")
            made.id = record_id(chance.randbytes(16))
            self._patients.append(made.id)
        else:
            size = _LARGE_BYTES if chance.random() < 0.05 else 20
            made = ChartEntry(patient=chance.choice(self._patients), type="note", draft=chance.randbytes(size).hex())
            made.id = record_id(chance.randbytes(16))
        self._known.append((made.kind, made.id))
        return made

    # -- receiving ----------------------------------------------------------------------------------------------------

    def receive(self) -> None:
        """Commits of the other replica, derived at once."""
        commits, keys = self._from_twin(self.chance.randint(1, 5))
        self._host.receive([(commit, True) for commit in commits], keys)
        self.note(did={"commits": places(commits), "keys": rows(keys)})

    def receive_many(self) -> None:
        """Commits that are stored in one go and derived in pieces."""
        commits, keys = self._from_twin(self.chance.randint(5, 15))
        self._host.engine.append([(commit, number % 3 == 0) for number, commit in enumerate(commits)], keys, self.now)
        self.note(did={"commits": places(commits), "keys": rows(keys)})
        while not self._host.engine.derive(self.tick(), 4).done:
            pass

    def late(self) -> None:
        """Commits without their keys, or the keys that are missing."""
        engine = self._host.engine
        if self._late:
            keys, self._late = self._late, []
            engine.put_keys(keys)
            self.note(did={"keys": rows(keys)})
            while not engine.derive(self.tick()).done:
                pass
            return
        commits, keys = self._from_twin(self.chance.randint(1, 3))
        self._late = keys
        self.note(will={"late": [key.id.hex() for key in keys]})
        self._host.receive([(commit, False) for commit in commits], ())
        self.note(did={"commits": places(commits)})

    def _from_twin(self, transactions: int) -> tuple[list[Commit], list[KeyObject]]:
        requests = [self._request(self.twin.engine) for _ in range(transactions)]
        return self.twin.write(requests, self.grant(), self.tick())

    # -- all else -----------------------------------------------------------------------------------------------------

    def member(self) -> None:
        """An address record."""
        self._moved += 1
        place = self.membership.place(ReplicaId(self.sealer.public.replica))
        self._publish(members.moving(self._host, place, [f"192.168.1.{self._moved}:7443"]))

    def epoch(self) -> None:
        """A further epoch, under which both write from now on."""
        place = self.membership.place(ReplicaId(self.sealer.public.replica))
        self._publish(members.opening_epoch(self._host, place, self.membership.state()))
        self._host.learn_epochs(self.membership.state())
        for epoch in self._host.keyring.epochs():
            self.twin.learn(epoch, self._host.keyring)

    def _publish(self, data: bytes) -> None:
        self.membership.add(data)
        self._host.engine.add_members([(decode_record(data).hash, data)])
        self.note(did={"members": [data.hex()]})

    def meta(self) -> None:
        """A small value is set, or removed."""
        name = f"small {self.chance.randrange(4)}"
        value = self.chance.randbytes(20) if self.chance.random() < 0.8 else None
        told = {name: None if value is None else value.hex()}
        self.note(will={"meta": told})
        self._host.store.set_meta({name: value})
        self.note(did={"meta": told})

    def erase(self) -> None:
        """Keys that no commit uses are kept, and some of them destroyed."""
        made = [
            key_object(EpochId(bytes(16)), _ERASED_SUBJECT, self.chance.randbytes(40))
            for _ in range(self.chance.randint(1, 6))
        ]
        self._host.store.put_keys(made)
        self.note(did={"keys": rows(made)})
        self._spare.extend(made)
        gone = [key for key in self._spare if self.chance.random() < 0.5]
        self._spare = [key for key in self._spare if key not in gone]
        names = [key.id.hex() for key in gone]
        self.note(will={"erase": names})
        self._host.store.erase_keys([key.id for key in gone])
        self.note(did={"erased": names})

    def rebuild(self) -> None:
        """The view derived anew."""
        self._host.engine.rebuild(self.tick())

    def reopen(self) -> None:
        """Closed and opened again."""
        self.close()
        self.open()


_ACTS: Final = {
    "write": 30, "receive": 22, "receive_many": 8, "late": 10, "member": 5, "epoch": 2, "meta": 6, "erase": 7,
    "rebuild": 2, "reopen": 6,
}  # fmt: skip
"""What happens how often."""


class Twin:
    """The other replica: an engine over memory that has all the keys."""

    def __init__(self, membership: Membership, keyring: Keyring, chance: random.Random) -> None:
        sealer = PlainSealer("gera", chance.randbytes)
        self.keyring = Keyring(sealer)
        for epoch in keyring.epochs():
            self.learn(epoch, keyring)
        self.engine = Engine(
            MemoryStore(), sealer, self.keyring, practice=membership.practice, replica=ReplicaId(sealer.public.replica)
        )
        self.engine.open_boot()

    def learn(self, epoch: EpochId, keyring: Keyring) -> None:
        """Take over an epoch."""
        if not self.keyring.has(epoch):
            self.keyring.learn(keyring.key(epoch))

    def write(
        self, requests: Sequence[WriteRequest], grant: WriteGrant, now_ms: int
    ) -> tuple[list[Commit], list[KeyObject]]:
        """Local transactions: their commits and the keys that they introduce."""
        outcomes = self.engine.write(requests, grant, now_ms)
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        commits = [commit for outcome in outcomes for commit in outcome.commits]
        return commits, [key for outcome in outcomes for key in outcome.keys]

    def hear(self, commits: Sequence[Commit], keys: Sequence[KeyObject]) -> None:
        """Take what the first one wrote."""
        self.engine.append([(commit, True) for commit in commits], keys, START_MS)
        while not self.engine.derive(START_MS).done:
            pass
