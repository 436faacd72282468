"""Writing a patient's whole history to a file that proves itself (`site.history.export`)."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import crdtsync.practice  # noqa: F401  # declares the kinds whose fields are told
from crdtsync import limits
from crdtsync.clock import wall_ms
from crdtsync.documents import Content, said, shape
from crdtsync.engine.accounts import Account
from crdtsync.engine.exhibits import Exhibit
from crdtsync.engine.past import APPLIED, HELD, UNKNOWN, Retelling, Told
from crdtsync.errors import RefusedError
from crdtsync.history.file import FORMAT, line, sealed
from crdtsync.history.told import entry, time_text
from crdtsync.ids import CommitId, PracticeId, RecordId, ReplicaId, base32, commit_text, replica_of
from crdtsync.replication.commit import Part, decode_part
from crdtsync.replication.member_codec import decode_record
from crdtsync.sealing.envelope import part_context
from crdtsync.sealing.suite1 import open_content

Place = tuple[str, RecordId]
Named = tuple[str, bytes]
ELSEWHERE: Final = "elsewhere"
_ELSEWHERE: Final = "it stands under the seal of another patient, and that is not in this file"


@dataclass(frozen=True)
class Case:
    """All that goes into the file of one patient."""

    practice: PracticeId
    practice_name: str
    patient: str
    replica: ReplicaId
    exported_ms: int
    author: str
    reason: str
    members: Sequence[bytes]
    told: Mapping[Place, Sequence[Told]]
    exhibits: Mapping[CommitId, Exhibit]
    name_of: Callable[[ReplicaId], str]


def write(path: Path, case: Case, key: bytes, sign: Callable[[bytes], bytes]) -> dict[str, Any]:
    """Write the file, synced; what its head says. It appears whole or not at all. Blocking.

    Raises RefusedError when there is a file already, or it would become too large; OSError when the disk refuses.
    """
    if path.exists():
        raise RefusedError(f"there is a file {path} already; name another one, or remove it first")
    head, sections = compose(case)
    temporary = path.with_name(f"{path.name}.part")
    size = 0
    try:
        with temporary.open("wb") as file:
            for data in sealed(sections, key, sign):
                size += file.write(data)
                if size > limits.history_file_bytes_max:
                    raise RefusedError(f"the history takes more than {limits.history_file_bytes_max} bytes as a file")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return head


def compose(case: Case) -> tuple[dict[str, Any], Iterator[Named]]:
    """What the head says, and all sections in their order."""
    records = [_record(case, place, told) for place, told in sorted(case.told.items())]
    missing = sorted(_missing(case).items())
    head = {
        "section": "head",
        "format": FORMAT,
        "practice": case.practice_name,
        "practice_id": base32(case.practice),
        "patient": case.patient,
        "exported_by": {"site": case.name_of(case.replica), "replica": base32(case.replica)},
        "exported_at": time_text(case.exported_ms),
        "author": case.author,
        "reason": case.reason,
        "commits": len(case.exhibits),
        "records": len(records),
        "missing": [commit_text(commit) for commit, _ in missing],
    }

    def sections() -> Iterator[Named]:
        yield "head", line(head)
        for number, data in enumerate(case.members, 1):
            op = decode_record(data).op
            yield f"member {number}", line({"section": "member", "op": op, "record": _base64(data)})
        for commit in sorted(case.exhibits, key=lambda each: _order(case.exhibits[each])):
            yield from _commit(case, case.exhibits[commit])
        for commit, (stamp, why) in missing:
            name = commit_text(commit)
            yield f"missing {name}", line({"section": "missing", "commit": name, "stamp": stamp, "why": why})
        for place, record in zip(sorted(case.told), records, strict=True):
            yield f"record {place[0]} {place[1]}", line(record)

    return head, sections()


def _order(exhibit: Exhibit) -> tuple[int, CommitId]:
    return exhibit.stored.commit.header.stamp, exhibit.stored.commit.id


def _missing(case: Case) -> dict[CommitId, tuple[int, str]]:
    """Commits of the patient that this file cannot show, or cannot show whole: their stamp as far as it is known, and
    why."""
    found = {}
    for (_, record), told in case.told.items():
        for step in Retelling(record, told).steps():
            if step.state not in (APPLIED, HELD, UNKNOWN):
                found[step.commit] = step.told.order[0], step.why
    for commit, exhibit in case.exhibits.items():
        if not exhibit.signature:
            why = "its author's signature, or that of a later commit of its log, is not here"
            found[commit] = exhibit.stored.commit.header.stamp, why
    return found


def _commit(case: Case, exhibit: Exhibit) -> Iterator[Named]:
    """The header, its signature, and the parts of the patient, each with the key that opens it alone."""
    commit, stored = exhibit.stored.commit, exhibit.stored
    name = commit_text(commit.id)
    proof = {"header": _base64(commit.header_bytes), "chain": [_base64(each) for each in exhibit.chain]}
    yield (
        f"commit {name}",
        line(
            {
                "section": "commit",
                "commit": name,
                "site": case.name_of(replica_of(commit.id.log)),
                "at": time_text(wall_ms(commit.header.stamp)),
                "arrived_at": time_text(stored.arrived_ms),
                "arrived_ms": stored.arrived_ms,
                **proof,
                "signature": exhibit.signature.hex(),
            }
        ),
    )
    for index, key in exhibit.keys.items():
        part = None if key is None else part_in(exhibit, index, key, case.practice)
        value = {
            "section": "part",
            "commit": name,
            "index": index,
            "content": None if part is None else content_json(part),
            "key": None if key is None else key.hex(),
            "sealed": _base64(commit.parts[index]),
        }
        yield f"part {index} of commit {name}", line(value)


def part_in(exhibit: Exhibit, index: int, key: bytes, practice: PracticeId) -> Part:
    """The content of a part, opened by its own key."""
    commit = exhibit.stored.commit
    ref = commit.header.parts[index]
    context = part_context(practice, commit.id.log, commit.id.sequence, index, ref.epoch, ref.key)
    return decode_part(open_content(key, context, commit.parts[index]))


def content_json(part: Part) -> dict[str, Any]:
    """A part in readable form; the deltas, which only a program reads, in base64."""
    return {
        "author": part.author,
        "written_at": time_text(part.wall_ms),
        "written_ms": part.wall_ms,
        "reason": part.reason,
        "workstation": part.workstation,
        "purpose": part.purpose,
        "changes": [
            {"kind": change.kind, "record": change.record, "delta": _base64(change.delta)} for change in part.changes
        ],
    }


def in_this_file(told: Told, place: Place, exhibits: Mapping[CommitId, Exhibit], practice: PracticeId) -> Told:
    """What a commit tells of a record by the parts that are in the file alone."""
    exhibit = exhibits.get(told.commit)
    if exhibit is None or told.account is None:
        return told
    parts = [part_in(exhibit, index, key, practice) for index, key in exhibit.keys.items() if key is not None]
    account = account_in(told.account.stamp, told.account.arrived_ms, parts, place)
    shown = tuple(c.delta for part in parts for c in part.changes if (c.kind, c.record) == place)
    if shown == told.deltas:
        return replace(told, account=account)
    return replace(told, account=account, deltas=(), state=ELSEWHERE, why=_ELSEWHERE)


def account_in(stamp: int, arrived_ms: int, parts: Sequence[Part], place: Place) -> Account:
    """Who wrote a commit, by its parts in the file: one with a change of the record, else the first."""
    said: Part | None = None
    for part in parts:
        if said is None or any((change.kind, change.record) == place for change in part.changes):
            said = part
    if said is None:
        return Account("", "", "", "", None, stamp, 0, arrived_ms)
    return Account(said.author, said.reason, said.workstation, said.purpose, said.wall_ms, stamp, 0, arrived_ms)


def _record(case: Case, place: Place, told: Sequence[Told]) -> dict[str, Any]:
    kind, record = place
    return record_json(kind, record, told, case.name_of)


def record_json(
    kind: str, record: RecordId, told: Sequence[Told], name_of: Callable[[ReplicaId], str]
) -> dict[str, Any]:
    """A record's section: what it says now, and its history."""
    retelling = Retelling(record, told)
    steps = list(retelling.steps())
    content: Content = retelling.document.content()
    shown, several = said(kind, record, content)
    return {
        "section": "record",
        "kind": kind,
        "record": record,
        "shape": shape(kind),
        "fingerprint": retelling.document.fingerprint(kind, record).hex(),
        "fields": shown,
        "conflicts": several,
        "history": [entry(kind, record, step, name_of) for step in steps],
    }


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
