"""What happens to a replica: the closed union of inputs of `Replica.handle`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crdtsync.ids import AskId, CommitId, DataKeyId, LogId, MemberHash, ReplicaId
from crdtsync.replication.commit import Commit
from crdtsync.replication.messages import Path, Sums
from crdtsync.replication.stored import KeyObject, StoredCommit


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link to `replica` stands; the transport has proved who it is. `dialled` tells that we opened it."""

    link: int
    replica: ReplicaId
    dialled: bool


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link is gone, for whatever reason."""

    link: int


@dataclass(frozen=True, slots=True)
class Received:
    """One whole message came in on a link."""

    link: int
    message: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """The commits and keys of the one `Store` effect in flight are on disk, synced (L1)."""


@dataclass(frozen=True, slots=True)
class Wrote:
    """Local transactions became these commits, on disk and synced (L1)."""

    commits: Sequence[Commit]
    keys: Sequence[KeyObject]


@dataclass(frozen=True, slots=True)
class BootOpened:
    """From now on this replica writes `log`, which nobody has written before (L4)."""

    log: LogId


@dataclass(frozen=True, slots=True)
class GoOnAlone:
    """A person says that this replica writes on although others may know more of its logs (L4)."""


@dataclass(frozen=True, slots=True)
class MembersStored:
    """Membership records, local or from a peer, are on disk, synced. Parents stand before children."""

    records: Sequence[tuple[MemberHash, bytes]]


@dataclass(frozen=True, slots=True)
class FeedsRead:
    """The answer to `ReadFeeds`: commits in order of arrival, with the key objects they introduce."""

    link: int
    commits: Sequence[StoredCommit]
    keys: Sequence[KeyObject]


@dataclass(frozen=True, slots=True)
class BacklogRead:
    """The answer to `ReadBacklog`: how much a peer will be sent."""

    link: int
    commits: int
    size: int


@dataclass(frozen=True, slots=True)
class KeysRead:
    """The answer to `ReadKeys`: those of the named keys that are here."""

    link: int
    keys: Sequence[KeyObject]


@dataclass(frozen=True, slots=True)
class HeadersRead:
    """The answer to `ReadHeaders`: those of the asked commits that are here, header and signature, in order.

    `asked` tells that the peer wants them; else they are for a comparison with what it shows.
    """

    link: int
    log: LogId
    signed: Sequence[tuple[bytes, bytes]]
    asked: bool


@dataclass(frozen=True, slots=True)
class SumsRead:
    """The answer to `ReadSums`: what the view, derived up to `arrival`, sums up to at the end of each way."""

    link: int
    arrival: int
    sums: Sequence[tuple[Path, Sums]]
    asked: bool


@dataclass(frozen=True, slots=True)
class AgainRead:
    """The answer to `ReadAgain`: those of the asked commits that are here and sound."""

    link: int
    commits: Sequence[Commit]


@dataclass(frozen=True, slots=True)
class RotFound:
    """These commits on our disk are not what was written any more, and no others, as far as that was noticed."""

    commits: Sequence[CommitId]


@dataclass(frozen=True, slots=True)
class Mended:
    """These commits are on disk again as they were written."""

    commits: Sequence[CommitId]


@dataclass(frozen=True, slots=True)
class KeysStored:
    """Keys that a peer sent on request are on disk, synced."""

    keys: Sequence[KeyObject]


@dataclass(frozen=True, slots=True)
class Derived:
    """The view now follows from the whole log as it stood: its digest, and the keys that parts wait for.

    `held` is the number of signed holds that the view leaves out (`State.held` as it was derived); -1 while something
    else is left out that nobody has signed yet.
    """

    arrival: int
    digest: bytes
    waiting: Sequence[DataKeyId]
    held: int = 0


@dataclass(frozen=True, slots=True)
class AskOut:
    """This replica asks `target`, which may be itself: answered by one `Answered`, within `life_ms` and at most
    `limits.ask_life_ms_max`. `body` is sealed to the target, `signature` is over `flood.signed_ask`."""

    id: AskId
    target: ReplicaId
    body: bytes
    signature: bytes
    life_ms: int


@dataclass(frozen=True, slots=True)
class CancelOut:
    """This replica wants no answer any more, and gets no `Answered`; `signature` is over `flood.signed_cancel`."""

    id: AskId
    signature: bytes


@dataclass(frozen=True, slots=True)
class AnswerOut:
    """The answer to a question that was `Asked`; nothing happens where that was withdrawn. `body` is sealed to the
    asker, `signature` is over `flood.signed_answer`."""

    id: AskId
    origin: ReplicaId
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: `Replica.wakeup` said when to come back."""


Event = (
    LinkUp
    | LinkDown
    | Received
    | Stored
    | Wrote
    | BootOpened
    | GoOnAlone
    | MembersStored
    | FeedsRead
    | BacklogRead
    | KeysRead
    | HeadersRead
    | SumsRead
    | AgainRead
    | RotFound
    | Mended
    | KeysStored
    | Derived
    | AskOut
    | CancelOut
    | AnswerOut
    | Tick
)
