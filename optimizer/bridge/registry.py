"""Which translator writes the torch code of which ONNX operator.

A translator is registered for ``(domain, operator, since version)`` and serves every version from
there up to the next one registered. Two tables: ``operator`` for device tensors, ``on_host`` for
the same operator when all its inputs are shape arithmetic.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, TypeAlias

import onnx

from optimizer.bridge.unsupported import UnsupportedVariant as UnsupportedVariant
from optimizer.bridge.values import Value

if TYPE_CHECKING:
    from optimizer.bridge.call import Call

Translator: TypeAlias = Callable[["Call"], Value | Sequence[Value]]
HostTranslator: TypeAlias = Callable[["Call"], Value | None]  # None: not on the host after all

_device: dict[tuple[str, str], dict[int, Translator]] = {}
_host: dict[str, HostTranslator] = {}


def operator(
    *op_types: str, since: int = 1, domain: str = ""
) -> Callable[[Translator], Translator]:
    """Register the decorated translator for ``op_types`` from version ``since`` on."""

    def register(translator: Translator) -> Translator:
        for op_type in op_types:
            _device.setdefault((domain, op_type), {})[since] = translator
        return translator

    return register


def on_host(*op_types: str) -> Callable[[HostTranslator], HostTranslator]:
    """Register the decorated translator for ``op_types`` of the standard domain on host values."""

    def register(translator: HostTranslator) -> HostTranslator:
        _host.update(dict.fromkeys(op_types, translator))
        return translator

    return register


@cache
def load_translators() -> None:
    """Import every module of ``optimizer.bridge.ops``, which registers what it defines."""
    package = import_module("optimizer.bridge.ops")
    for module in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")


def find(domain: str, op_type: str, opset: int) -> Translator | None:
    """Return the translator of an operator at the opset that a model imports, if there is one."""
    load_translators()
    versions = _device.get((_standard(domain), op_type))
    if not versions:
        return None
    version = since_version(domain, op_type, opset)
    known = [since for since in versions if since <= version]
    return versions[max(known)] if known else None


def find_on_host(domain: str, op_type: str) -> HostTranslator | None:
    """Return the translator of an operator on host values, if there is one."""
    load_translators()
    return _host.get(op_type) if _standard(domain) == "" else None


def since_version(domain: str, op_type: str, opset: int) -> int:
    """Return the version of the operator that ``opset`` means; ``opset`` if ONNX has no schema."""
    if not onnx.defs.has(op_type, domain=_standard(domain)):
        return opset
    try:
        return int(onnx.defs.get_schema(op_type, opset, _standard(domain)).since_version)
    except onnx.defs.SchemaError:
        return opset


def supported_operators() -> frozenset[tuple[str, str]]:
    """Return every ``(domain, operator)`` that has a translator; "" is the standard domain."""
    load_translators()
    return frozenset(_device)


def _standard(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
