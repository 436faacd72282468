"""Linking patients at a site: what it shows, what questions follow, what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from crdtsync import NotFound, RefusedError, Site, UnknownField, UsageError
from crdtsync.ids import RecordId, record_id
from crdtsync.persons import Person
from crdtsync.practice import Appointment, Patient, Task, Visit

from .sites import add, agree, create, mesh, opened, patience_s, practice

pytestmark = pytest.mark.anyio
PERSONS = "SELECT patient, person FROM person ORDER BY person, patient"


@pytest.fixture
async def jena(tmp_path: Path) -> AsyncIterator[Site]:
    async with create(tmp_path / "jena") as site:
        yield site


async def patients(site: Site, *names: str) -> list[RecordId]:
    """New patients, whose ids follow each other."""
    made = [Patient(family_name=name) for name in names]
    for number, patient in enumerate(made, 1):
        patient.id = record_id(bytes([8 * number] * 16))
    await add(site, *made)
    return [patient.id for patient in made]


async def test_linking_shows_one_person_and_unlinking_gives_both_back(jena: Site) -> None:
    one, two, three = await patients(jena, "Muster", "Muster", "Other")
    before = (await jena.get(Patient, one), await jena.get(Patient, two))
    linked = await jena.link(two, one, author="dr.weber", reason="same card")
    assert linked.persons == (Person((one, two)),) and linked.persons[0].id == one and linked.commit is not None
    assert await jena.persons() == [Person((one, two)), Person((three,))]
    assert await jena.persons(family_name="Muster") == await jena.persons(linked=True) == [Person((one, two))]
    assert await jena.persons(limit=1) == [Person((one, two))]
    assert await jena.persons(family_name="Other", linked=True) == []
    assert await jena.persons.linked(two) == (one, two) and await jena.persons.of(three) == Person((three,))
    assert len(await jena.find(Patient, family_name="Muster")) == 2, "records stay what they are"
    assert (await jena.link(one, two)).commit is None, "once is enough"

    parted = await jena.unlink(one, two, author="dr.weber", reason="twins")
    assert parted.persons == (Person((one,)), Person((two,))) and parted.commit is not None
    assert (await jena.get(Patient, one), await jena.get(Patient, two)) == before
    assert len(await jena.persons()) == 3 and await jena.persons(linked=True) == []
    with pytest.raises(NotFound, match="are not linked"):
        await jena.unlink(one, two)


async def test_questions_follow_the_links(jena: Site) -> None:
    one, two, three = await patients(jena, "a", "b", "c")
    await add(jena, *(Visit(patient=patient) for patient in (one, two, three)))
    await add(jena, Task(patient=two, title="call"), Appointment(title="nobody's"))
    assert [visit.patient for visit in await jena.find(Visit, patient=one)] == [one]
    await jena.link(one, two)
    assert {visit.patient for visit in await jena.find(Visit, patient=one)} == {one, two}
    assert {visit.patient for visit in await jena.find(Visit, patient=two)} == {one, two}
    assert [visit.patient for visit in await jena.find(Visit, patient=three)] == [three]
    assert len(await jena.find(Visit, patient=one, limit=1)) == 1
    assert [task.title for task in await jena.find(Task, patient=one, title="call")] == ["call"]
    assert await jena.find(Task, patient=one, title="other") == []
    assert len(await jena.find(Appointment, patient=None)) == 1
    assert await jena.sql(PERSONS) == [
        {"patient": one, "person": one},
        {"patient": two, "person": one},
        {"patient": three, "person": three},
    ]
    asked = "SELECT count(*) AS n FROM visit JOIN person USING (patient) WHERE person = ?"
    assert await jena.sql(asked, [one]) == [{"n": 2}]
    assert [patient.id for patient in await jena.find(Patient, same_as=[two])] == [one]


async def test_patients_linked_through_others_are_told_what_to_unlink(jena: Site) -> None:
    one, two, three, four = await patients(jena, "a", "b", "c", "d")
    await jena.link(one, two)
    await jena.link(three, two)
    await jena.link(three, four)
    assert await jena.persons.path(one, four) == [one, two, three, four]
    words = f"unlink {one} from {two}, or {two} from {three}, or {three} from {four}"
    with pytest.raises(RefusedError, match=words):
        await jena.unlink(one, four)
    await jena.link(four, one)
    still = await jena.unlink(two, three)
    assert still.persons == (Person((one, two, three, four)),), "they stay one around the other way"
    assert await jena.persons.path(one, four) == [one, four]


async def test_what_either_record_says_is_taken_back(jena: Site) -> None:
    """Applications may write `same_as` themselves, in either record or in both."""
    one, two = await patients(jena, "a", "b")
    async with jena.transaction(author="an import") as tx:
        (await tx.get(Patient, two)).same_as.add(one)
        (await tx.get(Patient, one)).same_as.add(two)
    assert await jena.persons() == [Person((one, two))]
    assert (await jena.unlink(one, two)).persons == (Person((one,)), Person((two,)))


async def test_what_cannot_be_linked(jena: Site) -> None:
    [one] = await patients(jena, "a")
    task = Task(title="call")
    await add(jena, task)
    with pytest.raises(UsageError, match="not with itself"):
        await jena.link(one, one)
    for other in (task.id, "nobody"):
        with pytest.raises(NotFound, match="no patient"):
            await jena.link(one, other)
        with pytest.raises(NotFound, match="no patient"):
            await jena.persons.of(other)
        assert await jena.persons.linked(other) == (other,)
    with pytest.raises(UnknownField):
        await jena.persons(shoe_size=42)
    assert (await jena.status())["commits"] == 2


async def test_links_are_the_same_at_every_site_and_after_opening_again(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera", "Weimar") as sites:
        jena, gera, weimar = sites
        one, two, three, four = await patients(jena, "a", "b", "c", "d")
        async with mesh(*sites):
            await agree(*sites)
        await jena.link(one, two, author="at jena")
        await gera.link(two, one, author="at gera")
        await gera.unlink(one, two)
        await weimar.link(three, four)
        await weimar.link(two, three)
        async with mesh(*sites):
            await agree(*sites)
        tables = [await site.sql(PERSONS) for site in sites]
        assert tables[0] == tables[1] == tables[2], "a link that its removal had not seen stays"
        assert [await site.persons() for site in sites] == [[Person((one, two, three, four))]] * 3
        assert not await jena.conflicts(), "nobody has to decide about a link beside its removal"
        await gera.unlink(one, two)
        async with mesh(*sites):
            await agree(*sites)
        assert [await site.persons() for site in sites] == [[Person((one,)), Person((two, three, four))]] * 3
    with anyio.fail_after(patience_s):
        async with opened(tmp_path / "gera") as again:
            assert len(await again.persons()) == 2
            await again.rebuild()
            assert len(await again.persons(linked=True)) == 1 and (await again.verify())["ok"]
