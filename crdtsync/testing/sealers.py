"""The conformance suite of `Sealer`: subclass it in a test module and say how a sealer is made.

    class TestMySealer(SealerConformance):
        def sealer(self, name: str) -> Sealer:
            return MySealer(name)

Equal names must give equal keys, different names different ones. Each test names the error that it expects; nothing
here needs more than a test runner that collects classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from crdtsync import limits
from crdtsync.errors import CrdtSyncError, SealBroken, TooLarge
from crdtsync.ids import (
    REPLICA_ID_BYTES,
    AskId,
    DataKeyId,
    EpochId,
    LogId,
    PracticeId,
    ReplicaId,
    replica_id_of,
)
from crdtsync.sealing.base import Sealer
from crdtsync.sealing.envelope import open_part, seal_part
from crdtsync.sealing.letter import Envelope, open_letter, seal_letter

KEY = bytes(range(32))
SALT = bytes(range(32, 64))
PLAIN = b"Amoxicillin 500 mg 1-0-1"


class Place(NamedTuple):
    """Where a sealed part stands."""

    practice: PracticeId
    log: LogId
    sequence: int
    part: int
    epoch: EpochId
    key_id: DataKeyId


def refused(error: type[CrdtSyncError], act: Callable[[], object]) -> None:
    """Assert that `act` raises `error`, and that the message does not carry the content."""
    try:
        act()
    except error as raised:
        assert "Amoxicillin" not in str(raised)
        return
    raise AssertionError(f"{error.__name__} was not raised")


def bit_flips(data: bytes) -> Iterator[bytes]:
    """`data` with each of its bits changed in turn."""
    for at in range(len(data)):
        for bit in range(8):
            yield data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]


class SealerConformance(ABC):
    """What every `Sealer` does and refuses."""

    @abstractmethod
    def sealer(self, name: str) -> Sealer:
        """A sealer with the keys of `name`."""

    # --- identity and signatures -----------------------------------------------------------------------------------

    def test_equal_names_give_equal_identities(self) -> None:
        one, same, other = self.sealer("one"), self.sealer("one"), self.sealer("other")
        assert one.public == same.public
        assert one.public.replica == replica_id_of(one.public.sig)
        assert len(one.public.replica) == REPLICA_ID_BYTES
        for mine, theirs in zip(one.public.to_items(), other.public.to_items(), strict=True):
            assert mine != theirs

    def test_random_gives_as_many_bytes_as_asked_for(self) -> None:
        sealer = self.sealer("one")
        assert [len(sealer.random(n)) for n in (0, 1, 16, 32)] == [0, 1, 16, 32]
        assert sealer.random(32) != sealer.random(32)

    def test_a_signature_verifies_everywhere(self) -> None:
        one, other = self.sealer("one"), self.sealer("other")
        signature = one.sign(b"message")
        assert len(signature) == 64
        for sealer in (one, other, self.sealer("third")):
            assert sealer.verify(one.public.sig, b"message", signature)

    def test_another_message_key_or_signature_does_not_verify(self) -> None:
        one, other = self.sealer("one"), self.sealer("other")
        signature = one.sign(b"message")
        assert not one.verify(one.public.sig, b"message!", signature)
        assert not one.verify(other.public.sig, b"message", signature)
        assert not one.verify(one.public.sig, b"message", other.sign(b"message"))
        assert not any(one.verify(one.public.sig, b"message", flipped) for flipped in bit_flips(signature))

    def test_malformed_keys_and_signatures_do_not_verify(self) -> None:
        one = self.sealer("one")
        signature = one.sign(b"message")
        for sig in (b"", one.public.sig[:-1], one.public.sig + b"\x00", b"\xff" * 32):
            assert not one.verify(sig, b"message", signature)
        for bad in (b"", signature[:-1], signature + b"\x00", bytes(64)):
            assert not one.verify(one.public.sig, b"message", bad)

    # --- sealing ---------------------------------------------------------------------------------------------------

    def test_what_is_sealed_opens_at_another_replica(self) -> None:
        one, other = self.sealer("one"), self.sealer("other")
        for plain in (b"", b"\x00", b"\x80", b"x\x80\x00\x00", PLAIN, PLAIN * 1000, bytes(100_000)):
            assert other.open(KEY, SALT, b"place", one.seal(KEY, SALT, b"place", plain)) == plain

    def test_sealing_twice_gives_different_bytes_and_shows_no_plain_text(self) -> None:
        sealer = self.sealer("one")
        sealed = sealer.seal(KEY, SALT, b"place", PLAIN)
        assert sealed != sealer.seal(KEY, SALT, b"place", PLAIN)
        assert not any(PLAIN[at : at + 4] in sealed for at in range(len(PLAIN) - 3))

    def test_another_key_salt_or_context_does_not_open(self) -> None:
        sealer = self.sealer("one")
        sealed = sealer.seal(KEY, SALT, b"place", PLAIN)
        places = ((SALT, SALT, b"place"), (KEY, KEY, b"place"), (KEY, SALT, b"plac"), (KEY, SALT, b""))
        for key, salt, context in (*places, (SALT, KEY, b"place")):
            refused(SealBroken, partial(sealer.open, key, salt, context, sealed))

    def test_every_changed_bit_and_every_other_length_is_refused(self) -> None:
        sealer = self.sealer("one")
        sealed = sealer.seal(KEY, SALT, b"place", PLAIN)
        for changed in (*bit_flips(sealed), *(sealed[:at] for at in range(len(sealed))), sealed + b"\x00"):
            refused(SealBroken, partial(sealer.open, KEY, SALT, b"place", changed))

    def test_a_part_opens_in_its_own_place_only(self) -> None:
        sealer = self.sealer("one")
        place = Place(PracticeId(b"p" * 16), LogId(b"l" * 24), 7, 0, EpochId(b"e" * 16), DataKeyId(b"k" * 16))
        sealed = seal_part(sealer, KEY, SALT, *place, PLAIN)
        assert open_part(sealer, KEY, SALT, *place, sealed) == PLAIN
        for moved in (
            place._replace(practice=PracticeId(b"P" * 16)),
            place._replace(log=LogId(b"l" * 16 + b"L" * 8)),
            place._replace(sequence=8),
            place._replace(part=1),
            place._replace(epoch=EpochId(b"E" * 16)),
            place._replace(key_id=DataKeyId(b"K" * 16)),
        ):
            refused(SealBroken, partial(open_part, sealer, KEY, SALT, *moved, sealed))

    # --- keys ------------------------------------------------------------------------------------------------------

    def test_salts_differ_by_epoch_and_subject(self) -> None:
        one, other = self.sealer("one"), self.sealer("other")
        salts = {one.subject_salt(key, subject) for key in (KEY, SALT) for subject in ("", "a", "b", "ab")}
        assert len(salts) == 8
        assert {len(salt) for salt in salts} == {32}
        assert one.subject_salt(KEY, "a") == other.subject_salt(KEY, "a")

    def test_a_wrapped_key_opens_under_its_salt_only(self) -> None:
        one, other = self.sealer("one"), self.sealer("other")
        wrapped = one.wrap(SALT, KEY)
        assert len(wrapped) == 40
        assert KEY not in wrapped
        assert other.unwrap(SALT, wrapped) == KEY
        refused(SealBroken, lambda: one.unwrap(KEY, wrapped))
        for changed in (*bit_flips(wrapped), b"", wrapped[:-1], wrapped[:-8], wrapped + bytes(8)):
            refused(SealBroken, partial(one.unwrap, SALT, changed))

    def test_an_epoch_is_named_by_its_key(self) -> None:
        one, other = self.sealer("one"), self.sealer("other")
        assert one.epoch_id(KEY) == other.epoch_id(KEY) != one.epoch_id(SALT)
        assert len(one.epoch_id(KEY)) == 16

    def test_a_secret_sealed_to_a_replica_opens_there_only(self) -> None:
        one, other = self.sealer("one"), self.sealer("other")
        sealed = one.seal_to(other.public.kem, b"info", KEY)
        assert KEY not in sealed
        assert other.open_sealed(b"info", sealed) == KEY
        assert sealed != one.seal_to(other.public.kem, b"info", KEY)
        refused(SealBroken, lambda: one.open_sealed(b"info", sealed))
        refused(SealBroken, lambda: other.open_sealed(b"inf", sealed))
        for at in range(len(sealed)):
            changed = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
            refused(SealBroken, partial(other.open_sealed, b"info", changed))
        for short in (b"", sealed[:1], sealed[:-1], sealed[:31]):
            refused(SealBroken, partial(other.open_sealed, b"info", short))

    # --- letters ---------------------------------------------------------------------------------------------------

    def test_a_letter_is_read_by_its_receiver_only(self) -> None:
        one, other, third = self.sealer("one"), self.sealer("other"), self.sealer("third")
        envelope = _envelope(one, other)
        for plain in (b"", b"\x00", PLAIN, bytes(limits.ask_plain_bytes_max)):
            sealed = seal_letter(one, envelope, other.public.kem, plain)
            assert open_letter(other, envelope, sealed) == plain
            assert sealed != seal_letter(one, envelope, other.public.kem, plain)
            for reader in (one, third):
                refused(SealBroken, partial(open_letter, reader, envelope, sealed))
        sealed = seal_letter(one, envelope, other.public.kem, PLAIN)
        assert not any(PLAIN[at : at + 4] in sealed for at in range(len(PLAIN) - 3))

    def test_a_letter_opens_in_its_own_place_only(self) -> None:
        one, other = self.sealer("one"), self.sealer("other")
        envelope = _envelope(one, other)
        sealed = seal_letter(one, envelope, other.public.kem, PLAIN)
        for elsewhere in (
            replace(envelope, practice=PracticeId(b"P" * 16)),
            replace(envelope, ask=AskId(b"Q" * 16)),
            replace(envelope, sender=envelope.receiver),
            replace(envelope, receiver=envelope.sender),
            replace(envelope, answer=True),
        ):
            refused(SealBroken, partial(open_letter, other, elsewhere, sealed))

    def test_a_letter_with_a_changed_byte_or_another_length_is_refused(self) -> None:
        one, other = self.sealer("one"), self.sealer("other")
        envelope = _envelope(one, other)
        sealed = seal_letter(one, envelope, other.public.kem, PLAIN)
        for at in range(len(sealed)):
            changed = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
            refused(SealBroken, partial(open_letter, other, envelope, changed))
        for end in (0, 1, 2, 40, len(sealed) - 1):
            refused(SealBroken, partial(open_letter, other, envelope, sealed[:end]))

    def test_a_letter_that_is_too_long_is_not_sealed(self) -> None:
        one, other = self.sealer("one"), self.sealer("other")
        text = PLAIN * (limits.ask_plain_bytes_max // len(PLAIN) + 1)
        refused(TooLarge, lambda: seal_letter(one, _envelope(one, other), other.public.kem, text))


def _envelope(sender: Sealer, receiver: Sealer) -> Envelope:
    replicas = ReplicaId(sender.public.replica), ReplicaId(receiver.public.replica)
    return Envelope(PracticeId(b"p" * 16), AskId(b"q" * 16), *replicas, answer=False)
