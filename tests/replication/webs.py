"""Cores in a web of lines, pumped by hand: for what travels over several links."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count

from crdtsync.ids import AskId, PracticeId, ReplicaId
from crdtsync.replication import effects, events, flood, messages
from tests.replication import people
from tests.replication.cores import Site

Fate = Callable[[messages.Message], int]
"""How many copies of a message come in."""


def once(message: messages.Message) -> int:
    """Nothing is lost."""
    return 1


class Web:
    """Sites of one practice. `lines` are pairs of names that are linked; `roles` names those that are no sites."""

    def __init__(self, names: str, lines: Iterable[str] = (), roles: Mapping[str, str] | None = None) -> None:
        book = people.Book(people.founding(names[0]))
        for name in names[1:]:
            role = (roles or {}).get(name, "site")
            book.adds(names[0], name, role, role == "site")
        self.practice: PracticeId = book.practice
        self.sites = {name: Site(name, book.copy()) for name in names}
        self.links: dict[str, int] = {}
        self.said: list[tuple[str, str, messages.Message]] = []
        """Sender, receiver and what was put on a line, questions and answers only."""
        self._numbers = count(1)
        self._asks = count(1)
        for line in lines:
            self.up(line)
        self.carry()

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]

    # -- lines -------------------------------------------------------------------------------------------------------

    def up(self, line: str) -> None:
        """A link comes to stand, and nothing has been said yet."""
        number = self.links[line] = next(self._numbers)
        one, other = line
        self[one].link(number, other, dialled=True)
        self[other].link(number, one, dialled=False)

    def down(self, line: str, *, noticed: Iterable[str] | None = None) -> None:
        """A link ends; only those in `noticed` hear of it, by default both."""
        number = self.links.pop(line)
        for name in line:
            self[name].sent.pop(number, None)
            if noticed is None or name in noticed:
                self[name].handle(events.LinkDown(number))

    def carry(self, fate: Fate = once, rounds: int = 200) -> None:
        """Carry messages until nobody speaks, questions and answers as often as their fate says."""
        for _ in range(rounds):
            if not self.step(fate):
                return
        raise AssertionError("they never stop talking")

    def step(self, fate: Fate = once) -> bool:
        """Carry what is on the lines now. Whether there was anything."""
        moved = False
        for line, number in list(self.links.items()):
            for sender, receiver in (line, line[::-1]):
                queue = self[sender].sent.get(number)
                while queue:
                    moved = True
                    self._bring(sender, receiver, number, queue.popleft(), fate)
        return moved

    def _bring(self, sender: str, receiver: str, number: int, data: bytes, fate: Fate) -> None:
        message = messages.decode(data)
        assert message is not None
        copies = 1
        if isinstance(message, messages.Ask | messages.Answer | messages.Cancel):
            self.said.append((sender, receiver, message))
            copies = fate(message)
        for _ in range(copies):
            self[receiver].handle(events.Received(number, data))

    def later(self, seconds: float) -> None:
        """Time passes for all."""
        for site in self.sites.values():
            site.later(seconds)

    # -- questions ---------------------------------------------------------------------------------------------------

    def ask(self, asker: str, target: str, text: str = "who?", life_ms: int = 10_000) -> AskId:
        """`asker` asks; nothing is carried yet."""
        ask = AskId(people.digest("ask", str(next(self._asks)), size=16))
        self[asker].handle(self.ask_out(ask, asker, target, text, life_ms))
        return ask

    def ask_out(self, ask: AskId, asker: str, target: str, text: str, life_ms: int) -> events.AskOut:
        body, to = text.encode(), people.replica(target)
        signed = flood.signed_ask(self.practice, ask, people.replica(asker), to, body)
        return events.AskOut(ask, to, body, people.signer(asker)(signed), life_ms)

    def message(
        self, ask: AskId, asker: str, target: str, text: str = "who?", *, hops: int = 8, life_ms: int = 10_000
    ) -> messages.Ask:
        """What `asker` says, as any link could bring it."""
        event = self.ask_out(ask, asker, target, text, life_ms)
        return messages.Ask(ask, people.replica(asker), event.target, hops, life_ms, event.body, event.signature)

    def answer(self, target: str, asker: str, ask: AskId, text: str) -> None:
        """The application at `target` answers."""
        body, to = text.encode(), people.replica(asker)
        signed = flood.signed_answer(self.practice, ask, people.replica(target), to, body)
        self[target].handle(events.AnswerOut(ask, to, body, people.signer(target)(signed)))

    def cancel(self, asker: str, target: str, ask: AskId) -> None:
        """The application at `asker` wants no answer any more."""
        signed = flood.signed_cancel(self.practice, ask, people.replica(asker), people.replica(target))
        self[asker].handle(events.CancelOut(ask, people.signer(asker)(signed)))

    def asked(self, name: str) -> list[tuple[AskId, str]]:
        """What the application at `name` was asked, and by whom."""
        return [(e.id, self.name_of(e.origin)) for e in self[name].seen if isinstance(e, effects.Asked)]

    def answered(self, name: str) -> list[tuple[AskId, bytes | None]]:
        """What the application at `name` was answered."""
        return [(e.id, e.body) for e in self[name].seen if isinstance(e, effects.Answered)]

    def withdrawn(self, name: str) -> list[AskId]:
        """Questions that the application at `name` may leave."""
        return [e.id for e in self[name].seen if isinstance(e, effects.Withdrawn)]

    def ways(self, kind: type[messages.Message]) -> list[str]:
        """Over which lines messages of a kind went, in order: sender and receiver."""
        return [sender + receiver for sender, receiver, message in self.said if isinstance(message, kind)]

    def name_of(self, replica: ReplicaId) -> str:
        return next(name for name in self.sites if people.replica(name) == replica)
