"""Checking the file of a patient's history, without a site and without keys: bytes, signatures, seals, and sense.

What holds when nothing is found:

- every byte is what was sealed by a member of the practice that the file names;
- each membership record is signed, and belongs to that practice: its id is the founding record's hash;
- each commit bears its author's signature, and the author is a member of the practice, or was;
- each part is the one that its author signed, and opens to just the content that the file shows;
- each record's history, and what it says now, follow from these contents; none is left out.

Not provable from a file: that it names all commits of the patient that there are anywhere. What the exporting site knew
to be missing is listed.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import crdtsync.practice  # noqa: F401  # declares the kinds whose fields are told
from crdtsync.clock import wall_ms
from crdtsync.documents import shape
from crdtsync.engine.past import APPLIED, UNKNOWN, Told
from crdtsync.errors import CrdtSyncError
from crdtsync.history.export import account_in, content_json, record_json
from crdtsync.history.file import FORMAT, SEAL, Opened, Problem, Verify, take_apart
from crdtsync.history.told import time_text
from crdtsync.ids import (
    CommitHash,
    CommitId,
    RecordId,
    base32,
    commit_from_text,
    commit_text,
    replica_id_of,
    replica_of,
)
from crdtsync.replication.commit import Header, Part, decode_header, decode_part, header_hash, part_hash, signed_bytes
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.membership import Membership
from crdtsync.sealing.envelope import part_context
from crdtsync.sealing.suite1 import open_content

_WRONG: Final = (CrdtSyncError, KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError)
"""What a section raises that is not of the form that it should have."""


@dataclass
class Verdict:
    """What checking found. `complete` is False when the file itself says that something is missing."""

    head: dict[str, Any] = field(default_factory=dict)
    commits: int = 0
    records: int = 0
    missing: list[dict[str, str]] = field(default_factory=list)
    not_recomputed: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong with the file."""
        return not self.problems

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that the exporting site knew of."""
        return not self.missing


def check(data: bytes, verify: Verify, *, practice: str | None = None) -> Verdict:
    """Check a file. `practice` is the id that its practice must have, where somebody knows it."""
    opened = take_apart(data, verify)
    checking = _Checking(opened, verify)
    if opened.problems:
        return Verdict(head=opened.sections.get("head", {}), problems=opened.problems)
    checking.run(practice)
    return checking.verdict


class _Checking:
    """Goes over the sections of a file whose bytes are as they were sealed."""

    def __init__(self, opened: Opened, verify: Verify) -> None:
        self._sections = opened.sections
        self._seal = opened.seal
        self._verify = verify
        self._membership = Membership(verify)
        self._headers: dict[CommitId, Header] = {}
        self._hashes: dict[CommitId, CommitHash] = {}
        self._arrived: dict[CommitId, int] = {}
        self._stamps: dict[CommitId, int] = {}
        self._parts: dict[CommitId, list[Part]] = {}
        self.verdict = Verdict(head=opened.sections.get("head", {}))

    def run(self, practice: str | None) -> None:
        for name, section in self._sections.items():
            sort = section.get("section")
            handle: Callable[[str, dict[str, Any]], None] | None = {
                "head": self._head,
                "member": self._member,
                "commit": self._commit,
                "part": self._part,
                "missing": self._missing,
                "record": self._record,
            }.get(str(sort))
            if handle is None:
                self._problem(name, "this program does not know sections of this sort; update it")
                continue
            try:
                handle(name, section)
            except _WRONG as error:
                self._problem(name, f"it is not what it should be ({error})" if str(error) else "it is not understood")
        try:
            self._whole(practice)
        except _WRONG:
            self._problem("head", "it is not understood")

    def _problem(self, section: str, problem: str) -> None:
        self.verdict.problems.append(Problem(section, problem))

    def _require(self, holds: bool, problem: str) -> None:
        if not holds:
            raise ValueError(problem)

    # -- sections -----------------------------------------------------------------------------------------------------

    def _head(self, name: str, section: dict[str, Any]) -> None:
        self._require(name == "head" and section["format"] == FORMAT, "another format than this program knows")

    def _member(self, name: str, section: dict[str, Any]) -> None:
        data = b64decode(section["record"], validate=True)
        self._require(decode_record(data).op == section["op"], "it is another record than it says")
        self._membership.add(data)

    def _commit(self, name: str, section: dict[str, Any]) -> None:
        data = b64decode(section["header"], validate=True)
        header = decode_header(data)
        commit = CommitId(header.log, header.sequence)
        text = commit_text(commit)
        self._require(section["commit"] == text and name == f"commit {text}", "its header is that of another commit")
        self._require(header.practice == self._membership.practice, "it belongs to another practice")
        author = self._membership.state().members.get(replica_of(header.log))
        if author is None:
            raise ValueError("its author never belonged to the practice")
        self._require(section["site"] == author.name, "it is by another site than the file says")
        self._require(section["at"] == time_text(wall_ms(header.stamp)), "it bears another time than the file says")
        self._require(section["arrived_at"] == time_text(section["arrived_ms"]), "two times of arrival")
        signature = bytes.fromhex(section["signature"])
        if signature or section["chain"]:
            chain = [b64decode(each, validate=True) for each in section["chain"]]
            self._signed(header, data, chain, author.sig, signature)
        else:
            self._require(text in self.verdict.head["missing"], "it bears no signature")
        self._headers[commit] = header
        self._hashes[commit] = header_hash(data)
        self._arrived[commit] = section["arrived_ms"]

    def _signed(self, header: Header, data: bytes, chain: list[bytes], sig: bytes, signature: bytes) -> None:
        """The author signed this header, or a later one of the log that is chained to it."""
        last = header_hash(data)
        for each in chain:
            later = decode_header(each)
            chained = later.log == header.log and later.previous == last
            self._require(chained, "the headers that follow it are not chained to it")
            last = header_hash(each)
        self._require(self._verify(sig, signed_bytes(last), signature), "it does not bear its author's signature")

    def _part(self, name: str, section: dict[str, Any]) -> None:
        commit, index = commit_from_text(section["commit"]), section["index"]
        self._require(name == f"part {index} of commit {section['commit']}", "it is another part than it says")
        header = self._headers[commit]
        ref = header.parts[index]
        data = b64decode(section["sealed"], validate=True)
        signed = len(data) == ref.size and part_hash(data) == ref.hash
        self._require(signed, "it is not the part that its author signed")
        if section["key"] is None:
            self._require(section["content"] is None, "it shows a content that nothing proves")
            return
        context = part_context(header.practice, header.log, header.sequence, index, ref.epoch, ref.key)
        part = decode_part(open_content(bytes.fromhex(section["key"]), context, data))
        self._require(content_json(part) == section["content"], "it shows another content than its author sealed")
        self._parts.setdefault(commit, []).append(part)

    def _missing(self, name: str, section: dict[str, Any]) -> None:
        self._require(name == f"missing {section['commit']}", "it is about another commit than it says")
        self._require(section["commit"] in self.verdict.head["missing"], "the head does not name it")
        self._stamps[commit_from_text(section["commit"])] = section["stamp"]
        self.verdict.missing.append({"commit": section["commit"], "why": section["why"]})

    def _record(self, name: str, section: dict[str, Any]) -> None:
        kind, record = section["kind"], RecordId(section["record"])
        self._require(name == f"record {kind} {record}", "it is another record than it says")
        self.verdict.records += 1
        told = list(self._told((kind, record), section["history"]))
        found = json.loads(json.dumps(record_json(kind, record, told, self._name_of)))
        if section["shape"] != shape(kind):
            # Another program shows other fields: what it showed is vouched for by the seal alone, all else is proved.
            self.verdict.not_recomputed.append(name)
            found = _without_fields(found)
            section = _without_fields(section)
        self._require(found == section, "what it shows does not follow from the commits")

    def _told(self, place: tuple[str, RecordId], history: list[dict[str, Any]]) -> Iterator[Told]:
        """What the commits in this file tell of a record; of others, what the file says of them."""
        for entry in history:
            commit = commit_from_text(entry["commit"])
            state, why = entry["state"], entry.get("why", "")
            header = self._headers.get(commit)
            if header is None:
                self._require(entry["commit"] in self.verdict.head["missing"], f"{entry['commit']} is not in this file")
                order = self._stamps[commit], commit.log, commit.sequence
                yield Told(commit, order, (), None, 0, 0, 0, state, why)
                continue
            parts = self._parts.get(commit, [])
            deltas = [c.delta for part in parts for c in part.changes if (c.kind, c.record) == place]
            account = account_in(header.stamp, self._arrived[commit], parts, place)
            if state in (APPLIED, UNKNOWN):
                self._require(bool(deltas), f"{entry['commit']} does not change it")
                held = self._hashes[commit] in self._membership.state().holds.get(commit, ())
                self._require(not held, f"{entry['commit']} is held by the practice, and changed nothing")
            order = header.stamp, header.log, header.sequence
            known = APPLIED if state == UNKNOWN else state
            yield Told(commit, order, tuple(deltas), account, header.stamp, 0, account.arrived_ms, known, why)

    def _name_of(self, replica: Any) -> str:
        member = self._membership.state().members.get(replica)
        return base32(replica) if member is None else member.name

    # -- the whole ----------------------------------------------------------------------------------------------------

    def _whole(self, practice: str | None) -> None:
        head, seal = self.verdict.head, self._seal
        assert seal is not None
        self.verdict.commits = len(self._headers)
        if not len(self._membership):
            self._problem("head", "the file has no membership: nobody vouches for anything in it")
            return
        found = base32(self._membership.practice)
        if head["practice_id"] != found or head["practice"] != self._membership.practice_name:
            self._problem("head", "its members are those of another practice than it names")
        if practice is not None and practice != found:
            self._problem("head", f"it is of the practice {found}, not of the one that was asked for")
        sealer = replica_id_of(seal.key)
        member = self._membership.state().members.get(sealer)
        if member is None:
            self._problem(SEAL, "who sealed the file never belonged to the practice")
        elif head["exported_by"] != {"site": member.name, "replica": base32(sealer)}:
            self._problem(SEAL, "it was sealed by another site than the head names")
        counted = {"commits": len(self._headers), "records": self.verdict.records}
        for name, number in counted.items():
            if head[name] != number:
                self._problem("head", f"it counts {head[name]} {name}, and the file has {number}")
        if sorted(head["missing"]) != sorted(each["commit"] for each in self.verdict.missing):
            self._problem("head", "it names other missing commits than the file does")
        self._nothing_left_out()

    def _nothing_left_out(self) -> None:
        """Every change in a part stands in the history of its record."""
        told = {
            (section["kind"], section["record"], entry["commit"])
            for section in self._sections.values()
            if section.get("section") == "record"
            for entry in section["history"]
        }
        places = {(kind, record) for kind, record, _ in told}
        for commit, parts in self._parts.items():
            for part in parts:
                for change in part.changes:
                    at = (change.kind, change.record, commit_text(commit))
                    if at[:2] in places and at not in told:
                        name = f"record {change.kind} {change.record}"
                        self._problem(name, f"its history leaves out commit {at[2]}")


def _without_fields(record: dict[str, Any]) -> dict[str, Any]:
    history = [{**entry, "changes": None} for entry in record["history"]]
    return {**record, "shape": "", "fields": None, "conflicts": None, "history": history}
