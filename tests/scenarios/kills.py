"""kill -9, hundreds of times: `python -m tests.scenarios.kills --kills 300 --seed 7 [--json]`.

Two sites die while they import, receive, write, open and derive again, both at once, and a third while it joins. The
last line on stdout is `{"kills", "acknowledged", "lost", "corrupt", "cut_short", "seconds", "seed"}`: writes that were
acknowledged to somebody, those of them that were missing afterwards, and 1 for a site that did not start, verify or
agree, which ends it. Exit 1 unless both are 0.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from crdtsync.cli.control import NobodyServes
from crdtsync.errors import CrdtSyncError
from tests.scenarios.processes import Practice, Running, Server, converged, until
from tests.scenarios.test_s24_kill_nine import Trial, writers

looks_at_joining_max = 400
"""Looks (some milliseconds each) between the beginning of a joining and its end by a kill, at most."""


class Soak(Trial):
    """The trial of S24, with more ways to die, that counts what it finds."""

    def __init__(self, practice: Practice, seed: int) -> None:
        super().__init__(practice, seed)
        self.lost: set[str] = set()
        self.joined = 0
        self._practice = practice

    def check(self, server: Server) -> None:
        """Count writes that were acknowledged and are not there."""
        rows = server.ask("query", sql="SELECT id, family_name FROM patient")
        found = {row["id"]: row["family_name"] for row in rows}
        self.lost |= {each for each, name in self.ledger.items() if found.get(each) != name}

    def _writing(self, server: Server, number: int) -> None:
        with suppress(CrdtSyncError, NobodyServes):
            while True:
                name = f"writer {number} at {server.name} kill {self.kills}"
                self.ledger[server.write("patient", family_name=name)] = name

    def both_at_once(self) -> None:
        """People write at both sites, which exchange it, and both die in one moment."""
        servers = (self.jena, self.weimar)
        self.weimar.serve(self.jena)
        until(lambda: self.weimar.peer(self.jena)["connected"], "the sites meet")
        work = [partial(self._writing, server, number) for server in servers for number in range(writers // 2)]
        threads = [threading.Thread(target=each) for each in work]
        for thread in threads:
            thread.start()
        self.blade.wait(self.chance.choice(servers), lambda: False)
        for server in servers:
            assert server.running is not None
            server.running.process.kill()
        for server in servers:
            server.kill()
        for thread in threads:
            thread.join()
        self.kills += 2
        self.jena.serve()
        self.weimar.serve(self.jena)
        converged(*servers)
        for server in servers:
            self.check(server)
        self.weimar.stop()

    def while_it_opens(self) -> None:
        """Weimar dies while it opens and derives its view again, which it had lost, or not; then it opens."""
        if self.chance.random() < 0.5:
            for file in self.weimar.folder.glob("view.db*"):
                file.unlink()
        opening = Running(self.weimar.folder.with_name("opening.stderr"), "serve", self.weimar.folder)
        looks = self.chance.randint(0, looks_at_joining_max)

        def due() -> bool:
            nonlocal looks
            looks -= 1
            return looks < 0

        until(due, "a moment while Weimar opens")
        opening.process.kill()
        opening.end(None)
        self.kills += 1
        self.weimar.serve(self.jena)
        converged(self.jena, self.weimar)
        self.check(self.weimar)
        self.weimar.stop()

    def while_it_joins(self) -> None:
        """A newcomer dies while it joins: there is a whole site, or none, and another joins in its place."""
        newcomer = Server(f"Gera {self.kills}", self._folder / f"gera-{self.kills}")
        self._practice.servers.append(newcomer)
        wishes: dict[str, Any] = {"role": "site", "admin": False, "trust_code": True, "address": None}
        code = self.jena.ask("invite", name=newcomer.name, **wishes)["code"]
        joining = Running(self._folder / "joining.stderr", "join", newcomer.folder, "--code", code, "--json")
        looks = self.chance.randint(0, looks_at_joining_max)

        def due() -> bool:
            nonlocal looks
            looks -= 1
            return looks < 0 or joining.process.poll() is not None

        until(due, "a moment while somebody joins")
        joining.process.kill()
        joining.end(None)
        self.kills += 1
        if not newcomer.folder.exists():
            code = self.jena.ask("invite", name=f"{newcomer.name} again", **wishes)["code"]
            assert newcomer.call("join", "--code", code).code == 0
            self.cut_short += 1
        newcomer.serve(self.jena)
        converged(self.jena, newcomer)
        self.check(newcomer)
        newcomer.stop()
        self.joined += 1

    def extra(self) -> int:
        """Records that the writers made, whoever answered them."""
        (count,) = self.weimar.column("SELECT count(*) FROM patient WHERE family_name LIKE 'writer%'")
        return int(count)


def soak(practice: Practice, kills: int, seed: int) -> dict[str, int | float]:
    """Kill so many times; what came of it. A site that does not start, verify or agree ends it, and counts."""
    began = time.monotonic()
    trial = Soak(practice, seed)
    ways = [
        trial.in_the_middle_of_an_import,
        trial.in_the_middle_of_receiving,
        trial.in_the_middle_of_writing,
        trial.both_at_once,
        trial.while_it_opens,
        trial.while_it_joins,
    ]
    corrupt = 0
    try:
        while trial.kills < kills:
            # Bundles and newcomers stay: the ways that add them come less often as there are more of them.
            few = trial.bundles < 40 and trial.joined < 25
            trial.chance.choice(ways if few else ways[2:5])()
        trial.finish()
    except Exception:
        traceback.print_exc()
        corrupt = 1
    return {
        "kills": trial.kills,
        "acknowledged": len(trial.ledger),
        "lost": len(trial.lost),
        "corrupt": corrupt,
        "cut_short": trial.cut_short,
        "seconds": round(time.monotonic() - began, 1),
        "seed": seed,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="kill -9 of real sites, hundreds of times")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="nothing on stdout but the result")
    wanted = parser.parse_args()
    os.environ.setdefault("CRDTSYNC_KDF", "fast")
    with tempfile.TemporaryDirectory(prefix="crdtsync-kills-") as folder:
        os.environ["CRDTSYNC_STATE_DIR"] = str(Path(folder) / "state")
        practice = Practice(Path(folder))
        try:
            result = soak(practice, wanted.kills, wanted.seed)
        finally:
            practice.close()
    sys.stdout.write(json.dumps(result) + "\n" if wanted.json else f"{result}\n")
    return 0 if result["lost"] == result["corrupt"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
