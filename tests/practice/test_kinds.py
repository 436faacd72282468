import crdtsync.practice
from crdtsync.documents import Record, kinds, table_of

KINDS = {
    "patient", "allergy", "condition", "medication_statement", "immunization", "observation", "visit", "chart_entry",
    "appointment", "prescription", "invoice", "template", "setting", "task", "detected_issue",
}  # fmt: skip


def test_all_kinds_are_declared_and_exported() -> None:
    exported = {getattr(crdtsync.practice, name) for name in crdtsync.practice.__all__}
    models = {model for model in exported if issubclass(model, Record)}
    assert {model.kind for model in models} == KINDS
    assert set(kinds()) >= KINDS
    assert list(crdtsync.practice.__all__) == sorted(crdtsync.practice.__all__)


def test_every_kind_has_a_table_and_keeps_what_an_import_cannot_map() -> None:
    for kind in KINDS:
        columns, indexes = table_of(kind)
        assert set(indexes) <= set(columns)
        assert "conflicted" in columns
        assert "source" in kinds()[kind].model_fields
