"""Recovering (L4): a peer knows more of our own logs than we do, so that this disk is older than what it wrote.

    a claim on the log that we write            a new boot at once, and no writes until the rest is here
    a claim on another log of ours              no writes until it is here, while our boot has no commits yet: the first
                                                one then continues the true end, and the replica stays a line
    a flag kept from an earlier process         no writes until all is here that the first peer told it had

A claim is a number in a message, and signed by nobody. So each peer is waited for only as long as its link stands and
it brings something of our logs every `limits.claim_patience_s`, and after that never again. If it brought nothing at
all in that time an alarm names it, and the second time its link ends. It causes one more new boot only when it has
delivered on the one before: nobody but us can sign what it must deliver. So however many members lie, each stops our
writing once, for no longer than the patience.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from crdtsync import limits
from crdtsync.errors import PeerError
from crdtsync.ids import Head, LogId, ReplicaId, replica_of
from crdtsync.replication.effects import Confirmed, NewBoot, NoteRecovering
from crdtsync.replication.messages import Unfeed
from crdtsync.replication.session import Peer
from crdtsync.replication.state import Core


@dataclass(slots=True)
class Claimant:
    """What one replica is waited for, over all its links. `waited` is how long it has brought nothing, in seconds,
    before `since`; times when it was not linked do not count."""

    goals: dict[LogId, int] = field(default_factory=dict)
    met: dict[LogId, None] = field(default_factory=dict)
    """Logs of which it has brought what it claimed: what it claims of them further is life, not the past."""
    link: int | None = None
    waited: float = 0.0
    since: float = 0.0
    got: int = 0
    excused: bool = False
    """It was waited for long enough."""
    broken: int = 0
    """How many claims it has not made good."""
    on_current: tuple[LogId, int] | None = None
    """The log, written by us when it was claimed, for which it has caused a new boot, and how far it claimed that."""

    @property
    def stops_writing(self) -> bool:
        """Whether nothing is written until this one has delivered."""
        return bool(self.goals) and self.link is not None and not self.excused


class Recovering:
    """What peers claim of our logs, and whether that stops our writing. `noted` is the flag that the store keeps."""

    def __init__(self, core: Core, noted: bool) -> None:
        self._core = core
        self._claimants: dict[ReplicaId, Claimant] = {}
        self._noted = noted
        self._no_goal = noted
        self._asked: ReplicaId | None = None
        self._alone = False
        self._told = False
        self._confirmed = False

    @property
    def active(self) -> bool:
        """Whether nothing may be written here now."""
        if not self._claimants:
            return self._no_goal
        return self._no_goal or any(claimant.stops_writing for claimant in self._claimants.values())

    @property
    def due(self) -> float:
        """When patience with somebody ends."""
        if not self._claimants:
            return math.inf
        return min(
            (c.since + limits.claim_patience_s - c.waited for c in self._claimants.values() if _waits(c)),
            default=math.inf,
        )

    # -- claims --------------------------------------------------------------------------------------------------------

    def heard(self, peer: Peer, heads: Collection[tuple[LogId, Head]]) -> None:
        """A peer says that it has these heads. Raises PeerError for a claim that only a liar makes."""
        core = self._core
        current = core.log
        if current is not None and peer.have.sequence(current) > core.inbox.taken.sequence(current):
            self._current_claimed(peer, current)
        if self._boot_has_commits() or self._alone:
            return
        for log, head in heads:
            sequence = core.counted(log, head.sequence)
            if replica_of(log) == core.replica and log != core.log and core.stored.sequence(log) < sequence:
                self._claimed(peer, log, sequence)

    def _boot_has_commits(self) -> bool:
        """Whether our boot has begun: growth of our other logs is a branch then, and no reason to wait."""
        core = self._core
        return core.log is not None and core.stored.sequence(core.log) > 0

    def _current_claimed(self, peer: Peer, log: LogId) -> None:
        core = self._core
        claimant = self._claimants.setdefault(peer.replica, Claimant())
        if claimant.on_current is not None and core.stored.sequence(claimant.on_current[0]) < claimant.on_current[1]:
            raise PeerError("the peer claims more of this replica's own log than was written, for the second time")
        claimant.on_current = log, peer.have.sequence(log)
        claimant.met.pop(log, None)
        self._alone = False
        core.log = None
        core.out.append(NewBoot("a peer holds more of this replica's log than the replica itself"))
        self._tell(
            "rollback",
            "A peer holds commits of the log that this site was writing, and they are not here: its folder was set "
            "back. They are fetched before anything more is written.",
        )
        self._claimed(peer, log, peer.have.sequence(log))

    def _claimed(self, peer: Peer, log: LogId, sequence: int) -> None:
        claimant = self._claimants.setdefault(peer.replica, Claimant())
        if log in claimant.met:
            return
        if not claimant.goals:
            claimant.waited, claimant.since = 0.0, self._core.now
        claimant.goals[log] = max(sequence, claimant.goals.get(log, 0))
        claimant.got = self._here(claimant)
        self._linked(claimant, peer)
        self._from_whoever_has_it(peer)
        if not claimant.excused:
            self._tell(
                "restored",
                "Peers hold commits of this site that are not here: its folder is an older one, or a copy. They are "
                "fetched before anything is written.",
            )

    def _from_whoever_has_it(self, peer: Peer) -> None:
        """Nothing may be written until it is here, so neither that nor what it depends on is awaited from sources that
        have to get it first."""
        core = self._core
        for log, head in peer.have.items():
            link, tail = core.feeds.source(log), core.inbox.tail(log).sequence
            if link in core.peers and core.peers[link].have.sequence(log) <= tail < head.sequence:
                core.feeds.forget(log)
                core.send(core.peers[link], Unfeed((log,)))

    def _tell(self, kind: str, text: str) -> None:
        """Once until all has come, however many peers know of it."""
        if not self._told:
            self._told = True
            self._core.alarm(kind, text)

    def _linked(self, claimant: Claimant, peer: Peer) -> None:
        if claimant.link is None:
            claimant.since = self._core.now
        claimant.link = peer.link

    def link_down(self, peer: Peer) -> None:
        """The link is gone: whoever cannot deliver is not waited for. The time that it was given stays used."""
        claimant = self._claimants.get(peer.replica)
        if claimant is not None and claimant.link == peer.link:
            claimant.waited += self._core.now - claimant.since
            claimant.link = None
        if self._asked == peer.replica:
            self._asked = None

    def wrote(self) -> None:
        """Our boot has commits now: what is still to come of our other logs is another branch."""
        if self._boot_has_commits():
            for claimant in self._claimants.values():
                claimant.goals.clear()

    def _is_confirmed(self) -> bool:
        """Whether a peer that has told its whole frontier holds nothing of ours that is not here, and no other one says
        that it does: also one that was waited for in vain may tell the truth, and what hangs on this is better late
        than given twice.

        Only sites count, since what archives say of what they hold is not signed. Where the practice has no other site,
        an archive is all there is to ask; where it has none of them either, nobody will ever know better.
        """
        peers = [peer for peer in self._core.live_peers() if self._core.serves(peer)]
        if not all(map(self._holds_no_more, peers)):
            return False
        if self._others("site"):
            return any(map(self._core.reads, peers))
        return bool(peers) or not self._others("archive")

    def _holds_no_more(self, peer: Peer) -> bool:
        core = self._core
        own = [(log, head) for log, head in peer.have.items() if replica_of(log) == core.replica]
        return all(core.stored.sequence(log) >= core.counted(log, head.sequence) for log, head in own)

    def _say_confirmed(self) -> None:
        self._confirmed = True
        self._core.out.append(Confirmed())

    def by_word(self) -> None:
        """A person says that this site goes on alone: nothing is waited for until a peer claims more of the log that is
        written then."""
        self._alone = True
        self._no_goal = False
        for claimant in self._claimants.values():
            claimant.goals.clear()
        self._say_confirmed()

    # -- looking after them --------------------------------------------------------------------------------------------

    def look(self) -> list[tuple[Peer, PeerError]]:
        """What has come, and whose time is up. Returns the peers whose link ends (L6)."""
        false: list[tuple[Peer, PeerError]] = []
        if self._no_goal:
            self._ask_somebody()
        for replica, claimant in self._claimants.items():
            if claimant.goals:
                error = self._weigh(replica, claimant)
                peer = None if claimant.link is None else self._core.peers.get(claimant.link)
                if error is not None and peer is not None:
                    false.append((peer, error))
        if not self._confirmed and not self.active and self._is_confirmed():
            self._say_confirmed()
        if self.active != self._noted:
            self._noted = self.active
            self._core.out.append(NoteRecovering(self._noted))
        return false

    def _weigh(self, replica: ReplicaId, claimant: Claimant) -> PeerError | None:
        core = self._core
        before = len(claimant.goals)
        for log in [log for log, goal in claimant.goals.items() if self._settled(log, goal)]:
            del claimant.goals[log]
            if replica_of(log) == core.replica:
                claimant.met[log] = None
        if not claimant.goals:
            self._delivered(replica)
            return None
        here = self._here(claimant)
        if here > claimant.got or len(claimant.goals) < before:
            claimant.got, claimant.waited, claimant.since = here, 0.0, core.now
        if claimant.link is None or core.now - claimant.since + claimant.waited < limits.claim_patience_s:
            return None
        claimant.excused = True
        claimant.waited, claimant.since = 0.0, core.now
        if self._asked == replica:
            self._asked = None
            self._no_goal = self._next_to_ask() is not None
        peer = core.peers.get(claimant.link)
        if peer is not None and core.now - peer.commits_at < limits.claim_patience_s:
            return None  # it sends other things, and a slow line is no lie: writing goes on, and it may go on sending
        return self._broken(replica, claimant)

    def _settled(self, log: LogId, goal: int) -> bool:
        """Whether so much of a log is here, or all of it that counts (L3)."""
        return self._core.stored.sequence(log) >= self._core.counted(log, goal)

    def _here(self, claimant: Claimant) -> int:
        """How much of what is waited for has come, stored or not."""
        return sum(self._core.inbox.tail(log).sequence for log in claimant.goals)

    def _delivered(self, replica: ReplicaId) -> None:
        self._told = False
        if self._asked == replica:
            self._no_goal, self._asked = False, None

    def _broken(self, replica: ReplicaId, claimant: Claimant) -> PeerError | None:
        """It did not deliver."""
        core = self._core
        claimant.goals.clear()
        claimant.broken += 1
        if claimant.broken == 1:
            member = core.membership.state().members.get(replica)
            core.alarm(
                "claim",
                f"{'A peer' if member is None else member.name} says that it holds commits of this site that are not "
                "here, and does not send them: this site goes on without. Look what happened there.",
            )
            return None
        return PeerError("the peer claims commits of this replica and does not send them, for the second time")

    # -- a flag without a goal -----------------------------------------------------------------------------------------

    def _ask_somebody(self) -> None:
        """All that the first live peer had told is fetched before anything is written."""
        core = self._core
        if self._asked is not None:
            return
        if not self._others("site"):
            self._no_goal = False
            return
        peer = self._next_to_ask()
        if peer is None:
            return
        self._asked = peer.replica
        claimant = self._claimants.setdefault(peer.replica, Claimant())
        state = core.membership.state()
        lacking = {
            log: core.counted(log, head.sequence)
            for log, head in peer.have.items()
            if core.stored.sequence(log) < core.counted(log, head.sequence)
            and log not in core.refused_logs()
            and state.active(replica_of(log)) is not None
        }
        if not claimant.goals:
            claimant.waited, claimant.since = 0.0, core.now
        claimant.goals.update(lacking)
        claimant.got = self._here(claimant)
        self._linked(claimant, peer)
        if not lacking:
            self._delivered(peer.replica)

    def _others(self, role: str) -> bool:
        """Whether there is any other member of this role, which could know more."""
        members = self._core.membership.state().members.values()
        return any(m.active and m.role == role and m.replica != self._core.replica for m in members)

    def _next_to_ask(self) -> Peer | None:
        for peer in self._core.live_peers():
            known = self._claimants.get(peer.replica)
            if self._core.serves(peer) and (known is None or not known.excused):
                return peer
        return None


def _waits(claimant: Claimant) -> bool:
    return bool(claimant.goals) and claimant.link is not None
