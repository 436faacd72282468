from typing import Any

import pytest

from crdtsync.documents import Entries
from crdtsync.errors import BadValue
from crdtsync.practice import Invoice, InvoiceLine, Payment


def test_lines_of_two_sites_add_up_in_order(apart: Any) -> None:
    first = InvoiceLine(code="1", amount_cents=1072)
    made = Invoice(lines=Entries([first]), status="draft")
    found = apart(made, {"lines": [first, InvoiceLine(code="5", amount_cents=466)]}, {"status": "ready"})
    assert [line.amount_cents for line in found.lines] == [1072, 466]
    assert (found.status, found.conflicts) == ("ready", {})


def test_money_is_whole_cents() -> None:
    with pytest.raises(BadValue, match="integer"):
        Invoice().assign("lines", [{"code": "1", "amount_cents": 10.5}])


def test_two_numbers_are_a_conflict(apart: Any) -> None:
    found = apart(Invoice(), {"number": "R1-1"}, {"number": "R2-1"})
    assert sorted(found.conflicts["number"]) == ["R1-1", "R2-1"]


def test_a_payment_that_two_sites_enter_is_one_and_stays(apart: Any) -> None:
    paid = Payment(amount_cents=1072, received_on="2026-03-02", reference="bank 17")
    found = apart(Invoice(), {"payments": [paid]}, {"payments": [paid, {"amount_cents": 500}]})
    assert sum(payment.amount_cents for payment in found.payments) == 1572
    with pytest.raises(BadValue, match="stays"):
        found.payments.remove(paid)
    with pytest.raises(BadValue, match="amount_cents"):
        found.payments.add({"reference": "nothing"})
