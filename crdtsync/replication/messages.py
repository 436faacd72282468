"""The messages of a session: arrays that begin with a number. A number that is not known here is passed over, so that
later versions may say more.

    1 hello      version, practice, replica, own log, whether the receiver's hello was heard
    2 members    hashes of membership records that the sender has, whether these are the last
    3 records    membership records
    4 have       heads that are durable at the sender (L1), whether the first whole frontier is now told
    5 feed       logs that the sender wants, each from a sequence on, for as long as the link lasts
    6 unfeed     logs that the sender wants no longer
    7 backlog    how many commits and bytes are about to come
    8 commits    bytes of commits sent on this link in all, wrapped keys, commits in a causal order
    9 credit     bytes of commits that the receiver may have sent on this link in all
   10 want-keys  ids of wrapped data keys
   11 keys       wrapped data keys
   12 digest     hash of the sender's frontier, hash of its membership heads, its content digest at these
   13 ping       bytes of commits sent on this link in all, the sender's time in ms: are you there?
   14 pong       the time of the ping
   15 holding    a third replica, and heads that are durable there as far as the sender knows
   16 want-heads a log, sequences: show me the headers of these commits
   17 heads      a log, headers with their signatures, in order
   18 want-sums  hash of a frontier, hash of membership heads, ways to parts of the records: what do these sum up to?
   19 sums       the same two hashes, and per way: sums of its sixteen parts, or its records one by one
   20 want-again a log, sequences: send me these commits again, mine are rotten
   21 again      commits
   22 ask        id, asker, whom it asks, hops and ms left, sealed question, the asker's signature
   23 answer     id, who answers, whom, hops and ms left, sealed answer, the answerer's signature
   24 cancel     id, asker, whom it asked, the asker's signature: it wants no answer any more
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from crdtsync import limits
from crdtsync.errors import Malformed
from crdtsync.ids import (
    ASK_ID_BYTES,
    HASH_BYTES,
    KEY_ID_BYTES,
    LOG_ID_BYTES,
    PRACTICE_ID_BYTES,
    REPLICA_ID_BYTES,
    AskId,
    DataKeyId,
    Head,
    LogId,
    MemberHash,
    PracticeId,
    RecordId,
    ReplicaId,
)
from crdtsync.replication.codec import check_bytes, check_int, check_list, check_text, pack, unpack
from crdtsync.replication.commit import SIGNATURE_BYTES, Commit, commit_from_items, commit_items, log_head
from crdtsync.replication.stored import KeyObject, key_from_items, key_items

PROTOCOL_VERSION: Final = 1
_COUNT_MAX: Final = 2**53
KEY_BYTES: Final = 512
"""What a wrapped data key takes in memory."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks. `log` is the log that the sender writes now, b"" when it writes none.

    `heard` tells that the sender has heard the receiver's hello: this one asks for no answer.
    """

    version: int
    practice: PracticeId
    replica: ReplicaId
    log: bytes
    heard: bool


@dataclass(frozen=True, slots=True)
class Members:
    """Membership records that the sender has; `last` ends the list."""

    hashes: tuple[MemberHash, ...]
    last: bool


@dataclass(frozen=True, slots=True)
class Records:
    """Membership records, parents before children."""

    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Have:
    """Heads that are on disk at the sender: an acknowledgement and an offer in one. `whole` ends the first telling."""

    heads: tuple[tuple[LogId, Head], ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Feed:
    """Send me these logs from these sequences on, now and as they grow."""

    cursors: tuple[tuple[LogId, int], ...]


@dataclass(frozen=True, slots=True)
class Unfeed:
    """Send me these logs no longer."""

    logs: tuple[LogId, ...]


@dataclass(frozen=True, slots=True)
class Backlog:
    """So much is about to come: progress can be shown honestly."""

    commits: int
    size: int


@dataclass(frozen=True, slots=True)
class Commits:
    """Commits in a causal order, with the keys that they introduce. `sent` counts the bytes of all commits sent on this
    link, these included, so that credit does not leak where a message was lost."""

    sent: int
    keys: tuple[KeyObject, ...]
    commits: tuple[Commit, ...]

    @property
    def size(self) -> int:
        """Bytes of the commits."""
        return sum(commit.size for commit in self.commits)

    @property
    def weight(self) -> int:
        """Bytes that the message takes in memory, keys included, within a few."""
        return self.size + KEY_BYTES * len(self.keys)


@dataclass(frozen=True, slots=True)
class Credit:
    """The receiver may have sent so many bytes of commits since the link began: a running total, safe to repeat."""

    size: int


@dataclass(frozen=True, slots=True)
class WantKeys:
    """Send me these keys if you have them."""

    ids: tuple[DataKeyId, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """Wrapped data keys."""

    keys: tuple[KeyObject, ...]


@dataclass(frozen=True, slots=True)
class Digest:
    """What the sender's documents sum up to at this frontier and membership (L5).

    `credit` repeats what `Credit` says; 0, as older programs send, says nothing of it.
    """

    frontier: bytes
    members: bytes
    digest: bytes
    credit: int = 0


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? `sent` is `Commits.sent` as it stands, `time` means something to the sender alone.

    Pings and pongs go the way of commits and never overtake them: what was sent before has arrived, or was lost.
    """

    sent: int
    time: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Yes; `time` is that of the ping."""

    time: int


@dataclass(frozen=True, slots=True)
class Holding:
    """What a third replica has on disk, as far as the sender knows."""

    replica: ReplicaId
    heads: tuple[tuple[LogId, Head], ...]


@dataclass(frozen=True, slots=True)
class WantHeads:
    """Show me the headers of these commits of a log: yours and mine differ (L3)."""

    log: LogId
    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Heads:
    """Headers of a log and their signatures, those of the asked ones that are here, in order."""

    log: LogId
    signed: tuple[tuple[bytes, bytes], ...]


PARTS: Final = 16
"""Into how many parts records are spread, at every step."""
Path = tuple[int, ...]
"""The way to a part of the records: at every step a number below `PARTS`."""


class Print(NamedTuple):
    """A record's fingerprint."""

    kind: str
    record: RecordId
    fingerprint: bytes


class Sums(NamedTuple):
    """What a part of the records sums up to: number and sum of each of its parts, or its few records one by one."""

    parts: tuple[tuple[int, bytes], ...]
    records: tuple[Print, ...]


@dataclass(frozen=True, slots=True)
class WantSums:
    """At this frontier and membership, what do the records at the end of these ways sum up to (L5)?"""

    frontier: bytes
    members: bytes
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class SumsOf:
    """What they sum up to at the sender, as far as it stands at this frontier and membership."""

    frontier: bytes
    members: bytes
    sums: tuple[tuple[Path, Sums], ...]


@dataclass(frozen=True, slots=True)
class WantAgain:
    """Send me these commits of a log again: what is on my disk is not what was written."""

    log: LogId
    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Again:
    """Commits that were asked for again."""

    commits: tuple[Commit, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """A question of `origin` to `target`, passed on until it is there. `body` is sealed to the target.

    `hops` and `expires_ms` are what is left of its way and of its life; whoever passes it on takes from them, so they
    are not signed.
    """

    id: AskId
    origin: ReplicaId
    target: ReplicaId
    hops: int
    expires_ms: int
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What `origin` answers to the question `id` of `target`, passed on like it."""

    id: AskId
    origin: ReplicaId
    target: ReplicaId
    hops: int
    expires_ms: int
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Cancel:
    """`origin` wants no answer to its question `id` any more; passed on by those who passed on the question."""

    id: AskId
    origin: ReplicaId
    target: ReplicaId
    signature: bytes


Message = (
    Hello
    | Members
    | Records
    | Have
    | Feed
    | Unfeed
    | Backlog
    | Commits
    | Credit
    | WantKeys
    | Keys
    | Digest
    | Ping
    | Pong
    | Holding
    | WantHeads
    | Heads
    | WantSums
    | SumsOf
    | WantAgain
    | Again
    | Ask
    | Answer
    | Cancel
)


def encode(message: Message) -> bytes:
    """The message's bytes."""
    number, items = _ENCODERS[type(message)]
    return pack([number, *items(message)])


def decode(data: bytes) -> Message | None:
    """The message in `data`, or None for a kind of message that is not known here.

    Raises Malformed, TooLarge or BadSignature (L6): the link that brought it ends.
    """
    items = unpack(data, bytes_max=limits.message_bytes_max, what="message")
    if not items or type(items[0]) is not int:
        raise Malformed("message: it does not begin with a number")
    entry = _DECODERS.get(items[0])
    if entry is None:
        return None
    length, decoder = entry
    if len(items) <= length:
        raise Malformed(f"message {items[0]}: too short")
    return decoder(items)


def members_digest(heads: Iterable[MemberHash]) -> bytes:
    """32 bytes that two replicas share exactly when they know the same membership."""
    return hashlib.sha256(b"crdtsync/members/1" + b"".join(sorted(heads))).digest()


def _flag(value: Any, what: str) -> bool:
    if type(value) is not bool:
        raise Malformed(f"{what}: not a flag")
    return value


def _cursor(item: Any) -> tuple[LogId, int]:
    if type(item) is not list or len(item) != 2:
        raise Malformed("feed: not a log and a sequence")
    return LogId(check_bytes(item[0], LOG_ID_BYTES, "feed log")), check_int(item[1], 1, _COUNT_MAX, "feed sequence")


def _hello(m: list[Any]) -> Hello:
    log = m[4]
    return Hello(
        check_int(m[1], 1, 2**16, "hello version"),
        PracticeId(check_bytes(m[2], PRACTICE_ID_BYTES, "hello practice")),
        ReplicaId(check_bytes(m[3], REPLICA_ID_BYTES, "hello replica")),
        b"" if log == b"" else check_bytes(log, LOG_ID_BYTES, "hello log"),
        _flag(m[5], "hello"),
    )


def _members(m: list[Any]) -> Members:
    hashes = check_list(m[1], limits.member_hashes_per_message_max, "members")
    return Members(
        tuple(MemberHash(check_bytes(item, HASH_BYTES, "member hash")) for item in hashes), _flag(m[2], "members")
    )


def _records(m: list[Any]) -> Records:
    records = check_list(m[1], limits.member_hashes_per_message_max, "records")
    if any(type(record) is not bytes for record in records):
        raise Malformed("records: not bytes")
    return Records(tuple(records))


def _have(m: list[Any]) -> Have:
    heads = check_list(m[1], limits.frontier_entries_per_message_max, "have")
    return Have(tuple(log_head(item) for item in heads), _flag(m[2], "have"))


def _feed(m: list[Any]) -> Feed:
    return Feed(tuple(_cursor(item) for item in check_list(m[1], limits.frontier_entries_per_message_max, "feed")))


def _unfeed(m: list[Any]) -> Unfeed:
    logs = check_list(m[1], limits.frontier_entries_per_message_max, "unfeed")
    return Unfeed(tuple(LogId(check_bytes(item, LOG_ID_BYTES, "unfeed log")) for item in logs))


def _backlog(m: list[Any]) -> Backlog:
    return Backlog(check_int(m[1], 0, _COUNT_MAX, "backlog"), check_int(m[2], 0, 2**60, "backlog bytes"))


def _commits(m: list[Any]) -> Commits:
    return Commits(
        check_int(m[1], 0, _COUNT_MAX, "bytes sent"),
        tuple(key_from_items(item) for item in check_list(m[2], limits.parts_per_commit_max * 4, "keys")),
        tuple(commit_from_items(item) for item in check_list(m[3], limits.run_commits_max, "commits")),
    )


def _want_keys(m: list[Any]) -> WantKeys:
    ids = check_list(m[1], limits.keys_per_message_max, "wanted keys")
    return WantKeys(tuple(DataKeyId(check_bytes(item, KEY_ID_BYTES, "key id")) for item in ids))


def _keys(m: list[Any]) -> Keys:
    return Keys(tuple(key_from_items(item) for item in check_list(m[1], limits.keys_per_message_max, "keys")))


def _holding(m: list[Any]) -> Holding:
    heads = check_list(m[2], limits.frontier_entries_per_message_max, "holding")
    return Holding(
        ReplicaId(check_bytes(m[1], REPLICA_ID_BYTES, "holding replica")), tuple(log_head(item) for item in heads)
    )


def _want_heads(m: list[Any]) -> WantHeads:
    sequences = check_list(m[2], limits.fork_headers_max, "wanted headers")
    return WantHeads(
        LogId(check_bytes(m[1], LOG_ID_BYTES, "wanted headers")),
        tuple(check_int(item, 1, _COUNT_MAX, "wanted header") for item in sequences),
    )


def _heads(m: list[Any]) -> Heads:
    return Heads(
        LogId(check_bytes(m[1], LOG_ID_BYTES, "headers")),
        tuple(_signed(item) for item in check_list(m[2], limits.fork_headers_max, "headers")),
    )


def _signed(item: Any) -> tuple[bytes, bytes]:
    if type(item) is not list or len(item) != 2 or type(item[0]) is not bytes:
        raise Malformed("headers: not a header and a signature")
    return item[0], check_bytes(item[1], SIGNATURE_BYTES, "header signature")


def _path(item: Any) -> Path:
    return tuple(
        check_int(step, 0, PARTS - 1, "step") for step in check_list(item, limits.narrowing_depth_max, "way to a part")
    )


def _want_sums(m: list[Any]) -> WantSums:
    paths = check_list(m[3], limits.narrowing_parts_max, "wanted sums")
    return WantSums(
        check_bytes(m[1], HASH_BYTES, "sums frontier"),
        check_bytes(m[2], HASH_BYTES, "sums members"),
        tuple(_path(item) for item in paths),
    )


def _sums_of(m: list[Any]) -> SumsOf:
    return SumsOf(
        check_bytes(m[1], HASH_BYTES, "sums frontier"),
        check_bytes(m[2], HASH_BYTES, "sums members"),
        tuple(_sums(item) for item in check_list(m[3], limits.narrowing_parts_max, "sums")),
    )


def _sums(item: Any) -> tuple[Path, Sums]:
    path, parts, records = _items(item, 3, "sums")
    return _path(path), Sums(
        tuple(_part(part) for part in check_list(parts, PARTS, "parts")),
        tuple(_print(record) for record in check_list(records, limits.sums_records_max, "fingerprints")),
    )


def _part(item: Any) -> tuple[int, bytes]:
    count, total = _items(item, 2, "part")
    return check_int(count, 0, _COUNT_MAX, "part"), check_bytes(total, HASH_BYTES, "part")


def _print(item: Any) -> Print:
    kind, record, fingerprint = _items(item, 3, "fingerprint")
    return Print(
        check_text(kind, 64, "fingerprint kind"),
        RecordId(check_text(record, 64, "fingerprint record")),
        check_bytes(fingerprint, HASH_BYTES, "fingerprint"),
    )


def _items(item: Any, count: int, what: str) -> list[Any]:
    if type(item) is not list or len(item) != count:
        raise Malformed(f"{what}: not {count} items")
    return item


def _want_again(m: list[Any]) -> WantAgain:
    sequences = check_list(m[2], limits.commits_again_max, "commits again")
    return WantAgain(
        LogId(check_bytes(m[1], LOG_ID_BYTES, "commits again")),
        tuple(check_int(item, 1, _COUNT_MAX, "commit again") for item in sequences),
    )


def _again(m: list[Any]) -> Again:
    return Again(tuple(commit_from_items(item) for item in check_list(m[1], limits.commits_again_max, "again")))


_Passed = TypeVar("_Passed", Ask, Answer)


def _between(m: list[Any], what: str) -> tuple[AskId, ReplicaId, ReplicaId]:
    return (
        AskId(check_bytes(m[1], ASK_ID_BYTES, f"{what} id")),
        ReplicaId(check_bytes(m[2], REPLICA_ID_BYTES, f"{what} origin")),
        ReplicaId(check_bytes(m[3], REPLICA_ID_BYTES, f"{what} target")),
    )


def _passed(m: list[Any], kind: type[_Passed], what: str) -> _Passed:
    """What is left of way and life may be more than is granted here: a later version may grant more."""
    if type(m[6]) is not bytes or len(m[6]) > limits.ask_body_bytes_max:
        raise Malformed(f"{what} body: not at most {limits.ask_body_bytes_max} bytes")
    return kind(
        *_between(m, what),
        check_int(m[4], 0, _COUNT_MAX, f"{what} hops"),
        check_int(m[5], 0, _COUNT_MAX, f"{what} life"),
        m[6],
        check_bytes(m[7], SIGNATURE_BYTES, f"{what} signature"),
    )


def _cancel(m: list[Any]) -> Cancel:
    return Cancel(*_between(m, "cancel"), check_bytes(m[4], SIGNATURE_BYTES, "cancel signature"))


def _digest(m: list[Any]) -> Digest:
    return Digest(
        check_bytes(m[1], HASH_BYTES, "digest frontier"),
        check_bytes(m[2], HASH_BYTES, "digest members"),
        check_bytes(m[3], HASH_BYTES, "digest"),
        check_int(m[4], 0, _COUNT_MAX, "credit") if len(m) > 4 else 0,
    )


_DECODERS: Final[dict[int, tuple[int, Callable[[list[Any]], Message]]]] = {
    1: (5, _hello),
    2: (2, _members),
    3: (1, _records),
    4: (2, _have),
    5: (1, _feed),
    6: (1, _unfeed),
    7: (2, _backlog),
    8: (3, _commits),
    9: (1, lambda m: Credit(check_int(m[1], 0, _COUNT_MAX, "credit"))),
    10: (1, _want_keys),
    11: (1, _keys),
    12: (3, _digest),
    13: (2, lambda m: Ping(check_int(m[1], 0, _COUNT_MAX, "ping"), check_int(m[2], 0, _COUNT_MAX, "ping time"))),
    14: (1, lambda m: Pong(check_int(m[1], 0, _COUNT_MAX, "pong time"))),
    15: (2, _holding),
    16: (2, _want_heads),
    17: (2, _heads),
    18: (3, _want_sums),
    19: (3, _sums_of),
    20: (2, _want_again),
    21: (1, _again),
    22: (7, lambda m: _passed(m, Ask, "ask")),
    23: (7, lambda m: _passed(m, Answer, "answer")),
    24: (4, _cancel),
}

_ENCODERS: Final[dict[type, tuple[int, Callable[[Any], list[Any]]]]] = {
    Hello: (1, lambda m: [m.version, m.practice, m.replica, m.log, m.heard]),
    Members: (2, lambda m: [list(m.hashes), m.last]),
    Records: (3, lambda m: [list(m.records)]),
    Have: (4, lambda m: [[[log, head.sequence, head.hash] for log, head in m.heads], m.whole]),
    Feed: (5, lambda m: [[list(cursor) for cursor in m.cursors]]),
    Unfeed: (6, lambda m: [list(m.logs)]),
    Backlog: (7, lambda m: [m.commits, m.size]),
    Commits: (8, lambda m: [m.sent, [key_items(key) for key in m.keys], [commit_items(item) for item in m.commits]]),
    Credit: (9, lambda m: [m.size]),
    WantKeys: (10, lambda m: [list(m.ids)]),
    Keys: (11, lambda m: [[key_items(key) for key in m.keys]]),
    Digest: (12, lambda m: [m.frontier, m.members, m.digest, *([m.credit] if m.credit else ())]),
    Ping: (13, lambda m: [m.sent, m.time]),
    Pong: (14, lambda m: [m.time]),
    Holding: (15, lambda m: [m.replica, [[log, head.sequence, head.hash] for log, head in m.heads]]),
    WantHeads: (16, lambda m: [m.log, list(m.sequences)]),
    Heads: (17, lambda m: [m.log, [list(item) for item in m.signed]]),
    WantSums: (18, lambda m: [m.frontier, m.members, [list(path) for path in m.paths]]),
    SumsOf: (
        19,
        lambda m: [
            m.frontier,
            m.members,
            [[list(path), [list(p) for p in sums.parts], [list(r) for r in sums.records]] for path, sums in m.sums],
        ],
    ),
    WantAgain: (20, lambda m: [m.log, list(m.sequences)]),
    Again: (21, lambda m: [[commit_items(item) for item in m.commits]]),
    Ask: (22, lambda m: [m.id, m.origin, m.target, m.hops, m.expires_ms, m.body, m.signature]),
    Answer: (23, lambda m: [m.id, m.origin, m.target, m.hops, m.expires_ms, m.body, m.signature]),
    Cancel: (24, lambda m: [m.id, m.origin, m.target, m.signature]),
}
