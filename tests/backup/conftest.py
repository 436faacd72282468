"""A practice to be backed up, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from crdtsync import Site
from crdtsync.practice import Patient
from tests.sites import PASSPHRASE, add, create


@pytest.fixture
async def jena(tmp_path: Path) -> AsyncIterator[Site]:
    """An open site with twenty patients."""
    async with create(tmp_path / "jena") as site:
        await patients(site, 20)
        yield site


async def patients(site: Site, many: int, at_once: int = 1, first: int = 0) -> None:
    """New patients, so many to a commit."""
    for start in range(first, first + many, at_once):
        await add(site, *(Patient(family_name=f"N{n}", given_name="Erika") for n in range(start, start + at_once)))


async def digest_of(folder: Path, passphrase: str = PASSPHRASE) -> str:
    """The digest of the site in `folder`."""
    async with Site.open(folder, passphrase=passphrase) as site:
        return str((await site.digest())["digest"])


def flipped(path: Path, at: int) -> Callable[[], None]:
    """Change one bit; what is returned puts it back."""
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])

    def put_back() -> None:
        path.write_bytes(data)

    return put_back
