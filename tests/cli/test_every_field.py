"""`record new`, `set` and `show` take and give back every field of every kind, as written on a command line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import crdtsync.practice as practice
from crdtsync import BadValue, RefusedError, Site
from crdtsync.cli.records import new_here, set_here, show_here
from crdtsync.cli.show import silent
from crdtsync.documents import Record
from tests.sites import create

pytestmark = pytest.mark.anyio
ID = "a" * 26
AT = "2026-03-02T09:00:00Z"
DAY = "2026-03-02"
DRUG = {"name": "Ramipril", "strength": "5 mg", "form": "Tablette", "code": "01234567"}
DOSAGE = {"morning": 1.0, "noon": 0.5, "evening": 0.0, "night": 0.0, "unit": "Stk", "text": "1-½-0", "as_needed": False}
FIELDS: dict[str, dict[str, Any]] = {
    "patient": {
        "number": 10000, "family_name": "Muster", "given_name": "Erika", "title": "Dr.", "birth_date": "1964-08-12",
        "sex": "female", "insurance_number": "A123456780", "phones": ["03641 1"], "emails": ["e@example.org"],
        "address": {"street": "Markt 1", "postal_code": "07743", "city": "Jena", "country": "DE"}, "deceased": True,
        "deceased_on": DAY, "home_site": "Jena", "tags": ["DMP"], "note": "groß", "same_as": [ID], "archived": True,
    },
    "allergy": {
        "patient": ID, "substance": "Penicillin", "criticality": "high", "status": "active",
        "verification": "confirmed", "reaction": "Urtikaria", "noted_on": DAY,
    },
    "condition": {
        "patient": ID, "code": {"icd10": "J20.9", "certainty": "G", "side": "L"}, "text": "Bronchitis", "onset": DAY,
        "status": "active",
    },
    "medication_statement": {
        "patient": ID, "drug": DRUG, "dosage": DOSAGE, "period": {"start": DAY, "end": DAY}, "status": "active",
        "reason": "Hochdruck",
    },
    "immunization": {
        "patient": ID, "vaccine": "MMR", "lot": "A1", "given_on": DAY, "dose_number": 2, "minimum_interval_days": 28,
        "entered_in_error": True,
    },
    "observation": {
        "patient": ID, "code": "8302-2", "value": {"number": 180.0, "text": "groß", "unit": "cm", "range": "150-200"},
        "taken_at": AT, "status": "final", "source_id": "x",
    },
    "visit": {
        "patient": ID, "status": "arrived", "started": AT, "ended": AT, "site": "Jena", "practitioner": "Dr. Weber",
        "room": "1", "reason": "Husten", "appointment": ID,
    },
    "chart_entry": {
        "patient": ID, "visit": ID, "type": "note", "clinical_time": AT, "draft": "Husten",
        "versions": [{"text": "Husten", "codes": ["J20.9"], "files": ["f"], "signed_by": "dr.weber", "signed_at": AT,
                      "reason": "first"}],
        "retracted": True,
    },
    "appointment": {
        "calendar": "Dr. Weber", "slot": {"start": AT, "end": AT, "resources": ["1"]}, "patient": ID, "title": "Husten",
        "status": "booked", "reminders": [{"channel": "sms", "start": AT, "sent_at": AT}], "note": "nüchtern",
    },
    "prescription": {
        "patient": ID, "medication_statement": ID, "status": "active", "issued": [{"at": AT, "how": "printed"}],
        "content": {"drug": DRUG, "dosage": DOSAGE, "quantity": "20", "kind": "GKV"},
    },
    "invoice": {
        "patient": ID, "recipient": "Erika Muster", "status": "draft", "series": "R1", "number": "R1-2026-00001",
        "lines": [{"code": "1", "text": "Beratung", "count": 1, "factor": 2.3, "amount_cents": 1072, "reason": "lang",
                   "date": DAY}],
        "issued_content": {"total": 1072}, "cancels": ID,
        "payments": [{"amount_cents": 1072, "received_on": DAY, "reference": "bank 17"}],
    },
    "template": {
        "name": "Attest", "type": "letter", "body": "Sehr geehrte",
        "versions": [{"body": "Sehr geehrte", "author": "dr.weber", "at": AT, "reason": "first"}],
    },
    "setting": {"key": "printer", "scope": "site", "value": {"tray": 2}, "permission": True},
    "charge_item": {
        "patient": ID, "visit": ID, "code": {"system": "GOÄ", "code": "5"}, "count": 1, "factor": 2.3, "reason": "lang",
        "performed_at": AT, "practitioner": "Dr. Weber", "billed_in": "2026-Q1", "retracted": True,
    },
    "diagnostic_report": {
        "patient": ID, "laboratory": "Labor Jena", "order_number": "A-17", "status": "final", "observations": [ID],
        "files": [{"file": "f", "size": 7}], "issued_at": AT, "source_id": "x",
    },
    "attachment": {
        "patient": ID, "title": "Brief", "type": "letter", "retracted": True,
        "versions": [{"file": "f", "media_type": "application/pdf", "size": 7, "author": "dr.weber", "at": AT}],
    },
    "detected_issue": {
        "patient": ID, "code": "field", "severity": "high", "field": "dosage", "implicated": [ID], "assignee": "anna",
        "comments": [{"author": "anna", "at": AT, "text": "asked"}],
        "acknowledged": [{"author": "anna", "at": AT, "text": "seen"}],
        "dismissed": {"author": "anna", "at": AT, "text": "none"},
        "resolved": {"author": "anna", "at": AT, "text": "called", "values": {"dosage": [1]}, "decided": {"dosage": 1}},
    },
    "task": {
        "title": "anrufen", "patient": ID, "assignee": "empfang", "due": DAY, "note": "bald", "done": True,
    },
}  # fmt: skip


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with create(tmp_path / "jena") as made:
        yield made


BY_VERBS = {"number_range", "series"}
"""Kinds that nobody writes by hand."""


def written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


async def new(site: Site, kind: str, /, **fields: Any) -> str:
    words = {name: written(value) for name, value in fields.items()}
    told = await new_here(site, {"kind": kind, "fields": words, "author": "a", "reason": "r"}, silent)
    return str(told["id"])


async def change(site: Site, record: str, /, **fields: str) -> bool:
    told = await set_here(site, {"id": record, "fields": fields, "author": "a", "reason": "r"}, silent)
    return told["commit"] is not None


async def show(site: Site, record: str) -> dict[str, Any]:
    shown: dict[str, Any] = await show_here(site, {"id": record}, silent)
    json.dumps(shown)
    return shown


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what the program adds to versions."""
    own = {"id", "parents"}
    if isinstance(fields.get("versions"), list):
        bare = [{name: part for name, part in each.items() if name not in own} for each in fields["versions"]]
        fields = {**fields, "versions": bare}
    return fields


def test_every_kind_and_field_is_tried() -> None:
    exported = (getattr(practice, name) for name in practice.__all__)
    models = {model.kind: model for model in exported if issubclass(model, Record)}
    assert {kind: set(fields) for kind, fields in FIELDS.items()} == {
        kind: set(model.model_fields) - {"source", "number_follows"}  # sites set the latter by themselves
        for kind, model in models.items()
        if kind not in BY_VERBS
    }
    assert set(models) >= BY_VERBS


async def test_what_nobody_writes_by_hand_is_refused_with_the_verb_that_does(site: Site) -> None:
    with pytest.raises(RefusedError, match="series add"):
        await new(site, "series", name="R1", pattern="R1-{n}")


async def test_what_was_written_is_shown(site: Site) -> None:
    for kind, fields in FIELDS.items():
        record = await new(site, kind, **fields)
        shown = await show(site, record)
        assert (shown["kind"], shown["conflicts"]) == (kind, {})
        assert plain(shown["fields"]) == fields
        again = {name: written(value) for name, value in shown["fields"].items()}
        assert not await change(site, record, **again), kind


async def test_entries_are_replaced_and_what_is_only_added_is_added(site: Site) -> None:
    invoice = await new(site, "invoice", lines=[{"code": "1"}, {"code": "2"}], payments=[{"amount_cents": 5}])
    await change(site, invoice, lines='[{"code": "2"}, {"code": "3"}]', payments='[{"amount_cents": 7}]')
    fields = (await show(site, invoice))["fields"]
    assert fields["lines"] == [{"code": "2"}, {"code": "3"}]
    assert sorted(payment["amount_cents"] for payment in fields["payments"]) == [5, 7]
    await change(site, invoice, lines="", payments="")
    fields = (await show(site, invoice))["fields"]
    assert "lines" not in fields and len(fields["payments"]) == 2


async def test_versions_are_added_one_by_one_or_as_a_list(site: Site) -> None:
    entry = await new(site, "chart_entry", type="note", versions={"text": "a"})
    assert not await change(site, entry, versions='{"text": "a"}')
    assert await change(site, entry, versions='{"text": "b", "signed_by": "dr.weber"}')
    first, second = (await show(site, entry))["fields"]["versions"]
    assert (first["parents"], second["parents"], second["signed_by"]) == ([], [first["id"]], "dr.weber")
    beside = json.dumps({"text": "c", "parents": [first["id"]]})
    assert await change(site, entry, versions=f"[{beside}]")
    conflict = (await show(site, entry))["conflicts"]["versions"]
    assert sorted(head["text"] for head in conflict) == ["b", "c"]
    signed = next(head for head in conflict if head["text"] == "b")
    assert await change(site, entry, versions=json.dumps(signed))
    shown = await show(site, entry)
    assert shown["conflicts"] == {} and len(shown["fields"]["versions"]) == 4
    rows = await site.sql("SELECT versions_text, versions_signed_by FROM chart_entry")
    assert rows == [{"versions_text": "b", "versions_signed_by": "dr.weber"}]
    for wrong in ("", "x", '"x"', json.dumps({**signed, "text": "changed"}), '{"txt": "x"}'):
        with pytest.raises(BadValue):
            await change(site, entry, versions=wrong)
