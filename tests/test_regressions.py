"""Seeds of the simulator that failed once: what they found was mended, and must not come back.

A seed goes on meaning roughly what it meant, not exactly, once the simulator has changed; where a bug could be shown in
a few lines, the tests of its file show it as well (named in the right column).
"""

from __future__ import annotations

import pytest

from crdtsync.testing.simulate import simulate

SEEDS = {
    5: "two hellos that crossed were answered for ever (test_replica)",
    67: "an inbox full of commits that wait dropped the very ones they waited for (test_receiving)",
    119: "membership records that were lost on the way were never sent again (test_meeting)",
    171: "the same inbox, without foul weather (test_inbox)",
    188: "lost membership records during a removal (test_meeting)",
    231: "an unfeed of many logs was more than its receiver takes (test_repair)",
    377: "a copy waited for its own tail from a source that lacked it as well (test_recovering)",
    473: "what was lost of a frontier was never told again at rest, so rotten commits stayed (test_repair)",
    745: "a crash between a key and its commit: nobody ever introduced the key to an archive (test_engine)",
    2439: "verify looked at no signature of a log that has a hole",
    2723: "commits that name membership records that do not exist kept a link's credit (test_receiving)",
    3703: "who had cut a forked log was given up for not showing what follows (test_forks)",
}


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_a_seed_that_failed_once(seed: int) -> None:
    assert simulate(seed).failure == ""
