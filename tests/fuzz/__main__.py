"""Runs fuzz targets.

    python -m tests.fuzz --target NAME|all --seconds N [--jobs J] [--keep FOLDER] [--json]     atheris, N seconds in all
    python -m tests.fuzz … --seed N                                     the same inputs again, as far as the time goes
    python -m tests.fuzz --target NAME --replay FILE|FOLDER …                                  these inputs, without it
    python -m tests.fuzz --list
    python -m tests.fuzz --write-seeds                                                         makes corpus/*/seed-*

The last line is a JSON summary. Exit 1 when something failed; inputs that fail are kept in FOLDER (build/fuzz): put
them into tests/fuzz/corpus/NAME together with the fix. `make fuzz` runs all targets for a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.fuzz.registry import CORPUS, Target


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--target", default="all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0, help="where chance begins; 0: anew at every call")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, default=Path("build") / "fuzz")
    parser.add_argument("--replay", type=Path, nargs="+", default=[])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--write-seeds", action="store_true")
    parser.add_argument("--json", action="store_true", help="one JSON line per target, besides the summary")
    return parser


def _chosen(name: str) -> list[Target]:
    from tests.fuzz.registry import targets

    known = targets()
    if name != "all" and name not in known:
        sys.exit(f"there is no target {name!r}; --list names them")
    return list(known.values()) if name == "all" else [known[name]]


def write_seeds() -> None:
    """Make the valid inputs of every target anew; inputs that once failed stay."""
    for target in _chosen("all"):
        folder = CORPUS / target.name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("seed-*"):
            old.unlink()
        for seed in target.seeds():
            (folder / f"seed-{hashlib.sha256(seed).hexdigest()[:12]}").write_bytes(seed)


def _inputs(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.iterdir()) if path.is_dir() else [path]


def replay(target: Target, paths: Sequence[Path]) -> int:
    """Run inputs from files, one after the other; the number that failed."""
    from tests.fuzz.bounds import run_bounded

    faulthandler.enable()
    failed = 0
    for path in _inputs(paths):
        print(path.name, flush=True)  # noqa: T201 - whoever reads on sees at which input a process ended
        try:
            run_bounded(target, path.read_bytes())
        except Exception as error:
            failed += 1
            print(f"{path.name}: {type(error).__name__}: {error}", flush=True)  # noqa: T201 - this is a command
    return failed


def _atheris() -> Any:
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit("atheris is not installed here: pip install 'crdtsync[fuzz]' (Linux on x86-64, CPython 3.11 to 3.13)")
    with contextlib.redirect_stderr(open(os.devnull, "w")), atheris.instrument_imports(include=["crdtsync"]):
        from tests.fuzz.registry import targets

        targets()
    return atheris


def _fuzz(arguments: argparse.Namespace) -> int:
    atheris = _atheris()
    from tests.fuzz.fuzzing import fuzz_all, share

    chosen = _chosen(arguments.target)
    jobs = max(1, min(arguments.jobs, len(chosen)))
    seconds = share(arguments.seconds, chosen, jobs)

    outcomes = []
    for outcome in fuzz_all(atheris, chosen, seconds, jobs, arguments.keep, arguments.seed):
        outcomes.append(outcome)
        if arguments.json or outcome.failures:
            print(json.dumps(asdict(outcome)), flush=True)  # noqa: T201 - this is a command
    failures = [{"target": each.target, **failure} for each in outcomes for failure in each.failures]
    summary = {
        "targets": len(outcomes),
        "runs": sum(each.runs for each in outcomes),
        "seconds": round(sum(each.seconds for each in outcomes), 1),
        "failures": failures,
    }
    print(json.dumps(summary), flush=True)  # noqa: T201 - this is a command
    return 1 if failures or any(not each.runs for each in outcomes) else 0


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = _parser().parse_args(words)
    os.environ.setdefault("CRDTSYNC_KDF", "fast")
    if arguments.list:
        print("\n".join(target.name for target in _chosen("all")))  # noqa: T201 - this is a command
        return 0
    if arguments.write_seeds:
        write_seeds()
        return 0
    with tempfile.TemporaryDirectory(prefix="crdtsync-fuzz-") as state:
        os.environ["CRDTSYNC_STATE_DIR"] = state
        if arguments.replay:
            return 1 if replay(_chosen(arguments.target)[0], arguments.replay) else 0
        return _fuzz(arguments)


if __name__ == "__main__":
    sys.exit(main())
