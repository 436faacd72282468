"""create, invite, confirm and join, as scripts and people use them."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import PASSPHRASE, Call, Start


def create(call: Call, folder: Path, *more: object) -> object:
    return call("create", folder, "--practice", "Praxis am Markt", "--site", "Jena", *more)


def test_the_sheet_is_in_the_answer_when_no_file_is_named(call: Call, tmp_path: Path) -> None:
    told = call("create", tmp_path / "jena", "--practice", "Praxis am Markt", "--site", "Jena", "--json").json
    assert (told["practice"], told["site"]) == ("Praxis am Markt", "Jena")
    assert re.fullmatch(r"[a-z2-7]{26}", told["replica"])
    assert "Praxis am Markt" in told["recovery_sheet"]
    assert stat.S_IMODE((tmp_path / "jena").stat().st_mode) == 0o700


def test_the_sheet_goes_to_the_named_file_alone(call: Call, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.txt"
    words = ("--practice", "P", "--site", "Jena", "--recovery-sheet", sheet)
    assert "recovery_sheet" not in call("create", tmp_path / "jena", *words, "--json").json
    assert stat.S_IMODE(sheet.stat().st_mode) == 0o600
    assert len(sheet.read_text(encoding="utf-8").splitlines()) > 3


def test_a_sheet_file_that_exists_stops_the_founding(call: Call, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.txt"
    sheet.write_text("somebody's")
    done = call("create", tmp_path / "jena", "--practice", "P", "--site", "J", "--recovery-sheet", sheet)
    assert "exists already: name a new file" in done.refused(2)
    assert sheet.read_text() == "somebody's" and not (tmp_path / "jena").exists()


def test_a_place_that_is_taken_is_left_alone_and_no_sheet_stays(call: Call, tmp_path: Path, jena: Path) -> None:
    before = sorted(path.name for path in jena.iterdir())
    sheet = tmp_path / "sheet.txt"
    done = call("create", jena, "--practice", "P", "--site", "J", "--recovery-sheet", sheet)
    assert "is not empty" in done.refused(1)
    assert sorted(path.name for path in jena.iterdir()) == before and not sheet.exists()


def test_a_person_reads_the_sheet_and_what_comes_next(call: Call, tmp_path: Path) -> None:
    done = call("create", tmp_path / "jena", "--practice", "Praxis am Markt", "--site", "Jena")
    assert done.code == 0
    assert f"Next: crdtsync serve {tmp_path / 'jena'}" in done.out


def test_inviting_needs_somebody_who_serves(call: Call, jena: Path) -> None:
    assert "start `serve` first" in call("invite", jena, "--name", "Weimar").refused(1)


@pytest.mark.parametrize("digits", ["12345", "1234567", "12345a", "", "\uff11\uff12\uff13\uff14\uff15\uff16"])
def test_digits_are_six(call: Call, jena: Path, digits: str) -> None:
    assert "shows six digits" in call("confirm", jena, digits).refused(2)


def test_a_code_with_a_typo_makes_no_folder(call: Call, tmp_path: Path) -> None:
    done = call("join", tmp_path / "weimar", "--code", "abcd-efgh")
    assert "code" in done.refused(1)
    assert not (tmp_path / "weimar").exists()


def test_joining_with_six_digits(call: Call, start: Start, jena: Path, tmp_path: Path) -> None:
    serving = start("serve", jena)
    serving.event()
    code = call("invite", jena, "--name", "Weimar", "--json").json["code"]
    joining = start("join", tmp_path / "weimar", "--code", code, "--json")
    shown = re.search(r"\b(\d{3})[ -]?(\d{3})\b", joining.line("stderr"))
    assert shown is not None
    digits = "".join(shown.groups())
    asked = serving.event()
    assert asked["event"] == "join" and asked["name"] == "Weimar"
    assert re.sub(r"\D", "", asked["digits"]) == digits
    assert call("confirm", jena, f"{digits[:3]} {digits[3:]}", "--json").json["name"] == "Weimar"
    assert joining.ended().json["site"] == "Weimar"
    assert [member["name"] for member in call("members", jena, "--json").json] == ["Jena", "Weimar"]


def test_a_code_works_once(call: Call, start: Start, jena: Path, tmp_path: Path) -> None:
    start("serve", jena).event()
    code = call("invite", jena, "--name", "Weimar", "--trust-code", "--json").json["code"]
    assert call("join", tmp_path / "weimar", "--code", code, "--json").json["site"] == "Weimar"
    assert "code" in call("join", tmp_path / "gera", "--code", code).refused(1)
    assert not (tmp_path / "gera").exists()


def test_an_unreachable_inviter_is_named(call: Call, start: Start, jena: Path, tmp_path: Path) -> None:
    serving = start("serve", jena)
    address = serving.event()["listen"]
    code = call("invite", jena, "--name", "Weimar", "--trust-code", "--json").json["code"]
    serving.stop()
    assert address in call("join", tmp_path / "weimar", "--code", code).refused(1)


def test_the_passphrase_is_nowhere_in_the_folder(jena: Path) -> None:
    assert not any(PASSPHRASE.encode() in path.read_bytes() for path in jena.rglob("*") if path.is_file())
