"""What format 1 wrote and said, this version opens and understands. The files are never made anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from crdtsync import Site
from crdtsync.documents import conflicts_json, fields_json
from crdtsync.founding import verifier
from crdtsync.ids import Head, LogId, PracticeId, ReplicaId, from_base32, log_text
from crdtsync.practice import Patient
from crdtsync.replication import effects, events, messages
from crdtsync.replication.commit import Commit
from crdtsync.replication.effects import Effect
from crdtsync.replication.membership import Membership
from crdtsync.replication.replica import Replica

from .sites import add

pytestmark = pytest.mark.anyio
FORMAT = Path(__file__).parent / "fixtures" / "format_1"


def told(name: str) -> dict[str, Any]:
    return dict(json.loads((FORMAT / f"{name}.json").read_text(encoding="utf-8")))


def within(expected: Any, found: Any) -> bool:
    """Whether all that was written is still shown; later versions may show more."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(key in found and within(expected[key], found[key]) for key in expected)
    return bool(expected == found)


async def test_the_folder_opens(tmp_path: Path) -> None:
    expected = told("expected")
    shutil.copytree(FORMAT / "site", tmp_path / "site")
    async with Site.open(tmp_path / "site", passphrase=expected["passphrase"]) as site:
        assert (site.practice, site.name) == (expected["practice"], expected["site"])
        assert within(expected["members"], site.members()) or all(map(within, expected["members"], site.members()))
        assert await site.digest() == {"digest": expected["digest"], "records": len(expected["records"])}
        assert (await site.status())["frontier"] == expected["frontier"]
        for written in expected["records"]:
            record = await site.get(written["kind"], written["id"])
            assert within(written["fields"], fields_json(record)), written["kind"]
            assert within(written["conflicts"], conflicts_json(record)), written["kind"]
        assert all(map(within, expected["conflicts"], await site.conflicts()))
        assert len(await site.conflicts()) == len(expected["conflicts"]) == 1
        assert await site.verify() == {
            "ok": True,
            "commits": sum(expected["frontier"].values()),
            "records": len(expected["records"]),
            "problems": [],
        }
        await add(site, Patient(family_name="written by a later version"))
        assert (await site.verify())["ok"]


class Listener:
    """A core that hears one side of the recorded conversation, and the disk below it. It writes nothing itself."""

    def __init__(self, talk: dict[str, Any]) -> None:
        self.membership = Membership(verifier())
        for record in talk["members"]:
            self.membership.add(bytes.fromhex(record))
        self.core = Replica(
            practice=PracticeId(from_base32(talk["practice"])),
            replica=ReplicaId(from_base32(talk["replica"])),
            membership=self.membership,
            verify=verifier(),
            frontier={},
            boots={},
        )
        self.peer = ReplicaId(from_base32(talk["peer"]))
        self.stored: list[Commit] = []
        self.sent: list[messages.Message | None] = []
        self.problems: list[Effect] = []
        self.now = 0.0

    def take(self, event: events.Event) -> None:
        self.now += 0.001
        for effect in self.core.handle(self.now, event):
            if isinstance(effect, effects.Store):
                self.stored.extend(commit for commit, _ in effect.commits)
                self.take(events.Stored())
            elif isinstance(effect, effects.StoreMembers):
                self.take(events.MembersStored(effect.records))
            elif isinstance(effect, effects.Send):
                self.sent.append(messages.decode(effect.message))
            elif isinstance(effect, effects.Close | effects.Alarm):
                self.problems.append(effect)

    def hear(self, said: Sequence[bytes]) -> None:
        self.take(events.LinkUp(1, self.peer, True))
        for message in said:
            self.take(events.Received(1, message))


def test_the_conversation_is_understood() -> None:
    """Every message decodes; the commits pass signature, chain and order, and are stored."""
    talk = told("conversation")
    said = [(who, bytes.fromhex(message)) for who, message in talk["messages"]]
    for _, message in said:
        assert messages.decode(message) is not None
    kinds = {type(messages.decode(message)) for _, message in said}
    assert kinds >= {
        messages.Hello,
        messages.Members,
        messages.Records,
        messages.Have,
        messages.Feed,
        messages.Backlog,
        messages.Commits,
    }
    listener = Listener(talk)
    listener.hear([message for who, message in said if who == "jena"])
    # Jena has heard of what Weimar wrote, and the disk of this Weimar is empty: it fetches that first.
    assert [getattr(problem, "kind", problem) for problem in listener.problems] == ["restored"]
    own = log_text(LogId(bytes.fromhex(talk["log"])))
    heard = {log: sequence for log, sequence in talk["frontier"].items() if log != own}
    assert {log_text(log): head.sequence for log, head in listener.core.stored.items()} == heard
    assert len(listener.stored) == sum(heard.values()) == 6
    [jena] = [m for m in listener.membership.state().members.values() if m.name == "Jena"]
    assert jena.addresses == ("jena.example:7443",), "said in the conversation"
    assert any(isinstance(message, messages.Feed) for message in listener.sent)
    assert dict(told_heads(listener)) == dict(listener.core.stored.items())


def told_heads(listener: Listener) -> list[tuple[LogId, Head]]:
    """What was acknowledged in answer, when time has passed."""
    listener.now += 1.0
    listener.take(events.Tick())
    return [head for message in listener.sent if isinstance(message, messages.Have) for head in message.heads]


def test_a_changed_conversation_is_not() -> None:
    """The control: one flipped bit in a commit ends the link."""
    talk = told("conversation")
    said = [bytes.fromhex(message) for who, message in talk["messages"] if who == "jena"]
    place = next(n for n, message in enumerate(said) if isinstance(messages.decode(message), messages.Commits))
    said[place] = said[place][:-5] + bytes([said[place][-5] ^ 1]) + said[place][-4:]
    listener = Listener(talk)
    listener.hear(said)
    assert any(isinstance(problem, effects.Close) for problem in listener.problems)
    assert listener.stored == []


@pytest.mark.parametrize(("name", "message"), told("conversation")["samples"])
def test_every_kind_of_message_decodes(name: str, message: str) -> None:
    decoded = messages.decode(bytes.fromhex(message))
    assert type(decoded).__name__ == name
    assert decoded is not None and messages.encode(decoded).hex() == message


def test_the_samples_are_complete() -> None:
    known = {kind.__name__ for kind in get_args(messages.Message)}
    assert {name for name, _ in told("conversation")["samples"]} <= known
