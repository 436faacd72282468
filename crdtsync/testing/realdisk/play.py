"""The child process: plays a life under the recorder.

`python -m crdtsync.testing.realdisk.play BASE TRACE SEED ACTS [PLANTED]`, as `lives.record_life` starts it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from crdtsync.testing.realdisk.planted import PLANTED
from crdtsync.testing.realdisk.recorder import Recorder
from crdtsync.testing.realdisk.work import STATE, Work, open_store


def main(arguments: list[str]) -> None:
    """Play it. BASE must be an empty folder; a fifth argument names what is planted."""
    base, trace, seed, acts, *planted = arguments
    recorder = Recorder()
    plant = PLANTED[planted[0]] if planted else None
    if plant is not None:
        plant.prepare()
    os.environ["CRDTSYNC_STATE_DIR"] = str(Path(base) / STATE)

    def note(*, did: dict[str, Any] | None = None, will: dict[str, Any] | None = None) -> None:
        recorder.mark(json.dumps({"did": did or {}, "will": will or {}}))

    recorder.watch(Path(base), Path(trace))
    work = Work(Path(base), int(seed), note, plant.child if plant else open_store)
    work.found()
    work.open()
    for _ in range(int(acts)):
        work.act()
    work.close()
    recorder.ignore()


if __name__ == "__main__":
    main(sys.argv[1:])
