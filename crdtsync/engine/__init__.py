"""The engine: one replica's log, view and keys at work, synchronous and in one thread."""

from crdtsync.engine.accounts import Account
from crdtsync.engine.deeds import Deed, Deeds
from crdtsync.engine.engine import Engine
from crdtsync.engine.holds import DueHold
from crdtsync.engine.past import Step, Told
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
    "Deed",
    "Deeds",
    "DeriveResult",
    "DueHold",
    "EngineStatus",
    "Engine",
    "RecordEdits",
    "RecordState",
    "Step",
    "Told",
    "VerifyResult",
    "WriteGrant",
    "WriteOutcome",
    "WriteRequest",
]
