"""The brake: mass changes wait at the site where they happen until a second person confirms them.

Every local transaction passes here, in the store's thread, before anything of it is a commit. One that overwrites the
records of many, or takes more back than one author may in some minutes, becomes a *proposal* instead: durable before
its caller hears of it, sealed, alone on this site's disk. Nothing else waits for it. When somebody else confirms it,
its transactions are written as they were meant: each edit names what its writer had seen, so what came in between stays
beside it, as a conflict. Each is taken out of the proposal in the transaction that makes it a commit, so that none is
written twice, whenever the process ends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from crdtsync import limits
from crdtsync.documents import Content, edits_from_json, edits_json, fields_json, read, weigh
from crdtsync.engine import RecordEdits, WriteOutcome, WriteRequest
from crdtsync.errors import Braked, CrdtSyncError, DamagedFile, NotFound, RefusedError
from crdtsync.ids import RecordId, base32, record_id_from
from crdtsync.kept import Kept
from crdtsync.sealing.base import Sealer

SETTING: Final = record_id_from("setting", "practice", "brake")
"""The record id of the setting (scope practice, key `brake`), the same at every site."""
_OPEN: Final = "brake.proposals"
_RECENT: Final = "brake.recent"
_ID_BYTES: Final = 10

Look = Callable[[str, RecordId], Content | None]
"""What a record says now; None when there is none."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What passes: `retractions` of one author within `seconds`, and `records` overwritten by one transaction."""

    retractions: int = limits.retractions_max
    seconds: int = limits.retractions_seconds
    records: int = limits.overwritten_records_max

    @classmethod
    def of(cls, value: Any) -> Bounds:
        """The bounds that a setting's value names; what it leaves out, or what is no number from 1 on, is as ever."""
        if not isinstance(value, dict):
            return cls()
        named = {name: value.get(name) for name in ("retractions", "seconds", "records")}
        return cls(**{name: n for name, n in named.items() if type(n) is int and n >= 1})


@dataclass(slots=True)
class Proposal:
    """What is known of a proposal without opening its transactions. `rows` counts the pieces that it was kept in."""

    id: str
    author: str
    reason: str
    workstation: str
    at_ms: int
    why: str
    rule: str
    records: int = 0
    retractions: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    size: int = 0
    approved_by: str = ""
    hashes: list[str] = field(default_factory=list)

    def row(self, number: int) -> str:
        """The name of one of its pieces."""
        return f"brake.proposal.{self.id}.{number}"


@dataclass(frozen=True, slots=True)
class _Load:
    """What a transaction takes away."""

    retractions: int
    overwritten: int


class Brake:
    """The brake of one replica. Used in the store's thread alone; `look` reads records of the view."""

    def __init__(self, kept: Kept, sealer: Sealer, look: Look) -> None:
        self._kept = kept
        self._sealer = sealer
        self._look = look

    # -- what passes ---------------------------------------------------------------------------------------------------

    def judge(self, request: WriteRequest, now_ms: int) -> WriteRequest | WriteOutcome:
        """The request, to be written, or what became of it instead: an outcome with Braked, its proposal on disk."""
        if request.mass:
            return request
        load = self._load(request.records)
        if not load.retractions and load.overwritten <= 1:
            return request
        bounds = self.bounds()
        if load.overwritten > bounds.records:
            why = f"it overwrites {load.overwritten} records, and one transaction may overwrite {bounds.records}"
            return self._hold(request, load, "records", why, now_ms)
        if not load.retractions:
            return request
        recent = [each for each in self._recent() if abs(now_ms - each[0]) <= bounds.seconds * 1000]
        before = sum(count for _, author, count in recent if author == request.author)
        if before + load.retractions > bounds.retractions:
            why = (
                f"with it {before + load.retractions} things are taken back within {bounds.seconds} seconds, and one "
                f"person may take back {bounds.retractions}"
            )
            return self._hold(request, load, "retractions", why, now_ms)
        recent.append([now_ms, request.author, load.retractions])
        notes = self._kept.sealed({_RECENT: recent[-limits.retractions_remembered_max :]})
        return replace(request, notes={**request.notes, **notes})

    def bounds(self) -> Bounds:
        """What the practice has set, else what is usual."""
        content = self._look("setting", SETTING)
        return Bounds() if content is None else Bounds.of(fields_json(read("setting", SETTING, content)).get("value"))

    def exceeded(self, records: Sequence[RecordEdits]) -> bool:
        """Whether these edits, all at once, are a mass change."""
        load, bounds = self._load(records), self.bounds()
        return load.overwritten > bounds.records or load.retractions > bounds.retractions

    def _load(self, records: Sequence[RecordEdits]) -> _Load:
        retractions = overwritten = 0
        for each in records:
            weight = weigh(each.kind, each.edits)
            overwritten += weight.overwritten
            retractions += weight.retractions
            if weight.marks and not weight.overwritten and self._look(each.kind, each.record) is None:
                retractions -= weight.marks  # a new record that says of itself that it does not count
        return _Load(retractions, overwritten)

    def _recent(self) -> list[Any]:
        try:
            found = self._kept.read(_RECENT)
        except DamagedFile:  # says nothing then: counting begins anew, which stops nobody from working
            return []
        return found if isinstance(found, list) else []

    # -- what is held --------------------------------------------------------------------------------------------------

    def _hold(self, request: WriteRequest, load: _Load, rule: str, why: str, now_ms: int) -> WriteOutcome:
        try:
            proposal, new = self._keep(request, load, rule, why, now_ms)
        except RefusedError as error:
            return WriteOutcome(error=error)
        text = (
            f"the brake holds this: {why}. It is kept as proposal {proposal.id}, and is written when a second person "
            f"confirms it: crdtsync approve DIR {proposal.id} (proposals shows it, reject drops it)"
        )
        return WriteOutcome(error=Braked(text, proposal.id, new=new))

    def _keep(self, request: WriteRequest, load: _Load, rule: str, why: str, now_ms: int) -> tuple[Proposal, bool]:
        """Put a transaction on disk, as a proposal of its own, or with those that its author is taking back already."""
        opened = self._proposals()
        pieces = _pieces(request)
        digest = hashlib.sha256(json.dumps(pieces, ensure_ascii=False).encode()).hexdigest()
        mine = [each for each in opened if each.author == request.author and not each.approved_by]
        for each in mine:
            if digest in each.hashes:
                return each, False  # tried again: it waits already
        found = next((each for each in mine if each.rule == rule == "retractions"), None)
        proposal = found or self._new(request, rule, why, now_ms)
        if found is None:
            if len(opened) >= limits.proposals_open_max:
                raise RefusedError(
                    f"{len(opened)} proposals wait for a second person, and no more are kept; nothing of this was "
                    "written: decide some of them first (crdtsync proposals DIR)"
                )
            opened.append(proposal)
        size = sum(len(json.dumps(piece)) for piece in pieces)
        if proposal.size + size > limits.proposal_bytes_max:
            raise RefusedError(
                f"proposal {proposal.id} is as large as one may be; nothing of this was written: decide it first, or "
                "change fewer records at a time"
            )
        rows = {proposal.row(number): piece for number, piece in enumerate(pieces, proposal.rows)}
        proposal.rows += len(pieces)
        proposal.size += size
        proposal.records += len(request.records)
        proposal.retractions += load.retractions
        proposal.hashes = [*proposal.hashes, digest][-limits.proposals_open_max :]
        for edits in request.records:
            proposal.kinds[edits.kind] = proposal.kinds.get(edits.kind, 0) + 1
        self._kept.write({**rows, _OPEN: [asdict(each) for each in opened]})
        return proposal, found is None

    def _new(self, request: WriteRequest, rule: str, why: str, now_ms: int) -> Proposal:
        name = base32(self._sealer.random(_ID_BYTES))
        return Proposal(name, request.author, request.reason, request.workstation, now_ms, why, rule)

    def _proposals(self) -> list[Proposal]:
        names = Proposal.__slots__
        return [Proposal(**{n: each[n] for n in names if n in each}) for each in self._kept.read(_OPEN) or ()]

    # -- what people decide --------------------------------------------------------------------------------------------

    def proposals(self) -> list[Proposal]:
        """What waits for a second person, oldest first. Raises DamagedFile."""
        return self._proposals()

    def proposal(self, name: str) -> tuple[Proposal, list[WriteRequest]]:
        """A proposal, and those of its transactions that are not written yet. Raises NotFound, DamagedFile.

        Each transaction takes itself out of the proposal when it is written.
        """
        found = next((each for each in self._proposals() if each.id == name), None)
        if found is None:
            raise NotFound(f"no proposal {name} waits at this site; crdtsync proposals DIR lists those that do")
        requests: list[WriteRequest] = []
        for number in range(found.rows):
            piece = self._kept.read(found.row(number))
            if piece is None:
                continue
            records = [RecordEdits(k, RecordId(r), s, edits_from_json(e)) for k, r, s, e in piece["records"]]
            ticket, notes = found.row(number), {}
            if piece["goes_on"]:
                last = requests.pop()
                records, notes = [*last.records, *records], {**last.notes, ticket: None}
                ticket = last.ticket
            author, reason, workstation, purpose = piece["about"]
            requests.append(WriteRequest(author, reason, workstation, purpose, records, notes, True, ticket))
        return found, requests

    def confirm(self, name: str, author: str) -> list[WriteRequest]:
        """Note, durably, that a second person confirms a proposal; what is to be written for it.

        Once confirmed it stays so: after a crash whoever confirms it again ends what was begun. Raises NotFound, and
        RefusedError for the same author, or nobody.
        """
        found, requests = self.proposal(name)
        if not found.approved_by:
            if not author.strip():
                raise RefusedError("say who confirms this proposal: it takes a second person, by name (--author WHO)")
            if _same_person(author, found.author):
                raise RefusedError(
                    f"{author} made this change, so somebody else must confirm it: a second person, by their own name"
                )
            self._change(name, lambda each: replace(each, approved_by=author))
        by = found.approved_by or author
        return [replace(request, reason=_confirmed(request.reason, by)) for request in requests]

    def settle(self, name: str) -> bool:
        """Forget a proposal of which everything is written. True when it is; else it stays, with the rest."""
        found = next((each for each in self._proposals() if each.id == name), None)
        if found is None:
            return True
        if any(self._kept.has(found.row(number)) for number in range(found.rows)):
            return False
        self._change(name, lambda each: None)
        return True

    def reject(self, name: str) -> Proposal:
        """Drop a proposal: nothing of it is written. Raises NotFound, and RefusedError when it was confirmed already
        and some of it is written."""
        found, _ = self.proposal(name)
        if found.approved_by:
            raise RefusedError(f"{found.approved_by} has confirmed it, and it is being written; revert it afterwards")
        gone = {found.row(number): None for number in range(found.rows)}
        left = [asdict(each) for each in self._proposals() if each.id != name]
        self._kept.write({**gone, _OPEN: left or None})
        return found

    def _change(self, name: str, change: Callable[[Proposal], Proposal | None]) -> None:
        changed = [change(each) if each.id == name else each for each in self._proposals()]
        self._kept.write({_OPEN: [asdict(each) for each in changed if each is not None] or None})


def _pieces(request: WriteRequest) -> list[dict[str, Any]]:
    """A transaction as JSON, in pieces of a bounded size."""
    about = [request.author, request.reason, request.workstation, request.purpose]
    records = [[each.kind, each.record, each.subject, edits_json(each.edits)] for each in request.records]
    step = limits.kept_records_step
    starts = range(0, len(records), step)
    return [{"about": about, "goes_on": at > 0, "records": records[at : at + step]} for at in starts]


def _same_person(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def _confirmed(reason: str, by: str) -> str:
    """The reason with who confirmed it: history shows both persons."""
    suffix = f" [confirmed by {by}]" if reason else f"confirmed by {by}"
    return reason[: limits.reason_characters_max - len(suffix)] + suffix


def failed(outcomes: Sequence[WriteOutcome]) -> Exception | None:
    """The first error among outcomes, if there is one."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    return next((error for error in errors if isinstance(error, CrdtSyncError)), errors[0] if errors else None)
