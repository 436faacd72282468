"""TLS 1.3 contexts, built by hand.

Never `ssl.create_default_context`: it writes secrets to the file that SSLKEYLOGFILE names and trusts the system's
authorities. Here the members' certificates are the whole trust store, each an end in itself (PARTIAL_CHAIN), and
nothing is resumed (no tickets), so that whoever was removed has no back door. Trust cannot be withdrawn from a
context; a change of members builds new ones.
"""

from __future__ import annotations

import os
import secrets
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from crdtsync.errors import BadValue, EnvironmentFailure
from crdtsync.sealing.pem import encrypt_private_pem

ALPN = "crdtsync/1"
"""The protocol between members; the only one that is offered and accepted."""
ALPN_JOIN = "crdtsync-join/1"
"""The protocol of those who want to join."""


class Contexts(NamedTuple):
    """A context for each side of a connection between members."""

    server: ssl.SSLContext
    client: ssl.SSLContext


class Credentials:
    """This replica's certificate and private key, ready to be loaded into contexts.

    The ssl module takes a private key only from a file. So that the key itself never reaches a disk, the file holds it
    encrypted under 32 random bytes that only this process knows; it is readable by its owner alone and removed at
    once. A memory file would do on Linux only, a named pipe not on Windows.
    """

    def __init__(self, certificate_pem: bytes, private_key_pem: bytes) -> None:
        """Raises BadValue when these are no certificate and unencrypted private key in PEM."""
        self._password = secrets.token_hex(32)
        self._pem = encrypt_private_pem(private_key_pem, self._password.encode()) + certificate_pem
        try:
            self.certificate = ssl.PEM_cert_to_DER_cert(certificate_pem.decode("ascii").strip())
        except ValueError:
            raise BadValue("the certificate for connections is no certificate in PEM") from None

    def load_into(self, context: ssl.SSLContext) -> None:
        """Show this certificate on connections of `context`.

        Raises EnvironmentFailure when the temporary folder cannot be written, BadValue when key and certificate do
        not belong together.
        """
        try:
            self._load_by_file(context)
        except ssl.SSLError:
            raise BadValue("the certificate and the private key for connections do not belong together") from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise EnvironmentFailure(f"the temporary folder takes no file ({reason}): make room there") from None

    def _load_by_file(self, context: ssl.SSLContext) -> None:
        descriptor, name = tempfile.mkstemp(prefix="crdtsync-", suffix=".pem")
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._pem)
            context.load_cert_chain(path, password=self._password)
        finally:
            path.unlink(missing_ok=True)


def member_contexts(credentials: Credentials, trusted: Iterable[bytes]) -> Contexts:
    """Contexts for connections between members: both sides show a certificate, and only `trusted` ones (DER) pass.

    The own certificate passes where this side dials, so that somebody who reaches himself is told so. Raises BadValue
    when one of `trusted` is no certificate.
    """
    store = b"".join(trusted)
    server = _bare(ssl.PROTOCOL_TLS_SERVER, ALPN)
    client = _bare(ssl.PROTOCOL_TLS_CLIENT, ALPN)
    for context in (server, client):
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        credentials.load_into(context)
        try:
            if store:
                context.load_verify_locations(cadata=store)
        except ssl.SSLError:
            raise BadValue("a member's certificate is no certificate in DER") from None
    client.load_verify_locations(cadata=credentials.certificate)
    return Contexts(server, client)


def join_server_context(credentials: Credentials) -> ssl.SSLContext:
    """For the side that invites: it shows its certificate and asks for none."""
    context = _bare(ssl.PROTOCOL_TLS_SERVER, ALPN_JOIN)
    credentials.load_into(context)
    return context


def join_client_context() -> ssl.SSLContext:
    """For the side that joins. It verifies nothing by itself: compare the certificate's hash after the handshake."""
    context = _bare(ssl.PROTOCOL_TLS_CLIENT, ALPN_JOIN)
    context.verify_mode = ssl.CERT_NONE
    return context


def _bare(protocol: int, alpn: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([alpn])
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    return context
