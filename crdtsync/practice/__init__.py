"""The records of a medical practice, declared with the same means that an application uses for its own."""

from crdtsync.practice.appointment import Appointment, Slot
from crdtsync.practice.chart import (
    Allergy,
    ChartEntry,
    Condition,
    ConditionCode,
    Immunization,
    Observation,
    ObservationValue,
)
from crdtsync.practice.detected_issue import DetectedIssue, Remark, Resolution
from crdtsync.practice.invoice import Invoice, InvoiceLine
from crdtsync.practice.medication import Dosage, Drug, MedicationStatement, Period, Prescription, PrescriptionContent
from crdtsync.practice.patient import Address, Patient
from crdtsync.practice.settings import Setting, Task, Template
from crdtsync.practice.visit import Visit

__all__ = [
    "Address",
    "Allergy",
    "Appointment",
    "ChartEntry",
    "Condition",
    "ConditionCode",
    "DetectedIssue",
    "Dosage",
    "Drug",
    "Immunization",
    "Invoice",
    "InvoiceLine",
    "MedicationStatement",
    "Observation",
    "ObservationValue",
    "Patient",
    "Period",
    "Prescription",
    "PrescriptionContent",
    "Remark",
    "Resolution",
    "Setting",
    "Slot",
    "Task",
    "Template",
    "Visit",
]
