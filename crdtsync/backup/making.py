"""A backup of an open site, made while it serves and is written to.

What it holds is decided in one step of the store's thread: the log up to the arrival that is its last at that moment,
and the membership that these commits name. Both only grow, so the rest is read later, a little at a time between other
work, and is still exactly the state of that moment. Data keys are read last: all that those commits need are there
(L1), and those that were destroyed meanwhile are not.

Pieces of earlier backups are used again; each is read first, and written anew where it is not what it was. What is
written is synced and read back, and only then the index makes it a backup. So a backup that is there was verified.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.from_thread
import anyio.to_thread

from crdtsync import limits
from crdtsync.backup import index, pieces
from crdtsync.backup.index import Body, Clear
from crdtsync.backup.opening import Backup, Listed, listed, opened_by_site, shown_time, vault_at
from crdtsync.backup.pieces import PieceRef
from crdtsync.backup.retention import Retention
from crdtsync.backup.schedule import META_LAST
from crdtsync.backup.vault import INDEX, KEYS, PIECE, Progress, Vault, sound
from crdtsync.errors import DamagedFile, RefusedError, SealBroken
from crdtsync.folder import read_key_file
from crdtsync.host import Host
from crdtsync.ids import DataKeyId, Head, LogId, log_text
from crdtsync.opened import Opened
from crdtsync.replication.codec import pack
from crdtsync.replication.stored import KeyObject, LogHead, StoredCommit, next_head
from crdtsync.sealing.suite1 import Suite1

KEPT_META: Final = ("engine.log", "engine.line", "hints", "listen")
"""Small values that a restored site needs: which of its branches is its own, and where it finds the others."""
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Moment:
    """What a backup is to hold: the state of one moment."""

    taken_ms: int
    head: LogHead
    frontier: dict[LogId, Head]
    members: list[bytes]
    meta: dict[str, bytes]
    new_bytes: int


@dataclass
class Making:
    """One backup that is being made: all but `read` runs in a thread of its own."""

    site: Opened
    vault: Vault
    keep: Retention | None
    report: Progress
    sealer: Suite1
    read: Callable[[Callable[[Host], Any]], Any]
    """Does something in the store's thread, behind what waits there."""
    written: int = 0
    _done: int = 0
    _total: int = 0
    _pieces: list[tuple[str, bytes]] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        """The whole backup; what `Site.backup` gives."""
        known = listed(self.vault)
        last = self._last(known)
        moment = self._moment(last, known)
        self._total = moment.head.arrival
        members = self._members(moment, last)
        log = self._log(moment, last)
        keys = self._keys(last)
        self._read_back()
        data = self._index(moment, members, log, keys)
        doomed, removed = self._doomed(known, moment, {*(ref.name for ref in (*members, *log))}, keys)
        self.vault.publish(data, _label(moment.taken_ms), doomed)
        self.written += len(data)
        told = self._told(moment, known, removed, [*members, *log, *keys])
        remembered = pack([moment.taken_ms, told["path"]])
        self.read(lambda host: host.store.set_meta({META_LAST: remembered}))
        self.site.last_backup = (moment.taken_ms, told["path"])
        return told

    # -- what is there -------------------------------------------------------------------------------------------------

    def _last(self, known: Listed) -> Backup | None:
        """The newest backup that can be gone on from. Raises RefusedError where another site's backups lie."""
        own, practice = self.sealer.public.replica, self.site.driver.replica.membership.practice
        for found in known.indexes:
            if (found.clear.replica, found.clear.practice) != (own, practice):
                raise RefusedError(
                    f"{self.vault.path} holds the backups of another site; each site needs a folder or a file of its "
                    f"own: name another one for {self.site.name}"
                )
        if len(known.indexes) >= limits.backup_generations_max:
            raise RefusedError(f"{self.vault.path} holds too many backups; let --keep remove some, or name another one")
        for found in reversed(known.indexes):
            with suppress(DamagedFile):
                return opened_by_site(self.vault, found, self.sealer, self.site.backup_key)
        return None

    def _moment(self, last: Backup | None, known: Listed) -> Moment:
        # Backups are told apart by their times, also where a clock was set back.
        earliest = 1 + max((each.clear.taken_ms for each in known.indexes), default=-1)
        cursors = {} if last is None else {log: head.sequence + 1 for log, head in last.body.frontier.items()}

        def look(host: Host) -> Moment:
            store = host.store
            meta = {name: value for name in KEPT_META if (value := store.meta(name)) is not None}
            frontier, head = store.frontier(), store.log_head()
            _, new = store.backlog({log: cursors.get(log, 1) for log in frontier})
            return Moment(max(host.now_ms(), earliest), head, frontier, store.members(), meta, new)

        found: Moment = self.read(look)
        return found

    # -- pieces --------------------------------------------------------------------------------------------------------

    def _members(self, moment: Moment, last: Backup | None) -> list[PieceRef]:
        chains, chain = [bytes(32)], bytes(32)
        for record in moment.members:
            chain = pieces.member_chain(chain, record)
            chains.append(chain)
        refs = () if last is None else last.body.members
        same = [ref for ref in refs if ref.last < len(chains) and chains[ref.last] == ref.chain]
        news = sum(map(len, moment.members[same[-1].last if same else 0 :]))
        found: list[PieceRef] = []
        for step in self._plan(same, news, len(moment.members)):
            if isinstance(step, PieceRef):
                found.append(step)
                continue
            at = step[0]
            rest = ((record, len(record) + 8, 1) for record in moment.members[at : step[1]])
            for records in pieces.in_pieces(rest):
                at += len(records)
                found.append(self._add(PIECE, pieces.members_piece(records), at, chains[at]))
        return found

    def _log(self, moment: Moment, last: Backup | None) -> list[PieceRef]:
        refs = () if last is None else last.body.log
        same = self._continued(refs, moment.head)
        new = moment.new_bytes if len(same) == len(refs) else limits.backup_piece_bytes_target
        found: list[PieceRef] = []
        for step in self._plan(same, new, moment.head.arrival):
            if isinstance(step, PieceRef):
                found.append(step)
                self._advance(step.last)
                continue
            head = LogHead(step[0], found[-1].chain if found else bytes(32))
            for commits in pieces.in_pieces((one, *pieces.weight(one)) for one in self._commits(*step)):
                for one in commits:
                    head = next_head(head, one.commit)
                found.append(self._add(PIECE, pieces.log_piece(commits), head.arrival, head.chain))
        end = LogHead(found[-1].last, found[-1].chain) if found else LogHead(0, bytes(32))
        if end != moment.head:
            raise DamagedFile("the log is not what its running hash says; run `crdtsync verify` on this site")
        return found

    def _continued(self, refs: Sequence[PieceRef], head: LogHead) -> list[PieceRef]:
        """The earlier pieces that this log goes on from: all, unless the site was set back in between."""
        same = list(refs)
        while same:
            end = LogHead(same[-1].last, same[-1].chain)
            if end.arrival <= head.arrival and self.read(lambda host: host.store.goes_on_from(end)):  # noqa: B023
                break
            same.pop()
        return same

    def _plan(self, refs: Sequence[PieceRef], news: int, upto: int) -> list[PieceRef | tuple[int, int]]:
        kept = refs[: pieces.worth_keeping(refs, news)]
        usable = [ref if sound(self.vault, PIECE, ref.name) else None for ref in kept]
        return pieces.gaps(usable, [ref.last for ref in kept], upto)

    def _commits(self, after: int, upto: int) -> Iterator[StoredCommit]:
        while after < upto:
            many = min(limits.backup_read_commits, upto - after)
            start = after
            page = self.read(lambda host: host.store.arrivals(start, many, limits.backup_read_bytes))  # noqa: B023
            yield from page
            after = page[-1].arrival
            self._advance(after)

    def _keys(self, last: Backup | None) -> list[PieceRef]:
        """Earlier parts whose keys are all still there stay; what is new follows, and no destroyed key is left."""
        now = {key.id: key for key in self._keys_here()}
        refs, parts = [], []
        for ref in () if last is None else last.body.keys:
            assert last is not None
            with suppress(DamagedFile):
                keys = last.keys_of(ref.name)
                if all(key.id in now for key in keys):
                    refs.append(ref)
                    parts.append(keys)
        held = {key.id for keys in parts for key in keys}
        kept = pieces.worth_keeping(refs, sum(_weight(key) for id_, key in now.items() if id_ not in held))
        held = {key.id for keys in parts[:kept] for key in keys}
        new = sorted((key for id_, key in now.items() if id_ not in held), key=lambda key: key.id)
        found = refs[:kept]
        for keys in pieces.in_pieces((key, _weight(key), 4) for key in new):
            found.append(self._add(KEYS, pieces.keys_piece(keys), len(keys), bytes(32)))
        return found

    def _keys_here(self) -> Iterator[KeyObject]:
        after = DataKeyId(b"")
        while True:
            start = after
            page = self.read(lambda host: host.store.keys_behind(start, limits.backup_keys_read))  # noqa: B023
            if not page:
                return
            yield from page
            after = page[-1].id

    def _add(self, kind: str, plain: bytes, last: int, chain: bytes) -> PieceRef:
        practice = self.site.driver.replica.membership.practice
        sealed = index.seal_part(self.sealer, self.site.backup_key, practice, kind, plain)
        name = self.vault.add(kind, sealed)
        self._pieces.append((kind, name))
        self.written += len(sealed)
        return PieceRef(name, len(plain), last, chain)

    def _advance(self, done: int) -> None:
        """How far it is, in commits; reading back what was written counts no further. Here a cancellation is heard."""
        self._done = max(self._done, done)
        self.report(self._done, self._total)
        anyio.from_thread.check_cancelled()

    # -- making it one backup ------------------------------------------------------------------------------------------

    def _read_back(self) -> None:
        """Raises DamagedFile where the disk gives something else than it was given."""
        practice = self.site.driver.replica.membership.practice
        for kind, name in self._pieces:
            index.open_part(self.sealer, self.site.backup_key, practice, kind, self.vault.read(kind, name))
            self._advance(self._done)

    def _index(self, moment: Moment, members: list[PieceRef], log: list[PieceRef], keys: list[PieceRef]) -> bytes:
        membership = self.site.driver.replica.membership
        practice, own = membership.practice, self.sealer.public
        holders = {
            member.replica: self.sealer.seal_to(
                member.kem, index.holder_info(practice, member.replica), self.site.backup_key
            )
            for member in membership.state().members.values()
            if member.active and member.role == "recovery"
        }
        clear = Clear(practice, own.replica, moment.taken_ms, read_key_file(self.site.path), holders)
        names = self.site.practice, self.site.name
        body = Body(
            *names, moment.head, moment.frontier, tuple(members), tuple(log), tuple(keys), moment.meta
        )
        return index.encode(self.sealer, self.site.backup_key, clear, body)

    def _doomed(
        self, known: Listed, moment: Moment, used: set[bytes], keys: list[PieceRef]
    ) -> tuple[dict[str, set[bytes]], int]:
        """What is not needed once this backup is there. Where an index cannot be read, no piece is removed: it might be
        one of its."""
        gone: set[bytes] = set()
        if self.keep is not None:
            kept = self.keep.kept([moment.taken_ms, *(each.clear.taken_ms for each in known.indexes)])
            gone = {each.name for each in known.indexes if each.clear.taken_ms not in kept}
        doomed = {INDEX: gone, KEYS: set(self.vault.names(KEYS)) - {ref.name for ref in keys}, PIECE: set[bytes]()}
        unsure = bool(known.problems)
        for each in known.indexes:
            if each.name not in gone:
                try:
                    body = index.open_body(self.sealer, self.site.backup_key, each)
                except (DamagedFile, SealBroken):
                    unsure = True
                    continue
                used |= {ref.name for ref in (*body.members, *body.log)}
        if not unsure:
            doomed[PIECE] = set(self.vault.names(PIECE)) - used
        return doomed, len(gone)

    def _told(self, moment: Moment, known: Listed, removed: int, refs: list[PieceRef]) -> dict[str, Any]:
        return {
            "taken": shown_time(moment.taken_ms),
            "taken_ms": moment.taken_ms,
            "path": str(self.vault.path),
            "commits": moment.head.arrival,
            "frontier": {log_text(log): head.sequence for log, head in sorted(moment.frontier.items())},
            "parts": len(refs),
            "written_bytes": self.written,
            "bytes": self.vault.weigh(),
            "backups": 1 + len(known.indexes) - removed,
            "removed": removed,
            "damaged": list(known.problems),
        }


async def make(site: Opened, path: Path, *, folder: bool, keep: Retention | None, report: Progress) -> dict[str, Any]:
    """Make a backup of `site` at `path`; `report` is called in a thread. See `Site.backup`.

    When cancelled, or when anything refuses, what was written is removed and earlier backups are as they were.
    """

    def read(work: Callable[[Host], R]) -> R:
        anyio.from_thread.check_cancelled()
        return anyio.from_thread.run(site.driver.in_order, work)

    def run() -> dict[str, Any]:
        with closing(vault_at(path, writing=True, folder=folder)) as vault:
            try:
                sealer = Suite1(site.identity, secrets.token_bytes)
                return Making(site, vault, keep, report, sealer, read).run()
            except BaseException:
                vault.discard()
                raise

    return await anyio.to_thread.run_sync(run)


def _weight(key: KeyObject) -> int:
    return len(key.subject) + len(key.wrapped) + 24


def _label(taken_ms: int) -> str:
    return f"{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime(taken_ms // 1000))}.{taken_ms % 1000:03}Z"
