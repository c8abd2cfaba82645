"""Rules about the model as a whole: versions, metadata, and that there is something to run."""

from collections import Counter
from collections.abc import Iterable

import onnx

from service.admission.refusal import refuse, shown
from service.admission.rules.context import Context, plain_domain

OLDEST_IR_VERSION = 3
OLDEST_OPSET = 7


def check_header(context: Context) -> None:
    """Check what stands outside of the nodes.

    Raises:
        AdmissionError: ``model-empty``, ``model-no-io``, ``model-ir-version``, ``model-opset``,
            ``model-too-complex`` or ``model-sparse-tensor``.
    """
    model = context.model
    if not model.HasField("graph") or not model.graph.node:
        refuse("model-empty", "the model has no nodes; export it again")
    newest = int(onnx.IR_VERSION)
    if not OLDEST_IR_VERSION <= model.ir_version <= newest:
        message = (
            f"the file declares IR version {model.ir_version}, but {OLDEST_IR_VERSION} to {newest} "
            "are supported; export the model again"
        )
        refuse("model-ir-version", message, limit=newest, actual=model.ir_version)
    check_opset(model.opset_import)
    _check_interface_exists(model.graph)
    _check_metadata(context)


def check_opset(imports: Iterable[onnx.OperatorSetIdProto], where: str = "the model") -> None:
    """Every domain is imported once, and the default one in a supported version."""
    entries = list(imports)
    counts = Counter(plain_domain(entry.domain) for entry in entries)
    newest = onnx.defs.onnx_opset_version()
    for domain, count in counts.items():
        if count > 1:
            message = f"{where} imports operator set {shown(domain or 'ai.onnx')} {count} times"
            refuse("model-opset", message)
    version = next((e.version for e in entries if plain_domain(e.domain) == ""), None)
    if version is None or not OLDEST_OPSET <= version <= newest:
        found = "none" if version is None else f"version {version}"
        message = (
            f"{where} needs the default operator set in a version from {OLDEST_OPSET} to {newest}, "
            f"but declares {found}; export with one of these"
        )
        refuse("model-opset", message, limit=newest, actual=version)


def _check_interface_exists(graph: onnx.GraphProto) -> None:
    stored = {tensor.name for tensor in graph.initializer}
    if not any(value.name not in stored for value in graph.input):
        refuse("model-no-io", "the model has no inputs (besides weights); export it again")
    if not graph.output:
        refuse("model-no-io", "the model has no outputs; export it again")


def _check_metadata(context: Context) -> None:
    entries = context.model.metadata_props
    size = sum(len(entry.key) + len(entry.value) for entry in entries)
    limit = context.limits.metadata_bytes
    if size > limit:
        message = f"the model's metadata has {size} characters, more than the limit of {limit}"
        refuse("model-too-complex", message, limit=limit, actual=size)
