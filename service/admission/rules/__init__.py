"""The rules of the gate, one topic per file; ``check_model`` applies them all.

Each looks at every place where its topic can occur: the main graph, local functions, and bodies
inside bodies. They read the parsed file and never call native code on it.
"""

import onnx

from service.admission.limits import AdmissionLimits
from service.admission.rules.attributes import check_attributes
from service.admission.rules.bodies import check_bodies
from service.admission.rules.budget import check_budget
from service.admission.rules.context import Context, function_id
from service.admission.rules.functions import check_functions
from service.admission.rules.graphs import check_structure
from service.admission.rules.header import check_header
from service.admission.rules.names import check_names
from service.admission.rules.operators import check_operators
from service.admission.rules.tensors import check_tensors
from service.admission.rules.values import check_values
from service.admission.rules.weights import check_weights

__all__ = ["check_model"]


def check_model(
    model: onnx.ModelProto, limits: AdmissionLimits, operators: frozenset[tuple[str, str]]
) -> int:
    """Apply every rule, cheap and general ones first; the number of nodes after expansion.

    Args:
        model: The parsed file; its wire scan has been passed.
        limits: Numbers of everything.
        operators: What can be imported, as (domain, name), the default domain as "".

    Raises:
        AdmissionError: The first broken rule.
    """
    functions = {function_id(function): function for function in model.functions}
    context = Context(model=model, limits=limits, operators=operators, functions=functions)
    check_header(context)
    check_names(context)
    check_functions(context)
    nodes = check_budget(context)
    check_operators(context)
    check_bodies(context)
    check_structure(context)
    check_values(context)
    check_tensors(context)
    check_attributes(context)
    check_weights(context)
    return nodes
