from typing import Any

import pytest

from crdtsync.documents import table_of
from crdtsync.errors import BadValue
from crdtsync.practice import ChargeCode, ChargeItem


def test_a_service_is_billed_once_and_a_retraction_stays(apart: Any) -> None:
    made = ChargeItem(code=ChargeCode(system="GOÄ", code="5"), count=1, factor=2.3)
    found = apart(made, {"billed_in": "2026-Q1"}, {"billed_in": "R1-2026-00001", "retracted": True})
    assert sorted(found.conflicts["billed_in"]) == ["2026-Q1", "R1-2026-00001"]
    assert found.retracted is True


def test_code_and_factor_of_two_sites_are_both_kept(apart: Any) -> None:
    made = ChargeItem(code=ChargeCode(system="GOÄ", code="5"))
    found = apart(made, {"code": {"system": "EBM", "code": "03000"}}, {"code": {"system": "text", "code": "Attest"}})
    assert {value.system for value in found.conflicts["code"]} == {"EBM", "text"}
    with pytest.raises(BadValue, match="system"):
        found.assign("code", {"system": "BEMA", "code": "1"})
    assert {"code_system", "code_code", "billed_in"} <= set(table_of("charge_item")[0])
