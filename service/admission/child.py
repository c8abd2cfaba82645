"""The gate's task in the sandboxed child: read one file, inspect it, return the figures.

The only module of the gate that the sandbox loads by name; nothing of the web process imports it,
because it brings the native ONNX library with it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.admission.allowed import allowed_operators
from service.admission.inspection import inspect_bytes
from service.admission.limits import AdmissionLimits

_OPERATORS = allowed_operators()  # read at import, before the folder of the list is closed off


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Inspect the file at ``payload["path"]`` under ``payload["limits"]``.

    Raises:
        AdmissionError: The file breaks a rule.
    """
    limits = AdmissionLimits(**payload["limits"])
    data = Path(payload["path"]).read_bytes()
    return inspect_bytes(data, limits, _OPERATORS).to_json()
