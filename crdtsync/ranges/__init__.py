"""Patient numbers at one replica: given in the commit that needs them, decided in the store's thread."""

from crdtsync.ranges.giving import Ranges
from crdtsync.ranges.records import KIND, NUMBERED

__all__ = ["KIND", "NUMBERED", "Ranges"]
