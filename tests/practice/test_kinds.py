"""The contract: kinds, fields and rules that scripts, tables and other programs rely on. More may come, none goes."""

import itertools

import crdtsync.practice
from crdtsync.documents import Record, kinds, table_of
from crdtsync.documents.record import model_of

CONTRACT = {
    "patient": """number once, number_follows latest, family_name register, given_name register, title register,
        birth_date register, sex register, insurance_number register, address register, phones by_value,
        emails by_value, deceased flag_on_wins, deceased_on register, home_site latest, tags by_value, note text,
        same_as by_value, archived latest""",
    "allergy": """patient once, substance register, criticality cautious:high, status cautious:active,
        verification cautious:confirmed, reaction register, noted_on register""",
    "condition": "patient once, code register, text register, onset register, status register",
    "medication_statement": """patient once, drug register, dosage register, period register, status status,
        reason register""",
    "immunization": """patient once, vaccine once, lot once, given_on once, dose_number once,
        minimum_interval_days once, entered_in_error flag_on_wins""",
    "observation": "patient once, code once, value register, taken_at once, status status, source_id once",
    "visit": """patient once, status status, started once, ended register, site once, practitioner register,
        room latest, reason register, appointment register""",
    "chart_entry": """patient once, visit register, type once, clinical_time once, draft text, versions versions,
        retracted flag_on_wins""",
    "appointment": """calendar once, slot register, patient register, title register, status status,
        reminders append_only, note text""",
    "prescription": "patient once, medication_statement register, content once, status status, issued append_only",
    "invoice": """patient once, recipient register, lines entries, status status, series register, number once,
        issued_content once, cancels once, payments append_only""",
    "series": """name once, pattern once, start once, stands_in_for once, terms append_only, counts entries,
        gaps append_only, wishes append_only""",
    "template": "name register, type once, body text, versions versions",
    "setting": "key once, scope once, value latest, permission flag_off_wins",
    "charge_item": """patient once, visit register, code register, count register, factor register, reason register,
        performed_at once, practitioner once, billed_in once, retracted flag_on_wins""",
    "diagnostic_report": """patient once, laboratory once, order_number once, status status, observations by_value,
        files append_only, issued_at once, source_id once""",
    "attachment": "patient once, title register, type register, versions versions, retracted flag_on_wins",
    "detected_issue": """patient once, code once, severity once, field once, implicated by_value, assignee latest,
        comments entries, acknowledged entries, dismissed latest, resolved latest""",
    "number_range": """numbers once, site once, replica once, first once, last once, spare once, set_by once,
        set_at once, given register, blocks append_only, closings append_only, releases append_only,
        stopped flag_on_wins""",
    "task": "title register, patient register, assignee register, due register, note text, done flag_on_wins",
}
PARTS = {
    "patient.address": "street postal_code city country",
    "condition.code": "icd10 certainty side",
    "medication_statement.drug": "name strength form code",
    "medication_statement.dosage": "morning noon evening night unit text as_needed",
    "medication_statement.period": "start end",
    "observation.value": "number text unit range",
    "chart_entry.versions": "text codes files signed_by signed_at reason",
    "appointment.slot": "start end resources",
    "prescription.content": "drug dosage quantity kind",
    "invoice.lines": "code text count factor amount_cents reason date",
    "invoice.payments": "amount_cents received_on reference",
    "series.terms": "term step holder site how author by reason at",
    "series.counts": "first last",
    "series.gaps": "term year first last reason author at",
    "charge_item.code": "system code",
    "number_range.blocks": "replica first last at",
    "number_range.closings": "key replica at",
    "number_range.releases": "step replica since closings author reason at",
    "attachment.versions": "file media_type size author at",
}
ORDERS = {
    "medication_statement": (["active", "on_hold", "stopped"], []),
    "observation": (["preliminary", "final", "amended"], ["entered_in_error"]),
    "visit": (["planned", "arrived", "in_progress", "finished"], ["cancelled"]),
    "appointment": (["proposed", "pending", "booked", "arrived", "fulfilled"], ["cancelled", "noshow"]),
    "prescription": (["draft", "active", "completed"], ["cancelled", "stopped"]),
    "invoice": (["draft", "ready", "issued", "balanced"], ["cancelled"]),
    "diagnostic_report": (["preliminary", "final", "amended"], []),
}


def rule_of(kind: str, field: str) -> str:
    rule = kinds()[kind].plan().field(field).rule
    if rule.name == "entries" and rule.by_value:
        return "by_value"
    return f"cautious:{rule.cautious}" if rule.has_cautious else rule.name


def test_all_kinds_are_declared_and_exported() -> None:
    exported = {getattr(crdtsync.practice, name) for name in crdtsync.practice.__all__}
    models = {model for model in exported if issubclass(model, Record)}
    assert {model.kind for model in models} == CONTRACT.keys()
    assert set(kinds()) >= CONTRACT.keys()
    assert list(crdtsync.practice.__all__) == sorted(crdtsync.practice.__all__)


def test_every_field_has_its_rule() -> None:
    for kind, fields in CONTRACT.items():
        wanted = [tuple(field.split()) for field in fields.split(",")]
        assert [(name, rule_of(kind, name)) for name, _ in wanted] == wanted


def test_every_part_of_the_small_models_is_there() -> None:
    for place, parts in PARTS.items():
        kind, _, field = place.partition(".")
        model = kinds()[kind].plan().field(field).model
        assert model is not None and set(parts.split()) <= set(model.model_fields), place


def test_states_join_in_their_order_and_the_others_are_for_a_person() -> None:
    for kind, (chain, aside) in ORDERS.items():
        order = kinds()[kind].plan().field("status").rule.order
        assert order is not None and order.names == {*chain, *aside}
        for low, high in itertools.pairwise(chain):
            assert order.join([high, low]) == high
        for other in aside:
            assert all(order.join([other, state]) is None for state in order.names - {other})


def test_medication_and_allergies_are_of_high_severity() -> None:
    for kind, free in (("medication_statement", {"source"}), ("allergy", {"source", "noted_on"})):
        severities = kinds()[kind].plan().severities
        assert {name for name, severity in severities.items() if severity != "high"} == free


def test_what_is_clinical_or_billed_says_so() -> None:
    careful = {kind for kind in CONTRACT if kinds()[kind].clinical or kinds()[kind].billing}
    loose = {kind for kind, fields in CONTRACT.items() if " latest" in fields}
    assert loose == {"patient", "visit", "setting", "detected_issue"} and not careful & loose
    assert careful == CONTRACT.keys() - loose - {"appointment", "template", "task"}


def test_every_kind_has_a_table_and_keeps_what_an_import_cannot_map() -> None:
    for kind in CONTRACT:
        columns, indexes = table_of(kind)
        assert set(indexes) <= set(columns)
        assert "conflicted" in columns
        model = model_of(kind)
        assert model is not None and "source" in model.model_fields
