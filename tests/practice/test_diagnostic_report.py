import datetime
from typing import Any

import pytest

from crdtsync.documents import fields_json
from crdtsync.errors import BadValue
from crdtsync.practice import DiagnosticReport

AT = datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC)


def test_the_same_report_at_two_sites_is_one_and_findings_add_up(apart: Any) -> None:
    same = {"laboratory": "Labor Jena", "order_number": "A-17", "issued_at": AT, "files": [{"file": "f1", "size": 7}]}
    found = apart(
        DiagnosticReport(status="preliminary"),
        {**same, "status": "final", "observations": ["o1", "o2"]},
        {**same, "observations": ["o2", "o3"], "files": [{"file": "f1", "size": 7}, "f2"]},
    )
    assert (found.status, found.conflicts) == ("final", {})
    assert sorted(found.observations) == ["o1", "o2", "o3"]
    assert fields_json(found)["files"] == [{"file": "f1", "size": 7}, "f2"]
    with pytest.raises(BadValue, match="stays"):
        found.files.remove("f2")
