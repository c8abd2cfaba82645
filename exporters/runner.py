"""The models of one proof, run on demand: each is opened once per optimisation level."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from exporters import samples as inputs
from exporters.comparison import ACROSS_LEVELS, EXACT, Difference, Outputs, compare
from exporters.sessions import ALL, OFF, Feeds, open_session, run


class Runner:
    """Runs models by name.

    Attributes:
        specs: The inputs they share.
    """

    def __init__(self, models: Mapping[str, onnx.ModelProto]) -> None:
        self._models = models
        self._sessions: dict[tuple[str, str], onnxruntime.InferenceSession] = {}
        self.specs = inputs.input_specs(models["original"])

    def run(self, model: str, level: str, feeds: Feeds) -> Outputs:
        """All outputs of ``model``; floats of ``feeds`` are cast to the type it takes.

        Raises:
            Exception: Whatever ONNX Runtime raises for a model or a value it cannot take.
        """
        key = (model, level)
        if key not in self._sessions:
            self._sessions[key] = open_session(self._models[model], level=level)
        return run(self._sessions[key], self.fitting(feeds))

    def fitting(self, feeds: Feeds) -> dict[str, npt.NDArray[Any]]:
        """``feeds`` with floats in the types that the models take."""
        wanted = {spec.name: spec.dtype for spec in self.specs if spec.dtype.kind in "fV"}
        return {
            name: values.astype(wanted.get(name, values.dtype), copy=False)
            for name, values in feeds.items()
        }

    def runs(self, model: str, level: str, feeds: Feeds) -> bool:
        """Whether ``model`` takes ``feeds`` at all."""
        try:
            self.run(model, level, feeds)
        except Exception:  # noqa: BLE001  (the runtime raises a type per failure)
            return False
        return True

    def disagrees(self, feeds: Feeds) -> bool:
        """Whether the original, or its masked twin, changes with the level on this input."""
        return any(
            not compare(
                self.run(model, OFF, feeds), self.run(model, ALL, feeds), ACROSS_LEVELS
            ).is_accepted
            for model in ("original", "masked")
        )

    def batch_difference(self, model: str, feeds: Feeds, batch: int) -> Difference:
        """``model`` on a batch against the same model on its samples one by one."""
        whole = self.run(model, OFF, feeds)
        ranked = {spec.name for spec in self.specs if spec.shape}
        singles = [
            self.run(model, OFF, {n: v[i : i + 1] if n in ranked else v for n, v in feeds.items()})
            for i in range(batch)
        ]
        batched = {n: v for n, v in whole.items() if v.ndim and v.shape[0] == batch}
        joined = {name: np.concatenate([single[name] for single in singles]) for name in batched}
        return compare(batched, joined, EXACT)
