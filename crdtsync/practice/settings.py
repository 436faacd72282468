"""What a practice sets up for itself: settings, templates and tasks."""

from __future__ import annotations

import datetime
from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime

from crdtsync.documents import (
    Link,
    Record,
    Text,
    Value,
    Versions,
    flag_off_wins,
    flag_on_wins,
    latest,
    once,
    register,
    text,
    versions,
)

Scope = Literal["practice", "site", "workstation", "user"]


class Setting(Record, kind="setting"):
    """A setting. Its record id is the application's choice, for example derived from scope and key, so that two sites
    which set one apart set the same one."""

    indexes: ClassVar[tuple[str, ...]] = ("key",)

    key: str | None = once()
    scope: Scope | None = once()
    value: Any = latest()
    permission: bool = flag_off_wins()


class TemplateVersion(Value):
    """A released state of a template."""

    body: str | None = None
    author: str | None = None
    at: AwareDatetime | None = None
    reason: str | None = None


class Template(Record, kind="template"):
    """A form or a letter to be filled in (FHIR Questionnaire): `body` is typed together, versions are released."""

    indexes: ClassVar[tuple[str, ...]] = ("name",)

    name: str | None = register()
    type: str | None = once()
    body: Text = text()
    versions: Versions[TemplateVersion] = versions()


class Task(Record, kind="task"):
    """Something to be done (FHIR Task). Done stays done."""

    indexes: ClassVar[tuple[str, ...]] = ("due",)

    title: str | None = register()
    patient: Link | None = register()
    assignee: str | None = register()
    due: datetime.date | None = register()
    note: Text = text()
    done: bool = flag_on_wins()
