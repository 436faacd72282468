from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.documents import Hunk, Text
from crdtsync.documents.text import difference, rebase
from crdtsync.errors import BadValue

LETTERS = st.text(alphabet="abü😀 \n", max_size=12)


def applied(base: str, hunks: list[Hunk] | tuple[Hunk, ...]) -> str:
    for start, end, insert in reversed(hunks):
        base = base[:start] + insert + base[end:]
    return base


def test_editing_counts_characters() -> None:
    text = Text.as_read("Grüße")
    text.insert(3, "😀")
    text.delete(1, 2)
    text.append("!")
    assert (str(text), len(text)) == ("G😀ße!", 5)
    assert text.hunks() == (Hunk(1, 3, "😀"), Hunk(5, 5, "!"))
    assert text == "G😀ße!"
    assert repr(text) == "Text('G😀ße!')"


@pytest.mark.parametrize("act", [lambda t: t.insert(4, "x"), lambda t: t.insert(-1, "x"), lambda t: t.delete(2, 2)])
def test_positions_outside_are_refused(act: object) -> None:
    text = Text("abc")
    with pytest.raises(BadValue, match="between 0 and 3"):
        act(text)  # type: ignore[operator]
    assert text == "abc"


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(BadValue, match="surrogate"):
        Text("\ud83d")
    with pytest.raises(BadValue, match="surrogate"):
        Text("a").insert(0, "\udc00")


@given(LETTERS, st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 5), LETTERS), max_size=12))
def test_hunks_are_the_edits(base: str, operations: list[tuple[bool, int, int, str]]) -> None:
    text, model = Text.as_read(base), base
    for insert, position, count, value in operations:
        position = min(position, len(model))
        count = min(count, len(model) - position)
        if insert:
            text.insert(position, value)
            model = model[:position] + value + model[position:]
        else:
            text.delete(position, count)
            model = model[:position] + model[position + count :]
        assert len(text) == len(model)
    assert str(text) == model
    hunks = text.hunks()
    assert applied(base, hunks) == model
    assert all(a.end <= b.start for a, b in pairwise(hunks))


@given(LETTERS, LETTERS)
def test_replacing_makes_the_new_text(before: str, after: str) -> None:
    assert applied(before, difference(before, after)) == after
    text = Text.as_read(before)
    text.replace(after)
    assert text == after


def test_replacing_leaves_unchanged_words_alone() -> None:
    text = Text.as_read("eins zwei drei vier fünf")
    text.replace("EINS zwei drei vier FÜNF")
    assert text.hunks() == (Hunk(0, 4, "EINS"), Hunk(20, 24, "FÜNF"))


def test_large_rewrites_are_one_stretch() -> None:
    assert difference("a b " * 2000, "c d " * 2000) == [Hunk(0, 7999, "c d " * 1999 + "c d")]


@pytest.mark.parametrize(
    ("base", "mine", "current", "merged"),
    [
        ("hello", (Hunk(5, 5, "!"),), "oh hello", "oh hello!"),
        ("hello world", (Hunk(0, 5, "bye"),), "hello dear world", "bye dear world"),
        ("abcdef", (Hunk(1, 5, ""),), "abcXdef", "aXf"),
        ("abcdef", (Hunk(2, 4, "-"),), "af", "a-f"),
        ("abcdef", (Hunk(0, 6, "new"),), "abcdef tail", "new tail"),
        ("", (Hunk(0, 0, "x"),), "y", "yx"),
    ],
)
def test_positions_are_mapped_over_what_changed_meanwhile(
    base: str, mine: tuple[Hunk, ...], current: str, merged: str
) -> None:
    assert applied(current, rebase(mine, base, current)) == merged


@given(LETTERS, LETTERS, LETTERS)
def test_mapping_loses_nothing_that_either_side_typed(base: str, mine: str, current: str) -> None:
    mine_hunks = difference(base, mine)
    merged_hunks = rebase(mine_hunks, base, current)
    merged = applied(current, merged_hunks)
    assert all(0 <= h.start <= h.end <= len(current) for h in merged_hunks)
    assert all(a.end <= b.start for a, b in pairwise(merged_hunks))
    for typed in [h.insert for h in mine_hunks] + [h.insert for h in difference(base, current)]:
        if len(typed) == 1:
            assert typed in merged
    assert applied(base, rebase(mine_hunks, base, base)) == mine
