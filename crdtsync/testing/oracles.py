"""What must hold when a healed world has come to rest. Each check names the promise that it guards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from crdtsync import limits
from crdtsync.documents import Content, Document
from crdtsync.engine import Engine
from crdtsync.engine.between import recomputed
from crdtsync.engine.past import Retelling
from crdtsync.engine.view import is_record
from crdtsync.errors import RottenCommit
from crdtsync.ids import CommitId, Head, LogId, RecordId, ReplicaId, replica_of
from crdtsync.replication.membership import State
from crdtsync.sealing.keyring import Keyring
from crdtsync.testing.archive import Archive
from crdtsync.testing.ledger import Ledger, short
from crdtsync.testing.node import Node
from crdtsync.testing.process import Process
from crdtsync.testing.verdict import OracleFailed

_HISTORIES = 8


def unsettled(nodes: Sequence[Node], archives: Sequence[Archive] = ()) -> str:
    """Why these are not yet one: empty when logs and membership are equal, views too, and nothing waits."""
    first = nodes[0]
    for process in (*nodes, *archives):
        reason = _apart(process, first) if process.up else "a site is down"
        if reason:
            return reason
    for node in nodes:
        status = node.host.engine.status()
        if status.derived != status.arrival or status.waiting:
            return f"{node.name} has derived {status.derived} of {status.arrival}, {status.waiting} keys are waited for"
        if node.host.engine.upkeep.rotten:
            return f"{node.name} has rotten commits"
        if node.replica.recovering:
            return f"{node.name} waits for newer commits of its own"
        state = node.replica.membership.state()
        if any(state.members[replica_of(log)].closed_at is None for log in node.replica.attests_due()):
            return f"{node.name} has heads of removed replicas to attest"
    if len({node.host.engine.digest() for node in nodes}) != 1:
        return "digests differ at equal frontiers"
    return ""


def _apart(node: Process, first: Process) -> str:
    core, other = node.replica, first.replica
    if core.membership.heads != other.membership.heads:
        return f"{node.name} knows another membership than {first.name}"
    mine, theirs = _counting(node), _counting(first)
    if mine != theirs:
        return f"{node.name} holds other commits than {first.name}: {_difference(mine, theirs)}"
    aside = [log for log in core.inbox.waiting_logs() if core.membership.state().active(replica_of(log)) is None]
    waiting = core.inbox.commits - sum(core.inbox.waiting_of(log) for log in aside)
    if waiting or core.busy:
        return f"{node.name} has {waiting} commits in its inbox"
    if not aside and any(peer.waiting for peer in core.peers.values()):
        return f"{node.name} counts commits as waiting, although none is"
    return ""


def _counting(process: Process) -> dict[LogId, Head]:
    """What is stored, as far as it counts. An archive may have taken of one that left what no reader has: it cannot
    attest that, so that sites set it aside for good."""
    core = process.replica
    state = core.membership.state()
    found: dict[LogId, Head] = {}
    for log, head in core.stored.items():
        member, cut = state.members.get(replica_of(log)), state.cuts.get(log)
        if member is None or member.active or (cut is not None and head.sequence <= cut.sequence):
            found[log] = head
        elif (end := _end(process, log, head, member.closed_at, cut)) is not None:
            found[log] = end
    return found


def _end(process: Process, log: LogId, head: Head, closed_at: int | None, cut: Head | None) -> Head | None:
    """Where a log of somebody who left ends for everybody: what was attested, or written by when he was closed."""
    for sequence in range(head.sequence, 0 if cut is None else cut.sequence, -1):
        stored = process.disk.kept(log, sequence)
        if closed_at is not None and stored is not None and stored.commit.header.stamp <= closed_at:
            return stored.commit.head
    return cut


def _difference(mine: Mapping[LogId, Head], theirs: Mapping[LogId, Head]) -> str:
    parts = []
    for log in sorted(mine.keys() | theirs.keys()):
        here, there = mine.get(log), theirs.get(log)
        if here != there:
            parts.append(f"{short(log)} {here and here.sequence} against {there and there.sequence}")
    return ", ".join(parts)


def bounds(node: Process) -> None:
    """L7: what a site holds for others keeps to its limits."""
    core = node.replica
    if core.inbox.commits > limits.inbox_commits_max or core.inbox.bytes > limits.inbox_bytes_max:
        raise OracleFailed(f"L7: the inbox of {node.name} is over its limit")
    node.world.inquiries.bounds(node)
    for peer in core.peers.values():
        if len(peer.stalled) > limits.stalled_messages_max:
            raise OracleFailed(f"L7: {node.name} keeps {len(peer.stalled)} messages of one peer")
        if peer.waiting < 0 or peer.allowance() > peer.received + limits.in_flight_bytes_max:
            raise OracleFailed(f"L7: {node.name} gives more credit than it has room")


def cut_off(node: Process, ledger: Ledger) -> set[CommitId]:
    """What was acknowledged and counts no more, since a removal or a fork cuts it off."""
    state = node.replica.membership.state()
    return {
        CommitId(log, sequence)
        for log, sequence in ledger.acknowledged
        if (log in state.frozen and sequence > state.frozen[log].sequence)
        or _cut_off(log, sequence, ledger, state)
    }


def nothing_lost(nodes: Sequence[Process], ledger: Ledger) -> None:
    """L1: whatever an application or a peer was told stands at every site, but for what a removal cuts off."""
    gone = cut_off(nodes[0], ledger)
    for (log, sequence), commit in ledger.acknowledged.items():
        if CommitId(log, sequence) in gone:
            continue
        for node in nodes:
            stored = node.disk.kept(log, sequence)
            if stored is None or stored.commit.hash != commit:
                raise OracleFailed(f"L1: {short(log)}:{sequence} was acknowledged and is not at {node.name}")


def cuts_kept(nodes: Sequence[Process], ledger: Ledger) -> None:
    """What is stored of a removed replica is what was attested, at every site."""
    for node in nodes:
        state = node.replica.membership.state()
        for log, head in node.replica.stored.items():
            if _cut_off(log, head.sequence, ledger, state):
                raise OracleFailed(f"{node.name} holds {short(log)}:{head.sequence} of a removed replica unattested")


def _cut_off(log: LogId, sequence: int, ledger: Ledger, state: State) -> bool:
    cut = state.cuts.get(log)
    replica = replica_of(log)
    if replica in ledger.closed:
        closed_at = state.members[replica].closed_at
        if closed_at is None or ledger.stamp_of[log, sequence] <= closed_at:
            return False
    elif replica not in ledger.removed:
        return False
    return cut is None or sequence > cut.sequence


def handed_over(closed: Sequence[Node], nodes: Sequence[Node], ledger: Ledger) -> str:
    """What a closed site had written by then and has not handed over yet; empty when that is all there."""
    for gone in closed:
        for log, head in gone.disk.frontier().items():
            state = nodes[0].replica.membership.state()
            if replica_of(log) != gone.replica_id or gone.replica_id in ledger.forked:
                continue
            due = next((n for n in range(1, head.sequence + 1) if _cut_off(log, n, ledger, state)), head.sequence + 1)
            if nodes[0].replica.stored.sequence(log) < due - 1:
                return f"{gone.name}, which was closed, has not handed over {short(log)} up to {due - 1}"
    return ""


def equal_conflicts(nodes: Sequence[Node]) -> None:
    """L5: every site shows the same conflicts under the same ids."""
    found = [sorted((c.id, c.kind, c.record, c.severity, c.body) for c in node.disk.conflicts()) for node in nodes]
    for node, conflicts in zip(nodes, found, strict=True):
        if conflicts != found[0]:
            raise OracleFailed(f"L5: {node.name} shows other conflicts than {nodes[0].name}")
    again = sorted((c.id, c.kind, c.record, c.severity, c.body) for c in recomputed(nodes[0].disk))
    if again != [conflict for conflict in found[0] if conflict[1] != "field"]:
        raise OracleFailed("L8: the conflicts between records are not those that follow from the records")


def whole_views(nodes: Sequence[Node]) -> None:
    """L5: each view sums up to what its documents say."""
    for node in nodes:
        total, count = 0, 0
        for stored in node.disk.documents(None, ("", ""), 1_000_000):
            print_ = Document(1, stored.state).fingerprint(stored.kind, stored.record)
            if print_ != stored.fingerprint:
                raise OracleFailed(f"L5: {node.name} keeps {stored.kind} under a fingerprint that is not its own")
            total += int.from_bytes(print_, "big")
            count += is_record(print_)
        if ((total % (1 << 256)).to_bytes(32, "big").hex(), count) != node.host.engine.digest():
            raise OracleFailed(f"L5: the digest of {node.name} is not the sum over its documents")


def equal_histories(nodes: Sequence[Node]) -> None:
    """L8: what every site tells of a record's past is the same, and ends with what its view shows. Damaged records are
    looked at, and some others. What stands behind a fork of its log is told only where it is (L3)."""
    frozen = nodes[0].replica.frozen
    stored = nodes[0].disk.documents(None, ("", ""), 1_000_000)
    damaged = [each for each in stored if each.damaged][:_HISTORIES]
    for each in [*damaged, *stored[:: max(1, len(stored) // _HISTORIES)]]:
        expected: list[tuple[CommitId, str, Content | None, Content | None]] | None = None
        for node in nodes:
            engine = node.host.engine
            told = engine.told(each.kind, each.record, engine.arrivals_of(each.kind, each.record))
            retelling = Retelling(each.record, told)
            steps = [
                (step.commit, step.state, step.before, step.after)
                for step in retelling.steps()
                if step.commit.log not in frozen or step.commit.sequence <= frozen[step.commit.log].sequence
            ]
            if retelling.document.fingerprint(each.kind, each.record) != each.fingerprint:
                raise OracleFailed(f"L8: the past of a {each.kind} at {node.name} does not end with what is shown")
            if expected is not None and steps != expected:
                raise OracleFailed(f"L8: {node.name} tells another past of a {each.kind} than {nodes[0].name}")
            expected = steps


def twins(nodes: Sequence[Node]) -> None:
    """L4: machines that run copies of one disk write logs of their own, all of which are everywhere.

    What the practice decides about such a replica (that it is suspended until an admin signs who succeeds) is looked at
    here, and nowhere else, once there is such a decision.
    """
    machines: dict[ReplicaId, list[Node]] = {}
    for node in nodes:
        machines.setdefault(node.replica_id, []).append(node)
    for twin in (node for same in machines.values() if len(same) > 1 for node in same):
        if sum(other.host.log == twin.host.log for other in machines[twin.replica_id]) > 1:
            raise OracleFailed(f"L4: {twin.name} writes under the name of another machine")
        written = twin.disk.frontier().get(twin.host.log)
        if written is not None and any(node.disk.frontier().get(twin.host.log) != written for node in nodes):
            raise OracleFailed(f"L4: what {twin.name} has written is not everywhere")


def equal_branches(nodes: Sequence[Node]) -> None:
    """L4: every site sees the same replicas suspended, and their logs end at the same places."""
    for node in nodes:
        if node.replica.suspended != nodes[0].replica.suspended:
            raise OracleFailed(f"L4: {node.name} sees other branches than {nodes[0].name}")


def engine_on_copy(node: Node) -> Engine:
    """A fresh engine on a copy of a site's disk, with the keys that the site has."""
    keyring = Keyring(node.sealer)
    for epoch in node.host.keyring.epochs():
        keyring.learn(node.host.keyring.key(epoch))
    engine = Engine(node.disk.image(), node.sealer, keyring, practice=node.practice, replica=node.replica_id)
    state = node.replica.membership.state()
    with suppress(RottenCommit):  # as a site does that opens with a hole in its log
        engine.honour(state.holds, state.frozen, state.held_by)
    return engine


def rebuilt(node: Node) -> None:
    """L8: deriving everything again, on a copy of the disk and by nothing but fresh objects, gives the same digest."""
    if engine_on_copy(node).rebuild(node.wall_ms()) != node.host.engine.digest():
        raise OracleFailed(f"L8: the view of {node.name} is not what follows from its log")


def verified(node: Node, *, poisoned: bool = False) -> None:
    """The house's own verifying finds nothing, but for what was made to be found: `poisoned` commits that are held."""
    members = node.replica.membership.state().members
    result = node.host.engine.verify(None, lambda replica: members[replica].sig if replica in members else None)
    problems = [text for text in result.problems if not (poisoned and "cannot be applied" in text)]
    if problems:
        raise OracleFailed(f"verifying {node.name} finds: {problems[0]}")


def credit_whole(nodes: Sequence[Process]) -> None:
    """L7: at rest every link on which all that was sent has arrived has its whole credit again, but for the step below
    which it is not worth a message."""
    single = [node for node in nodes if sum(other.replica_id == node.replica_id for other in nodes) == 1]
    for node in single:
        for other in single:
            here = [peer for peer in node.replica.peers.values() if peer.replica == other.replica_id and peer.live]
            there = [peer for peer in other.replica.peers.values() if peer.replica == node.replica_id and peer.live]
            for mine, theirs in zip(here, there, strict=False):
                least = limits.in_flight_bytes_max - limits.credit_bytes_step
                if mine.sent == theirs.received and mine.credit < least:
                    raise OracleFailed(f"L7: credit of {node.name} at {other.name} has shrunk to {mine.credit} bytes")


def whole_transactions(node: Node, transactions: Iterable[Sequence[tuple[str, RecordId]]]) -> None:
    """L2: of what one transaction made a view shows all or nothing."""
    for made in transactions:
        shown = [node.disk.changed_at(kind, record) is not None for kind, record in made]
        if any(shown) and not all(shown):
            raise OracleFailed(f"L2: {node.name} shows {sum(shown)} of {len(shown)} records of one transaction")


def few_duplicates(nodes: Sequence[Process]) -> None:
    """M1: where the network neither loses nor doubles, a commit crosses into a site once."""
    duplicates = sum(node.duplicates for node in nodes)
    received = sum(node.received for node in nodes)
    if duplicates > 10 + received // 20:
        raise OracleFailed(f"M1: {duplicates} of {received} commits came in twice over a calm network")
