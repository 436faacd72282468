"""Exit codes, the one line on stderr, and help that reads well."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from crdtsync.cli.app import ORDER, ended, plainest
from crdtsync.errors import NotFound, RefusedError, StorageFailure, UsageError
from tests.cli.conftest import Call

GROUPS = {
    "record": ("new", "set", "show", "list"),
    "range": ("set", "release", "stop", "list"),
    "number": ("patient",),
    "conflicts": ("list", "show", "assign", "comment", "acknowledge", "dismiss", "reopen"),
    "series": ("add", "list", "audit"),
    "invoice": ("issue", "cancel"),
}
VERBS = [[verb] for verb in ORDER if verb not in GROUPS] + [[group, verb] for group in GROUPS for verb in GROUPS[group]]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_a_help_that_says_what_it_does(call: Call, verb: list[str]) -> None:
    done = call(*verb, "--help")
    assert done.code == 0
    sentences = [line.strip() for line in done.out.splitlines() if line.strip()]
    assert sentences[1].endswith((".", ",", "again")) or "." in " ".join(sentences[1:4])
    assert "Arguments" in done.out or verb == ["demo"]


def test_the_verbs_are_listed_as_one_meets_them(call: Call) -> None:
    out = call("--help").out
    places = [out.index(f"│ {verb} ") for verb in ORDER]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fly"], "No such command 'fly'"),
        (["digest"], "Missing argument 'DIR'"),
        (["create", "d", "--practice", "P"], "Missing option '--site'"),
        (["digest", "d", "--fly"], "--fly"),
        (["record", "list", "d", "patient", "--limit", "none"], "--limit"),
        (["record", "set", "d", "id"], "name at least one FIELD=VALUE"),
        (["record", "new", "d", "patient", "word"], "number 1 of yours is not"),
        (["import", "d", "no-such-file.json"], "there is no file no-such-file.json: nothing was imported"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(call: Call, words: list[str], says: str) -> None:
    assert says in call(*words).refused(2)


def test_where_there_is_no_site_it_says_how_to_make_one(call: Call, tmp_path: Path) -> None:
    assert "`crdtsync create` founds a practice there" in call("status", tmp_path / "none").refused(1)
    assert "is not the folder of a site" in call("status", tmp_path).refused(1)
    assert "is not the folder of a site" in call("serve", tmp_path).refused(1)


def test_a_wrong_passphrase_changes_nothing(call: Call, jena: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = call("digest", jena, "--json").json
    monkeypatch.setenv("CRDTSYNC_PASSPHRASE", "wrong horse")
    for verb in (["digest"], ["serve"], ["rebuild"]):
        assert "passphrase" in call(*verb, jena).refused(1)
    monkeypatch.setenv("CRDTSYNC_PASSPHRASE", "correct horse")
    assert call("digest", jena, "--json").json == digest


def test_without_a_passphrase_it_says_where_to_put_one(call: Call, jena: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRDTSYNC_PASSPHRASE")
    assert "set CRDTSYNC_PASSPHRASE" in call("digest", jena).refused(2)


def test_a_passphrase_file_is_taken(call: Call, jena: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRDTSYNC_PASSPHRASE")
    (tmp_path / "secret").write_text("correct horse\n")
    assert call("digest", jena, "--passphrase-file", tmp_path / "secret", "--json").json["records"] == 0


def test_a_damaged_key_file_is_told_from_a_wrong_passphrase(call: Call, jena: Path) -> None:
    key = jena / "replica.key"
    data = bytearray(key.read_bytes())
    data[-1] ^= 1
    key.write_bytes(data)
    said = call("digest", jena).refused(1)
    assert "passphrase" not in said.split(":")[0] and "damaged" in said


def test_unknown_things_and_bad_values_change_nothing(call: Call, jena: Path) -> None:
    assert "no kind 'patiant'; did you mean patient?" in call("record", "new", jena, "patiant", "x=1").refused(2)
    assert "nickname" in call("record", "new", jena, "patient", "nickname=Geheim").refused(2)
    bad = call("record", "new", jena, "patient", "birth_date=Geheim").refused(2)
    assert "birth_date" in bad and "Geheim" not in bad
    assert call("record", "show", jena, "a" * 26).refused(1)
    assert call("record", "list", jena, "nothing").refused(2)
    assert call("query", jena, "DELETE FROM patient").refused(2)
    assert call("query", jena, "SELECT nonsense").refused(2)
    assert call("digest", jena, "--json").json["records"] == 0


def test_what_is_no_bundle_changes_nothing(call: Call, jena: Path, tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": []}).encode() * 50)
    for name, content in {
        "text.json": b"no json",
        "patient.json": b'{"resourceType": "Patient"}',
        "short.json.gz": whole[:-20],
    }.items():
        (tmp_path / name).write_bytes(content)
        assert name in call("import", jena, tmp_path / name).refused(2)
    assert call("digest", jena, "--json").json["records"] == 0


def test_the_errors_of_a_call_end_as_they_should(capfd: pytest.CaptureFixture[str]) -> None:
    cases: list[tuple[BaseException, int, str]] = [
        (UsageError("mend the call"), 2, "mend the call"),
        (NotFound("not here"), 1, "not here"),
        (RefusedError("no"), 1, "no"),
        (StorageFailure("disk full"), 1, "disk full"),
        (OSError(28, "No space left on device", "/x"), 1, "No space left on device: /x"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("Erika Muster"), 1, "an error in the program (ValueError)"),
    ]
    for reason, code, says in cases:
        assert ended(plainest(BaseExceptionGroup("", [BaseExceptionGroup("", [reason])]))) == code
        said = capfd.readouterr().err
        assert says in said and said.count("\n") == 1 and "Muster" not in said


def test_without_the_extra_it_says_what_to_install() -> None:
    hide = "import sys; sys.modules['typer'] = None; from crdtsync.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "crdtsync: the command line needs typer: install it with  pip install 'crdtsync[cli]'\n"


def test_the_version_is_told(call: Call) -> None:
    assert call("--version").out.startswith("crdtsync 0.")
