"""`python -m crdtsync.testing`: play simulated practices and look for broken promises.

Exit 0 when every seed held, 1 when one failed, 2 for wrong usage. The last line of stdout is the summary, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from crdtsync.testing.planted import PLANTED
from crdtsync.testing.runner import Summary, outcomes, table
from crdtsync.testing.simulate import Outcome
from crdtsync.testing.sources import core_hash

_SEED_MAX = 2**63 - 1
_SEEDS = 100
_TABLE_SEEDS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.list_planted:
        _say("\n".join(sorted(PLANTED)))
        return 0
    if options.planted_table:
        return _table(options.seeds or _TABLE_SEEDS, as_json=options.json)
    options.seeds = options.seeds or _SEEDS
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    summary = Summary()
    interrupted = False
    chosen = seeds if options.seed is None else range(options.seed, options.seed + 1)
    found = outcomes(chosen, planted=options.planted, processes=1 if len(chosen) == 1 else None)
    try:
        with closing(found):
            for outcome in found:
                summary.add(outcome)
                _report(outcome, as_json=options.json)
                if outcome.failure and options.planted:
                    break
    except KeyboardInterrupt:
        interrupted = True
    _say(json.dumps(_summed(summary, options.planted, interrupted)))
    return 1 if summary.failures else 130 if interrupted else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m crdtsync.testing",
        description="Play simulated practices in virtual time, with crashes, cuts and bad lines, and check every "
        "promise of replication. One line per seed on stdout, the summary last; the steps of a failing seed on stderr.",
        epilog="Exit 0 when every seed held, 1 when one failed. A failing seed is played again exactly by --seed N.",
    )
    parser.add_argument("--seeds", type=_count, metavar="N", help="how many seeds to play (default 100)")
    parser.add_argument("--first-seed", type=_seed, default=0, metavar="K", help="the first of them (default 0)")
    parser.add_argument("--seed", type=_seed, metavar="K", help="play this one seed only, in this process")
    parser.add_argument(
        "--planted", choices=sorted(PLANTED), metavar="NAME", help="plant this bug and stop at the seed that finds it"
    )
    parser.add_argument("--list-planted", action="store_true", help="print the names of the planted bugs, and end")
    parser.add_argument(
        "--planted-table",
        action="store_true",
        help="plant every bug in turn and tell which seed finds it, of --seeds (default 200) at most",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per seed instead of words")
    return parser


def _table(seeds_max: int, *, as_json: bool) -> int:
    """Search for all planted bugs; 1 when one of them was not found."""
    missed = 0
    with closing(table(seeds_max, sorted(PLANTED))) as rows:
        for row in rows:
            missed += row.found_at_seed < 0
            seed = row.found_at_seed if row.found_at_seed >= 0 else "not found"
            _say(json.dumps(asdict(row)) if as_json else f"| {row.name} | {row.what} | {seed} | {row.failure} |")
    return 1 if missed else 0


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 10_000_000:
        raise argparse.ArgumentTypeError("a number of seeds from 1 to 10,000,000")
    return number


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number <= _SEED_MAX:
        raise argparse.ArgumentTypeError("a seed is a number from 0 to 2**63-1")
    return number


def _report(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        line = {key: value for key, value in asdict(outcome).items() if key not in ("steps", "options")}
        _say(json.dumps(_rounded(line)))
    else:
        verdict = f"FAILED  {outcome.failure}" if outcome.failure else "ok"
        _say(
            f"seed {outcome.seed}: {outcome.virtual_hours:.1f} h, {outcome.commits} commits, "
            f"{outcome.crashes} crashes, {outcome.partitions} cuts, {outcome.cpu_s:.2f} s: {verdict}"
        )
    if outcome.failure:
        sys.stderr.write(f"seed {outcome.seed}: {outcome.failure}\n{json.dumps(outcome.options)}\n")
        sys.stderr.write("".join(f"  {step}\n" for step in outcome.steps))
        sys.stderr.flush()


def _summed(summary: Summary, planted: str | None, interrupted: bool) -> dict[str, Any]:
    line = _rounded(asdict(summary))
    line["sources"] = core_hash()
    if planted:
        line["planted"] = planted
    if interrupted:
        line["interrupted"] = True
    return line


def _rounded(line: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
