"""What lives in the store's thread: which log is written, and which epochs are open (L1, L4)."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from crdtsync import members
from crdtsync.engine import WriteGrant, WriteRequest
from crdtsync.engine.write import Sealing
from crdtsync.errors import StorageFailure
from crdtsync.founding import verifier
from crdtsync.host import Host
from crdtsync.replication.commit import Change
from crdtsync.replication.membership import Membership
from crdtsync.replication.stored import KeyObject
from crdtsync.sealing.keyring import Keyring
from crdtsync.sealing.recovery import recovery_identity
from crdtsync.sealing.suite1 import Suite1
from crdtsync.storage import continuity
from crdtsync.storage.continuity import Continuity
from crdtsync.storage.memory import MemoryStore

from .engine.sites import START_MS, SiteRig, patient_of, record_of
from .sealing.identities import identity_of


class Machine:
    """One replica's disk and folder; a host is opened over them as often as wanted."""

    def __init__(self, folder: Path, name: str = "jena") -> None:
        self.sealer = Suite1(identity_of(name), secrets.token_bytes)
        self.folder = folder
        self.file = folder / "log.db"
        self.file.write_bytes(b"")
        self.store = MemoryStore()
        self.membership = Membership(verifier())
        self.membership.add(
            members.founding(
                self.sealer,
                Keyring(self.sealer),
                practice="P",
                name="Jena",
                recovery=recovery_identity(bytes(32)).public,
            )
        )

    def host(self) -> Host:
        return Host(
            self.store,
            self.sealer,
            Continuity(self.folder, self.sealer.public.replica, self.file),
            practice=self.membership.practice,
            replica=self.sealer.public.replica,
            membership=self.membership.state(),
            now_ms=lambda: START_MS,
        )

    def grant(self) -> WriteGrant:
        epoch = self.membership.state().sealing_epoch()
        assert epoch is not None
        return WriteGrant(tuple(self.membership.heads), epoch)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def request(number: int) -> WriteRequest:
    edits = SiteRig("any").edits(patient_of(number))
    return WriteRequest("dr.weber", "", "", "", [edits])


def test_a_log_is_continued_with_proof_only(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine.host()
    assert not host.continued
    log = host.log
    [outcome], view, _ = host.write([request(1)], machine.grant())
    assert outcome.commit is not None and outcome.commit.header.log == log and view.records == 1
    host.close()
    host = machine.host()
    assert host.continued and host.log == log
    [outcome], _, _ = host.write([request(2)], machine.grant())
    assert outcome.commit is not None and outcome.commit.id.sequence == 2
    host.close()
    monkeypatch.setattr(continuity, "boot_session", lambda: "another start of the machine")
    host = machine.host()
    assert not host.continued and host.log != log
    [outcome], _, _ = host.write([request(3)], machine.grant())
    assert outcome.commit is not None and outcome.commit.id.sequence == 1
    assert outcome.commit.header.continues is not None and outcome.commit.header.continues[0] == log


def test_of_two_that_were_one_only_the_last_opened_goes_on(machine: Machine) -> None:
    """The older image has the older nonce."""
    host = machine.host()
    log = host.log
    older = machine.store.copy()
    host.close()
    host = machine.host()
    assert host.continued
    host.write([request(1)], machine.grant())
    host.close()
    machine.store = older
    host = machine.host()
    assert not host.continued and host.log != log


def test_an_image_from_before_the_last_sync_is_not_continued(machine: Machine) -> None:
    """The same nonce, but the store is behind the proof: a snapshot while the process ran."""
    host = machine.host()
    older = machine.store.copy()
    host.write([request(1)], machine.grant())
    host.close()
    machine.store = older
    assert not machine.host().continued


def test_a_log_of_which_a_change_is_held_is_followed_by_another(machine: Machine) -> None:
    """A poisoned change in the own log, as after a fault of memory: what comes next stands in a fresh boot (L6)."""
    host = machine.host()
    log = host.log
    host.write([request(1)], machine.grant())
    writer = host.engine._writer
    assert writer is not None
    draft = writer.draft()
    place = draft.place(0, START_MS)
    sealing = Sealing(machine.sealer, host.engine._parts, log, machine.grant(), START_MS)
    change = Change("patient", record_of(1), b"\x01\x01\xff\xff no update at all")
    introduced: dict[str, KeyObject] = {}
    part = sealing.part(request(1), place, 0, record_of(1), [change], introduced)
    commit = sealing.commit(draft, place, [part], None)
    host.engine.append([(commit, True)], list(introduced.values()), START_MS)
    writer.accept(draft)
    host.engine.derive(START_MS)
    [outcome], _, boot = host.write([request(2)], machine.grant())
    assert boot is not None and boot == host.log != log
    assert outcome.commit is not None and outcome.commit.header.log == boot
    [outcome], _, boot = host.write([request(3)], machine.grant())
    assert boot is None and outcome.error is None


def test_a_disk_that_refuses_proves_nothing_further(machine: Machine) -> None:
    host = machine.host()
    machine.store.failure = "no space left"
    with pytest.raises(StorageFailure):
        host.write([request(1)], machine.grant())


def test_epochs_are_opened_and_what_does_not_open_is_left(machine: Machine, tmp_path: Path) -> None:
    host = machine.host()
    [first] = host.keyring.epochs()
    membership = machine.membership
    own = machine.sealer.public.replica
    membership.add(members.opening_epoch(host, membership.place(own), membership.state()))
    assert host.learn_epochs(membership.state()) is False, "the one who made it has it"
    again = machine.host()
    assert again.keyring.epochs() == host.keyring.epochs() and first in again.keyring.epochs()
    (tmp_path / "other").mkdir()
    stranger = Machine(tmp_path / "other", "gera")
    stranger.membership = membership
    assert stranger.host().keyring.epochs() == frozenset()
