"""What a replica wants done: the closed union of outputs of `Replica.handle`. Each says who must do what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crdtsync.ids import AskId, DataKeyId, LogId, MemberHash, RecordId, ReplicaId
from crdtsync.replication.commit import Commit
from crdtsync.replication.stored import KeyObject


@dataclass(frozen=True, slots=True)
class Send:
    """The driver must put this message on the link, in the order of the effects; a dead link drops it.

    `urgent` messages may overtake others that are still waiting to be sent.
    """

    link: int
    message: bytes
    urgent: bool


@dataclass(frozen=True, slots=True)
class Close:
    """The driver must end the link; `LinkDown` follows. `reason` is for people."""

    link: int
    reason: str


@dataclass(frozen=True, slots=True)
class Store:
    """The driver must put keys, then commits on disk, synced, then answer `Stored`; then derive (L1).

    One is in flight at a time. A disk that refuses ends the replica: the effect is never repeated.
    """

    commits: Sequence[tuple[Commit, bool]]
    keys: Sequence[KeyObject]


@dataclass(frozen=True, slots=True)
class StoreMembers:
    """The driver must put these membership records on disk, synced, then answer `MembersStored`."""

    records: Sequence[tuple[MemberHash, bytes]]


@dataclass(frozen=True, slots=True)
class StoreKeys:
    """The driver must put these keys on disk, synced, answer `KeysStored`, then derive what waited for them."""

    keys: Sequence[KeyObject]


@dataclass(frozen=True, slots=True)
class ReadFeeds:
    """The driver must read `Store.feeds` with these cursors and limits, and the keys that those commits introduce, and
    answer `FeedsRead`."""

    link: int
    cursors: Mapping[LogId, int]
    commits_max: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class ReadBacklog:
    """The driver must read `Store.backlog` and answer `BacklogRead`."""

    link: int
    cursors: Mapping[LogId, int]


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """The driver must look up these keys and answer `KeysRead`."""

    link: int
    ids: Sequence[DataKeyId]


@dataclass(frozen=True, slots=True)
class ReadHeaders:
    """The driver must look up these commits of a log and answer `HeadersRead`, with `asked` as it is here."""

    link: int
    log: LogId
    sequences: Sequence[int]
    asked: bool


@dataclass(frozen=True, slots=True)
class ReadSums:
    """The driver must sum up the view at the end of these ways and answer `SumsRead`, `asked` as it is here (L5)."""

    link: int
    paths: Sequence[tuple[int, ...]]
    asked: bool


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """The driver must look up these commits of a log and answer `AgainRead`."""

    link: int
    log: LogId
    sequences: Sequence[int]


@dataclass(frozen=True, slots=True)
class Mend:
    """The driver must put these commits in the place of rotten ones, as far as they are those that the own log names,
    answer `Mended`, and derive what waited for them."""

    commits: Sequence[Commit]


@dataclass(frozen=True, slots=True)
class RepairRecords:
    """The driver must derive these records (kind and id) again from its own log, and the digest with them (L5)."""

    records: Sequence[tuple[str, RecordId]]


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """The driver must look at `Replica.membership` anew: who may connect, where to dial, which epochs there are."""


@dataclass(frozen=True, slots=True)
class NewBoot:
    """The driver must open a fresh boot before it writes again, and answer `BootOpened` (L4)."""

    reason: str


@dataclass(frozen=True, slots=True)
class NoteRecovering:
    """The driver must keep this flag on disk, and give it to the next `Replica` over this store (L4)."""

    recovering: bool


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The driver must note that this boot goes on from all that the replica wrote, as far as others know (L4)."""


@dataclass(frozen=True, slots=True)
class Rederive:
    """The driver must derive the whole view again from its own log: too much of it differs from a peer's (L5)."""

    peer: ReplicaId


@dataclass(frozen=True, slots=True)
class Asked:
    """The driver must answer this question of `origin`, which has signed it, with `AnswerOut`. No question is told
    twice while it is remembered (`limits.asks_heard_per_origin_max`)."""

    id: AskId
    origin: ReplicaId
    body: bytes


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The driver may leave this question: nobody waits for its answer any more."""

    id: AskId
    origin: ReplicaId


@dataclass(frozen=True, slots=True)
class Answered:
    """The driver must tell whoever asked: the answer, signed by whom it was asked, or None when its time is over."""

    id: AskId
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Alarm:
    """The driver must show this to people: `kind` is one word, `text` a sentence without content of records."""

    kind: str
    text: str


Effect = (
    Send
    | Close
    | Store
    | StoreMembers
    | StoreKeys
    | ReadFeeds
    | ReadBacklog
    | ReadKeys
    | ReadHeaders
    | ReadSums
    | ReadAgain
    | Mend
    | RepairRecords
    | MembersChanged
    | NewBoot
    | NoteRecovering
    | Confirmed
    | Rederive
    | Asked
    | Withdrawn
    | Answered
    | Alarm
)
