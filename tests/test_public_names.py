"""The public face, as a snapshot: every change of it is seen in review."""

from __future__ import annotations

import subprocess
import sys

import crdtsync
from crdtsync import errors

PUBLIC = [
    "AddressInUse", "AlreadyOpen", "AuthorityUnreachable", "BadSignature", "BadValue", "Braked", "CrdtSyncError",
    "DamagedFile", "EnvironmentFailure", "InvitationRefused", "Malformed", "NotAMember", "NotFound", "PeerError",
    "Poisoned", "RefusedError", "RottenCommit", "RowsBehind", "SealBroken", "Site", "StorageFailure", "TooLarge",
    "Undecided", "UnknownField", "UnknownKind", "Unreachable", "UsageError", "WrongPassphrase",
]  # fmt: skip


def test_the_public_names_are_these_and_sorted() -> None:
    assert crdtsync.__all__ == PUBLIC
    assert sorted(PUBLIC) == PUBLIC
    assert dir(crdtsync) == PUBLIC


def test_every_public_name_is_there() -> None:
    for name in crdtsync.__all__:
        assert getattr(crdtsync, name).__name__ == name


def test_every_error_is_public() -> None:
    raised = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert raised == set(PUBLIC) - {"Site"}
    assert all(issubclass(getattr(errors, name), errors.CrdtSyncError) for name in raised)


def test_the_package_is_light_until_a_site_is_wanted() -> None:
    """Scripts that only ask a serving process pay for no database and no cryptography."""
    heavy = "import crdtsync, sys; print(*({'pycrdt', 'sqlcipher3', 'cryptography', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
