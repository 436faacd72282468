"""Continuity: what proves that a log may be continued, and all that does not (L4)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crdtsync.ids import ReplicaId
from crdtsync.storage import continuity
from crdtsync.storage.continuity import Continuity, boot_session, state_folder

REPLICA = ReplicaId(bytes(range(16)))
LOG = "replica.boot"
NONCE = b"nonce of 16 byte"


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that names its boot session, whatever this one is."""
    monkeypatch.setattr(continuity, "boot_session", lambda: "session 1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "jena"
    made.mkdir()
    (made / "log.db").write_bytes(b"log")
    return made


def _proof(folder: Path, replica: ReplicaId = REPLICA) -> Continuity:
    return Continuity(folder, replica, folder / "log.db")


def _renewed(folder: Path, sequence: int = 5) -> Continuity:
    proof = _proof(folder)
    proof.renew(LOG, NONCE, sequence)
    return proof


def test_nothing_proves_nothing(folder: Path) -> None:
    assert not _proof(folder).proves(LOG, NONCE, 0)


def test_the_same_folder_continues(folder: Path) -> None:
    proof = _renewed(folder)
    proof.advance(8)
    proof.close()
    proof.close()
    assert _proof(folder).proves(LOG, NONCE, 8)
    assert _proof(folder).proves(LOG, NONCE, 9), "synced, and killed before the file was written"


def test_a_store_behind_the_file_is_an_older_copy(folder: Path) -> None:
    proof = _renewed(folder)
    proof.advance(8)
    assert not _proof(folder).proves(LOG, NONCE, 7)


def test_another_log_nonce_or_replica_is_no_proof(folder: Path) -> None:
    _renewed(folder).close()
    assert not _proof(folder).proves("replica.other", NONCE, 5)
    assert not _proof(folder).proves(LOG, b"an older nonce..", 5)
    assert not _proof(folder, ReplicaId(bytes(16))).proves(LOG, NONCE, 5)
    assert _proof(folder).proves(LOG, NONCE, 5)


def test_renewing_ends_what_an_older_nonce_proved(folder: Path) -> None:
    _renewed(folder).close()
    proof = _proof(folder)
    proof.renew(LOG, b"a fresh nonce...", 6)
    proof.close()
    assert not _proof(folder).proves(LOG, NONCE, 6)
    assert _proof(folder).proves(LOG, b"a fresh nonce...", 6)


def test_a_copy_is_no_continuation(folder: Path, tmp_path: Path) -> None:
    _renewed(folder).close()
    shutil.copytree(folder, tmp_path / "copy")
    assert not _proof(tmp_path / "copy").proves(LOG, NONCE, 5)
    assert _proof(folder).proves(LOG, NONCE, 5)


def test_a_copy_in_the_place_of_the_folder_is_none_either(folder: Path, tmp_path: Path) -> None:
    _renewed(folder).close()
    shutil.copytree(folder, tmp_path / "copy")
    os.rename(folder, tmp_path / "gone")
    os.rename(tmp_path / "copy", folder)
    assert not _proof(folder).proves(LOG, NONCE, 5), "its log.db is another file"


def test_a_moved_folder_is_none(folder: Path, tmp_path: Path) -> None:
    _renewed(folder).close()
    os.rename(folder, tmp_path / "moved")
    assert not _proof(tmp_path / "moved").proves(LOG, NONCE, 5)


def test_the_same_folder_by_another_name_continues(folder: Path, tmp_path: Path) -> None:
    _renewed(folder).close()
    os.symlink(folder, tmp_path / "link")
    assert _proof(tmp_path / "link").proves(LOG, NONCE, 5)


def test_a_reboot_ends_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _renewed(folder).close()
    monkeypatch.setattr(continuity, "boot_session", lambda: "session 2")
    assert not _proof(folder).proves(LOG, NONCE, 5)


def test_without_a_session_nothing_is_ever_proved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _renewed(folder).close()
    monkeypatch.setattr(continuity, "boot_session", lambda: None)
    assert not _proof(folder).proves(LOG, NONCE, 5)
    proof = _renewed(folder)
    proof.advance(6)
    assert not proof.path.exists(), "an old file must not prove anything once the session is named again"
    monkeypatch.setattr(continuity, "boot_session", lambda: "session 1")
    assert not _proof(folder).proves(LOG, NONCE, 6)


@pytest.mark.parametrize(
    "text", [b"", b"x", b"5\n{}", b"0" * 20, b"0" * 20 + b"\n{", b"\xff" * 100, b"9" * 20 + b"\n[]"]
)
def test_a_damaged_file_is_no_proof(folder: Path, text: bytes) -> None:
    proof = _renewed(folder)
    proof.path.write_bytes(text)
    assert not _proof(folder).proves(LOG, NONCE, 10**19)


def test_the_file_is_private_and_outside_the_folder(folder: Path) -> None:
    proof = _renewed(folder)
    assert proof.path.parent == state_folder() != folder
    assert [path.name for path in folder.iterdir()] == ["log.db"]
    if os.name == "posix":
        assert proof.path.stat().st_mode & 0o777 == 0o600
    proof.close()


def test_a_state_folder_that_cannot_be_written_only_costs_the_proof(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CRDTSYNC_STATE_DIR", str(tmp_path / "file" / "below"))
    proof = _renewed(folder)
    proof.advance(6)
    assert not _proof(folder).proves(LOG, NONCE, 6)


def test_a_file_that_cannot_be_brought_up_to_date_is_removed(folder: Path) -> None:
    proof = _renewed(folder)
    assert proof._handle is not None
    reading = os.open(proof.path, os.O_RDONLY)
    os.dup2(reading, proof._handle)  # the same file, and writing to it fails
    os.close(reading)
    proof.advance(6)
    assert not _proof(folder).proves(LOG, NONCE, 5), "it would prove a copy made at 5"


def test_a_kill_leaves_the_proof(folder: Path) -> None:
    program = (
        "import os, sys; from crdtsync.storage import continuity; continuity.boot_session = lambda: 'session 1';"
        "proof = continuity.Continuity(sys.argv[1], bytes(range(16)), sys.argv[1] + '/log.db');"
        f"proof.renew({LOG!r}, {NONCE!r}, 5); [proof.advance(n) for n in range(6, 1001)]; os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], cwd=Path(__file__).parents[2], check=False)
    assert _proof(folder).proves(LOG, NONCE, 1000)
    assert not _proof(folder).proves(LOG, NONCE, 999)


@pytest.mark.parametrize(
    ("platform", "named", "expected"),
    [
        ("linux", {"CRDTSYNC_STATE_DIR": "/named"}, "/named"),
        ("linux", {"XDG_STATE_HOME": "/xdg"}, "/xdg/crdtsync"),
        ("linux", {}, "/home/weber/.local/state/crdtsync"),
        ("darwin", {}, "/home/weber/Library/Application Support/crdtsync"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/crdtsync"),
    ],
)
def test_each_system_has_its_place(
    platform: str, named: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CRDTSYNC_STATE_DIR", "XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**named, "HOME": "/home/weber"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert state_folder() == Path(expected)


def test_boot_sessions_of_each_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "boot_id").write_text("0c2c-aa\n")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(continuity, "_LINUX_BOOT", tmp_path / "boot_id")
    assert boot_session() == "0c2c-aa"
    monkeypatch.setattr(continuity, "_LINUX_BOOT", tmp_path / "nothing")
    assert boot_session() is None
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(continuity, "_MAC_BOOT", [sys.executable, "-c", "print('5A-11')"])
    assert boot_session() == "5A-11"
    monkeypatch.setattr(continuity, "_MAC_BOOT", [str(tmp_path / "nothing")])
    assert boot_session() is None
    monkeypatch.setattr(sys, "platform", "win32")
    assert boot_session() is None


def test_a_folder_that_was_moved_together_with_its_proof(folder: Path) -> None:
    """The file's name follows from the folder's; what it says inside names the folder once more."""
    old = _renewed(folder)
    old.close()
    moved = folder.rename(folder.with_name("weimar"))
    new = _proof(moved)
    old.path.rename(new.path)
    assert not new.proves(LOG, NONCE, 5)
