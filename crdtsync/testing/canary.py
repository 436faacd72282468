"""A text that is written into records and must be seen nowhere else: on no wire, in no sealed file, in no alarm."""

from __future__ import annotations

from crdtsync.testing.disk import Disk
from crdtsync.testing.network import Station
from crdtsync.testing.verdict import OracleFailed


class Canary:
    """Watches for `text`, as UTF-8."""

    def __init__(self, seed: int) -> None:
        self.text = f"Kanarienvogel {seed % 10_000:04d}"
        self._bytes = self.text.encode()

    def message(self, station: Station, message: bytes) -> None:
        """What a replica sends."""
        if self._bytes in message:
            raise OracleFailed(f"{station.name} sends content of a record in the clear")

    def alarm(self, name: str, text: str) -> None:
        """What a replica shows to people."""
        if self.text in text:
            raise OracleFailed(f"an alarm of {name} carries content of a record")

    def disk(self, name: str, disk: Disk) -> None:
        """What lies in `log.db` and `keys.db`: commits, membership, wrapped keys, small values."""
        for stored in disk.arrivals(0, 1_000_000, 1 << 40):
            commit = stored.commit
            if any(self._bytes in data for data in (commit.header_bytes, *commit.parts)):
                raise OracleFailed(f"the log of {name} has content of a record in the clear")
        others = (*disk.members(), *disk.small_values(), *(key.wrapped for key in disk.all_keys()))
        if any(self._bytes in data for data in others):
            raise OracleFailed(f"the disk of {name} has content of a record in the clear, beside the view")
