"""Holding commits whole, what follows from it, and how a record comes right again (L2, L6)."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdtsync import limits
from crdtsync.documents import Document, SetField
from crdtsync.engine.holds import FORM, LIBRARY, PROGRAM, REACH, SEAL
from crdtsync.errors import Poisoned, RefusedError
from crdtsync.ids import CommitHash, client_id
from crdtsync.replication.commit import Change
from crdtsync.storage.memory import MemoryStore
from crdtsync.testing.rewriting import with_client

from .conftest import MakeStore
from .hostile import POISONS, Member, Pen, Records, deletion, entry, seal, text_after
from .sites import keys_of, patient_of, record_of


def team(make_store: MakeStore, *names: str) -> list[Member]:
    signed: Records = {}
    return [Member(name, signed, make_store()) for name in names]


def settle(*members: Member) -> None:
    """Everybody learns and derives everything, until nothing is left to be signed."""
    before = -1
    while before != len(members[0].signed):
        before = len(members[0].signed)
        for one in members:
            for other in members:
                if one is not other:
                    one.pull(other)
                    one.pull_keys(other)
            one.derive()
        for one in members:
            one.learn_holds(one.signed)
            one.derive()


def equal(*members: Member) -> None:
    """Views, held commits and damaged records are equal, follow from the logs, and survive a restart and rebuilding."""
    first = members[0]
    digest, held, damaged = first.engine.digest(), first.held(), first.damaged()
    for member in members:
        assert member.engine.digest() == digest
        assert member.held() == held
        assert member.damaged() == damaged
        assert member.engine.verify(None, keys_of(*members)).problems == []
        member.restart()
        member.derive()
        assert (member.engine.digest(), member.held(), member.damaged()) == (digest, held, damaged)
        member.engine.rebuild(member.now())
        assert (member.engine.digest(), member.held(), member.damaged()) == (digest, held, damaged)


def mine(site: Member, number: int) -> int:
    assert site.engine.log is not None
    return client_id(site.engine.log, record_of(number))


def retitle(site: Member, number: int, title: str) -> None:
    site.derive()
    if site.engine.needs_boot:
        site.engine.open_boot()
    patient = site.patient(number)
    patient.title = title
    site.write(patient)


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_every_poison_is_held_wherever_it_stands(poison: str, where: str) -> None:
    mallory, jena, gera = team(MemoryStore, "mallory", "jena", "gera")
    if where != "first":
        mallory.write(patient_of(1), patient_of(2))
    delta = POISONS[poison](mine(mallory, 1), record_of(1))
    [bad] = seal(
        mallory,
        (record_of(1), [Change("patient", record_of(1), delta)]),
        (
            record_of(3),
            [Change("patient", record_of(3), Pen(mallory).delta(record_of(3), [SetField("title", "x", {})]))],
        ),
    )
    if where != "last":
        good = Pen(mallory).delta(record_of(4), [SetField("family_name", "Later", {})])
        seal(mallory, (record_of(4), [Change("patient", record_of(4), good)]))
    jena.pull(mallory)
    [alarm] = jena.derive().alarms
    assert record_of(1) in alarm
    jena.write(patient_of(9))
    settle(mallory, jena, gera)
    for site in (mallory, jena, gera):
        assert [(held[0], held[1]) for held in site.held()] == [(bad.id, (record_of(1), record_of(3)))]
        assert site.damaged().keys() == {("patient", record_of(1)), ("patient", record_of(3))}
        assert site.patient(9).family_name == "Muster9"
        assert site.patient(3).title is None, "a commit is applied whole or not at all"
        if where != "first":
            assert site.patient(2).family_name == "Muster2" and site.patient(1).family_name == "Muster1"
        if where != "last":
            assert site.patient(4).family_name == "Later"
    equal(mallory, jena, gera)


@pytest.mark.parametrize(
    ("delta", "reason"),
    [
        (lambda client: b"?", FORM),
        (lambda client: entry(client, 5), REACH),
        (lambda client: deletion(99, 0, 1), REACH),
        (lambda client: text_after(client, 0, 99, 0), REACH),
    ],
)
def test_what_is_found_is_due_until_it_is_signed(make_store: MakeStore, delta: object, reason: str) -> None:
    mallory, jena = team(make_store, "mallory", "jena")
    assert callable(delta)
    [bad] = seal(mallory, (record_of(1), [Change("patient", record_of(1), delta(mine(mallory, 1)))]))
    jena.pull(mallory)
    result = jena.engine.derive(jena.now())
    [due] = result.holds
    assert (due.commit, due.hash, due.reason) == (bad.id, bad.hash, reason) and result.held == -1
    jena.restart()
    result = jena.engine.derive(jena.now())
    assert result.holds == (due,), "it is kept with the view"
    assert result.alarms == []
    jena.engine.rebuild(jena.now())
    assert jena.engine.derive(jena.now()).holds == (due,)
    jena.sign(result)
    result = jena.engine.derive(jena.now())
    assert result.holds == () and result.held == 1


def test_a_hold_of_another_hash_holds_nothing_and_hides_nothing(make_store: MakeStore) -> None:
    mallory, jena = team(make_store, "mallory", "jena")
    good = mallory.write(patient_of(1))
    bad = seal(mallory, (record_of(1), [Change("patient", record_of(1), b"?")]))[0]
    other = CommitHash(b"o" * 32)
    jena.engine.honour({good.id: {other: FORM}, bad.id: {other: FORM}}, {}, None)
    jena.pull(mallory)
    [due] = jena.engine.derive(jena.now()).holds
    assert due.commit == bad.id
    assert jena.patient(1).family_name == "Muster1"
    jena.engine.honour({good.id: {other: FORM}, bad.id: {other: FORM}}, {}, None)
    assert jena.engine.derive(jena.now()).holds == (due,), "and is no signature for what is due"


def test_what_builds_on_what_is_held_and_on_what_nobody_has_is_held_itself(make_store: MakeStore) -> None:
    """It is no mere consequence: a site that has what the others have not would take it."""
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    first = jena.write(patient_of(1))
    both = bytes([0, 2]) + deletion(mine(jena, 1), 0, 1)[2:] + deletion(12_345, 0, 1)[2:]
    [bad] = seal(mallory, (record_of(1), [Change("patient", record_of(1), both)]))
    text = text_after(mine(mallory, 1), 0, mine(jena, 1), 0)
    seal(mallory, (record_of(1), [Change("patient", record_of(1), text)]))
    gera.engine.honour({first.id: {first.hash: FORM}}, {}, None)
    gera.pull(jena)
    gera.pull(mallory)
    [due] = gera.engine.derive(gera.now()).holds
    assert (due.commit, due.reason) == (bad.id, REACH)


def test_a_hold_that_comes_late_undoes_the_commit_whole(make_store: MakeStore) -> None:
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    first = mallory.write(patient_of(1), patient_of(2))
    jena.pull(mallory)
    jena.derive()
    for number in (1, 2):
        patient = jena.patient(number)
        patient.family_name = "builds on it"
        jena.write(patient)
    jena.write(patient_of(3))
    gera.pull(jena)
    gera.derive()
    assert gera.patient(1).family_name == "builds on it"
    jena.engine.honour({first.id: {first.hash: "a word of later versions"}}, {}, None)
    assert jena.engine.derive(jena.now()).held == 1
    gera.engine.honour({first.id: {first.hash: "a word of later versions"}}, {}, None)
    for site in (jena, gera):
        assert site.patient(1).family_name is None and site.patient(3).family_name == "Muster3"
        assert len(site.damaged()) == 2
        assert len(site.held()) == 3
        direct = site.held()[[held[0] for held in site.held()].index(first.id)]
        assert "a word of later versions" in direct[2]
    assert jena.engine.digest() == gera.engine.digest()
    assert jena.engine.verify(None, keys_of(mallory, jena, gera)).problems == []


def test_consequences_are_left_out_by_record_and_not_signed(make_store: MakeStore) -> None:
    """Changes that build on what is held, and what follows them in their logs, also when they touch nothing held."""
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    mallory.write(patient_of(1, title="m"), patient_of(2))
    jena.pull(mallory)
    held_one = mallory.store.arrivals(0, 1, 1)[0].commit
    retitle(jena, 1, "overwrites m")
    patient = jena.patient(1)
    patient.given_name = "Erika"  # touches nothing of Mallory's, and has a hole before it all the same
    jena.write(patient)
    jena.write(patient_of(5))
    hold = {held_one.id: {held_one.hash: REACH}}
    for site in (mallory, jena, gera):
        site.engine.honour(hold, {}, None)
    for site in (gera, mallory):
        site.pull(jena)
        site.derive()
    assert jena.engine.derive(jena.now()).holds == ()
    for site in (mallory, jena, gera):
        assert site.patient(1).given_name is None and site.patient(5).family_name == "Muster5"
        assert [held[0].sequence for held in site.held() if held[0].log == jena.engine.log] == [1]
    assert jena.engine.needs_boot
    with pytest.raises(RefusedError):
        jena.write(patient_of(6))
    jena.engine.open_boot()
    patient = jena.patient(1)
    patient.given_name = "Erika"
    jena.write(patient)
    gera.pull(jena)
    gera.derive()
    assert gera.patient(1).given_name == "Erika" and gera.engine.digest() == jena.engine.digest()


def test_a_delta_that_refers_to_what_only_some_sites_have_converges_by_signed_holds(make_store: MakeStore) -> None:
    """Jena has the structs when the delta comes, Gera has not: only Gera finds it, and all leave it out."""
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    jena.write(patient_of(1, title="old"))
    for site in (mallory, gera):
        site.pull(jena)
        site.derive()
    retitle(jena, 1, "unseen by Mallory")
    state = jena.state("patient", record_of(1))
    pen = Pen(mallory)
    [bad] = seal(
        mallory,
        (
            record_of(1),
            [Change("patient", record_of(1), pen.delta(record_of(1), pen.overwrite("title", "evil", state), state))],
        ),
    )
    jena.pull(mallory)
    assert jena.derive().holds == () and jena.patient(1).title == "evil"
    retitle(jena, 1, "on top of it")
    gera.pull(mallory)
    [due] = gera.derive().holds
    assert (due.commit, due.reason) == (bad.id, REACH)
    assert gera.patient(1).title == "old"
    settle(mallory, jena, gera)
    for site in (mallory, jena, gera):
        assert site.patient(1).title == "unseen by Mallory"
        assert [held[0] for held in site.held()][:1] == [bad.id] or bad.id in [held[0] for held in site.held()]
        assert site.damaged().keys() == {("patient", record_of(1))}
    equal(mallory, jena, gera)


def test_what_is_entered_anew_by_somebody_who_knew_clears_a_record(make_store: MakeStore) -> None:
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    jena.write(patient_of(1))
    for site in (mallory, gera):
        site.pull(jena)
        site.derive()
    seal(mallory, (record_of(1), [Change("patient", record_of(1), b"?")]))
    retitle(gera, 1, "does not have it")
    jena.pull(mallory)
    jena.derive()
    jena.pull(gera)
    jena.derive()
    assert jena.damaged() != {}, "Gera wrote without having seen that anything is missing"
    retitle(jena, 1, "entered anew")
    assert jena.damaged() == {}
    settle(mallory, jena, gera)
    assert gera.damaged() == mallory.damaged() == {}
    assert len(gera.held()) == 1, "what is held stays known"
    equal(mallory, jena, gera)
    seal(mallory, (record_of(1), [Change("patient", record_of(1), b"?")]))
    settle(mallory, jena, gera)
    assert jena.damaged().keys() == {("patient", record_of(1))}, "something is missing again"
    equal(mallory, jena, gera)


def test_who_had_the_commit_and_did_not_know_of_the_hold_clears_nothing(make_store: MakeStore) -> None:
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    bad = mallory.write(patient_of(1))
    gera.pull(mallory)
    gera.derive()
    patient = gera.patient(1)
    patient.note.insert(0, "builds on nothing")
    gera.write(patient)
    jena.hold(bad.id, bad.hash, FORM)
    for site in (mallory, gera):
        site.learn_holds(jena.known)
    settle(mallory, jena, gera)
    assert jena.damaged().keys() == {("patient", record_of(1))}
    retitle(gera, 1, "now it knows")
    settle(mallory, jena, gera)
    assert jena.damaged() == {}
    equal(mallory, jena, gera)


def test_who_knew_of_a_hold_and_had_not_all_that_is_held_clears_nothing(make_store: MakeStore) -> None:
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    jena.write(patient_of(1))
    for site in (mallory, gera):
        site.pull(jena)
        site.derive()
    seal(mallory, (record_of(1), [Change("patient", record_of(1), b"?")]))
    for site in (jena, gera):
        site.pull(mallory)
        site.derive()
    state = mallory.state("patient", record_of(1))
    lost = Pen(mallory).delta(record_of(1), [SetField("given_name", "Erika", {})], state)
    seal(mallory, (record_of(1), [Change("patient", record_of(1), lost)]))
    retitle(gera, 1, "entered anew")
    assert gera.damaged() == {}, "it has not seen that more is missing"
    jena.pull(mallory)
    jena.derive()
    jena.pull(gera)
    jena.derive()
    assert jena.patient(1).title == "entered anew" and jena.damaged().keys() == {("patient", record_of(1))}
    settle(mallory, jena, gera)
    assert gera.damaged().keys() == {("patient", record_of(1))}
    equal(mallory, jena, gera)


def test_a_part_whose_key_comes_late_and_shows_poison(make_store: MakeStore) -> None:
    """The rest of the commit was applied already: it is undone."""
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    mallory.write(patient_of(2))
    good = Pen(mallory).delta(record_of(2), [SetField("title", "half", {})], mallory.state("patient", record_of(2)))
    [bad] = seal(
        mallory,
        (record_of(1), [Change("patient", record_of(1), b"?")]),
        (record_of(2), [Change("patient", record_of(2), good)]),
    )
    jena.pull(mallory, keys=False)
    [late] = mallory.engine.read_keys([bad.header.parts[0].key])
    jena.engine.put_keys([key for key in mallory.engine.read_keys([r.key for r in bad.header.parts]) if key != late])
    jena.derive()
    assert jena.patient(2).title == "half" and jena.held() == []
    jena.restart()
    jena.engine.put_keys([late])
    assert [due.commit for due in jena.engine.derive_waiting(jena.now()).holds] == [bad.id]
    assert jena.patient(2).title is None and len(jena.damaged()) == 2
    settle(mallory, jena, gera)
    equal(mallory, jena, gera)


def test_nothing_is_judged_to_build_on_nothing_while_something_waits(make_store: MakeStore) -> None:
    """What it builds on may lie in a part whose key is not here: the change waits for the verdict, without harm."""
    jena, gera, weimar = team(make_store, "jena", "gera", "weimar")
    jena.write(patient_of(1, title="from Jena"))
    gera.write(patient_of(1, given_name="Erika"))
    gera.pull(jena)
    retitle(gera, 1, "on top of Jena's")  # under Gera's own key of this patient
    weimar.pull(gera, keys=False)
    [first] = jena.engine.read_keys([ref.key for ref in jena.store.arrivals(0, 1, 1)[0].commit.header.parts])
    weimar.engine.put_keys([key for key in gera.store.key_of_subject(record_of(1)) if key != first])
    result = weimar.derive()
    assert result.holds == () and result.waiting == [first.id]
    assert weimar.patient(1).title is None, "Jena's title is not here, so Gera's cannot stand on it"
    weimar.restart()
    weimar.engine.put_keys([first])
    result = weimar.engine.derive_waiting(weimar.now())
    assert result.holds == () and result.waiting == [] and weimar.held() == []
    assert weimar.patient(1).title == "on top of Jena's"
    settle(jena, gera, weimar)
    equal(jena, gera, weimar)


def test_a_large_transaction_with_one_bad_change_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, make_store: MakeStore
) -> None:
    monkeypatch.setattr(limits, "documents_cached_max", 3)
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    mallory.write(patient_of(99))
    pen = Pen(mallory)
    changes = [
        (record_of(n), [Change("patient", record_of(n), pen.delta(record_of(n), [SetField("title", "x", {})]))])
        for n in range(10)
    ]
    poisoned = (record_of(50), [Change("patient", record_of(50), b"?")])
    commits = seal(mallory, *changes, poisoned, fragments=3)
    jena.pull(mallory)
    assert jena.derive().records == 1, "a record that nothing was written to does not count"
    assert jena.store.counts() == {"patient": 12}, "and is shown as damaged all the same"
    settle(mallory, jena, gera)
    for site in (mallory, jena, gera):
        assert all(site.patient(n).title is None for n in range(10))
        assert site.held()[0][0] == commits[0].id and len(site.held()[0][1]) == 11
    equal(mallory, jena, gera)


def test_a_transaction_without_its_beginning_is_held(make_store: MakeStore) -> None:
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    delta = Pen(mallory).delta(record_of(1), [SetField("title", "x", {})])
    commits = seal(mallory, (record_of(1), [Change("patient", record_of(1), delta)]), fragments=2)
    assert commits[1].header.fragment == (1, 2)
    [broken] = seal(mallory, (record_of(2), [Change("patient", record_of(2), b"\0\0")]), fragment=(3, 4))
    settle(mallory, jena, gera)
    assert [held[0] for held in jena.held()] == [broken.id]
    assert jena.patient(1).title == "x"
    equal(mallory, jena, gera)


def test_a_part_that_does_not_open_holds_what_follows_for_that_subject(make_store: MakeStore) -> None:
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    mallory.write(patient_of(1), patient_of(2))
    pen = Pen(mallory)
    [bad] = seal(mallory, (record_of(1), b"s" * 300))
    for number in (1, 2):
        state = mallory.state("patient", record_of(number))
        delta = pen.delta(record_of(number), [SetField("title", "later", {})], state)
        seal(mallory, (record_of(number), [Change("patient", record_of(number), delta)]))
    jena.pull(mallory)
    assert [due.reason for due in jena.derive().holds] == [SEAL]
    settle(mallory, jena, gera)
    for site in (mallory, jena, gera):
        assert site.patient(1).title is None and site.patient(2).title == "later"
        assert site.damaged().keys() == {("patient", record_of(1))}
        assert site.held()[0][:2] == (bad.id, (record_of(1),))
    equal(mallory, jena, gera)
    retitle(gera, 1, "entered anew")
    settle(mallory, jena, gera)
    assert mallory.damaged() == {}
    equal(mallory, jena, gera)


def test_logs_that_are_frozen_are_held_from_there_on(make_store: MakeStore) -> None:
    mallory, jena = team(make_store, "mallory", "jena")
    for title in ("a", "b", "c"):
        mallory.write(patient_of(ord(title), title=title))
    jena.pull(mallory)
    jena.derive()
    assert mallory.engine.log is not None
    end = {mallory.engine.log: jena.store.commit(mallory.engine.log, 1).commit.head}
    assert jena.engine.honour({}, end)
    assert jena.engine.derive(jena.now()).holds == (), "that the log is frozen is signed already"
    assert jena.patient(ord("a")).title == "a" and jena.patient(ord("b")).title is None
    jena.restart()
    jena.engine.honour({}, end)
    mallory.write(patient_of(1))
    jena.pull(mallory)
    jena.derive()
    assert jena.patient(1).family_name is None and len(jena.held()) == 3
    assert jena.engine.verify(None, keys_of(mallory, jena)).problems == []


def test_what_the_library_refuses_on_the_way_is_held_and_undone(
    monkeypatch: pytest.MonkeyPatch, make_store: MakeStore
) -> None:
    """Nothing that passes the gate is known to be refused: should it happen, the batch begins anew without it."""
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    mallory.write(patient_of(1))
    bad = mallory.write(patient_of(2), patient_of(3, family_name="panics"))
    mallory.write(patient_of(4))
    apply = Document.apply

    def panics(self: Document, delta: bytes, reach: object = None) -> None:
        if b"panics" in delta:
            self._break(RuntimeError("as a panic does"))
        apply(self, delta, reach)  # type: ignore[arg-type]

    monkeypatch.setattr(Document, "apply", panics)
    jena.pull(mallory)
    result = jena.derive()
    assert [(due.commit, due.reason) for due in result.holds] == [(bad.id, LIBRARY)]
    monkeypatch.undo()
    assert jena.patient(2).family_name is None and jena.patient(4).family_name == "Muster4"
    settle(mallory, jena, gera)
    assert mallory.patient(2).family_name is None, "the others could take it, and leave it out all the same"
    equal(mallory, jena, gera)


def test_what_the_program_fails_on_is_held_here_alone(monkeypatch: pytest.MonkeyPatch, make_store: MakeStore) -> None:
    jena, gera = team(make_store, "jena", "gera")
    for number in range(3):
        jena.write(patient_of(number))
    gera.pull(jena)
    state = Document.state
    monkeypatch.setattr(Document, "state", lambda self: 1 / 0 if "Muster1" in str(self.content()) else state(self))
    result = gera.derive()
    assert result.holds == () and result.held == -1 and len(result.alarms) == 1
    assert gera.engine._deriving.holds.found == {jena.store.arrivals(1, 1, 1)[0].commit.id: PROGRAM}
    monkeypatch.undo()
    assert gera.engine.rebuild(gera.now()) == jena.engine.digest()


def test_a_document_that_breaks_while_it_is_summed_up_is_the_commits_fault(
    monkeypatch: pytest.MonkeyPatch, make_store: MakeStore
) -> None:
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    mallory.write(patient_of(1))
    bad = mallory.write(patient_of(2, family_name="breaks"))
    mallory.write(patient_of(3))
    state = Document.state

    def breaks(self: Document) -> bytes:
        if "breaks" in str(self.content()):
            raise Poisoned("as a panic does")
        return state(self)

    monkeypatch.setattr(Document, "state", breaks)
    jena.pull(mallory)
    assert [(due.commit, due.reason) for due in jena.derive().holds] == [(bad.id, LIBRARY)]
    monkeypatch.undo()
    settle(mallory, jena, gera)
    equal(mallory, jena, gera)


def test_a_record_twice_in_one_commit_and_under_two_kinds_and_anothers_subject(make_store: MakeStore) -> None:
    """Strange, and harmless: no reason to hold anything."""
    mallory, jena, gera = team(make_store, "mallory", "jena", "gera")
    jena.write(patient_of(1), patient_of(2))
    mallory.pull(jena)
    mallory.derive()
    pen = Pen(mallory)
    state = mallory.state("patient", record_of(1))
    one, two = pen.deltas(record_of(1), [[SetField("title", "a", {})], [SetField("given_name", "b", {})]], state)
    other = pen.delta(record_of(1), [SetField("title", "a task", {})])
    seal(
        mallory,
        (record_of(2), [Change("patient", record_of(1), one), Change("task", record_of(1), other)]),
        (record_of(1), [Change("patient", record_of(1), two)]),
    )
    settle(mallory, jena, gera)
    assert jena.held() == [] and (jena.patient(1).title, jena.patient(1).given_name) == ("a", "b")
    assert gera.get("task", record_of(1)).kind == "task"
    equal(mallory, jena, gera)


@pytest.mark.parametrize("own", [False, True], ids=["its own ids", "the author's ids"])
def test_fuzzed_updates_in_maps_and_in_texts(test_data: Path, own: bool) -> None:
    """Updates that panic, hang or kill the library, also under a root that a field has; one log has them all."""
    mallory, jena, gera = team(MemoryStore, "mallory", "jena", "gera")
    mallory.write(*[patient_of(number) for number in range(40)])
    poisoned = {}
    number = 0
    for file in sorted((test_data / "poison").iterdir()):
        for root in (b"\x01t", b"\x06t:note"):
            delta = file.read_bytes().replace(b"\x01\x01t", b"\x01" + root)
            if own:
                delta = with_client(delta, mine(mallory, number))
            [bad] = seal(mallory, (record_of(number), [Change("patient", record_of(number), delta)]))
            poisoned[bad.id] = (record_of(number),)
            number += 1
            jena.pull(mallory)
            jena.derive()
            jena.restart()
    mallory.derive()
    assert mallory.engine.needs_boot
    mallory.engine.open_boot()
    mallory.write(patient_of(50))
    settle(mallory, jena, gera)
    assert len(poisoned) == 30
    for site in (mallory, jena, gera):
        assert {held[0]: held[1] for held in site.held()} == poisoned
        assert [site.patient(number).family_name for number in (*range(40), 50)] == [
            f"Muster{number}" for number in (*range(40), 50)
        ]
    equal(mallory, jena, gera)
