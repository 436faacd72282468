"""From slots to values: what a document says under the rules of its kind, as plain JSON. The hot path of deriving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crdtsync.documents.conflict import FieldConflict, field_conflict, group_conflicts
from crdtsync.documents.entries import entry_rank
from crdtsync.documents.merge import Rule, decide, survivors
from crdtsync.documents.schema import KindPlan
from crdtsync.documents.slots import Item, as_item, items_of, parse_items, split_slot, written_by
from crdtsync.documents.version import Found, find_versions
from crdtsync.ids import RecordId


class Settled:
    """What a document says: `shown` per field as JSON (fields that nothing set are missing), `entries` per field and
    key, `versions` per field, and the conflicts."""

    __slots__ = ("conflicts", "entries", "shown", "versions")

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, Found] = {}
        self.conflicts: list[FieldConflict] = []


def settle(plan: KindPlan, record: RecordId, slots: Mapping[str, str]) -> Settled:
    """Apply the rules of a kind to a document's slots. Slots of unknown fields are passed over."""
    rules = plan.rules
    settled = Settled()
    shown = settled.shown
    held: dict[str, tuple[str, list[list[Any]]]] = {}  # fields in one slot, the usual case, stay lists
    several: dict[str, list[Item]] = {}
    entries: dict[str, dict[str, list[Item]]] = {}
    for slot, raw in slots.items():
        field, _, tag = slot.partition("/")
        rule = rules.get(field)
        if rule is None:
            continue
        items = parse_items(raw)
        if items is None:
            continue
        if rule.keyed:
            entry, slash, tag = tag.rpartition("/")
            if slash:
                found = entries.setdefault(field, {}).setdefault(entry, [])
                found.extend([as_item(tag, item) for item in items])
        elif field in several:
            several[field].extend([as_item(tag, item) for item in items])
        elif field in held:
            first, its = held.pop(field)
            several[field] = [as_item(first, item) for item in its] + [as_item(tag, item) for item in items]
        elif len(items) == 1 and (rule.plain or rule.name != "counter"):
            held[field] = (tag, items)
            value = items[0][2]
            shown[field] = value if rule.plain else value is True
        else:
            several[field] = [as_item(tag, item) for item in items]
    for field, conflicting in several.items():
        outcome = decide(rules[field], conflicting)
        shown[field] = outcome.shown
        if outcome.undecided:
            settled.conflicts.append(field_conflict(record, field, rules[field].severity, outcome.undecided))
    for field, keyed in entries.items():
        if rules[field].name == "versions":
            settled.versions[field] = _settle_versions(settled, record, field, rules[field], keyed)
        else:
            settled.entries[field] = _settle_entries(settled, record, field, rules[field], keyed)
    for members in plan.groups.values():
        _settle_group(settled, record, plan, members, held, several)
    if len(settled.conflicts) > 1:
        settled.conflicts.sort(key=lambda conflict: (conflict.field, conflict.id))
    return settled


def _settle_entries(
    settled: Settled, record: RecordId, field: str, rule: Rule, keyed: Mapping[str, Sequence[Item]]
) -> dict[str, Any]:
    ranked = []
    for key, items in keyed.items():
        if len(items) == 1:
            value = items[0].value
        else:
            outcome = decide(rule, items)
            value = outcome.shown
            if outcome.undecided:
                settled.conflicts.append(field_conflict(record, field, rule.severity, outcome.undecided, key))
        if value is not None:
            since = min(item.stamp for item in items) if rule.by_value else 0
            ranked.append(((since, *entry_rank(key)), key, value))
    return {key: value for _, key, value in sorted(ranked, key=lambda entry: entry[0])}


def _settle_versions(
    settled: Settled, record: RecordId, field: str, rule: Rule, keyed: Mapping[str, Sequence[Item]]
) -> Found:
    found = find_versions(keyed)
    if len(found.heads) > 1:
        settled.conflicts.append(field_conflict(record, field, rule.severity, found.heads))
    return found


def _settle_group(
    settled: Settled,
    record: RecordId,
    plan: KindPlan,
    members: Sequence[str],
    held: Mapping[str, tuple[str, list[list[Any]]]],
    several: Mapping[str, list[Item]],
) -> None:
    if not several and len({written_by(held[m][0], held[m][1][0]) for m in members if m in held}) < 2:
        return  # one commit wrote all of them
    parties = {}
    for member in members:
        if member in several:
            parties[member] = survivors(several[member])
        elif member in held:
            tag, items = held[member]
            parties[member] = survivors([as_item(tag, item) for item in items])
    settled.conflicts.extend(group_conflicts(record, parties, plan.severities))


def commits_of(slots: Mapping[str, str], fields: Sequence[str]) -> tuple[str, ...]:
    """The commits of all surviving writes of some fields: what a writer of a group has seen."""
    return tuple(sorted({item.commit for item in written(slots, fields)}))


def written(slots: Mapping[str, str], fields: Sequence[str]) -> list[Item]:
    """All surviving writes of some fields; those of entries are left out."""
    found: list[Item] = []
    for slot, raw in slots.items():
        field, entry, tag = split_slot(slot)
        if entry is None and field in fields:
            found.extend(items_of(tag, raw))
    return found
