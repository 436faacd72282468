"""Every target over its corpus, and some hundred changes of it that are the same every time; no atheris is needed."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.bounds import run_bounded
from tests.fuzz.dice import Dice, patched
from tests.fuzz.registry import CORPUS, targets

NAMES = sorted(targets())
CORPUS_BYTES_MAX = 1024 * 1024


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert sorted(folder.name for folder in CORPUS.iterdir()) == NAMES
    assert all(targets()[name].corpus() for name in NAMES)
    assert sum(file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()) < CORPUS_BYTES_MAX


@pytest.mark.parametrize("name", NAMES)
def test_kept_inputs(name: str) -> None:
    target = targets()[name]
    for file in target.corpus():
        run_bounded(target, file.read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs(name: str) -> None:
    target = targets()[name]
    kept = [file.read_bytes() for file in target.corpus()]
    rng = random.Random(name)
    for _ in range(target.mutations):
        changed = patched(Dice(rng.randbytes(64)), rng.choice(kept)) if rng.random() < 0.9 else rng.randbytes(60)
        run_bounded(target, changed[: target.bytes_max])
