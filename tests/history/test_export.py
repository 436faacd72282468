"""A patient's history as a file: what stands in it, what is missing named, and every lie of its maker found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crdtsync import limits, members
from crdtsync.documents import Link, Record, kinds, once, register
from crdtsync.errors import NotFound, RefusedError
from crdtsync.history.file import is_history
from crdtsync.ids import commit_text, record_id_from
from crdtsync.practice import ChartEntry, Patient
from tests.history.exports import Sections, a_patient, checked, exported, sealed_anew, sections_of, spans
from tests.sites import add, agree, change, create, mesh, practice

pytestmark = pytest.mark.anyio


async def test_the_file_holds_the_patients_records_and_nobody_elses(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = await a_patient(jena)
        told = await jena.history.export(patient.id, tmp_path / "file", author="dr.weber", reason="asked by the court")
        data = (tmp_path / "file").read_bytes()
        verdict = checked(data)
        assert (verdict.intact, verdict.complete, verdict.not_recomputed) == (True, True, [])
        assert (verdict.commits, verdict.records) == (3, 3) == (told["commits"], told["records"])
        assert told["missing"] == [] and told["author"] == "dr.weber" and told["exported_by"]["site"] == "Jena"
        assert told["file"] == str(tmp_path / "file")
        text = data.decode()
        assert "Müller" in text and "Ramipril" in text and "first visit" in text
        assert "Geheim" not in text
        sections = sections_of(data)
        for record in (await jena.find(Patient))[:1] + (await jena.find(ChartEntry)):
            if record.id == patient.id or record.kind == "chart_entry":
                held = sections[f"record {record.kind} {record.id}"]
                assert held["history"] == await jena.history(record.id)
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"]


async def test_it_is_not_written_over_another_file_nor_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = await a_patient(jena)
        (tmp_path / "there").write_text("theirs")
        with pytest.raises(RefusedError, match="already"):
            await jena.history.export(patient.id, tmp_path / "there")
        assert (tmp_path / "there").read_text() == "theirs"
        monkeypatch.setattr(limits, "history_file_bytes_max", 2_000)
        with pytest.raises(RefusedError, match="more than 2000 bytes"):
            await jena.history.export(patient.id, tmp_path / "large")
        with pytest.raises(NotFound):
            await jena.history.export(record_id_from("nobody"), tmp_path / "nobody")
        assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"there"}


async def test_what_was_written_apart_at_two_sites_is_in_it_wherever_it_is_made(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as (jena, gera):
        patient = await a_patient(jena)
        async with mesh(jena, gera):
            await agree(jena, gera)
        await change(jena, patient, title="Prof.")
        await change(gera, patient, title="PD")
        await add(gera, ChartEntry(patient=patient.id))
        async with mesh(jena, gera):
            await agree(jena, gera)
        files = [await exported(site, patient, tmp_path / site.name) for site in (jena, gera)]
        for data in files:
            verdict = checked(data)
            assert verdict.intact and verdict.complete, verdict.problems
            assert (verdict.commits, verdict.records) == (6, 4)
        mine, theirs = (sections_of(data)[f"record patient {patient.id}"] for data in files)
        assert mine["conflicts"] == theirs["conflicts"] and set(mine["conflicts"]["title"]) == {"Prof.", "PD"}
        assert [entry["changes"] for entry in mine["history"]] == [entry["changes"] for entry in theirs["history"]]


async def test_what_cannot_be_shown_is_listed(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = await a_patient(jena)
        await change(jena, patient, title="Prof.")

        def rot(host: Any) -> None:
            host.store._log_db.execute("UPDATE entry SET parts = X'90' WHERE arrival = 3")

        await jena.driver.thread.run(rot)
        told = await jena.history.export(patient.id, tmp_path / "file")
        verdict = checked((tmp_path / "file").read_bytes())
        assert verdict.intact and not verdict.complete
        rotten = (await jena.history(patient.id))[1]
        assert [each["commit"] for each in verdict.missing] == told["missing"] == [rotten["commit"]]
        assert "fetched again" in verdict.missing[0]["why"]


async def test_held_commits_are_in_it_as_such(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = await a_patient(jena)
        bad = await change(jena, patient, title="wrong")

        def hold(host: Any) -> None:
            commit = host.store.commit(*bad).commit
            host.engine.honour({bad: {commit.hash: "form"}}, {}, None)

        await jena.driver.thread.run(hold)
        data = await exported(jena, patient, tmp_path / "file")
        verdict = checked(data)
        assert verdict.intact and verdict.complete, verdict.problems
        last = sections_of(data)[f"record patient {patient.id}"]["history"][-1]
        assert (last["commit"], last["state"]) == (commit_text(bad), "held")


async def test_a_signature_that_no_longer_holds_is_vouched_for_by_a_later_one(tmp_path: Path) -> None:
    """In the middle of a run only the chain is checked when commits come; what was signed is found all the same."""
    async with create(tmp_path / "jena") as jena:
        patient = await a_patient(jena)

        def spoil(host: Any) -> None:
            host.store._log_db.execute("UPDATE entry SET signature = zeroblob(64) WHERE arrival IN (2, 3)")

        await jena.driver.thread.run(spoil)
        data = await exported(jena, patient, tmp_path / "file")
        assert checked(data).intact and checked(data).complete
        chains = [len(each["chain"]) for each in sections_of(data).values() if each["section"] == "commit"]
        assert chains == [0, 2, 1]


Lie = Callable[[Sections], None]


def first(sections: Sections, sort: str) -> dict[str, Any]:
    return next(each for each in sections.values() if each["section"] == sort)


def named(sections: Sections, sort: str) -> str:
    return next(name for name, each in sections.items() if each["section"] == sort)


def _another_word(sections: Sections) -> None:
    first(sections, "part")["content"]["reason"] = "never said"


def _another_value(sections: Sections) -> None:
    next(each for name, each in sections.items() if name.startswith("record patient"))["fields"]["title"] = "Prof."


def _another_before(sections: Sections) -> None:
    record = next(each for name, each in sections.items() if name.startswith("record patient"))
    record["history"][-1]["changes"][0]["before"] = "Schulze"


def _another_author(sections: Sections) -> None:
    first(sections, "record")["history"][0]["author"] = "dr.other"


def _another_arrival(sections: Sections) -> None:
    first(sections, "record")["history"][0]["arrived_at"] = "2001-01-01T00:00:00.000+00:00"


def _an_entry_less(sections: Sections) -> None:
    record = next(each for name, each in sections.items() if name.startswith("record patient"))
    del record["history"][-1]


def _held_that_was_not(sections: Sections) -> None:
    entry = first(sections, "record")["history"][-1]
    entry.update(state="held", why="no reason", changes=[])


def _a_part_less(sections: Sections) -> None:
    del sections[named(sections, "part")]


def _a_commit_less(sections: Sections) -> None:
    commit = named(sections, "commit").removeprefix("commit ")
    for name in [name for name in sections if name.endswith(commit)]:
        del sections[name]


def _another_time(sections: Sections) -> None:
    first(sections, "commit")["at"] = "2001-01-01T00:00:00.000+00:00"


def _another_site(sections: Sections) -> None:
    first(sections, "commit")["site"] = "Weimar"


def _no_signature(sections: Sections) -> None:
    first(sections, "commit")["signature"] = ""


def _foreign_signature(sections: Sections) -> None:
    one, two = [each for each in sections.values() if each["section"] == "commit"][:2]
    one["signature"] = two["signature"]


def _no_key(sections: Sections) -> None:
    first(sections, "part")["key"] = None


def _foreign_key(sections: Sections) -> None:
    first(sections, "part")["key"] = "00" * 32


def _another_practice(sections: Sections) -> None:
    sections["head"]["practice"] = "Another"


def _another_exporter(sections: Sections) -> None:
    sections["head"]["exported_by"]["site"] = "Gera"


def _another_number(sections: Sections) -> None:
    sections["head"]["commits"] += 1


def _no_members(sections: Sections) -> None:
    for name in [name for name in sections if name.startswith("member")]:
        del sections[name]


def _an_unknown_section(sections: Sections) -> None:
    sections["extra"] = {"section": "extra"}


def _another_form(sections: Sections) -> None:
    sections[named(sections, "record")] = {"section": "record", "kind": 5}


def _a_missing_one_unnamed(sections: Sections) -> None:
    sections["head"]["missing"] = ["nobody"]


LIES: list[tuple[Lie, str]] = [
    (_another_word, "part"),
    (_another_value, "record"),
    (_another_before, "record"),
    (_another_author, "record"),
    (_another_arrival, "record"),
    (_an_entry_less, "record"),
    (_held_that_was_not, "record"),
    (_a_part_less, "record"),
    (_a_commit_less, "record"),
    (_another_time, "commit"),
    (_another_site, "commit"),
    (_no_signature, "commit"),
    (_foreign_signature, "commit"),
    (_no_key, "part"),
    (_foreign_key, "part"),
    (_another_practice, "head"),
    (_another_exporter, "seal"),
    (_another_number, "head"),
    (_no_members, "commit"),
    (_an_unknown_section, "extra"),
    (_another_form, "record"),
    (_a_missing_one_unnamed, "head"),
]


async def test_whoever_seals_a_lie_is_found(tmp_path: Path) -> None:
    """A member may seal anything; what others signed proves it wrong, in the section that lies."""
    async with create(tmp_path / "jena") as jena:
        patient = await a_patient(jena)
        data = await exported(jena, patient, tmp_path / "file")
        assert checked(await sealed_anew(jena, data, lambda sections: None)).intact
        for lie, section in LIES:
            verdict = checked(await sealed_anew(jena, data, lie))
            assert any(each.section.startswith(section) for each in verdict.problems), (lie.__name__, verdict.problems)


async def test_a_stranger_seals_nothing(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena, create(tmp_path / "other", "Other") as other:
        patient = await a_patient(jena)
        data = await exported(jena, patient, tmp_path / "file")
        verdict = checked(await sealed_anew(other, data, lambda sections: None))
        assert [each.section for each in verdict.problems] == ["seal"]


@pytest.mark.parametrize("step", [29, pytest.param(1, marks=pytest.mark.slow)])
async def test_every_flipped_byte_is_found_and_its_section_named(tmp_path: Path, step: int) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = Patient(family_name="Müller")
        await add(jena, patient)
        await change(jena, patient, title="Dr.")
        data = await exported(jena, patient, tmp_path / "file")
    assert checked(data).intact
    for name, start, end in spans(data):
        places = {start, end - 1, *range(start, end, 1 if name == "seal" else step)}
        for at in sorted(places):
            for bit in (1 << (at % 8), 0xFF):
                changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
                verdict = checked(changed)
                assert [each.section for each in verdict.problems] == [name], (name, at, verdict.problems)
                assert is_history(changed)


async def test_a_file_that_was_cut_lengthened_or_put_in_another_order_is_found(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = await a_patient(jena)
        data = await exported(jena, patient, tmp_path / "file")
    lines = data.splitlines(keepends=True)
    for changed in (
        data[:-1],
        data[: len(data) // 2],
        data + b"\n",
        data + lines[-1],
        b"\n" + data,
        b"".join(lines[:3] + lines[4:]),
        b"".join([lines[1], lines[0], *lines[2:]]),
        b"".join(lines[:-2] + lines[-1:]),
        b"".join(lines[:-1]),
    ):
        assert not checked(changed).intact
    assert not is_history(json.dumps({"a": 1}).encode()) and not is_history(b"")


async def test_a_part_that_waits_for_its_key_is_listed(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = await a_patient(jena)
        state = jena.driver.replica.membership.state()
        await jena.sign(lambda host, place: members.opening_epoch(host, place, state))
        epoch = jena.driver.replica.membership.state().sealing_epoch()
        late = await change(jena, patient, title="Prof.")

        def forget(host: Any) -> None:
            assert host.keyring.has(epoch)
            del host.keyring._epochs[epoch]
            host.engine.rebuild(host.now_ms())

        await jena.driver.thread.run(forget)
        verdict = checked(await exported(jena, patient, tmp_path / "file"))
        assert verdict.intact and [each["commit"] for each in verdict.missing] == [commit_text(late)]
        assert "waits for a key" in verdict.missing[0]["why"]


async def test_a_kind_that_the_checker_does_not_know_is_proved_but_for_its_fields(tmp_path: Path) -> None:
    class Robot(Record, kind="robot"):
        patient: Link | None = once()
        arms: int | None = register()

    async with create(tmp_path / "jena") as jena:
        patient = Patient(family_name="Müller")
        robot = Robot(patient=None, arms=2)
        await add(jena, patient)
        robot.patient = patient.id
        await add(jena, robot)
        data = await exported(jena, patient, tmp_path / "file")
        assert checked(data).not_recomputed == []
        del kinds()["robot"]
        verdict = checked(data)
        assert verdict.intact and verdict.not_recomputed == [f"record robot {robot.id}"]

        def another_author(sections: Sections) -> None:
            sections[f"record robot {robot.id}"]["history"][0]["author"] = "dr.other"

        def another_document(sections: Sections) -> None:
            sections[f"record robot {robot.id}"]["fingerprint"] = "00" * 32

        for lie in (another_author, another_document):
            problems = checked(await sealed_anew(jena, data, lie)).problems
            assert [each.section for each in problems] == [f"record robot {robot.id}"]
