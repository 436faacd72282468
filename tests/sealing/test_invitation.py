from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.errors import InvitationRefused, UsageError
from crdtsync.ids import PracticeId
from crdtsync.sealing.fields import join_fields
from crdtsync.sealing.identity import Identity, PublicIdentity
from crdtsync.sealing.invitation import Code, Inviter, Joiner, invitation_of, tls_hash

from .identities import identity_of

JENA, WEIMAR, MALLORY = (identity_of(name) for name in ("jena", "weimar", "mallory"))
CODE = Code(PracticeId(b"p" * 16), b"invitatn", b"s" * 16, tls_hash(JENA.public.tls), ("127.0.0.1:1",))
RECORDS = [b"founding record", b"", b"x" * 100_000]


def pair(code: Code = CODE, joiner_code: Code | None = None) -> tuple[Joiner, Inviter]:
    return Joiner(joiner_code or code, WEIMAR, b"j" * 32), Inviter(code, JENA, b"i" * 32)


def test_a_join_from_end_to_end() -> None:
    joiner, inviter = pair()
    start = joiner.start()
    assert invitation_of(start) == CODE.invitation
    assert inviter.on_open(joiner.on_answer(inviter.on_start(start))) == WEIMAR.public
    assert joiner.inviter == JENA.public
    assert joiner.digits == inviter.digits
    assert len(joiner.digits) == 6 and joiner.digits.isdigit()
    assert joiner.on_welcome(inviter.welcome(RECORDS)) == RECORDS


def test_first_messages_fit_the_first_frame() -> None:
    joiner, inviter = pair()
    start = joiner.start()
    answer = inviter.on_start(start)
    assert max(len(start), len(answer), len(joiner.on_answer(answer))) < 4 * 1024


def test_digits_follow_from_nonces_and_keys() -> None:
    def digits(joining: Identity, joiner_nonce: bytes, inviter_nonce: bytes) -> str:
        joiner, inviter = Joiner(CODE, joining, joiner_nonce), Inviter(CODE, JENA, inviter_nonce)
        inviter.on_open(joiner.on_answer(inviter.on_start(joiner.start())))
        return joiner.digits

    one, two = b"1" * 32, b"2" * 32
    runs = [(WEIMAR, one, one), (WEIMAR, two, one), (WEIMAR, one, two), (MALLORY, one, one)]
    assert len({digits(*run) for run in runs}) == len(runs)
    assert digits(WEIMAR, one, one) == digits(WEIMAR, one, one)


@pytest.mark.parametrize(
    "change",
    [
        {"secret": b"S" * 16},
        {"practice": PracticeId(b"P" * 16)},
        {"invitation": b"INVITATN"},
        {"inviter_tls_hash": b"T" * 16},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_inviter_refuses_another_code(change: dict[str, bytes]) -> None:
    joiner, inviter = pair(joiner_code=dataclasses.replace(CODE, **change))  # type: ignore[arg-type]  # bytes all
    with pytest.raises(InvitationRefused, match="does not know this invitation's secret"):
        inviter.on_start(joiner.start())


def test_the_joiner_refuses_an_inviter_without_the_secret() -> None:
    joiner, _ = pair()
    _, impostor = pair(dataclasses.replace(CODE, secret=b"S" * 16))
    joiner.start()
    answer = impostor._send(b"answer", impostor._signed(b"answer"))
    with pytest.raises(InvitationRefused, match="does not know this invitation's secret"):
        joiner.on_answer(answer)


def test_the_joiner_refuses_an_inviter_with_the_secret_and_another_certificate() -> None:
    """Somebody who stole the code, and to whom the joiner was led."""
    joiner, _ = pair()
    thief = Inviter(dataclasses.replace(CODE, inviter_tls_hash=tls_hash(MALLORY.public.tls)), MALLORY, b"m" * 32)
    thief._code, thief._transcript = CODE, Inviter(CODE, JENA, b"m" * 32)._transcript
    with pytest.raises(InvitationRefused, match="another certificate than its code names"):
        joiner.on_answer(thief.on_start(joiner.start()))


class Borrowed:
    """Shows somebody else's keys and signs with its own."""

    def __init__(self, shown: PublicIdentity, own: Identity) -> None:
        self.public = shown
        self.sign = own.sign


def test_keys_that_are_not_held_are_refused() -> None:
    joiner, inviter = Joiner(CODE, Borrowed(WEIMAR.public, MALLORY), b"j" * 32), Inviter(CODE, JENA, b"i" * 32)
    opening = joiner.on_answer(inviter.on_start(joiner.start()))
    with pytest.raises(InvitationRefused, match="does not hold the signing key"):
        inviter.on_open(opening)
    joiner, inviter = Joiner(CODE, WEIMAR, b"j" * 32), Inviter(CODE, Borrowed(JENA.public, MALLORY), b"i" * 32)
    with pytest.raises(InvitationRefused, match="does not hold the signing key"):
        joiner.on_answer(inviter.on_start(joiner.start()))


def test_keys_that_are_refused_on_import_are_refused_here() -> None:
    small = PublicIdentity(bytes(32), WEIMAR.public.tls, WEIMAR.public.kem)
    joiner, inviter = Joiner(CODE, Borrowed(small, WEIMAR), b"j" * 32), Inviter(CODE, JENA, b"i" * 32)
    opening = joiner.on_answer(inviter.on_start(joiner.start()))
    with pytest.raises(InvitationRefused, match="small order"):
        inviter.on_open(opening)


@pytest.mark.parametrize("late", ["nonce", "keys"])
def test_a_joiner_is_bound_before_it_sees_the_inviters_nonce(late: str) -> None:
    """Somebody who knows the secret cannot search for digits once the inviter's nonce is out."""
    joiner, inviter = pair()
    answer = inviter.on_start(joiner.start())
    if late == "nonce":
        joiner._nonce = b"J" * 32
    else:
        joiner._signer = MALLORY
    opening = joiner.on_answer(answer)
    with pytest.raises(InvitationRefused, match="other keys than it was bound to"):
        inviter.on_open(opening)


def test_somebody_in_the_middle_with_a_stolen_code_makes_the_digits_differ() -> None:
    """Mallory knows the secret, and the joiner does not check the certificate (a worse case than the real one)."""
    real = Inviter(CODE, JENA, b"i" * 32)
    to_real = Joiner(CODE, MALLORY, b"m" * 32)
    deceived_code = dataclasses.replace(CODE, inviter_tls_hash=tls_hash(MALLORY.public.tls))
    deceived = Joiner(deceived_code, WEIMAR, b"j" * 32)
    to_deceived = Inviter(deceived_code, MALLORY, b"n" * 32)
    to_deceived.on_open(deceived.on_answer(to_deceived.on_start(deceived.start())))
    real.on_open(to_real.on_answer(real.on_start(to_real.start())))
    assert deceived.digits != real.digits


Message = Callable[[Joiner, Inviter], tuple[bytes, Callable[[bytes], object]]]


def first(joiner: Joiner, inviter: Inviter) -> tuple[bytes, Callable[[bytes], object]]:
    return joiner.start(), inviter.on_start


def second(joiner: Joiner, inviter: Inviter) -> tuple[bytes, Callable[[bytes], object]]:
    return inviter.on_start(joiner.start()), joiner.on_answer


def third(joiner: Joiner, inviter: Inviter) -> tuple[bytes, Callable[[bytes], object]]:
    return joiner.on_answer(inviter.on_start(joiner.start())), inviter.on_open


def last(joiner: Joiner, inviter: Inviter) -> tuple[bytes, Callable[[bytes], object]]:
    inviter.on_open(joiner.on_answer(inviter.on_start(joiner.start())))
    return inviter.welcome([b"record", b"record"]), joiner.on_welcome


@pytest.mark.parametrize("message", [first, second, third, last])
def test_every_changed_byte_of_every_message_is_refused_and_voids_the_attempt(message: Message) -> None:
    sample, _ = message(*pair())
    step = max(1, len(sample) // 60)
    for at in [*range(0, len(sample), step), len(sample) - 1]:
        honest, receive = message(*pair())
        changed = honest[:at] + bytes((honest[at] ^ 1,)) + honest[at + 1 :]
        with pytest.raises(InvitationRefused, match="secret, or the messages were changed"):
            receive(changed)
        with pytest.raises(InvitationRefused, match="begin a new one"):
            receive(honest)


@pytest.mark.parametrize("message", [first, second, third, last])
@given(data=st.binary(max_size=100))
def test_any_bytes_are_refused(message: Message, data: bytes) -> None:
    _, receive = message(*pair())
    with pytest.raises(InvitationRefused):
        receive(data)


@given(st.binary(max_size=200))
def test_any_first_bytes_name_an_invitation_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(InvitationRefused):
        assert len(invitation_of(data)) == 8


def test_a_replayed_message_is_refused() -> None:
    joiner, inviter = pair()
    start = joiner.start()
    inviter.on_start(start)
    again = Inviter(CODE, JENA, b"I" * 32)
    opening = joiner.on_answer(Inviter(CODE, JENA, b"i" * 32).on_start(start))
    again.on_start(start)
    with pytest.raises(InvitationRefused, match="changed on the way"):
        again.on_open(opening)


def test_a_message_sent_back_to_its_sender_is_refused() -> None:
    joiner, _ = pair()
    start = joiner.start()
    with pytest.raises(InvitationRefused, match="changed on the way"):
        joiner.on_answer(start)


def test_steps_out_of_order_are_the_callers_fault() -> None:
    joiner, inviter = pair()
    with pytest.raises(UsageError, match="out of order"):
        joiner.on_answer(b"")
    with pytest.raises(UsageError, match="out of order"):
        inviter.welcome([])
    with pytest.raises(UsageError, match="six digits"):
        _ = joiner.digits
    with pytest.raises(UsageError, match="not here yet"):
        _ = joiner.inviter
    joiner.start()
    with pytest.raises(UsageError, match="out of order"):
        joiner.start()


def test_a_code_belongs_to_one_certificate() -> None:
    with pytest.raises(UsageError, match="another certificate"):
        Inviter(CODE, MALLORY, b"i" * 32)


def test_a_message_of_another_version_with_a_right_mac_is_refused() -> None:
    joiner, inviter = pair()
    body = joiner.start()[:-32].replace(b"\x00\x00\x00\x01\x01", b"\x00\x00\x00\x01\x02", 1)
    message = body + inviter._mac(b"start", body)
    with pytest.raises(InvitationRefused, match="another version"):
        inviter.on_start(message)


@pytest.mark.parametrize("fields", [[], [b"\x01", CODE.invitation, b""], [b"\x01", b"short", b"", b""]])
def test_a_first_message_of_another_form_is_refused_even_with_a_right_mac(fields: list[bytes]) -> None:
    _, inviter = pair()
    body = join_fields(fields)
    message = body + inviter._mac(b"start", body)
    with pytest.raises(InvitationRefused, match="no message of joining"):
        invitation_of(message)
    with pytest.raises(InvitationRefused, match=r"no message of joining|another invitation"):
        inviter.on_start(message)


@pytest.mark.parametrize("message", [b"", b"\xff" * 40, join_fields([b"x" * 3000]) + bytes(32)])
def test_a_first_message_that_is_no_list_names_no_invitation(message: bytes) -> None:
    with pytest.raises(InvitationRefused, match="no message of joining"):
        invitation_of(message)


def test_a_nonce_has_one_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Joiner(CODE, WEIMAR, b"short")
