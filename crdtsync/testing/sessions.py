"""What one person may rely on who reads and writes at one site: the session guarantees of Terry et al. (PDIS 1994).

    read your writes       what somebody wrote is in all that they read afterwards
    monotonic reads        what somebody has read is in all that they read afterwards
    monotonic writes       who reads a write also reads what its writer had written before
    writes follow reads    who reads a write also reads what its writer had read before

All four follow from L2, so each is another way to see that L2 is broken. The books are kept apart from the code under
test: what a write must bring along is what its session was seen to read and write, not what the commit says of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crdtsync.ids import CommitId, LogId
from crdtsync.testing.ledger import OracleFailed, short

Seen = Mapping[LogId, int]
"""Per log the last sequence that a view includes; logs have no gaps."""
_FINGERPRINTS_MAX: Final = 10_000
"""Fingerprints remembered of one session; beyond it the oldest are forgotten, and a way back to them is not noticed."""


class _Session:
    """`floor` is what its next read must include, `new` what moved in it since the session wrote last."""

    def __init__(self) -> None:
        self.floor: dict[LogId, int] = {}
        self.shown: dict[LogId, int] = {}
        self.new: dict[LogId, int] = {}
        self.last: dict[str, bytes] = {}
        self.former: dict[tuple[str, bytes], None] = {}

    def include(self, log: LogId, sequence: int) -> None:
        if sequence > self.floor.get(log, 0):
            self.floor[log] = self.new[log] = sequence


class Sessions:
    """Told of reads and writes as they happen; raises OracleFailed at the first that breaks a guarantee.

    A session is whoever sits at one site, under any name. Costs memory per write for what its session had read since
    the write before it, and time per read for the commits that are new in it.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._brings: dict[CommitId, dict[LogId, int]] = {}

    def wrote(self, who: str, commit: CommitId, past: Seen | None = None) -> None:
        """A session was told that its transaction is written as `commit`.

        `past` is all that the commit depends on, as far as the caller knows it: its own log before it, what it names,
        and what those depend on. Raises OracleFailed when the session had read or written something beyond it.
        """
        session = self._sessions.setdefault(who, _Session())
        if past is not None:
            for log, sequence in session.floor.items():
                # Its own log stands before it without being named.
                if log != commit.log and past.get(log, 0) < sequence:
                    raise OracleFailed(
                        f"writes follow reads: {who} had seen {short(log)}:{sequence} before it wrote "
                        f"{short(commit.log)}:{commit.sequence}, which does not depend on it"
                    )
        self._brings[commit] = {log: at for log, at in session.new.items() if log != commit.log}
        session.new = {}
        session.include(commit.log, commit.sequence)

    def read(self, who: str, seen: Seen, *, record: str = "", fingerprint: bytes = b"") -> None:
        """A session read from a view that includes `seen`; of `record`, if it is named, it saw this `fingerprint`.

        Fingerprints are those of documents (L5), which never come back once they have changed; b"" for no record there.
        """
        session = self._sessions.setdefault(who, _Session())
        for log, sequence in session.floor.items():
            if seen.get(log, 0) < sequence:
                raise OracleFailed(
                    f"monotonic reads, or reading own writes: {who} sees {short(log)} up to {seen.get(log, 0)} and has "
                    f"seen or written {sequence}"
                )
        self._whole(who, session, seen)
        for log, sequence in seen.items():
            session.include(log, sequence)
            session.shown[log] = sequence
        if record:
            self._never_back(who, session, record, fingerprint)

    def end(self, who: str) -> None:
        """The session is over, as after the death of its process; who comes next under this name begins anew."""
        self._sessions.pop(who, None)

    def _whole(self, who: str, session: _Session, seen: Seen) -> None:
        """Each commit that is new in this view has brought along what its writer had read and written."""
        for log, last in seen.items():
            for sequence in range(session.shown.get(log, 0) + 1, last + 1):
                for other, needed in self._brings.get(CommitId(log, sequence), {}).items():
                    if seen.get(other, 0) < needed:
                        raise OracleFailed(
                            f"writes follow reads, monotonic writes: {who} sees {short(log)}:{sequence} without "
                            f"{short(other)}:{needed}, which its writer had seen"
                        )

    def _never_back(self, who: str, session: _Session, record: str, fingerprint: bytes) -> None:
        last = session.last.get(record)
        if last is None or fingerprint == last:
            session.last[record] = fingerprint
            return
        if (record, fingerprint) in session.former or not fingerprint:
            raise OracleFailed(f"monotonic reads: {who} sees {record} go back to what it was before")
        session.former[record, last] = None
        if len(session.former) > _FINGERPRINTS_MAX:
            del session.former[next(iter(session.former))]
        session.last[record] = fingerprint
