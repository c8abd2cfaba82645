"""The hostile corpus: files that must be refused, each with its code; built when asked for."""

from tests.unit.service.admission.hostile import (  # noqa: F401  # they register their cases
    bombs,
    files,
    functions,
    operators,
    structure,
    tensors,
)
from tests.unit.service.admission.hostile.registry import CASES, build

__all__ = ["CASES", "build"]
