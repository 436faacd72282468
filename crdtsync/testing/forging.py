"""What a hostile member can write: any bytes as a change, in a commit that is in order in every other way."""

from __future__ import annotations

import os
from pathlib import Path

from crdtsync.engine import WriteGrant, WriteRequest
from crdtsync.engine.write import Sealing
from crdtsync.errors import RefusedError
from crdtsync.folder import Unlocked, read_key_file
from crdtsync.founding import stored_membership
from crdtsync.host import Host
from crdtsync.ids import RecordId, client_id, commit_text
from crdtsync.replication.commit import Change
from crdtsync.replication.membership import Membership
from crdtsync.replication.stored import KeyObject
from crdtsync.sealing.keyfile import is_fast, open_keyfile
from crdtsync.storage.lock import FolderLock
from crdtsync.testing.rewriting import with_client


def forge(
    folder: str | os.PathLike[str],
    *,
    passphrase: str,
    kind: str,
    record_id: str,
    delta: bytes,
    own_client_id: bool = False,
) -> str:
    """Append a commit with any bytes as its delta to the log of a stopped replica, and give the commit's id as text.

    It is signed, sealed, chained and synced as that replica would do it, and passes no gate: neither this replica nor
    any other has looked at the delta when this returns. `own_client_id` rewrites the client ids in the delta to the one
    under which the replica writes that record. Raises what opening the replica raises: NotFound, AlreadyOpen while it
    runs, WrongPassphrase.
    """
    path = Path(folder)
    data = read_key_file(path)
    lock = FolderLock(path)
    try:
        keys = open_keyfile(data, passphrase)
        unlocked = Unlocked(path, lock, keys.identity(), keys.view_key, is_fast(data))
        membership = stored_membership(unlocked)
        host = unlocked.host(membership, membership.practice)()
        try:
            return _append(host, membership, kind, RecordId(record_id), delta, own_client_id)
        finally:
            host.close()
    finally:
        lock.release()


def _append(host: Host, membership: Membership, kind: str, record: RecordId, delta: bytes, own_client_id: bool) -> str:
    engine = host.engine
    if engine.needs_boot:
        host.new_boot()
    log, now = host.log, host.now_ms()
    epoch = membership.state().sealing_epoch()
    if epoch is None or not host.keyring.has(epoch):
        raise RefusedError("this replica has no key to seal under; let it meet another site first")
    if own_client_id:
        delta = with_client(delta, client_id(log, record))
    # What the engine itself does in `write`, without the documents and their gate.
    writer, parts = engine._own.writer, engine._parts
    assert writer is not None, "a host opens a log when it is made"
    draft = writer.draft()
    sealing = Sealing(host.sealer, parts, log, WriteGrant(membership.heads, epoch), now)
    commits = [sealing.commit(draft, draft.place(0, now), [], None) for _ in range(draft.prefaces)]
    place, introduced = draft.place(0, now), dict[str, KeyObject]()
    found = host.store.document(kind, record)
    part = sealing.part(
        WriteRequest("", "", "", "", ()),
        place,
        0,
        record if found is None else found.subject,
        [Change(kind, record, delta)],
        introduced,
    )
    commits.append(sealing.commit(draft, place, [part], None))
    engine.append([(commit, True) for commit in commits], list(introduced.values()), now)
    writer.accept(draft)
    host._continuity.advance(place.sequence)
    return commit_text(commits[-1].id)
