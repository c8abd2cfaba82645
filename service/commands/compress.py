"""``secateur compress``: the whole job in this process, with the stages that the service runs.

Standard output carries the result, progress goes to standard error. Files appear only when the
proof has passed and all of them are written; until then everything lies in a temporary folder.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import typer
from rich.console import Console

from graph_analysis.errors import InputError
from service.commands.options import Json, Protect
from service.commands.signals import ended_by_signals
from service.export_names import beside
from service.many_processes import is_helper, is_one_of_many, train_together
from service.recipe import Recipe

Model = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The ONNX file.")]
Data = Annotated[
    str, typer.Option("--data", help="The data set: a path, file:// or http(s) address of an NPZ.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the compressed model goes.")]
ReportFolder = Annotated[
    Path | None,
    typer.Option(
        "--report", help="Folder for the report (HTML, JSON), proof, solution and search space."
    ),
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
    typer.Option(
        help="auto (default: labels that fit, mixed with distillation), mix, distillation, "
        "cross-entropy, token-cross-entropy, bce, mse (by the original's values without labels), "
        "l1 or huber."
    ),
]
Saliency = Annotated[
    str | None,
    typer.Option(
        help="What makes channels redundant: magnitude (default), taylor, taylor-second, fisher, "
        "fisher-diagonal, cosine, paper, hesso, or a mix such as 0.7*magnitude+0.3*taylor."
    ),
]
MeasureEvery = Annotated[
    int | None,
    typer.Option("--measure-every", help="Measure it in one of so many steps; default 1."),
]
Comparison = Annotated[
    str | None,
    typer.Option(
        help="What channels of different layers are compared by: loss (of trials, per share "
        "saved), relative (to their layer's mean) or auto (default; loss where there is time)."
    ),
]
Renormalise = Annotated[
    str | None,
    typer.Option(
        help="Train with normalisations that an exporter folded away: auto (default), on or off."
    ),
]
FeatureWeight = Annotated[
    float | None,
    typer.Option(
        "--feature-weight",
        help="Weight of the distance to the original inside of the network; default 0, off.",
    ),
]
IgnoreIndex = Annotated[
    int | None,
    typer.Option(help="Label of positions that token-cross-entropy leaves out; default -100."),
]
Augment = Annotated[
    str | None,
    typer.Option(
        help="What training images go through: none (default), flip-crop, or rand (also turned, "
        "sheared, recoloured, partly erased). Both mirror: not for digits or letters."
    ),
]
Magnitude = Annotated[
    float | None,
    typer.Option("--augment-magnitude", help="How strong rand is, 0 to 1; default 0.3."),
]
Mixup = Annotated[
    float | None,
    typer.Option(help="Blend training samples and labels, shares from Beta(x, x); default 0, off."),
]
Cutmix = Annotated[
    float | None, typer.Option(help="Set training images into each other; default 0, off.")
]
Schedule = Annotated[
    str | None,
    typer.Option("--lr-schedule", help="cosine (default), one-cycle, constant or step."),
]
Precision = Annotated[
    str | None, typer.Option(help="Of training: float32 (default), bfloat16, float16 or auto.")
]
Accumulate = Annotated[
    int | None, typer.Option(help="Parts that a batch is computed in, to save memory; default 1.")
]
Recompute = Annotated[
    int | None,
    typer.Option(
        "--checkpointing",
        help="Parts of the network whose activations are computed again, to save memory; default "
        "1 keeps all.",
    ),
]
Layout = Annotated[
    str | None, typer.Option(help="Of images: auto (default), channels-last or plain.")
]
Start = Annotated[
    str | None,
    typer.Option(help="pretrained (default), or scratch: new weights, learning from labels."),
]
Average = Annotated[
    float | None,
    typer.Option("--ema-decay", help="Also judge a moving average of the weights; 0.999, say."),
]
EarlyStop = Annotated[
    bool | None,
    typer.Option("--early-stop", help="End once the accuracy is within --max-accuracy-drop."),
]
Patience = Annotated[
    int | None, typer.Option(help="Evaluations without a better network that end the training.")
]
CutDuringTraining = Annotated[
    str | None,
    typer.Option(help="Cut out what has become zero while training: on (default) or off."),
]
SyncBatchNorm = Annotated[
    str | None,
    typer.Option(
        help="With several processes: normalise over the samples of all, on (default) or off."
    ),
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
    typer.Option(
        "--multiple", help="Kept channels are a multiple of this in groups with more; default 8."
    ),
]
MinUnits = Annotated[
    int | None,
    typer.Option("--min-units", help="Channels or heads every group keeps at least; default 1."),
]
LatencyThreads = Annotated[
    int | None,
    typer.Option(help="That --target-latency is measured with; default 1, 0: ONNX Runtime's own."),
]
LatencyBatch = Annotated[
    int | None, typer.Option(help="Samples per run that --target-latency is measured with.")
]
Device = Annotated[str | None, typer.Option(help="auto (default), cpu or cuda.")]
Exports = Annotated[
    str | None,
    typer.Option(
        "--exports",
        help="Further formats, beside the output: a list of float16, int8, int8-weights, ort, "
        "bundle.",
    ),
]
MaxExportDrop = Annotated[
    float | None,
    typer.Option(
        "--max-export-drop", help="Largest loss of one of them that is handed out; default 0.01."
    ),
]
_REPORT_FILES = ("report.html", "report.json", "proof.json", "solution.json", "space.json")


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
    target_latency: Target = None,
    latency_threads: LatencyThreads = None,
    latency_batch: LatencyBatch = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Rate = None,
    optimizer: OptimizerName = None,
    loss: Loss = None,
    saliency: Saliency = None,
    measure_every: MeasureEvery = None,
    comparison: Comparison = None,
    renormalise: Renormalise = None,
    feature_weight: FeatureWeight = None,
    ignore_index: IgnoreIndex = None,
    augment: Augment = None,
    augment_magnitude: Magnitude = None,
    mixup: Mixup = None,
    cutmix: Cutmix = None,
    lr_schedule: Schedule = None,
    precision: Precision = None,
    accumulate: Accumulate = None,
    checkpointing: Recompute = None,
    layout: Layout = None,
    start: Start = None,
    ema_decay: Average = None,
    early_stop: EarlyStop = None,
    patience: Patience = None,
    cut_during_training: CutDuringTraining = None,
    sync_batch_norm: SyncBatchNorm = None,
    seed: Seed = None,
    time_budget: TimeBudget = None,
    max_accuracy_drop: MaxDrop = None,
    kinds: Kinds = None,
    multiple: Multiple = None,
    min_units: MinUnits = None,
    protect: Protect = None,
    device: Device = None,
    exports: Exports = None,
    max_export_drop: MaxExportDrop = None,
    report: ReportFolder = None,
    as_json: Json = False,
) -> None:
    """Search, train, cut and prove MODEL in this process; the service is not needed.

    Started by torchrun, several processes train together; the first one does the rest.
    """
    recipe = Recipe.parse(
        {
            "target_macs": target_macs,
            "target_params": target_params,
            "target_bytes": target_bytes,
            "target_latency": target_latency,
            "latency_threads": latency_threads,
            "latency_batch": latency_batch,
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": lr,
            "optimizer": optimizer,
            "loss": loss,
            "saliency": saliency,
            "measure_every": measure_every,
            "comparison": comparison,
            "renormalise": renormalise,
            "feature_weight": feature_weight,
            "ignore_index": ignore_index,
            "augment": augment,
            "augment_magnitude": augment_magnitude,
            "mixup": mixup,
            "cutmix": cutmix,
            "lr_schedule": lr_schedule,
            "precision": precision,
            "accumulate": accumulate,
            "checkpointing": checkpointing,
            "layout": layout,
            "start": start,
            "ema_decay": ema_decay,
            "early_stop": early_stop,
            "patience": patience,
            "cut_during_training": cut_during_training,
            "sync_batch_norm": sync_batch_norm,
            "seed": seed,
            "time_budget": time_budget,
            "max_accuracy_drop": max_accuracy_drop,
            "kinds": kinds,
            "multiple": multiple,
            "min_units": min_units,
            "protect": protect,
            "device": device,
            "exports": exports,
            "max_export_drop": max_export_drop,
        }
    )
    uri = dataset_uri(data)
    files = {report / name: name for name in _REPORT_FILES} if report is not None else {}
    formats = {
        path: beside(Path("compressed.onnx"), [form])[form].name
        for form, path in beside(output, recipe.exports).items()
    }
    check = partial(_check_targets, output, (*files, *formats), (model, _local(uri)))
    files[output] = "compressed.onnx"
    from exporters.files import copy_files

    console = Console(stderr=True, quiet=is_helper())
    with ended_by_signals(), tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        document = run_job(model, uri, recipe, Path(folder), console, check=check)
        if document is None:
            return
        made = {path: name for path, name in formats.items() if (Path(folder) / name).is_file()}
        copy_files({path: Path(folder) / name for path, name in (files | made).items()})
    if as_json:
        typer.echo(json.dumps({"output": str(output), **document}))
        return
    from exporters.report import to_text

    typer.echo(to_text(document))
    for entry in document.get("exports", ()):
        if "refused" in entry:
            typer.echo(f"not made: {entry['refused']}")
    typer.echo(" and ".join(map(str, [f"written {output}", *made, *([report] if report else [])])))


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
    model: Path,
    data: str,
    recipe: Recipe,
    folder: Path,
    console: Console,
    *,
    check: Callable[[], None],
) -> Mapping[str, Any] | None:
    """Run all stages in ``folder`` and leave their files there.

    Returns:
        The report; None in a process that has only helped to train.

    Raises:
        SecateurError: As ``check`` and :func:`service.compression.run_stage`.
    """
    from service.admission import admit
    from service.compression import STAGES, RunDirectory, run_stage
    from service.datasets import DatasetPolicy, pin_dataset
    from service.following import Follower

    run = RunDirectory(folder)
    with Follower(console) as follower:

        def report(line: Mapping[str, Any]) -> None:
            follower.show(str(line["kind"]), _data_of(line))

        def prepare() -> None:
            check()
            _take_model(model, run.model)
            admit(run.model)
            pin_dataset(data, DatasetPolicy(roots=(Path("/"),)), run.dataset)
            run_stage("prepare", run, recipe, report=report, should_stop=lambda: False)

        left: tuple[str, ...] = STAGES[1:]
        if is_one_of_many():
            if not train_together(prepare, run, recipe, report=report):
                return None
            left = STAGES[2:]
        else:
            prepare()
        for stage in left:
            run_stage(stage, run, recipe, report=report, should_stop=lambda: False)
    document: Mapping[str, Any] = json.loads(run.report.read_text())
    return document


def _data_of(line: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in line.items() if name != "kind"}


def _check_targets(output: Path, reports: Iterable[Path], sources: Iterable[Path | None]) -> None:
    """What would fail at the very end fails now; what is read is never written over."""
    from exporters.files import check_writable

    read = {path.resolve() for path in sources if path is not None}
    if output.resolve() in {path.resolve() for path in reports}:
        message = "the output is also a file of the report; choose another output"
        raise InputError(message, param="output")
    for path in (output, *reports):
        if path.resolve() in read:
            message = f"{path} is read by this command; choose another output"
            raise InputError(message, param="output")
    if not output.absolute().parent.is_dir():
        message = f"output {output} is in a folder that does not exist"
        raise InputError(message, code="output-not-writable", param="output")
    check_writable((output, *reports))


def _local(uri: str) -> Path | None:
    """The file behind a ``file://`` address."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _take_model(source: Path, target: Path) -> None:
    """Copy a model; one with its weights in other files becomes one file."""
    import onnx

    from graph_analysis.external_data import embed

    shutil.copyfile(source, target)
    try:
        model = onnx.load(source, load_external_data=False)
    except Exception:  # noqa: BLE001 - what is wrong with it is said by the admission gate
        return
    if embed(model, source.parent):
        target.write_bytes(model.SerializeToString())
