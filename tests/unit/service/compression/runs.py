"""Small, real runs: the demo's network on some of the digits, or any model on random data."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from service.compression import STAGES, Recipe, RunDirectory, run_stage
from service.demo import MODEL_PATH
from service.demo.digits import digits
from service.stage_lines import KINDS

SMALL = {"target_macs": 0.25, "epochs": 4, "batch_size": 32}


@dataclass
class Lines:
    """Everything that was reported."""

    lines: list[Mapping[str, Any]] = field(default_factory=list)

    def __call__(self, line: Mapping[str, Any]) -> None:
        assert line["kind"] in KINDS
        json.dumps(line, allow_nan=False)
        self.lines.append(line)

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind]

    @property
    def steps(self) -> int:
        """Training steps that were reported."""
        return max((line["step"] for line in self.of("progress")), default=0)

    @property
    def codes(self) -> list[str]:
        return [line["data"]["code"] for line in self.of("event")]


def some_digits(train: int = 320) -> dict[str, np.ndarray]:
    sizes = {"train": train, "val": 64, "test": 96}
    return {name: array[: sizes[name[2:]]] for name, array in digits().items()}


def digits_run(folder: Path, **changes: np.ndarray | None) -> RunDirectory:
    """A run folder with the demo's network; ``changes`` replace arrays, None takes them out."""
    arrays = {**some_digits(), **changes}
    return make_run(folder, MODEL_PATH, {k: v for k, v in arrays.items() if v is not None})


def make_run(
    folder: Path, model: Path | onnx.ModelProto, arrays: Mapping[str, np.ndarray]
) -> RunDirectory:
    folder.mkdir(exist_ok=True)
    run = RunDirectory(folder)
    if isinstance(model, Path):
        shutil.copyfile(model, run.model)
    else:
        run.model.write_bytes(model.SerializeToString())
    np.savez(run.dataset, **arrays)  # type: ignore[arg-type]
    return run


def recipe(**changes: object) -> Recipe:
    return Recipe.parse({**SMALL, **changes})


def run_all(run: RunDirectory, chosen: Recipe, until: str = "verify") -> Lines:
    lines = Lines()
    for stage in STAGES[: STAGES.index(until) + 1]:
        run_stage(stage, run, chosen, report=lines, should_stop=lambda: False)
    return lines


def only(stage: str, run: RunDirectory, chosen: Recipe) -> Lines:
    lines = Lines()
    run_stage(stage, run, chosen, report=lines, should_stop=lambda: False)
    return lines
