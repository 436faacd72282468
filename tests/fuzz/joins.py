"""Joining: a conversation in which one side says anything, under MACs that are right, since it may know the secret."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from crdtsync.errors import InvitationRefused, PeerError
from crdtsync.joining import Invitation
from crdtsync.sealing.fields import join_fields, split_fields
from crdtsync.sealing.invitation import Inviter, Joiner, invitation_of
from tests.fuzz.dice import Dice, patched
from tests.fuzz.papers import code, identity
from tests.fuzz.registry import target


def _changed(dice: Dice, body: bytes) -> bytes:
    """A message's body with its bytes, or its fields, changed."""
    how = dice.below(4)
    if how == 0:
        return body
    if how == 1:
        return patched(dice, body)
    if how == 2:
        return dice.piece()
    fields = split_fields(body, fields_max=100, field_bytes_max=2**20, what="a body of ours")
    at = dice.below(len(fields))
    fields[at] = patched(dice, fields[at]) if dice.below(3) else dice.piece()
    return join_fields(fields)


def _starts() -> Iterable[bytes]:
    for start in ((1, 0), (0, 1), (0, 2), (0, 3)):
        yield bytes([*start, *range(start[0], 60)])


@target("join", _starts, bytes_max=512)
def join(data: bytes) -> None:
    """Both machines take a changed message as a refusal, and are void afterwards, or as a message."""
    dice = Dice(data)
    inviter, joiner = Inviter(code(), identity(1), b"i" * 32), Joiner(code(), identity(4), b"j" * 32)
    records = [b"record", dice.piece()]
    steps = (
        (b"start", joiner, lambda _: joiner.start(), inviter, inviter.on_start),
        (b"answer", inviter, None, joiner, joiner.on_answer),
        (b"open", joiner, None, inviter, inviter.on_open),
        (b"welcome", inviter, lambda _: inviter.welcome(records), joiner, joiner.on_welcome),
    )
    message = b""
    for label, _, make, receiver, receive in steps:
        if make is not None:
            message = make(None)
        body = _changed(dice, message[:-32])
        sent = body + receiver._mac(label, body) if dice.below(8) else patched(dice, message)
        with suppress(InvitationRefused):
            invitation_of(sent)
        try:
            answer = receive(sent)
        except InvitationRefused:
            _void(receiver, receive)
            return
        if sent != message and label != b"welcome":
            return  # taken, because the change meant nothing; the other side would see another transcript
        message = answer if isinstance(answer, bytes) else message


def _void(side: Inviter | Joiner, receive: object) -> None:
    try:
        receive(b"")  # type: ignore[operator]  # one of the four steps
    except InvitationRefused:
        return
    raise AssertionError(f"{type(side).__name__} goes on after it refused a message")


def _invitations() -> Iterable[bytes]:
    yield Invitation(code(), "Weimar", "site", True, False, 3_600.0, "session").to_bytes()


@target("invitation", _invitations)
def invitation(data: bytes) -> None:
    """An invitation that was kept is read as it was written, or refused."""
    with suppress(PeerError):
        found = Invitation.from_bytes(data)
        again = Invitation.from_bytes(found.to_bytes())
        assert abs(again.expires - found.expires) < 0.01  # kept in milliseconds
        assert replace(again, expires=found.expires) == found
