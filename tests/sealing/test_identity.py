from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import CertificateBuilder, Name, NameAttribute
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.errors import BadValue, Malformed
from crdtsync.ids import ReplicaId, base32, replica_id_of
from crdtsync.sealing.certificate import certificate_of, check_certificate
from crdtsync.sealing.hybrid import KEM_BYTES
from crdtsync.sealing.identity import Identity, PublicIdentity, replica_from_text, replica_text
from crdtsync.sealing.signing import SMALL_ORDER

from .identities import identity_of


def test_equal_seeds_give_equal_keys_and_certificates() -> None:
    one, same = identity_of("jena"), identity_of("jena")
    assert one.public == same.public
    assert one.tls_certificate_pem == same.tls_certificate_pem
    assert len(one.public.sig) == 32
    assert len(one.public.kem) == KEM_BYTES


def test_the_certificate_is_the_one_of_format_version_1() -> None:
    """Other bytes here mean that replicas would no longer make the certificate that their practice knows."""
    digest = hashlib.sha256(Identity(bytes(32), bytes(range(32)), bytes(96)).public.tls).hexdigest()
    assert digest == "ef7f938713beefda74c6917fd24dc630e070e2c8ca8f957b43c254996caf4110"


def test_the_certificate_names_the_replica_and_never_ends() -> None:
    one = identity_of("jena")
    certificate = one.certificate
    assert certificate.subject == certificate.issuer
    assert certificate.subject.rfc4514_string() == "CN=" + base32(one.public.replica)
    assert certificate.not_valid_before_utc == datetime(1970, 1, 1, tzinfo=UTC)
    assert certificate.not_valid_after_utc.year == 9999


def test_secrets_do_not_show() -> None:
    one = identity_of("jena")
    assert repr(one) == f"Identity({base32(one.public.replica)})"


@pytest.mark.parametrize("lengths", [(31, 32, 96), (32, 33, 96), (32, 32, 64)])
def test_seeds_of_other_lengths_are_refused(lengths: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="bytes"):
        Identity(*(bytes(length) for length in lengths))


def test_items_give_the_identity_back() -> None:
    public = identity_of("jena").public
    assert PublicIdentity.from_items(public.to_items()) == public
    assert PublicIdentity.from_items([*public.to_items(), "something later"]) == public
    assert public.replica == replica_id_of(public.sig)


@pytest.mark.parametrize("items", [[], [b"", b""], ["a", b"", b""], [b"", None, b""], [b"", b"", b""]])
def test_items_of_another_form_are_refused(items: list[object]) -> None:
    with pytest.raises(Malformed):
        PublicIdentity.from_items(items)


@pytest.mark.parametrize("sig", sorted(SMALL_ORDER), ids=lambda sig: sig[::31].hex())
def test_signing_and_tls_keys_of_small_order_are_refused(sig: bytes) -> None:
    one = identity_of("jena")
    with pytest.raises(Malformed, match="small order"):
        PublicIdentity.from_items([sig, one.public.tls, one.public.kem])


def test_a_tls_key_of_small_order_with_a_forged_certificate_is_refused() -> None:
    """The neutral point as key: R the neutral point and s = 0 sign anything."""
    one = identity_of("jena")
    honest = one.certificate.public_key()
    assert isinstance(honest, Ed25519PublicKey)
    neutral = (1).to_bytes(32, "little")
    forged = one.public.tls.replace(honest.public_bytes_raw(), neutral)[:-64] + neutral + bytes(32)
    with pytest.raises(Malformed, match="small order"):
        PublicIdentity.from_items([one.public.sig, forged, one.public.kem])


def test_a_certificate_of_another_replica_is_refused() -> None:
    one, other = identity_of("jena").public, identity_of("gera").public
    with pytest.raises(Malformed, match="another replica"):
        PublicIdentity.from_items([one.sig, other.tls, one.kem])


def test_a_certificate_in_our_form_that_another_key_signed_is_refused() -> None:
    one = identity_of("jena").public
    forged = one.tls[:-64] + Ed25519PrivateKey.from_private_bytes(bytes(32)).sign(b"anything")
    with pytest.raises(Malformed, match="its own key did not sign"):
        PublicIdentity.from_items([one.sig, forged, one.kem])


def test_a_certificate_with_a_key_of_another_kind_is_refused() -> None:
    one = identity_of("jena").public
    key = ec.generate_private_key(ec.SECP256R1())
    name = Name([NameAttribute(NameOID.COMMON_NAME, base32(one.replica))])
    dates = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    bare = CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = bare.not_valid_before(dates[0]).not_valid_after(dates[1]).sign(key, SHA256())
    with pytest.raises(Malformed, match="not Ed25519"):
        PublicIdentity.from_items([one.sig, made.public_bytes(Encoding.DER), one.kem])


def test_a_certificate_of_another_form_is_refused() -> None:
    one = identity_of("jena").public
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    name = Name([NameAttribute(NameOID.COMMON_NAME, base32(one.replica))])
    dates = datetime(2024, 1, 1, tzinfo=UTC), datetime(2034, 1, 1, tzinfo=UTC)
    bare = CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = bare.not_valid_before(dates[0]).not_valid_after(dates[1]).sign(key, None)
    with pytest.raises(Malformed, match="another form"):
        PublicIdentity.from_items([one.sig, made.public_bytes(Encoding.DER), one.kem])


def test_a_new_tls_key_for_the_same_replica_is_accepted() -> None:
    one = identity_of("jena").public
    renewed = certificate_of(Ed25519PrivateKey.from_private_bytes(b"\x09" * 32), one.replica)
    assert PublicIdentity.from_items([one.sig, renewed.public_bytes(Encoding.DER), one.kem]).replica == one.replica


def test_every_changed_byte_of_a_certificate_is_refused() -> None:
    one = identity_of("jena").public
    for at in range(len(one.tls)):
        for bit in (0x01, 0x20, 0x80):
            changed = one.tls[:at] + bytes((one.tls[at] ^ bit,)) + one.tls[at + 1 :]
            with pytest.raises(Malformed, match=r"certificate|signing key"):
                PublicIdentity.from_items([one.sig, changed, one.kem])
    for other in (b"", one.tls[:-1], one.tls + b"\x00", bytes(5000)):
        with pytest.raises(Malformed):
            PublicIdentity.from_items([one.sig, other, one.kem])


@pytest.mark.parametrize("point", [bytes(32), (1).to_bytes(32, "little"), (2**255 - 20).to_bytes(32, "little")])
def test_a_key_that_nothing_can_be_sealed_to_is_refused(point: bytes) -> None:
    one = identity_of("jena").public
    for kem in (one.kem[:-32] + point, b"\xff" * 1184 + one.kem[-32:], one.kem[:-1], one.kem + b"\x00", b""):
        with pytest.raises(Malformed, match="for sealing"):
            PublicIdentity.from_items([one.sig, one.tls, kem])


@given(st.lists(st.one_of(st.binary(max_size=64), st.none(), st.integers(), st.text()), max_size=4))
def test_any_items_are_refused_in_order(items: list[object]) -> None:
    with pytest.raises(Malformed):
        PublicIdentity.from_items(items)


def context(protocol: int, own: Identity, trusted: PublicIdentity, folder: str) -> ssl.SSLContext:
    made = ssl.SSLContext(protocol)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    made.load_verify_locations(cadata=trusted.tls)
    path = f"{folder}/{base32(own.public.replica)}.pem"
    with open(path, "wb") as file:
        file.write(own.tls_private_pem + own.tls_certificate_pem)
    made.load_cert_chain(path)
    return made


def handshake(client: ssl.SSLObject, server: ssl.SSLObject, wires: tuple[ssl.MemoryBIO, ...]) -> None:
    """Let both ends speak until both are done. Raises what either raises."""
    to_client, from_client, to_server, from_server = wires
    pending = {client, server}
    for _ in range(10):
        for side in list(pending):
            try:
                side.do_handshake()
                pending.discard(side)
            except ssl.SSLWantReadError:
                pass
            to_server.write(from_client.read())
            to_client.write(from_server.read())
        if not pending:
            return
    raise AssertionError("the handshake does not end")


def connected(client: Identity, server: Identity, trusted: PublicIdentity, folder: str) -> tuple[bytes, bytes]:
    wires = tuple(ssl.MemoryBIO() for _ in range(4))
    client_context = context(ssl.PROTOCOL_TLS_CLIENT, client, server.public, folder)
    server_context = context(ssl.PROTOCOL_TLS_SERVER, server, trusted, folder)
    dialling = client_context.wrap_bio(wires[0], wires[1], server_side=False)
    listening = server_context.wrap_bio(wires[2], wires[3], server_side=True)
    handshake(dialling, listening, wires)
    seen = dialling.getpeercert(binary_form=True), listening.getpeercert(binary_form=True)
    assert seen[0] and seen[1]
    return seen[0], seen[1]


def test_certificates_carry_a_mutual_tls_connection(tmp_path: object) -> None:
    one, other = identity_of("jena"), identity_of("weimar")
    assert connected(one, other, one.public, str(tmp_path)) == (other.public.tls, one.public.tls)


def test_a_certificate_that_is_not_trusted_ends_the_handshake(tmp_path: object) -> None:
    one, other, third = identity_of("jena"), identity_of("weimar"), identity_of("gera")
    with pytest.raises(ssl.SSLCertVerificationError):
        connected(third, other, one.public, str(tmp_path))


# --- the id for people ---------------------------------------------------------------------------------------------


@given(st.binary(min_size=16, max_size=16))
def test_a_replica_reads_back(raw: bytes) -> None:
    replica = ReplicaId(raw)
    text = replica_text(replica)
    assert [len(group) for group in text.split("-")] == [5] * 6
    assert replica_from_text(text) == replica
    assert replica_from_text(" " + text.upper().replace("-", " ").replace("O", "0").replace("L", "1")) == replica


def test_every_mistyped_character_of_a_replica_is_noticed() -> None:
    text = replica_text(identity_of("jena").public.replica)
    for at, character in enumerate(text):
        wrong = "a" if character != "a" else "b"
        if character != "-":
            with pytest.raises(BadValue, match="replica id"):
                replica_from_text(text[:at] + wrong + text[at + 1 :])
    for other in ("", text[:-1], text + "a", "%" + text, "ä" * 30):
        with pytest.raises(BadValue, match="replica id"):
            replica_from_text(other)


def test_a_certificate_beyond_its_size_is_refused_unread() -> None:
    with pytest.raises(Malformed, match="where at most 2048 are allowed"):
        check_certificate(bytes(limits.certificate_bytes_max + 1), ReplicaId(bytes(16)))
