"""Whether numbers may be given now, and transactions that are decided when they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdtsync.engine import WriteGrant, WriteRequest
from crdtsync.errors import RefusedError
from crdtsync.host import Deciding, Host
from crdtsync.numbers import CLOSED
from crdtsync.storage import continuity

from .test_host import Machine, request


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def started_anew(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(continuity, "boot_session", lambda: "another start of the machine")
    return machine.host()


def test_a_new_replica_and_one_that_provably_goes_on_give_numbers(machine: Machine) -> None:
    host = machine.host()
    assert host.numbers.refusal(machine.grant()) == ""
    host.write([request(1)], machine.grant())
    host.close()
    host = machine.host()
    assert host.continued and host.numbers.refusal(machine.grant()) == ""


def test_a_fresh_boot_waits_until_it_is_confirmed_whatever_is_started_in_between(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = machine.host()
    host.write([request(1)], machine.grant())
    host.close()
    host = started_anew(machine, monkeypatch)
    assert "recover DIR --alone" in host.numbers.refusal(machine.grant())
    host.write([request(2)], machine.grant())
    host.close()
    host = machine.host()
    assert host.continued and host.numbers.unconfirmed
    host.numbers.confirm()
    assert host.numbers.refusal(machine.grant()) == ""
    host.close()
    assert not machine.host().numbers.unconfirmed


def test_a_copy_among_copies_gives_none(machine: Machine) -> None:
    grant = machine.grant()
    assert "succeed" in machine.host().numbers.refusal(WriteGrant(grant.members, grant.epoch, suspended=True))


def test_commits_of_ours_that_others_bring_close_ranges_and_series(machine: Machine) -> None:
    host = machine.host()
    older = machine.store.copy()
    [outcome], _, _ = host.write([request(1)], machine.grant())
    host.close()
    machine.store = older
    host = machine.host()
    assert not host.numbers.ranges_closed
    host.append([(commit, True) for commit in outcome.commits], outcome.keys)
    assert host.numbers.ranges_closed and host.numbers.series_closed
    assert {name: machine.store.meta(name) for name in CLOSED} == CLOSED


def test_what_is_decided_sees_what_was_written_before_it_in_the_same_group(machine: Machine) -> None:
    host = machine.host()
    seen: list[int] = []

    def decide(host: Host, grant: WriteGrant, now_ms: int) -> WriteRequest:
        seen.append(host.engine.digest()[1])
        return request(10 + len(seen))

    outcomes, view, _ = host.write([request(1), Deciding(decide), request(2), Deciding(decide)], machine.grant())
    assert seen == [1, 3] and view.records == 4
    assert [outcome.commit and outcome.commit.id.sequence for outcome in outcomes] == [1, 2, 3, 4]


def test_what_is_refused_or_decides_nothing_leaves_the_rest(machine: Machine) -> None:
    host = machine.host()

    def refuse(host: Host, grant: WriteGrant, now_ms: int) -> WriteRequest:
        raise RefusedError("not now")

    outcomes, view, _ = host.write(
        [Deciding(refuse), request(1), Deciding(lambda host, grant, now: None)], machine.grant()
    )
    assert isinstance(outcomes[0].error, RefusedError) and view.records == 1
    assert outcomes[1].commits and not outcomes[2].commits and outcomes[2].error is None


def test_a_log_that_cannot_go_on_amid_a_group_refuses_the_rest_of_it_only(machine: Machine) -> None:
    host = machine.host()
    grant = machine.grant()

    def spoil(host: Host, grant: WriteGrant, now_ms: int) -> WriteRequest:
        host.engine.open_boot()
        host.engine._own.writer = None
        return request(2)

    outcomes, view, _ = host.write([request(1), Deciding(spoil)], grant)
    assert outcomes[0].commits and isinstance(outcomes[1].error, RefusedError) and view.records == 1


def test_numbers_in_logs_that_count_nowhere_any_more_close_ranges_and_series_once(machine: Machine) -> None:
    numbers = machine.host().numbers
    numbers.left_out(0)
    assert not numbers.series_closed
    numbers.left_out(1)
    assert numbers.ranges_closed and numbers.series_closed
    machine.store.set_meta({"numbers.series_closed": None})
    numbers.left_out(1)
    assert not numbers.series_closed, "known, and seen to"
    numbers.left_out(2)
    assert numbers.series_closed
    numbers.left_out(2, 9)
    assert numbers.refusal(machine.grant()) == ""
    numbers.left_out(3, 9)
    assert "somebody else may have its keys" in numbers.refusal(machine.grant())
