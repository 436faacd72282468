"""What a simulated process stands on: the world that it asks, and the machine that it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from crdtsync.replication import effects
from crdtsync.testing.ledger import Ledger
from crdtsync.testing.network import Network
from crdtsync.testing.streams import Streams
from crdtsync.testing.timeline import Timeline
from crdtsync.testing.trace import Trace

if TYPE_CHECKING:
    from crdtsync.testing.inquiries import Inquiries
    from crdtsync.testing.node import Node
    from crdtsync.testing.process import Process

START_MS: Final = 1_767_600_000_000
"""The wall clock's time when every world begins: a Monday in January 2026."""


class World(Protocol):
    """What a process needs of the world around it."""

    timeline: Timeline
    streams: Streams
    trace: Trace
    network: Network
    ledger: Ledger
    inquiries: Inquiries

    def fuse(self, process: Process, where: str) -> bool:
        """Whether the process ends now, right behind the step `where`."""

    def refuses(self, process: Process, where: str) -> str:
        """What the disk says to a write; empty when it takes it."""

    def crashed(self, process: Process) -> None:
        """A process has ended: it is started again some time."""

    def alarmed(self, process: Process, alarm: effects.Alarm) -> None:
        """A process raised an alarm."""

    def opened(self, node: Node) -> None:
        """A site has host and core, and does not run yet."""

    def unreadable(self, process: Process) -> None:
        """A process cannot open its log, for rot in it: the world puts that right, and it is opened again."""

    def derived(self, node: Node) -> None:
        """A site's view has grown."""

    def tended(self, node: Node) -> None:
        """A site has done what its ranges of numbers do by themselves."""

    def lost_own(self, node: Node) -> None:
        """Others brought commits of a site that it had lost."""

    def lost_links(self, process: Process, link: int, reason: str) -> None:
        """A process ends a link."""


@dataclass(slots=True)
class Machine:
    """What differs from one computer to the next: seconds per sync and per read, and the clock: its error in ms, which
    a person may set while it runs, and its drift as a share of time that passes."""

    sync_s: float = 0.002
    read_s: float = 0.0003
    skew_ms: int = 0
    drift: float = 0.0

    def wall_ms(self, now: float) -> int:
        """What this machine's clock shows when `now` seconds of the world have passed."""
        return START_MS + int(now * (1.0 + self.drift) * 1000) + self.skew_ms
