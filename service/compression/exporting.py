"""Stage ``export``: the trained weights go into the graph, and what is removed goes out of it."""

from exporters.files import write_models
from exporters.masked import mask
from exporters.surgeon import shrink
from graph_analysis.solution import Solution
from optimizer.bridge.module import import_model
from service.compression.agreement import SAMPLES, check_trained
from service.compression.reporting import Phases, Report
from service.compression.run_directory import RunDirectory
from service.compression.subject import open_subject
from service.compression.weights_file import read_weights
from service.recipe import Recipe

_PHASES = ("comparing", "cutting")


def export(run: RunDirectory, recipe: Recipe, *, report: Report) -> None:
    """Check that the masked model is the trained network, cut, leave ``compressed.onnx``.

    Raises:
        ProofFailedError: The masked model is another network than the trained one.
        SurgeryError: The graph cannot be cut as the solution says.
    """
    phases = Phases(report, "export", _PHASES)
    phases.begin("comparing")
    subject = open_subject(run, recipe)
    weights = read_weights(run.weights)
    own = subject.own(weights)
    solution = Solution.from_json(run.solution.read_text())
    imported = import_model(subject.analysis.maskable())
    imported.load_weights(weights)
    check_trained(
        imported,
        mask(subject.analysis, solution, own),
        subject.samples(subject.dataset.train, SAMPLES),
        recipe.seed,
    )
    phases.begin("cutting")
    write_models({run.compressed: shrink(subject.analysis, solution, own)})
    phases.end()
