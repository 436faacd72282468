"""A shipped test kit: simulator, faults, oracles, conformance suites, practice data, and what hostile members do."""

from crdtsync.testing.forging import forge

__all__ = ["forge"]
