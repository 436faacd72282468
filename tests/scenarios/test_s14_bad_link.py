"""S14: 64 kbit/s with a second of delay and 5 % loss, lines that come and go, minutes in which a third is lost.

Jena and Weimar, each in a network namespace of its own, joined by one such line (`lines.py`); and five sites in a ring
of them, with partitions and packets lost one way. Work goes on at all sites. In every window in which packets pass,
what is durable at the other side grows; nothing begins from zero, not even after a kill; memory is bounded.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

import pytest

from crdtsync import limits
from tests.scenarios.changed import change_limits
from tests.scenarios.lines import FAIR, SLOW, Country, Line, Weather, country, port
from tests.scenarios.processes import Practice, Server, converged, until
from tests.scenarios.usage import memory_bytes

STORM = replace(SLOW, loss=0.3)
memory_growth_max = 48 * 1024 * 1024
"""Of a process that sends or receives some hundred records over a bad line."""
recovery_s = 2 * limits.idle_seconds_max + limits.dial_backoff_max_s + limits.handshake_seconds_max
"""In a window that lasts so long something must come through whatever came before: a line whose TCP has backed off is
given up after `idle_seconds_max`, dialled again, and shakes hands with losses."""
IMPATIENT = {
    "idle_seconds_max": 9.0,
    "ping_interval_s": 3.0,
    "watch_interval_s": 1.0,
    "repair_interval_s": 2.0,
    "dial_backoff_max_s": 2.0,
}
"""For the short form: a line that is dead in one way is given up after seconds, not after a minute."""
wire_over_content_max = 3.0
"""Bytes that one side puts on the line for each byte of commits: headers of TLS, TCP and IP, what TCP sends again (a
twentieth to a third is lost), acknowledgements of the other way, digests."""
wire_per_second_max = 600
"""Bytes a second besides: digests, credit, pings and their acknowledgements, and handshakes after each interruption."""


@pytest.fixture
def land(practice: Practice) -> Iterator[Country]:
    with country(14, practice.close) as land:
        yield land


def settle(land: Country, *servers: Server) -> None:
    """Give each site a namespace of its own."""
    for server in servers:
        server.before = land.within(land.place())
        server.address = f"0.0.0.0:{port}"


def wrote(server: Server, records: int, word: str = "") -> None:
    for number in range(records):
        server.write("patient", family_name=f"{server.name} {word} {number}", given_name="Erika")


def commits(server: Server) -> int:
    return int(server.ask("status")["commits"])


@dataclass
class Pair:
    """Two sites and the line between them."""

    jena: Server
    weimar: Server
    line: Line

    def serve(self) -> None:
        self.jena.serve()
        self.weimar.serve(f"{self.line.addresses[0]}:{port}")

    def goal(self) -> int:
        """How many records both have in the end."""
        return int(self.jena.digest()["records"]) + int(self.weimar.digest()["records"])

    def more_comes(self, what: str) -> None:
        """Something more becomes durable at Weimar, or all that there is has."""
        before, goal = commits(self.weimar), commits(self.jena)
        until(lambda: commits(self.weimar) > min(before, goal - 1), what, recovery_s)


@dataclass(frozen=True)
class Figures:
    """What it took: seconds, bytes of all commits, bytes that each side put on the line, bytes that the processes grew
    by, commits that came twice over the last link."""

    seconds: float
    content: int
    sent: tuple[int, ...]
    grown: tuple[int, ...]
    duplicates: int


def pair(practice: Practice, land: Country) -> Pair:
    jena, weimar = practice.found("Jena", "Weimar")
    settle(land, jena, weimar)
    found = Pair(jena, weimar, land.line(0, 1))
    found.line.set(SLOW)
    found.serve()
    return found


def bad_link(practice: Practice, land: Country, records: int, flaps: int, dark_s: float, storm_s: float) -> Figures:
    """The whole of S14 at one size. What passes is checked by what is durable, never by how long it took."""
    p = pair(practice, land)
    memory = {server.name: memory_bytes(server.worker()) for server in (p.jena, p.weimar)}
    began = time.monotonic()
    wrote(p.weimar, records // 4)
    wrote(p.jena, records)
    p.more_comes("the first commits over the bad line")
    for number in range(flaps):
        p.line.cut()
        over = time.monotonic() + dark_s
        held = commits(p.weimar)
        wrote(p.jena, 2, f"in the dark {number}")
        until(lambda over=over: time.monotonic() > over, "the end of the dark", dark_s + 10)
        assert commits(p.weimar) == held, "nothing passes a line that is cut"
        p.line.mend()
        p.more_comes(f"progress after interruption {number}")
    # A kill in the middle: it goes on from what it has on disk.
    held = commits(p.weimar)
    p.weimar.kill()
    p.weimar.serve(f"{p.line.addresses[0]}:{port}")
    assert commits(p.weimar) >= held
    p.more_comes("progress after a kill")
    weather = STORM
    over = time.monotonic() + storm_s
    p.line.set(weather)
    while time.monotonic() < over and commits(p.weimar) < commits(p.jena):
        p.more_comes("progress while a third is lost")
    p.line.set(SLOW)
    until(lambda: p.weimar.digest()["records"] == records + records // 4 + 2 * flaps, "all records at Weimar", 1_200)
    until(lambda: p.jena.digest() == p.weimar.digest(), "equal digests", recovery_s)
    peer = p.weimar.peer(p.jena)
    ways = (p.line.there.sent.bytes, p.line.back.sent.bytes)
    grown = tuple(memory_bytes(server.worker()) - memory[server.name] for server in (p.jena, p.weimar))
    found = Figures(time.monotonic() - began, content_bytes(p.jena), ways, grown, peer["duplicates_in"])
    for sent in ways:
        assert sent <= wire_over_content_max * found.content + wire_per_second_max * found.seconds, found
    assert max(grown) <= memory_growth_max and found.duplicates == 0, found
    for server in (p.jena, p.weimar):
        assert server.verb("verify")["ok"] is True
    return found


def content_bytes(server: Server) -> int:
    """Bytes of all commits in its log."""
    with closing(sqlite3.connect(f"file:{server.folder / 'log.db'}?mode=ro", uri=True)) as log:
        sql = "SELECT sum(length(header) + length(parts) + length(signature)) FROM entry"
        return int(log.execute(sql).fetchone()[0])


@pytest.mark.slow
def test_a_bad_link(practice: Practice, land: Country) -> None:
    bad_link(practice, land, records=40, flaps=1, dark_s=3, storm_s=0)


@pytest.mark.slow
def test_what_is_interrupted_again_and_again_gets_further(practice: Practice, land: Country) -> None:
    """Weimar dies after ten seconds each time, in which the line carries half of what it lacks at most."""
    jena, weimar = practice.found("Jena", "Weimar")
    settle(land, jena, weimar)
    line = land.line(0, 1)
    line.set(Weather(bits_per_s=128_000, delay_s=0.1, loss=0.01))
    jena.serve()
    wrote(jena, 500)
    weimar.serve()
    held = [commits(weimar)]
    weimar.stop()
    for _ in range(2):
        weimar.serve(f"{line.addresses[0]}:{port}")
        over = time.monotonic() + 10
        until(lambda over=over: time.monotonic() > over, "the next interruption")
        held.append(commits(weimar))
        weimar.kill()
    assert held[0] < held[-1] < commits(jena) and held == sorted(held), held


@pytest.mark.soak
def test_a_bad_link_for_a_quarter_of_an_hour(practice: Practice, land: Country) -> None:
    bad_link(practice, land, records=2_000, flaps=12, dark_s=20, storm_s=240)


# -- five sites in a ring ---------------------------------------------------------------------------------------------


class Ring:
    """Five sites, each with lines to its two neighbours only."""

    names = ("Jena", "Weimar", "Gera", "Apolda", "Erfurt")

    def __init__(self, practice: Practice, land: Country, seed: int, patience: dict[str, float]) -> None:
        self.servers = practice.found(*self.names)
        for server in self.servers:
            change_limits(server, **patience)
        self.chance = random.Random(seed)
        settle(land, *self.servers)
        count = len(self.servers)
        self.lines = [land.line(place, (place + 1) % count) for place in range(count)]
        self.weather(lambda: FAIR)
        neighbours = [f"{line.addresses[1]}:{port}" for line in self.lines]
        with ThreadPoolExecutor() as starting:  # each dials its right-hand neighbour
            list(starting.map(Server.serve, self.servers, neighbours))
        self.written = 0

    def weather(self, draw: Callable[[], Weather]) -> None:
        """Anew for each way of each line."""
        for line in self.lines:
            line.set(draw(), draw())

    def bad(self) -> Weather:
        """A way as bad as any, at times dead while the other way lives."""
        return Weather(
            bits_per_s=self.chance.choice((64_000, 256_000, 2_000_000)),
            delay_s=self.chance.choice((0.02, 0.2, 1.0)),
            jitter_s=self.chance.choice((0.0, 0.1)),
            loss=self.chance.choice((0.0, 0.05, 0.3)),
            twice=self.chance.choice((0.0, 0.02)),
            down=self.chance.random() < 0.15,
        )

    def write(self, records: int) -> None:
        for server in self.servers:
            wrote(server, records, f"round {self.written}")
            self.written += records

    def heal(self) -> None:
        """With good lines again all agree."""
        self.weather(lambda: FAIR)
        until(lambda: all(s.digest()["records"] == self.written for s in self.servers), "all records everywhere", 300)
        converged(*self.servers)
        for server in self.servers:
            status = server.ask("status")
            assert (status["frozen"], status["late"], status["held"], status["alarms"]) == ([], [], [], [])


def round_the_ring(
    practice: Practice, land: Country, seed: int, rounds: int, records: int, seconds: float, patience: dict[str, float]
) -> None:
    ring = Ring(practice, land, seed, patience)
    ring.write(2)
    ring.heal()
    for _ in range(rounds):
        ring.weather(ring.bad)
        ring.write(records)
        over = time.monotonic() + seconds
        until(lambda over=over: time.monotonic() > over, "the end of this weather", seconds + 10)
    ring.heal()
    # One line is cut for good: everything goes the other way round.
    ring.lines[ring.chance.randrange(5)].cut()
    ring.write(records)
    until(lambda: all(s.digest()["records"] == ring.written for s in ring.servers), "the other way round", 300)
    for server in ring.servers:
        assert server.ask("verify")["ok"] is True


@pytest.mark.slow
def test_a_ring_of_five_over_bad_lines(practice: Practice, land: Country) -> None:
    round_the_ring(practice, land, seed=1, rounds=1, records=4, seconds=5, patience=IMPATIENT)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_ring_of_five_for_minutes(practice: Practice, land: Country, seed: int) -> None:
    round_the_ring(practice, land, seed, rounds=10, records=40, seconds=20, patience={})
