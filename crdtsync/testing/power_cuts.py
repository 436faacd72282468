"""`python -m crdtsync.testing.power_cuts`: cut the power at every place of a replica's life, and open what is left.

A child process founds a practice and works in it while every change of its files is recorded; then the power goes
between any two of them, in all ways that a disk allows (see `realdisk.images`), and the real store, engine and host
open each image. Linux, with a C compiler.

Exit 0 when every promise held, 1 when one broke, 2 for wrong usage or a machine that cannot do it. The last line of
stdout is the summary, as JSON; a failure names the life (`--seed`) and the image (`--image`) that show it again.
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
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from crdtsync.errors import EnvironmentFailure
from crdtsync.testing.realdisk import recorder
from crdtsync.testing.realdisk.lives import ACTS, Tally, judge_life, record_life
from crdtsync.testing.realdisk.planted import PLANTED
from crdtsync.testing.realdisk.trace import read_trace

IMAGES_PER_LIFE: Final = 2_000
"""A life has some thousand places; after so many images the next one begins."""
_FAILURES_MAX: Final = 50
_SHARED_MEMORY: Final = Path("/dev/shm")


def scratch_folder() -> Path | None:
    """Where images are made: in memory where the system offers that, since a sync costs nothing there."""
    return _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None


def cut(life: int, images: int, library: str, *, planted: str = "", only: int | None = None, acts: int = ACTS) -> Tally:
    """Record one life and judge some of its images."""
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        operations = record_life(Path(scratch), Path(library), life, planted, acts)
        return judge_life(operations, life, images, Path(scratch), planted=planted, only=only)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            tallies = list(_tallies(options, str(recorder.build(Path(folder)))))
    except EnvironmentFailure as error:
        sys.stderr.write(f"{error}\n")
        return 2
    summary = summed(tallies, time.monotonic() - began)
    if options.planted:
        summary["planted"] = options.planted
    _say(json.dumps(summary))
    return 1 if summary["failures"] else 0


def _tallies(options: argparse.Namespace, library: str) -> Iterator[Tally]:
    if options.trace is not None:
        with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
            operations = read_trace(options.trace)
            yield judge_life(operations, options.seed, options.images, Path(scratch), only=options.image)
        return
    if options.image is not None:
        yield cut(options.seed, 1, library, planted=options.planted, only=options.image)
        return
    lives = -(-options.images // IMAGES_PER_LIFE)
    shares = [options.images * (n + 1) // lives - options.images * n // lives for n in range(lives)]
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(cut, options.seed + n, share, library, planted=options.planted)
            for n, share in enumerate(shares)
        ]
        for job in jobs:
            tally = job.result()
            if not options.json:
                _say(f"life {tally.life}: {tally.places} places, {tally.images} images, {len(tally.failures)} failures")
            yield tally


def summed(tallies: Sequence[Tally], seconds: float) -> dict[str, Any]:
    """The summary: images, broken promises by kind, and the failures themselves."""
    failures = [failure for tally in tallies for failure in tally.failures]
    policies: dict[str, int] = {}
    for tally in tallies:
        for name, count in tally.policies.items():
            policies[name] = policies.get(name, 0) + count
    return {
        "images": sum(tally.images for tally in tallies),
        "corrupt": sum(failure.kind == "corrupt" for failure in failures),
        "lost": sum(failure.kind == "lost" for failure in failures),
        "lives": len(tallies),
        "places": sum(tally.places for tally in tallies),
        "policies": policies,
        "seconds": round(seconds, 1),
        "failures": [
            {"life": f.life, "image": f.image, "operation": f.operation, "policy": f.policy, "broken": f.text}
            for f in failures[:_FAILURES_MAX]
        ],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m crdtsync.testing.power_cuts",
        description="Cut the power between any two changes of a replica's files, and open what is left.",
        epilog="Exit 0 when every promise held, 1 when one broke. An image is seen again with --seed LIFE --image N.",
    )
    parser.add_argument("--images", type=int, default=2_000, metavar="N", help="how many images (default 2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="the first life (default 0)")
    parser.add_argument("--image", type=int, metavar="N", help="judge this one image of the life that --seed names")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="judge a life that was recorded into this file")
    parser.add_argument(
        "--planted", choices=sorted(PLANTED), default="", metavar="NAME", help="plant this bug, which must be found"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--json", action="store_true", help="nothing but the summary")
    return parser


def _say(line: str) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
