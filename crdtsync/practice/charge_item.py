"""Services that are to be billed."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from crdtsync.documents import Link, Record, Value, flag_on_wins, once, register

ChargeSystem = Literal["EBM", "GOÄ", "HZV", "text"]


class ChargeCode(Value):
    """What a service is billed as: the fee schedule, and the code there (for `text`, the words)."""

    billing: ClassVar[bool] = True
    system: ChargeSystem | None = None
    code: str | None = None


class ChargeItem(Record, kind="charge_item"):
    """One service (FHIR ChargeItem). It is billed once: `billed_in` names the quarter's bundle or the invoice."""

    billing: ClassVar[bool] = True
    indexes: ClassVar[tuple[str, ...]] = ("code_code", "performed_at", "billed_in")

    patient: Link | None = once()
    visit: Link | None = register()
    code: ChargeCode | None = register(severity="high")
    count: int | None = register(severity="high")
    factor: float | None = register(severity="high")
    reason: str | None = register()
    performed_at: AwareDatetime | None = once()
    practitioner: str | None = once()
    billed_in: str | None = once()
    retracted: bool = flag_on_wins()
