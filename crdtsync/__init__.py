"""crdtsync: every site holds all records, works alone for as long as it must, and converges with the others.

The public names, nothing else. Records are declared with `crdtsync.documents`; those of a medical practice are in
`crdtsync.practice`. `Site` is loaded when it is first asked for: programs that need only the errors start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crdtsync.errors import (
    AddressInUse,
    AlreadyOpen,
    AuthorityUnreachable,
    BadSignature,
    BadValue,
    Braked,
    CrdtSyncError,
    DamagedFile,
    EnvironmentFailure,
    InvitationRefused,
    Malformed,
    NotAMember,
    NotFound,
    PeerError,
    Poisoned,
    RefusedError,
    RottenCommit,
    RowsBehind,
    SealBroken,
    StorageFailure,
    TooLarge,
    Undecided,
    UnknownField,
    UnknownKind,
    Unreachable,
    UsageError,
    WrongPassphrase,
)

if TYPE_CHECKING:
    from crdtsync.site import Site

__all__ = [
    "AddressInUse",
    "AlreadyOpen",
    "AuthorityUnreachable",
    "BadSignature",
    "BadValue",
    "Braked",
    "CrdtSyncError",
    "DamagedFile",
    "EnvironmentFailure",
    "InvitationRefused",
    "Malformed",
    "NotAMember",
    "NotFound",
    "PeerError",
    "Poisoned",
    "RefusedError",
    "RottenCommit",
    "RowsBehind",
    "SealBroken",
    "Site",
    "StorageFailure",
    "TooLarge",
    "Undecided",
    "UnknownField",
    "UnknownKind",
    "Unreachable",
    "UsageError",
    "WrongPassphrase",
]


def __getattr__(name: str) -> Any:
    """Load `Site` when it is asked for."""
    if name != "Site":
        raise AttributeError(f"crdtsync has no public name {name!r}")
    from crdtsync.site import Site

    globals()["Site"] = Site
    return Site


def __dir__() -> list[str]:
    return __all__
