"""Reading a FHIR R4 bundle from a file, with a sentence for everything that is none."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crdtsync import limits
from crdtsync.errors import UsageError
from crdtsync.interop.fhir.elements import deeper_than, exact_number, plain

_GZIP_MAGIC = b"\x1f\x8b"
_BUNDLE_TYPES = ("transaction", "batch", "collection", "searchset", "document")


def read_bundle(path: str | Path) -> dict[str, Any]:
    """The bundle in the file at `path`: JSON, or JSON packed by gzip (known by its first bytes, not by its name).

    Decimal numbers whose digits a float would change come as `decimal.Decimal`. Raises UsageError with a sentence that
    names the file: not there, not readable, packed and truncated, larger than `limits.import_file_bytes_max`, not
    JSON, no FHIR bundle, a bundle of a type that carries no records, an entry that is no resource or too large.
    """
    file = Path(path)
    return _checked(file, _parse(file, _unpack(file, _raw(file))))


def entries(bundle: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each entry's full URL ("" where it has none) and its resource."""
    for entry in bundle.get("entry") or []:
        url = entry.get("fullUrl")
        yield (url if isinstance(url, str) else ""), entry["resource"]


def _raw(file: Path) -> bytes:
    try:
        if file.stat().st_size > limits.import_file_bytes_max:
            raise UsageError(_too_large(file))
        return file.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{file}: there is no such file; give the path of a FHIR R4 bundle") from None
    except IsADirectoryError:
        raise UsageError(f"{file}: this is a folder; give the bundles in it one by one") from None
    except OSError as error:
        raise UsageError(f"{file}: the file cannot be read ({error.strerror}); mend its rights and try again") from None


def _too_large(file: Path) -> str:
    mebibytes = limits.import_file_bytes_max // 2**20
    return f"{file}: more than {mebibytes} MiB of JSON; split the bundle, one patient each is best"


def _unpack(file: Path, data: bytes) -> bytes:
    if not data.startswith(_GZIP_MAGIC):
        if file.name.endswith(".gz"):
            raise UsageError(f"{file}: the name ends in .gz, but the content is not packed by gzip; get the file anew")
        return data
    try:
        with gzip.open(file) as packed:
            unpacked = packed.read(limits.import_file_bytes_max + 1)
    except EOFError:
        raise UsageError(f"{file}: the packed file ends too early; it was cut off on its way, get it anew") from None
    except (OSError, zlib.error):
        raise UsageError(f"{file}: the packed file is damaged and does not unpack; get it anew") from None
    if len(unpacked) > limits.import_file_bytes_max:
        raise UsageError(_too_large(file))
    return unpacked


def _parse(file: Path, data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"), parse_float=exact_number, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise UsageError(f"{file}: this is not UTF-8 text; FHIR bundles are JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"{file}: this is not JSON (see {where}); give a FHIR R4 bundle as JSON") from None
    except (ValueError, ArithmeticError):
        raise UsageError(f"{file}: it holds a number that FHIR does not know; mend or remove it") from None
    except RecursionError:
        raise UsageError(f"{file}: its objects are nested too deeply for a FHIR bundle") from None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _checked(file: Path, bundle: Any) -> dict[str, Any]:
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise UsageError(f"{file}: this is not a FHIR bundle (no resourceType Bundle); export the patient as a bundle")
    if bundle.get("type") not in _BUNDLE_TYPES:
        expected = ", ".join(_BUNDLE_TYPES)
        raise UsageError(f"{file}: this type of bundle carries no records to import; it must be one of {expected}")
    if not isinstance(bundle.get("entry", []), list):
        raise UsageError(f"{file}: the bundle's entry is not a list; export it anew")
    for number, entry in enumerate(bundle.get("entry", [])):
        _check_entry(f"{file}: entry {number}", entry)
    return bundle


def _check_entry(name: str, entry: Any) -> None:
    resource = entry.get("resource") if isinstance(entry, dict) else None
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(resource, dict) or not isinstance(kind, str) or not kind.isalnum():
        raise UsageError(f"{name} holds no resource with a resourceType; export the bundle anew")
    if deeper_than(resource, limits.import_depth_max):
        raise UsageError(
            f"{name} ({kind}) is nested deeper than {limits.import_depth_max} levels; FHIR needs far fewer"
        )
    try:
        size = len(json.dumps(plain(resource), ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise UsageError(f"{name} ({kind}) holds half a character (a lone surrogate); mend the text") from None
    if size > limits.import_resource_bytes_max:
        kibibytes = limits.import_resource_bytes_max // 1024
        raise UsageError(f"{name} ({kind}) is larger than {kibibytes} KiB; take embedded files out of it first")
