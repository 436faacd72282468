"""How a refusal looks, and that it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.scenarios.processes import Done, Server

Call = Callable[..., Done]
"""Runs one call of the command line."""


def refused(done: Done, code: int, hint: str) -> None:
    """Refused with this exit code and one sentence, which holds `hint`."""
    assert (done.code, done.out) == (code, ""), done
    assert done.err.startswith("crdtsync: ") and done.err.endswith("\n") and done.err.count("\n") == 1, done
    assert hint in done.err and "Traceback" not in done.err, done
    assert len(done.err) < 700, "that is no sentence"


class Kept:
    """What a site holds, to be compared: its digest and its commits."""

    def __init__(self, call: Call, server: Server) -> None:
        self._call, self._server = call, server
        self.before = self._now()

    def _now(self) -> tuple[Any, Any]:
        status = self._call("status", self._server.folder, "--json").json
        return self._call("digest", self._server.folder, "--json").json, status["commits"]

    def check(self) -> None:
        assert self._now() == self.before
