"""Records and their CRDT documents: the only folder that knows the CRDT library."""

from crdtsync.documents.changed import changes, said, shape
from crdtsync.documents.conflict import FieldConflict
from crdtsync.documents.count import Counter
from crdtsync.documents.delta import Reach, check_delta
from crdtsync.documents.document import BLANK, Content, Document
from crdtsync.documents.edit_codec import edits_from_json, edits_json
from crdtsync.documents.edits import Edit, EditCounter, EditEntry, EditText, Restore, SetField
from crdtsync.documents.entries import Entries
from crdtsync.documents.merge import (
    append_only,
    counter,
    entries,
    flag_off_wins,
    flag_on_wins,
    latest,
    never_removed,
    once,
    register,
    status,
    text,
    versions,
)
from crdtsync.documents.projection import Projection, column_value, project, table_of
from crdtsync.documents.reading import conflicts_json, edits_of, fields_json, parse_value, read, subject_of
from crdtsync.documents.record import Record, UnknownRecord, kinds, model_of
from crdtsync.documents.schema import Link, Value
from crdtsync.documents.text import Hunk, Text
from crdtsync.documents.undo import Later, Turn, Undone, undone
from crdtsync.documents.version import Version, Versions
from crdtsync.documents.weighing import Weight, weigh

__all__ = [
    "BLANK",
    "Content",
    "Counter",
    "Document",
    "Edit",
    "EditCounter",
    "EditEntry",
    "EditText",
    "Entries",
    "FieldConflict",
    "Hunk",
    "Later",
    "Link",
    "Projection",
    "Reach",
    "Record",
    "Restore",
    "SetField",
    "Text",
    "Turn",
    "Undone",
    "UnknownRecord",
    "Value",
    "Version",
    "Versions",
    "Weight",
    "append_only",
    "changes",
    "check_delta",
    "column_value",
    "conflicts_json",
    "counter",
    "edits_from_json",
    "edits_json",
    "edits_of",
    "entries",
    "fields_json",
    "flag_off_wins",
    "flag_on_wins",
    "kinds",
    "latest",
    "model_of",
    "never_removed",
    "once",
    "parse_value",
    "project",
    "read",
    "register",
    "said",
    "shape",
    "status",
    "subject_of",
    "table_of",
    "text",
    "undone",
    "versions",
    "weigh",
]
