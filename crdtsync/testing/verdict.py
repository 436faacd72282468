"""What an oracle says when a promise is broken."""

from __future__ import annotations


class OracleFailed(AssertionError):
    """The world is not as it was promised to be. The text names the promise and the place."""
