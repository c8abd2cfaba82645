"""The stages of a job without any network: fast, deterministic, resumable, and able to misbehave.

It has the same functions as ``service.compression`` and is chosen by the setting ``compression``.
The "model" is a JSON object that says what to do::

    {"steps": 20, "delay": 0.01, "checkpoint_every": 5, "trace": "/file",
     "trouble": {"stage": "train", "step": 7, "kind": "crash", "once": "/file"}}

Any other model is trained for as many steps as the recipe has ``epochs``. ``trace`` gets a line for
every training step that is executed. Kinds of trouble: ``crash`` (an exception), ``kill``
(SIGKILL), ``hang``, ``deaf`` (does not react to SIGTERM), ``print`` (writes to stdout), and
``input``, ``target``, ``proof``, ``diverged`` (errors with a code). With ``once`` it happens only
until that file exists.
"""

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graph_analysis.errors import InputError, SecateurError, TargetUnreachableError
from service.faults import fault

STAGES = ("prepare", "train", "export", "verify")
_MODULUS = 1_000_003

Report = Callable[[Mapping[str, Any]], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class RunDirectory:
    """The run folder."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Takes any settings."""

    settings: Mapping[str, Any]

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> "Recipe":
        """Accept everything."""
        return cls(settings=dict(settings))


class _ProofFailedError(SecateurError):
    exit_code = 4
    default_code = "verification-failed"


def run_stage(
    stage: str,
    run: RunDirectory,
    recipe: Recipe,
    *,
    report: Report,
    should_stop: ShouldStop,
) -> None:
    """Run one stage; see the module."""
    script = _script(run.path / "model.onnx", recipe)
    report({"kind": "event", "message": f"{stage} begins", "data": {}})
    if stage == "train":
        _train(script, run.path, report, should_stop)
        return
    _make_trouble(script, stage, 0)
    match stage:
        case "prepare":
            assert (run.path / "dataset.npz").is_file(), "the data set was pinned"
            _write(run.path / "space.json", {"groups": [], "recipe": dict(recipe.settings)})
        case "export":
            weights = json.loads((run.path / "weights.json").read_text())
            _write(run.path / "compressed.onnx", {"weights": weights["value"]})
            _write(run.path / "solution.json", {"removed": {}})
        case "verify":
            digest = hashlib.sha256((run.path / "compressed.onnx").read_bytes()).hexdigest()
            _write(run.path / "proof.json", {"sha256": digest})
            _write(run.path / "report.json", {"ratios": {"macs": 0.5}, "removed": {"channel": 1}})


def _script(model: Path, recipe: Recipe) -> Mapping[str, Any]:
    """What to do; for a real model that many slow steps as there are epochs in the recipe."""
    try:
        return dict(json.loads(model.read_bytes()))
    except ValueError:
        return {"steps": int(recipe.settings.get("epochs", 10)), "delay": 0.05}


def _train(
    script: Mapping[str, Any], folder: Path, report: Report, should_stop: ShouldStop
) -> None:
    steps, every = script.get("steps", 10), script.get("checkpoint_every", 1)
    state = _newest_checkpoint(folder / "checkpoints")
    if state["step"]:
        report({"kind": "resumed", "step": state["step"]})
    while state["step"] < steps:
        step = state["step"]
        fault("train.step")
        _make_trouble(script, "train", step)
        _trace(script, step)
        time.sleep(script.get("delay", 0.0))
        state = {"step": step + 1, "value": (state["value"] * 31 + step) % _MODULUS}
        fraction = state["step"] / steps
        report(
            {
                "kind": "progress",
                "stage": "train",
                "phase": "hybrid",
                "step": state["step"],
                "total": steps,
                "fraction": fraction,
                "metrics": {"loss": 1 - fraction},
            }
        )
        stops = should_stop()
        if state["step"] % every == 0 or stops:
            _save(folder / "checkpoints", state, report)
        if stops:
            return
    _write(folder / "weights.json", state)


def _save(folder: Path, state: Mapping[str, int], report: Report) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{state['step']:06d}.json"
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(state))
    fault("ckpt.tmp")
    partial.replace(path)
    fault("ckpt.rename")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    report({"kind": "checkpoint", "step": state["step"], "path": path.name, "sha256": digest})


def _newest_checkpoint(folder: Path) -> dict[str, int]:
    found = sorted(folder.glob("step-*.json"))
    if not found:
        return {"step": 0, "value": 1}
    return dict(json.loads(found[-1].read_text()))


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, sort_keys=True))


def _trace(script: Mapping[str, Any], step: int) -> None:
    if "trace" in script:
        with Path(script["trace"]).open("a") as file:
            file.write(f"{step} {os.getpid()}\n")


def _make_trouble(script: Mapping[str, Any], stage: str, step: int) -> None:
    trouble = script.get("trouble", {})
    if trouble.get("stage") != stage or trouble.get("step", 0) != step:
        return
    if "once" in trouble:
        marker = Path(trouble["once"])
        if marker.exists():
            return
        marker.touch()
    _TROUBLES[trouble["kind"]]()


def _crash() -> None:
    message = "the fake crashes"
    raise RuntimeError(message)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    time.sleep(3600)


def _deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)


def _print() -> None:
    os.write(1, b"a library prints\n")


def _input() -> None:
    message = "the labels do not fit"
    raise InputError(message, code="dataset-labels", param="y_train")


def _target() -> None:
    message = "at most half can go"
    raise TargetUnreachableError(message, reachable_ratio=0.5, param="target_macs")


def _proof() -> None:
    message = "the models differ"
    raise _ProofFailedError(message)


def _diverged() -> None:
    message = "the loss is not finite"
    raise SecateurError(message, code="training-diverged")


_TROUBLES: Mapping[str, Callable[[], None]] = {
    "crash": _crash,
    "kill": _kill,
    "hang": _hang,
    "deaf": _deaf,
    "print": _print,
    "input": _input,
    "target": _target,
    "proof": _proof,
    "diverged": _diverged,
}
