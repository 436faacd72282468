"""Merge rules: what a field does when two sites wrote it unseen.

A write beats what it has seen, whatever the clocks say; that happens in `document.py`. What reaches this page are the
*survivors*: writes that did not see each other. Every function here is pure, and its answer follows from the survivors
alone, so every site shows the same value and the same conflict (L5).

| rule            | one value is shown                              | conflict when                                |
|-----------------|--------------------------------------------------|----------------------------------------------|
| `register`      | the cautious one, else the newest                | values differ                                |
| `latest`        | the newest, by hybrid time                       | never                                        |
| `once`          | the newest                                       | values differ (high)                         |
| `entries`       | per entry: as register; an entry beats a removal | values of one entry differ, or edit | removal |
| `never_removed` | per entry: the unmarked one, else the newest     | values of one entry differ, or edit | mark    |
| `append_only`   | per content id: what was added first             | contents differ under one id (forged)        |
| `versions`      | every version; in front the newest head          | there are several heads                      |
| `flag_on_wins`  | true if any is true                              | never                                        |
| `flag_off_wins` | true if all are true                             | never                                        |
| `status`        | the join in the declared order                   | there is no join                             |
| `text`          | the text, woven together by the CRDT             | never                                        |
| `counter`       | the sum of what all have added and subtracted    | never                                        |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

from pydantic.fields import FieldInfo

from crdtsync.documents.count import Counter, counted
from crdtsync.documents.slots import Item, canonical
from crdtsync.errors import UsageError

Severity = Literal["high", "medium", "low"]
RuleName = Literal[
    "append_only",
    "counter",
    "entries",
    "flag_off_wins",
    "flag_on_wins",
    "latest",
    "never_removed",
    "once",
    "register",
    "status",
    "text",
    "versions",
]
ENTRY_RULES: Final = frozenset({"append_only", "entries", "never_removed"})
"""Rules of fields that are declared as `Entries[T]`."""

_UNSET: Final[Any] = object()
_STAYING: Final = ("append_only", "never_removed")
"""Rules under which whatever takes an entry away stands behind everything that was written beside it."""


@dataclass(frozen=True)
class Rule:
    """A field's merge rule, as declared. `cautious` is compared as JSON; `groups` only where a rule has conflicts.

    `by` names the parts that make the content id of an `append_only` entry; `mark` and `marks` the part of a
    `never_removed` entry that says that it does not hold, and the words for it.
    """

    name: RuleName
    severity: Severity = "medium"
    group: str | None = None
    cautious: Any = _UNSET
    order: Order | None = None
    by_value: bool = False
    by: tuple[str, ...] = ()
    mark: str = ""
    marks: tuple[str, ...] = ()

    @cached_property
    def keyed(self) -> bool:
        """Whether the field's slots carry keys: those of entries, or of versions."""
        return self.name in ENTRY_RULES or self.name == "versions"

    @cached_property
    def plain(self) -> bool:
        """Whether a value that stands alone is what is shown, as it is."""
        return self.name not in ("flag_on_wins", "flag_off_wins", "counter")

    @property
    def has_cautious(self) -> bool:
        """Whether a cautious value was declared."""
        return self.cautious is not _UNSET


class Survivor(NamedTuple):
    """A distinct surviving value with all commits that wrote it; `commit` and `stamp` are those of the newest."""

    value: Any
    text: str
    commit: str
    stamp: int
    items: tuple[Item, ...]


class Outcome(NamedTuple):
    """What a reader shows first, and the values between which people must decide (empty: decided)."""

    shown: Any
    undecided: tuple[Survivor, ...]


class Order:
    """A declared partial order of states. `Order("draft<active<done", "cancelled")`: chains, joined by equal names."""

    def __init__(self, *chains: str) -> None:
        above: dict[str, set[str]] = {}
        for chain in chains:
            names = [name.strip() for name in chain.split("<")]
            if not all(names):
                raise UsageError("a status order is written like 'draft<active', with a name on each side of <")
            for index, name in enumerate(names):
                above.setdefault(name, {name}).update(names[index:])
        for _ in above:
            for upper in above.values():
                upper.update(*(above[other] for other in tuple(upper)))
        if any(a != b and a in above[b] and b in above[a] for a in above for b in above):
            raise UsageError("a status order must not lead back to where it began")
        self._above: Final = {name: frozenset(upper) for name, upper in above.items()}

    @property
    def names(self) -> frozenset[str]:
        """All declared states."""
        return frozenset(self._above)

    @property
    def above(self) -> Mapping[str, frozenset[str]]:
        """Per state all that are at or above it."""
        return self._above

    def join(self, values: Sequence[Any]) -> str | None:
        """The least state at or above all values, or None when there is none or a value is not declared."""
        common: frozenset[str] | None = None
        for value in values:
            upper = self._above.get(value) if type(value) is str else None
            if upper is None:
                return None
            common = upper if common is None else common & upper
        for name in common or ():
            if common is not None and common <= self._above[name]:
                return name
        return None


# --- what a class body says ----------------------------------------------------------------------------------------


def _field(rule: Rule, **arguments: Any) -> Any:
    info = FieldInfo(**arguments)
    info.metadata.append(rule)
    return info


def register(*, severity: Severity = "medium", group: str | None = None, cautious: Any = _UNSET) -> Any:
    """A multi-value register, the default rule: unseen values stay side by side and are a conflict for a person.

    `cautious` is the value that readers show, and that code which needs one gets, while it is among the values.
    Fields with one `group` belong together: unseen writes to two of them are a conflict too.
    """
    return _field(Rule("register", severity, group, cautious), default=None)


def latest() -> Any:
    """The later write wins, by hybrid time: only for what harms nobody.

    Refused, when the class is defined, in kinds and for values that are `clinical` or `billing`.
    """
    return _field(Rule("latest", "low"), default=None)


def once(*, severity: Severity = "high") -> Any:
    """Written once and never changed. Equal unseen values are one; different ones are both kept, as a conflict."""
    return _field(Rule("once", severity), default=None)


def entries(*, by_value: bool = False, severity: Severity = "medium") -> Any:
    """A set of small entries, declared as `Entries[T]`: adding survives, removing must have seen the entry.

    `by_value`: an entry is its value (a phone number), so adding it twice is adding it once. Else each has a key of
    its own and can be changed; a change beside an unseen removal keeps the entry and is a conflict.
    """
    from crdtsync.documents.entries import Entries

    return _field(Rule("entries", severity, by_value=by_value), default_factory=Entries)


def never_removed(
    *, mark: str = "verification", marks: Sequence[str] = ("refuted", "entered_in_error"), severity: Severity = "high"
) -> Any:
    """Entries that stay for ever, declared as `Entries[T]`: what turns out wrong is marked, `entries.mark(key, word)`.

    `T` is a Value with a part named `mark` that takes the words in `marks`. A mark beside an unseen change of the
    entry is a conflict, and until a person decides, the entry without a mark is the one shown.
    """
    from crdtsync.documents.entries import Entries

    rule = Rule("never_removed", severity, mark=mark, marks=tuple(marks))
    return _field(rule, default_factory=Entries)


def append_only(*, by: Sequence[str] = (), severity: Severity = "high") -> Any:
    """Entries that are only ever added, declared as `Entries[T]`: payments, reminders sent, card reads.

    Each has its content for an id, so that importing the same twice, or at two sites, is one. With `by`, an entry that
    has all these parts is named by them alone: a second one under the same name adds nothing, the first one stays.
    """
    from crdtsync.documents.entries import Entries

    return _field(Rule("append_only", severity, by_value=True, by=tuple(by)), default_factory=Entries)


def versions(*, severity: Severity = "medium") -> Any:
    """Frozen versions with parents, declared as `Versions[T]`: what was signed never changes.

    Whoever adds one builds on the versions that they saw. Two that were added unseen by each other are both shown, as
    a conflict of severity `severity`, until a version is added that builds on both.
    """
    from crdtsync.documents.version import Versions

    return _field(Rule("versions", severity), default_factory=Versions)


def counter() -> Any:
    """A sum, declared as `Counter`: what all have added and subtracted, each once. Not for money: see `append_only`."""
    return _field(Rule("counter", "low"), default_factory=Counter)


def flag_on_wins() -> Any:
    """True as long as any unseen write says so: for hazards. False when nothing is set."""
    return _field(Rule("flag_on_wins", "low"), default=False)


def flag_off_wins() -> Any:
    """True only if every unseen write says so: for permissions and consents. False when nothing is set."""
    return _field(Rule("flag_off_wins", "low"), default=False)


def status(*order: str, severity: Severity = "medium", group: str | None = None, cautious: Any = _UNSET) -> Any:
    """A state in a declared partial order: `status("draft<active<completed", "cancelled")`.

    Unseen values become their join where it exists (draft and active: active), else they are a conflict.
    """
    return _field(Rule("status", severity, group, cautious, Order(*order)), default=None)


def text() -> Any:
    """Co-edited text, declared as `Text`: what two people type unseen is woven together, never lost."""
    from crdtsync.documents.text import Text

    return _field(Rule("text", "low"), default_factory=Text)


# --- what survivors come to -----------------------------------------------------------------------------------------


def survivors(items: Sequence[Item]) -> list[Survivor]:
    """Distinct values, newest first (by stamp, then tag): equal values of different logs are one."""
    ranked = sorted(items, key=lambda item: (-item.stamp, item.tag, -item.sequence))
    groups: dict[str, list[Item]] = {}
    for item in ranked:
        groups.setdefault(canonical(item.value), []).append(item)
    return [
        Survivor(same[0].value, written, same[0].commit, same[0].stamp, tuple(same)) for written, same in groups.items()
    ]


def decide(rule: Rule, items: Sequence[Item]) -> Outcome:
    """What the rule makes of one field's (or one entry's) surviving writes; there is at least one."""
    if rule.name == "latest":
        newest = max(items, key=lambda item: (item.stamp, item.tag, item.sequence))
        return Outcome(newest.value, ())
    if rule.name == "flag_on_wins":
        return Outcome(any(item.value is True for item in items), ())
    if rule.name == "flag_off_wins":
        return Outcome(all(item.value is True for item in items), ())
    if rule.name == "counter":
        plus, minus = counted(item.value for item in items)
        return Outcome(plus - minus, ())
    if rule.name in _STAYING:
        items = [item for item in items if item.value is not None] or items
    if rule.name == "append_only":
        return _first(rule, items)
    distinct = survivors(items)
    if len(distinct) == 1:
        return Outcome(distinct[0].value, ())
    if rule.order is not None:
        joined = rule.order.join([survivor.value for survivor in distinct])
        if joined is not None:
            return Outcome(joined, ())
    ranked = tuple(sorted(distinct, key=lambda survivor: _rank(rule, survivor)))
    if rule.by_value:
        return Outcome(ranked[0].value, ())
    return Outcome(ranked[0].value, ranked)


def is_marked(rule: Rule, value: Any) -> bool:
    """Whether an entry that is never removed says of itself that it does not hold."""
    return type(value) is dict and value.get(rule.mark) in rule.marks


def _first(rule: Rule, items: Sequence[Item]) -> Outcome:
    """What was added first under a content id. Different contents under one were forged, unless parts alone name it."""
    distinct = sorted(survivors(items), key=lambda survivor: min((i.stamp, i.tag, i.sequence) for i in survivor.items))
    return Outcome(distinct[0].value, tuple(distinct) if len(distinct) > 1 and not rule.by else ())


def _rank(rule: Rule, survivor: Survivor) -> int:
    """The cautious value first, what somebody removed last; the order by time stays otherwise."""
    if survivor.value is None:
        return 2
    if rule.mark:
        return int(is_marked(rule, survivor.value))
    return 0 if rule.has_cautious and canonical(rule.cautious) == survivor.text else 1
