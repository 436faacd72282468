"""Random histories of three sites: edits, exchange, restarts, lost keys; in the end all agree (L2, L5, L8)."""

from __future__ import annotations

import random

import pytest

from crdtsync import limits
from crdtsync.replication.stored import KeyObject
from crdtsync.storage.memory import MemoryStore

from .sites import SiteRig, patient_of, record_of

RECORDS = 6
STEPS = 60


def step(rng: random.Random, sites: list[SiteRig], missing: dict[str, list[KeyObject]]) -> None:
    site, other = rng.sample(sites, 2)
    act = rng.random()
    if act < 0.45:
        site.derive()
        if site.engine.needs_boot:
            site.engine.open_boot()
        site.write_all([request_of(rng, site) for _ in range(rng.randint(1, 3))])
    elif act < 0.75:
        log_end = other.store.log_head().arrival
        upto = rng.randint(0, log_end) if rng.random() < 0.5 else log_end
        with_keys = rng.random() < 0.8
        site.pull(other, upto=upto, keys=with_keys)
        ids = [ref.key for s in other.store.arrivals(0, upto + 1, 10**9) for ref in s.commit.header.parts]
        missing[site.name].extend(other.engine.read_keys(ids))
    elif act < 0.85:
        site.engine.derive(site.now(), rng.randint(1, 5))
    elif act < 0.92:
        site.engine.put_keys(missing[site.name])
        missing[site.name].clear()
        site.engine.derive_waiting(site.now(), rng.randint(1, 4))
    elif act < 0.96:
        assert isinstance(site.store, MemoryStore)
        site.store.crash(lambda written: rng.randint(0, written))
        site.reopen()
    elif act < 0.98:
        site.open()
    else:
        site.engine.rebuild(site.now())


def request_of(rng: random.Random, site: SiteRig):  # type: ignore[no-untyped-def]  # a WriteRequest
    records = []
    for number in rng.sample(range(RECORDS), rng.randint(1, 4)):
        state = site.engine.record("patient", record_of(number))
        patient = patient_of(number) if state is None else site.patient(number)
        choice = rng.random()
        if choice < 0.4:
            patient.title = f"t{rng.randint(0, 9)}"
        elif choice < 0.7:
            patient.phones.add(f"0{rng.randint(0, 9)}")
        elif choice < 0.9:
            patient.note.insert(rng.randint(0, len(patient.note)), rng.choice(["ü", "ab", "€"]))
        else:
            patient.family_name = "x" * 300_000  # refused
        records.append(patient)
    return site.request(*records)


@pytest.mark.parametrize("seed", range(25))
def test_sites_agree_in_the_end(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    if seed % 2:
        monkeypatch.setattr(limits, "commit_bytes_target", 900)
        monkeypatch.setattr(limits, "documents_cached_max", 3)
    sites = [SiteRig(f"{name}-{seed}", MemoryStore()) for name in ("jena", "weimar", "gera")]
    missing: dict[str, list[KeyObject]] = {site.name: [] for site in sites}
    for _ in range(STEPS):
        step(rng, sites, missing)
    for _ in range(2):
        for site in sites:
            for other in sites:
                if other is not site:
                    site.pull(other)
                    ids = [r.key for s in other.store.arrivals(0, 10**6, 10**9) for r in s.commit.header.parts]
                    site.engine.put_keys(other.engine.read_keys(ids))
            site.derive()
            while not site.engine.derive_waiting(site.now()).done:
                pass
    digests = {site.engine.digest() for site in sites}
    assert len(digests) == 1
    for site in sites:
        assert site.store.waiting() == {}
        assert site.verify(*sites) == []
        assert site.engine.rebuild(site.now()) in digests
    conflicts = [[(c.id, c.body) for c in sorted(site.store.conflicts(), key=lambda c: c.id)] for site in sites]
    assert conflicts[0] == conflicts[1] == conflicts[2]
