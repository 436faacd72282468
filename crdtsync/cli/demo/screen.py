"""What the audience of the demo sees: a column per site in a terminal, JSON lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from crdtsync.cli import show
from crdtsync.cli.demo.stage import Actor

panel_columns_min, panel_columns_max = 20, 32
cable_columns = 8
"""What the two cables and the space around them take from the width."""


class Screen(Protocol):
    """Where the demo tells its story. Use as a `with` block."""

    pace_s: float
    """A pause that lets a person follow."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *reason: Any) -> None: ...

    def step(self, words: str) -> None:
        """What happens next."""

    def sites(self, actors: Sequence[Actor], cut: bool) -> None:
        """How the sites are now."""

    def conflict(self, conflict: dict[str, Any]) -> None:
        """A conflict, with all its values."""

    def end(self, facts: dict[str, Any]) -> None:
        """How it ended."""


class JsonLines:
    """One JSON object a line; the state of the sites only when it has changed."""

    pace_s = 0.0

    def __init__(self) -> None:
        self._last: Any = None
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: Any) -> None:
        return None

    def step(self, words: str) -> None:
        show.emit_json({"event": "step", "seconds": round(time.monotonic() - self._began, 2), "text": words})

    def sites(self, actors: Sequence[Actor], cut: bool) -> None:
        now = [
            {"site": a.name, "records": a.records, "conflicts": a.conflicts, "links": a.connected, "digest": a.digest}
            for a in actors
        ]
        if now != self._last:
            self._last = now
            show.emit_json({"event": "sites", "cut": cut, "sites": now})

    def conflict(self, conflict: dict[str, Any]) -> None:
        show.emit_json({"event": "conflict", **conflict})

    def end(self, facts: dict[str, Any]) -> None:
        show.emit_json({"event": "end", **facts})


class Terminal:
    """Columns that live, and below them what has happened so far."""

    def __init__(self, pace_s: float, console: Console | None = None) -> None:
        self.pace_s = pace_s
        self.console = console or Console(highlight=False, emoji=False)
        self._width = max(panel_columns_min, min(panel_columns_max, (self.console.width - cable_columns) // 3))
        self._steps: list[str] = []
        self._panels: Any = Text("")
        self._below: list[Any] = []
        self._ended = False

    def __enter__(self) -> Self:
        self._display = Live(self._picture(), console=self.console, refresh_per_second=8)
        self._display.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._display.__exit__(*reason)

    def step(self, words: str) -> None:
        self._steps.append(words)
        self._display.update(self._picture())

    def sites(self, actors: Sequence[Actor], cut: bool) -> None:
        same = len({actor.digest for actor in actors}) == 1
        self._panels = row([panel(actor, same, self._width) for actor in actors], cut)
        self._display.update(self._picture())

    def conflict(self, conflict: dict[str, Any]) -> None:
        title = f"  Conflict in {conflict['field']}, severity {conflict['severity']}:"
        self._below.append(Text(title, style="bold red"))
        self._below += [Text(f"    {show.words(value)}") for value in conflict["values"]]
        self._display.update(self._picture())

    def end(self, facts: dict[str, Any]) -> None:
        lines = [Text(f"{name:<8}{digest}", style="green") for name, digest in facts["digests"].items()]
        verdict = "Equal digests: all three hold the same content." if facts["equal"] else "The digests differ!"
        crossed = f"{facts['wire_bytes'] / 1000:,.0f} kB crossed the cables."
        self._below += [Text(""), *lines, Text(f"{verdict} {crossed} {facts['seconds']} s.", style="bold")]
        self._ended = True
        self._display.update(self._picture())

    def _picture(self) -> Group:
        done = len(self._steps) if self._ended else len(self._steps) - 1
        told = [Text(f"  {'✓' if place < done else '▸'} {words}") for place, words in enumerate(self._steps)]
        return Group(self._panels, Text(""), *told, Text(""), *self._below)


def row(panels: Sequence[Panel], cut: bool) -> Table:
    """Panels side by side with a cable between each two."""
    shown = Table.grid(padding=(0, 1))
    cells: list[Any] = []
    for one in panels:
        if cells:
            shown.add_column(vertical="middle")
            cells.append(Text("//", style="bold red") if cut else Text("━━", style="green"))
        shown.add_column()
        cells.append(one)
    shown.add_row(*cells)
    return shown


def panel(actor: Actor, same: bool, columns: int) -> Panel:
    """One site."""
    facts = Table.grid(padding=(0, 1), expand=True)
    facts.add_column(no_wrap=True, ratio=1)
    facts.add_column(justify="right")
    for kind, n in sorted(actor.status.get("records", {}).items()):
        facts.add_row(Text(kind.replace("_", " "), overflow="ellipsis", no_wrap=True), Text(str(n)))
    facts.add_row(Text("conflicts"), Text(str(actor.conflicts), style="bold red" if actor.conflicts else ""))
    facts.add_row(Text("digest"), Text(actor.digest[:6], style="green" if same else "yellow"))
    up = bool(actor.connected)
    facts.add_row(Text("cable"), Text("● up" if up else "○ cut", style="green" if up else "red"))
    return Panel(facts, title=actor.name, width=columns)
