"""What reaches a terminal and a pipe."""

from __future__ import annotations

import json

import pytest

from crdtsync.cli import show


def test_json_is_one_line_of_utf_8(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    show.emit_json({"name": "Müller", "text": "a\nb"})
    out = capfdbinary.readouterr().out
    assert out.count(b"\n") == 1
    assert json.loads(out.decode("utf-8")) == {"name": "Müller", "text": "a\nb"}


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show.complain("it\nbroke \x1b[31m here")
    assert capsys.readouterr().err == "crdtsync: it broke \N{REPLACEMENT CHARACTER}[31m here\n"


def test_content_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show.objects([{"name": "\x1b]0;owned\x07", "note": "[bold]:smile:[/bold]"}], "none")
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x07" not in out
    assert "[bold]:smile:[/bold]" in out


def test_a_pipe_gets_whole_cells(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 200
    show.objects([{"id": "a", "text": long}, {"id": "b", "other": [1]}], "none")
    out = capsys.readouterr().out
    assert long in out
    assert out.splitlines()[0].split() == ["id", "text", "other"]


def test_nothing_is_said_to_be_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show.objects([], "No rows.")
    assert capsys.readouterr().out == "No rows.\n"


def test_there_is_no_progress_bar_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with show.progress("working") as report:
        report(1, 2)
        report(2, 2)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
