"""S31: the server of Gera is stolen: keys are rotated, peers refuse it, its disk cannot be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio
import pytest

from crdtsync.errors import NotFound
from crdtsync.host import Host
from crdtsync.ids import DataKeyId, base32
from crdtsync.practice import Patient
from crdtsync.replication.commit import Commit
from crdtsync.replication.stored import KeyObject
from tests.scenarios.processes import Practice, Server, converged, until
from tests.sites import add, agree, at_host, change, mesh, patience_s
from tests.sites import practice as sites

SECRET = "Zwitscherkanarie"


def state_of(server: Server, name: str) -> str:
    return str({member["name"]: member["state"] for member in server.ask("members")}[name])


@pytest.mark.slow
def test_the_practice_shuts_out_a_stolen_server(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> None:
    jena, weimar, gera = practice.found("Jena", "Weimar", "Gera")
    jena.serve()
    weimar.serve(jena)
    gera.serve(jena, weimar)
    known = jena.write("patient", family_name=SECRET)
    converged(jena, weimar, gera, records=1)
    gera.kill()
    loot = practice.server("Loot")
    shutil.copytree(gera.folder, loot.folder, ignore=shutil.ignore_patterns("control.sock"))

    told = weimar.verb("revoke", "--name", "Gera", "--reason", "burglary")
    assert (told["state"], told["admins"]) == ("revoked", ["Jena", "Weimar"])
    until(lambda: state_of(jena, "Gera") == "revoked", "Jena hears of it")
    new = jena.write("patient", family_name="Danach")
    converged(jena, weimar, records=2)

    # Without the passphrase: nothing in any file, and nothing opens.
    for path in loot.folder.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes() and SECRET.lower().encode() not in path.read_bytes(), path
    with monkeypatch.context() as guessing:
        guessing.setenv("CRDTSYNC_PASSPHRASE", "guessed")
        for verb in ("status", "digest", "members"):
            refused = loot.call(verb)
            assert refused.code == 1 and refused.out == "" and SECRET not in refused.err

    # With it: what it held is lost, nothing more. Nobody lets it in, and nothing that it writes counts.
    loot.serve(jena, weimar)
    ghost = loot.write("patient", family_name="Gespenst")
    refusals = {loot.event("disconnected")["text"].partition(":")[0] for _ in range(4)}
    assert refusals == {"Jena", "Weimar"}, "it has knocked at both"
    assert not any(peer["connected"] for peer in loot.ask("status")["peers"])
    assert set(loot.column("SELECT id FROM patient")) == {known, ghost}
    for server in (jena, weimar):
        assert set(server.column("SELECT id FROM patient")) == {known, new}
        assert "Gera" not in [peer["site"] for peer in server.ask("status")["peers"]]
        assert server.ask("verify")["ok"] is True


@pytest.mark.anyio
async def test_what_is_written_afterwards_does_not_open_with_its_keys(tmp_path: Path) -> None:
    """Not even where the thief comes by the sealed commits, their wrapped keys and everything that members signed."""
    async with sites(tmp_path, "Jena", "Gera") as [jena, gera]:
        known, new = Patient(family_name="Muster"), Patient(family_name="Danach")
        async with mesh(jena, gera):
            await add(jena, known)
            await agree(jena, gera)
        with anyio.fail_after(patience_s):
            while jena.driver.replica.peers or gera.driver.replica.peers:
                await jena.driver.links_changed.wait()
        told = await jena.revoke("Gera", "burglary")
        await add(jena, new)
        await change(jena, known, title="Dr.")
        sealed, wrapped = await at_host(jena, everything)

        await gera.driver.publish(jena.driver.replica.membership.records())
        fresh = [each for each in sealed if each[0].header.sequence > 1]
        assert len(fresh) == 2
        await gera.driver.in_order(lambda host: host.engine.append(fresh, wrapped, host.now_ms()))
        await gera.driver.in_order(lambda host: host.engine.derive(host.now_ms()))
        epochs = await at_host(gera, lambda host: {base32(epoch) for epoch in host.keyring.epochs()})
        assert epochs and told["epoch"] not in epochs
        assert (await gera.get(Patient, known.id)).title is None
        with pytest.raises(NotFound):
            await gera.get(Patient, new.id)


def everything(host: Host) -> tuple[list[tuple[Commit, bool]], list[KeyObject]]:
    """All sealed commits of a site, and all wrapped keys."""
    stored = host.store.arrivals(0, 1_000, 1 << 30)
    return [(each.commit, each.checked) for each in stored], host.store.keys_behind(DataKeyId(b""), 1_000)
