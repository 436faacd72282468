"""What the scenarios share: a practice whose processes end with the test, and calls of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crdtsync.cli.app import run
from tests.scenarios.processes import PASSPHRASE, Done, Practice, Server
from tests.scenarios.refusing import Call, Kept


@pytest.fixture
def practice(tmp_path: Path) -> Iterator[Practice]:
    """Sites as real processes, in a folder of their own."""
    practice = Practice(tmp_path)
    yield practice
    practice.close()


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run one call of the command line in this process: it is the same as one of its own, and quicker."""
    monkeypatch.setenv("CRDTSYNC_PASSPHRASE", PASSPHRASE)

    def call(*words: object) -> Done:
        capfd.readouterr()
        code = run([str(word) for word in words])
        captured = capfd.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture
def jena(practice: Practice, call: Call) -> Server:
    """A site with one patient; nobody serves it."""
    (jena,) = practice.found("Jena")
    call("record", "new", jena.folder, "patient", "family_name=Muster", "birth_date=1964-08-12")
    return jena


@pytest.fixture
def kept(call: Call, jena: Server) -> Iterator[Kept]:
    """At the end of the test, nothing is changed."""
    kept = Kept(call, jena)
    yield kept
    kept.check()
