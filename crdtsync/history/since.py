"""Since when a folder's times of arrival tell what its site knew.

A new site fetches years of records in minutes: all of them arrive "today". So a folder notes when it first had all that
another site held. Before that moment its arrivals say nothing, and the past is read by when commits were written.
"""

from __future__ import annotations

from typing import Final

from crdtsync.host import Host
from crdtsync.opened import Opened
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.membership import Membership

META_SINCE: Final = "history.since"
"""Milliseconds since 1970 as a decimal text. Whoever puts older content into a folder, as restoring does, removes it:
then it is noted anew."""
FROM_THE_BEGINNING: Final = b"0"
"""What the folder that founds a practice notes: it never had to fetch anything."""


def since_ms(host: Host, membership: Membership) -> int | None:
    """Since when arrivals count, in ms since 1970; None while this site never had all that another one held.

    The founder's folder counts from its beginning, also when it was made before this was noted.
    """
    noted = host.store.meta(META_SINCE)
    if noted is not None and noted.isdigit():
        return int(noted)
    records = membership.records()
    return 0 if records and decode_record(records[0][1]).author == host.replica else None


async def note_since(site: Opened) -> None:
    """Wait until this site, which is serving, has all that the first site it hears of held then, and note the time.

    Returns at once where that is noted. Cancelling it is harmless: it is tried again with the next serving.
    """
    driver = site.driver
    replica = driver.replica
    if await driver.thread.run(lambda host: since_ms(host, replica.membership)) is not None:
        return
    while not (live := [peer for peer in replica.peers.values() if peer.live]):
        await driver.heard.wait()
    goal = [(log, head) for log, head in live[0].have.items() if log not in replica.frozen]
    while not replica.stored.covers(goal):
        await driver.heard.wait()
    await driver.thread.run(lambda host: host.store.set_meta({META_SINCE: str(host.now_ms()).encode()}))
