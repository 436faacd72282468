import random

import pytest

from crdtsync import limits
from crdtsync.documents import Document, EditCounter, EditEntry, EditText, Reach, SetField, check_delta
from crdtsync.documents.delta import Typed
from crdtsync.documents.text import Hunk
from crdtsync.errors import Poisoned

CLIENT = 2**53 - 1
OTHER = 12_345_678_901


def bomb(depth: int, client: int = 7) -> bytes:
    """A well-formed update that sets key `x` of the map to arrays nested `depth` deep."""
    return bytes([1, 1, client, 0, 40, 1, 1, ord("r"), 1, ord("x"), 1]) + bytes([117, 1]) * depth + bytes([126, 0])


def honest() -> list[bytes]:
    """Deltas of many shapes by one writer, beside another one."""
    mine, other = Document(CLIENT), Document(OTHER)
    deltas = []
    rng = random.Random(7)
    for step in range(60):
        for document, tag in ((mine, "mineaaaa"), (other, "otheraaa")):
            content = document.content()
            field = f"field_{rng.randrange(3)}"
            seen = {slot: raw for slot, raw in content.slots.items() if slot.startswith(field + "/")}
            value = rng.choice(["ü" * 200, "u" * 100, "v" * 300, step, None, {"a": [1, 2]}])
            base = content.texts.get("note", "")
            at = rng.randrange(len(base) + 1)
            hunks = (Hunk(at, min(len(base), at + rng.randrange(3)), rng.choice(["", "😀", "uvüuv" * 50])),)
            edits = [SetField(field, value, seen), EditText("note", base, hunks)]
            delta = document.write(tag=tag, sequence=step + 1, stamp=step, edits=edits)
            (other if document is mine else mine).apply(delta)
            if document is mine:
                deltas.append(delta)
    assert mine.content() == other.content()
    return deltas


def test_what_documents_write_passes() -> None:
    for delta in honest():
        check_delta(delta, CLIENT)


def test_long_keys_and_values_pass() -> None:
    document = Document(CLIENT)
    edits = [EditEntry("lines", "ü" * 500, "v" * 70_000, {}), SetField("f", "u" * 200, {})]
    check_delta(document.write(tag="mineaaaa", sequence=1, stamp=1, edits=edits), CLIENT)


def test_counters_and_versions_pass() -> None:
    document = Document(CLIENT)
    for step in range(1, 40):
        stored = {"text": "ü" * step, "parents": ["k" * 26] * step}
        edits = [EditCounter("visits", 2**step, step), EditEntry("letters", "k" * 26, stored, {})]
        check_delta(document.write(tag="mineaaaa", sequence=step, stamp=step, edits=edits), CLIENT)


def test_another_writers_client_id_is_refused() -> None:
    for delta in honest():
        with pytest.raises(Poisoned, match="another writer"):
            check_delta(delta, OTHER)


def test_every_cut_is_refused() -> None:
    delta = honest()[0]
    for length in range(len(delta)):
        with pytest.raises(Poisoned):
            check_delta(delta[:length], CLIENT)
    with pytest.raises(Poisoned, match="behind its end"):
        check_delta(delta + b"\x00", CLIENT)


@pytest.mark.parametrize("depth", [0, 1, 48, 49, 100_000])
def test_nested_values_are_refused_at_any_depth(depth: int) -> None:
    with pytest.raises(Poisoned):
        check_delta(bomb(depth), 7)


def test_size_is_bounded() -> None:
    with pytest.raises(Poisoned, match="at most"):
        check_delta(bytes(limits.delta_bytes_max + 1), 7)


@pytest.mark.parametrize(
    ("delta", "reason"),
    [
        (b"", "middle"),
        (bytes([2, 1, 7, 0]), "several"),
        (bytes([1, 0, 7, 0, 0]), "no structs"),
        (bytes([1, 1, 7, 0, 10, 5, 0]), "root|place|middle|content|nests"),
        (bytes([1, 1, 7, 0, 0, 5, 0]), "nests"),
        (bytes([1, 1, 7, 0, 0x21, 1, 1, ord("r"), 1, ord("x"), 5, 0]), "content"),
        (bytes([1, 1, 7, 0, 0x24, 1, 1, ord("r"), 1, ord("x"), 1, ord("y"), 0]), "text into the map"),
        (bytes([1, 1, 7, 0, 0x08, 1, 3]) + b"t:a" + bytes([1, 119, 1, ord("y"), 0]), "value into a text"),
        (bytes([1, 1, 7, 3, 0x84, 7, 3, 1, ord("x"), 0]), "place that is none"),
        (bytes([1, 1, 7, 3, 0x84, 7, 2, 1, ord("x"), 1, 7, 1, 3, 2]), "own that it does not carry"),
        (bytes([1, 1, 7, 0, 0x04, 1, 1, ord("r"), 1, ord("x"), 0]), "root"),
        (bytes([1, 1, 7, 0, 0x04, 0, 7, 0, 1, ord("x"), 0]), "nests"),
        (bytes([1, 1, 7, 0, 0x27, 1, 1, ord("r"), 1, ord("x"), 1, 0]), "content"),
        (bytes([1, 1, 7, 0, 40, 1, 1, ord("r"), 1, ord("x"), 1, 126, 0]), "value"),
        (bytes([1, 1, 7, 0, 0x04, 1, 3]) + b"t:a" + bytes([1, 0xFF, 0]), "UTF-8"),
        (bytes([1, 1, 7]) + bytes([0xFF] * 7 + [0x7F]) + bytes([40, 1, 1]) + b"r\x01x\x01w\x00\x00", "clocks"),
        (bytes([1, 1, 7, 255, 255, 255, 255, 15, 40, 1, 1]) + b"r\x01x\x01w\x00\x00", "clocks"),
        (bytes([1, 255, 255, 255, 255, 15, 7, 0, 0]), "nothing|middle"),
        (bytes([0, 1, 7, 1, 3, 0]), "nothing"),
        (bytes([0, 1, 7, 1]) + bytes([0xFF] * 7 + [0x7F]) + bytes([1]), "clocks"),
        (bytes([0, 1, 9, 1]) + bytes([0xFF] * 7 + [0x7F]) + bytes([1]), "clocks"),
        (bytes([0, 255, 255, 255, 255, 15]), "middle"),
        (bytes([0x80] * 20), "several"),
        (bytes([0] + [0x80] * 20), "does not end"),
    ],
)
def test_what_no_document_writes_is_refused(delta: bytes, reason: str) -> None:
    with pytest.raises(Poisoned, match=reason):
        check_delta(delta, 7)


def test_damaged_deltas_that_pass_the_gate_never_panic() -> None:
    """What passes is applied, or refused by an error; a panic's name would stand in the message."""
    rng = random.Random(11)
    deltas = honest()
    passed = 0
    for _ in range(2_000):
        damaged = bytearray(rng.choice(deltas))
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            check_delta(bytes(damaged), CLIENT)
        except Poisoned:
            continue
        passed += 1
        document = Document(5)
        try:
            document.apply(bytes(damaged))
            document.content()
            document.fingerprint("kind", "record")  # type: ignore[arg-type]  # any text does
            Document(6, document.state()).content()
        except Poisoned as error:
            assert "Panic" not in str(error)
    assert passed > 100


# -- what a delta builds on --------------------------------------------------------------------------------------------


def test_what_a_delta_adds_and_needs_is_told() -> None:
    mine, other = Document(CLIENT), Document(OTHER)
    first = mine.write(tag="mineaaaa", sequence=1, stamp=1, edits=[SetField("f", 1, {}), SetField("g", 1, {})])
    assert check_delta(first, CLIENT) == Reach(CLIENT, 0, 2, {})
    other.apply(first)
    seen = {slot: raw for slot, raw in other.content().slots.items() if slot.startswith("f/")}
    second = other.write(tag="otheraaa", sequence=1, stamp=2, edits=[SetField("f", 2, seen)])
    assert check_delta(second, OTHER) == Reach(OTHER, 0, 1, {CLIENT: 1})
    text = other.write(tag="otheraaa", sequence=2, stamp=3, edits=[EditText("note", "", (Hunk(0, 0, "ä😀"),))])
    assert check_delta(text, OTHER) == Reach(OTHER, 1, 4, {}, [Typed(1, 3, None, None, "t:note")])
    change = other.write(tag="otheraaa", sequence=3, stamp=4, edits=[EditText("note", "ä😀", (Hunk(1, 2, "x"),))])
    between = [Typed(4, 1, (OTHER, 3), None, None)]
    assert check_delta(change, OTHER) == Reach(OTHER, 4, 5, {OTHER: 4}, between)


def test_honest_deltas_fit_in_their_order_and_in_no_other() -> None:
    deltas = honest()
    document = Document(1)
    other = check_delta(deltas[0], CLIENT)
    assert document.missing(other) == []
    assert document.missing(check_delta(deltas[1], CLIENT))[0] == CLIENT, "one before it is not there"
    assert document.missing(other, own=other.end) == [CLIENT], "it is there already"
    assert document.missing(check_delta(deltas[1], CLIENT), own=other.end) in ([], [OTHER])


def test_a_document_knows_its_clocks_when_written_applied_to_and_loaded() -> None:
    mine = Document(CLIENT)
    first = mine.write(tag="mineaaaa", sequence=1, stamp=1, edits=[SetField("f", 1, {})])
    second = mine.write(tag="mineaaaa", sequence=2, stamp=2, edits=[SetField("g", 1, {})])
    reach = check_delta(second, CLIENT)
    assert mine.missing(reach) == [CLIENT] and mine.missing(reach, own=1) == []
    there = Document(OTHER)
    assert there.missing(reach) == [CLIENT]
    there.apply(first, check_delta(first, CLIENT))
    assert there.missing(reach) == []
    loaded = Document(OTHER, there.state())
    assert loaded.missing(reach) == []
    loaded.apply(second)
    assert loaded.missing(reach) == [CLIENT]


@pytest.mark.parametrize(
    ("delta", "reason"),
    [
        (bytes([1, 1, 7, 0, 0x84, 7, 0, 1, ord("x"), 0]), "place"),
        (bytes([1, 1, 7, 3, 0x44, 7, 3, 1, ord("x"), 0]), "place"),
        (bytes([1, 1, 7, 0, 0x84, 9, 128, 128, 128, 128, 8, 1, ord("x"), 0]), "place"),
        (bytes([1, 1, 7, 0, 0x04, 1, 3]) + b"t:a" + bytes([1, ord("x"), 1, 7, 1, 0, 2]), "own that it does not carry"),
    ],
)
def test_what_builds_on_what_comes_after_it_is_refused(delta: bytes, reason: str) -> None:
    with pytest.raises(Poisoned, match=reason):
        check_delta(delta, 7)


def writers() -> tuple[Document, Document]:
    """Two documents with equal content, a text with an astral character and a slot, by OTHER."""
    mine, other = Document(CLIENT), Document(OTHER)
    edits = [EditText("note", "", (Hunk(0, 0, "a😀b"),)), SetField("title", "x", {})]
    mine.apply(other.write(tag="otheraaa", sequence=1, stamp=1, edits=edits))
    return mine, other


def test_a_value_between_the_characters_of_a_text_is_refused() -> None:
    """It would be invisible, count as one byte, and make the next honest writer split a character."""
    mine, _ = writers()
    place = bytes.fromhex("b5b8f0fe2d") + b"\x00"
    delta = bytes([1, 1, 7, 0, 0x88]) + place + b"\x01w\x01x" + b"\x00"
    check_delta(delta, 7)
    with pytest.raises(Poisoned):
        mine.apply(delta)


def test_half_a_character_cannot_be_deleted() -> None:
    """Clocks of texts count UTF-16: from then on memory and state would be two different documents."""
    mine, _ = writers()
    delta = b"\x00\x01" + bytes.fromhex("b5b8f0fe2d") + bytes([1, 1, 1])
    check_delta(delta, CLIENT)
    with pytest.raises(Poisoned):
        mine.apply(delta)
    whole = b"\x00\x01" + bytes.fromhex("b5b8f0fe2d") + bytes([1, 1, 2])
    fresh, _ = writers()
    fresh.apply(whole)
    assert fresh.content().texts == {"note": "ab"}


def test_an_empty_text_that_was_only_asked_for_changes_no_verdict() -> None:
    """It is in memory and in no state: what others wrote was once refused for it."""
    mine = Document(CLIENT)
    assert mine.write(tag="mineaaaa", sequence=1, stamp=1, edits=[EditText("plan", "", (Hunk(0, 0, ""),))]) == b""
    other = Document(OTHER)
    mine.apply(other.write(tag="otheraaa", sequence=1, stamp=1, edits=[EditText("note", "", (Hunk(0, 0, "😀"),))]))
    assert mine.content() == other.content()
