"""A thousand callers who never get in, at the door of a site that an honest one catches up from, comes back to, and a
newcomer joins at. What they take of the machine is bounded."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crdtsync import limits
from tests.scenarios.processes import Practice, Server, converged, surroundings, until
from tests.scenarios.test_s24_kill_nine import records_per_bundle, write_bundle
from tests.scenarios.usage import memory_bytes, open_files

memory_growth_max = 96 * 1024 * 1024
"""Of a site at whose door there is a crowd and which serves some thousand records; measured: see docs/TESTING.md."""
files_more_max = limits.handshakes_at_once_max + 64
"""One for each place at the door, for each connection that is being accepted or turned away, and for links."""


@contextmanager
def crowd(server: Server, callers: int, seed: int) -> Iterator[None]:
    """The crowd is at the door of `server`, and every caller was there once."""
    host, port = server.address.rsplit(":", 1)
    words = [sys.executable, "-m", "tests.scenarios.crowd", host, port, str(callers), str(seed)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=surroundings()
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == "the crowd is there\n"
            yield
            assert process.poll() is None, "the crowd went away before the honest were done"
        finally:
            process.stdin.close()
            process.wait(60)


class Most:
    """The most memory and files that a process had, looked at all the time."""

    def __init__(self, server: Server) -> None:
        self._worker = server.worker()
        self.memory, self.files = memory_bytes(self._worker), open_files(self._worker)
        self.memory_before, self.files_before = self.memory, self.files
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.memory = max(self.memory, memory_bytes(self._worker))
            self.files = max(self.files, open_files(self._worker))

    def __enter__(self) -> Most:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def at_the_door(practice: Practice, folder: Path, callers: int, bundles: int, seed: int) -> Most:
    """An honest site catches up, comes back and writes, and a newcomer joins, beside so many callers."""
    jena, weimar = practice.found("Jena", "Weimar")
    gera = practice.server("Gera")
    jena.serve()
    for number in range(bundles):
        bundle = write_bundle(folder / f"{number}.json", number)
        assert jena.ask("import", files=[str(bundle)], author="")["created"] == records_per_bundle
    total = bundles * records_per_bundle
    weimar.serve(jena)
    until(lambda: jena.peer(weimar)["connected"], "the first meeting, on a quiet day")
    weimar.stop()
    with Most(jena) as most, crowd(jena, callers, seed):
        weimar.serve(jena)
        converged(jena, weimar, records=total)
        weimar.stop()
        weimar.serve(jena)
        weimar.write("patient", family_name="during")
        converged(jena, weimar, records=total + 1)
        code = jena.ask("invite", name="Gera", role="site", admin=True, trust_code=True, address=None)["code"]
        until(lambda: gera.call("join", "--code", code).code == 0, "Gera joins, after some attempts")
        gera.serve(jena)
        converged(jena, weimar, gera, records=total + 1)
    assert most.files <= most.files_before + files_more_max
    assert most.memory <= most.memory_before + memory_growth_max
    assert jena.verb("status")["alarms"] == []
    return most


@pytest.mark.slow
def test_a_thousand_callers_who_never_get_in(practice: Practice, tmp_path: Path) -> None:
    most = at_the_door(practice, tmp_path, callers=1_000, bundles=4, seed=2)
    assert most.files > most.files_before, "nobody was at the door"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 15))
def test_three_thousand_callers_who_never_get_in(practice: Practice, tmp_path: Path, seed: int) -> None:
    at_the_door(practice, tmp_path, callers=3_000, bundles=10, seed=seed)
