"""The `Store` contract: what a replica asks of its disk.

A store has three parts that are written in this order (L1): wrapped data keys, the log, the view. Keys and log are
synced to disk when the call that wrote them returns. The view is derived from the log (L8): it may lose its newest
transactions in a power cut, never the order of them, and says up to which arrival it was derived.

All methods are synchronous and are called from one thread, the store's; `storage.worker` gives them a thread of their
own. `storage.memory` and `storage.sqlite` pass one conformance suite, `crdtsync.testing.stores`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from crdtsync.errors import RottenCommit
from crdtsync.ids import DataKeyId, Head, LogId, MemberHash, RecordId
from crdtsync.replication.commit import Commit
from crdtsync.replication.stored import KeyObject, LogHead, StoredCommit

Notes = Mapping[str, bytes | None]
"""Small values of a replica by name; None removes one."""
NO_NOTES: Final[Notes] = {}


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A record's document as the view keeps it. `damaged` says why it cannot be shown whole, else is empty (L6)."""

    kind: str
    record: RecordId
    subject: str
    state: bytes
    fingerprint: bytes
    damaged: str = ""


@dataclass(frozen=True, slots=True)
class StoredConflict:
    """A conflict as the view keeps it: found by documents alone, equal at every site, so `id` is equal too.

    `body` is JSON: {"severity", "records": [id …], "field", "values": [{"value", "commit", "stamp"} …]}.
    """

    id: str
    kind: str
    record: RecordId
    severity: str
    body: str
    detected_ms: int


@dataclass(frozen=True, slots=True)
class ViewChange:
    """All that one record's new state changes in the view; one is written per record and derived batch.

    `row` holds the columns of the kind's table (None for a kind that no model declares), `words` the text to search.
    `arrival` is the arrival of the last commit that changed the record, `touches` are those of all commits of the batch
    that name it, also of such that are held: the index of its history.
    """

    document: StoredDocument
    row: Mapping[str, Any] | None
    words: str
    conflicts: Sequence[StoredConflict]
    arrival: int
    touches: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A kind's table: column name to SQLite type, in order; `indexes` name columns that get an index.

    Every table has the columns `id TEXT PRIMARY KEY` first; a table that lacks columns gets them added.
    """

    kind: str
    columns: Mapping[str, str]
    indexes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class KindState:
    """From which declaration of a kind its rows follow, and how far they do.

    `declared` and `former` are JSON, of the engine's own. Rows of records up to `after` follow from `declared`, and of
    those written since; None: all do. The others lack it in the columns `behind` (None: in all, and some have no row).
    `done` is the number of records gone over so far.
    """

    declared: str
    former: str
    after: str | None = None
    behind: tuple[str, ...] | None = ()
    done: int = 0


@dataclass(frozen=True, slots=True)
class ViewState:
    """What the view was derived from and what it sums up to (L5).

    `digest` is the order-free sum of all fingerprints modulo 2**256, 32 bytes big-endian; `records` their number.
    """

    head: LogHead
    digest: bytes
    records: int


class Store(Protocol):
    """Durable state of one replica. Raises StorageFailure when the disk refuses; after that every call raises it (a
    failed sync is never retried).

    What is read of the log is checked against its chain. A commit that is not what was written is never given out:
    lists end before it, and whoever asks for it first gets RottenCommit, until `mend` has put the right one in its
    place.
    """

    def close(self) -> None:
        """Give files and locks back. Idempotent."""

    # -- small values of this replica alone: never replicated -------------------------------------------------------

    def meta(self, name: str) -> bytes | None:
        """A small value, or None."""

    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        """Write small values in one synced transaction; None removes."""

    # -- membership records: synced when the call returns ------------------------------------------------------------

    def add_members(self, records: Sequence[tuple[MemberHash, bytes]]) -> None:
        """Keep membership records for ever, in the order given (parents first). Ones already kept are skipped."""

    def members(self) -> list[bytes]:
        """All membership records, in the order in which they were added."""

    # -- wrapped data keys: synced when the call returns ---------------------------------------------------------------

    def put_keys(self, keys: Sequence[KeyObject]) -> None:
        """Keep wrapped data keys. Ones already kept are skipped."""

    def keys(self, ids: Iterable[DataKeyId]) -> dict[DataKeyId, KeyObject]:
        """Those of the named keys that are here."""

    def key_of_subject(self, subject: str) -> list[KeyObject]:
        """All keys of a subject, by id."""

    def keys_behind(self, after: DataKeyId, limit: int) -> list[KeyObject]:
        """Keys in order of their ids, beginning behind `after` (b"" for the first): at least one if there is one."""

    def erase_keys(self, ids: Iterable[DataKeyId]) -> None:
        """Destroy keys so that no byte of them stays in a file."""

    # -- the log: synced when the call returns -------------------------------------------------------------------------

    def append(self, commits: Sequence[tuple[Commit, bool]], arrived_ms: int, notes: Notes = NO_NOTES) -> LogHead:
        """Append commits in a causal order, all or none; the flag is `checked`. Returns the new head of the log.

        `notes` are small values (None removes) that are written in the same transaction: what these commits settle is
        noted exactly when they are on disk.
        """

    def append_again(self, stored: Sequence[StoredCommit]) -> LogHead:
        """Append commits with the times of arrival that an earlier store of this log had kept (a backup). Raises
        UsageError where they do not stand in the order of arrival, behind this log's end."""

    def log_head(self) -> LogHead:
        """How far the log goes."""

    def goes_on_from(self, head: LogHead) -> bool:
        """Whether the log up to that arrival is the one that `head` sums up."""

    def frontier(self) -> dict[LogId, Head]:
        """Per log the last commit that is here."""

    def arrivals(self, after: int, commits_max: int, bytes_max: int) -> list[StoredCommit]:
        """Commits in order of arrival, beginning behind `after`; at least one if there is one."""

    def feeds(self, cursors: Mapping[LogId, int], commits_max: int, bytes_max: int) -> list[StoredCommit]:
        """Commits of the named logs, each from its cursor's sequence on, merged in order of arrival; at least one if
        there is one, and never one behind a commit of these logs that was left out."""

    def commit(self, log: LogId, sequence: int) -> StoredCommit | None:
        """One commit."""

    def backlog(self, cursors: Mapping[LogId, int]) -> tuple[int, int]:
        """Number and bytes of the commits that `feeds` would give without limits."""

    def check_log(self, after: int, commits_max: int) -> tuple[list[StoredCommit], list[RottenCommit]]:
        """Go over the stored commits behind arrival `after`: those that are sound, and those that are not."""

    def mend(self, arrival: int, commit: Commit) -> None:
        """Put a commit's bytes in the place of rotten ones, synced. Raises BadSignature when it is not the commit that
        the chain over the log names there, or lacks a part."""

    def uncheck(self, arrival: int) -> None:
        """Note, synced, that the signature of this commit was not verified: it does not verify any more. The chain to
        a later commit of its log vouches for it."""

    # -- the view: derived, one transaction per batch (L2, L8) ---------------------------------------------------------

    def declare_tables(self, tables: Sequence[TableSpec]) -> bool:
        """Create missing tables, columns and indexes. True when something was added to a view that holds documents.

        Raises UsageError while a transaction of the view is open.
        """

    def view_state(self) -> ViewState:
        """What the view was derived from. A view that is no prefix of the log is empty when this returns (L1)."""

    def document(self, kind: str, record: RecordId) -> StoredDocument | None:
        """One document as last derived (also within a batch that was begun)."""

    def documents_of(self, record: RecordId) -> list[StoredDocument]:
        """All documents under this id: one, unless two kinds claim one id."""

    def documents(self, kind: str | None, after: tuple[str, str], limit: int) -> list[StoredDocument]:
        """Documents in order of (kind, record), beginning behind `after`; `kind` None means all kinds."""

    def shows(self, change: ViewChange) -> bool:
        """Whether the view holds just this of a record: its row, words and conflicts, the times of these aside."""

    def touches(self, kind: str, record: RecordId) -> list[int]:
        """Arrivals of all commits with a change of this record, in order, as far as their parts could be read."""

    def begin_view(self) -> None:
        """Begin a transaction of the view. What is written is seen by this store's own reads at once."""

    def write_view(self, changes: Sequence[ViewChange]) -> None:
        """Replace the named records' documents, rows, words and conflicts; add to what is known of their history."""

    def write_rows(self, changes: Sequence[ViewChange]) -> None:
        """Replace rows, words and conflicts of records that are there, and whether they are damaged; their documents
        stay, and so does when they changed. Raises UsageError for a record that is not there."""

    def kind_states(self) -> dict[str, KindState]:
        """What was noted of kinds' rows. `reset_view` leaves it."""

    def write_kind_state(self, kind: str, state: KindState) -> None:
        """Note how far a kind's rows are, with the transaction that is open."""

    def has_links(self) -> bool:
        """Whether any patient is linked to another."""

    def links(self, patients: Collection[RecordId]) -> list[tuple[RecordId, RecordId]]:
        """All links (patient, other) that begin or end at one of these, sorted; in the open transaction as well."""

    def persons(self, patients: Collection[RecordId]) -> dict[RecordId, RecordId]:
        """Per linked patient its person: of these patients, and of all others that are of one person with them."""

    def write_links(self, patient: RecordId, others: Collection[RecordId]) -> None:
        """Replace the links that begin at a patient, each once."""

    def write_persons(self, persons: Mapping[RecordId, RecordId | None]) -> None:
        """Note of which person these patients are; None: nobody but themselves."""

    def write_waiting(self, key: DataKeyId, arrivals: Sequence[int]) -> None:
        """Remember that parts of these commits wait for a key; an empty sequence forgets the key."""

    def waiting(self) -> dict[DataKeyId, list[int]]:
        """Keys that parts wait for."""

    def commit_view(self, state: ViewState) -> None:
        """End the transaction; the view is now derived up to `state`. Durable at the latest with the next sync."""

    def abort_view(self) -> None:
        """Drop the transaction."""

    def reset_view(self) -> None:
        """Empty the view, to be derived again from the log."""

    def conflicts(self) -> list[StoredConflict]:
        """All open conflicts, oldest first."""

    def counts(self) -> dict[str, int]:
        """Number of records per kind."""

    # -- conflicts between records: what `engine.between` asks and keeps, in the same transactions --------------------

    def sharing(
        self, kind: str, column: str, records: Collection[RecordId], beside: str | None = None
    ) -> list[tuple[Any, Any, Any]]:
        """Values (not NULL) of an indexed column that one of the records has in its row, and another record of this
        kind as well; with what the two have in the column `beside`, each such triple once (None without one).

        Also within a batch that was begun. Nothing for a table or column that was not declared.
        """

    def columns_of(self, kind: str, record: RecordId, columns: tuple[str, ...]) -> tuple[Any, ...] | None:
        """These columns of a record's row, also within a batch that was begun; None when there is no such row, or a
        column was not declared."""

    def holding(self, kind: str, columns: Sequence[str], value: Any) -> list[tuple[Any, ...]]:
        """Id and `columns` of the records whose first of these columns has the value, in order of their ids."""

    def between(self, kind: str, column: str, least: int, most: int, limit: int, *, falling: bool = False) -> list[int]:
        """The different whole numbers from `least` to `most` that an indexed column has in some row, at most `limit`:
        the lowest of them, rising, or the highest, falling. Also within a batch that was begun."""

    def write_claims(self, claims: Mapping[RecordId, Mapping[str, str]]) -> None:
        """Replace the claims of these records: place to what the record says there."""

    def claimants(self, place: str) -> list[tuple[RecordId, str]]:
        """Records that claim a place, in order of their ids, with what they say."""

    def between_places(self, records: Collection[RecordId]) -> list[str]:
        """The places of conflicts between records in which any of these takes part."""

    def between_at(self, place: str) -> list[StoredConflict]:
        """The conflicts between records at a place, in order of their ids. `conflicts` lists them as well."""

    def write_between(self, found: Mapping[str, Sequence[StoredConflict]]) -> None:
        """Replace the conflicts between records at these places; each conflict has one place."""
