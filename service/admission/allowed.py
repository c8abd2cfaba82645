"""Which operators may occur: the importer's list, read as data.

The list is a JSON file of ``[domain, operator]`` pairs inside the ``optimizer`` package. It is read
without importing that package, because neither the web process nor the child has torch. An
installation without the file (the API's image) falls back to the standard operators.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import onnx

_LIST = Path("bridge") / "operators.json"
_NEVER_TRAINABLE = (
    "Sequence", "Optional", "SplitToSequence", "ConcatFromSequence", "String", "Regex", "Image",
    "TfIdf", "QLinear", "QuantizeLinear", "DequantizeLinear", "DynamicQuantize", "ConvInteger",
    "MatMulInteger", "Adagrad", "Adam", "Gradient", "Momentum",
)  # fmt: skip


def allowed_operators() -> frozenset[tuple[str, str]]:
    """(domain, name) of every operator that a model may use, the default domain as ""."""
    path = _find_list()
    if path is None:
        return _standard_operators()
    pairs = json.loads(path.read_text("utf-8"))
    return frozenset(("" if domain == "ai.onnx" else domain, name) for domain, name in pairs)


def _find_list() -> Path | None:
    spec = find_spec("optimizer")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    return next((path for f in folders if (path := Path(f) / _LIST).is_file()), None)


def _standard_operators() -> frozenset[tuple[str, str]]:
    """The default domain without what no tensor network is trained with."""
    schemas = onnx.defs.get_all_schemas_with_history()
    names = {schema.name for schema in schemas if schema.domain == ""}
    return frozenset(("", name) for name in names if not name.startswith(_NEVER_TRAINABLE))
