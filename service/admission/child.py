"""The gate's task in the sandboxed child: read one file, inspect it, return the figures.

The only module of the gate that the sandbox loads by name; nothing of the web process imports it,
because it brings the native ONNX library with it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.admission.inspection import inspect_bytes
from service.admission.limits import AdmissionLimits
from service.admission.standard import standard_operators


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Inspect the file at ``payload["path"]`` under ``payload["limits"]``.

    ``payload["operators"]`` lists [domain, name] of what may occur; the standard operators if None.

    Raises:
        AdmissionError: The file breaks a rule.
    """
    limits = AdmissionLimits(**payload["limits"])
    listed = payload["operators"]
    operators = standard_operators() if listed is None else frozenset(map(tuple, listed))
    return inspect_bytes(Path(payload["path"]).read_bytes(), limits, operators).to_json()
