"""S38: a member writes poison into its log. Honest sites go on, say which commit of whom is held, and are the same.

Everything runs as real `serve` processes. The poisoned log travels through a third site that holds nothing against it:
one that forged, was started again and serves its log as any member does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from crdtsync.testing import forge
from tests.engine.hostile import bomb
from tests.scenarios.processes import PASSPHRASE, Practice, Server, converged, until

FEW = 3


@pytest.fixture
def practice(tmp_path: Path) -> Iterator[Practice]:
    made = Practice(tmp_path)
    yield made
    made.close()


def poisons(folder: Path) -> dict[str, bytes]:
    """The files of fuzzed updates, and bombs."""
    found = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    assert len(found) == 15
    return found | {f"bomb {depth}": bomb(depth, 7) for depth in (500, 3_300, 20_000, 50_000, 100_000)}


@pytest.mark.slow
def test_some_poison(practice: Practice, test_data: Path) -> None:
    every = poisons(test_data / "poison")
    some = ["21_0_apply_PanicException_base0.bin", "22_9_apply_signal7_base1.bin", "bomb 100000"]
    assert len(some) == FEW
    _play(practice, {name: every[name] for name in some})


@pytest.mark.slow
def test_all_poison(practice: Practice, test_data: Path) -> None:
    _play(practice, poisons(test_data / "poison"))


def _play(practice: Practice, deltas: Mapping[str, bytes]) -> None:
    jena, gera, mallory = practice.found("Jena", "Gera", "Mallory")
    jena.serve()
    gera.serve(jena)
    mallory.serve(jena, gera)
    records = [mallory.write("patient", family_name=f"First{n}") for n, _ in enumerate(deltas)]
    converged(jena, gera, mallory, records=len(records))
    mallory.stop()
    held = {}
    for number, (name, delta) in enumerate(deltas.items()):
        record = records[number]
        for own in (False, True):
            commit = forge(
                mallory.folder,
                passphrase=PASSPHRASE,
                kind="patient",
                record_id=record,
                delta=delta,
                own_client_id=own,
            )
            held[commit] = record
        assert len(held) == 2 * number + 2, name
    mallory.serve(jena, gera)
    last = mallory.write("patient", family_name="Last")
    _settled((jena, gera, mallory), held, records, last)
    jena.kill()
    gera.stop()
    jena.serve(gera, mallory)
    gera.serve(jena, mallory)
    _settled((jena, gera, mallory), held, records, last)
    jena.change(records[0], title="entered anew")
    until(lambda: all("damaged" not in each.show(records[0]) for each in (jena, gera, mallory)), "a whole record")
    converged(jena, gera, mallory)
    for server in (jena, gera, mallory):
        assert server.show(records[0])["fields"]["title"] == "entered anew"
    jena.stop()
    assert jena.verb("verify")["ok"] is True
    assert jena.verb("rebuild")["digest"] == mallory.digest()["digest"]


def _settled(servers: tuple[Server, ...], held: Mapping[str, str], records: list[str], last: str) -> None:
    """Every site is alive, names all that is held and by whom, and has everything else."""
    for server in servers:

        def told(server: Server = server) -> list[dict[str, Any]] | None:
            found: list[dict[str, Any]] = server.ask("status")["held"]
            return found if {each["commit"] for each in found} == held.keys() else None

        found = until(told, f"{server.name} names what is held")
        for each in found:
            assert each["site"] == "Mallory" and each["records"] == [held[each["commit"]]] and each["reason"]
    converged(*servers, records=len(records) + 1)
    for server in servers:
        assert server.show(last)["fields"]["family_name"] == "Last" and "damaged" not in server.show(last)
        for number, record in enumerate(records):
            shown = server.show(record)
            assert shown["fields"] == {"family_name": f"First{number}", "deceased": False}
            assert "Mallory" in shown["damaged"]
