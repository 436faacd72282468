"""Questions between sites: over real links, with real seals, whatever becomes of those who ask and answer."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from crdtsync import Site, limits
from crdtsync.driver import Notice
from crdtsync.errors import AuthorityUnreachable, BadValue, NotFound, RefusedError, StorageFailure, UsageError
from crdtsync.ids import ReplicaId
from crdtsync.replication import messages

from .sites import create, linked, mesh, patience_s, practice

pytestmark = pytest.mark.anyio


def id_of(site: Site) -> ReplicaId:
    return site.identity.public.replica


class Application:
    """Answers questions with what it was asked, and keeps books; while the gate is shut it waits."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.asked: list[tuple[ReplicaId, bytes]] = []
        self.left: list[bytes] = []
        self.gate = anyio.Event()
        self.gate.set()
        self.news = anyio.Event()
        site.driver.on_ask = self.answer

    async def answer(self, asker: ReplicaId, question: bytes) -> bytes:
        self.asked.append((asker, question))
        self._tell()
        try:
            await self.gate.wait()
        except anyio.get_cancelled_exc_class():
            self.left.append(question)
            self._tell()
            raise
        return b"you asked " + question

    def _tell(self) -> None:
        self.news.set()
        self.news = anyio.Event()

    async def until_asked(self, times: int = 1) -> None:
        with anyio.fail_after(patience_s):
            while len(self.asked) < times:
                await self.news.wait()

    async def until_left(self) -> None:
        with anyio.fail_after(patience_s):
            while not self.left:
                await self.news.wait()


@asynccontextmanager
async def chain(*sites: Site) -> AsyncIterator[None]:
    """Each is linked to the next one alone."""
    async with AsyncExitStack() as stack:
        before: list[str] = []
        for site in sites:
            serving = await stack.enter_async_context(site.serve("127.0.0.1:0", peers=before, only_peers=True))
            before = [serving.address]
        for number, site in enumerate(sites):
            await linked(site, 1 if number in (0, len(sites) - 1) else 2)
        yield


async def test_a_site_without_a_link_to_the_other_asks_it_and_is_answered(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera], chain(jena, weimar, gera):
        there, between = Application(gera), Application(weimar)
        with anyio.fail_after(patience_s):
            while jena.driver.replica.membership.state().active(id_of(gera)) is None:
                await jena.driver.members_changed.wait()
            assert await jena.driver.ask(id_of(gera), b"which number?", 20.0) == b"you asked which number?"
            with pytest.raises(RefusedError, match="Jena refuses: this program answers no questions"):
                await gera.driver.ask(id_of(jena), b"and you?", 20.0)
        assert there.asked == [(id_of(jena), b"which number?")] and between.asked == []
        assert id_of(gera) in jena.driver.last_heard, "an answer is a sign of life, whoever brought it"
        assert not weimar.driver.alarms and not jena.driver.alarms


async def test_a_lost_answer_comes_again_and_nobody_is_asked_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ask_repeat_s", 0.05)
    monkeypatch.setattr(limits, "ask_pass_s", 0.01)
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar], mesh(jena, weimar):
        there = Application(weimar)
        take, lost = jena.driver.received, 0

        def deaf(number: int, message: bytes) -> None:
            nonlocal lost
            if isinstance(messages.decode(message), messages.Answer) and lost < 2:
                lost += 1
                return
            take(number, message)

        monkeypatch.setattr(jena.driver, "received", deaf)
        with anyio.fail_after(patience_s):
            assert await jena.driver.ask(id_of(weimar), b"again?", 20.0) == b"you asked again?"
        assert lost == 2 and len(there.asked) == 1


async def test_who_is_cancelled_lets_the_other_leave_it(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar], mesh(jena, weimar):
        there = Application(weimar)
        there.gate = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jena.driver.ask, id_of(weimar), b"never mind", 20.0)
            await there.until_asked()
            tasks.cancel_scope.cancel()
        await there.until_left()
        assert there.left == [b"never mind"] and jena.driver.asks._waiting == {}
        there.gate.set()
        with anyio.fail_after(patience_s):
            assert await jena.driver.ask(id_of(weimar), b"but this", 20.0) == b"you asked but this"


async def test_who_does_not_answer_is_named_with_when_it_was_heard(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        with pytest.raises(AuthorityUnreachable, match="Weimar does not answer") as raised:
            await jena.driver.ask(id_of(weimar), b"hello?", 0.05)
        assert (raised.value.site, raised.value.since) == ("Weimar", None)
        assert "it has not been heard of since this program was started" in str(raised.value)
        async with mesh(jena, weimar):
            there = Application(weimar)
            there.gate = anyio.Event()
            with pytest.raises(AuthorityUnreachable, match="last heard: 20") as raised:
                await jena.driver.ask(id_of(weimar), b"hello?", 1.0)
            assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", str(raised.value.since))
            await there.until_left()


async def test_a_target_that_dies_meanwhile_is_given_up_in_time(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        failures: list[AuthorityUnreachable] = []

        async def ask() -> None:
            with pytest.raises(AuthorityUnreachable) as raised:
                await jena.driver.ask(id_of(weimar), b"are you there?", 1.5)
            failures.append(raised.value)

        async with anyio.create_task_group() as tasks, mesh(jena, weimar):
            there = Application(weimar)
            there.gate = anyio.Event()
            tasks.start_soon(ask)
            await there.until_asked()
        assert [each.site for each in failures] == ["Weimar"]


async def test_a_question_waits_for_the_link_that_brings_it(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        Application(weimar)
        answers: list[bytes] = []

        async def ask() -> None:
            answers.append(await jena.driver.ask(id_of(weimar), b"later?", 30.0))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.lowlevel.checkpoint()
            async with mesh(jena, weimar):
                with anyio.fail_after(patience_s):
                    while not answers:
                        await jena.driver.heard.wait()
        assert answers == [b"you asked later?"]


async def test_a_site_asks_itself_without_anybody(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        here = Application(jena)
        with anyio.fail_after(patience_s):
            assert await jena.driver.ask(id_of(jena), b"me?", 5.0) == b"you asked me?"
        assert here.asked == [(id_of(jena), b"me?")]


async def test_what_the_application_refuses_or_fails_on_is_told(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        told: list[Notice] = []
        jena.driver.on_notice = told.append

        async def refusing(asker: ReplicaId, question: bytes) -> bytes:
            raise UsageError("no such series: add it first")

        async def failing(asker: ReplicaId, question: bytes) -> bytes:
            raise ZeroDivisionError(question)

        async def wordy(asker: ReplicaId, question: bytes) -> bytes:
            return bytes(limits.ask_plain_bytes_max)

        for answer, reason in (
            (refusing, "Jena refuses: no such series: add it first"),
            (failing, "its program failed on this question"),
            (wordy, "its answer is too long"),
            (None, "this program answers no questions"),
        ):
            jena.driver.on_ask = answer
            with anyio.fail_after(patience_s), pytest.raises(RefusedError, match=reason):
                await jena.driver.ask(id_of(jena), b"secret", 5.0)
        assert [notice.kind for notice in told] == ["question", "question"]
        assert "ZeroDivisionError" in told[0].text and not any("secret" in notice.text for notice in told)


async def test_what_cannot_be_asked(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        own = id_of(jena)
        [sheet] = [m.replica for m in jena.driver.replica.membership.state().members.values() if m.role == "recovery"]
        for nobody in (ReplicaId(bytes(16)), sheet):
            with pytest.raises(NotFound, match="look it up"):
                await jena.driver.ask(nobody, b"?", 1.0)
        for timeout in (0.0, -1.0, limits.ask_life_ms_max / 1000 + 1, float("nan")):
            with pytest.raises(BadValue, match="60 seconds at most"):
                await jena.driver.ask(own, b"?", timeout)
        with pytest.raises(BadValue, match="ask in parts"):
            await jena.driver.ask(own, bytes(limits.ask_plain_bytes_max + 1), 1.0)


async def test_more_questions_than_places_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "asks_own_max", 3)
    async with create(tmp_path / "jena") as jena:
        here = Application(jena)
        here.gate = anyio.Event()
        answers: list[bytes] = []

        async def ask(number: int) -> None:
            answers.append(await jena.driver.ask(id_of(jena), bytes([number]), 30.0))

        with anyio.fail_after(patience_s):
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(ask, number)
                await here.until_asked(3)
                assert len(jena.driver.asks._waiting) == 3
                with pytest.raises(AuthorityUnreachable):
                    await jena.driver.ask(id_of(jena), b"no place in time", 0.05)
                here.gate.set()
        assert len(answers) == 10 and len(here.asked) == 10


async def test_a_disk_that_refuses_ends_the_waiting(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        here = Application(jena)
        here.gate = anyio.Event()
        raised: list[BaseException] = []

        async def ask() -> None:
            try:
                await jena.driver.ask(id_of(jena), b"?", 30.0)
            except StorageFailure as error:
                raised.append(error)

        def refuse(host: object) -> None:
            raise StorageFailure("the disk is full")

        with anyio.fail_after(patience_s):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await here.until_asked()
                with pytest.raises(StorageFailure):
                    await jena.driver.in_order(refuse)
        assert [str(error) for error in raised] == ["the disk is full"]
        with pytest.raises(StorageFailure):
            await jena.driver.ask(id_of(jena), b"?", 1.0)



async def test_who_waits_when_the_site_is_closed_is_told(tmp_path: Path) -> None:
    failures: list[str] = []

    async def ask(site: Site) -> None:
        try:
            await site.driver.ask(id_of(site), b"?", 30.0)
        except UsageError as error:
            failures.append(str(error))

    with anyio.fail_after(patience_s):
        async with anyio.create_task_group() as tasks, create(tmp_path / "jena") as jena:
            here = Application(jena)
            here.gate = anyio.Event()
            tasks.start_soon(ask, jena)
            await here.until_asked()
    assert failures == ["this site is closed; open it again"] and here.left == [b"?"]
