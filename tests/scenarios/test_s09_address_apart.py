"""S9: an address is changed at Jena (street, postal code) and, unseen, at Weimar (street, postal code; and a phone).

No address is mixed of the two: both stand whole, for a person to decide. The phone is kept.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from crdtsync import Undecided
from crdtsync.practice import Address, Patient
from tests.sites import add, agree, change, mesh, practice

pytestmark = pytest.mark.anyio
AT_JENA = Address(street="Markt 1", postal_code="07743", city="Jena")
AT_WEIMAR = Address(street="Ilmweg 2", postal_code="99423", city="Jena")


async def test_no_address_is_mixed_and_the_phone_is_kept(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as (jena, weimar, gera):
        erika = Patient(
            family_name="Muster",
            address=Address(street="Gartenweg 3", postal_code="07745", city="Jena"),
            phones=["03641 1"],
        )
        await add(jena, erika)
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)

        async with jena.transaction(author="empfang") as tx:
            patient = await tx.get(Patient, erika.id)
            assert patient.address is not None
            patient.address = patient.address.model_copy(update={"street": "Markt 1", "postal_code": "07743"})
        async with weimar.transaction(author="empfang") as tx:
            patient = await tx.get(Patient, erika.id)
            assert patient.address is not None
            patient.address = patient.address.model_copy(update={"street": "Ilmweg 2", "postal_code": "99423"})
            patient.phones.add("03643 2")
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)

            for site in (jena, weimar, gera):
                found = await site.get(Patient, erika.id)
                assert sorted(found.phones) == ["03641 1", "03643 2"]
                values = found.conflicts["address"]
                assert len(values) == 2 and AT_JENA in values and AT_WEIMAR in values
                assert found.address == values[0] and set(found.conflicts) == {"address"}
                with pytest.raises(Undecided):
                    found.decided("address")
                shown = await site.sql("SELECT address_street, address_postal_code, conflicted FROM patient")
                assert shown == [
                    {"address_street": values[0].street, "address_postal_code": values[0].postal_code, "conflicted": 1}
                ]
            await change(gera, erika, address=AT_WEIMAR)
            await agree(jena, weimar, gera)
        for site in (jena, weimar, gera):
            found = await site.get(Patient, erika.id)
            assert (found.address, found.conflicts) == (AT_WEIMAR, {})
            assert await site.conflicts() == []
