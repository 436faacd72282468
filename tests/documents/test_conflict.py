from typing import Any

from crdtsync.documents.conflict import conflict_id, field_conflict, group_conflicts
from crdtsync.documents.merge import survivors
from crdtsync.documents.slots import Item
from crdtsync.ids import RecordId

RECORD = RecordId("a" * 26)


def item(commit: str, value: Any, *seen: str, stamp: int = 1) -> Item:
    tag, _, sequence = commit.partition(".")
    return Item(tag, int(sequence), stamp, value, list(seen))


def test_ids_follow_from_record_field_and_commits_only() -> None:
    one = conflict_id(RECORD, "name", ["a.1", "b.2"])
    assert one == conflict_id(RECORD, "name", ["b.2", "a.1", "a.1"])
    assert len(one) == 26
    others = {
        conflict_id(RecordId("b" * 26), "name", ["a.1", "b.2"]),
        conflict_id(RECORD, "title", ["a.1", "b.2"]),
        conflict_id(RECORD, "name", ["a.1", "b.3"]),
        conflict_id(RECORD, "namea.1", ["b.2"]),
    }
    assert one not in others
    assert len(others) == 4


def test_a_conflict_names_values_commits_and_times() -> None:
    found = field_conflict(
        RECORD, "lines", "high", survivors([item("a.1", "x", stamp=4), item("b.2", None, stamp=5)]), "0001-k"
    )
    assert found.field == "lines/0001-k"
    assert found.fields == ("lines",)
    assert found.values == [{"value": None, "commit": "b.2", "stamp": 5}, {"value": "x", "commit": "a.1", "stamp": 4}]


def group(dosage: list[Item], status: list[Item]) -> list[Any]:
    parties = {"dosage": survivors(dosage), "status": survivors(status)}
    return group_conflicts(RECORD, parties, {"dosage": "medium", "status": "high"})


def test_a_stop_beside_a_changed_dosage_is_a_conflict() -> None:
    (found,) = group([item("a.2", 2, "a.1")], [item("b.1", "stopped", "a.1")])
    assert (found.field, found.fields, found.severity) == ("dosage+status", ("dosage", "status"), "high")
    assert [(value["field"], value["value"]) for value in found.values] == [("dosage", 2), ("status", "stopped")]


def test_what_one_writer_saw_or_wrote_at_once_is_none() -> None:
    assert group([item("a.1", 1)], [item("a.1", "active")]) == []
    assert group([item("a.1", 1)], [item("b.1", "stopped", "a.1")]) == []
    assert group([item("b.1", 1, "a.1")], [item("a.1", "stopped")]) == []


def test_the_same_import_at_two_sites_is_none() -> None:
    assert group([item("a.1", 1), item("b.7", 1)], [item("a.1", "active"), item("b.7", "active")]) == []


def test_a_writer_without_an_account_is_believed() -> None:
    assert group([Item("a", 2, 1, 2, None)], [item("b.1", "stopped")]) == []
