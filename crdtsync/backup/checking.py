"""Whether backups are as they were written: every byte, and, for whoever can open them, all that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from crdtsync import limits
from crdtsync.backup.opening import Backup, Listed, listed, opened_by_passphrase, opened_by_sheet, reading, shown_time
from crdtsync.backup.vault import KEYS, PIECE, Progress, Vault
from crdtsync.errors import DamagedFile, WrongPassphrase
from crdtsync.ids import DataKeyId, Head, LogId, base32, replica_of
from crdtsync.replication.commit import NO_HASH, signed_bytes
from crdtsync.replication.stored import StoredCommit

_PROBLEMS_MAX: Final = limits.alarms_kept_max


def check(
    path: Path, *, passphrase: str | None = None, sheet: str | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Check the backups at `path`. Blocking.

    Every byte is compared with the hash that names it. Where all are right, and with the passphrase or the recovery
    sheet, each backup is opened too, its signature checked, and of the newest all that it holds: the membership, every
    commit in its chain and with its parts, the signature of each log's last commit. Gives `ok`, `opened`, `backups`
    (`taken`, `commits`, `keys_missing`) and `problems`, a sentence each. Nothing is changed. That a whole part is
    missing is seen by whoever can open the backup that names it.

    Raises NotFound where no backup is, WrongPassphrase, StorageFailure, and what the sheet is refused for.
    """
    with reading(path) as vault:
        problems = list(vault.check(progress))
        found = listed(vault)
        problems += [problem for problem in found.problems if problem not in problems]
        if not found.indexes and not problems:
            problems.append(f"{path} holds no whole backup")
        shown: list[dict[str, Any]] = [{"taken": shown_time(each.clear.taken_ms)} for each in found.indexes]
        opens = (passphrase is not None or sheet is not None) and not problems
        if opens:
            problems += _opened(vault, found, shown, passphrase, sheet)
        return {
            "ok": not problems,
            "opened": opens,
            "backups": shown,
            "bytes": vault.weigh(),
            "problems": problems[:_PROBLEMS_MAX],
        }


def _opened(
    vault: Vault, found: Listed, shown: list[dict[str, Any]], passphrase: str | None, sheet: str | None
) -> Iterator[str]:
    """Open each backup, and go over all that the newest one holds: older ones share its pieces, and were verified when
    they were made."""
    newest = True
    for each, line in reversed(list(zip(found.indexes, shown, strict=True))):
        try:
            if sheet is not None:
                backup = opened_by_sheet(vault, each, sheet)
            else:
                backup = opened_by_passphrase(vault, each, passphrase or "")
            line["commits"] = backup.body.head.arrival
            yield from _missing(backup)
            if newest:
                yield from _gone_over(backup, line)
            newest = False
        except WrongPassphrase:
            raise
        except DamagedFile as error:
            yield f"the backup of {line['taken']}: {error}"


def _missing(backup: Backup) -> Iterator[str]:
    """What an index names and the vault does not hold."""
    pieces, keys = set(backup.vault.names(PIECE)), set(backup.vault.names(KEYS))
    for ref in (*backup.body.members, *backup.body.log):
        if ref.name not in pieces:
            yield f"pieces/{ref.name.hex()} of the backup of {shown_time(backup.index.clear.taken_ms)} is missing"
    newest = listed(backup.vault).indexes[-1].name == backup.index.name
    for ref in backup.body.keys if newest else ():
        if ref.name not in keys:
            yield f"keys/{ref.name.hex()} is missing"


def _gone_over(backup: Backup, line: dict[str, Any]) -> Iterator[str]:
    """All that one backup holds."""
    members = backup.membership.state().members
    heads: dict[LogId, Head] = {}
    last: dict[LogId, StoredCommit] = {}
    needed: set[DataKeyId] = set()
    for piece in backup.commits():
        for stored in piece:
            header = stored.commit.header
            before = heads.get(header.log, Head(0, NO_HASH))
            if (header.sequence, header.previous) != (before.sequence + 1, before.hash):
                yield f"commit {header.sequence} of a log of {base32(replica_of(header.log))} follows on something else"
            heads[header.log], last[header.log] = stored.commit.head, stored
            needed.update(ref.key for ref, sealed in zip(header.parts, stored.commit.parts, strict=True) if sealed)
    if heads != backup.body.frontier:
        yield "the frontier that the backup names is not the one that its commits make"
    for log, stored in last.items():
        member = members.get(replica_of(log))
        if member is None:
            yield f"a log is by {base32(replica_of(log))}, whom the practice does not know"
        elif not backup.sealer.verify(member.sig, signed_bytes(stored.commit.hash), stored.commit.signature):
            yield f"the last commit of a log of {member.name} does not bear its signature"
    held = {key.id for keys in backup.data_keys() for key in keys}
    line["keys_missing"] = len(needed - held)  # what they opened was erased, or waits for them at the site as well
