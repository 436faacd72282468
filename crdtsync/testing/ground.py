"""What a simulated site stands on: the world that it asks, and the machine that it runs on."""

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
    from crdtsync.testing.node import Node

START_MS: Final = 1_767_600_000_000
"""The wall clock's time when every world begins: a Monday in January 2026."""


class World(Protocol):
    """What a site needs of the world around it."""

    timeline: Timeline
    streams: Streams
    trace: Trace
    network: Network
    ledger: Ledger

    def fuse(self, node: Node, where: str) -> bool:
        """Whether the power goes at `node` now, right behind the step `where`."""

    def crashed(self, node: Node) -> None:
        """The process of `node` has ended: it is started again some time."""

    def alarmed(self, node: Node, alarm: effects.Alarm) -> None:
        """A site raised an alarm."""

    def opened(self, node: Node) -> None:
        """A site has host and core, and does not run yet."""

    def lost_links(self, node: Node, reason: str) -> None:
        """A site ended a link."""


@dataclass(slots=True)
class Machine:
    """What differs from one computer to the next: seconds per sync and per read, and the clock's error in ms."""

    sync_s: float = 0.002
    read_s: float = 0.0003
    skew_ms: int = 0
