"""The list of checks, read from `checks.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Check:
    """One check. `file` is below `crdtsync/`; `replacement` is what stands in place of `text` when the check is out;
    `test` is the node id of a test that fails then."""

    name: str
    file: str
    text: str
    replacement: str
    test: str


def _read() -> tuple[Check, ...]:
    told = tomllib.loads(Path(__file__).with_name("checks.toml").read_text(encoding="utf-8"))
    return tuple(
        Check(each["name"], source["file"], each["text"], each["without"], _node(source["tests"], each["test"]))
        for source in told["source"]
        for each in source["check"]
    )


def _node(tests: str, test: str) -> str:
    return test if "::" in test else f"{tests}::{test}"


CHECKS: Final = _read()
