"""An application's own kinds of records: a register of medical devices, as a practice has to keep one.

    python examples/own_records.py

Declared with the same means as the records of `crdtsync.practice`: a class per kind, a merge rule per field. The two
sites write the same records while they are apart; what the rules make of that is printed at the end. docs/RECORDS.md
explains each rule.
"""

from __future__ import annotations

import datetime
import os
import tempfile
from pathlib import Path
from typing import ClassVar, Literal

import anyio

from crdtsync import Site, UsageError
from crdtsync.documents import (
    Counter,
    Entries,
    Record,
    Text,
    Value,
    Versions,
    append_only,
    counter,
    entries,
    flag_off_wins,
    flag_on_wins,
    latest,
    never_removed,
    once,
    register,
    status,
    text,
    versions,
)

PASSPHRASE = "only for this example"
Risk = Literal["none", "possible", "certain"]


class Place(Value):
    """Building and room; they move as one, never half of each."""

    building: str | None = None
    room: str | None = None


class Fault(Value):
    """Something that was found to be wrong. It is never removed; a mistaken one is marked."""

    clinical: ClassVar[bool] = True
    what: str
    found_on: datetime.date | None = None
    verification: Literal["confirmed", "refuted", "entered_in_error"] | None = None


class Inspection(Value):
    """What an inspection found. Day and inspector name it: read in twice, at two sites, it is one."""

    day: datetime.date
    inspector: str
    passed: bool
    remark: str | None = None


class Instruction(Value):
    """A released version of the operating instruction."""

    body: str
    released_by: str | None = None


class Device(Record, kind="device"):
    """A medical device."""

    clinical: ClassVar[bool] = True  # somebody may come to harm by its values: `latest` is refused here
    indexes: ClassVar[tuple[str, ...]] = ("serial_number", "place_room")

    serial_number: str | None = once()
    name: str | None = register()
    place: Place | None = register()
    radiation: Risk | None = register(severity="high", cautious="certain")
    state: str | None = status("ordered<in_use<retired", "lost", severity="high")
    locked: bool = flag_on_wins()
    lendable: bool = flag_off_wins()
    keepers: Entries[str] = entries(by_value=True)
    faults: Entries[Fault] = never_removed()
    inspections: Entries[Inspection] = append_only(by=("day", "inspector"))
    instruction: Versions[Instruction] = versions()
    notes: Text = text()
    uses: Counter = counter()


class ShelfLabel(Record, kind="shelf_label"):
    """What harms nobody may lose one of two values: here the later one wins."""

    printer: str | None = latest()
    colour: str | None = latest()


def try_to_lose_a_dose() -> None:
    """A field that could harm somebody is refused the rule that loses values, when its class is defined."""
    try:

        class Pump(Record, kind="infusion_pump"):
            clinical: ClassVar[bool] = True
            rate: float | None = latest()

    except UsageError as refusal:
        print("Refused:", refusal)


async def write_apart(jena: Site, weimar: Site, device: str) -> None:
    """What two people do to one record who cannot see each other's work."""
    today = datetime.date(2026, 3, 2)
    async with jena.transaction(author="anna", reason="yearly inspection") as tx:
        ecg = await tx.get(Device, device)
        ecg.place = Place(building="Markt", room="2")
        ecg.radiation = "none"
        ecg.state = "in_use"
        ecg.keepers.add("anna")
        ecg.faults.add(Fault(what="loose cable", found_on=today))
        ecg.inspections.add(Inspection(day=today, inspector="TÜV", passed=True))
        ecg.instruction.add(Instruction(body="Switch it on. Wait.", released_by="anna"))
        ecg.notes.append(" Cable was mended.")
        ecg.uses.add(3)
    async with weimar.transaction(author="ben", reason="lent out") as tx:
        ecg = await tx.get(Device, device)
        ecg.place = Place(building="Ilmweg", room="1")
        ecg.radiation = "certain"
        ecg.state = "retired"
        ecg.locked = True
        ecg.lendable = False
        ecg.keepers.remove("clara")
        ecg.inspections.add(Inspection(day=today, inspector="TÜV", passed=True, remark="copied from the paper"))
        ecg.instruction.add(Instruction(body="Do not use.", released_by="ben"))
        ecg.notes.insert(0, "Lent to Weimar. ")
        ecg.uses.add(2)


async def show(site: Site, device: str) -> None:
    """What the rules made of it: the same at every site."""
    ecg = await site.get(Device, device)
    print("uses:", int(ecg.uses), "| state:", ecg.state, "| locked:", ecg.locked, "| lendable:", ecg.lendable)
    print("keepers:", list(ecg.keepers), "| inspections:", len(ecg.inspections), "| notes:", ecg.notes)
    print("faults:", [fault.what for fault in ecg.faults.holding])
    print("heads of the instruction:", sorted(head.value.body for head in ecg.instruction.heads))
    print("radiation, read with caution:", ecg.decided("radiation"))
    print("for a person to decide:", sorted(ecg.conflicts))


async def main(folder: Path) -> None:
    try_to_lose_a_dose()
    async with Site.create(folder / "jena", practice="Praxis am Markt", name="Jena", passphrase=PASSPHRASE) as jena:
        async with jena.transaction(author="anna", reason="bought") as tx:
            made = Device(serial_number="SN-17", name="ECG", radiation="possible", state="ordered", lendable=True)
            made.keepers.add("clara")
            made.notes.append("On loan from the maker.")
            made.instruction.add(Instruction(body="Read this first."))
            device = tx.add(made).id
        async with jena.serve("127.0.0.1:0"):
            code = await jena.invite("Weimar", trust_code=True)
            async with Site.join(folder / "weimar", code, passphrase=PASSPHRASE):
                pass
        async with Site.open(folder / "weimar", passphrase=PASSPHRASE) as weimar:
            async with jena.serve("127.0.0.1:0") as serving, weimar.serve(peers=[serving.address]):
                await weimar.wait_until_current()
            await write_apart(jena, weimar, device)
            async with jena.serve("127.0.0.1:0") as serving, weimar.serve(peers=[serving.address]):
                for site in (jena, weimar):
                    async with site.transaction(author="anna") as tx:
                        tx.add(ShelfLabel(printer=site.name))
                    assert tx.commit is not None
                    await site.wait_for(tx.commit, sites=2)
            digests = {(await site.digest())["digest"] for site in (jena, weimar)}
            print("Jena and Weimar agree:", len(digests) == 1)
            await show(weimar, device)

            # A person decides, in an ordinary transaction. The fault was a mistake: it is marked, and stays.
            async with weimar.transaction(author="clara", reason="asked both of them") as tx:
                ecg = await tx.get(Device, device)
                ecg.place = Place(building="Ilmweg", room="1")
                ecg.radiation = "none"
                ecg.instruction.add(Instruction(body="Switch it on. Wait. Not for children.", released_by="clara"))
                ecg.faults.mark(next(iter(ecg.faults)), "entered_in_error")
            ecg = await weimar.get(Device, device)
            print("Decided; conflicts left:", await weimar.conflicts(), "| faults kept:", len(ecg.faults))
            rows = await weimar.sql("SELECT serial_number, place_room, instruction_body, uses FROM device")
            print("As a table:", rows[0])


if __name__ == "__main__":
    os.environ.setdefault("CRDTSYNC_KDF", "fast")  # cheap key files: this practice lives for a moment
    with tempfile.TemporaryDirectory(prefix="crdtsync-example-") as temporary:
        anyio.run(main, Path(temporary))
