"""Membership records from bytes: every form that `member_records` describes, and nothing else (L6, L7)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

from crdtsync import limits
from crdtsync.errors import Malformed
from crdtsync.ids import (
    HASH_BYTES,
    KEY_ID_BYTES,
    LOG_ID_BYTES,
    PRACTICE_ID_BYTES,
    REPLICA_ID_BYTES,
    CommitId,
    EpochId,
    Head,
    LogId,
    MemberHash,
    PracticeId,
    ReplicaId,
    replica_of,
)
from crdtsync.replication.codec import check_bytes, check_int, check_list, check_text, unpack
from crdtsync.replication.commit import SIGNATURE_BYTES, log_head
from crdtsync.replication.fork_proof import proof_from_items
from crdtsync.replication.member_records import (
    Add,
    Address,
    Attest,
    Body,
    Close,
    Entry,
    EpochBody,
    Fork,
    Found,
    Hold,
    MemberRecord,
    NewEpoch,
    Remove,
    Share,
    Succeed,
    Unknown,
)

FORMAT_VERSION: Final = 1
DOMAIN_HASH: Final = b"crdtsync/member/1"
SIG_BYTES: Final = 32
RANDOM_BYTES: Final = 32
WRAPPED_BYTES: Final = 40
KEY_BYTES_MAX: Final = 4_096
"""A certificate, a public sealing key or a sealed epoch key."""
STAMP_MAX: Final = 2**63 - 1
REASON_CHARACTERS_MAX: Final = 32
"""The word for why a commit is held."""
_ITEMS: Final = 7
ARRAY_OF_ITEMS: Final = bytes([0x90 | _ITEMS])
"""How msgpack begins a record."""
SIGNATURE_HEAD: Final = b"\xc4\x40"
"""How msgpack begins the signature, a record's last item."""
_ARRAY_UNSIGNED: Final = bytes([0x90 | (_ITEMS - 1)])
_SIGNATURE_TAIL: Final = len(SIGNATURE_HEAD) + SIGNATURE_BYTES


def decode_record(data: bytes) -> MemberRecord:
    """The record in `data`. Raises TooLarge, or Malformed when the form is not as above (L6, L7)."""
    items = unpack(data, bytes_max=limits.membership_record_bytes_max, what="membership record")
    tail = data[-_SIGNATURE_TAIL:-SIGNATURE_BYTES]
    if len(items) != _ITEMS or data[:1] != ARRAY_OF_ITEMS or tail != SIGNATURE_HEAD:
        raise Malformed("membership record: not seven items that end with a signature")
    if items[0] != FORMAT_VERSION:
        raise Malformed(f"membership record: format version {items[0]!r:.20} is not known here; update this program")
    op = check_text(items[1], 32, "membership op")
    founding = op == "found"
    parents = _parents(items[4])
    if founding != (not parents):
        raise Malformed("membership record: only the founding record has no parents")
    practice = check_bytes(items[2], 0 if founding else PRACTICE_ID_BYTES, "membership practice")
    signature = check_bytes(items[6], SIGNATURE_BYTES, "membership signature")
    unsigned = _ARRAY_UNSIGNED + data[1:-_SIGNATURE_TAIL]
    return MemberRecord(
        op=op,
        practice=None if founding else PracticeId(practice),
        author=_replica(items[3]),
        parents=parents,
        body=_body(op, check_list(items[5], limits.message_items_max, "membership body")),
        signature=signature,
        hash=MemberHash(hashlib.sha256(DOMAIN_HASH + unsigned).digest()),
        data=data,
    )


def _parents(item: Any) -> tuple[MemberHash, ...]:
    parents = tuple(
        MemberHash(check_bytes(parent, HASH_BYTES, "membership parent"))
        for parent in check_list(item, limits.dependencies_max, "membership parents")
    )
    if any(left >= right for left, right in pairwise(parents)):
        raise Malformed("membership parents: not in ascending order")
    return parents


def _body(op: str, items: list[Any]) -> Body:
    reader = _BODIES.get(op)
    if reader is None:
        return Unknown()
    count, read = reader
    if len(items) < count:
        raise Malformed(f"membership record: the body of `{op}` is too short")
    return read(items)


def _found(items: list[Any]) -> Found:
    found = Found(
        name=_name(items[0]),
        random=check_bytes(items[1], RANDOM_BYTES, "founding random bytes"),
        founder=_entry(items[2]),
        recovery=_entry(items[3]),
        epoch=_epoch(items[4]),
    )
    if found.founder.role != "site" or not found.founder.admin:
        raise Malformed("founding record: the founder is not an admin site")
    if found.recovery.role != "recovery" or found.recovery.sig == found.founder.sig:
        raise Malformed("founding record: the recovery identity is not one of its own")
    return found


def _add(items: list[Any]) -> Add:
    shares: dict[EpochId, bytes] = {}
    for item in check_list(items[1], limits.message_items_max, "membership shares"):
        epoch, sealed = _listed(item, 2)
        shares.setdefault(_epoch_id(epoch), _blob(sealed, "sealed epoch key"))
    return Add(_entry(items[0]), shares)


def _remove(items: list[Any]) -> Remove:
    removed = Remove(_replica(items[0]), _reason(items[1]), _heads(items[2]), _epoch(items[3]))
    if any(replica_of(log) != removed.replica for log, _ in removed.heads):
        raise Malformed("membership removal: a head that is not of the removed replica's logs")
    return removed


def _new_epoch(items: list[Any]) -> NewEpoch:
    return NewEpoch(_epoch(items[0]))


def _share(items: list[Any]) -> Share:
    shares = []
    for item in check_list(items[0], limits.message_items_max, "membership shares"):
        epoch, replica, sealed = _listed(item, 3)
        shares.append((_epoch_id(epoch), _replica(replica), _blob(sealed, "sealed epoch key")))
    return Share(tuple(shares))


def _attest(items: list[Any]) -> Attest:
    return Attest(_heads(items[0]))


def _address(items: list[Any]) -> Address:
    return Address(_addresses(items[0]))


def _fork(items: list[Any]) -> Fork:
    return Fork(proof_from_items(items))


def _succeed(items: list[Any]) -> Succeed:
    log = LogId(check_bytes(items[1], LOG_ID_BYTES, "membership log"))
    succession = Succeed(_replica(items[0]), log, _heads(items[2]))
    logs = [named for named, _ in succession.heads]
    if any(replica_of(named) != succession.replica for named in (log, *logs)) or log in logs:
        raise Malformed("membership succession: a log that is not another branch of the replica it names")
    return succession


def _hold(items: list[Any]) -> Hold:
    log, head = log_head(items[:3])
    return Hold(CommitId(log, head.sequence), head.hash, check_text(items[3], REASON_CHARACTERS_MAX, "hold reason"))


def _close(items: list[Any]) -> Close:
    stamp = check_int(items[1], 0, STAMP_MAX, "membership closing stamp")
    closed = Close(_replica(items[0]), stamp, _heads(items[2]), _epoch(items[3]))
    if any(replica_of(log) != closed.replica for log, _ in closed.heads):
        raise Malformed("membership closing: a head that is not of the closed replica's logs")
    return closed


_BODIES: Final[Mapping[str, tuple[int, Callable[[list[Any]], Body]]]] = {
    "found": (5, _found),
    "add": (2, _add),
    "remove": (4, _remove),
    "epoch": (1, _new_epoch),
    "share": (1, _share),
    "attest": (1, _attest),
    "address": (1, _address),
    "fork": (3, _fork),
    "succeed": (3, _succeed),
    "hold": (4, _hold),
    "close": (4, _close),
}


def _entry(item: Any) -> Entry:
    sig, tls, kem, role, admin, name, addresses = _listed(item, 7)
    if type(admin) is not bool:
        raise Malformed("membership entry: its admin flag is neither true nor false")
    return Entry(
        sig=check_bytes(sig, SIG_BYTES, "membership signing key"),
        tls=_blob(tls, "membership certificate"),
        kem=_blob(kem, "membership sealing key"),
        role=check_text(role, 32, "membership role"),
        admin=admin,
        name=_name(name),
        addresses=_addresses(addresses),
    )


def _epoch(item: Any) -> EpochBody:
    epoch, parents, sealed = _listed(item, 3)
    wraps = []
    for wrap in check_list(parents, limits.message_items_max, "epoch parents"):
        parent, wrapped = _listed(wrap, 2)
        wraps.append((_epoch_id(parent), check_bytes(wrapped, WRAPPED_BYTES, "wrapped epoch key")))
    keys: dict[ReplicaId, bytes] = {}
    for pair in check_list(sealed, limits.message_items_max, "epoch recipients"):
        replica, key = _listed(pair, 2)
        keys.setdefault(_replica(replica), _blob(key, "sealed epoch key"))
    return EpochBody(_epoch_id(epoch), tuple(wraps), keys)


def _listed(item: Any, count: int) -> list[Any]:
    """The first `count` items of a list; what stands behind them is for later versions."""
    if type(item) is not list or len(item) < count:
        raise Malformed("membership record: not the list that its op promises")
    return item[:count]


def _replica(item: Any) -> ReplicaId:
    return ReplicaId(check_bytes(item, REPLICA_ID_BYTES, "membership replica"))


def _epoch_id(item: Any) -> EpochId:
    return EpochId(check_bytes(item, KEY_ID_BYTES, "membership epoch"))


def _blob(item: Any, what: str) -> bytes:
    if type(item) is not bytes or not 0 < len(item) <= KEY_BYTES_MAX:
        raise Malformed(f"{what}: not 1 to {KEY_BYTES_MAX} bytes")
    return item


def _name(item: Any) -> str:
    return check_text(item, limits.name_characters_max, "membership name")


def _reason(item: Any) -> str:
    return check_text(item, limits.reason_characters_max, "membership reason")


def _addresses(item: Any) -> tuple[str, ...]:
    return tuple(
        check_text(address, limits.name_characters_max, "membership address")
        for address in check_list(item, limits.addresses_per_member_max, "membership addresses")
    )


def _heads(item: Any) -> tuple[tuple[LogId, Head], ...]:
    return tuple(log_head(head) for head in check_list(item, limits.dependencies_max, "attested heads"))
