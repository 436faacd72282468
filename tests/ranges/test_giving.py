"""Patient numbers as one replica gives them: in the commit that needs them, never twice, never by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crdtsync import limits
from crdtsync.documents import SetField, edits_of, read
from crdtsync.engine import RecordEdits, WriteGrant, WriteOutcome, WriteRequest
from crdtsync.errors import NotFound, RefusedError
from crdtsync.host import Deciding, Host
from crdtsync.ids import RecordId, ReplicaId, record_id_from
from crdtsync.practice import Patient
from crdtsync.ranges import KIND, setting
from crdtsync.ranges.setting import By
from crdtsync.storage import continuity
from tests.test_host import Machine

Work = Callable[[Host, WriteGrant, int], tuple[WriteRequest | None, dict[str, Any]]]


class Desk:
    """One replica and the people at it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.host = machine.host()
        self.grant = machine.grant()
        self._count = 0

    def reopen(self) -> None:
        """The process ends, and another one opens the folder."""
        self.host.close()
        self.host = self.machine.host()

    def write(self, *requests: WriteRequest | Deciding) -> list[WriteOutcome]:
        return self.host.write(requests, self.grant)[0]

    def decide(self, work: Work) -> dict[str, Any]:
        told: list[dict[str, Any]] = []

        def make(host: Host, grant: WriteGrant, now_ms: int) -> WriteRequest | None:
            request, answer = work(host, grant, now_ms)
            told.append(answer)
            return request

        [outcome] = self.write(Deciding(make))
        if outcome.error is not None:
            raise outcome.error
        return told[0]

    def set(self, first: int, last: int, *, spare: bool = False, name: str = "Jena") -> str:
        by = By("dr.weber", "", self.host.now_ms())
        told = self.decide(lambda host, grant, now: setting.set_range(host.ranges, name, first, last, spare, by))
        return str(told["id"])

    def release(self, name: str = "Jena", above: int | None = None) -> dict[str, Any]:
        by = By("dr.weber", "", self.host.now_ms())
        return self.decide(lambda host, grant, now: setting.release(host.ranges, name, None, above, by))

    def tend(self) -> None:
        """What the site does by itself, until there is nothing to do."""
        for _ in range(100):
            [outcome] = self.write(Deciding(lambda host, grant, now: host.ranges.tend(grant, now)))
            assert outcome.error is None
            if not outcome.commits:
                return
        raise AssertionError("it never comes to rest")

    def new(self, *, record: str = "", **fields: Any) -> RecordEdits:
        self._count += 1
        patient = Patient(family_name="Muster", **fields)
        patient.id = RecordId(record) if record else record_id_from("patient", str(self._count))
        return RecordEdits("patient", patient.id, patient.id, edits_of(patient, str))

    def add(self, patients: int = 1, **fields: Any) -> list[int | None]:
        """New patients in one transaction; the numbers that they got."""
        edits = [self.new(**fields) for _ in range(patients)]
        [outcome] = self.write(request(*edits))
        if outcome.error is not None:
            raise outcome.error
        return [self.patient(each.record).number for each in edits]

    def patient(self, record: str) -> Patient:
        state = self.host.engine.record("patient", RecordId(record))
        assert state is not None
        found = read("patient", RecordId(record), state.content)
        assert isinstance(found, Patient)
        return found

    def give(self, record: str) -> dict[str, Any]:
        return self.decide(lambda host, grant, now: host.ranges.give(RecordId(record), grant, "dr.weber", ""))

    def change(self, record: str, **fields: Any) -> WriteOutcome:
        patient = self.patient(record)
        for name, value in fields.items():
            patient.assign(name, value)
        [outcome] = self.write(request(RecordEdits("patient", patient.id, patient.id, edits_of(patient, str))))
        return outcome

    def status(self) -> dict[str, Any]:
        return dict(self.host.ranges.described(self.host.numbers.refusal(self.grant)))


def request(*edits: RecordEdits, **more: Any) -> WriteRequest:
    return WriteRequest("dr.weber", "", "", "", edits, **more)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Machine(tmp_path))


# --- giving -----------------------------------------------------------------------------------------------------------


def test_without_ranges_nothing_is_numbered(desk: Desk) -> None:
    assert desk.add(2) == [None, None]
    assert desk.patient(record_id_from("patient", "1")).number_follows is None
    assert desk.add(number=77) == [77]
    with pytest.raises(RefusedError, match="range set"):
        desk.give(record_id_from("patient", "1"))
    desk.tend()


def test_each_new_patient_gets_the_next_number_in_its_own_commit(desk: Desk) -> None:
    desk.set(100, 199)
    assert desk.add() == [100]
    assert desk.add(3) == [101, 102, 103]
    outcomes = desk.write(*(request(desk.new()) for _ in range(3)))
    assert [len(outcome.commits) for outcome in outcomes] == [1, 1, 1]
    assert desk.add() == [107]


def test_the_same_patient_twice_in_a_transaction_gets_one_number(desk: Desk) -> None:
    desk.set(1, 9)
    record = record_id_from("somebody")
    [outcome] = desk.write(request(desk.new(record=record), desk.new(record=record, title="Dr.")))
    assert outcome.error is None and desk.patient(record).number == 1 and desk.add() == [2]


def test_an_edit_gives_no_number(desk: Desk) -> None:
    desk.add()
    desk.set(1, 9)
    assert desk.change(record_id_from("patient", "1"), title="Dr.").error is None
    assert desk.patient(record_id_from("patient", "1")).number is None
    assert desk.give(record_id_from("patient", "1")) == {"number": 1} == desk.give(record_id_from("patient", "1"))
    with pytest.raises(NotFound):
        desk.give(record_id_from("nobody"))


def test_ranges_are_used_in_order_and_spare_ones_last(desk: Desk) -> None:
    desk.set(1, 2, spare=True)
    desk.set(50, 51)
    desk.set(30, 30)
    assert [desk.add()[0] for _ in range(6)] == [30, 50, 51, 1, 2, None]


def test_what_is_exhausted_follows_in_the_order_of_creation(desk: Desk) -> None:
    desk.set(1, 1)
    assert desk.add(2) == [1, None] and desk.add() == [None]
    third = record_id_from("patient", "3")
    assert desk.patient(third).number_follows == desk.host.ranges.me
    assert desk.give(third) == {"number": None, "follows": True}
    assert desk.status()["numbers"]["following"] == 2
    desk.tend()
    desk.set(10, 11)
    desk.tend()
    assert [desk.patient(record_id_from("patient", str(n))).number for n in (2, 3)] == [10, 11]
    assert desk.patient(third).number_follows is None and desk.status()["numbers"]["following"] == 0


def test_a_patient_who_was_to_have_none_may_be_given_one_later(desk: Desk) -> None:
    desk.add()
    first = record_id_from("patient", "1")
    desk.set(1, 1)
    desk.add()
    assert desk.give(first) == {"number": None, "follows": True}
    desk.set(2, 2)
    desk.tend()
    assert desk.patient(first).number == 2


def test_many_who_wait_are_filled_in_steps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "numbers_filled_step", 4)
    desk.set(1, 1)
    desk.add(12)
    desk.set(2, 10)
    before = desk.host.engine.last_sequence
    desk.tend()
    assert desk.host.engine.last_sequence == before + 3, "4, 4 and 1, and then there are none left"
    numbers = [desk.patient(record_id_from("patient", str(n))).number for n in range(1, 13)]
    assert sorted(n for n in numbers if n) == list(range(1, 11)) and numbers.count(None) == 2


def test_numbers_in_use_are_passed_over(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "numbers_looked_step", 2)
    [outcome] = desk.write(request(*(desk.new(number=n) for n in (1, 2, 3, 5, 8)), mass=True))
    assert outcome.error is None
    desk.set(1, 9)
    assert [desk.add()[0] for _ in range(5)] == [4, 6, 7, 9, None]


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_number_by_hand_inside_a_range_is_refused_and_outside_it_is_not(desk: Desk) -> None:
    desk.set(100, 199)
    with pytest.raises(RefusedError, match="from 100 to 199 are given by Jena alone"):
        desk.add(number=150)
    assert desk.add(number=99) == [99] and desk.add(number=200) == [200]
    desk.host.write([request(desk.new(number=151), mass=True)], desk.grant)
    assert desk.add() == [100]
    by_hand = record_id_from("patient", "2")
    assert desk.patient(by_hand).number == 99
    assert desk.change(by_hand, title="Dr.").error is None


def test_a_number_by_hand_beside_one_that_is_to_be_given(desk: Desk) -> None:
    desk.set(100, 199)
    hand, given = desk.new(number=7), desk.new()
    [outcome] = desk.write(request(hand, given))
    assert outcome.error is None
    assert [desk.patient(each.record).number for each in (hand, given)] == [7, 100]


def test_of_several_numbers_of_one_patient_one_may_be_kept(desk: Desk) -> None:
    """Resolving a conflict sets a number that the patient has already."""
    desk.set(100, 199)
    [number] = desk.add()
    record = record_id_from("patient", "1")
    again = RecordEdits("patient", record, record, [SetField("number", number, {})])
    assert desk.write(request(again))[0].error is None
    other = RecordEdits("patient", record, record, [SetField("number", 101, {})])
    assert isinstance(desk.write(request(other))[0].error, RefusedError)


def test_a_range_is_no_record_to_be_written(desk: Desk) -> None:
    range_ = RecordId(desk.set(100, 199))
    desk.add(3)
    for field, value in (("first", 1), ("given", 100), ("given", 500), ("stopped", True)):
        edits = RecordEdits(KIND, range_, range_, [SetField(field, value, {})])
        for plain in (request(edits), request(edits, mass=True)):
            assert isinstance(desk.write(plain)[0].error, RefusedError), field
    upwards = RecordEdits(KIND, range_, range_, [SetField("given", 110, {})])
    assert desk.write(request(upwards))[0].error is None
    assert desk.add() == [111]


# --- loss -------------------------------------------------------------------------------------------------------------


def test_what_was_given_is_remembered_whatever_the_record_says(desk: Desk) -> None:
    """Somebody sets the range back, or its last commit is held: nothing is given twice."""
    range_ = RecordId(desk.set(100, 199))
    desk.add(5)
    slots = desk.host._look(KIND, range_)
    assert slots is not None
    seen = {slot: raw for slot, raw in slots.slots.items() if slot.startswith("given/")}
    back = RecordEdits(KIND, range_, range_, [SetField("given", 100, seen)])
    desk.host.engine.write([request(back)], desk.grant, desk.host.now_ms())
    gone = RecordEdits("patient", record_id_from("patient", "5"), "", [SetField("number", None, _seen(desk, "5"))])
    desk.host.engine.write([request(gone)], desk.grant, desk.host.now_ms())
    assert desk.patient(record_id_from("patient", "5")).number is None
    assert desk.add() == [105]


def _seen(desk: Desk, number: str) -> dict[str, str]:
    state = desk.host.engine.record("patient", record_id_from("patient", number))
    assert state is not None
    return {slot: raw for slot, raw in state.content.slots.items() if slot.startswith("number/")}


def test_after_a_reboot_numbers_follow_until_somebody_was_reached(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.set(1, 9)
    assert desk.add() == [1]
    monkeypatch.setattr(continuity, "boot_session", lambda: "another start of the machine")
    desk.reopen()
    assert desk.add() == [None]
    assert "recover DIR --alone" in desk.status()["numbers"]["warnings"][0]
    desk.tend()
    assert desk.patient(record_id_from("patient", "2")).number is None
    desk.host.numbers.confirm()
    desk.tend()
    assert desk.patient(record_id_from("patient", "2")).number == 2 and desk.add() == [3]


def test_a_loss_closes_the_rest_until_it_is_released(desk: Desk) -> None:
    desk.set(1, 99)
    assert desk.add(3) == [1, 2, 3]
    older = desk.machine.store.copy()
    [outcome] = desk.write(request(desk.new()))
    desk.host.close()
    desk.machine.store = older
    desk.host = desk.machine.host()
    desk.host.append([(commit, True) for commit in outcome.commits], outcome.keys)
    desk.host.numbers.confirm()
    desk.tend()
    assert desk.add() == [None]
    assert desk.status()["numbers"]["closed"] and "range release" in desk.status()["numbers"]["warnings"][0]
    assert any("range release" in text for text in desk.host.ranges.told())
    [listed] = desk.host.ranges.listed()
    assert listed["state"] == "closed"
    told = desk.release(above=40)
    assert [each["above"] for each in told["ranges"]] == [40]
    desk.tend()
    assert desk.patient(record_id_from("patient", "5")).number == 41 and desk.add() == [42]
    with pytest.raises(RefusedError, match="nothing of Jena is closed"):
        desk.release()
    desk.reopen()
    assert desk.add() == [43], "released stays released"


def test_each_loss_takes_a_release_of_its_own(desk: Desk) -> None:
    desk.set(1, 99)
    desk.add()
    older = desk.machine.store.copy()
    [first], [second] = (desk.write(request(desk.new())) for _ in range(2))
    desk.host.close()
    desk.machine.store = older
    desk.host = desk.machine.host()
    desk.host.numbers.confirm()
    desk.host.append([(commit, True) for commit in first.commits], first.keys)
    desk.release()
    assert desk.add() == [3]
    desk.host.append([(commit, True) for commit in second.commits], second.keys)
    assert desk.add() == [None], "something else that was lost has come back"
    desk.tend()
    desk.release()
    desk.tend()
    assert desk.add() == [5]


def test_a_range_that_is_set_after_a_loss_is_open(desk: Desk) -> None:
    desk.set(1, 99)
    desk.add()
    older = desk.machine.store.copy()
    [outcome] = desk.write(request(desk.new()))
    desk.host.close()
    desk.machine.store = older
    desk.host = desk.machine.host()
    desk.host.numbers.confirm()
    desk.host.append([(commit, True) for commit in outcome.commits], outcome.keys)
    desk.set(200, 299)
    assert desk.add() == [200]
    desk.tend()
    assert [each["state"] for each in desk.host.ranges.listed()] == ["closed", "open"]
    assert desk.add() == [201]


# --- blocks -----------------------------------------------------------------------------------------------------------


def test_a_block_is_the_workstations_alone(desk: Desk, tmp_path: Path) -> None:
    desk.set(1, 30)
    desk.add()
    tablet = ReplicaId(b"t" * 16)
    block = desk.decide(lambda host, grant, now: host.ranges.carve(tablet, 10, grant, now))
    assert (block["first"], block["last"]) == (2, 11)
    assert desk.add() == [12]
    rest = desk.decide(lambda host, grant, now: host.ranges.carve(tablet, 500, grant, now))
    assert (rest["first"], rest["last"]) == (13, 30)
    with pytest.raises(RefusedError, match="no patient numbers left"):
        desk.decide(lambda host, grant, now: host.ranges.carve(tablet, 1, grant, now))
    assert len(desk.host.ranges.listed()[0]["blocks"]) == 2
    (tmp_path / "tablet").mkdir()
    station = Desk(Machine(tmp_path / "tablet", "gera"))
    station.host.ranges.take_block(block)
    station.host.ranges.take_block(block)
    assert station.add(3) == [2, 3, 4]
    station.reopen()
    assert station.add(7) == [5, 6, 7, 8, 9, 10, 11] and station.add() == [None]


def test_a_workstation_that_lost_something_uses_none_of_its_blocks(desk: Desk) -> None:
    desk.host.ranges.take_block({"range": record_id_from("range"), "first": 5, "last": 9})
    assert desk.add() == [5]
    older = desk.machine.store.copy()
    [outcome] = desk.write(request(desk.new()))
    desk.host.close()
    desk.machine.store = older
    desk.host = desk.machine.host()
    desk.host.numbers.confirm()
    desk.host.append([(commit, True) for commit in outcome.commits], outcome.keys)
    assert desk.add() == [None]
    desk.tend()
    assert desk.add() == [None]
    desk.host.ranges.take_block({"range": record_id_from("range"), "first": 10, "last": 12})
    desk.tend()
    assert desk.patient(record_id_from("patient", "3")).number == 10


# --- deciding ---------------------------------------------------------------------------------------------------------


def test_ranges_that_overlap_are_refused(desk: Desk) -> None:
    desk.set(100, 199)
    for first, last in ((150, 160), (199, 300), (1, 100), (1, 999)):
        with pytest.raises(RefusedError, match="Jena has the range 100 to 199 already"):
            desk.set(first, last)
    with pytest.raises(NotFound, match="no site named Gera"):
        desk.set(500, 600, name="Gera")
    desk.set(200, 299)


def test_an_ended_range_gives_nothing(desk: Desk) -> None:
    by = By("dr.weber", "", desk.host.now_ms())
    range_ = desk.set(1, 9)
    desk.add()
    for _ in range(2):
        told = desk.decide(lambda host, grant, now: setting.stop(host.ranges, range_, by))
        assert told["state"] == "ended"
    assert desk.add() == [None]
    with pytest.raises(RefusedError, match="already"):
        desk.set(1, 9)
    with pytest.raises(NotFound):
        desk.decide(lambda host, grant, now: setting.stop(host.ranges, "none", by))


def test_warnings_come_once_each_time_they_are_reached(desk: Desk) -> None:
    desk.set(1, 20)
    desk.add(15)
    desk.tend()
    assert desk.host.ranges.told() == []
    said = []
    for _ in range(5):
        desk.add()
        desk.tend()
        desk.tend()
        said += desk.host.ranges.told()
    assert [text.split(":")[0] for text in said] == [
        "80 % of the patient numbers of Jena are given, 4 are left",
        "95 % of the patient numbers of Jena are given, 1 are left",
        "Jena has no patient number left. Patients are created all the same, and get their numbers by themselves as "
        "soon as there are some",
    ]
    desk.set(30, 31, spare=True)
    desk.tend()
    desk.tend()
    [spare] = desk.host.ranges.told()
    assert spare.startswith("Jena gives patient numbers of its spare range, 2 are left")
    desk.set(40, 139)
    desk.add(82)
    desk.tend()
    [again] = desk.host.ranges.told()
    assert again.startswith("85 %") and desk.status()["numbers"]["warnings"] == [again]


def test_more_ranges_than_a_practice_has_are_not_used(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ranges_max", 2)
    desk.set(1, 1)
    desk.set(2, 2)
    with pytest.raises(RefusedError, match="no more are kept"):
        desk.set(3, 3)
    monkeypatch.setattr(limits, "ranges_max", 1)
    assert desk.add() == [None], "patients are created all the same"
    desk.tend()
    assert "more than 1 ranges" in desk.status()["numbers"]["warnings"][-1]
