"""Deciding a conflict within a record: what `keep` and `value` come to, as edits of the record."""

from __future__ import annotations

from typing import Any, Final

from crdtsync.documents import Entries, FieldConflict, Record, SetField
from crdtsync.documents.settling import commits_of
from crdtsync.documents.slots import canonical, split_slot
from crdtsync.errors import NotFound, RefusedError, UsageError

UNSET: Final[Any] = object()
"""No value was given: None is one, and clears."""
ADVICE: Final = {
    "double_booking": "move or cancel one of the appointments",
    "duplicate_patient": "link the two by `same_as`, correct what is wrong",
    "contradiction": "refute or resolve the allergy, or take the statement back",
    "possible_double_dose": "mark the dose that was not given as entered in error",
    "duplicate_number": "give one of the two another number",
    "range_overlap": "end the younger of the two, which gives no number any more (`range stop`), and set another range",
}
"""What people do about conflicts between records."""


def refuse_between(kind: str) -> UsageError:
    """Why a conflict between records is not resolved by choosing a value."""
    advice = ADVICE.get(kind, "correct the records")
    return UsageError(f"a {kind} has no value to keep: {advice}, and it is gone; or dismiss it, if it is none")


def decision(found: FieldConflict, record: Record, keep: int | None, value: Any) -> Any:
    """What is to hold. Raises UsageError unless exactly one of both says so."""
    if (keep is None) == (value is UNSET):
        raise UsageError("say either which value to keep, counted from 0, or the value that holds")
    if keep is None:
        return value
    if not 0 <= keep < len(found.values):
        raise UsageError(f"there is no value {keep}: this conflict has the values 0 to {len(found.values) - 1}")
    chosen = found.values[keep]
    if "field" in chosen:
        field = chosen["field"]
        if record.plan().field(field).rule.order is None:
            raise UsageError(
                f"to keep {field} leaves open what {_other(found, field)} is: say the values of both, "
                f'as {{"{field}": …, "{_other(found, field)}": …}}'
            )
        return {field: chosen["value"]}
    return chosen["value"]


def _other(found: FieldConflict, field: str) -> str:
    return next(name for name in found.fields if name != field)


def standing(record: Record, conflict: str) -> FieldConflict:
    """The conflict as the record that was just read has it. Raises RefusedError when it is another one by now."""
    for found in record._reading.found:
        if found.id == conflict:
            return found
    raise RefusedError(f"conflict {conflict} has changed in this moment; look at what is there now")


def decide(record: Record, found: FieldConflict, decided: Any) -> None:
    """Assign what holds. Raises BadValue for what the field refuses, UsageError for half of a decision."""
    field, slash, key = found.field.partition("/")
    if slash:
        _decide_entry(record, field, key, decided)
    elif len(found.fields) > 1:
        if not isinstance(decided, dict) or not decided or not decided.keys() <= set(found.fields):
            raise UsageError(f"this conflict is decided by an object with the fields {' and '.join(found.fields)}")
        for name, value in decided.items():
            record.assign(name, value)
    else:
        record.assign(field, decided)


def _decide_entry(record: Record, field: str, key: str, decided: Any) -> None:
    held: Any = getattr(record, field)
    assert isinstance(held, Entries), "only entries have conflicts of their own"
    if decided is not None:
        held.add(decided, key=key)  # also where it is what is shown: the others are to go
    elif any(key == there for there, _ in held.items()):
        held.remove(key)
    else:
        raise NotFound("this entry is not there any more; look at what is there now")


def as_decided(record: Record, found: FieldConflict, decided: Any) -> Any:
    """What holds now, as JSON: what was decided, under the types of the fields."""
    field, slash, _ = found.field.partition("/")
    if len(found.fields) > 1:
        return {name: _plain(record, name, getattr(record, name)) for name in found.fields}
    return _plain(record, field, decided if slash else getattr(record, field))


def _plain(record: Record, field: str, value: Any) -> Any:
    plan = record.plan().field(field)
    return None if value is None else plan.to_json(plan.from_json(value))


def brought_back(record: Record, field: str, values: list[dict[str, Any]], decided: Any) -> list[list[SetField]]:
    """Edits that make these values stand against each other again, commit by commit: fields of a group need one each,
    since a commit has seen itself. Raises RefusedError when somebody has changed the field since it was decided."""
    if "/" in field:
        raise RefusedError("an entry that was decided is changed like any other: edit it")
    names = list(dict.fromkeys(value.get("field", field) for value in values))
    slots = record._reading.content.slots
    for name in names:
        shown = record._reading.shown.get(name)
        if name in record.conflicts or canonical(shown) != canonical(decided[name] if "+" in field else decided):
            raise RefusedError(f"{record.kind}.{name} was changed since the decision; edit it, or revert that change")
    commits = []
    for name in names:
        seen = {slot: raw for slot, raw in slots.items() if split_slot(slot)[:2] == (name, None)}
        group = record.plan().field(name).rule.group
        known = None
        if group is not None:
            members = record.plan().groups[group]
            known = commits_of(slots, members if len(names) == 1 else [each for each in members if each not in names])
        edits = []
        for value in values:
            if value.get("field", field) == name:
                edits.append(SetField(name, value["value"], seen, known))
                seen = {}  # so that it stands beside the one before
        commits.append(edits)
    return commits
