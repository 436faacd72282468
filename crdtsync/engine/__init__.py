"""The engine: one replica's log, view and keys at work, synchronous and in one thread."""

from crdtsync.engine.accounts import Account
from crdtsync.engine.engine import Engine
from crdtsync.engine.holds import DueHold
from crdtsync.engine.values import (
    Counted,
    DeriveResult,
    EngineStatus,
    RecordEdits,
    RecordState,
    VerifyResult,
    WriteGrant,
    WriteOutcome,
    WriteRequest,
)

__all__ = [
    "Account",
    "Counted",
    "DeriveResult",
    "DueHold",
    "EngineStatus",
    "Engine",
    "RecordEdits",
    "RecordState",
    "VerifyResult",
    "WriteGrant",
    "WriteOutcome",
    "WriteRequest",
]
