"""What the engine is asked and what it answers: plain values, safe to hand from thread to thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crdtsync.documents import Content, Edit
from crdtsync.engine.holds import DueHold
from crdtsync.ids import CommitId, DataKeyId, EpochId, Head, LogId, MemberHash, RecordId
from crdtsync.replication.commit import Commit
from crdtsync.replication.stored import KeyObject


@dataclass(frozen=True, slots=True)
class RecordEdits:
    """What one transaction does to one record. `subject` counts when the record is new; "" means the record itself."""

    kind: str
    record: RecordId
    subject: str
    edits: Sequence[Edit]


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """One local transaction: who, why, where and what for, and the edits; all of it becomes one commit or none (L2).

    `notes` are small values of this replica (None removes) that are written exactly when the commit is. `mass` tells
    that changes to many records are meant, so that the brake lets them pass. `ticket` names a small value: the request
    is written only while that is there, and takes it away, so that it is written once, whoever asks for it again.
    """

    author: str
    reason: str
    workstation: str
    purpose: str
    records: Sequence[RecordEdits]
    notes: Mapping[str, bytes | None] = field(default_factory=dict)
    mass: bool = False
    ticket: str = ""


@dataclass(frozen=True, slots=True)
class WriteGrant:
    """Under what a writer may write now: the newest membership records it knows, and the epoch to seal under.

    `closed` tells where branches of replicas end that others have succeeded: no boot continues those (L4). `suspended`
    tells that this replica's own logs have branched, and no admin has said which goes on.
    """

    members: tuple[MemberHash, ...]
    epoch: EpochId
    closed: Mapping[LogId, Head] = field(default_factory=dict)
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What became of one request.

    `commit` is its last commit (None when nothing changed or it failed), `commits` all of them in order, to be passed
    on as they are; `keys` the data keys that they introduce; `error` why nothing of the request was written.
    """

    commit: Commit | None = None
    commits: tuple[Commit, ...] = ()
    keys: tuple[KeyObject, ...] = ()
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class DeriveResult:
    """How far the view goes now. `done` tells that nothing is left to be derived with what is here.

    `digest` (32 bytes) and `records` sum up the view at `arrival` (L5). `changed`, `alarms` are what came since the
    last result; `waiting` are the keys that parts wait for. `stuck` says why the view cannot go on although the log
    does, else it is empty. An alarm is a sentence without content of records. `holds` are all commits that are held
    here and of which nobody has signed so yet: to be signed into the membership (L6). `held` is the number of holds and
    forks that the view leaves out; -1 while it leaves out something else as well. `behind` are the kinds of which rows
    lack what this program declares: `Engine.derive_rows` derives them anew.
    """

    done: bool
    arrival: int
    digest: bytes
    records: int
    changed: Sequence[tuple[str, RecordId]]
    waiting: Sequence[DataKeyId]
    alarms: Sequence[str]
    holds: Sequence[DueHold] = ()
    held: int = 0
    stuck: str = ""
    behind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordState:
    """A record's document as of now. `damaged` says why it is not whole, else is empty (L6)."""

    kind: str
    record: RecordId
    subject: str
    content: Content
    damaged: str


@dataclass(frozen=True, slots=True)
class Held:
    """A commit that documents could not take, and the records that lack it (L6). `reason` is a sentence.

    The first change of a log to a record that is left out because of such a commit is named in the same way.
    """

    commit: CommitId
    records: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Counted:
    """What the view holds: its digest in hexadecimal, records, records per kind, open conflicts."""

    digest: str
    records: int
    kinds: dict[str, int]
    conflicts: int


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Numbers for people: how far log and view go, what the view holds, how many keys parts wait for, what is held.

    `rederiving` tells of each kind whose rows are derived anew how far that is: "kind", "done", "total".
    """

    arrival: int
    derived: int
    digest: str
    records: int
    kinds: dict[str, int]
    conflicts: int
    waiting: int
    held: tuple[Held, ...]
    rederiving: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What verifying went over, and every finding as a sentence; no sentence means that all is well."""

    commits: int
    records: int
    problems: list[str] = field(default_factory=list)
