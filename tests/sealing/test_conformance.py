"""Both sealers pass one suite."""

from __future__ import annotations

import hashlib
import os
from random import Random

import pytest

from crdtsync import limits
from crdtsync.errors import TooLarge
from crdtsync.sealing.base import Sealer
from crdtsync.sealing.identity import Identity
from crdtsync.sealing.suite1 import Suite1
from crdtsync.testing.sealer import PlainSealer
from crdtsync.testing.sealers import SealerConformance


class TestSuite1(SealerConformance):
    def sealer(self, name: str) -> Sealer:
        seeds = hashlib.shake_256(name.encode()).digest(160)
        return Suite1(Identity(seeds[:32], seeds[32:64], seeds[64:]), os.urandom)


class TestPlainSealer(SealerConformance):
    def sealer(self, name: str) -> Sealer:
        return PlainSealer(name, Random(name).randbytes)

    def test_lengths_are_bounded_as_in_the_real_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sealer = self.sealer("one")
        sealed = sealer.seal(bytes(32), bytes(32), b"", bytes(1001))
        monkeypatch.setattr(limits, "inflated_bytes_max", 1000)
        with pytest.raises(TooLarge, match="to seal"):
            sealer.seal(bytes(32), bytes(32), b"", bytes(1001))
        with pytest.raises(TooLarge, match="are allowed"):
            sealer.open(bytes(32), bytes(32), b"", sealed)

    def test_equal_seeds_give_equal_runs(self) -> None:
        runs = []
        for _ in range(2):
            sealer = self.sealer("one")
            runs.append((sealer.random(8), sealer.seal(bytes(32), bytes(32), b"", b"x"), sealer.sign(b"m")))
        assert runs[0] == runs[1]
