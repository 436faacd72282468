"""The delta gate and what lies behind it: what passes must never panic, hang or bloat, and honest work goes on.

Also contents that no document of ours would hold, and commits that a member forges from any parts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from functools import cache

import crdtsync.testing.desk_rules  # noqa: F401  # declares a kind with a field under each rule
from crdtsync.documents import (
    Content,
    Document,
    EditEntry,
    EditText,
    SetField,
    UnknownRecord,
    check_delta,
    conflicts_json,
    edits_of,
    fields_json,
    kinds,
    project,
    read,
)
from crdtsync.documents.text import Hunk
from crdtsync.engine import values
from crdtsync.errors import Poisoned
from crdtsync.ids import RecordId, client_id
from crdtsync.replication.commit import Change
from tests.engine.sites import SiteRig, forge, patient_of, record_of
from tests.fuzz.dice import Dice, patched
from tests.fuzz.fit import Held
from tests.fuzz.registry import target

RECORD = RecordId("a" * 26)
AUTHOR, OTHER, HONEST = 1002, 1003, 99
"""Client ids: of the hostile writer, of one whose writes it saw, and of the one who writes after it."""
_STATE_GROWS_MAX = 4
"""A document's state grows by at most so many times a delta's bytes, and a little."""
_KINDS = ("patient", "chart_entry", "medication_statement", "appointment", "simulated_sheet", "nobody_declares_this")


@cache
def _history() -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Deltas of AUTHOR and of OTHER, who saw each other's, of all shapes that documents write."""
    mine, other = Document(AUTHOR), Document(OTHER)
    deltas: tuple[list[bytes], list[bytes]] = ([], [])
    rng = random.Random(7)
    for step in range(12):
        for index, document in enumerate((mine, other)):
            content = document.content()
            field = ("family_name", "phones", "drug", "unheard_of")[step % 4]
            seen = {slot: raw for slot, raw in content.slots.items() if slot.startswith(field + "/")}
            base = content.texts.get("note", "")
            at = rng.randrange(len(base) + 1)
            edits = [
                EditEntry(field, f"0000.{step}", rng.choice(["1", None]), {})
                if field == "phones"
                else SetField(field, rng.choice(["ü" * 9, step, None, {"name": "x"}]), seen),
                EditText(
                    "note", base, (Hunk(at, min(len(base), at + rng.randrange(3)), rng.choice(["", "😀", "xü"])),)
                ),
            ]
            tag = ("mineaaaa", "otheraaa")[index]
            delta = document.write(tag=tag, sequence=step + 1, stamp=step << 16, edits=edits)
            (other, mine)[index].apply(delta)
            deltas[index].append(delta)
    return tuple(deltas[0]), tuple(deltas[1])


@cache
def _bases() -> tuple[tuple[bytes, Held], ...]:
    """States of documents that a delta meets: empty, with some content by both, by AUTHOR alone, with all."""
    mine, other = _history()
    pairs = list(zip(mine, other, strict=True))
    bases = []
    for deltas in ([], [d for pair in pairs[:3] for d in pair], [mine[0]], [d for pair in pairs for d in pair]):
        document = Document(HONEST)
        for delta in deltas:
            document.apply(delta)
        bases.append((document.state(), Held(deltas)))
    return tuple(bases)


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 63:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            break
    return value, at


def author_of(delta: bytes) -> int:
    """The client id that a delta's structs claim: with it, the gate cannot refuse for another writer's id."""
    if delta[:1] != b"\x01":
        return AUTHOR
    _, at = _number(delta, 1)
    return _number(delta, at)[0]


def meet(state: bytes, held: Held, delta: bytes) -> None:
    """Apply what passes the gate, look at the document in every way, write honestly, load it again.

    Nothing at all may crash or hang, and what breaks the library is refused as Poisoned. What also goes on from what
    the document holds makes no panic, and whoever writes after it, honestly, has what everybody has.
    """
    try:
        reach = check_delta(delta, author_of(delta))
    except Poisoned:
        return
    fitting = held.copy().fits(delta)
    document = Document(HONEST, state)
    try:
        document.apply(delta, reach)
        _look(document)
    except Poisoned as error:
        assert not fitting or "Panic" not in str(error), f"what passed the gate made the library panic: {error}"
        return
    if fitting:
        _go_on(document, len(state) + _STATE_GROWS_MAX * len(delta) + 64)


def _go_on(document: Document, bytes_max: int) -> None:
    assert len(document.state()) <= bytes_max, "a small delta bloats the document"
    _same_again(document)
    document.write(tag="honestaa", sequence=1, stamp=1, edits=_honest(document.content()))
    _same_again(document)


def _same_again(document: Document) -> None:
    again = Document(HONEST + 1, document.state())
    assert again.content() == document.content()
    assert again.fingerprint("patient", RECORD) == document.fingerprint("patient", RECORD)


def _honest(content: Content) -> list[SetField | EditText]:
    seen = {slot: raw for slot, raw in content.slots.items() if slot.startswith("family_name/")}
    base = content.texts.get("note", "")
    at = len(base) // 2
    return [SetField("family_name", "Muster", seen), EditText("note", base, (Hunk(at, min(len(base), at + 1), "ß"),))]


def _look(document: Document) -> None:
    content = document.content()
    document.fingerprint("patient", RECORD)
    for kind in _KINDS:
        show(kind, content)


def show(kind: str, content: Content) -> None:
    """Read and project a content as a record of a kind: total over every content (L6)."""
    record = read(kind, RECORD, content)
    json.dumps(fields_json(record)).encode()
    json.dumps(conflicts_json(record)).encode()
    projected = project(kind, RECORD, content)
    projected.words.encode()
    for value in (projected.row or {}).values():
        assert value is None or isinstance(value, str | int | float | bytes)
    if not isinstance(record, UnknownRecord):
        assert edits_of(record, lambda: "k") == []


def _delta_seeds() -> Iterable[bytes]:
    mine, other = _history()
    for base in range(4):
        for delta in (mine[base], mine[base + 1], mine[-1], other[base]):
            yield bytes([base]) + delta


@target("delta", _delta_seeds, bytes_max=2_048, mutations=400)
def delta(data: bytes) -> None:
    """Any bytes as a delta to a document; the first byte chooses the document."""
    if data:
        meet(*_bases()[data[0] % len(_bases())], data[1:])


@target("delta_alone", lambda: [*_history()[0][:3]], bytes_max=262_145, mutations=100)
def delta_alone(data: bytes) -> None:
    """Any bytes as a delta to an empty document, and to one with content: for updates that others found."""
    for state, held in _bases()[:2]:
        meet(state, held, data)


def _encoded(dice: Dice, number: int) -> bytes:
    """A number as the format writes it, sometimes longer than it needs to be."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    if dice.below(32) == 31:
        return bytes(out) + bytes([number | 128, 0])
    return bytes([*out, number])


def _some_number(dice: Dice) -> int:
    if dice.below(8):
        return dice.below(24)
    return dice.pick((127, 128, 2**16, 2**31, 2**32, 2**52, 2**53 - 1, 2**53, 2**56 - 1))


def _place(dice: Dice, info: int) -> bytes:
    ids = (info >> 7) + (info >> 6 & 1)
    if ids:
        parts = [_encoded(dice, dice.pick((AUTHOR, AUTHOR, OTHER, HONEST, 5))) + _encoded(dice, _some_number(dice))]
        return b"".join(parts * ids) if dice.below(2) or ids == 1 else parts[0] + _encoded(dice, OTHER) + b"\x01"
    if info & 0x20:
        key = dice.pick((b"family_name/mineaaaa", b"family_name/otheraaa", b"phones/0000.1/mineaaaa", b"x", b"", b"/"))
        return b"\x01\x01r" + _encoded(dice, len(key)) + key
    return b"\x01" + dice.pick((b"\x06t:note", b"\x02t:", b"\x03t:x"))


def _struct(dice: Dice) -> bytes:
    how = dice.below(8)
    if how == 0:
        return b"\0" + _encoded(dice, max(1, _some_number(dice)))
    content = dice.pick((8, 8, 4, 1))
    info = dice.pick((0x00, 0x20, 0x80, 0x40, 0xC0, 0xA0, 0xE0, 0x60)) | content
    if content == 8:
        text = dice.pick(
            (b'[[1,1,"x"]]', b"[[1,65536,null]]", b"[[2,1,{}],[3,1,[]]]", b"", b"x", b"\xff\xfe", b"[[1,1,1e999]]")
        )
        return bytes([info]) + _place(dice, info) + b"\x01w" + _encoded(dice, len(text)) + text
    if content == 1:
        return bytes([info]) + _place(dice, info) + _encoded(dice, max(1, _some_number(dice)))
    text = dice.pick(("a", "ü", "😀", "a😀ü" * 5, "x" * 200)).encode()
    return bytes([info]) + _place(dice, info) + _encoded(dice, len(text)) + text


def _built(dice: Dice, clock: int) -> bytes:
    """An update of the forms that the gate knows, with places, lengths and numbers of any size; it mostly begins at
    `clock`."""
    out = b"\0"
    if dice.below(8):
        structs = [_struct(dice) for _ in range(1 + dice.below(6))]
        start = clock if dice.below(8) else _some_number(dice)
        head = _encoded(dice, len(structs)) + _encoded(dice, AUTHOR) + _encoded(dice, start)
        out = b"\x01" + head + b"".join(structs)
    deletions = []
    for _ in range(dice.below(3)):
        ranges = [_encoded(dice, _some_number(dice)) + _encoded(dice, _some_number(dice)) for _ in range(dice.below(4))]
        writer = _encoded(dice, dice.pick((AUTHOR, OTHER, HONEST, 5)))
        deletions.append(writer + _encoded(dice, len(ranges)) + b"".join(ranges))
    return out + _encoded(dice, len(deletions)) + b"".join(deletions)


@target(
    "delta_built",
    lambda: [bytes((n * 37 + k * k * (n + 3)) % 256 for k in range(60)) for n in range(24)],
    bytes_max=512,
    mutations=400,
)
def delta_built(data: bytes) -> None:
    """Updates built from what the gate lets pass, to a document and on top of each other."""
    dice = Dice(data)
    state, held = dice.pick(_bases())
    meet(state, held, _built(dice, held.clock(AUTHOR)))


_RAW = (
    *('[[1,1,"x"]]', "[[1,1,null]]", "[[2,65536,true]]", '[[1,1,{"name":"x"}]]', "[[1,1,[1]]]", "[]", "", "x"),
    *('[[1,1,"2020-01-01"]]', '[[1,1,"active"]]', "[[1,1,1e999]]", "[[1,1,NaN]]", '[[1,1,"\\ud800"]]', "[[1,1,-0.0]]"),
    *("[[1,1,1],[2,1,2]]", '[[1,1,1,["mineaaaa.1"]]]', "[[1,1,1,5]]", "[[1,1,1,[[]]]]", "[[1,1]]"),
    *(f"[[1,1,{'[' * 70}{']' * 70}]]",),
    *(f"[[{10**400},1,1]]", f"[[1,1,{10**400}]]", f"[[1,1,{2**63}]]", '[[1,1,""]]', f"[[1,{2**70},1]]", "[[1,-1,0.5]]"),
    *("[[1,1,[5,2]]]", "[[1,1,[-1,true]]]", '[[1,1,{"parents":["k"],"text":"x"}]]', '[[1,1,{"verification":[]}]]'),
    *(f"[[1,1,[{2**62},{'9' * 4000}]]]", '[[1,1,{"parents":[],"text":5,"id":"k"}]]', '[[1,1,{"quarter":{},"name":5}]]'),
    *(f"[[1,1,{'9' * 5000}]]", '[[1,1,{"start":"x","end":[]}]]', '[[1,1,{"morning":"NaN"}]]', '[[1,1,"\\u0000"]]'),
)
"""What slots hold: good and bad."""


@target(
    "content",
    lambda: [bytes((n * 11 + k * 7 * (n + 1)) % 256 for k in range(40)) for n in range(20)],
    bytes_max=512,
    mutations=300,
)
def content(data: bytes) -> None:
    """A document may say anything in its slots and texts: it is read, projected and shown all the same."""
    dice = Dice(data)
    kind = dice.pick(sorted(kinds()))
    fields = sorted(kinds()[kind].plan().fields)
    slots: dict[str, str] = {}
    for _ in range(1 + dice.below(12)):
        field = dice.pick(fields) if dice.below(8) else dice.pick(("", "new", "family_name"))
        tag = dice.pick(("mineaaaa", "otheraaa", "0000.k/mineaaaa", "0000.k/otheraaa", "//", "", "99.x/aaaaaaaa"))
        raw = dice.pick(_RAW)
        slots[f"{field}/{tag}"] = raw if dice.below(4) else patched(dice, raw.encode()).decode("utf-8", "ignore")
    texts = {dice.pick(fields): "text" for _ in range(dice.below(3))}
    show(kind, Content(slots, texts))


@target(
    "derive",
    lambda: [bytes((n * 13 + k * 5 * (n + 1)) % 256 for k in range(60)) for n in range(16)],
    bytes_max=1_024,
    mutations=60,
)
def derive(data: bytes) -> None:
    """A member forges any content under its own seal: the others derive all that is honest, and both agree."""
    dice = Dice(data)
    hostile, other, third = SiteRig("a"), SiteRig("b"), SiteRig("c")
    hostile.write(patient_of(1))
    for _ in range(1 + dice.below(4)):
        _forge(dice, hostile)
    for site in (other, third):
        site.pull(hostile)
    other.derive()
    for _ in range(50):  # one by one, where the other took all at once
        if third.engine.derive(third.now(), 1).done:
            break
    other.write(patient_of(9, family_name="Honest"))
    third.pull(other)
    result = third.derive()
    assert isinstance(result, values.DeriveResult)
    assert other.engine.status().digest == third.engine.status().digest, "equal logs, other views (L5)"
    assert third.patient(9).family_name == "Honest"


def _forge(dice: Dice, site: SiteRig) -> None:
    subject = record_of(1 + dice.below(2))
    how = dice.below(4)
    if how == 3:
        forge(site, subject, Change("patient", subject, b""), sealed=dice.piece() or b"x")
        return
    real = _history()[0][dice.below(3)]
    delta = _built(dice, dice.below(3)) if how == 0 else patched(dice, real) if how == 1 else dice.piece()
    kind = dice.pick(("patient", "chart_entry", "nobody_declares_this", "é", "x" * 65, ""))
    record = dice.pick((subject, subject, record_of(2), RecordId(""), RecordId("../x"), RecordId("x" * 70)))
    log = site.engine.log
    assert log is not None
    delta = delta.replace(_varint(AUTHOR), _varint(client_id(log, record)), 1)  # the id under which it must write
    forge(site, subject, Change(kind, record, delta))


def _varint(number: int) -> bytes:
    return _encoded(Dice(b""), number)

