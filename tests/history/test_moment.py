"""`site.at(time)`: what a record said at any time, against what was seen then, and against what was written by then."""

from __future__ import annotations

import random
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crdtsync import Site
from crdtsync.clock import wall_ms
from crdtsync.documents import Content
from crdtsync.errors import NotFound, UnknownField, UsageError
from crdtsync.history.moment import content_at, milliseconds
from crdtsync.history.since import META_SINCE, note_since
from crdtsync.ids import record_id_from
from crdtsync.practice import Patient, Task
from tests.engine.sites import SiteRig, patient_of, record_of
from tests.sites import PASSPHRASE, add, agree, change, create, join, mesh, opened

RECORDS = 4
TIMES = 350
"""Times that are asked for in each random history; with three histories of 1, 2 and 3 sites more than 1,000 in all."""

Seen = list[tuple[int, Content | None]]


def random_history(rng: random.Random, sites: list[SiteRig], steps: int) -> dict[tuple[str, int], Seen]:
    """Random edits and exchange; what each site showed of each record after each step, with its clock then.

    Clocks of the sites differ by up to minutes, and each goes on by itself.
    """
    seen: dict[tuple[str, int], Seen] = {(site.name, n): [] for site in sites for n in range(RECORDS)}
    for site in sites:
        site.now_ms += rng.randint(0, 200_000)
    for _ in range(steps):
        site = rng.choice(sites)
        site.now_ms += rng.randint(0, 5_000)
        if len(sites) == 1 or rng.random() < 0.6:
            edit(rng, site)
        else:
            other = rng.choice([each for each in sites if each is not site])
            site.pull(other, upto=rng.randint(0, other.store.log_head().arrival))
            site.derive()
        for number in range(RECORDS):
            state = site.engine.record("patient", record_of(number))
            seen[site.name, number].append((site.now_ms, None if state is None else state.content))
        site.now_ms += 1
    return seen


def edit(rng: random.Random, site: SiteRig) -> None:
    number = rng.randrange(RECORDS)
    fresh = site.engine.record("patient", record_of(number)) is None
    patient = patient_of(number) if fresh else site.patient(number)
    act = rng.random()
    if act < 0.4:
        patient.title = f"t{rng.randint(0, 5)}"
    elif act < 0.6:
        patient.phones.add(f"0{rng.randint(0, 5)}")
    elif act < 0.7 and patient.phones.items():
        patient.phones.remove(patient.phones.items()[0][0])
    elif act < 0.9:
        patient.note.insert(rng.randint(0, len(patient.note)), rng.choice("abü€"))
    else:
        patient.title = None
    site.write_all([site.request(patient)])
    if rng.random() < 0.1:
        site.open()


def asked(site: SiteRig, number: int, ms: int, rule: str) -> Content | None:
    place = "patient", record_of(number)
    told = site.engine.told(*place, site.engine.arrivals_of(*place))
    content, why = content_at(place[1], told, ms, rule)  # type: ignore[arg-type]
    assert why == ""
    return content


@pytest.mark.parametrize("names", [("jena",), ("jena", "gera"), ("jena", "gera", "suhl")], ids=len)
def test_a_site_knows_what_it_showed_at_any_time(names: tuple[str, ...]) -> None:
    rng = random.Random(len(names))
    sites = [SiteRig(name) for name in names]
    seen = random_history(rng, sites, 120)
    differed = 0
    for _ in range(TIMES):
        site, number = rng.choice(sites), rng.randrange(RECORDS)
        shown = seen[site.name, number]
        ms = rng.randint(shown[0][0] - 1_000, shown[-1][0] + 1_000)
        at = bisect_right(shown, ms, key=lambda pair: pair[0])
        expected = shown[at - 1][1] if at else None
        assert asked(site, number, ms, "arrival") == expected
        differed += expected != shown[-1][1]
    assert differed > TIMES / 4, "times that differ from today were asked for"


@pytest.mark.parametrize("names", [("jena", "gera"), ("jena", "gera", "suhl")], ids=len)
def test_before_that_it_knows_what_had_been_written_alike_everywhere(names: tuple[str, ...]) -> None:
    """The model: a site that is given only what had been written by then."""
    rng = random.Random(len(names))
    sites = [SiteRig(name) for name in names]
    seen = random_history(rng, sites, 80)
    for _ in range(2):
        for site in sites:
            for other in sites:
                if site is not other:
                    site.pull(other)
            site.derive()
    first, last = min(s[0][0] for s in seen.values()), max(s[-1][0] for s in seen.values())
    for _ in range(40):
        ms = rng.randint(first - 1_000, last + 1_000)
        model = SiteRig("model")
        commits = [(s.commit, True) for s in sites[0].store.arrivals(0, 10**6, 10**9)]
        written = [(commit, ok) for commit, ok in commits if wall_ms(commit.header.stamp) <= ms]
        ids = [ref.key for commit, _ in written for ref in commit.header.parts if ref.introduces]
        model.engine.append(written, sites[0].engine.read_keys(ids), model.now())
        model.derive()
        for number in range(RECORDS):
            state = model.engine.record("patient", record_of(number))
            for site in sites:
                assert asked(site, number, ms, "written") == (None if state is None else state.content)


def test_times_need_a_zone() -> None:
    assert milliseconds("1970-01-01T01:00:01+01:00") == 1_000
    assert milliseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1_000
    for ms in range(1_700_000_000_000, 1_700_000_001_000):
        assert milliseconds(later(ms)) == milliseconds(later(ms).isoformat()) == ms
    for wrong in ("2026-11-23T08:30:00", datetime(2026, 1, 1), "yesterday"):
        with pytest.raises(UsageError):
            milliseconds(wrong)


def later(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


async def arrived(site: Site) -> int:
    """When the newest commit arrived at this site."""
    head = await site.driver.thread.run(lambda host: host.store.log_head().arrival)
    [stored] = await site.driver.thread.run(lambda host: host.store.arrivals(head - 1, 1, 1))
    return int(stored.arrived_ms)


async def tick(site: Site) -> None:
    """Let the wall clock of the next commit be another one."""
    now = await arrived(site)
    while await site.driver.thread.run(lambda host: host.now_ms()) <= now:
        pass


@pytest.mark.anyio
async def test_a_site_tells_what_it_knew(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = Patient(family_name="Muster", title="Dr.")
        await add(jena, patient, Task(title="call back"))
        first = await arrived(jena)
        await tick(jena)
        await change(jena, patient, family_name="Married")
        second = await arrived(jena)
        at = jena.at(later(first))
        assert (await at.get(Patient, patient.id)).family_name == "Muster"
        assert (await at.record(patient.id)).kind == "patient"
        assert (await jena.at(later(second)).get(Patient, patient.id)).family_name == "Married"
        assert [found.id for found in await at.find(Patient, family_name="Muster")] == [patient.id]
        assert await at.find(Patient, family_name="Married") == []
        assert [found.id for found in await jena.at(later(second)).find(Patient, family_name="Married")] == [patient.id]
        assert len(await at.find("task", limit=1)) == 1
        assert await at.rule() == "arrival"
        with pytest.raises(NotFound):
            await jena.at(later(first - 1)).get(Patient, patient.id)
        with pytest.raises(NotFound):
            await at.get(Patient, record_id_from("nobody"))
        with pytest.raises(UnknownField):
            await at.find(Patient, shoe_size=44)


@pytest.mark.anyio
async def test_a_new_site_reads_the_time_before_it_by_when_things_were_written(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = Patient(family_name="Muster")
        await add(jena, patient)
        first = await arrived(jena)
        await tick(jena)
        await change(jena, patient, family_name="Married")
        await tick(jena)
        await join(jena, tmp_path / "gera", "Gera")
        async with opened(tmp_path / "gera") as gera:
            assert await gera.at(later(first)).rule() == "written", "it never heard of anybody"
            async with mesh(jena, gera):
                await agree(jena, gera)
                await note_since(gera)
            since = int(await gera.driver.thread.run(lambda host: host.store.meta(META_SINCE)))
            assert since >= await arrived(gera) > first
            at = gera.at(later(first))
            assert await at.rule() == "written"
            assert (await at.get(Patient, patient.id)).family_name == "Muster"
            assert await gera.at(later(since)).rule() == "arrival"
            await change(jena, patient, family_name="Widowed")
            written = await arrived(jena)
            await tick(gera)
            async with mesh(jena, gera):
                await agree(jena, gera)
            if written >= since:
                assert (await gera.at(later(written)).get(Patient, patient.id)).family_name == "Married"
            assert (await gera.at(later(await arrived(gera))).get(Patient, patient.id)).family_name == "Widowed"
    async with Site.open(tmp_path / "gera", passphrase=PASSPHRASE) as gera:
        assert await gera.at(later(since)).rule() == "arrival", "it is kept"
