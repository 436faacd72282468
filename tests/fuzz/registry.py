"""What a fuzz target is, and all of them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
SECONDS_MAX: Final = 2.0
"""What one input may take."""
MEMORY_MIB_MAX: Final = 512
"""What a process that runs a target may take."""
_THEMES: Final = ("wire", "members", "session", "outside", "papers", "joins", "documents", "stores")

Run = Callable[[bytes], None]
Seeds = Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Target:
    """One decoder under hostile input.

    `run` returns for every input: what the decoder may raise is taken there, and nothing else. `seeds` are valid
    inputs, made from real objects; `bytes_max` bounds an input, `mutations` says how many the fast tests try.
    """

    name: str
    run: Run
    seeds: Seeds
    bytes_max: int
    mutations: int

    def corpus(self) -> list[Path]:
        """The kept inputs, by name."""
        return sorted(path for path in (CORPUS / self.name).glob("*") if path.is_file())


_targets: dict[str, Target] = {}


def target(name: str, seeds: Seeds, *, bytes_max: int = 4_096, mutations: int = 200) -> Callable[[Run], Run]:
    """Declare the function below as the target of that name."""

    def declare(run: Run) -> Run:
        if name in _targets:
            raise ValueError(f"{name} is declared twice")
        _targets[name] = Target(name, run, seeds, bytes_max, mutations)
        return run

    return declare


def targets() -> Mapping[str, Target]:
    """All targets by name, their modules imported."""
    for theme in _THEMES:
        import_module(f"tests.fuzz.{theme}")
    return dict(sorted(_targets.items()))
