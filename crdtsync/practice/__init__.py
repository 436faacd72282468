"""The records of a medical practice, declared with the same means that an application uses for its own."""

from crdtsync.practice.appointment import Appointment, Reminder, Slot
from crdtsync.practice.attachment import Attachment, AttachmentVersion
from crdtsync.practice.charge_item import ChargeCode, ChargeItem
from crdtsync.practice.chart import (
    Allergy,
    ChartEntry,
    ChartVersion,
    Condition,
    ConditionCode,
    Immunization,
    Observation,
    ObservationValue,
)
from crdtsync.practice.detected_issue import DetectedIssue, Remark, Resolution
from crdtsync.practice.diagnostic_report import DiagnosticReport
from crdtsync.practice.invoice import Invoice, InvoiceLine, Payment
from crdtsync.practice.medication import (
    Dosage,
    Drug,
    Issue,
    MedicationStatement,
    Period,
    Prescription,
    PrescriptionContent,
)
from crdtsync.practice.number_range import NumberBlock, NumberRange, RangeClosing, RangeRelease
from crdtsync.practice.patient import Address, Patient
from crdtsync.practice.series import Series, SeriesCount, SeriesGap, SeriesTerm, SeriesWish
from crdtsync.practice.settings import Setting, Task, Template, TemplateVersion
from crdtsync.practice.visit import Visit

__all__ = [
    "Address",
    "Allergy",
    "Appointment",
    "Attachment",
    "AttachmentVersion",
    "ChargeCode",
    "ChargeItem",
    "ChartEntry",
    "ChartVersion",
    "Condition",
    "ConditionCode",
    "DetectedIssue",
    "DiagnosticReport",
    "Dosage",
    "Drug",
    "Immunization",
    "Invoice",
    "InvoiceLine",
    "Issue",
    "MedicationStatement",
    "NumberBlock",
    "NumberRange",
    "Observation",
    "ObservationValue",
    "Patient",
    "Payment",
    "Period",
    "Prescription",
    "PrescriptionContent",
    "RangeClosing",
    "RangeRelease",
    "Remark",
    "Reminder",
    "Resolution",
    "Series",
    "SeriesCount",
    "SeriesGap",
    "SeriesTerm",
    "SeriesWish",
    "Setting",
    "Slot",
    "Task",
    "Template",
    "TemplateVersion",
    "Visit",
]
