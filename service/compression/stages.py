"""Which stage does what, and the order they run in.

torch, onnx and ONNX Runtime are loaded when a stage runs, not when this module is imported.
"""

from service.compression.reporting import Report, ShouldStop
from service.compression.run_directory import RunDirectory
from service.recipe import Recipe

STAGES = ("prepare", "train", "export", "verify")


def run_stage(
    stage: str,
    run: RunDirectory,
    recipe: Recipe,
    *,
    report: Report,
    should_stop: ShouldStop,
) -> None:
    """Run one stage to its end.

    1. ``prepare``: model and data fit each other, the trainable module equals the original (gate
       G1), the target can be reached; leaves the search space and the original's figures.
    2. ``train``: search and training; resumes from checkpoints, and is the only stage that can be
       stopped in the middle.
    3. ``export``: the trained weights are cut; before that the masked model must equal the trained
       module (gate G2).
    4. ``verify``: the proof on the written file, its accuracy, latency and the report.

    Args:
        stage: One of :data:`STAGES`; the earlier ones have left their files.
        run: Where the files are.
        recipe: The job's settings.
        report: Takes the lines of ``service.stage_lines``.
        should_stop: Asked between training steps; a stage that was told to stop returns early.

    Raises:
        InputError: Model, data or settings do not fit.
        TargetUnreachableError: The budget cannot be met.
        TrainingDivergedError: The loss stayed NaN or infinite.
        SurgeryError: The graph cannot be cut so.
        ProofFailedError: The written model is not equal to the network that was trained.
        QualityGateError: It is less accurate than ``recipe.max_accuracy_drop`` allows.
    """
    if stage == "prepare":
        from service.compression.preparing import prepare

        prepare(run, recipe, report=report)
    elif stage == "train":
        from service.compression.training import train_stage

        train_stage(run, recipe, report=report, should_stop=should_stop)
    elif stage == "export":
        from service.compression.exporting import export

        export(run, recipe, report=report)
    elif stage == "verify":
        from service.compression.verifying import verify

        verify(run, recipe, report=report)
    else:
        message = f"no stage is called {stage!r}; there are {', '.join(STAGES)}"
        raise ValueError(message)
