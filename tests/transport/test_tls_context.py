"""Contexts: what SECURITY asks of them, and a private key that never lies readable on a disk."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from crdtsync.errors import BadValue, EnvironmentFailure
from crdtsync.transport import tls_context
from crdtsync.transport.tls_context import Credentials, join_client_context, join_server_context, member_contexts
from tests.transport.certificates import papers, papers_of


def credentials() -> Credentials:
    return Credentials(papers_of("ada").pem, papers_of("ada").key_pem)


def test_members_meet_under_tls_1_3_with_certificates_and_nothing_else() -> None:
    contexts = member_contexts(credentials(), [papers_of("ben").der])
    for context in contexts:
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.verify_flags & ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        assert not context.check_hostname
        assert context.keylog_filename is None
    assert contexts.server.num_tickets == 0
    assert contexts.server.cert_store_stats()["x509"] == 1


def test_nothing_is_written_for_whoever_sets_sslkeylogfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "secrets"))
    for context in member_contexts(credentials(), []):
        assert context.keylog_filename is None
    assert not (tmp_path / "secrets").exists()


def test_joining_asks_for_no_certificate_and_shows_one() -> None:
    server, client = join_server_context(credentials()), join_client_context()
    assert server.verify_mode is ssl.CERT_NONE and server.num_tickets == 0
    assert client.verify_mode is ssl.CERT_NONE
    assert client.minimum_version is server.minimum_version is ssl.TLSVersion.TLSv1_3


def test_the_private_key_reaches_the_disk_only_encrypted_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[tuple[int, bytes]] = []
    unlink = Path.unlink

    def look_then_unlink(path: Path, missing_ok: bool = False) -> None:
        seen.append((path.stat().st_mode & 0o777, path.read_bytes()))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", look_then_unlink)
    own = papers("gus")
    member_contexts(Credentials(own.pem, own.key_pem), [])
    assert len(seen) == 2
    raw = own.key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    for mode, data in seen:
        assert mode == 0o600
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in data and b"BEGIN PRIVATE KEY" not in data
        assert all(raw not in ssl.PEM_cert_to_DER_cert(as_certificate(block)) for block in blocks(data))
    assert list(tmp_path.iterdir()) == []


def blocks(pem: bytes) -> list[str]:
    """The base64 of each PEM block."""
    text = pem.decode().replace("-----END", "\x00").split("-----BEGIN")
    return [block.split("-----\n", 1)[1].split("\x00")[0] for block in text if "\x00" in block]


def as_certificate(base64: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64}-----END CERTIFICATE-----\n"


def test_a_temporary_folder_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(EnvironmentFailure, match="temporary folder"):
        member_contexts(credentials(), [])


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        (b"no certificate", papers_of("ada").key_pem, "no certificate in PEM"),
        (papers_of("ada").pem, b"no key", "no unencrypted private key"),
    ],
)
def test_what_is_no_pem(certificate: bytes, key: bytes, words: str) -> None:
    with pytest.raises(BadValue, match=words):
        Credentials(certificate, key)


def test_a_key_of_somebody_else() -> None:
    stolen = Credentials(papers_of("ada").pem, papers_of("ben").key_pem)
    with pytest.raises(BadValue, match="do not belong together"):
        member_contexts(stolen, [])


def test_a_member_without_a_certificate() -> None:
    with pytest.raises(BadValue, match="a member's certificate"):
        member_contexts(credentials(), [b"rubbish"])


def test_protocol_names_are_versions() -> None:
    assert (tls_context.ALPN, tls_context.ALPN_JOIN) == ("crdtsync/1", "crdtsync-join/1")
