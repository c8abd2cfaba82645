"""The trainer: data and a bound search space in, trained weights and a solution out."""

from optimizer.config import TrainConfig
from optimizer.trainer.data import ArrayData, Arrays
from optimizer.trainer.hooks import Hooks, Progress, SpaceBinding, TrainResult
from optimizer.trainer.incidents import OutOfMemoryError, Stopped, TrainEvent, TrainingDivergedError
from optimizer.trainer.loop import train

__all__ = [
    "ArrayData",
    "Arrays",
    "Hooks",
    "OutOfMemoryError",
    "Progress",
    "SpaceBinding",
    "Stopped",
    "TrainConfig",
    "TrainEvent",
    "TrainResult",
    "TrainingDivergedError",
    "train",
]
