"""A practice whose sites are all gone, from one backup and the printed recovery sheet.

The sheet is an admin identity that every epoch of keys is sealed to. With it a *new* site is made that belongs to the
practice: nobody can be asked for the old ones' passphrases, and what they had written beyond the backup is not known,
so none of them is continued. The sheet signs, in this order:

    add      the new site, an admin, with the keys that read everything
    remove   each other site, with how far its logs are in the backup, and a new epoch of keys that it cannot read

So what an old disk still holds, should it be found, is not taken by itself: its commits beyond the backup are for a
person to look at. Where a site still lives, nothing of this is needed: that one invites.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdtsync import members
from crdtsync.backup.opening import Backup, chosen, opened_by_sheet, reading
from crdtsync.backup.restoring import fill, told
from crdtsync.backup.vault import Progress
from crdtsync.errors import SealBroken
from crdtsync.folder import check_free, new_keys
from crdtsync.founding import check_name, kdf_fast
from crdtsync.host import learn_wrapped
from crdtsync.ids import PracticeId, replica_of
from crdtsync.replication.membership import Member, Membership, State
from crdtsync.sealing.base import Sealer
from crdtsync.sealing.identity import PublicIdentity
from crdtsync.sealing.keyfile import seal_keyfile
from crdtsync.sealing.keyring import Keyring


@dataclass
class SheetHolder:
    """Signs with the recovery identity, whose epoch keys are open."""

    sealer: Sealer
    keyring: Keyring
    practice: PracticeId


def rescue(
    source: Path,
    into: Path,
    sheet: str,
    passphrase: str,
    *,
    name: str | None = None,
    at_ms: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the folder `into` of a new site of the practice whose backup lies at `source`, under a new passphrase.

    `sheet` is the text of the recovery sheet, or its groups. `name` is the new site's, by default that of the site
    whose backup it is. Blocking. Gives `practice`, `site`, `taken`, `commits`, and `removed`, the names of the sites
    that do not belong any more.

    Raises RefusedError for a folder that is not empty and for the sheet of another practice, BadValue for a mistyped
    sheet, DamagedFile, NotFound, StorageFailure. What it signed is in the new folder alone: where it fails, nothing has
    happened.
    """
    check_free(into)
    with reading(source) as vault:
        backup = opened_by_sheet(vault, chosen(vault, at_ms), sheet)
        name = check_name("site", name or backup.body.site_name)
        membership = backup.membership
        gone = _gone(membership.state())
        holder = _holder(backup, membership.state())
        keys = new_keys()
        _sign(membership, holder, keys.identity().public, name, gone, backup)
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
        key_file = seal_keyfile(keys, passphrase, salt=salt, nonce=nonce, fast=kdf_fast())
        fill(into, backup, key_file, keys.view_key, membership.records(), {}, progress)
        return {**told(backup), "site": name, "removed": [member.name for member in gone]}


def _gone(state: State) -> list[Member]:
    """The members that are to go, by name."""
    others = [m for m in state.members.values() if m.active and m.role != "recovery"]
    return sorted(others, key=lambda member: (member.name, member.replica))


def _holder(backup: Backup, state: State) -> SheetHolder:
    """The recovery identity with all the keys that it can open."""
    keyring = Keyring(backup.sealer)
    for delivery in state.deliveries(backup.sealer.public.replica):
        with suppress(SealBroken):
            keyring.learn_sealed(delivery.epoch, delivery.info, delivery.sealed)
    learn_wrapped(keyring, state)
    return SheetHolder(backup.sealer, keyring, backup.index.clear.practice)


def _sign(
    membership: Membership, holder: SheetHolder, newcomer: PublicIdentity, name: str, gone: list[Member], backup: Backup
) -> None:
    own = holder.sealer.public.replica
    entry = members.entry_of(newcomer, name=name, admin=True)
    membership.add(members.adding(holder, membership.place(own), membership.state(), entry))
    for member in gone:
        heads = {log: head for log, head in backup.body.frontier.items() if replica_of(log) == member.replica}
        reason = "lost; the practice was recovered with its sheet"
        record = members.removing(holder, membership.place(own), membership.state(), member, reason, heads)
        membership.add(record)
