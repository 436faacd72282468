"""Importing into a site: once, twice, at two sites apart, interrupted, and refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crdtsync import Site, limits
from crdtsync.documents import Document, fields_json, read
from crdtsync.errors import UsageError
from crdtsync.interop.fhir import import_files
from crdtsync.interop.fhir.importing import _Run
from crdtsync.practice import Observation, Patient

from .bundles import CONCEPT, SUBJECT, bundle, patient, resource, save
from .fake_site import FakeSite

pytestmark = pytest.mark.anyio


@pytest.fixture
def site() -> Iterator[FakeSite]:
    site = FakeSite()
    yield site
    site.close()


@pytest.fixture
def other() -> Iterator[FakeSite]:
    site = FakeSite(tag="bbbbbbbb", client=2)
    yield site
    site.close()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    readings = [resource("Observation", n, code=CONCEPT, subject=SUBJECT, valueInteger=n) for n in range(5)]
    return [
        save(tmp_path / "muster.json.gz", bundle(patient(telecom=[{"system": "phone", "value": "1"}]), *readings)),
        save(tmp_path / "rest.json", bundle(resource("Immunization", patient=SUBJECT), resource("Claim"))),
    ]


async def test_an_import_creates_each_record_once(site: FakeSite, files: list[Path]) -> None:
    result = await import_files(site, files, author="empfang")
    assert result == {"created": 7, "unchanged": 0, "left_out": {"Claim": 1}}
    assert len(site.documents) == 7 and site.authors == {"empfang"}
    assert site.reasons == ["FHIR import of muster.json.gz", "FHIR import of rest.json"]


async def test_importing_again_writes_nothing(site: FakeSite, files: list[Path]) -> None:
    await import_files(site, files, author="empfang")
    before, transactions = await site.contents(), len(site.reasons)
    result = await import_files(site, [*files, files[0]], author="empfang")
    assert result == {"created": 0, "unchanged": 13, "left_out": {"Claim": 1}}
    assert await site.contents() == before and len(site.reasons) == transactions


async def test_what_people_changed_since_is_left_alone_and_counted(site: FakeSite, files: list[Path]) -> None:
    await import_files(site, files, author="empfang")
    changed = save(files[0], bundle(patient(birthDate="1992-03-30")))
    result = await import_files(site, [changed], author="empfang")
    assert result == {"created": 0, "unchanged": 1, "left_out": {}, "differing": 1}
    assert "birth_date" not in str(await site.contents())


async def test_two_sites_apart_end_with_the_same_records_and_no_conflict(
    site: FakeSite, other: FakeSite, files: list[Path]
) -> None:
    await import_files(site, files, author="jena")
    await import_files(other, list(reversed(files)), author="gera")
    assert await site.contents() == await other.contents()
    for record, (kind, document) in site.documents.items():
        here, there = Document(3, document.state()), Document(4, other.documents[record][1].state())
        here.apply(other.documents[record][1].state())
        there.apply(document.state())
        assert here.fingerprint(kind, record) == there.fingerprint(kind, record)
        merged = read(kind, record, here.content())
        assert merged.conflicts == {}
        assert fields_json(merged) == (await site.contents())[record]


async def test_batches_are_bounded(site: FakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "import_batch_records_max", 4)
    readings = [resource("Observation", n, code=CONCEPT, subject=SUBJECT) for n in range(9)]
    told: list[tuple[int, int]] = []
    path = save(tmp_path / "b.json", bundle(patient(), *readings))
    await import_files(site, [path], author="x", progress=lambda done, total: told.append((done, total)))
    assert site.sizes == [4, 4, 2]
    assert told == [(4, 10), (8, 10), (10, 10)]


async def test_one_bad_file_changes_nothing(site: FakeSite, files: list[Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.json.gz"
    cut.write_bytes(files[0].read_bytes()[:-12])
    with pytest.raises(UsageError, match=r"cut\.json\.gz: the packed file ends too early"):
        await import_files(site, [*files, cut], author="empfang")
    assert site.documents == {} and site.reasons == []


async def test_an_interrupted_import_is_finished_by_the_next(
    site: FakeSite, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "import_batch_records_max", 2)
    write = _Run.write

    async def write_twice(run: _Run, *args: object) -> None:
        if len(site.reasons) == 2:
            raise KeyboardInterrupt
        await write(run, *args)  # type: ignore[arg-type]  # passed through as they came

    with monkeypatch.context() as patched:
        patched.setattr(_Run, "write", write_twice)
        with pytest.raises(KeyboardInterrupt):
            await import_files(site, files, author="empfang")
    assert len(site.documents) == 4
    assert await import_files(site, files, author="empfang") == {"created": 3, "unchanged": 4, "left_out": {"Claim": 1}}


async def test_one_resource_twice_in_a_file_is_one_record(site: FakeSite, tmp_path: Path) -> None:
    path = save(tmp_path / "b.json", bundle(patient(), patient(gender="female"), patient()))
    result = await import_files(site, [path], author="x")
    assert result == {"created": 1, "unchanged": 2, "left_out": {}, "differing": 1}
    assert await import_files(site, [], author="x") == {"created": 0, "unchanged": 0, "left_out": {}}


async def test_into_a_real_site(files: list[Path], tmp_path: Path) -> None:
    async with Site.create(tmp_path / "jena", practice="P", name="Jena", passphrase="x") as site:
        first = await import_files(site, files, author="empfang")
        assert first == {"created": 7, "unchanged": 0, "left_out": {"Claim": 1}}
        assert await site.record_count() == {"patient": 1, "observation": 5, "immunization": 1}
        [person] = await site.find(Patient)
        assert {seen.patient for seen in await site.find(Observation)} == {person.id}
        digest = await site.digest()
        async with site.transaction(author="empfang") as tx:
            (await tx.get(Patient, person.id)).phones.add("2")
        second = await import_files(site, files, author="empfang")
        assert second == {"created": 0, "unchanged": 7, "left_out": {"Claim": 1}, "differing": 1}
        assert sorted((await site.get(Patient, person.id)).phones) == ["1", "2"]
        assert digest != await site.digest() and await site.conflicts() == []


@pytest.mark.slow
async def test_real_bundles_twice(site: FakeSite, test_data: Path) -> None:
    files = sorted((test_data / "fhir-r4").glob("*.json.gz"))[:6]
    first = await import_files(site, files, author="x")
    assert first["created"] == len(site.documents) > 500
    assert {"Claim", "Organization", "Practitioner"} <= first["left_out"].keys()
    second = await import_files(site, files, author="x")
    assert second == {"created": 0, "unchanged": first["created"], "left_out": first["left_out"]}


async def test_entries_without_an_order_do_not_differ(site: FakeSite, tmp_path: Path) -> None:
    """Several phones of one commit are shown in another order than the file has them."""
    telecom = [{"system": "phone", "value": str(number)} for number in range(9)]
    path = save(tmp_path / "b.json", bundle(patient(telecom=telecom)))
    await import_files(site, [path], author="x")
    assert await import_files(site, [path], author="x") == {"created": 0, "unchanged": 1, "left_out": {}}
