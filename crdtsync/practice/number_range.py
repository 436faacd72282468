"""Ranges of patient numbers: which site gives which."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from crdtsync.documents import Entries, Record, Value, append_only, flag_on_wins, once, register


class NumberBlock(Value):
    """Numbers that a workstation gives, so that it creates patients while no server is there."""

    billing: ClassVar[bool] = True
    replica: str
    first: int
    last: int
    at: AwareDatetime | None = None


class RangeClosing(Value):
    """The owner has lost some of what it wrote: numbers may have been given that nobody knows of."""

    billing: ClassVar[bool] = True
    key: str
    replica: str
    at: AwareDatetime | None = None


class RangeRelease(Value):
    """A person says that the rest may be given, above `since`, by `replica`. `closings` names what this answers;
    `step` is higher than that of every release that was known."""

    billing: ClassVar[bool] = True
    step: int
    replica: str
    since: int
    closings: tuple[str, ...] = ()
    author: str = ""
    reason: str = ""
    at: AwareDatetime | None = None


class NumberRange(Record, kind="number_range"):
    """The numbers `first` to `last`, which one replica gives: see `crdtsync.authority.ranges`.

    Written by `range set`, `range release` and `range stop`, and by the replica that gives the numbers: a plain
    transaction that makes or changes one is refused. `given` is the last number given, and goes up only.
    """

    billing: ClassVar[bool] = True
    indexes: ClassVar[tuple[str, ...]] = ("numbers",)

    numbers: Literal["patient"] | None = once()
    site: str | None = once()
    replica: str | None = once()
    first: int | None = once()
    last: int | None = once()
    spare: bool | None = once()
    set_by: str | None = once()
    set_at: AwareDatetime | None = once()
    given: int | None = register(severity="high")
    blocks: Entries[NumberBlock] = append_only()
    closings: Entries[RangeClosing] = append_only()
    releases: Entries[RangeRelease] = append_only()
    stopped: bool = flag_on_wins()
