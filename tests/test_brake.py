"""The brake: what passes, what it holds, and what becomes of that."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import Braked, NotFound, RefusedError, Site, limits
from crdtsync.brake import SETTING, Bounds, _same_person
from crdtsync.documents import Record
from crdtsync.errors import BadValue
from crdtsync.practice import Appointment, ChartEntry, Patient, Setting, Task
from tests.sites import add, agree, at_host, change, create, mesh, opened, practice

pytestmark = pytest.mark.anyio
MANY = 60


@pytest.fixture
async def jena(tmp_path: Path) -> AsyncIterator[Site]:
    async with create(tmp_path / "jena") as site:
        yield site


async def patients(site: Site, count: int = MANY) -> list[Patient]:
    found = [Patient(family_name=f"Muster{n}", given_name="Erika") for n in range(count)]
    await add(site, *found)
    return found


async def set_all(site: Site, records: Sequence[Record], author: str = "dr.weber", **fields: Any) -> Any:
    """Change many records in one transaction."""
    async with site.transaction(author=author, reason="tidying up", workstation="desk-1") as tx:
        for record in records:
            found = await tx.get(type(record), record.id)
            for name, value in fields.items():
                found.assign(name, value)
    return tx.commit


async def held(site: Site, records: Sequence[Record], author: str = "dr.weber", **fields: Any) -> str:
    with pytest.raises(Braked) as caught:
        await set_all(site, records, author, **fields)
    assert caught.value.proposal in str(caught.value)
    return caught.value.proposal


async def names(site: Site) -> set[str | None]:
    return {record.family_name for record in await site.find(Patient)}


async def test_what_overwrites_many_records_waits_and_nothing_else_does(jena: Site) -> None:
    records = await patients(jena)
    before = await jena.digest()
    proposal = await held(jena, records, family_name="Mustermann")
    assert await jena.digest() == before
    [told] = await jena.proposals()
    assert told["id"] == proposal and told["author"] == "dr.weber" and told["kinds"] == {"patient": MANY}
    assert told["confirmed_by"] is None and "overwrites 60 records" in told["why"]
    assert (await jena.status())["proposals"] == [told]
    assert [notice.kind for notice in jena.driver.alarms] == ["proposal"]
    await change(jena, records[0], given_name="Max")
    await add(jena, Patient(family_name="Neu"))
    done = await jena.approve(proposal, author="Schwester Anna")
    assert len(done["commits"]) == 1 and done["records"] == MANY
    assert await names(jena) == {"Mustermann", "Neu"}
    assert await jena.proposals() == []
    account = await at_host(jena, lambda host: host.engine.accounts(done["commits"])[done["commits"][0]])
    assert account.author == "dr.weber" and account.reason == "tidying up [confirmed by Schwester Anna]"


async def test_as_many_as_allowed_pass(jena: Site) -> None:
    records = await patients(jena, limits.overwritten_records_max)
    assert await set_all(jena, records, family_name="Neu") is not None
    assert await jena.proposals() == []


async def test_new_records_and_new_fields_overwrite_nothing(jena: Site) -> None:
    records = await patients(jena, 200)
    assert await set_all(jena, records, title="Dr.") is not None
    cancelled = [Appointment(calendar="A", status="cancelled") for _ in range(200)]
    await add(jena, *cancelled)
    assert await jena.proposals() == []


async def test_many_retractions_of_one_person_wait_whatever_their_transactions(jena: Site) -> None:
    """The first fifty pass; those beyond are one proposal. Another person goes on, and so does other work."""
    entries = [ChartEntry(type="note", draft="text") for _ in range(MANY)]
    await add(jena, *entries)
    proposals = []
    for entry in entries:
        try:
            await set_all(jena, [entry], retracted=True)
        except Braked as error:
            proposals.append(error.proposal)
    assert len(proposals) == MANY - limits.retractions_max and len(set(proposals)) == 1
    assert [notice.kind for notice in jena.driver.alarms] == ["proposal"]
    [told] = await jena.proposals()
    assert told["records"] == told["retractions"] == 10
    await set_all(jena, entries[-1:], author="dr.other", retracted=True)
    await set_all(jena, entries[-2:-1], draft="longer text")
    assert sum(entry.retracted for entry in await jena.find(ChartEntry)) == limits.retractions_max + 1
    assert len((await jena.approve(proposals[0], author="dr.other"))["commits"]) == 10
    assert all(entry.retracted for entry in await jena.find(ChartEntry))


async def test_counting_goes_on_over_a_restart(tmp_path: Path) -> None:
    """As where each transaction is a call of the command line of its own."""
    async with create(tmp_path / "jena") as jena:
        entries = [ChartEntry(type="note") for _ in range(MANY)]
        await add(jena, *entries)
        await set_all(jena, entries[:30], retracted=True)
    async with opened(tmp_path / "jena") as jena:
        await set_all(jena, entries[30:50], retracted=True)
        assert await jena.proposals() == []
    async with opened(tmp_path / "jena") as jena:
        proposal = await held(jena, entries[50:51], retracted=True)
        assert "51 things" in (await jena.proposals())[0]["why"]
    async with opened(tmp_path / "jena") as jena:
        await jena.approve(proposal, author="anna")
        assert sum(entry.retracted for entry in await jena.find(ChartEntry)) == 51


async def test_clearing_fields_removing_entries_and_emptying_texts_are_retractions(jena: Site) -> None:
    tags = [f"tag{n}" for n in range(30)]
    patient = Patient(family_name="Muster", tags=tags)
    tasks = [Task(title=f"Task {n}", note="text") for n in range(11)]
    await add(jena, patient, *tasks)
    async with jena.transaction(author="a") as tx:
        (await tx.get(Patient, patient.id)).tags.replace([])
    await set_all(jena, tasks[:10], author="a", title=None, note="")
    await held(jena, tasks[10:], author="a", title=None)
    assert len(await jena.find(Task, title=None)) == 10


async def test_the_same_person_cannot_confirm_and_nobody_cannot_either(jena: Site) -> None:
    proposal = await held(jena, await patients(jena), author="Dr. Weber", family_name="Neu")
    for who, sentence in (("Dr. Weber", "somebody else"), (" dr. weber ", "somebody else"), ("  ", "say who")):
        with pytest.raises(RefusedError, match=sentence):
            await jena.approve(proposal, author=who)
    assert len(await jena.proposals()) == 1 and await names(jena) == {f"Muster{n}" for n in range(MANY)}
    assert not _same_person("weber", "dr. weber")


async def test_what_is_rejected_is_gone(jena: Site) -> None:
    records = await patients(jena)
    proposal = await held(jena, records, family_name="Neu")
    told = await jena.reject(proposal)
    assert told["id"] == proposal and await jena.proposals() == []
    for act in (jena.reject(proposal), jena.approve(proposal, author="anna"), jena.proposal(proposal)):
        with pytest.raises(NotFound, match="no proposal"):
            await act
    assert "Neu" not in await names(jena)
    assert not await at_host(jena, lambda host: host.kept.has(f"brake.proposal.{proposal}.0"))


async def test_what_is_tried_again_is_the_same_proposal(jena: Site) -> None:
    records = await patients(jena)
    first = await held(jena, records, family_name="Neu")
    assert await held(jena, records, family_name="Neu") == first
    second = await held(jena, records, family_name="Anders")
    assert second != first and len(await jena.proposals()) == 2


async def test_a_second_person_sees_what_it_would_change(jena: Site) -> None:
    records = await patients(jena)
    proposal = await held(jena, records, family_name="Neu")
    await change(jena, records[0], family_name="Anders")
    told = await jena.proposal(proposal)
    changes = {each["record"]: each for each in told["changes"]}
    assert len(changes) == MANY
    assert changes[records[1].id] == {
        "record": records[1].id, "kind": "patient", "field": "family_name", "before": "Muster1", "after": "Neu",
    }  # fmt: skip


async def test_what_was_changed_meanwhile_stands_beside_what_is_confirmed(tmp_path: Path) -> None:
    """Here, and at another site that wrote unseen; and no entry is removed that nobody had seen."""
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar):
        records = await patients(jena)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        proposal = await held(jena, records, family_name="Neu")
        await change(jena, records[0], family_name="Hier")
        await change(weimar, records[1], family_name="Dort")
        await jena.approve(proposal, author="anna")
        async with mesh(jena, weimar):
            await agree(jena, weimar)
            for site in (jena, weimar):
                for number, other in ((0, "Hier"), (1, "Dort")):
                    found = await site.get(Patient, records[number].id)
                    assert sorted(found.conflicts["family_name"]) == [other, "Neu"]
                assert (await site.get(Patient, records[2].id)).family_name == "Neu"
            assert await weimar.proposals() == [], "what is held stays where it happened"


async def test_imports_pass(jena: Site) -> None:
    records = await patients(jena)
    async with jena.transaction(author="import", mass=True) as tx:
        for record in records:
            (await tx.get(Patient, record.id)).family_name = "Importiert"
    assert await names(jena) == {"Importiert"} and await jena.proposals() == []


async def test_the_practice_sets_how_much_passes_everywhere(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar):
        usual = dataclasses.asdict(Bounds())
        assert await jena.brake() == usual == {"retractions": 50, "seconds": 300, "records": 50}
        with pytest.raises(BadValue, match="from 1 on"):
            await jena.brake(records=0)
        assert await jena.brake(records=3, author="admin") == usual | {"records": 3}
        assert await jena.brake(retractions=2) == usual | {"records": 3, "retractions": 2}
        records = await patients(jena, 4)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        assert await weimar.brake() == usual | {"records": 3, "retractions": 2}
        await set_all(weimar, records[:3], family_name="Neu")
        await held(weimar, records, family_name="Anders")
        await set_all(weimar, records[:1], given_name=None, family_name=None)
        await held(weimar, records[:1], author="dr.weber", title="", archived=True)


@pytest.mark.parametrize("value", [None, "fast", [1], {"records": 0}, {"records": "9"}, {"records": True}, {"x": 1}])
async def test_a_setting_that_says_nothing_leaves_what_is_usual(jena: Site, value: Any) -> None:
    setting = Setting(key="brake", scope="practice", value=value)
    setting.id = SETTING
    await add(jena, setting)
    assert await jena.brake() == dataclasses.asdict(Bounds())


async def test_it_is_encrypted_on_disk(jena: Site) -> None:
    records = await patients(jena)
    await held(jena, records, author="dr.canary", family_name="Kanarienvogel")
    await change(jena, records[0], family_name=None)
    found = 0
    for file in jena.path.iterdir():
        if file.is_file():
            data = file.read_bytes()
            found += len(data)
            assert b"Kanarienvogel" not in data and b"dr.canary" not in data and b"somebody at" not in data, file
    assert found > 100_000


async def test_a_large_proposal_is_kept_in_pieces_and_written_as_one_transaction(jena: Site) -> None:
    records = await patients(jena, 2 * limits.kept_records_step + 1)
    proposal = await held(jena, records, family_name="Neu")
    done = await jena.approve(proposal, author="anna")
    assert len(done["commits"]) == 1 and await names(jena) == {"Neu"}
    assert not await at_host(jena, lambda host: host.kept.has(f"brake.proposal.{proposal}.2"))


async def test_two_people_who_confirm_at_once_write_it_once(jena: Site) -> None:
    task = Task(title="t", note="Anfang")
    records = await patients(jena)
    await add(jena, task)
    with pytest.raises(Braked) as caught:
        async with jena.transaction(author="a") as tx:
            for record in records:
                (await tx.get(Patient, record.id)).family_name = "Neu"
            (await tx.get(Task, task.id)).note.append(" Ende")
    written: list[Any] = []

    async def confirm(who: str) -> None:
        try:
            written.extend((await jena.approve(caught.value.proposal, author=who))["commits"])
        except RefusedError as error:
            written.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(confirm, "anna")
        tasks.start_soon(confirm, "bert")
    assert len([each for each in written if not isinstance(each, Exception)]) == 1
    assert str((await jena.get(Task, task.id)).note) == "Anfang Ende"
    assert await jena.proposals() == []


async def test_confirming_that_was_cut_short_is_ended_and_nothing_is_written_twice(tmp_path: Path) -> None:
    """As after a crash behind any of its transactions: each is taken out of the proposal by the commit that it is."""
    async with create(tmp_path / "jena") as jena:
        await jena.brake(retractions=1)
        tasks = [Task(title=f"{n}", assignee="anna", note="Anfang") for n in range(4)]
        await add(jena, *tasks)
        proposal = ""
        for task in tasks:
            with pytest.raises(Braked) as caught:
                async with jena.transaction(author="a") as tx:
                    found = await tx.get(Task, task.id)
                    found.title = found.assignee = None
                    found.note.append(" Ende")
            proposal = caught.value.proposal
        requests = await at_host(jena, lambda host: host.brake.confirm(proposal, "anna"))
        assert len(requests) == 4
        for request in requests[:2]:
            assert (await jena.driver.write(request)).commit is not None
        assert (await jena.driver.write(requests[0])).commit is None, "its ticket is gone"
    async with opened(tmp_path / "jena") as jena:
        [told] = await jena.proposals()
        assert told["confirmed_by"] == "anna"
        with pytest.raises(RefusedError, match="anna has confirmed"):
            await jena.reject(proposal)
        done = await jena.approve(proposal, author="anna")
        assert len(done["commits"]) == 2 and await jena.proposals() == []
        for task in tasks:
            assert str((await jena.get(Task, task.id)).note) == "Anfang Ende"


async def test_so_many_proposals_are_kept_and_no_more(jena: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "proposals_open_max", 2)
    records = await patients(jena)
    await held(jena, records, family_name="A")
    await held(jena, records, family_name="B")
    with pytest.raises(RefusedError, match="no more are kept") as caught:
        await set_all(jena, records, family_name="C")
    assert not isinstance(caught.value, Braked) and len(await jena.proposals()) == 2
    monkeypatch.setattr(limits, "proposal_bytes_max", 1000)
    monkeypatch.setattr(limits, "proposals_open_max", 9)
    with pytest.raises(RefusedError, match="as large as one may be"):
        await set_all(jena, records, family_name="D")
    assert len(await jena.proposals()) == 2
