"""What is typed between two characters names them in their order; anything else would stand elsewhere after loading."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from crdtsync.documents import Document, EditText, check_delta
from crdtsync.documents.text import Hunk
from crdtsync.errors import Poisoned

WRITERS = (1_000, 2_000, 3_000)
AUTHOR, FORGER = 7, 9


def number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def typed(left: tuple[int, int], right: tuple[int, int], text: bytes = b"?", clock: int = 0) -> bytes:
    """A delta of FORGER: this text between two characters."""
    places = b"".join(number(part) for part in (*left, *right))
    return bytes([1, 1, FORGER, clock, 0xC4]) + places + number(len(text)) + text + b"\x00"


def written(*texts: tuple[str, str]) -> Document:
    """A document of AUTHOR with these texts, whose clocks count up from 0."""
    document = Document(AUTHOR)
    edits = [EditText(field, "", (Hunk(0, 0, text),)) for field, text in texts]
    document.write(tag="authoraa", sequence=1, stamp=1, edits=edits)
    return document


def without(document: Document, field: str, start: int, end: int) -> None:
    text = document.content().texts[field]
    edits = [EditText(field, text, (Hunk(start, end, ""),))]
    document.write(tag="authoraa", sequence=2, stamp=2, edits=edits)


def take(document: Document, delta: bytes, client: int = FORGER) -> None:
    document.apply(delta, check_delta(delta, client))


def both(document: Document) -> Iterator[Document]:
    """The document as it is in memory, and as it is loaded."""
    state = document.state()
    yield document
    yield Document(AUTHOR, state)


def refused(document: Document, delta: bytes) -> None:
    for one in both(document):
        with pytest.raises(Poisoned):
            take(one, delta)


def test_between_two_characters() -> None:
    for one in both(written(("note", "abcdef"))):
        take(one, typed((AUTHOR, 1), (AUTHOR, 2)))
        assert one.content().texts == {"note": "ab?cdef"}


def test_between_a_character_and_itself_is_refused() -> None:
    refused(written(("note", "abcdef")), typed((AUTHOR, 2), (AUTHOR, 2)))


def test_between_a_character_and_one_before_it_is_refused() -> None:
    refused(written(("note", "abcdef")), typed((AUTHOR, 4), (AUTHOR, 1)))
    refused(written(("note", "ab😀ü")), typed((AUTHOR, 4), (AUTHOR, 1)))


@pytest.mark.parametrize("gone", [(0, 3), (2, 6), (0, 6), (1, 5)])
def test_deleted_characters_keep_their_order(gone: tuple[int, int]) -> None:
    for left in range(6):
        for right in range(6):
            document = written(("note", "abcdef"))
            without(document, "note", *gone)
            delta = typed((AUTHOR, left), (AUTHOR, right))
            if left >= right:
                refused(document, delta)
                continue
            for one in both(document):
                take(one, delta)
                assert Document(AUTHOR, one.state()).content() == one.content()
                assert "?" in one.content().texts["note"]


def test_between_characters_of_two_texts_is_refused() -> None:
    """In a document of two texts it is not the positions that tell."""
    texts = ("note", "abcüef"), ("plan", "ghijkl")
    for left in range(12):
        for right in range(12):
            delta = typed((AUTHOR, left), (AUTHOR, right))
            if left < right and left // 6 == right // 6:
                for one in both(written(*texts)):
                    take(one, delta)
            else:
                refused(written(*texts), delta)


def test_the_verdict_is_that_of_all_sites() -> None:
    """One has the text in one piece, one with what another typed into it, one lacks some of it: they all refuse."""
    plain, split, shorter = (written(("note", "abcdef")) for _ in range(3))
    between = Document(WRITERS[0], plain.state())
    took = between.write(tag="otheraaa", sequence=1, stamp=1, edits=[EditText("note", "abcdef", (Hunk(3, 3, "xyz"),))])
    take(split, took, WRITERS[0])
    without(shorter, "note", 1, 5)
    for document in (plain, split, shorter):
        refused(document, typed((AUTHOR, 4), (AUTHOR, 1)))


@pytest.mark.parametrize("seed", range(12))
def test_what_honest_writers_type_is_in_order_everywhere(seed: int) -> None:
    """Three type, delete and paste in two texts, and see each other late."""
    rng = random.Random(seed)
    documents = [Document(client) for client in WRITERS]
    inboxes: list[list[tuple[int, bytes]]] = [[], [], []]
    for step in range(1, 80):
        me = rng.randrange(3)
        if rng.random() < 0.4:
            for writer, delta in inboxes[me]:
                take(documents[me], delta, WRITERS[writer])
            inboxes[me] = []
        field = rng.choice(["note", "plan"])
        text = documents[me].content().texts.get(field, "")
        at = rng.randrange(len(text) + 1)
        hunk = Hunk(at, min(len(text), at + rng.choice([0, 0, 1, 6])), rng.choice(["", "a", "ü😀", "word "]))
        edit = EditText(field, text, (hunk,))
        delta = documents[me].write(tag=f"writer{me}a", sequence=step, stamp=step, edits=[edit])
        if delta:
            for other in {0, 1, 2} - {me}:
                inboxes[other].append((me, delta))
    for me in range(3):
        for writer, delta in inboxes[me]:
            take(documents[me], delta, WRITERS[writer])
    assert documents[0].content() == documents[1].content() == documents[2].content()
    for document in documents:
        assert Document(1, document.state()).content() == document.content()


def test_a_document_of_two_texts_knows_them_through_all_that_happens_to_it() -> None:
    """What belongs to which text is read once and learnt on: by what is applied, what is written here, what is gone."""
    document = written(("note", "abcüef"), ("plan", "ghijkl"))
    for step, (left, right) in enumerate([(0, 1), (6, 7), (1, 2), (8, 9)]):
        take(document, typed((AUTHOR, left), (AUTHOR, right), clock=step))
        if step == 1:
            without(document, "plan", 0, 2)
    refused(Document(AUTHOR, document.state()), typed((FORGER, 0), (FORGER, 1), clock=4))
    take(document, typed((FORGER, 0), (AUTHOR, 1), clock=4))
    with pytest.raises(Poisoned):
        take(document, typed((FORGER, 1), (FORGER, 2), clock=5))
