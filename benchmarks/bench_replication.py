"""Two sites in two processes over loopback TLS: how fast is what a practice does all day?

    python benchmarks/bench_replication.py [--records 20000] [--edits 5000] [--works W1,W2,W2x32,…] [--folder DIR]

JSON lines on stdout, one per work; what is going on, on stderr. The records are patients of twelve short fields.

| work | what is measured |
|---|---|
| disk | no crdtsync: how many transactions a second plain SQLite syncs on this disk (WAL, FULL, 600 bytes each) |
| load | the records are written at A by 32 writers, each in a commit of its own (`--per-commit`), before B exists |
| W1 | B has joined and is empty; until all records are durable and visible to `sql` at B |
| W2 | single-field commits at A, one after another, each durable before the next begins; then until B has all |
| W2x32 | the same by 32 writers at once |
| W3 | single edits, one at a time: until B's change feed shows it (`visible`), until A knows it is there (`known`) |
| W4 | edits made apart, half at each site, in different fields of the same records; from meeting to equal digests |
| W4c | 100 records, one field, both sites apart: values lost, conflicts shown |

This process is A and starts B (`--role b`), which takes commands as JSON lines. Every site is used through its public
API alone. The figures `wire_bytes` are what A's connections carried both ways, TLS included, without TCP/IP headers.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream
from measuring import Meter, machine, percentile, syncs_per_second

from crdtsync import Site
from crdtsync.practice import Patient
from crdtsync.testing.practice_data import patient

SEED = 1
PASSPHRASE = "correct horse battery staple"
WAIT_SECONDS_MAX = 900.0
POLL_SECONDS = 0.02
APART_EDITS = 4_000
SAME_FIELD_RECORDS = 100
LATENCY_EDITS = 300
WRITERS = 32
LINE_BYTES_MAX = 64 * 1024 * 1024

# --- what both sides do ----------------------------------------------------------------------------


async def count(site: Site) -> int:
    rows = await site.sql("SELECT count(*) AS n FROM patient")
    return int(rows[0]["n"])


async def count_where(site: Site, field: str, like: str) -> int:
    rows = await site.sql(f'SELECT count(*) AS n FROM patient WHERE "{field}" LIKE ?', (like,))
    return int(rows[0]["n"])


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(WAIT_SECONDS_MAX):
        while not await condition():  # noqa: ASYNC110  # what is waited for lies in SQL or in another process
            await anyio.sleep(POLL_SECONDS)


async def edit(site: Site, record: str, field: str, value: str) -> Any:
    """One commit that changes one field; returns its id when it is durable here."""
    async with site.transaction(author="bench") as tx:
        found = await tx.get(Patient, record)
        setattr(found, field, value)
    return tx.commit


async def edit_many(site: Site, records: Sequence[str], field: str, value: str, *, writers: int = 1) -> None:
    """One commit per record by so many writers at once."""
    waiting = iter(records)

    async def write() -> None:
        for record in waiting:
            await edit(site, record, field, f"{value}{record[:6]}")

    async with anyio.create_task_group() as group:
        for _ in range(writers):
            group.start_soon(write)


# --- B ---------------------------------------------------------------------------------------------


class Follower:
    """B: does what A says, one command after another; `follow` and `serve` go on in the background."""

    def __init__(self, site: Site, folder: Path, tasks: anyio.abc.TaskGroup) -> None:
        self.site = site
        self.meter = Meter(folder)
        self._folder = folder
        self._tasks = tasks
        self._parting = anyio.Event()
        self._parted = anyio.Event()
        self._seen: dict[str, float] = {}

    async def do(self, command: dict[str, Any]) -> Any:
        return await getattr(self, f"do_{command.pop('do')}")(**command)

    async def do_meter(self) -> None:
        self.meter = Meter(self._folder)

    async def do_read(self) -> dict[str, Any]:
        return self.meter.read()

    async def do_serve(self, peer: str) -> None:
        self._parting, self._parted = anyio.Event(), anyio.Event()
        await self._tasks.start(self._serve, peer)

    async def _serve(self, peer: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with self.site.serve("127.0.0.1:0", peers=[peer], only_peers=True):
            task_status.started()
            await self._parting.wait()
        self._parted.set()

    async def do_part(self) -> None:
        self._parting.set()
        await self._parted.wait()

    async def do_until_count(self, n: int) -> float:
        start = time.perf_counter()
        await until(lambda: self._has(n))
        return time.perf_counter() - start

    async def _has(self, n: int) -> bool:
        return await count(self.site) >= n

    async def do_until_edited(self, field: str, like: str, n: int) -> None:
        async def edited() -> bool:
            return await count_where(self.site, field, like) >= n

        await until(edited)

    async def do_edit(self, records: list[str], field: str, value: str) -> None:
        await edit_many(self.site, records, field, value)

    async def do_follow(self) -> None:
        await self._tasks.start(self._follow)

    async def _follow(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        cursor = await self._last_cursor()
        task_status.started()
        async for change in self.site.changes(since=cursor):
            self._seen[change.id] = time.monotonic()

    async def _last_cursor(self) -> Any:
        """Where the feed stands now: read until nothing comes for a moment."""
        cursor: Any = None
        feed = self.site.changes()
        while True:
            with anyio.move_on_after(1.0):
                cursor = (await anext(feed)).cursor
                continue
            return cursor

    async def do_seen(self) -> dict[str, float]:
        return self._seen

    async def do_digest(self) -> dict[str, Any]:
        return await self.site.digest()

    async def do_conflicts(self) -> list[dict[str, Any]]:
        return await self.site.conflicts()


async def be_follower(folder: Path, code: str) -> None:
    """Join, then answer each command line with one line."""
    commands = anyio.wrap_file(sys.stdin)
    start = time.perf_counter()
    async with Site.join(folder, code, passphrase=PASSPHRASE) as site, anyio.create_task_group() as tasks:
        follower = Follower(site, folder, tasks)
        print(json.dumps({"joined_seconds": time.perf_counter() - start}), flush=True)
        async for line in commands:
            print(json.dumps({"answer": await follower.do(json.loads(line))}), flush=True)
        await follower.do_part()
        tasks.cancel_scope.cancel()


# --- A ---------------------------------------------------------------------------------------------


class Child:
    """B as A sees it."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)

    async def line(self) -> Any:
        return json.loads(await self._stdout.receive_until(b"\n", LINE_BYTES_MAX))

    async def do(self, command: str, **arguments: Any) -> Any:
        await self._stdin.send(json.dumps({"do": command, **arguments}).encode() + b"\n")
        return (await self.line())["answer"]


@asynccontextmanager
async def child(folder: Path, code: str) -> AsyncIterator[Child]:
    command = [sys.executable, __file__, "--role", "b", "--folder", str(folder), "--code", code]
    async with await anyio.open_process(command, stdin=PIPE, stdout=PIPE, stderr=None) as process:
        yield Child(process)
        assert process.stdin is not None
        await process.stdin.aclose()
        await process.wait()


class Bench:
    """A, with what the works share."""

    def __init__(self, site: Site, folder: Path, arguments: argparse.Namespace) -> None:
        self.site = site
        self.folder = folder
        self.records = int(arguments.records)
        self.per_commit = arguments.per_commit
        self.edits = min(int(arguments.edits), self.records)
        self.ids = [patient(number, SEED).id for number in range(self.records)]
        self.b: Child
        self.address = ""

    async def load(self) -> None:
        meter = Meter(self.folder)
        step = self.per_commit
        starts = iter(range(0, self.records, step))

        async def write() -> None:
            for start in starts:
                async with self.site.transaction(author="bench", reason="load") as tx:
                    for number in range(start, min(start + step, self.records)):
                        tx.add(patient(number, SEED))

        async with anyio.create_task_group() as group:
            for _ in range(WRITERS):
                group.start_soon(write)
        self._tell("load", {"a": meter.read()}, records=self.records, per_commit=step, per=self.records)

    async def w1(self) -> None:
        meter = await self._meters()
        await self.b.do("serve", peer=self.address)
        await self.b.do("until_count", n=self.records)
        await self._tell_both("W1", meter, records=self.records, per=self.records)

    async def w2(self, name: str = "W2", writers: int = 1, field: str = "title") -> None:
        meter = await self._meters()
        value = f"{name}-"
        await edit_many(self.site, self.ids[: self.edits], field, value, writers=writers)
        here = meter.read()["seconds"]
        await self.b.do("until_edited", field=field, like=f"{value}%", n=self.edits)
        figures: dict[str, Any] = {
            "seconds_here": here,
            "per_second_here": round(self.edits / here, 1),
            "writers": writers,
        }
        await self._tell_both(name, meter, edits=self.edits, per=self.edits, **figures)

    async def w2x32(self) -> None:
        await self.w2("W2x32", WRITERS, "home_site")

    async def w3(self) -> None:
        await self.b.do("follow")
        meter = await self._meters()
        begun: dict[str, float] = {}
        known: list[float] = []
        for record in self.ids[:LATENCY_EDITS]:
            begun[record] = time.monotonic()
            commit = await edit(self.site, record, "family_name", "W3")
            await self.site.wait_for(commit, sites=2)
            known.append(time.monotonic() - begun[record])
        await self.b.do("until_edited", field="family_name", like="W3%", n=len(begun))
        seen = await self.b.do("seen")
        visible = [seen[record] - begun[record] for record in begun if record in seen]
        figures: dict[str, Any] = {
            f"{name}_ms": _in_ms(values) for name, values in (("visible", visible), ("known", known))
        }
        await self._tell_both("W3", meter, edits=len(begun), **figures)

    async def w4(self) -> None:
        half = self.ids[: min(APART_EDITS // 2, self.records)]
        await self.b.do("part")
        await edit_many(self.site, half, "given_name", "W4a-")
        await self.b.do("edit", records=half, field="title", value="W4b-")
        meter = await self._meet()
        kept = await count_where(self.site, "given_name", "W4a-%") + await count_where(self.site, "title", "W4b-%")
        edits = 2 * len(half)
        await self._tell_both("W4", meter, edits=edits, per=edits, lost=edits - kept)

    async def w4c(self) -> None:
        chosen = self.ids[: min(SAME_FIELD_RECORDS, self.records)]
        await self.b.do("part")
        await edit_many(self.site, chosen, "family_name", "W4c-a-")
        await self.b.do("edit", records=chosen, field="family_name", value="W4c-b-")
        meter = await self._meet()
        shown = {"a": await self.site.conflicts(), "b": await self.b.do("conflicts")}
        lost = {name: self._lost(conflicts, chosen) for name, conflicts in shown.items()}
        figures: dict[str, Any] = {
            "lost": lost,
            "conflicts_shown": {name: len(conflicts) for name, conflicts in shown.items()},
        }
        await self._tell_both("W4c", meter, edits=2 * len(chosen), **figures)

    def _lost(self, conflicts: list[dict[str, Any]], chosen: Sequence[str]) -> int:
        texts = json.dumps(conflicts)
        return sum(f"W4c-{side}-{record[:6]}" not in texts for record in chosen for side in "ab")

    async def _meet(self) -> Meter:
        meter = await self._meters()
        await self.b.do("serve", peer=self.address)

        async def agreed() -> bool:
            return bool(await self.site.digest() == await self.b.do("digest"))

        await until(agreed)
        return meter

    async def _meters(self) -> Meter:
        await self.b.do("meter")
        return Meter(self.folder)

    async def _tell_both(self, work: str, meter: Meter, *, per: int = 0, **figures: Any) -> None:
        self._tell(work, {"a": meter.read(), "b": await self.b.do("read")}, per=per, **figures)

    def _tell(self, work: str, sides: dict[str, dict[str, Any]], *, per: int = 0, **figures: Any) -> None:
        line: dict[str, Any] = {"work": work, **figures, "seconds": sides["a"]["seconds"]}
        if per:
            line["per_second"] = round(per / line["seconds"], 1)
        line["wire_bytes"] = sides["a"]["wire_bytes"]
        for name in ("cpu_s", "rss_bytes", "disk_bytes"):
            line[name] = {side: read[name] for side, read in sides.items()}
        print(json.dumps(line), flush=True)


def _in_ms(values: list[float]) -> dict[str, Any]:
    return {
        "p50": round(percentile(values, 0.5) * 1000, 2),
        "p99": round(percentile(values, 0.99) * 1000, 2),
        "n": len(values),
    }


async def be_leader(folder: Path, arguments: argparse.Namespace) -> None:
    version = importlib.metadata.version("crdtsync")
    print(json.dumps({"bench": "replication", "crdtsync": version, **machine()}), flush=True)
    creating = Site.create(folder / "a", practice="Bench", name="A", passphrase=PASSPHRASE)
    async with creating as site:
        print(json.dumps({"work": "disk", "syncs_per_second": round(syncs_per_second(folder), 1)}), flush=True)
        bench = Bench(site, folder / "a", arguments)
        works = {"W1": bench.w1, "W2": bench.w2, "W2x32": bench.w2x32, "W3": bench.w3, "W4": bench.w4, "W4c": bench.w4c}
        await bench.load()
        async with site.serve("127.0.0.1:0") as serving:
            bench.address = serving.address
            code = await site.invite("B", trust_code=True)
            async with child(folder / "b", code) as bench.b:
                print(f"B joined in {(await bench.b.line())['joined_seconds']:.2f} s", file=sys.stderr)
                for name in ["W1", *(work for work in arguments.works.split(",") if work != "W1")]:
                    print(f"{name} …", file=sys.stderr)
                    await works[name]()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--per-commit", type=int, default=1, help="records in one commit of the load")
    parser.add_argument("--edits", type=int, default=5_000)
    parser.add_argument("--works", default="W1,W2,W2x32,W3,W4,W4c", help="W1 always runs: the others build on it")
    parser.add_argument("--folder", type=Path, help="an empty folder for the two sites; default: a temporary one")
    parser.add_argument("--role", choices=["a", "b"], default="a", help=argparse.SUPPRESS)
    parser.add_argument("--code", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("CRDTSYNC_KDF", "fast")
    if arguments.role == "b":
        anyio.run(be_follower, arguments.folder, arguments.code)
        return
    with tempfile.TemporaryDirectory(prefix="crdtsync-bench-") as temporary:
        os.environ.setdefault("CRDTSYNC_STATE_DIR", str(Path(temporary) / "state"))
        anyio.run(be_leader, arguments.folder or Path(temporary), arguments)


if __name__ == "__main__":
    main()
