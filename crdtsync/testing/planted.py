"""Bugs planted on purpose: patches to the objects of one world, never switches in the code that ships.

A simulator that finds nothing proves little. Each bug here is one that replication code has had somewhere; the
simulator must find each of them, or it would not have found the real one either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from crdtsync.authority.terms import Tenure
from crdtsync.clock import HybridClock
from crdtsync.documents import delta
from crdtsync.engine import WriteRequest
from crdtsync.engine.derive import Group
from crdtsync.errors import BadSignature, PeerError, StorageFailure
from crdtsync.host import Deciding
from crdtsync.ids import Head, LogId, RecordId, client_id, replica_of
from crdtsync.replication import effects, events, messages, serving
from crdtsync.replication.codec import unpack
from crdtsync.replication.commit import Change, Commit, decode_header, header_hash
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.stored import KeyObject, LogHead, key_from_items
from crdtsync.storage.base import NO_NOTES, Notes
from crdtsync.storage.memory import MemoryStore
from crdtsync.testing.disk import flipped
from crdtsync.testing.node import Node

_COMMITS: Final = 8
_DIGEST: Final = 12
Plant = Callable[[Node], None]


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug: its name, what is wrong, and how a site is broken. `plant` is called each time a site has been opened."""

    name: str
    what: str
    plant: Plant


def _patch(target: object, name: str, value: Any) -> None:
    """Replace a method of one object."""
    setattr(target, name, value)


def _acknowledge_early(node: Node) -> None:
    def store(node: Node, effect: effects.Store) -> bool:
        node.queue(
            node.machine.sync_s,
            lambda: node.host.engine.append(effect.commits, effect.keys, node.wall_ms()),
        )
        node.queue(node.machine.read_s, node.derive_soon)
        return node.handle(events.Stored())

    node.perform[effects.Store] = store


def _skip_sync(node: Node) -> None:
    disk, append = node.disk, node.disk.append

    def unsynced(commits: Sequence[tuple[Commit, bool]], arrived_ms: int, notes: Notes = NO_NOTES) -> LogHead:
        disk.sync_log = False
        try:
            return append(commits, arrived_ms, notes)
        finally:
            disk.sync_log = True

    if "append" not in vars(disk):
        _patch(disk, "append", unsynced)


def _skip_key_sync(node: Node) -> None:
    node.disk.sync_keys = False


def _skip_causal_check(node: Node) -> None:
    _patch(node.replica.inbox, "_ready", lambda log, commit: True)


def _forget_dependency(node: Node) -> None:
    """One in five heads that moved is not named by the next commit."""
    engine: Any = node.host.engine
    writer = engine._writer
    saw, count = writer.saw, 0

    def forgetful(log: LogId, head: Head) -> None:
        nonlocal count
        count += 1
        if count % 5:
            saw(log, head)

    _patch(writer, "saw", forgetful)


def _frontier_ahead(node: Node) -> None:
    """What is told of a log is one commit too many, now and then."""
    core: Any = node.replica
    stored: Frontier = core._core.stored
    count = 0

    class Ahead(Frontier):
        __slots__ = ()

        def head(self, log: LogId) -> Head:
            nonlocal count
            count += 1
            head = super().head(log)
            return head if count % 50 or not head.sequence else Head(head.sequence + 1, head.hash)

    ahead = Ahead(dict(stored.items()))
    core._core.stored = ahead


def _continue_without_proof(node: Node) -> None:
    _patch(node.proof, "proves", lambda log, nonce, sequence: True)


def _drop_delta(node: Node) -> None:
    """One in forty changes that come from others is passed over."""
    engine: Any = node.host.engine
    deriver = engine._deriving.deriver
    apply, count = deriver._apply, 0

    def skipping(*args: Any) -> None:
        nonlocal count
        count += 1
        if count % 40:
            apply(*args)

    _patch(deriver, "_apply", skipping)


def _view_claims_more(node: Node) -> None:
    """A power cut takes documents, and leaves the note of how far they go."""
    disk = node.disk

    def crash(keep: Callable[[int], int]) -> None:
        claimed = disk._state
        MemoryStore.crash(disk, keep)
        if disk._is_prefix(claimed.head):
            disk._state = claimed

    _patch(disk, "crash", crash)


def _credit_leak(node: Node) -> None:
    """Room that was taken in the inbox is given back for nine in ten commits."""
    receiving: Any = node.replica
    receiving = receiving._receiving
    settle, count = receiving._settle, 0

    def leaking(item: Any) -> None:
        nonlocal count
        count += 1
        if count % 10:
            settle(item)

    _patch(receiving, "_settle", leaking)


def _ignore_removal(node: Node) -> None:
    receiving: Any = node.replica
    _patch(receiving._receiving, "admit", lambda commit: True)


def _closing_cuts(node: Node) -> None:
    """Of a closed site counts no more than of a removed one."""
    receiving: Any = node.replica
    receiving = receiving._receiving
    admit = receiving.admit

    def strict(commit: Commit) -> bool:
        state, log = node.replica.membership.state(), commit.header.log
        member, cut = state.members.get(replica_of(log)), state.cuts.get(log)
        if member is not None and member.closed_at is not None and (cut is None or cut < commit.head):
            receiving._set_aside(log)
            return False
        return bool(admit(commit))

    _patch(receiving, "admit", strict)


def _feeds_closed(node: Node) -> None:
    """A site that was closed is sent whatever is written."""
    core: Any = node.replica
    handle = core.handle

    def generous(now: float, event: events.Event) -> list[effects.Effect]:
        for peer in core.peers.values():
            if core.membership.state().active(peer.replica) is None:
                for log in core.stored:
                    peer.feeds.setdefault(log, 1)
        return list(handle(now, event))

    _patch(core, "handle", generous)


def _wrong_cursor(node: Node) -> None:
    """What a peer asks for from a place on is read from one place behind it."""
    read = node.host.engine.read_feeds

    def late(cursors: Mapping[LogId, int], commits_max: int, bytes_max: int) -> Any:
        return read({log: at + 1 for log, at in cursors.items()}, commits_max, bytes_max)

    _patch(node.host.engine, "read_feeds", late)


def _no_relay(node: Node) -> None:
    """Commits of others are offered to nobody."""
    core: Any = node.replica
    handle = core.handle

    def selfish(now: float, event: events.Event) -> list[effects.Effect]:
        found: list[effects.Effect] = handle(now, event)
        return [each for each in found if not isinstance(each, effects.ReadFeeds) or node.host.log in each.cursors]

    _patch(core, "handle", selfish)


def _forget_keys(node: Node) -> None:
    """One in ten data keys that come with commits is not kept."""
    engine = node.host.engine
    append, count = engine.append, 0

    def careless(commits: Sequence[tuple[Commit, bool]], keys: Sequence[KeyObject], now_ms: int) -> None:
        nonlocal count
        kept = []
        for key in keys:
            count += 1
            if count % 10:
                kept.append(key)
        append(commits, kept, now_ms)

    _patch(engine, "append", careless)
    _patch(engine, "put_keys", lambda keys: node.disk.put_keys(()))


def _stale_read(node: Node) -> None:
    """A record that was read before is read from memory, whatever was written since."""
    disk = node.disk
    seen: dict[tuple[str, RecordId], Any] = {}

    def document(kind: str, record: RecordId) -> Any:
        found = MemoryStore.document(disk, kind, record)
        if found is None:
            return None
        return seen.setdefault((kind, record), found)

    _patch(disk, "document", document)


def _send_early(node: Node) -> None:
    """A local transaction is pushed to peers before it is on disk."""
    host = node.host
    write = host.write

    def early(requests: Any, grant: Any) -> Any:
        disk, append = node.disk, node.disk.append

        def told_first(commits: Sequence[tuple[Commit, bool]], arrived_ms: int, notes: Notes = NO_NOTES) -> LogHead:
            node.handle(events.Wrote([commit for commit, _ in commits], []))
            return append(commits, arrived_ms, notes)

        _patch(disk, "append", told_first)
        try:
            return write(requests, grant)
        finally:
            _patch(disk, "append", append)

    _patch(host, "write", early)


def _apply_twice(node: Node) -> None:
    """What comes in a second time counts as new, now and then."""
    receiving: Any = node.replica
    receiving = receiving._receiving
    continuing, count = receiving._continuing, 0

    def forgetful(peer: Any, log: LogId, segment: list[Commit]) -> list[Commit]:
        nonlocal count
        count += 1
        fresh: list[Commit] = continuing(peer, log, segment)
        return fresh if fresh or count % 3 else segment[-1:]

    _patch(receiving, "_continuing", forgetful)


def _drop_delete(node: Node) -> None:
    """Of one in five changes that come from others the deletions are lost."""
    engine: Any = node.host.engine
    deriver = engine._deriving.deriver
    apply, count = deriver._apply, 0

    def keeping(stored: Any, found: Any, each: bytes, reach: Any) -> None:
        nonlocal count
        count += 1
        if count % 5 == 0:
            end = 1 if each[0] == 0 else delta._run(each, client_id(stored.commit.header.log, found.record), [])[2]
            each = each[:end] + b"\0"
        apply(stored, found, each, reach)

    _patch(deriver, "_apply", keeping)


def _rotation_loses(node: Node) -> None:
    """What is sealed under an epoch that another one has followed is passed over."""
    engine: Any = node.host.engine
    deriver = engine._deriving.deriver
    opened = deriver._open

    def newest_only(stored: Any, index: int, ref: Any, key: Any) -> Sequence[Change]:
        epochs = node.replica.membership.state().epochs if hasattr(node, "replica") else {}
        inner = {parent for epoch in epochs.values() for parent, _ in epoch.parents}
        changes: Sequence[Change] = opened(stored, index, ref, key)
        return () if ref.epoch in inner else changes

    _patch(deriver, "_open", newest_only)


def _epoch_without_recipient(node: Node) -> None:
    """An epoch is sealed to one reader in a form that it cannot open."""
    sealer = node.sealer
    seal_to, count = sealer.seal_to, 0

    def careless(kem: bytes, info: bytes, secret: bytes) -> bytes:
        nonlocal count
        count += 1
        sealed = seal_to(kem, info, secret)
        return sealed if count % 3 else flipped(sealed, 0)

    if "seal_to" not in vars(sealer):
        _patch(sealer, "seal_to", careless)


def _adopt_any_stamp(node: Node) -> None:
    """The clock follows every stamp that it hears of."""
    engine: Any = node.host.engine
    clock = engine._own._clock

    class Follower(HybridClock):
        def observe(self, stamp: int, now_ms: int) -> bool:
            self.last = max(self.last, stamp)
            return True

    clock.__class__ = Follower


def _ignore_stamps(node: Node) -> None:
    """The clock follows none."""
    engine: Any = node.host.engine
    own = engine._own
    _patch(own, "hear", lambda stamps, now_ms: None)


def _retry_sync(node: Node) -> None:
    """A write that the disk refused is tried again."""
    disk = node.disk
    append = disk.append

    def stubborn(commits: Sequence[tuple[Commit, bool]], arrived_ms: int, notes: Notes = NO_NOTES) -> LogHead:
        try:
            return append(commits, arrived_ms, notes)
        except StorageFailure:
            disk.failure = ""
            return append(commits, arrived_ms, notes)

    if "append" not in vars(disk):
        _patch(disk, "append", stubborn)


def _take_rot(node: Node) -> None:
    """The bytes of parts that a peer serves are not compared with the hashes in their headers."""
    receive = node.receive
    core: Any = node.replica

    def trusting(link: int, message: bytes) -> None:
        peer = core.peers.get(link)
        try:
            messages.decode(message)
        except PeerError as error:
            if isinstance(error, BadSignature) and message[1] == _COMMITS and peer is not None and peer.live:
                items = unpack(message, bytes_max=len(message), what="message")
                commits = [_unchecked(item) for item in items[3]]
                keys = tuple(key_from_items(item) for item in items[2])
                core._core.out, core._core.now = [], node.now
                core._receiving.commits(peer, messages.Commits(items[1], keys, tuple(commits)))
                for effect in list(core._core.out):
                    node.perform[type(effect)](node, effect)
                return
        receive(link, message)

    _patch(node, "receive", trusting)


def _unchecked(items: Any) -> Commit:
    header = decode_header(items[0])
    return Commit(header, items[0], tuple(items[1]), items[2], header_hash(items[0]))


def _forget_acknowledged(node: Node) -> None:
    """What a peer says it has is taken for less by one, after a while: it is sent again what it has acknowledged."""
    core: Any = node.replica
    handle, count = core.handle, 0

    def forgetful(now: float, event: events.Event) -> list[effects.Effect]:
        nonlocal count
        count += 1
        if count % 40 == 0:
            for peer in core.peers.values():
                for log, at in peer.feeds.items():
                    peer.feeds[log] = max(1, at - 5)
        found: list[effects.Effect] = handle(now, event)
        return found

    _patch(core, "handle", forgetful)


def _fragment_alone(node: Node) -> None:
    """Fragments of a large transaction are applied as they come."""
    engine: Any = node.host.engine
    deriver = engine._deriving.deriver

    def run(batch: Any) -> None:
        for stored in batch:
            deriver._at = stored.arrival
            alone = Group(deriver._store, stored)
            alone.first, alone.whole = stored.commit.header.sequence, True
            deriver._transaction(alone)

    _patch(deriver, "run", run)


def _removal_not_in_view(node: Node) -> None:
    """What a removed site wrote is not derived, although it was attested."""
    engine: Any = node.host.engine
    deriver = engine._deriving.deriver
    opened = deriver._open

    def forgetting(stored: Any, index: int, ref: Any, key: Any) -> Sequence[Change]:
        members = node.replica.membership.state().members if hasattr(node, "replica") else {}
        member = members.get(replica_of(stored.commit.header.log))
        changes: Sequence[Change] = opened(stored, index, ref, key)
        return changes if member is None or member.active else ()

    _patch(deriver, "_open", forgetting)


def _chatter(node: Node) -> None:
    """A site tells all that it has whenever a peer compares itself with it."""
    core: Any = node.replica
    handle = core.handle

    def talkative(now: float, event: events.Event) -> list[effects.Effect]:
        found: list[effects.Effect] = handle(now, event)
        if isinstance(event, events.Received) and event.message[1] == _DIGEST and event.link in core.peers:
            serving.tell_all(core._core, core.peers[event.link])
        return found

    _patch(core, "handle", talkative)


def _clear_text(node: Node) -> None:
    """What was written last is noted beside the log, in the clear."""
    host = node.host
    write = host.write

    def noting(requests: Any, grant: Any) -> Any:
        outcome = write(requests, grant)
        node.disk.set_meta({"last": repr(requests).encode()})
        return outcome

    _patch(host, "write", noting)


def _frozen_feeds(node: Node) -> None:
    """A feed that brings nothing is never moved to another peer."""
    feeds: Any = node.replica
    feeds = feeds._core.feeds
    _patch(feeds, "_stalled", lambda log, now, peers, inbox: False)


def _answer_anew(node: Node) -> None:
    """A question that was answered is told to the application once more when it is said again."""
    answering: Any = node.replica.asking.answering
    asked = answering.asked

    def forgetful(peer: Any, message: messages.Ask, life_s: float) -> None:
        here = answering._here.get((message.origin, message.id))
        if here is not None and here.answer is not None:
            answering._forget((message.origin, message.id))
            for share in answering._heard[message.origin].values():
                share.pop(message.id, None)
        asked(peer, message, life_s)

    _patch(answering, "asked", forgetful)


def _ask_without_end(node: Node) -> None:
    """What is passed on is passed on whenever it comes, and as far as it was when it came."""
    asking: Any = node.replica.asking

    def endless(peer: Any, message: messages.Ask, life_s: float) -> None:
        for other in asking._flood.ways(message.target, origin=message.origin, but=peer.link):
            asking._core.send(other, message)

    _patch(asking, "_pass_on", endless)


def _believe_anybody(node: Node) -> None:
    """Signatures under questions and answers are not looked at."""
    asking: Any = node.replica.asking
    _patch(asking._flood, "check", lambda speaker, data, signature: None)


def _keep_questions(node: Node) -> None:
    """Questions to others are not passed on."""
    _patch(node.replica.asking, "_pass_on", lambda peer, message, life_s: None)


def _forget_cancelled(node: Node) -> None:
    """A question is still said, and its answer given to the application, when it was cancelled."""
    asking: Any = node.replica.asking
    cancel = asking.cancel

    def stubborn(event: events.CancelOut) -> None:
        own = asking._own.get(event.id)
        cancel(event)
        if own is not None and own.event.target != node.replica_id:
            asking._own[event.id] = own

    _patch(asking, "cancel", stubborn)


def _number_before_durable(node: Node) -> None:
    """A number counts as given when its transaction comes, in memory alone: how far a range is used is not written."""
    ranges: Any = node.host.ranges
    numbered = ranges.numbered

    def unnoted(request: Any, grant: Any) -> Any:
        made = numbered(request, grant)
        records = [each for each in made.records if each.kind != "number_range"]
        return replace(made, records=records, notes=request.notes)

    free = ranges.free
    given: set[int] = set()

    def once(least: int, most: int) -> int | None:
        number: int | None = free(least, most)
        while number is not None and number in given:
            number = free(number + 1, most)
        if number is not None:
            given.add(number)
        return number

    _patch(ranges, "numbered", unnoted)
    _patch(ranges, "free", once)


def _ignore_blocks(node: Node) -> None:
    """What was handed to a workstation is given all the same."""
    ranges: Any = node.host.ranges
    known = ranges.known

    def without() -> Any:
        found = []
        for each in known():
            handed = max((block.last for block in each.blocks), default=0)
            least = min((block.first for block in each.blocks), default=0) - 1
            found.append(replace(each, blocks=(), given=least if 0 < each.given <= handed else each.given))
        return found

    _patch(ranges, "known", without)
    _patch(ranges, "noted", dict)


def _forget_followers(node: Node) -> None:
    """Nobody looks after patients whose number was to follow."""
    _patch(node.host.ranges, "followers", list)


def _continue_count(node: Node) -> None:
    """Whoever takes a series over counts on, in the term of the one that is said to be lost."""

    def opened(terms: Any, site: str, indices: Any, *, anew: bool = False) -> Tenure:
        last = max(terms)
        return Tenure(last.term, last.step + 1, site)

    if node.billing is not None:
        _patch(node.billing.duties, "opened", opened)


def _number_twice(node: Node) -> None:
    """One in four numbers is given without counting on, and nobody looks whether an invoice has it already."""
    host = node.host
    write, holding, count = host.write, node.disk.holding, 0

    def without_count(request: WriteRequest | None) -> WriteRequest | None:
        nonlocal count
        kinds = [edits.kind for edits in request.records] if request is not None else []
        if request is None or "invoice" not in kinds or "series" not in kinds:
            return request
        count += 1
        if count % 4:
            return request
        return replace(request, records=[edits for edits in request.records if edits.kind != "series"])

    def blind(kind: str, by: Any, value: Any) -> Any:
        return [] if (kind, by) == ("invoice", ("number",)) else holding(kind, by, value)

    def forgetting(requests: Sequence[Any], grant: Any) -> Any:
        changed = [
            Deciding(lambda *at, make=each.make: without_count(make(*at))) if isinstance(each, Deciding) else each
            for each in requests
        ]
        disk: Any = node.disk
        disk.holding = blind  # for this while only: an older copy of the disk must not ask this one
        try:
            return write(changed, grant)
        finally:
            del disk.holding

    _patch(host, "write", forgetting)


def _number_unconfirmed(node: Node) -> None:
    """Numbers are given although nobody has confirmed that the disk is up to date."""
    _patch(node.host.numbers, "refusal", lambda grant: "")


PLANTED: Final[dict[str, Planted]] = {
    bug.name: bug
    for bug in (
        Planted("acknowledge-early", "commits count as stored before they are on disk (L1)", _acknowledge_early),
        Planted(
            "continue-without-proof",
            "a log is continued after an older disk was put back (L4)",
            _continue_without_proof,
        ),
        Planted("credit-leak", "room in the inbox is not always given back (L7)", _credit_leak),
        Planted("drop-delta", "a change is now and then not applied (L2)", _drop_delta),
        Planted("forget-dependency", "a commit does not name all that its author had (L2)", _forget_dependency),
        Planted("forget-keys", "data keys that come with commits are not always kept (L1)", _forget_keys),
        Planted("frontier-ahead", "a frontier tells of one commit more than there is (L1)", _frontier_ahead),
        Planted("ignore-removal", "what a removed site wrote is taken without an attest", _ignore_removal),
        Planted("closing-cuts", "what a closed site had written is taken only if attested", _closing_cuts),
        Planted("feeds-closed", "a closed site is sent what others write", _feeds_closed),
        Planted("no-relay", "commits of third sites are not passed on (M1)", _no_relay),
        Planted("skip-causal-check", "commits are stored before what they depend on (L2)", _skip_causal_check),
        Planted("skip-key-sync", "data keys are not synced before the log (L1)", _skip_key_sync),
        Planted("skip-sync", "the log is not synced before it is acknowledged (L1)", _skip_sync),
        Planted("stale-read", "an old state of a record is read after a write", _stale_read),
        Planted("view-claims-more", "the view says it goes further than its documents do (L8)", _view_claims_more),
        Planted("wrong-cursor", "a feed begins one commit too late", _wrong_cursor),
        Planted("answer-anew", "a question that is said again is told to the application again", _answer_anew),
        Planted("ask-without-end", "questions are passed on without end (L7)", _ask_without_end),
        Planted("believe-anybody", "questions and answers are taken from whoever forges them (L6)", _believe_anybody),
        Planted("forget-cancelled", "a cancelled question is answered", _forget_cancelled),
        Planted("keep-questions", "questions to third sites are not passed on", _keep_questions),


        Planted("continue-count", "a take-over goes on with the count of whoever is said to be lost", _continue_count),
        Planted("number-twice", "a number is now and then given without counting on", _number_twice),
        Planted("number-unconfirmed", "numbers are given from a disk that may be out of date", _number_unconfirmed),
        Planted("adopt-any-stamp", "the clock follows stamps that lie far ahead", _adopt_any_stamp),
        Planted("apply-twice", "what comes in twice counts as new (L2)", _apply_twice),
        Planted("chatter", "sites at rest tell each other all they have (L7)", _chatter),
        Planted("clear-text", "content is noted beside the sealed log", _clear_text),
        Planted("drop-delete", "deletions of others are now and then not applied (L5)", _drop_delete),
        Planted(
            "epoch-without-recipient", "an epoch is sealed to a reader who cannot open it", _epoch_without_recipient
        ),
        Planted("forget-acknowledged", "what a peer has acknowledged is sent again (M1)", _forget_acknowledged),
        Planted("fragment-alone", "fragments of a transaction are applied as they come (L2)", _fragment_alone),
        Planted("ignore-stamps", "the clock does not follow what was seen", _ignore_stamps),
        Planted("no-feed-move", "a feed that brings nothing is never moved (M1)", _frozen_feeds),
        Planted(
            "removal-drops-attested",
            "what a removed site wrote is not derived, although attested",
            _removal_not_in_view,
        ),
        Planted("retry-sync", "a write that the disk refused is tried again (L1)", _retry_sync),
        Planted("rotation-loses", "commits under an epoch that was followed are passed over", _rotation_loses),
        Planted("send-early", "commits are sent before they are on disk (L1)", _send_early),
        Planted("forget-followers", "a number that was to follow never comes", _forget_followers),
        Planted("ignore-blocks", "numbers that a workstation holds are given by its site", _ignore_blocks),
        Planted("number-before-durable", "how far a range is given is kept in memory (L1)", _number_before_durable),
        Planted("take-rot", "rotten parts are taken from peers (L3)", _take_rot),
    )
}
"""All planted bugs by name."""
