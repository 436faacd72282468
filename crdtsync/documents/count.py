"""The value of a `counter` field: a sum to which everybody adds, and from which everybody subtracts (a PN-counter).

Each log keeps, in a slot of its own, the two sums of all that it ever added and subtracted; the counter is the
difference over all logs. So nothing is counted twice and nothing lost, whoever saw whom: the new sums are worked out
from the slot as it stands when the commit is written, not as it was read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from crdtsync import limits
from crdtsync.errors import BadValue


class Counter:
    """A whole number that is changed by adding and subtracting; what others add unseen is added too.

    Reads as an `int`: `int(counter)`, `counter == 3`, `counter.value`.
    """

    __slots__ = ("_base", "_minus", "_plus")

    def __init__(self, value: int = 0) -> None:
        """A new counter, to which `value` was added already. Raises BadValue for what is no whole number."""
        self._base = self._plus = self._minus = 0
        self.assign(value)

    @classmethod
    def as_read(cls, base: int) -> Counter:
        """The counter as a document holds it."""
        made = cls()
        made._base = base
        return made

    @property
    def value(self) -> int:
        """The sum as it is shown here, with what was added and subtracted since it was read."""
        return self._base + self._plus - self._minus

    def add(self, number: int = 1) -> None:
        """Add a number that is not negative. Raises BadValue."""
        self._plus += _amount(number)

    def subtract(self, number: int = 1) -> None:
        """Subtract a number that is not negative. Raises BadValue."""
        self._minus += _amount(number)

    def assign(self, value: Any) -> None:
        """Add or subtract what is missing to `value` (None: 0); what others add unseen is added to it, too.

        Raises BadValue for what is no whole number.
        """
        wanted = 0 if value is None else int(value) if isinstance(value, Counter) else value
        if type(wanted) is not int:
            raise BadValue("counter: expected a whole number")
        missing = wanted - self.value
        if missing < 0:
            self.subtract(-missing)
        else:
            self.add(missing)

    def edit(self) -> tuple[int, int] | None:
        """What was added and what subtracted since reading; None when nothing was."""
        return (self._plus, self._minus) if self._plus or self._minus else None

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        return self.value == int(other) if isinstance(other, Counter | int) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes in place, as a list does

    def __repr__(self) -> str:
        return f"Counter({self.value})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._accept, serialization=core_schema.plain_serializer_function_ser_schema(int)
        )

    @classmethod
    def _accept(cls, value: Any) -> Counter:
        if isinstance(value, Counter):
            return value
        if value is None or type(value) is int:
            return cls(value or 0)
        raise ValueError("expected a whole number")


def counted(values: Iterable[Any]) -> tuple[int, int]:
    """The sums of what slots say was added and subtracted. What no counter writes counts as nothing (L6)."""
    plus = minus = 0
    for value in values:
        if type(value) is list and len(value) == 2 and all(_counts(part) for part in value):
            plus += value[0]
            minus += value[1]
    return plus, minus


def raised(values: Iterable[Any], plus: int, minus: int) -> list[int]:
    """The sums of one log after it added and subtracted so much more. Raises BadValue beyond `limits.counter_max`."""
    before = counted(values)
    sums = [before[0] + plus, before[1] + minus]
    if max(sums) > limits.counter_max:
        raise BadValue(f"counter: a site counts up to {limits.counter_max}; keep larger numbers in another field")
    return sums


def _counts(part: Any) -> bool:
    return type(part) is int and 0 <= part <= limits.counter_max


def _amount(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise BadValue("counter: expected a whole number that is not negative; subtract() takes away")
    return number
