"""A practice program in several versions, each of which knows more than the one before.

    python -m tests.scenarios.versioned_program VERSION VERB FOLDER PEER [WORD …]

Version 1 knows devices by name; 2 their serial numbers and parts, and loans; 3 their weight and when a loan is due.
Version 4 is wrong: it lacks the serial number. A run works on the site in FOLDER, which is linked to PEER alone, and
prints one JSON document.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio

from crdtsync import Site
from crdtsync.documents import Entries, Link, Record, Value, entries, fields_json, kinds, register
from tests.sites import PASSPHRASE, patience_s

METACLASS: Any = type(Record)
AT_ONCE = 500


class Weight(Value):
    """A weight."""

    grams: int | None = None


FIELDS: list[tuple[str, dict[str, tuple[Any, Any]]]] = [
    ("device", {"name": (str | None, register())}),
    ("device", {"parts": (Entries[str], entries(by_value=True))}),
    ("device", {"serial": (str | None, register())}),
    ("loan", {"device": (Link | None, register()), "to": (str | None, register())}),
    ("device", {"weight": (Weight | None, register())}),
    ("loan", {"due": (str | None, register())}),
]
KNOWN = {1: FIELDS[:1], 2: FIELDS[:4], 3: FIELDS, 4: [*FIELDS[:2], *FIELDS[3:]]}


def declare(version: int) -> None:
    """Make this process that version of the program."""
    held: dict[str, dict[str, tuple[Any, Any]]] = {}
    for kind, fields in KNOWN[version]:
        held.setdefault(kind, {}).update(fields)
    for kind, fields in held.items():
        body: dict[str, Any] = {name: rule for name, (_, rule) in fields.items()}
        body["__annotations__"] = {name: annotation for name, (annotation, _) in fields.items()}
        METACLASS(kind.title(), (Record,), {**body, "__module__": __name__}, kind=kind)


async def make(site: Site, count: str) -> dict[str, Any]:
    """Devices with all that this version knows of them, and one loan where it knows loans."""
    model = kinds()["device"]
    values = {"serial": "S-{}", "parts": ["rotor", "lid {}"], "weight": Weight(grams=7)}
    known = {name: value for name, value in values.items() if name in model.plan().fields}
    first, commit = None, None
    for start in range(0, int(count), AT_ONCE):
        async with site.transaction(author="dr.later") as tx:
            for number in range(start, min(int(count), start + AT_ONCE)):
                filled = {name: numbered(value, number) for name, value in known.items()}
                made = tx.add(model(name=f"Device {number}", **filled))
                first = first or made.id
        commit = tx.commit
    loan = None
    if "loan" in kinds():
        later = {"due": "2026-10-01"} if "due" in kinds()["loan"].plan().fields else {}
        async with site.transaction(author="dr.later") as tx:
            loan = tx.add(kinds()["loan"](device=first, to="Gera", **later)).id
        commit = tx.commit
    await site.wait_for(commit, sites=2)
    return {"device": first, "loan": loan}


def numbered(value: Any, number: int) -> Any:
    """The value of one of many devices."""
    if isinstance(value, list):
        return [each.format(number) for each in value]
    return value.format(number) if isinstance(value, str) else value


async def edit(site: Site, record: str, field: str, value: str) -> dict[str, Any]:
    """Assign a field."""
    async with site.transaction(author="somebody") as tx:
        found: Any = await tx.get("device", record)
        found.assign(field, value)
    await site.wait_for(tx.commit, sites=2)
    return await show(site, record)


async def show(site: Site, *records: str) -> dict[str, Any]:
    """What this version sees of records, the whole of it."""
    shown = [await site.record(record) for record in records]
    return {each.id: {**fields_json(each), **({"unknown": each.unknown} if each.unknown else {})} for each in shown}


async def columns(site: Site, *records: str) -> dict[str, Any]:
    """All rows, once they are whole, what `find` finds by the newest field, and records."""
    rows = await site.sql("SELECT * FROM device ORDER BY name")
    found = await site.find("device", weight=Weight(grams=7))
    left = (await site.status())["rederiving"]
    return {"rows": rows, "found": len(found), "left": left, "shown": await show(site, *records)}


async def die(site: Site, record: str) -> dict[str, Any]:
    """Read and write while rows are derived anew, tell what came of it, and be killed in the middle."""
    told: dict[str, Any] = {"begun": (await site.status())["rederiving"]}
    told["shown"] = (await show(site, record))[record]
    told["by name"] = [each.id for each in await site.find("device", name="Device 0")]
    told["named"] = (await site.sql("SELECT count(name) AS n FROM device"))[0]["n"]
    told["words"] = len(await site.search("Device"))
    async with site.transaction(author="dr.busy") as tx:
        written = tx.add(kinds()["device"](name="written meanwhile", serial="S-new"))
    told["written"] = written.id
    while True:
        left = {each["kind"]: each for each in (await site.status())["rederiving"]}
        if left["device"]["done"]:
            break
    told["left"] = left["device"]
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
    return told


async def go_on(site: Site, serial: str) -> dict[str, Any]:
    """Go on behind a kill: what is asked of the new columns is only answered when all have them."""
    status = await site.status()
    serials = (await site.sql("SELECT count(serial) AS n FROM device"))[0]["n"]
    found = [each.id for each in await site.find("device", serial=serial)]
    await site.sql("SELECT count(*) FROM loan")
    left = (await site.status())["rederiving"]
    return {
        "begun": status["rederiving"],
        "serials": serials,
        "found": found,
        "left": left,
        "verified": await site.verify(),
        "digest": await site.digest(),
        "rebuilt": await site.rebuild(),
        "serials rebuilt": (await site.sql("SELECT count(serial) AS n FROM device"))[0]["n"],
    }


VERBS: dict[str, Any] = {"make": make, "edit": edit, "show": show, "columns": columns}
ALONE: dict[str, Any] = {"die": die, "go on": go_on}


async def main(version: str, verb: str, folder: str, peer: str, *words: str) -> None:
    declare(int(version))
    with anyio.fail_after(2 * patience_s):
        async with Site.open(Path(folder), passphrase=PASSPHRASE) as site:
            if verb in ALONE:
                told = await ALONE[verb](site, *words)
            else:
                async with site.serve(peers=[peer], only_peers=True):
                    await site.wait_until_current()
                    told = await VERBS[verb](site, *words)
                    told = {"told": told, **await site.digest()}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
