"""``secateur cut``: the surgeon alone, with its proof.

Reads a model and a solution, writes the cut file only when the proof has passed. Everything that
loads onnx or ONNX Runtime is imported when the command runs, so that ``--help`` is quick.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graph_analysis.errors import InputError, SolutionError
from service.commands.options import (
    ALL_KINDS,
    InputShapes,
    Json,
    Kinds,
    Multiple,
    Protect,
    analysis_options,
)

if TYPE_CHECKING:
    import onnx

    from exporters.figures import Proof
    from graph_analysis.pipeline import Analysis, AnalysisOptions
    from graph_analysis.solution import Solution

Model = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The ONNX file.")]
SolutionFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="What to remove: a solution file.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the cut file goes.")]
MaskedFile = Annotated[
    Path | None,
    typer.Option("--masked", help="Also write the masked model: the proof's reference."),
]
Seed = Annotated[int, typer.Option("--seed", help="Of the proof's random inputs.")]


@dataclass(frozen=True, kw_only=True)
class CutResult:
    """What a cut came to: both models, and the proof that they agree.

    ``input_bytes`` is the size of the file that came in.
    """

    analysis: "Analysis"
    input_bytes: int
    solution: "Solution"
    cut: "onnx.ModelProto"
    masked: "onnx.ModelProto"
    proof: "Proof"

    def to_dict(self) -> dict[str, Any]:
        """The result in numbers, JSON-compatible."""
        from exporters.measure import file_bytes
        from exporters.report import removed_by_kind
        from graph_analysis.loading import load_model
        from graph_analysis.pipeline import analyze

        analysis = self.analysis
        again = load_model(self.cut.SerializeToString())
        counted = {
            "before": analysis.space.model,
            "after": analyze(again, options=analysis.options).space.model,
        }
        sizes = {"before": self.input_bytes, "after": file_bytes(self.cut)}
        return {
            "removed": dict(removed_by_kind(analysis.space, self.solution)),
            **{
                name: {
                    "parameters": summary.parameters,
                    "macs": summary.macs,
                    "bytes": sizes[name],
                }
                for name, summary in counted.items()
            },
            "proof": self.proof.to_dict(),
        }


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(name="cut")(cut)


def cut(
    model: Model,
    solution: SolutionFile,
    output: Output,
    *,
    masked: MaskedFile = None,
    input_shape: InputShapes = None,
    multiple: Multiple = 1,
    protect: Protect = None,
    kinds: Kinds = ALL_KINDS,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Cut MODEL as SOLUTION says, prove the result against the masked model, write it."""
    from exporters.files import write_models

    _refuse_overwriting((model, solution), output, masked)
    options = analysis_options(
        input_shapes=input_shape or (), multiple=multiple, protect=protect or (), kinds=kinds
    )
    result = cut_and_prove(model, _text_of(solution), options, seed=seed)
    files = {output: result.cut}
    if masked is not None:
        files[masked] = result.masked
    write_models(files)
    summary = result.to_dict()
    if as_json:
        data = {"output": str(output), "masked": str(masked) if masked else None, **summary}
        typer.echo(json.dumps(data))
    else:
        typer.echo(summary_text(summary, output))


def cut_and_prove(
    model: Path, solution_text: str, options: "AnalysisOptions", *, seed: int = 0
) -> CutResult:
    """Analyse, check the solution against the space, shrink, prove; writes nothing.

    Raises:
        ModelError: The model cannot be used.
        SolutionError: The solution is not one of this model under these options, or not valid.
        ProofFailedError: The cut model is not equal to the masked one.
    """
    from exporters.masked import mask
    from exporters.measure import file_bytes
    from exporters.surgeon import shrink
    from graph_analysis.loading import load_model
    from graph_analysis.pipeline import analyze
    from graph_analysis.solution import Solution
    from service.proving import prove_apart

    analysis = analyze(load_model(model), options=options)
    solution = Solution.from_json(solution_text)
    solution.check(analysis.space)
    result = shrink(analysis, solution)
    reference = mask(analysis, solution)
    proof = prove_apart(
        reference,
        result,
        original=analysis.loaded.model,
        seed=seed,
        shapes=analysis.effects(Solution.of(analysis.space, {})).shapes,
        keep=analysis.effects(solution).keep,
    )
    return CutResult(
        analysis=analysis,
        input_bytes=file_bytes(model),
        solution=solution,
        cut=result,
        masked=reference,
        proof=proof,
    )


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        message = f"{path} is no solution: it is not even a text file; secateur solve writes one"
        raise SolutionError(message, param=str(path)) from error


def _refuse_overwriting(inputs: tuple[Path, ...], output: Path, masked: Path | None) -> None:
    taken = {path.resolve() for path in inputs}
    for path in (output, masked):
        if path is None:
            continue
        if path.resolve() in taken:
            message = f"{path} is also read or written elsewhere in this command; choose another"
            raise InputError(message, param=str(path))
        taken.add(path.resolve())


def summary_text(summary: Mapping[str, Any], output: Path) -> str:
    """A few lines for a terminal."""
    before, after, proof = summary["before"], summary["after"], summary["proof"]
    removed = ", ".join(f"{count} {kind}" for kind, count in summary["removed"].items() if count)
    batches = " and ".join(str(size) for size in proof["batch_sizes"])
    lines = [
        f"{name:<11}{before[name]:>16,d} -> {after[name]:>16,d}"
        + (f"   {after[name] / before[name]:.3f}" if before[name] else "")
        for name in ("parameters", "macs", "bytes")
    ]
    return "\n".join(
        [
            *lines,
            f"removed    {removed or 'nothing'}",
            f"proof      passed: largest difference {proof['max_difference']:.3g} over "
            f"{proof['samples']} samples, batches of {batches}, optimisations off and on",
            *(f"note       {note}" for note in proof["notes"]),
            f"written    {output}",
        ]
    )
