"""Which patients a workstation held, from the notes that its sites write before they give it anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crdtsync import Site, folder, held, limits, members
from crdtsync.documents import Entries, Record, Value, append_only, kinds
from crdtsync.errors import NotFound, RefusedError
from crdtsync.ids import RecordId, ReplicaId, base32, record_id_from
from crdtsync.practice import Patient, Task

from .sites import add, change, create

pytestmark = pytest.mark.anyio
NOBODY = RecordId("a" * 26)


@pytest.fixture
def note() -> Iterator[type[Record]]:
    """The kind of the notes: the practice's own where it declares it, else one of this shape."""
    known = kinds().get(held.KIND)
    if known is not None:
        yield known
        return

    class Given(Value):
        subjects: tuple[str, ...]
        since: str

    class GivenIds(Value):
        seed: str
        count: int
        since: str

    class WorkstationHolding(Record, kind=held.KIND):
        subjects: Entries[Given] = append_only()
        ids: Entries[GivenIds] = append_only(by=("seed",))

    yield WorkstationHolding


async def admit(site: Site, name: str, role: str = "workstation") -> ReplicaId:
    public = folder.new_keys().identity().public
    entry = members.entry_of(public, name=name, role=role)
    state = site.driver.replica.membership.state()
    await site.sign(lambda host, place: members.adding(host, place, state, entry))
    return public.replica


async def gave(
    site: Site, note: type[Record], desk: ReplicaId, since: str, *subjects: str, seed: str = "", number: int = 0
) -> None:
    """The site notes what it is about to give to a desk."""
    async with site.transaction() as tx:
        try:
            record = await tx.get(note, held.note_of(desk, number))
        except NotFound:
            record = note()
            record.id = held.note_of(desk, number)
            tx.add(record)
        if subjects:
            known = record.subjects.json()  # type: ignore[attr-defined]  # declared above
            record.assign("subjects", [*known, {"subjects": list(subjects), "since": since}])
        if seed:
            record.assign("ids", [{"seed": seed, "count": 10**12, "since": since}])


def test_a_note_is_found_by_the_replica_and_a_number() -> None:
    replica = ReplicaId(bytes(16))
    assert held.note_of(replica, 3) == record_id_from("workstation_holding", base32(replica), "3")


async def test_patients_are_listed_by_name_and_nothing_else_is(tmp_path: Path, note: type[Record]) -> None:
    async with create(tmp_path / "jena") as jena:
        desk = await admit(jena, "front desk")
        erika = Patient(family_name="Muster", given_name="Erika", title="Dr.")
        max_, task = Patient(family_name="Bauer", number=10_001), Task(title="call back")
        await add(jena, erika, max_, task)
        early, late = "2026-11-01T08:00:00+00:00", "2026-11-20T08:00:00+00:00"
        await gave(jena, note, desk, late, erika.id, max_.id, task.id)
        await gave(jena, note, desk, late, NOBODY, number=1)
        await gave(jena, note, desk, early, erika.id, number=1)
        rows = await jena.held_by("front desk")
        replica = base32(desk)
        assert [(row["id"], row["name"], row["number"]) for row in rows] == [
            (NOBODY, None, None),
            (max_.id, "Bauer", 10_001),
            (erika.id, "Dr. Erika Muster", None),
        ]
        assert rows[2]["since"].startswith("2026-11-01") and {row["replica"] for row in rows} == {replica}
        await change(jena, erika, family_name="Muster-Bauer")
        assert (await jena.held_by(replica))[2]["name"] == "Dr. Erika Muster-Bauer", "also by its replica's id"


async def test_also_after_it_was_revoked_and_another_one_has_its_name(tmp_path: Path, note: type[Record]) -> None:
    async with create(tmp_path / "jena") as jena:
        erika, max_ = Patient(family_name="Muster"), Patient(family_name="Bauer")
        await add(jena, erika, max_)
        old = await admit(jena, "front desk")
        await gave(jena, note, old, "2026-11-01T08:00:00+00:00", erika.id)
        await jena.revoke("front desk", "stolen")
        new = await admit(jena, "front desk")
        await gave(jena, note, new, "2026-11-02T08:00:00+00:00", max_.id)
        rows = await jena.held_by("front desk")
        assert [(row["name"], row["replica"]) for row in rows] == [("Bauer", base32(new)), ("Muster", base32(old))]
        assert [row["name"] for row in await jena.held_by(base32(old))] == ["Muster"]


async def test_one_that_was_given_nothing_held_nobody(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        await admit(jena, "front desk")
        assert await jena.held_by("front desk") == []


async def test_who_is_no_workstation(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        await admit(jena, "vault", "archive")
        with pytest.raises(RefusedError, match="Jena is no workstation but of the role site, which holds every record"):
            await jena.held_by("Jena")
        with pytest.raises(RefusedError, match="role archive, which holds sealed records, which it cannot read"):
            await jena.held_by("vault")
        for name in ("Gera", "recovery", ""):
            with pytest.raises(NotFound, match="`members` lists them"):
                await jena.held_by(name)


async def test_patients_that_it_registered_itself_are_among_them(
    tmp_path: Path, note: type[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the ids that it was given for records to come those count that became patients; a note that promises more ids
    than anybody gives is read to its bound (L7)."""
    monkeypatch.setattr(limits, "held_ids_max", 20)
    async with create(tmp_path / "jena") as jena:
        desk = await admit(jena, "front desk")
        await gave(jena, note, desk, "2026-11-01T08:00:00+00:00", seed="abc")
        erika, task = Patient(family_name="Muster"), Task(title="call back")
        erika.id, task.id = record_id_from("block", "abc", "7"), record_id_from("block", "abc", "8")
        await add(jena, erika, task)
        assert [(row["id"], row["name"]) for row in await jena.held_by("front desk")] == [(erika.id, "Muster")]
