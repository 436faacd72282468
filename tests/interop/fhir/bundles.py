"""Small bundles for tests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

PATIENT_ID = "0e3b764f-dabe-4bf6-81b2-9f705bde24fd"
CONCEPT = {"coding": [{"system": "http://snomed.info/sct", "code": "1", "display": "Etwas"}], "text": "Etwas"}
SUBJECT = {"reference": f"urn:uuid:{PATIENT_ID}"}


def bundle(*resources: dict[str, Any], urls: bool = True) -> dict[str, Any]:
    """A transaction bundle; full URLs are `urn:uuid:` and the id."""
    entries: list[dict[str, Any]] = []
    for resource in resources:
        url = {"fullUrl": f"urn:uuid:{resource['id']}"} if urls and "id" in resource else {}
        entries.append({**url, "resource": resource})
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def patient(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": PATIENT_ID, **elements}


def resource(kind: str, number: int = 1, **elements: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": f"{kind.lower()}-{number}", **elements}


def save(path: Path, content: dict[str, Any]) -> Path:
    data = json.dumps(content).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
