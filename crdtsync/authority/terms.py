"""Who has a duty: a pure function of the terms that are known, in whatever order they came.

A *term* is opened by whoever founds the duty, takes it over, or opens it anew after a restore; its first *step* belongs
to the site that it was opened for, and each hand-over adds a step. The highest step of the highest term has the duty.

Only the holder of a step adds the next one, as its last act in it. Terms are opened unseen of each other, so their
numbers are in classes: a take-over opens the smallest number of the class of the site that gets the duty, and a site
that opens a term for itself has another class. So two that are opened for two sites never have one number, and two that
are opened for one site are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from crdtsync import limits

CLASSES: Final = 4 * limits.site_indices_max
"""Terms go up in steps of so many for one site and one sort of opening."""
_HALF: Final = CLASSES // 2
"""So many sites have classes of their own: those that were added one after the other, and as many unseen beside one."""


class Tenure(NamedTuple):
    """One step of one term, and who has it: a replica's id as text."""

    term: int
    step: int
    holder: str


def current(terms: Iterable[Tenure]) -> Tenure | None:
    """Who has the duty now. None where there is no term, or where its last step was given to two, as happens when a
    duty is founded twice unseen: then nobody has it until somebody takes it over."""
    known = set(terms)
    last = max(((each.term, each.step) for each in known), default=None)
    found = [each for each in known if (each.term, each.step) == last]
    return found[0] if len(found) == 1 else None


def founders(terms: Iterable[Tenure]) -> list[str]:
    """Whom the duty was founded for: one, unless that was done twice unseen."""
    return sorted({each.holder for each in terms if each.term == 1 and each.step == 0})


def rank(site: str, indices: Mapping[str, int], terms: Iterable[Tenure]) -> int:
    """The class of a site: 0 for whom the duty was founded, and all others by their index, those that came before it
    pushed up by one. `indices` numbers the sites of the practice. Raises KeyError for a site without a number."""
    found = [each for each in founders(terms) if each in indices]
    first = min((indices[each] for each in found), default=0)
    own = indices[site]
    if found and own == first:
        return 0
    return (own + 1 if found and own < first else own) % _HALF


def opened(terms: Iterable[Tenure], site: str, indices: Mapping[str, int], *, anew: bool = False) -> Tenure:
    """The first step of a term that is opened for `site`: by somebody who takes the duty over, or `anew` by itself."""
    known = list(terms)
    last = max((each.term for each in known), default=0)
    mine = rank(site, indices, known) + 1 + (_HALF if anew else 0)
    if not known:
        return Tenure(1, 0, site)
    number = mine + CLASSES * max(0, -(-(last + 1 - mine) // CLASSES))
    return Tenure(number, 0, site)


def handed(last: Tenure, to: str) -> Tenure:
    """The step that follows when its holder hands the duty over."""
    return Tenure(last.term, last.step + 1, to)


def lost(terms: Iterable[Tenure], site: str) -> list[Tenure]:
    """The terms that ended in the hands of `site` because a later one was opened, by others or by itself."""
    known = set(terms)
    last = max((each.term for each in known), default=0)
    ends: dict[int, Tenure] = {}
    for each in sorted(known):
        ends[each.term] = each
    return [each for term, each in sorted(ends.items()) if term < last and each.holder == site]
