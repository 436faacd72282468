"""How many examples Hypothesis tries, and which: always the same few by default, fresh and many when soaking.

CRDTSYNC_HYPOTHESIS_EXAMPLES=5000 python -m pytest -q tests -k "machine or laws"
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = "CRDTSYNC_HYPOTHESIS_EXAMPLES"


def asked_for() -> int | None:
    """How many examples each property is to try, when somebody asked for another number than it tries by default."""
    named = os.environ.get(EXAMPLES, "")
    return int(named) if named else None


def examples(number: int, steps: int = 50) -> settings:
    """Settings of a property that tries `number` examples by default; a machine takes up to `steps` steps in each."""
    return settings(max_examples=asked_for() or number, stateful_step_count=steps)


def load_profile() -> None:
    """One result for one tree: by default examples follow from the test alone, and no clock makes a test fail."""
    soaking = asked_for()
    settings.register_profile(
        "crdtsync",
        derandomize=soaking is None,
        max_examples=soaking or 100,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    settings.load_profile("crdtsync")
