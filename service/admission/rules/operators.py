"""Rules about which operators may occur, and that each use fits the operator's definition.

1. A domain must be the default one, that of ONNX Runtime, or belong to the model's own functions.
2. (domain, operator) must be in the importer's list, in the version that the place imports.
3. Numbers of inputs, outputs and attributes must fit the definition.
"""

from typing import NoReturn

import onnx

from service.admission.refusal import refuse, shown
from service.admission.rules.context import (
    Context,
    Place,
    all_places,
    called_function,
    described,
    plain_domain,
)
from service.admission.rules.runtime_operators import (
    MICROSOFT,
    RUNTIME_OPERATORS,
    RuntimeOperator,
)

_LISTED = 20
_QUANTISED_PREFIXES = ("QLinear", "QOrdered")
_QUANTISED = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QGemm",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    }
)


def check_operators(context: Context) -> None:
    """Check the operator of every node.

    Raises:
        AdmissionError: ``model-domain``, ``model-functions``, ``model-quantised``,
            ``model-unsupported-op``, ``model-shape-mismatch`` (numbers of inputs and outputs) or
            ``model-too-complex``.
    """
    unknown: dict[str, str] = {}
    domains = {domain for domain, _, _ in context.functions}
    for place in all_places(context.model):
        for node in place.nodes:
            _check_size(node, context)
            if called_function(node) in context.functions:
                continue
            runtime = find_runtime_operator(node, place)
            if (
                runtime is not None
                and (plain_domain(node.domain), node.op_type) in context.operators
            ):
                _check_runtime_arity(node, runtime)
                continue
            _check_domain(node, domains)
            schema = find_schema(node, place)
            if schema is None or (schema.domain, node.op_type) not in context.operators:
                unknown.setdefault(_described(node, place), node.name)
            else:
                _check_arity(node, schema)
    if unknown:
        _refuse_unknown(unknown)


def find_schema(node: onnx.NodeProto, place: Place) -> "onnx.defs.OpSchema | None":
    """The operator's definition in the version that holds at ``place``; None if there is none."""
    domain = plain_domain(node.domain)
    version = place.opsets.get(domain)
    if version is None or not 0 < version < 2**31:
        return None
    try:
        schema = onnx.defs.get_schema(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else schema


def find_runtime_operator(node: onnx.NodeProto, place: Place) -> RuntimeOperator | None:
    """ONNX Runtime's definition of an operator that the onnx package has none of."""
    domain = plain_domain(node.domain)
    if domain not in place.opsets or find_schema(node, place) is not None:
        return None
    return RUNTIME_OPERATORS.get((domain, node.op_type))


def _check_domain(node: onnx.NodeProto, domains: set[str]) -> None:
    """Case 1, with the reason why a call of an own function failed."""
    domain = plain_domain(node.domain)
    if domain in domains and domain != "":
        message = (
            f"{described(node)} calls a function of {shown(domain)} that the model does not "
            "define; export it again"
        )
        refuse("model-functions", message, param=node.name)
    if domain == MICROSOFT and (
        node.op_type in _QUANTISED or node.op_type.startswith(_QUANTISED_PREFIXES)
    ):
        _refuse_quantised([node.op_type])
    if domain != "":
        message = (
            f"{described(node)} uses the custom domain {shown(domain)}; only standard ONNX "
            "operators and some of ONNX Runtime's own can be compressed"
        )
        refuse("model-domain", message, param=node.name)


def _check_size(node: onnx.NodeProto, context: Context) -> None:
    limits = context.limits
    for what, count, limit in (
        ("inputs", len(node.input), limits.node_inputs),
        ("outputs", len(node.output), limits.node_inputs),
        ("attributes", len(node.attribute), limits.node_attributes),
    ):
        if count > limit:
            message = f"{described(node)} has {count} {what}, more than the limit of {limit}"
            refuse("model-too-complex", message, param=node.name, limit=limit, actual=count)


def _check_arity(node: onnx.NodeProto, schema: "onnx.defs.OpSchema") -> None:
    """Case 3: how many inputs and outputs, and that the required inputs are named."""
    inputs, outputs = (schema.min_input, schema.max_input), (schema.min_output, schema.max_output)
    _check_counts(node, inputs, outputs)
    required = zip(node.input, schema.inputs, strict=False)
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    for index, (name, formal) in enumerate(required):
        if not name and formal.option != optional:
            _refuse_lacking(node, index)


def _check_runtime_arity(node: onnx.NodeProto, definition: RuntimeOperator) -> None:
    """The same for an operator of ONNX Runtime."""
    _check_counts(node, (definition.least, definition.most), (1, definition.outputs))
    for index, name in enumerate(node.input[: definition.least]):
        if not name and index not in definition.may_lack:
            _refuse_lacking(node, index)


def _check_counts(node: onnx.NodeProto, inputs: tuple[int, int], outputs: tuple[int, int]) -> None:
    for what, count, (least, most) in (
        ("inputs", len(node.input), inputs),
        ("outputs", len(node.output), outputs),
    ):
        if not least <= count <= most:
            message = (
                f"{described(node)} has {count} {what}, but needs "
                f"{least if least == most else f'{least} to {most}'}; export the model again"
            )
            refuse("model-shape-mismatch", message, param=node.name, actual=count)


def _refuse_lacking(node: onnx.NodeProto, index: int) -> NoReturn:
    message = f"{described(node)} lacks its input {index}"
    refuse("model-shape-mismatch", message, param=node.name)


def _described(node: onnx.NodeProto, place: Place) -> str:
    version = place.opsets.get(plain_domain(node.domain))
    return f"{shown(node.op_type)[1:-1]} (opset {version})"


def _refuse_unknown(unknown: dict[str, str]) -> NoReturn:
    if any(name.split(" ")[0] in _QUANTISED for name in unknown):
        _refuse_quantised(sorted(unknown)[:3])
    listed = [f"{what} at node {shown(node)}" for what, node in sorted(unknown.items())[:_LISTED]]
    more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
    message = f"operators that cannot be trained: {', '.join(listed)}{more}; export without them"
    refuse("model-unsupported-op", message, param=next(iter(sorted(unknown))).split(" ")[0])


def _refuse_quantised(operators: list[str]) -> NoReturn:
    message = (
        f"the model is already quantised ({', '.join(operators)}); upload the float model and "
        "quantise afterwards"
    )
    refuse("model-quantised", message)
