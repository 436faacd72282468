"""Where a passphrase comes from, in which order, and what is said when there is none."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crdtsync.cli.passphrase import VARIABLE, passphrase
from crdtsync.errors import EnvironmentFailure, UsageError


class Terminal:
    """A stdin with a person behind it."""

    def isatty(self) -> bool:
        return True


def typing(*words: str) -> Callable[[str], str]:
    answers = iter(words)
    return lambda prompt: next(answers)


def test_a_file_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "from the environment")
    file = tmp_path / "secret"
    file.write_text("grüner Hund\nsecond line\n", encoding="utf-8")
    assert passphrase(file) == "grüner Hund"
    assert passphrase(None) == "from the environment"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match=r"nowhere cannot be read: No such file"):
        passphrase(tmp_path / "nowhere")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EnvironmentFailure, match="it is not text"):
        passphrase(tmp_path / "secret")


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_passphrase_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_text(content)
    with pytest.raises(UsageError, match="empty"):
        passphrase(tmp_path / "secret")


def test_a_person_is_asked_twice_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", typing("same", "same"))
    assert passphrase(None, new=True) == "same"
    monkeypatch.setattr(getpass, "getpass", typing("one", "two"))
    with pytest.raises(UsageError, match="differ"):
        passphrase(None, new=True)
    monkeypatch.setattr(getpass, "getpass", typing("once is enough"))
    assert passphrase(None) == "once is enough"


def test_without_any_source_it_says_which_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "nobody").open("w+") as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        with pytest.raises(UsageError, match=f"set {VARIABLE}, name a --passphrase-file"):
            passphrase(None)
