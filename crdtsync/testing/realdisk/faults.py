"""Calls that fail: one write, sync, truncation, open, rename or read of a life is refused, and what comes of it judged.

    first     a process founds, opens and works until the disk refuses. Then everything that it asks the store is
              refused in the same words. It closes its files, or dies with them open.
    second    the disk is well again. Another process opens the folder, finds all that was acknowledged, writes on.
    third     the power goes. What is left is judged like any power cut (`verdict`): a sync that failed took with it
              what it should have written, so whoever asks again, and believes the answer, is found out here.

Runs under the recorder: `python -m crdtsync.testing.realdisk.faults SEED ACTS CASES…`. A case is written
`kind:errno:manner:n[:killed]`, or `kind:count` to learn how many calls of that kind there are. Each gives one
line of JSON.
"""

from __future__ import annotations

import errno
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crdtsync.errors import CrdtSyncError, DamagedFile, StorageFailure
from crdtsync.host import Host
from crdtsync.ids import ReplicaId, record_id
from crdtsync.practice import Patient
from crdtsync.storage.continuity import Continuity
from crdtsync.testing.realdisk import recorder
from crdtsync.testing.realdisk.duties import Duties
from crdtsync.testing.realdisk.images import Disk, write_image
from crdtsync.testing.realdisk.planted import PLANTED_FAULTS, Plant
from crdtsync.testing.realdisk.recorder import Recorder
from crdtsync.testing.realdisk.trace import Operation, read_trace
from crdtsync.testing.realdisk.verdict import Broken, Case, Judge, grant_of
from crdtsync.testing.realdisk.work import (
    PLACE,
    START_MS,
    STATE,
    Work,
    membership_in,
    open_host,
    open_store,
    places,
    request_of,
    rows,
)
from crdtsync.testing.sealer import PlainSealer

MANNERS: Final = {"once": recorder.ONCE, "on": recorder.FROM_THEN_ON, "short": recorder.SHORT_WRITE}
_FULL_WORDS: Final = ("full", "space")
_CUTS: Final = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """What is refused: the `at`-th call of a kind, once or from then on, and how the process ends after it."""

    kind: str
    error: int
    manner: str
    at: int
    killed: bool = False

    @classmethod
    def parse(cls, text: str) -> Fault:
        """The inverse of `str`."""
        kind, error, manner, at, *killed = text.split(":")
        return cls(kind, getattr(errno, error), manner, int(at), bool(killed))

    def __str__(self) -> str:
        end = ":killed" if self.killed else ""
        return f"{self.kind}:{errno.errorcode[self.error]}:{self.manner}:{self.at}{end}"


class Trial:
    """One life with one fault. `problems` are sentences that say what was not as promised."""

    def __init__(self, library: Recorder, base: Path, seed: int, acts: int, plant: Plant | None) -> None:
        self._recorder = library
        self._base = base / "base"
        self._trace = base / "trace"
        self._scratch = base
        self._seed = seed
        self._acts = acts
        self._open = plant.child if plant else open_store
        self.problems: list[str] = []
        self._base.mkdir()
        os.environ["CRDTSYNC_STATE_DIR"] = str(self._base / STATE)

    def count(self, kind: str) -> int:
        """How many calls of a kind a life without a fault makes."""
        self._recorder.watch(self._base, None)
        self._recorder.fail(0, recorder.KINDS[kind], errno.EIO)
        self._live(Work(self._base, self._seed, self._note, self._open))
        calls = self._recorder.calls()
        self._recorder.ignore()
        return calls

    def run(self, fault: Fault) -> dict[str, Any]:
        """All three parts; what happened, for a line of JSON."""
        self._recorder.watch(self._base, self._trace)
        _in_a_process(lambda: self._first(fault))
        self._recorder.mark("{}")
        stopped = self._told()
        if not self.problems:
            _in_a_process(lambda: self._second(fault))
            self._told()
        self._recorder.ignore()
        if not self.problems:
            self._third(fault)
        return {"case": str(fault), "stopped": stopped, "problems": self.problems}

    def _note(self, *, did: dict[str, Any] | None = None, will: dict[str, Any] | None = None) -> None:
        self._recorder.mark(json.dumps({"did": did or {}, "will": will or {}}))

    def _say(self, **told: str) -> None:
        self._recorder.mark(json.dumps(told))

    def _told(self) -> str:
        """Take over what a process said in the trace; why it stopped, if it did."""
        stopped, self.problems = "", []
        for operation in read_trace(self._trace):
            if operation.name == "M":
                told = json.loads(operation.data)
                stopped = told.get("stopped", stopped)
                if "problem" in told:
                    self.problems.append(told["problem"])
        return stopped

    # -- the first process --------------------------------------------------------------------------------------------

    def _live(self, work: Work) -> None:
        work.found()
        work.open()
        for _ in range(self._acts):
            work.act()
        work.close()

    def _first(self, fault: Fault) -> None:
        work = Work(self._base, self._seed, self._note, self._open)
        self._recorder.fail(fault.at, recorder.KINDS[fault.kind], fault.error, MANNERS[fault.manner])
        try:
            self._live(work)
        except StorageFailure as error:
            self._say(stopped=str(error))
            self._refused(fault, work, error)
        except DamagedFile as error:  # what cannot be read is as good as damaged, and SQLite says so at times
            if fault.kind == "read":
                self._say(stopped=str(error))
            else:
                self._say(problem=f"instead of StorageFailure: DamagedFile: {error}")
        except Exception as error:
            self._say(problem=f"instead of StorageFailure: {type(error).__name__}: {error}")
        else:
            if not self._recorder.failed():
                self._say(problem="no call was made to fail")
        if fault.manner == "once":
            self._recorder.fail(0, 0, 0)
        if not fault.killed:
            with suppress(CrdtSyncError):
                work.close()

    def _refused(self, fault: Fault, work: Work, error: StorageFailure) -> None:
        """A store that failed says so for ever, in the same words; of a full disk it says what to do."""
        full = fault.error == errno.ENOSPC and self._recorder.failed() == "write"
        if full and not any(word in str(error) for word in _FULL_WORDS):
            self._say(problem=f"nothing is said of a full disk: {error}")
        if fault.manner == "once":
            self._recorder.fail(0, 0, 0)  # the disk is well: the store must not try
        host = work.host
        if host is None:
            return
        store = host.store
        calls: dict[str, Callable[[], object]] = {
            "log_head": store.log_head,
            "frontier": store.frontier,
            "members": store.members,
            "view_state": store.view_state,
            "meta": lambda: store.meta("hints"),
            "set_meta": lambda: store.set_meta({"small 0": b"late"}),
            "erase_keys": lambda: store.erase_keys([]),
            "rebuild": lambda: host.engine.rebuild(START_MS),
        }
        for name, call in calls.items():
            try:
                call()
            except StorageFailure as again:
                if str(again) != str(error):
                    self._say(problem=f"{error}, and then: {again}")
            else:
                self._say(problem=f"a store whose disk had failed went on: {name}")

    # -- the second process -------------------------------------------------------------------------------------------

    def _second(self, fault: Fault) -> None:
        """Open what is there, find what was acknowledged, write on."""
        duties = Duties()
        for operation in read_trace(self._trace):
            if operation.name == "M":
                duties.take(operation.data.decode())
        place = self._base / PLACE
        if not place.is_dir():
            if duties.founded:
                self._say(problem="the practice was founded, and its folder is gone")
            return
        try:
            self._go_on(place, duties)
        except Broken as broken:
            self._say(problem=f"opened again: {broken}")
        except Exception as error:
            self._say(problem=f"it does not open again: {type(error).__name__}: {error}")

    def _go_on(self, place: Path, duties: Duties) -> None:
        sealer = PlainSealer("jena", random.Random(f"{self._seed}/second").randbytes)
        store = self._open(place, bytes.fromhex(duties.view_key))
        try:
            proof = Continuity(place, ReplicaId(sealer.public.replica), place / "log.db")
            host = open_host(store, sealer, proof, lambda: START_MS + 5_000_000)
            Judge().check_open(host, sealer, duties, place)
            for number in range(4):
                self._write(host, sealer, number)
        finally:
            store.close()

    def _write(self, host: Host, sealer: PlainSealer, number: int) -> None:
        record = Patient(family_name="Nach dem Fehler")
        record.id = record_id(bytes([number]) * 16)
        grant = grant_of(membership_in(host.store, sealer))
        outcomes, _, _ = host.write([request_of([record], lambda: "second")], grant)
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
            self._note(did={"commits": places(outcome.commits), "keys": rows(outcome.keys)})

    # -- the power cut ------------------------------------------------------------------------------------------------

    def _third(self, fault: Fault) -> None:
        operations = read_trace(self._trace)
        chance = random.Random(str(fault))
        judge = Judge()
        after, end = _after_fault(operations)
        wanted = {end: "lost", len(operations) - 1: "lost"}
        for _ in range(_CUTS):
            wanted.setdefault(chance.randrange(after, len(operations)), chance.choice(("lost", "files", "torn")))
        disk, duties = Disk(), Duties()
        for at, operation in enumerate(operations):
            if operation.name == "M":
                duties.take(operation.data.decode())
            disk.take(operation)
            if at in wanted:
                self._judge(judge, disk, duties, wanted[at], f"{fault}/{at}")

    def _judge(self, judge: Judge, disk: Disk, duties: Duties, policy: str, name: str) -> None:
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            write_image(disk.image(policy, random.Random(name)), Path(folder))
            try:
                judge.check(Case(Path(folder), duties, False, name))
            except Broken as broken:
                self.problems.append(f"power cut ({policy}, {name}): {broken}")


def _after_fault(operations: list[Operation]) -> tuple[int, int]:
    """Where a sync was refused, or else where the first process had ended; and where it had ended."""
    end = max(at for at, operation in enumerate(operations) if operation.data == b"{}")
    refused = (at for at, operation in enumerate(operations) if operation.name == "s" and operation.failed)
    return min([*refused, end]), end


def _in_a_process(work: Callable[[], None]) -> None:
    """Do it in a process that ends without closing anything. Its words are in the trace."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.waitpid(child, 0)


def main(arguments: list[str]) -> None:
    """Try every case; `@NAME` among them plants a bug."""
    seed, acts, *cases = arguments
    library = Recorder()
    plant = next((PLANTED_FAULTS[case[1:]] for case in cases if case.startswith("@")), None)
    if plant is not None:
        plant.prepare()
    for case in cases:
        if case.startswith("@"):
            continue
        with tempfile.TemporaryDirectory() as base:
            trial = Trial(library, Path(base), int(seed), int(acts), plant)
            if case.endswith(":count"):
                found: dict[str, Any] = {"case": case, "calls": trial.count(case.partition(":")[0])}
            else:
                found = trial.run(Fault.parse(case))
        sys.stdout.write(f"{json.dumps(found)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
