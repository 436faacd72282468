"""What a site keeps for itself: sealed, each value for its name, and never taken for what it is not."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from crdtsync import Braked
from crdtsync.errors import DamagedFile
from crdtsync.ids import ReplicaId
from crdtsync.kept import Kept
from crdtsync.practice import Patient
from crdtsync.sealing.suite1 import Suite1
from crdtsync.storage.memory import MemoryStore
from tests.sealing.identities import identity_of
from tests.sites import add, at_host, create

SEALER = Suite1(identity_of("jena"), secrets.token_bytes)


def kept(store: MemoryStore, key: bytes = b"k" * 32, replica: bytes = b"r" * 16) -> Kept:
    return Kept(store, SEALER, key, ReplicaId(replica))


def test_values_last_and_are_removed() -> None:
    store = MemoryStore()
    value = {"name": "Müller", "list": [1, None, 2**60, 0.5]}
    kept(store).write({"a": value, "b": "x"})
    assert kept(store).read("a") == value and kept(store).has("b")
    kept(store).write({"a": None})
    assert kept(store).read("a") is None and not kept(store).has("a") and kept(store).read("b") == "x"
    assert "Müller".encode() not in (store.meta("b") or b"")


@pytest.mark.parametrize("wrong", ["key", "replica", "name", "byte"])
def test_what_is_not_what_was_written_is_refused(wrong: str) -> None:
    store = MemoryStore()
    kept(store).write({"a": "secret", "b": "other"})
    sealed = store.meta("a")
    assert sealed is not None
    if wrong == "name":
        store.set_meta({"b": sealed})
    if wrong == "byte":
        store.set_meta({"b": sealed[:-1] + bytes([sealed[-1] ^ 1])})
    reader = (
        kept(store, **{wrong: b"x" * (32 if wrong == "key" else 16)}) if wrong in ("key", "replica") else kept(store)
    )
    with pytest.raises(DamagedFile, match="keeps under b is not what was written"):
        reader.read("b")


@pytest.mark.anyio
async def test_a_site_goes_on_where_that_has_rotted(tmp_path: Path) -> None:
    """People are told; ordinary work goes on; nothing more is held, and nothing is let through for it."""
    async with create(tmp_path / "jena") as jena:
        await jena.brake(records=1)
        patients = [Patient(family_name="A"), Patient(family_name="B")]
        await add(jena, *patients)
        for expected in (Braked, DamagedFile):
            with pytest.raises(expected):
                async with jena.transaction(author="a") as tx:
                    for patient in patients:
                        (await tx.get(Patient, patient.id)).family_name = "X"
            rot = dict.fromkeys(("brake.proposals", "brake.recent"), b"rot")
            await at_host(jena, lambda host, rot=rot: host.store.set_meta(rot))
        assert (await jena.status())["proposals"] == []
        assert [notice.kind for notice in jena.driver.alarms] == ["proposal", "kept"]
        async with jena.transaction(author="a") as tx:
            (await tx.get(Patient, patients[0].id)).family_name = None
        assert {patient.family_name for patient in await jena.find(Patient)} == {None, "B"}
