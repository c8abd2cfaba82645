"""Rules about local functions: defined once, with versions for all the operators they use."""

from collections import Counter

from service.admission.refusal import refuse, shown
from service.admission.rules.context import Context, function_id, plain_domain
from service.admission.rules.header import check_opset


def check_functions(context: Context) -> None:
    """Check how every function is declared; what is inside of it is the other rules' business.

    Raises:
        AdmissionError: ``model-functions``, ``model-duplicate-name`` or ``model-opset``.
    """
    for name, count in Counter(map(function_id, context.model.functions)).items():
        if count > 1:
            message = f"the function {shown(name[1])} is defined {count} times"
            refuse("model-duplicate-name", message, param=name[1])
    for function in context.model.functions:
        where = f"function {shown(function.name)}"
        if not function.name or plain_domain(function.domain) == "":
            refuse("model-functions", f"{where} needs a name and a domain of its own")
        if not function.node:
            refuse("model-functions", f"{where} has no nodes", param=function.name)
        if any(plain_domain(node.domain) == "" for node in function.node):
            check_opset(function.opset_import, where)
        if len(set(function.input)) != len(function.input) or not all(function.input):
            message = f"{where} has inputs without a name, or with the same one"
            refuse("model-duplicate-name", message, param=function.name)
