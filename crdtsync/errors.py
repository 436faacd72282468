"""Everything this library raises on purpose.

    CrdtSyncError
    ├── UsageError              the caller broke the contract: mend the call
    │   ├── UnknownKind         a record kind that no model declares
    │   ├── UnknownField        a field that the kind does not have
    │   ├── BadValue            a value that the field refuses
    │   └── NotFound            no such record, conflict, commit or member here
    ├── PeerError               the other side broke the protocol: that link ends, the site goes on (L6)
    │   ├── Malformed           bytes that are not what their place promises
    │   ├── TooLarge            a length beyond its limit, refused before allocation (L7)
    │   ├── BadSignature        a signature, hash or chain that does not verify
    │   └── NotAMember          a peer or author whom the practice does not know
    ├── EnvironmentFailure      disk, network or machine: mend the surroundings, call again
    │   ├── StorageFailure      the disk refused, or a file is damaged
    │   ├── RowsBehind          rows are still derived anew for what a newer program asks of them
    │   ├── Unreachable         nobody answers at that address
    │   │   └── AuthorityUnreachable  a site that alone may decide this does not answer
    │   └── AddressInUse        the port to listen on is taken
    └── RefusedError            a rule of the practice or of this replica says no
        ├── WrongPassphrase     the key file does not open
        ├── DamagedFile         a file of the replica is not what was written
        ├── RottenCommit        a stored commit is not what was written: it is fetched again from another site
        ├── AlreadyOpen         another process writes this folder
        ├── Braked              a mass change waits, as a proposal, for a second person
        ├── InvitationRefused   a code that is unknown, used, expired or void
        ├── Undecided           one value is needed, and people have not decided between several
        ├── SealBroken          sealed bytes do not open: another key, another place, or a changed byte
        └── Poisoned            a delta that a document cannot take

A message says what happened and what to do next. It never carries the content of a record.
"""

from __future__ import annotations

from collections.abc import Sequence


class CrdtSyncError(Exception):
    """The root: `except CrdtSyncError` catches all that this library raises on purpose."""


class UsageError(CrdtSyncError):
    """The caller broke the contract."""


class UnknownKind(UsageError):
    """No model declares this record kind."""


class UnknownField(UsageError):
    """The kind has no such field."""


class BadValue(UsageError):
    """The field refuses the value."""


class NotFound(UsageError):
    """There is no such thing at this replica."""


class PeerError(CrdtSyncError):
    """The other side broke the protocol; its link ends and the site goes on (L6)."""


class Malformed(PeerError):
    """Bytes that are not what their place promises."""


class TooLarge(PeerError):
    """A length beyond its limit, refused before anything was allocated (L7)."""


class BadSignature(PeerError):
    """A signature, a hash or a chain that does not verify."""


class NotAMember(PeerError):
    """A peer or an author whom the practice does not know, or knows no longer."""


class EnvironmentFailure(CrdtSyncError):
    """Disk, network or machine."""


class StorageFailure(EnvironmentFailure):
    """The disk refused to read, write or sync."""


class RowsBehind(EnvironmentFailure):
    """A question asks for columns that are still filled, since the program learnt of them.

    `Site` waits and asks again; applications only see it where the disk has refused, so that it never ends.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        super().__init__(
            f"the rows of {', '.join(kinds)} are still derived anew for fields that this program has learnt, and the "
            "answer would not be whole: `status` tells how far they are; open the site again if its disk has refused"
        )
        self.kinds = tuple(kinds)


class Unreachable(EnvironmentFailure):
    """Nobody answers at that address."""


class AuthorityUnreachable(Unreachable):
    """The one replica that can answer has not done so in time: `site` is its name, `since` when it was last heard here
    (ISO 8601, with a zone), None when it never was since this program was started. Whether it got the question is not
    known: asking again must do no harm. `then` says what becomes of what was asked."""

    def __init__(self, site: str, since: str | None, then: str = "try again when it can be reached") -> None:
        heard = "it has not been heard of since this program was started" if since is None else f"last heard: {since}"
        super().__init__(f"{site} does not answer ({heard}): {then}")
        self.site = site
        self.since = since


class AddressInUse(EnvironmentFailure):
    """The port to listen on is taken."""


class RefusedError(CrdtSyncError):
    """A rule of the practice or of this replica says no."""


class WrongPassphrase(RefusedError):
    """The key file does not open with this passphrase."""


class DamagedFile(RefusedError):
    """A file of the replica is not what was written there."""


class RottenCommit(RefusedError):
    """The bytes of a stored commit are not those that were written; the chain over the log tells."""

    def __init__(self, arrival: int, log: bytes, sequence: int) -> None:
        super().__init__(
            f"log.db: the commit at arrival {arrival} is not what was written; it is fetched again from another site: "
            "let this one serve until one that has it is linked"
        )
        self.arrival = arrival
        self.log = log
        self.sequence = sequence


class AlreadyOpen(RefusedError):
    """Another process writes this folder."""


class Braked(RefusedError):
    """The brake holds a mass change: nothing of it was written, all of it is kept as `proposal` until a second person
    confirms it. `proposal` is empty where the error came from another process; the message names it. `new` tells that
    the proposal was made for it, False that it went to one that was there."""

    def __init__(self, message: str, proposal: str = "", *, new: bool = True) -> None:
        super().__init__(message)
        self.proposal = proposal
        self.new = new


class InvitationRefused(RefusedError):
    """The code is unknown, used, expired or void."""


class Undecided(RefusedError):
    """One value is needed, and people have not yet decided between several."""


class SealBroken(RefusedError):
    """Sealed bytes do not open: another key, another place, or a changed byte."""


class Poisoned(RefusedError):
    """A delta that a document cannot take; the document must be thrown away (L6)."""
