"""A process that writes until it is killed: keys, then the log, then the view; a line says what is acknowledged."""

from __future__ import annotations

import sys

from crdtsync.replication.stored import LogHead
from crdtsync.storage.base import ViewState
from crdtsync.storage.sqlite import SqliteStore
from crdtsync.testing.stores import TABLE, SampleLog, sample_change, sample_key


def main(folder: str) -> None:
    """Go on where the folder ends."""
    store = SqliteStore(folder, bytes(range(32)))
    store.declare_tables([TABLE])
    log = SampleLog("killed")
    log.head = store.frontier().get(log.log, log.head)
    head, derived = store.log_head(), store.view_state().head.arrival
    while True:
        first, count = head.arrival + 1, 1 + head.arrival % 4
        store.put_keys([sample_key(number) for number in range(first, first + count)])
        head = store.append(log.run(count), 1)
        sys.stdout.write(f"{head.arrival}\n")
        sys.stdout.flush()
        derived = _derive(store, head, derived)


def _derive(store: SqliteStore, head: LogHead, derived: int) -> int:
    store.begin_view()
    for number in range(derived + 1, head.arrival + 1):
        store.write_view([sample_change(number)])
    store.commit_view(ViewState(head, bytes(32), head.arrival))
    return head.arrival


if __name__ == "__main__":
    main(sys.argv[1])
