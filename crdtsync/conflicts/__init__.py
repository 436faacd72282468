"""Conflicts as a practice works with them: listed, looked after, decided, and watched. Reached as `site.conflicts`."""

from crdtsync.conflicts.desk import Conflicts
from crdtsync.conflicts.values import Conflict, ConflictValue
from crdtsync.conflicts.watching import ConflictChange

__all__ = ["Conflict", "ConflictChange", "ConflictValue", "Conflicts"]
