"""A site whose disk is full: writing says what to do, reading goes on, others feel nothing, and it comes back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from crdtsync.testing.realdisk import recorder


def test_a_full_disk_stops_one_site_until_there_is_room(tmp_path: Path) -> None:
    if reason := recorder.missing():
        if os.environ.get("CRDTSYNC_CI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    base = tmp_path / "sites"
    base.mkdir()
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = recorder.child(recorder.build(tmp_path), "tests.full_disk_process", [str(base)], PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    first, second = told["refused"]
    assert "the disk is full: free some space and open the replica again" in first
    assert second == first, "a disk that refused is not asked again"
    assert told["read"] == "Vorher"
    assert told["others"] == 2
    assert told["names"] == ["Inzwischen", "Nachher", "Vorher"]
    assert told["problems"] == []
