"""A backup that is read: found in its vault, opened by passphrase or recovery sheet, given out piece by piece."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

from crdtsync.backup import index, pieces
from crdtsync.backup.file_vault import MAGIC, FileVault
from crdtsync.backup.folder_vault import FolderVault
from crdtsync.backup.index import Body, Index
from crdtsync.backup.pieces import PieceRef
from crdtsync.backup.vault import INDEX, KEYS, PIECE, Vault
from crdtsync.errors import (
    BadValue,
    DamagedFile,
    NotFound,
    PeerError,
    RefusedError,
    SealBroken,
    StorageFailure,
)
from crdtsync.replication.membership import Membership
from crdtsync.replication.stored import EMPTY_LOG, KeyObject, StoredCommit, next_head
from crdtsync.sealing.keyfile import KeyFile, backup_key, open_keyfile
from crdtsync.sealing.recovery import parse_sheet, recovery_identity
from crdtsync.sealing.signing import Verifier
from crdtsync.sealing.suite1 import Suite1

_MAGIC_BYTES: Final = len(MAGIC)
_CLOSED: Final = "the backup in {} does not open with its keys; use another one"
T = TypeVar("T")


def vault_at(path: Path, *, writing: bool = False, folder: bool = False) -> Vault:
    """The vault at `path`: what is there; where there is nothing yet, a folder if `folder` says so, else a file.

    Raises what opening a vault does.
    """
    if folder and path.is_file():
        raise RefusedError(f"{path} is a file, and backups are to lie in a folder; name another place")
    if path.is_dir():
        return FolderVault(path, writing=writing)
    if not path.exists() and not path.parent.is_dir():
        raise NotFound(f"there is no folder {path.parent}; make it first, or name another place for the backups")
    return FolderVault(path, writing=writing) if folder else FileVault(path, writing=writing)


def is_backup(path: Path) -> bool:
    """Whether backups lie at `path`, as far as a look at it tells."""
    if path.is_dir():
        return (path / "index").is_dir() and (path / "pieces").is_dir()
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_BYTES) == MAGIC
    except OSError:
        return False


def shown_time(taken_ms: int) -> str:
    """When a backup was taken, for people and scripts."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(taken_ms // 1000))


def parse_time(text: str) -> int:
    """The end of the second (or of the minute, or day) that an ISO 8601 time names, in milliseconds.

    Raises BadValue.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadValue(f"{text!r} is no time; write it like 2026-01-31T12:00:00+00:00") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    whole = timedelta(days=1) if len(text.strip()) <= len("2026-01-31") else timedelta(seconds=1)
    return int((at + whole).timestamp() * 1000) - 1


@dataclass(frozen=True, slots=True)
class Listed:
    """The backups of a vault: those that can be read, oldest first, and a sentence for each that cannot."""

    indexes: tuple[Index, ...]
    problems: tuple[str, ...]


def listed(vault: Vault) -> Listed:
    """All backups in a vault. Raises StorageFailure."""
    found, problems = [], []
    for name in vault.names(INDEX):
        try:
            found.append(index.decode(vault.read(INDEX, name), name))
        except (DamagedFile, RefusedError) as error:
            problems.append(str(error))
    return Listed(tuple(sorted(found, key=lambda each: each.clear.taken_ms)), tuple(problems))


def chosen(vault: Vault, at_ms: int | None) -> Index:
    """The newest backup, or the newest not after `at_ms`.

    Raises NotFound where there is none, DamagedFile where the newest one cannot be read and no time was named: an older
    one is taken only on a person's word.
    """
    found = listed(vault)
    if at_ms is None and found.problems:
        older = ", ".join(shown_time(each.clear.taken_ms) for each in found.indexes[-5:])
        advice = f"to take an older backup name its time with --at: {older}" if older else "use another copy of it"
        raise DamagedFile(f"{found.problems[0]}; {advice}")
    fit = [each for each in found.indexes if at_ms is None or each.clear.taken_ms <= at_ms]
    if not fit:
        raise NotFound(f"{vault.path} holds no whole backup{'' if at_ms is None else ' that old'}")
    return fit[-1]


@dataclass(frozen=True)
class Backup:
    """One backup, opened: `keys_file` holds the site's own keys where its passphrase opened it, else is None.

    What is read is checked on the way: raises DamagedFile for anything that does not follow from the index, which was
    sealed and signed.
    """

    vault: Vault
    index: Index
    body: Body
    sealer: Suite1
    key: bytes
    keys_file: KeyFile | None

    def part(self, kind: str, name: bytes) -> bytes:
        """The plain content of a part."""
        return index.open_part(self.sealer, self.key, self.index.clear.practice, kind, self.vault.read(kind, name))

    def members(self) -> Iterator[bytes]:
        """The membership records, in the order in which they were added."""
        chain, count = bytes(32), 0
        for ref in self.body.members:
            for record in self._read(pieces.members_in, self.part(PIECE, ref.name)):
                chain, count = pieces.member_chain(chain, record), count + 1
                yield record
            self._check(ref, count, chain)

    @cached_property
    def membership(self) -> Membership:
        """The membership, every record verified."""
        membership = Membership(Verifier().verify, self.index.clear.practice)
        try:
            for record in self.members():
                membership.add(record)
        except PeerError as error:
            raise _torn(f"its membership does not verify ({error})") from None
        if self.index.clear.replica not in membership.state().members:
            raise _torn("its site does not stand in its membership")
        return membership

    def commits(self) -> Iterator[list[StoredCommit]]:
        """All commits in the order of their arrival, a piece at a time."""
        head = EMPTY_LOG
        for ref in self.body.log:
            found = self.commits_of(ref, head.arrival)
            for stored in found:
                head = next_head(head, stored.commit)
            self._check(ref, head.arrival, head.chain)
            yield found
        if head != self.body.head:
            raise _torn("its log ends elsewhere than it says")

    def commits_of(self, ref: PieceRef, after: int) -> list[StoredCommit]:
        """The commits of one piece, the first being arrival `after` + 1."""
        plain = self.part(PIECE, ref.name)
        return self._read(lambda data: pieces.commits_in(data, after), plain)

    def data_keys(self) -> Iterator[list[KeyObject]]:
        """The wrapped data keys that the vault holds now: those of its newest backup, also for an older one."""
        here, own = self.vault.names(KEYS), [ref.name for ref in self.body.keys]
        later = any(each.clear.taken_ms > self.index.clear.taken_ms for each in listed(self.vault).indexes)
        for name in own if not later or set(own) <= set(here) else here:
            yield self.keys_of(name)

    def keys_of(self, name: bytes) -> list[KeyObject]:
        """The keys of one part."""
        return self._read(pieces.keys_in, self.part(KEYS, name))

    def _check(self, ref: PieceRef, last: int, chain: bytes) -> None:
        if (ref.last, ref.chain) != (last, chain):
            raise _torn("a piece holds something else than its index says")

    def _read(self, read: Callable[[bytes], T], plain: bytes) -> T:
        try:
            return read(plain)
        except PeerError as error:
            raise _torn(f"a piece is not of the form that was written ({error})") from None


def _torn(what: str) -> DamagedFile:
    return DamagedFile(f"the backup does not hold together: {what}; use another backup")


def opened_by_passphrase(vault: Vault, found: Index, passphrase: str) -> Backup:
    """The backup with the keys of the site that made it. Blocking: Argon2id.

    Raises WrongPassphrase, DamagedFile for a backup that somebody else made or changed.
    """
    keys = open_keyfile(found.clear.key_file, passphrase)
    sealer = Suite1(keys.identity(), secrets.token_bytes)
    if sealer.public.replica != found.clear.replica or not index.is_signed(sealer, sealer.public.sig, found):
        raise DamagedFile(
            f"the backup in {vault.path} does not bear the signature of its site: somebody else has made or changed "
            "it; use another one"
        )
    return _opened(vault, found, sealer, backup_key(keys.view_key), keys)


def opened_by_site(vault: Vault, found: Index, sealer: Suite1, key: bytes) -> Backup:
    """The backup with the keys of an open site that made it. Raises as `opened_by_passphrase` does."""
    if sealer.public.replica != found.clear.replica or not index.is_signed(sealer, sealer.public.sig, found):
        raise DamagedFile(f"the backups in {vault.path} do not bear this site's signature; name another place")
    return _opened(vault, found, sealer, key, None)


def opened_by_sheet(vault: Vault, found: Index, sheet: str) -> Backup:
    """The backup with the printed recovery sheet of the practice.

    Raises BadValue for a mistyped sheet, RefusedError for the sheet of another practice, DamagedFile where the backup
    was not made by a site of the practice.
    """
    identity = recovery_identity(parse_sheet(sheet))
    sealer = Suite1(identity, secrets.token_bytes)
    if sealer.public.replica not in found.clear.holders:
        raise RefusedError("this recovery sheet is not that of the practice whose backup this is; look for its own")
    info = index.holder_info(found.clear.practice, sealer.public.replica)
    try:
        key = sealer.open_sealed(info, found.clear.holders[sealer.public.replica])
    except SealBroken:
        raise DamagedFile(_CLOSED.format(vault.path)) from None
    backup = _opened(vault, found, sealer, key, None)
    state = backup.membership.state()
    own, maker = state.active(sealer.public.replica), state.members.get(found.clear.replica)
    if own is None or own.role != "recovery":
        raise RefusedError("the practice has withdrawn this recovery sheet; look for its newer one")
    if maker is None or not index.is_signed(sealer, maker.sig, found):
        raise DamagedFile(
            f"the backup in {vault.path} does not bear the signature of a site of the practice: somebody else has made "
            "or changed it; use another one"
        )
    return backup


def _opened(vault: Vault, found: Index, sealer: Suite1, key: bytes, keys: KeyFile | None) -> Backup:
    try:
        return Backup(vault, found, index.open_body(sealer, key, found), sealer, key, keys)
    except (SealBroken, PeerError):
        raise DamagedFile(_CLOSED.format(vault.path)) from None


@contextmanager
def reading(path: Path) -> Iterator[Vault]:
    """The vault at `path` while the block runs. Raises NotFound, RefusedError, DamagedFile, StorageFailure."""
    try:
        vault = vault_at(path)
    except PermissionError as error:
        raise StorageFailure(f"cannot read {path}: {error.strerror}") from None
    with closing(vault):
        yield vault
