"""S18: the holder's answer is lost after it took the number: asking again gives the same number.

The number is part of the holder's log, together with the invoice; so it is not lost with an answer, nor with the
process that gave it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from crdtsync import AuthorityUnreachable
from tests.billing import PATTERN, explained, invoice, number_of
from tests.scenarios.processes import Practice, Server
from tests.scenarios.test_s26_kill_nine import Victim
from tests.sites import agree, mesh, practice

pytestmark = pytest.mark.anyio


async def test_the_number_is_there_when_it_is_asked_for_again(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        await jena.add_series("R1", PATTERN)
        record = await invoice(weimar)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        with pytest.raises(AuthorityUnreachable):
            await weimar.issue(record, wait=0.0)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        # The link has gone: the holder may have given a number, and Weimar may not have heard of it.
        async with mesh(jena, weimar):
            told = await weimar.issue(record)
            await agree(jena, weimar)
        assert await jena.issue(record) == await weimar.issue(record) == told
        assert await number_of(jena, record) == told["number"]
        assert [line["invoice"] for line in await explained(weimar)] == [record]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Practice]:
    made = Practice(tmp_path)
    yield made
    made.close()


def ask_to_issue(server: Server, record: str) -> dict[str, object]:
    told: dict[str, object] = server.ask(
        "invoice issue", invoice=record, series="R1", stand_in=False, wait=10.0, author="empfang", reason=""
    )
    return told


def killed_while_issuing(practice: Practice, *, seed: int, invoices: int) -> None:
    """kill -9, aimed at the moment at which a number is written: it stands with its invoice, or is not given."""
    victim = Victim(practice, seed)
    about = {"stands_in_for": None, "author": "", "reason": "", "start": 1, "holder": None}
    victim.ask("series add", name="R1", pattern="R1-{n}", **about)
    told: dict[str, object] = {}
    for n in range(invoices):
        record = victim.jena.write("invoice", recipient=f"patient {n}", status="draft")
        given = victim.kill_while(lambda server, record=record: ask_to_issue(server, record), soon=n % 2 == 0)  # type: ignore[misc]
        told[record] = ask_to_issue(victim.jena, record)
        assert given in ([], [told[record]])
        assert ask_to_issue(victim.jena, record) == told[record]
    lines = victim.ask("series audit", name="R1")
    assert {line["invoice"]: line["number"] for line in lines} == {
        record: each["number"]
        for record, each in told.items()  # type: ignore[index]
    }
    assert [line["n"] for line in lines] == list(range(1, invoices + 1)), "no gap, and none twice"
    assert victim.cut_short, "it never died in the middle"


def test_kill_nine_while_issuing(processes: Practice) -> None:
    killed_while_issuing(processes, seed=random.Random(18).randrange(1 << 32), invoices=3)


@pytest.mark.slow
def test_kill_nine_while_issuing_again_and_again(processes: Practice) -> None:
    killed_while_issuing(processes, seed=18, invoices=20)
