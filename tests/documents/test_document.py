import pickle
import random
from typing import Any

import pytest

from crdtsync import limits
from crdtsync.documents import Content, Document, EditEntry, EditText, Hunk, SetField, check_delta
from crdtsync.documents.document import parse_snapshot
from crdtsync.documents.slots import parse_items
from crdtsync.errors import BadValue, Poisoned
from crdtsync.ids import RecordId

RECORD = RecordId("a" * 26)
A, B = "tagaaaaa", "tagbbbbb"


def write(document: Document, tag: str, sequence: int, *edits: Any) -> bytes:
    return document.write(tag=tag, sequence=sequence, stamp=sequence, edits=edits)


def values(document: Document, slot: str) -> list[Any]:
    return [item[2] for item in parse_items(document.content().slots[slot]) or ()]


def test_a_document_says_what_was_written_and_comes_back_from_its_state() -> None:
    document = Document(1)
    delta = write(document, A, 1, SetField("name", "Müller", {}), EditText("note", "", (Hunk(0, 0, "süß"),)))
    expected = Content({"name/tagaaaaa": '[[1,1,"Müller"]]'}, {"note": "süß"})
    assert document.content() == expected
    for other in (Document(2, document.state()), Document(3)):
        other.apply(delta)
        assert other.content() == expected
        assert other.fingerprint("k", RECORD) == document.fingerprint("k", RECORD)


def test_two_edits_of_one_field_in_one_commit_stand_beside_each_other_or_replace() -> None:
    """As the second had seen the first or not; others take the delta either way."""
    document, other = Document(1), Document(2)
    delta = write(document, A, 1, SetField("name", "a", {}), SetField("title", "x", {}), SetField("name", "b", {}))
    check_delta(delta, 1)
    other.apply(delta)
    assert values(document, f"name/{A}") == values(other, f"name/{A}") == ["a", "b"]
    seen = {f"name/{A}": document.content().slots[f"name/{A}"]}
    other.apply(write(document, A, 2, SetField("name", "c", seen), EditEntry("name", "k", 1, {})))
    assert values(document, f"name/{A}") == values(other, f"name/{A}") == ["c"]
    assert document.fingerprint("k", RECORD) == other.fingerprint("k", RECORD)


def test_nothing_changed_is_no_delta() -> None:
    assert write(Document(1), A, 1) == b""
    assert write(Document(1), A, 1, EditText("note", "", ())) == b""


def test_what_was_seen_is_overwritten_and_what_was_not_stays() -> None:
    one, two = Document(1), Document(2)
    first = write(one, A, 1, SetField("f", "a", {}))
    second = write(two, B, 1, SetField("f", "b", {}))
    one.apply(second)
    assert set(one.content().slots) == {"f/tagaaaaa", "f/tagbbbbb"}
    both = dict(one.content().slots)
    third = write(one, A, 2, SetField("f", "c", both))
    two.apply(first)
    two.apply(third)
    assert one.content() == two.content() == Content({"f/tagaaaaa": '[[2,2,"c"]]'}, {})


def test_another_transaction_of_the_same_log_in_between_is_not_overwritten() -> None:
    document = Document(1)
    write(document, A, 1, SetField("f", "old", {}))
    seen = dict(document.content().slots)
    write(document, A, 2, SetField("f", "first desk", seen))
    write(document, A, 3, SetField("f", "second desk", seen))
    assert values(document, "f/tagaaaaa") == ["first desk", "second desk"]
    write(document, A, 4, SetField("f", "both read", dict(document.content().slots)))
    assert values(document, "f/tagaaaaa") == ["both read"]


def test_a_slot_that_changed_since_it_was_read_is_not_deleted() -> None:
    document, other = Document(1), Document(2)
    document.apply(write(other, B, 1, SetField("f", "old", {})))
    seen = dict(document.content().slots)
    document.apply(write(other, B, 2, SetField("f", "newer", dict(other.content().slots))))
    write(document, A, 1, SetField("f", "mine", seen))
    assert values(document, "f/tagbbbbb") == ["newer"]
    assert values(document, "f/tagaaaaa") == ["mine"]


def test_entries_have_slots_of_their_own_and_groups_keep_account() -> None:
    document = Document(1)
    write(document, A, 1, EditEntry("lines", "k/1", {"x": 2**60}, {}), SetField("g", None, {}, ("b.1", "a.1")))
    assert document.content().slots == {
        "lines/k/1/tagaaaaa": '[[1,1,{"x":1152921504606846976}]]',
        "g/tagaaaaa": '[[1,1,null,["b.1","a.1"]]]',
    }


def test_text_edits_are_mapped_over_what_came_in_between() -> None:
    document = Document(1)
    write(document, A, 1, EditText("t", "", (Hunk(0, 0, "süßer Tee"),)))
    write(document, A, 2, EditText("t", "süßer Tee", (Hunk(0, 0, "sehr "),)))
    write(document, A, 3, EditText("t", "süßer Tee", (Hunk(6, 9, "Most"),)))
    assert document.content().texts == {"t": "sehr süßer Most"}
    assert Document(2, document.state()).content() == document.content()


def test_an_emptied_text_is_no_content() -> None:
    document = Document(1)
    write(document, A, 1, EditText("t", "", (Hunk(0, 0, "x"),)))
    write(document, A, 2, EditText("t", "x", (Hunk(0, 1, ""),)))
    assert document.content() == Document(2, document.state()).content() == Content({}, {})


def test_fingerprints_tell_kind_record_content_and_history_apart() -> None:
    def made(value: str, tag: str = A, client: int = 1) -> Document:
        document = Document(client)
        write(document, tag, 1, SetField("f", value, {}))
        return document

    prints = {
        made("x").fingerprint("k", RECORD),
        made("y").fingerprint("k", RECORD),
        made("x", B).fingerprint("k", RECORD),
        made("x", client=2).fingerprint("k", RECORD),
        made("x").fingerprint("l", RECORD),
        made("x").fingerprint("k", RecordId("b" * 26)),
    }
    assert len(prints) == 6
    assert made("x").fingerprint("k", RECORD) in prints
    assert all(len(one) == 32 for one in prints)


def test_fingerprints_see_deletes_that_change_no_state_vector() -> None:
    one, two = Document(1), Document(1)
    for document in (one, two):
        write(document, A, 1, EditText("t", "", (Hunk(0, 0, "abc"),)))
    write(two, A, 2, EditText("t", "abc", (Hunk(1, 2, ""),)))
    assert one.fingerprint("k", RECORD) != two.fingerprint("k", RECORD)


def test_snapshots_are_sorted_and_their_ranges_joined() -> None:
    one = bytes([2, 9, 3, 4, 1, 0, 2, 2, 2, 3, 1, 7, 1, 2, 9, 40, 3, 20])
    two = bytes([2, 3, 1, 7, 1, 9, 2, 0, 4, 4, 1, 2, 3, 20, 9, 40])
    assert parse_snapshot(one) == parse_snapshot(two) == ([[3, [[7, 1]]], [9, [[0, 5]]]], [[3, 20], [9, 40]])


@pytest.mark.parametrize("junk", [b"\x01", b"junk", bytes([255] * 50), bytes([1, 1, 7, 0, 99, 1])])
def test_poison_is_an_error_and_the_document_is_broken_for_good(junk: bytes) -> None:
    document = Document(1)
    write(document, A, 1, SetField("f", "x", {}))
    with pytest.raises(Poisoned):
        document.apply(junk)
    for use in (document.content, document.state, lambda: document.apply(b""), lambda: write(document, A, 2)):
        with pytest.raises(Poisoned, match="broken"):
            use()
    with pytest.raises(Poisoned):
        Document(1, junk)


def test_a_panic_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    """A delta that the gate would refuse; the library panics, which is no `Exception`."""
    document = Document(1)
    write(document, A, 1, SetField("f", "x", {}))
    good = document.state()
    with pytest.raises(Poisoned, match="PanicException"):
        document.apply(bytes([1, 2, 7, 1, 0, 0, 168, 7, 2, 1, 119, 9]) + b"[[2,1,1]]" + bytes([1, 7, 2, 0, 1, 2, 1]))
    with pytest.raises(Poisoned, match="broken"):
        document.content()
    assert Document(1, good).content().slots == {"f/tagaaaaa": '[[1,1,"x"]]'}
    capfd.readouterr()


def test_foreign_content_of_the_map_is_kept_and_says_nothing_wrong() -> None:
    nested = bytes([1, 1, 7, 0, 40, 1, 1, ord("r"), 1, ord("x"), 1, 117, 1, 125, 5, 0])
    document = Document(1)
    document.apply(nested)
    assert set(document.content().slots) == {"x"}
    assert all(type(raw) is str for raw in document.content().slots.values())
    again = Document(2, document.state())
    assert again.fingerprint("k", RECORD) == document.fingerprint("k", RECORD)


def test_a_change_that_is_too_large_is_refused_by_its_author() -> None:
    with pytest.raises(BadValue, match="keep the content as a file"):
        write(Document(1), A, 1, SetField("f", "x" * limits.delta_bytes_max, {}))


def test_many_overwrites_stay_small() -> None:
    document = Document(1)
    for sequence in range(1, 1001):
        write(document, A, sequence, SetField("f", sequence, dict(document.content().slots)))
    assert len(document.state()) < 100


def test_edits_can_be_pickled() -> None:
    edits = [
        SetField("f", {"a": [1]}, {"f/tagaaaaa": "[[1,1,2]]"}, ("tagaaaaa.1",)),
        EditEntry("lines", "k", None, {}),
        EditText("t", "base", (Hunk(0, 1, "x"),)),
    ]
    assert pickle.loads(pickle.dumps(edits)) == edits


def test_byte_positions_agree_with_characters_everywhere() -> None:
    rng = random.Random(5)
    document, base = Document(1), ""
    for sequence in range(1, 200):
        start = rng.randrange(len(base) + 1)
        end = min(len(base), start + rng.randrange(3))
        insert = "".join(rng.choice("aü😀ß\n") for _ in range(rng.randrange(4)))
        write(document, A, sequence, EditText("t", base, (Hunk(start, end, insert),)))
        base = base[:start] + insert + base[end:]
        assert Document(2, document.state()).content().texts.get("t", "") == base
