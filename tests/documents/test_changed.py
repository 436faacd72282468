"""What a change did to a record, field by field."""

from __future__ import annotations

from crdtsync.documents import Content, changes, said, shape
from crdtsync.documents.slots import canonical
from crdtsync.ids import RecordId

RECORD = RecordId("a" * 26)


def content(texts: dict[str, str] | None = None, **slots: object) -> Content:
    """Slots `field__tag` (or `field__entry__tag`) with one item each: (sequence, stamp, value)."""
    made = {name.replace("__", "/"): canonical([list(item)]) for name, item in slots.items()}  # type: ignore[call-overload]
    return Content(made, texts or {})


def test_a_field_that_was_set_and_one_that_was_cleared() -> None:
    before = content(title__aa=(1, 1, "Dr."), family_name__aa=(1, 1, "Muster"))
    after = content(title__aa=(2, 2, None), family_name__aa=(2, 2, "Married"))
    assert changes("patient", RECORD, before, after, ["title", "family_name"]) == [
        {"field": "family_name", "before": "Muster", "after": "Married"},
        {"field": "title", "before": "Dr.", "after": None},
    ]


def test_a_value_that_stands_beside_another_is_told_with_both() -> None:
    before = content(title__aa=(1, 5, "Dr."))
    after = content(title__aa=(1, 5, "Dr."), title__bb=(1, 3, "Prof."))
    [told] = changes("patient", RECORD, before, after, ["title"])
    assert told == {"field": "title", "before": "Dr.", "after": "Dr.", "values": ["Dr.", "Prof."], "wrote": "Prof."}
    [told] = changes("patient", RECORD, after, before, ["title"])
    assert told == {"field": "title", "before": "Dr.", "after": "Dr."}, "a conflict that was decided"


def test_what_is_written_and_not_shown_is_told() -> None:
    before = content(vip__aa=(1, 5, True), deceased__aa=(1, 5, True))
    after = content(vip__aa=(1, 5, True), deceased__aa=(1, 5, True), deceased__bb=(1, 6, False))
    [told] = changes("patient", RECORD, before, after, ["deceased"])
    assert told["field"] == "deceased" and told["wrote"] is False


def test_texts_entries_unknown_fields_and_unknown_kinds() -> None:
    before, after = content({"note": "a"}), content({"note": "ab"}, phones__k__aa=(1, 1, "030"), shoe__aa=(1, 1, 44))
    assert changes("patient", RECORD, before, after, ["note", "phones", "shoe"]) == [
        {"field": "note", "before": "a", "after": "ab"},
        {"field": "phones", "before": None, "after": ["030"]},
        {"field": "shoe", "before": None, "after": 44},
    ]
    assert changes("robot", RECORD, content(), content(arm__aa=(1, 1, 2)), ["arm"]) == [
        {"field": "arm", "before": None, "after": 2}
    ]


def test_a_field_that_a_conflict_reaches_is_told_too() -> None:
    """A status written beside an unseen dosage: both fields are in conflict now."""
    dosage = (1, 1, {"morning": 1.0}, [])
    before = content(dosage__aa=dosage)
    after = content(dosage__aa=dosage, status__bb=(1, 2, "stopped", []))
    told = changes("medication_statement", RECORD, before, after, ["status"])
    assert [each["field"] for each in told] == ["dosage", "status"]
    assert said("medication_statement", RECORD, after)[1].keys() == {"dosage", "status"}


def test_a_shape_tells_programs_apart() -> None:
    assert shape("patient") == shape("patient") != shape("task")
    assert shape("robot") == ""
