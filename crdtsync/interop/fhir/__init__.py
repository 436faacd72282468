"""FHIR R4: records from bundles.

`read_bundle` reads a file, `convert` turns it into records, `import_files` brings the records into a site. How each
resource type maps to fields stands in `patients.py`, `treatment.py` and `reports.py`, as tables.
"""

from crdtsync.interop.fhir.bundle import read_bundle
from crdtsync.interop.fhir.convert import Conversion, convert
from crdtsync.interop.fhir.importing import import_files

__all__ = ["Conversion", "convert", "import_files", "read_bundle"]
