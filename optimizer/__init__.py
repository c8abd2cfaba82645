"""Training: an ONNX model as a torch module, the H2SPG optimizer, the trainer.

The names below are loaded when they are first used, so that ``optimizer.errors`` and
``optimizer.config`` cost no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimizer.bridge.binding import Binding, bind
    from optimizer.bridge.module import ImportedModule, import_model
    from optimizer.config import TrainConfig
    from optimizer.h2spg import H2SPG
    from optimizer.trainer import ArrayData, Arrays, Hooks, Progress, Stopped, TrainResult, train

_HOME = {
    "ArrayData": "trainer",
    "Arrays": "trainer",
    "Binding": "bridge.binding",
    "H2SPG": "h2spg",
    "Hooks": "trainer",
    "ImportedModule": "bridge.module",
    "Progress": "trainer",
    "Stopped": "trainer",
    "TrainConfig": "config",
    "TrainResult": "trainer",
    "bind": "bridge.binding",
    "import_model": "bridge.module",
    "train": "trainer",
}

__all__ = [
    "ArrayData",
    "Arrays",
    "Binding",
    "H2SPG",
    "Hooks",
    "ImportedModule",
    "Progress",
    "Stopped",
    "TrainConfig",
    "TrainResult",
    "bind",
    "import_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        message = f"module 'optimizer' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"optimizer.{_HOME[name]}"), name)
