from __future__ import annotations

from random import Random

import pytest

from crdtsync import limits
from crdtsync.errors import NotFound, SealBroken
from crdtsync.ids import EpochId
from crdtsync.replication.stored import KeyObject, key_from_items, key_items, key_object
from crdtsync.sealing.base import Sealer
from crdtsync.sealing.keyring import Keyring
from crdtsync.sealing.suite1 import Suite1
from crdtsync.testing.sealer import PlainSealer

from .identities import identity_of


def real(name: str) -> Sealer:
    return Suite1(identity_of(name), Random(name).randbytes)


def plain(name: str) -> Sealer:
    return PlainSealer(name, Random(name).randbytes)


@pytest.fixture(params=[real, plain], ids=["suite1", "plain"])
def pair(request: pytest.FixtureRequest) -> tuple[Sealer, Sealer]:
    return request.param("jena"), request.param("weimar")


def test_an_epoch_reaches_another_member(pair: tuple[Sealer, Sealer]) -> None:
    mine, theirs = (Keyring(sealer) for sealer in pair)
    epoch, key = mine.new_epoch()
    assert mine.has(epoch) and not theirs.has(epoch)
    theirs.learn_sealed(epoch, b"info", pair[0].seal_to(pair[1].public.kem, b"info", key))
    assert theirs.key(epoch) == key == mine.key(epoch)
    assert theirs.epochs() == {epoch}
    assert theirs.salt(epoch, "patient") == mine.salt(epoch, "patient")


def test_a_newcomer_reads_history_by_the_wrapped_parents(pair: tuple[Sealer, Sealer]) -> None:
    mine, theirs = (Keyring(sealer) for sealer in pair)
    old = [mine.new_epoch()[0] for _ in range(3)]
    newest, key = mine.new_epoch()
    parents = mine.wrap_parents(key, old)
    assert [parent for parent, _ in parents] == old
    assert {len(wrapped) for _, wrapped in parents} == {40}
    theirs.learn(key)
    for parent, wrapped in parents:
        theirs.learn_wrapped(parent, wrapped, newest)
    assert all(theirs.key(epoch) == mine.key(epoch) for epoch in old)


def test_a_wrapped_parent_does_not_open_as_another(pair: tuple[Sealer, Sealer]) -> None:
    mine, theirs = (Keyring(sealer) for sealer in pair)
    old = [mine.new_epoch()[0] for _ in range(2)]
    newest, key = mine.new_epoch()
    theirs.learn(key)
    (_, first), _ = mine.wrap_parents(key, old)
    with pytest.raises(SealBroken):
        theirs.learn_wrapped(old[1], first, newest)
    assert not theirs.has(old[1])


def test_an_epoch_key_must_be_the_one_that_its_id_names(pair: tuple[Sealer, Sealer]) -> None:
    mine = Keyring(pair[0])
    sealed = pair[1].seal_to(pair[0].public.kem, b"info", b"x" * 32)
    with pytest.raises(SealBroken, match="not the one its id names"):
        mine.learn_sealed(EpochId(b"e" * 16), b"info", sealed)
    short = pair[1].seal_to(pair[0].public.kem, b"info", b"x" * 16)
    with pytest.raises(SealBroken, match="not the one its id names"):
        mine.learn_sealed(pair[0].epoch_id(b"x" * 16), b"info", short)
    assert mine.epochs() == frozenset()


def test_an_unknown_epoch_is_said_so(pair: tuple[Sealer, Sealer]) -> None:
    mine = Keyring(pair[0])
    absent = EpochId(b"e" * 16)
    _, key = mine.new_epoch()
    carrier = key_object(absent, "patient", bytes(40))
    for act in (
        lambda: mine.key(absent),
        lambda: mine.salt(absent, "patient"),
        lambda: mine.learn_wrapped(EpochId(b"f" * 16), bytes(40), absent),
        lambda: mine.wrap_parents(key, [absent]),
        lambda: mine.new_data_key(absent, "patient"),
        lambda: mine.open_data_key(carrier),
    ):
        with pytest.raises(NotFound, match="wait for the next contact"):
            act()


def test_a_data_key_opens_wherever_its_epoch_is_known(pair: tuple[Sealer, Sealer]) -> None:
    mine, theirs = (Keyring(sealer) for sealer in pair)
    epoch, key = mine.new_epoch()
    theirs.learn(key)
    data_key, carrier = mine.new_data_key(epoch, "patient")
    assert len(data_key) == 32 and data_key not in carrier.wrapped
    assert theirs.open_data_key(key_from_items(key_items(carrier))) == data_key == mine.open_data_key(carrier)
    assert mine.new_data_key(epoch, "patient")[1].id != carrier.id


def test_a_data_key_does_not_open_for_another_subject_or_epoch(pair: tuple[Sealer, Sealer]) -> None:
    mine = Keyring(pair[0])
    epoch, _ = mine.new_epoch()
    other, _ = mine.new_epoch()
    _, carrier = mine.new_data_key(epoch, "patient")
    for moved in (key_object(epoch, "patienz", carrier.wrapped), key_object(other, "patient", carrier.wrapped)):
        with pytest.raises(SealBroken):
            mine.open_data_key(moved)


def test_a_forgotten_data_key_needs_its_carrier_again(pair: tuple[Sealer, Sealer]) -> None:
    mine = Keyring(pair[0])
    epoch, _ = mine.new_epoch()
    data_key, carrier = mine.new_data_key(epoch, "patient")
    destroyed = KeyObject(carrier.id, carrier.epoch, carrier.subject, bytes(40))
    assert mine.open_data_key(destroyed) == data_key
    mine.forget_data_keys([carrier.id])
    with pytest.raises(SealBroken):
        mine.open_data_key(destroyed)
    assert mine.open_data_key(carrier) == data_key


def test_caches_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "salts_cached_max", 10)
    monkeypatch.setattr(limits, "data_keys_cached_max", 10)
    mine = Keyring(plain("jena"))
    epoch, _ = mine.new_epoch()
    made = [mine.new_data_key(epoch, str(number)) for number in range(100)]
    assert len(mine._salts) <= 10 and len(mine._data_keys) <= 10
    assert all(mine.open_data_key(carrier) == data_key for data_key, carrier in made)


def test_keys_do_not_show() -> None:
    mine = Keyring(plain("jena"))
    mine.new_epoch()
    assert repr(mine) == "Keyring(1 epochs)"
