"""Letters, scans and other files of a patient."""

from __future__ import annotations

from typing import ClassVar

from pydantic import AwareDatetime

from crdtsync.documents import Link, Record, Value, Versions, flag_on_wins, once, register, versions


class AttachmentVersion(Value):
    """One state of the file: its id, what it is, its size in bytes, and who brought it when."""

    clinical: ClassVar[bool] = True
    file: str | None = None
    media_type: str | None = None
    size: int | None = None
    author: str | None = None
    at: AwareDatetime | None = None


class Attachment(Record, kind="attachment"):
    """A file that belongs to a patient (FHIR DocumentReference). A scan that is made anew is a further version."""

    clinical: ClassVar[bool] = True

    patient: Link | None = once()
    title: str | None = register()
    type: str | None = register()
    versions: Versions[AttachmentVersion] = versions()
    retracted: bool = flag_on_wins()
