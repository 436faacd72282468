"""Proof that a log may be continued (L4): that this folder is the only continuation of what was written last.

The proof lies in two places that a copy, a restored backup, another machine or a reboot does not bring along together:
a nonce and the last synced sequence in the store, and a small file outside the folder that names, besides them, the
operating system's boot session, the folder and the very file of the log. Whatever does not match is no proof, and the
replica opens a new boot: that costs nothing but a new log, while a wrong proof would let two machines write one log.

The file is written without a sync, in microseconds, after each sync of the log. A kill leaves it as it was written; a
power cut may lose it, and ends the boot session anyway.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from crdtsync.ids import ReplicaId, base32

_DIGITS: Final = 20
_FILE_BYTES_MAX: Final = 64 * 1024
_LINUX_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MAC_BOOT = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]


class Continuity:
    """The proof of one replica's folder. `log_db` must exist when `proves` or `renew` is called.

    No method raises for a disk that refuses: without a file there is no proof.
    """

    def __init__(self, folder: str | Path, replica: ReplicaId, log_db: str | Path) -> None:
        self._folder = os.path.realpath(folder)
        self._log_db = Path(log_db)
        name = hashlib.sha256(self._folder.encode(errors="surrogateescape") + b"\0" + replica).digest()[:16]
        self.path = state_folder() / f"{base32(name)}.boot"
        self._handle: int | None = None

    def proves(self, log: str, nonce: bytes, sequence: int) -> bool:
        """Whether `log`, which the store holds up to `sequence` under `nonce`, may be continued.

        False when anything differs or cannot be told, and when the store is behind the file.
        """
        expected = self._facts(log, nonce)
        found = self._read()
        if expected is None or found is None:
            return False
        synced, facts = found
        return facts == expected and synced <= sequence

    def renew(self, log: str, nonce: bytes, sequence: int) -> None:
        """Write the proof for the time until the next opening; `nonce` is fresh and was synced to the store before.

        Without a boot session to name, any old file is removed.
        """
        self.close()
        facts = self._facts(log, nonce)
        if facts is None:
            self._void()
            return
        text = f"{sequence:0{_DIGITS}d}\n{json.dumps(facts)}".encode()
        beside = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside.unlink(missing_ok=True)
            self._handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            os.write(self._handle, text)
            if os.name == "nt":  # an open file cannot be replaced there, and there is no session to name either
                self.close()
            os.replace(beside, self.path)
        except OSError:
            self.close()
            self._void()

    def advance(self, sequence: int) -> None:
        """Note that the log is synced up to `sequence`. Microseconds, no sync; call it after each sync of the log."""
        if self._handle is None:
            return
        try:
            os.pwrite(self._handle, f"{sequence:0{_DIGITS}d}".encode(), 0)
        except OSError:
            # A file that lags behind would prove an older copy of the folder.
            self.close()
            self._void()

    def close(self) -> None:
        """Let go of the file; the proof stays. Idempotent."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _void(self) -> None:
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _facts(self, log: str, nonce: bytes) -> dict[str, Any] | None:
        session = boot_session()
        if session is None:
            return None
        try:
            status = os.stat(self._log_db)
        except OSError:
            return None
        file = [status.st_dev, status.st_ino]
        return {"log": log, "nonce": nonce.hex(), "session": session, "folder": self._folder, "file": file}

    def _read(self) -> tuple[int, Any] | None:
        try:
            with self.path.open("rb") as file:
                text = file.read(_FILE_BYTES_MAX)
            digits, _, facts = text.partition(b"\n")
            if len(digits) != _DIGITS:
                return None
            return int(digits), json.loads(facts)
        except (OSError, ValueError, RecursionError):
            return None


def state_folder() -> Path:
    """Where this machine keeps what must not travel with a replica's folder; `CRDTSYNC_STATE_DIR` names another."""
    if named := os.environ.get("CRDTSYNC_STATE_DIR"):
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "crdtsync"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "crdtsync"
    named = os.environ.get("XDG_STATE_HOME")
    return (Path(named) if named else Path.home() / ".local" / "state") / "crdtsync"


def boot_session() -> str | None:
    """The name of the time since this machine was started; None where it has none, and nothing is proved."""
    if sys.platform == "linux":
        try:
            return _LINUX_BOOT.read_text(encoding="ascii").strip() or None
        except (OSError, ValueError):
            return None
    if sys.platform == "darwin":
        try:
            asked = subprocess.run(_MAC_BOOT, capture_output=True, text=True, timeout=5, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return asked.stdout.strip() or None
    return None
