"""Takes each check of the list out of a copy of the sources and runs the test that must notice.

    python -m tests.removed_checks [--only WORDS] [--jobs J] [--part K/N] [--json]

`--only` takes the checks whose names contain the words, `--part 2/5` every fifth one, beginning with the second. Exit 1
when a check is missed by nobody, or an entry of the list is stale. The last line sums up.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from tests.removed_checks.checks import CHECKS, Check
from tests.removed_checks.running import run_all


def _part(text: str) -> tuple[int, int]:
    number, slash, of = text.partition("/")
    if not slash or not number.isdigit() or not of.isdigit() or not 1 <= int(number) <= int(of):
        raise argparse.ArgumentTypeError("a part is written like 2/5")
    return int(number), int(of)


def _chosen(arguments: argparse.Namespace) -> list[Check]:
    found = [check for check in CHECKS if arguments.only in check.name]
    number, of = arguments.part
    return found[number - 1 :: of]


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.removed_checks", description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", metavar="WORDS")
    parser.add_argument("--jobs", "-j", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="K/N")
    parser.add_argument("--json", action="store_true", help="one JSON line per check, besides the summary")
    arguments = parser.parse_args(words)
    chosen = _chosen(arguments)
    if not chosen:
        parser.error(f"no check has {arguments.only!r} in its name")
    begun = time.monotonic()
    problems = {}
    for verdict in run_all(chosen, max(1, arguments.jobs)):
        if verdict.problem:
            problems[verdict.name] = verdict.problem
        if arguments.json:
            print(json.dumps(asdict(verdict)), flush=True)  # noqa: T201 - this is a command
        elif verdict.problem:
            print(f"{verdict.name}: {verdict.problem}", flush=True)  # noqa: T201 - this is a command
    summary = {"checks": len(chosen), "seconds": round(time.monotonic() - begun, 1), "problems": problems}
    print(json.dumps(summary), flush=True)  # noqa: T201 - this is a command
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
