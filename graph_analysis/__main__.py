"""``python -m graph_analysis MODEL [--all]`` prints the search space; needs numpy and onnx only."""

import sys
from pathlib import Path

from graph_analysis.errors import SecateurError
from graph_analysis.explain import explain
from graph_analysis.loading import load_model
from graph_analysis.pipeline import USUAL_MULTIPLE, AnalysisOptions, analyze


def main(arguments: list[str]) -> int:
    """Print the search space of the one model named; return the exit code."""
    models = [argument for argument in arguments if argument != "--all"]
    if len(models) != 1:
        sys.stderr.write("usage: python -m graph_analysis MODEL [--all]\n")
        return 2
    options = AnalysisOptions(multiple=USUAL_MULTIPLE)
    try:
        analysis = analyze(load_model(Path(models[0])), options=options)
        sys.stdout.write(explain(analysis, everything="--all" in arguments) + "\n")
    except SecateurError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
