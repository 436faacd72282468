"""Series of invoice numbers at real sites: founded, used, handed on, listed."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from crdtsync import AuthorityUnreachable, BadValue, NotFound, RefusedError, Site
from crdtsync.backup.restoring import restore
from crdtsync.documents import Entries
from crdtsync.practice import Invoice, InvoiceLine
from crdtsync.series import COLUMNS, as_csv
from crdtsync.storage import continuity
from tests.billing import PATTERN, explained, in_year, invoice, made_ready, number_of, numbered
from tests.sites import PASSPHRASE, add, agree, at_host, change, create, join, mesh, opened, practice

pytestmark = pytest.mark.anyio
MARCH = "2026-03-02T10:00:00+00:00"


@pytest.fixture
async def jena(tmp_path: Path) -> AsyncIterator[Site]:
    async with create(tmp_path / "jena") as site:
        await site.add_series("R1", PATTERN, author="admin")
        await in_year(site, MARCH)
        yield site


async def test_an_invoice_gets_its_number_once(jena: Site) -> None:
    record = await invoice(jena, 1072, 466)
    told = await jena.issue(record, "R1", author="empfang")
    assert told == {"number": "R1-2026-00001", "series": "R1", "term": 1}
    assert await jena.issue(record, "R1") == told == await jena.issue(record)
    found = await jena.get(Invoice, record)
    assert (found.number, found.status, found.series) == ("R1-2026-00001", "issued", "R1")
    content = found.issued_content
    assert content["content"]["recipient"] == "Erika Muster" and len(content["content"]["lines"]) == 2
    assert (content["term"], content["year"], content["n"], content["site"]) == (1, 2026, 1, "Jena")
    step = (await jena.history(record))[-1]
    assert {each["field"] for each in step["changes"]} == {"number", "issued_content", "status", "series"}
    assert step["author"] == "empfang"


async def test_what_no_series_can_be_is_refused(jena: Site) -> None:
    with pytest.raises(RefusedError, match="has a series r1 already"):
        await jena.add_series("r1", "r1/{n}")
    with pytest.raises(RefusedError, match=r"series R1 .* could give the same numbers"):
        await jena.add_series("R1-2026", "R1-2026-{n}")
    with pytest.raises(BadValue, match="must have the series' name"):
        await jena.add_series("R2", "RE-{n}")
    with pytest.raises(BadValue, match="from 1 on"):
        await jena.add_series("R2", "R2-{n}", start=0)
    with pytest.raises(NotFound, match="no site named Gera"):
        await jena.add_series("R2", "R2-{n}", holder="Gera")
    with pytest.raises(NotFound, match="no series R9"):
        await jena.add_series("R2", "R2-{n}", stands_in_for="R9")
    assert [each["name"] for each in await jena.series()] == ["R1"]


async def test_which_series_is_meant(jena: Site) -> None:
    record = await invoice(jena)
    assert (await jena.issue(record))["number"] == "R1-2026-00001"
    await jena.add_series("Privat", "{n}/Privat", start=17)
    with pytest.raises(BadValue, match="of which series"):
        await jena.issue(await invoice(jena))
    with pytest.raises(NotFound, match="no series R7"):
        await jena.issue(await invoice(jena), "R7")
    assert (await jena.issue(await invoice(jena), "privat"))["number"] == "17/Privat"
    assert (await jena.issue(await invoice(jena), "Privat"))["number"] == "18/Privat"
    with pytest.raises(NotFound):
        await jena.issue("a" * 26)


async def test_only_an_admin_sets_up_and_takes_over(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena") as [jena], jena.serve("127.0.0.1:0", only_peers=True) as serving:
        address = serving.address
        code = await jena.invite("Weimar", trust_code=True, admin=False)
        async with Site.join(tmp_path / "weimar", code, passphrase=PASSPHRASE) as weimar:
            await jena.add_series("R1", PATTERN)
            async with weimar.serve("127.0.0.1:0", peers=[address], only_peers=True):
                await agree(jena, weimar)
            with pytest.raises(RefusedError, match="no admin"):
                await weimar.add_series("R2", "R2-{n}")
            with pytest.raises(RefusedError, match="no admin"):
                await weimar.take_over("R1", reason="for fun")


async def test_what_is_ready_is_issued_by_itself_in_the_order_in_which_it_became_so(jena: Site) -> None:
    records = await made_ready(jena, count=4)
    assert await numbered(jena, *records) == [f"R1-2026-{n:05}" for n in range(1, 5)]
    assert (await jena.history(records[0]))[-1]["author"] == "empfang"
    assert [line["invoice"] for line in await explained(jena)] == records


async def test_an_invoice_that_is_undecided_waits_and_status_says_why(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        await jena.add_series("R1", PATTERN)
        record = await invoice(jena)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        made = await jena.get(Invoice, record)
        await change(jena, made, recipient="Erika Muster, Markt 1")
        await change(weimar, made, recipient="Erika Muster, Am Anger 2")
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        with pytest.raises(RefusedError, match=r"recipient of invoice .* is in conflict"):
            await jena.issue(record)
        async with jena.transaction() as tx:
            paper = await tx.get(Invoice, record)
            paper.series, paper.status = "R1", "ready"
        [waits] = (await jena.status())["invoices_waiting"]
        assert waits["invoice"] == record and "somebody must decide" in waits["why"]
        async with jena.transaction() as tx:
            (await tx.get(Invoice, record)).status = "draft"
        await change(jena, made, recipient="Erika Muster")
        assert (await jena.issue(record))["term"] == 1
        assert (await jena.status())["invoices_waiting"] == []


async def test_a_cancellation_takes_back_every_amount_under_a_number_of_its_own(jena: Site) -> None:
    record = await invoice(jena, 1072, 466)
    with pytest.raises(RefusedError, match="has no number"):
        await jena.cancel_invoice(record)
    await jena.issue(record)
    told = await jena.cancel_invoice(record, author="dr.weber", reason="wrong patient")
    assert told["number"] == "R1-2026-00002" and await jena.cancel_invoice(record) == told
    made = await jena.get(Invoice, told["invoice"])
    assert [line.amount_cents for line in made.lines] == [-1072, -466] and made.cancels == record
    first = await jena.get(Invoice, record)
    assert (first.status, first.number, first.conflicts) == ("cancelled", "R1-2026-00001", {})
    lines = await explained(jena)
    assert [line["cancelled_by"] for line in lines] == ["R1-2026-00002", None]
    with pytest.raises(RefusedError, match="itself a cancellation"):
        await jena.cancel_invoice(told["invoice"])


async def test_a_number_that_came_from_elsewhere_is_passed_over_and_explained(jena: Site) -> None:
    other = Invoice(number="R1-2026-00002", status="issued")
    await add(jena, other)
    told = [(await jena.issue(await invoice(jena)))["number"] for _ in range(2)]
    assert told == ["R1-2026-00001", "R1-2026-00003"]
    lines = await explained(jena)
    assert [line["gap"] for line in lines] == [None, "an invoice that came from elsewhere has this number", None]


async def test_the_audit_is_csv_and_json_alike(jena: Site) -> None:
    records = [await invoice(jena) for _ in range(2)]
    for record in records:
        await jena.issue(record)
    lines = await explained(jena)
    assert all(tuple(line) == COLUMNS for line in lines)
    rows = list(csv.DictReader(io.StringIO(as_csv(lines), newline="")))
    assert [(row["number"], row["invoice"], row["gap"]) for row in rows] == [
        ("R1-2026-00001", records[0], ""), ("R1-2026-00002", records[1], ""),
    ]  # fmt: skip
    with pytest.raises(NotFound):
        await jena.series_audit("R2")


async def test_a_series_is_handed_over_and_counted_on(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera]:
        await jena.add_series("R1", PATTERN)
        for site in (jena, weimar, gera):
            await in_year(site, MARCH)
        async with mesh(jena, weimar, gera):
            assert (await jena.issue(await invoice(jena)))["number"] == "R1-2026-00001"
            await agree(jena, weimar, gera)
            assert (await weimar.issue(await invoice(weimar)))["number"] == "R1-2026-00002"
            told = await jena.hand_over("R1", "Weimar", author="admin", reason="Jena is being rebuilt")
            assert (told["holder"], told["term"]) == ("Weimar", 1)
            await agree(jena, weimar, gera)
            assert (await jena.issue(await invoice(jena)))["number"] == "R1-2026-00003"
            # At a third site it is a wish, which the holder carries out.
            told = await jena.hand_over("R1", "Gera")
            assert (told["holder"], told["term"]) == ("Gera", 1)
            await agree(jena, weimar, gera)
            assert (await gera.issue(await invoice(gera)))["number"] == "R1-2026-00004"
            assert (await gera.hand_over("R1", "Gera"))["holder"] == "Gera"
        with pytest.raises(NotFound, match="no site named Apolda"):
            await gera.hand_over("R1", "Apolda")
        lines = await explained(gera)
        assert [line["holder"] for line in lines] == ["Jena", "Jena", "Weimar", "Gera"]
        [shown] = await gera.series()
        assert [each["how"] for each in shown["terms"]] == ["founded", "handed_over", "handed_over"]


async def test_whoever_cannot_be_reached_is_named(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        await jena.add_series("R1", PATTERN)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        record = await invoice(weimar)
        with pytest.raises(AuthorityUnreachable, match=r"Jena does not answer .*last heard: 2.* is ready") as caught:
            await weimar.issue(record, wait=0.05)
        assert caught.value.site == "Jena" and caught.value.since is not None
        [waits] = (await weimar.status())["invoices_waiting"]
        assert waits["series"] == "R1" and "Jena has the series R1" in waits["why"]
        with pytest.raises(AuthorityUnreachable, match="hands R1 over when it hears"):
            await weimar.hand_over("R1", "Weimar", wait=0.05)
        async with mesh(jena, weimar):
            [number] = await numbered(weimar, record)
            with anyio.fail_after(20):
                while not (await weimar.series())[0]["held_here"]:
                    await weimar.driver.changed.wait()
        assert number.endswith("-00001")


async def test_after_a_reboot_the_only_site_of_a_practice_gives_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with create(tmp_path / "jena") as jena:
        await jena.add_series("R1", PATTERN)
        await jena.issue(await invoice(jena))
    monkeypatch.setattr(continuity, "boot_session", lambda: "another start of the machine")
    async with opened(tmp_path / "jena") as jena:
        assert (await jena.issue(await invoice(jena)))["number"].endswith("-00002")
        assert not (await jena.status())["numbers"]["unconfirmed"]


async def test_after_a_reboot_numbers_wait_for_another_site_or_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with create(tmp_path / "jena") as jena:
        await jena.add_series("R1", PATTERN)
        await join(jena, tmp_path / "weimar", "Weimar")
        await jena.issue(await invoice(jena))
    monkeypatch.setattr(continuity, "boot_session", lambda: "another start of the machine")
    async with opened(tmp_path / "jena") as jena, opened(tmp_path / "weimar") as weimar:
        record = await invoice(jena)
        with pytest.raises(RefusedError, match=r"stays ready.*started anew"):
            await jena.issue(record)
        status = await jena.status()
        assert status["numbers"]["unconfirmed"] and "started anew" in status["numbers"]["refused"]
        with pytest.raises(RefusedError, match="started anew"):
            await jena.hand_over("R1", "Weimar")
        async with mesh(jena, weimar):
            [number] = await numbered(jena, record)
        assert number.endswith("-00002") and not (await jena.status())["numbers"]["unconfirmed"]
    monkeypatch.setattr(continuity, "boot_session", lambda: "and another one")
    async with opened(tmp_path / "jena") as jena:
        record = await invoice(jena)
        with pytest.raises(RefusedError, match="recover DIR --alone"):
            await jena.issue(record)
        await jena.recover(alone=True)
        [number] = await numbered(jena, record)
        assert number.endswith("-00003")


async def test_a_restored_holder_opens_its_next_term_itself(tmp_path: Path) -> None:
    """An older copy of the folder is put back while its proof is gone: what was given since is not known to it."""
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        await jena.add_series("R1", PATTERN)
        await in_year(jena, MARCH)
        given = [(await jena.issue(await invoice(jena)))["number"]]
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        await jena.backup(tmp_path / "old")
        given.append((await jena.issue(await invoice(jena)))["number"])  # nobody else hears of it
        shutil.rmtree(tmp_path / "jena")
    restore(tmp_path / "old", tmp_path / "again", PASSPHRASE)
    async with opened(tmp_path / "again") as jena, opened(tmp_path / "weimar") as weimar:
        await in_year(jena, MARCH)
        assert (await jena.status())["numbers"]["series_closed"]
        async with mesh(jena, weimar):
            await agree(jena, weimar)
            record = await invoice(jena)
            told = await jena.issue(record)
        assert told == {"number": "R1.51-2026-00001", "series": "R1", "term": 51}
        assert told["number"] not in given and not (await jena.status())["numbers"]["series_closed"]
        lines = await explained(jena)
        assert [(line["number"], line["gap"] is None) for line in lines] == [
            ("R1-2026-00001", True), (None, False), ("R1.51-2026-00001", True),
        ]  # fmt: skip
        assert lines[1]["n"] == 2 and "lost a part of its log" in lines[1]["gap"]


async def test_copies_of_one_disk_give_none_once_they_know_of_each_other(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        for name in ("Gera", "Weimar"):
            await join(jena, tmp_path / name.lower(), name)
        await jena.add_series("R1", PATTERN, holder="Weimar")
        async with opened(tmp_path / "weimar") as weimar, mesh(jena, weimar):
            await agree(jena, weimar)
        shutil.copytree(tmp_path / "weimar", tmp_path / "copy")
        async with opened(tmp_path / "weimar") as weimar, opened(tmp_path / "copy") as copy:
            await invoice(weimar)
            records = [await invoice(copy)]
            for one in (weimar, copy):
                async with mesh(jena, one):
                    await agree(jena, one)
            async with mesh(jena, weimar):
                await agree(jena, weimar)
            for one in (weimar, copy):
                with pytest.raises(RefusedError, match="runs twice"):
                    await one.issue(records[0])
                assert await number_of(one, records[0]) is None


async def test_nothing_is_due_when_nothing_has_changed(jena: Site) -> None:
    """What cannot be done is not tried again and again."""
    record = await invoice(jena)
    await jena.issue(record)
    before = jena.driver.replica.stored.head(jena.driver.replica.log)
    for _ in range(3):
        await invoice(jena)
    grant = jena.driver.grant()
    due = await at_host(jena, lambda host: jena.driver.duties.due(host, grant, host.now_ms()))
    assert due == []
    assert jena.driver.replica.stored.head(jena.driver.replica.log).sequence == before.sequence + 6


@pytest.mark.slow
async def test_a_thousand_invoices_are_issued_in_order(jena: Site) -> None:
    records = []
    for group in range(20):
        async with jena.transaction(author="empfang") as tx:
            for n in range(50):
                line = InvoiceLine(code="1", amount_cents=group * 50 + n)
                records.append(tx.add(Invoice(lines=Entries([line]), series="R1", status="ready")).id)
    with anyio.fail_after(120):
        while await jena.sql("SELECT 1 FROM invoice WHERE number IS NULL LIMIT 1"):
            await jena.driver.changed.wait()
    lines = await explained(jena)
    assert [line["n"] for line in lines] == list(range(1, 1001))
    order = {record: n for n, record in enumerate(records)}
    groups = [order[line["invoice"]] // 50 for line in lines]
    assert groups == sorted(groups), "those of one commit became ready at once, and follow their ids"
    assert (await jena.verify())["ok"]
