"""How long a healed world may take to come to rest, and how much it may say when it is at rest.

Both are computed, not chosen: from what is outstanding, from lines and disks as they are, and from the intervals that
the house has named in `limits`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from crdtsync import limits
from crdtsync.ids import LogId
from crdtsync.testing.network import Line
from crdtsync.testing.process import Process
from crdtsync.testing.verdict import OracleFailed

if TYPE_CHECKING:
    from crdtsync.testing.world import World


def allowed_s(world: World) -> float:
    """Seconds within which all members must be one.

    A link that has silently died is noticed after `idle_seconds_max` and dialled again; then what is outstanding goes
    over one hop after the other. At each hop the two sides meet (a few round trips, each of which a repair may have to
    begin), a feed may have stalled once, the bytes take their time on the line, at most a window of credit per round
    trip, and each batch its sync. What waits for keys or attests needs another way through the practice.
    """
    stations = [*world.members(), *world.keepers(), *world.closed()]
    lines = [line for line in world.network.lines.values() if all(s in stations for s in line.stations)]
    commits, size = _outstanding(stations)
    rtt = max((2 * (line.weather.delay_s + line.weather.jitter_s) for line in lines), default=0.0)
    rate = min((line.weather.bytes_per_s for line in lines), default=1e6)
    sync = max(process.machine.sync_s for process in stations) * 1.5
    care = max((node.care_s for node in world.members()), default=0.0)
    window = min(limits.in_flight_bytes_max, limits.inbox_bytes_max)
    repair, stall = limits.repair_interval_s, limits.feed_stall_s
    meeting = 6 * rtt + 4 * repair
    # A feed that meets a full inbox is dropped and asked for again: so often at most as the inbox fills up.
    refills = commits // max(1, limits.inbox_commits_max // 2) + size // max(1, limits.inbox_bytes_max // 2)
    moving = stall + repair + refills * (stall + repair)
    transfer = size / rate + (1 + size // window) * rtt + commits * 3 * sync
    left = len(world.ledger.removed) + len(world.ledger.closed)
    ways = 2 + left + world.faults["rotations"] + world.faults["newcomers"]
    news = ways * (rtt + sync + care + repair)
    hops = _longest_way(stations, lines)
    twins = len(stations) - len({process.replica_id for process in stations})
    slow = 1 + 2 * any(archive.hostile for archive in world.archives.values()) + 3 * twins
    found_dead = limits.idle_seconds_max + repair + limits.dial_backoff_max_s + rtt
    return found_dead + care + slow * hops * (meeting + moving + transfer + news)


def _outstanding(stations: list[Process]) -> tuple[int, int]:
    """Commits and bytes that some disk lacks, summed over disks, the largest share twice: each crosses into it once."""
    whole: dict[LogId, tuple[int, Process]] = {}
    for process in stations:
        for log, head in process.disk.frontier().items():
            if head.sequence > whole.get(log, (0, process))[0]:
                whole[log] = (head.sequence, process)
    commits = size = 0
    for process in stations:
        frontier = process.disk.frontier()
        for log, (sequence, holder) in whole.items():
            here = frontier[log].sequence if log in frontier else 0
            if here < sequence:
                number, weight = holder.disk.backlog({log: here + 1})
                commits, size = commits + number, size + weight
    return commits, size


def _longest_way(stations: list[Process], lines: list[Line]) -> int:
    """The number of lines between the two that are furthest from each other."""
    beside: dict[str, list[str]] = {process.name: [] for process in stations}
    for line in lines:
        one, other = (station.name for station in line.stations)
        beside[one].append(other)
        beside[other].append(one)
    longest = 1
    for start in beside:
        reached, left = {start: 0}, deque([start])
        while left:
            name = left.popleft()
            for other in beside[name]:
                if other not in reached:
                    reached[other] = reached[name] + 1
                    left.append(other)
        longest = max(longest, *reached.values())
    return longest


def quiet(world: World) -> None:
    """L7: a practice at rest says little: per link and side one digest in each repair interval, a ping and its answer
    in each ping interval, and nothing else that it would not say once. What was on slow lines comes first."""
    if any(archive.hostile for archive in world.archives.values()):
        return
    names = [process.name for process in world.everybody() if process.up]
    if len({process.identity for process in world.everybody()}) < len(world.everybody()):
        return  # two machines with one identity take each other's links away
    seconds = 4 * limits.repair_interval_s
    world.run(max(world.network.drained_at - world.timeline.now, 0.0) + limits.repair_interval_s)
    before, said = world.network.messages, world.desk.written
    world.run(seconds)
    ends = sum(len(process.replica.peers) for process in world.everybody() if process.up)
    per_end = (seconds / limits.repair_interval_s + 1) + 2 * (seconds / limits.ping_interval_s + 1)
    told = world.network.messages - before
    if said == world.desk.written and told > ends * per_end + len(names):
        raise OracleFailed(f"L7: at rest {ends} ends of links say {told} things in {seconds:.0f} s")
