"""Persons: patients whose records were linked, because they are of one human being.

    await site.link(first, second, author="dr.weber", reason="same card, same face")
    [erika] = await site.persons(family_name="Muster")
    erika.patients                              # all records of hers, the least id first
    await site.find(ChartEntry, patient=first)  # entries of both
    await site.unlink(first, second, author="dr.weber")

Linking moves and merges nothing: one of the records says in `same_as` that it is the same as the other, and takes that
back when they are unlinked. Links hold in both directions and through third records; the person's id is the least of
its patients' ids, at every site alike. What two sites link unseen of each other joins; a link that somebody made
without having seen its removal stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from crdtsync.errors import NotFound, RefusedError, UsageError
from crdtsync.ids import CommitId, RecordId
from crdtsync.practice import Patient
from crdtsync.query import Questions
from crdtsync.transaction import Transaction

Ask = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Records(Protocol):
    """The records of a site, as this page needs them."""

    async def get(self, kind: type[Patient], record: str) -> Patient:
        """One patient. Raises NotFound."""

    async def find(self, kind: type[Patient], **equals: Any) -> Sequence[Patient]:
        """Patients with these values."""

    def transaction(
        self, *, author: str = "", reason: str = "", workstation: str = "", purpose: str = ""
    ) -> AbstractAsyncContextManager[Transaction]:
        """Write records."""


@dataclass(frozen=True, slots=True)
class Person:
    """One human being: `patients` are the ids of all records of theirs that are here, in order; `id` is the first."""

    patients: tuple[RecordId, ...]

    @property
    def id(self) -> RecordId:
        """The least id of the person's patients."""
        return self.patients[0]


@dataclass(frozen=True, slots=True)
class Linking:
    """What came of linking or unlinking: the persons that the two patients are now, one or two, and the commit that
    says so; None where it had been said already."""

    persons: tuple[Person, ...]
    commit: CommitId | None


class Persons:
    """The persons of a site: `await site.persons(…)`. `ask` gives answers that are whole, and may wait for that."""

    def __init__(self, records: Records, questions: Questions, ask: Ask) -> None:
        self._records = records
        self._questions = questions
        self._ask = ask

    async def __call__(self, *, linked: bool = False, limit: int | None = None, **equals: Any) -> list[Person]:
        """Persons, by their ids: those of whom some record has these field values; without values, all.

        `linked`: only those who have several records. Raises UnknownField, BadValue.
        """
        if not equals:
            every = await self._ask(lambda: self._questions.persons(linked, limit))
            return [Person(tuple(each)) for each in every]
        found: dict[RecordId, Person] = {}
        for patient in await self._records.find(Patient, **equals):
            person = Person(await self.linked(patient.id))
            if len(person.patients) > 1 or not linked:
                found[person.id] = person
        return [found[person] for person in sorted(found)][:limit]

    async def of(self, patient: str) -> Person:
        """The person of a patient. Raises NotFound where there is no such patient here."""
        await self._patient(patient)
        return Person(await self.linked(patient))

    async def linked(self, record: str) -> tuple[RecordId, ...]:
        """The ids of all patients that are one person with this one, itself included, in order: for whoever follows
        links through histories or files. Of what is no patient, or not here: itself alone."""
        return tuple(await self._ask(lambda: self._questions.same_person(RecordId(record))))

    async def link(self, one: str, other: str, **about: str) -> Linking:
        """See `Site.link`."""
        if one == other:
            raise UsageError("a patient is linked with another one, not with itself; name two records")
        for patient in (one, other):
            await self._patient(patient)
        if not await self._between(one, other):
            commit = await self._say([(min(one, other), max(one, other), True)], about)
            return Linking((await self.of(one),), commit)
        return Linking((await self.of(one),), None)

    async def unlink(self, one: str, other: str, **about: str) -> Linking:
        """See `Site.unlink`."""
        said = await self._between(one, other)
        if not said:
            await self._refuse_unlinking(one, other)
        commit = await self._say([(patient, named, False) for patient, named in said], about)
        persons = {person.id: person for person in [Person(await self.linked(each)) for each in (one, other)]}
        return Linking(tuple(persons[each] for each in sorted(persons)), commit)

    async def path(self, one: str, other: str) -> list[RecordId]:
        """The fewest records over which two are linked, both included; empty when they are not linked."""
        together = await self.linked(one)
        near: dict[str, list[RecordId]] = {}
        for first, second in await self._links(together):
            near.setdefault(first, []).append(second)
            near.setdefault(second, []).append(first)
        ways = deque([[RecordId(one)]])
        seen = {one}
        while ways:
            way = ways.popleft()
            if way[-1] == other:
                return way
            for following in sorted(near.get(way[-1], ())):
                if following not in seen:
                    seen.add(following)
                    ways.append([*way, following])
        return []

    async def _refuse_unlinking(self, one: str, other: str) -> None:
        way = await self.path(one, other)
        if not way:
            raise NotFound(f"{one} and {other} are not linked; `persons` tells which patients are")
        pairs = ", or ".join(f"{first} from {second}" for first, second in pairwise(way))
        raise RefusedError(f"{one} and {other} are linked through others, and not with each other: unlink {pairs}")

    async def _links(self, patients: Sequence[str]) -> list[tuple[RecordId, RecordId]]:
        these = [RecordId(each) for each in patients]
        return list(await self._ask(lambda: self._questions.linked(these)))

    async def _between(self, one: str, other: str) -> list[tuple[RecordId, RecordId]]:
        """What the two say of each other."""
        return [link for link in await self._links([one]) if set(link) == {one, other}]

    async def _say(self, links: Iterable[tuple[str, str, bool]], about: dict[str, str]) -> CommitId | None:
        """Write links or take them back, in one transaction."""
        async with self._records.transaction(**about) as tx:
            for patient, other, same in links:
                record = await tx.get(Patient, patient)
                if same:
                    record.same_as.add(RecordId(other))
                elif other in record.same_as:
                    record.same_as.remove(RecordId(other))
        return tx.commit

    async def _patient(self, patient: str) -> None:
        await self._records.get(Patient, patient)
