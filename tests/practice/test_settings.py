from typing import Any

import pytest

from crdtsync.errors import BadValue
from crdtsync.practice import Setting, Task, Template


def test_the_later_value_counts_and_permissions_stay_off(apart: Any) -> None:
    made = Setting(key="printer", scope="site", value={"name": "old"}, permission=True)
    found = apart(made, {"value": {"name": "a"}, "permission": False}, {"value": [2**60], "permission": True})
    assert found.value == [2**60]
    assert found.permission is False
    assert found.conflicts == {}
    with pytest.raises(BadValue, match="once"):
        found.scope = "user"


def test_done_stays_done(apart: Any) -> None:
    found = apart(Task(title="call back"), {"done": True}, {"assignee": "Erika"})
    assert (found.done, found.assignee) == (True, "Erika")


def test_two_names_of_a_template_are_a_conflict(apart: Any) -> None:
    found = apart(Template(name="Brief"), {"name": "Arztbrief"}, {"name": "Überweisung"})
    assert sorted(found.conflicts["name"]) == ["Arztbrief", "Überweisung"]
