from itertools import permutations
from typing import Any

import pytest

from crdtsync.documents.merge import Order, Rule, decide, survivors
from crdtsync.documents.slots import Item
from crdtsync.errors import UsageError


def items(*values: Any) -> list[Item]:
    """Unseen writes of as many logs, each later than the one before."""
    return [Item(f"tag{index}", 1, 100 + index, value, None) for index, value in enumerate(values)]


HAZARDS = Rule("never_removed", mark="v", marks=("refuted",))
ORDER = Order("draft<active<completed", "cancelled", "stopped")


@pytest.mark.parametrize(
    ("rule", "values", "shown", "undecided"),
    [
        (Rule("register"), ["a"], "a", []),
        (Rule("register"), ["a", "a"], "a", []),
        (Rule("register"), ["a", "b"], "b", ["b", "a"]),
        (Rule("register"), ["a", None], "a", ["a", None]),
        (Rule("register"), [1, True], True, [True, 1]),
        (Rule("register", cautious="high"), ["high", "low"], "high", ["high", "low"]),
        (Rule("register", cautious="high"), ["low", "none"], "none", ["none", "low"]),
        (Rule("register"), [{"a": 1, "b": 2}, {"b": 2, "a": 1}], {"a": 1, "b": 2}, []),
        (Rule("once"), ["a", "a"], "a", []),
        (Rule("once"), ["a", "b"], "b", ["b", "a"]),
        (Rule("latest"), ["a", "b"], "b", []),
        (Rule("latest"), ["a", None], None, []),
        (Rule("flag_on_wins"), [True, False], True, []),
        (Rule("flag_on_wins"), [False, None], False, []),
        (Rule("flag_off_wins"), [True, False], False, []),
        (Rule("flag_off_wins"), [True, None], False, []),
        (Rule("flag_off_wins"), [True, True], True, []),
        (Rule("status", order=ORDER), ["draft", "completed", "active"], "completed", []),
        (Rule("status", order=ORDER), ["active", "cancelled"], "cancelled", ["cancelled", "active"]),
        (Rule("status", order=ORDER), ["active", "from the future"], "from the future", ["from the future", "active"]),
        (Rule("status", order=ORDER), ["active", None], "active", ["active", None]),
        (Rule("entries"), ["x", None], "x", ["x", None]),
        (Rule("entries", by_value=True), ["x", None], "x", []),
        (HAZARDS, [{"v": "refuted"}, {"n": 2}], {"n": 2}, [{"n": 2}, {"v": "refuted"}]),
        (HAZARDS, [{"n": 2}, {"v": "refuted"}], {"n": 2}, [{"n": 2}, {"v": "refuted"}]),
        (HAZARDS, [{"v": "refuted"}, {"v": "refuted"}], {"v": "refuted"}, []),
        (HAZARDS, [{"n": 1}, None, None], {"n": 1}, []),
        (HAZARDS, [None, None], None, []),
        (Rule("append_only"), ["a", "a", None], "a", []),
        (Rule("append_only"), ["forged", "a"], "forged", ["forged", "a"]),
        (Rule("append_only", by=("day",)), [{"day": 1, "at": 9}, {"day": 1, "at": 10}], {"day": 1, "at": 9}, []),
        (Rule("counter"), [[5, 1], [2, 4], "nonsense"], 2, []),
    ],
)
def test_what_a_rule_makes_of_unseen_values(rule: Rule, values: list[Any], shown: Any, undecided: list[Any]) -> None:
    for order in permutations(items(*values)):
        outcome = decide(rule, order)
        assert outcome.shown == shown
        assert type(outcome.shown) is type(shown)
        assert [survivor.value for survivor in outcome.undecided] == undecided


def test_latest_breaks_ties_by_tag() -> None:
    tie = [Item("b", 1, 5, "of b", None), Item("a", 9, 5, "of a", None)]
    assert decide(Rule("latest"), tie).shown == decide(Rule("latest"), tie[::-1]).shown == "of b"


def test_equal_values_are_one_survivor_with_all_its_commits() -> None:
    (survivor,) = survivors(items("a", "a"))
    assert survivor.commit == "tag1.1"
    assert [item.commit for item in survivor.items] == ["tag1.1", "tag0.1"]


def test_order_joins_diamonds_and_refuses_circles() -> None:
    diamond = Order("low<left<high", "low<right<high")
    assert diamond.join(["left", "right"]) == "high"
    assert diamond.join(["low", "right"]) == "right"
    assert diamond.names == {"low", "left", "right", "high"}
    assert Order("a<b", "a<c").join(["b", "c"]) is None
    assert Order("a<x", "a<y", "b<x", "b<y").join(["a", "b"]) is None
    with pytest.raises(UsageError):
        Order("a<b", "b<a")
    with pytest.raises(UsageError):
        Order("a<<b")
