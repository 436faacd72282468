from typing import Any

from crdtsync.documents import table_of
from crdtsync.practice import Attachment, AttachmentVersion


def test_two_scans_made_apart_are_both_there(apart: Any) -> None:
    first = AttachmentVersion(file="f1", media_type="image/png", size=10)
    made = Attachment(title="letter", versions=[first])
    found = apart(made, {"versions": {"file": "f2", "size": 20}}, {"versions": {"file": "f3", "size": 30}})
    assert [head.value.file for head in found.versions.heads] == ["f3", "f2"]
    assert {head.parents for head in found.versions.heads} == {(next(iter(found.versions)).id,)}
    assert next(iter(found.versions)).value == first
    assert table_of("attachment")[0]["versions_size"] == "INTEGER"
