"""Proof that a log was written twice under one name (L3): its bytes alone decide, whoever brings it.

    proof  = [signing key, branch, branch]            the branch whose first header has the smaller hash stands first
    branch = [[header, …], signature]                 headers of the log, each chained to the one before

Both branches begin at one sequence, behind one common commit, with different headers; each ends in a header that its
author signed. Mostly that is the first one. The common commit is where the log ends for everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crdtsync import limits
from crdtsync.errors import Malformed
from crdtsync.ids import CommitHash, Head, LogId, PracticeId, replica_id_of, replica_of
from crdtsync.replication.codec import check_bytes, check_list
from crdtsync.replication.commit import SIGNATURE_BYTES, Header, decode_header, header_hash, signed_bytes

_SIG_BYTES = 32


@dataclass(frozen=True, slots=True)
class Branch:
    """Headers as they were signed and chained, and the signature of the last one."""

    headers: tuple[bytes, ...]
    signature: bytes

    @property
    def first(self) -> CommitHash:
        """The hash of the first header."""
        return header_hash(self.headers[0])


@dataclass(frozen=True, slots=True)
class ForkProof:
    """Two branches of one log. `end` is the last commit that they share: the log's end for everybody."""

    practice: PracticeId
    log: LogId
    end: Head
    sig: bytes
    one: Branch
    other: Branch

    def signed(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """What must verify: signing key, message and signature of each branch."""
        for branch in (self.one, self.other):
            yield self.sig, signed_bytes(header_hash(branch.headers[-1])), branch.signature


def fork_proof(sig: bytes, one: Branch, other: Branch) -> ForkProof:
    """The proof that two branches make. Raises Malformed when they make none; signatures are not checked here."""
    if one.first == other.first:
        raise Malformed("fork: both branches begin with one commit")
    one, other = sorted((one, other), key=lambda branch: branch.first)
    header, beside = _first(one), _first(other)
    if (header.practice, header.log, header.sequence) != (beside.practice, beside.log, beside.sequence):
        raise Malformed("fork: its branches are not of one place in one log")
    if header.previous != beside.previous:
        raise Malformed("fork: its branches part before they begin")
    if replica_id_of(sig) != replica_of(header.log):
        raise Malformed("fork: the signing key is not that of the log")
    end = Head(header.sequence - 1, header.previous)
    return ForkProof(header.practice, header.log, end, sig, one, other)


def _first(branch: Branch) -> Header:
    """The first header of a branch whose headers follow each other. Raises Malformed."""
    first = last = decode_header(branch.headers[0])
    for before, data in zip(branch.headers, branch.headers[1:], strict=False):
        header = decode_header(data)
        if (header.log, header.sequence, header.previous) != (last.log, last.sequence + 1, header_hash(before)):
            raise Malformed("fork: the headers of a branch do not follow each other")
        last = header
    return first


def proof_items(proof: ForkProof) -> list[Any]:
    """A proof as it stands in a membership record."""
    return [proof.sig, *([list(branch.headers), branch.signature] for branch in (proof.one, proof.other))]


def proof_from_items(items: list[Any]) -> ForkProof:
    """The inverse of `proof_items`; the form is checked, signatures are not. Raises Malformed or TooLarge."""
    return fork_proof(check_bytes(items[0], _SIG_BYTES, "fork signing key"), _branch(items[1]), _branch(items[2]))


def _branch(item: Any) -> Branch:
    if type(item) is not list or len(item) < 2:
        raise Malformed("fork: a branch is not headers and a signature")
    headers = check_list(item[0], limits.fork_chain_max, "fork headers")
    if not headers or any(type(header) is not bytes for header in headers):
        raise Malformed("fork: a branch without headers")
    return Branch(tuple(headers), check_bytes(item[1], SIGNATURE_BYTES, "fork signature"))
