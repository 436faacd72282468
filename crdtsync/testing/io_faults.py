"""`python -m crdtsync.testing.io_faults`: refuse every call of a replica's life in turn, and judge what comes of it.

See `realdisk.faults` for what is tried with each. Linux, with a C compiler. Exit 0 when every promise held, 1 when one
broke, 2 for a machine that cannot do it. The last line of stdout is the summary, as JSON; `--case` tries one of its
cases again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from crdtsync.errors import EnvironmentFailure
from crdtsync.testing.power_cuts import scratch_folder
from crdtsync.testing.realdisk import recorder

ACTS: Final = 12
_WAYS: Final = {
    "write": ("EIO:once", "ENOSPC:on", "ENOSPC:short", "EIO:on", "ENOSPC:once"),
    "sync": ("EIO:once", "ENOSPC:once", "EIO:on"),
    "truncate": ("EIO:once", "ENOSPC:on"),
    "open": ("ENOSPC:on", "EIO:once", "EIO:on"),
    "name": ("EIO:once", "ENOSPC:on"),
    "read": ("EIO:once", "EIO:on"),
}
"""How the calls of each kind are refused: neighbours in different ways."""
_CASES_AT_ONCE: Final = 40


def play(library: str, seed: int, cases: Sequence[str], *, planted: str = "", acts: int = ACTS) -> list[dict[str, Any]]:
    """Try these cases (see `realdisk.faults`) in a child process; what came of each."""
    plant = [f"@{planted}"] if planted else []
    place = scratch_folder()
    surroundings = {} if place is None else {"TMPDIR": str(place)}
    arguments = [str(seed), str(acts), *plant, *cases]
    done = recorder.child(Path(library), "crdtsync.testing.realdisk.faults", arguments, **surroundings)
    if done.returncode != 0:
        raise EnvironmentFailure(f"the cases could not be tried: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def cases_of(
    library: str, seed: int, cases_max: int, kinds: Sequence[str] = tuple(_WAYS), acts: int = ACTS
) -> list[str]:
    """Cases over all calls of a life, evenly spread when there are more calls than `cases_max`."""
    counted = play(library, seed, [f"{kind}:count" for kind in kinds], acts=acts)
    calls = {found["case"].partition(":")[0]: int(found["calls"]) for found in counted}
    every = [(kind, at) for kind, count in calls.items() for at in range(1, count + 1)]
    if cases_max < len(every):
        every = [every[number * len(every) // cases_max] for number in range(cases_max)]
    found = []
    for number, (kind, at) in enumerate(every):
        ways = _WAYS[kind]
        end = ":killed" if number // len(ways) % 2 else ""
        found.append(f"{kind}:{ways[number % len(ways)]}:{at}{end}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = list(_tried(options, str(recorder.build(Path(folder)))))
    except EnvironmentFailure as error:
        sys.stderr.write(f"{error}\n")
        return 2
    failures = [one for one in found if one["problems"]]
    summary = {
        "cases": len(found),
        "stopped": sum(bool(one["stopped"]) for one in found),
        "seconds": round(time.monotonic() - began, 1),
        "failures": failures,
    }
    sys.stdout.write(f"{json.dumps(summary)}\n")
    return 1 if failures else 0


def _tried(options: argparse.Namespace, library: str) -> Iterator[dict[str, Any]]:
    cases = [options.case] if options.case else cases_of(library, options.seed, options.cases)
    shares = [cases[at : at + _CASES_AT_ONCE] for at in range(0, len(cases), _CASES_AT_ONCE)]
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(play, library, options.seed, share, planted=options.planted) for share in shares]
        for job in jobs:
            yield from job.result()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m crdtsync.testing.io_faults",
        description="Refuse the calls of a replica's life one by one, and judge what comes of it.",
    )
    parser.add_argument("--cases", type=int, default=100_000, metavar="N", help="at most so many (default: every call)")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="the life")
    parser.add_argument("--case", default="", metavar="CASE", help="try this one, as the summary names it")
    parser.add_argument("--planted", default="", metavar="NAME", help="plant this bug, which must be found")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at a time")
    return parser


if __name__ == "__main__":
    sys.exit(main())
