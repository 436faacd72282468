"""Promises of `Site`: making, opening, writing, reading, waiting."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from crdtsync import (
    AlreadyOpen,
    BadValue,
    DamagedFile,
    NotFound,
    RefusedError,
    Site,
    StorageFailure,
    UnknownField,
    UnknownKind,
    UsageError,
    WrongPassphrase,
)
from crdtsync.ids import replica_of
from crdtsync.practice import Dosage, MedicationStatement, Patient, Task, Visit

from .sites import (
    PASSPHRASE,
    add,
    agree,
    at_host,
    cancelled_at,
    change,
    create,
    join,
    linked,
    mesh,
    opened,
    patience_s,
    practice,
)

pytestmark = pytest.mark.anyio
PLACES = range(1, 200)
"""More places to wait at than anything here has."""


@pytest.fixture
async def jena(tmp_path: Path) -> AsyncIterator[Site]:
    async with create(tmp_path / "jena") as site:
        yield site


class Boom(Exception):
    """An application's own error."""


# -- making and opening ----------------------------------------------------------------------------------------------


async def test_a_new_site_has_a_name_and_its_recovery_sheet_once(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as site:
        assert (site.practice, site.name) == ("Praxis am Markt", "Jena")
        assert site.recovery_sheet is not None and "Praxis am Markt" in site.recovery_sheet
        assert [(m["name"], m["role"], m["admin"], m["state"]) for m in site.members()] == [
            ("Jena", "site", True, "active")
        ]
        assert site.kdf_fast and site.serving is None
    async with opened(tmp_path / "jena") as site:
        assert site.recovery_sheet is None and site.name == "Jena"


async def test_a_folder_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "jena").mkdir()
    (tmp_path / "jena" / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(RefusedError, match="is not empty"):
        async with create(tmp_path / "jena"):
            pass
    assert (tmp_path / "jena" / "letter.txt").read_text(encoding="utf-8") == "dear"
    with pytest.raises(BadValue, match="name of a site"):
        async with create(tmp_path / "gera", name="  "):
            pass
    assert os.listdir(tmp_path) == ["jena"]


async def test_a_cancelled_creation_leaves_no_folder(tmp_path: Path) -> None:
    """Wherever it is cancelled: either the block was entered, or there is nothing."""
    for place in PLACES:
        entered = False

        async def work(folder: Path) -> None:
            nonlocal entered
            async with create(folder):
                entered = True

        folder = tmp_path / str(place)
        finished = await cancelled_at(place, work(folder))
        assert os.listdir(tmp_path) == ([folder.name] if entered else []), place
        if finished:
            break
        shutil.rmtree(folder, ignore_errors=True)
    else:
        raise AssertionError("it never came to its end")


async def test_a_cancelled_joining_leaves_no_folder(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as host, host.serve():
        for place in PLACES:
            code = await host.invite(f"Gera {place}", trust_code=True)
            entered = False

            async def work(code: str) -> None:
                nonlocal entered
                async with Site.join(tmp_path / "gera", code, passphrase=PASSPHRASE):
                    entered = True

            finished = await cancelled_at(place, work(code))
            assert sorted(os.listdir(tmp_path)) == (["gera", "jena"] if entered else ["jena"]), place
            shutil.rmtree(tmp_path / "gera", ignore_errors=True)
            if finished:
                break
        else:
            raise AssertionError("it never came to its end")


async def test_one_process_at_a_time(jena: Site) -> None:
    with pytest.raises(AlreadyOpen):
        async with opened(jena.path):
            pass
    async with jena.transaction() as tx:
        tx.add(Patient(family_name="Muster"))
    assert await jena.record_count() == {"patient": 1}


async def test_what_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"replica\.key"):
        async with opened(tmp_path):
            pass
    folder = tmp_path / "jena"
    async with create(folder):
        pass
    with pytest.raises(WrongPassphrase):
        async with Site.open(folder, passphrase="battery staple"):
            pass
    key = (folder / "replica.key").read_bytes()
    (folder / "replica.key").write_bytes(key[:-1] + bytes([key[-1] ^ 1]))
    with pytest.raises((DamagedFile, WrongPassphrase)):
        async with opened(folder):
            pass
    (folder / "replica.key").write_bytes(key)
    async with opened(folder) as site:
        assert site.name == "Jena"


async def test_a_log_without_membership_is_damaged(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as first, create(tmp_path / "gera") as second:
        assert first.practice_id != second.practice_id
    for file in (tmp_path / "gera").glob("log.db*"):
        file.unlink()
    with pytest.raises(DamagedFile, match=r"log\.db is missing"):
        async with opened(tmp_path / "gera"):
            pass
    assert (tmp_path / "gera" / "replica.key").exists()


async def test_errors_of_the_block_arrive_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(Boom):
        async with create(tmp_path / "jena"):
            raise Boom
    with pytest.raises(Boom):
        async with opened(tmp_path / "jena") as site, site.serve():
            raise Boom
    async with opened(tmp_path / "jena") as site:
        with pytest.raises(Boom):
            async with site.serve():
                raise Boom
        with pytest.raises(Boom):
            async with site.transaction() as tx:
                tx.add(Patient(family_name="Muster"))
                raise Boom
        assert site.serving is None
        assert await site.find(Patient) == []


async def test_what_is_closed_says_so(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as site:
        pass
    with anyio.fail_after(patience_s):
        with pytest.raises(UsageError, match="closed"):
            await add(site, Patient(family_name="Muster"))
        with pytest.raises(UsageError, match="closed"):
            await site.get(Patient, "a" * 26)
        with pytest.raises(UsageError, match="closed"):
            await site.verify()
        with pytest.raises(UsageError, match="closed"):
            await anext(site.changes())


async def test_nobody_waits_for_ever_on_a_site_that_closes(tmp_path: Path) -> None:
    """Transactions, feeds and waits of other tasks end with the site."""
    raised: list[BaseException] = []

    async def attempt(work: Any) -> None:
        try:
            await work
        except UsageError as error:
            raised.append(error)

    async def feed(site: Site, started: anyio.Event) -> None:
        started.set()
        async for _ in site.changes():
            pass

    with anyio.fail_after(patience_s):
        async with anyio.create_task_group() as tasks, create(tmp_path / "jena") as site:
            commit = await add(site, Patient(family_name="Muster"))
            await join(site, tmp_path / "gera", "Gera")
            started = anyio.Event()
            tasks.start_soon(attempt, feed(site, started))
            tasks.start_soon(attempt, site.wait_for(commit, sites=2))
            await started.wait()
            async with anyio.create_task_group() as inner:
                for number in range(3):
                    inner.start_soon(add, site, Patient(family_name=f"Muster {number}"))
    assert len(raised) == 2 and all("closed" in str(error) for error in raised)


# -- boots (L4) ------------------------------------------------------------------------------------------------------


async def boot(site: Site) -> tuple[bytes, bool]:
    found: tuple[bytes, bool] = await at_host(site, lambda host: (host.log, host.continued))
    return found


async def test_a_log_goes_on_after_a_clean_close_only(tmp_path: Path) -> None:
    folder, state = tmp_path / "jena", Path(os.environ["CRDTSYNC_STATE_DIR"])
    async with create(folder) as site:
        await add(site, Patient(family_name="Muster"))
        first, continued = await boot(site)
        assert not continued
    async with opened(folder) as site:
        assert await boot(site) == (first, True)
        assert (await add(site, Patient(family_name="Muster"))).log == first
    for file in state.iterdir():
        file.unlink()
    async with opened(folder) as site:
        second, continued = await boot(site)
        assert second != first and not continued and replica_of(second) == replica_of(first)  # type: ignore[arg-type]
        await add(site, Patient(family_name="Muster"))
        assert (await site.verify())["ok"]
        assert len((await site.status())["frontier"]) == 2


async def test_a_copied_folder_and_its_original_both_write(tmp_path: Path) -> None:
    """One replica came to be two: both write, both join back one after the other, nothing is lost or written twice."""
    async with create(tmp_path / "jena") as jena:
        await join(jena, tmp_path / "gera", "Gera")
        first = Patient(family_name="Muster")
        await add(jena, first)
        async with opened(tmp_path / "gera") as gera, mesh(jena, gera):
            await agree(jena, gera)
    shutil.copytree(tmp_path / "gera", tmp_path / "copy")
    async with opened(tmp_path / "gera") as gera, opened(tmp_path / "copy") as copy:
        assert (await boot(gera))[1] and not (await boot(copy))[1]
        await change(gera, first, title="from the original")
        await change(copy, first, title="from the copy")
        await add(gera, Patient(family_name="Original"))
        await add(copy, Patient(family_name="Copy"))
        async with opened(tmp_path / "jena") as jena:
            for site in (gera, copy, gera):
                async with mesh(jena, site):
                    await agree(jena, site)
            assert await agree(jena, gera, copy)
            assert {p.family_name for p in await jena.find(Patient)} == {"Muster", "Original", "Copy"}
            titles = (await jena.get(Patient, first.id)).conflicts["title"]
            assert sorted(titles) == ["from the copy", "from the original"]
            for site in (jena, gera, copy):
                assert not site.driver.replica.frozen
                assert (await site.verify())["problems"] == []


async def test_an_older_copy_of_the_folder_fetches_what_it_had_written(tmp_path: Path) -> None:
    """A disk that was set back knows of a peer what it wrote since; it never writes a sequence a second time (L3)."""
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        await add(gera, Patient(family_name="kept"))
        async with mesh(jena, gera):
            await agree(jena, gera)
    shutil.copytree(tmp_path / "gera", tmp_path / "older")
    async with opened(tmp_path / "jena") as jena, opened(tmp_path / "gera") as gera, mesh(jena, gera):
        await add(gera, Patient(family_name="written since"))
        await agree(jena, gera)
    shutil.rmtree(tmp_path / "gera")
    (tmp_path / "older").rename(tmp_path / "gera")
    async with opened(tmp_path / "jena") as jena, opened(tmp_path / "gera") as gera:
        await add(gera, Patient(family_name="after the restore"))
        async with mesh(jena, gera):
            await agree(jena, gera)
        names = {p.family_name for p in await gera.find(Patient)}
        assert names == {"kept", "written since", "after the restore"}
        assert not jena.driver.replica.frozen and not gera.driver.replica.frozen


# -- writing ---------------------------------------------------------------------------------------------------------


async def test_reading_sees_what_was_written(jena: Site) -> None:
    """Read-your-writes, in every way of asking."""
    for number in range(5):
        commit = await add(jena, Patient(family_name=f"Muster{number}", phones=[]), author="dr.weber")
        assert commit.sequence == number + 1
        assert (await jena.find(Patient, family_name=f"Muster{number}"))[0].family_name == f"Muster{number}"
        assert len(await jena.sql("SELECT * FROM patient")) == number + 1
        assert [type(r) for r in await jena.search(f"muster{number}")] == [Patient]
    assert (await jena.digest())["records"] == 5


async def test_a_transaction_without_changes_is_no_commit(jena: Site) -> None:
    patient = Patient(family_name="Muster")
    await add(jena, patient)
    async with jena.transaction() as tx:
        found = await tx.get(Patient, patient.id)
        found.family_name = "Muster"
    assert tx.commit is None
    await jena.wait_for(tx.commit, sites=1)
    assert (await jena.status())["commits"] == 1


async def test_a_cancelled_transaction_is_whole_or_not_at_all(jena: Site) -> None:
    whole = 0
    for place in PLACES:
        tag = f"at {place}"

        async def work(tag: str) -> None:
            async with jena.transaction() as tx:
                patient = tx.add(Patient(family_name=tag))
                tx.add(Task(title=tag, patient=patient.id))

        finished = await cancelled_at(place, work(tag))
        patients, tasks = await jena.find(Patient, family_name=tag), await jena.find(Task, title=tag)
        assert len(patients) == len(tasks) <= 1 and (not finished or patients), place
        whole += len(patients)
        if finished:
            break
    before = await jena.digest()
    assert before["records"] == 2 * whole and whole > 0
    assert (await jena.verify())["ok"]
    assert await jena.rebuild() == before
    await add(jena, Patient(family_name="after"))


async def test_a_loop_of_transactions_ends_when_it_is_cancelled(jena: Site) -> None:
    """Each waits shielded for its own end; the next one does not begin."""
    written = 0
    with anyio.move_on_after(60) as scope:
        while True:
            async with jena.transaction(author="dr.weber") as tx:
                tx.add(Patient(family_name="Muster"))
            written += 1
            if written == 3:
                scope.cancel()
    assert written == 3


async def test_a_transaction_that_is_cancelled_inside_its_block_writes_nothing(jena: Site) -> None:
    with anyio.CancelScope() as scope:
        async with jena.transaction() as tx:
            tx.add(Patient(family_name="Muster"))
            scope.cancel()
            await jena.find(Patient)
    assert await jena.find(Patient) == [] and tx.commit is None


async def test_two_transactions_that_overwrite_one_field_are_a_conflict(jena: Site) -> None:
    """Both had read the same value, so neither has seen the other: both values are kept, at one site too."""
    patient = Patient(family_name="Muster", title="Dr.")
    await add(jena, patient)
    async with jena.transaction(author="desk 1") as first, jena.transaction(author="desk 2") as second:
        (await first.get(Patient, patient.id)).title = "Prof."
        (await second.get(Patient, patient.id)).title = "Dr. Dr."
    found = await jena.get(Patient, patient.id)
    assert sorted(found.conflicts["title"]) == ["Dr. Dr.", "Prof."]
    [conflict] = await jena.conflicts()
    assert (conflict["field"], sorted(conflict["values"]), conflict["records"]) == (
        "title",
        ["Dr. Dr.", "Prof."],
        [patient.id],
    )
    await change(jena, patient, title="Prof. Dr.")
    assert await jena.conflicts() == [] and (await jena.get(Patient, patient.id)).title == "Prof. Dr."


async def test_transactions_that_wait_together_share_a_sync(jena: Site) -> None:
    appends: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def count(host: Any) -> None:
        append = host.store.append

        def counted(commits: Any, *rest: Any) -> Any:
            appends.append(len(commits))
            return append(commits, *rest)

        host.store.append = counted

    await at_host(jena, count)

    def hold(host: Any) -> None:
        begun.set()
        go_on.wait(patience_s)

    with anyio.fail_after(patience_s):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jena.driver.in_order, hold)
            await anyio.to_thread.run_sync(begun.wait)
            for number in range(50):
                tasks.start_soon(add, jena, Patient(family_name=f"Muster{number}"))
            while len(jena.driver._pending) < 50:
                await anyio.lowlevel.checkpoint()
            go_on.set()
    assert appends == [50]
    assert len(await jena.find(Patient)) == 50


async def test_one_bad_request_of_a_group_fails_alone(jena: Site) -> None:
    failed: list[BaseException] = []

    async def write(reason: str) -> None:
        try:
            async with jena.transaction(reason="x") as tx:
                tx.add(Patient(family_name=reason))
                tx._about = ("", "x" * 5_000, "", "") if reason == "bad" else tx._about
        except BadValue as error:
            failed.append(error)

    async with anyio.create_task_group() as tasks:
        for reason in ("good", "bad", "fine"):
            tasks.start_soon(write, reason)
    assert {p.family_name for p in await jena.find(Patient)} == {"good", "fine"} and len(failed) == 1


# -- a disk that refuses ----------------------------------------------------------------------------------------------


async def test_a_disk_that_refuses(tmp_path: Path) -> None:
    """Every write says what the disk said, the disk is not asked again, and reading goes on."""
    async with create(tmp_path / "jena") as jena:
        patient = Patient(family_name="Muster")
        commit = await add(jena, patient)
        asked = 0

        def refuse(host: Any) -> None:
            def append(*given: Any) -> Any:
                nonlocal asked
                asked += 1
                raise StorageFailure("log.db cannot be written (No space left on device); make room, then open again")

            host.store.append = append

        await at_host(jena, refuse)
        with anyio.fail_after(patience_s):
            async with jena.serve() as serving:
                for _ in range(3):
                    with pytest.raises(StorageFailure, match="No space left"):
                        await add(jena, Patient(family_name="lost"))
                with pytest.raises(StorageFailure, match="No space left"):
                    await jena.verify()
                with pytest.raises(StorageFailure, match="No space left"):
                    await serving.publish_address(["10.0.0.1:7"])
                with pytest.raises(StorageFailure, match="No space left"):
                    await jena.wait_for(commit.__class__(commit.log, 9), sites=1)
                assert (await jena.get(Patient, patient.id)).family_name == "Muster"
                assert len(await jena.sql("SELECT * FROM patient")) == 1
                status = await jena.status()
                assert "No space left" in status["failure"] and status["records"] == {"patient": 1}
                assert [notice.kind for notice in jena.driver.alarms] == ["storage"]
                feed = jena.changes()
                assert (await anext(feed)).id == patient.id
                with pytest.raises(StorageFailure):
                    await anext(feed)
        assert asked == 1
    async with opened(tmp_path / "jena") as jena:
        assert [p.family_name for p in await jena.find(Patient)] == ["Muster"]
        await add(jena, Patient(family_name="again"))


async def test_a_view_that_cannot_follow_its_log_is_read_as_it_stands(tmp_path: Path) -> None:
    """The log has taken a commit when the view finds no room: reads and status answer without it, and say why."""
    with anyio.fail_after(patience_s):
        async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
            patient = Patient(family_name="Muster")
            await add(jena, patient)
            async with mesh(jena, weimar):
                await agree(jena, weimar)

                def full(host: Any) -> None:
                    def commit_view(state: Any) -> None:
                        host.store._failure = "view.db: database or disk is full; make room, then open again"
                        host.store._check()

                    host.store.commit_view = commit_view

                await at_host(weimar, full)
                await add(jena, Patient(family_name="later"))
                while weimar.driver.failure is None:
                    await weimar.driver.changed.wait()
                assert [p.family_name for p in await weimar.find(Patient)] == ["Muster"]
                status = await weimar.status()
                assert status["commits"] == 2 and status["derived"] == 1
                assert "make room" in status["failure"] and status["records"] == {"patient": 1}
                assert await weimar.record_count() == {"patient": 1}
                assert (await weimar.digest())["records"] == 1
                with pytest.raises(StorageFailure, match="full"):
                    await weimar.wait_until_current()
        async with opened(tmp_path / "weimar") as weimar:
            assert len(await weimar.find(Patient)) == 2


async def test_a_view_that_is_lost_or_damaged_is_derived_again(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        await add(jena, *[Patient(family_name=f"Muster{n}") for n in range(20)])
        digest = await jena.digest()
    for damage in ("lost", "damaged", "cut", "foreign"):
        for wal in (tmp_path / "jena").glob("view.db-*"):
            wal.unlink()
        view = tmp_path / "jena" / "view.db"
        if damage == "lost":
            view.unlink()
        elif damage == "damaged":
            data = bytearray(view.read_bytes())
            data[100:5000] = bytes(4900)
            view.write_bytes(data)
        elif damage == "cut":
            view.write_bytes(view.read_bytes()[:5000])
        else:
            view.write_bytes(b"not a database at all" * 500)
        async with opened(tmp_path / "jena") as jena:
            assert len(await jena.find(Patient)) == 20, damage
            assert await jena.digest() == digest, damage


# -- reading ---------------------------------------------------------------------------------------------------------


async def test_what_is_not_there_or_not_known(jena: Site) -> None:
    with pytest.raises(NotFound, match="no patient with the id"):
        await jena.get(Patient, "a" * 26)
    with pytest.raises(NotFound):
        await jena.record("a" * 26)
    with pytest.raises(UnknownKind):
        await jena.find("submarine")
    with pytest.raises(UnknownField, match="colour"):
        await jena.find(Patient, colour="red")
    with pytest.raises(UsageError, match="read"):
        await jena.sql("DELETE FROM patient")


async def test_every_change_is_told_once_and_a_cursor_goes_on(tmp_path: Path) -> None:
    patients = [Patient(family_name=f"Muster{n}") for n in range(3)]
    async with create(tmp_path / "jena") as jena:
        for patient in patients:
            await add(jena, patient)
        await change(jena, patients[0], title="Dr.")
        feed = jena.changes()
        told = [await anext(feed) for _ in range(3)]
        assert [c.id for c in told] == [patients[1].id, patients[2].id, patients[0].id]
        resumed = jena.changes(since=told[0].cursor)
        assert [(await anext(resumed)).id for _ in range(2)] == [c.id for c in told[1:]]
        with anyio.fail_after(patience_s):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_later, jena, patients[1])
                live = await anext(feed)
        assert live.id == patients[1].id and (await jena.get(Patient, live.id)).title == "later"
    async with opened(tmp_path / "jena") as jena:
        feed = jena.changes(since=told[-1].cursor)
        assert (await anext(feed)).id == patients[1].id
        with pytest.raises(UsageError, match="cursor"):
            await anext(jena.changes(since="yesterday"))


async def _later(site: Site, patient: Patient) -> None:
    await change(site, patient, title="later")


async def test_a_live_feed_misses_nothing(jena: Site) -> None:
    """A change that comes while the feed is asking is told as well."""
    told: list[str] = []
    wanted = 60
    ids: list[str] = []

    async def follow() -> None:
        async for found in jena.changes():
            told.append(found.id)
            if len(told) == wanted:
                return

    with anyio.fail_after(patience_s):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            for number in range(wanted):
                patient = Patient(family_name=f"Muster{number}")
                await add(jena, patient)
                ids.append(patient.id)
                while len(told) < len(ids) - 1:  # one is always on its way
                    await anyio.lowlevel.checkpoint()
    assert sorted(told) == sorted(ids)


async def test_what_comes_while_the_feed_asks_is_told(jena: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very moment: the answer is empty, and on its way back something changes."""
    ask = jena._questions.changes
    late = Patient(family_name="late")

    async def answer(after: Any) -> Any:
        found = await ask(after)
        if not found and not late.id:
            await add(jena, late)
        return found

    monkeypatch.setattr(jena._questions, "changes", answer)
    with anyio.fail_after(patience_s):
        assert (await anext(jena.changes())).id == late.id


# -- waiting for others -----------------------------------------------------------------------------------------------


async def test_alone_a_site_is_current_at_once(jena: Site) -> None:
    with anyio.fail_after(patience_s):
        await jena.wait_until_current()
    with pytest.raises(UsageError, match="does not have 2 sites"):
        await jena.wait_for(await add(jena, Patient(family_name="Muster")), sites=2)


async def test_waiting_until_current(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        for number in range(30):
            await add(jena, Patient(family_name=f"Muster{number}"))
        with pytest.raises(UsageError, match="does not serve"):
            await gera.wait_until_current()
        with anyio.fail_after(patience_s):
            async with gera.serve(only_peers=True) as serving:
                with anyio.move_on_after(0.05) as scope:
                    await gera.wait_until_current()
                assert scope.cancelled_caught, "nobody was heard"
                async with jena.serve(peers=[serving.address], only_peers=True):
                    await gera.wait_until_current()
                    assert gera.driver.view_arrival == 30
                    assert len(await gera.find(Patient)) == 30


async def test_waiting_for_others_to_have_a_commit(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        commit = await add(jena, Patient(family_name="Muster"))
        await jena.wait_for(commit, sites=1)
        with anyio.fail_after(patience_s):
            async with mesh(jena, gera):
                await jena.wait_for(commit, sites=2)
                assert gera.driver.replica.stored.sequence(commit.log) == commit.sequence
                again = await add(gera, Patient(family_name="Muster"))
                await gera.wait_for(again, sites=2)
                await linked(jena, 1)
                assert len(await jena.find(Patient)) == 2


async def test_what_is_written_apart_is_kept(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        statement = MedicationStatement(dosage=Dosage(morning=1))
        await add(jena, statement)
        async with mesh(jena, gera):
            await agree(jena, gera)
        await change(jena, statement, dosage=Dosage(morning=2))
        await change(gera, statement, dosage=Dosage(morning=0.5))
        async with mesh(jena, gera):
            await agree(jena, gera)
        for site in (jena, gera):
            found = await site.get(MedicationStatement, statement.id)
            assert sorted(d.morning for d in found.conflicts["dosage"]) == [0.5, 2.0]
        assert [c["id"] for c in await jena.conflicts()] == [c["id"] for c in await gera.conflicts()]


# -- care ------------------------------------------------------------------------------------------------------------


async def test_verifying_and_rebuilding_tell_how_far_they_are(jena: Site) -> None:
    await add(jena, Patient(family_name="Muster"), Visit(reason="cough"))
    told: list[tuple[int, int | None]] = []
    result = await jena.verify(progress=lambda done, total: told.append((done, total)))
    assert result == {"ok": True, "commits": 1, "records": 2, "problems": []}
    before = await jena.digest()
    assert await jena.rebuild(progress=lambda done, total: told.append((done, total))) == before
    assert told and told[-1] == (1, 1)


async def test_a_site_serves_once_at_a_time(jena: Site) -> None:
    async with jena.serve():
        with pytest.raises(UsageError, match="serves already"):
            async with jena.serve():
                pass
    async with jena.serve():
        assert jena.serving is not None
