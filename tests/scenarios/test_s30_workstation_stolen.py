"""S30: a workstation is stolen, offline: it is revoked everywhere within a gossip round, and what it held is known.

What stands here is what the practice does; that its folder cannot be read without its passphrase is tested where
workstations are.
"""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from crdtsync import Site, folder, held, members
from crdtsync.documents import Entries, Record, Value, append_only, kinds
from crdtsync.ids import base32
from crdtsync.practice import Patient
from crdtsync.sealing.keyfile import KeyFile
from crdtsync.transport.tls import TlsTransport
from tests.sites import add, agree, linked, mesh, patience_s, practice

pytestmark = pytest.mark.anyio


async def admitted(site: Site, keys: KeyFile) -> None:
    entry = members.entry_of(keys.identity().public, name="front desk", role="workstation")
    state = site.driver.replica.membership.state()
    await site.sign(lambda host, place: members.adding(host, place, state, entry))


async def knocks(keys: KeyFile, site: Site) -> list[bytes]:
    """What the workstation hears when it dials this site."""
    identity = keys.identity()
    transport = TlsTransport(identity.tls_certificate_pem, identity.tls_private_pem)
    transport.trust([site.identity.public.tls])
    assert site.serving is not None
    heard: list[bytes] = []
    with anyio.fail_after(patience_s):
        link = await transport.dial(site.serving.address)
        async with anyio.create_task_group() as tasks:

            def deliver(message: bytes) -> None:
                heard.append(message)
                link.close("that is enough")

            async def run() -> None:
                await link.run(deliver)

            tasks.start_soon(run)
    return heard


def state_of(site: Site) -> str:
    return str(next(member["state"] for member in site.members() if member["name"] == "front desk"))


async def test_a_stolen_workstation_is_shut_out_everywhere_and_its_patients_are_known(tmp_path: Path) -> None:
    if held.KIND not in kinds():

        class Given(Value):
            subjects: tuple[str, ...]
            since: str

        class WorkstationHolding(Record, kind=held.KIND):
            subjects: Entries[Given] = append_only()
            ids: Entries[Given] = append_only()

    keys = folder.new_keys()
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera]:
        async with mesh(jena, weimar):
            with anyio.fail_after(patience_s):
                while len(weimar.members()) < 3:
                    await weimar.driver.heard.wait()
        # Gera and Jena know of each other only through Weimar: news take two hops.
        async with mesh(jena, weimar), gera.serve(
            "127.0.0.1:0", peers=[weimar.serving.address if weimar.serving else ""], only_peers=True
        ):
            await linked(gera, 1)
            erika = Patient(family_name="Muster", given_name="Erika")
            await add(jena, erika, Patient(family_name="Bauer"))
            await admitted(jena, keys)
            desk = keys.identity().public.replica
            async with jena.transaction(reason="given to a workstation") as tx:
                note = kinds()[held.KIND]()
                note.id = held.note_of(desk, 0)
                note.assign("subjects", [{"subjects": [erika.id], "since": "2026-11-01T08:00:00+00:00"}])
                tx.add(note)
            await agree(jena, weimar, gera)
            with anyio.fail_after(patience_s):
                while "front desk" not in {member["name"] for member in gera.members()}:
                    await gera.driver.heard.wait()
            assert await knocks(keys, gera), "as long as it belongs it is spoken to"

            told = await jena.revoke("front desk", "stolen from a car")
            with anyio.fail_after(patience_s):
                for site in (weimar, gera):
                    while state_of(site) != "revoked":
                        await site.driver.heard.wait()
            assert told["role"] == "workstation"
            for site in (jena, weimar, gera):
                with anyio.fail_after(patience_s):
                    while site.driver.linked(desk):
                        await site.driver.links_changed.wait()
                assert await knocks(keys, site) == [], "nothing is said to it any more"
                [row] = await site.held_by("front desk")
                assert (row["id"], row["name"], row["replica"]) == (erika.id, "Erika Muster", base32(desk))
            epoch = gera.driver.replica.membership.state().sealing_epoch()
            assert epoch is not None and base32(epoch) == told["epoch"]
