"""What we rely on in the CRDT library, and what we must never rely on, shown on the library itself.

A new version of pycrdt is taken only when this file passes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.metadata import version

import pytest
from pycrdt import Doc, Map, Text, _pycrdt

from crdtsync.documents import check_delta
from crdtsync.documents.document import parse_snapshot
from crdtsync.errors import Poisoned

Update = tuple[int, bytes]  # writer, update
WRITERS = (11, 22, 33)


def histories(
    seed: int, steps: int = 14, writers: Sequence[int] = WRITERS
) -> tuple[list[Update], list[set[int]], list[Doc]]:
    """Updates of three writers with the indexes that each depends on, and the writers' documents."""
    rng = random.Random(seed)
    documents = [Doc(client_id=client) for client in writers]
    updates: list[Update] = []
    needs: list[set[int]] = []
    known: list[set[int]] = [set(), set(), set()]
    for _ in range(steps):
        who = rng.randrange(3)
        if rng.random() < 0.4 and updates:
            for index in range(len(updates)):
                if index not in known[who] and needs[index] <= known[who]:
                    documents[who].apply_update(updates[index][1])
                    known[who].add(index)
            continue
        caught: list[bytes] = []
        subscription = documents[who].observe(lambda event, caught=caught: caught.append(event.update))
        _edit(rng, documents[who])
        documents[who].unobserve(subscription)
        for update in caught:
            needs.append(set(known[who]))
            known[who].add(len(updates))
            updates.append((who, update))
    return updates, needs, documents


def _edit(rng: random.Random, document: Doc) -> None:
    root, text = document.get("r", type=Map), document.get("t:x", type=Text)
    with document.transaction():
        key = rng.choice(["a", "b", "c"])
        if rng.random() < 0.3 and key in root:
            del root[key]
        else:
            root[key] = f"{rng.random()}"
        size = len(str(text))
        if size and rng.random() < 0.3:
            del text[rng.randrange(size)]
        else:
            text.insert(rng.randrange(size + 1), "abc")


def loaded(updates: Sequence[bytes], client: int = 99) -> Doc:
    document = Doc(client_id=client)
    for update in updates:
        document.apply_update(update)
    return document


def values(document: Doc) -> tuple[dict[str, object], str]:
    return document.get("r", type=Map).to_py() or {}, str(document.get("t:x", type=Text))


def snapshot(document: Doc) -> object:
    return parse_snapshot(_pycrdt.Snapshot.from_doc(document._doc).encode())


def causal(rng: random.Random, updates: Sequence[Update], needs: Sequence[set[int]]) -> list[int]:
    """A random order in which everything stands behind what it depends on."""
    done: list[int] = []
    while len(done) < len(updates):
        ready = [i for i in range(len(updates)) if i not in done and needs[i] <= set(done)]
        done.append(rng.choice(ready))
    return done


def test_the_pinned_version_is_the_one_measured() -> None:
    assert version("pycrdt").startswith("0.14.")


def test_causal_order_agrees_in_any_batching_with_duplicates_and_reloads() -> None:
    for seed in range(60):
        updates, needs, _ = histories(seed)
        results = []
        for attempt in range(4):
            rng = random.Random(seed * 100 + attempt)
            document = Doc(client_id=99)
            order = causal(rng, updates, needs)
            while order:
                count = rng.randrange(1, 4)
                batch, order = order[:count], order[count:]
                with document.transaction():
                    for index in batch:
                        document.apply_update(updates[index][1])
                if rng.random() < 0.3:
                    document.apply_update(updates[rng.choice(batch)][1])
                if rng.random() < 0.3:
                    document = loaded([document.get_update()])
            results.append((values(document), snapshot(document)))
        assert all(result == results[0] for result in results)


def test_out_of_order_updates_of_one_writer_are_silently_wrong() -> None:
    """The trap that makes causal delivery (L2) our duty: this must stay visible, so that nobody relaxes the inbox."""
    caught: list[bytes] = []
    document = Doc(client_id=1)
    document.observe(lambda event: caught.append(event.update))
    root = document.get("r", type=Map)
    for key, value in (("a", "1"), ("a", "2"), ("b", "3")):
        root[key] = value
    wrong = loaded([caught[1], caught[2], caught[0]])
    right = loaded(caught)
    assert right.get("r", type=Map).to_py() == {"a": "2", "b": "3"}
    assert wrong.get("r", type=Map).to_py() != right.get("r", type=Map).to_py()
    wrong.apply_update(right.get_update())
    assert wrong.get("r", type=Map).to_py() == right.get("r", type=Map).to_py()


def test_a_dropped_update_is_not_noticed_by_the_library() -> None:
    updates, _, _ = histories(3)
    whole, lacking = loaded([u for _, u in updates]), loaded([u for _, u in updates[1:]])
    assert snapshot(whole) != snapshot(lacking)


def test_shuffled_updates_are_often_wrong_and_nothing_says_so() -> None:
    """Everything arrived, nothing was raised, and yet it is another document (L2)."""
    wrong = 0
    for seed in range(40):
        updates, needs, _ = histories(seed)
        right = loaded([updates[index][1] for index in causal(random.Random(0), updates, needs)])
        shuffled = list(updates)
        random.Random(seed).shuffle(shuffled)
        document = loaded([update for _, update in shuffled])
        wrong += values(document) != values(right)
        document.apply_update(right.get_update())
        assert (values(document), snapshot(document)) == (values(right), snapshot(right)), "a whole state heals"
    assert wrong > 10


def test_an_update_that_comes_after_what_follows_it_leaves_the_document_wrong_in_places() -> None:
    """A dropped update that is delivered late does not mend what was applied meanwhile; a whole state does."""
    stuck = 0
    for seed in range(60):
        updates, needs, _ = histories(seed)
        order = causal(random.Random(0), updates, needs)
        right = loaded([updates[index][1] for index in order])
        late = order[len(order) // 3]
        document = loaded([updates[index][1] for index in [*(i for i in order if i != late), late]])
        stuck += values(document) != values(right)
    assert stuck > 0


def test_an_update_that_comes_again_at_any_time_changes_nothing() -> None:
    """Duplicates of everything, in any order, behind everything; and a whole state behind itself."""
    for seed in range(40):
        updates, needs, _ = histories(seed)
        document = loaded([updates[index][1] for index in causal(random.Random(seed), updates, needs)])
        before = values(document), snapshot(document)
        again = [update for _, update in updates] * 2
        random.Random(seed).shuffle(again)
        for update in again:
            document.apply_update(update)
        document.apply_update(document.get_update())
        assert (values(document), snapshot(document)) == before


def test_raw_snapshots_differ_where_sorted_ones_do_not() -> None:
    """Their bytes stand in the order of a hash map, so they are parsed and sorted before they are hashed (L5)."""
    differing = 0
    for seed in range(40):
        updates, needs, _ = histories(seed, 14, [random.Random(seed + each).getrandbits(53) for each in WRITERS])
        one, two = (
            loaded([updates[index][1] for index in causal(random.Random(attempt), updates, needs)])
            for attempt in (1, 2)
        )
        assert snapshot(one) == snapshot(two)
        raw = [_pycrdt.Snapshot.from_doc(document._doc).encode() for document in (one, two)]
        differing += raw[0] != raw[1]
    assert differing > 0


def test_the_events_update_is_the_change_alone() -> None:
    """What a commit carries: an update since a state vector would carry everything that was ever deleted."""
    document = Doc(client_id=1)
    root = document.get("r", type=Map)
    for step in range(200):
        root[f"k{step % 20}"] = f"{step}"
        if step % 3 == 0:
            del root[f"k{step % 20}"]
    before, vector = document.get_update(), document.get_state()
    caught: list[bytes] = []
    document.observe(lambda event: caught.append(event.update))
    root["k1"] = "new"
    [delta] = caught
    since = document.get_update(vector)
    assert len(delta) < len(since)
    for update in (delta, since):
        twin = loaded([before, update])
        assert (values(twin), snapshot(twin)) == (values(document), snapshot(document))


def test_a_transaction_that_fails_is_not_rolled_back() -> None:
    """So a document that took part in something that failed is thrown away."""
    document = Doc(client_id=1)
    root = document.get("r", type=Map)
    with pytest.raises(ZeroDivisionError), document.transaction():
        root["half"] = "done"
        raise ZeroDivisionError
    assert dict(root.to_py() or {}) == {"half": "done"}


def test_state_vectors_and_update_bytes_prove_nothing() -> None:
    one = Doc(client_id=1)
    one.get("r", type=Map)["a"] = "1"
    two = loaded([one.get_update()], client=1)
    del two.get("r", type=Map)["a"]
    assert one.get_state() == two.get_state()
    assert values(one) != values(two)
    assert snapshot(one) != snapshot(two)


def test_a_restored_client_id_diverges_and_a_fresh_one_does_not() -> None:
    for client, equal in ((1, False), (2, True)):
        original = Doc(client_id=1)
        original.get("r", type=Map)["a"] = "old"
        restored = loaded([original.get_update()], client=client)
        caught: list[bytes] = []
        original.observe(lambda event, caught=caught: caught.append(event.update))
        restored.observe(lambda event, caught=caught: caught.append(event.update))
        original.get("r", type=Map)["b"] = "of the original"
        restored.get("r", type=Map)["c"] = "of the copy"
        first, second = caught
        original.apply_update(second)
        restored.apply_update(first)
        assert (values(original) == values(restored)) is equal


def test_text_positions_are_bytes() -> None:
    document = Doc(client_id=1)
    text = document.get("t:x", type=Text)
    text.insert(0, "üx")
    assert len(text) == 3
    text.insert(2, "!")
    assert str(text) == "ü!x"


def test_text_between_a_character_and_itself_stands_elsewhere_after_loading() -> None:
    """What `order.in_order` refuses: the library goes by a place that it has just cut in two."""
    doc = Doc(client_id=7)
    text = doc.get("t:note", type=Text)
    text += "abcdef"
    doc.apply_update(bytes([1, 1, 9, 0, 0xC4, 7, 3, 7, 3, 1]) + b"?" + b"\0")
    again = Doc(client_id=7)
    again.apply_update(doc.get_update())
    assert str(text) == "abc?def"
    assert str(again.get("t:note", type=Text)) != str(text)


def test_numbers_come_back_as_floats() -> None:
    document = Doc(client_id=1)
    root = document.get("r", type=Map)
    root["n"] = 7
    assert type(loaded([document.get_update()]).get("r", type=Map)["n"]) is float


def test_text_in_the_map_is_lossless() -> None:
    document = Doc(client_id=1)
    raw = '[[1,2,"ü\\u0000\\"😀' + "x" * 300 + '",9223372036854775808]]'
    document.get("r", type=Map)["n"] = raw
    assert loaded([document.get_update()]).get("r", type=Map)["n"] == raw


def test_nested_maps_made_at_two_sites_lose_one_side() -> None:
    one, two = Doc(client_id=1), Doc(client_id=2)
    for document, name in ((one, "x"), (two, "y")):
        document.get("r", type=Map)["nested"] = Map({name: "1"})
    one.apply_update(two.get_update())
    assert len(one.get("r", type=Map)["nested"].to_py()) == 1


def test_panics_are_no_exceptions(capfd: pytest.CaptureFixture[str]) -> None:
    """A well-formed delta with a collected struct of no length; the gate refuses it."""
    poison = bytes([1, 2, 7, 1, 0, 0, 168, 7, 2, 1, 119, 9]) + b"[[2,1,1]]" + bytes([1, 7, 2, 0, 1, 2, 1])
    document = Doc(client_id=1)
    with pytest.raises(BaseException) as caught:
        document.apply_update(poison)
    assert not isinstance(caught.value, Exception)
    assert type(caught.value).__name__ == "PanicException"
    with pytest.raises(Poisoned):
        check_delta(poison, 7)
    capfd.readouterr()


def test_the_raw_classes_are_where_we_take_them() -> None:
    document = _pycrdt.Doc(2**53 - 1, None, None)
    assert document.client_id() == 2**53 - 1
    transaction = document.create_transaction()
    root = document.get_or_insert_map(transaction, "r")
    root.insert(transaction, "k", "v")
    text = document.get_or_insert_text(transaction, "t:x")
    text.insert(transaction, 0, "ü")
    transaction.drop()
    transaction = document.create_transaction()
    assert root.to_json(transaction) == '{"k":"v"}'
    update = document.get_update(transaction, b"\x00")
    transaction.drop()
    other = _pycrdt.Doc(5, None, None)
    transaction = other.create_transaction()
    other.apply_update(transaction, update)
    assert set(other.roots(transaction)) == {"r", "t:x"}
    assert other.get_or_insert_text(transaction, "t:x").get_string(transaction) == "ü"
    transaction.drop()
