"""Laws of what people type: every single wrong character and every swap is noticed, for any code and any sheet."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.errors import CrdtSyncError
from crdtsync.ids import PracticeId
from crdtsync.sealing.code import Code, format_code, parse_code
from crdtsync.sealing.recovery import parse_sheet, secret_groups
from tests.examples import examples

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
SEEDS = st.integers(0, 2**32)


def code_of(seed: int) -> str:
    chance = random.Random(seed)
    addresses = tuple(
        f"10.0.0.{chance.randrange(256)}:{chance.randrange(1, 2**16)}" for _ in range(chance.randrange(3))
    )
    draw = chance.randbytes
    return format_code(Code(PracticeId(draw(16)), draw(8), draw(16), draw(16), addresses))


def sheet_of(seed: int) -> str:
    return " ".join(secret_groups(random.Random(seed).randbytes(32)))


KINDS = pytest.mark.parametrize(
    ("made", "parse"), [(code_of, parse_code), (sheet_of, parse_sheet)], ids=["code", "sheet"]
)
Make = Callable[[int], str]
Parse = Callable[[str], object]


def slots(text: str) -> list[int]:
    """Where a character stands that counts."""
    return [at for at, character in enumerate(text) if character.lower() in ALPHABET]


def refuses(parse: Parse, text: str) -> bool:
    try:
        parse(text)
    except CrdtSyncError:
        return True
    return False


@KINDS
@given(seed=SEEDS)
@examples(15)
def test_every_single_wrong_character_is_noticed(made: Make, parse: Parse, seed: int) -> None:
    """Each character in its turn, by one that follows from the seed: all others of the alphabet over the examples."""
    text, chance = made(seed), random.Random(seed)
    assert not refuses(parse, text)
    for at in slots(text):
        wrong = chance.choice([other for other in ALPHABET if other != text[at].lower()])
        assert refuses(parse, text[:at] + wrong + text[at + 1 :])


@KINDS
@given(seed=SEEDS)
@examples(15)
def test_every_swap_is_noticed(made: Make, parse: Parse, seed: int) -> None:
    """Of neighbours, and of any two."""
    text, chance = made(seed), random.Random(seed)
    places = slots(text)
    pairs = list(pairwise(places)) + [tuple(chance.sample(places, 2)) for _ in range(60)]
    for one, other in pairs:
        typed = list(text)
        typed[one], typed[other] = typed[other], typed[one]
        if typed[one].lower() != typed[other].lower():
            assert refuses(parse, "".join(typed))


@KINDS
@given(seed=SEEDS)
@examples(15)
def test_every_lost_and_every_doubled_character_is_noticed(made: Make, parse: Parse, seed: int) -> None:
    text = made(seed)
    for at in slots(text):
        assert refuses(parse, text[:at] + text[at + 1 :])
        assert refuses(parse, text[:at] + text[at] + text[at:])


@KINDS
@given(seed=SEEDS, between=st.sampled_from([" ", "-", "\n", "  ", " - "]))
@examples(15)
def test_case_and_what_stands_between_groups_do_not_count(made: Make, parse: Parse, seed: int, between: str) -> None:
    text = made(seed)
    for typed in (text.upper(), text.lower(), text.replace("-", " ").replace(" ", between)):
        assert parse(typed) == parse(text)
