"""Which commits are held whole, and by whose word (L6).

A commit is held directly because a reader of the practice signed it, because its log is frozen from there on (L3), or
because it was found here that no document can take it. What is found here becomes due: to be signed, unless somebody
did already, so that every site leaves out the same commits. The set only grows.

    form        bytes that no writer of this house makes: another writer's name, values that no slot holds, ...
    reach       a change that builds on, or deletes, what neither the document has nor anybody holds
    seal        a part that does not open
    library     a change that the CRDT library cannot take
    process     a change that ended the process that tried it
    program     this program failed on it: never signed, since another version may take it
    frozen      the commit stands behind a fork of its log
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from crdtsync.ids import CommitHash, CommitId, LogId, MemberHash
from crdtsync.replication.commit import Commit

FORM: Final = "form"
REACH: Final = "reach"
SEAL: Final = "seal"
LIBRARY: Final = "library"
PROCESS: Final = "process"
PROGRAM: Final = "program"
FROZEN: Final = "frozen"

WORDS: Final = (FORM, REACH, SEAL, LIBRARY, PROCESS, PROGRAM, FROZEN)
"""In the order in which the view numbers them: words may be added behind the last, none may go."""

_SENTENCES: Final[Mapping[str, str]] = {
    FORM: "it carries what no writer of this house writes",
    REACH: "it builds on changes that are not there",
    SEAL: "a part of it does not open",
    LIBRARY: "the documents cannot take it",
    PROCESS: "it ends the process that applies it",
    PROGRAM: "this program failed on it; report that as an error of the program",
    FROZEN: "it stands behind a fork of its log",
}
Knew = Callable[[Sequence[MemberHash], CommitId], bool]
"""(membership records that an author knew, commit) -> whether it knew a record by which that commit is held."""


def sentence(reason: str) -> str:
    """Why a commit is held, as people read it; words of later versions stand for themselves."""
    return f"{_SENTENCES.get(reason, reason)}; enter what is missing anew"


@dataclass(frozen=True, slots=True)
class DueHold:
    """A commit that is held here and that nobody has signed a hold of yet. `reason` is one of the words above."""

    commit: CommitId
    hash: CommitHash
    reason: str


def _nobody(members: Sequence[MemberHash], commit: CommitId) -> bool:
    return False


class Holds:
    """What is held directly. `signed` names per commit the hashes under which it is held, with the reason given."""

    def __init__(self) -> None:
        self.signed: Mapping[CommitId, Mapping[CommitHash, str]] = {}
        self.frozen: Mapping[LogId, int] = {}
        self.knew: Knew = _nobody
        self.found: dict[CommitId, str] = {}
        self._count = 0
        self._due: dict[CommitId, DueHold] = {}

    def copy(self) -> Holds:
        """The same, for who only wants to look."""
        other = Holds()
        other.honour(self.signed, self.frozen, self.knew)
        other.found = dict(self.found)
        return other

    def honour(
        self, signed: Mapping[CommitId, Mapping[CommitHash, str]], frozen: Mapping[LogId, int], knew: Knew | None
    ) -> None:
        """What the membership says now."""
        self.signed, self.frozen, self.knew = signed, frozen, knew or _nobody
        self._count = sum(map(len, signed.values())) + len(frozen)
        for commit, due in list(self._due.items()):
            if due.hash in signed.get(commit, ()):
                del self._due[commit]

    def find(self, commit: Commit, reason: str) -> None:
        """It was found here that this commit cannot be applied."""
        name = commit.id
        if self.found.setdefault(name, reason) != PROGRAM and commit.hash not in self.signed.get(name, ()):
            self._due.setdefault(name, DueHold(name, commit.hash, reason))

    def forget(self) -> None:
        """Try again what this program failed on."""
        self.found = {commit: reason for commit, reason in self.found.items() if reason != PROGRAM}

    @property
    def any(self) -> bool:
        """Whether anything is held: the question of the hot path."""
        return bool(self.signed or self.frozen or self.found)

    @property
    def due(self) -> Sequence[DueHold]:
        """What is to be signed."""
        return tuple(self._due.values())

    @property
    def count(self) -> int:
        """How many signed holds are honoured; -1 while something is left out that nobody has signed."""
        return -1 if self._due or PROGRAM in self.found.values() else self._count

    def reason(self, commit: Commit) -> str | None:
        """Why a commit is held directly: as it was signed first, else as it was found here; None when it is not."""
        name = commit.id
        signed = self.signed.get(name)
        if signed is not None and commit.hash in signed:
            return signed[commit.hash]
        frozen = self.frozen.get(name.log)
        if frozen is not None and name.sequence >= frozen:
            return FROZEN
        return self.found.get(name)
