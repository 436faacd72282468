"""Opens what a power cut left with the real store, engine and host, and says which promise broke.

Nothing is repaired before: the folder is opened as a site opens it, once.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crdtsync import folder
from crdtsync.engine import WriteGrant
from crdtsync.errors import CrdtSyncError
from crdtsync.host import Host
from crdtsync.ids import DataKeyId, LogId, ReplicaId, record_id
from crdtsync.practice import Patient
from crdtsync.replication.commit import part_hash
from crdtsync.replication.membership import Membership
from crdtsync.storage.base import Store
from crdtsync.storage.continuity import Continuity
from crdtsync.testing.realdisk.duties import Duties
from crdtsync.testing.realdisk.work import (
    PLACE,
    START_MS,
    STATE,
    OpenStore,
    membership_in,
    open_host,
    open_store,
    request_of,
)
from crdtsync.testing.sealer import PlainSealer, plain_identity

CORRUPT: Final = "corrupt"
LOST: Final = "lost"
_NOW_MS: Final = START_MS + 10_000_000
_OTHER_SESSION: Final = "the machine was started again"


class Broken(Exception):
    """A promise that does not hold on this image. `kind` is `lost` for what was acknowledged, else `corrupt`."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class CarriedProof(Continuity):
    """The proof of continuity on an image, which lies elsewhere: the machine is the same one where `killed`, that is
    when the process ended and nothing else; folder and file are then taken for the ones that the proof names."""

    def __init__(self, place: Path, replica: ReplicaId, image: Path, *, killed: bool) -> None:
        super().__init__(place, replica, place / "log.db")
        found = sorted((image / STATE).glob("*.boot")) if (image / STATE).is_dir() else []
        self.path = found[0] if found else image / STATE / "none.boot"
        self._killed = killed

    def _facts(self, log: str, nonce: bytes) -> dict[str, Any] | None:
        facts = super()._facts(log, nonce)
        before = self._read()
        if facts is None or before is None:
            return facts
        same = {name: before[1][name] for name in ("session", "folder", "file")}
        return {**facts, **same} if self._killed else {**facts, **same, "session": _OTHER_SESSION}


@dataclass(frozen=True, slots=True)
class Case:
    """An image in a folder of its own, what had been promised, and how the end came."""

    image: Path
    duties: Duties
    killed: bool
    seed: str


class Judge:
    """Judges images of one life. Remembers what a log's view must sum up to, so that it is derived anew once."""

    def __init__(self, store: OpenStore = open_store) -> None:
        self._open_store = store
        self._sums: dict[tuple[bytes, tuple[bytes, ...]], tuple[str, int]] = {}

    def check(self, case: Case) -> None:
        """Raises Broken with the promise that does not hold."""
        if not (case.image / PLACE).is_dir():
            if case.duties.founded:
                raise Broken(LOST, "L1: the practice was founded, and its folder is gone")
            return
        try:
            self._check(case)
        except (CrdtSyncError, OSError) as error:
            raise Broken(CORRUPT, f"it does not open, or not work then: {type(error).__name__}: {error}") from error

    def _check(self, case: Case) -> None:
        place, duties = case.image / PLACE, case.duties
        key_file = folder.read_key_file(place).hex()
        if duties.founded and key_file != duties.founded["key_file"]:
            raise Broken(LOST, "L1: replica.key is not what was written")
        sealer = PlainSealer("jena", random.Random(case.seed).randbytes)
        proof = CarriedProof(place, ReplicaId(sealer.public.replica), case.image, killed=case.killed)
        store = self._open_store(place, bytes.fromhex(duties.view_key))
        try:
            host = open_host(store, sealer, proof, lambda: _NOW_MS)
        except BaseException:
            store.close()
            raise
        try:
            self.check_open(host, sealer, duties, place)
            _goes_on(host, case, grant_of(membership_in(store, sealer)))
        finally:
            host.close()

    def check_open(self, host: Host, sealer: PlainSealer, duties: Duties, place: Path) -> None:
        """All that was promised, of a host that is open over the folder `place`. Raises Broken."""
        _kept(host.store, duties)
        _erased(place, duties)
        self._view(host, sealer)

    def _view(self, host: Host, sealer: PlainSealer) -> None:
        """L8: what the view holds follows from a prefix of the log, and all of it from all of the log."""
        engine, store = host.engine, host.store
        log, head = store.log_head(), store.view_state().head
        if head.arrival > log.arrival or (head.arrival == log.arrival and head.chain != log.chain):
            raise Broken(CORRUPT, f"L1: the view goes to arrival {head.arrival}, the log to {log.arrival}")
        known = {p.replica: p.sig for p in (sealer.public, plain_identity("gera"))}
        problems = engine.verify(None, known.get).problems
        if problems:
            raise Broken(CORRUPT, f"L2, L3, L8: {problems[0]}")
        result = engine.derive(_NOW_MS)
        while not result.done and not result.alarms:
            result = engine.derive(_NOW_MS)
        if result.alarms:
            raise Broken(CORRUPT, f"L6: deriving raises an alarm: {result.alarms[0]}")
        place = (log.chain, tuple(sorted(result.waiting)))
        found = engine.digest()
        if place not in self._sums:
            self._sums[place] = engine.rebuild(_NOW_MS)
        if self._sums[place] != found:
            raise Broken(CORRUPT, f"L8: the view sums up to {found}, derived anew to {self._sums[place]}")


def _kept(store: Store, duties: Duties) -> None:
    """L1: everything acknowledged is there, with the right bytes."""
    members = [record.hex() for record in store.members()]
    if members[: len(duties.members)] != duties.members:
        raise Broken(LOST, "L1: acknowledged membership records are not there, or not in their order")
    for name, right in duties.meta.items():
        value = store.meta(name)
        if (None if value is None else value.hex()) not in right:
            raise Broken(LOST, f"L1: the small value {name!r} is not what was acknowledged")
    found = store.keys(DataKeyId(bytes.fromhex(key)) for key in duties.keys)
    for key, row in duties.keys.items():
        here = found.get(DataKeyId(bytes.fromhex(key)))
        if here is None and key in duties.erasing:
            continue
        if here is None:
            raise Broken(LOST, f"L1: the acknowledged data key {key} is not there")
        if (here.id.hex(), here.epoch.hex(), here.subject, here.wrapped.hex()) != row:
            raise Broken(CORRUPT, f"L1: the data key {key} is not what was acknowledged")
    for (log, sequence), commit in duties.commits.items():
        stored = store.commit(LogId(bytes.fromhex(log)), sequence)
        if stored is None:
            raise Broken(LOST, f"L1: the acknowledged commit {sequence} of log {log} is not there")
        if stored.commit.hash.hex() != commit:
            raise Broken(CORRUPT, f"L3: commit {sequence} of log {log} has another hash than was acknowledged")
    _with_keys(store, duties)


def _with_keys(store: Store, duties: Duties) -> None:
    """L1: keys come before the log, so no commit is here without the keys that it was given with."""
    for stored in store.arrivals(0, 1_000_000, 1 << 40):
        for ref, sealed in zip(stored.commit.header.parts, stored.commit.parts, strict=True):
            if part_hash(sealed) != ref.hash:
                raise Broken(CORRUPT, f"the commit at arrival {stored.arrival} has a part that is not its own")
        lacking = {ref.key for ref in stored.commit.header.parts} - store.keys(
            ref.key for ref in stored.commit.header.parts
        ).keys()
        if lacking - {DataKeyId(bytes.fromhex(key)) for key in duties.late}:
            raise Broken(CORRUPT, f"L1: the commit at arrival {stored.arrival} is here without the key that it needs")


def _erased(place: Path, duties: Duties) -> None:
    """What was destroyed is in no file."""
    gone = [(key, bytes.fromhex(wrapped)) for key, wrapped in duties.erased.items()]
    for file in ("keys.db", "keys.db-wal", "keys.db-journal"):
        if gone and (place / file).exists():
            content = (place / file).read_bytes()
            for key, wrapped in gone:
                if wrapped in content:
                    raise Broken(CORRUPT, f"the erased key {key} is still in {file}")


def _goes_on(host: Host, case: Case, grant: WriteGrant) -> None:
    """L4: without proof a new log; and writing works."""
    before = host.store.frontier()
    if host.continued and not case.killed:
        raise Broken(CORRUPT, "L4: the log is continued after a power cut")
    if not host.continued and host.log in before:
        raise Broken(CORRUPT, "L4: the new boot is not new")
    record = Patient(family_name="Nach dem Stromausfall")
    record.id = record_id(os.urandom(16))
    [outcome], view, _ = host.write([request_of([record], lambda: "after")], grant)
    commit = outcome.commit
    if commit is None or outcome.error is not None:
        raise Broken(CORRUPT, f"nothing can be written any more: {outcome.error}")
    expected = before[commit.header.log].sequence + 1 if host.continued and commit.header.log in before else 1
    if commit.header.sequence != expected or (commit.header.log.hex(), expected) in case.duties.commits:
        raise Broken(CORRUPT, f"L3: {commit.header.sequence} is written a second time")
    if not view.done or host.engine.record("patient", record.id) is None:
        raise Broken(CORRUPT, "what was written is not seen")


def grant_of(membership: Membership) -> WriteGrant:
    """Under what is written after it."""
    epoch = membership.state().sealing_epoch()
    assert epoch is not None, "nobody is removed in these lives"
    return WriteGrant(tuple(membership.heads), epoch)
