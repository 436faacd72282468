"""The simulated network: which sites have a line to each other, and what becomes of what is put on it.

A line is a pair of sites that could speak. While it is up and both run, one of them dials and there is a connection;
its two ends learn of its beginning and its end at different times, or never. What a line does to messages is its
`Weather`: in fair weather a connection is what TLS over TCP gives (each lane in order, nothing lost until it breaks,
urgent ones overtaking), in foul weather messages are lost, doubled and late.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from crdtsync import limits
from crdtsync.ids import ReplicaId
from crdtsync.testing.streams import Streams
from crdtsync.testing.timeline import Timeline
from crdtsync.testing.trace import Trace
from crdtsync.testing.verdict import OracleFailed


class Station(Protocol):
    """A replica as the network knows it. `life` counts its starts; `up` tells whether a process runs."""

    name: str
    up: bool
    life: int

    @property
    def awake(self) -> bool:
        """Whether the process that runs does anything."""

    @property
    def replica_id(self) -> ReplicaId:
        """Who it proves to be."""

    def trusts(self, other: ReplicaId) -> bool:
        """Whether its list of members has `other`."""

    def linked(self, other: ReplicaId) -> bool:
        """Whether it has a link to `other`."""

    def link_up(self, link: int, other: ReplicaId, *, dialled: bool) -> None:
        """A link stands."""

    def link_down(self, link: int) -> None:
        """It has ended."""

    def receive(self, link: int, message: bytes) -> None:
        """A message came in."""


@dataclass(slots=True)
class Weather:
    """What a line does to messages: seconds of delay and of jitter, shares of lost and doubled ones, bytes a second."""

    delay_s: float = 0.01
    jitter_s: float = 0.0
    lost: float = 0.0
    doubled: float = 0.0
    bytes_per_s: float = 10_000_000.0

    @property
    def fair(self) -> bool:
        """Whether connections keep what TCP promises."""
        return self.lost == 0 and self.doubled == 0


@dataclass(slots=True)
class End:
    """One end of a connection: whose it is, in which life, and whether that process believes in it."""

    station: Station
    life: int
    number: int
    open: bool = False
    free_at: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """When the last message on each lane (bulk, urgent) that this end sent arrives."""
    line_free_at: float = 0.0
    queued_bytes: int = 0


@dataclass(slots=True)
class Connection:
    """Two ends; `dead` once either side has closed or died."""

    ends: tuple[End, End]
    dead: bool = False


Twist = Callable[[Station, bytes], list[tuple[float, bytes]]]
"""The receiver and a message: what is sent in its place, each after so many seconds."""


def _unwatched(station: Station, message: bytes) -> None: ...


class Line:
    """A pair of sites. `cut[i]` tells that nothing gets through that site i sends."""

    def __init__(self, one: Station, other: Station, weather: Weather) -> None:
        self.stations = (one, other)
        self.weather = weather
        self.cut = [False, False]
        self.clogged_until = 0.0
        """Until then next to nothing gets through; what was sent meanwhile comes in one burst."""
        self.connections: list[Connection] = []
        self.dial_planned = [False, False]
        self.chances: list[random.Random | None] = [None, None]

    @property
    def name(self) -> str:
        """For traces."""
        return f"{self.stations[0].name}-{self.stations[1].name}"


class Network:
    """All lines. `backoff_s` is the range from which the wait before dialling is drawn."""

    def __init__(self, timeline: Timeline, streams: Streams, trace: Trace) -> None:
        self.lines: dict[frozenset[str], Line] = {}
        self.messages = 0
        self.watch: Callable[[Station, bytes], None] = _unwatched
        """Sees every message that a station sends, before anything becomes of it."""
        self.twist: dict[str, Twist] = {}
        """What stations that do not behave, by name, make of their own messages."""
        self.backoff_s = (limits.dial_backoff_min_s, limits.dial_backoff_max_s)
        self._timeline = timeline
        self._streams = streams
        self._trace = trace
        self._numbers = 0
        self._at: dict[tuple[str, int], tuple[Line, Connection, int]] = {}

    def add_line(self, one: Station, other: Station, weather: Weather) -> Line:
        """From now on these two could speak."""
        line = self.lines[frozenset((one.name, other.name))] = Line(one, other, weather)
        self._dial_soon(line)
        return line

    # -- connections -------------------------------------------------------------------------------------------------

    def station_started(self, station: Station) -> None:
        """A process runs now: lines that lead to it are dialled."""
        for line in self.lines.values():
            if station in line.stations:
                self._dial_soon(line)

    def station_stopped(self, station: Station, *, silently: bool) -> None:
        """A process has ended. Its peers are told by the operating system, or `silently` by nobody."""
        for line in self.lines.values():
            if station in line.stations:
                for connection in list(line.connections):
                    self._end(line, connection, line.stations.index(station), tell=not silently)

    def set_cut(self, line: Line, towards: tuple[bool, bool], *, reset: bool) -> None:
        """Cut a line, or a direction of it, or mend it. With `reset` both ends of connections are told at once."""
        line.cut = list(towards)
        self._trace.step(f"{self._timeline.now:.6f} line {line.name} cut {int(towards[0])}{int(towards[1])}")
        if reset and any(towards):
            for connection in list(line.connections):
                self._end(line, connection, None, tell=True)
        if not any(towards):
            self._dial_soon(line)

    def dial_all(self) -> None:
        """Try every line that has no connection, after the usual wait."""
        for line in self.lines.values():
            self._dial_soon(line)

    def _dial_soon(self, line: Line) -> None:
        for side in (0, 1):
            if not line.dial_planned[side]:
                line.dial_planned[side] = True
                wait = self._streams(f"dial/{line.name}/{side}").uniform(*self.backoff_s)
                self._timeline.after(wait, self._dialler(line, side))

    def _dialler(self, line: Line, side: int) -> Callable[[], None]:
        def dial() -> None:
            line.dial_planned[side] = False
            caller, called = line.stations[side], line.stations[1 - side]
            if any(line.cut) or not (caller.awake and called.awake) or caller.linked(called.replica_id):
                return  # mending, starting and ending plan the next attempt
            if caller.trusts(called.replica_id) and called.trusts(caller.replica_id):
                self._connect(line, side)
            elif caller.trusts(called.replica_id) or called.trusts(caller.replica_id):
                self._dial_soon(line)

        return dial

    def _connect(self, line: Line, dialler: int) -> None:
        ends = []
        for station in line.stations:
            self._numbers += 1
            ends.append(End(station, station.life, self._numbers))
        connection = Connection((ends[0], ends[1]))
        line.connections.append(connection)
        delay = line.weather.delay_s
        for side in (0, 1):
            self._at[line.stations[side].name, ends[side].number] = (line, connection, side)
            wait = delay * (2.0 if side == dialler else 2.5)
            self._timeline.after(wait, self._opener(line, connection, side, dialled=side == dialler))

    def _opener(self, line: Line, connection: Connection, side: int, *, dialled: bool) -> Callable[[], None]:
        def open_end() -> None:
            end, other = connection.ends[side], connection.ends[1 - side]
            if connection.dead or not end.station.up or end.station.life != end.life:
                self._end(line, connection, None, tell=True)
                return
            end.open = True
            end.station.link_up(end.number, other.station.replica_id, dialled=dialled)

        return open_end

    def close(self, station: Station, link: int) -> None:
        """A site ends a link: it hears of it soon, and so does the other side if the line lets it."""
        entry = self._at.get((station.name, link))
        if entry is None:
            return
        line, connection, side = entry
        end = connection.ends[side]
        if end.open:
            end.open = False
            self._timeline.after(0.0, self._downer(line, end))
        self._end(line, connection, side, tell=True)

    def other_end(self, station: Station, link: int) -> Station | None:
        """Whom a link leads to, if it is known here."""
        entry = self._at.get((station.name, link))
        return None if entry is None else entry[0].stations[1 - entry[2]]

    def _end(self, line: Line, connection: Connection, by: int | None, *, tell: bool) -> None:
        """The connection is over. `by` is the side that ended it; the other hears of it, if it is told."""
        if not connection.dead:
            connection.dead = True
            line.connections.remove(connection)
            self._dial_soon(line)
        for side in (0, 1):
            end = connection.ends[side]
            reachable = by is None or not line.cut[1 - side]
            if side != by and end.open and tell and reachable:
                end.open = False
                self._timeline.after(line.weather.delay_s if by is not None else 0.0, self._downer(line, end))

    def _downer(self, line: Line, end: End) -> Callable[[], None]:
        def down() -> None:
            self._at.pop((end.station.name, end.number), None)
            if end.station.up and end.station.life == end.life:
                end.station.link_down(end.number)
                self._dial_soon(line)

        return down

    @property
    def drained_at(self) -> float:
        """When all that is on lines now has been put on them."""
        return max((one[1].ends[one[2]].line_free_at for one in self._at.values()), default=0.0)

    # -- messages ----------------------------------------------------------------------------------------------------

    def send(self, station: Station, link: int, message: bytes, urgent: bool) -> None:
        """Put a message on a link. A link that is gone swallows it."""
        entry = self._at.get((station.name, link))
        if entry is None or not entry[1].ends[entry[2]].open:
            return
        self.messages += 1
        if len(message) > limits.message_bytes_max:
            raise OracleFailed(f"L7: {station.name} sends a message of {len(message)} bytes")
        self.watch(station, message)
        twist = self.twist.get(station.name)
        if twist is None:
            self._put(entry, message, urgent)
            return
        for wait, data in twist(entry[0].stations[1 - entry[2]], message):
            if wait:
                self._timeline.after(wait, self._putter(station, link, data, urgent))
            else:
                self._put(entry, data, urgent)

    def _putter(self, station: Station, link: int, message: bytes, urgent: bool) -> Callable[[], None]:
        def put() -> None:
            entry = self._at.get((station.name, link))
            if entry is not None and entry[1].ends[entry[2]].open:
                self._put(entry, message, urgent)

        return put

    def _put(self, entry: tuple[Line, Connection, int], message: bytes, urgent: bool) -> None:
        line, connection, side = entry
        if connection.dead:
            self._end(line, connection, 1 - side, tell=line.stations[1 - side].up)  # the other machine answers: unknown
            return
        weather, now = line.weather, self._timeline.now
        sender, receiver = connection.ends[side], connection.ends[1 - side]
        if line.cut[side]:
            return
        began = max(sender.line_free_at, now, line.clogged_until)
        sender.line_free_at = began + len(message) / weather.bytes_per_s
        chance = self._chance(line, side)
        if weather.fair:
            lane = int(urgent)
            arrival = sender.line_free_at + weather.delay_s + (chance.random() * weather.jitter_s)
            sender.free_at[lane] = arrival = max(arrival, sender.free_at[lane])
            self._deliver(sender, receiver, message, arrival)
            return
        for _ in range(1 + (chance.random() < weather.doubled)):
            if chance.random() >= weather.lost:
                late = chance.random() * weather.jitter_s * (10 if chance.random() < 0.1 else 1)
                self._deliver(sender, receiver, message, sender.line_free_at + weather.delay_s + late)

    def _chance(self, line: Line, side: int) -> random.Random:
        chance = line.chances[side]
        if chance is None:
            chance = line.chances[side] = self._streams(f"line/{line.name}/{side}")
        return chance

    def clog(self, line: Line, seconds: float) -> None:
        """For so long next to nothing gets through a line; no end is told."""
        line.clogged_until = max(line.clogged_until, self._timeline.now + seconds)
        self._trace.step(f"{self._timeline.now:.6f} line {line.name} is clogged for {seconds:.1f} s")

    def _deliver(self, sender: End, receiver: End, message: bytes, arrival: float) -> None:
        sender.queued_bytes += len(message)
        if sender.queued_bytes > limits.link_queue_bytes_max:
            raise OracleFailed(f"L7: {sender.station.name} has more on one link than it may hold")

        def arrive() -> None:
            sender.queued_bytes -= len(message)
            station = receiver.station
            if receiver.open and station.up and station.life == receiver.life:
                self._trace.step(
                    f"{self._timeline.now:.6f} {station.name} gets {len(message)} bytes from "
                    f"{sender.station.name} {zlib.crc32(message):08x}"
                )
                station.receive(receiver.number, message)

        self._timeline.at(arrival, arrive)
