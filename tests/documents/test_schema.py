import datetime
from typing import Annotated, Any, Literal, NewType, Optional

import pytest
from pydantic import AfterValidator, AwareDatetime

from crdtsync.documents import Link, Record, register
from crdtsync.documents.schema import base_type, is_written
from crdtsync.errors import BadValue
from crdtsync.ids import RecordId

Name = NewType("Name", str)


@pytest.mark.parametrize(
    ("annotation", "base", "written"),
    [
        (str | None, str, True),
        (Optional[int], int, False),  # noqa: UP045  # the older spelling is allowed too
        (Link | None, RecordId, True),
        (Annotated[str, AfterValidator(str.upper)], str, True),
        (Name, str, True),
        (Literal["a", "b"] | None, Literal["a", "b"], True),
        (Literal[1, 2], Literal[1, 2], False),
        (datetime.date | None, datetime.date, True),
        (AwareDatetime | None, datetime.datetime, True),
        (str | int, Any, False),
        (Any, Any, False),
    ],
)
def test_types_under_their_wrappings(annotation: Any, base: Any, written: bool) -> None:
    assert base_type(annotation) == base
    assert is_written(base) is written


def test_errors_name_the_place_and_never_the_value() -> None:
    class Thing(Record, kind="test_schema_thing"):
        mapping: dict[str, list[int]] | None = register()

    with pytest.raises(BadValue) as caught:
        Thing().mapping = {"place": [1, "secret"]}  # type: ignore[list-item]  # what a test of the refusal needs
    assert str(caught.value).startswith("test_schema_thing.mapping (place.1): ")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
