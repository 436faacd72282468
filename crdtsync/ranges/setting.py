"""What people decide about ranges, in the store's thread: set one, release what is closed, end one for good.

Each function gives the transaction to be written (None: nothing) and the answer for whoever asked, and raises what is
wrong with the wish before anything is written. Who may decide: an admin site; a site itself releases its own numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from crdtsync import limits
from crdtsync.authority import ranges as rules
from crdtsync.authority.ranges import Range
from crdtsync.engine import RecordEdits, WriteRequest
from crdtsync.errors import BadValue, NotFound, RefusedError
from crdtsync.ids import base32, record_id
from crdtsync.numbers import META_CLOSING, META_UNCONFIRMED
from crdtsync.practice import NumberRange, RangeClosing, RangeRelease
from crdtsync.ranges.giving import Decided, Ranges
from crdtsync.ranges.records import NUMBERED, changed, shown, wall
from crdtsync.replication.membership import Member


@dataclass(frozen=True, slots=True)
class By:
    """Who decides, why, and when by the clock here (milliseconds since 1970)."""

    author: str
    reason: str
    now_ms: int


def set_range(ranges: Ranges, name: str, first: int, last: int, spare: bool, by: By) -> Decided:
    """The numbers `first` to `last` are given by the site `name` from now on. Raises RefusedError where this site is no
    admin, and where another range has one of them; BadValue, NotFound."""
    if not 1 <= first <= last <= limits.patient_number_max:
        raise BadValue(
            f"a range goes from a number of 1 or more up to the same or a higher one, at most "
            f"{limits.patient_number_max}"
        )
    _admin(ranges)
    member = _site(ranges, name)
    known = ranges.known() if ranges.exist else []
    other = rules.in_the_way(known, first, last)
    if other is not None:
        raise RefusedError(
            f"{ranges.called(other)} has the range {other.first} to {other.last} already, so {first} to {last} would "
            "have numbers in common with it: choose others (crdtsync range list DIR)"
        )
    if len(known) >= limits.ranges_max:
        raise RefusedError(f"the practice has {len(known)} ranges, and no more are kept: set fewer, larger ones")
    replica = base32(member.replica)
    closings = {(c.key, c.replica) for each in known for c in each.closings if c.replica == replica}
    notes: dict[str, bytes | None] = {}
    if replica == ranges.me and ranges.marker is not None:
        marker = ranges.marker or ranges.new_marker()
        notes = {META_CLOSING: marker.encode()} if not ranges.marker else {}
        closings.add((marker, replica))

    def make(record: NumberRange) -> None:
        record.numbers, record.site, record.replica = "patient", member.name, replica
        record.first, record.last, record.spare = first, last, spare
        record.set_by, record.set_at = by.author, wall(by.now_ms)
        if closings:  # whatever was lost before, none of these numbers was given in it
            for key, whose in sorted(closings):
                record.closings.add(RangeClosing(key=key, replica=whose))
            keys = tuple(sorted(key for key, _ in closings))
            record.releases.add(RangeRelease(step=0, replica=replica, since=first - 1, closings=keys))

    record = record_id(ranges.sealer.random(16))
    told = Range(record, member.name, replica, first, last, spare)
    request = _request(by, [changed(record, None, make)], notes)
    return request, shown(told, member.name)


def release(ranges: Ranges, name: str, to: str | None, above: int | None, by: By) -> Decided:
    """What is left of the ranges of the site `name` may be given again, by the replica that has that name now, or by
    the site `to`: above the highest number known in each range, and above `above`.

    Where there is no other site, this is also the word that the disk here is up to date. Raises RefusedError where
    nothing is closed, and where this site is neither an admin nor the one meant; NotFound.
    """
    member = _site(ranges, to or name)
    replica = base32(member.replica)
    known = [each for each in (ranges.known() if ranges.exist else []) if name in (each.site, ranges.called(each))]
    if not known:
        raise NotFound(
            f"the practice has no range of {name}: `crdtsync range list DIR` lists them; what another site had is "
            "released to this one with --name OTHER --to THIS"
        )
    marker = ranges.marker if replica == ranges.me else None
    due = [each for each in known if each.clear and not each.ended and _due(each, replica, marker)]
    if not due:
        raise RefusedError(
            f"as far as is known here nothing of {name} is closed: `crdtsync range list DIR` shows it. A site that was "
            "restored says so itself as soon as it runs and is reached; it can be released there as well"
        )
    moved = any(each.owner != replica for each in due)
    if moved or replica != ranges.me:
        _admin(ranges)
    notes: dict[str, bytes | None] = {}
    if marker == "":
        marker = ranges.new_marker()
        notes[META_CLOSING] = marker.encode()
    if replica == ranges.me and _alone(ranges):  # nobody else could tell whether its disk is up to date
        notes[META_UNCONFIRMED] = None
    records = []
    since: dict[str, int] = {}
    for each in due:
        since[each.id] = _highest(ranges, each, above)
        keys = {closing.key for closing in each.closings} | ({marker} if marker else set())
        entry = RangeRelease(
            step=each.step,
            replica=replica,
            since=since[each.id],
            closings=tuple(sorted(keys)),
            author=by.author,
            reason=by.reason,
            at=wall(by.now_ms),
        )
        records.append(ranges.changed(each.id, partial(_add_release, entry=entry)))
    told = [{**shown(each, member.name), "above": since[each.id]} for each in due]
    return _request(by, records, notes), {"site": member.name, "replica": replica, "ranges": told}


def _alone(ranges: Ranges) -> bool:
    """Whether no other site belongs to the practice."""
    members = ranges.state().members.values()
    return not any(m.active and m.role == "site" and m.replica != ranges.replica for m in members)


def owners(ranges: Ranges, name: str) -> set[str]:
    """The replicas that have the ranges of the site `name` as far as is known here."""
    known = ranges.known() if ranges.exist else []
    return {each.owner for each in known if name in (each.site, ranges.called(each))}


def _add_release(record: NumberRange, entry: RangeRelease) -> None:
    record.releases.add(entry)


def _due(each: Range, replica: str, marker: str | None) -> bool:
    """Whether a release to this replica changes anything."""
    lost = marker is not None and (not marker or marker not in each.answered)
    return each.owner != replica or each.closed or lost


def _highest(ranges: Ranges, each: Range, above: int | None) -> int:
    """The highest number of a range that is known to be given, or that anybody has, or that a person names."""
    held = ranges.store.between(NUMBERED, "number", each.first, each.last, 1, falling=True)
    noted = ranges.noted().get(each.id, 0)
    return min(each.last, max([each.floor, noted, above or 0, *held]))


def stop(ranges: Ranges, record: str, by: By) -> Decided:
    """A range ends for good: nobody gives another number of it. Raises NotFound, RefusedError where this site is no
    admin."""
    _admin(ranges)
    each = next((one for one in (ranges.known() if ranges.exist else []) if one.id == record), None)
    if each is None:
        raise NotFound(f"the practice has no range {record}: `crdtsync range list DIR` lists them")

    def end(found: NumberRange) -> None:
        found.stopped = True

    told = {**shown(each, ranges.called(each)), "state": "ended"}
    return None if each.ended else _request(by, [ranges.changed(record, end)], {}), told


def _request(by: By, records: list[RecordEdits], notes: dict[str, bytes | None]) -> WriteRequest:
    return WriteRequest(by.author, by.reason, "", "", records, notes, mass=True)


def _admin(ranges: Ranges) -> None:
    own = ranges.state().active(ranges.replica)
    if own is None or not own.administers:
        raise RefusedError(f"{ranges.site} is no admin of the practice; ranges are set at a site that is one")


def _site(ranges: Ranges, name: str) -> Member:
    found = [m for m in ranges.state().members.values() if m.active and m.role == "site" and m.name == name]
    if not found:
        raise NotFound(f"the practice has no site named {name} now; `crdtsync members DIR` lists them")
    if len(found) > 1:
        raise RefusedError(f"{len(found)} sites are named {name}: remove the one that is gone, then decide this again")
    return found[0]
