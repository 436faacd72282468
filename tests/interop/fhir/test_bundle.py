"""What is no bundle is told so in a sentence, and nothing is read on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crdtsync import limits
from crdtsync.errors import UsageError
from crdtsync.interop.fhir import read_bundle
from crdtsync.interop.fhir.bundle import entries

PATIENT = {"resourceType": "Patient", "id": "1", "name": [{"family": "Müller"}]}
BUNDLE: dict[str, Any] = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [{"fullUrl": "urn:uuid:1", "resource": PATIENT}],
}


def write(folder: Path, data: bytes, name: str = "bundle.json") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def as_bytes(bundle: Any) -> bytes:
    return json.dumps(bundle, ensure_ascii=False).encode()


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["bare", "byte order mark"])
def test_reads_plain_and_packed(tmp_path: Path, pack: Callable[[bytes], bytes], start: bytes) -> None:
    assert read_bundle(write(tmp_path, pack(start + as_bytes(BUNDLE)))) == BUNDLE


def test_a_bundle_may_be_empty(tmp_path: Path) -> None:
    empty = {"resourceType": "Bundle", "type": "collection"}
    assert list(entries(read_bundle(write(tmp_path, as_bytes(empty))))) == []


def test_numbers_keep_their_digits(tmp_path: Path) -> None:
    text = as_bytes(BUNDLE).replace(b'"id": "1"', b'"x": [5.10, 5.1, 9223372036854775807, 1e400]')
    [(_, resource)] = entries(read_bundle(write(tmp_path, text)))
    assert resource["x"] == [Decimal("5.10"), 5.1, 9223372036854775807, Decimal("1e400")]


def with_entry(entry: Any) -> bytes:
    return as_bytes({**BUNDLE, "entry": [{"resource": PATIENT}, entry]})


PACKED = gzip.compress(as_bytes(BUNDLE))
FLIPPED = PACKED[:20] + bytes([PACKED[20] ^ 0xFF]) + PACKED[21:]
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "not JSON"),
    "text": (b"Befund von heute", "not JSON"),
    "cut JSON": (as_bytes(BUNDLE)[:-9], "not JSON"),
    "two documents": (as_bytes(BUNDLE) * 2, "not JSON"),
    "Latin-1": (json.dumps(BUNDLE, ensure_ascii=False).encode("latin-1"), "not UTF-8"),
    "UTF-16": (json.dumps(BUNDLE).encode("utf-16"), "not UTF-8"),
    "NaN": (as_bytes(BUNDLE).replace(b'"1"', b"NaN"), "number"),
    "endless integer": (as_bytes(BUNDLE).replace(b'"1"', b"9" * 10_000), "number"),
    "truncated gzip": (PACKED[:-9], "cut off"),
    "gzip header alone": (PACKED[:5], "cut off"),
    "damaged gzip": (FLIPPED, "does not unpack"),
    "gzip of no JSON": (gzip.compress(b"hello"), "not JSON"),
    "list": (b"[]", "not a FHIR bundle"),
    "another resource": (as_bytes(PATIENT), "not a FHIR bundle"),
    "answer": (as_bytes({**BUNDLE, "type": "transaction-response"}), "must be one of transaction"),
    "history": (as_bytes({**BUNDLE, "type": "history"}), "must be one of transaction"),
    "no type": (as_bytes({"resourceType": "Bundle", "entry": []}), "must be one of transaction"),
    "entry is an object": (as_bytes({**BUNDLE, "entry": {}}), "entry is not a list"),
    "entry is null": (as_bytes({**BUNDLE, "entry": None}), "entry is not a list"),
    "entry is text": (with_entry("x"), "entry 1 holds no resource"),
    "entry without resource": (with_entry({"request": {"method": "DELETE", "url": "Patient/1"}}), "entry 1 holds no"),
    "resource without type": (with_entry({"resource": {"id": "2"}}), "entry 1 holds no resource"),
    "strange type": (with_entry({"resource": {"resourceType": "Pa tient"}}), "entry 1 holds no resource"),
    "half a character": (with_entry({"resource": PATIENT}).replace("ü".encode(), b"\\ud800"), "half a character"),
    "deep": (with_entry({"resource": {**PATIENT, "x": nested(100)}}), "entry 1 (Patient) is nested deeper"),
    "very deep": (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
    "large": (
        with_entry({"resource": {**PATIENT, "x": "ü" * limits.import_resource_bytes_max}}),
        "entry 1 (Patient) is larger than",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_a_sentence_that_names_the_file(tmp_path: Path, name: str) -> None:
    data, words = REFUSED[name]
    path = write(tmp_path, data)
    with pytest.raises(UsageError) as refused:
        read_bundle(path)
    sentence = str(refused.value)
    assert sentence.startswith(f"{path}: ") and words in sentence
    assert "\n" not in sentence and "Müller" not in sentence


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        read_bundle(tmp_path / "missing.json")
    with pytest.raises(UsageError, match="this is a folder"):
        read_bundle(tmp_path)
    with pytest.raises(UsageError, match=r"ends in \.gz"):
        read_bundle(write(tmp_path, as_bytes(BUNDLE), "bundle.json.gz"))


def test_unpacking_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "import_file_bytes_max", 2**20)
    bomb = gzip.compress(b" " * 2**22 + as_bytes(BUNDLE))
    assert len(bomb) < 2**14
    with pytest.raises(UsageError, match="more than 1 MiB"):
        read_bundle(write(tmp_path, bomb))
    with pytest.raises(UsageError, match="more than 1 MiB"):
        read_bundle(write(tmp_path, b" " * (2**20 + 1)))
