"""Founding a practice, inviting to it, joining it."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from crdtsync import folder, limits, members
from crdtsync.errors import (
    BadValue,
    CrdtSyncError,
    DamagedFile,
    InvitationRefused,
    PeerError,
    RefusedError,
    Unreachable,
)
from crdtsync.history.since import FROM_THE_BEGINNING, META_SINCE
from crdtsync.ids import PracticeId
from crdtsync.joining import Invitation
from crdtsync.joining import join as converse
from crdtsync.opened import Opened
from crdtsync.replication.codec import pack, unpack
from crdtsync.replication.membership import Membership
from crdtsync.replication.state import Verify
from crdtsync.sealing.invitation import Code, format_code, parse_code, tls_hash
from crdtsync.sealing.keyring import Keyring
from crdtsync.sealing.recovery import recovery_identity, sheet_text
from crdtsync.sealing.signing import Verifier
from crdtsync.sealing.suite1 import Suite1
from crdtsync.storage.continuity import boot_session
from crdtsync.storage.sqlite import SqliteStore
from crdtsync.transport.address import parse_address
from crdtsync.transport.tls import TlsTransport

META_HINTS = "hints"
META_LISTEN = "listen"
META_INVITATIONS = "invitations"


def kdf_fast() -> bool:
    """Whether new key files are to be cheap to open: for tests."""
    return os.environ.get("CRDTSYNC_KDF") == "fast"


def verifier() -> Verify:
    """Checks Ed25519 signatures, keys of small order refused."""
    return Verifier().verify


def check_name(what: str, name: str) -> str:
    """`name` without surrounding space. Raises BadValue."""
    name = name.strip()
    if not name or len(name) > limits.name_characters_max or not name.isprintable():
        raise BadValue(f"the name of a {what} has 1 to {limits.name_characters_max} printable characters")
    return name


def found(path: Path, practice: str, name: str, passphrase: str) -> str:
    """Make the folder of a practice's first site; the text of its recovery sheet. Blocking."""
    practice, name = check_name("practice", practice), check_name("site", name)
    folder.check_free(path)
    keys = folder.new_keys()
    sealer = Suite1(keys.identity(), secrets.token_bytes)
    secret = secrets.token_bytes(32)
    record = members.founding(
        sealer, Keyring(sealer), practice=practice, name=name, recovery=recovery_identity(secret).public
    )
    membership = Membership(verifier())
    membership.add(record)
    folder.make(path, keys, passphrase, membership.records(), {META_SINCE: FROM_THE_BEGINNING}, fast=kdf_fast())
    return sheet_text(practice, secret, time.strftime("%Y-%m-%d"))


def stored_membership(unlocked: folder.Unlocked) -> Membership:
    """The membership in a folder, every record verified. Blocking. Raises DamagedFile where there is none."""
    store = SqliteStore(unlocked.path, unlocked.view_key, create=False, lock=unlocked.lock)
    try:
        records = store.members()
    finally:
        store.close()
    file = unlocked.path / "log.db"
    if not records:
        raise DamagedFile(f"{file} holds no membership; restore the folder from a backup")
    membership = Membership(verifier())
    try:
        for record in records:
            membership.add(record)
    except PeerError as error:
        raise DamagedFile(f"the membership in {file} does not verify ({error}); restore it from a backup") from error
    if unlocked.identity.public.replica not in membership.state().members:
        raise DamagedFile(f"{file} is that of another replica; put back the one that belongs to this folder's key")
    return membership


# -- inviting --------------------------------------------------------------------------------------------------------


async def invite(site: Opened, name: str, *, role: str, admin: bool, trust_code: bool, address: str | None) -> str:
    """Make a code and remember it, also over a restart."""
    name = check_name(role, name)
    if role != "site":
        raise RefusedError(f"this version invites sites only; the role {role} comes with a later one")
    state = site.driver.replica.membership.state()
    member = site.member()
    if member is None or not member.administers:
        raise RefusedError(f"{site.name} is no admin of the practice; invite at a site that is one")
    if any(m.name == name and m.active for m in state.members.values()):
        raise RefusedError(f"the practice has a site named {name} already; choose another name")
    addresses = await _addresses(site, address)
    code = Code(
        site.driver.replica.membership.practice,
        secrets.token_bytes(8),
        secrets.token_bytes(16),
        tls_hash(site.identity.public.tls),
        addresses,
    )
    expires = time.monotonic() + limits.invitation_seconds
    invitation = Invitation(code, name, role, admin, trust_code, expires, boot_session() or "")
    await remember(site, [*site.invitations, invitation])
    return format_code(code)


async def _addresses(site: Opened, address: str | None) -> tuple[str, ...]:
    """Where a newcomer finds this site."""
    if address is not None:
        parse_address(address)
        return (address,)
    if site.reachable is not None:
        if not site.reachable:
            raise RefusedError(
                "this site listens on all addresses, so nobody knows which one to use: name it with --address, "
                "or serve with --advertise"
            )
        return site.reachable
    listen = await site.driver.thread.run(lambda host: host.store.meta(META_LISTEN))
    if listen is None:
        raise RefusedError(
            "nobody would find this site: start `serve` first, or name its future address with --address"
        )
    return (listen.decode(),)


async def invitations(site: Opened) -> list[Invitation]:
    """Invitations that are open. A machine that was restarted has no clock to judge old ones by: they are void."""
    data = await site.driver.thread.run(lambda host: host.store.meta(META_INVITATIONS))
    if data is None:
        return []
    try:
        found = [Invitation.from_bytes(item) for item in unpack(data, bytes_max=4 * 1024 * 1024, what="invitations")]
    except (PeerError, TypeError, ValueError):  # not what was written: who was invited asks for a new code
        return []
    session, now = boot_session() or "", time.monotonic()
    return [i for i in found if i.session == session and i.expires > now]


async def remember(site: Opened, open_ones: list[Invitation]) -> None:
    """Keep the open invitations, also over a restart; the oldest go when there are too many."""
    site.invitations = open_ones[-limits.invitations_open_max :]
    data = pack([invitation.to_bytes() for invitation in site.invitations])
    await site.driver.thread.run(lambda host: host.store.set_meta({META_INVITATIONS: data}))


# -- joining ---------------------------------------------------------------------------------------------------------


async def join(path: Path, text: str, passphrase: str, on_digits: Callable[[str], None], address: str | None) -> None:
    """Make the folder of a new site of the practice that the code invites to."""
    code = parse_code(text)
    folder.check_free(path)
    keys = folder.new_keys()
    identity = keys.identity()
    transport = TlsTransport(identity.tls_certificate_pem, identity.tls_private_pem)
    problems = []
    for place in (address,) if address is not None else code.addresses:
        try:
            stream = await transport.dial_join(place, code.inviter_tls_hash)
        except Unreachable as error:
            problems.append(str(error))
            continue
        try:
            records, inviter = await converse(stream, code, identity, on_digits)
            membership = _checked(code.practice, records)
            state = membership.state()
            if state.active(inviter.replica) is None or state.active(identity.public.replica) is None:
                raise InvitationRefused("what the inviting site sent does not make us a member; ask for a new code")
            meta = {META_HINTS: pack([place])}
            await anyio.to_thread.run_sync(
                partial(folder.make, path, keys, passphrase, membership.records(), meta, fast=kdf_fast())
            )
        finally:
            with anyio.CancelScope(shield=True):  # what was made is the caller's: no cancellation in between
                await stream.aclose()
        return
    raise Unreachable(
        "; ".join(problems) or "the code names no address; ask the inviting site for one and give it with --address"
    )


def _checked(practice: PracticeId, records: list[bytes]) -> Membership:
    """The membership that was sent, every record verified from the founding on."""
    membership = Membership(verifier(), practice)
    try:
        for record in records:
            membership.add(record)
    except CrdtSyncError as error:
        raise InvitationRefused(f"the membership that was sent does not verify: {error}") from error
    return membership


def hint_addresses(data: bytes | None) -> list[str]:
    """Where a site was invited from: kept, since its address need not be published."""
    try:
        return [] if data is None else [str(item) for item in unpack(data, bytes_max=64 * 1024, what="hints")]
    except PeerError:  # not what was written: the members' published addresses remain
        return []
