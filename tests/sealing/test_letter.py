"""Letters: what both sealers do with them is in the conformance suite; here is what the real one takes."""

from __future__ import annotations

import os

import pytest

from crdtsync import limits
from crdtsync.errors import Malformed, TooLarge
from crdtsync.ids import AskId, PracticeId, ReplicaId
from crdtsync.sealing.letter import Envelope, open_letter, seal_letter
from crdtsync.sealing.suite1 import Suite1
from tests.sealing.identities import identity_of

ENVELOPE = Envelope(PracticeId(b"p" * 16), AskId(b"q" * 16), ReplicaId(b"a" * 16), ReplicaId(b"b" * 16), answer=False)


def suite(name: str) -> Suite1:
    return Suite1(identity_of(name), os.urandom)


def test_the_longest_letter_fits_its_message_however_little_it_packs() -> None:
    one, other = suite("one"), suite("other")
    plain = os.urandom(limits.ask_plain_bytes_max)
    sealed = seal_letter(one, ENVELOPE, other.public.kem, plain)
    assert len(sealed) <= limits.ask_body_bytes_max
    assert open_letter(other, ENVELOPE, sealed) == plain


def test_what_inflates_to_more_than_a_letter_may_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = suite("one"), suite("other")
    with monkeypatch.context() as generous:
        generous.setattr(limits, "ask_plain_bytes_max", 1 << 24)
        bomb = seal_letter(one, ENVELOPE, other.public.kem, bytes(10_000_000))
    assert len(bomb) < limits.ask_body_bytes_max
    with pytest.raises(TooLarge, match="a letter of 10000000 bytes"):
        open_letter(other, ENVELOPE, bomb)


def test_a_key_that_nothing_can_be_sealed_to() -> None:
    with pytest.raises(Malformed):
        seal_letter(suite("one"), ENVELOPE, b"no key", b"hello")
