from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.errors import BadValue
from crdtsync.sealing.identity import replica_text
from crdtsync.sealing.recovery import parse_sheet, recovery_identity, secret_groups, sheet_text

SECRET = bytes(range(100, 132))


@given(st.binary(min_size=32, max_size=32))
def test_groups_read_back(secret: bytes) -> None:
    groups = secret_groups(secret)
    assert [len(group) for group in groups] == [6] * 14
    for text in ("-".join(groups), " ".join(groups).lower(), "".join(groups), "\n".join(groups) + "\n"):
        assert parse_sheet(text) == secret
    numbered = "  ".join(f"{number}. {group}" for number, group in enumerate(groups, 1))
    assert parse_sheet(numbered) == secret


@given(st.binary(min_size=32, max_size=32), st.text(max_size=40))
def test_a_whole_sheet_reads_back(secret: bytes, practice: str) -> None:
    assert parse_sheet(sheet_text(practice + "-" * 200, secret, "2026-01-31")) == secret


def test_the_sheet_says_what_it_is() -> None:
    text = sheet_text("Praxis am Markt", SECRET)
    assert "Praxis am Markt" in text
    assert "Made on" not in text
    assert "Made on: 2026-01-31" in sheet_text("Praxis am Markt", SECRET, "2026-01-31")
    assert replica_text(recovery_identity(SECRET).public.replica) in text
    assert max(map(len, text.splitlines())) <= 78
    assert text.endswith("\n")


@pytest.mark.parametrize("number", range(1, 15))
def test_a_typing_error_names_its_group(number: int) -> None:
    groups = secret_groups(SECRET)
    right = groups[number - 1]
    noticed = 0
    for at in range(6):
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567":
            wrong = right[:at] + letter + right[at + 1 :]
            if wrong != right:
                with pytest.raises(BadValue) as raised:
                    parse_sheet(" ".join([*groups[: number - 1], wrong, *groups[number:]]))
                noticed += f"group {number} is mistyped" in str(raised.value)
                assert right not in str(raised.value)
    assert noticed >= 6 * 31 - 4  # two check characters miss one error in 1,024; the whole's checksum finds it


def test_a_missing_character_names_its_group() -> None:
    groups = secret_groups(SECRET)
    with pytest.raises(BadValue, match="group 3 has 5 characters"):
        parse_sheet(" ".join([*groups[:2], groups[2][:-1], *groups[3:]]))


def test_missing_and_swapped_groups_are_noticed() -> None:
    groups = secret_groups(SECRET)
    with pytest.raises(BadValue, match="group 5 is mistyped"):
        parse_sheet("".join([*groups[:4], groups[4][1:], *groups[5:]]))
    with pytest.raises(BadValue, match="13 groups where 14"):
        parse_sheet(" ".join(groups[:-1]))
    with pytest.raises(BadValue, match="15 groups where 14"):
        parse_sheet(" ".join([*groups, groups[0]]))
    with pytest.raises(BadValue, match="group 1 is mistyped or in the wrong place"):
        parse_sheet(" ".join([groups[1], groups[0], *groups[2:]]))


def test_groups_of_two_sheets_are_noticed() -> None:
    mixed = [*secret_groups(SECRET)[:7], *secret_groups(bytes(32))[7:]]
    with pytest.raises(BadValue, match="not of one sheet"):
        parse_sheet(" ".join(mixed))


@pytest.mark.parametrize("text", ["", "   ", "Ä", "9" * 6, "-" * 200])
def test_what_is_no_sheet_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="recovery sheet"):
        parse_sheet(text)


def test_the_identity_follows_from_the_secret_alone() -> None:
    assert recovery_identity(SECRET).public == recovery_identity(SECRET).public
    assert recovery_identity(SECRET).public != recovery_identity(bytes(32)).public
    assert replica_text(recovery_identity(SECRET).public.replica) == "jqz6h-jpt7x-ug2bk-rdops-gjgcc-exvqk"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_secrets_of_other_lengths_are_refused(length: int) -> None:
    for act in (recovery_identity, secret_groups):
        with pytest.raises(ValueError, match="32 bytes"):
            act(bytes(length))
