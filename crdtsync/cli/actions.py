"""The verbs as plain async functions: what runs when a verb reaches a site, by the socket or by opening the folder.

An action takes the site, its JSON-able arguments and a place to report progress to, and returns a JSON-able value. The
same function serves both ways in, so both give the same answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from crdtsync.site import Site

Arguments = dict[str, Any]
Report = Callable[[int, int | None], None]
"""Called with what is done and, where it is known, of how much; never waits."""


class Work(Protocol):
    """What an action is: a coroutine function."""

    def __call__(self, site: Site, arguments: Arguments, report: Report, /) -> Awaitable[Any]: ...


@dataclass(frozen=True)
class Action:
    """An action and where it may run."""

    verb: str
    work: Work
    only_serving: bool
    """True for what makes sense only at a site that others can reach, such as inviting."""


ACTIONS: dict[str, Action] = {}
"""Every action by its verb, filled by `action` when the groups of verbs are imported."""


def action(verb: str, *, only_serving: bool = False) -> Callable[[Work], Work]:
    """Declare the function behind `verb`. A verb has one action."""

    def declare(work: Work) -> Work:
        if verb in ACTIONS:
            raise ValueError(f"{verb} is declared twice")
        ACTIONS[verb] = Action(verb, work, only_serving)
        return work

    return declare
