"""The model of a disk: what may be left of writes and names that were not synced, and what must be."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from crdtsync.testing.realdisk.images import POLICIES, SECTOR_BYTES, Disk, write_image
from crdtsync.testing.realdisk.trace import Operation

TRIES = 400


def played(*steps: tuple[str, int, int, bytes] | tuple[str, int, int, bytes, bool]) -> Disk:
    disk = Disk()
    for name, descriptor, offset, data, *failed in steps:
        disk.take(Operation(name, bool(failed and failed[0]), descriptor, offset, data))
    return disk


def images(disk: Disk, policy: str) -> list[dict[str, bytes]]:
    return [disk.image(policy, random.Random(number)) for number in range(TRIES)]


SYNCED = (("o", 3, 1, b"a"), ("w", 3, 0, b"first"), ("s", 3, 0, b""), ("o", 4, 0, b""), ("s", 4, 0, b""))


@pytest.mark.parametrize("policy", POLICIES)
def test_what_was_synced_is_on_every_image(policy: str) -> None:
    assert all(image == {"a": b"first"} for image in images(played(*SYNCED), policy))


@pytest.mark.parametrize("policy", POLICIES)
def test_of_what_was_not_synced_only_what_was_written_is_left(policy: str) -> None:
    disk = played(*SYNCED, ("w", 3, 0, b"other"), ("w", 3, 5, b" end"))
    found = {image["a"] for image in images(disk, policy)}
    whole = {b"first", b"other", b"other end", b"first end"}
    expected = {
        "killed": {b"other end"},
        "kept": {b"other end"},
        "lost": {b"first"},
        "files": {b"first", b"other end"},
        "prefixes": {b"first", b"other", b"other end"},
        "ordered": {b"first", b"other", b"other end"},
        "choice": whole,
    }
    sized = {b"first\0\0\0\0", b"other\0\0\0\0"}  # the size is on disk, the content is not
    assert found == expected.get(policy, whole | sized)


def test_single_sectors_of_a_write_are_kept() -> None:
    disk = played(*SYNCED, ("w", 3, 256, b"x" * 4 * SECTOR_BYTES))
    found = {image["a"] for image in images(disk, "torn")}
    border = 2 * SECTOR_BYTES
    assert any(b"x" in content[:SECTOR_BYTES] and content[SECTOR_BYTES:border].strip(b"\0") == b"" for content in found)
    assert all(set(content[5:]) <= {0, ord("x")} and content.startswith(b"first") for content in found)
    garbled = {image["a"] for image in images(disk, "garbled")}
    assert any(set(content[SECTOR_BYTES:border]) - {0, ord("x")} for content in garbled)
    assert all(set(content[5:SECTOR_BYTES]) <= {0, ord("x")} for content in garbled), (
        "a sector written in part is whole"
    )


def test_a_name_is_lost_until_its_folder_is_synced() -> None:
    steps = [("m", -1, 0, b"d"), ("o", 3, 1, b"d/a"), ("w", 3, 0, b"data"), ("s", 3, 0, b"")]
    assert {tuple(image) for image in images(played(*steps), "lost")} == {()}
    assert {tuple(image) for image in images(played(*steps), "choice")} == {(), ("d/",), ("d/", "d/a")}
    steps += [("o", 4, 0, b"d"), ("s", 4, 0, b""), ("r", -1, 0, b"d\0e"), ("u", -1, 0, b"e/a")]
    assert {tuple(image) for image in images(played(*steps), "lost")} == {()}, "the folder's own name was not synced"
    steps += [("o", 5, 0, b""), ("s", 5, 0, b"")]
    assert {tuple(image) for image in images(played(*steps), "lost")} == {("e/", "e/a")}
    assert {tuple(image) for image in images(played(*steps), "killed")} == {("e/",)}


def test_what_a_failed_sync_should_have_written_is_lost_for_good() -> None:
    disk = played(*SYNCED, ("w", 3, 0, b"other"), ("s", 3, 0, b"", True), ("s", 3, 0, b""))
    assert disk.image("kept", random.Random(1)) == {"a": b"first"}
    assert disk.image("killed", random.Random(1)) == {"a": b"other"}, "programs still read it"


def test_truncating_is_a_change_like_any_other(tmp_path: Path) -> None:
    disk = played(*SYNCED, ("t", 3, 2, b""), ("w", 3, 2, b"!"), ("o", 5, 1, b"b-shm"))
    assert disk.image("lost", random.Random(1)) == {"a": b"first"}
    kept = disk.image("kept", random.Random(1))
    assert kept == {"a": b"fi!"}, "shared memory is no part of an image"
    write_image({"d/": b"", **kept, "d/c": b"x"}, tmp_path)
    assert (tmp_path / "a").read_bytes() == b"fi!" and (tmp_path / "d" / "c").read_bytes() == b"x"
