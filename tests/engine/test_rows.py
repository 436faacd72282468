"""Rows derived anew when the program learns fields and kinds: in slices, beside all else, across crashes (L8)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from crdtsync.documents import Entries, Record, entries, kinds, latest, once, register
from crdtsync.engine import Engine
from crdtsync.engine.view import opened, view_change
from crdtsync.errors import RefusedError
from crdtsync.ids import RecordId
from crdtsync.storage.base import Store
from crdtsync.storage.memory import MemoryStore

from .conftest import MakeStore
from .sites import PRACTICE, SiteRig, keys_of, patient_of, record_of

METACLASS: Any = type(Record)
NAME = {"name": (str | None, register())}
SPAN = {"span": (int | None, register())}
TAGS = {"tags": (Entries[str], entries(by_value=True))}


@pytest.fixture(autouse=True)
def own_kinds() -> Iterator[None]:
    """Forget the kinds that a test declares."""
    before = dict(kinds())
    yield
    kinds().clear()
    kinds().update(before)


def program(kind: str = "kite", **fields: tuple[Any, Any]) -> Any:
    """From now on this process is a program that declares the kind so, whatever it declared before."""
    kinds().pop(kind, None)
    body: dict[str, Any] = {name: rule for name, (_, rule) in fields.items()}
    body["__annotations__"] = {name: annotation for name, (annotation, _) in fields.items()}
    body["__module__"] = __name__
    return METACLASS("Kite", (Record,), body, kind=kind)


def kite(model: Any, number: int, **fields: Any) -> Record:
    made: Record = model(**fields)
    made.id = record_of(number)
    return made


def behind(store: Store, number: int, *, seed: str = "wide") -> SiteRig:
    """A site whose folder an older program made; its rows lack what the program that runs now knows of the kites."""
    wide = SiteRig(seed)
    newer = program(**NAME, **SPAN, **TAGS)
    for each in range(number):
        wide.write(kite(newer, each, name=f"Kite {each}", span=each, tags=["red"]))
    program(**NAME)
    site = SiteRig("narrow", store)
    site.pull(wide)
    site.derive()
    program(**NAME, **SPAN, **TAGS)
    site.open()
    return site


def finish(site: SiteRig) -> int:
    """Derive rows anew until none is behind; the number of transactions."""
    count = 1
    while site.engine.derive_rows(site.now(), documents_max=3):
        count += 1
    return count


def right(store: Store, kind: str = "kite") -> list[bool]:
    """Per record whether the view shows what its document says under the program that runs now."""
    return [store.shows(view_change(opened(each), {})) for each in store.documents(kind, ("", ""), 10**6)]


def test_fields_that_a_program_learns_are_filled_beside_all_else(make_store: MakeStore) -> None:
    wide, narrow = SiteRig("wide"), SiteRig("narrow", make_store())
    newer = program(**NAME, **SPAN, **TAGS)
    for number in range(10):
        wide.write(kite(newer, number, name=f"Kite {number}", span=number, tags=["red"]))
    program(**NAME)
    narrow.open()
    narrow.pull(wide)
    narrow.derive()
    assert right(narrow.store) == [True] * 10
    digest = narrow.engine.digest()

    newer = program(**NAME, **SPAN, **TAGS)
    narrow.open()
    result = narrow.engine.derive(narrow.now())
    assert (result.done, result.behind, narrow.engine.digest()) == (True, ("kite",), digest)
    assert narrow.engine.status().rederiving == [{"kind": "kite", "done": 0, "total": 10}]
    assert right(narrow.store) == [False] * 10
    [state] = [state for kind, state in narrow.store.kind_states().items() if kind == "kite"]
    assert state.behind == ("conflicted", "span", "tags")

    assert narrow.engine.derive_rows(narrow.now(), documents_max=4) == ("kite",)
    assert sum(right(narrow.store)) == 4
    written = kite(newer, 77, name="written meanwhile", span=77)
    narrow.write(written)
    changed = narrow.get("kite", record_of(9))
    changed.assign("span", 99)
    narrow.write(changed)
    assert sum(right(narrow.store)) == 6, "what is written meanwhile is right at once"
    narrow.reopen()
    assert narrow.engine.status().rederiving == [{"kind": "kite", "done": 4, "total": 11}], "a process goes on"
    finish(narrow)
    assert right(narrow.store) == [True] * 11 and narrow.engine.status().rederiving == []
    wide.sync(narrow)
    assert wide.engine.digest() == narrow.engine.digest()
    assert narrow.verify(wide) == []


def test_a_crash_in_any_slice_loses_that_slice_alone() -> None:
    """The note of how far it is lies in the transaction of the rows: whatever a power cut takes is done again."""
    chance = random.Random(5)
    disk = MemoryStore()
    site = behind(disk, 40)
    assert right(disk) == [False] * 40
    slices = 0
    while site.engine.derive_rows(site.now(), documents_max=3):
        slices += 1
        if chance.random() < 0.5:
            disk.crash(lambda written: chance.randint(0, written))
            site.open()
            site.derive()
        assert slices < 400
    assert right(disk) == [True] * 40 and slices > 14


def test_a_power_cut_before_anything_was_noted_is_noted_again() -> None:
    disk = MemoryStore()
    site = SiteRig("one", disk)
    model = program(**NAME)
    site.write(kite(model, 1, name="x"))
    disk.view_checkpoint_every = 0
    site.write(kite(model, 2, name="y"))
    disk.view_checkpoint_every = 50
    program(**NAME, **SPAN)
    site.open()
    disk.crash(lambda written: 0)
    site.open()
    assert site.engine.derive(site.now()).behind == ("kite",)
    finish(site)
    assert right(disk) == [True] * 2


def test_a_program_between_two_others_in_one_folder(make_store: MakeStore) -> None:
    """Version 2, then 1 again, then 2: what 1 wrote lacks the column, and gets it."""
    site = SiteRig("one", make_store())
    first = program(**NAME)
    site.open()
    site.write(kite(first, 1, name="one"))
    newer = program(**NAME, **SPAN)
    site.open()
    finish(site)
    site.write(kite(newer, 2, name="two", span=2))
    program(**NAME)
    site.open()
    two = site.get("kite", record_of(2))
    two.assign("name", "zwei")
    site.write(two)
    program(**NAME, **SPAN)
    site.open()
    assert not all(right(site.store)) and site.engine.derive(site.now()).behind == ("kite",)
    finish(site)
    assert right(site.store) == [True, True]
    found: Any = site.get("kite", record_of(2))
    assert (found.name, found.span) == ("zwei", 2)


def test_a_third_version_while_the_second_is_not_through(make_store: MakeStore) -> None:
    site = SiteRig("one", make_store())
    model = program(**NAME)
    for number in range(9):
        site.write(kite(model, number, name="x"))
    program(**NAME, **SPAN)
    site.open()
    site.engine.derive_rows(site.now(), documents_max=4)
    program(**NAME, **SPAN, **TAGS)
    site.open()
    state = site.store.kind_states()["kite"]
    assert state.behind == ("conflicted", "span", "tags") and state.after == ""
    finish(site)
    assert right(site.store) == [True] * 9


def test_what_a_program_without_the_kind_left_out_is_added(make_store: MakeStore) -> None:
    """The command line knows no kinds of an application; what comes while it has the folder is derived bare."""
    site, other = SiteRig("one", make_store()), SiteRig("two")
    model = program(**NAME)
    site.write(kite(model, 1, name="one"))
    other.sync(site)
    found = other.get("kite", record_of(1))
    found.assign("name", "eins")
    other.write(found, kite(model, 2, name="two"))
    del kinds()["kite"]
    site.open()
    assert site.engine.derive(site.now()).behind == ()
    site.pull(other)
    site.derive()
    assert site.store.kind_states()["kite"].behind is None
    assert site.engine.status().rederiving == []
    program(**NAME)
    site.open()
    finish(site)
    assert right(site.store) == [True, True]


def test_the_kind_that_somebody_waits_for_comes_first(make_store: MakeStore) -> None:
    site = SiteRig("one", make_store())
    for kind in ("airship", "kite", "zeppelin"):
        site.write(kite(program(kind, **NAME), 1, name="x"))
    for kind in ("airship", "kite", "zeppelin"):
        program(kind, **NAME, **SPAN)
    site.open()
    assert site.engine.derive_rows(site.now(), wanted=["zeppelin"]) == ("airship", "kite")
    assert right(site.store, "zeppelin") == [True]


def test_conflicts_of_a_new_field_appear_with_the_ids_that_others_know(make_store: MakeStore) -> None:
    """They are seen here for the first time now; those that were seen before keep their time; nothing counts as
    changed."""
    jena, gera, old = SiteRig("jena"), SiteRig("gera"), SiteRig("old", make_store())
    model = program(**NAME, **SPAN)
    jena.write(kite(model, 1, name="x"))
    gera.pull(jena)
    gera.derive()
    for number, site in enumerate((jena, gera)):
        found = site.get("kite", record_of(1))
        found.assign("name", f"name {number}")
        found.assign("span", number)
        site.write(found)
    jena.sync(gera)
    program(**NAME)
    old.open()
    old.pull(jena)
    old.derive()
    [known] = old.store.conflicts()
    old.now_ms += 50_000
    model = program(**NAME, **SPAN)
    old.open()
    [*_] = old.derive().changed
    assert old.derive().changed == []
    finish(old)
    assert old.derive().changed == []
    found_here = {json.loads(each.body)["field"]: each for each in old.store.conflicts()}
    assert found_here["name"] == known
    assert found_here["span"].detected_ms > known.detected_ms + 49_000
    assert {each.id for each in old.store.conflicts()} == {each.id for each in jena.store.conflicts()}
    assert old.engine.digest() == jena.engine.digest()


def test_looking_over_the_view_does_not_take_rows_that_are_behind_for_changed_ones(make_store: MakeStore) -> None:
    site = behind(make_store(), 3)

    def a_pass() -> list[str]:
        alarms: list[str] = []
        passes = site.engine.upkeep.passes
        while site.engine.upkeep.passes == passes:
            alarms.extend(site.engine.inspect(site.now(), keys_of(site)).alarms)
        return alarms

    assert a_pass() == [] and right(site.store) == [False] * 3
    finish(site)
    assert a_pass() == [] and right(site.store) == [True] * 3
    stored = site.store.documents("kite", ("", ""), 1)[0]
    change = view_change(opened(stored), {})
    site.store.begin_view()
    site.store.write_rows([replace(change, row={**(change.row or {}), "span": 7})])
    site.store.commit_view(site.store.view_state())
    assert len(a_pass()) == 1 and right(site.store) == [True] * 3


def test_a_document_that_does_not_load_is_derived_from_the_log_on_the_way() -> None:
    disk = MemoryStore()
    site = SiteRig("one", disk)
    model = program(**NAME)
    for number in range(5):
        site.write(kite(model, number, name=f"Kite {number}"))
    place = ("kite", record_of(2))
    entry = disk._entries[place]
    disk._entries[place] = replace(entry, document=replace(entry.document, state=b"\x01rubbish"))
    program(**NAME, **SPAN)
    site.open()
    finish(site)
    assert right(disk) == [True] * 5


def test_rows_derived_anew_are_those_of_a_view_derived_from_nothing(make_store: MakeStore) -> None:
    """Whatever versions ran in whatever order over a folder: in the end it holds just what a rebuild gives."""
    shapes = [NAME, {**NAME, **SPAN}, {**NAME, **SPAN, **TAGS}]
    for seed in range(3):
        chance = random.Random(seed)
        kinds().pop("kite", None)
        site = SiteRig(f"site {seed}", make_store())
        for fields in shapes:
            program(**fields)
            site.open()
        for _ in range(25):
            fields = chance.choice(shapes)
            if chance.random() < 0.4:
                model = program(**fields)
                site.open()
            else:
                model = kinds()["kite"]
            values = {"name": "x", "span": 3, "tags": ["a", "b"]}
            taken = {name: values[name] for name in model.plan().fields if name in values and chance.random() < 0.7}
            if taken:
                site.write(kite(model, chance.randrange(10**6), **taken))
            for _ in range(chance.randrange(3)):
                site.engine.derive_rows(site.now(), documents_max=chance.randrange(1, 4))
        finish(site)
        kept = right(site.store)
        conflicts, words = site.store.conflicts(), len(kept)
        site.engine.rebuild(site.now())
        assert all(kept) and right(site.store) == [True] * words and site.store.conflicts() == conflicts


# -- what is refused -------------------------------------------------------------------------------------------------


def test_a_program_that_lacks_a_field_is_refused_unless_the_folder_knows_it_as_an_older_one() -> None:
    store = MemoryStore()
    site = behind(store, 1)
    finish(site)
    digest, states = site.engine.digest(), store.kind_states()
    program(**NAME, **SPAN)
    with pytest.raises(RefusedError, match=r"kite\.tags .* lacks it.* update it.* declare the field again"):
        site.open()
    assert store.kind_states() == states
    program(**NAME)
    site.open()
    assert site.engine.digest() == digest
    assert site.get("kite", record_of(0)).unknown == {"span": [0], "tags": ["red"]}


def test_a_program_that_never_was_here_and_lacks_a_field_is_refused() -> None:
    store = MemoryStore()
    site = SiteRig("one", store)
    site.write(kite(program(**NAME, **SPAN), 1, name="x"))
    before = store.kind_states()
    program(**NAME, **TAGS)
    with pytest.raises(RefusedError, match=r"kite\.span was declared here before, and this program lacks it"):
        site.open()
    assert store.kind_states() == before


@pytest.mark.parametrize(
    ("field", "what"),
    [((str | None, latest()), "merge rule"), ((str | None, once()), "merge rule"), ((int | None, register()), "type")],
)
def test_a_rule_or_a_type_that_became_another_is_refused(field: Any, what: str, make_store: MakeStore) -> None:
    site = SiteRig("one", make_store())
    site.write(kite(program(**NAME), 1, name="x"))
    program(name=field)
    with pytest.raises(RefusedError, match=rf"kite\.name was declared here with another {what}"):
        site.open()
    program(**NAME)
    site.reopen()
    assert right(site.store) == [True]


def test_what_was_declared_is_remembered_also_when_the_view_is_emptied(make_store: MakeStore) -> None:
    site = SiteRig("one", make_store())
    site.write(kite(program(**NAME, **SPAN), 1, name="x"))
    site.engine.rebuild(site.now())
    site.store.reset_view()
    program(**TAGS)
    with pytest.raises(RefusedError, match=r"kite\.name"):
        site.open()


def test_a_practice_whose_view_is_of_a_former_release_is_derived_anew_once(make_store: MakeStore) -> None:
    """It holds no note of declarations at all."""
    site = SiteRig("one", make_store())
    site.write(patient_of(1))
    store: Any = site.store
    if isinstance(store, MemoryStore):
        store._kind_states.clear()
    else:
        store._view.execute("DELETE FROM _kind")
    site.reopen()
    assert site.engine.derive(site.now()).behind == ("patient",)
    assert store.kind_states()["patient"].behind is None
    finish(site)
    site.reopen()
    assert site.engine.derive(site.now()).behind == ()


def test_a_late_kind_is_taken_in_by_an_engine_that_is_open() -> None:
    site = SiteRig("one")
    site.write(patient_of(1))
    model = program(**NAME)
    site.write(kite(model, 2, name="x"))
    model = program(**NAME, **SPAN)
    site.write(kite(model, 3, name="x", span=4))
    assert right(site.store)[-1] and site.engine.derive(site.now()).behind == ("kite",)
    finish(site)
    assert right(site.store) == [True, True]


def test_an_empty_folder_is_never_behind(make_store: MakeStore) -> None:
    store = make_store()
    site = SiteRig("one", store)
    assert site.engine.derive(site.now()).behind == () and set(store.kind_states()) == set(kinds())
    engine = Engine(store, site.sealer, site.keyring, practice=PRACTICE, replica=site.replica)
    assert engine.status().rederiving == []
    assert store.document("kite", RecordId("x")) is None
