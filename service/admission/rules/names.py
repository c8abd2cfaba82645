"""Rules about names: not too long, and nothing in them that garbles a log or a terminal."""

from collections.abc import Iterator

from service.admission.refusal import refuse, shown
from service.admission.rules.context import Context, Place, all_places


def check_names(context: Context) -> None:
    """Check every name that later turns up in messages, reports or logs.

    Raises:
        AdmissionError: ``model-name-too-long`` or ``model-bad-name``.
    """
    limit = context.limits.name_length
    for name in _names(context):
        if len(name) > limit:
            message = f"the name {shown(name)} has {len(name)} characters, more than {limit}"
            refuse("model-name-too-long", message, param=name, limit=limit, actual=len(name))
        if not name.isprintable():
            message = f"the name {shown(name)} contains control characters; rename it"
            refuse("model-bad-name", message, param=name)


def _names(context: Context) -> Iterator[str]:
    model = context.model
    yield from (model.producer_name, model.producer_version, model.domain, model.graph.name)
    for entry in model.opset_import:
        yield entry.domain
    for property_ in model.metadata_props:
        yield property_.key
    for function in model.functions:
        yield from (function.domain, function.name, function.overload)
        yield from (*function.input, *function.output, *function.attribute)
    for place in all_places(model):
        yield from _names_in(place)


def _names_in(place: Place) -> Iterator[str]:
    for node in place.nodes:
        yield from (node.name, node.op_type, node.domain, node.overload)
        yield from (*node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            yield attribute.ref_attr_name
    if place.graph is not None:
        graph = place.graph
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield value.name
            yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
        yield from (tensor.name for tensor in graph.initializer)
