"""What comes from outside the practice's own wire: FHIR bundles, verbs on the control socket, addresses."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.abc

from crdtsync.cli import control
from crdtsync.documents import edits_of, fields_json
from crdtsync.errors import BadValue, UsageError
from crdtsync.interop.fhir import read_bundle
from crdtsync.interop.fhir.convert import convert
from crdtsync.transport.address import is_loopback, is_wildcard, parse_address
from tests.fuzz.dice import Dice
from tests.fuzz.registry import target
from tests.interop.fhir import bundles


def _bundle() -> dict[str, Any]:
    """A bundle with a resource of every type that becomes a record."""
    about = {"subject": bundles.SUBJECT, "code": bundles.CONCEPT, "status": "active"}
    made = bundles.bundle(
        bundles.patient(
            name=[{"use": "official", "family": "Müller", "given": ["Erika"]}],
            gender="female",
            birthDate="1970-03-04",
            telecom=[{"system": "phone", "value": "1"}],
            address=[{"line": ["Markt 1"], "city": "Jena", "postalCode": "07743", "country": "DE"}],
        ),
        bundles.resource("AllergyIntolerance", patient=bundles.SUBJECT, code=bundles.CONCEPT, criticality="high"),
        bundles.resource("Condition", **about, onsetDateTime="2020-01-01T10:00:00+01:00"),
        bundles.resource(
            "Immunization",
            patient=bundles.SUBJECT,
            vaccineCode=bundles.CONCEPT,
            status="completed",
            occurrenceDateTime="2021-05-06",
        ),
        bundles.resource("Encounter", subject=bundles.SUBJECT, status="finished", period={"start": "2020-02-30"}),
        bundles.resource("Observation", **about, valueQuantity={"value": 1.50, "unit": "kg"}),
        bundles.resource("MedicationRequest", subject=bundles.SUBJECT, medicationCodeableConcept=bundles.CONCEPT),
        bundles.resource("Claim", patient=bundles.SUBJECT),
    )
    return copy.deepcopy(made)  # mutants change it in place, and its pieces belong to other tests, too


def _fhir(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bundle.json"
        file.write_bytes(content)
        try:
            made = convert(read_bundle(file))
        except UsageError:
            return
        for record in made.records:
            json.dumps(fields_json(record))
            assert edits_of(record, lambda: "k"), "a record that says nothing"


@target("fhir", lambda: [json.dumps(_bundle(), ensure_ascii=False).encode()], bytes_max=16_384, mutations=150)
def fhir(data: bytes) -> None:
    """Any file: a sentence that says what is wrong with it, or records."""
    _fhir(data)


_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**400, "", "x", "2020", "2020-13-45", "urn:uuid:x", "Patient/1", "\u0000", "é" * 300),
    *([], {}, [None], [[]], {"value": None}, {"coding": [None]}, {"reference": 1}, {"start": 5}, [{"line": "x"}]),
)


@target("fhir_twisted", lambda: [bytes(range(n, n + 40)) for n in range(20)], bytes_max=256, mutations=150)
def fhir_twisted(data: bytes) -> None:
    """A good bundle in which some elements are of another type, missing or doubled."""
    dice = Dice(data)
    bundle = _bundle()
    for _ in range(1 + dice.below(4)):
        place: Any = bundle.get("entry") if dice.below(8) else bundle
        while isinstance(place, dict | list) and place:
            key: Any = dice.pick(sorted(place)) if isinstance(place, dict) else dice.below(len(place))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and dice.below(6):
                place = inner
                continue
            if dice.below(4):
                place[key] = copy.deepcopy(dice.pick(_VALUES))
            else:
                del place[key]
            break
    _fhir(json.dumps(bundle).encode())


class _Caller:
    """The socket of a caller that sends `data` and then listens; what the site answers is kept."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.answer = b""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if not self.data:
            await anyio.sleep_forever()
        piece, self.data = self.data[:max_bytes], self.data[max_bytes:]
        return piece

    async def send(self, item: bytes) -> None:
        self.answer += item


class _NoSite:
    """Whatever a verb wants of a site is not there."""


def _verbs() -> Iterable[bytes]:
    for verb in ("status", "digest", "record set", "query", "nonsense", ""):
        yield json.dumps({"verb": verb, "arguments": {"id": "a" * 26, "sql": "SELECT 1", "fields": {}}}).encode()
    yield b"null"
    yield b'{"verb": [], "arguments": 5}'


@target("control", _verbs, bytes_max=8_192)
def control_message(data: bytes) -> None:
    """Any line on the control socket is answered by one line, and the site goes on."""
    caller = _Caller(data.replace(b"\n", b" ") + b"\n")

    async def converse() -> None:
        await control.answer(cast("Any", _NoSite()), cast("anyio.abc.SocketStream", caller))

    with contextlib.redirect_stderr(io.StringIO()):
        anyio.run(converse)
    closing = [json.loads(line) for line in caller.answer.splitlines()][-1]
    assert {"result", "error"} & closing.keys()


@target("address", lambda: [b"a.example:7000", b"[::1]:1", b"0.0.0.0:65535", b"m\xc3\xbcller.de.:80"], bytes_max=512)
def address(data: bytes) -> None:
    """Any text is refused with a sentence, or is an address that reads the same when it is written again."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(BadValue):
        found = parse_address(text)
        assert parse_address(str(found)) == found
        is_loopback(text)
        is_wildcard(text)
