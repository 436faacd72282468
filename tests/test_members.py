"""What sites sign into the membership log: who can read what afterwards."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from crdtsync import members
from crdtsync.host import Host
from crdtsync.ids import BootId, CommitHash, Head, base32, log_id
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.membership import Membership
from crdtsync.sealing.keyring import Keyring
from crdtsync.storage.continuity import Continuity
from crdtsync.storage.memory import MemoryStore
from crdtsync.testing.sealer import PlainSealer, plain_identity


class Practice:
    """Hosts over memory that share one membership."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "log.db").write_bytes(b"")
        sealer = self.sealer("jena")
        self.membership = Membership(sealer.verify)
        self.membership.add(
            members.founding(sealer, Keyring(sealer), practice="P", name="jena", recovery=plain_identity("sheet"))
        )

    def sealer(self, name: str) -> PlainSealer:
        return PlainSealer(name, random.Random(name).randbytes)

    def host(self, name: str) -> Host:
        sealer = self.sealer(name)
        return Host(
            MemoryStore(),
            sealer,
            Continuity(self.folder, sealer.public.replica, self.folder / "log.db"),
            practice=self.membership.practice,
            replica=sealer.public.replica,
            membership=self.membership.state(),
            now_ms=lambda: 1,
        )

    def add(self, by: Host, name: str, *, admin: bool = False) -> None:
        made = members.entry_of(plain_identity(name), name=name, admin=admin)
        self.take(members.adding(by, self.membership.place(by.replica), self.membership.state(), made))

    def take(self, record: bytes | None) -> None:
        assert record is not None
        assert self.membership.add(record) is not None


@pytest.fixture
def practice(tmp_path: Path) -> Practice:
    return Practice(tmp_path)


def test_a_newcomer_reads_all_that_was_written_before(practice: Practice) -> None:
    jena = practice.host("jena")
    for _ in range(3):
        practice.take(members.opening_epoch(jena, practice.membership.place(jena.replica), practice.membership.state()))
        jena.learn_epochs(practice.membership.state())
    practice.add(jena, "gera", admin=True)
    gera = practice.host("gera")
    assert gera.keyring.epochs() == jena.keyring.epochs() and len(gera.keyring.epochs()) == 4
    assert all(gera.keyring.key(epoch) == jena.keyring.key(epoch) for epoch in jena.keyring.epochs())
    assert practice.membership.state().missing_shares() == []


def test_who_is_removed_cannot_open_what_comes_next(practice: Practice) -> None:
    jena = practice.host("jena")
    practice.add(jena, "gera")
    practice.add(jena, "weimar")
    gera, weimar = practice.host("gera"), practice.host("weimar")
    before = practice.membership.state()
    gone = before.members[gera.replica]
    heads = {log_id(gera.replica, BootId(b"1" * 8)): Head(3, CommitHash(b"h" * 32))}
    place = practice.membership.place(jena.replica)
    practice.take(members.removing(jena, place, before, gone, "sold", heads))
    state = practice.membership.state()
    assert state.active(gera.replica) is None and state.cuts == heads
    epoch = state.sealing_epoch()
    assert epoch is not None and epoch not in before.epochs
    for host in (jena, gera, weimar):
        host.learn_epochs(state)
    assert jena.keyring.has(epoch) and weimar.keyring.has(epoch) and not gera.keyring.has(epoch)
    assert practice.host("gera").keyring.epochs() == frozenset(before.epochs), "also from all that is in the records"


def test_keys_are_shared_with_readers_that_lack_them(practice: Practice) -> None:
    """Two admins apart: one lets somebody in, the other opens an epoch without knowing of it."""
    jena = practice.host("jena")
    practice.add(jena, "weimar", admin=True)
    weimar = practice.host("weimar")
    place, state = practice.membership.place(weimar.replica), practice.membership.state()
    practice.add(jena, "gera")
    epoch = members.opening_epoch(weimar, place, state)
    practice.take(epoch)
    gera = practice.host("gera")
    lacking = practice.membership.state().missing_shares()
    assert {replica for _, replica in lacking} == {gera.replica}
    place = practice.membership.place(weimar.replica)
    assert members.sharing(gera, place, practice.membership.state()) is None, "it has nothing to give"
    practice.take(members.sharing(weimar, place, practice.membership.state()))
    assert practice.membership.state().missing_shares() == []
    assert gera.learn_epochs(practice.membership.state())
    assert members.sharing(weimar, place, practice.membership.state()) is None


def test_heads_are_attested_and_addresses_told(practice: Practice) -> None:
    jena = practice.host("jena")
    heads = {log_id(jena.replica, BootId(b"1" * 8)): Head(3, CommitHash(b"h" * 32))}
    record = members.attesting(jena, practice.membership.place(jena.replica), heads)
    practice.take(record)
    assert decode_record(record).op == "attest"
    practice.take(members.moving(jena, practice.membership.place(jena.replica), ["10.0.0.1:7443"]))
    member = practice.membership.state().members[jena.replica]
    assert members.shown(member) == {
        "name": "jena",
        "replica": base32(jena.replica),
        "role": "site",
        "admin": True,
        "state": "active",
        "addresses": ["10.0.0.1:7443"],
    }


def test_only_sites_are_given_epochs(practice: Practice) -> None:
    jena = practice.host("jena")
    desk = members.entry_of(plain_identity("desk"), name="desk", role="workstation")
    practice.take(members.adding(jena, practice.membership.place(jena.replica), practice.membership.state(), desk))
    assert practice.host("desk").keyring.epochs() == frozenset()
