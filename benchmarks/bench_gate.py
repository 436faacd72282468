"""What the gate in front of documents costs a receiver: deriving 20,000 new records of 12 fields, with it and without.

    python benchmarks/bench_gate.py [--records N] [--rounds N]

Two shapes: one commit per record, and 200 records per commit. "Without" takes the check of a delta and the question
whether it fits out of this process, and nothing else: a measurement, no way to run a site. One JSON line per shape; a
share is that of the best round with over the best round without (L6).
"""

from __future__ import annotations

import argparse
import gc
import json
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crdtsync import folder
from crdtsync.documents import Document, Reach, edits_of
from crdtsync.engine import Engine, RecordEdits, WriteGrant, WriteRequest, derive
from crdtsync.ids import PracticeId, RecordId, ReplicaId, base32
from crdtsync.practice import Patient
from crdtsync.replication.stored import StoredCommit
from crdtsync.sealing.keyring import Keyring
from crdtsync.sealing.suite1 import Suite1
from crdtsync.storage.base import Store
from crdtsync.storage.memory import MemoryStore
from crdtsync.storage.sqlite import SqliteStore

PRACTICE = PracticeId(b"p" * 16)
EPOCH_KEY = b"e" * 32
NOW_MS = 1_700_000_000_000
ANY = Reach(0, 0, 0, {})


def engine(store: Store) -> tuple[Engine, WriteGrant]:
    """An engine with the real sealing over this store, a new replica each time."""
    sealer = Suite1(folder.new_keys().identity(), secrets.token_bytes)
    keyring = Keyring(sealer)
    epoch = keyring.learn(EPOCH_KEY)
    made = Engine(store, sealer, keyring, practice=PRACTICE, replica=ReplicaId(sealer.public.replica))
    made.open_boot()
    return made, WriteGrant((), epoch)


def patient(number: int) -> RecordEdits:
    """A record with 12 fields."""
    text = str(number)
    made = Patient(
        number=text, family_name=f"Muster{text}", given_name="Erika", title="Dr.", birth_date="1950-01-01",
        sex="female", insurance_number="A123456780", deceased=False, home_site="Jena", note="n" + text,
        archived=False, deceased_on=None, source={"system": "bench", "id": text},
    )  # fmt: skip
    made.id = RecordId(base32(number.to_bytes(16, "big")))
    made.phones.add(f"+49 3641 {text}")
    return RecordEdits("patient", made.id, made.id, edits_of(made, lambda: "k"))


def derived(log: list[StoredCommit], author: Engine) -> float:
    """Seconds of processor time that a receiver takes to derive this log: it is one thread, and others may be busy."""
    keys = [ref.key for stored in log for ref in stored.commit.header.parts if ref.introduces]
    with tempfile.TemporaryDirectory() as place:
        store = SqliteStore(Path(place), secrets.token_bytes(32))
        receiver, _ = engine(store)
        receiver.append([(stored.commit, True) for stored in log], author.read_keys(keys), NOW_MS)
        gc.collect()
        began = time.process_time()
        while not receiver.derive(NOW_MS).done:
            pass
        seconds = time.process_time() - began
        store.close()
    return seconds


@contextmanager
def without() -> Iterator[None]:
    """Neither check nor question."""
    gate = {(derive, "check_delta"): lambda delta, client: ANY, (Document, "missing"): lambda self, reach, own=None: []}
    kept = {place: getattr(*place) for place in gate}
    for (owner, name), nothing in gate.items():
        setattr(owner, name, nothing)
    try:
        yield
    finally:
        for (owner, name), real in kept.items():
            setattr(owner, name, real)


def measure(shape: str, records: int, per_commit: int, rounds: int) -> None:
    memory = MemoryStore()
    author, grant = engine(memory)
    for first in range(0, records, per_commit * 50):
        requests = [
            WriteRequest("dr", "", "", "", [patient(n) for n in range(start, min(start + per_commit, records))])
            for start in range(first, min(first + per_commit * 50, records), per_commit)
        ]
        author.write(requests, grant, NOW_MS)
    log = memory.arrivals(0, records, 10**12)

    def once(gate: bool) -> float:
        if gate:
            return derived(log, author)
        with without():
            return derived(log, author)

    seconds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(rounds):
        for gate in (True, False) if turn % 2 else (False, True):
            seconds[gate].append(once(gate))
    best = {gate: min(found) for gate, found in seconds.items()}
    print(
        json.dumps(
            {
                "bench": "gate",
                "shape": shape,
                "records": records,
                "commits": len(log),
                "with_per_s": round(records / best[True]),
                "without_per_s": round(records / best[False]),
                "share": round(best[True] / best[False] - 1, 4),
                "rounds": rounds,
            }
        ),
        flush=True,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--records", type=int, default=20_000)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    shapes: list[tuple[str, int]] = [("one commit per record", 1), ("200 records per commit", 200)]
    for shape, per_commit in shapes:
        measure(shape, given.records, per_commit, given.rounds)


if __name__ == "__main__":
    main()
