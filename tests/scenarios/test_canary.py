"""What is written into a record is found nowhere outside the sites' encrypted view: a canary that must not sing."""

from __future__ import annotations

import base64
import logging
import os
import sqlite3
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

import crdtsync.practice
from crdtsync import CrdtSyncError, Site, StorageFailure
from crdtsync.documents import Record, kinds
from crdtsync.practice import ChartEntry, NumberRange, Patient, Series
from crdtsync.sealing import suite1
from crdtsync.transport.link import StreamLink
from tests.sites import add, agree, at_host, linked, patience_s, practice

pytestmark = pytest.mark.anyio
CANARY = "Zwitscherkanarie Qxjvzk"
WORDS = [word.lower() for word in CANARY.split()]


def sings(data: bytes) -> bool:
    """Whether any word of the canary is in these bytes: as text in several encodings, in hex, or in base64."""
    lower = data.lower()
    for word in WORDS:
        plain = word.encode()
        if plain in lower or word.encode("utf-16-le") in lower or plain.hex().encode() in lower:
            return True
    return any(base64.b64encode(CANARY.encode()[at:])[2:-4] in data for at in range(3))


class Ears:
    """Everything that was heard, by where."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.wire: list[bytes] = []
        self.log: list[str] = []
        self.errors: list[str] = []

    def heard(self) -> dict[str, bool]:
        """Where the canary sang."""
        return {
            "messages": sings(b"".join(self.messages)),
            "wire": sings(b"".join(self.wire)),
            "log": sings("\n".join(self.log).encode()),
            "errors": sings("\n".join(self.errors).encode()),
        }


def singing_files(*folders: Path) -> list[str]:
    """Files with the canary in them, also those that this process has open and that have no name any more."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    found = [str(path) for path in files if sings(path.read_bytes())]
    for entry in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            if "(deleted)" in os.readlink(entry) and entry.is_file() and sings(entry.read_bytes()):
                found.append(f"an open file without a name ({os.readlink(entry)})")
    return found


class Listening(logging.Handler):
    """Keeps every record of every logger, with all that it carries."""

    def __init__(self, ears: Ears) -> None:
        super().__init__(logging.DEBUG)
        self._ears = ears

    def emit(self, record: logging.LogRecord) -> None:
        self._ears.log.append(f"{record.getMessage()} {record.args!r} {record.exc_text or ''}")
        if record.exc_info:
            self._ears.log.extend(traceback.format_exception(*record.exc_info))


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ears]:
    """Listen at the transport and at all loggers; temporary files go to a folder of their own; nothing is compressed,
    so that whatever is not sealed can be read."""
    ears = Ears()
    post = StreamLink.post

    def heard(self: StreamLink, message: bytes, urgent: bool = False) -> None:
        ears.messages.append(message)
        post(self, message, urgent)

    monkeypatch.setattr(StreamLink, "post", heard)
    monkeypatch.setattr(suite1, "deflate", lambda plain: None)
    (tmp_path / "temp").mkdir()
    for name in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path / "temp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    handler, root = Listening(ears), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield ears
    root.removeHandler(handler)
    root.setLevel(before)


@asynccontextmanager
async def recording_proxy(target: str, ears: Ears) -> AsyncIterator[str]:
    """An address that leads to `target`, and keeps every byte both ways."""
    host, _, port = target.rpartition(":")

    async def carry(source: anyio.abc.SocketStream, sink: anyio.abc.SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for data in source:
                ears.wire.append(data)
                await sink.send(data)
        await sink.aclose()

    async def serve(near: anyio.abc.SocketStream) -> None:
        async with near, await anyio.connect_tcp(host, int(port)) as far, anyio.create_task_group() as both:
            both.start_soon(carry, near, far)
            both.start_soon(carry, far, near)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def chained(ears: Ears, jena: Site, *others: Site) -> AsyncIterator[None]:
    """Jena in the middle; each other site reaches it through a recording proxy."""
    async with (
        jena.serve("127.0.0.1:0", only_peers=True) as serving,
        recording_proxy(serving.address, ears) as proxy,
        others[0].serve(peers=[proxy], only_peers=True),
        others[1].serve(peers=[proxy], only_peers=True),
    ):
        await linked(jena, 2)
        yield


def full_records() -> list[Record]:
    """A record of every kind, with the canary in every field that takes text in any form."""
    assert crdtsync.practice
    made = []
    for model in kinds().values():
        if model.__module__.startswith("crdtsync.practice") and model not in (NumberRange, Series):  # made as people do
            record = model()
            plans = {name: plan for name, plan in model.plan().fields.items() if name != "patient"}
            if [name for name, plan in plans.items() if _filled(record, name, plan.model)]:
                made.append(record)
    return made


def _filled(record: Record, field: str, parts: Any) -> bool:
    model = {} if parts is None else dict.fromkeys(parts.model_fields, CANARY)
    singles = [{part: CANARY} for part in model]
    for value in (model, *singles, CANARY, [CANARY], [{"name": CANARY}]):
        with suppress(CrdtSyncError, TypeError):
            record.assign(field, value)
            return True
    return False


async def provoke(site: Site, patient: Patient, ears: Ears) -> None:
    """A few errors in which content is at hand."""

    async def assign(field: str, value: Any) -> None:
        async with site.transaction(author=CANARY) as tx:
            (await tx.get(Patient, patient.id)).assign(field, value)

    async def decide() -> None:
        (await site.get(Patient, patient.id)).decided("family_name")

    attempts: list[Callable[[], Any]] = [
        lambda: assign("birth_date", CANARY),
        lambda: assign("sex", CANARY),
        lambda: assign("insurance_number", CANARY),
        lambda: assign("phones", CANARY),
        lambda: assign("address", {"city": [CANARY]}),
        lambda: assign("note", "x" * 300_000 + CANARY),
        lambda: site.find(Patient, birth_date=CANARY),
        lambda: site.sql("SELECT nothing FROM patient WHERE family_name = ?", [CANARY]),
        lambda: site.get(Patient, "a" * 26),
        decide,
    ]
    for attempt in attempts:
        try:
            await attempt()
        except CrdtSyncError as error:
            ears.errors.append("".join(traceback.format_exception(error)))
    assert len(ears.errors) == len(attempts), "an error that was to be provoked did not come"


async def test_the_canary_is_heard_nowhere(ears: Ears, tmp_path: Path) -> None:
    folders = [tmp_path, Path(os.environ["CRDTSYNC_STATE_DIR"])]
    with anyio.fail_after(2 * patience_s):
        async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera]:
            records = full_records()
            assert len(records) >= 12
            patient = next(record for record in records if isinstance(record, Patient))
            async with chained(ears, jena, weimar, gera):
                async with jena.transaction(author=CANARY, reason=CANARY, workstation=CANARY, purpose=CANARY) as tx:
                    for record in records:
                        tx.add(record)
                await jena.ranges.set("Gera", 1, 9, author=CANARY, reason=CANARY)
                await jena.add_series(CANARY.split()[-1], CANARY.split()[-1] + "-{n}", author=CANARY, reason=CANARY)
                async with weimar.transaction(author=CANARY) as tx:
                    entry = tx.add(ChartEntry(type=CANARY))
                    entry.draft.insert(0, f"She says: {CANARY}. " * 20)
                await agree(jena, weimar, gera)
                for site in (jena, weimar):  # apart in time but unseen: a conflict with the canary in both values
                    async with site.transaction() as tx:
                        (await tx.get(Patient, patient.id)).family_name = f"{CANARY} {site.name}"
                await agree(jena, weimar, gera)
                await gera.rebuild()
                await provoke(gera, patient, ears)
                assert singing_files(*folders) == [], "while the sites are open"
            for site in (jena, weimar, gera):
                assert {patient.id, entry.id} <= {found.id for found in await site.search(WORDS[0])}, "it was carried"
                assert (await site.verify())["ok"]
            await at_host(gera, lambda host: setattr(host.store, "append", _refuse))
            with pytest.raises(StorageFailure) as raised:
                await add(gera, Patient(family_name=CANARY))
            ears.errors.append("".join(traceback.format_exception(raised.value)))
            ears.log.extend(notice.text for site in (jena, weimar, gera) for notice in site.driver.alarms)
    assert singing_files(*folders) == [], "after the sites were closed"
    assert ears.heard() == {"messages": False, "wire": False, "log": False, "errors": False}
    assert len(b"".join(ears.messages)) > 20_000 and len(b"".join(ears.wire)) > 20_000 and len(ears.log) > 50
    for name in ("jena", "weimar", "gera"):
        with sqlite3.connect(tmp_path / name / "log.db") as db:  # plain SQLite opens it: there is nothing to see
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert not sings("\n".join(db.iterdump()).encode())
        db.close()


def _refuse(*given: Any) -> Any:
    raise StorageFailure("log.db cannot be written (No space left on device); make room, then open the replica again")


async def test_the_ears_hear(ears: Ears, tmp_path: Path) -> None:
    """The control: planted in each of these places, the canary is found there."""
    with anyio.fail_after(2 * patience_s):
        async with (
            practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera],
            chained(ears, jena, weimar, gera),
        ):
            await add(jena, Patient(family_name="Muster"))
            await agree(jena, weimar, gera)
            assert ears.heard() == {"messages": False, "wire": False, "log": False, "errors": False}
            [number, *_] = jena.driver._links
            jena.driver._links[number].post(f"plain {CANARY}".encode())
            assert ears.heard()["messages"]
            assert not ears.heard()["wire"], "TLS hides even what was not sealed"
            assert singing_files(tmp_path) == []
            await at_host(jena, lambda host: host.store.set_meta({"planted": CANARY.encode()}))
            assert any("log.db" in file for file in singing_files(tmp_path))
        async with recording_proxy("127.0.0.1:9", ears):
            ears.wire.append(CANARY.encode("utf-16-le"))
            logging.getLogger("crdtsync").debug("a patient named %s", CANARY)
            ears.errors.append(base64.b64encode(b"x" + CANARY.encode()).decode())
    assert all(ears.heard().values())
    with tempfile.TemporaryFile() as nameless:
        nameless.write(CANARY.upper().encode())
        nameless.flush()
        assert any("without a name" in file for file in singing_files(tmp_path / "temp"))


async def test_what_is_sealed_would_be_heard_if_it_were_not(
    ears: Ears, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control for the whole path: with sealing taken out, the canary sings in the log and in the messages."""
    monkeypatch.setattr(suite1.Suite1, "seal", lambda self, key, salt, context, plain: b"\0" + plain)
    monkeypatch.setattr(suite1.Suite1, "open", lambda self, key, salt, context, sealed: sealed[1:])
    with anyio.fail_after(2 * patience_s):
        async with (
            practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera],
            chained(ears, jena, weimar, gera),
        ):
            await add(jena, Patient(family_name=CANARY))
            await agree(jena, weimar, gera)
            assert len(singing_files(tmp_path)) >= 3
    assert ears.heard() == {"messages": True, "wire": False, "log": False, "errors": False}
