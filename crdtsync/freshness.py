"""How fresh the data of another site are here, from what is known of its logs: plain values in, plain values out.

A lower bound, always. All that a site had written up to some moment is known to be here in two ways: by its own word,
since each site tells at once whatever it writes: where all that it has told is here, until it was last heard; or, over
others, by the newest commit of it that is here, since its log has no gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from crdtsync.ids import Head, LogId, ReplicaId, replica_of
from crdtsync.replication.frontier import Frontier


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one other replica. Times are milliseconds since 1970.

    `has` is what it is known to have on disk, by its own word or passed on. `told_ms` is when it was last heard on a
    link over which it had told all that it has, by the clock here; `written_ms`, by its own clock, is the time of the
    newest derived commit at each end of its logs: one, unless it wrote from several copies of its folder. `announced`
    are commits and bytes that it said are coming and that have not come.
    """

    replica: ReplicaId
    has: Frontier
    told_ms: int | None = None
    written_ms: Sequence[int] = ()
    announced: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Here:
    """What stands here: `derived` is what reads see, `ends` where logs end for everybody (L3)."""

    derived: Frontier
    ends: Mapping[LogId, Head] = field(default_factory=dict)
    now_ms: int = 0

    def counted(self, log: LogId, sequence: int) -> int:
        """How far a log that goes up to `sequence` counts."""
        end = self.ends.get(log)
        return sequence if end is None else min(sequence, end.sequence)


@dataclass(frozen=True, slots=True)
class Missing:
    """So many commits, and their bytes; None is for what nobody has said."""

    commits: int | None
    bytes: int | None


def as_of_ms(seen: Seen, here: Here) -> int | None:
    """Up to when all that it had written is derived here; None when nothing of it is known. Never in the future."""
    own = ((log, head) for log, head in seen.has.items() if replica_of(log) == seen.replica)
    whole = not _lacking(own, here)
    bounds = [] if seen.told_ms is None or not whole else [seen.told_ms]
    if seen.written_ms:
        bounds.append(min(seen.written_ms))
    return min(max(bounds), here.now_ms) if bounds else None


def missing_here(seen: Seen, here: Here) -> Missing:
    """What it has and this site lacks. The bytes are known when they were announced and nothing else has come since."""
    if not _heard(seen):
        return Missing(None, None)
    commits = sum(_lacking(seen.has.items(), here).values())
    if commits == 0:
        return Missing(0, 0)
    return Missing(commits, seen.announced[1] if seen.announced[0] == commits else None)


def missing_there(seen: Seen, here: Here) -> dict[LogId, int] | None:
    """What this site has and it is not known to have: per log the first sequence. None when it was never heard of."""
    if not _heard(seen):
        return None
    known = ((log, head.sequence, seen.has.sequence(log)) for log, head in here.derived.items())
    return {log: there + 1 for log, sequence, there in known if sequence > there}


def _heard(seen: Seen) -> bool:
    return seen.told_ms is not None or len(seen.has) > 0


def _lacking(heads: Iterable[tuple[LogId, Head]], here: Here) -> dict[LogId, int]:
    """Per log, how many of the commits up to its head are not derived here, of those that count."""
    ahead = ((log, here.counted(log, head.sequence) - here.derived.sequence(log)) for log, head in heads)
    return {log: commits for log, commits in ahead if commits > 0}
