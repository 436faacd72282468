"""backup, restore, recover --sheet and verify as a script calls them, and what status and serve say of backups."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crdtsync.cli.backups import backed_up, in_words, lasting, seconds_in
from crdtsync.errors import BadValue
from tests.cli.conftest import Call, Start

KNOWN = {"last": "2026-01-05T08:00:00+00:00", "path": "/usb", "age_s": 7200, "limit_s": 172800, "overdue": False,
         "every_s": None, "next": None, "failure": None}  # fmt: skip


def patient(call: Call, folder: Path, name: str) -> None:
    assert call("record", "new", folder, "patient", f"family_name={name}").code == 0


def test_there_and_back(call: Call, jena: Path, tmp_path: Path) -> None:
    patient(call, jena, "Muster")
    digest = call("digest", jena, "--json").json
    told = call("backup", jena, "--out", tmp_path / "b", "--json").json
    assert told["commits"] == 1 and told["backups"] == 1 and Path(told["path"]) == tmp_path / "b"
    patient(call, jena, "Bauer")
    out = call("backup", jena, "--out", tmp_path / "b").out
    assert "Backed up 2 commits as of" in out and "read back and found right" in out and "2 backups" in out
    assert call("verify", tmp_path / "b").out.startswith("All is well: 2 backups")
    assert call("restore", tmp_path / "b", tmp_path / "new").out.startswith("Jena of Praxis am Markt is back as of")
    assert call("restore", tmp_path / "b", tmp_path / "old", "--at", told["taken"], "--json").json["commits"] in (1, 2)
    assert "is not empty" in call("restore", tmp_path / "b", tmp_path / "new").refused(1)
    assert call("digest", tmp_path / "new", "--json").json["records"] == digest["records"] + 1


def test_a_slash_asks_for_a_folder(call: Call, jena: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("backup", jena, "--out", "folder/", "--json").json["path"] == str(tmp_path / "folder")
    assert (tmp_path / "folder" / "index").is_dir()
    assert call("backup", jena, "--out", "folder", "--keep", "daily=1", "--json").json["removed"] == 1
    assert call("verify", "folder", "--only-bytes", "--json").json["opened"] is False


def test_wrong_words(call: Call, jena: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "b"
    assert "write it like daily=7" in call("backup", jena, "--out", place, "--keep", "all").refused(2)
    assert "--out" in call("backup", jena).refused(2)
    assert "make it first" in call("backup", jena, "--out", tmp_path / "none" / "b").refused(1)
    assert call("backup", jena, "--out", place).code == 0
    assert "is no time" in call("restore", place, tmp_path / "new", "--at", "yesterday").refused(2)
    assert "that old" in call("restore", place, tmp_path / "new", "--at", "2020-01-01").refused(1)
    assert "is no backup" in call("verify", jena, "--only-bytes").refused(2)
    assert "there is no folder" in call("verify", tmp_path / "none").refused(1)
    assert "write it like 30m" in call("serve", jena, "--backup-to", place, "--every", "soon").refused(2)
    monkeypatch.setenv("CRDTSYNC_PASSPHRASE", "wrong")
    for words in (("restore", place, tmp_path / "new"), ("verify", place)):
        assert "does not open with this passphrase" in call(*words).refused(1)
    assert not (tmp_path / "new").exists()


def test_damage_is_named(call: Call, jena: Path, tmp_path: Path) -> None:
    place = tmp_path / "b"
    assert call("backup", jena, "--out", place).code == 0
    data = place.read_bytes()
    place.write_bytes(data[:15_000] + bytes([data[15_000] ^ 1]) + data[15_001:])
    done = call("verify", place, "--json")
    told = json.loads(done.out)
    assert done.code == 1 and told["ok"] is False and "is not what was written there" in told["problems"][0]
    assert done.err.startswith("crdtsync: 1 problem, the first: ") and done.err.count("\n") == 1


def test_the_sheet_brings_a_practice_back(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jena, place, sheet, new = (tmp_path / name for name in ("jena", "b", "sheet.txt", "new"))
    words = ("--practice", "Praxis am Markt", "--site", "Jena")
    assert call("create", jena, *words, "--recovery-sheet", sheet).code == 0
    assert call("create", tmp_path / "gera", *words, "--recovery-sheet", tmp_path / "other.txt").code == 0
    patient(call, jena, "Muster")
    assert call("backup", jena, "--out", place).code == 0
    monkeypatch.setenv("CRDTSYNC_PASSPHRASE", "another one")
    for wrong, why, code in (
        (("--sheet", tmp_path / "other.txt", "--backup", place), "not that of the practice", 1),
        (("--sheet", sheet), "name the backup, too", 2),
        (("--backup", place), "go with --sheet", 2),
        (("--sheet", sheet, "--backup", place, "--alone"), "two different things", 2),
        (("--sheet", tmp_path / "none", "--backup", place), "cannot be read", 1),
        (("--sheet", place, "--backup", place), "it is not text", 1),
        (("--sheet", sheet, "--backup", tmp_path / "none"), "there is no backup", 1),
    ):
        assert why in call("recover", new, *wrong).refused(code)
        assert not new.exists()
    out = call("recover", new, "--sheet", sheet, "--backup", place, "--site", "Neubau").out
    assert "Its new site is Neubau" in out and "No longer of the practice: Jena." in out
    assert call("verify", place, "--sheet", sheet).code == 0
    patient(call, new, "Danach")
    assert call("digest", new, "--json").json["records"] == 2


def test_durations_and_sizes_are_read_and_said() -> None:
    assert [seconds_in(text) for text in ("90s", "30m", "24h", "7d")] == [90, 1800, 86400, 604800]
    for wrong in ("", "24", "h", "-1h", "0h", "1.5h", "1w", "²h"):
        with pytest.raises(BadValue):
            seconds_in(wrong)
    assert [in_words(size) for size in (1, 999, 1000, 2_500_000, 3 * 10**9)] == [
        "1 byte", "999 bytes", "1.0 kB", "2.5 MB", "3.0 GB",
    ]  # fmt: skip
    assert [lasting(seconds) for seconds in (0, 1, 119, 7200, 90_000)] == [
        "0 seconds", "1 second", "1 minute", "2 hours", "1 day",
    ]  # fmt: skip


def test_status_tells_the_age_and_complains() -> None:
    def said(**known: object) -> list[str]:
        return list(backed_up(Path("jena"), {"backup": {**KNOWN, **known}}))

    assert said() == ["The last verified backup is 2 hours old, in /usb."]
    [never] = said(last=None, age_s=None, overdue=True)
    assert "No backup of this site was ever verified" in never and "crdtsync backup jena --out FILE" in never
    [old] = said(age_s=800_000, overdue=True)
    assert "9 days old" in old and "more than 2 days" in old and "Make one now" in old
    failed, _ = said(failure="the disk is away")
    assert failed == "The last attempt at a backup failed: the disk is away"


def test_status_says_so(call: Call, jena: Path, tmp_path: Path) -> None:
    assert "No backup of this site was ever verified" in call("status", jena).out
    assert call("backup", jena, "--out", tmp_path / "b").code == 0
    assert "The last verified backup is" in call("status", jena).out
    assert call("status", jena, "--json").json["backup"]["overdue"] is False


def test_serve_makes_them_by_itself(call: Call, start: Start, jena: Path, tmp_path: Path) -> None:
    """The first at once, the next one when it is due; a restart shifts nothing; a verb makes one in between."""
    place = tmp_path / "usb"
    served = start("serve", jena, "--backup-to", place, "--every", "24h", "--json")
    ready, made = served.event(), served.event()
    assert ready["event"] == "ready" and made["event"] == "backup" and made["path"] == str(place)
    status = call("status", jena, "--json").json["backup"]
    assert (status["every_s"], status["limit_s"], status["overdue"]) == (86400, 2 * 86400, False)
    assert call("backup", jena, "--out", tmp_path / "by-hand", "--json").json["backups"] == 1
    assert served.stop().code == 0
    again = start("serve", jena, "--backup-to", place, "--every", "24h", "--json")
    assert again.event()["event"] == "ready"
    assert call("status", jena, "--json").json["backup"]["next"] > made["taken"]
    done = again.stop()
    assert done.code == 0 and '"backup"' not in done.out, "it was not due"
    assert len(call("verify", place, "--json").json["backups"]) == 1


def test_serve_tells_what_fails_and_serves_on(call: Call, start: Start, jena: Path, tmp_path: Path) -> None:
    (tmp_path / "usb").write_text("no folder")
    served = start("serve", jena, "--backup-to", tmp_path / "usb", "--every", "1s", "--json")
    assert served.event()["event"] == "ready"
    failed = served.event()
    assert failed["event"] == "backup-failed" and "is a file, and backups are to lie in a folder" in failed["text"]
    patient(call, jena, "Trotzdem")
    assert "The last attempt at a backup failed" in call("status", jena).out
    (tmp_path / "usb").unlink()
    while (event := served.event())["event"] != "backup":
        assert event["event"] == "backup-failed"
    assert event["commits"] == 1
    assert served.stop().code == 0
