"""serve survives its worker, and the worker does not survive serve. Linux and macOS: by signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crdtsync.storage.lock import FolderLock
from tests.cli.conftest import PASSPHRASE, Call, Served, Start
from tests.deadly import weaken_children

patience_s = 30.0
look_again_s = 0.01
silence_s = 1.5
impatient = {"worker_silence_s": silence_s, "worker_beat_s": 0.1}


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(look_again_s)


def worker_of(call: Call, folder: Path) -> dict[str, Any]:
    """What status says of the process that serves."""
    return dict(call("status", folder, "--json").json["worker"])


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def replaced(serving: Served, reason: str, ready: dict[str, Any]) -> None:
    """The next two events: why there is another worker, and that it is where the first one was."""
    assert serving.event() == {"event": "worker-replaced", "reason": reason}
    assert serving.event() == ready


def test_a_killed_worker_is_replaced_where_it_was(call: Call, start: Start, jena: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(PASSPHRASE, encoding="utf-8")
    del os.environ["CRDTSYNC_PASSPHRASE"]
    serving = start("serve", jena, "--passphrase-file", secret)
    ready = serving.event()
    secret.unlink()
    first = worker_of(call, jena)
    assert first == {"started": 1, "reason": None, "pid": first["pid"]}
    assert first["pid"] != serving.process.pid
    new = call("record", "new", jena, "patient", "family_name=Muster", "--json").json
    os.kill(first["pid"], signal.SIGKILL)
    # This verb has no passphrase: it can only have waited for the next worker.
    assert call("record", "show", jena, new["id"], "--json").json["fields"]["family_name"] == "Muster"
    replaced(serving, "ended by SIGKILL", ready)
    second = worker_of(call, jena)
    assert second == {"started": 2, "reason": "ended by SIGKILL", "pid": second["pid"]}
    done = serving.stop()
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {"event": "stopped"}
    assert not lives(second["pid"])
    os.environ["CRDTSYNC_PASSPHRASE"] = PASSPHRASE
    assert call("status", jena, "--json").json["worker"] is None


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_killed_serve_leaves_no_worker(call: Call, start: Start, jena: Path, stopped: bool) -> None:
    """Not even one that cannot run a line of Python: then Linux ends it, at once."""
    if stopped and sys.platform != "linux":
        pytest.skip("only Linux ends a process with its parent")
    serving = start("serve", jena)
    serving.event()
    pid = worker_of(call, jena)["pid"]
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    serving.process.kill()
    again = start("serve", jena)
    assert again.event()["event"] == "ready"
    until(lambda: not lives(pid), "the worker lives on")
    assert worker_of(call, jena)["started"] == 1


def test_a_silent_worker_is_replaced(call: Call, start: Start, jena: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weaken_children(monkeypatch, **impatient)
    serving = start("serve", jena)
    ready = serving.event()
    pid = worker_of(call, jena)["pid"]
    os.kill(pid, signal.SIGSTOP)
    replaced(serving, "silent for 1.5 s", ready)
    assert not lives(pid)
    assert worker_of(call, jena)["started"] == 2


def test_a_supervisor_that_was_stopped_itself_replaces_nobody(
    call: Call, start: Start, jena: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken_children(monkeypatch, **impatient)
    serving = start("serve", jena)
    serving.event()
    first = worker_of(call, jena)
    # Both, as when the machine sleeps: nothing that the worker said is waiting when the supervisor goes on.
    for pids in ([serving.process.pid, first["pid"]], [serving.process.pid]):
        began = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        while time.monotonic() < began + 1.5 * silence_s:
            if len(pids) == 1:
                assert worker_of(call, jena) == first, "the worker goes on without it"
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
        assert worker_of(call, jena) == first
    done = serving.stop()
    assert (done.code, done.out) == (0, '{"event": "stopped"}\n')


def test_what_dies_again_and_again_is_given_up(
    call: Call, start: Start, jena: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken_children(monkeypatch, worker_deaths_max=3, worker_backoff_max_s=0.05)
    serving = start("serve", jena)
    ready = serving.event()
    for death in range(4):
        os.kill(worker_of(call, jena)["pid"], signal.SIGKILL)
        if death < 3:
            replaced(serving, "ended by SIGKILL", ready)
    done = serving.ended()
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "died 4 times in a row" in done.err and "ended by SIGKILL" in done.err
    assert call("verify", jena, "--json").json["ok"] is True


def test_a_worker_that_is_told_to_stop_ends_serve(call: Call, start: Start, jena: Path) -> None:
    """As a service manager does it, which tells all processes of a service."""
    serving = start("serve", jena)
    serving.event()
    os.kill(worker_of(call, jena)["pid"], signal.SIGTERM)
    assert serving.ended().code == 0


def test_a_refusal_is_told_once(call: Call, jena: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRDTSYNC_PASSPHRASE", "wrong")
    assert "passphrase" in call("serve", jena).refused(1)
    monkeypatch.delenv("CRDTSYNC_PASSPHRASE")
    assert "no passphrase" in call("serve", jena).refused(2)
    assert "cannot be read" in call("serve", jena, "--passphrase-file", jena / "missing").refused(1)
    assert "there is no folder" in call("serve", jena / "missing").refused(1)
    assert "No such option" in call("serve", jena, "--what").refused(2)


@pytest.mark.slow
def test_a_folder_that_somebody_works_in_is_waited_for(call: Call, start: Start, jena: Path) -> None:
    lock = FolderLock(jena)
    try:
        assert "another process works in this folder" in call("serve", jena).refused(1)
    finally:
        lock.release()
    assert start("serve", jena).event()["event"] == "ready"


def test_a_reader_that_goes_away_stops_nothing(call: Call, start: Start, jena: Path) -> None:
    serving = start("serve", jena)
    serving.event()
    assert serving.process.stdout is not None
    serving.process.stdout.close()
    os.kill(worker_of(call, jena)["pid"], signal.SIGKILL)
    assert worker_of(call, jena)["started"] == 2
    serving.process.terminate()
    assert serving.process.wait(patience_s) == 0


class Terminal:
    """`crdtsync serve` as a person starts it: at a terminal, where it may ask."""

    def __init__(self, folder: Path) -> None:
        program = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, sys.executable, "-m", "crdtsync.cli", "serve", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.shown = ""

    def show(self, words: str) -> str:
        """Read on until these words are shown."""
        assert self.process.stdout is not None
        while words not in self.shown:
            more = os.read(self.process.stdout.fileno(), 4096).decode()
            assert more, f"it ended with {self.process.poll()}: {self.shown}"
            self.shown += more
        before, _, self.shown = self.shown.partition(words)
        return before + words

    def type(self, keys: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(keys.encode())
        self.process.stdin.flush()

    def end(self) -> int:
        with self.process:
            assert self.process.stdin is not None and self.process.stdout is not None
            rest = self.process.stdout.read().decode()
            assert "Stopped." in self.shown + rest or "interrupted" in self.shown + rest
        return self.process.returncode


def test_a_person_is_asked_once(call: Call, jena: Path) -> None:
    del os.environ["CRDTSYNC_PASSPHRASE"]
    terminal = Terminal(jena)
    terminal.show("Passphrase of this site: ")
    terminal.type(PASSPHRASE + "\n")
    ready = json.loads(terminal.show("\n").strip() or terminal.show("\n"))
    assert ready["event"] == "ready"
    os.kill(worker_of(call, jena)["pid"], signal.SIGKILL)
    assert "was replaced: ended by SIGKILL." in terminal.show("\n")
    assert json.loads(terminal.show("\n")) == ready
    terminal.type("\x03")
    assert terminal.end() == 0


def test_ctrl_c_ends_the_question(call: Call, jena: Path) -> None:
    del os.environ["CRDTSYNC_PASSPHRASE"]
    terminal = Terminal(jena)
    terminal.show("Passphrase of this site: ")
    terminal.type("\x03")
    assert terminal.end() == 130
