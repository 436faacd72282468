"""What people are told of patient numbers: sentences for alarms and `status`. Plain values in, words out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from crdtsync.authority import ranges as rules
from crdtsync.authority.ranges import Range, Source, Usage
from crdtsync.ranges.records import shown

Named = Callable[[Range], str]
"""The name of the site that a range belongs to."""
_SET: Final = "an admin sets another range: crdtsync range set DIR --name {site} --from N --to M"


def level_sentence(site: str, usage: Usage) -> str:
    """How far numbers are used up, as something to be acted on; empty while enough are left."""
    more = _SET.format(site=site)
    match usage.level:
        case "80" | "95":
            percent = usage.used * 100 // usage.size
            return f"{percent} % of the patient numbers of {site} are given, {usage.left} are left: {more}"
        case "spare":
            return f"{site} gives patient numbers of its spare range, {usage.spare_left} are left: {more}"
        case "exhausted":
            return (
                f"{site} has no patient number left. Patients are created all the same, and get their numbers by "
                f"themselves as soon as there are some: {more}"
            )
        case _:
            return ""


def closed_sentence(site: str) -> str:
    """What to do about ranges that are closed."""
    return (
        f"the rest of the patient numbers of {site} is closed: part of what it wrote was lost, so that numbers may "
        "have been given that nobody knows of. Look at the newest patients there; then an admin, or somebody at that "
        f"site, says that it goes on: crdtsync range release DIR --name {site}"
    )


def left_sentence(site: str) -> str:
    """What to do about ranges of a machine that had this site's name, and is no more."""
    return (
        f"the patient numbers that {site} had before it was made anew are closed: an admin releases the rest to this "
        f"machine (crdtsync range release DIR --name {site}), or sets another range"
    )


def overlap_sentence(younger: Range, older: Range, called: Named) -> str:
    """Two ranges that were set unseen by each other."""
    return (
        f"the range {younger.first} to {younger.last} of {called(younger)} has numbers in common with "
        f"{older.first} to {older.last} of {called(older)}, which is older: the younger one gives no number any more. "
        "See `crdtsync conflicts` for numbers that were given twice, and set another range for "
        f"{called(younger)} (crdtsync range set; range stop ends the younger one for good)"
    )


class Teller:
    """Remembers, as long as its process lives, what was told, so that each is told once."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._level = ""
        self._closed = False
        self._left = False
        self._stopped: set[tuple[str, str]] = set()

    def look(self, site: str, known: Sequence[Range], held: Sequence[Source], called: Named, *, left: bool) -> None:
        """Ranges are like this now: note what is news."""
        usage = rules.usage(held)
        if usage.level not in ("", self._level):
            self._waiting.append(level_sentence(site, usage))
        self._level = usage.level
        closed = any(each.state == "closed" for each in held)
        if closed and not self._closed:
            self._waiting.append(closed_sentence(site))
        self._closed = closed
        if left and not self._left:
            self._waiting.append(left_sentence(site))
        self._left = left
        by_id = {each.id: each for each in known}
        for younger, older in sorted(rules.stopped(known).items()):
            if (younger, older) not in self._stopped and not by_id[younger].ended:
                self._stopped.add((younger, older))
                self._waiting.append(overlap_sentence(by_id[younger], by_id[older], called))

    def told(self) -> list[str]:
        """What is news since the last call."""
        waiting, self._waiting = self._waiting, []
        return waiting


def described(
    site: str,
    known: Sequence[Range],
    held: Sequence[Source],
    following: int,
    refusal: str,
    called: Named,
    left: bool,
) -> Mapping[str, Any]:
    """What `status` tells: `ranges` of this replica, and in `numbers` how far they are used up, whether the rest is
    closed, how many patients wait for theirs, and in `warnings` what people should do. `left` tells that a machine
    had this site's name before, and ranges that nobody gives of."""
    by_id = {each.id: each for each in known}
    usage = rules.usage(held)
    mine = [_source(each, by_id.get(each.range), called) for each in held]
    closed = any(each.state == "closed" for each in held)
    warnings = [level_sentence(site, usage), closed_sentence(site) if closed else ""]
    warnings.append(left_sentence(site) if left else "")
    by = rules.stopped(known)
    ids = {each.range for each in held}
    for younger, older in sorted(by.items()):
        if (younger in ids or older in ids) and not by_id[younger].ended:
            warnings.append(overlap_sentence(by_id[younger], by_id[older], called))
    warnings += [
        f"the range {each.first} to {each.last} of {site} is in conflict, so it gives nothing: decide (crdtsync "
        "conflicts)"
        for each in held
        if each.state == "unclear"
    ]
    if known or held:
        warnings.append(refusal)
    return {
        "ranges": mine,
        "numbers": {
            "size": usage.size,
            "used": usage.used,
            "left": usage.left,
            "spare_used": usage.spare_used,
            "spare_left": usage.spare_left,
            "following": following,
            "closed": closed or left,
            "warnings": [each for each in warnings if each],
        },
    }


def _source(held: Source, each: Range | None, called: Named) -> dict[str, Any]:
    own: dict[str, Any] = {"from": held.first, "to": held.last, "used": held.floor - held.first + 1}
    own |= {"left": held.last - held.floor, "state": held.state, "block": held.block}
    if each is None:
        return {"id": held.range, "site": "", "spare": held.spare, **own}
    return shown(each, called(each)) | own


def listed(known: Sequence[Range], called: Named, marker: str | None, me: str) -> list[dict[str, Any]]:
    """All ranges, for people and scripts, in order of their first numbers. `marker` is the own last loss."""
    by = rules.stopped(known)
    found = []
    for each in sorted(known, key=lambda one: (one.first, one.id)):
        state = rules.state_of(each, by, marker if each.owner == me else None)
        more = {"used": each.used, "left": each.last - each.floor, "state": state, "replica": each.owner}
        blocks = [{"replica": b.replica, "from": b.first, "to": b.last} for b in each.blocks]
        found.append({**shown(each, called(each)), **more, "blocks": blocks})
    return found
