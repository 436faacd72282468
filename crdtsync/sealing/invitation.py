"""Joining by a one-time code: two pure state machines, bytes in and bytes out.

    joiner                                                inviter
    start    commits to its keys and a nonce   ------->   on_start
    on_answer                                  <-------   its keys and nonce, signed
             opens keys and nonce, signed      ------->   on_open
    digits   000000                                       000000    digits: both show the same six
    on_welcome                                 <-------   welcome   the membership records

Every message ends with a MAC under a key from the code's secret, checked before anything in the message is read. A MAC
covers the transcript: practice, invitation, the hash that the code holds of the inviter's certificate, and all messages
so far, the first of which names the joiner's certificate. So nothing is said to anybody who does not know the secret,
and keys that somebody swaps on the way are refused. Against a stolen code the six digits stand: they follow from the
transcript, and since the joiner is bound to its nonce before it sees the inviter's, and the inviter chooses its own
before it sees the joiner's, somebody in the middle has one try in a million.

A machine that refused a message is void: each later call refuses too. Nonces are arguments.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from crdtsync import limits
from crdtsync.errors import InvitationRefused, PeerError, UsageError
from crdtsync.sealing.code import INVITATION_BYTES, Code, format_code, parse_code, tls_hash
from crdtsync.sealing.derivation import derive
from crdtsync.sealing.fields import join_fields, split_fields
from crdtsync.sealing.identity import PublicIdentity
from crdtsync.sealing.signing import Verifier

__all__ = ["NONCE_BYTES", "Code", "Inviter", "Joiner", "format_code", "invitation_of", "parse_code", "tls_hash"]

NONCE_BYTES: Final = 32
_VERSION: Final = b"\x01"
_MAC_BYTES: Final = 32
_FIELD_BYTES_MAX: Final = 2 * 1024
_DOMAIN: Final = b"crdtsync/join/1/"
_REFUSED: Final = (
    "the other side does not know this invitation's secret, or the messages were changed on the way; "
    "compare the code, or ask for a new one"
)
_UNREADABLE: Final = "the other side sent something that is no message of joining; update both programs"


class Signer(Protocol):
    """Whoever holds the signing key: an `Identity` or a `Sealer`."""

    @property
    def public(self) -> PublicIdentity:
        """The public keys."""

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature of `message`."""


def invitation_of(start: bytes) -> bytes:
    """The invitation (8 bytes) that a joiner's first message names, so that the inviter finds the code.

    Nothing is proved by it yet. Raises InvitationRefused for what is no such message.
    """
    invitation = _exactly(4, start[:-_MAC_BYTES])[1]
    if len(invitation) != INVITATION_BYTES:
        raise InvitationRefused(_UNREADABLE)
    return invitation


class _Side:
    """What both sides share: the transcript, the MACs over it, and the step that is due."""

    def __init__(self, code: Code, signer: Signer, nonce: bytes) -> None:
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce of a join has {NONCE_BYTES} bytes")
        self._code = code
        self._signer = signer
        self._nonce = nonce
        self._digits: str | None = None
        self._due = "start"
        first = join_fields([code.practice, code.invitation, code.inviter_tls_hash])
        self._transcript = hashlib.sha256(_DOMAIN + b"transcript" + first).digest()

    @property
    def digits(self) -> str:
        """Six digits, equal on both sides unless somebody is in the middle. Raises UsageError before they exist."""
        if self._digits is None:
            raise UsageError("the six digits follow from both sides' keys, which are not all here yet")
        return self._digits

    @contextmanager
    def _step(self, step: str, following: str) -> Iterator[None]:
        """Do `step` if it is due; should anything in it be refused, the machine stays void."""
        if self._due == "void":
            raise InvitationRefused("this attempt to join has failed; begin a new one")
        if self._due != step:
            raise UsageError(f"a step of joining out of order: {step} where {self._due} is due")
        self._due = "void"
        yield
        self._due = following

    def _send(self, label: bytes, body: bytes) -> bytes:
        message = body + self._mac(label, body)
        self._extend(message)
        return message

    def _receive(self, label: bytes, message: bytes) -> bytes:
        body, mac = message[:-_MAC_BYTES], message[-_MAC_BYTES:]
        if not hmac.compare_digest(self._mac(label, body), mac):
            raise InvitationRefused(_REFUSED)
        self._extend(message)
        return body

    def _extend(self, message: bytes) -> None:
        self._transcript = hashlib.sha256(self._transcript + message).digest()

    def _mac(self, label: bytes, body: bytes) -> bytes:
        key = derive(self._code.secret, self._code.practice + self._code.invitation, _DOMAIN + label)
        return hmac.digest(key, self._transcript + body, "sha256")

    def _signed(self, label: bytes) -> bytes:
        """Our keys and nonce, and a signature over them and the transcript so far."""
        fields = [*self._signer.public.to_items(), self._nonce]
        return join_fields([*fields, self._signer.sign(_to_sign(label, self._transcript, fields))])

    def _receive_signed(self, label: bytes, message: bytes) -> tuple[PublicIdentity, bytes]:
        """The other side's keys and nonce from its `_signed` body, once its signature is verified."""
        transcript = self._transcript
        *keys, nonce, signature = _exactly(5, self._receive(label, message))
        try:
            public = PublicIdentity.from_items(keys)
        except PeerError as error:
            raise InvitationRefused(f"the other side shows keys that are refused: {error}") from None
        signed = _to_sign(label, transcript, [*keys, nonce])
        if len(nonce) != NONCE_BYTES or not Verifier().verify(public.sig, signed, signature):
            raise InvitationRefused("the other side does not hold the signing key that it shows")
        return public, nonce

    def _settle_digits(self) -> None:
        digest = hashlib.sha256(_DOMAIN + b"digits" + self._transcript).digest()
        self._digits = f"{int.from_bytes(digest[:8], 'big') % 1_000_000:06}"


class Joiner(_Side):
    """The side that was given a code. `start`, `on_answer`, show `digits`, `on_welcome`; each once.

    InvitationRefused from any step means that the attempt is over.
    """

    _inviter: PublicIdentity | None = None

    def start(self) -> bytes:
        """The first message: a commitment to our keys and nonce."""
        with self._step("start", "on_answer"):
            public = self._signer.public
            bound = [_certificate_hash(public), _commitment(public, self._nonce)]
            return self._send(b"start", join_fields([_VERSION, self._code.invitation, *bound]))

    def on_answer(self, message: bytes) -> bytes:
        """The third message, which opens the commitment; `digits` and `inviter` exist from now on.

        Raises InvitationRefused when the inviter does not know the secret, does not hold its signing key, or shows
        another certificate than the code names.
        """
        with self._step("on_answer", "on_welcome"):
            public, _ = self._receive_signed(b"answer", message)
            if tls_hash(public.tls) != self._code.inviter_tls_hash:
                raise InvitationRefused("the inviting site shows another certificate than its code names")
            self._inviter = public
            opening = self._send(b"open", self._signed(b"open"))
            self._settle_digits()
            return opening

    @property
    def inviter(self) -> PublicIdentity:
        """The inviting site's keys; the caller compares them with the membership records. Raises UsageError before."""
        if self._inviter is None:
            raise UsageError("the inviting site's keys are not here yet")
        return self._inviter

    def on_welcome(self, message: bytes) -> list[bytes]:
        """The membership records of the practice, in the inviter's order. Raises InvitationRefused."""
        with self._step("on_welcome", "nothing"):
            return _fields(
                self._receive(b"welcome", message),
                fields_max=limits.membership_records_max,
                field_bytes_max=limits.membership_record_bytes_max,
            )


class Inviter(_Side):
    """The side that made the code. `on_start`, `on_open`, compare `digits`, `welcome`; each once.

    InvitationRefused from any step means that the attempt is over; the caller counts it as a failure of the code.
    """

    def __init__(self, code: Code, signer: Signer, nonce: bytes) -> None:
        super().__init__(code, signer, nonce)
        if tls_hash(signer.public.tls) != code.inviter_tls_hash:
            raise UsageError("this code was made with another certificate; make a new one")
        self._bound: list[bytes] = []

    def on_start(self, message: bytes) -> bytes:
        """The second message: our keys and nonce. Raises InvitationRefused when the joiner does not know the secret."""
        with self._step("start", "on_open"):
            version, invitation, *self._bound = _exactly(4, self._receive(b"start", message))
            if version != _VERSION or invitation != self._code.invitation:
                raise InvitationRefused("the joining side means another invitation, or another version; update both")
            return self._send(b"answer", self._signed(b"answer"))

    def on_open(self, message: bytes) -> PublicIdentity:
        """The joiner's keys, proved; `digits` exists from now on.

        Raises InvitationRefused when they are not those that the joiner was bound to, or are refused.
        """
        with self._step("on_open", "welcome"):
            public, nonce = self._receive_signed(b"open", message)
            if self._bound != [_certificate_hash(public), _commitment(public, nonce)]:
                raise InvitationRefused("the joining side shows other keys than it was bound to")
            self._settle_digits()
            return public

    def welcome(self, records: Sequence[bytes]) -> bytes:
        """The last message: the membership records, the joiner's own admission among them."""
        with self._step("welcome", "nothing"):
            return self._send(b"welcome", join_fields(records))


def _exactly(count: int, body: bytes) -> list[bytes]:
    fields = _fields(body, fields_max=count, field_bytes_max=_FIELD_BYTES_MAX)
    if len(fields) != count:
        raise InvitationRefused(_UNREADABLE)
    return fields


def _fields(body: bytes, *, fields_max: int, field_bytes_max: int) -> list[bytes]:
    try:
        return split_fields(body, fields_max=fields_max, field_bytes_max=field_bytes_max, what="join message")
    except PeerError:
        raise InvitationRefused(_UNREADABLE) from None


def _certificate_hash(public: PublicIdentity) -> bytes:
    return hashlib.sha256(public.tls).digest()


def _commitment(public: PublicIdentity, nonce: bytes) -> bytes:
    return hashlib.sha256(_DOMAIN + b"commitment" + join_fields([*public.to_items(), nonce])).digest()


def _to_sign(label: bytes, transcript: bytes, fields: Sequence[bytes]) -> bytes:
    return _DOMAIN + b"signature/" + label + transcript + join_fields(fields)
