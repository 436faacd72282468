"""Files that are not what was written: each is refused with a sentence that says what to do, or comes right by itself.

Nobody is ever handed a commit, a key, a membership record or a view that is not the true one. What a flipped bit can do
unseen is named where it is allowed: a commit's signature and time of arrival, which only `verify` looks at, and values
of the folder's own convenience. A log whose end is gone is an older log: it opens under a new boot (L4).
"""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crdtsync.engine import Engine
from crdtsync.errors import DamagedFile, PeerError, RottenCommit, StorageFailure
from crdtsync.host import Host
from crdtsync.ids import DataKeyId, ReplicaId
from crdtsync.replication.commit import Commit
from crdtsync.storage.continuity import Continuity
from crdtsync.storage.database import KEYS_FILE, LOG_FILE, VIEW_FILE
from crdtsync.testing.realdisk.work import STATE, Work, open_host, open_store
from crdtsync.testing.sealer import PlainSealer, plain_identity

ADVICE = re.compile(r"restore|open the replica again|join again|mend the disk|move it away|put back|fetched again")
PAGE = 4096
ALL = 1_000_000


@dataclass(frozen=True)
class Truth:
    """A folder as it was closed, one as it was while open, an older state of it, and what they hold."""

    closed: Path
    hot: Path
    older: Path
    stranger: Path
    view_key: bytes
    commits: list[Commit]
    members: list[bytes]
    keys: dict[DataKeyId, Any]
    digest: str
    seed: int


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    base = tmp_path_factory.mktemp("truth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRDTSYNC_STATE_DIR", str(base / STATE))
        stranger = lived(base / "other", 99, 6)
        stranger.close()
        work = lived(base / "own", 4, 14)
        work.close()
        shutil.copytree(work.path, base / "older")
        work.open()
        for act in ("write", "receive", "epoch", "member", "receive_many", "write", "receive", "write"):
            getattr(work, act)()
        host = work._host
        shutil.copytree(work.path, base / "hot", ignore=shutil.ignore_patterns("*-shm"))
        commits = [stored.commit for stored in host.store.arrivals(0, ALL, 1 << 40)]
        ids = [ref.key for commit in commits for ref in commit.header.parts]
        members, keys = host.store.members(), host.store.keys(ids)
        while not host.engine.derive(work.tick()).done:
            pass
        digest = host.engine.rebuild(work.tick())[0]
        work.close()
        view_key = work.keys.view_key
        yield Truth(
            work.path, base / "hot", base / "older", stranger.path, view_key, commits, members, keys, digest, work.now
        )


def lived(base: Path, seed: int, acts: int) -> Work:
    """A folder in which something has happened; no key is late, so that the view is whole."""
    base.mkdir()
    work = Work(base, seed, lambda **told: None)
    vars(work)["late"] = work.receive
    work.found()
    work.open()
    for _ in range(acts):
        work.act()
    return work


def outcome(folder: Path, truth: Truth) -> str:
    """`refused`, `whole`, `older` or `lacking` (keys that peers are asked for). Fails when something wrong is given."""
    sealer = PlainSealer("jena", random.Random(1).randbytes)
    try:
        store = open_store(folder, truth.view_key)
        try:
            proof = Continuity(folder, ReplicaId(sealer.public.replica), folder / "log.db")
            return judged(open_host(store, sealer, proof, lambda: truth.seed), truth)
        finally:
            store.close()
    except (DamagedFile, RottenCommit, StorageFailure) as error:
        assert ADVICE.search(str(error)), f"this says nothing of what to do: {error}"
        return "refused"
    except PeerError:  # of the membership's records: `Site.open` makes DamagedFile of it
        return "refused"


def judged(host: Host, truth: Truth) -> str:
    store, engine = host.store, host.engine
    assert not host.continued, "a copy is no continuation"
    members = store.members()
    assert members == truth.members[: len(members)]
    _, rotten = store.check_log(0, ALL)
    if rotten:
        raise rotten[0]
    found = [stored.commit for stored in store.arrivals(0, ALL, 1 << 40)]
    for commit, right in zip(found, truth.commits, strict=False):
        assert (commit.header_bytes, commit.parts, commit.hash) == (right.header_bytes, right.parts, right.hash)
    assert len(found) <= len(truth.commits) and store.log_head().arrival == len(found)
    for log, head in store.frontier().items():
        stored = store.commit(log, head.sequence)
        assert stored is not None and stored.commit.head == head
        assert len(store.feeds({log: 1}, ALL, 1 << 40)) == head.sequence
    keys = store.keys(truth.keys)
    assert all(truth.keys[key] == value for key, value in keys.items())
    result = engine.derive(truth.seed)
    while not result.done:
        result = engine.derive(truth.seed)
    assert result.alarms == [], "rot is nobody's fault and holds no change (L6)"
    digest = engine.digest()[0]
    if len(keys) < len(truth.keys) and len(found) == len(truth.commits):
        assert digest == truth.digest or result.waiting, "what cannot be read is waited for"
        return "lacking"
    assert engine.rebuild(truth.seed)[0] == digest, "the view is not what follows from the log"
    if len(found) < len(truth.commits) or len(members) < len(truth.members):
        return "older"
    assert digest == truth.digest and not result.waiting
    return "whole"


# -- rot ---------------------------------------------------------------------------------------------------------------


def rot(folder: Path, chance: random.Random) -> str:
    """Damage one file in one way; what was done."""
    files = sorted(path for path in folder.iterdir() if path.name.startswith(("log", "keys", "view")))
    path = chance.choice([path for path in files if path.stat().st_size])
    data = bytearray(path.read_bytes())
    way = chance.choice(("flip", "flip", "flip", "zeroed page", "garbage page", "cut", "swapped pages"))
    page = chance.randrange(-(-len(data) // PAGE)) * PAGE
    if way == "flip":
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif way == "zeroed page":
        data[page : page + PAGE] = bytes(len(data[page : page + PAGE]))
    elif way == "garbage page":
        data[page : page + PAGE] = chance.randbytes(len(data[page : page + PAGE]))
    elif way == "cut":
        del data[chance.randrange(len(data)) :]
    else:
        other = chance.randrange(-(-len(data) // PAGE)) * PAGE
        data[page : page + PAGE], data[other : other + PAGE] = data[other : other + PAGE], data[page : page + PAGE]
    path.write_bytes(data)
    return f"{way} of {path.name}"


def rotten(truth: Truth, seeds: range, tmp_path: Path) -> dict[str, int]:
    counted: dict[str, int] = {}
    for seed in seeds:
        chance = random.Random(f"{seed}/rot")
        folder = tmp_path / str(seed)
        shutil.copytree(chance.choice((truth.closed, truth.hot)), folder)
        what = rot(folder, chance)
        try:
            found = outcome(folder, truth)
        except BaseException as error:
            raise AssertionError(f"seed {seed}, {what}: {type(error).__name__}: {error}") from error
        counted[found] = counted.get(found, 0) + 1
        shutil.rmtree(folder)
    return counted


def test_rot_is_refused_or_comes_right(truth: Truth, tmp_path: Path) -> None:
    counted = rotten(truth, range(40), tmp_path)
    assert counted["refused"] > 5 and counted["whole"] > 5


@pytest.mark.slow
def test_more_rot_is_refused_or_comes_right(truth: Truth, tmp_path: Path) -> None:
    counted = rotten(truth, range(1_000, 1_300), tmp_path)
    assert {"refused", "whole", "older"} <= counted.keys()


def test_any_bit_of_a_commit_is_noticed_where_it_is_read(truth: Truth, tmp_path: Path) -> None:
    """Header and parts, by every way of reading; the database itself is well, so nobody else would see it."""
    for number, column in enumerate(("header", "parts", "chain", "log")):
        folder = tmp_path / column
        shutil.copytree(truth.closed, folder)
        with closing(sqlite3.connect(folder / "log.db")) as db:
            [place] = db.execute(
                "SELECT max(arrival) FROM entry AS here WHERE sequence > 1 AND EXISTS "
                "(SELECT 1 FROM entry AS later WHERE later.log = here.log AND later.sequence > here.sequence)"
            ).fetchone()
            [value] = db.execute(f"SELECT {column} FROM entry WHERE arrival = ?", (place,)).fetchone()
            [header] = db.execute("SELECT header FROM entry WHERE arrival = ?", (place,)).fetchone()
            if isinstance(value, bytes):
                at = len(value) // 2 + number
                changed: object = value[:at] + bytes([value[at] ^ 4]) + value[at + 1 :]
            else:
                changed = value + 1000
            db.execute(f"UPDATE entry SET {column} = ? WHERE arrival = ?", (changed, place))
            db.commit()
        commit = next(commit for commit in truth.commits if commit.header_bytes == header)
        log, sequence = commit.header.log, commit.header.sequence
        try:
            opened = open_store(folder, truth.view_key)
        except DamagedFile:
            assert column == "chain", "which speaks of the commit behind it as well, the newest of its log"
            continue
        with closing(opened) as store:
            reads: list[Callable[[], object]] = [
                lambda store=store, place=place: store.arrivals(place - 1, 1, 1 << 30),  # type: ignore[misc]
                lambda store=store, log=log, sequence=sequence: store.commit(log, sequence),  # type: ignore[misc]
                lambda store=store, log=log, sequence=sequence: store.feeds({log: sequence}, ALL, 1 << 30),  # type: ignore[misc]
            ]
            for read in reads:
                with pytest.raises((RottenCommit, StorageFailure), match=r"log\.db: .* not what was written; "):
                    read()
            assert store.arrivals(0, place - 1, 1 << 30), "all others are still given"


def test_a_head_that_rotted_is_noticed_at_opening(truth: Truth, tmp_path: Path) -> None:
    """It would be told to peers."""
    for column, value in (("sequence", "sequence + 1000"), ("header", "x'93'"), ("header", "7")):
        shutil.copytree(truth.closed, tmp_path / "head")
        with closing(sqlite3.connect(tmp_path / "head" / "log.db")) as db:
            db.execute(f"UPDATE entry SET {column} = {value} WHERE arrival = (SELECT max(arrival) FROM entry)")
            db.commit()
        with pytest.raises(DamagedFile, match="the newest commit of a log is not what was written; restore"):
            open_store(tmp_path / "head", truth.view_key)
        shutil.rmtree(tmp_path / "head")


def test_values_of_another_table_are_not_taken_for_records(truth: Truth, tmp_path: Path) -> None:
    """As when two pages of the database have changed places."""
    for number, change in enumerate(("member SET record = 6", "meta SET value = 6", "entry SET arrived_ms = 'x'")):
        shutil.copytree(truth.closed, tmp_path / str(number))
        with closing(sqlite3.connect(tmp_path / str(number) / "log.db")) as db:
            db.execute(f"UPDATE {change}")
            db.commit()
        assert outcome(tmp_path / str(number), truth) == "refused"
    for number, change in enumerate(("chain = 6", "log_bytes = 'x'"), 10):
        shutil.copytree(truth.closed, tmp_path / str(number))
        with closing(sqlite3.connect(tmp_path / str(number) / "log.db")) as db:
            db.execute(f"UPDATE entry SET {change}")
            db.commit()
        with pytest.raises(DamagedFile, match="lost commits; restore"):
            open_store(tmp_path / str(number), truth.view_key)


def test_a_commit_that_is_gone_is_noticed(truth: Truth, tmp_path: Path) -> None:
    shutil.copytree(truth.closed, tmp_path / "gone")
    with closing(sqlite3.connect(tmp_path / "gone" / "log.db")) as db:
        db.execute("DELETE FROM entry WHERE arrival = 3")
        db.commit()
    gone = truth.commits[2].header
    with closing(open_store(tmp_path / "gone", truth.view_key)) as store:
        for read in (
            lambda: store.arrivals(2, 5, 1 << 30),
            lambda: store.commit(gone.log, gone.sequence),
            lambda: store.feeds({gone.log: gone.sequence}, 5, 1 << 30),
        ):
            with pytest.raises((RottenCommit, StorageFailure), match="not what was written"):
                read()


def test_a_rotten_key_is_missing_and_comes_again(truth: Truth, tmp_path: Path) -> None:
    """It opened nothing, and the commits sealed with it were held for ever, at this site alone (L5, L6)."""
    for column, value in (("wrapped", "zeroblob(40)"), ("subject", "'other'"), ("wrapped", "7"), ("epoch", "x'00'")):
        shutil.copytree(truth.closed, tmp_path / "keys")
        key = next(iter(truth.keys.values()))
        with closing(sqlite3.connect(tmp_path / "keys" / "keys.db")) as db:
            db.execute(f"UPDATE data_key SET {column} = {value} WHERE id = ?", (key.id,))
            db.commit()
        (tmp_path / "keys" / "view.db").unlink()
        with closing(open_store(tmp_path / "keys", truth.view_key)) as store:
            assert key.id not in store.keys(truth.keys)
            assert key not in store.key_of_subject(key.subject)
            sealer = PlainSealer("jena", random.Random(1).randbytes)
            proof = Continuity(tmp_path / "keys", ReplicaId(sealer.public.replica), tmp_path / "keys" / "log.db")
            engine = open_host(store, sealer, proof, lambda: truth.seed).engine
            assert derived(engine, truth) == ([key.id], [])
            engine.put_keys([key])
            assert derived(engine, truth) == ([], [])
            assert engine.digest()[0] == truth.digest
            assert (
                engine.verify(None, {p.replica: p.sig for p in (sealer.public, plain_identity("gera"))}.get).problems
                == []
            )
        shutil.rmtree(tmp_path / "keys")


def derived(engine: Engine, truth: Truth) -> tuple[list[DataKeyId], list[str]]:
    alarms: list[str] = []
    while True:
        result = engine.derive(truth.seed)
        alarms += result.alarms
        if result.done:
            return result.waiting, alarms


# -- other files in their place ----------------------------------------------------------------------------------------


def empty(path: Path, truth: Truth) -> None:
    path.write_bytes(b"")


def text(path: Path, truth: Truth) -> None:
    path.write_text("Sehr geehrte Damen und Herren,\n" * 300, encoding="utf-8")


def of_another_program(path: Path, truth: Truth) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (a)")


def missing(path: Path, truth: Truth) -> None:
    path.unlink()


def of_another_practice(path: Path, truth: Truth) -> None:
    shutil.copy(truth.stranger / path.name, path)


def an_older_copy(path: Path, truth: Truth) -> None:
    shutil.copy(truth.older / path.name, path)


REPLACED = {
    ("log.db", empty): "refused",
    ("log.db", text): "refused",
    ("log.db", of_another_program): "refused",
    ("log.db", missing): "refused",
    ("log.db", an_older_copy): "older",
    ("keys.db", empty): "refused",
    ("keys.db", text): "refused",
    ("keys.db", of_another_program): "refused",
    ("keys.db", missing): "refused",
    ("keys.db", of_another_practice): "lacking",
    ("keys.db", an_older_copy): "lacking",
    ("view.db", empty): "whole",
    ("view.db", text): "whole",
    ("view.db", of_another_program): "whole",
    ("view.db", missing): "whole",
    ("view.db", of_another_practice): "whole",
    ("view.db", an_older_copy): "whole",
}


@pytest.mark.parametrize(("name", "replace"), REPLACED, ids=lambda part: getattr(part, "__name__", part))
def test_another_file_in_its_place(
    name: str, replace: Callable[[Path, Truth], None], truth: Truth, tmp_path: Path
) -> None:
    folder = tmp_path / "jena"
    shutil.copytree(truth.closed, folder)
    replace(folder / name, truth)
    assert outcome(folder, truth) == REPLACED[name, replace]


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
@pytest.mark.parametrize("name", ["log.db", "keys.db", "view.db"])
def test_another_file_beside_it(name: str, suffix: str, truth: Truth, tmp_path: Path) -> None:
    """A stray write-ahead log or journal of another time changes nothing, or is found out."""
    for number, content in enumerate((b"", b"stray" * 5_000, (truth.hot / "log.db-wal").read_bytes())):
        folder = tmp_path / str(number)
        shutil.copytree(truth.closed, folder)
        (folder / (name + suffix)).write_bytes(content)
        assert outcome(folder, truth) in ("whole", "refused", "older")


def test_what_was_open_is_whole(truth: Truth, tmp_path: Path) -> None:
    shutil.copytree(truth.hot, tmp_path / "hot")
    assert outcome(tmp_path / "hot", truth) == "whole"


def test_small_values_that_rotted_prove_nothing(truth: Truth, tmp_path: Path) -> None:
    """The log to be continued is named in one of them (L4)."""
    for value in (b"\xff\xfe", b"no log", b"", b"A" * 26 + b"." + b"A" * 12):
        shutil.copytree(truth.closed, tmp_path / "meta")
        with closing(sqlite3.connect(tmp_path / "meta" / "log.db")) as db:
            db.execute("UPDATE meta SET value = ? WHERE name IN ('boot.log', 'engine.log')", (value,))
            db.commit()
        assert outcome(tmp_path / "meta", truth) == "whole"
        shutil.rmtree(tmp_path / "meta")


def test_the_store_says_what_it_cannot_read(truth: Truth, tmp_path: Path) -> None:
    """Damage that SQLite meets long after opening: what to do depends on the file."""
    for spec, advice in ((LOG_FILE, "restore the folder"), (KEYS_FILE, "restore the folder"), (VIEW_FILE, "derived")):
        folder = tmp_path / spec.name
        shutil.copytree(truth.closed, folder)
        with closing(open_store(folder, truth.view_key)) as store:
            failure = store._failed(sqlite_damage(), spec)
            assert advice in str(failure) and ADVICE.search(str(failure))


def sqlite_damage() -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = 11
    return error
