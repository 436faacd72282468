"""The driver: every effect is carried out in order and answered; nobody waits for what will not happen."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from crdtsync import limits
from crdtsync.driver import _PERFORM, Driver, Notice, Signal
from crdtsync.duties import Duty
from crdtsync.engine import DeriveResult, WriteOutcome, WriteRequest
from crdtsync.errors import DamagedFile, RefusedError, RottenCommit, StorageFailure, UsageError
from crdtsync.ids import CommitHash, CommitId, DataKeyId, EpochId, Head, LogId, MemberHash, RecordId, ReplicaId
from crdtsync.replication import effects, events
from crdtsync.replication.frontier import Frontier
from crdtsync.storage.worker import StoreThread

from .sites import cancelled_at, patience_s

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of these tests has nothing to be looked over, also on a machine so slow that it seems idle."""
    monkeypatch.setattr(limits, "inspect_idle_s", 3_600.0)


OWN, OTHER = ReplicaId(b"o" * 16), ReplicaId(b"x" * 16)
LOG = LogId(OWN + b"1" * 8)
KEY, MEMBER = DataKeyId(b"k" * 16), MemberHash(b"m" * 32)
DERIVED = DeriveResult(
    done=True, arrival=7, digest=b"\x07" * 32, records=1, changed=[], waiting=[], alarms=["A commit is held."]
)


class Core:
    """A core that keeps a diary and wants what it was told to want."""

    def __init__(self) -> None:
        self.id = OWN
        self.wakeup = math.inf
        self.recovering = self.superseded = False
        self.suspended: dict[ReplicaId, Any] = {}
        self.stored = Frontier()
        self.arrived = 0
        self.peers: dict[int, Any] = {}
        self.wants: dict[type, list[effects.Effect]] = {}
        self.diary: list[events.Event] = []
        self.active = True
        self.epoch: EpochId | None = EpochId(b"e" * 16)
        self.membership = SimpleNamespace(heads=(MEMBER,), state=lambda: self)

    def handle(self, now: float, event: events.Event) -> Sequence[effects.Effect]:
        self.diary.append(event)
        if isinstance(event, events.Tick):
            self.wakeup = math.inf
        return self.wants.pop(type(event), [])

    def sealing_epoch(self) -> EpochId | None:
        return self.epoch

    def active_member(self, replica: ReplicaId) -> object:
        return self.active or None


class Disk:
    """Stands for host and engine: keeps a diary, and refuses when told to."""

    def __init__(self) -> None:
        self.diary: list[tuple[str, Any]] = []
        self.refuses: Exception | None = None
        self.engine = self.ranges = self
        self.exist = False
        """Whether there are ranges of patient numbers."""
        self.learns = self.boots = False
        self.slices: list[tuple[str, ...] | RottenCommit] = []
        """What deriving rows anew gives, one after another."""
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def close(self) -> None:
        self.diary.append(("close", None))

    def now_ms(self) -> int:
        return 1

    def _did(self, what: str, *about: Any) -> None:
        self.diary.append((what, about))
        self.entered.set()
        assert self.gate.wait(patience_s)
        if self.refuses is not None:
            raise self.refuses

    def did(self) -> list[str]:
        return [what for what, _ in self.diary if what != "derive"]

    def append(self, commits: Any, keys: Any, now: int = 0) -> None:
        self._did("append", commits, keys)

    def add_members(self, records: Any) -> None:
        self._did("add_members", records)

    def put_keys(self, keys: Any) -> None:
        self._did("put_keys", keys)

    def read_feeds(self, cursors: Any, commits_max: int, bytes_max: int) -> tuple[list[Any], list[Any]]:
        self._did("read_feeds", cursors, commits_max, bytes_max)
        return ["commit"], ["key"]

    def read_backlog(self, cursors: Any) -> tuple[int, int]:
        self._did("read_backlog", cursors)
        return 3, 300

    def read_keys(self, ids: Any) -> list[Any]:
        self._did("read_keys", ids)
        return ["key"]

    def learn(self, state: Any) -> bool:
        self._did("learn")
        return self.learns

    def new_boot(self) -> LogId:
        self._did("new_boot")
        return LOG

    @property
    def numbers(self) -> SimpleNamespace:
        return SimpleNamespace(confirm=lambda: self._did("confirm"))

    def note_recovering(self, recovering: bool) -> None:
        self._did("note_recovering", recovering)

    @property
    def upkeep(self) -> Any:
        return SimpleNamespace(rotten=())

    def inspect(self, now: int, keys_of: Any) -> DeriveResult:
        """A busy machine leaves pauses in which a site looks over what it keeps."""
        return self._result()

    def told(self) -> list[str]:
        return ["numbers are nearly used up"] if self.exist else []

    def rebuild(self, now: int, progress: Any) -> None:
        self._did("rebuild")

    def derive(self, now: int) -> DeriveResult:
        self._did("derive")
        return self._result()

    def _result(self) -> DeriveResult:
        behind = self.slices[0] if self.slices else ()
        return DERIVED if isinstance(behind, RottenCommit) else replace(DERIVED, behind=behind)

    def derive_rows(self, now: int, wanted: Collection[str]) -> tuple[str, ...]:
        self._did("derive_rows", sorted(wanted))
        left = self.slices.pop(0)
        if isinstance(left, RottenCommit):
            raise left
        return left

    def derive_waiting(self, now: int) -> DeriveResult:
        self._did("derive_waiting")
        return self._result()

    def write(self, requests: Sequence[WriteRequest], grant: Any) -> tuple[list[WriteOutcome], DeriveResult, Any]:
        self._did("write", [getattr(request, "author", "decided") for request in requests], grant)
        commit: Any = SimpleNamespace(id=CommitId(LOG, 1))
        return [WriteOutcome(commit, (commit,), ()) for _ in requests], DERIVED, LOG if self.boots else None


class Chores:
    """Stands for the duties of a site: keeps count of how often it was asked, and gives what it was told to give."""

    def __init__(self) -> None:
        self.asked = 0
        self.due_now: list[Duty] = []

    def due(self, disk: Disk, grant: Any, now_ms: int) -> list[Duty]:
        self.asked += 1
        due, self.due_now = self.due_now, []
        return due


class Wire:
    """A link that keeps what it was given."""

    def __init__(self) -> None:
        self.posted: list[tuple[bytes, bool]] = []
        self.closed: list[str] = []

    def post(self, message: bytes, urgent: bool = False) -> None:
        self.posted.append((message, urgent))

    def close(self, reason: str, flush: bool = False) -> None:
        self.closed.append(reason)


class Rig:
    """A driver between a core and a disk that keep diaries."""

    def __init__(self, driver: Driver, core: Core, disk: Disk) -> None:
        self.driver, self.core, self.disk = driver, core, disk
        self.running = anyio.CancelScope()

    async def happened(self, kind: type[events.Event]) -> Any:
        """The first event of this kind, awaited."""
        with anyio.fail_after(patience_s):
            while True:
                for event in self.core.diary:
                    if isinstance(event, kind):
                        return event
                await anyio.lowlevel.checkpoint()

    async def wants(self, *wanted: effects.Effect) -> None:
        """Let the core want something now."""
        self.core.wants[events.Stored] = list(wanted)
        self.driver.handle(events.Stored())


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    core, disk = Core(), Disk()
    core.membership.state = lambda: SimpleNamespace(
        sealing_epoch=core.sealing_epoch, active=core.active_member, closed={}, members={}
    )
    thread: StoreThread[Any] = await StoreThread.open(lambda: disk)
    try:
        driver = Driver(core, thread)  # type: ignore[arg-type]  # what a driver needs of a core
        driver.duties = Chores()  # type: ignore[assignment]  # what a driver needs of them
        made = Rig(driver, core, disk)
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                with made.running:
                    await driver.run()

            tasks.start_soon(run)
            await made.happened(events.Derived)
            core.diary.clear()
            disk.diary.clear()
            yield made
            tasks.cancel_scope.cancel()
    finally:
        await thread.aclose()


def request(author: str) -> WriteRequest:
    return WriteRequest(author, "", "", "", [])


async def test_a_signal_is_not_missed_between_looking_and_waiting() -> None:
    signal = Signal()
    seen = signal.count
    signal.notify()
    with anyio.fail_after(patience_s):
        await signal.beyond(seen)
    with anyio.move_on_after(0) as scope:
        await signal.beyond(signal.count)
    assert scope.cancelled_caught


def test_every_effect_has_somebody_who_carries_it_out() -> None:
    assert set(_PERFORM) == set(get_args(effects.Effect))


CASES: list[tuple[effects.Effect, list[str], events.Event]] = [
    (effects.Store([], []), ["append"], events.Stored()),
    (
        effects.StoreMembers([(MEMBER, b"record")]),
        ["add_members"],
        events.MembersStored([(MEMBER, b"record")]),
    ),
    (effects.StoreKeys([]), ["put_keys", "derive_waiting"], events.KeysStored([])),
    (effects.ReadFeeds(4, {LOG: 1}, 10, 100), ["read_feeds"], events.FeedsRead(4, ["commit"], ["key"])),  # type: ignore[list-item]
    (effects.ReadBacklog(4, {LOG: 1}), ["read_backlog"], events.BacklogRead(4, 3, 300)),
    (effects.ReadKeys(4, [KEY]), ["read_keys"], events.KeysRead(4, ["key"])),  # type: ignore[list-item]
    (effects.NewBoot("a test"), ["new_boot"], events.BootOpened(LOG)),
]


@pytest.mark.parametrize(("effect", "asked", "answer"), CASES, ids=lambda case: type(case).__name__)
async def test_what_the_core_wants_is_done_and_answered(
    effect: effects.Effect, asked: list[str], answer: events.Event
) -> None:
    async with rig() as r:
        await r.wants(effect)
        r.core.diary.clear()
        assert await r.happened(type(answer)) == answer
        await r.driver.in_order(lambda disk: None)
        assert r.disk.did() == asked


async def test_deriving_again_and_new_epochs() -> None:
    async with rig() as r:
        await r.wants(effects.Rederive(OTHER))
        assert (await r.happened(events.Derived)).arrival == 7
        assert r.disk.did() == ["rebuild"]
        seen = r.driver.members_changed.count
        r.disk.learns = True
        await r.wants(effects.MembersChanged())
        with anyio.fail_after(patience_s):
            await r.driver.members_changed.beyond(seen)
        assert r.disk.did() == ["rebuild", "learn", "derive_waiting"]


async def test_messages_and_endings_reach_their_link_only() -> None:
    async with rig() as r:
        wire = Wire()
        r.driver.link_up(4, OTHER, wire, dialled=True)
        await r.wants(
            effects.Send(4, b"hello", True),
            effects.Send(5, b"nobody", False),
            effects.Close(4, "enough"),
            effects.Close(5, "nobody"),
        )
        assert wire.posted == [(b"hello", True)] and wire.closed == ["enough"]
        r.driver.link_down(4)
        await r.wants(effects.Send(4, b"late", False))
        assert len(wire.posted) == 1
        assert events.LinkUp(4, OTHER, True) in r.core.diary and events.LinkDown(4) in r.core.diary


async def test_alarms_are_kept_and_told() -> None:
    async with rig() as r:
        told: list[Notice] = []
        r.driver.on_notice = told.append
        await r.wants(effects.Alarm("fork", "A log was written twice."))
        assert told == [Notice("fork", "A log was written twice.")]
        assert Notice("held", "A commit is held.") in r.driver.alarms
        for number in range(limits.alarms_kept_max + 10):
            await r.wants(effects.Alarm("fork", str(number)))
        assert len(r.driver.alarms) == limits.alarms_kept_max


async def test_jobs_are_done_in_their_order() -> None:
    """What was stored is told as stored before anything that was asked for later."""
    async with rig() as r:
        r.disk.gate.clear()
        await r.wants(effects.Store([], []), effects.ReadBacklog(1, {}), effects.StoreMembers([]))
        r.disk.gate.set()
        await r.driver.in_order(lambda disk: None)
        assert r.disk.did() == ["append", "read_backlog", "add_members"]
        answers = [type(event).__name__ for event in r.core.diary if not isinstance(event, events.Derived)]
        assert answers == ["Stored", "Stored", "BacklogRead", "MembersStored"]


async def test_rows_are_derived_anew_behind_all_other_jobs() -> None:
    """A slice at a time: what was queued meanwhile comes in between, and whoever waits for a kind has it come first."""
    async with rig() as made:
        driver, disk = made.driver, made.disk
        disk.slices = [("boat", "kite"), ("boat", "kite"), ("kite",), ()]
        disk.gate.clear()
        driver.derive_soon()
        await made.wants(effects.StoreKeys([KEY]), effects.StoreKeys([KEY]))  # type: ignore[list-item]
        disk.gate.set()
        with anyio.fail_after(patience_s):
            while not driver.behind:
                await driver.changed.wait()
            await driver.rows_of(["kite"])
            await driver.rows_of(["boat"])
        assert driver.behind == ()
        did = disk.did()
        assert did[:2] == ["put_keys", "put_keys"] and did.count("derive_rows") == 4
        wanted = [about[0] for what, about in disk.diary if what == "derive_rows"]
        assert wanted.count(["kite"]) == 1 and wanted.count([]) == 3


async def test_rows_that_need_a_rotten_commit_wait_until_it_is_mended() -> None:
    async with rig() as made:
        driver, disk = made.driver, made.disk
        disk.slices = [("boat",), RottenCommit(1, b"log", 1), ("boat",), ()]
        driver.derive_soon()
        with anyio.fail_after(patience_s):
            while disk.did().count("derive_rows") < 2:
                await driver.changed.wait()
        await driver.in_order(lambda host: None)
        assert driver.behind == ("boat",) and disk.did().count("derive_rows") == 2, "it is not tried for ever"
        driver.derive_soon()
        with anyio.fail_after(patience_s):
            await driver.rows_of(["boat"])
        assert driver.behind == () and driver.failure is None


async def test_a_group_has_its_limit() -> None:
    async with rig() as r:
        async with anyio.create_task_group() as tasks:
            for number in range(limits.group_commits_max + 5):
                tasks.start_soon(r.driver.write, request(str(number)))
        groups = [about[0] for what, about in r.disk.diary if what == "write"]
        assert [len(group) for group in groups] == [limits.group_commits_max, 5]
        assert [*groups[0], *groups[1]] == [str(number) for number in range(limits.group_commits_max + 5)]
        assert sum(isinstance(event, events.Wrote) for event in r.core.diary) == 2


async def test_a_refusal_fails_its_writers_and_nothing_else() -> None:
    async with rig() as r:
        r.core.epoch = None
        with pytest.raises(RefusedError, match="key epoch"):
            await r.driver.write(request("a"))
        r.core.epoch, r.core.active = EpochId(b"e" * 16), False
        with pytest.raises(RefusedError, match="removed this site"):
            await r.driver.write(request("b"))
        r.core.active, r.core.recovering = True, True
        with pytest.raises(RefusedError, match="which are fetched first"):
            await r.driver.write(request("c"))
        r.core.recovering, r.core.superseded = False, True
        with pytest.raises(RefusedError, match="another copy of this site goes on"):
            await r.driver.write(request("c"))
        r.core.superseded = False
        assert (await r.driver.write(request("d"))).error is None
        assert [about[0] for what, about in r.disk.diary if what == "write"] == [["d"]]


async def test_what_waits_when_recovering_begins_is_not_written_to_the_log_that_ends() -> None:
    """Its place may be taken: a peer holds more of that log (L3, L4)."""
    async with rig() as r:
        r.disk.gate.clear()
        refused: list[str] = []

        async def write() -> None:
            with pytest.raises(RefusedError) as raised:
                await r.driver.write(request("late"))
            refused.append(str(raised.value))

        async with anyio.create_task_group() as tasks:
            await r.wants(effects.StoreMembers([(MEMBER, b"record")]))
            tasks.start_soon(write)
            while not r.driver._pending:
                await anyio.lowlevel.checkpoint()
            r.core.recovering = True
            r.disk.gate.set()
        assert "fetched first" in refused[0] and "write" not in r.disk.did()


async def test_that_it_is_recovering_is_kept() -> None:
    async with rig() as r:
        await r.wants(effects.NoteRecovering(True), effects.NoteRecovering(False))
        await r.driver.in_order(lambda disk: None)
        assert [about for what, about in r.disk.diary if what == "note_recovering"] == [(True,), (False,)]


async def test_a_boot_that_had_to_be_opened_is_told_before_its_commits() -> None:
    async with rig() as r:
        r.disk.boots = True
        await r.driver.write(request("a"))
        told = [type(event) for event in r.core.diary]
        assert told.index(events.BootOpened) < told.index(events.Wrote)


async def test_what_is_due_is_looked_for_when_something_changed_and_at_no_other_time() -> None:
    async with rig() as r:
        chores: Any = r.driver.duties
        r.core.arrived = DERIVED.arrival
        before = chores.asked
        r.driver._derived(DERIVED)
        await r.driver.in_order(lambda disk: None)
        assert chores.asked <= before + 1, "what was due since the beginning"
        before = chores.asked
        for _ in range(3):
            r.driver._derived(replace(DERIVED, changed=[("patient", RecordId("a" * 26))]))
        await r.driver.in_order(lambda disk: None)
        assert chores.asked == before
        chores.due_now = [Duty(request("holder"), "the series is lost")]  # type: ignore[arg-type]
        r.driver._derived(replace(DERIVED, changed=[("invoice", RecordId("a" * 26))]))
        await r.driver.in_order(lambda disk: None)
        await r.driver.in_order(lambda disk: None)
        assert chores.asked == before + 1 and r.disk.did() == ["write"]
        assert [notice.text for notice in r.driver.alarms if notice.kind == "duty"] == ["the series is lost"]
        await r.wants(effects.Confirmed(), effects.NoteRecovering(False), effects.MembersChanged())
        for _ in range(4):
            await r.driver.in_order(lambda disk: None)
        assert before + 2 <= chores.asked <= before + 4


async def test_what_is_due_waits_while_this_site_may_not_write() -> None:
    async with rig() as r:
        chores: Any = r.driver.duties
        r.core.arrived = DERIVED.arrival
        r.core.recovering = True
        before = chores.asked
        r.driver._derived(replace(DERIVED, changed=[("series", RecordId("a" * 26))]))
        await r.driver.in_order(lambda disk: None)
        assert chores.asked == before
        r.core.recovering = False
        r.driver._derived(DERIVED)
        await r.driver.in_order(lambda disk: None)
        assert chores.asked == before + 1


async def test_a_cancelled_writer_hears_of_it_when_it_is_done() -> None:
    async with rig() as r:
        outcomes: list[WriteOutcome] = []

        async def write() -> None:
            outcomes.append(await r.driver.write(request("a")))

        assert not await cancelled_at(1, write()) and len(outcomes) == 1
        assert r.disk.did() == ["write"]


async def test_ranges_are_looked_after_once_when_they_change_and_what_they_say_is_told() -> None:
    async with rig() as r:
        r.disk.exist = True
        told: list[Notice] = []
        r.driver.on_notice = told.append
        for _ in range(3):
            r.driver._derived(replace(DERIVED, alarms=[], changed=[("number_range", RecordId("r"))]))
        await r.happened(events.Wrote)
        [(_, (authors, _))] = [each for each in r.disk.diary if each[0] == "write"]
        assert authors == ["decided"] and told[0] == Notice("range", "numbers are nearly used up")


@pytest.mark.parametrize("error", [StorageFailure("no space"), DamagedFile("not what was written")])
async def test_a_disk_that_refuses_ends_everything_at_once(error: Exception) -> None:
    """Whoever waits is told, links end, and the disk is not asked again."""
    async with rig() as r:
        wire, late = Wire(), Wire()
        r.driver.link_up(4, OTHER, wire, dialled=True)
        raised: list[BaseException] = []

        async def attempt(work: Callable[[], Any]) -> None:
            try:
                await work()
            except type(error) as found:
                raised.append(found)

        r.disk.gate.clear()
        r.disk.entered.clear()
        r.disk.refuses = error
        with anyio.fail_after(patience_s):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(attempt, lambda: r.driver.write(request("a")))
                await anyio.to_thread.run_sync(r.disk.entered.wait)
                tasks.start_soon(attempt, lambda: r.driver.write(request("b")))
                tasks.start_soon(attempt, lambda: r.driver.publish([(MEMBER, b"record")]))
                tasks.start_soon(attempt, lambda: r.driver.in_order(lambda disk: disk.close()))
                while len(r.driver._awaited) < 4:
                    await anyio.lowlevel.checkpoint()
                r.disk.gate.set()
        assert [str(found) for found in raised] == [str(error)] * 4
        assert wire.closed == ["this site's disk refuses"]
        assert r.disk.did() == ["write"]
        for work in (lambda: r.driver.write(request("c")), lambda: r.driver.publish([])):
            with pytest.raises(type(error)):
                await work()
        r.driver.link_up(5, OTHER, late, dialled=False)
        await r.wants(effects.Store([], []))
        assert late.closed and r.disk.did() == ["write"]


async def test_an_error_of_one_question_is_its_askers() -> None:
    async with rig() as r:

        def wrong(disk: Any) -> None:
            raise UsageError("a wrong question")

        def fault(disk: Any) -> None:
            raise ZeroDivisionError

        with pytest.raises(UsageError, match="a wrong question"):
            await r.driver.in_order(wrong)
        with pytest.raises(ZeroDivisionError):
            await r.driver.in_order(fault)
        assert await r.driver.in_order(lambda disk: 5) == 5 and r.driver.failure is None


async def test_what_was_begun_is_ended_when_the_driver_stops() -> None:
    async with rig() as r:
        outcomes: list[Any] = []

        async def write(author: str) -> None:
            try:
                outcomes.append(await r.driver.write(request(author)))
            except UsageError as error:
                outcomes.append(str(error))

        r.disk.gate.clear()
        r.disk.entered.clear()
        with anyio.fail_after(patience_s):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write, "begun")
                await anyio.to_thread.run_sync(r.disk.entered.wait)
                tasks.start_soon(write, "waiting")
                while len(r.driver._awaited) < 2:
                    await anyio.lowlevel.checkpoint()
                r.running.cancel()
                r.disk.gate.set()
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["WriteOutcome", "str"]
        assert [about[0] for what, about in r.disk.diary if what == "write"] == [["begun"]]


async def test_time_is_told_when_the_core_asked_for_it() -> None:
    async with rig() as r:
        r.core.wakeup = 0.0  # in the past: at once
        await r.wants()
        await r.happened(events.Tick)


def test_holders_are_counted_by_what_they_said() -> None:
    core = Core()
    known = {OTHER: Frontier()}
    member: Any = SimpleNamespace(replica=OWN, active=True)
    stranger: Any = SimpleNamespace(replica=OTHER, active=True)
    core.membership.state = lambda: SimpleNamespace(members={OWN: member, OTHER: stranger})
    core.holding = known.__getitem__  # type: ignore[attr-defined]
    driver = Driver(core, None)  # type: ignore[arg-type]  # what counting needs
    commit = CommitId(LOG, 2)
    assert driver.holders(commit) == 0
    core.stored.advance(LOG, Head(2, CommitHash(b"h" * 32)))
    assert driver.holders(commit) == 1
    known[OTHER].advance(LOG, Head(1, CommitHash(b"i" * 32)))
    assert driver.holders(commit) == 1
    known[OTHER].advance(LOG, Head(3, CommitHash(b"j" * 32)))
    assert driver.holders(commit) == 2
    stranger.active = False
    assert driver.holders(commit) == 1, "what was stolen or closed holds nothing for anybody"
