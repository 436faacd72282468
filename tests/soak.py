"""The long forms of all tests, one after the other; each adds a line to a ledger.

    python -m tests.soak [FORM ...] [--ledger FILE] [--list]

A line of the ledger (docs/soak.jsonl) says which version was tried, on which machine, what was counted and how it
ended. `sources` is a hash over the core's sources (`crdtsync.testing.sources`): figures of equal sources may be added
up. A form that fails does not keep the others from running; the exit code is 1 then. An interrupt ends the form under
way, notes it as interrupted, and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from crdtsync.testing.sources import core_hash

LEDGER: Final = Path(__file__).parent.parent / "docs" / "soak.jsonl"


@dataclass(frozen=True, slots=True)
class Form:
    """One command: its words behind `python -m`, and what it needs in its environment."""

    what: str
    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


FORMS: Final[Mapping[str, Form]] = {
    "seeds": Form("5,000 simulated practices", ("crdtsync.testing", "--seeds", "5000", "--json")),
    "schedules": Form(
        "10,000 random schedules of conflicts", ("tests.scenarios.schedules", "--schedules", "10000", "--acts", "40")
    ),
    "planted": Form("each planted bug and the seed that finds it", ("crdtsync.testing", "--planted-table", "--json")),
    "removed-checks": Form("each check on a commit's way taken out", ("tests.removed_checks",)),
    "power-cuts": Form("20,000 images of cut power", ("crdtsync.testing.power_cuts", "--images", "20000", "--json")),
    "io-faults": Form("each call of a replica's life refused", ("crdtsync.testing.io_faults",)),
    "kills": Form("300 times kill -9", ("tests.scenarios.kills", "--kills", "300", "--json")),
    "fuzz": Form("four hours of fuzzing", ("tests.fuzz", "--seconds", "14400", "--json")),
    "machines": Form(
        "machines and laws with new examples",
        ("pytest", "-q", "tests", "-k", "machine or laws"),
        {"CRDTSYNC_HYPOTHESIS_EXAMPLES": "2000"},
    ),
    "scenarios": Form("the tests that are marked soak", ("pytest", "-q", "-m", "soak")),
}
"""In the order in which they run: what finds most in the least time first."""


def run(name: str, form: Form) -> dict[str, Any]:
    """Run one form to its end; the line for the ledger. What it prints is shown as it comes."""
    began, figures, shown = time.monotonic(), {}, []
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "form": name,
        "version": version("crdtsync"),
        "sources": core_hash(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores",
    }
    command = [sys.executable, "-m", *form.words]
    code: int | str = "interrupted"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | form.environment) as process:
        assert process.stdout is not None
        try:
            for text in process.stdout:
                sys.stderr.write(text)
                shown.append(text)
                del shown[:-50]
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # the same signal reached it
    figures = _figures(form, shown)
    return {**line, "seconds": round(time.monotonic() - began, 1), "exit": code, "figures": figures}


def _figures(form: Form, shown: Sequence[str]) -> Any:
    """What the command counted: its last line, or all of a table."""
    found = [json.loads(text) for text in shown if text.startswith("{")]
    if "--planted-table" in form.words:
        return {row["name"]: row["found_at_seed"] for row in found}
    if found:
        return found[-1]
    return shown[-1].strip() if shown else ""


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.split("\n")[0])
    parser.add_argument("forms", nargs="*", metavar="FORM", help="which of them (default: all; see --list)")
    parser.add_argument("--ledger", type=Path, default=LEDGER, metavar="FILE", help="default docs/soak.jsonl")
    parser.add_argument("--list", action="store_true", help="name the forms, and end")
    arguments = parser.parse_args(words)
    if arguments.list:
        for name, form in FORMS.items():
            sys.stdout.write(f"{name:15} {form.what}\n")
        return 0
    unknown = [name for name in arguments.forms if name not in FORMS]
    if unknown:
        parser.error(f"there is no form {unknown[0]!r}; --list names them")
    failed = False
    for name in arguments.forms or FORMS:
        line = run(name, FORMS[name])
        failed |= line["exit"] != 0
        text = json.dumps(line)
        with arguments.ledger.open("a", encoding="utf-8") as ledger:
            ledger.write(f"{text}\n")
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        if line["exit"] == "interrupted":
            break
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
