"""``secateur compress``: the whole job in this process, with the stages that the service runs.

Standard output carries the result, progress goes to standard error. Files appear only when the
proof has passed and all of them are written; until then everything lies in a temporary folder.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from graph_analysis.errors import InputError
from service.commands.options import Json, Protect
from service.recipe import Recipe

Model = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The ONNX file.")]
Data = Annotated[
    str, typer.Option("--data", help="The data set: a path, file:// or http(s) address of an NPZ.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the compressed model goes.")]
ReportFolder = Annotated[
    Path | None,
    typer.Option("--report", help="Folder for report, proof, solution and search space (JSON)."),
]
Target = Annotated[
    float | None, typer.Option(help="Share that remains, between 0 and 1; give exactly one.")
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training data; default 30.")]
BatchSize = Annotated[int | None, typer.Option(help="Samples per step; default 64.")]
Rate = Annotated[float | None, typer.Option("--lr", help="Largest learning rate.")]
OptimizerName = Annotated[str | None, typer.Option(help="sgd (default), adam or adamw.")]
Loss = Annotated[
    str | None,
    typer.Option(help="auto (default), cross-entropy, distillation, mix or mse."),
]
Seed = Annotated[int | None, typer.Option(help="Of everything that is random; default 0.")]
TimeBudget = Annotated[
    float | None, typer.Option(help="Seconds of training; the schedule is compressed to fit.")
]
MaxDrop = Annotated[
    float | None,
    typer.Option("--max-accuracy-drop", help="Largest loss of accuracy that is still a success."),
]
Kinds = Annotated[
    str | None, typer.Option("--kinds", help="Which groups may go: channel,head,operator.")
]
Multiple = Annotated[
    int | None,
    typer.Option("--multiple", help="Kept channels are a multiple of this; default 8."),
]
Device = Annotated[str | None, typer.Option(help="auto (default), cpu or cuda.")]
_REPORT_FILES = ("report.json", "proof.json", "solution.json", "space.json")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(name="compress")(compress)


def compress(
    model: Model,
    data: Data,
    output: Output,
    *,
    target_macs: Target = None,
    target_params: Target = None,
    target_bytes: Target = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Rate = None,
    optimizer: OptimizerName = None,
    loss: Loss = None,
    seed: Seed = None,
    time_budget: TimeBudget = None,
    max_accuracy_drop: MaxDrop = None,
    kinds: Kinds = None,
    multiple: Multiple = None,
    protect: Protect = None,
    device: Device = None,
    report: ReportFolder = None,
    as_json: Json = False,
) -> None:
    """Search, train, cut and prove MODEL in this process; the service is not needed."""
    recipe = Recipe.parse(
        {
            "target_macs": target_macs,
            "target_params": target_params,
            "target_bytes": target_bytes,
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": lr,
            "optimizer": optimizer,
            "loss": loss,
            "seed": seed,
            "time_budget": time_budget,
            "max_accuracy_drop": max_accuracy_drop,
            "kinds": kinds,
            "multiple": multiple,
            "protect": protect,
            "device": device,
        }
    )
    _check_targets(model, output, report)
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        document = run_job(model, dataset_uri(data), recipe, Path(folder), Console(stderr=True))
        files = {output: Path(folder) / "compressed.onnx"}
        if report is not None:
            files.update({report / name: Path(folder) / name for name in _REPORT_FILES})
        from exporters.files import copy_files

        copy_files(files)
    if as_json:
        typer.echo(json.dumps({"output": str(output), **document}))
        return
    from exporters.report import to_text

    typer.echo(to_text(document))
    typer.echo(f"written {output}" + (f" and {report}" if report is not None else ""))


def dataset_uri(text: str) -> str:
    """An address from what was typed: an address as it is, a path as ``file://``.

    Raises:
        InputError: There is no such file.

    Example:
        >>> dataset_uri("https://example.org/digits.npz")
        'https://example.org/digits.npz'
    """
    if "://" in text:
        return text
    if not Path(text).is_file():
        message = f"--data {text} is no file; give a path, or an address with file:// or https://"
        raise InputError(message, code="dataset-unavailable", param="data")
    return Path(text).resolve().as_uri()


def run_job(
    model: Path, data: str, recipe: Recipe, folder: Path, console: Console
) -> Mapping[str, Any]:
    """Run all stages in ``folder`` and leave their files there.

    Returns:
        The report.

    Raises:
        SecateurError: As :func:`service.compression.run_stage`.
    """
    from service.compression import STAGES, RunDirectory, run_stage
    from service.datasets import DatasetPolicy, pin_dataset
    from service.following import Follower

    run = RunDirectory(folder)
    pin_dataset(data, DatasetPolicy(roots=(Path("/"),)), run.dataset)
    shutil.copyfile(model, run.model)
    with Follower(console) as follower:
        for stage in STAGES:
            run_stage(
                stage,
                run,
                recipe,
                report=lambda line: follower.show(str(line["kind"]), _data_of(line)),
                should_stop=lambda: False,
            )
    document: Mapping[str, Any] = json.loads(run.report.read_text())
    return document


def _data_of(line: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in line.items() if name != "kind"}


def _check_targets(model: Path, output: Path, report: Path | None) -> None:
    """What would fail at the very end fails now."""
    if output.resolve() == model.resolve():
        message = f"{output} is the model that is read; choose another output"
        raise InputError(message, param="output")
    if output.is_dir() or not output.resolve().parent.is_dir():
        what = "is a folder" if output.is_dir() else "is in a folder that does not exist"
        message = f"output {output} {what}"
        raise InputError(message, code="output-not-writable", param="output")
    if report is not None and report.exists() and not report.is_dir():
        message = f"--report {report} is a file, not a folder"
        raise InputError(message, code="output-not-writable", param="report")
