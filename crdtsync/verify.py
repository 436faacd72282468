"""`python -m crdtsync.verify FILE`: check the history of a patient that a site exported, without a site and keys.

    exit 0   intact and complete: every byte is as it was sealed, every commit signed, every content proved
    exit 1   changed or damaged: each section that is not what it should be is named
    exit 2   wrong usage, or a file that cannot be read or is no such file
    exit 3   intact, but the file itself says that commits are missing in it

docs/HISTORY.md tells what is proved, and what the file holds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from crdtsync import limits
from crdtsync.history.checking import Verdict, check
from crdtsync.history.file import is_history
from crdtsync.sealing.signing import Verifier

INTACT, CHANGED, WRONG_USAGE, INCOMPLETE = 0, 1, 2, 3
_SHOWN_MAX: Final = 20


def run(arguments: Sequence[str]) -> int:
    """Check the file that the words of a command line name, and give the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        data = _read(asked.file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        sys.stderr.write(f"crdtsync.verify: {asked.file}: {reason}\n")
        return WRONG_USAGE
    verdict = check(data, Verifier().verify, practice=asked.practice)
    if asked.json:
        _say(json.dumps(told(asked.file, verdict), ensure_ascii=False))
    else:
        for sentence in sentences(verdict):
            _say(sentence)
    if not verdict.intact:
        return CHANGED
    return INTACT if verdict.complete else INCOMPLETE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m crdtsync.verify",
        description="Check the history of a patient that a site exported: no site, no folder and no key is needed.",
        epilog="Exit 0: intact and complete. 1: changed. 2: wrong usage, or no such file. 3: intact, but incomplete.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what `crdtsync history … --export FILE` made")
    parser.add_argument("--practice", metavar="ID", help="the id that the practice must have, as the practice tells it")
    parser.add_argument("--json", action="store_true", help="answer with one JSON document")
    return parser


def _read(file: Path) -> bytes:
    """The file's bytes. Raises OSError, or ValueError for what is no history."""
    if file.stat().st_size > limits.history_file_bytes_max:
        raise ValueError(f"it has more than {limits.history_file_bytes_max} bytes; no history is so large")
    data = file.read_bytes()
    if not is_history(data):
        raise ValueError("it is not a history that a site exported")
    return data


def told(file: Path, verdict: Verdict) -> dict[str, Any]:
    """The verdict for scripts."""
    names = ("practice", "practice_id", "patient", "exported_by", "exported_at", "author", "reason")
    return {
        "file": str(file),
        "ok": verdict.intact,
        "complete": verdict.intact and verdict.complete,
        **{name: verdict.head.get(name) for name in names},
        "commits": verdict.commits,
        "records": verdict.records,
        "missing": verdict.missing,
        "not_recomputed": verdict.not_recomputed,
        "problems": [{"section": each.section, "problem": each.problem} for each in verdict.problems],
    }


def sentences(verdict: Verdict) -> list[str]:
    """The verdict for people."""
    if not verdict.intact:
        return _changed(verdict)
    head = verdict.head
    found = [
        f"Intact: the history of patient {head['patient']}, {verdict.commits} commits on {verdict.records} records.",
        f"Exported at {head['exported_at']} by the site {head['exported_by']['site']} of {head['practice']} "
        f"(practice {head['practice_id']}: compare this id with what the practice tells you).",
        "Every byte is as it was sealed; every commit bears its author's signature; every content is what its author "
        "wrote; every history follows from these.",
    ]
    if verdict.not_recomputed:
        found.append(
            f"This program shows {len(verdict.not_recomputed)} of the records otherwise than the one that exported "
            "them: the readable form of their fields is vouched for by the seal alone."
        )
    if not verdict.complete:
        found.append(f"Incomplete: {len(verdict.missing)} commits could not be shown when the file was made:")
        found += [f"  {each['commit']}: {each['why']}" for each in verdict.missing[:_SHOWN_MAX]]
    return found


def _changed(verdict: Verdict) -> list[str]:
    problems = verdict.problems
    shown = [f"  {each.section}: {each.problem}" for each in problems[:_SHOWN_MAX]]
    if len(problems) > _SHOWN_MAX:
        shown.append(f"  and {len(problems) - _SHOWN_MAX} more")
    return ["Changed: this is not what was exported. It proves nothing.", *shown]


def _say(sentence: str) -> None:
    """A sentence on stdout; a file may name anything, and steers no terminal."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in sentence)
    sys.stdout.buffer.write(clean.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
