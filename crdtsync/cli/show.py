"""What a person or a script gets to see: JSON, tables and sentences on stdout; one line on stderr for an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from crdtsync.cli.actions import Report

width_of_pipe = 400
"""Columns that a table may take where no terminal sets the width."""


def console() -> Console:
    """A console on the present stdout, that takes no markup from content."""
    out = Console(markup=False, highlight=False, emoji=False, soft_wrap=False)
    return out if out.is_terminal else Console(markup=False, highlight=False, emoji=False, width=width_of_pipe)


def emit_json(value: Any) -> None:
    """One JSON document on one line of stdout, in UTF-8 whatever the locale is."""
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(data.decode())
    else:
        buffer.write(data)
    sys.stdout.flush()


def say(sentence: str) -> None:
    """A sentence on stdout."""
    console().print(Text(clean(sentence)), soft_wrap=True)


def complain(sentence: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"crdtsync: {clean(' '.join(sentence.split()))}\n")
    sys.stderr.flush()


def clean(text: str) -> str:
    """Text without what would steer a terminal: a record may hold anything."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def cell(value: Any) -> Text:
    """A value of any JSON type as a table shows it."""
    if value is None:
        return Text("")
    return Text(clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))


def words(value: Any) -> str:
    """A value in words, for people who do not read JSON: `morning 2, unit Stk`."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {words(part)}" for name, part in value.items() if part not in (None, ""))
    if isinstance(value, list):
        return "; ".join(words(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "(cleared)" if value is None else clean(str(value))


def counted(n: int, noun: str) -> str:
    """`1 commit`, `2 commits`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(Text(clean(column)), overflow="fold")
    for row in rows:
        shown.add_row(*(cell(value) for value in row))
    console().print(shown)


def pairs(values: Mapping[str, Any]) -> None:
    """Names and values, one pair a line."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    for name, value in values.items():
        shown.add_row(Text(clean(name)), cell(value))
    console().print(shown)


def objects(rows: Sequence[Mapping[str, Any]], nothing: str) -> None:
    """JSON objects as a table with a column for each key, or the sentence that there are none."""
    if not rows:
        say(nothing)
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table(columns, ([row.get(column) for column in columns] for row in rows))


@contextmanager
def progress(words: str) -> Iterator[Report]:
    """A progress bar on stderr for work that takes a while: in a terminal only, so that pipes and logs stay clean."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(words, total=None)

        def report(done: int, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total)

        yield report


def silent(done: int, total: int | None = None) -> None:
    """Progress that nobody looks at."""
