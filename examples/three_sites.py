"""Three sites of one practice: they join, are cut off from each other, write the same dosage apart, and agree again.

    python examples/three_sites.py

What `crdtsync demo` shows with three processes is here one short program on the public interface, to learn from. The
sites form a chain, Jena - Weimar - Gera: Weimar dials Jena, Gera dials Weimar, and Jena and Gera never talk.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio

from crdtsync import Site
from crdtsync.practice import Dosage, Drug, MedicationStatement, Patient

PASSPHRASE = "only for this example"


@asynccontextmanager
async def connected(jena: Site, weimar: Site, gera: Site) -> AsyncIterator[None]:
    """The chain, as long as the block lasts. Without `only_peers` each site would dial all that it hears of."""
    async with AsyncExitStack() as stack:
        at_jena = await stack.enter_async_context(jena.serve("127.0.0.1:0", only_peers=True))
        at_weimar = await stack.enter_async_context(
            weimar.serve("127.0.0.1:0", peers=[at_jena.address], only_peers=True)
        )
        await stack.enter_async_context(gera.serve("127.0.0.1:0", peers=[at_weimar.address], only_peers=True))
        yield


async def join(host: Site, name: str, folder: Path) -> None:
    """Make a new site of the practice. `trust_code` waives the comparison of the six digits."""
    async with host.serve("127.0.0.1:0"):
        code = await host.invite(name, trust_code=True)
        async with Site.join(folder, code, passphrase=PASSPHRASE) as newcomer:
            print(newcomer.name, "belongs to", newcomer.practice)


async def set_morning(site: Site, statement: str, tablets: float) -> None:
    """A doctor at one site changes a dosage."""
    async with site.transaction(author=f"doctor at {site.name}", reason="visit") as tx:
        medication = await tx.get(MedicationStatement, statement)
        medication.dosage = Dosage(morning=tablets, unit="Stk")


async def main(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        # Jena founds the practice. The recovery sheet belongs on paper, in a safe.
        jena = await stack.enter_async_context(
            Site.create(folder / "jena", practice="Praxis am Markt", name="Jena", passphrase=PASSPHRASE)
        )
        print("A recovery sheet of", len((jena.recovery_sheet or "").splitlines()), "lines was made.")

        # The others join at Jena, once; later they may talk to whom they like.
        await join(jena, "Weimar", folder / "weimar")
        weimar = await stack.enter_async_context(Site.open(folder / "weimar", passphrase=PASSPHRASE))
        await join(jena, "Gera", folder / "gera")
        gera = await stack.enter_async_context(Site.open(folder / "gera", passphrase=PASSPHRASE))

        # Connected: what is written at Jena is soon on the disk of all three.
        async with connected(jena, weimar, gera):
            async with jena.transaction(author="reception", reason="first visit") as tx:
                erika = tx.add(Patient(family_name="Muster", given_name="Erika"))
                statement = tx.add(
                    MedicationStatement(
                        patient=erika.id, drug=Drug(name="Ramipril"), dosage=Dosage(morning=1, unit="Stk")
                    )
                )
            assert tx.commit is not None
            await jena.wait_for(tx.commit, sites=3)  # Jena hears through Weimar what Gera has on disk
            print("At Gera:", (await gera.get(Patient, erika.id)).family_name)

        # Cut off: nobody serves, and everybody works on. Two doctors change the same dosage.
        await set_morning(jena, statement.id, 2)
        await set_morning(gera, statement.id, 0.5)

        # Connected again: one more commit from each end tells when all has crossed.
        async with connected(jena, weimar, gera):
            for site in (jena, gera):
                async with site.transaction(author="reception") as tx:
                    tx.add(Patient(family_name="Neu", given_name=site.name))
                assert tx.commit is not None
                await weimar.wait_for(tx.commit, sites=3)

        # Nothing was lost: both dosages are there, at every site alike, and a person decides.
        for site in (jena, weimar, gera):
            digest = (await site.digest())["digest"]
            print(f"{site.name:<7}{digest[:16]}", [conflict["values"] for conflict in await site.conflicts()])
        async with weimar.transaction(author="dr.weber", reason="asked the patient") as tx:
            medication = await tx.get(MedicationStatement, statement.id)
            medication.dosage = Dosage(morning=0.5, unit="Stk")
        print("Decided at Weimar; conflicts left there:", await weimar.conflicts())


if __name__ == "__main__":
    os.environ.setdefault("CRDTSYNC_KDF", "fast")  # cheap key files: this practice lives for a moment
    with tempfile.TemporaryDirectory(prefix="crdtsync-example-") as temporary:
        anyio.run(main, Path(temporary))
