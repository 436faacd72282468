"""Bad lines between real processes: each site in a network namespace of its own, packets carried by this program.

A line joins two namespaces. Its two ends are TUN devices; a thread reads the packets that one end sends and writes them
to the other, late, at a rate, lost or doubled as the line's weather wants, by a seeded chance for each way. Above it
runs the operating system's own TCP, with its timeouts and retransmissions. Linux and root only.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import os
import random
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.scenarios.privileges import need_network_namespaces

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
packet_bytes_max = 1_400
port = 7_000
"""Where every site listens, in its own namespace."""


@dataclass(frozen=True)
class Weather:
    """What one way of a line does to packets."""

    bits_per_s: float = math.inf
    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Up to so much more delay. Packets stay in order."""
    loss: float = 0.0
    twice: float = 0.0
    """Chance that a packet arrives a second time."""
    down: bool = False
    queue_s: float = 3.0
    """Packets that would wait longer for the rate are dropped, as a router's full queue does."""


FAIR = Weather()
SLOW = Weather(bits_per_s=64_000, delay_s=1.0, jitter_s=0.2, loss=0.05, twice=0.01)
"""64 kbit/s with a second of delay, one packet in twenty lost."""


@dataclass
class Count:
    """Packets and bytes of one way."""

    packets: int = 0
    bytes: int = 0


class Way:
    """One direction of a line."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source: int, target: int, seed: str) -> None:
        self.weather = FAIR
        self.sent, self.arrived = Count(), Count()
        self._loop = loop
        self._source, self._target = source, target
        self._chance = random.Random(seed)
        self._free_at = 0.0
        self._last_at = 0.0
        loop.call_soon_threadsafe(loop.add_reader, source, self._read)

    def _read(self) -> None:
        while True:
            try:
                packet = os.read(self._source, 65_536)
            except BlockingIOError:
                return
            except OSError:  # the device is gone with its namespace
                self._loop.remove_reader(self._source)
                return
            self._carry(packet)

    def _carry(self, packet: bytes) -> None:
        self.sent.packets += 1
        self.sent.bytes += len(packet)
        weather, now = self.weather, self._loop.time()
        draw = self._chance.random
        lost, twice, late = draw() < weather.loss, draw() < weather.twice, draw() * weather.jitter_s
        free_at = max(now, self._free_at)
        if weather.down or lost or free_at - now > weather.queue_s:
            return
        self._free_at = free_at + len(packet) * 8 / weather.bits_per_s
        self._last_at = max(self._last_at, self._free_at + weather.delay_s + late)
        for _ in range(1 + twice):
            self._loop.call_at(self._last_at, self._arrive, packet)

    def _arrive(self, packet: bytes) -> None:
        if self.weather.down:
            return
        with contextlib.suppress(OSError):
            os.write(self._target, packet)
            self.arrived.packets += 1
            self.arrived.bytes += len(packet)


class Line:
    """Two ways between two namespaces. `addresses` are those of its ends."""

    def __init__(self, ends: tuple[int, int], addresses: tuple[str, str], there: Way, back: Way) -> None:
        self.ends, self.addresses = ends, addresses
        self.there, self.back = there, back

    def set(self, there: Weather, back: Weather | None = None) -> None:
        """From now on the line is like this; `back` as `there` where it is not given."""
        self.there.weather, self.back.weather = there, back or there

    def cut(self) -> None:
        """Nothing passes, in either way."""
        for way in (self.there, self.back):
            way.weather = replace(way.weather, down=True)

    def mend(self) -> None:
        """What passed before the cut passes again."""
        for way in (self.there, self.back):
            way.weather = replace(way.weather, down=False)


class Country:
    """Namespaces and the lines between them."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._names: list[str] = []
        self._devices: list[int] = []
        self._lines = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def place(self) -> int:
        """A new namespace; its number."""
        name = f"crdtsync-{os.getpid()}-{len(self._names)}"
        ip("netns", "add", name)
        self._names.append(name)
        ip("-n", name, "link", "set", "lo", "up")
        return len(self._names) - 1

    def within(self, place: int) -> tuple[str, ...]:
        """The words before a command that runs it in that namespace, as the same process."""
        return ("ip", "netns", "exec", self._names[place])

    def line(self, first: int, second: int) -> Line:
        """Join two namespaces."""
        number = self._lines
        self._lines += 1
        addresses = (f"10.77.{number}.1", f"10.77.{number}.2")
        ends = tuple(self._device(f"cs{os.getpid() % 100_000}l{number}e{end}") for end in (0, 1))
        for end, place in enumerate((first, second)):
            name, device = self._names[place], f"cs{os.getpid() % 100_000}l{number}e{end}"
            ip("link", "set", device, "netns", name)
            ip("-n", name, "addr", "add", addresses[end], "peer", addresses[1 - end], "dev", device)
            ip("-n", name, "link", "set", device, "mtu", str(packet_bytes_max), "up")
        there = Way(self._loop, ends[0], ends[1], f"{self._seed} {number} there")
        back = Way(self._loop, ends[1], ends[0], f"{self._seed} {number} back")
        return Line((first, second), addresses, there, back)

    def _device(self, name: str) -> int:
        handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        self._devices.append(handle)
        fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
        return handle

    def close(self) -> None:
        """End the thread, give devices and namespaces back. Who runs in them has ended."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for handle in self._devices:
            os.close(handle)
        for name in self._names:
            ip("netns", "del", name)


def ip(*words: str) -> None:
    """Run `ip`; what it says against it is the error."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@contextmanager
def country(seed: int, end_all: Callable[[], None]) -> Iterator[Country]:
    """Namespaces for one test; `end_all` ends the processes in them."""
    need_network_namespaces()
    made = Country(seed)
    try:
        yield made
    finally:
        end_all()
        made.close()
